"""What pages ask about job runs: a filtered page of them, counts, one run with its attempts, and what is usual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobRunAttempt, JobVersion, Process
from schedmgr.errors import NotFound
from schedmgr.vocabulary import RunStatus, Trigger

COUNTED = 10_000
"""Runs are counted up to here; more are "over 10,000"."""

ERRORS_SEARCHED = 100_000
"""A search looks at the error texts of so many of the newest runs: no index helps it."""

USUAL_OF = 50  # successes


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One job run.  `definition` is the job as this run's version has it."""

    id: int
    job: str
    group: str
    status: RunStatus
    attempt: int
    schedule_id: str | None
    firing_id: int | None
    scheduled_for: datetime | None
    trigger: Trigger
    requested_by: str | None
    queued_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    retry_of: int | None
    in_turn: bool
    cancel_requested_at: datetime | None
    definition: Mapping[str, Any]

    @property
    def attempts_allowed(self) -> int:
        """How often it may be tried."""
        return max(int(self.definition.get("retries", 0)) + 1, self.attempt)

    @property
    def took(self) -> timedelta | None:
        """How long its last attempt took; None while it has not ended, or if none started."""
        if self.started_at is None or self.finished_at is None or not self.status.is_over:
            return None
        return max(timedelta(0), self.finished_at - self.started_at)


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One try of a run, and the process that made it (None: its row is gone)."""

    number: int
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    output_bytes: int
    host: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs a list shows; None and empty mean any."""

    statuses: tuple[RunStatus, ...] = ()
    job: str | None = None
    group: str | None = None
    schedule_id: str | None = None
    trigger: Trigger | None = None
    firing_id: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class RunsPage:
    """Some runs, running ones first, then the newest; and how many there are of each status under the same filter.

    Counts are those among the newest COUNTED runs; `is_over`: there are more.
    """

    runs: tuple[RunFacts, ...]
    has_newer: bool
    has_older: bool
    counts: Mapping[RunStatus, int]
    is_over: bool


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run with all that its page shows beside the output."""

    run: RunFacts
    attempts: tuple[AttemptFacts, ...]  # newest first
    retried_as: int | None
    usual: tuple[timedelta, ...]  # durations of the last successes of the same job, shortest first
    earlier: tuple[RunFacts, ...]


def page(
    session: Session, wanted: Wanted, limit: int, *, older_than: int | None = None, newer_than: int | None = None
) -> RunsPage:
    """One page of runs: the first, or those older than an id, or just newer than one."""
    condition = _condition(session, wanted)
    counts, is_over = _counts(session, condition)
    if wanted.statuses:
        condition = and_(condition, JobRun.status.in_(wanted.statuses))
    if newer_than is not None:
        query = _rows().where(condition, JobRun.id > newer_than, JobRun.status != RunStatus.RUNNING)
        found = _facts(session, query.order_by(JobRun.id).limit(limit + 1))
        return RunsPage(tuple(reversed(found[:limit])), len(found) > limit, True, counts, is_over)
    if older_than is not None:
        query = _rows().where(condition, JobRun.id < older_than, JobRun.status != RunStatus.RUNNING)
        found = _facts(session, query.order_by(JobRun.id.desc()).limit(limit + 1))
        return RunsPage(tuple(found[:limit]), True, len(found) > limit, counts, is_over)
    running = _rows().where(condition, JobRun.status == RunStatus.RUNNING).order_by(JobRun.id.desc()).limit(limit)
    found = _facts(session, running)
    others = _rows().where(condition, JobRun.status != RunStatus.RUNNING).order_by(JobRun.id.desc())
    found += _facts(session, others.limit(limit + 1 - len(found)))
    return RunsPage(tuple(found[:limit]), False, len(found) > limit, counts, is_over)


def detail(session: Session, run_id: int) -> RunDetail:
    """One run.  Raises NotFound."""
    found = _facts(session, _rows().where(JobRun.id == run_id))
    if not found:
        raise NotFound(f"No run has the number {run_id}. It may be older than what is kept.")
    run = found[0]
    earlier = _rows().where(JobRun.job == run.job, JobRun.id < run_id).order_by(JobRun.id.desc()).limit(5)
    return RunDetail(
        run=run,
        attempts=_attempts(session, run_id),
        retried_as=session.scalar(_retries_of(run)),
        usual=usual_durations(session, run.job),
        earlier=tuple(_facts(session, earlier)),
    )


def usual_durations(session: Session, job: str) -> tuple[timedelta, ...]:
    """How long the newest successes of a job took, shortest first."""
    rows = session.execute(
        select(JobRun.started_at, JobRun.finished_at)
        .where(JobRun.job == job, JobRun.status == RunStatus.SUCCEEDED)
        .order_by(JobRun.id.desc())
        .limit(USUAL_OF)
    )
    return tuple(sorted(end - start for start, end in rows if start is not None and end is not None))


def _retries_of(run: RunFacts) -> Select[int]:
    """By the index on the job: a retry is a later run of the same one."""
    return (
        select(JobRun.id)
        .where(JobRun.job == run.job, JobRun.id > run.id, JobRun.retry_of == run.id)
        .order_by(JobRun.id.desc())
        .limit(1)
    )


def _attempts(session: Session, run_id: int) -> tuple[AttemptFacts, ...]:
    rows = session.execute(
        select(
            JobRunAttempt.attempt,
            JobRunAttempt.status,
            JobRunAttempt.started_at,
            JobRunAttempt.finished_at,
            JobRunAttempt.exit_code,
            JobRunAttempt.error,
            JobRunAttempt.output_bytes,
            Process.host,
            Process.pid,
        )
        .outerjoin(Process, Process.id == JobRunAttempt.process_id)
        .where(JobRunAttempt.run_id == run_id)
        .order_by(JobRunAttempt.attempt.desc())
    )
    return tuple(AttemptFacts(*row) for row in rows)


def _condition(session: Session, wanted: Wanted) -> ColumnElement[bool]:
    """All of the filter but the status, which the tabs count."""
    parts: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (JobRun.job, wanted.job),
            (JobRun.group, wanted.group),
            (JobRun.schedule_id, wanted.schedule_id),
            (JobRun.trigger, wanted.trigger),
            (JobRun.firing_id, wanted.firing_id),
        )
        if value is not None
    ]
    if wanted.text:
        parts.append(_matching(session, wanted.text))
    return and_(JobRun.id > 0, *parts)


def _matching(session: Session, text: str) -> ColumnElement[bool]:
    """A word in the job's name or the error, or the run's number."""
    newest = session.scalar(select(func.max(JobRun.id))) or 0
    number = text.strip().removeprefix("#")
    by_number = JobRun.id == int(number) if number.isdecimal() and len(number) < 16 else false()
    by_error = and_(JobRun.id > newest - ERRORS_SEARCHED, JobRun.error.icontains(text, autoescape=True))
    return or_(JobRun.job.icontains(text, autoescape=True), by_error, by_number)


def _counts(session: Session, condition: ColumnElement[bool]) -> tuple[Mapping[RunStatus, int], bool]:
    newest = select(JobRun.status).where(condition).order_by(JobRun.id.desc()).limit(COUNTED + 1).subquery()
    rows = session.execute(select(newest.c.status, func.count()).group_by(newest.c.status))
    counts = {RunStatus(status): count for status, count in rows}
    return counts, sum(counts.values()) > COUNTED


_COLUMNS = (
    JobRun.id,
    JobRun.job,
    JobRun.group,
    JobRun.status,
    JobRun.attempt,
    JobRun.schedule_id,
    JobRun.firing_id,
    JobRun.scheduled_for,
    JobRun.trigger,
    JobRun.requested_by,
    JobRun.queued_at,
    JobRun.available_at,
    JobRun.started_at,
    JobRun.finished_at,
    JobRun.exit_code,
    JobRun.error,
    JobRun.retry_of,
    JobRun.in_turn,
    JobRun.cancel_requested_at,
    JobVersion.definition,
)


def _rows() -> Select[*tuple[Any, ...]]:
    return select(*_COLUMNS).join(JobVersion, JobVersion.id == JobRun.job_version_id)


def _facts(session: Session, query: Select[*tuple[Any, ...]]) -> list[RunFacts]:
    rows: Sequence[Any] = session.execute(query).all()
    return [RunFacts(*row) for row in rows]
