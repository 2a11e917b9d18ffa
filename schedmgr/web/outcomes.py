"""Firings and runs as badges, strips and short notes."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from schedmgr.core import phrases
from schedmgr.core.queries.firings import FAILURES, FiringFacts
from schedmgr.vocabulary import Decision, Reason, RunStatus
from schedmgr.web.views import Badge, FiringRow, LastFiring, StripBar

SHORT_REASONS = {
    Reason.MISSED_NO_DAEMON: "no daemon was running",
    Reason.MISSED_PAUSED: "paused",
    Reason.MISSED_LATE: "decided too late",
    Reason.OVERLAP: "previous run had not ended",
    Reason.UNDECIDABLE: "cannot be worked out",
}
NOTE_LENGTH = 60


def badge(firing: FiringFacts, in_a_row: int = 1) -> Badge:
    """What a firing shows: the worst of its runs, or that it was skipped."""
    if firing.runs is not None and firing.outcome is RunStatus.RUNNING:
        return Badge(firing.outcome, done=firing.runs.ended, whole=firing.runs.total)
    return Badge(firing.outcome, times=in_a_row)


def failures_in_a_row(firings: Sequence[FiringFacts]) -> int:
    """How many firings failed since the last success; those skipped, cancelled or not ended say nothing."""
    count = 0
    for firing in firings:
        if firing.has_failed:
            count += 1
        elif firing.outcome is RunStatus.SUCCEEDED:
            break
    return count


def last(firings: Sequence[FiringFacts]) -> LastFiring | None:
    """The newest firing as a row shows it; `firings` are newest first."""
    if not firings:
        return None
    newest = firings[0]
    return LastFiring(badge(newest, _in_a_row(firings)), newest.decided_at, note(newest), url(newest))


def strip(firings: Sequence[FiringFacts]) -> tuple[StripBar, ...]:
    """The same firings as bars, oldest first, each as high as it took long."""
    longest = max((firing.took for firing in firings if firing.took is not None), default=timedelta(0))
    return tuple(StripBar(firing.outcome, _height(firing, longest)) for firing in reversed(firings))


def row(firing: FiringFacts) -> FiringRow:
    """One line of a schedule's history."""
    is_over = firing.runs is None or firing.runs.finished_at is not None
    return FiringRow(
        id=firing.id,
        badge=badge(firing, max(1, firing.missed_count)),
        due_at=firing.scheduled_for,
        decided_at=firing.decided_at,
        trigger=firing.trigger,
        requested_by=who(firing.requested_by),
        detail=firing.detail or _how_it_ended(firing),
        took_seconds=seconds(firing.took),
        started_at=None if is_over or firing.runs is None else firing.runs.started_at,
        run_count=0 if firing.runs is None else firing.runs.total,
        url=url(firing),
    )


def note(firing: FiringFacts) -> str:
    """What stands beside its time: why it was skipped, how it failed, or how long it took."""
    if firing.decision is Decision.SKIPPED:
        return SHORT_REASONS.get(firing.reason, "") if firing.reason else ""
    if firing.has_failed:
        return shortened(_how_it_ended(firing))
    return "" if firing.took is None else phrases.duration(firing.took)


def url(firing: FiringFacts) -> str | None:
    """Where its runs are shown; None if there are none to show."""
    if firing.runs is None:
        return None
    return f"/admin/jobs/{firing.runs.first_id}" if firing.runs.total == 1 else f"/admin/jobs?firing={firing.id}"


def who(requested_by: str | None) -> str | None:
    """A requester as people read it: users of the pages by their bare name."""
    return None if requested_by is None else requested_by.removeprefix("web:")


def shortened(text: str) -> str:
    """One line that fits beside a time."""
    line = " ".join(text.split())
    return line if len(line) <= NOTE_LENGTH else line[: NOTE_LENGTH - 1] + "…"


def seconds(length: timedelta | None) -> float | None:
    """A length of time in seconds."""
    return None if length is None else length.total_seconds()


def retry_at(status: RunStatus, attempt: int, available_at: datetime, now: datetime) -> datetime | None:
    """When a queued run tries again; None for one that is not waiting for that."""
    return available_at if status is RunStatus.QUEUED and attempt > 1 and available_at > now else None


def _in_a_row(firings: Sequence[FiringFacts]) -> int:
    """How many of the newest ended alike, as far as a badge counts that."""
    newest = firings[0]
    count = 0
    for firing in firings:
        if firing.decision is Decision.SKIPPED and newest.decision is Decision.SKIPPED:
            count += max(1, firing.missed_count)
        elif newest.has_failed and firing.has_failed:
            count += 1
        else:
            break
    return max(1, count)


def _height(firing: FiringFacts, longest: timedelta) -> float:
    if firing.outcome in FAILURES:
        return 1.0
    return firing.took / longest if firing.took is not None and longest else 0.0


def _how_it_ended(firing: FiringFacts) -> str:
    runs = firing.runs
    if runs is None or not firing.has_failed:
        return ""
    return runs.error or ("" if runs.exit_code is None else f"exit {runs.exit_code}")
