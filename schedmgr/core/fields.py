"""What one field of a definition may hold.

A rule takes what a person wrote and returns the value as it is kept: immutable, and the same when it goes through the
rule again.  It raises Mistake, whose text says how to mend it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

from schedmgr.core.problems import did_you_mean, listed, shown

Rule: TypeAlias = Callable[[object], object]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""${NAME}: filled from the worker's environment when the job runs."""

RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LONGEST_TEXT = 100_000  # the system takes no longer argument of a command
DAY = 86_400

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ADDRESS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Mistake(Exception):
    """A value that a field cannot hold.  Its text is the mend.

    `shown` is what to show instead of the value: a mapping's key only, since its value may be a secret.
    """

    def __init__(self, mend: str, *, shown: str | None = None) -> None:
        super().__init__(mend)
        self.mend = mend
        self.shown = shown


def name(value: object) -> str:
    """A name or an id."""
    if isinstance(value, str) and NAME.fullmatch(value):
        return value
    raise Mistake(
        "A name has 1 to 100 of a-z, 0-9, dot, dash and underscore, and starts with a letter or a digit"
        f"{_nearest_name(value)}."
    )


def _nearest_name(value: object) -> str:
    slug = re.sub(r"[^a-z0-9._-]+", "-", value.lower())[:100].strip("-._") if isinstance(value, str) else ""
    return f", like '{slug}'" if slug else ""


def text(limit: int = LONGEST_TEXT, *, placeholders: bool = False) -> Callable[[object], str]:
    """Text up to a length, perhaps with ${NAME} in it."""

    def rule(value: object) -> str:
        if not isinstance(value, str):
            raise Mistake("Write text in quotes.")
        if len(value) > limit:
            raise Mistake(f"{len(value):,} characters are too many. At most {limit:,} are allowed.")
        if "\0" in value:
            raise Mistake("Take the NUL character out.")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Mistake("Take the half of a surrogate pair out: it is no character.")
        if placeholders:
            _check_placeholders(value)
        return value

    return rule


def _check_placeholders(value: str) -> None:
    if "${" in PLACEHOLDER.sub("", value):
        raise Mistake("'${' must begin a ${NAME} of letters, digits and underscores, which the environment fills.")


def filled_text(value: object) -> str:
    """Text that is not empty, such as a cron expression."""
    if isinstance(value, str) and value.strip():
        return text(1000)(value)
    raise Mistake("Write text in quotes; it must not be empty.")


def whole(least: int, most: int, unit: str = "") -> Rule:
    """A whole number from `least` to `most`.  A float without a fraction counts; True does not."""

    def rule(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Mistake(f"Write a whole number{unit} from {least:,} to {most:,}.")
        return value

    return rule


def seconds(most: int, *, zero: bool = False) -> Rule:
    """A span in seconds, kept as a whole number where it is one."""
    least = "0 or more" if zero else "more than 0"

    def rule(value: object) -> float:
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
        if not 0 <= number <= most or (number == 0 and not zero):
            raise Mistake(f"Write a number of seconds, {least} and at most {most:,}.")
        return int(number) if float(number).is_integer() else number

    return rule


def one_of(words: type[StrEnum]) -> Rule:
    """A word of the vocabulary: the member, or its text."""

    def rule(value: object) -> StrEnum:
        for word in words:
            if value == word:
                return word
        options = [word.value for word in words]
        near = did_you_mean(_same_case(value, options[0]), options)
        raise Mistake(f"Use {listed(repr(option) for option in options)}.{near}")

    return rule


def _same_case(value: object, example: str) -> object:
    if not isinstance(value, str):
        return value
    return value.upper() if example.isupper() else value.lower()


def several(item: Rule, example: str) -> Rule:
    """A list whose items each keep a rule; kept as a tuple.  One text alone is a list that lost its brackets."""

    def rule(value: object) -> tuple[object, ...]:
        if isinstance(value, str):
            raise Mistake(f"Write a list: [{shown(value)}].")
        if not isinstance(value, list | tuple | set | frozenset):
            raise Mistake(f"Write a list, for example {example}.")
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        kept = tuple(_kept(item, part) for part in items)
        return tuple(dict.fromkeys(kept))

    return rule


def _kept(rule: Rule, part: object) -> object:
    try:
        return rule(part)
    except Mistake as mistake:
        raise Mistake(mistake.mend, shown=shown(part)) from None


def command(value: object) -> str | tuple[str, ...]:
    """A line for the shell, or a list: a program and its arguments."""
    if isinstance(value, str):
        if value.strip():
            return text()(value)
        raise Mistake("Write the program to run.")
    if not isinstance(value, list | tuple) or not value:
        raise Mistake("Write a list such as ['python', 'feeds.py'], or one line of text for the shell.")
    words = tuple(_kept(_command_word, word) for word in value)
    if not words[0]:
        raise Mistake("The first word is the program to run; it must not be empty.")
    return tuple(str(word) for word in words)


def _command_word(value: object) -> object:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return text()(value)
    raise Mistake("Each part of a command is text: put it in quotes, or write str(...) around it.")


def path(value: object) -> str:
    """A folder, as text or as a Path."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value:
        return text(4096)(value)
    raise Mistake("Write the path of a folder, as text or as a Path.")


def call(value: object) -> str:
    """A function, or the text that addresses one; kept as the text "module:function"."""
    if isinstance(value, str):
        if _ADDRESS.fullmatch(value):
            return value
        raise Mistake("Write 'module:function', for example 'billing.sync:sync_accounts'.")
    if not callable(value):
        raise Mistake("Give a function, or its address as text: 'module:function'.")
    return _address(value)


def _address(function: Callable[..., object]) -> str:
    """Where a worker finds the function again, in a process that imports the definitions anew."""
    module, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    address = f"{module}:{qualified}"
    if not _ADDRESS.fullmatch(address) or getattr(function, "__self__", None) is not None:
        mend = "Give a function that stands in a module by its name: a worker imports it again to call it."
        raise Mistake(mend, shown=str(qualified) or None)
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        raise Mistake(
            "A job's function is called as it is; write a plain one with asyncio.run(...) in it.", shown=address
        )
    if code is not None and _needs_arguments(function):
        raise Mistake("A job's function is called without arguments: give each parameter a default.", shown=address)
    return address


_COROUTINE = (
    0x80 | 0x200
)  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR; importing inspect costs more than all of this file


def _needs_arguments(function: Callable[..., object]) -> bool:
    import inspect

    parameters = inspect.signature(function).parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(each.default is each.empty and each.kind not in optional for each in parameters)


def url(value: object) -> str:
    """An http or https address.  Any part of it may be a ${NAME}."""
    if not isinstance(value, str) or not value:
        raise Mistake("Write the address, for example 'https://app.example.com/warm'.")
    text(placeholders=True)(value)
    if re.search(r"[\s\x00-\x1f\x7f]", value):
        raise Mistake("An address has no spaces in it; write %20.")
    if not PLACEHOLDER.match(value):
        _check_address(PLACEHOLDER.sub("1", value))  # "1" will do for a host and for a port
    return value


def _check_address(address: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Mistake(f"This is no address: {error}.") from None
    if parts.scheme not in ("http", "https"):
        raise Mistake("An address starts with http:// or https://.")
    if not host:
        raise Mistake("The host is missing: write https://HOST/...")


def method(value: object) -> str:
    """An HTTP method, in capitals."""
    if isinstance(value, str) and value.upper() in METHODS:
        return value.upper()
    raise Mistake(f"Use {listed(METHODS)}.")


def statuses(value: object) -> tuple[int, ...]:
    """The HTTP statuses that count as success: one, or a list; empty means 200 to 299."""
    values = list(value) if isinstance(value, list | tuple | set | frozenset | range) else [value]
    known = [each for each in values if isinstance(each, int) and not isinstance(each, bool) and 100 <= each <= 599]
    if len(known) != len(values):
        raise Mistake("Write a status from 100 to 599, or a list of them, such as [200, 204].")
    return tuple(sorted(set(known)))


def variables(value: object) -> Mapping[str, str]:
    """Environment variables and their values."""
    return _mapping(value, _VARIABLE, "a variable's name has letters, digits and underscores", "{'LANG': 'C.UTF-8'}")


def headers(value: object) -> Mapping[str, str]:
    """HTTP headers and their values."""
    kept = _mapping(value, _HEADER, "a header's name has no spaces or colons", "{'Accept': 'application/json'}")
    for key, content in kept.items():
        if "\r" in content or "\n" in content:
            raise Mistake("A header's value stands on one line.", shown=repr(key))
    return kept


def _mapping(value: object, keys: re.Pattern[str], about_keys: str, example: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Mistake(f"Write names and values: {example}.", shown=f"<{type(value).__name__}>")
    for key, content in value.items():
        if not isinstance(key, str) or not keys.fullmatch(key):
            raise Mistake(f"{about_keys[0].upper()}{about_keys[1:]}.", shown=shown(key))
        try:
            text(placeholders=True)(content)
        except Mistake as mistake:
            raise Mistake(mistake.mend, shown=repr(key)) from None
    return dict(sorted(value.items()))


def instant(value: object) -> datetime:
    """An aware datetime, or the same in ISO 8601; kept in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Mistake("Write datetime(2026, 3, 1, tzinfo=UTC).") from None
    if not isinstance(value, datetime):
        raise Mistake("Write an instant: datetime(2026, 3, 1, tzinfo=UTC).")
    if value.utcoffset() is None:
        raise Mistake("Say in which zone it is: add tzinfo=UTC, or a ZoneInfo.")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Mistake("Write a year from 2 to 9998.") from None


def rate(value: object) -> str:
    """How many in which span: "10/minute"."""
    if isinstance(value, str) and RATE.fullmatch(value):
        return value
    raise Mistake(f"Write '10/second', '10/minute', '10/hour' or '10/day'.{_nearest_rate(value)}")


def _nearest_rate(value: object) -> str:
    spans = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
    found = (
        re.fullmatch(r"\s*([1-9][0-9]{0,8})\s*(?:/|per)\s*([smhd])[a-z]*\s*", value) if isinstance(value, str) else None
    )
    return f" Did you mean '{found[1]}/{spans[found[2]]}'?" if found else ""


def none_or(rule: Rule) -> Rule:
    """None, or what another rule allows."""
    return lambda value: None if value is None else rule(value)


def as_plain(value: object) -> object:
    """A kept value as JSON."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
