"""Which schedules need attention, and which daemons are stale: judged from a snapshot, for rows, counts and banners."""

from datetime import datetime, timedelta

from schedmgr.core.queries.snapshot import ScheduleFacts, Snapshot
from schedmgr.core.vitals import Life
from schedmgr.vocabulary import Decision, ProcessRole, Reason
from schedmgr.web.outcomes import failures_in_a_row

OVERDUE_AFTER = timedelta(seconds=60)
"""So long an occurrence may wait for its decision before the page calls it overdue; the page's clock agrees."""

REPAIR_SHOWN_FOR = timedelta(hours=1)
FAILURES_THAT_STAY = 3
"""After so many failures in a row a schedule needs attention until it succeeds, also while it runs again."""


def is_overdue(schedule: ScheduleFacts, now: datetime) -> bool:
    """Whether an occurrence has waited too long for its decision."""
    return schedule.is_on and schedule.next_run_at is not None and now - schedule.next_run_at > OVERDUE_AFTER


def is_repaired(schedule: ScheduleFacts, now: datetime) -> bool:
    """Whether its next run was repaired within the last hour."""
    return schedule.repaired_at is not None and now - schedule.repaired_at <= REPAIR_SHOWN_FOR


def needs_attention(snapshot: Snapshot, schedule: ScheduleFacts) -> bool:
    """Whether a schedule that is on fails, is overdue, was skipped for a cause to look at, or was repaired."""
    if not schedule.is_on:
        return False
    if is_overdue(schedule, snapshot.now) or is_repaired(schedule, snapshot.now):
        return True
    firings = snapshot.firings.get(schedule.id, ())
    if not firings:
        return False
    newest = firings[0]
    was_skipped = newest.decision is Decision.SKIPPED and newest.reason is not Reason.MISSED_PAUSED
    return newest.has_failed or was_skipped or failures_in_a_row(firings) >= FAILURES_THAT_STAY


def overdue(snapshot: Snapshot) -> list[ScheduleFacts]:
    """The overdue schedules, the longest waiting first."""
    late = [schedule for schedule in snapshot.schedules if is_overdue(schedule, snapshot.now)]
    return sorted(late, key=lambda schedule: schedule.next_run_at or snapshot.now)


def beating(snapshot: Snapshot) -> tuple[Life, ...]:
    """The daemons that live."""
    return snapshot.vitals.living(ProcessRole.DAEMON)


def stale(snapshot: Snapshot) -> list[Life]:
    """Daemons that fell silent without being stopped, unless one on the same host took their place."""
    return [life for life in snapshot.vitals.stale if life.role is ProcessRole.DAEMON]
