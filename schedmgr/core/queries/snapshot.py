"""Everything that the lists, the frame and the banners show, read at one moment.

It takes a handful of questions however many schedules there are, and fewer when little changed: what the newest firings
looked like is read again only for schedules of which something moved since the snapshot before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select

from schedmgr.core import installation, standstill, vitals
from schedmgr.core.installation import InForce
from schedmgr.core.processes import SILENT_AFTER
from schedmgr.core.queries.firings import FiringFacts, newest_by_schedule
from schedmgr.core.vitals import Life, Paused, Vitals
from schedmgr.database.engine import Session
from schedmgr.database.models import (
    AdminSession,
    AdminUser,
    Job,
    JobRun,
    JobSchedule,
    Process,
    ScheduleFiring,
    SchedulePeriod,
)
from schedmgr.vocabulary import (
    UNFINISHED,
    Decision,
    ExecutionMode,
    Missed,
    Overlap,
    ProcessRole,
    Reason,
    Role,
    RunStatus,
)

LOOK_BACK = timedelta(hours=24)
FULL_EVERY = timedelta(minutes=5)  # all firings anew: some are pruned, some came to light after others with later ids
COUNTED_EVERY = timedelta(seconds=60)
VITALS_EVERY = timedelta(seconds=30)  # what a second cannot change for the worse


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """A schedule as its row has it."""

    id: str
    description: str
    cron: str
    timezone: str
    execution_mode: ExecutionMode
    job_group: str | None
    job: str | None
    missed: Missed
    overlap: Overlap
    grace: int  # seconds
    position: int
    enabled: bool
    next_run_at: datetime | None
    archived_at: datetime | None
    repaired_at: datetime | None
    repair: str | None
    was_on: bool  # at some time, up to now

    @property
    def is_on(self) -> bool:
        """Whether it fires by itself."""
        return self.enabled and self.archived_at is None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job of the definitions in force."""

    name: str
    group: str


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run that is queued or running."""

    id: int
    status: RunStatus
    attempt: int
    job: str
    schedule_id: str | None
    firing_id: int | None
    queued_at: datetime
    available_at: datetime
    started_at: datetime | None
    in_turn: bool
    is_cancelling: bool


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person behind a session that has not ended."""

    session_id: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Missings:
    """What was missed and skipped in the last 24 hours by schedules whose policy is to skip."""

    runs: int
    schedule_ids: tuple[str, ...]
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class Marks:
    """How far the tables had come, and when the parts were read that are not read each time."""

    firing_id: int  # the newest
    run_id: int
    firings_read_at: datetime
    vitals_read_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of everything at `now`, the database's clock.  Firings are newest first, at most 24 a schedule."""

    now: datetime
    environment: str | None
    vitals: Vitals
    jobs: tuple[JobFacts, ...]
    schedules: tuple[ScheduleFacts, ...]
    firings: Mapping[str, tuple[FiringFacts, ...]]
    unfinished: tuple[UnfinishedRun, ...]
    missings: Missings
    sessions: Mapping[str, SignedIn]
    marks: Marks

    @property
    def in_force(self) -> InForce | None:
        """The definitions that the tables hold."""
        return self.vitals.in_force

    @property
    def pause(self) -> Paused | None:
        """The pause that holds now."""
        return self.vitals.paused

    @property
    def places(self) -> int:
        """How many runs can go at once, on all living workers."""
        return self.vitals.places

    def with_status(self, status: RunStatus) -> tuple[UnfinishedRun, ...]:
        """The queued, or the running ones."""
        return tuple(run for run in self.unfinished if run.status is status)


def read(session: Session, before: Snapshot | None = None) -> Snapshot:
    """Read it all.  `before`: an earlier snapshot of the same database, whose unchanged parts are kept."""
    now = session.now()
    unfinished = _unfinished(session)
    marks = _marks(session, before)
    return Snapshot(
        now=now,
        environment=installation.environment(session),
        vitals=_vitals(session, marks, before),
        jobs=_jobs(session),
        schedules=_schedules(session),
        firings=_firings(session, unfinished, marks, before),
        unfinished=unfinished,
        missings=_missings(session, now, marks, before),
        sessions=_sessions(session, now),
        marks=marks,
    )


def _marks(session: Session, before: Snapshot | None) -> Marks:
    now = session.now()
    newest_firing = session.scalar(select(func.max(ScheduleFiring.id))) or 0
    newest_run = session.scalar(select(func.max(JobRun.id))) or 0
    if before is None:
        return Marks(newest_firing, newest_run, now, now)
    firings_read_at, vitals_read_at = before.marks.firings_read_at, before.marks.vitals_read_at
    return Marks(
        newest_firing,
        newest_run,
        firings_read_at if _is_within(firings_read_at, now, FULL_EVERY) else now,
        vitals_read_at if _is_within(vitals_read_at, now, VITALS_EVERY) else now,
    )


def _is_within(earlier: datetime, now: datetime, span: timedelta) -> bool:
    """Whether an instant lies at most so far back; not if the clock was set back behind it."""
    return timedelta(0) <= now - earlier < span


def _vitals(session: Session, marks: Marks, before: Snapshot | None) -> Vitals:
    """The facts that health is judged by; only those are read each time that a second can change for the worse."""
    now = session.now()
    if before is None or marks.vitals_read_at == now:
        return vitals.vitals(session)
    processes = _processes(session, now)
    newest = next((life for life in processes if life.role is ProcessRole.DAEMON), before.vitals.last_daemon)
    return replace(
        before.vitals,
        now=now,
        last_daemon=newest,
        processes=processes,
        # Whoever reads that something is overdue wants to see at once when it is no longer.
        oldest_due=standstill.oldest_due(session)[0] if before.vitals.oldest_due else None,
        paused=vitals.paused(session),
        in_force=installation.definitions_in_force(session),
    )


def _firings(
    session: Session, unfinished: tuple[UnfinishedRun, ...], marks: Marks, before: Snapshot | None
) -> Mapping[str, tuple[FiringFacts, ...]]:
    """The newest firings: of all schedules, or only of those where something moved since `before`."""
    if before is None or marks.firings_read_at == session.now():
        return newest_by_schedule(session)
    moved = {run.schedule_id for run in set(unfinished) ^ set(before.unfinished)}
    if (marks.firing_id, marks.run_id) != (before.marks.firing_id, before.marks.run_id):
        moved |= _newly_fired(session, before.marks)
    changed = sorted(schedule_id for schedule_id in moved if schedule_id is not None)
    return {**before.firings, **newest_by_schedule(session, changed)} if changed else before.firings


def _newly_fired(session: Session, marks: Marks) -> set[str | None]:
    fired = session.scalars(select(ScheduleFiring.schedule_id).where(ScheduleFiring.id > marks.firing_id).distinct())
    ran = session.scalars(select(JobRun.schedule_id).where(JobRun.id > marks.run_id).distinct())
    return {*fired, *ran}


def _unfinished(session: Session) -> tuple[UnfinishedRun, ...]:
    rows = session.execute(
        select(
            JobRun.id,
            JobRun.status,
            JobRun.attempt,
            JobRun.job,
            JobRun.schedule_id,
            JobRun.firing_id,
            JobRun.queued_at,
            JobRun.available_at,
            JobRun.started_at,
            JobRun.in_turn,
            JobRun.cancel_requested_at.is_not(None),
        )
        .where(JobRun.status.in_(UNFINISHED))
        .order_by(JobRun.id)
    )
    return tuple(UnfinishedRun(*row) for row in rows)


def _processes(session: Session, now: datetime) -> tuple[Life, ...]:
    """Those that beat within the last hour, the newest beat first."""
    columns = [getattr(Process, name) for name in Life.__dataclass_fields__]
    rows = session.execute(
        select(*columns)
        .where(
            Process.role.in_(list(ProcessRole)),
            Process.beat_at.between(now - vitals.STALE_SHOWN, now + SILENT_AFTER),
        )
        .order_by(Process.beat_at.desc(), Process.started_at.desc())
    )
    return tuple(
        Life(**{**row, "definitions_errors": tuple(row["definitions_errors"] or ())}) for row in rows.mappings()
    )


def _jobs(session: Session) -> tuple[JobFacts, ...]:
    rows = session.execute(
        select(Job.name, Job.group).where(Job.archived_at.is_(None)).order_by(Job.position, Job.name)
    )
    return tuple(JobFacts(name, group) for name, group in rows)


def _schedules(session: Session) -> tuple[ScheduleFacts, ...]:
    names = [name for name in ScheduleFacts.__dataclass_fields__ if name != "was_on"]
    was_on = exists().where(SchedulePeriod.schedule_id == JobSchedule.id).label("was_on")
    rows = session.execute(
        select(*(getattr(JobSchedule, name) for name in names), was_on).order_by(JobSchedule.position, JobSchedule.id)
    )
    return tuple(ScheduleFacts(**row._mapping) for row in rows)


def _missings(session: Session, now: datetime, marks: Marks, before: Snapshot | None) -> Missings:
    if before is not None and before.marks.firing_id == marks.firing_id:
        kept = before.missings
        if _is_within(kept.counted_at, now, COUNTED_EVERY):
            return kept
    counted = session.execute(
        select(ScheduleFiring.schedule_id, func.sum(ScheduleFiring.missed_count))
        .select_from(ScheduleFiring)
        .join(JobSchedule, JobSchedule.id == ScheduleFiring.schedule_id)
        .where(
            ScheduleFiring.decided_at >= now - LOOK_BACK,
            ScheduleFiring.decision == Decision.SKIPPED,
            ScheduleFiring.reason.in_([Reason.MISSED_NO_DAEMON, Reason.MISSED_LATE]),
            JobSchedule.missed == Missed.SKIP,
        )
        .group_by(ScheduleFiring.schedule_id)
        .order_by(ScheduleFiring.schedule_id)
    ).all()
    return Missings(sum(int(runs) for _, runs in counted), tuple(schedule_id for schedule_id, _ in counted), now)


def _sessions(session: Session, now: datetime) -> Mapping[str, SignedIn]:
    rows = session.execute(
        select(AdminSession.id, AdminUser.name, AdminUser.role)
        .join(AdminUser, AdminUser.name == AdminSession.user_name)
        .where(AdminSession.ended_at.is_(None), AdminSession.expires_at > now)
    )
    return {session_id: SignedIn(session_id, name, role) for session_id, name, role in rows}
