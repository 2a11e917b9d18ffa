"""What pages ask about firings: the newest of every schedule, a page of one's history, and how their runs went."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.orm import aliased

from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobSchedule, ScheduleFiring
from schedmgr.vocabulary import UNFINISHED, Decision, Reason, RunStatus, Trigger

RECENT = 24
"""Firings of a schedule that a row of the list looks back on."""

WORST_FIRST = (
    RunStatus.FAILED,
    RunStatus.TIMED_OUT,
    RunStatus.LOST,
    RunStatus.RUNNING,
    RunStatus.QUEUED,
    RunStatus.CANCELLED,
    RunStatus.SKIPPED,
    RunStatus.SUCCEEDED,
)
FAILURES = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST})

_BATCH = 5000  # ids in one statement: SQLite takes 32,766


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The job runs of one firing, put together."""

    counts: Mapping[RunStatus, int]
    first_id: int
    started_at: datetime | None  # of the first that started
    finished_at: datetime | None  # of the last; None while one has not ended
    exit_code: int | None  # of a run with the worst status
    error: str | None

    @property
    def worst(self) -> RunStatus:
        """The status that the firing as a whole shows."""
        return next(status for status in WORST_FIRST if status in self.counts)

    @property
    def total(self) -> int:
        """How many runs there are (still)."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """How many of them have ended."""
        return sum(count for status, count in self.counts.items() if status.is_over)


@dataclass(frozen=True, slots=True)
class FiringFacts:
    """One firing and what became of it.  `runs` is None when it has none (any more)."""

    id: int
    schedule_id: str
    scheduled_for: datetime | None
    trigger: Trigger
    decision: Decision
    reason: Reason | None
    detail: str | None
    missed_count: int
    missed_until: datetime | None
    decided_at: datetime
    requested_by: str | None
    job_run_count: int
    runs: RunSummary | None

    @property
    def outcome(self) -> RunStatus | Decision:
        """The worst of its runs; the decision itself where there are none to look at."""
        return self.decision if self.runs is None else self.runs.worst

    @property
    def has_failed(self) -> bool:
        """Whether it shows a failure."""
        return self.outcome in FAILURES

    @property
    def took(self) -> timedelta | None:
        """From the first start to the last end; None while a run has not ended, or none started."""
        if self.runs is None or self.runs.started_at is None or self.runs.finished_at is None:
            return None
        return self.runs.finished_at - self.runs.started_at


class Show(StrEnum):
    """Which firings of a schedule its history shows."""

    ALL = ""
    FAILED = "failed"
    SKIPPED = "skipped"
    BY_HAND = "hand"


def newest_by_schedule(session: Session, ids: Iterable[str] | None = None) -> dict[str, tuple[FiringFacts, ...]]:
    """The newest RECENT firings of these schedules, or of all, newest first.  Two questions however many they are."""
    older = aliased(ScheduleFiring)
    last_place = (
        select(older.id)
        .where(older.schedule_id == JobSchedule.id)
        .order_by(older.id.desc())
        .offset(RECENT - 1)
        .limit(1)
        .correlate(JobSchedule)
        .scalar_subquery()
    )
    query = (
        select(*_COLUMNS)
        .select_from(JobSchedule)
        # An outer join is not turned round: the other way the place would be looked up for each firing there is.
        .outerjoin(
            ScheduleFiring,
            and_(ScheduleFiring.schedule_id == JobSchedule.id, ScheduleFiring.id >= func.coalesce(last_place, 0)),
        )
        .order_by(JobSchedule.id, ScheduleFiring.id.desc())
    )
    if ids is not None:
        query = query.where(JobSchedule.id.in_(list(ids)))
    found: dict[str, list[FiringFacts]] = defaultdict(list)
    for firing in _with_runs(session, query):
        found[firing.schedule_id].append(firing)
    return {schedule_id: tuple(firings) for schedule_id, firings in found.items()}


def history(
    session: Session, schedule_id: str, show: Show, limit: int, *, before: int | None = None, after: int | None = None
) -> list[FiringFacts]:
    """A page of a schedule's firings, newest first: those older than the id `before`, or just newer than `after`."""
    query = select(*_COLUMNS).where(_shown(schedule_id, show))
    if after is not None:
        newer = query.where(ScheduleFiring.id > after).order_by(ScheduleFiring.id).limit(limit)
        return _with_runs(session, newer)[::-1]
    if before is not None:
        query = query.where(ScheduleFiring.id < before)
    return _with_runs(session, query.order_by(ScheduleFiring.id.desc()).limit(limit))


def count_history(session: Session, schedule_id: str, show: Show, limit: int) -> int:
    """How many firings a schedule's history shows; no more than `limit` are counted."""
    some = select(ScheduleFiring.id).where(_shown(schedule_id, show)).limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def ended_since(session: Session, schedule_id: str, since: datetime, limit: int = 10_000) -> tuple[int, int]:
    """Of a schedule's enqueued firings since an instant whose runs all ended: how many succeeded, how many there are.

    No more than the newest `limit` are looked at.
    """
    firings = (
        select(ScheduleFiring.id)
        .where(
            ScheduleFiring.schedule_id == schedule_id,
            ScheduleFiring.decided_at >= since,
            ScheduleFiring.decision == Decision.ENQUEUED,
        )
        .order_by(ScheduleFiring.id.desc())
        .limit(limit)
        .subquery()
    )
    rows = session.execute(
        select(JobRun.firing_id, JobRun.status).where(JobRun.firing_id.in_(select(firings.c.id))).distinct()
    )
    statuses: dict[int | None, set[RunStatus]] = defaultdict(set)
    for firing_id, status in rows:
        statuses[firing_id].add(status)
    ended = [found for found in statuses.values() if not found & UNFINISHED]
    return sum(found == {RunStatus.SUCCEEDED} for found in ended), len(ended)


def successful_durations(session: Session, schedule_id: str, firings: int) -> list[timedelta]:
    """How long the newest `firings` firings of a schedule took of which every run succeeded."""
    newest = history(session, schedule_id, Show.ALL, firings)
    return [firing.took for firing in newest if firing.outcome is RunStatus.SUCCEEDED and firing.took is not None]


def _shown(schedule_id: str, show: Show) -> ColumnElement[bool]:
    own = ScheduleFiring.schedule_id == schedule_id
    if show is Show.SKIPPED:
        return and_(own, ScheduleFiring.decision == Decision.SKIPPED)
    if show is Show.BY_HAND:
        return and_(own, ScheduleFiring.trigger.in_([Trigger.MANUAL, Trigger.API]))
    if show is Show.FAILED:
        return and_(own, exists().where(JobRun.firing_id == ScheduleFiring.id, JobRun.status.in_(FAILURES)))
    return own


_COLUMNS = (
    ScheduleFiring.id,
    ScheduleFiring.schedule_id,
    ScheduleFiring.scheduled_for,
    ScheduleFiring.trigger,
    ScheduleFiring.decision,
    ScheduleFiring.reason,
    ScheduleFiring.detail,
    ScheduleFiring.missed_count,
    ScheduleFiring.missed_until,
    ScheduleFiring.decided_at,
    ScheduleFiring.requested_by,
    ScheduleFiring.job_run_count,
)


def _with_runs(session: Session, query: Select[*tuple[Any, ...]]) -> list[FiringFacts]:
    rows = [row for row in session.execute(query) if row.id is not None]
    summaries = _summaries(session, [row.id for row in rows if row.decision is Decision.ENQUEUED])
    return [FiringFacts(**row._mapping, runs=summaries.get(row.id)) for row in rows]


def _summaries(session: Session, firing_ids: Sequence[int]) -> dict[int, RunSummary]:
    """The runs of these firings, put together by the database: one row a firing and status."""
    groups: dict[int, list[Any]] = defaultdict(list)
    for ids in _batches(firing_ids):
        rows = session.execute(
            select(
                JobRun.firing_id,
                JobRun.status,
                func.count().label("runs"),
                func.min(JobRun.id).label("first_id"),
                func.min(JobRun.started_at).label("started_at"),
                func.max(JobRun.finished_at).label("finished_at"),
                func.max(JobRun.exit_code).label("exit_code"),
                func.max(JobRun.error).label("error"),
            )
            .where(JobRun.firing_id.in_(ids))
            .group_by(JobRun.firing_id, JobRun.status)
        )
        for row in rows:
            groups[row.firing_id].append(row)
    return {firing_id: _summary(rows) for firing_id, rows in groups.items()}


def _summary(rows: Sequence[Any]) -> RunSummary:
    worst = min(rows, key=lambda row: WORST_FIRST.index(row.status))
    has_ended = all(row.status.is_over for row in rows)
    return RunSummary(
        counts={row.status: row.runs for row in rows},
        first_id=min(row.first_id for row in rows),
        started_at=min((row.started_at for row in rows if row.started_at is not None), default=None),
        finished_at=max((row.finished_at for row in rows if row.finished_at is not None), default=None)
        if has_ended
        else None,
        exit_code=worst.exit_code,
        error=worst.error,
    )


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
