"""What a person got wrong in a definitions file: each mistake with its place, and all of them as one error."""

import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from schedmgr.errors import SchedmgrError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PASSWORD = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file.  Line 0: the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        name = relative(self.file)
        return f"{name}:{self.line}" if self.line else name


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a definitions file.

    `file` is relative to the working directory where it lies under it; `line` is 0 if none is known; `kind` is job,
    schedule, group or file; `id`, `field` and `value` may be empty; `mend` is one or more sentences.
    """

    file: str
    line: int
    kind: str
    id: str
    field: str
    value: str
    mend: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        thing = "" if self.kind == "file" else f"{self.kind} '{self.id}'" if self.id else f"a {self.kind}"
        what = " ".join(part for part in (self.field, self.value) if part)
        return ": ".join(part for part in (place, thing, what, self.mend) if part)

    def as_data(self) -> dict[str, JSON]:
        """The same as JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, JSON]) -> "Problem":
        """The problem that `as_data` gave."""
        line = data["line"]
        texts = {name: str(data[name]) for name in ("file", "kind", "id", "field", "value", "mend")}
        return cls(line=line if isinstance(line, int) else 0, **texts)


class DefinitionsError(SchedmgrError):
    """The definitions cannot be used.  Its text has one line a problem.

    `files` are those that were read: the definitions are worth another try when one of them has changed.
    """

    def __init__(self, problems: Iterable[Problem], files: "Iterable[WatchedFile]" = ()) -> None:
        self.problems = tuple(problems)
        self.files = tuple(files)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class WatchedFile:
    """A file that the definitions were read from, as it was then.  One that did not exist has size -1."""

    path: str
    mtime_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> "WatchedFile":
        """The file as it is now."""
        try:
            found = Path(path).stat()
        except OSError:
            return cls(str(path), 0, -1, 0)
        return cls(str(path), found.st_mtime_ns, found.st_size, found.st_ino)


def file_problem(place: Place, mend: str, *, field: str = "", value: str = "") -> Problem:
    """A problem with a definitions file as a whole, or with what stands at a place of it."""
    return Problem(relative(place.file), place.line, "file", "", field, value, mend)


def relative(file: str) -> str:
    """The file's path from the working directory if it lies under it, else in full."""
    try:
        prefix = str(Path.cwd()).rstrip(os.sep) + os.sep
    except OSError:  # the working directory was removed
        return file
    return file.removeprefix(prefix)


def shown(value: object) -> str:
    """A value as a person wrote it, short and on one line.

    What may be secret is left out: the password of a URL, and the values that a mapping's names have.
    """
    if isinstance(value, str):
        return _short.repr(_PASSWORD.sub("//…@", value))
    try:
        if isinstance(value, Mapping):
            return one_line(f"{{{_short.repr(list(value))[1:-1]}}}")
        return one_line(_short.repr(value))
    except Exception:  # a value of the user's may refuse to be shown, in any way
        return f"<{type(value).__name__}>"


def one_line(text: str, limit: int = 300) -> str:
    """Text without line breaks and control characters, cut at the limit."""
    flat = _UNPRINTABLE.sub(" ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the option nearest to a mistyped word; empty when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(options), n=1) if isinstance(word, str) and len(word) <= 200 else []
    return f" Did you mean '{near[0]}'?" if near else ""


def listed(words: Iterable[str], joint: str = "or") -> str:
    """ "a", "a or b", "a, b or c"."""
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
