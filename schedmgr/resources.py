"""Where the files beside the code lie, and how this program starts itself, in a checkout, a wheel or the executable."""

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "_resources"  # packaging/wheel_resources.py puts them there


def is_executable() -> bool:
    """Whether this is the built executable, not Python running the package."""
    return bool(getattr(sys, "frozen", False))


def _root() -> Path:
    """The folder that holds templates/, static/ and migrations/."""
    if is_executable():
        return Path(str(vars(sys)["_MEIPASS"]))  # PyInstaller sets it
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent


def templates() -> Path:
    """The folder of page templates."""
    return _root() / "templates"


def static() -> Path:
    """The folder of scripts, styles and pictures that the web serves as they are."""
    return _root() / "static"


def migrations() -> Path:
    """The folder of Alembic's environment and revisions."""
    return _root() / "migrations"


def sample_definitions() -> Path:
    """The definitions file that is used where a project has none of its own."""
    package = _root() / "schedmgr" if is_executable() else _PACKAGE
    return package / "sample" / "definitions.py"


def program_argv(*words: str) -> list[str]:
    """The command line that starts this same program with `words` as its arguments.

    -P: a file in the working directory that is named like a module of Python's must not be taken for it.
    """
    return [sys.executable, *words] if is_executable() else [sys.executable, "-P", "-m", "schedmgr", *words]
