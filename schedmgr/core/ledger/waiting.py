"""What became of job runs; and of one that has not ended, what it waits for and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select

from schedmgr.core import phrases
from schedmgr.core.ledger import told
from schedmgr.core.ledger.evidence import LONGEST_SILENCE
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobVersion, Process
from schedmgr.vocabulary import UNFINISHED, ProcessRole, RunStatus

BY_WAY_OF_EXAMPLE = 3
"""So many runs are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """A job run, with its job as its version has it."""

    id: int
    firing_id: int | None
    schedule_id: str | None
    scheduled_for: datetime | None
    job: str
    group: str
    status: RunStatus | None
    attempt: int
    queued_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    process_id: str | None
    lease_until: datetime | None
    in_turn: bool
    waits_for: int
    cancel_requested_by: str | None
    definition: Mapping[str, Any]

    @property
    def name(self) -> str:
        """How an answer names it."""
        return f"run {self.id} ({self.job})"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run has not ended, and what to do; nothing to do: leave it alone."""

    why: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that takes job runs."""

    id: str
    host: str
    pid: int
    beat_at: datetime
    stopped_at: datetime | None
    concurrency: int

    def is_living(self, now: datetime) -> bool:
        """Whether it has not ended and beat lately."""
        return self.stopped_at is None and abs(now - self.beat_at) <= LONGEST_SILENCE


def of_firing(session: Session, firing_id: int) -> list[Run]:
    """The runs that a firing put on the queue, as far as they are still there."""
    return _runs(session, JobRun.firing_id == firing_id)


def unfinished_at(session: Session, schedule_id: str, instant: datetime, besides: int) -> list[Run]:
    """The runs of a schedule that were queued or running at an instant; not those of the firing `besides`."""
    began = (JobRun.schedule_id == schedule_id, JobRun.queued_at <= instant)
    not_over = JobRun.finished_at.is_(None) | (JobRun.finished_at >= instant - timedelta(seconds=10))
    others = JobRun.firing_id.is_(None) | (JobRun.firing_id != besides)
    return _runs(session, *began, not_over, others, limit=BY_WAY_OF_EXAMPLE)


def _runs(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> list[Run]:
    rows = session.execute(
        select(
            JobRun.id,
            JobRun.firing_id,
            JobRun.schedule_id,
            JobRun.scheduled_for,
            JobRun.job,
            JobRun.group,
            JobRun.status,
            JobRun.attempt,
            JobRun.queued_at,
            JobRun.available_at,
            JobRun.started_at,
            JobRun.finished_at,
            JobRun.error,
            JobRun.process_id,
            JobRun.lease_until,
            JobRun.in_turn,
            JobRun.waits_for,
            JobRun.cancel_requested_by,
            JobVersion.definition,
        )
        .outerjoin(JobVersion, JobVersion.id == JobRun.job_version_id)
        .where(*conditions)
        .order_by(JobRun.id)
        .limit(limit)
    )
    return [Run(**{**row, "definition": row["definition"] or {}}) for row in rows.mappings()]


def became(runs: Sequence[Run], now: datetime) -> list[str]:
    """What became of a firing's runs: those that are not well first."""
    bad_first = sorted(runs, key=lambda run: (run.status is RunStatus.SUCCEEDED, run.id))
    told_of = [_became(run, now) for run in bad_first[:BY_WAY_OF_EXAMPLE]]
    others = bad_first[BY_WAY_OF_EXAMPLE:]
    if others:
        succeeded = sum(run.status is RunStatus.SUCCEEDED for run in others)
        told_of.append(f"{phrases.counted(len(others), 'more run')}, {succeeded} of them succeeded.")
    return told_of


def _became(run: Run, now: datetime) -> str:
    status = "in an unknown state" if run.status is None else str(run.status).lower().replace("_", " ")
    when = "" if run.finished_at is None else f" at {told.clock(run.finished_at, now)}"
    after = ""
    if run.started_at is not None and run.finished_at is not None:
        after = f" after {phrases.duration(max(run.finished_at - run.started_at, timedelta(0)))}"
    why = f": {run.error.rstrip('.')}" if run.error and run.status is not RunStatus.SUCCEEDED else ""
    return told.sentence(f"{run.name} {status}{when}{after}{why}")


def lasted(run: Run, near: datetime) -> str:
    """From when to when a run was queued or running."""
    began = f"was queued at {told.clock(run.queued_at, near)}"
    if run.started_at is not None:
        began = f"began at {told.clock(run.started_at, near)}"
    ended = "has not ended yet" if run.finished_at is None else f"ended at {told.clock(run.finished_at, near)}"
    return told.sentence(f"{run.name} {began} and {ended}")


def wait_of(session: Session, run: Run) -> Wait:
    """Why a run that has not ended is where it is."""
    return _running(session, run) if run.status is RunStatus.RUNNING else _queued(session, run)


def _running(session: Session, run: Run) -> Wait:
    now = session.now()
    worker = _worker(session, run.process_id)
    since = "" if run.started_at is None else f" since {told.clock(run.started_at, now)}"
    if worker is not None and worker.is_living(now):
        if run.cancel_requested_by is not None:
            return Wait(f"{run.name} was asked to stop by {run.cancel_requested_by}; it is killed 10 s after that")
        watch = f"Watch it: schedmgr runs logs {run.id} -f"
        return Wait(f"{run.name} is running on {worker.host}{since}", watch)
    gone = "its worker is not on record any more" if worker is None else _silent(worker, now)
    lease = "" if run.lease_until is None else f", and its lease {_lapse(run.lease_until, now)}"
    then = "then it is tried again" if run.definition.get("on_lost") == "retry" else "then it counts as lost and failed"
    do = "A daemon has to watch the lease lapse: schedmgr daemon" if not _daemon_lives(session) else ""
    return Wait(f"{run.name} is running{since}, but {gone}{lease}; {then}", do)


def _silent(worker: Worker, now: datetime) -> str:
    did = "was stopped" if worker.stopped_at is not None else "beat last"
    return f"its worker on {worker.host} {did} {told.away(min(worker.beat_at, now), now)}"


def _lapse(lease_until: datetime, now: datetime) -> str:
    if lease_until > now:
        return f"has to lapse, {told.away(lease_until, now)} at the earliest"
    return "has lapsed: a daemon ends it once it has watched it for a lease's length"


def _queued(session: Session, run: Run) -> Wait:
    now = session.now()
    if run.waits_for > 0:
        return _after(session, run)
    if run.available_at > now:
        return _not_yet(run, now)
    if run.in_turn and (earlier := _earlier(session, run)) is not None:
        turn = f"{run.name} waits for its turn: {earlier.name} of an earlier firing has not ended"
        return Wait(turn, f"See that one: schedmgr runs show {earlier.id}")
    return _for_a_worker(session, run, now)


def _after(session: Session, run: Run) -> Wait:
    """It comes after other jobs of the same firing."""
    after = set(run.definition.get("after", ()))
    siblings = [] if run.firing_id is None else of_firing(session, run.firing_id)
    open_ones = [one for one in siblings if one.job in after and one.status in UNFINISHED]
    names = " and ".join(f"{one.name}, {str(one.status).lower()}" for one in open_ones) or "jobs that it comes after"
    do = f"See that one: schedmgr runs show {open_ones[0].id}" if open_ones else ""
    return Wait(f"{run.name} comes after {names}: it starts when that has succeeded", do)


def _not_yet(run: Run, now: datetime) -> Wait:
    at = f"{told.clock(run.available_at, now)} ({told.away(run.available_at, now)})"
    if run.attempt == 1:
        return Wait(f"{run.name} starts at {at}: the schedule's jitter delays its runs")
    allowed = max(int(run.definition.get("retries", 0)) + 1, run.attempt)
    failed = f" (attempt {run.attempt - 1}: {run.error.rstrip('.')})" if run.error else ""
    return Wait(
        f"{run.name} waits for its retry, attempt {run.attempt} of {allowed}, at {at}{failed}",
        f"See why it failed: schedmgr runs logs {run.id} --attempt {run.attempt - 1}",
    )


def _for_a_worker(session: Session, run: Run, now: datetime) -> Wait:
    living = [worker for worker in workers(session) if worker.is_living(now)]
    places = sum(worker.concurrency for worker in living)
    if not places:
        return Wait(
            f"{run.name} waits for a worker, and none is running",
            "Start one: schedmgr worker (or schedmgr daemon with SCHEDMGR_WORKER_CONCURRENCY above 0)",
        )
    running = session.scalar(select(func.count()).where(JobRun.status == RunStatus.RUNNING)) or 0
    if running >= places:
        busy = phrases.counted(places, "place")
        return Wait(
            f"{run.name} waits for a worker: {busy} in all, {phrases.counted(running, 'run')} going",
            "See them: schedmgr runs list --status RUNNING. More places: SCHEDMGR_WORKER_CONCURRENCY",
        )
    return Wait(
        f"{run.name} waits for a worker, and {places - running} of {phrases.counted(places, 'place')} are free",
        f"If it stays so, no worker takes the group {run.group}: look at SCHEDMGR_WORKER_GROUPS",
    )


def _earlier(session: Session, run: Run) -> Run | None:
    if run.schedule_id is None or run.firing_id is None:
        return None
    found = _runs(
        session,
        JobRun.schedule_id == run.schedule_id,
        JobRun.status.in_(UNFINISHED),
        JobRun.firing_id < run.firing_id,
        limit=1,
    )
    return found[0] if found else None


def workers(session: Session) -> list[Worker]:
    """Every process that has places for job runs, living or not, the newest beat first."""
    rows = session.execute(_WORKER.where(Process.concurrency > 0).order_by(Process.beat_at.desc()).limit(1000))
    return [Worker(*row) for row in rows if row.beat_at is not None]


def _worker(session: Session, process_id: str | None) -> Worker | None:
    row = session.execute(_WORKER.where(Process.id == process_id)).first()
    return None if row is None or row.beat_at is None else Worker(*row)


def _daemon_lives(session: Session) -> bool:
    rows = session.execute(_WORKER.where(Process.role == ProcessRole.DAEMON))
    return any(Worker(*row).is_living(session.now()) for row in rows if row.beat_at is not None)


_WORKER = select(Process.id, Process.host, Process.pid, Process.beat_at, Process.stopped_at, Process.concurrency)
