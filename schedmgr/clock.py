"""The only calls of now() and of sleep.  This is the host's clock; decisions use the database's (`database.engine`)."""

import time
from datetime import UTC, datetime


def host_now() -> datetime:
    """The host's clock, aware, UTC.  It may be wrong; only a database on this very host takes it as its own."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never steps; only differences mean anything."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Do nothing for that long."""
    time.sleep(max(0.0, seconds))
