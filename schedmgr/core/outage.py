"""What a log says of a database that is away: when it goes, once a minute while it stays away, when it is back.

A process that tries again each second would otherwise bury everything else that its log says.
"""

import logging
from collections.abc import Callable

SAID_EVERY = 60.0  # seconds


class Outage:
    """The outage, if there is one, as one part of a process sees it.  `who` begins the sentence: "daemon", "worker"."""

    def __init__(self, log: logging.Logger, who: str, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._who = who
        self._monotonic = monotonic
        self._since: float | None = None
        self._said_at = 0.0

    def goes_on(self, error: Exception) -> None:
        """The database did not answer, or not in time."""
        now = self._monotonic()
        is_repeated = self._since is not None and now - self._said_at < SAID_EVERY
        level = logging.DEBUG if is_repeated else logging.WARNING
        self._log.log(level, "%s waits for the database: %s", self._who, error)
        if self._since is None:
            self._since = now
        if not is_repeated:
            self._said_at = now

    def is_over(self) -> None:
        """The database answered."""
        if self._since is not None:
            self._log.info("%s has the database back away=%.0fs", self._who, self._monotonic() - self._since)
            self._since = None
