"""Order within a firing: `after`."""

from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core import actions, attempts, locking
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.transitions import Ending
from schedmgr.vocabulary import RunStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FETCH = Job("fetch", command="true")
MATCH = Job("match", command="true", after=["fetch"])
REPORT = Job("report", command="true", after=["match", "fetch"])
ALL = Schedule("all", cron="0 * * * *", execution_mode="ALL_JOBS")
ONLY_MATCH = Schedule("only-match", cron="0 * * * *", execution_mode="JOB", job="match")


@pytest.fixture
def fired(installation, clock):
    """All three jobs in one firing, the followers defined first."""
    clock.set_to(NOON)
    installation.turned_on(ALL, ONLY_MATCH, jobs=(REPORT, MATCH, FETCH))
    installation.run_now("all")
    return installation


@pytest.fixture
def claim(database):
    """Take what may start now: {job: run}."""

    def claim():
        taken = database.transact(lambda session: locking.claim_runs(session, "w1", 10, timedelta(minutes=1)))
        return {run.job: run for run in taken}

    return claim


@pytest.fixture
def end(database):
    """End a claimed run with a status."""

    def end(run, status):
        def work(session):
            ending = Ending(status, session.now())
            return attempts.end_attempt(session, run.id, run.attempt, run.definition, ending, run.lease_token)

        return database.transact(work)

    return end


def statuses(installation):
    return {run.job: run.status for run in installation.runs("all")}


def test_a_job_waits_until_those_it_comes_after_have_succeeded(fired, claim, end):
    first = claim()
    assert set(first) == {"fetch"}
    end(first["fetch"], RunStatus.SUCCEEDED)
    second = claim()
    assert set(second) == {"match"}
    end(second["match"], RunStatus.SUCCEEDED)
    assert set(claim()) == {"report"}


def test_what_comes_after_a_failure_is_skipped_and_so_is_what_comes_after_that(fired, claim, end):
    end(claim()["fetch"], RunStatus.FAILED)
    assert statuses(fired) == {
        "fetch": RunStatus.FAILED,
        "match": RunStatus.SKIPPED,
        "report": RunStatus.SKIPPED,
    }
    errors = {run.job: run.error for run in fired.runs("all")}
    (fetch,) = [run.id for run in fired.runs("all") if run.job == "fetch"]
    assert errors["match"] == f"It comes after fetch, and run {fetch} of that did not succeed: failed."


def test_a_failure_that_is_retried_keeps_the_followers_waiting(installation, clock, claim, end):
    clock.set_to(NOON)
    installation.turned_on(ALL, jobs=(Job("fetch", command="true", retries=1, retry_delay=0), MATCH))
    installation.run_now("all")
    end(claim()["fetch"], RunStatus.FAILED)
    assert statuses(installation) == {"fetch": RunStatus.QUEUED, "match": RunStatus.QUEUED}
    end(claim()["fetch"], RunStatus.SUCCEEDED)
    assert set(claim()) == {"match"}


def test_cancelling_a_waiting_run_skips_what_comes_after_it(fired, database):
    fetch = next(run.id for run in fired.runs("all") if run.job == "fetch")
    database.transact(lambda session: actions.cancel(session, fetch, fired.person))
    assert statuses(fired)["report"] == RunStatus.SKIPPED


def test_a_job_whose_predecessor_is_not_in_its_firing_starts_at_once(installation, clock, claim):
    clock.set_to(NOON)
    installation.turned_on(ONLY_MATCH, jobs=(FETCH, MATCH))
    installation.run_now("only-match")
    assert set(claim()) == {"match"}
