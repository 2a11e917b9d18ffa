"""Pruning in the daemon's spare moments: one small step at a time, and only while nothing is due for a while."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from schedmgr.core import phrases, retention
from schedmgr.core.locking import DueLook
from schedmgr.core.retention import CLOCKS_AGREE, Pass
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseUnavailable

log = logging.getLogger(__name__)

SPARE = timedelta(seconds=0.25)
"""Until the next occurrence at least, for a step to begin: it takes a tenth of that."""


class Pruning:
    """Removes what ended longer ago than `kept`; looks for it every `interval`.

    A clock that steps must destroy no history: it prunes only while the database's clock goes as `monotonic`, seconds
    on a clock that never steps, and never again once the two have parted.
    """

    def __init__(
        self, database: Database, kept: timedelta, interval: timedelta, monotonic: Callable[[], float]
    ) -> None:
        self._database = database
        self._kept = kept
        self._interval = interval.total_seconds()
        self._monotonic = monotonic
        self._clocks_apart: timedelta | None = None  # at the beginning: the database's clock less our own
        self._is_over = False
        self._looks_next = 0.0
        self._pass: Pass | None = None

    def begin(self, now: datetime) -> None:
        """Note how the database's clock stands to our own.  Only the first call counts."""
        if self._clocks_apart is None:
            self._clocks_apart = self._apart(now)

    def step(self, look: DueLook, by: str) -> bool:
        """Take a step if there is time for one.  True: more remains to be done, as soon as other writers had a turn."""
        if self._is_over or not _has_time(look):
            return False
        try:
            return self._go_on(look.now, by)
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("pruning failed; it is tried again later")
            self._pass = None
            return False

    def _go_on(self, now: datetime, by: str) -> bool:
        if self._pass is None:
            if self._monotonic() < self._looks_next or not self._trusts_clock(now):
                return False
            self._looks_next = self._monotonic() + self._interval
            self._pass = Pass(now - self._kept, by)
        if self._pass.step(self._database):
            return True
        _log(self._pass)
        self._pass = None
        return False

    def _trusts_clock(self, now: datetime) -> bool:
        self.begin(now)
        assert self._clocks_apart is not None
        step = self._apart(now) - self._clocks_apart
        self._is_over = abs(step) > CLOCKS_AGREE
        if self._is_over:
            log.warning(
                "pruning stopped until this daemon is restarted: the database's clock stepped %s by %s",
                "forward" if step > timedelta(0) else "back", phrases.duration(abs(step)),
            )  # fmt: skip
        return not self._is_over

    def _apart(self, now: datetime) -> timedelta:
        return now - datetime.min.replace(tzinfo=now.tzinfo) - timedelta(seconds=self._monotonic())


def _has_time(look: DueLook) -> bool:
    return look.next_due_at is None or look.next_due_at - look.now > SPARE


def _log(done: Pass) -> None:
    if done.removed.total():
        counts = " ".join(f"{name}={count}" for name, count in retention.in_order(done.removed).items())
        log.info("history pruned until=%s %s", phrases.iso(done.before), counts)
