"""One pass: look, claim what is due, decide, record; all that it decides in one transaction."""

import logging

from schedmgr.core import locking, phrases, processes, settlement
from schedmgr.core.locking import DueLook
from schedmgr.core.processes import Registered, Silent
from schedmgr.core.settlement import Settlement
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable
from schedmgr.vocabulary import Decision

log = logging.getLogger(__name__)

BETWEEN_BATCHES = 0.01  # seconds; on SQLite other writers get in here
HELD_BY_OTHERS = 0.05  # seconds; a daemon that is killed lets go at once, and then nothing may be late by much
AFTER_TROUBLE = 1.0  # seconds
BATCH = 500
"""Schedules that one transaction decides: large enough to be fast, small enough not to keep others waiting."""


def look(database: Database) -> DueLook:
    """The database's clock and what is due next: one indexed read, no write."""
    with database.read() as session:
        return locking.look(session)


def tick(database: Database, process: Registered, *, limit: int = BATCH) -> Settlement:
    """Claim the longest due schedules and settle them: firings, job runs, accounted_until, next run, together.

    Raises Silent, with nothing decided, if the process has not beaten for more than a minute.
    """

    def settle(session: Session) -> Settlement:
        due = locking.claim_due(session, session.now(), limit)
        if not due:
            return Settlement()
        processes.beat_unbroken(session, process)
        return settlement.settle(session, due, process_id=process.id)

    settled = database.transact(settle)
    log_firings(database, settled)
    return settled


def pause_after(settled: Settlement) -> float:
    """Seconds until the next look, after a tick for which something was due."""
    if settled.settled:
        return BETWEEN_BATCHES
    return AFTER_TROUBLE if settled.asked else HELD_BY_OTHERS


def tick_one_by_one(database: Database, process: Registered, *, limit: int = BATCH) -> None:
    """Settle due schedules each in a transaction of its own, so that one which cannot be settled stops no other."""
    with database.read() as session:
        due = locking.longest_due(session, session.now(), limit)
    for schedule_id in due:
        log_firings(database, _settle_alone(database, process, schedule_id))


def _settle_alone(database: Database, process: Registered, schedule_id: str) -> Settlement:
    def settle(session: Session) -> Settlement:
        locking.lock_schedules(session, [schedule_id])
        processes.beat_unbroken(session, process)
        return settlement.settle(session, [schedule_id], process_id=process.id)

    try:
        return database.transact(settle)
    except (DatabaseUnavailable, Silent):
        raise
    except Exception:
        log.exception("schedule not settled schedule=%s", schedule_id)
        return Settlement()


def log_firings(database: Database, settled: Settlement) -> None:
    """One line a firing."""
    now = database.approximate_now()
    for firing, id in zip(settled.firings, settled.firing_ids, strict=True):
        due = phrases.iso(firing.scheduled_for) if firing.scheduled_for else "by hand"
        if firing.decision is Decision.ENQUEUED and firing.scheduled_for is not None:
            late = (now - firing.scheduled_for).total_seconds()
            log.info(
                "firing enqueued schedule=%s scheduled_for=%s firing=%d job_runs=%d late=%.3fs",
                firing.schedule_id, due, id, len(firing.jobs), late,
            )  # fmt: skip
        else:
            log.info(
                "firing skipped schedule=%s scheduled_for=%s firing=%d reason=%s missed=%d detail=%s",
                firing.schedule_id, due, id, firing.reason, firing.missed_count, phrases.quoted(firing.detail or ""),
            )  # fmt: skip
