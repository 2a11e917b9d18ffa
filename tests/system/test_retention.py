"""A daemon as a process prunes, and what is left can still be proved complete."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kinds import ON_EACH
from past import NOON, Past
from sqlalchemy import select

from schedmgr.core import retention
from schedmgr.core.ledger.verify import verify
from schedmgr.database.models import JobRun, JobRunAttempt, JobRunOutput, ScheduleFiring
from schedmgr.vocabulary import Decision, Reason, RunStatus

DAY = timedelta(days=1)
MONDAY = datetime(2026, 3, 2, 12, 1, tzinfo=UTC)
TUESDAY = datetime(2026, 3, 3, 18, 1, tzinfo=UTC)
FIVE_MINUTES = """
    jobs = [Job("tidy", command="echo tidied")]
    schedules = [Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS")]
"""


@pytest.fixture
def fired(installation, clock, until):
    """The schedule is due at that instant, fires, and its run succeeds."""

    def fired(at: datetime) -> None:
        clock.set_to(at)
        until(lambda: [run for run in installation.runs("feeds") if is_done(run, at)], f"a run of {at} succeeds")

    return fired


def is_done(run, at: datetime) -> bool:
    return run.scheduled_for == at and run.status is RunStatus.SUCCEEDED


def covers(firing, instant: datetime) -> bool:
    return firing.scheduled_for <= instant <= (firing.missed_until or firing.scheduled_for)


@ON_EACH
def test_a_daemon_prunes_what_ended_a_day_ago_and_every_later_occurrence_is_still_accounted_for(
    site, installation, clock, fired
):
    clock.set_to(MONDAY)
    site.define(FIVE_MINUTES)
    before = site.start_daemon(SCHEDMGR_RETENTION_DAYS="1")
    before.wait_for_log("definition added schedule=feeds")
    installation.enable("feeds")
    fired(MONDAY.replace(minute=5))
    fired(MONDAY.replace(minute=10))
    before.kill()

    clock.set_to(TUESDAY)
    daemon = site.start_daemon(SCHEDMGR_RETENTION_DAYS="1")
    daemon.wait_for_log("history pruned")
    fired(TUESDAY.replace(minute=5))

    assert "job_runs=2 " in daemon.log
    assert " firings=2 " in daemon.log
    missed, on_time = installation.firings("feeds")
    assert (missed.decision, missed.reason) == (Decision.SKIPPED, Reason.MISSED_NO_DAEMON)
    assert "no daemon reached the database from Mon 2 Mar 12:10 to Tue 3 Mar 18:01 UTC" in missed.detail
    assert [run.scheduled_for for run in installation.runs("feeds")] == [on_time.scheduled_for]

    with installation.database.read() as session:
        pruned_until = retention.pruned_until(session)
        assert verify(session).problems == []
    assert TUESDAY - DAY <= pruned_until < TUESDAY - DAY + timedelta(minutes=1)
    first = TUESDAY.replace(minute=5) - DAY
    occurrences = [first + nth * timedelta(minutes=5) for nth in range(24 * 12 + 1)]
    assert {sum(covers(firing, at) for firing in (missed, on_time)) for at in occurrences} == {1}


@ON_EACH
def test_what_a_killed_daemon_had_begun_to_prune_is_finished_by_the_next(site, installation, clock, until):
    clock.set_to(NOON)
    Past(installation.database).history(8000, old=7900, output=100)
    site.define(FIVE_MINUTES)

    def ids(column: Any, *condition: Any) -> list[int]:
        with installation.database.read() as session:
            return list(session.scalars(select(column).where(*condition).order_by(column)))

    killed = site.start_daemon(ready=False)
    until(lambda: len(ids(JobRun.id)) < 8000, "it has begun to prune")
    killed.kill()
    with installation.database.read() as session:
        pruned_until = retention.pruned_until(session)
    assert ids(JobRun.id, JobRun.finished_at < pruned_until) != []

    site.start_daemon().wait_for_log("history pruned")
    assert ids(JobRun.id, JobRun.finished_at < pruned_until) == []
    kept = list(range(ids(JobRun.id)[0], 8001))
    assert len(kept) > 90
    columns = (JobRun.id, JobRunAttempt.run_id, JobRunOutput.run_id, ScheduleFiring.id)
    assert [ids(column) for column in columns] == [kept] * 4
