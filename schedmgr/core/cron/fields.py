"""The grammar of one cron field: its text becomes items, or a `CronError` that names field, value and mend.

A field is a list of items separated by commas.  An item is `*`, a value, a range `a-b`, any of these with a step
`/n` (a value with a step runs to the end of the field), or one of the special forms: `H`, `H(a-b)`, `H/n` and
`H(a-b)/n` in any field, `L` in day of month, `5L` and `5#2` in day of week.  Months and days of the week have names.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import NamedTuple

from schedmgr.core.cron.mistakes import CronError, explain_item, shorten

LAST_WEEK = 0
"""The `week` of a `Weekday` item that means the last such day of the month."""


@dataclass(frozen=True, slots=True, eq=False)
class FieldKind:
    """One of the five fields.

    It takes values from `low` to `high` and has `size` different ones (7 is 0 among the days of the week); a bare `H`
    becomes one of `low` to `hash_high`.
    """

    name: str
    low: int
    high: int
    size: int
    hash_high: int
    names: tuple[str, ...] = ()
    note: str = ""

    @property
    def limits(self) -> str:
        """The sentence that says which values the field takes."""
        return f"{self.name} goes from {self.low} to {self.high}{self.note}."


MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

MINUTE = FieldKind("Minute", 0, 59, 60, 59)
HOUR = FieldKind("Hour", 0, 23, 24, 23)
DAY = FieldKind("Day of month", 1, 31, 31, 28)  # a hashed day comes in every month
MONTH = FieldKind("Month", 1, 12, 12, 12, MONTH_NAMES)
WEEKDAY = FieldKind("Day of week", 0, 7, 7, 6, WEEKDAY_NAMES, " (0 and 7 are both Sunday)")
KINDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class Values(NamedTuple):
    """Every `step`-th value from `low` to `high`, both included."""

    low: int
    high: int
    step: int

    def mask(self) -> int:
        """The values as a set of bits."""
        return sum(1 << value for value in range(self.low, self.high + 1, self.step))


class Hashed(NamedTuple):
    """A value from `low` to `high` chosen by a hash; with a step, every `step`-th value from a hashed start on."""

    low: int
    high: int
    step: int | None

    def resolve(self, kind: FieldKind, hash_id: str) -> Values:
        """The values for the schedule of this id: the same in every process and for ever (see `spread`)."""
        if self.step is None:
            value = self.low + spread(kind, hash_id) % (self.high - self.low + 1)
            return Values(value, value, 1)
        reach = min(self.step, self.high - self.low + 1)
        return Values(self.low + spread(kind, hash_id) % reach, self.high, self.step)


class LastDay(NamedTuple):
    """`L` in day of month."""


class Weekday(NamedTuple):
    """`5#2` (the second Friday) or, with `LAST_WEEK`, `5L` (the last Friday of the month).  Sunday is 0."""

    day: int
    week: int


Item = Values | Hashed | LastDay | Weekday


def first_hashed(items: Iterable[Item]) -> Hashed | None:
    """The first item that an id decides, if there is one."""
    return next((item for item in items if isinstance(item, Hashed)), None)


class Field(NamedTuple):
    """A parsed field."""

    items: tuple[Item, ...]
    """As they are written."""
    values: int
    """Those that no id decides, as a set of bits."""

    def resolve(self, kind: FieldKind, hash_id: str | None) -> int:
        """All the values as a set of bits.  Raises `CronError` for `H` without a `hash_id`."""
        if not first_hashed(self.items):
            return self.values
        if hash_id is None:
            mend = "Give the id of a schedule, or write a number."
            raise CronError(kind.name, "H", "H is spread by the id of a schedule, and there is none here", mend)
        hashed = (item.resolve(kind, hash_id).mask() for item in self.items if isinstance(item, Hashed))
        return reduce(or_, hashed, self.values)


_PLAIN = re.compile(r"(?:(?P<star>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)
_HASHED = re.compile(r"H(?:\((?P<low>\w+)-(?P<high>\w+)\))?(?:/(?P<step>\w+))?", re.ASCII | re.IGNORECASE)
_WEEKDAY = re.compile(r"(?P<day>\w+?)(?:L|#(?P<week>\d+))", re.ASCII | re.IGNORECASE)


def spread(kind: FieldKind, hash_id: str) -> int:
    """A large number that depends on the schedule's id and the field alone.

    The first 8 bytes, big-endian, of SHA-256 over the id, a NUL and the field's name in lower case, in UTF-8.
    """
    digest = hashlib.sha256(f"{hash_id}\0{kind.name.lower()}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


@lru_cache(maxsize=4096)
def parse_field(kind: FieldKind, text: str) -> Field:
    """One field out of its text.  Raises `CronError`."""
    items = tuple([_parse_item(kind, part, text) for part in text.split(",")])
    return Field(items, reduce(or_, [item.mask() for item in items if isinstance(item, Values)], 0))


def _parse_item(kind: FieldKind, part: str, text: str) -> Item:
    if hashed := _HASHED.fullmatch(part):
        return _parse_hashed(kind, hashed)
    if kind is DAY and part in ("L", "l"):
        return LastDay()
    if kind is WEEKDAY and (weekday := _WEEKDAY.fullmatch(part)):
        return _parse_weekday(kind, weekday)
    plain = _PLAIN.fullmatch(part)
    if plain is None:
        raise explain_item(kind, part, text)
    return _parse_plain(kind, plain, part, text)


def _parse_plain(kind: FieldKind, match: re.Match[str], part: str, text: str) -> Values:
    star, low_text, high_text, step_text = match.group("star", "low", "high", "step")
    step = _parse_step(kind, step_text)
    if star:
        return Values(kind.low, kind.high, step)
    if high_text:
        return Values(*_parse_range(kind, low_text, high_text, part, text), step)
    low = _parse_value(kind, low_text, part, text)
    return Values(low, kind.high if step_text else low, step)


def _parse_hashed(kind: FieldKind, match: re.Match[str]) -> Hashed:
    low_text, high_text, step_text = match.group("low", "high", "step")
    low, high = kind.low, kind.hash_high
    if low_text:
        low, high = _parse_range(kind, low_text, high_text, match.group(), match.group())
    return Hashed(low, high, _parse_step(kind, step_text) if step_text else None)


def _parse_weekday(kind: FieldKind, match: re.Match[str]) -> Weekday:
    day_text, week_text = match.group("day", "week")
    day = _parse_value(kind, day_text, match.group(), match.group()) % 7
    if week_text is None:
        return Weekday(day, LAST_WEEK)
    if not 1 <= int(week_text) <= 5:
        raise CronError(
            kind.name,
            match.group(),
            f"{shorten(match.group())} asks for week {shorten(week_text)}",
            "The week after # goes from 1 to 5; write 5L for the last Friday of the month.",
        )
    return Weekday(day, int(week_text))


def _parse_range(kind: FieldKind, low_text: str, high_text: str, part: str, text: str) -> tuple[int, int]:
    low, high = (_parse_value(kind, value, part, text) for value in (low_text, high_text))
    if low > high:
        problem = f"the range {shorten(low_text)}-{shorten(high_text)} runs backwards"
        raise CronError(kind.name, part, problem, f"A range goes from low to high; write {_unfold(kind, low, high)}.")
    return low, high


def _unfold(kind: FieldKind, low: int, high: int) -> str:
    """What a range that runs backwards over the field's end is written like: 22-2 is 22-23,0-2."""
    first = 1 if kind is WEEKDAY else kind.low  # Sunday is already in the first part, as 7
    parts = [(low, kind.high)] + [(first, high)] * (first <= high)
    return ",".join(f"{start}-{end}" if start < end else f"{start}" for start, end in parts)


def _parse_value(kind: FieldKind, value: str, part: str, text: str) -> int:
    """A number within the field's limits, or one of its names."""
    if value.isdigit():
        number = int(value)
        if kind.low <= number <= kind.high:
            return number
        verdict = "too high" if number > kind.high else "too low"
        raise CronError(kind.name, value, f"{shorten(value)} is {verdict}", kind.limits)
    if value.upper() in kind.names:
        return kind.names.index(value.upper()) + kind.low
    raise explain_item(kind, part, text, value)


def _parse_step(kind: FieldKind, step: str | None) -> int:
    """A step that can step: the field's size at most, because `*/90` in the minutes would silently mean hourly."""
    if step is None:
        return 1
    problem = f"the step {shorten(step)} is not a number"
    if step.isdigit():
        if 1 <= int(step) <= kind.size:
            return int(step)
        problem = f"the step {shorten(step)} is too {'high' if int(step) else 'low'}"
    raise CronError(kind.name, step, problem, f"A step in {kind.name.lower()} goes from 1 to {kind.size}.")
