"""What made a schedule due in one period, worked out again from the period's own row."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from schedmgr.core import cron
from schedmgr.core.cron import CronError
from schedmgr.core.ledger.spans import FOREVER, just_before


@dataclass(frozen=True, slots=True)
class Period:
    """A schedule was due by this expression in this zone, inside the window [starts_at, ends_at), in
    (from_at, until_at]; `until_at` is None while it still is.

    Spans are (after, until].  What works out occurrences raises CronError where `mistake` says one.
    """

    id: int
    schedule_id: str
    cron: str
    timezone: str
    starts_at: datetime | None
    ends_at: datetime | None
    tzdata: str
    from_at: datetime
    until_at: datetime | None

    @property
    def end(self) -> datetime:
        """Until when, as an instant that can be compared."""
        return FOREVER if self.until_at is None else self.until_at

    @property
    def is_of_other_tzdata(self) -> bool:
        """Whether it was begun under other time zone data than this program has."""
        return self.tzdata != cron.tzdata_version()

    def mistake(self) -> CronError | None:
        """What is wrong with its expression or its zone."""
        return mistake(self.cron, self.timezone, self.schedule_id)

    def occurrences(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Every occurrence of a span, oldest first, worked out one by one."""
        after, until = self._in_window(after, until)
        for occurrence in cron.occurrences(self.cron, self.timezone, after, hash_id=self.schedule_id):
            if occurrence > until:
                return
            yield occurrence

    def count(self, after: datetime, until: datetime) -> int:
        """How many there are in a span: counted, not listed."""
        after, until = self._in_window(after, until)
        if until <= after:
            return 0
        return cron.count_between(self.cron, self.timezone, after, until, hash_id=self.schedule_id)

    def first(self, after: datetime, until: datetime = FOREVER) -> datetime | None:
        """The first of a span."""
        return next(self.occurrences(after, until), None)

    def last(self, after: datetime, until: datetime) -> datetime | None:
        """The last of a span."""
        after, until = self._in_window(after, until)
        if until <= after:
            return None
        found = cron.last_until(self.cron, self.timezone, until, after=after, hash_id=self.schedule_id)
        return found[0] if found else None

    def is_due(self, instant: datetime) -> bool:
        """Whether that very instant is an occurrence."""
        return self.count(just_before(instant), instant) == 1

    def _in_window(self, after: datetime, until: datetime) -> tuple[datetime, datetime]:
        if self.starts_at is not None:
            after = max(after, just_before(self.starts_at))
        if self.ends_at is not None:
            until = min(until, just_before(self.ends_at))
        return after, until


def mistake(expression: str, timezone: str, schedule_id: str) -> CronError | None:
    """What is wrong with an expression or its zone."""
    try:
        cron.parse(expression, hash_id=schedule_id)
        cron.zone(timezone)
    except CronError as error:
        return error
    return None
