"""What made a schedule due, from when to when it was on: the record by which the past can be worked out again.

A period begins and ends where its schedule is accounted for, which is now, or later after a clock that stepped back.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, select, update

from schedmgr.core import cron
from schedmgr.core.timetable import Timetable
from schedmgr.database.engine import Session
from schedmgr.database.models import JobSchedule, SchedulePeriod


def begin(session: Session, starts: Sequence[tuple[Timetable, datetime]]) -> None:
    """After these instants, up to which they are accounted for, the schedules are due by these timetables."""
    if starts:
        session.execute(
            insert(SchedulePeriod),
            [
                {
                    "schedule_id": timetable.schedule_id,
                    "cron": timetable.cron,
                    "timezone": timetable.timezone,
                    "starts_at": timetable.starts_at,
                    "ends_at": timetable.ends_at,
                    "tzdata": cron.tzdata_version(),
                    "from_at": accounted_until,
                }
                for timetable, accounted_until in starts
            ],
        )


def end(session: Session, schedule_ids: Sequence[str]) -> None:
    """These schedules, which are settled, are not due any more by what made them due so far."""
    accounted_until = select(JobSchedule.accounted_until).where(JobSchedule.id == SchedulePeriod.schedule_id)
    if schedule_ids:
        session.execute(
            update(SchedulePeriod)
            .where(SchedulePeriod.schedule_id.in_(schedule_ids), SchedulePeriod.until_at.is_(None))
            .values(until_at=accounted_until.scalar_subquery())
        )


def of_other_tzdata(session: Session) -> list[str]:
    """Schedules whose running period was begun under other time zone data than this program has."""
    return list(
        session.scalars(
            select(SchedulePeriod.schedule_id).where(
                SchedulePeriod.until_at.is_(None), SchedulePeriod.tzdata != cron.tzdata_version()
            )
        )
    )
