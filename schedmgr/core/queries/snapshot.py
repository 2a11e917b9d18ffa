"""Everything that the lists, the frame and the banners show, read at one moment.

It takes a handful of questions however many schedules there are, and fewer when little changed: what the newest firings
looked like is read again only for schedules of which something moved since the snapshot before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, or_, select

from schedmgr.core import installation
from schedmgr.core.installation import InForce
from schedmgr.core.processes import SILENT_AFTER
from schedmgr.core.queries.firings import FiringFacts, newest_by_schedule
from schedmgr.database.engine import Session
from schedmgr.database.models import (
    AdminSession,
    AdminUser,
    Job,
    JobRun,
    JobSchedule,
    Pause,
    Process,
    ScheduleFiring,
    SchedulePeriod,
)
from schedmgr.vocabulary import UNFINISHED, Decision, ExecutionMode, Missed, ProcessRole, Reason, Role, RunStatus

PROCESSES = 50  # that are looked at: more have never run at once
REMEMBERED_FOR = timedelta(hours=1)  # that a process which fell silent is still spoken of
LOOK_BACK = timedelta(hours=24)
FULL_EVERY = timedelta(seconds=60)  # all firings anew, should some have come to light in another order than their ids


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One life of a daemon or a worker."""

    id: str
    role: ProcessRole
    host: str
    pid: int
    version: str
    started_at: datetime
    beat_at: datetime
    stopped_at: datetime | None
    clock_offset: float
    concurrency: int
    definitions: Mapping[str, Any] | None
    definitions_errors: tuple[Mapping[str, Any], ...]

    def is_beating(self, now: datetime) -> bool:
        """Whether it lives, as far as one can see."""
        return self.stopped_at is None and now - self.beat_at <= SILENT_AFTER


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
    grace: int  # seconds
    position: int
    enabled: bool
    next_run_at: datetime | None
    created_at: datetime
    changed_at: datetime
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
class PauseFacts:
    """The pause that holds now."""

    from_at: datetime
    until_at: datetime | None
    by: str
    reason: str


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
    schedules: int
    counted_at: datetime


@dataclass(frozen=True, slots=True)
class Marks:
    """By what one sees that a firing or a run came, moved or ended."""

    firing_id: int
    run_id: int
    firings_read_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of everything at `now`, the database's clock.  Firings are newest first, at most 24 a schedule."""

    now: datetime
    environment: str | None
    in_force: InForce | None
    pause: PauseFacts | None
    processes: tuple[ProcessFacts, ...]
    jobs: tuple[JobFacts, ...]
    schedules: tuple[ScheduleFacts, ...]
    firings: Mapping[str, tuple[FiringFacts, ...]]
    unfinished: tuple[UnfinishedRun, ...]
    missings: Missings
    sessions: Mapping[str, SignedIn]
    marks: Marks

    @property
    def daemons(self) -> tuple[ProcessFacts, ...]:
        """The daemons, the one that beat last first."""
        return tuple(process for process in self.processes if process.role is ProcessRole.DAEMON)

    @property
    def places(self) -> int:
        """How many runs can go at once, on all living workers."""
        return sum(process.concurrency for process in self.processes if process.is_beating(self.now))

    def with_status(self, status: RunStatus) -> tuple[UnfinishedRun, ...]:
        """The queued, or the running ones."""
        return tuple(run for run in self.unfinished if run.status is status)


def read(session: Session, before: Snapshot | None = None) -> Snapshot:
    """Read it all.  `before`: an earlier snapshot of the same database, whose unchanged parts are kept."""
    now = session.now()
    unfinished = _unfinished(session)
    marks, firings = _firings(session, unfinished, before)
    return Snapshot(
        now=now,
        environment=installation.environment(session),
        in_force=installation.definitions_in_force(session),
        pause=_pause(session, now),
        processes=_processes(session, now),
        jobs=_jobs(session),
        schedules=_schedules(session),
        firings=firings,
        unfinished=unfinished,
        missings=_missings(session, now, marks, before),
        sessions=_sessions(session, now),
        marks=marks,
    )


def _firings(
    session: Session, unfinished: tuple[UnfinishedRun, ...], before: Snapshot | None
) -> tuple[Marks, Mapping[str, tuple[FiringFacts, ...]]]:
    """The newest firings: of all schedules, or only of those where something moved since `before`."""
    newest_firing = session.scalar(select(func.max(ScheduleFiring.id))) or 0
    newest_run = session.scalar(select(func.max(JobRun.id))) or 0
    now = session.now()
    if before is None or not timedelta(0) <= now - before.marks.firings_read_at < FULL_EVERY:
        return Marks(newest_firing, newest_run, now), newest_by_schedule(session)
    marks = Marks(newest_firing, newest_run, before.marks.firings_read_at)
    moved = {run.schedule_id for run in set(unfinished) ^ set(before.unfinished)}
    if newest_firing != before.marks.firing_id or newest_run != before.marks.run_id:
        moved |= _newly_fired(session, before.marks)
    changed = sorted(schedule_id for schedule_id in moved if schedule_id is not None)
    if not changed:
        return marks, before.firings
    return marks, {**before.firings, **newest_by_schedule(session, changed)}


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


def _pause(session: Session, now: datetime) -> PauseFacts | None:
    row = session.execute(
        select(Pause.from_at, Pause.until_at, Pause.by, Pause.reason)
        .where(Pause.from_at <= now, or_(Pause.until_at.is_(None), Pause.until_at > now))
        .order_by(Pause.from_at)
        .limit(1)
    ).first()
    return None if row is None else PauseFacts(*row)


def _processes(session: Session, now: datetime) -> tuple[ProcessFacts, ...]:
    """Daemons and workers that beat within the last hour, and the daemon that beat last, whenever that was."""
    columns = [getattr(Process, name) for name in ProcessFacts.__dataclass_fields__]
    lately = (
        select(*columns)
        .where(
            Process.role.in_([ProcessRole.DAEMON, ProcessRole.WORKER]),
            Process.beat_at >= now - REMEMBERED_FOR,
        )
        .order_by(Process.beat_at.desc())
        .limit(PROCESSES)
    )
    rows = list(session.execute(lately))
    if not any(row.role is ProcessRole.DAEMON for row in rows):
        last = select(*columns).where(Process.role == ProcessRole.DAEMON).order_by(Process.beat_at.desc()).limit(1)
        rows += session.execute(last)
    return tuple(
        ProcessFacts(**{**row._mapping, "definitions_errors": tuple(row.definitions_errors or ())}) for row in rows
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
        if timedelta(0) <= now - kept.counted_at < FULL_EVERY:
            return kept
    runs = func.coalesce(func.sum(ScheduleFiring.missed_count), 0)
    counted = session.execute(
        select(runs, func.count(ScheduleFiring.schedule_id.distinct()))
        .select_from(ScheduleFiring)
        .join(JobSchedule, JobSchedule.id == ScheduleFiring.schedule_id)
        .where(
            ScheduleFiring.decided_at >= now - LOOK_BACK,
            ScheduleFiring.decision == Decision.SKIPPED,
            ScheduleFiring.reason.in_([Reason.MISSED_NO_DAEMON, Reason.MISSED_LATE]),
            JobSchedule.missed == Missed.SKIP,
        )
    ).one()
    return Missings(int(counted[0]), int(counted[1]), now)


def _sessions(session: Session, now: datetime) -> Mapping[str, SignedIn]:
    rows = session.execute(
        select(AdminSession.id, AdminUser.name, AdminUser.role)
        .join(AdminUser, AdminUser.name == AdminSession.user_name)
        .where(AdminSession.ended_at.is_(None), AdminSession.expires_at > now)
    )
    return {session_id: SignedIn(session_id, name, role) for session_id, name, role in rows}
