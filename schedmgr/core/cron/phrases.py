"""The small pieces of English that the sentences about cron are made of."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
FIXED = "fixed by its id"  # what `H` becomes, as long as no id is known
COUNTED = ("first", "second", "third", "fourth", "fifth")


def join(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)


def ordinal(number: int) -> str:
    """ "1st", "2nd", "13th"."""
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def clock(minute_of_day: int) -> str:
    """ "02:30"."""
    return f"{minute_of_day // 60:02}:{minute_of_day % 60:02}"


def clocks(minutes_of_day: Sequence[int]) -> str:
    """The times one by one, or the first and the last if they are many."""
    if len(minutes_of_day) <= 4:
        return join([clock(minute) for minute in minutes_of_day])
    return f"{clock(minutes_of_day[0])} to {clock(minutes_of_day[-1])}"


def short_date(day: date) -> str:
    """ "Sun 25 Oct"."""
    return f"{WEEKDAYS[day.isoweekday() % 7][:3]} {day.day} {MONTHS[day.month - 1][:3]}"


def duration(length: timedelta) -> str:
    """ "hour", "half hour", "2 hours", "45 minutes", "day": what follows "the missing"."""
    seconds = int(length.total_seconds())
    named = {1800: "half hour", 3600: "hour", 86_400: "day"}
    if seconds in named:
        return named[seconds]
    if seconds % 60:
        return f"{seconds} seconds"
    return f"{seconds // 3600} hours" if seconds % 3600 == 0 else f"{seconds // 60} minutes"


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def list_runs(numbers: Iterable[int], names: Sequence[str]) -> str:
    """ "a, c and e to g": names of the numbers, three or more in a row as one."""
    return join(name_runs(numbers, names))


def name_runs(numbers: Iterable[int], names: Sequence[str]) -> list[str]:
    """The parts of `list_runs`."""
    parts: list[str] = []
    for first, last in runs(numbers):
        parts += [f"{names[first]} to {names[last]}"] if last - first > 1 else names[first : last + 1]
    return parts


def bits(mask: int) -> list[int]:
    """The numbers whose bits are set, ascending."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]
