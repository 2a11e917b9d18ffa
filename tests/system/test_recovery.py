"""What kills, freezes, cuts and deploys leave behind: nothing is lost, nothing is doubled, and it is made up in time.

Figures stand in each test's record as properties, and are printed.  REPEATS=10 in the environment does what is done
several times so often.
"""

import os
import signal
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import mariadb
import pytest
from kinds import ON_EACH, ON_MARIADB, ON_SQLITE
from ledger import MINUTE, Ledger, definitions, minute
from mariadb import Server
from programs import Program, Site, environment, wait_until

from schedmgr.core import actions
from schedmgr.database.engine import Database
from schedmgr.database.migrate import migrate
from schedmgr.vocabulary import Decision, Reason, RunStatus

pytestmark = pytest.mark.timeout(240)

BATCH = 500  # schedules that one transaction of a daemon claims at most
REPEATS = int(os.environ.get("REPEATS", "3"))
LEASE = 20  # seconds; longer than the server is away
TENTH = timedelta(seconds=0.1)


@pytest.fixture
def ledger(site, installation, clock, database_kind, request) -> Ledger:
    """On SQLite or on a private server."""
    server = request.getfixturevalue("mariadb_server") if database_kind == "mariadb" else None
    return Ledger(site, installation, clock, server)


@pytest.fixture
def figure(record_property) -> Callable[[str, float], None]:
    """Says a number of seconds in the test's record."""

    def figure(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 3))
        sys.stdout.write(f"{what}: {seconds:.3f} s\n")

    return figure


# Killed


@ON_EACH
def test_after_a_kill_and_a_restart_what_is_due_fires_within_two_seconds(ledger: Ledger, figure):
    ledger.define(20)
    daemon = ledger.start_daemon()
    took = []
    for number in range(REPEATS):
        ledger.approach(minute(number))
        daemon.kill()
        ledger.daemons.clear()
        ledger.wait_for(minute(number))
        started_at = ledger.clock.now
        daemon = ledger.start_daemon()
        ledger.wait_until_fired(minute(number))
        took.append(ledger.late(minute(number)) - (started_at - minute(number)).total_seconds())
        figure("from the start of the process to its first firing", took[-1])
    assert ledger.covered() == ledger.due(minute(0), minute(REPEATS - 1))
    # Half of them: others may use this machine meanwhile.
    assert statistics.median(took) < 2


@ON_EACH
def test_when_one_of_two_daemons_is_killed_at_work_nothing_is_late_by_more_than_a_second(ledger: Ledger, figure):
    ledger.define(100)
    ledger.start_daemon()
    ledger.start_daemon()
    late = []
    for number in range(REPEATS):
        ledger.approach(minute(number))
        kill_at_work(ledger, minute(number))
        ledger.wait_until_fired(minute(number))
        late.append(ledger.late(minute(number)))
        figure("late after one of two was killed at work", late[-1])
        ledger.start_daemon()
    assert ledger.covered() == ledger.due(minute(0), minute(REPEATS - 1))
    assert {row.decision for row in ledger.firings()} == {Decision.ENQUEUED}
    assert max(late) < 1


def kill_at_work(ledger: Ledger, instant: datetime) -> None:
    """Kill a daemon that is in the middle of its decisions about that instant."""
    if ledger.server is None:
        ledger.wait_for(instant)
        daemon = wait_until(lambda: holder_of_the_file(ledger), "a daemon writes")
        daemon.kill()
    else:
        with ledger.decisions_held_up():
            daemon = ledger.wait_for_holder(more_than=150)
            daemon.kill()
    ledger.daemons.remove(daemon)


def holder_of_the_file(ledger: Ledger) -> Program | None:
    """The daemon that holds the write lock of the SQLite file at this moment."""
    inode = (ledger.site.folder / "schedmgr.db-shm").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines() if f":{inode} 120 120" in line]
    pids = [int(words[4]) for words in held if words[3] == "WRITE"]
    return next((one for one in ledger.daemons if one.process.pid in pids), None)


def test_each_firing_names_the_life_of_the_daemon_that_decided_it(ledger: Ledger):
    ledger.define(3)
    first = ledger.start_daemon()
    ledger.approach(minute(0))
    ledger.wait_until_fired(minute(0))
    first.kill()
    ledger.daemons.clear()
    second = ledger.start_daemon()
    ledger.approach(minute(1))
    ledger.wait_until_fired(minute(1))
    deciders = {row.scheduled_for: row.process_id for row in ledger.firings()}
    assert [deciders[minute(0)]] == ledger.lives(first)
    assert [deciders[minute(1)]] == ledger.lives(second)
    assert all(row.process_id == deciders[row.scheduled_for] for row in ledger.firings())
    assert socket.gethostname() not in "".join(deciders.values())


# Frozen


@ON_MARIADB
def test_what_a_frozen_daemon_holds_fires_within_twelve_seconds_and_all_else_at_once(ledger: Ledger, figure):
    ledger.define(BATCH + 20)
    ledger.start_daemon()
    ledger.start_daemon()
    ledger.approach(minute(0))
    with ledger.decisions_held_up():
        frozen = ledger.wait_for_holder(more_than=1.8 * BATCH)
        frozen.freeze()
    assert ledger.holders(more_than=1.8 * BATCH) == [frozen]
    ledger.daemons.remove(frozen)
    (other,) = ledger.daemons

    ledger.wait_until_fired(minute(0))
    late = sorted((row.decided_at - minute(0)).total_seconds() for row in ledger.firings())
    figure("late: what the frozen one did not hold", late[19])
    figure("late: what the frozen one held", late[-1])
    assert late[19] < 3
    assert late[20] > 5  # it held them indeed
    assert late[-1] < 12

    ledger.approach(minute(1))
    ledger.wait_until_fired(minute(1))
    ledger.clock.set_to(minute(1) + MINUTE / 4)
    frozen.thaw()
    frozen.wait_for_log("daemon began anew")
    old_life, new_life = ledger.lives(frozen)

    ledger.daemons = [frozen]
    other.kill()
    ledger.approach(minute(2))
    ledger.wait_until_fired(minute(2))
    deciders = {row.process_id for row in ledger.firings()}
    assert deciders == {*ledger.lives(other), new_life}
    assert old_life not in deciders
    assert ledger.covered() == ledger.due(minute(0), minute(2))
    assert {row.decision for row in ledger.firings()} == {Decision.ENQUEUED}


@ON_SQLITE
def test_a_frozen_daemon_that_holds_the_file_is_named_and_after_its_end_all_is_decided(ledger: Ledger, figure):
    ledger.define(400)
    ledger.start_daemon()
    ledger.start_daemon()
    frozen, number = freeze_at_work(ledger)
    ledger.clock.set_to(minute(number + 3) + MINUTE / 3)

    health = ledger.site.command("health", "-v")
    assert health.returncode != 0
    assert f"process {frozen.process.pid}" in health.stdout, health.stdout

    frozen.kill()
    killed_at = time.monotonic()
    ledger.wait_until_fired(minute(number + 3))
    figure("from the end of the frozen one until all is decided", time.monotonic() - killed_at)
    assert ledger.covered() == ledger.due(minute(0), minute(number + 3))
    rows = [row for row in ledger.firings() if row.scheduled_for >= minute(number)]
    assert {row.scheduled_for for row in rows if row.decision is Decision.ENQUEUED} == {minute(number + 3)}
    skipped = [row for row in rows if row.decision is Decision.SKIPPED]
    assert {row.reason for row in skipped if row.missed_until >= minute(number + 1)} == {Reason.MISSED_NO_DAEMON}
    # The other one may just have beaten when that minute began.
    of_the_first = Reason.MISSED_LATE if ledger.had_a_daemon(minute(number)) else Reason.MISSED_NO_DAEMON
    assert {row.reason for row in skipped if row.scheduled_for == minute(number)} == {of_the_first}


def freeze_at_work(ledger: Ledger) -> tuple[Program, int]:
    """Freeze a daemon in the middle of its decisions; gives it, and the number of the minute that it decides."""
    for number in range(10):
        ledger.approach(minute(number))
        ledger.wait_for(minute(number))
        daemon = wait_until(lambda: holder_of_the_file(ledger), "a daemon writes")
        daemon.freeze()
        if holder_of_the_file(ledger) is daemon and not ledger.fired_at(minute(number)):
            return daemon, number
        daemon.thaw()
        ledger.wait_until_fired(minute(number))
    raise AssertionError("ten times no daemon was at work when it was frozen")


# Cut off, and a server that dies


@ON_MARIADB
def test_connections_that_are_cut_in_the_middle_of_decisions_lose_nothing(ledger: Ledger, figure):
    ledger.define(200)
    ledger.start_daemon()
    ledger.start_daemon()
    for number in range(REPEATS):
        ledger.approach(minute(number))
        with ledger.decisions_held_up():
            ledger.cut(ledger.wait_for_holder(more_than=300))
        for _ in range(10):
            for daemon in ledger.daemons:
                ledger.cut(daemon)
        ledger.wait_until_fired(minute(number))
        figure("late after ten cuts", ledger.late(minute(number)))
    assert ledger.covered() == ledger.due(minute(0), minute(REPEATS - 1))
    assert {row.decision for row in ledger.firings()} == {Decision.ENQUEUED}
    assert all("Traceback" not in daemon.log for daemon in ledger.daemons)


@pytest.fixture
def mortal(tmp_path) -> Iterator[Server]:
    """A server that flushes at each commit, for the test to kill."""
    if reason := mariadb.reason_to_skip():
        pytest.skip(reason)
    with Server.make(tmp_path / "server", durable=True) as server:
        yield server


@pytest.fixture
def on_a_mortal_server(mortal, tmp_path, clock, kinds) -> Iterator[Ledger]:
    url = mortal.create("schedmgr")
    database = Database(url, test_clock=clock.file)
    migrate(database)
    site = Site(tmp_path, environment(url, clock.file) | {"SCHEDMGR_LEASE_SECONDS": str(LEASE)})
    yield Ledger(site, kinds.installation(database, clock), clock, mortal)
    for program in site.programs:
        program.end()
    database.close()


def test_when_the_server_is_killed_and_comes_back_all_go_on_by_themselves(
    on_a_mortal_server: Ledger, mortal: Server, tmp_path, figure
):
    ledger, site = on_a_mortal_server, on_a_mortal_server.site
    prints = tmp_path / "prints"
    wait = f"cd {tmp_path}; touch started; while ! test -e go; do sleep 0.05; done; echo ended >> long"
    ledger.define(20, f"echo $SCHEDMGR_SCHEDULE_ID $SCHEDMGR_SCHEDULED_FOR >> {prints}", more=LONG.format(wait=wait))
    ledger.start_daemon()
    ledger.start_daemon()
    worker, web = ledger.start_worker(), site.start_web()
    ledger.approach(minute(0))
    ledger.wait_until_fired(minute(0))
    run_id = ledger.installation.database.transact(
        lambda session: actions.run_job(session, "long", ledger.installation.person)
    )
    wait_until((tmp_path / "started").exists, "the long job runs")

    ledger.approach(minute(1))
    ledger.wait_for(minute(1))
    mortal.kill()
    (tmp_path / "go").touch()
    for program in (*ledger.daemons, worker):
        program.wait_for_log(AWAY)
    wait_until((tmp_path / "long").exists, "the long job has ended")
    noticed_at = time.monotonic() + LEASE / 4 + 1
    wait_until(lambda: time.monotonic() > noticed_at, "every part of every process has asked for the database")
    mortal.start()
    back_at = ledger.clock.now

    ledger.wait_until_fired(minute(1))
    figure("from the start of the server to the last firing", (ledger.clock.now - back_at).total_seconds())
    ledger.approach(minute(2))
    ledger.wait_until_fired(minute(2))
    wait_until(lambda: all(run.status.is_over for run in ledger.installation.runs()), "every job run ends")
    assert {run.status for run in ledger.installation.runs()} == {RunStatus.SUCCEEDED}
    assert ledger.covered() == ledger.due(minute(0), minute(2))
    assert ledger.footprints(prints) == ledger.due(minute(0), minute(2))
    assert (tmp_path / "long").read_text() == "ended\n"
    assert {run.attempt for run in ledger.installation.runs() if run.id == run_id} == {1}
    for daemon in ledger.daemons:
        assert (who_says(daemon, AWAY), who_says(daemon, BACK)) == (["daemon"], ["daemon"])
    away = who_says(worker, AWAY)
    assert {f"end of job run {run_id}", "worker", "worker's beat"} <= set(away)
    assert len(away) == len(set(away)), away
    wait_until(lambda: who_says(worker, BACK) == away, "each part of the worker has the database back")
    assert is_ready(web), web.log


LONG = """
jobs.append(Job("long", command={wait!r}))
"""
AWAY, BACK = "waits for the database", "has the database back"


def who_says(program: Program, words: str) -> list[str]:
    """Which parts of a process say these words in its log, and how often."""
    said = [line.split(maxsplit=2)[2] for line in program.log.splitlines() if words in line]
    return sorted(line.partition(f" {words}")[0] for line in said)


def is_ready(web: Program) -> bool:
    with urllib.request.urlopen(f"{web.address}/readyz?part=web", timeout=10) as answer:
        return bool(answer.status == 200)


# Deployed


@ON_EACH
def test_a_deploy_at_the_minute_neither_loses_nor_doubles_nor_delays_it(ledger: Ledger, figure):
    ledger.define(20)
    old = deployed(ledger, 0)
    for number in range(REPEATS):
        ledger.approach(minute(number))
        ledger.wait_for(minute(number) - TENTH)
        old.send(signal.SIGTERM)
        new = deployed(ledger, number + 1)
        ledger.wait_until_fired(minute(number))
        assert old.exit_code() == 0
        began = max(ledger.beginning(new), minute(number))
        late = ledger.late(minute(number)) - (began - minute(number)).total_seconds()
        figure("late", ledger.late(minute(number)))
        figure("late after the beginning of the new one", late)
        assert late < 1
        assert ledger.installation.schedule("s000").description == f"version {number + 1}"
        old = new
    assert ledger.covered() == ledger.due(minute(0), minute(REPEATS - 1))
    assert {row.decision for row in ledger.firings()} == {Decision.ENQUEUED}


@ON_EACH
def test_a_deploy_whose_new_daemon_starts_before_the_old_one_ends_delays_nothing(ledger: Ledger, figure):
    ledger.define(20)
    old = deployed(ledger, 0)
    for number in range(REPEATS):
        ledger.clock.set_to(minute(number) - 0.7 * MINUTE)
        new = deployed(ledger, number + 1)
        ledger.daemons = [old, new]
        ledger.approach(minute(number))
        ledger.wait_for(minute(number) - TENTH)
        old.send(signal.SIGTERM)
        ledger.wait_until_fired(minute(number))
        assert old.exit_code() == 0
        figure("late", ledger.late(minute(number)))
        assert ledger.late(minute(number)) < 1
        assert ledger.installation.schedule("s000").description == f"version {number + 1}"
        old, ledger.daemons = new, [new]
    assert ledger.covered() == ledger.due(minute(0), minute(REPEATS - 1))
    assert {row.decision for row in ledger.firings()} == {Decision.ENQUEUED}


def deployed(ledger: Ledger, version: int) -> Program:
    """A daemon with definitions of its own, once they are in force."""
    cron = ("* * * * *", "*/1 * * * *")[version % 2]  # the same minutes, and yet a change of when it is due
    file = ledger.site.define(definitions(20, cron=cron, description=f"version {version}"), f"version{version}.py")
    ledger.daemons.clear()
    daemon = ledger.start_daemon(SCHEDMGR_DEFINITIONS=str(file))
    daemon.wait_for_log("definition changed schedule=s019")
    return daemon
