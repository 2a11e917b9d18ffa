"""What a log says when something is due and cannot be claimed: after a while, and once a minute from then on."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

SAID_AFTER = 10.0  # seconds; with several daemons another one may have it for a moment
SAID_EVERY = 60.0  # seconds


class Held:
    """How long this daemon has claimed nothing although something was due."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._said_at: float | None = None

    def note(self, *, is_held: bool) -> None:
        """Once a step: whether something was due in it and nothing came of that."""
        if not is_held:
            self._since = self._said_at = None
            return
        now = self._monotonic()
        self._since = self._since if self._since is not None else now
        is_repeated = self._said_at is not None and now - self._said_at < SAID_EVERY
        if now - self._since >= SAID_AFTER and not is_repeated:
            self._said_at = now
            log.warning(
                "what is due cannot be claimed since=%.0fs: another transaction holds its rows, or its stored next run "
                "is wrong and the repair fails",
                now - self._since,
            )
