"""A cron expression in plain English: "Every day at 02:30", "At 09:00 on Monday to Friday"."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from schedmgr.core.cron.expression import Cron, parse
from schedmgr.core.cron.fields import LAST_WEEK, Item, Weekday, first_hashed
from schedmgr.core.cron.phrases import COUNTED, FIXED, MONTHS, WEEKDAYS, bits, join, list_runs, name_runs, ordinal
from schedmgr.core.cron.time_words import time_words

_MONDAY_FIRST = (1, 2, 3, 4, 5, 6, 7)
_ALL_DAYS, _ALL_WEEKDAYS, _ALL_MONTHS = (1 << 32) - 2, 0b1111111, (1 << 13) - 2
_FEBRUARY = 1 << 2
_ORDINALS = [ordinal(number) for number in range(32)]
_LISTED = 4  # days that are listed one by one where there is a shorter way


class _DayWords(NamedTuple):
    """The days in words, such as "on Monday"; `lead` comes first in "every year on 1 January at 00:00"."""

    text: str
    lead: str = ""
    after_time: bool = False
    """Whether they stand after a time, as in "at 09:00 on Monday", rather than before it."""


def describe(cron: str, *, hash_id: str | None = None) -> str:
    """The expression in plain English, without a full stop.

    Without a `hash_id`, what `H` will become is "fixed by its id"; with one, it is named.  Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id or "")
    items = expression.items if hash_id is None else ((),) * 5
    times = time_words(bits(expression.minutes), bits(expression.hours), items[0], items[1])
    days = _days(expression, items)
    if times.is_interval or days.after_time:
        words = f"{times.text} {days.text.rstrip(',')}"
    else:
        words = f"{days.lead} {days.text} {times.text}"
    sentence = " ".join(words.split())
    return sentence[0].upper() + sentence[1:]


def _days(cron: Cron, items: Sequence[Sequence[Item]]) -> _DayWords:
    """The words for the two day fields and the months."""
    any_number = cron.days == _ALL_DAYS
    any_weekday = cron.weekdays == _ALL_WEEKDAYS
    months = _months(cron, items[3])
    in_months = f"in {months}" if months else ""
    if (any_number and any_weekday) or (cron.either_day and (any_number or any_weekday)):
        return _DayWords(in_months, "every day")
    weekdays = weekday_words(cron, items[4])
    if any_number:
        return _DayWords(f"on {weekdays} {in_months}", after_time=not cron.monthly_weekdays)
    if any_weekday:
        return _dates(cron, items, months)
    numbers = _numbers(cron, items[2], "the month")
    opening = f"{in_months}," if months else ""
    if cron.either_day:
        return _DayWords(f"{opening} on {numbers} and also on {weekdays},")
    return _DayWords(f"{opening} on {weekdays}, if that is {numbers},")


def _dates(cron: Cron, items: Sequence[Sequence[Item]], months: str) -> _DayWords:
    one_a_year = cron.days.bit_count() == cron.months.bit_count() == 1 and not cron.last_day
    if not one_a_year or first_hashed((*items[2], *items[3])):
        return _DayWords(f"on {_numbers(cron, items[2], months or 'the month')}")
    (day,) = bits(cron.days)
    leap = day == 29 and cron.months == _FEBRUARY
    return _DayWords(f"on {day} {months}", f"every {'leap ' if leap else ''}year")


def _numbers(cron: Cron, items: Sequence[Item], month: str) -> str:
    """The days of a month: "the 1st and 15th of May", "the last day of the month", "every 2nd day of the month"."""
    if hashed := first_hashed(items):
        if hashed.step:
            return f"every {ordinal(hashed.step)} day of {month} from one {FIXED}"
        return f"a day of {month}" if month.endswith(FIXED) else f"a day of {month} {FIXED}"
    numbers = bits(cron.days)
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if len(numbers) > _LISTED and len(steps) == 1 and steps != {1} and not cron.last_day:
        step = steps.pop()
        until = "" if numbers[-1] + step > 31 else f" to the {ordinal(numbers[-1])}"
        return f"every {ordinal(step)} day of {month} from the {ordinal(numbers[0])}{until}"
    return f"the {join(name_runs(numbers, _ORDINALS) + ['last day'] * cron.last_day)} of {month}"


def weekday_words(cron: Cron, items: Sequence[Item]) -> str:
    """The days of the week by name, Monday first."""
    if first_hashed(items):
        return f"a weekday {FIXED}"
    names = (*WEEKDAYS, WEEKDAYS[0])
    plain = [day for day in _MONDAY_FIRST if cron.weekdays >> day % 7 & 1]
    parts = [list_runs(plain, names)] if plain else []
    return join(parts + [_monthly_weekday(item) for item in cron.monthly_weekdays])


def _monthly_weekday(item: Weekday) -> str:
    which = "last" if item.week == LAST_WEEK else COUNTED[item.week - 1]
    return f"the {which} {WEEKDAYS[item.day]} of the month"


def _months(cron: Cron, items: Sequence[Item]) -> str:
    """The months by name; empty for all of them."""
    if first_hashed(items):
        return f"a month {FIXED}"
    if cron.months == _ALL_MONTHS:
        return ""
    return list_runs(bits(cron.months), ("", *MONTHS))
