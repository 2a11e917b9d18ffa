"""What is recorded about an absence stays true: nothing that a process does later contradicts it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from kinds import ON_MARIADB
from sqlalchemy import select, text

from schedmgr.core import actions, processes, settlement, vitals
from schedmgr.core.definitions import Schedule
from schedmgr.core.ledger.verify import verify
from schedmgr.core.processes import Silent
from schedmgr.daemon import tick
from schedmgr.database.models import Process
from schedmgr.vocabulary import ProcessRole, Reason

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def daemon(installation, clock):
    """At 11:59:52 a daemon begins, and a schedule of every five minutes with a grace of two seconds is on."""
    clock.set_to(at(11, 59, 52))
    daemon = installation.start_daemon()
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", grace=2))
    return daemon


@pytest.fixture
def life(database):
    """The row of a process."""

    def life(process):
        with database.read() as session:
            return session.execute(select(Process.__table__).where(Process.id == process.id)).one()

    return life


@pytest.fixture
def beats(database):
    """Lets a process beat."""
    return lambda process: database.transact(lambda session: processes.beat_unbroken(session, process))


@pytest.fixture
def was_there(database):
    """Whether the rows say that some daemon was there at an instant."""

    def was_there(instant):
        with database.read() as session:
            rows = session.execute(
                select(Process.started_at, Process.beat_at).where(Process.role == ProcessRole.DAEMON)
            ).all()
        return any(started_at <= instant <= beat_at for started_at, beat_at in rows)

    return was_there


@pytest.fixture
def until_a_lock_is_waited_for(open_database):
    """Wait until one transaction stands in another's way."""
    waiting = text("SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
    onlooker = open_database()

    def look():
        with onlooker.read() as session:
            return session.scalar(waiting)

    def wait():
        ends_at = time.monotonic() + 20.0
        while not look():
            assert time.monotonic() < ends_at, "nobody waits for a lock"
            threading.Event().wait(0.2)  # asked more often the server answers from what it remembers

    return wait


# Recorded by somebody else while the daemon may still live


def test_a_daemon_that_was_recorded_as_absent_goes_on_in_a_new_life(daemon, installation, clock, beats, was_there):
    clock.set_to(at(12, 0, 8))
    installation.disable("feeds")
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_NO_DAEMON]
    clock.set_to(at(12, 0, 9))
    with pytest.raises(Silent):
        beats(daemon)
    installation.start_daemon()
    assert not was_there(NOON)


def test_neither_does_its_end_contradict_the_record(daemon, installation, clock, database, life, was_there):
    before = life(daemon).beat_at
    clock.set_to(at(12, 0, 8))
    installation.disable("feeds")
    database.transact(lambda session: processes.stop(session, daemon))
    assert life(daemon).beat_at == before
    assert not was_there(NOON)


def test_a_daemon_that_decides_nothing_while_it_beats_is_late_and_lives_on(daemon, installation, clock, beats):
    clock.set_to(at(12, 0, 7))
    beats(daemon)
    clock.set_to(at(12, 0, 8))
    installation.disable("feeds")
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_LATE]
    beats(daemon)


def test_the_deciding_daemon_itself_counts_as_there(daemon, installation, clock, database, life):
    clock.set_to(at(12, 0, 8))
    tick.tick(database, daemon)
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_LATE]
    assert life(daemon).stopped_at is None


def test_a_daemon_that_began_after_it_was_due_lives_on(daemon, installation, clock, database, beats):
    clock.set_to(at(12, 0, 7))
    newcomer = database.transact(
        lambda session: processes.register(session, ProcessRole.DAEMON, environment="development", version="1")
    )
    installation.disable("feeds")
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_NO_DAEMON]
    beats(newcomer)


@ON_MARIADB
def test_a_daemon_that_comes_back_while_its_absence_is_being_recorded_was_there(
    daemon, installation, clock, database, until_a_lock_is_waited_for, beats
):
    clock.set_to(at(12, 0, 8))
    with ThreadPoolExecutor(1) as thread:
        with database.write() as session:
            processes.beat_unbroken(session, daemon)
            switched_off = thread.submit(installation.disable, "feeds")
            until_a_lock_is_waited_for()
        switched_off.result()
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_LATE]
    beats(daemon)


# Silences and orderly ends


def test_a_life_that_was_silent_for_over_a_minute_ends_without_a_last_beat(daemon, clock, database, life):
    before = life(daemon).beat_at
    clock.set_to(at(12, 7))
    database.transact(lambda session: processes.stop(session, daemon))
    assert (life(daemon).beat_at, life(daemon).stopped_at > before) == (before, True)


def test_an_orderly_end_is_the_last_beat(daemon, clock, database, life):
    clock.set_to(at(12, 0, 20))
    database.transact(lambda session: processes.stop(session, daemon))
    row = life(daemon)
    assert row.beat_at == row.stopped_at >= at(12, 0, 20)


def test_a_new_life_of_the_same_process_ends_the_one_before(daemon, clock, database, life):
    clock.set_to(at(12, 7))
    database.transact(
        lambda session: processes.register(
            session, ProcessRole.DAEMON, environment="development", version="1", replaces=daemon
        )
    )
    assert life(daemon).stopped_at > life(daemon).beat_at


# A clock that steps back


def test_a_step_back_of_less_than_a_second_does_not_move_the_last_beat(daemon, clock, beats, life):
    beats(daemon)
    before = life(daemon).beat_at
    clock.set_to(before - timedelta(seconds=0.9))
    beats(daemon)
    assert life(daemon).beat_at == before


@pytest.mark.parametrize("back", [{"seconds": -5}, {"hours": -1}], ids=str)
def test_a_longer_step_back_begins_a_new_life(daemon, clock, beats, life, back):
    beats(daemon)
    before = life(daemon)
    clock.move(**back)
    with pytest.raises(Silent):
        beats(daemon)
    assert life(daemon) == before


def test_what_was_lived_through_before_a_step_back_is_not_claimed_by_who_lives_through_it_again(
    daemon, installation, clock, beats, was_there
):
    clock.set_to(at(13, 2))
    installation.tick()
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_NO_DAEMON]
    clock.set_to(at(12, 2))
    again = installation.start_daemon()
    installation.beat_until(at(13, 4))
    beats(again)
    assert not was_there(at(12, 30))
    assert was_there(at(13, 3))


def test_a_daemon_of_the_future_is_not_taken_for_a_living_one(daemon, installation, clock, database):
    clock.set_to(at(13, 2))
    installation.start_daemon()
    clock.set_to(at(12, 2))
    with database.read() as session:
        assert not settlement.is_worker_alive(session)


def test_another_daemons_presence_is_seen_across_a_step_back(daemon, installation, clock, database):
    """The spans of lives that began in the future are no evidence yet, and hide no other."""
    clock.set_to(at(13, 2))
    installation.start_daemon()
    clock.set_to(at(12, 2))
    installation.start_daemon()
    with database.read() as session:
        spans = processes.presences(session, at(11, 0))
    assert all(span.since <= span.until for span in spans)
    assert spans[-1].until >= at(13, 2)


def test_what_a_pause_kept_from_firing_stays_explained_though_it_ends_earlier_by_a_clock_set_back(
    daemon, installation, clock
):
    clock.set_to(at(11, 59, 55))
    installation.pause()
    clock.set_to(at(12, 0, 1))
    installation.tick()
    clock.set_to(at(11, 59, 58))
    installation.resume()
    installation.tick()
    with installation.database.read() as session:
        found = verify(session)
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_PAUSED]
    assert (found.problems, found.stepped_back) == ([], 0)


def test_a_pause_that_somebody_ended_holds_for_nobody_though_the_clock_was_set_back_in_it(
    daemon, installation, clock, database
):
    clock.set_to(at(11, 59, 55))
    installation.pause()
    clock.set_to(at(12, 0, 1))
    installation.tick()
    clock.set_to(at(11, 59, 57))
    installation.resume()
    with database.read() as session:
        assert not actions.is_paused(session)
        assert vitals.vitals(session).paused is None
    installation.pause("again")
    installation.resume()
    clock.set_to(at(12, 5, 1))
    installation.tick()
    assert [row.reason for row in installation.firings("feeds")] == [Reason.MISSED_PAUSED, None]


def test_a_definition_that_changes_after_a_step_back_does_not_count_for_what_was_decided_before(
    daemon, installation, clock
):
    clock.set_to(at(12, 0, 30))
    installation.tick()
    clock.set_to(at(11, 30))
    installation.sync(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", grace=600))
    clock.set_to(at(14, 0))
    installation.tick()
    with installation.database.read() as session:
        assert verify(session).problems == []
