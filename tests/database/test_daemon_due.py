"""How soon the daemon's loop looks again when something was due, and what it does about what it cannot settle."""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from kinds import ON_MARIADB, ON_SQLITE
from sqlalchemy import select

from schedmgr.core.definitions import Schedule
from schedmgr.core.settlement import Settlement
from schedmgr.daemon import tick
from schedmgr.daemon.loop import Daemon, DaemonOptions
from schedmgr.database.models import JobSchedule, Process
from schedmgr.vocabulary import Decision

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EVERY_5_MINUTES = Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow")


@pytest.mark.parametrize(
    ("settled", "longest"),
    [
        pytest.param(Settlement(asked=500, settled=500), 0.02, id="a batch was settled"),
        pytest.param(Settlement(asked=500, settled=499), 0.02, id="all but one of a batch"),
        pytest.param(Settlement(asked=0, settled=0), 0.1, id="another daemon holds what is due"),
    ],
)
def test_while_something_is_due_the_daemon_looks_again_soon(settled, longest):
    assert 0 < tick.pause_after(settled) <= longest


def test_it_does_not_spin_over_what_only_a_repair_can_make_right():
    assert tick.pause_after(Settlement(asked=1, settled=0)) >= 1.0


@ON_MARIADB  # a database in a file has the clock of its host
@pytest.mark.parametrize(("seconds", "side"), [(9, "ahead of"), (-9, "behind")])
def test_a_host_whose_clock_is_off_by_more_than_5_s_is_told_of_once(
    monkeypatch, caplog, database, clock, request, seconds, side
):
    monkeypatch.setattr("schedmgr.clock.host_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    caplog.set_level(logging.WARNING, "schedmgr.daemon.loop")
    request.getfixturevalue("looping")
    ends_at = time.monotonic() + 30.0
    while "clock is off" not in caplog.text:
        assert time.monotonic() < ends_at, "nothing is said"
        threading.Event().wait(0.05)
    assert f"this host's is {side} the database's" in caplog.text
    with database.read() as session:
        assert abs(session.scalar(select(Process.clock_offset)) - seconds) < 2


@pytest.fixture
def due(installation, clock):
    """At 12:00:01 a schedule of every five minutes has just become due."""
    clock.set_to(NOON - timedelta(minutes=2))
    installation.turned_on(EVERY_5_MINUTES)
    clock.set_to(NOON + timedelta(seconds=1))
    return installation


@pytest.fixture
def looping(open_database, tmp_path):
    """A daemon that repairs once an hour runs in a thread."""
    (tmp_path / "definitions.py").write_text("raise RuntimeError('these are of no use')")
    options = DaemonOptions(
        environment="development",
        version="1",
        definitions=None,
        directory=tmp_path,
        poll_interval=timedelta(hours=1),
        lease_seconds=60,
        concurrency=0,
        retention=timedelta(days=90),
    )
    daemon = Daemon(open_database(), options)
    stop = threading.Event()
    daemon.begin(lambda: None, stop)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    yield daemon
    stop.set()
    thread.join()
    daemon.end()


@pytest.fixture
def firings(installation):
    """Wait until the schedule has so many, and give them."""

    def firings(count):
        ends_at = time.monotonic() + 30.0
        while len(rows := installation.firings("feeds")) < count:
            assert time.monotonic() < ends_at, "it did not fire"
            threading.Event().wait(0.02)
        return rows

    return firings


@ON_SQLITE  # a server's columns hold nothing that cannot be read
def test_an_account_that_cannot_be_read_is_repaired_as_soon_as_it_is_due(due, looping, clock, firings):
    firings(1)
    due.sql("UPDATE job_schedule SET accounted_until = 'garbage'")
    clock.set_to(NOON + timedelta(minutes=5, seconds=1))
    rows = firings(2)
    assert [(row.scheduled_for - NOON, row.decision) for row in rows] == [
        (timedelta(0), Decision.ENQUEUED),
        (timedelta(minutes=5), Decision.ENQUEUED),
    ]


@ON_MARIADB  # rows are locked one by one
def test_rows_that_another_daemon_held_and_let_go_are_decided_by_this_one(due, looping, database, firings):
    with database.write() as session:
        session.execute(select(JobSchedule.id).with_for_update())
    assert firings(1)[0].process_id == looping.process_id


@ON_MARIADB
def test_a_tick_that_finds_all_rows_held_writes_nothing(due, database, open_database, clock):
    daemon = due.start_daemon()
    with database.read() as session:
        before = session.scalar(select(Process.beat_at).where(Process.id == daemon.id))
    clock.move(seconds=5)
    with open_database().write() as holder:
        holder.execute(select(JobSchedule.id).with_for_update())
        assert tick.tick(database, daemon) == Settlement()
    with database.read() as session:
        assert session.scalar(select(Process.beat_at).where(Process.id == daemon.id)) == before
