"""Where the definitions stand, a file or a module, and how the user's own code is imported from there.

Only a child process imports it, one for each load and one for each callable job.  In it a function of the definitions
is found under the module name "definitions" if they are a file, whatever the file is called, and under its own name if
they are a module.  So a job's `call`, "definitions:sync_accounts", stays the same text when the file moves.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

FILE_MODULE = "definitions"
"""The name under which a definitions file is imported."""


def is_file(source: str) -> bool:
    """Whether a source is a path, not the name of a module."""
    return source.endswith(".py") or os.sep in source


def import_source(source: str) -> ModuleType:
    """Import the definitions: a path to a file, or a module.  Its neighbours can be imported as if it were run itself.

    Raises whatever the user's code raises, ImportError if there is no such module, OSError if there is no such file.
    """
    if not is_file(source):
        import importlib

        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(source)
    path = Path(source).absolute()
    sys.path.insert(0, str(path.parent))
    return _import_file(path)


def _import_file(path: Path) -> ModuleType:
    from importlib.util import spec_from_file_location

    code = compile(path.read_bytes(), str(path), "exec")  # no cached bytecode: an edit within the same second counts
    module = ModuleType(FILE_MODULE)
    module.__file__ = str(path)
    module.__spec__ = spec_from_file_location(FILE_MODULE, path)
    sys.modules[FILE_MODULE] = module
    if path.stem.isidentifier() and path.stem not in sys.stdlib_module_names:
        sys.modules.setdefault(path.stem, module)  # a neighbour that imports it by name gets the same
    exec(code, vars(module))
    return module


def source_files(source: str) -> list[str]:
    """The file that a source is; for a module those in the working directory that it may be, there or not."""
    return [str(Path(source).absolute())] if is_file(source) else module_files(source, [str(Path.cwd())])


def module_files(name: str, folders: Iterable[str]) -> list[str]:
    """The files that would be a module of this name in one of the folders, there or not."""
    stems = [Path(folder, *name.split(".")) for folder in folders]
    return [str(path) for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py")]


def users_folders(source: str) -> set[str]:
    """The folders whose Python files are the user's own: the source's and the working directory."""
    cwd = str(Path.cwd())
    if is_file(source):
        return {cwd, str(Path(source).absolute().parent)}
    from importlib.util import find_spec

    top = source.partition(".")[0]
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        found = None
    return {cwd, *(found.submodule_search_locations or () if found is not None else ())}


def is_users(path: str, folders: Iterable[str]) -> bool:
    """Whether a file lies in one of the folders, and neither in a package installed below it nor in Python or here."""
    return any(_is_own(path, folder.rstrip(os.sep) + os.sep) for folder in folders) and not path.startswith(_python())


def _is_own(path: str, folder: str) -> bool:
    installed = {"site-packages", "dist-packages"}
    # A checkout or the executable's folder may lie in it.  The sample counts as the user's.
    is_ours = path.startswith(_OURS) and not folder.startswith(_OURS)
    return path.startswith(folder) and not is_ours and not installed & set(Path(path.removeprefix(folder)).parts)


def _python() -> tuple[str, ...]:
    """Where Python's own modules lie."""
    import sysconfig

    return tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))


_OURS = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parent.parent, vars(sys).get("_MEIPASS")) if folder)
"""Where this program's own modules lie; in the executable Python's as well."""
