"""The daemon as a process: killed, frozen, misled, confused; each time the rows say what happened."""

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from kinds import ON_EACH
from sqlalchemy import select, text

from schedmgr.core.definitions import Schedule
from schedmgr.database.models import Process
from schedmgr.vocabulary import Decision, Reason

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FIVE_MINUTES = """
    jobs = [Job("tidy", command="true")]
    schedules = [Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow")]
"""


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def told(rows):
    """What the rows say about which occurrences."""
    return [(row.reason, row.scheduled_for, row.missed_count) for row in rows]


@pytest.fixture
def running(site, installation, clock):
    """At 12:01 a daemon runs, and a schedule of every five minutes is on."""
    clock.set_to(at(12, 1))
    site.define(FIVE_MINUTES)
    daemon = site.start_daemon()
    daemon.wait_for_log("definition added schedule=feeds")
    installation.enable("feeds")
    return daemon


@pytest.fixture
def decided(installation, until):
    """Wait until a schedule has so many firings, and give them."""

    def decided(count, id="feeds"):
        return until(
            lambda: rows if len(rows := installation.firings(id)) >= count else None, f"{count} firings of {id}"
        )

    return decided


@pytest.fixture
def noticed(installation, clock, until):
    """Wait until the daemon has beaten on the clock as it stands now."""

    def beats_now():
        with installation.database.read() as session:
            beats = session.scalars(select(Process.beat_at)).all()
        return [beat for beat in beats if abs(clock.now - beat) < timedelta(seconds=5)]

    return lambda: until(beats_now, "a beat on the moved clock")


# Each outage in its own words


@ON_EACH
def test_killed_over_several_due_instants(running, site, clock, decided):
    running.kill()
    clock.set_to(at(12, 32))
    site.start_daemon()
    (missed,) = decided(1)
    assert told([missed]) == [(Reason.MISSED_NO_DAEMON, at(12, 5), 6)]
    assert missed.detail == (
        "6 runs missed, 12:05 to 12:30 UTC: no daemon reached the database from 12:01 to 12:32 UTC"
    )
    clock.set_to(at(12, 35))
    assert told(decided(2)[1:]) == [(None, at(12, 35), 0)]


@ON_EACH
def test_frozen_over_several_due_instants(running, clock, decided, installation):
    running.freeze()
    clock.set_to(at(12, 32))
    running.thaw()
    (missed,) = decided(1)
    assert told([missed]) == [(Reason.MISSED_NO_DAEMON, at(12, 5), 6)]
    assert "no daemon reached the database from 12:01 to 12:32 UTC" in missed.detail
    with installation.database.read() as session:
        lives = session.execute(text("SELECT id, pid FROM process ORDER BY started_at")).all()
    assert [pid for _, pid in lives] == [running.process.pid] * 2
    assert missed.process_id == lives[1][0]
    clock.set_to(at(12, 35))
    assert told(decided(2)[1:]) == [(None, at(12, 35), 0)]


@ON_EACH
def test_paused_over_several_due_instants(running, clock, decided, installation):
    installation.pause("db failover")
    clock.set_to(at(12, 32))
    (missed,) = decided(1)
    assert told([missed]) == [(Reason.MISSED_PAUSED, at(12, 5), 6)]
    assert missed.detail == ("6 runs missed, 12:05 to 12:30 UTC: all schedules are paused since Mon 2 Mar 12:01 UTC")
    installation.resume()
    clock.set_to(at(12, 35))
    assert told(decided(2)[1:]) == [(None, at(12, 35), 0)]


@ON_EACH
def test_a_clock_that_steps_forward_and_back_fires_nothing_twice(running, clock, decided, noticed):
    clock.set_to(at(13, 2))
    decided(1)
    for instant in (at(12, 5), at(12, 30), at(12, 58)):
        clock.set_to(instant)
        noticed()
    clock.set_to(at(13, 5))
    rows = decided(2)
    assert told(rows) == [(Reason.MISSED_NO_DAEMON, at(12, 5), 12), (None, at(13, 5), 0)]


# What is wrong in the tables


ABSURD = [None, "1970-01-01 00:00:00.000000", "9999-12-31 00:00:00.000000"]


@pytest.mark.parametrize(("database_kind", "wrong"), [("sqlite", [*ABSURD, "tomorrow"]), ("mariadb", ABSURD)])
def test_a_next_run_that_is_wrong_is_put_right_while_it_runs(running, installation, clock, decided, until, wrong):
    for nth, value in enumerate(wrong, start=1):
        right = at(12, 5 * nth)
        installation.sql("UPDATE job_schedule SET next_run_at = :value", value=value)
        until(lambda right=right: installation.schedule("feeds").next_run_at == right, f"{value} is put right")
        clock.set_to(right)
        decided(nth)
    rows = decided(len(wrong))
    assert told(rows) == [(None, at(12, 5 * nth), 0) for nth in range(1, len(wrong) + 1)]
    assert running.log.count("next run repaired schedule=feeds") == len(wrong)
    assert running.log.count("next_run_at IS NULL") == 1


@ON_EACH
def test_one_schedule_that_cannot_be_decided_stops_no_other(running, installation, clock, decided, site):
    site.define(FIVE_MINUTES + "    schedules += [Schedule('bad', cron='* * * * *', execution_mode='ALL_JOBS')]\n")
    running.wait_for_log("definition added schedule=bad")
    installation.enable("bad")
    installation.sql("UPDATE job_schedule SET cron = '61 * * * *' WHERE id = 'bad'")
    clock.set_to(at(12, 5))
    assert told(decided(1)) == [(None, at(12, 5), 0)]
    (bad,) = decided(1, "bad")
    assert (bad.decision, bad.reason) == (Decision.SKIPPED, Reason.UNDECIDABLE)
    clock.set_to(at(12, 10))
    assert told(decided(2)[1:]) == [(None, at(12, 10), 0)]
    assert len(installation.firings("bad")) == 1


@ON_EACH
def test_a_schedule_whose_row_cannot_even_be_read_stops_no_other(running, installation, clock, decided, site):
    site.define(FIVE_MINUTES + "    schedules += [Schedule('bad', cron='*/5 * * * *', execution_mode='ALL_JOBS')]\n")
    running.wait_for_log("definition added schedule=bad")
    installation.enable("bad")
    installation.sql("UPDATE job_schedule SET missed = 'perhaps' WHERE id = 'bad'")
    clock.set_to(at(12, 5))
    assert told(decided(1)) == [(None, at(12, 5), 0)]


# Switched off, asked to stop


def test_a_disabled_daemon_says_so_in_one_line_and_ends_well(site):
    site.define(FIVE_MINUTES)
    daemon = site.start_daemon(ready=False, SCHEDULE_DAEMON_ENABLED="false")
    assert daemon.exit_code() == 0
    assert "SCHEDULE_DAEMON_ENABLED=false" in daemon.log
    assert len(daemon.log.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_ends_well_and_says_that_it_did(running, installation, number):
    running.send(number)
    assert running.exit_code() == 0
    assert "daemon stopped" in running.log
    with installation.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM process WHERE stopped_at IS NOT NULL")) == 1


def test_a_database_that_was_never_migrated_is_one_sentence(site, tmp_path):
    site.define(FIVE_MINUTES)
    daemon = site.start_daemon(ready=False, DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    assert daemon.exit_code() == 1
    assert len(daemon.log.splitlines()) == 1
    assert "schedmgr migrate" in daemon.log


# Definitions


def test_the_sample_is_loaded_where_there_are_no_definitions(site):
    daemon = site.start_daemon()
    assert "Loaded 4 schedule definitions from code" in daemon.log


def test_outside_development_the_sample_has_three(site):
    daemon = site.start_daemon(APP_ENV="staging")
    assert "Loaded 3 schedule definitions from code" in daemon.log


def test_definitions_that_become_invalid_leave_the_last_good_ones_in_force(running, site, installation, clock, decided):
    site.define(FIVE_MINUTES.replace("*/5 *", "61 *"))
    running.wait_for_log("61 is too high")
    with installation.database.read() as session:
        (errors,) = session.execute(text("SELECT definitions_errors FROM process")).one()
    assert "61 is too high" in errors
    clock.set_to(at(12, 5))
    assert told(decided(1)) == [(None, at(12, 5), 0)]


@ON_EACH
def test_definitions_that_are_mended_are_taken_up(running, site, installation, until):
    site.define("raise RuntimeError('half a deploy')")
    running.wait_for_log("half a deploy")
    site.define(FIVE_MINUTES.replace("*/5 *", "*/7 *"))
    running.wait_for_log("definition changed schedule=feeds")
    with installation.database.read() as session:
        assert session.scalar(text("SELECT definitions_errors FROM process")) in (None, "null")
    assert (installation.schedule("feeds").cron, installation.schedule("feeds").enabled) == ("*/7 * * * *", True)


def test_definitions_that_are_away_for_a_moment_are_not_taken_for_the_sample(running, site, installation):
    (site.folder / "definitions.py").unlink()
    running.wait_for_log("definitions invalid")
    assert installation.schedules() == ["feeds"]
    site.define(FIVE_MINUTES.replace("*/5 *", "*/7 *"))
    running.wait_for_log("definition changed schedule=feeds")
    assert installation.schedule("feeds").enabled


def test_definitions_of_ones_own_take_the_place_of_the_sample_while_it_runs(site, installation, until):
    site.start_daemon()
    site.define(FIVE_MINUTES)
    until(lambda: "feeds" in installation.schedules(), "the definitions are written")


def test_started_in_a_wrong_folder_it_does_not_archive_everything_for_the_sample(running, site, installation):
    running.kill()
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir()
    lost = site.start_daemon(folder=elsewhere)
    lost.wait_for_log("The shipped sample would replace")
    assert installation.schedules() == ["feeds"]
    assert installation.schedule("feeds").enabled


@pytest.fixture
def hanging(site, until):
    """Definitions that hang while they load; gives the pid of the process that loads them."""
    marker = site.folder / "loading"

    def hanging() -> int:
        code = f"pathlib.Path({str(marker)!r}).write_text(str(os.getpid()))"
        site.define(f"import os, pathlib, time\n{code}\ntime.sleep(1000)")
        return int(until(lambda: marker.exists() and marker.read_text(), "the file is being loaded"))

    yield hanging
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(int(marker.read_text()), signal.SIGKILL)


def test_definitions_that_hang_while_they_load_delay_no_firing(running, hanging, installation, clock, decided):
    hanging()
    clock.set_to(at(12, 5))
    (fired,) = decided(1)
    with installation.database.read() as session:
        assert session.scalar(text("SELECT definitions_errors FROM process")) in (None, "null")
    assert fired.decided_at - at(12, 5) < timedelta(seconds=9)


def test_asked_to_stop_while_definitions_hang_it_ends_at_once_and_takes_the_load_with_it(
    running, hanging, until, lives
):
    loading = hanging()
    running.send(signal.SIGTERM)
    assert running.exit_code(within=8) == 0
    until(lambda: not lives(loading), "the load has ended", within=8)


def test_definitions_of_another_environment_are_refused_and_the_tables_stay_in_force(
    running, site, installation, clock, decided
):
    running.send(signal.SIGTERM)
    running.exit_code()
    other = site.start_daemon(APP_ENV="staging")
    other.wait_for_log("are those of the environment development")
    clock.set_to(at(12, 5))
    assert told(decided(1)) == [(None, at(12, 5), 0)]


@ON_EACH
def test_a_rolling_deploy_cannot_write_the_old_definitions_back(running, site, installation, clock, decided):
    old = site.define(FIVE_MINUTES, "old.py")
    site.define(FIVE_MINUTES.replace("*/5 *", "*/7 *"))
    running.wait_for_log("definition changed schedule=feeds")
    late = site.start_daemon(SCHEDMGR_DEFINITIONS=str(old))
    late.wait_for_log("newer ones are in force")
    assert installation.schedule("feeds").cron == "*/7 * * * *"
    running.kill()
    clock.set_to(at(12, 7))
    assert told(decided(1)) == [(None, at(12, 7), 0)]


def test_what_a_person_synced_by_hand_is_not_overwritten_by_a_running_daemon(running, installation, clock, decided):
    by_hand = Schedule("feeds", cron="*/7 * * * *", execution_mode="ALL_JOBS", overlap="allow")
    installation.sync(by_hand)
    clock.set_to(at(12, 7))
    decided(1)
    clock.set_to(at(12, 14))
    assert told(decided(2)) == [(None, at(12, 7), 0), (None, at(12, 14), 0)]


# More than one


@ON_EACH
def test_two_daemons_share_the_work_and_never_double_it(site, installation, clock, until):
    names = [f"n{number}" for number in range(1500)]
    site.define(
        """
        jobs = [Job("tidy", command="true")]
        schedules = [
            Schedule(f"n{number}", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow", grace=600)
            for number in range(1500)
        ]
        """
    )
    clock.set_to(at(12, 1))
    for _ in range(2):
        site.start_daemon(SCHEDMGR_WORKER_CONCURRENCY="0")
    until(lambda: len(installation.schedules()) == 1500, "the definitions are written")
    installation.enable(*names)

    def fired():
        with installation.database.read() as session:
            return session.execute(
                text(
                    "SELECT count(*) AS firings,"
                    " (SELECT count(*) FROM (SELECT DISTINCT schedule_id, scheduled_for FROM schedule_firing) AS one)"
                    " AS occurrences, sum(job_run_count) AS runs, count(DISTINCT pid) AS daemons"
                    " FROM schedule_firing JOIN process ON process.id = process_id"
                )
            ).one()

    def everything_has_fired(times):
        clock.set_to(at(12, 0) + times * timedelta(minutes=5))
        until(lambda: fired().firings >= 1500 * times, f"every schedule fired {times} times")
        return fired()

    # A daemon that happens to sleep while the other works may miss a round; over a few, each gets its share.
    rounds = next(times for times in range(1, 20) if everything_has_fired(times).daemons == 2)
    assert tuple(fired()) == (1500 * rounds, 1500 * rounds, 1500 * rounds, 2)
    assert len(installation.runs()) == 1500 * rounds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_deploy_across_the_due_instant_neither_loses_nor_doubles_it(
    running, site, installation, clock, decided, number
):
    clock.set_to(at(12, 4, 57))
    new = site.start_daemon()
    until_due = (at(12, 5) - clock.now).total_seconds()
    Event().wait(until_due - 0.1)  # at 12:04:59.9
    running.send(number)
    fired = decided(1)
    assert told(fired) == [(None, at(12, 5), 0)]
    assert fired[0].decided_at - at(12, 5) < timedelta(seconds=1.5)
    with installation.database.read() as session:
        pid = session.scalar(select(Process.pid).where(Process.id == fired[0].process_id))
    assert pid in (running.process.pid, new.process.pid)
    clock.set_to(at(12, 10))
    assert told(decided(2)) == [(None, at(12, 5), 0), (None, at(12, 10), 0)]


def test_when_one_of_two_daemons_is_killed_the_other_goes_on(running, site, clock, decided):
    site.start_daemon()
    running.kill()
    clock.set_to(at(12, 5))
    assert told(decided(1)) == [(None, at(12, 5), 0)]


def test_a_person_switches_while_it_runs(running, installation, clock, decided):
    installation.disable("feeds")
    clock.set_to(at(12, 5))
    installation.sync(
        Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow", description="of partners")
    )
    installation.enable("feeds")
    clock.set_to(at(12, 10))
    assert told(decided(1)) == [(None, at(12, 10), 0)]
