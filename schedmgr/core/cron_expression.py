"""A whole cron expression: parsed once, then asked for wall-clock minutes.

Nothing here knows of time zones.  A wall-clock minute is counted from 1970-01-01 00:00 on the clock on the wall,
whatever its zone; `cron.py` lays those minutes on real time.  All sets are bits of an integer, so that "the next",
"the last" and "how many" are a shift and a count, whatever the expression.
"""

import re
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from schedmgr.core import cron_fields as fields
from schedmgr.core.cron_fields import Hashed, Item, LastDay, Values, Weekday
from schedmgr.core.cron_mistakes import FIVE_FIELDS, WHOLE, CronError, shorten

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

_FIRST_DAY = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal() - _FIRST_DAY
_EARLIEST_DAY = date.min.toordinal() - _FIRST_DAY
_MONTH_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Every 7th day from day 0 on, as bits.
_WEEKLY = sum(1 << day for day in range(0, 35, 7))


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression.  Equal for the same text and the same `hash_id`.

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
    """The days of a month by (weekday of the 1st, length): there are but 28 shapes of months."""

    def next_minute(self, minute: int) -> int | None:
        """The first wall-clock minute at or after this one; None after the year 9999."""
        day, within = divmod(minute, MINUTES_A_DAY)
        found = self._next_day(day)
        if found == day:
            if later := self.times >> within:
                return minute + _lowest(later)
            found = self._next_day(day + 1)
        return None if found is None else found * MINUTES_A_DAY + _lowest(self.times)

    def previous_minute(self, minute: int) -> int | None:
        """The last wall-clock minute at or before this one; None before the year 1."""
        day, within = divmod(minute, MINUTES_A_DAY)
        found = self._previous_day(day)
        if found == day:
            if earlier := self.times & ((2 << within) - 1):
                return day * MINUTES_A_DAY + earlier.bit_length() - 1
            found = self._previous_day(day - 1)
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
        """Whether there is any day at all: one of the 14 shapes that a year may have."""
        shapes = ((weekday, leap) for weekday in range(7) for leap in (False, True))
        return any(self._fires_in(weekday, leap) for weekday, leap in shapes)

    def _fires_in(self, weekday: int, leap: bool) -> bool:
        for month in range(1, 13):
            length = _MONTH_LENGTHS[month] + (leap and month == 2)
            if self.months >> month & 1 and self._days_of(weekday, length):
                return True
            weekday = (weekday + length) % 7
        return False

    def _next_day(self, day: int) -> int | None:
        """The first day at or after this one, counted from 1970-01-01."""
        if not _EARLIEST_DAY <= day <= _LAST_DAY:
            return self._next_day(_EARLIEST_DAY) if day < _EARLIEST_DAY else None
        start = date.fromordinal(day + _FIRST_DAY)
        year, month, of_month = start.year, start.month, start.day
        while year <= 9999:
            before, days = self._month(year, month)
            if later := days >> of_month:
                return before + of_month + _lowest(later)
            year, month, of_month = *self._month_after(year, month), 0
        return None

    def _previous_day(self, day: int) -> int | None:
        """The last day at or before this one."""
        if not _EARLIEST_DAY <= day <= _LAST_DAY:
            return self._previous_day(_LAST_DAY) if day > _LAST_DAY else None
        start = date.fromordinal(day + _FIRST_DAY)
        year, month, of_month = start.year, start.month, start.day
        while year >= 1:
            before, days = self._month(year, month)
            if earlier := days & ((2 << of_month) - 1):
                return before + earlier.bit_length() - 1
            year, month, of_month = *self._month_before(year, month), 31
        return None

    def _count_days(self, first_day: int, last_day: int) -> int:
        """How many days there are from `first_day` to `last_day`, both included."""
        start = date.fromordinal(max(first_day, _EARLIEST_DAY) + _FIRST_DAY)
        total, year, month = 0, start.year, start.month
        while year <= 9999:
            before, days = self._month(year, month)
            if before >= last_day:
                break
            low, high = max(first_day - before, 1), min(last_day - before, 31)
            total += (days >> low & ((2 << (high - low)) - 1)).bit_count()
            year, month = self._month_after(year, month)
        return total

    def _month_after(self, year: int, month: int) -> tuple[int, int]:
        if later := self.months >> (month + 1):
            return year, month + 1 + _lowest(later)
        return year + 1, _lowest(self.months)

    def _month_before(self, year: int, month: int) -> tuple[int, int]:
        if earlier := self.months & ((1 << month) - 1):
            return year, earlier.bit_length() - 1
        return year - 1, self.months.bit_length() - 1

    def _month(self, year: int, month: int) -> tuple[int, int]:
        """The day before the month begins, counted from 1970-01-01, and the month's days as bits."""
        ordinal = date(year, month, 1).toordinal()
        if not self.months >> month & 1:
            return ordinal - _FIRST_DAY - 1, 0
        length = 29 if month == 2 and _is_leap(year) else _MONTH_LENGTHS[month]
        return ordinal - _FIRST_DAY - 1, self._days_of(ordinal % 7, length)

    def _days_of(self, weekday: int, length: int) -> int:
        """The days of a month of that length whose 1st is that weekday (Sunday is 0)."""
        shape = weekday, length
        days = self._calendar.get(shape)
        if days is None:
            days = self._calendar[shape] = self._match_days(weekday, length)
        return days

    def _match_days(self, weekday: int, length: int) -> int:
        by_number = self.days | (self.last_day << length)
        by_weekday = 0
        for day in range(7):
            if self.weekdays >> day & 1:
                by_weekday |= _WEEKLY << 1 + (day - weekday) % 7
        for day, week in self.monthly_weekdays:
            first = 1 + (day - weekday) % 7
            last = first + (length - first) // 7 * 7
            by_weekday |= 1 << (last if week == fields.LAST_WEEK else first + 7 * (week - 1))
        matching = by_number | by_weekday if self.either_day else by_number & by_weekday
        return matching & ((2 << length) - 2)


def parse(cron: str, *, hash_id: str | None = None) -> Cron:
    """The parsed expression; `hash_id` is the schedule's id, by which `H` spreads.

    Raises `CronError`, also for an expression that never fires and for `H` without a `hash_id`.  An answer takes
    milliseconds at most, whatever the length: what is too long is refused before anything looks at it.
    """
    if len(cron) > LONGEST:  # looked at before the cache, which would hash all of it
        problem = f"{shorten(cron)} has {len(cron):,} characters"
        raise CronError(WHOLE, cron, problem, f"Write at most {LONGEST:,}.")
    return _parse(cron, hash_id)


@lru_cache(maxsize=4096)
def _parse(text: str, hash_id: str | None) -> Cron:
    written = _split(text)
    items = tuple(fields.parse_field(kind, part) for kind, part in zip(fields.KINDS, written, strict=True))
    minutes, hours, days, months, weekdays = (
        _mask(kind, field_items, hash_id) for kind, field_items in zip(fields.KINDS, items, strict=True)
    )
    cron = Cron(
        text=text,
        hash_id=hash_id,
        items=items,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=(weekdays | weekdays >> 7) & 0b1111111,
        last_day=LastDay() in items[2],
        monthly_weekdays=tuple(item for item in items[4] if isinstance(item, Weekday)),
        follows_real_time=written[0].startswith("*") or written[1].startswith("*"),
        either_day=not (written[2].startswith("*") or written[4].startswith("*")),
        times=_times(minutes, hours),
    )
    if not cron.fires():
        problem = f"{shorten(written[2])} never comes in the months {shorten(written[3])}"
        raise CronError(fields.DAY.name, written[2], problem, "Change the day or the month; as it is, it never fires.")
    return cron


def _split(text: str) -> list[str]:
    """The five fields of an expression or of the macro that it is.  Raises `CronError`."""
    if strange := re.search(r"[^\t -~]", text):
        problem = f"{shorten(text)} contains the character {shorten(strange.group())!r}"
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
    if all(re.fullmatch(r"[\d*/,\-?LW#]+|[A-Za-z,\-]{3,}", part) for part in written[:7]) and len(written) <= 7:
        mend = f"Write five: {FIVE_FIELDS}; seconds and years are not supported."
        return CronError(WHOLE, text, count, mend)
    return CronError(WHOLE, text, count, f"Write five: {FIVE_FIELDS}; the command belongs to the job.")


def _mask(kind: fields.FieldKind, items: tuple[Item, ...], hash_id: str | None) -> int:
    mask = 0
    for item in items:
        if isinstance(item, Hashed):
            if hash_id is None:
                mend = "Give the id of a schedule, or write a number."
                raise CronError(kind.name, "H", "H is spread by the id of a schedule, and there is none here", mend)
            item = item.resolve(kind, hash_id)
        if isinstance(item, Values):
            mask |= item.mask()
    return mask


def _times(minutes: int, hours: int) -> int:
    return sum(minutes << 60 * hour for hour in range(24) if hours >> hour & 1)


def _lowest(bits: int) -> int:
    """The place of the lowest bit that is set; there must be one."""
    return (bits & -bits).bit_length() - 1


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
