"""The worker inside a real daemon: jobs run, end, are stopped, are lost; each run's row says how."""

import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kinds import ON_EACH, ON_SQLITE
from sqlalchemy import select

from schedmgr.cli.signals import SECOND_SIGNAL_AFTER
from schedmgr.core import actions
from schedmgr.database.models import JobRunAttempt, JobRunOutput
from schedmgr.database.sqlite import BUSY_TIMEOUT
from schedmgr.vocabulary import Decision, Reason, RunStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SCHEDULE = 'schedules = [Schedule("feeds", cron="*/5 * * * *", execution_mode="JOB", job="work")]'
WAITS = "touch {folder}/started; while ! test -e {folder}/go; do sleep 0.05; done"


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def working(site, clock, installation):
    """At 12:01, a daemon whose definitions have these jobs, and a schedule that is on and runs the job `work`."""
    clock.set_to(at(12, 1))

    def working(*jobs: str, **variables: str):
        site.define(f"jobs = [{', '.join(jobs)}]\n{SCHEDULE}")
        daemon = site.start_daemon(**variables)
        daemon.wait_for_log("definition added schedule=feeds")
        installation.enable("feeds")
        return daemon

    return working


@pytest.fixture
def run(installation, until):
    """Runs by hand, and what has become of them."""

    class Run:
        def start(self, job: str = "work") -> int:
            return installation.database.transact(lambda session: actions.run_job(session, job, installation.person))

        def row(self, run_id: int):
            (row,) = [row for row in installation.runs() if row.id == run_id]
            return row

        def until_status(self, run_id: int, *wanted: RunStatus):
            until(lambda: self.row(run_id).status in wanted, f"run {run_id} is {wanted}")
            return self.row(run_id)

        def until_over(self, run_id: int):
            until(lambda: self.row(run_id).status.is_over, f"run {run_id} has ended")
            return self.row(run_id)

        def output(self, run_id: int, stream: str | None = None) -> str:
            with installation.database.read() as session:
                rows = session.scalars(
                    select(JobRunOutput.segments).where(JobRunOutput.run_id == run_id).order_by(JobRunOutput.seq)
                ).all()
            segments = [segment for row in rows for segment in json.loads(row)]
            return "".join(text for _, source, text in segments if stream in (None, source))

        def attempts(self, run_id: int):
            table = JobRunAttempt.__table__
            with installation.database.read() as session:
                return session.execute(select(table).where(table.c.run_id == run_id).order_by(table.c.attempt)).all()

        def cancel(self, run_id: int) -> None:
            installation.database.transact(lambda session: actions.cancel(session, run_id, installation.person))

    return Run()


@pytest.fixture
def waits(tmp_path: Path) -> str:
    """A shell command that says that it has started, and ends when `go` exists."""
    return WAITS.format(folder=tmp_path)


# Jobs run


@ON_EACH
def test_a_schedule_runs_its_job_and_keeps_what_it_printed(working, installation, clock, run, until):
    working('Job("work", command="echo hello; echo oops >&2; exit 3")')
    clock.set_to(at(12, 5))
    (row,) = until(lambda: installation.runs("feeds"), "the schedule has fired")
    ended = run.until_over(row.id)
    assert (ended.status, ended.exit_code, ended.error) == (RunStatus.FAILED, 3, "exit code 3")
    assert ended.queued_at <= ended.started_at <= ended.finished_at
    assert (run.output(row.id, "out"), run.output(row.id, "err")) == ("hello\n", "oops\n")
    (attempt,) = run.attempts(row.id)
    assert (attempt.status, attempt.exit_code, attempt.output_bytes) == (RunStatus.FAILED, 3, 11)


def test_a_job_knows_its_run_and_none_of_our_secrets(working, installation, clock, run, until):
    working('Job("work", command=["env"])', JWT_SECRET="s" * 40)
    clock.set_to(at(12, 5))
    (row,) = until(lambda: installation.runs("feeds"), "the schedule has fired")
    assert run.until_over(row.id).status is RunStatus.SUCCEEDED
    variables = dict(line.partition("=")[::2] for line in run.output(row.id).splitlines())
    ours = {name: value for name, value in variables.items() if name.startswith("SCHEDMGR_")}
    assert {name: ours.get(name) for name in ("SCHEDMGR_RUN_ID", "SCHEDMGR_JOB", "SCHEDMGR_ATTEMPT")} == {
        "SCHEDMGR_RUN_ID": str(row.id),
        "SCHEDMGR_JOB": "work",
        "SCHEDMGR_ATTEMPT": "1",
    }
    assert ours["SCHEDMGR_SCHEDULE_ID"] == "feeds"
    assert datetime.fromisoformat(ours["SCHEDMGR_SCHEDULED_FOR"]) == at(12, 5)
    assert not {"DATABASE_URL", "JWT_SECRET"} & set(variables)


@ON_EACH
def test_output_is_there_while_the_job_runs(working, run, until, waits, tmp_path):
    working(f'Job("work", command="echo begun; {waits}; echo done")')
    run_id = run.start()
    until(lambda: run.output(run_id) == "begun\n", "the first line")
    assert run.row(run_id).status is RunStatus.RUNNING
    (tmp_path / "go").touch()
    assert run.until_over(run_id).status is RunStatus.SUCCEEDED
    assert run.output(run_id) == "begun\ndone\n"


def test_a_failed_attempt_is_followed_by_another_after_a_while(working, run):
    working('Job("work", command="echo $SCHEDMGR_ATTEMPT; exit 1", retries=2, retry_delay=0.5)')
    run_id = run.start()
    assert run.until_over(run_id).status is RunStatus.FAILED
    first, second, third = run.attempts(run_id)
    assert [one.status for one in (first, second, third)] == [RunStatus.FAILED] * 3
    assert (second.started_at - first.finished_at).total_seconds() >= 0.375
    assert (third.started_at - second.finished_at).total_seconds() >= 0.75


def test_a_job_that_takes_too_long_is_timed_out(working, run):
    working('Job("work", command="sleep 1000", timeout=1)')
    ended = run.until_over(run.start())
    assert (ended.status, ended.error) == (RunStatus.TIMED_OUT, "timed out after 1 s")


@ON_EACH
def test_a_cancelled_job_is_ended_with_all_that_it_started(working, run, until, tmp_path, lives):
    working(f'Job("work", command="sleep 1000 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/child; wait")')
    run_id = run.start()
    until((tmp_path / "child").exists, "the job has a child")
    run.cancel(run_id)
    assert run.until_over(run_id).status is RunStatus.CANCELLED
    until(lambda: not lives(int((tmp_path / "child").read_text())), "the child is gone")


def test_a_job_that_cannot_be_started_says_why(working, run):
    working('Job("work", command=["no-such-program"])')
    ended = run.until_over(run.start())
    assert ended.status is RunStatus.FAILED
    assert "command not found: 'no-such-program'" in ended.error


@ON_EACH
def test_no_more_jobs_run_at_once_than_there_are_places(working, run, installation, until, waits, tmp_path):
    working(f'Job("work", command="{waits}")', SCHEDMGR_WORKER_CONCURRENCY="2")
    ids = [run.start() for _ in range(3)]
    until(lambda: [run.row(id).status for id in ids].count(RunStatus.RUNNING) == 2, "two run")
    assert run.row(ids[2]).status is RunStatus.QUEUED
    (tmp_path / "go").touch()
    assert [run.until_over(id).status for id in ids] == [RunStatus.SUCCEEDED] * 3
    assert run.row(ids[2]).started_at >= min(run.row(id).finished_at for id in ids[:2])


@ON_SQLITE
def test_an_end_that_the_database_cannot_take_yet_is_recorded_later(
    working, run, open_database, until, waits, tmp_path
):
    working(f'Job("work", command="{waits}; touch {tmp_path}/done")', SCHEDMGR_LEASE_SECONDS="60")
    run_id = run.start()
    run.until_status(run_id, RunStatus.RUNNING)
    with open_database().write():
        (tmp_path / "go").touch()
        until((tmp_path / "done").exists, "the job is done")
        given_up_at = time.monotonic() + BUSY_TIMEOUT + 1
        until(lambda: time.monotonic() > given_up_at, "a writer's patience has ended")
    assert run.until_over(run_id).status is RunStatus.SUCCEEDED


# Asked to stop


@ON_EACH
def test_asked_to_stop_it_lets_the_running_job_finish_and_starts_no_other(working, run, until, waits, tmp_path):
    daemon = working(f'Job("work", command="{waits}")', SCHEDMGR_WORKER_CONCURRENCY="1")
    running = run.start()
    run.until_status(running, RunStatus.RUNNING)
    waiting = run.start()
    daemon.send(signal.SIGTERM)
    daemon.wait_for_log("daemon stopped")
    (tmp_path / "go").touch()
    assert daemon.exit_code() == 0
    assert run.row(running).status is RunStatus.SUCCEEDED
    assert (run.row(waiting).status, run.row(waiting).attempt) == (RunStatus.QUEUED, 1)


def test_a_job_that_outlasts_the_grace_is_ended_and_the_daemon_ends_well(working, run, until, tmp_path):
    daemon = working('Job("work", command=["sleep", "1000"])', SCHEDMGR_SHUTDOWN_GRACE="1")
    run_id = run.start()
    run.until_status(run_id, RunStatus.RUNNING)
    daemon.send(signal.SIGTERM)
    assert daemon.exit_code() == 0
    row = run.row(run_id)
    assert (row.status, row.error) == (RunStatus.LOST, "ended because its worker was told to stop")


def test_a_signal_that_comes_twice_at_once_does_not_hurry(working, run, until, waits, tmp_path):
    daemon = working(f'Job("work", command="{waits}")')
    run_id = run.start()
    run.until_status(run_id, RunStatus.RUNNING)
    daemon.send(signal.SIGINT)
    daemon.send(signal.SIGTERM)
    daemon.wait_for_log("daemon stopped")
    (tmp_path / "go").touch()
    assert daemon.exit_code() == 0
    assert run.row(run_id).status is RunStatus.SUCCEEDED


def test_a_second_signal_hurries(working, run, until):
    daemon = working('Job("work", command=["sleep", "1000"])', SCHEDMGR_SHUTDOWN_GRACE="3600")
    run_id = run.start()
    run.until_status(run_id, RunStatus.RUNNING)
    daemon.send(signal.SIGTERM)
    daemon.wait_for_log("daemon stopped")
    second_at = time.monotonic() + SECOND_SIGNAL_AFTER
    until(lambda: time.monotonic() > second_at, "another signal is a second one")
    daemon.send(signal.SIGTERM)
    assert daemon.exit_code() == 0
    assert run.row(run_id).status is RunStatus.LOST


# Killed, frozen


def test_a_killed_daemons_job_is_gone_with_its_whole_tree_within_two_seconds(working, run, until, tmp_path, lives):
    script = tmp_path / "tree.sh"
    script.write_text(
        "setsid sh -c 'echo $$ > detached; exec sleep 1000' &\nsleep 1000 &\necho $! > child; echo $$ > job\nwait\n"
    )
    daemon = working(f'Job("work", command=["sh", "{script}"], cwd="{tmp_path}")')
    run.start()
    files = [tmp_path / name for name in ("job", "child", "detached")]
    until(lambda: all(file.exists() and file.read_text().strip() for file in files), "the tree is there")
    pids = [int(file.read_text()) for file in files]
    assert all(lives(pid) for pid in pids)
    daemon.kill()
    until(lambda: not any(lives(pid) for pid in pids), "the whole tree is gone", within=2.0)


def test_after_a_restart_the_run_is_lost_and_the_schedule_fires_again(working, site, run, installation, clock, until):
    daemon = working('Job("work", command=["sleep", "1000"])')
    clock.set_to(at(12, 5))
    (first,) = until(lambda: installation.runs("feeds"), "the schedule has fired")
    run.until_status(first.id, RunStatus.RUNNING)
    daemon.kill()
    site.start_daemon()
    clock.set_to(at(12, 10))
    until(lambda: len(installation.firings("feeds")) == 2, "the next occurrence is decided")
    lost = run.until_over(first.id)
    assert lost.status is RunStatus.LOST
    assert "the worker died or was cut off" in lost.error
    clock.set_to(at(12, 15))
    until(lambda: len(installation.firings("feeds")) == 3, "the one after it is decided")
    assert [(row.scheduled_for, row.decision, row.reason) for row in installation.firings("feeds")] == [
        (at(12, 5), Decision.ENQUEUED, None),
        (at(12, 10), Decision.SKIPPED, Reason.OVERLAP),
        (at(12, 15), Decision.ENQUEUED, None),
    ]


@ON_EACH
def test_a_lost_run_whose_job_says_so_is_executed_again_and_never_twice_at_once(working, site, run, until, tmp_path):
    # Each execution holds a lock while it lives: a second one at the same time would say so.
    command = (
        f"exec 9> {tmp_path}/lock; flock -n 9 || echo twice >> {tmp_path}/log; "
        f"echo $SCHEDMGR_ATTEMPT >> {tmp_path}/log; test $SCHEDMGR_ATTEMPT = 2 || sleep 1000"
    )
    frozen = working(f'Job("work", command="{command}", on_lost="retry", retry_delay=0)')
    run_id = run.start()
    until((tmp_path / "log").exists, "the first execution")
    frozen.freeze()
    site.start_daemon()
    assert run.until_over(run_id).status is RunStatus.SUCCEEDED
    frozen.thaw()
    frozen.wait_for_log("so this end is not recorded")
    assert [one.status for one in run.attempts(run_id)] == [RunStatus.LOST, RunStatus.SUCCEEDED]
    assert (tmp_path / "log").read_text() == "1\n2\n"
