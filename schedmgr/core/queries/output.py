"""The output of an attempt as lines: the newest, those after a point, or those before a line.

It is stored as stretches of both streams in order of arrival (`JobRunOutput`).  A line belongs to one stream; its
number counts the line ends of both before its own, so it stays the same from wherever one starts to read.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, select

from schedmgr.database.engine import Database, Session
from schedmgr.database.models import JobRunAttempt, JobRunOutput

LINES_AT_ONCE = 1000
"""Lines that a page shows at first, and that "earlier" adds."""

MOST_LINES = 5000  # in one answer to a poll; the next one goes on behind them
_ROWS = 200  # stretches read at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    number: int
    at: datetime
    is_error: bool  # standard error
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Output that was printed here and not kept."""

    left_out_bytes: int


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the output: line `line` comes next, and nothing before the stretch `seq`, at `offset`, is needed."""

    seq: int = 1
    line: int = 1
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.line}.{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Point | None":
        """The point that `str` gave; None for anything else."""
        found = re.fullmatch(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})", text, re.ASCII)
        return None if found is None else cls(*(int(part) for part in found.groups()))


@dataclass(frozen=True, slots=True)
class OutputPart:
    """Some lines of an attempt, in order.  `tail`: the line that has not ended yet, which `next` does not pass."""

    lines: tuple[Line | Gap, ...]
    tail: Line | None
    next: Point
    is_over: bool  # the attempt has ended, and nothing comes behind these lines
    line_count: int  # as far as is known here
    byte_count: int  # printed by the attempt so far
    newest_at: datetime | None

    @property
    def first_number(self) -> int | None:
        """The number of the first line here."""
        return next((line.number for line in self.lines if isinstance(line, Line)), None)


def newest(session: Session, run_id: int, attempt: int) -> OutputPart:
    """The last lines of an attempt, up to LINES_AT_ONCE of them."""
    query = _stretches(run_id, attempt).order_by(JobRunOutput.seq.desc())
    rows = _until(session, query, lambda rows: rows[0].first_line - rows[-1].first_line > LINES_AT_ONCE)
    part = _part(session, run_id, attempt, rows[::-1], Point(), most=None)
    return _last(part, LINES_AT_ONCE)


def after(session: Session, run_id: int, attempt: int, point: Point) -> OutputPart:
    """What came after a point, oldest first, MOST_LINES at once."""
    rows = session.execute(
        _stretches(run_id, attempt).where(JobRunOutput.seq >= point.seq).order_by(JobRunOutput.seq)
    ).all()
    return _part(session, run_id, attempt, rows, point, most=MOST_LINES)


def before(session: Session, run_id: int, attempt: int, number: int) -> OutputPart:
    """The lines before a line, up to LINES_AT_ONCE of them."""
    query = _stretches(run_id, attempt).where(JobRunOutput.first_line < number).order_by(JobRunOutput.seq.desc())
    wanted = number - LINES_AT_ONCE
    rows = _until(session, query, lambda rows: rows[-1].first_line <= wanted)
    part = _part(session, run_id, attempt, rows[::-1], Point(), most=None)
    earlier = tuple(line for line in part.lines if isinstance(line, Gap) or line.number < number)
    return _last(replace(part, lines=_without_last_gap(earlier), tail=None), LINES_AT_ONCE)


def texts(database: Database, run_id: int, attempt: int) -> Iterator[str]:
    """All that was kept, as it was printed, piece by piece; where something was left out, a line says so."""
    seq, offset = 0, 0
    while True:
        with database.read() as session:
            query = _stretches(run_id, attempt).where(JobRunOutput.seq > seq).order_by(JobRunOutput.seq).limit(_ROWS)
            rows = session.execute(query).all()
        if not rows:
            return
        for row in rows:
            if row.byte_offset > offset:
                yield f"\n[{row.byte_offset - offset:,} bytes left out here]\n"
            offset = row.byte_offset + row.byte_count
            yield "".join(text for _, _, text in json.loads(row.segments))
        seq = rows[-1].seq


def _stretches(run_id: int, attempt: int) -> Select[int, int, int, int, str]:
    return select(
        JobRunOutput.seq,
        JobRunOutput.first_line,
        JobRunOutput.byte_offset,
        JobRunOutput.byte_count,
        JobRunOutput.segments,
    ).where(JobRunOutput.run_id == run_id, JobRunOutput.attempt == attempt)


def _until(
    session: Session, query: Select[int, int, int, int, str], is_enough: Callable[[list[Any]], bool]
) -> list[Any]:
    """Rows, newest first, read in batches until there are enough."""
    rows: list[Any] = []
    while True:
        came = session.execute(query.offset(len(rows)).limit(_ROWS)).all()
        rows += came
        if len(came) < _ROWS or is_enough(rows):
            return rows


@dataclass(slots=True)
class _Open:
    """A line that has not ended, and the stretch in which it began."""

    seq: int
    at: datetime
    texts: list[str]


class _Reader:
    """Puts lines together from stretches, in order."""

    def __init__(self, point: Point) -> None:
        self.found: list[tuple[int, int, Line | Gap]] = []  # number, stretch in which it began, itself
        self.open: dict[str, _Open] = {}
        self.offsets: dict[int, int] = {}
        self.end = point.offset
        self.next_seq = point.seq
        self.number = point.line
        self.newest_at: datetime | None = None

    def read(self, row: Any, *, may_begin_here: bool) -> None:
        if row.byte_offset > self.end and not may_begin_here:
            self.close()
            self.found.append((row.first_line, row.seq, Gap(row.byte_offset - self.end)))
        self.number = row.first_line
        self.offsets[row.seq] = row.byte_offset
        self.end = row.byte_offset + row.byte_count
        self.next_seq = row.seq + 1
        for milliseconds, stream, text in json.loads(row.segments):
            self._segment(row.seq, _EPOCH + timedelta(milliseconds=milliseconds), stream, text)

    def close(self) -> None:
        """What has not ended never will."""
        for stream in sorted(self.open, key=lambda stream: self.open[stream].at):
            self._end(stream)

    def tail(self) -> Line | None:
        """The unfinished line that grew last; none if everything printed so far has ended."""
        if not self.open:
            return None
        stream = max(self.open, key=lambda stream: self.open[stream].at)
        return Line(self.number, self.open[stream].at, stream == "err", "".join(self.open[stream].texts))

    def _segment(self, seq: int, at: datetime, stream: str, text: str) -> None:
        self.newest_at = at
        *whole, rest = text.split("\n")
        for part in whole:
            self._grow(seq, at, stream, part)
            self._end(stream)
        if rest:
            self._grow(seq, at, stream, rest)

    def _grow(self, seq: int, at: datetime, stream: str, text: str) -> None:
        self.open.setdefault(stream, _Open(seq, at, [])).texts.append(text)

    def _end(self, stream: str) -> None:
        line = self.open.pop(stream)
        ended = Line(self.number, line.at, stream == "err", "".join(line.texts))
        self.found.append((self.number, line.seq, ended))
        self.number += 1


def _part(
    session: Session, run_id: int, attempt: int, rows: Sequence[Any], point: Point, most: int | None
) -> OutputPart:
    state = session.execute(
        select(JobRunAttempt.finished_at, JobRunAttempt.output_bytes).where(
            JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt
        )
    ).first()
    has_ended = state is not None and state.finished_at is not None
    reader = _Reader(point)
    for nth, row in enumerate(rows):
        # A reading that begins in the middle, to look back, does not know what came before: that is no gap.
        reader.read(row, may_begin_here=nth == 0 and most is None and row.seq > 1)
    if has_ended:
        reader.close()
    fresh = [item for item in reader.found if item[0] >= point.line]
    shown, rest = (fresh, []) if most is None else (fresh[:most], fresh[most:])
    return OutputPart(
        lines=tuple(item for _, _, item in shown),
        tail=None if rest else reader.tail(),
        next=_next(reader, rest),
        is_over=has_ended and not rest,
        line_count=reader.number - 1 + bool(reader.open),
        byte_count=max(state.output_bytes if state else 0, reader.end),
        newest_at=reader.newest_at,
    )


def _next(reader: _Reader, rest: Iterable[tuple[int, int, Line | Gap]]) -> Point:
    """The point behind what is shown: before the first stretch that still holds something of what is not."""
    numbers = [number for number, _, _ in rest]
    begun = [seq for _, seq, _ in rest] + [line.seq for line in reader.open.values()]
    seq = min(begun, default=reader.next_seq)
    return Point(seq, min(numbers, default=reader.number), reader.offsets.get(seq, reader.end))


def _last(part: OutputPart, count: int) -> OutputPart:
    return replace(part, lines=part.lines[-count:])


def _without_last_gap(lines: tuple[Line | Gap, ...]) -> tuple[Line | Gap, ...]:
    """A gap at the end belongs to the lines that follow it, which are shown already."""
    return lines[:-1] if lines and isinstance(lines[-1], Gap) else lines
