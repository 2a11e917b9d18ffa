"""SQLite: a file, one writer at a time, and the host's clock."""

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from schedmgr import clock
from schedmgr.database import backend
from schedmgr.database.failures import TransactionLost
from schedmgr.errors import DatabaseUnavailable
from schedmgr.settings import mask_url

BUSY_TIMEOUT = 5.0  # seconds that a writer waits for another
BUSY_PAUSE = 0.01
UNUSABLE = tuple(f"SQLITE_{why}" for why in ("CANTOPEN", "READONLY", "IOERR", "FULL", "PERM", "NOTADB", "CORRUPT"))


class SQLite:
    """The connections to one file.

    A write starts with BEGIN IMMEDIATE, so that two writers queue up instead of failing halfway; a read never waits for
    a writer (WAL).
    """

    is_server = False

    def __init__(self, url: str) -> None:
        self._url = url
        self.reader: Engine = _engine(url)
        self.writer: Engine = self.reader.execution_options(sqlite_begin="IMMEDIATE")
        self.migrator: Engine = self.writer

    def clock(self, connection: Connection) -> datetime:
        """It has none of its own."""
        return clock.host_now()

    def one_migration(self, connection: Connection) -> AbstractContextManager[None]:
        """The write lock is enough."""
        return nullcontext()

    def explained(self, error: DBAPIError) -> Exception:
        """See Backend."""
        cause = error.orig
        if not isinstance(cause, sqlite3.DatabaseError):
            return error
        # What Python's own code raises, say for text that is no UTF-8, has no name of SQLite's.
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith("SQLITE_BUSY"):
            return TransactionLost(
                f"Another process has held the database file {mask_url(self._url)} for over {BUSY_TIMEOUT:.0f} s. "
                "Look for a stopped or hanging schedmgr or sqlite3 process that has it open."
            )
        if name.startswith(UNUSABLE):
            return DatabaseUnavailable(
                f"The database {mask_url(self._url)} cannot be used: {cause}. Check the path and its disk."
            )
        return error


def _engine(url: str) -> Engine:
    engine = create_engine(
        make_url(url), connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False}, **backend.pool()
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    """No hidden BEGINs by the driver; durable and concurrent by the journal."""
    connection.isolation_level = None
    connection.text_factory = _text
    _keep_journal(connection)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT * 1000:.0f}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _keep_journal(connection: sqlite3.Connection) -> None:
    """Once for each file.  Of two that open a new one at once one is refused: SQLite does not wait here."""
    ends_at = clock.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or clock.monotonic() > ends_at:
                raise
            clock.sleep(BUSY_PAUSE)


def _text(stored: bytes) -> str:
    """A text that is no UTF-8 (someone else wrote it) is shown as far as it can be, and stops nobody who reads."""
    return str(stored, "utf-8", "replace")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}")
