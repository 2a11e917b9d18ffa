"""Time zones out of the tzdata package, never the system's, so that all processes agree on what the clocks show.

A zone is cut into spans within which its offset from UTC does not change.  All numbers are whole seconds: instants
since 1970-01-01 UTC, and "wall" readings, which are an instant plus the offset that holds then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schedmgr.core.cron.mistakes import CronError, shorten

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY_SECONDS = 86_400

# Offsets are sampled every 3 days and searched to the second between two samples that differ.  No zone changes its
# offset twice within 6 days (a test holds tzdata to it).  Powers of two make the number of a block a shift.
_SAMPLE_SECONDS = 1 << 18
_BLOCK_BITS = 24  # a block is 194 days

# Beyond these no clock is asked: Python's calendar ends within two days of them.
_FIRST_INSTANT = (datetime(1, 1, 3, tzinfo=UTC) - EPOCH) // SECOND
_LAST_INSTANT = (datetime(9999, 12, 29, tzinfo=UTC) - EPOCH) // SECOND


class Span(NamedTuple):
    """A stretch of real time, `start` up to but not including `end`, in which a zone keeps one offset.

    `reached` is the latest wall reading before `start` (one past it): less than `start + offset` when the clocks have
    just gone forward over a gap, more when they have gone back and show again what they have shown before.
    """

    start: int
    end: int
    offset: int
    reached: int


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The clocks of a zone going forward or back at `instant` (UTC)."""

    instant: datetime
    offset_before: timedelta
    offset_after: timedelta
    abbreviation_before: str
    abbreviation_after: str

    @property
    def shift(self) -> timedelta:
        """How far the clocks go forward; negative when they go back."""
        return self.offset_after - self.offset_before


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of this IANA name, from the tzdata package.

    Raises `CronError` for an unknown name, with the nearest known one.
    """
    if name not in _zone_names():
        raise UnknownZone(name)
    from importlib import resources

    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def tzdata_version() -> str:
    """The IANA version of the zones in use, such as "2026a"."""
    return str(import_module("tzdata").IANA_VERSION)


class UnknownZone(CronError):
    """A time zone that tzdata does not know."""

    def __init__(self, name: str) -> None:
        near = _nearest_zone(name)
        mend = f"did you mean '{near}'?" if near else "Write an IANA name such as Europe/Berlin, or UTC."
        super().__init__("Time zone", name, f"unknown time zone '{shorten(name)}'", mend)
        self.args = (name,)

    def __str__(self) -> str:
        return f"{self.problem}{',' if self.mend.startswith('did') else '.'} {self.mend}"


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    from importlib import resources

    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


def _nearest_zone(name: str) -> str | None:
    """The known name that differs least: by case, by a missing region ("Berlin"), or by a slip of the keyboard."""
    from difflib import get_close_matches

    wanted = shorten(name).strip().replace(" ", "_").lower()
    known = {known.lower(): known for known in sorted(_zone_names())}
    cities = {lowered.rpartition("/")[2]: full for lowered, full in known.items()}
    if exact := known.get(wanted) or cities.get(wanted):
        return exact
    near = get_close_matches(wanted, known, n=1, cutoff=0.75)
    return known[near[0]] if near else None


def spans_from(timezone: str, instant: int) -> Iterator[Span]:
    """The spans of a zone from the one that holds `instant` on, for ever."""
    block = instant >> _BLOCK_BITS
    while True:
        for span in _spans(timezone, block):
            if span.end > instant:
                yield span
        block += 1


def span_at(timezone: str, instant: int) -> Span:
    """The span of a zone that holds `instant`."""
    for span in _spans(timezone, instant >> _BLOCK_BITS):
        if span.end > instant:
            return span
    raise AssertionError("the spans of a block cover it")


@lru_cache(maxsize=8192)
def _spans(timezone: str, block: int) -> tuple[Span, ...]:
    """The spans of one block; a span that goes on in the next block is cut there, without a change of offset."""
    clock = zone(timezone)
    start, end = block << _BLOCK_BITS, (block + 1) << _BLOCK_BITS
    # Beginning one sample early tells how far the clocks had come: they never go back by more than a day.
    begin = start - _SAMPLE_SECONDS
    offset = _offset(clock, begin)
    reached = begin + offset
    spans = []
    for change, offset_after in _changes(clock, begin, end):
        spans.append(Span(begin, change, offset, reached))
        reached = max(reached, change + offset)
        begin, offset = change, offset_after
    spans.append(Span(begin, end, offset, reached))
    return tuple(_clip(span, start) for span in spans if span.end > start)


def _clip(span: Span, start: int) -> Span:
    if span.start >= start:
        return span
    return Span(start, span.end, span.offset, max(span.reached, start + span.offset))


def _changes(clock: ZoneInfo, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Each instant after `begin` and before `end` at which the offset changes, with the offset from then on."""
    before = _offset(clock, begin)
    for sample in range(begin + _SAMPLE_SECONDS, end + 1, _SAMPLE_SECONDS):
        after = _offset(clock, sample)
        if after != before:
            change = _search(clock, sample - _SAMPLE_SECONDS, sample)
            if change < end:
                yield change, after
        before = after


def _search(clock: ZoneInfo, low: int, high: int) -> int:
    """The first second with the offset of `high`, where `low` has another one and there is but one change between."""
    offset = _offset(clock, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(clock, middle) == offset:
            high = middle
        else:
            low = middle
    return high


def _offset(clock: ZoneInfo, instant: int) -> int:
    within = min(max(instant, _FIRST_INSTANT), _LAST_INSTANT)
    offset = datetime.fromtimestamp(within, clock).utcoffset()
    assert offset is not None  # a ZoneInfo always has one
    return offset // SECOND


def clock_changes(timezone: str, start: datetime, end: datetime) -> list[ClockChange]:
    """The changes of a zone's clocks after `start` and up to `end`, oldest first.  Raises `CronError` for the zone.

    A new abbreviation or rule with the same offset is no change of the clocks.
    """
    clock = zone(timezone)
    first, last = (start - EPOCH) // SECOND, (end - EPOCH) // SECOND
    changes: list[ClockChange] = []
    before = span_at(timezone, first)
    for span in spans_from(timezone, before.end):
        if span.start > last or span.start > _LAST_INSTANT:
            break
        if span.offset != before.offset:
            changes.append(_change(clock, before, span))
        before = span
    return changes


def _change(clock: ZoneInfo, before: Span, after: Span) -> ClockChange:
    instant = datetime.fromtimestamp(after.start, UTC)
    return ClockChange(
        instant,
        timedelta(seconds=before.offset),
        timedelta(seconds=after.offset),
        (instant - SECOND).astimezone(clock).tzname() or "",
        instant.astimezone(clock).tzname() or "",
    )
