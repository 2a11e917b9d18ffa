"""`schedmgr schedules why`: what happened at an instant, what decided it, and what to do, in a few short lines."""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select

from schedmgr.core import cron
from schedmgr.core.ledger import decided, rows, told, undecided
from schedmgr.core.ledger.answer import Answer
from schedmgr.core.ledger.rows import Firing
from schedmgr.core.ledger.scene import Scene
from schedmgr.core.ledger.spans import earlier, later
from schedmgr.database.engine import Session
from schedmgr.database.models import ScheduleFiring
from schedmgr.vocabulary import Reason

NEARBY = timedelta(minutes=15)
"""Runs by hand that are so near are worth a word."""
CLOCKS_NEARBY = timedelta(days=1)


def why(session: Session, schedule_id: str, at: datetime | None = None) -> Answer | None:
    """What happened to a schedule at an instant, or at the last one at which it was due; None: there is no such id."""
    found = rows.schedules(session, schedule_id)
    if not found:
        return None
    scene = Scene(session, found[0])
    last = scene.last_due()
    if at is None and (last is None or not scene.schedule.is_on):
        return undecided.state(scene, last)
    instant = _meant(scene, at or last or scene.now)
    answer = _answer(scene, instant)
    return replace(answer, evidence=(*answer.evidence, *_clocks(scene, instant), *_by_hand(scene, instant)))


def _answer(scene: Scene, at: datetime) -> Answer:
    """The one that fits."""
    firing, period = _firing_for(scene, at), scene.period_of(at)
    if firing is not None:
        return decided.answer(scene, at, firing)
    if scene.pruned_until is not None and at <= scene.pruned_until:
        return undecided.pruned(scene, at, scene.pruned_until)
    if period is None:
        wrong = next((one for one in scene.unreadable if one.from_at < at <= one.end), None)
        return undecided.off(scene, at) if wrong is None else undecided.unreadable(scene, at, wrong)
    if not period.is_due(at):
        return undecided.not_due(scene, at, period)
    if at > scene.now:
        return undecided.coming(scene, at)
    accounted_until = scene.schedule.accounted_until
    is_accounted = accounted_until is not None and at <= accounted_until
    return (
        undecided.missing(scene, at)
        if is_accounted or not scene.is_in_running_period(at)
        else undecided.pending(scene, at)
    )


def _meant(scene: Scene, at: datetime) -> datetime:
    """People leave the seconds away, or read them off a log line: the minute counts if the second says nothing."""
    minute = at.replace(second=0, microsecond=0)
    period = scene.period_of(minute)
    return minute if period is not None and period.is_due(minute) else at


def _firing_for(scene: Scene, at: datetime) -> Firing | None:
    """The firing that covers that instant, if it is an occurrence."""
    period = scene.period_of(at)
    firing = rows.firing_around(scene.session, scene.schedule.id, at)
    if firing is not None and firing.scheduled_for == at:
        return firing
    if period is not None and not period.is_due(at):
        return None
    if firing is not None and firing.last >= at:
        return firing
    following = rows.firing_after(scene.session, scene.schedule.id, at)
    is_undecidable = following is not None and following.reason == Reason.UNDECIDABLE
    return following if is_undecidable and period is not None else None


def _clocks(scene: Scene, at: datetime) -> list[str]:
    """What a change of the clocks nearby does to the schedule."""
    period = scene.period_of(at)
    if period is None:
        return []
    changes = cron.clock_changes(period.timezone, earlier(at, CLOCKS_NEARBY), later(at, CLOCKS_NEARBY))
    notes = (cron.clock_note(period.cron, period.timezone, change, hash_id=scene.schedule.id) for change in changes)
    return [note for note in notes if note]


def _by_hand(scene: Scene, at: datetime) -> list[str]:
    found = scene.session.execute(
        select(ScheduleFiring.id, ScheduleFiring.decided_at, ScheduleFiring.requested_by)
        .where(
            ScheduleFiring.schedule_id == scene.schedule.id,
            ScheduleFiring.scheduled_for.is_(None),
            ScheduleFiring.decided_at.between(earlier(at, NEARBY), later(at, NEARBY)),
        )
        .order_by(ScheduleFiring.decided_at)
        .limit(2)
    )
    return [
        f"It was run by hand at {told.clock(decided_at, at)} by {person or 'somebody'} (firing {id})."
        for id, decided_at, person in found
    ]
