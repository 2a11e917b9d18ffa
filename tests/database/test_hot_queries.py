"""Each query that a daemon, a worker or a page asks all the time uses one index, and sorts nothing by itself.

What locks rows matters most: on MariaDB a claim that reads more rows than it takes locks them all, and then there is
nothing left for the others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from kinds import ON_MARIADB
from mariadb import Server
from plans import plan_of, plans_of
from sqlalchemy import Engine, event, insert, select, text

from schedmgr.core import locking, processes, settlement
from schedmgr.core.definitions import Schedule
from schedmgr.core.leases import LeaseWatch
from schedmgr.daemon import tick
from schedmgr.database.engine import Session
from schedmgr.database.models import Base, JobRun, JobSchedule, JobVersion, Process, ScheduleFiring
from schedmgr.vocabulary import UNFINISHED, Decision, ProcessRole, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCHEDULES = 300
RUNS = 1500


def schedule_row(number: int, due: int) -> dict[str, object]:
    """The first `due` of them are due at noon, a second apart; one in ten of the others is off."""
    is_on = number < due or number % 10 > 0
    return {
        "id": f"n{number}",
        "description": "",
        "cron": "*/5 * * * *",
        "timezone": "UTC",
        "execution_mode": "JOB",
        "job": "tidy",
        "environments": [],
        "missed": "skip",
        "catch_up_limit": 1,
        "overlap": "skip",
        "grace": 60,
        "jitter": 0,
        "definition": {},
        "fingerprint": "f",
        "position": number,
        "enabled": is_on,
        "accounted_until": NOON - MINUTE,
        "created_at": NOON,
        "changed_at": NOON,
        "next_run_at": NOON + timedelta(seconds=number - due + 1) if is_on else None,
    }


def firing_row(number: int) -> dict[str, object]:
    """Of a few schedules that have fired often."""
    return {
        "id": number,
        "schedule_id": f"n{number % 5}",
        "scheduled_for": NOON - number * MINUTE,
        "trigger": Trigger.SCHEDULE,
        "decision": Decision.ENQUEUED,
        "missed_count": 0,
        "job_run_count": 1,
        "decided_at": NOON - number * MINUTE,
        "claim_token": f"t{number // 100}",
    }


def run_row(number: int, waiting: int) -> dict[str, object]:
    """The newest `waiting` wait, each second one in turn; some are running; the others have ended."""
    status = (
        RunStatus.QUEUED
        if number > RUNS - waiting
        else RunStatus.RUNNING
        if number > RUNS - waiting - 20
        else RunStatus.SUCCEEDED
    )
    held = status is RunStatus.RUNNING
    return {
        "id": number,
        "firing_id": number,
        "schedule_id": f"n{number % SCHEDULES}",
        "job": "tidy",
        "group": "g",
        "scheduled_for": NOON - number * MINUTE,
        "job_version_id": 1,
        "trigger": Trigger.SCHEDULE,
        "attempt": 1,
        "status": status,
        "priority": number % 3,
        "in_turn": number % 2 == 0,
        "waits_for": 0,
        "queued_at": NOON - MINUTE,
        "available_at": NOON - MINUTE,
        "lease_token": f"t{number}" if held else None,
        "lease_until": NOON if held else None,
        "finished_at": None if status in UNFINISHED else NOON - MINUTE,
    }


def process_row(number: int) -> dict[str, object]:
    role = ProcessRole.DAEMON if number % 2 else ProcessRole.WORKER
    at = NOON - timedelta(hours=number)
    return {
        "id": f"p{number}",
        "role": role,
        "host": "h",
        "pid": 1,
        "version": "1",
        "environment": "development",
        "started_at": at - 50 * MINUTE,
        "beat_at": at,
        "clock_offset": 0.0,
        "concurrency": 4,
    }


@pytest.fixture
def history(database, clock) -> Callable[..., None]:
    """Fills the tables with a history, so that no plan is good only because there is hardly a row."""
    clock.set_to(NOON)

    def history(*, due: int = 20, waiting: int = 100) -> None:
        with database.write() as session:
            version = {"id": 1, "job": "tidy", "fingerprint": "f", "definition": {"command": "true"}}
            session.execute(insert(JobVersion), [version | {"created_at": NOON}])
            session.execute(insert(JobSchedule), [schedule_row(number, due) for number in range(SCHEDULES)])
            session.execute(insert(ScheduleFiring), [firing_row(number) for number in range(1, RUNS + 1)])
            session.execute(insert(JobRun), [run_row(number, waiting) for number in range(1, RUNS + 1)])
            session.execute(insert(Process), [process_row(number) for number in range(200)])

    return history


@pytest.fixture
def statistics(database) -> Callable[[], None]:
    """Lets a server count its rows now; without it, it does so by itself, some time later."""

    def statistics() -> None:
        with database.write() as session:
            session.execute(text(f"ANALYZE TABLE {', '.join(Base.metadata.tables)}"))

    return statistics


# What locks


@pytest.mark.parametrize("due", [1, 20, SCHEDULES], ids=["one is due", "some are due", "all are due"])
@pytest.mark.parametrize("limit", [1, tick.BATCH])
def test_a_claim_of_schedules_reads_those_that_are_due_in_the_order_of_their_index(database, history, due, limit):
    history(due=due)
    with database.write() as session:
        plan = plan_of(session, lambda session: locking.claim_due(session, session.now(), limit), "job_schedule")
    assert plan.indexes == [("job_schedule", "ix_job_schedule_due")]
    assert not plan.sorts
    assert not plan.scans


@pytest.mark.parametrize("waiting", [1, 100, 1400], ids=["one waits", "some wait", "nearly all wait"])
@pytest.mark.parametrize("groups", [(), ("g",)], ids=["all groups", "one group"])
def test_a_claim_of_runs_reads_the_queue_in_its_order(database, history, waiting, groups):
    history(waiting=waiting)
    with database.write() as session:
        plan = plan_of(
            session, lambda session: locking.claim_runs(session, "p", 4, timedelta(seconds=60), groups), "job_run"
        )
    assert plan.indexes == [("job_run", "ix_job_run_queue"), ("earlier", "ix_job_run_schedule")]
    assert not plan.sorts
    assert not plan.scans


@ON_MARIADB
def test_the_plans_of_the_claims_are_the_same_once_the_server_has_counted_its_rows(database, history, statistics):
    history(due=SCHEDULES)
    statistics()
    with database.write() as session:
        due = plan_of(session, lambda session: locking.claim_due(session, session.now(), tick.BATCH), "job_schedule")
        runs = plan_of(session, lambda session: locking.claim_runs(session, "p", 4, timedelta(seconds=60)), "job_run")
    assert due.indexes == [("job_schedule", "ix_job_schedule_due")]
    assert runs.indexes == [("job_run", "ix_job_run_queue"), ("earlier", "ix_job_run_schedule")]
    assert not due.sorts | runs.sorts


@ON_MARIADB
def test_a_daemon_that_claims_some_of_the_due_schedules_leaves_the_others_to_the_next(database, open_database, history):
    history(due=SCHEDULES)
    with database.write() as first, open_database().write() as second:
        taken = locking.claim_due(first, first.now(), 100)
        others = locking.claim_due(second, second.now(), tick.BATCH)
    assert len(taken) == 100
    assert len(others) == SCHEDULES - 100
    assert not set(taken) & set(others)


@ON_MARIADB
def test_a_worker_that_claims_a_run_leaves_the_other_runs_of_the_same_job_to_the_next(database, open_database, history):
    history(waiting=100)
    minute = timedelta(seconds=60)
    with database.write() as first, open_database().write() as second:
        taken = locking.claim_runs(first, "p1", 1, minute)
        others = locking.claim_runs(second, "p2", RUNS, minute)
    free = 100 - len(taken)
    assert len(taken) == 1
    assert len(others) == free
    assert {run.job for run in taken + others} == {"tidy"}


@ON_MARIADB
def test_a_worker_renews_its_leases_while_another_holds_its_own_runs(database, open_database, history, statistics):
    history()
    statistics()
    with database.read() as session:
        running = select(JobRun.id, JobRun.lease_token).where(JobRun.status == RunStatus.RUNNING).order_by(JobRun.id)
        (theirs, _), *ours = session.execute(running).all()
    tokens = [token for _, token in ours]
    with database.write() as holding, open_database().write() as renewing:
        holding.execute(select(JobRun.id).where(JobRun.id == theirs).with_for_update())
        renewing.execute(text("SET SESSION innodb_lock_wait_timeout = 0"))
        assert locking.renew_leases(renewing, tokens, timedelta(seconds=60)) == set(tokens)


# What is asked all the time


def test_looking_for_the_next_due_schedule(database, history):
    history()
    with database.read() as session:
        plan = plan_of(session, locking.look, "job_schedule")
    assert (plan.index_of("job_schedule"), plan.sorts) == ("ix_job_schedule_due", False)


def test_looking_whether_a_run_waits(database, history):
    history()
    with database.read() as session:
        plan = plan_of(session, locking.something_waits, "job_run")
    assert plan.indexes == [("job_run", "ix_job_run_queue"), ("earlier", "ix_job_run_schedule")]
    assert not plan.sorts


def test_settling_reads_no_table_of_the_history_as_a_whole(database, history):
    history()
    ids = ["n1", "n2", "n3"]
    with database.write() as session:
        locking.lock_schedules(session, ids)
        plans = plans_of(session, lambda session: settlement.settle(session, ids, process_id=None))
    scanned = set().union(*(plan.scans for plan in plans))
    assert not scanned & {"job_run", "schedule_firing", "job_schedule", "process"}


def test_the_newest_firings_of_schedules_are_looked_up_one_by_one(database, history):
    history()
    with database.write() as session:
        plan = plan_of(
            session, lambda session: settlement.settle(session, ["n1", "n2"], process_id=None), "schedule_firing"
        )
    by_instant = ("sqlite_autoindex_schedule_firing_2", "uq_schedule_firing_schedule_id_scheduled_for")
    assert {step.index in by_instant for step in plan.steps if step.table == "schedule_firing"} == {True}
    assert not plan.sorts


@ON_MARIADB  # which counts the rows that it reads
def test_a_schedule_that_was_not_due_for_a_year_makes_nobody_read_the_firings_of_that_year(database, history):
    history()
    with database.write() as session:
        session.execute(text("UPDATE job_schedule SET accounted_until = '2025-03-02 00:00:00' WHERE id = 'n3'"))
        session.execute(text("UPDATE job_schedule SET cron = '0 12 2 3 *' WHERE id = 'n3'"))
        read_before = rows_read(session)
        settlement.settle(session, ["n1", "n2", "n3"], process_id=None)
        assert rows_read(session) - read_before < RUNS / 5


def rows_read(session: Session) -> int:
    return sum(int(row[1]) for row in session.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")))


def test_unfinished_runs_of_the_schedules_that_are_settled(database, history):
    history()
    with database.write() as session:
        plan = plan_of(session, lambda session: settlement.settle(session, ["n1", "n2"], process_id=None), "job_run")
    assert plan.indexes == [("job_run", "ix_job_run_schedule")]


def test_runs_whose_leases_are_watched(database, history):
    history()
    with database.read() as session:
        plan = plan_of(session, LeaseWatch(60, lambda: 0.0).look, "job_run")
    assert plan.index_of("job_run") in ("ix_job_run_lease", "ix_job_run_queue")
    assert not plan.scans


def test_renewing_leases_reads_the_running_runs_alone(database, history):
    history()
    with database.write() as session:
        plans = plans_of(session, lambda session: locking.renew_leases(session, ["t1390"], timedelta(seconds=60)))
    assert {plan.index_of("job_run") for plan in plans} <= {"ix_job_run_lease", "ix_job_run_queue", "PRIMARY"}
    assert not [plan for plan in plans if plan.scans]


def test_presences_of_daemons(database, history):
    history()
    with database.read() as session:
        newest, later = plans_of(session, lambda session: processes.presences(session, NOON - 90 * MINUTE))
    assert newest.indexes == later.indexes == [("process", "ix_process_role_beat_at")]
    assert not newest.sorts


@pytest.mark.parametrize("order", [ScheduleFiring.id.asc(), ScheduleFiring.id.desc()], ids=["oldest", "newest"])
def test_the_newest_firings_of_a_schedule(database, history, order):
    history()
    query = select(ScheduleFiring.__table__).where(ScheduleFiring.schedule_id == "n1").order_by(order).limit(50)
    with database.read() as session:
        plan = plan_of(session, lambda session: session.execute(query), "schedule_firing")
    assert plan.indexes == [("schedule_firing", "ix_schedule_firing_schedule_id_id")]
    assert not plan.sorts


# How much is asked


@pytest.fixture
def statements():
    """What is asked of any database within a block; one that takes many rows counts once."""

    @contextmanager
    def statements():
        asked: list[str] = []

        def note(connection, cursor, statement, parameters, context, executemany):
            asked.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            yield asked
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    return statements


@pytest.fixture
def asked_of_server(database_kind, request, statements):
    """How many questions reach the server within a block, each row of one that takes many on its own; on SQLite, where
    there is no journey to a server, such a one counts once."""

    @contextmanager
    def count() -> Iterator[list[int]]:
        server: Server = request.getfixturevalue("mariadb_server")
        counted: list[int] = []
        before = questions(server)
        yield counted
        counted.append(questions(server) - before)

    @contextmanager
    def count_calls() -> Iterator[list[int]]:
        counted: list[int] = []
        with statements() as asked:
            yield counted
        counted.append(len(asked))

    return count if database_kind == "mariadb" else count_calls


def questions(server: Server) -> int:
    ((_, number),) = server.query("SHOW GLOBAL STATUS LIKE 'Questions'")
    return int(number)


def test_an_idle_tick_is_one_read_and_no_write(installation, database, clock, statements):
    clock.set_to(NOON)
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS"))
    with statements() as asked:
        assert not tick.look(database).is_due
    reads = [statement for statement in asked if "FROM job_schedule" in statement]
    assert len(reads) == 1
    assert {statement.split()[0] for statement in asked} <= {"BEGIN", "SELECT"}
    assert len(asked) <= 2  # the other one is BEGIN, or the server's clock


def test_however_many_schedules_are_due_a_tick_asks_a_handful_of_questions(installation, clock, asked_of_server):
    clock.set_to(NOON)
    names = [f"n{number}" for number in range(80)]
    installation.sync(*(Schedule(name, cron="*/5 * * * *", execution_mode="ALL_JOBS") for name in names))
    asked_for = {}
    for minute, count in ((5, 2), (10, 80)):
        installation.enable(*names[:count])
        clock.set_to(NOON + timedelta(minutes=minute, seconds=1))
        installation.start_daemon()
        installation.sql("UPDATE job_run SET status = 'SUCCEEDED'")
        with asked_of_server() as counted:
            assert len(installation.tick().firings) == count
        asked_for[count] = counted[0]
    assert asked_for[80] == asked_for[2] < 25


def test_5000_schedules_that_are_due_in_one_minute_are_written_with_a_bounded_number_of_statements(
    installation, database, clock, asked_of_server
):
    bound = 25  # statements for each batch of up to 500 schedules
    clock.set_to(NOON)
    installation.turned_on(Schedule("n0", cron="5 12 * * *", execution_mode="ALL_JOBS"))
    like_n0 = installation.schedule("n0")._mapping
    with database.write() as session:
        session.execute(insert(JobSchedule), [{**like_n0, "id": f"n{number}"} for number in range(1, 5000)])
    clock.set_to(NOON + 5 * MINUTE)
    installation.start_daemon()
    with asked_of_server() as counted:
        batches = [len(installation.tick().firings) for _ in range(5000 // tick.BATCH)]
    assert batches == [tick.BATCH] * 10
    assert counted[0] <= 10 * bound
    assert len({run.schedule_id for run in installation.runs()}) == len(installation.runs()) == 5000
    assert not tick.look(database).is_due
