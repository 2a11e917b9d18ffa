"""What the tables say about the life of the whole installation: the facts behind health, banners and metrics.

A handful of queries; none of them grows with the history.  What waits is counted by its index alone.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, or_, select

from schedmgr.core import installation, locking, standstill
from schedmgr.core.installation import InForce
from schedmgr.core.processes import SILENT_AFTER
from schedmgr.core.standstill import Ahead, Due, Untaken
from schedmgr.database import server
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobSchedule, Pause, Process
from schedmgr.database.server import Server
from schedmgr.vocabulary import ProcessRole, RunStatus

REPAIRS_SHOWN = timedelta(hours=1)
STALE_SHOWN = timedelta(hours=1)
"""A process that fell silent longer ago is history: someone replaced it elsewhere, or let it go."""
RUNS_LOOKED_AT = timedelta(hours=24)

JUDGED = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST)
"""Ends that say whether a job works; a cancelled or skipped run says nothing about that."""


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a process, as far as its row tells."""

    id: str
    role: ProcessRole
    host: str
    pid: int
    version: str
    environment: str
    started_at: datetime
    beat_at: datetime
    stopped_at: datetime | None
    clock_offset: float  # seconds that its host's clock is ahead of the database's
    concurrency: int
    definitions: Mapping[str, Any] | None  # source, fingerprint, loaded_at, schedules
    definitions_errors: tuple[Mapping[str, Any], ...]  # as Problem.as_data gives them

    def is_living(self, now: datetime) -> bool:
        """Whether it has not ended and beat lately."""
        return self.stopped_at is None and abs(now - self.beat_at) <= SILENT_AFTER

    @property
    def ended_well(self) -> bool:
        """Whether it said itself that it stops; others end a life that was not there when it should have been."""
        return self.stopped_at is not None and self.stopped_at <= self.beat_at

    @property
    def takes_runs(self) -> bool:
        """Whether it has places for job runs."""
        return self.role is not ProcessRole.WEB and self.concurrency > 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """A schedule whose stored next run was put right."""

    schedule_id: str
    at: datetime
    repair: str


@dataclass(frozen=True, slots=True)
class Runs:
    """Ended runs of a span: `failed` includes timed out and lost ones."""

    succeeded: int = 0
    failed: int = 0
    most_failing: str | None = None
    """The job with the most failed ones."""

    @property
    def judged(self) -> int:
        """All of them."""
        return self.succeeded + self.failed

    @property
    def success_percent(self) -> float | None:
        """How many of a hundred succeeded; None if there was none."""
        return 100 * self.succeeded / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Queue:
    """Runs that have not ended.  Waiting ones could start now: they wait neither for a retry nor for a jitter."""

    waiting: int = 0
    longest_waiting_since: datetime | None = None
    running: int = 0
    untaken: Untaken | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """The pause that holds now."""

    from_at: datetime
    until_at: datetime | None
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Vitals:
    """All that a verdict may depend on.  Instants are UTC, by the database's clock."""

    now: datetime
    last_daemon: Life | None = None
    """The daemon that beat last, ended or not; None: no daemon has ever run."""
    processes: tuple[Life, ...] = ()
    """Those that beat within the last hour, ended or not; the newest beat first."""
    oldest_due: Due | None = None
    overdue: int = 0
    """Schedules that have been due for over a minute."""
    enabled: int = 0
    never_due: tuple[str, ...] = ()
    """Schedules that are on, and of which nothing can say when they are due."""
    ahead: Ahead | None = None
    repaired: tuple[Repaired, ...] = ()  # within the last hour, newest first
    runs: Runs = Runs()  # of the last 24 hours
    queue: Queue = Queue()
    paused: Paused | None = None
    in_force: InForce | None = None
    """The definitions that the tables hold; None before the first sync."""
    disk_free: int | None = None  # bytes on the disk of the database's file
    file_held_by: str | None = None
    """The process that keeps all others from writing, in words; found out only where something is wrong."""
    file_is_read_only: bool = False
    rows_held_by: str | None = None
    """The same of a server's session that keeps rows locked."""
    server: Server | None = None
    """What the database says of itself where it is a server."""

    def living(self, *roles: ProcessRole) -> tuple[Life, ...]:
        """The processes that live, of these roles or of all."""
        return tuple(life for life in self.processes if life.is_living(self.now) and (not roles or life.role in roles))

    @property
    def places(self) -> int:
        """How many runs can go at once, on all living workers."""
        return sum(life.concurrency for life in self.living() if life.takes_runs)

    @property
    def stale(self) -> tuple[Life, ...]:
        """Processes that fell silent without ending, and that none on the same host has replaced since."""
        return tuple(
            life
            for life in self.processes
            if not life.ended_well and self.now - life.beat_at > SILENT_AFTER and not self._is_replaced(life)
        )

    def _is_replaced(self, life: Life) -> bool:
        return any(
            other.role is life.role and other.host == life.host and other.started_at >= life.beat_at
            for other in self.processes
            if other.id != life.id
        )


def vitals(session: Session) -> Vitals:
    """The facts of this moment."""
    now = session.now()
    enabled, overdue = _schedule_counts(session)
    oldest_due, never_due = standstill.oldest_due(session)
    found = Vitals(
        now=now,
        last_daemon=_last_daemon(session),
        processes=tuple(_lives(session, _beaten_since(now - STALE_SHOWN, now))),
        oldest_due=oldest_due,
        overdue=overdue,
        enabled=enabled,
        never_due=never_due,
        ahead=standstill.ahead(session),
        repaired=_repaired(session, now - REPAIRS_SHOWN),
        runs=_runs(session, now - RUNS_LOOKED_AT),
        queue=_queue(session),
        paused=paused(session),
        in_force=installation.definitions_in_force(session),
        server=server.server(session),
    )
    return replace(found, queue=_with_untaken(session, found))


_LIFE = (
    Process.id,
    Process.role,
    Process.host,
    Process.pid,
    Process.version,
    Process.environment,
    Process.started_at,
    Process.beat_at,
    Process.stopped_at,
    Process.clock_offset,
    Process.concurrency,
    Process.definitions,
    Process.definitions_errors,
)


def _beaten_since(since: datetime, now: datetime) -> Select[Any]:
    """By role, so that the index on role and beat serves.  Beats of the future are those of a clock that has stepped
    back since."""
    beaten = Process.beat_at.between(since, now + SILENT_AFTER)
    lives = select(*_LIFE).where(Process.role.in_(list(ProcessRole)), beaten)
    return lives.order_by(Process.beat_at.desc(), Process.started_at.desc())


def _lives(session: Session, query: Select[Any]) -> list[Life]:
    rows = session.execute(query).mappings()
    return [Life(**{**row, "definitions_errors": tuple(row["definitions_errors"] or ())}) for row in rows]


def _last_daemon(session: Session) -> Life | None:
    """In the order of the index alone: any other would sort all that ever ran."""
    beaten = Process.beat_at <= session.now() + SILENT_AFTER
    newest = select(*_LIFE).where(Process.role == ProcessRole.DAEMON, beaten).order_by(Process.beat_at.desc())
    found = _lives(session, newest.limit(1))
    return found[0] if found else None


def _schedule_counts(session: Session) -> tuple[int, int]:
    """How many schedules are on, and how many of them are overdue."""
    enabled = select(func.count()).where(JobSchedule.enabled, JobSchedule.archived_at.is_(None))
    overdue = select(func.count()).where(locking.due(session.now() - SILENT_AFTER))
    return session.scalar(enabled) or 0, session.scalar(overdue) or 0


def _repaired(session: Session, since: datetime) -> tuple[Repaired, ...]:
    rows = session.execute(
        select(JobSchedule.id, JobSchedule.repaired_at, JobSchedule.repair)
        .where(JobSchedule.repaired_at >= since)
        .order_by(JobSchedule.repaired_at.desc())
    )
    return tuple(Repaired(id, at, repair or "") for id, at, repair in rows if at is not None)


def _runs(session: Session, since: datetime) -> Runs:
    """Counted by job and end: as many rows as there are jobs, however many runs there were.

    The index on finished_at answers it alone.  The name goes through coalesce() because SQLite would otherwise read all
    runs in the order of their jobs rather than sort the few that ended lately.
    """
    name = func.coalesce(JobRun.job, "")
    rows = session.execute(
        select(name, JobRun.status, func.count()).where(JobRun.finished_at >= since).group_by(name, JobRun.status)
    ).all()
    failures: Counter[str] = Counter()
    for job, status, count in rows:
        if status in JUDGED and status is not RunStatus.SUCCEEDED:
            failures[job] += count
    return Runs(
        succeeded=sum(count for _, status, count in rows if status is RunStatus.SUCCEEDED),
        failed=failures.total(),
        most_failing=max(failures, key=failures.__getitem__, default=None),
    )


def _queue(session: Session) -> Queue:
    waiting, since = session.execute(
        select(func.count(), func.min(JobRun.available_at)).where(
            JobRun.status == RunStatus.QUEUED, JobRun.available_at <= session.now()
        )
    ).one()
    running = session.scalar(select(func.count()).where(JobRun.status == RunStatus.RUNNING))
    return Queue(waiting, since, running or 0)


def _with_untaken(session: Session, facts: Vitals) -> Queue:
    """Asked only where something has waited although a place is free."""
    queue, since = facts.queue, facts.queue.longest_waiting_since
    if since is None or facts.now - since <= SILENT_AFTER or queue.running >= facts.places:
        return queue
    return replace(queue, untaken=standstill.untaken(session))


def paused(session: Session) -> Paused | None:
    """The pause that holds now, the newest if several do."""
    now = session.now()
    row = session.execute(
        select(Pause.from_at, Pause.until_at, Pause.by, Pause.reason)
        .where(Pause.resumed_by.is_(None), Pause.from_at <= now, or_(Pause.until_at.is_(None), Pause.until_at > now))
        .order_by(Pause.from_at.desc())
        .limit(1)
    ).first()
    return None if row is None else Paused(*row)
