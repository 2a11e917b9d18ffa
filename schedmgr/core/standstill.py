"""What stands still although processes beat: schedules that a clock silenced or that nothing can decide, and runs that
no worker takes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, select, union

from schedmgr.core import locking, settlement
from schedmgr.core.processes import SILENT_AFTER
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobSchedule
from schedmgr.vocabulary import RunStatus

CLOCK_TOLERANCE = timedelta(seconds=5)
LOOKED_AT = 20
"""So many schedules are worked out anew of those due the longest, of those without a next run, and of those with the
furthest: a stored next run may be wrong, and only the repair reads all."""


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule with an occurrence that nobody has decided yet."""

    schedule_id: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Ahead:
    """Schedules that were decided beyond the database's present clock: it has been set back since."""

    schedules: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Untaken:
    """A run that nothing holds back, of a group of which no run goes or has ended lately, while places are free."""

    job: str
    group: str
    since: datetime


def ahead(session: Session) -> Ahead | None:
    """None if the clock has not been set back, or has caught up."""
    beyond = and_(_is_on(), JobSchedule.accounted_until > session.now() + CLOCK_TOLERANCE)
    count, until = session.execute(select(func.count(), func.max(JobSchedule.accounted_until)).where(beyond)).one()
    return Ahead(count, until) if until is not None else None


def oldest_due(session: Session) -> tuple[Due | None, tuple[str, ...]]:
    """The occurrence that has waited longest for its decision; and schedules that are on and will never be due, since
    what they say cannot be worked out.

    By what is accounted for, not by the stored next run, which is only its index.
    """
    now = session.now()
    states = settlement.schedules(session, _suspects(session))
    due = [Due(state.id, at) for state in states if (at := settlement.next_run(state)) is not None and at <= now]
    never = tuple(
        state.id
        for state in states
        if state.stored_next_text is None and state.timetable.ends_at is None and settlement.next_run(state) is None
    )
    return min(due, key=lambda one: one.due_at, default=None), never


def _suspects(session: Session) -> list[str]:
    stored = JobSchedule.next_run_at
    due = select(JobSchedule.id).where(locking.due(session.now())).order_by(stored).limit(LOOKED_AT)
    furthest = select(JobSchedule.id).where(_is_on(), stored.is_not(None)).order_by(stored.desc()).limit(LOOKED_AT)
    has_ended = and_(JobSchedule.ends_at.is_not(None), JobSchedule.ends_at <= JobSchedule.accounted_until)
    without = select(JobSchedule.id).where(_is_on(), stored.is_(None), ~has_ended).limit(LOOKED_AT)
    parts = (part.subquery() for part in (due, furthest, without))
    return list(session.scalars(union(*(select(part.c.id) for part in parts))))


def _is_on() -> ColumnElement[bool]:
    return and_(JobSchedule.enabled, JobSchedule.archived_at.is_(None))


def untaken(session: Session) -> Untaken | None:
    """The first run that a worker should have taken a minute ago.  Only worth asking while places are free."""
    a_minute_ago = session.now() - SILENT_AFTER
    going = select(JobRun.group).where(JobRun.status == RunStatus.RUNNING)
    ended = select(JobRun.group).where(JobRun.finished_at >= a_minute_ago)
    moving = session.scalars(union(going, ended)).all()
    first = locking.first_waiting(session, a_minute_ago, but_for=moving)
    if first is None:
        return None
    return Untaken(
        *session.execute(select(JobRun.job, JobRun.group, JobRun.available_at).where(JobRun.id == first)).one()
    )
