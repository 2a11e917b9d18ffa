"""When one schedule is due: its cron expression in its zone, inside its window."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedmgr.core import cron

SHORTEST = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timetable:
    """The occurrences of one schedule.  Instants are aware UTC; spans are (after, until].

    Nothing is due outside [starts_at, ends_at).  Every method raises CronError if expression or zone are unknown.
    """

    schedule_id: str
    cron: str
    timezone: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def after(self, instant: datetime) -> datetime | None:
        """The first occurrence after an instant; None if there is none any more."""
        found = cron.next_after(self.cron, self.timezone, self._later(instant), hash_id=self.schedule_id)
        return found if found is not None and self._is_before_end(found) else None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Every occurrence of a span, oldest first, worked out one by one."""
        for occurrence in cron.occurrences(self.cron, self.timezone, self._later(after), hash_id=self.schedule_id):
            if occurrence > until or not self._is_before_end(occurrence):
                return
            yield occurrence

    def count(self, after: datetime, until: datetime) -> int:
        """How many occurrences a span has: counted, not listed, so that years of minutes cost little."""
        after, until = self._clipped(after, until)
        if until <= after:
            return 0
        return cron.count_between(self.cron, self.timezone, after, until, hash_id=self.schedule_id)

    def newest(self, after: datetime, until: datetime, count: int = 1) -> list[datetime]:
        """The last `count` occurrences of a span, oldest first."""
        after, until = self._clipped(after, until)
        if until <= after:
            return []
        return cron.last_until(self.cron, self.timezone, until, count, after=after, hash_id=self.schedule_id)

    def _clipped(self, after: datetime, until: datetime) -> tuple[datetime, datetime]:
        if self.ends_at is not None and self.ends_at <= until:
            until = after if self.ends_at <= after else self.ends_at - SHORTEST
        return self._later(after), until

    def _later(self, after: datetime) -> datetime:
        return after if self.starts_at is None or self.starts_at <= after else self.starts_at - SHORTEST

    def _is_before_end(self, occurrence: datetime) -> bool:
        return self.ends_at is None or occurrence < self.ends_at
