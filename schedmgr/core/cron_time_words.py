"""The minute and hour fields in plain English: either a list of times, or an interval with its window."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from schedmgr.core.cron_fields import Hashed, Item
from schedmgr.core.cron_phrases import clock, join, list_runs, ordinal, runs

_LISTED = 4  # times that are listed one by one where there is a shorter way
_WINDOWS = 3  # windows that are given by their clock times

_NUMBERS = [str(number) for number in range(60)]
_FIXED = "fixed by its id"


class TimeWords(NamedTuple):
    """When in a day: "at 02:30" (`is_interval` false) or "every 5 minutes"."""

    text: str
    is_interval: bool


def time_words(minutes: Sequence[int], hours: Sequence[int], items: Sequence[Sequence[Item]]) -> TimeWords:
    """The words for these minutes and hours; `items` are the two fields, to see what an id is still to decide."""
    hashed = [[item for item in field if isinstance(item, Hashed)] for field in items[:2]]
    if any(hashed):
        return _hashed_words(minutes, hours, hashed)
    if len(hours) < 24 and len(minutes) * len(hours) <= _LISTED:
        return TimeWords(f"at {join([clock(60 * hour + minute) for hour in hours for minute in minutes])}", False)
    if len(minutes) == 1:
        return _hourly(minutes[0], hours)
    return TimeWords(_within_hour(minutes, bounded=len(hours) < 24) + _window(minutes, hours), True)


def _hourly(minute: int, hours: Sequence[int]) -> TimeWords:
    """Once in each of several hours."""
    step = _even_step(hours)
    past = f" at {minute} past" if minute else ""
    if step is None:
        return TimeWords(f"at {join([clock(60 * hour + minute) for hour in hours])}", False)
    every = "every hour" if step == 1 else f"every {step} hours"
    if hours[-1] + step == 24 + hours[0]:
        from_first = f" from {clock(60 * hours[0] + minute)}" if hours[0] else past
        return TimeWords(every + from_first, True)
    return TimeWords(f"{every} from {clock(60 * hours[0] + minute)} to {clock(60 * hours[-1] + minute)}", True)


def _within_hour(minutes: Sequence[int], *, bounded: bool) -> str:
    """Several times in an hour; `bounded` when a window follows, which then tells the first and last minute."""
    first, last = minutes[0], minutes[-1]
    step = _even_step(minutes)
    if step is None:
        return f"{'' if bounded else 'every hour '}at {list_runs(minutes, _NUMBERS)} past"
    every = "every minute" if step == 1 else f"every {step} minutes"
    if last + step == 60 + first:
        return every + (f" from {first} past" if first and not bounded else "")
    if last + step >= 60 and not first:
        return f"{every} within each hour"
    return f"{every} from {first} to {last} past{' the hour' if bounded else ' each hour'}"


def _window(minutes: Sequence[int], hours: Sequence[int]) -> str:
    if len(hours) == 24:
        return ""
    stretches = runs(hours)
    if len(stretches) <= _WINDOWS:
        windows = [f"from {clock(60 * a + minutes[0])} to {clock(60 * b + minutes[-1])}" for a, b in stretches]
        return f"{'' if _even_step(minutes) else ','} {join(windows)}"
    return _hours(hours)


def _even_step(numbers: Sequence[int]) -> int | None:
    """The step between them if it is always the same."""
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return steps.pop() if len(steps) == 1 else None


def _hashed_words(minutes: Sequence[int], hours: Sequence[int], hashed: Sequence[Sequence[Hashed]]) -> TimeWords:
    """What can be said before an id decides."""
    of_minute, of_hour = (items[0] if items else None for items in hashed)
    if of_minute is None:
        return TimeWords(f"at {list_runs(minutes, _NUMBERS)} past {_hashed_hour(of_hour)}", False)
    if of_minute.step:
        window = f" in {_hashed_hour(of_hour)}" if of_hour else _hours(hours)
        return TimeWords(f"every {of_minute.step} minutes from a minute {_FIXED}{window}", True)
    if of_hour and of_hour.step:
        return TimeWords(f"at a minute {_FIXED} past {_hashed_hour(of_hour)}", False)
    if of_hour or len(hours) == 1:
        first, last = (of_hour.low, of_hour.high) if of_hour else (hours[0], hours[0])
        between = f" between {clock(60 * first + of_minute.low)} and {clock(60 * last + of_minute.high)}"
        whole_day = (of_minute.low, of_minute.high, first, last) == (0, 59, 0, 23)
        return TimeWords(f"at a time{'' if whole_day else between} {_FIXED}", False)
    return TimeWords(f"every hour at a minute {_FIXED}{_hours(hours)}", True)


def _hashed_hour(hour: Hashed | None) -> str:
    if hour is None or hour.step is None:
        return f"an hour {_FIXED}"
    return f"every {ordinal(hour.step)} hour from one {_FIXED}"


def _hours(hours: Sequence[int]) -> str:
    return f" in the hours {list_runs(hours, _NUMBERS)}" if len(hours) < 24 else ""
