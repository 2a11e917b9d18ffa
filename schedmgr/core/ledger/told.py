"""Instants and people in the words of an answer."""

from datetime import UTC, datetime, timedelta

from schedmgr.core import cron, phrases
from schedmgr.core.ledger.evidence import PauseRow


def moment(instant: datetime) -> str:
    """ "Mon 2 Mar 2026 12:05 UTC"; with seconds if it has some."""
    utc = instant.astimezone(UTC)
    clock = f"{utc:%H:%M:%S}" if utc.second else f"{utc:%H:%M}"
    return f"{utc:%a} {utc.day} {utc:%b %Y} {clock} UTC"


def clock(instant: datetime, near: datetime) -> str:
    """ "12:05:03 UTC", with its day if that is another than `near`."""
    utc = instant.astimezone(UTC)
    day = "" if utc.date() == near.astimezone(UTC).date() else f"{utc:%a} {utc.day} {utc:%b} "
    return f"{day}{utc:%H:%M:%S} UTC"


def local(instant: datetime, timezone: str) -> str:
    """ " (02:30 CET in Europe/Berlin)"; nothing for UTC, or for a zone that nobody knows."""
    try:
        there = instant.astimezone(cron.zone(timezone))
    except (cron.CronError, OverflowError):
        return ""
    return "" if timezone == "UTC" else f" ({there:%H:%M %Z} in {timezone})"


def away(instant: datetime, now: datetime) -> str:
    """ "in 3 min", "2 h ago"."""
    if instant > now:
        return f"in {phrases.duration(_whole(instant - now))}"
    return f"{phrases.duration(_whole(now - instant))} ago"


def pause(row: PauseRow, near: datetime) -> str:
    """Who paused all schedules, from when until when, and why."""
    end = "until somebody resumes" if row.until_at is None else f"until {clock(row.until_at, near)}"
    resumed = f", when {row.resumed_by} resumed" if row.resumed_by else ""
    return f"{row.by} paused all schedules from {clock(row.from_at, near)} {end}{resumed}: {row.reason.rstrip('.')}."


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    ended = text if text.endswith((".", "!", "?")) else f"{text}."
    return ended[:1].upper() + ended[1:]


def _whole(length: timedelta) -> timedelta:
    return timedelta(seconds=round(length.total_seconds())) if length >= timedelta(seconds=10) else length
