"""Cron expressions on real time: at which instants a schedule is due, in any zone, through every change of its clocks.

Pure: no database, no clock, no system time zones.  The grammar is in `fields` and `mistakes`, the expression
in `expression`, the zones in `zones`, plain English in `words`, `field_words` and `notes`;
this module is the door to all of them.

What happens when the clocks of a zone change, as Debian's cron does it:

- An expression whose minute or hour field starts with `*` **follows real time**: it is due at each instant at which the
  clock on the wall shows a matching time.  It skips the gap when clocks go forward, and is due in both passes of the
  repeated hour when they go back.
- Any other expression has **fixed times**, and each is due once: when the clock on the wall first shows it or jumps
  past it.  A time in the gap is due at the first instant after the gap, several such times (and one that falls on that
  very instant) together once; a time in the repeated hour is due in the first pass only.

The rule for fixed times holds for a shift of any size and direction: half an hour (Lord Howe), two hours (Troll), a
permanent new offset, and a calendar day that never was (Samoa, 30 December 2011: all that was due on it is due once,
at the start of the 31st).  Debian's cron takes a shift of 3 hours or more for a correction of the clock and makes
nothing up; in a zone's table a shift is never a correction, so no such limit is drawn here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from schedmgr.core.cron.expression import Cron, parse
from schedmgr.core.cron.field_words import FieldWords, explain_fields
from schedmgr.core.cron.mistakes import CronError
from schedmgr.core.cron.notes import clock_note
from schedmgr.core.cron.words import describe
from schedmgr.core.cron.zones import (
    DAY_SECONDS,
    EPOCH,
    SECOND,
    ClockChange,
    Span,
    clock_changes,
    span_at,
    spans_from,
    tzdata_version,
    zone,
)

__all__ = [
    "ClockChange",
    "Cron",
    "CronError",
    "FieldWords",
    "clock_changes",
    "clock_note",
    "count_between",
    "describe",
    "explain_fields",
    "last_until",
    "next_after",
    "next_runs",
    "occurrences",
    "parse",
    "tzdata_version",
    "zone",
]

# The search for the next occurrence ends after a century.  The rarest expression, 29 February on a given weekday, fires
# every 12 to 40 years; what has not fired for a century falls into the gap of its zone every time, and never will.
_HORIZON = 36_525 * DAY_SECONDS
_LAST_INSTANT = (datetime.max.replace(tzinfo=UTC) - EPOCH) // SECOND
_FIRST_INSTANT = (datetime.min.replace(tzinfo=UTC) - EPOCH) // SECOND

# No zone is further than this from UTC, or shifts by more.
_FARTHEST = 2 * DAY_SECONDS


def next_runs(cron: str, timezone: str, after: datetime, count: int, *, hash_id: str | None = None) -> list[datetime]:
    """The next `count` occurrences strictly after `after` (aware), in UTC, oldest first.

    Fewer only if the calendar ends before, or the expression falls into the gap of its zone every time.  Raises
    `CronError`.
    """
    return list(islice(occurrences(cron, timezone, after, hash_id=hash_id), count))


def next_after(cron: str, timezone: str, after: datetime, *, hash_id: str | None = None) -> datetime | None:
    """The first occurrence strictly after `after` (aware), in UTC.

    None if there is none for a century, or before the end of the calendar.  Raises `CronError`.
    """
    return next(occurrences(cron, timezone, after, hash_id=hash_id), None)


def occurrences(cron: str, timezone: str, after: datetime, *, hash_id: str | None = None) -> Iterator[datetime]:
    """All occurrences strictly after `after` (aware), in UTC, oldest first, worked out as they are asked for.

    Raises `CronError` at once, not when the first is asked for.
    """
    expression = parse(cron, hash_id=hash_id)
    zone(timezone)
    return map(_datetime, _instants_after(expression, timezone, _seconds(after)))


def last_until(
    cron: str,
    timezone: str,
    until: datetime,
    count: int = 1,
    *,
    after: datetime | None = None,
    hash_id: str | None = None,
) -> list[datetime]:
    """The newest `count` occurrences up to and including `until`, and strictly after `after` if given; oldest first.

    The search goes backwards from `until`, so it costs what it finds and not the span.  Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id)
    zone(timezone)
    floor = _FIRST_INSTANT - 1 if after is None else _seconds(after)
    newest = list(islice(_instants_until(expression, timezone, _seconds(until), floor), count))
    return [_datetime(instant) for instant in reversed(newest)]


def count_between(cron: str, timezone: str, after: datetime, until: datetime, *, hash_id: str | None = None) -> int:
    """How many occurrences lie strictly after `after` and up to and including `until`: counted, not listed.

    Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id)
    zone(timezone)
    first, last = _seconds(after) + 1, _seconds(until)
    total = 0
    for span in spans_from(timezone, first):
        if span.start > last:
            break
        due = _due_in(expression, span, first, last)
        total += due.at_start + expression.count_minutes(due.low, due.high)
    return total


class _Due(NamedTuple):
    """What of a span an expression may be due in: wall-clock minutes from `low` up to but not including `high`."""

    low: int
    high: int
    at_start: bool
    """Whether it is also due at the span's first instant, for the times in the gap just before."""


def _due_in(cron: Cron, span: Span, first: int, last: int) -> _Due:
    """The part of a span from the instant `first` to the instant `last`, both included."""
    begin, end = max(first, span.start), min(last + 1, span.end)
    wall, wall_end = begin + span.offset, end + span.offset
    at_start = False
    if not cron.follows_real_time:
        if begin == span.start and span.reached < wall and begin < end:
            # The minute that the gap ends on belongs to it: what is due then and what the gap held are one.
            at_start = _has_minute(cron, span.reached, wall + 1)
            wall += 1
        wall = max(wall, span.reached)
    return _Due(_minute_at_or_after(wall), _minute_at_or_after(wall_end), at_start)


def _has_minute(cron: Cron, wall: int, wall_end: int) -> bool:
    minute = cron.next_minute(_minute_at_or_after(wall))
    return minute is not None and minute * 60 < wall_end


def _instants_after(cron: Cron, timezone: str, after: int) -> Iterator[int]:
    """The instants after `after`, oldest first."""
    instant, limit = after + 1, after + _HORIZON
    minute: int | None = None
    while instant <= min(limit, _LAST_INSTANT):
        span = span_at(timezone, instant)
        low, high, at_start = _due_in(cron, span, instant, _LAST_INSTANT)
        if at_start:
            limit = span.start + _HORIZON
            yield span.start
        if minute is None or minute < low:
            minute = cron.next_minute(low)
        while minute is not None and minute < high:
            limit = minute * 60 + _HORIZON
            yield minute * 60 - span.offset
            low = minute + 1
            minute = cron.next_minute(low)
        if minute is None:
            return
        instant = span.end
        if low * 60 <= span.end + span.offset - _FARTHEST:
            # No wall reading from `low` up to `minute` matches, so neither does any repeated or skipped in between.
            instant = max(instant, minute * 60 - _FARTHEST)
        else:
            minute = None


def _instants_until(cron: Cron, timezone: str, until: int, after: int) -> Iterator[int]:
    """The instants up to `until` and after `after`, newest first."""
    instant, limit = until, until - _HORIZON
    while instant > max(limit, after):
        span = span_at(timezone, instant)
        low, high, at_start = _due_in(cron, span, after + 1, instant)
        minute = cron.previous_minute(high - 1)
        while minute is not None and minute >= low:
            limit = minute * 60 - _HORIZON
            yield minute * 60 - span.offset
            high = minute
            minute = cron.previous_minute(high - 1)
        if at_start:
            limit = span.start - _HORIZON
            yield span.start
        if minute is None:
            return
        instant = span.start - 1
        if high * 60 >= span.start + span.offset + _FARTHEST:
            # The mirror image of the leap in `_instants_after`.
            instant = min(instant, minute * 60 + _FARTHEST)


def _minute_at_or_after(wall: int) -> int:
    return -(-wall // 60)


def _seconds(instant: datetime) -> int:
    # What is due is due at a whole second, so cutting a fraction off moves no occurrence across the instant.
    return (instant - EPOCH) // SECOND


def _datetime(instant: int) -> datetime:
    return datetime.fromtimestamp(instant, UTC)
