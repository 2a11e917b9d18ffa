"""What is wrong with a cron expression, said in a sentence that names the field, the value and the mend."""

import re
from typing import Protocol

from schedmgr.errors import SchedmgrError

WHOLE = "Cron expression"
"""The `field` of an error that concerns no single one of the five."""

FIVE_FIELDS = "minute, hour, day of month, month, day of week"

_SHOWN = 40  # characters of a user's value that an error repeats


class CronError(ValueError, SchedmgrError):
    """A cron expression or time zone that cannot be used.

    The text reads "Minute: 61 is too high. Minute goes from 0 to 59."; `field` is "Minute", `value` what was written
    (shortened if long), `mend` the last sentence.
    """

    def __init__(self, field: str, value: str, problem: str, mend: str) -> None:
        # All four go into `args`, so that the error survives the trip from the child that loads definitions.
        super().__init__(field, shorten(value), problem, mend)
        self.field = field
        self.value = shorten(value)
        self.problem = problem
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}. {self.mend}"


class Kind(Protocol):
    """What an explanation needs to know of a field."""

    @property
    def name(self) -> str:
        """The field's name, as in "Day of month"."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that stand for its values."""

    @property
    def limits(self) -> str:
        """The sentence that says which values it takes."""


def shorten(value: str) -> str:
    """The value as an error shows it: bounded, and without characters that could upset a terminal."""
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)


# Forms of other cron dialects and slips of the keyboard, the most telling first.  The mend follows the problem.
_MISTAKES: tuple[tuple[str, str, str], ...] = (
    (r".*\?.*", "? is not supported", "Write * for any value."),
    (
        r"R(\(.*|/.*)?",
        "R (a random value) is not supported",
        "Write H, which spreads schedules as well but stays the same from run to run.",
    ),
    (r".*W", "{part} (the nearest weekday) is not supported", "Write the day itself, or 1-5 in day of week."),
    (r"H.*|.*-H", "{part} is not a form of H", "Write H, H(0-29), H/15 or H(0-29)/15."),
    (r".*\*.*", "{part} is not understood", "* stands alone or before a step, as in */5."),
    (r"-\d+", "{part} is too low", "{limits}"),
    (r"\d+[.]\d*", "{part} is not a whole number", "{limits}"),
    (r".*/.*/.*", "{part} has two steps", "Write one, as in 0-30/5."),
    (r".*/", "the step after / is missing", "Write one, as in */5."),
    (r"/.*", "{part} does not say where to start", "Write *{part} to start at the beginning."),
    (r"[^-]*-[^-]*-.*", "{part} is a range with three ends", "Write two, as in 1-5."),
    (r".*-(/.*)?", "the end of the range {part} is missing", "Write both ends, as in 1-5."),
)

_MISPLACED = {
    "Day of month": (
        (r"L-\d+", "{part} (days before the last) is not supported", "Write L for the last day of the month."),
        (
            r"(\d*|\w{3})L\d?",
            "{part} does not belong here",
            "Write L for the last day; 5L (the last Friday) goes in day of week.",
        ),
        (r".*#.*", "{part} does not belong here", "Forms such as 5#2 (the second Friday) go in day of week."),
    ),
    "Day of week": (
        (r"L", "L does not say which day", "Write 5L for the last Friday of the month."),
        (r"L\d", "{part} is the wrong way round", "Write the day first: 5L is the last Friday of the month."),
        (r".*#.*", "{part} is not understood", "Write 5#2 for the second Friday of the month."),
        (r".*L.*", "{part} is not understood", "Write 5L for the last Friday of the month."),
    ),
}
_MISPLACED_ELSEWHERE = (
    (r"(\d*|\w{3})L\d?", "{part} does not belong here", "L goes in day of month, 5L (the last Friday) in day of week."),
    (r".*#.*", "{part} does not belong here", "Forms such as 5#2 (the second Friday) go in day of week."),
)


def explain_item(kind: Kind, part: str, text: str, value: str | None = None) -> CronError:
    """The error for an item that is no item: `part` of the field `text`; `value` is the word in it that is unknown."""
    if not part:
        problem = f"a value is missing in {shorten(text)}" if text else "it is empty"
        return CronError(kind.name, text, problem, "Put one value between two commas and none at the ends.")
    if value is not None and (meant := _nearest_name(kind, value)):
        return CronError(kind.name, value, f"{shorten(value)} is not a name cron knows", f"Did you mean {meant}?")
    for pattern, problem, mend in (*_MISPLACED.get(kind.name, _MISPLACED_ELSEWHERE), *_MISTAKES):
        if re.fullmatch(pattern, part, re.IGNORECASE):
            facts = {"part": shorten(part), "limits": kind.limits}
            return CronError(kind.name, part, problem.format(**facts), mend.format(**facts))
    names = f" Its names are {kind.names[0]} to {kind.names[-1]}." if kind.names else ""
    return CronError(kind.name, value or part, f"{shorten(value or part)} is not understood", kind.limits + names)


def _nearest_name(kind: Kind, value: str) -> str | None:
    """The name that a longer or mistyped word begins like: JANUARY and JAM are JAN."""
    word = value.upper()
    if not word.isalpha() or len(word) < 3:
        return None
    by_length = (name for length in (3, 2) for name in kind.names if name[:length] == word[:length])
    return next(by_length, None)
