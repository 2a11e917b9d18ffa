"""A worker on its own, as a process: what it takes, how it stops, and that it finds lost runs while no daemon runs."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest
from kinds import ON_EACH
from sqlalchemy import select

from schedmgr.core import actions
from schedmgr.core.definitions import Job, Schedule
from schedmgr.database.models import Process
from schedmgr.vocabulary import ProcessRole, RunStatus

SCHEDULE = Schedule("daily", cron="@daily", execution_mode="ALL_JOBS")


@pytest.fixture
def defined(installation):
    """The tables hold these jobs; nothing runs yet."""
    return lambda *jobs: installation.sync(SCHEDULE, jobs=jobs)


@pytest.fixture
def put(installation):
    """Put a job on the queue by hand.  Returns the id of its run."""
    return lambda job: installation.database.transact(
        lambda session: actions.run_job(session, job, installation.person)
    )


@pytest.fixture
def row(installation):
    """A run's row as it is now."""
    return lambda run_id: next(one for one in installation.runs() if one.id == run_id)


@pytest.fixture
def becomes(row, until):
    """Wait until a run has the status, and give its row."""

    def becomes(run_id: int, status: RunStatus):
        until(lambda: row(run_id).status is status, f"run {run_id} is {status}")
        return row(run_id)

    return becomes


@pytest.fixture
def workers(installation):
    """The rows of the lives of workers, oldest first."""

    def workers():
        lives = select(Process.__table__).where(Process.role == ProcessRole.WORKER).order_by(Process.started_at)
        with installation.database.read() as session:
            return session.execute(lives).all()

    return workers


@pytest.fixture
def waits(tmp_path: Path) -> str:
    """A shell command that ends when `go` exists."""
    return f"while ! test -e {tmp_path}/go; do sleep 0.05; done"


def test_it_runs_jobs_while_no_daemon_runs(defined, put, becomes, site, workers):
    defined(Job("work", command="true"))
    site.start_worker()
    ended = becomes(put("work"), RunStatus.SUCCEEDED)
    (life,) = workers()
    assert (ended.process_id, life.concurrency) == (life.id, 4)


def test_it_runs_what_a_daemon_without_places_enqueues(site, installation, clock, until, becomes, workers):
    clock.set_to(clock.now.replace(hour=12, minute=1))
    site.define(
        """
        jobs = [Job("work", command="true")]
        schedules = [Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS")]
        """
    )
    site.start_daemon(SCHEDMGR_WORKER_CONCURRENCY="0").wait_for_log("definition added schedule=feeds")
    site.start_worker()
    installation.enable("feeds")
    clock.set_to(clock.now.replace(minute=5, second=0))
    (queued,) = until(lambda: installation.runs("feeds"), "the schedule has fired")
    assert becomes(queued.id, RunStatus.SUCCEEDED).process_id in [life.id for life in workers()]


def test_it_takes_the_groups_that_it_is_told_and_leaves_the_others(defined, put, becomes, row, site):
    defined(*(Job(group, command="true", group=group) for group in ("feed", "sync", "match")))
    left = put("feed")
    site.start_worker(SCHEDMGR_WORKER_GROUPS="sync, match")
    for job in ("sync", "match"):
        becomes(put(job), RunStatus.SUCCEEDED)
    assert row(left).status is RunStatus.QUEUED


def test_the_worker_inside_a_daemon_takes_the_groups_that_it_is_told(site, put, becomes, row):
    site.define(
        """
        jobs = [Job(group, command="true", group=group) for group in ("feed", "sync")]
        schedules = [Schedule("daily", cron="@daily", execution_mode="ALL_JOBS")]
        """
    )
    site.start_daemon(SCHEDMGR_WORKER_GROUPS="sync").wait_for_log("definition added schedule=daily")
    left = put("feed")
    becomes(put("sync"), RunStatus.SUCCEEDED)
    assert row(left).status is RunStatus.QUEUED


@ON_EACH
def test_two_workers_run_each_job_once(defined, put, becomes, site, tmp_path, until):
    defined(Job("work", command=f"echo $SCHEDMGR_RUN_ID >> {tmp_path}/ran; sleep 0.2"))
    for _ in range(2):
        site.start_worker(SCHEDMGR_WORKER_CONCURRENCY="2")
    ids = [put("work") for _ in range(20)]
    ended = [becomes(run_id, RunStatus.SUCCEEDED) for run_id in ids]
    assert sorted(int(line) for line in (tmp_path / "ran").read_text().split()) == ids
    assert len({run.process_id for run in ended}) == 2


def test_it_finds_the_lost_run_of_a_killed_worker_while_no_daemon_runs(defined, put, becomes, site):
    defined(Job("work", command="sleep 1000"))
    first = site.start_worker()
    run_id = put("work")
    becomes(run_id, RunStatus.RUNNING)
    second = site.start_worker()
    first.kill()
    lost = becomes(run_id, RunStatus.LOST)
    assert "the worker died or was cut off" in lost.error
    second.wait_for_log(f"job run lost run={run_id}")


def test_asked_to_stop_it_takes_nothing_more_and_lets_the_running_job_end(
    defined, put, becomes, row, site, waits, tmp_path, workers
):
    defined(Job("work", command=waits))
    worker = site.start_worker(SCHEDMGR_WORKER_CONCURRENCY="1")
    running = put("work")
    becomes(running, RunStatus.RUNNING)
    waiting = put("work")
    worker.send(signal.SIGTERM)
    worker.wait_for_log("worker stopped")
    (tmp_path / "go").touch()
    assert worker.exit_code() == 0
    assert row(running).status is RunStatus.SUCCEEDED
    assert (row(waiting).status, row(waiting).attempt) == (RunStatus.QUEUED, 1)
    assert workers()[0].stopped_at is not None


def test_after_a_silence_of_over_a_minute_it_begins_a_new_life_and_goes_on(
    defined, put, becomes, site, clock, workers, until
):
    defined(Job("work", command="true"))
    worker = site.start_worker()
    clock.move(minutes=2)
    worker.wait_for_log("worker began anew")
    before, after = until(lambda: lives if len(lives := workers()) == 2 else None, "a second life")
    assert after.started_at - before.beat_at > timedelta(minutes=1)
    assert becomes(put("work"), RunStatus.SUCCEEDED).process_id == after.id


def test_without_a_place_it_refuses_to_start(site):
    worker = site.start_worker(ready=False, SCHEDMGR_WORKER_CONCURRENCY="0")
    assert worker.exit_code() == 1
    assert worker.log == (
        "SCHEDMGR_WORKER_CONCURRENCY: '0' is not allowed for a worker, which would run nothing. Set 1 or more.\n"
    )
