"""A whole cron expression: parsed once, then asked for wall-clock minutes.

Nothing here knows of time zones.  A wall-clock minute is counted from 1970-01-01 00:00 on the clock on the wall,
whatever its zone; `cron.py` lays those minutes on real time.  All sets are bits of an integer, so that "the next",
"the last" and "how many" are a shift and a count, whatever the expression.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, date
from functools import lru_cache

from schedmgr.core.cron.fields import (
    DAY,
    KINDS,
    LAST_WEEK,
    MONTH_NAMES,
    WEEKDAY_NAMES,
    Item,
    LastDay,
    Weekday,
    parse_field,
)
from schedmgr.core.cron.mistakes import FIVE_FIELDS, WHOLE, CronError, shorten

MINUTES_A_DAY = 1440
LONGEST = 1000
"""Characters that an expression may have; listing every value of every field takes fewer than 400."""

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_NAMES = "|".join((*MONTH_NAMES, *WEEKDAY_NAMES))
_TIME_FIELD = re.compile(rf"([\d*/,\-?LW#]|{_NAMES})+", re.IGNORECASE)

_FIRST_DAY = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - _FIRST_DAY
_EARLIEST_DAY = date.min.toordinal() - _FIRST_DAY

_LENGTHS = ((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31))
# (days before it, days in it) of the twelve months, in a common year and in a leap year.
_MONTHS = tuple(tuple((sum(lengths[:index]), length) for index, length in enumerate(lengths)) for lengths in _LENGTHS)
_ALL_WEEKDAYS, _ALL_DAYS, _IN_EVERY_MONTH = (1 << 7) - 1, (2 << 31) - 2, (2 << 28) - 2
_WEEKLY = sum(1 << day for day in range(0, 366, 7))


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression.  Equal for the same text and, if that contains `H`, the same `hash_id`.

    The numbers are sets of bits: bit n of `hours` is hour n; Sunday is bit 0 of `weekdays`.
    """

    text: str
    hash_id: str | None
    items: tuple[tuple[Item, ...], ...] = field(compare=False, repr=False)
    """The five fields as they were written, for whoever puts them into words."""
    minutes: int = field(compare=False, repr=False)
    hours: int = field(compare=False, repr=False)
    days: int = field(compare=False, repr=False)
    months: int = field(compare=False, repr=False)
    weekdays: int = field(compare=False, repr=False)
    last_day: bool = field(compare=False, repr=False)
    monthly_weekdays: tuple[Weekday, ...] = field(compare=False, repr=False)
    """Those of `5#2` and `5L`."""
    follows_real_time: bool = field(compare=False)
    """Whether the minute or hour field starts with `*`: then a change of the clocks is followed, not made up for."""
    either_day: bool = field(compare=False)
    """Whether a day needs to match only one of the two day fields, because neither starts with `*`."""
    times: int = field(compare=False, repr=False)
    """The minutes of a day, 1440 bits."""
    _calendar: dict[tuple[int, int], int] = field(default_factory=dict, compare=False, repr=False)
    """The days of a year by (weekday of 1 January, whether it is a leap year): years have but 14 shapes."""

    def next_minute(self, minute: int) -> int | None:
        """The first wall-clock minute at or after this one; None after the year 9999."""
        day, within = divmod(minute, MINUTES_A_DAY)
        later = self.times >> within
        found = self._next_day(day if later else day + 1)
        if found == day:
            return minute + _lowest(later)
        return None if found is None else found * MINUTES_A_DAY + _lowest(self.times)

    def previous_minute(self, minute: int) -> int | None:
        """The last wall-clock minute at or before this one; None before the year 1."""
        day, within = divmod(minute, MINUTES_A_DAY)
        earlier = self.times & ((2 << within) - 1)
        found = self._previous_day(day if earlier else day - 1)
        if found == day:
            return day * MINUTES_A_DAY + earlier.bit_length() - 1
        return None if found is None else found * MINUTES_A_DAY + self.times.bit_length() - 1

    def count_minutes(self, low: int, high: int) -> int:
        """How many wall-clock minutes there are from `low` on and before `high`; counted, not listed."""
        if low >= high:
            return 0
        first_day, from_minute = divmod(low, MINUTES_A_DAY)
        last_day, to_minute = divmod(high - 1, MINUTES_A_DAY)
        total = self._count_days(first_day, last_day) * self.times.bit_count()
        if self._next_day(first_day) == first_day:
            total -= (self.times & ((1 << from_minute) - 1)).bit_count()
        if self._next_day(last_day) == last_day:
            total -= (self.times >> (to_minute + 1)).bit_count()
        return total

    def fires(self) -> bool:
        """Whether any day matches, in any of the 14 shapes that a year may have."""
        if (self.weekdays == _ALL_WEEKDAYS and self.days & _IN_EVERY_MONTH) or self.days == _ALL_DAYS:
            return True  # as nearly all do, and cheap to see
        return any(self._days_of(weekday, leap) for leap in (True, False) for weekday in range(7))

    def _next_day(self, day: int) -> int | None:
        """The first day at or after this one, counted from 1970-01-01."""
        year = _year_of(day)
        while year <= MAXYEAR:
            before, days = self._year(year)
            from_day = max(day - before, 0)
            if later := days >> from_day:
                return before + from_day + _lowest(later)
            year += 1
        return None

    def _previous_day(self, day: int) -> int | None:
        """The last day at or before this one."""
        year = _year_of(day)
        while year >= MINYEAR:
            before, days = self._year(year)
            if earlier := days & ((2 << min(day - before, 366)) - 1):
                return before + earlier.bit_length() - 1
            year -= 1
        return None

    def _count_days(self, first_day: int, last_day: int) -> int:
        """How many days there are from `first_day` to `last_day`, both included."""
        total = 0
        for year in range(_year_of(first_day), _year_of(last_day) + 1):
            before, days = self._year(year)
            low, high = max(first_day - before, 0), min(last_day - before, 366)
            total += (days >> low & ((2 << (high - low)) - 1)).bit_count()
        return total

    def _year(self, year: int) -> tuple[int, int]:
        """The day before the year begins, counted from 1970-01-01, and the year's days as bits from 1 on."""
        ordinal = date(year, 1, 1).toordinal()
        return ordinal - 1 - _FIRST_DAY, self._days_of(ordinal % 7, _is_leap(year))

    def _days_of(self, weekday: int, leap: bool) -> int:
        """The days of a year whose 1 January is that weekday (Sunday is 0)."""
        shape = weekday, leap
        days = self._calendar.get(shape)
        if days is None:
            days = self._calendar[shape] = self._match_days(weekday, _MONTHS[leap])
        return days

    def _match_days(self, weekday: int, months: Sequence[tuple[int, int]]) -> int:
        allowed = by_number = by_weekday = 0
        for day in range(7):
            if self.weekdays >> day & 1:
                by_weekday |= _WEEKLY << 1 + (day - weekday) % 7
        for month, (before, length) in enumerate(months, start=1):
            if self.months >> month & 1:
                whole = (2 << length) - 2
                allowed |= whole << before
                by_number |= ((self.days | self.last_day << length) & whole) << before
                for day, week in self.monthly_weekdays:
                    by_weekday |= _monthly((day - weekday - before) % 7 + 1, week, length) << before
        return allowed & (by_number | by_weekday if self.either_day else by_number & by_weekday)


def parse(cron: str, *, hash_id: str | None = None) -> Cron:
    """The parsed expression; `hash_id` is the schedule's id, by which `H` spreads.

    Raises `CronError`, also for an expression that never fires and for `H` without a `hash_id`.  An answer takes
    milliseconds at most, whatever the length: what is too long is refused before anything looks at it.
    """
    if len(cron) > LONGEST:  # looked at before the cache, which would hash all of it
        problem = f"{shorten(cron)} has {len(cron):,} characters"
        raise CronError(WHOLE, cron, problem, f"Write at most {LONGEST:,}.")
    depends_on_id = hash_id is not None and "h" in cron.lower()
    return _parse(cron, hash_id if depends_on_id else None)


# Large enough for 10,000 schedules that each have an expression of their own, as those with H do.
@lru_cache(maxsize=16_384)
def _parse(text: str, hash_id: str | None) -> Cron:
    written = split(text)
    parsed = [parse_field(kind, part) for kind, part in zip(KINDS, written, strict=True)]
    minutes, hours, days, months, weekdays = [
        one.resolve(kind, hash_id) for kind, one in zip(KINDS, parsed, strict=True)
    ]
    cron = Cron(
        text=text,
        hash_id=hash_id,
        items=tuple([one.items for one in parsed]),
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=(weekdays | weekdays >> 7) & 0b1111111,
        last_day=LastDay() in parsed[2].items,
        monthly_weekdays=tuple(item for item in parsed[4].items if isinstance(item, Weekday)),
        follows_real_time=written[0].startswith("*") or written[1].startswith("*"),
        either_day=not (written[2].startswith("*") or written[4].startswith("*")),
        times=_times(minutes, hours),
    )
    if not cron.fires():
        problem = f"{shorten(written[2])} never comes in month {shorten(written[3])}"
        raise CronError(DAY.name, written[2], problem, "Change the day or the month, else it never fires.")
    return cron


def split(text: str) -> list[str]:
    """The texts of the five fields of an expression, or of what a macro stands for.  Raises `CronError`."""
    if strange := re.search(r"[^\t -~]", text):
        problem = f"{shorten(text)} contains the character '{shorten(strange.group())}'"
        raise CronError(WHOLE, text, problem, "Write plain letters, digits and the signs * / , - # ( ) only.")
    written = text.split()
    if len(written) == 1 and written[0].startswith("@"):
        return _expand_macro(written[0])
    if len(written) != 5:
        raise _wrong_count(text, written)
    return written


def _expand_macro(macro: str) -> list[str]:
    expanded = MACROS.get(macro.lower())
    if expanded is not None:
        return expanded.split()
    if macro.lower() == "@reboot":
        problem = "@reboot is no time, so nothing can be due by it"
        raise CronError(WHOLE, macro, problem, "Write a time, or let the system's service manager start it.")
    from difflib import get_close_matches

    near = get_close_matches(shorten(macro.lower()), MACROS, n=1)
    mend = f"Did you mean {near[0]}?" if near else f"Write one of {', '.join(MACROS)}, or five fields."
    raise CronError(WHOLE, macro, f"{shorten(macro)} is not known", mend)


def _wrong_count(text: str, written: list[str]) -> CronError:
    if not written:
        return CronError(WHOLE, text, "it is empty", f"Write five fields: {FIVE_FIELDS}.")
    if written[0].startswith("@"):
        return CronError(
            WHOLE, text, f"{shorten(text)} has more after {shorten(written[0])}", "Write the @ word alone."
        )
    count = f"{shorten(text)} has {len(written)} field{'s' * (len(written) > 1)}"
    if len(written) < 5:
        return CronError(WHOLE, text, count, f"Write five: {FIVE_FIELDS}.")
    if len(written) <= 7 and all(_TIME_FIELD.fullmatch(part) for part in written):
        mend = f"Write five: {FIVE_FIELDS}; seconds and years are not supported."
        return CronError(WHOLE, text, count, mend)
    return CronError(WHOLE, text, count, f"Write five: {FIVE_FIELDS}; the command belongs to the job.")


def _times(minutes: int, hours: int) -> int:
    return sum(minutes << 60 * hour for hour in range(24) if hours >> hour & 1)


def _lowest(bits: int) -> int:
    """The place of the lowest bit that is set; there must be one."""
    return (bits & -bits).bit_length() - 1


def _monthly(first: int, week: int, length: int) -> int:
    """The `week`-th of the days 7 apart from `first` on, as a bit; 0 if the month has no such day."""
    if week == LAST_WEEK:
        return 1 << first + (length - first) // 7 * 7
    day = first + 7 * (week - 1)
    return 1 << day if day <= length else 0


def _year_of(day: int) -> int:
    """The year of a day counted from 1970-01-01; beyond the calendar, its first or last year."""
    return date.fromordinal(min(max(day, _EARLIEST_DAY), _LAST_DAY) + _FIRST_DAY).year


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
