"""The five fields of a cron expression explained one by one, for whoever is writing one."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from schedmgr.core.cron.expression import Cron, parse, split
from schedmgr.core.cron.fields import DAY, HOUR, KINDS, WEEKDAY, FieldKind, Item, first_hashed
from schedmgr.core.cron.phrases import FIXED, MONTHS, bits, join, name_runs, ordinal
from schedmgr.core.cron.words import weekday_words

_LISTED = 4  # values that are listed one by one where there is a shorter way

_UNITS = {"Minute": "minute", "Hour": "hour", "Day of month": "day", "Month": "month", "Day of week": "day"}
_NUMBERS = [str(number) for number in range(60)]
_ORDINALS = [ordinal(number) for number in range(32)]


class FieldWords(NamedTuple):
    """A field: its name ("Minute"), what is written in it ("*/5") and what that means ("every 5th minute ...")."""

    name: str
    text: str
    meaning: str


def explain_fields(cron: str, *, hash_id: str | None = None) -> tuple[FieldWords, ...]:
    """The five fields of an expression, each explained; those that a macro stands for.

    What `H` will become is named if a `hash_id` is given.  Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id or "")
    masks = expression.minutes, expression.hours, expression.days, expression.months, expression.weekdays
    items = expression.items if hash_id is None else ((),) * 5
    explained = zip(KINDS, split(cron), masks, items, strict=True)
    return tuple(
        FieldWords(kind.name, text, _meaning(expression, kind, mask, own)) for kind, text, mask, own in explained
    )


def _meaning(cron: Cron, kind: FieldKind, mask: int, items: Sequence[Item]) -> str:
    unit = _UNITS[kind.name]
    if mask.bit_count() == kind.size:
        return f"every {unit}"
    if kind is WEEKDAY:
        return weekday_words(cron, items)
    if hashed := first_hashed(items):
        one = "an hour" if kind is HOUR else f"a {unit}"
        return f"every {ordinal(hashed.step)} {unit} from one {FIXED}" if hashed.step else f"{one} {FIXED}"
    return _values(kind, unit, bits(mask), last_day=kind is DAY and cron.last_day)


def _values(kind: FieldKind, unit: str, values: Sequence[int], *, last_day: bool) -> str:
    names = {"Day of month": _ORDINALS, "Month": ("", *MONTHS)}.get(kind.name, _NUMBERS)
    steps = {later - earlier for earlier, later in pairwise(values)}
    if len(values) > _LISTED and len(steps) == 1 and steps != {1} and not last_day:
        return f"every {ordinal(*steps)} {unit} from {names[values[0]]} to {names[values[-1]]}"
    parts = name_runs(values, names) + ["last day"] * last_day
    before = {"Day of month": "the ", "Month": ""}.get(kind.name, f"{unit}{'s' * (len(values) > 1)} ")
    return before + join(parts)
