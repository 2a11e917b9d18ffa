"""Spans of time, merged: when a pause held, when a daemon reached the database."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MOMENT = timedelta(microseconds=1)
"""The shortest time that the tables can tell."""
FOREVER = datetime.max.replace(tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)


def just_before(instant: datetime) -> datetime:
    """The last moment before an instant."""
    return earlier(instant, MOMENT)


def earlier(instant: datetime, span: timedelta) -> datetime:
    """So long before an instant, or the first one that there is."""
    return max(instant, NEVER + span) - span


def later(instant: datetime, span: timedelta) -> datetime:
    """So long after an instant, or the last one that there is."""
    return min(instant, FOREVER - span) + span


class Span(NamedTuple):
    """From `first` to `last`, both included."""

    first: datetime
    last: datetime


class Spans:
    """Spans in order, none touching another."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = _merged(spans)
        self._firsts = [span.first for span in self._spans]

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def cover(self, instant: datetime) -> bool:
        """Whether one of them holds the instant."""
        if not self._spans:
            return False
        nth = bisect_right(self._firsts, instant)
        return nth > 0 and instant <= self._spans[nth - 1].last

    def within(self, first: datetime, last: datetime) -> Iterator[Span]:
        """The parts of them that lie from `first` to `last`."""
        nth = max(bisect_right(self._firsts, first) - 1, 0)
        for span in self._spans[nth:]:
            if span.first > last:
                return
            if span.last >= first:
                yield Span(max(span.first, first), min(span.last, last))

    def touch(self, first: datetime, last: datetime) -> bool:
        """Whether one of them holds an instant from `first` to `last`."""
        return next(self.within(first, last), None) is not None


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(span for span in spans if span.first <= span.last):
        if merged and span.first <= merged[-1].last:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged
