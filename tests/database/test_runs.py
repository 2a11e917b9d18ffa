"""The queue: who claims what, under which lease, and which way a run's status may go."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import event, select

from schedmgr.core import actions, attempts, locking, transitions
from schedmgr.core.attempts import OutputChunk
from schedmgr.core.audit import Requester
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.leases import LeaseWatch
from schedmgr.core.transitions import ALLOWED, Ending, ForbiddenMove, Lease
from schedmgr.database.models import JobRunAttempt, JobRunOutput
from schedmgr.vocabulary import UNFINISHED, RunStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ANN = Requester("web:ann", "192.0.2.7")
MINUTE = timedelta(seconds=60)
LEASE_SECONDS = 60.0


class Stopwatch:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def queue(installation, clock, database):
    """Runs on the queue of one job each, named like it."""
    clock.set_to(NOON)

    class Queue:
        def put(self, *jobs: Job) -> list[int]:
            installation.sync(Schedule("s", cron="@daily", execution_mode="ALL_JOBS"), jobs=jobs)
            return [database.transact(lambda session, job=job: actions.run_job(session, job.name, ANN)) for job in jobs]

        def claim(self, limit=10, worker="w1", groups=()):
            return database.transact(lambda session: locking.claim_runs(session, worker, limit, MINUTE, groups))

        def end(self, run, status, exit_code=None, error=None):
            def end(session):
                ending = Ending(status, session.now(), exit_code, error)
                return attempts.end_attempt(session, run.id, run.attempt, run.definition, ending, run.lease_token)

            return database.transact(end)

        def row(self, run_id):
            (row,) = [run for run in installation.runs() if run.id == run_id]
            return row

        def attempts(self, run_id):
            with database.read() as session:
                table = JobRunAttempt.__table__
                return session.execute(select(table).where(table.c.run_id == run_id).order_by(table.c.attempt)).all()

    return Queue()


# Claims


def test_a_claimed_run_is_running_under_its_workers_lease(queue):
    (run_id,) = queue.put(Job("tidy", command="true"))
    (claimed,) = queue.claim(worker="w1")
    row = queue.row(run_id)
    assert (row.status, row.process_id, row.lease_token) == (RunStatus.RUNNING, "w1", claimed.lease_token)
    assert timedelta(0) <= row.lease_until - row.started_at - MINUTE < timedelta(seconds=1)
    assert [(one.attempt, one.status) for one in queue.attempts(run_id)] == [(1, RunStatus.RUNNING)]


def test_a_run_is_claimed_once(queue):
    queue.put(Job("tidy", command="true"))
    assert (len(queue.claim(worker="w1")), queue.claim(worker="w2")) == (1, [])


def test_no_more_than_the_free_places_are_claimed(queue):
    queue.put(*(Job(f"j{number}", command="true") for number in range(5)))
    assert len(queue.claim(limit=2)) == 2


def test_higher_priority_is_claimed_first_and_then_the_longest_waiting(queue):
    queue.put(Job("a", command="true"), Job("b", command="true", priority=9), Job("c", command="true"))
    assert [run.job for run in queue.claim()] == ["b", "a", "c"]


def test_a_worker_of_some_groups_takes_only_theirs(queue):
    queue.put(Job("a", command="true", group="feed"), Job("b", command="true", group="matching"))
    assert [run.job for run in queue.claim(groups=["matching"])] == ["b"]


def test_a_run_that_is_not_available_yet_waits(queue, installation, clock):
    queue.put(Job("tidy", command="true"))
    installation.sql("UPDATE job_run SET available_at = '2026-03-02 12:00:30.000000'")
    assert queue.claim() == []
    clock.set_to(NOON + timedelta(seconds=31))
    assert len(queue.claim()) == 1


def test_an_idle_worker_learns_by_a_read_whether_something_waits(queue, database):
    with database.read() as session:
        assert not locking.something_waits(session)
    queue.put(Job("tidy", command="true"))
    with database.read() as session:
        assert locking.something_waits(session)


# Ends and retries


def test_a_success_is_for_good(queue):
    (run_id,) = queue.put(Job("tidy", command="true", retries=3))
    (run,) = queue.claim()
    assert queue.end(run, RunStatus.SUCCEEDED, exit_code=0)
    row = queue.row(run_id)
    assert (row.status, row.exit_code, row.finished_at is None, row.lease_token) == (
        RunStatus.SUCCEEDED,
        0,
        False,
        None,
    )


def test_a_failure_moves_the_same_run_back_to_the_queue_and_keeps_each_attempt(queue, clock):
    (run_id,) = queue.put(Job("tidy", command="false", retries=1, retry_delay=10))
    (first,) = queue.claim()
    queue.end(first, RunStatus.FAILED, exit_code=3, error="exit code 3")
    waiting = queue.row(run_id)
    assert (waiting.status, waiting.attempt, waiting.exit_code) == (RunStatus.QUEUED, 2, 3)
    assert timedelta(seconds=7) < waiting.available_at - NOON < timedelta(seconds=14)
    assert queue.claim() == []
    clock.move(seconds=15)
    (second,) = queue.claim()
    queue.end(second, RunStatus.FAILED, exit_code=4, error="exit code 4")
    assert queue.row(run_id).status is RunStatus.FAILED
    assert [(one.attempt, one.status, one.exit_code, one.error) for one in queue.attempts(run_id)] == [
        (1, RunStatus.FAILED, 3, "exit code 3"),
        (2, RunStatus.FAILED, 4, "exit code 4"),
    ]


def test_a_cancelled_run_that_fails_is_not_tried_again(queue, database):
    (run_id,) = queue.put(Job("tidy", command="false", retries=5))
    (run,) = queue.claim()
    database.transact(lambda session: actions.cancel(session, run_id, ANN))
    queue.end(run, RunStatus.FAILED, exit_code=1)
    assert queue.row(run_id).status is RunStatus.FAILED


def test_the_end_of_an_attempt_whose_lease_is_gone_is_not_recorded(queue, installation):
    (run_id,) = queue.put(Job("tidy", command="true"))
    (run,) = queue.claim()
    installation.sql("UPDATE job_run SET lease_token = 'another'")
    assert not queue.end(run, RunStatus.SUCCEEDED)
    assert queue.row(run_id).status is RunStatus.RUNNING


def test_what_was_claimed_but_not_started_is_given_back_untouched(queue, database):
    (run_id,) = queue.put(Job("tidy", command="true"))
    before = queue.row(run_id)
    (run,) = queue.claim()
    database.transact(lambda session: transitions.give_back(session, run.id, run.attempt, run.lease_token))
    assert queue.row(run_id) == before
    assert queue.attempts(run_id) == []


# Order within a firing


@pytest.fixture
def fired(installation, queue):
    """The runs of one firing of these jobs, by job."""

    def fired(*jobs: Job):
        installation.sync(Schedule("s", cron="@daily", execution_mode="ALL_JOBS"), jobs=jobs)
        installation.run_now("s")
        return {run.job: run.id for run in installation.runs("s")}

    return fired


def test_a_job_waits_for_every_one_that_it_comes_after_whatever_its_priority(queue, fired):
    fired(
        Job("report", command="true", after=["fetch", "match"], priority=9),
        Job("fetch", command="true"),
        Job("match", command="true"),
    )
    fetch, match = queue.claim()
    assert (fetch.job, match.job) == ("fetch", "match")
    queue.end(fetch, RunStatus.SUCCEEDED, exit_code=0)
    assert queue.claim() == []
    queue.end(match, RunStatus.SUCCEEDED, exit_code=0)
    assert [run.job for run in queue.claim()] == ["report"]


@pytest.mark.parametrize(
    "status", [RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELLED, RunStatus.LOST], ids=str
)
def test_what_comes_after_one_that_did_not_succeed_is_skipped_with_all_that_follows(queue, fired, status):
    ids = fired(
        Job("fetch", command="true"),
        Job("match", command="true", after=["fetch"]),
        Job("report", command="true", after=["match"]),
    )
    (fetch,) = queue.claim()
    queue.end(fetch, status)
    assert [queue.row(ids[job]).status for job in ("match", "report")] == [RunStatus.SKIPPED] * 2
    assert queue.row(ids["match"]).error == (
        f"It comes after fetch, and run {fetch.id} of that did not succeed: {status.lower()}."
    )


# Leases


def test_renewal_extends_every_lease_that_still_holds_and_names_those(queue, database, clock, installation):
    lost_id, kept_id = queue.put(Job("a", command="true"), Job("b", command="true"))
    lost, kept = queue.claim()
    installation.sql("UPDATE job_run SET lease_token = 'another' WHERE id = :id", id=lost_id)
    before = queue.row(lost_id).lease_until
    clock.move(seconds=10)
    tokens = [lost.lease_token, kept.lease_token]
    held = database.transact(lambda session: locking.renew_leases(session, tokens, MINUTE))
    assert held == {kept.lease_token}
    assert queue.row(kept_id).lease_until - before >= timedelta(seconds=10)
    assert queue.row(lost_id).lease_until == before


def test_a_worker_learns_who_wants_a_run_of_its_cancelled(queue, database):
    run_id, _ = queue.put(Job("a", command="true"), Job("b", command="true"))
    first, second = queue.claim()
    database.transact(lambda session: actions.cancel(session, run_id, ANN))
    with database.read() as session:
        asked = locking.cancellations(session, [first.lease_token, second.lease_token])
    assert asked == {first.lease_token: "web:ann"}


@pytest.fixture
def watching(database):
    """A watcher with a monotonic clock of its own, that looks every ten seconds."""
    stopwatch = Stopwatch()
    watch = LeaseWatch(LEASE_SECONDS, stopwatch)

    class Watching:
        def for_seconds(self, seconds, meanwhile=lambda: None):
            lost = []
            for _ in range(seconds // 10):
                stopwatch.seconds += 10
                meanwhile()
                lost += database.transact(watch.look)
            return lost

        def frozen_for(self, seconds):
            stopwatch.seconds += seconds

    return Watching()


def test_a_lease_seen_unchanged_for_its_whole_length_has_lapsed(queue, watching):
    (run_id,) = queue.put(Job("tidy", command="true"))
    queue.claim(worker="w1")
    assert watching.for_seconds(60) == []
    (lost,) = watching.for_seconds(20)
    row = queue.row(run_id)
    assert (lost.run_id, lost.process_id, row.status) == (run_id, "w1", RunStatus.LOST)
    assert "its worker w1 has not renewed its lease" in row.error


def test_a_lease_that_is_renewed_never_lapses(queue, watching, database, clock):
    (run_id,) = queue.put(Job("tidy", command="true"))
    (run,) = queue.claim()

    def renew():
        clock.move(seconds=10)
        database.transact(lambda session: locking.renew_leases(session, [run.lease_token], MINUTE))

    assert watching.for_seconds(300, meanwhile=renew) == []
    assert queue.row(run_id).status is RunStatus.RUNNING


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_steps_ends_no_run_that_is_alive(queue, watching, clock, database, hours):
    (run_id,) = queue.put(Job("tidy", command="true"))
    (run,) = queue.claim()
    clock.move(hours=hours)
    assert watching.for_seconds(50) == []
    database.transact(lambda session: locking.renew_leases(session, [run.lease_token], MINUTE))
    assert watching.for_seconds(50) == []
    assert queue.row(run_id).status is RunStatus.RUNNING


def test_a_watcher_that_was_frozen_watches_anew(queue, watching):
    queue.put(Job("tidy", command="true"))
    queue.claim()
    watching.for_seconds(50)
    watching.frozen_for(600)
    assert watching.for_seconds(60) == []
    assert len(watching.for_seconds(20)) == 1


def test_the_time_that_a_database_takes_to_answer_is_no_silence_of_a_worker(queue, database):
    queue.put(Job("tidy", command="true"))
    queue.claim()
    stopwatch = Stopwatch()
    watch = LeaseWatch(LEASE_SECONDS, stopwatch)

    def answers_after_25_seconds(*_):
        stopwatch.seconds += 25

    with database.write() as session:
        event.listen(session.connection, "before_cursor_execute", answers_after_25_seconds)
        assert watch.look(session) == []
    seen_after = []
    for seconds in (5, 25, 25, 10):
        stopwatch.seconds += seconds
        seen_after.append(len(database.transact(watch.look)))
    assert seen_after == [0, 0, 0, 1]


def test_a_watcher_that_has_just_started_waits_a_whole_lease(queue, watching, clock):
    queue.put(Job("tidy", command="true"))
    queue.claim()
    clock.move(hours=1)
    assert watching.for_seconds(60) == []


def test_a_lost_run_is_tried_again_where_its_job_says_so(queue, watching):
    (run_id,) = queue.put(Job("tidy", command="true", on_lost="retry"))
    queue.claim()
    watching.for_seconds(80)
    row = queue.row(run_id)
    assert (row.status, row.attempt) == (RunStatus.QUEUED, 2)
    assert [one.status for one in queue.attempts(run_id)] == [RunStatus.LOST]


def test_a_worker_that_comes_back_after_its_run_was_lost_cannot_end_it(queue, watching):
    (run_id,) = queue.put(Job("tidy", command="true"))
    (run,) = queue.claim()
    watching.for_seconds(80)
    assert not queue.end(run, RunStatus.SUCCEEDED)
    assert queue.row(run_id).status is RunStatus.LOST


# Status


FORBIDDEN = [(was, to) for was, to in product(RunStatus, RunStatus) if to not in ALLOWED.get(was, ())]


def test_only_a_waiting_or_a_running_run_moves_at_all():
    assert set(ALLOWED) == UNFINISHED


@pytest.mark.parametrize("was", [status for status in RunStatus if status.is_over], ids=str)
def test_what_has_ended_stays_as_it_ended(queue, installation, database, was):
    (run_id,) = queue.put(Job("tidy", command="true"))
    installation.sql("UPDATE job_run SET status = :was, lease_token = 't'", was=was.value)
    before = queue.row(run_id)
    lease = Lease("t2", "w1", NOON)
    ending = Ending(RunStatus.SUCCEEDED, NOON)
    with database.write() as session:
        moved = [
            transitions.start(session, run_id, 1, lease, NOON),
            transitions.finish(session, run_id, 1, ending, "t"),
            transitions.try_again(session, run_id, 1, ending, "t", NOON),
            transitions.give_back(session, run_id, 1, "t"),
            transitions.cancel_queued(session, run_id, NOON, "x"),
        ]
    assert moved == [False] * 5
    assert queue.row(run_id) == before


@pytest.mark.parametrize("to", [RunStatus.RUNNING, RunStatus.SKIPPED], ids=str)
def test_a_way_that_no_run_may_go_is_a_bug_of_the_caller(queue, database, to):
    (run_id,) = queue.put(Job("tidy", command="true"))
    with pytest.raises(ForbiddenMove), database.write() as session:
        transitions.finish(session, run_id, 1, Ending(to, NOON), "t")


# Output


def test_output_stored_twice_is_there_once(queue, database):
    (run_id,) = queue.put(Job("tidy", command="true"))
    queue.claim()
    chunks = [OutputChunk(1, 1, 0, 3, '[[0,"out","one"]]'), OutputChunk(2, 2, 3, 3, '[[0,"err","two"]]')]
    for _ in range(2):
        database.transact(
            lambda session: attempts.store_output(session, run_id, 1, chunks, range(0), total_bytes=6, left_out_bytes=0)
        )
    with database.read() as session:
        rows = session.execute(select(JobRunOutput.seq, JobRunOutput.segments).order_by(JobRunOutput.seq)).all()
        assert attempts.output_size(session, run_id, 1) == (6, 0)
    assert [tuple(row) for row in rows] == [(1, '[[0,"out","one"]]'), (2, '[[0,"err","two"]]')]


def test_output_that_the_tail_has_left_behind_is_deleted(queue, database):
    (run_id,) = queue.put(Job("tidy", command="true"))
    queue.claim()

    def store(chunks, dropped, total, left_out):
        database.transact(lambda session: attempts.store_output(session, run_id, 1, chunks, dropped, total, left_out))

    store([OutputChunk(seq, seq, 3 * seq, 3, "[]") for seq in (1, 2, 3)], range(0), 9, 0)
    store([OutputChunk(4, 4, 12, 3, "[]")], range(2, 4), 12, 6)
    with database.read() as session:
        assert list(session.scalars(select(JobRunOutput.seq).order_by(JobRunOutput.seq))) == [1, 4]
        assert attempts.output_size(session, run_id, 1) == (12, 6)
