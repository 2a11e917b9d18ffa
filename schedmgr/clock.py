"""The only calls of now() and of sleep.  Decisions use the database's clock (see `database.engine`); this is the host's."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


def host_now() -> datetime:
    """The host's clock, aware, UTC.  It may be wrong; only a database on this very host takes it as its own."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never steps; only differences mean anything."""
    return time.monotonic()


def wait(wake: Callable[[float], bool], seconds: float) -> bool:
    """Wait on `wake` (an Event's wait, say) for at most `seconds`, never negative.  True: it was woken early."""
    return wake(max(0.0, seconds))
