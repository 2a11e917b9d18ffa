"""Constructors that never raise: what is wrong with a call is noted, with the file and the line where it stands."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from schedmgr.core.fields import Mistake, Rule, as_plain
from schedmgr.core.problems import JSON, Place, Problem, did_you_mean, one_line, relative, shown

Defined = TypeVar("Defined", bound="Definition")

_NOT_USERS = ("schedmgr.core.", "dataclasses")  # modules whose frames are passed over; replace() is in the latter


@dataclass(frozen=True, init=False)
class Definition:
    """What a job, a schedule and a group share: how they are constructed, and their form as JSON.

    A subclass is a frozen dataclass.  Its first field names it; each value goes through the field's rule.
    """

    KIND: ClassVar[str]
    RULES: ClassVar[Mapping[str, Rule]]
    place: Place = field(init=False, compare=False, repr=False)
    mistakes: tuple[Problem, ...] = field(init=False, compare=False, repr=False)

    if not TYPE_CHECKING:  # each kind shows type checkers a signature of its own

        def __init__(self, *positional, **given):
            _fill(self, positional, given, place_of_call())

    def as_data(self) -> dict[str, JSON]:
        """Its fields as JSON, without those at their default, so that a field added later changes no fingerprint."""
        values = {each: getattr(self, each.name) for each in _fields(type(self))}
        changed = {each.name: as_plain(value) for each, value in values.items() if value != _default(each)}
        return cast(dict[str, JSON], changed)

    @classmethod
    def from_data(cls: type[Defined], data: Mapping[str, JSON]) -> Defined:
        """The definition that `as_data` gave.  Fields that this version does not know are left out."""
        return recorded(cls, (), {name: value for name, value in data.items() if name in cls.RULES}, Place(""))

    def problem(self, field: str, value: str, mend: str) -> Problem:
        """A problem with this definition."""
        name = getattr(self, next(iter(self.RULES)))
        identity = one_line(name, 100) if isinstance(name, str) else ""
        return Problem(relative(self.place.file), self.place.line, self.KIND, identity, field, value, mend)

    def contradictions(self, sound: set[str]) -> Iterator[tuple[str, str]]:
        """The fields that do not go together, each with its mend.  `sound`: what was given without a mistake."""
        yield from ()


def recorded(kind: type[Defined], positional: Sequence[object], given: Mapping[str, object], place: Place) -> Defined:
    """Construct a definition as a call at `place` would."""
    made = kind.__new__(kind)
    _fill(made, positional, given, place)
    return made


def place_of_call() -> Place:
    """Where the innermost call stands that is neither ours nor Python's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_NOT_USERS):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def _fill(made: Definition, positional: Sequence[object], given: Mapping[str, object], place: Place) -> None:
    """Set every field of a new definition, and note what was wrong."""
    first = next(iter(made.RULES))
    extra = positional[1:] if first not in given else positional
    given = given if first in given or not positional else {first: positional[0], **given}
    wrong: dict[str, tuple[str, str]] = {}
    for each in _fields(type(made)):
        object.__setattr__(made, each.name, _value(made, each, given, wrong))
    object.__setattr__(made, "place", place)
    object.__setattr__(made, "mistakes", ())
    object.__setattr__(made, "mistakes", tuple(_mistakes(made, extra, given, wrong)))


def _value(
    made: Definition, each: "Field[object]", given: Mapping[str, object], wrong: dict[str, tuple[str, str]]
) -> object:
    """The value of one field.  A wrong one is kept as it is and noted in `wrong`, with what to show and the mend."""
    if each.name not in given:
        if each.default is MISSING and each.default_factory is MISSING:
            wrong[each.name] = ("", f"A {made.KIND} needs it: write {each.name}=...")
            return None
        return _default(each)
    value = given[each.name]
    try:
        return made.RULES[each.name](value)
    except Mistake as mistake:
        wrong[each.name] = (shown(value) if mistake.shown is None else mistake.shown, mistake.mend)
    except Exception as error:  # a class of the user's may do anything when it is compared or looped over
        wrong[each.name] = (
            f"<{type(value).__name__}>",
            f"It cannot be used: {type(error).__name__}. Write a plain value.",
        )
    return value


def _mistakes(
    made: Definition, extra: Sequence[object], given: Mapping[str, object], wrong: Mapping[str, tuple[str, str]]
) -> Iterator[Problem]:
    for value in extra:
        first = next(iter(made.RULES))
        yield made.problem("", shown(value), f"Only the {first} may stand without a field's name before it.")
    for name, (value_shown, mend) in wrong.items():
        yield made.problem(name, value_shown, mend)
    for name in given:
        if name not in made.RULES:
            mend = f"A {made.KIND} has no such field.{did_you_mean(name, made.RULES)}"
            yield made.problem(one_line(name, 100), shown(given[name]), mend)
    for name, mend in made.contradictions(set(given) - set(wrong)):
        yield made.problem(name, shown(getattr(made, name)) if name in given else "", mend)


def _fields(kind: type[Definition]) -> "tuple[Field[object], ...]":
    return tuple(each for each in fields(kind) if each.init)


def _default(each: "Field[object]") -> object:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return each.default
