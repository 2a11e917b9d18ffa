"""Instants and durations in the words that every face shows.  All instants are told in UTC."""

import json
from datetime import UTC, datetime, timedelta

DAY = timedelta(days=1)


def clock_time(instant: datetime, *, near: datetime | None = None) -> str:
    """ "02:13"; with its day, "Mon 19 Oct 02:13", when it is a day or more away from `near`."""
    utc = instant.astimezone(UTC)
    if near is not None and abs(utc - near) < DAY:
        return f"{utc:%H:%M}"
    return f"{utc:%a} {utc.day} {utc:%b %H:%M}"


def span(start: datetime, end: datetime) -> str:
    """ "01:50 to 02:05 UTC"; with days if they are a day or more apart."""
    if end - start < DAY:
        return f"{start.astimezone(UTC):%H:%M} to {end.astimezone(UTC):%H:%M} UTC"
    return f"{clock_time(start)} to {clock_time(end)} UTC"


def duration(length: timedelta) -> str:
    """ "1.8 s", "41 s", "6 min 41 s", "1 h 13 min", "3 days"."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days = hours // 24
    return f"{days} day" if days == 1 else f"{days} days"


def iso(instant: datetime) -> str:
    """ISO 8601 with Z, to the second; with its fraction only if it has one."""
    utc = instant.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="auto") + "Z"


def quoted(text: str) -> str:
    """A text as the value of a log line's fact: in double quotes, on one line."""
    return json.dumps(text, ensure_ascii=False)


def counted(number: int, thing: str) -> str:
    """ "1 run", "5 runs"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
