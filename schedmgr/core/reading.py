"""A definitions file as the loading child reads it: imported, checked, and what it raises told with its line."""

import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace

from schedmgr import clock
from schedmgr.core.definitions import Definitions, DefinitionsError, WatchedFile, take_decorated
from schedmgr.core.problems import Place, Problem, file_problem, one_line, shown
from schedmgr.core.sources import import_source, is_users, module_files, source_files, users_folders
from schedmgr.core.validation import definitions_from


def read_definitions(source: str) -> Definitions:
    """Import the definitions and check them.  Raises DefinitionsError, whatever the user's code raises."""
    reading = _Reading(source)
    path = list(sys.path)
    try:
        module = import_source(source)
    except BaseException as error:  # sys.exit() and KeyboardInterrupt come from the user's code as well
        raise DefinitionsError([reading.failure(error)], reading.files(error)) from error
    finally:
        sys.path[:] = path  # what we import from here on is never a neighbour of the file
    return definitions_from(
        vars(module),
        file=module.__file__ or source,
        source=source,
        decorated=take_decorated(),
        modules=sys.modules,
        files=reading.files(),
    )


class _Reading:
    """One import of the user's code: which files belong to it, and what it raised where."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.started_ns = int(clock.host_now().timestamp() * 1e9)
        self.folders = users_folders(source)
        self.own_files = tuple(WatchedFile.of(path) for path in source_files(source))

    def files(self, error: BaseException | None = None) -> tuple[WatchedFile, ...]:
        """The source as it was before it was read, and the user's modules that it imported, or could not."""
        own = {file.path for file in self.own_files}
        paths = dict.fromkeys((*_module_files(), *(place.file for place in _places(error))))
        users = [path for path in paths if path not in own and is_users(path, self.folders)]
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        missing = module_files(absent, self.folders) if absent else []
        return (*self.own_files, *(self._watched(path) for path in (*users, *missing)))

    def _watched(self, path: str) -> WatchedFile:
        """A module's file.  One written since the import began counts as changed: who knows which text was read."""
        file = WatchedFile.of(path)
        return replace(file, mtime_ns=0) if file.mtime_ns > self.started_ns else file

    def failure(self, error: BaseException) -> Problem:
        """What the user's code raised, at the line of theirs that comes nearest to it."""
        place = self._place_of(error)
        if isinstance(error, SyntaxError):
            return file_problem(place, f"It is not valid Python: {error.msg}.")
        if isinstance(error, SystemExit):
            mend = "It ended the program while it was loaded. Take the exit out: the file only says what exists."
            return file_problem(place, mend, field="sys.exit", value=shown(error.code))
        if isinstance(error, OSError) and place == Place(self.source):
            mend = f"It cannot be read: {error.strerror}. Set SCHEDMGR_DEFINITIONS to a file that can."
            return file_problem(place, mend)
        if isinstance(error, ModuleNotFoundError) and f"{self.source}.".startswith(f"{error.name}."):
            mend = f"There is no module '{error.name}'. Set SCHEDMGR_DEFINITIONS to a file or a module."
            return file_problem(place, mend)
        return file_problem(place, f"It raised {_told(error)} while it was loaded.{_hint(error)}")

    def _place_of(self, error: BaseException) -> Place:
        """The innermost line of the user's in the traceback; the source as a whole if there is none."""
        places = [place for place in _places(error) if is_users(place.file, self.folders)]
        return places[-1] if places else Place(self.source)


def _places(error: BaseException | None) -> list[Place]:
    """Where an error came from, the innermost last."""
    if error is None:
        return []
    places = [Place(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append(Place(error.filename, error.lineno or 0))
    return places


def _told(error: BaseException) -> str:
    try:
        text = one_line(str(error))
    except Exception:  # the text of the user's exception may raise as well
        text = ""
    name = type(error).__name__
    return f"{name}: {text.removesuffix('.')}" if text else name


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return " Install it where schedmgr runs, or import it inside the function that needs it."
    return " Mend that line; until then nothing of the file is in force."


def _module_files() -> Iterator[str]:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path
