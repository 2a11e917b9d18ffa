"""The minute and hour fields in plain English: either a list of times, or an interval with its window."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from schedmgr.core.cron.fields import Hashed, Item, first_hashed
from schedmgr.core.cron.phrases import FIXED, clock, join, list_runs, ordinal, runs

_LISTED = 4  # times that are listed one by one where there is a shorter way
_MANY = 8  # times that are too many for a list
_WINDOWS = 3  # windows that are given by their clock times

_NUMBERS = [str(number) for number in range(60)]


class TimeWords(NamedTuple):
    """When in a day: "at 02:30" (`is_interval` false) or "every 5 minutes"."""

    text: str
    is_interval: bool


def time_words(
    minutes: Sequence[int], hours: Sequence[int], minute_items: Sequence[Item], hour_items: Sequence[Item]
) -> TimeWords:
    """The words for these minutes and hours; the items tell what an id is still to decide."""
    minute, hour = first_hashed(minute_items), first_hashed(hour_items)
    if minute or hour:
        return _hashed_words(minute, hour, minutes, hours)
    if len(minutes) == 1 and _goes_round(hours, 24):
        return _round_the_clock(minutes[0], hours)
    if len(minutes) * len(hours) <= _LISTED:
        return TimeWords(f"at {join([clock(60 * hour + minute) for hour in hours for minute in minutes])}", False)
    if len(minutes) == 1:
        return _hourly(minutes[0], hours)
    if len(hours) == 24:
        return TimeWords(_within_hour(minutes, " each hour"), True)
    return TimeWords(f"{_within_hour(minutes, '')}{_window(minutes, hours)}", True)


def _round_the_clock(minute: int, hours: Sequence[int]) -> TimeWords:
    """Once every so many hours, day and night."""
    every = "every hour" if len(hours) == 24 else f"every {24 // len(hours)} hours"
    if hours[0]:
        return TimeWords(f"{every} from {clock(60 * hours[0] + minute)}", True)
    return TimeWords(f"{every} at {minute} past" if minute else every, True)


def _hourly(minute: int, hours: Sequence[int]) -> TimeWords:
    """Once in each of several hours."""
    times = [clock(60 * hour + minute) for hour in hours]
    step = _even_step(hours)
    if step is None and len(times) > _MANY:
        return TimeWords(f"every hour{_window([minute], hours)}", True)
    if step is None:
        return TimeWords(f"at {join(times)}", False)
    every = "every hour" if step == 1 else f"every {step} hours"
    return TimeWords(f"{every} from {times[0]} to {times[-1]}", True)


def _within_hour(minutes: Sequence[int], each_hour: str) -> str:
    """Several times in an hour; `each_hour` is empty when a window follows, which tells where they start and end."""
    first, last = minutes[0], minutes[-1]
    step = _even_step(minutes)
    if step is None or (len(minutes) == 2 and step != 30):
        return f"at {list_runs(minutes, _NUMBERS)} past each hour"
    every = "every minute" if step == 1 else f"every {step} minutes"
    if _goes_round(minutes, 60):
        return f"{every} from {first} past" if first and each_hour else every
    if last + step >= 60 and not first:
        return f"{every} within each hour"
    return f"{every} from {first} to {last} past{each_hour}"


def _window(minutes: Sequence[int], hours: Sequence[int]) -> str:
    stretches = [(60 * first + minutes[0], 60 * last + minutes[-1]) for first, last in runs(hours)]
    if len(stretches) > _WINDOWS:
        return _hours(hours)
    windows = [f"from {clock(a)} to {clock(b)}" if a < b else f"at {clock(a)}" for a, b in stretches]
    return f"{'' if _goes_round(minutes, 60) or len(minutes) == 1 else ','} {join(windows)}"


def _hours(hours: Sequence[int]) -> str:
    """The hours within which something happens; empty for all."""
    if len(hours) == 24:
        return ""
    if _goes_round(hours, 24):
        return f" in every {ordinal(24 // len(hours))} hour from {clock(60 * hours[0])}"
    return f" in the hours {list_runs(hours, _NUMBERS)}"


def _even_step(numbers: Sequence[int]) -> int | None:
    """The step between them if it is always the same."""
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return steps.pop() if len(steps) == 1 else None


def _goes_round(numbers: Sequence[int], size: int) -> bool:
    """Whether three or more are evenly spaced all round the clock's face; or two, half an hour apart."""
    step = _even_step(numbers)
    return step is not None and numbers[-1] + step == size + numbers[0] and (len(numbers) > 2 or size == 60)


def _hashed_words(
    minute: Hashed | None, hour: Hashed | None, minutes: Sequence[int], hours: Sequence[int]
) -> TimeWords:
    """What can be said before an id decides."""
    if minute and minute.step:
        window = f" in an hour {FIXED}" if hour else _hours(hours)
        return TimeWords(f"every {minute.step} minutes from a minute {FIXED}{window}", True)
    if hour and hour.step:
        past = "" if minute else f" at {list_runs(minutes, _NUMBERS)} past"
        return TimeWords(f"every {hour.step} hours{past} from {'a time' if minute else 'an hour'} {FIXED}", True)
    if minute is None:
        return TimeWords(f"at {list_runs(minutes, _NUMBERS)} past an hour {FIXED}", False)
    if hour or len(hours) == 1:
        return TimeWords(f"at a time{_between(minute, hour, hours[0])} {FIXED}", False)
    if len(hours) == 24 or (_goes_round(hours, 24) and hours[0] == 0):
        every = "every hour" if len(hours) == 24 else f"every {24 // len(hours)} hours"
        return TimeWords(f"{every} at a minute {FIXED}", True)
    return TimeWords(f"at a minute {FIXED}{_hours(hours)}", True)


def _between(minute: Hashed, hour: Hashed | None, only_hour: int) -> str:
    first, last = (hour.low, hour.high) if hour else (only_hour, only_hour)
    if (first, last, minute.low, minute.high) == (0, 23, 0, 59):
        return ""
    return f" between {clock(60 * first + minute.low)} and {clock(60 * last + minute.high)}"
