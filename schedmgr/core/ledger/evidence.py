"""What tells why something was not on time: pauses, the lives of daemons, earlier runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import String, func, or_, select, type_coerce

from schedmgr.core.ledger.rows import Query, Unreadable
from schedmgr.core.ledger.spans import FOREVER, Span, Spans, just_before
from schedmgr.database.engine import Session
from schedmgr.database.models import AuditEvent, JobRun, Pause, Process, ScheduleFiring
from schedmgr.vocabulary import ProcessRole

LONGEST_SILENCE = timedelta(seconds=60)
"""A daemon that is silent for longer is not there any more: when it returns it takes a new id."""
LEAST_STEP = timedelta(seconds=1)
"""Transactions that run side by side may be numbered in another order than they read the clock."""
LATE_END = timedelta(seconds=10)
"""An end of a run says when it was written, which may be a moment before others could read it."""


@dataclass(frozen=True, slots=True)
class PauseRow:
    """A pause as its row has it: [from_at, until_at)."""

    from_at: datetime
    until_at: datetime | None
    by: str
    reason: str
    resumed_by: str | None

    @property
    def span(self) -> Span:
        """The instants in which it held."""
        return Span(self.from_at, FOREVER if self.until_at is None else just_before(self.until_at))


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a daemon: [started_at, beat_at] is when it reached the database."""

    id: str
    host: str
    pid: int
    started_at: datetime
    beat_at: datetime
    stopped_at: datetime | None

    @property
    def span(self) -> Span:
        """The instants in which it was there."""
        return Span(self.started_at, self.beat_at)


class Evidence:
    """All pauses and lives that may explain something, merged; and when each daemon beat last, by its id."""

    def __init__(self, pauses: Iterable[PauseRow], lives: Iterable[Life]) -> None:
        self.pauses = tuple(pauses)
        self.lives = tuple(lives)
        self.paused = Spans(pause.span for pause in self.pauses)
        self.present = Spans(life.span for life in self.lives)
        self.beats = {life.id: life.beat_at for life in self.lives}

    def paused_at_decision(self, decided_at: datetime) -> bool:
        """Whether a pause held for who decided at that instant.

        Who begins or ends a pause decides at that very instant what was due before: at its beginning not under the
        pause yet, at its end still under it.
        """
        return any(pause.from_at < decided_at and _is_within(pause, decided_at) for pause in self.pauses)


def _is_within(pause: PauseRow, decided_at: datetime) -> bool:
    if pause.until_at is None or decided_at < pause.until_at:
        return True
    return decided_at == pause.until_at and pause.resumed_by is not None


def load(session: Session, start: datetime | None) -> tuple[Evidence, list[Unreadable]]:
    """The evidence from the tables, and what of it cannot be read."""
    pauses, unreadable = _pauses(session, start)
    lives, more = _lives(session, start)
    return Evidence(pauses, lives), unreadable + more


def _pauses(session: Session, start: datetime | None) -> tuple[list[PauseRow], list[Unreadable]]:
    columns = (Pause.from_at, Pause.until_at, Pause.by, Pause.reason, Pause.resumed_by)
    query = select(*columns, Pause.id, Pause.until_at.is_(None).label("is_open")).order_by(Pause.from_at)
    if start is not None:
        query = query.where(or_(Pause.until_at.is_(None), Pause.until_at > start))
    readable, unreadable = [], []
    for row in session.execute(query):
        if row.from_at is None or (row.until_at is None and not row.is_open):
            unreadable.append(Unreadable("pause", row.id, None, "from_at" if row.from_at is None else "until_at"))
        else:
            readable.append(PauseRow(row.from_at, row.until_at, row.by, row.reason, row.resumed_by))
    return readable, unreadable


def _lives(session: Session, start: datetime | None) -> tuple[list[Life], list[Unreadable]]:
    query = daemons()
    if start is not None:
        query = query.where(Process.beat_at > start)
    readable, unreadable = [], []
    for row in session.execute(query.order_by(Process.started_at)):
        if row.started_at is None or row.beat_at is None:
            column = "started_at" if row.started_at is None else "beat_at"
            unreadable.append(Unreadable("process", row.id, None, column))
        else:
            readable.append(Life(*row))
    return readable, unreadable


def daemons() -> Query:
    """The columns of a life, of daemons only."""
    return select(Process.id, Process.host, Process.pid, Process.started_at, Process.beat_at, Process.stopped_at).where(
        type_coerce(Process.role, String) == ProcessRole.DAEMON.value
    )


class Unfinished:
    """When a schedule had a run that was queued or running, as far as its rows still tell."""

    def __init__(self, runs: Iterable[tuple[datetime, datetime | None]]) -> None:
        self._spans = Spans(Span(queued_at, _end(finished_at)) for queued_at, finished_at in runs)

    def at(self, decided_at: datetime) -> bool:
        """Whether there was one for who decided at that instant."""
        return self._spans.cover(decided_at)


def _end(finished_at: datetime | None) -> datetime:
    return FOREVER if finished_at is None else min(finished_at, FOREVER - LATE_END) + LATE_END


def unfinished(session: Session, schedule_id: str) -> Unfinished:
    """From the runs that are still there."""
    rows = session.execute(
        select(JobRun.queued_at, JobRun.started_at, JobRun.finished_at).where(JobRun.schedule_id == schedule_id)
    )
    return Unfinished(
        # A run that the clock was set back in ends before it began, but was unfinished when it did begin.
        (queued_at, None if finished_at is None else max(queued_at, started_at or queued_at, finished_at))
        for queued_at, started_at, finished_at in rows
        if queued_at is not None
    )


class SteppedBack:
    """Where the database's clock went back, as far as the rows show it: instants that it has shown twice.

    What was decided in the first pass may have been followed by a pause or a deploy in the second.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = Spans(span for span in spans if span.last - span.first > LEAST_STEP)

    def touches(self, first: datetime, last: datetime) -> bool:
        """Whether an instant from `first` to `last` was shown twice."""
        return self._spans.touch(first, last)


def stepped_back(session: Session) -> SteppedBack:
    """Found by rows that are numbered later and say an earlier time, and by processes that began anew for it.

    Reads the whole history, so ask when in doubt.
    """
    return SteppedBack([*_in_order_of_ids(session), *_between_lives(session)])


def _between_lives(session: Session) -> Iterator[Span]:
    """A process whose clock was set back ends its life before its own last beat."""
    lives = select(Process.stopped_at, Process.beat_at).where(Process.stopped_at < Process.beat_at)
    for stopped_at, beat_at in session.execute(lives):
        if stopped_at is not None and beat_at is not None:
            yield Span(stopped_at, beat_at)


def _in_order_of_ids(session: Session) -> Iterator[Span]:
    now = session.now()
    for id, at in ((ScheduleFiring.id, ScheduleFiring.decided_at), (AuditEvent.id, AuditEvent.at)):
        newest_before = func.max(at).over(order_by=id, rows=(None, -1)).label("newest_before")
        history = select(at.label("at"), newest_before).subquery()
        rows = session.execute(
            select(history.c.at, history.c.newest_before).where(history.c.at < history.c.newest_before)
        )
        yield from (Span(later, earlier) for later, earlier in rows if later is not None and earlier is not None)
        newest = session.scalar(select(func.max(at)))
        if newest is not None and newest > now:
            yield Span(now, newest)
