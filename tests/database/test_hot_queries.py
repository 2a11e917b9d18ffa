"""Each query that a daemon, a worker or a page asks all the time uses one index, and sorts nothing by itself."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from schedmgr.core import locking, processes, settlement
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.leases import LeaseWatch
from schedmgr.daemon import tick

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def plan_of(database, installation, clock):
    """The plan's steps for a call's first statement on a table.  As in production, the database has no statistics."""
    clock.set_to(NOON)
    names = [f"n{number}" for number in range(50)]
    installation.turned_on(
        *(Schedule(name, cron="*/5 * * * *", execution_mode="JOB", job=name) for name in names),
        jobs=[Job(name, command="true") for name in names],
    )
    for minute in (5, 10, 15):
        clock.set_to(NOON + timedelta(minutes=minute, seconds=1))
        installation.tick()
        installation.sql("UPDATE job_run SET status = 'SUCCEEDED' WHERE id % 3 > 0")

    def plan_of(ask, table):
        asked = []

        def note(connection, cursor, statement, parameters, context, executemany):
            asked.append((statement, parameters))

        with database.write() as session:
            event.listen(session.connection, "before_cursor_execute", note)
            ask(session)
            event.remove(session.connection, "before_cursor_execute", note)
            statement, parameters = next(one for one in asked if f"FROM {table}" in one[0].replace("\n", " "))
            rows = session.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return [row[3] for row in rows]

    return plan_of


def only_step(plan):
    (step,) = plan
    return step


def test_looking_for_the_next_due_schedule(plan_of):
    step = only_step(plan_of(locking.look, "job_schedule"))
    assert step.startswith("SEARCH job_schedule USING INDEX ix_job_schedule_due")


def test_claiming_due_schedules(plan_of):
    step = only_step(plan_of(lambda session: locking.claim_due(session, session.now(), 500), "job_schedule"))
    assert step.startswith("SEARCH job_schedule USING INDEX ix_job_schedule_due")


def test_looking_whether_a_run_waits(plan_of):
    plan = plan_of(locking.something_waits, "job_run")
    assert plan[0].startswith("SEARCH job_run USING INDEX ix_job_run_queue (status=?")
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")]


def test_looking_for_earlier_runs_of_the_same_schedule(plan_of):
    plan = plan_of(locking.something_waits, "job_run")
    assert [step for step in plan if step.startswith("SEARCH earlier USING INDEX ix_job_run_schedule")]


def test_unfinished_runs_of_the_schedules_that_are_settled(plan_of):
    plan = plan_of(lambda session: settlement.settle(session, ["n1", "n2"], process_id=None), "job_run")
    assert "ix_job_run_schedule (schedule_id=? AND status=?)" in plan[0]


def test_runs_whose_leases_are_watched(plan_of):
    plan = plan_of(LeaseWatch(60, lambda: 0.0).look, "job_run")
    assert only_step(plan).startswith("SEARCH job_run USING INDEX ix_job_run_")
    assert "status=?" in only_step(plan)


def test_presences_of_daemons(plan_of):
    plan = plan_of(lambda session: processes.presences(session, NOON), "process")
    assert plan[0].startswith("SEARCH process USING INDEX ix_process_role_beat_at (role=?")


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_the_newest_firings_of_a_schedule(plan_of, database, order):
    statement = f"SELECT * FROM schedule_firing WHERE schedule_id = 'n1' ORDER BY id {order} LIMIT 50"
    with database.read() as session:
        rows = session.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
    assert only_step([row[3] for row in rows]).startswith(
        "SEARCH schedule_firing USING INDEX ix_schedule_firing_schedule_id"
    )


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


def test_an_idle_tick_is_one_read_and_no_write(installation, database, clock, statements):
    clock.set_to(NOON)
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS"))
    with statements() as asked:
        assert not tick.look(database).is_due
    assert [statement.split()[0] for statement in asked] == ["BEGIN", "SELECT"]


def test_however_many_schedules_are_due_a_tick_asks_a_handful_of_questions(installation, clock, statements):
    clock.set_to(NOON)
    names = [f"n{number}" for number in range(80)]
    installation.sync(*(Schedule(name, cron="*/5 * * * *", execution_mode="ALL_JOBS") for name in names))
    asked_for = {}
    for minute, count in ((5, 2), (10, 80)):
        installation.enable(*names[:count])
        clock.set_to(NOON + timedelta(minutes=minute, seconds=1))
        installation.start_daemon()
        installation.sql("UPDATE job_run SET status = 'SUCCEEDED'")
        with statements() as asked:
            assert len(installation.tick().firings) == count
        asked_for[count] = len(asked)
    assert asked_for[80] == asked_for[2] < 20
