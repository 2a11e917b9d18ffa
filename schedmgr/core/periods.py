"""What made a schedule due, from when to when it was on: the record by which the past can be worked out again."""

from collections.abc import Sequence

from sqlalchemy import insert, select, update

from schedmgr.core import cron
from schedmgr.core.timetable import Timetable
from schedmgr.database.engine import Session
from schedmgr.database.models import SchedulePeriod


def begin(session: Session, timetables: Sequence[Timetable]) -> None:
    """From now on these schedules are due by these timetables."""
    if timetables:
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
                    "from_at": session.now(),
                }
                for timetable in timetables
            ],
        )


def end(session: Session, schedule_ids: Sequence[str]) -> None:
    """From now on these schedules are not due by what made them due so far."""
    if schedule_ids:
        session.execute(
            update(SchedulePeriod)
            .where(SchedulePeriod.schedule_id.in_(schedule_ids), SchedulePeriod.until_at.is_(None))
            .values(until_at=session.now())
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
