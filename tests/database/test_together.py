"""Daemons, workers and people at the same time, each with connections of its own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from kinds import ON_MARIADB
from sqlalchemy import text

from schedmgr.core import actions, attempts, locking, processes
from schedmgr.core.audit import Requester
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.settlement import Settlement
from schedmgr.core.transitions import Ending
from schedmgr.daemon import tick
from schedmgr.database.types import readable_instant
from schedmgr.vocabulary import ProcessRole, RunStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ANN = Requester("web:ann", "192.0.2.7")
PATIENCE = 30.0  # seconds
IDS = [f"s{number}" for number in range(120)]


@pytest.fixture
def due_at_noon(installation, clock):
    """120 schedules that have just become due."""
    clock.set_to(NOON - timedelta(seconds=30))
    installation.turned_on(*(Schedule(id, cron="*/5 * * * *", execution_mode="ALL_JOBS") for id in IDS))
    clock.set_to(NOON)
    return installation


@pytest.fixture
def together():
    """Do all of these at the same time, and give what each of them gives."""

    def together(*deeds):
        barrier = Barrier(len(deeds))

        def begin(deed):
            barrier.wait()
            return deed()

        with ThreadPoolExecutor(len(deeds)) as threads:
            return list(threads.map(begin, deeds))

    return together


@pytest.fixture
def daemon(open_database):
    """One more daemon: settles in small bites until nothing is due, and says how much it settled."""

    def daemon():
        database = open_database()
        process = database.transact(
            lambda session: processes.register(session, ProcessRole.DAEMON, environment="development", version="1")
        )

        def settle_all() -> int:
            settled = 0
            while tick.look(database).is_due:
                settled += len(tick.tick(database, process, limit=10).firings)
            return settled

        return settle_all

    return daemon


def test_daemons_that_tick_together_fire_each_occurrence_once(due_at_noon, together, daemon, database):
    settled = together(daemon(), daemon(), daemon())
    assert sum(settled) == len(IDS)
    with database.read() as session:
        rows = session.execute(text("SELECT schedule_id, scheduled_for, job_run_count FROM schedule_firing")).all()
    assert sorted((id, readable_instant(due), runs) for id, due, runs in rows) == sorted((id, NOON, 1) for id in IDS)
    assert len(due_at_noon.runs()) == len(IDS)


def test_whoever_switches_off_while_daemons_tick_leaves_no_gap(due_at_noon, together, daemon, open_database):
    def switch_off():
        people = open_database()
        for id in reversed(IDS):
            people.transact(lambda session, id=id: actions.disable(session, id, ANN))

    together(daemon(), switch_off, daemon())
    assert [len(due_at_noon.firings(id)) for id in IDS] == [1] * len(IDS)
    assert [due_at_noon.schedule(id).next_run_at for id in IDS] == [None] * len(IDS)


def test_whoever_pauses_while_daemons_tick_leaves_no_gap(due_at_noon, together, daemon, open_database):
    people = open_database()
    together(daemon(), lambda: people.transact(lambda session: actions.pause(session, ANN, "db failover")), daemon())
    assert [len(due_at_noon.firings(id)) for id in IDS] == [1] * len(IDS)


@ON_MARIADB  # rows are locked one by one
@pytest.mark.parametrize(
    ("throw", "is_on", "due_by"),
    [(actions.enable, False, ["*/10 * * * *"]), (actions.disable, True, [])],
    ids=["on", "off"],
)
def test_a_switch_that_is_thrown_while_a_deploy_waits_for_it_counts(
    installation, open_database, mariadb_server, throw, is_on, due_by
):
    installation.sync(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS"))
    if is_on:
        installation.enable("feeds")
    changed = Schedule("feeds", cron="*/10 * * * *", execution_mode="ALL_JOBS")
    with ThreadPoolExecutor(1) as threads:
        with open_database().write() as person:
            throw(person, "feeds", ANN)
            deploy = threads.submit(installation.sync, changed)
            wait_until(lambda: somebody_waits_for_a_row(mariadb_server))
        deploy.result()
    assert [period.cron for period in installation.periods("feeds") if period.until_at is None] == due_by
    assert installation.schedule("feeds").enabled is not is_on
    assert installation.repair() == Settlement()


@ON_MARIADB
def test_who_cancels_a_run_while_its_attempt_fails_cancels_it(installation, open_database, mariadb_server):
    flaky = Job("flaky", command="false", retries=1)
    installation.sync(Schedule("feeds", cron="@daily", execution_mode="ALL_JOBS"), jobs=[flaky])
    installation.run_now("feeds")
    database = open_database()
    (run,) = database.transact(lambda session: locking.claim_runs(session, "w", 1, timedelta(minutes=1)))
    with ThreadPoolExecutor(1) as threads:
        with open_database().write() as worker:
            ending = Ending(RunStatus.FAILED, worker.now(), exit_code=1)
            assert attempts.end_attempt(worker, run.id, run.attempt, run.definition, ending, run.lease_token)
            cancelling = threads.submit(database.transact, lambda session: actions.cancel(session, run.id, ANN))
            wait_until(lambda: somebody_waits_for_a_row(mariadb_server))
        assert cancelling.result() is RunStatus.CANCELLED
    assert [row.status for row in installation.runs()] == [RunStatus.CANCELLED]


def somebody_waits_for_a_row(server):
    return server.query("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") != []


def wait_until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        threading.Event().wait(0.2)  # asked more often, a server gives its old answer


def test_the_same_request_at_the_same_time_enqueues_once(due_at_noon, together, open_database):
    def ask():
        database = open_database()
        return lambda: database.transact(lambda session: actions.run_now(session, "s1", ANN, "key-1"))

    answers = together(ask(), ask(), ask(), ask())
    assert len(set(answers)) == 1
    assert len(due_at_noon.runs("s1")) == 1


def test_workers_that_claim_together_get_each_run_once(due_at_noon, together, daemon, open_database):
    daemon()()

    def worker(name):
        database = open_database()

        def claim_all() -> list[int]:
            claimed = []
            while more := database.transact(
                lambda session: locking.claim_runs(session, name, 7, timedelta(seconds=60))
            ):
                claimed += [run.id for run in more]
            return claimed

        return claim_all

    claimed = together(worker("w1"), worker("w2"), worker("w3"))
    assert sorted(id for ids in claimed for id in ids) == [run.id for run in due_at_noon.runs()]
