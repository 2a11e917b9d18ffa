"""What programs read: rows as JSON objects whose keys are the column names, newest first.  `limit` 0: all."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Select, and_, func, select

from schedmgr.core import accounts, cron, enqueue, settlement
from schedmgr.core.actions import no_such_schedule
from schedmgr.core.cron import CronError
from schedmgr.database.engine import Session
from schedmgr.database.models import Job, JobRun, JobRunAttempt, JobRunOutput, JobSchedule, JobVersion, ScheduleFiring
from schedmgr.errors import NotFound
from schedmgr.vocabulary import RunStatus

Row: TypeAlias = dict[str, Any]
"""Values are JSON, but for instants, which are datetimes."""

Query: TypeAlias = Select[*tuple[Any, ...]]

NEXT_RUNS = 10

_SCHEDULE = (
    JobSchedule.id,
    JobSchedule.description,
    JobSchedule.cron,
    JobSchedule.timezone,
    JobSchedule.execution_mode,
    JobSchedule.job_group,
    JobSchedule.job,
    JobSchedule.environments,
    JobSchedule.enabled,
    JobSchedule.next_run_at,
)
_SCHEDULE_DETAILS = (
    JobSchedule.missed,
    JobSchedule.catch_up_limit,
    JobSchedule.overlap,
    JobSchedule.grace,
    JobSchedule.jitter,
    JobSchedule.starts_at,
    JobSchedule.ends_at,
    JobSchedule.expect_within,
    JobSchedule.accounted_until,
    JobSchedule.created_at,
    JobSchedule.changed_at,
    JobSchedule.repaired_at,
    JobSchedule.repair,
)
_FIRING = (
    ScheduleFiring.id,
    ScheduleFiring.schedule_id,
    ScheduleFiring.scheduled_for,
    ScheduleFiring.decided_at,
    ScheduleFiring.trigger,
    ScheduleFiring.decision,
    ScheduleFiring.reason,
    ScheduleFiring.detail,
    ScheduleFiring.missed_count,
    ScheduleFiring.missed_until,
    ScheduleFiring.process_id,
    ScheduleFiring.requested_by,
    ScheduleFiring.job_run_count,
)
_LAST_FIRING = (
    ScheduleFiring.scheduled_for,
    ScheduleFiring.decided_at,
    ScheduleFiring.trigger,
    ScheduleFiring.decision,
    ScheduleFiring.reason,
)
_RUN = (
    JobRun.id,
    JobRun.job,
    JobRun.group,
    JobRun.schedule_id,
    JobRun.firing_id,
    JobRun.trigger,
    JobRun.status,
    JobRun.attempt,
    JobRun.queued_at,
    JobRun.started_at,
    JobRun.finished_at,
    JobRun.exit_code,
    JobRun.error,
    JobRun.requested_by,
)
_RUN_DETAILS = (
    JobRun.scheduled_for,
    JobRun.available_at,
    JobRun.priority,
    JobRun.job_version_id,
    JobRun.process_id,
    JobRun.retry_of,
    JobRun.cancel_requested_at,
    JobRun.cancel_requested_by,
)


def schedules(session: Session, limit: int = 0) -> list[Row]:
    """Every schedule: those of the definitions in their order, then the archived ones, the latest first."""
    in_order = (
        JobSchedule.archived_at.is_not(None),
        JobSchedule.archived_at.desc(),
        JobSchedule.position,
        JobSchedule.id,
    )
    return [_with_last_firing(row) for row in session.execute(_limited(_schedules(()).order_by(*in_order), limit))]


def schedule(session: Session, schedule_id: str) -> Row:
    """One schedule with all there is to know: its jobs, its cron in words, and its next runs were it on.

    Raises NotFound.
    """
    found = session.execute(_schedules(_SCHEDULE_DETAILS).where(JobSchedule.id == schedule_id)).first()
    if found is None:
        raise NotFound(no_such_schedule(session, schedule_id))
    state = next(iter(settlement.schedules(session, [schedule_id])), None)
    if state is None:
        raise NotFound(no_such_schedule(session, schedule_id))
    row = _with_last_firing(found)
    try:
        row["cron_in_words"] = cron.describe(state.timetable.cron, hash_id=schedule_id)
        undecided = max(session.now(), state.accounted_until)  # later than now where the clock was set back
        runs = state.timetable.between(undecided, datetime.max.replace(tzinfo=undecided.tzinfo))
        row["next_runs"] = list(islice(runs, NEXT_RUNS))
    except CronError as error:
        row["cron_in_words"], row["next_runs"] = str(error), []
    row["jobs"] = [job.name for job in state.selection.of(enqueue.active_jobs(session))]
    return row


def firings(session: Session, schedule_id: str | None = None, limit: int = 0) -> list[Row]:
    """The history of one schedule, or of all.  Raises NotFound."""
    query = select(*_FIRING).order_by(ScheduleFiring.id.desc())
    if schedule_id is not None:
        if session.scalar(select(JobSchedule.id).where(JobSchedule.id == schedule_id)) is None:
            raise NotFound(no_such_schedule(session, schedule_id))
        query = query.where(ScheduleFiring.schedule_id == schedule_id)
    return _rows(session, _limited(query, limit))


def jobs(session: Session, limit: int = 0) -> list[Row]:
    """Every job: those of the definitions in their order, then the archived ones, each with its last run."""
    newest = select(func.max(JobRun.id)).where(JobRun.job == Job.name).correlate(Job).scalar_subquery()
    query = (
        select(
            Job.name,
            Job.group,
            Job.description,
            Job.priority,
            JobVersion.definition,
            Job.archived_at,
            *(_named("last", column) for column in (JobRun.id, JobRun.status, JobRun.queued_at, JobRun.finished_at)),
        )
        .join(JobVersion, JobVersion.id == Job.version_id)
        .outerjoin(JobRun, and_(JobRun.job == Job.name, JobRun.id == newest))
        .order_by(Job.archived_at.is_not(None), Job.position, Job.name)
    )
    return [_nested(row, "last", "last_run") for row in session.execute(_limited(query, limit))]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted.  None: whatever it is."""

    job: str | None = None
    schedule_id: str | None = None
    firing_id: int | None = None
    status: RunStatus | None = None


EVERY_RUN = RunFilter()


def runs(session: Session, wanted: RunFilter = EVERY_RUN, limit: int = 0) -> list[Row]:
    """Job runs."""
    columns: tuple[tuple[Any, object], ...] = (
        (JobRun.job, wanted.job),
        (JobRun.schedule_id, wanted.schedule_id),
        (JobRun.firing_id, wanted.firing_id),
        (JobRun.status, wanted.status),
    )
    query = select(*_RUN).where(*(column == value for column, value in columns if value is not None))
    return _rows(session, _limited(query.order_by(JobRun.id.desc()), limit))


def run(session: Session, run_id: int) -> Row:
    """One job run with its attempts, the first first.  Raises NotFound."""
    found = _rows(session, select(*_RUN, *_RUN_DETAILS).where(JobRun.id == run_id))
    if not found:
        raise NotFound(f"No run has the number {run_id}. It may be older than what is kept.")
    attempts = (
        select(
            JobRunAttempt.attempt,
            JobRunAttempt.status,
            JobRunAttempt.process_id,
            JobRunAttempt.started_at,
            JobRunAttempt.finished_at,
            JobRunAttempt.exit_code,
            JobRunAttempt.error,
            JobRunAttempt.output_bytes,
            JobRunAttempt.output_left_out,
        )
        .where(JobRunAttempt.run_id == run_id)
        .order_by(JobRunAttempt.attempt)
    )
    return found[0] | {"attempts": _rows(session, attempts)}


@dataclass(frozen=True, slots=True)
class Printed:
    """A stretch of what an attempt printed.  `seq` goes up by one; what a gap held was not kept."""

    seq: int
    segments: tuple[tuple[int, str, str], ...]
    """Unix milliseconds, "out" or "err", text; text without a newline at its end is continued by the next."""


def output(session: Session, run_id: int, attempt: int, *, after: int = 0) -> list[Printed]:
    """What an attempt has printed, from the stretch after number `after` on."""
    rows = session.execute(
        select(JobRunOutput.seq, JobRunOutput.segments)
        .where(JobRunOutput.run_id == run_id, JobRunOutput.attempt == attempt, JobRunOutput.seq > after)
        .order_by(JobRunOutput.seq)
    )
    return [Printed(seq, tuple((at, stream, text) for at, stream, text in json.loads(kept))) for seq, kept in rows]


def users(session: Session, limit: int = 0) -> list[Row]:
    """Everybody who may sign in, by name."""
    found: Iterable[accounts.User] = accounts.users(session)
    return [
        {
            "name": user.name,
            "role": user.role,
            "created_at": user.created_at,
            "signed_in_at": user.signed_in_at,
            "sessions": user.sessions,
        }
        for user in islice(found, limit or None)
    ]


def _schedules(details: Sequence[Any]) -> Query:
    """Each schedule with its newest firing, found by one seek in the index, however long its history is."""
    newest = (
        select(func.max(ScheduleFiring.id))
        .where(ScheduleFiring.schedule_id == JobSchedule.id)
        .correlate(JobSchedule)
        .scalar_subquery()
    )
    last = (_named("last", column) for column in _LAST_FIRING)
    return select(*_SCHEDULE, *last, JobSchedule.archived_at, *details).outerjoin(
        ScheduleFiring, ScheduleFiring.id == newest
    )


def _with_last_firing(row: Any) -> Row:
    return _nested(row, "last", "last_firing", present="decided_at")


def _named(prefix: str, column: Any) -> Any:
    return column.label(f"{prefix}__{column.key}")


def _nested(row: Any, prefix: str, key: str, present: str = "id") -> Row:
    """The row with its columns of that prefix as one object under `key`; None if `present` is not there."""
    nested = {name: value for name, value in row._mapping.items() if name.startswith(f"{prefix}__")}
    flat: Row = {}
    for name, value in row._mapping.items():
        if name in nested:
            flat[key] = None  # here among the others is its place
        else:
            flat[name] = value
    if nested[f"{prefix}__{present}"] is not None:
        flat[key] = {name.removeprefix(f"{prefix}__"): value for name, value in nested.items()}
    return flat


def _limited(query: Query, limit: int) -> Query:
    return query.limit(limit) if limit else query


def _rows(session: Session, query: Query) -> list[Row]:
    return [dict(row) for row in session.execute(query).mappings()]
