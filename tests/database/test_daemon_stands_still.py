"""A daemon whose heart beats while nothing fires: health says so, its log says why, and it goes on once it can."""

import re
import threading
import time
from datetime import UTC, datetime, timedelta

import galera
import pytest
from kinds import ON_MARIADB, ON_SQLITE
from sqlalchemy import text

from schedmgr.core import health
from schedmgr.core.definitions import Schedule
from schedmgr.core.verdict import Status
from schedmgr.daemon.loop import Daemon, DaemonOptions

NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
FEEDS = Schedule("feeds", cron="* * * * *", execution_mode="ALL_JOBS", missed="run_once")
PATIENCE = 30.0  # seconds


def wait_until(condition):
    limit = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not come true"
        threading.Event().wait(0.05)
    return found


@pytest.fixture
def looping(monkeypatch, installation, clock, open_database, tmp_path):
    """At 12:00:30 a schedule of every minute is on; gives the call that starts a daemon's loop.

    It has no definitions of its own, so the tables stay as they are.
    """
    monkeypatch.setattr("schedmgr.daemon.held.SAID_AFTER", 0.3)
    clock.set_to(NOON)
    installation.turned_on(FEEDS)
    (tmp_path / "definitions.py").write_text("jobs = [\n")
    options = DaemonOptions(
        environment="development",
        version="1",
        definitions=None,
        directory=tmp_path,
        poll_interval=timedelta(seconds=0.2),
        lease_seconds=1,
        concurrency=0,
        retention=timedelta(days=90),
    )
    daemon = Daemon(open_database(), options)
    stop = threading.Event()
    thread = threading.Thread(target=daemon.run, args=(stop,))

    def start():
        daemon.begin(lambda: None, stop)
        thread.start()

    yield start
    stop.set()
    thread.join()
    daemon.end()


@pytest.fixture
def reported(database):
    """Wait until health has trouble of one kind and none with the daemon's beat; gives the sentence."""

    def reported(key: str) -> str:
        def found() -> str | None:
            troubles = {check.key: check.sentence for check in health.check(database).troubles}
            return None if "daemon" in troubles else troubles.get(key)

        return wait_until(found)

    return reported


@ON_SQLITE  # the same loop; the trigger is written in SQLite's words
def test_a_tick_that_fails_each_time_is_reported_while_the_heart_beats(looping, installation, clock, reported):
    installation.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON schedule_firing BEGIN SELECT RAISE(ABORT, 'out of luck'); END"
    )
    looping()
    clock.move(seconds=95)
    sentence = reported("due")
    assert re.fullmatch(
        r"feeds was due 1 min \d+ s ago, at 12:01 UTC, and nothing has decided it\. The daemon on \S+ beats but does "
        r"not fire: its log says what it waits for\.",
        sentence,
    )
    installation.sql("DROP TRIGGER refuse")
    wait_until(lambda: installation.firings("feeds"))


@ON_MARIADB
def test_rows_that_something_dead_keeps_locked_are_reported_while_the_heart_beats(
    looping, installation, clock, open_database, reported, caplog
):
    with open_database().write() as dead:
        dead.execute(text("SELECT id FROM job_schedule FOR UPDATE"))
        looping()
        clock.move(seconds=95)
        assert "beats but does not fire" in reported("due")
        wait_until(lambda: "what is due cannot be claimed" in caplog.text)
        assert installation.firings("feeds") == []
    wait_until(lambda: installation.firings("feeds"))


@ON_MARIADB
@pytest.mark.skipif(galera.is_asked_for(), reason="a cluster is asked through its other nodes")
def test_a_server_that_takes_reads_and_no_writes_is_critical_and_named(installation, clock, mariadb_server):
    installation.start_daemon()
    clock.move(seconds=90)
    mariadb_server.query("SET GLOBAL read_only = 1")
    verdict = health.check(installation.database)
    mariadb_server.query("SET GLOBAL read_only = 0")
    troubles = {check.key: check for check in verdict.troubles}
    assert troubles["writes"].status is Status.CRITICAL
    assert troubles["writes"].sentence.startswith("The MariaDB server is set to read-only: nothing is decided.")


def test_a_clock_that_was_set_back_is_reported_while_the_heart_beats(looping, installation, clock, reported):
    looping()
    clock.move(hours=2)
    wait_until(lambda: installation.firings("feeds"))
    clock.move(hours=-1)
    assert "The database's clock was set back: 1 schedule is decided already" in reported("ahead")
