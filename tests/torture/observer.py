"""Watches from outside how soon everything due is decided again after a fault."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from torture.fastclock import FastClock
from torture.fleet import BEACONS
from torture.journal import Injected, boot_seconds
from torture.stoppages import Stoppage
from torture.store import AWAY, Store

Span = tuple[float, float]

LOOK_EVERY = 0.2  # seconds


JUST_BEFORE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Delay:
    """So many seconds something due was undecided although a daemon lived and the database took writes.

    `amid`: the kinds of faults that held meanwhile or had just ended.
    """

    seconds: float
    amid: frozenset[str]


class Observer:
    """Looks several times a second whether the beacons, due each minute, are decided up to the clock's minute."""

    def __init__(self, store: Store, clock: FastClock) -> None:
        self._store = store
        self._clock = clock
        self._looks: list[float] = []
        self._caught_up: list[bool] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_caught_up(self) -> bool:
        """Whether nothing due each minute is undecided."""
        minute = self._clock.now.replace(second=0, microsecond=0)
        try:
            return all(covered is not None and covered >= minute for covered in self._covered())
        except AWAY:
            return False

    def delays(self, stoppages: Sequence[Stoppage], faults: Sequence[Injected]) -> list[Delay]:
        """The longest first.  What passed while nothing could be decided does not count."""
        found = [
            Delay(until - since, _amid(faults, since, until))
            for stretch in self._stretches()
            for since, until in _without(stretch, stoppages)
        ]
        return sorted(found, key=lambda delay: -delay.seconds)

    def _stretches(self) -> Iterator[Span]:
        """From each look that found something undecided to the next that found nothing, once all had started."""
        since: float | None = None
        started = self._caught_up.index(True) if True in self._caught_up else len(self._looks)
        for looked_at, is_caught_up in zip(self._looks[started:], self._caught_up[started:], strict=True):
            if is_caught_up and since is not None:
                yield since, looked_at
                since = None
            elif not is_caught_up and since is None:
                since = looked_at

    def _run(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            looked_at = boot_seconds()
            self._caught_up.append(self.is_caught_up())
            self._looks.append(looked_at)

    def _covered(self) -> list[datetime | None]:
        return [self._covered_of(beacon) for beacon in BEACONS]

    def _covered_of(self, schedule_id: str) -> datetime | None:
        (row,) = self._store.rows(
            "SELECT MAX(scheduled_for) AS fired, MAX(missed_until) AS missed "
            "FROM schedule_firing WHERE schedule_id = ?",
            schedule_id,
        )
        return max((instant for instant in row.values() if instant is not None), default=None)


def _without(stretch: Span, stoppages: Sequence[Stoppage]) -> Iterator[Span]:
    """What is left of it outside of these."""
    since, until = stretch
    for one in stoppages:
        if since < one.began < until:
            yield since, one.began
        if one.began < until:
            since = max(since, one.ended)
    if since < until:
        yield since, until


def _amid(faults: Sequence[Injected], since: float, until: float) -> frozenset[str]:
    return frozenset(one.kind for one in faults if one.began < until and (one.ended or until) > since - JUST_BEFORE)
