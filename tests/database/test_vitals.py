"""What health is judged by is read by indexes, however much history there is."""

from datetime import UTC, datetime, timedelta

import pytest
from plans import plan_of, plans_of
from sqlalchemy import insert

from schedmgr.core import vitals
from schedmgr.database.models import JobRun, Process
from schedmgr.vocabulary import ProcessRole, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run_row(number: int) -> dict[str, object]:
    """One an hour, all ended but the newest."""
    at = NOON - number * HOUR
    return {
        "job": f"j{number % 7}",
        "group": "g",
        "job_version_id": 1,
        "trigger": Trigger.SCHEDULE,
        "attempt": 1,
        "status": RunStatus.SUCCEEDED if number else RunStatus.QUEUED,
        "priority": 0,
        "in_turn": False,
        "waits_for": 0,
        "queued_at": at,
        "available_at": at,
        "finished_at": at if number else None,
    }


def process_row(number: int) -> dict[str, object]:
    at = NOON - number * HOUR
    return {
        "id": f"p{number}",
        "role": ProcessRole.DAEMON,
        "host": "h",
        "pid": 1,
        "version": "1",
        "environment": "e",
        "started_at": at - HOUR,
        "beat_at": at,
        "clock_offset": 0.0,
        "concurrency": 4,
    }


@pytest.fixture
def history(database, clock):
    """Months of it, of which the last day counts."""
    clock.set_to(NOON)
    with database.write() as session:
        session.execute(insert(JobRun), [run_row(number) for number in range(2000)])
        session.execute(insert(Process), [process_row(number) for number in range(500)])


def test_the_success_rate_reads_the_runs_of_its_day_alone(database, history):
    with database.read() as session:
        (plan,) = [plan for plan in plans_of(session, vitals.vitals) if "finished_at >=" in plan.statement]
    assert plan.indexes == [("job_run", "ix_job_run_finished")]
    assert not plan.scans


def test_no_question_reads_all_runs_all_firings_or_all_processes(database, history):
    with database.read() as session:
        plans = plans_of(session, vitals.vitals)
    assert not [plan for plan in plans if plan.scans & {"job_run", "schedule_firing", "process"}]


def test_the_daemon_that_beat_last_is_found_without_looking_at_those_before_it(database, history):
    with database.read() as session:
        plan = plan_of(session, vitals.vitals, "process")
    assert plan.indexes == [("process", "ix_process_role_beat_at")]
    assert not plan.sorts
