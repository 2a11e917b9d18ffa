"""Whether each occurrence of a period is covered by exactly one firing.  Pure.

Occurrences and firings are walked side by side, both in order; what lies within a row that speaks of many, or between
two firings, is counted and not walked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.rows import Firing
from schedmgr.core.ledger.spans import just_before
from schedmgr.vocabulary import Reason


class Flaw(StrEnum):
    """What is wrong between occurrences and firings."""

    MISSING = "missing"  # occurrences that no firing covers
    DOUBLED = "doubled"  # occurrences that two firings cover
    NOT_DUE = "not due"  # a firing for an instant that is no occurrence
    WRONG_COUNT = "wrong count"  # a firing that covers more or fewer occurrences than it says


@dataclass(frozen=True, slots=True)
class Finding:
    """A flaw: of `count` occurrences from `first` to `last`, or of the firing.  `expected`: the count that is right."""

    flaw: Flaw
    first: datetime
    last: datetime
    count: int
    firing: Firing | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Uncovered:
    """The newest occurrences of a period, which no firing covers: it depends on their age whether that is a flaw."""

    first: datetime
    last: datetime
    count: int


class Walk:
    """One period from `after` to `until`, laid beside the firings that lie in it, oldest first.

    `findings` gives the flaws; when it has come to its end, `uncovered` says what is left after the last firing.
    `sound` counts the firings that were as they should be, so that one can tell which flaws follow one another.
    """

    def __init__(self, period: Period, after: datetime, until: datetime) -> None:
        self.period = period
        self.uncovered: Uncovered | None = None
        self._coming: Iterator[datetime]
        self._next: datetime | None
        self.sound = 0
        self._after, self._until = after, until
        self._start(after)

    def findings(self, firings: Iterable[Firing]) -> Iterator[Finding]:
        """Every flaw, as the walk comes to it."""
        for firing in firings:
            if firing.scheduled_for == self._next and firing.missed_until is None and not _is_undecidable(firing):
                self._covered_until = firing.scheduled_for
                self._next = next(self._coming, None)
                self.sound += 1
            elif firing.scheduled_for <= self._after:
                yield from self._carry_over(firing)
            else:
                yield from self._look_at(firing)
        if self._next is not None:
            last = self.period.last(self._covered_until, self._until) or self._next
            count = self.period.count(self._covered_until, self._until)
            self.uncovered = Uncovered(self._next, last, count)

    def _look_at(self, firing: Firing) -> Iterator[Finding]:
        if _is_undecidable(firing):
            yield from self._undecidable(firing)
            return
        yield from self._gap_before(firing)
        yield from self._doubled(firing)
        if not self.period.is_due(firing.scheduled_for) or firing.last < firing.scheduled_for:
            yield Finding(Flaw.NOT_DUE, firing.scheduled_for, firing.scheduled_for, 1, firing)
        elif firing.missed_until is not None:
            yield from self._many(firing)
        self._go_on_after(min(firing.last, self._until))

    def _carry_over(self, firing: Firing) -> Iterator[Finding]:
        """A firing that begins before the walk does, and reaches into it."""
        first, last = self._first_and_last(self._after, min(firing.last, self._covered_until))
        if first is not None and last is not None:
            yield Finding(Flaw.DOUBLED, first, last, self.period.count(just_before(first), last), firing)
        if firing.scheduled_for > self.period.from_at:
            yield from wrong_count(self.period, firing)
        self._go_on_after(min(firing.last, self._until))

    def _undecidable(self, firing: Firing) -> Iterator[Finding]:
        """It stands for whatever was due since the firing before: nobody could work that out then."""
        if firing.scheduled_for != firing.decided_at:
            yield Finding(Flaw.NOT_DUE, firing.scheduled_for, firing.scheduled_for, 1, firing)
        elif firing.scheduled_for > self._covered_until:
            self._go_on_after(firing.scheduled_for)

    def _gap_before(self, firing: Firing) -> Iterator[Finding]:
        """Occurrences between what is covered so far and this firing."""
        if self._next is None or self._next >= firing.scheduled_for:
            return
        before = just_before(firing.scheduled_for)
        last = self.period.last(self._covered_until, before) or self._next
        count = self.period.count(self._covered_until, before)
        yield Finding(Flaw.MISSING, self._next, last, count)
        self._go_on_after(before)

    def _doubled(self, firing: Firing) -> Iterator[Finding]:
        """Occurrences of this firing that an earlier one covers as well."""
        if firing.scheduled_for > self._covered_until:
            return
        until = min(firing.last, self._covered_until)
        after = just_before(firing.scheduled_for)
        first, last = self._first_and_last(after, until)
        if first is not None and last is not None:
            yield Finding(Flaw.DOUBLED, first, last, self.period.count(after, until), firing)

    def _many(self, firing: Firing) -> Iterator[Finding]:
        """A firing that speaks of several occurrences: does the last one exist, and are they as many as it says?"""
        if firing.last > self._until or not self.period.is_due(firing.last):
            yield Finding(Flaw.NOT_DUE, firing.last, firing.last, 1, firing)
            return
        wrong = list(wrong_count(self.period, firing))
        self.sound += not wrong
        yield from wrong

    def _first_and_last(self, after: datetime, until: datetime) -> tuple[datetime | None, datetime | None]:
        return self.period.first(after, until), self.period.last(after, until)

    def _go_on_after(self, instant: datetime) -> None:
        if instant > self._covered_until:
            self._start(instant)

    def _start(self, after: datetime) -> None:
        self._covered_until = after
        self._coming = self.period.occurrences(after, self._until)
        self._next = next(self._coming, None)


def wrong_count(period: Period, firing: Firing) -> Iterator[Finding]:
    """The finding that a firing speaks of more or fewer occurrences than there are from its first to its last."""
    there = period.count(just_before(firing.scheduled_for), firing.last)
    if there != firing.missed_count:
        yield Finding(Flaw.WRONG_COUNT, firing.scheduled_for, firing.last, firing.missed_count, firing, expected=there)


def _is_undecidable(firing: Firing) -> bool:
    return firing.reason == Reason.UNDECIDABLE
