"""A cron expression in plain English: "Every day at 02:30", "At 09:00 on Monday to Friday"."""

from collections.abc import Sequence
from itertools import pairwise

from schedmgr.core.cron_expression import Cron, parse
from schedmgr.core.cron_fields import LAST_WEEK, Hashed, Item, Weekday
from schedmgr.core.cron_phrases import COUNTED, MONTHS, WEEKDAYS, bits, join, list_runs, ordinal, runs
from schedmgr.core.cron_time_words import time_words

_MONDAY_FIRST = (1, 2, 3, 4, 5, 6, 7)
_EVERY_DAY, _EVERY_WEEKDAY, _EVERY_MONTH = (1 << 32) - 2, 0b1111111, (1 << 13) - 2
_FEBRUARY = 2


def describe(cron: str, *, hash_id: str | None = None) -> str:
    """The expression in plain English, without a full stop.

    Without a `hash_id`, what `H` will become is "fixed by its id"; with one, it is named.  Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id or "")
    items = expression.items if hash_id is None else ((),) * 5
    times = time_words(bits(expression.minutes), bits(expression.hours), items)
    days, is_weekly = _days(expression, items)
    if times.is_interval:
        sentence = f"{times.text} {days}"
    elif not days or days.startswith("in "):
        sentence = f"every day {days} {times.text}"
    elif is_weekly:
        sentence = f"{times.text} {days}"
    else:
        sentence = f"{days} {times.text}"
    sentence = " ".join(sentence.split())
    return sentence[0].upper() + sentence[1:]


def _days(cron: Cron, items: Sequence[Sequence[Item]]) -> tuple[str, bool]:
    """The words for the two day fields and the month, and whether they speak of the days of the week alone.

    Empty for every day of the year.
    """
    any_number = cron.days == _EVERY_DAY
    any_weekday = cron.weekdays == _EVERY_WEEKDAY
    months = _months(cron, items[3] if items[3:] else ())
    in_months = f"in {months}" if months else ""
    if (any_number and any_weekday) or (cron.either_day and (any_number or any_weekday)):
        return in_months, False
    if any_number:
        weekdays = _weekdays(cron, items[4])
        return f"on {weekdays} {in_months}", not cron.monthly_weekdays
    if any_weekday:
        return _dates(cron, items, months), False
    numbers, weekdays = _numbers(cron, items[2]), _weekdays(cron, items[4])
    if cron.either_day:
        return f"on {numbers} of {months or 'the month'} and also on {weekdays} {in_months},", False
    return f"on {weekdays}, if that is {numbers} of {months or 'the month'},", False


def _dates(cron: Cron, items: Sequence[Sequence[Item]], months: str) -> str:
    numbers = bits(cron.days)
    hashed = any(isinstance(item, Hashed) for field in items[2:4] for item in field)
    if len(numbers) == 1 and cron.months.bit_count() == 1 and not cron.last_day and not hashed:
        leap = numbers == [29] and cron.months == 1 << _FEBRUARY
        return f"every {'leap ' if leap else ''}year on {numbers[0]} {months}"
    return f"on {_numbers(cron, items[2])} of {months or 'the month'}"


def _numbers(cron: Cron, items: Sequence[Item]) -> str:
    """The days of a month: "the 1st and 15th", "the last day", "every 2nd day from the 1st"."""
    if hashed := next((item for item in items if isinstance(item, Hashed)), None):
        return f"every {ordinal(hashed.step)} day from one fixed by its id" if hashed.step else "a day fixed by its id"
    numbers = bits(cron.days)
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if len(numbers) > 4 and len(steps) == 1 and steps != {1} and not cron.last_day:
        until = "" if numbers[-1] + max(steps) > 31 else f" to the {ordinal(numbers[-1])}"
        return f"every {ordinal(steps.pop())} day from the {ordinal(numbers[0])}{until}"
    parts = [ordinal(a) if a == b else f"{ordinal(a)} to {ordinal(b)}" for a, b in _split_pairs(runs(numbers))]
    return "the " + join(parts + ["last day"] * cron.last_day)


def _split_pairs(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Two in a row are two, not a range."""
    split: list[tuple[int, int]] = []
    for first, last in stretches:
        split += [(first, first), (last, last)] if last == first + 1 else [(first, last)]
    return split


def _weekdays(cron: Cron, items: Sequence[Item]) -> str:
    if any(isinstance(item, Hashed) for item in items):
        return "a weekday fixed by its id"
    names = (*WEEKDAYS, WEEKDAYS[0])
    plain = [day for day in _MONDAY_FIRST if cron.weekdays >> day % 7 & 1]
    parts = [list_runs(plain, names)] if plain else []
    return join(parts + [_monthly_weekday(item) for item in cron.monthly_weekdays])


def _monthly_weekday(item: Weekday) -> str:
    which = "last" if item.week == LAST_WEEK else COUNTED[item.week - 1]
    return f"the {which} {WEEKDAYS[item.day]} of the month"


def _months(cron: Cron, items: Sequence[Item]) -> str:
    if any(isinstance(item, Hashed) for item in items):
        return "a month fixed by its id"
    if cron.months == _EVERY_MONTH:
        return ""
    return list_runs(bits(cron.months), ("", *MONTHS))
