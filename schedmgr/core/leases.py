"""Leases that lapsed: whose worker is gone is seen by watching, never worked out from a clock.

A lease is taken as lapsed only by who has seen its token and its end unchanged for a whole lease length on its own
monotonic clock.  So neither a clock that steps nor a frozen watcher can end a run that is alive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from schedmgr.core import attempts
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun
from schedmgr.vocabulary import RunStatus

LONGEST_GAP = 0.5
"""Of a lease length: a watcher that looked away for longer starts to watch anew, since it may have been frozen."""


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A running run and its lease, as its row has them."""

    run_id: int
    attempt: int
    token: str
    until: datetime | None
    process_id: str | None


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run that was taken from its vanished worker."""

    run_id: int
    process_id: str | None
    silent_seconds: float


class LeaseWatch:
    """Watches every lease.  `monotonic` gives seconds on a clock that never steps."""

    def __init__(self, lease_seconds: float, monotonic: Callable[[], float]) -> None:
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._unchanged_since: dict[HeldRun, float] = {}
        self._looked_at = monotonic()

    def look(self, session: Session) -> list[LostRun]:
        """Look at all leases, and end the runs of those that lapsed.  Call it several times a lease length."""
        now = self._monotonic()
        if now - self._looked_at > self._lease_seconds * LONGEST_GAP:
            self._unchanged_since.clear()
        self._looked_at = now
        held = _held_runs(session)
        seen_at = self._monotonic()  # a database may be slow to answer: what it shows may be newer than the question
        self._unchanged_since = {run: self._unchanged_since.get(run, seen_at) for run in held}
        lapsed = [run for run, since in self._unchanged_since.items() if now - since > self._lease_seconds]
        return [lost for run in lapsed if (lost := self._lose(session, run, now)) is not None]

    def _lose(self, session: Session, run: HeldRun, now: float) -> LostRun | None:
        silent = now - self._unchanged_since[run]
        why = (
            f"its worker {run.process_id} has not renewed its lease for {silent:.0f} s: the worker died or was cut off"
        )
        if not attempts.lose(session, run.run_id, run.attempt, run.token, why):
            return None
        return LostRun(run.run_id, run.process_id, silent)


def _held_runs(session: Session) -> list[HeldRun]:
    rows = session.execute(
        select(JobRun.id, JobRun.attempt, JobRun.lease_token, JobRun.lease_until, JobRun.process_id).where(
            JobRun.status == RunStatus.RUNNING
        )
    )
    return [
        HeldRun(run_id, attempt, token, until, process_id)
        for run_id, attempt, token, until, process_id in rows
        if token is not None
    ]
