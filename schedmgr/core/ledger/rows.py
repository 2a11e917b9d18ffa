"""The rows that the ledger reads.  Words are read as the text that stands there: it may be one that nobody knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, String, func, or_, select, type_coerce

from schedmgr.core.cron import CronError
from schedmgr.core.ledger.calendar import Period, mistake
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobSchedule, ScheduleFiring, SchedulePeriod, Setting

Query: TypeAlias = Select[*tuple[Any, ...]]

PAGE = 10_000
"""Firings that are held in memory at a time."""


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule as it stands now.  `accounted_until` is None where it cannot be read."""

    id: str
    cron: str
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    is_on: bool
    archived_at: datetime | None
    accounted_until: datetime | None
    grace: timedelta
    missed: str
    overlap: str
    created_at: datetime | None
    changed_at: datetime | None

    def mistake(self) -> CronError | None:
        """What is wrong with its expression or its zone."""
        return mistake(self.cron, self.timezone, self.id)


@dataclass(frozen=True, slots=True)
class Firing:
    """The recorded decision about one occurrence, or about several that were missed together."""

    id: int
    schedule_id: str
    scheduled_for: datetime
    trigger: str
    decision: str
    reason: str | None
    missed_count: int
    missed_until: datetime | None
    decided_at: datetime
    process_id: str | None
    job_run_count: int

    @property
    def last(self) -> datetime:
        """The last occurrence that it speaks of."""
        return self.scheduled_for if self.missed_until is None else self.missed_until

    @property
    def speaks_of(self) -> int:
        """How many occurrences, as it says."""
        return self.missed_count or 1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that holds something which cannot be read."""

    table: str
    id: int | str
    schedule_id: str | None
    column: str


def pruned_until(session: Session) -> datetime | None:
    """Until when what ended may have been pruned; None: nothing ever was."""
    value = session.scalar(select(Setting.value).where(Setting.key == "retention"))
    try:
        found = None if value is None else datetime.fromisoformat(str(value["pruned_until"]))
    except (KeyError, TypeError, ValueError):
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def schedules(session: Session, schedule_id: str | None = None) -> list[ScheduleRow]:
    """All schedules, or this one, the archived ones too, in the order of their ids."""
    query = select(
        JobSchedule.id,
        JobSchedule.cron,
        JobSchedule.timezone,
        JobSchedule.starts_at,
        JobSchedule.ends_at,
        JobSchedule.enabled,
        JobSchedule.archived_at,
        JobSchedule.accounted_until,
        JobSchedule.grace,
        _text(JobSchedule.missed),
        _text(JobSchedule.overlap),
        JobSchedule.created_at,
        JobSchedule.changed_at,
    ).order_by(JobSchedule.id)
    rows = session.execute(query if schedule_id is None else query.where(JobSchedule.id == schedule_id))
    return [
        ScheduleRow(id, cron, zone, starts, ends, on and archived is None, archived, until, _seconds(grace), *others)
        for id, cron, zone, starts, ends, on, archived, until, grace, *others in rows
    ]


def strangers(session: Session) -> list[str]:
    """Ids that firings or periods name and no schedule has."""
    known = select(JobSchedule.id)
    found = {
        id
        for column in (ScheduleFiring.schedule_id, SchedulePeriod.schedule_id)
        for id in session.scalars(select(column).where(column.not_in(known)).distinct())
    }
    return sorted(found)


def periods(session: Session, schedule_id: str) -> tuple[list[Period], list[Unreadable]]:
    """When a schedule was on and by what, oldest first; and the rows that cannot be read."""
    rows = session.execute(
        select(
            SchedulePeriod.id,
            SchedulePeriod.schedule_id,
            SchedulePeriod.cron,
            SchedulePeriod.timezone,
            SchedulePeriod.starts_at,
            SchedulePeriod.ends_at,
            SchedulePeriod.tzdata,
            SchedulePeriod.from_at,
            SchedulePeriod.until_at,
            *(SchedulePeriod.__table__.c[name].is_(None).label(f"no_{name}") for name in _MAY_BE_NULL),
        )
        .where(SchedulePeriod.schedule_id == schedule_id)
        .order_by(SchedulePeriod.from_at, SchedulePeriod.id)
    )
    readable, unreadable = [], []
    for row in rows.mappings():
        wrong = [name for name in _MAY_BE_NULL if row[name] is None and not row[f"no_{name}"]]
        wrong += ["from_at"] if row["from_at"] is None else []
        if wrong:
            unreadable.append(Unreadable("schedule_period", row["id"], schedule_id, wrong[0]))
        else:
            readable.append(Period(**{name: value for name, value in row.items() if not name.startswith("no_")}))
    return readable, unreadable


_MAY_BE_NULL = ("starts_at", "ends_at", "until_at")


class FiringRows:
    """The firings of one schedule that speak of instants after `start` (None: of all), by what they are scheduled for.

    Read in pages.  What cannot be read is left out, and noted in `unreadable`.
    """

    def __init__(self, session: Session, schedule_id: str, start: datetime | None) -> None:
        self.unreadable: list[Unreadable] = []
        self._session = session
        self._query = _firings(ScheduleFiring.schedule_id == schedule_id, ScheduleFiring.scheduled_for.is_not(None))
        self._start = start

    def __iter__(self) -> Iterator[Firing]:
        seen = self._start
        if seen is not None:
            begun_before = (ScheduleFiring.scheduled_for <= seen, ScheduleFiring.missed_until > seen)
            yield from self._read(self._query.where(*begun_before))
        while True:
            page = self._query if seen is None else self._query.where(ScheduleFiring.scheduled_for > seen)
            rows = self._session.execute(page.limit(PAGE)).all()
            yield from self._readable(rows)
            last = next((row.scheduled_for for row in reversed(rows) if row.scheduled_for is not None), None)
            if len(rows) < PAGE or last is None:
                return
            seen = last

    def _read(self, query: Query) -> Iterator[Firing]:
        yield from self._readable(self._session.execute(query).all())

    def _readable(self, rows: Sequence[Any]) -> Iterator[Firing]:
        for row in rows:
            *values, no_missed_until = row
            if row.scheduled_for is None:
                self._note(row, "scheduled_for")
            elif row.decided_at is None:
                self._note(row, "decided_at")
            elif row.missed_until is None and not no_missed_until:
                self._note(row, "missed_until")
            else:
                yield Firing(*values)

    def _note(self, row: Any, column: str) -> None:
        found = Unreadable("schedule_firing", row.id, row.schedule_id, column)
        if found not in self.unreadable:
            self.unreadable.append(found)


def firing_around(session: Session, schedule_id: str, instant: datetime) -> Firing | None:
    """The newest firing by the clock that begins at that instant or before."""
    before = _firings(ScheduleFiring.schedule_id == schedule_id, ScheduleFiring.scheduled_for <= instant)
    return _first(session, before.order_by(None).order_by(ScheduleFiring.scheduled_for.desc()))


def firing_after(session: Session, schedule_id: str, instant: datetime) -> Firing | None:
    """The oldest firing by the clock that begins later."""
    return _first(session, _firings(ScheduleFiring.schedule_id == schedule_id, ScheduleFiring.scheduled_for > instant))


def detail(session: Session, firing_id: int) -> str | None:
    """The sentence that was written with a firing."""
    return session.scalar(select(ScheduleFiring.detail).where(ScheduleFiring.id == firing_id))


def _first(session: Session, query: Query) -> Firing | None:
    row = session.execute(query.limit(1)).first()
    return None if row is None or row.scheduled_for is None or row.decided_at is None else Firing(*row[:-1])


def _firings(*conditions: ColumnElement[bool]) -> Query:
    return (
        select(
            ScheduleFiring.id,
            ScheduleFiring.schedule_id,
            ScheduleFiring.scheduled_for,
            _text(ScheduleFiring.trigger),
            _text(ScheduleFiring.decision),
            _text(ScheduleFiring.reason),
            ScheduleFiring.missed_count,
            ScheduleFiring.missed_until,
            ScheduleFiring.decided_at,
            ScheduleFiring.process_id,
            ScheduleFiring.job_run_count,
            ScheduleFiring.missed_until.is_(None).label("no_missed_until"),
        )
        .where(*conditions)
        .order_by(ScheduleFiring.scheduled_for)
    )


def wrong_run_counts(
    session: Session, pruned_until: datetime | None, since: datetime | None, schedule_id: str | None
) -> Iterator[Any]:
    """Firings whose job runs are not as many as they say: id, schedule_id, scheduled_for, decided_at, job_run_count,
    there.  Runs of firings decided before `pruned_until` may be gone."""
    there = (
        select(func.count()).where(JobRun.firing_id == ScheduleFiring.id).correlate(ScheduleFiring).scalar_subquery()
    )
    wrong: ColumnElement[bool] = there != ScheduleFiring.job_run_count
    if pruned_until is not None:
        wrong = or_(
            there > ScheduleFiring.job_run_count,
            (there < ScheduleFiring.job_run_count) & (ScheduleFiring.decided_at >= pruned_until),
        )
    yield from session.execute(
        select(
            ScheduleFiring.id,
            ScheduleFiring.schedule_id,
            ScheduleFiring.scheduled_for,
            ScheduleFiring.decided_at,
            ScheduleFiring.job_run_count,
            there.label("there"),
        )
        .where(wrong, *_of(ScheduleFiring.schedule_id, schedule_id), *_after(ScheduleFiring.decided_at, since))
        .order_by(ScheduleFiring.schedule_id, ScheduleFiring.id)
    )


def stray_runs(
    session: Session, pruned_until: datetime | None, since: datetime | None, schedule_id: str | None
) -> Iterator[Any]:
    """Job runs that do not go with their firing: id, schedule_id, queued_at, firing_id, found (whether it is there)."""
    run, firing = JobRun.__table__.c, ScheduleFiring.__table__.c
    lost: ColumnElement[bool] = firing.id.is_(None)
    if pruned_until is not None:
        lost = lost & (run.queued_at >= pruned_until)
    differs = or_(
        firing.schedule_id != run.schedule_id,
        firing.scheduled_for != run.scheduled_for,
        firing.scheduled_for.is_(None) != run.scheduled_for.is_(None),
    )
    yield from session.execute(
        select(run.id, run.schedule_id, run.queued_at, run.firing_id, firing.id.is_not(None).label("found"))
        .select_from(JobRun.__table__.outerjoin(ScheduleFiring.__table__, firing.id == run.firing_id))
        .where(
            run.firing_id.is_not(None),
            or_(lost, differs),
            *_of(run.schedule_id, schedule_id),
            *_after(run.queued_at, since),
        )
        .order_by(run.schedule_id, run.id)
    )


def odd_manual_firings(session: Session, since: datetime | None, schedule_id: str | None) -> Iterator[Any]:
    """Firings for no instant that nobody can have asked for by hand: id, schedule_id, decided_at."""
    by_hand = (
        type_coerce(ScheduleFiring.trigger, String).in_(["MANUAL", "API"])
        & (type_coerce(ScheduleFiring.decision, String) == "ENQUEUED")
        & ScheduleFiring.reason.is_(None)
        & (ScheduleFiring.missed_count == 0)
    )
    yield from session.execute(
        select(ScheduleFiring.id, ScheduleFiring.schedule_id, ScheduleFiring.decided_at)
        .where(
            ScheduleFiring.scheduled_for.is_(None),
            ~by_hand,
            *_of(ScheduleFiring.schedule_id, schedule_id),
            *_after(ScheduleFiring.decided_at, since),
        )
        .order_by(ScheduleFiring.schedule_id, ScheduleFiring.id)
    )


def _of(column: Any, schedule_id: str | None) -> list[ColumnElement[bool]]:
    return [] if schedule_id is None else [column == schedule_id]


def _after(column: Any, since: datetime | None) -> list[ColumnElement[bool]]:
    return [] if since is None else [column > since]


def _text(column: Any) -> ColumnElement[str]:
    return type_coerce(column, String).label(column.key)


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=max(0, min(seconds, 10**9)))
