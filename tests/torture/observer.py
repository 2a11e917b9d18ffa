"""Watches from outside how soon everything due is decided again after a fault."""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from torture.fastclock import FastClock
from torture.fleet import BEACONS
from torture.journal import Injected, boot_seconds
from torture.stoppages import Stoppage
from torture.store import AWAY, Store

LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Recovery:
    """How late the first decision after the end of a fault was: since that end, or since it was due if that was later.

    After a stoppage: since the first moment at which a daemon lived and the database took writes again.
    """

    seconds: float
    after: str


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

    def recoveries(self, faults: Sequence[Injected]) -> list[Recovery]:
        """One for each fault that has ended, whatever else raged then; slowest first."""
        found = [(one, self._late(one.ended)) for one in faults if one.ended is not None]
        return _slowest_first(Recovery(late[1] - late[0], one.kind) for one, late in found if late is not None)

    def restarts(self, stoppages: Sequence[Stoppage]) -> list[Recovery]:
        """One for each stoppage after which nothing stopped decisions again before all was decided; slowest first."""
        found = []
        for one, following in zip_longest(stoppages, stoppages[1:]):
            late = self._late(one.ended)
            if late is not None and (following is None or late[1] <= following.began):
                found.append(Recovery(late[1] - late[0], " and ".join(sorted(one.causes))))
        return _slowest_first(found)

    def _late(self, ended: float) -> tuple[float, float] | None:
        """From when to when something was due and undecided: at that moment, or else for the first time after it."""
        after = bisect_right(self._looks, ended)
        since = _next(self._caught_up, after, False)
        until = _next(self._caught_up, since, True)
        if until == len(self._looks):
            return None
        return (ended if since == after else self._looks[since]), self._looks[until]

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


def _slowest_first(found: Iterable[Recovery]) -> list[Recovery]:
    return sorted(found, key=lambda one: -one.seconds)


def _next(looks: Sequence[bool], place: int, wanted: bool) -> int:
    """The first place from there on at which the look gave that; behind the last if none did."""
    while place < len(looks) and looks[place] is not wanted:
        place += 1
    return place
