"""A COMMIT that got no answer: whatever became of it, what was asked for is done once, and its answer is the right one.

The connection is cut before the COMMIT reaches the server, after it, or long before.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from kinds import ON_MARIADB
from mariadb import Server
from sqlalchemy import insert, select
from wire import Fate, Wire

from schedmgr.core import actions, locking
from schedmgr.core.definitions import Job, Schedule
from schedmgr.daemon import tick
from schedmgr.database.engine import Database, Session
from schedmgr.database.models import AuditEvent, JobRunAttempt, Pause, Setting
from schedmgr.errors import DatabaseUnavailable, Refused
from schedmgr.vocabulary import RunStatus
from schedmgr.worker.pool import Pool, PoolOptions

pytestmark = ON_MARIADB

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PATIENCE = 30.0  # seconds
A_MINUTE = timedelta(minutes=1)
FEEDS = Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS")


@pytest.fixture
def wire(mariadb_server: Server) -> Iterator[Wire]:
    with Wire(mariadb_server.port) as wire:
        yield wire


@pytest.fixture
def over_the_wire(database_url, wire, mariadb_server, clock) -> Iterator[Database]:
    """The test's database, reached by the wire."""
    url = database_url.replace(f":{mariadb_server.port}", f":{wire.port}")
    database = Database(url, test_clock=clock.file)
    yield database
    database.close()


def setting(key: str) -> dict[str, object]:
    return {"key": key, "value": {}, "changed_at": NOON, "changed_by": "ann"}


class Counted:
    """Work that writes one row, and counts how often it was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, session: Session) -> str:
        self.times += 1
        key = f"try-{self.times}"
        session.execute(insert(Setting).values(setting(key)))
        session.leaves(select(Setting.key).where(Setting.key == key))
        return key


def keys(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Setting.key)))


# Any work


def test_what_was_committed_is_read_back_and_not_done_again(over_the_wire, wire):
    work = Counted()
    wire.next_commits(Fate.CARRIED_OUT)
    assert over_the_wire.transact(work) == "try-1"
    assert (keys(over_the_wire), work.times, wire.cuts) == (["try-1"], 1, 1)


def test_what_was_not_committed_is_done_again(over_the_wire, wire):
    work = Counted()
    wire.next_commits(Fate.LOST)
    assert over_the_wire.transact(work) == "try-2"
    assert (keys(over_the_wire), work.times, wire.cuts) == (["try-2"], 2, 1)


def test_the_connection_may_be_cut_time_and_again(over_the_wire, wire):
    work = Counted()
    wire.next_commits(Fate.LOST, Fate.LOST, Fate.LOST, Fate.CARRIED_OUT)
    assert over_the_wire.transact(work) == "try-4"
    assert (keys(over_the_wire), wire.cuts) == (["try-4"], 4)


def test_a_commit_that_is_still_on_its_way_is_waited_for(over_the_wire, wire):
    work = Counted()
    wire.next_commits(Fate.LATE)
    threading.Timer(1.0, wire.lets_late_ones_go.set).start()
    assert over_the_wire.transact(work) == "try-1"
    assert (keys(over_the_wire), work.times, wire.cuts) == (["try-1"], 1, 1)


def test_a_commit_that_never_comes_is_done_again_once_the_server_has_let_it_go(over_the_wire, wire, monkeypatch):
    monkeypatch.setattr("schedmgr.database.mysql.HOLD_TIMEOUT", 2)
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    work = Counted()
    wire.next_commits(Fate.NEVER)
    assert over_the_wire.transact(work) == "try-2"
    assert (keys(over_the_wire), work.times, wire.cuts) == (["try-2"], 2, 1)


def test_a_database_that_does_not_come_back_is_said_to_leave_it_open(over_the_wire, wire, monkeypatch):
    monkeypatch.setattr("schedmgr.database.engine.READ_BACK_WITHIN", 0.0)
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    wire.next_commits(Fate.LATE)
    with pytest.raises(DatabaseUnavailable, match=r"Whether the last change was kept cannot be said\.$"):
        over_the_wire.transact(Counted())


# What daemons do


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
def test_a_tick_fires_each_occurrence_once_and_says_which_firings_it_wrote(
    installation, over_the_wire, wire, clock, fate
):
    clock.set_to(NOON)
    installation.turned_on(*(Schedule(f"s{n}", cron="*/5 * * * *", execution_mode="ALL_JOBS") for n in range(20)))
    clock.set_to(NOON + timedelta(minutes=5))
    daemon = installation.start_daemon()
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    settled = tick.tick(over_the_wire, daemon)
    rows = [row for n in range(20) for row in installation.firings(f"s{n}")]
    assert {firing.schedule_id: id for firing, id in zip(settled.firings, settled.firing_ids, strict=True)} == {
        row.schedule_id: row.id for row in rows
    }
    assert len(rows) == len(installation.runs()) == 20
    assert wire.cuts == 1


# What workers do


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
def test_a_worker_knows_every_run_that_it_claimed(installation, over_the_wire, wire, fate):
    installation.sync(FEEDS)
    for _ in range(6):
        installation.run_now("feeds")
    token = locking.new_token()
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    claimed = over_the_wire.transact(lambda session: locking.claim_runs(session, "w", 4, A_MINUTE, claim_token=token))
    running = {run.lease_token for run in installation.runs() if run.status == RunStatus.RUNNING}
    assert {run.lease_token for run in claimed} == running
    assert (len(claimed), wire.cuts) == (4, 1)


def test_a_claim_of_which_it_is_not_known_whether_it_was_kept_is_given_back(
    installation, over_the_wire, wire, monkeypatch
):
    monkeypatch.setattr("schedmgr.database.engine.READ_BACK_WITHIN", 0.0)
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    installation.sync(FEEDS)
    installation.run_now("feeds")
    token = locking.new_token()
    wire.next_commits(Fate.LATE)
    with pytest.raises(DatabaseUnavailable):
        over_the_wire.transact(lambda session: locking.claim_runs(session, "w", 4, A_MINUTE, claim_token=token))
    wire.lets_late_ones_go.set()
    assert over_the_wire.transact(lambda session: locking.give_back_claim(session, token, started=())) == 1
    assert [(run.status, run.lease_token) for run in installation.runs()] == [(RunStatus.QUEUED, None)]
    with over_the_wire.read() as session:
        assert session.execute(select(JobRunAttempt.run_id)).all() == []


@pytest.fixture
def worker(over_the_wire) -> Iterator[Pool]:
    """With its own process for jobs.  The test starts it."""
    pool = Pool(over_the_wire, PoolOptions(4, 60, 30), process_id=lambda: "w1", environ=os.environ)
    yield pool
    pool.hurry()
    pool.stop()


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
def test_a_worker_whose_claim_was_in_doubt_runs_each_run_once(installation, worker, wire, tmp_path, fate):
    """None is lost, none waits for a lease to lapse, none runs twice."""
    echo = Job("echo", command=f"echo $SCHEDMGR_RUN_ID >> {tmp_path}/ran")
    installation.sync(Schedule("echoes", cron="@daily", execution_mode="ALL_JOBS"), jobs=[echo])
    enqueued = [id for _ in range(6) for id in installation.run_now("echoes").job_run_ids]
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    worker.start()
    wait_until(lambda: all(run.status.is_over for run in installation.runs()), "all have ended")
    assert {(run.status, run.attempt) for run in installation.runs()} == {(RunStatus.SUCCEEDED, 1)}
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == enqueued
    assert wire.cuts == 1


def test_a_worker_whose_claim_stayed_in_doubt_gives_back_what_it_did_not_start(
    installation, worker, wire, monkeypatch, caplog
):
    monkeypatch.setattr("schedmgr.database.engine.READ_BACK_WITHIN", 0.0)
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    installation.sync(Schedule("s", cron="@daily", execution_mode="ALL_JOBS"))
    installation.run_now("s")
    wire.next_commits(Fate.LATE)
    worker.start()
    wait_until(lambda: "Whether the last change was kept cannot be said" in caplog.text, "the claim stays in doubt")
    wire.lets_late_ones_go.set()
    wait_until(lambda: all(run.status.is_over for run in installation.runs()), "all have ended")
    assert "job runs given back unstarted, since their claim was in doubt count=1" in caplog.text
    assert [(run.status, run.attempt) for run in installation.runs()] == [(RunStatus.SUCCEEDED, 1)]


def test_a_worker_that_is_stopped_while_its_claim_is_in_doubt_gives_it_back(
    installation, worker, wire, monkeypatch, caplog
):
    monkeypatch.setattr("schedmgr.database.engine.READ_BACK_WITHIN", 0.0)
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    installation.sync(Schedule("s", cron="@daily", execution_mode="ALL_JOBS"))
    installation.run_now("s")
    wire.next_commits(Fate.LATE)
    worker.start()
    wait_until(lambda: "Whether the last change was kept cannot be said" in caplog.text, "the claim stays in doubt")
    wire.lets_late_ones_go.set()
    worker.stop()
    assert [run.lease_token for run in installation.runs()] == [None]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"not in time: {what}"
        threading.Event().wait(0.02)


# What people do


def audit(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


DEEDS: dict[str, Callable[[Session], object]] = {
    "enable": lambda session: actions.enable(session, "other", PERSON),
    "disable": lambda session: actions.disable(session, "feeds", PERSON),
    "run": lambda session: actions.run_now(session, "feeds", PERSON),
    "pause": lambda session: actions.pause(session, PERSON, "db failover"),
}
PERSON = actions.Requester("cli:ann@desk", "command line")


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_person_does_is_done_once_and_is_in_the_audit_once(installation, over_the_wire, wire, deed, fate):
    installation.turned_on(FEEDS, Schedule("other", cron="0 4 * * *", execution_mode="ALL_JOBS"))
    installation.disable("other")
    before = audit(over_the_wire)
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    over_the_wire.transact(DEEDS[deed])
    assert audit(over_the_wire)[len(before) :] == [deed]
    assert wire.cuts == 1


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
def test_who_runs_a_schedule_by_hand_gets_the_runs_that_were_enqueued_and_no_others(
    installation, over_the_wire, wire, fate
):
    installation.sync(FEEDS)
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    enqueued = over_the_wire.transact(DEEDS["run"])
    assert [row.id for row in installation.firings("feeds")] == [enqueued.firing_id]
    assert tuple(run.id for run in installation.runs("feeds")) == enqueued.job_run_ids


@pytest.mark.parametrize("fate", [Fate.CARRIED_OUT, Fate.LOST, Fate.LATE])
def test_who_resumes_is_not_told_that_nothing_is_paused(installation, over_the_wire, wire, fate):
    installation.turned_on(FEEDS)
    installation.pause()
    wire.next_commits(fate)
    threading.Timer(0.5, wire.lets_late_ones_go.set).start()
    over_the_wire.transact(lambda session: actions.resume(session, PERSON))
    with over_the_wire.read() as session:
        assert session.scalars(select(Pause.resumed_by)).all() == [PERSON.who]
    with pytest.raises(Refused, match="Nothing is paused"):
        over_the_wire.transact(lambda session: actions.resume(session, PERSON))
