"""The database as a command opens it, and who asks."""

import getpass
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from schedmgr import clock, database_url
from schedmgr.core.audit import Requester
from schedmgr.core.outage import Outage
from schedmgr.database import migrate
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseNotReady, DatabaseUnavailable
from schedmgr.settings import Settings

log = logging.getLogger(__name__)

BETWEEN_LOOKS = 1.0  # seconds
_SQLITE = b"SQLite format 3\0"


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Database]:
    """The database of the settings, at this program's revision.

    Raises DatabaseNotReady if it is not, and DatabaseUnavailable if it does not answer.
    """
    with connected(settings or Settings.load()) as database:
        migrate.require_current(database)
        yield database


@contextmanager
def connected(settings: Settings) -> Iterator[Database]:
    """The database of the settings, whether or not it answers yet.

    Raises DatabaseNotReady for a SQLite file that does not exist.
    """
    require_file(settings)
    database = Database.of(settings)
    try:
        yield database
    finally:
        database.close()


def wait_until_ready(database: Database, who: str) -> None:
    """Wait for a database that does not answer yet.  Raises DatabaseNotReady if it is at another revision."""
    outage = Outage(log, who, clock.monotonic)
    while True:
        try:
            migrate.require_current(database)
        except DatabaseUnavailable as error:
            outage.goes_on(error)
            clock.sleep(BETWEEN_LOOKS)
        else:
            outage.is_over()
            return


def require_file(settings: Settings) -> None:
    """Raises DatabaseNotReady for a SQLite file that does not exist: opening it would leave an empty one behind."""
    file = database_url.file_of(settings.database_url)
    if file is not None and not file.exists():
        raise DatabaseNotReady(f"There is no database at {file.absolute()} yet. Run: schedmgr migrate")
    require_no_other_file(settings)


def require_no_other_file(settings: Settings) -> None:
    """Raises DatabaseNotReady if what stands at the place of the SQLite file is something else."""
    file = database_url.file_of(settings.database_url)
    if file is not None and file.is_file() and os.access(file, os.R_OK):
        with file.open("rb") as opened_file:
            start = opened_file.read(len(_SQLITE))
        if start not in (b"", _SQLITE):
            raise DatabaseNotReady(f"{file.absolute()} is no SQLite database. Set DATABASE_URL to one that is.")


def requester() -> Requester:
    """The person at this command line."""
    return Requester(who=f"cli:{_user()[:100]}@{socket.gethostname()}", origin="command line")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
