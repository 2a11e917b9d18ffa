"""One database, whichever it is: connections, transactions for reading and for writing, and its clock.

Reads and writes are told apart because SQLite wants it so: a write starts with BEGIN IMMEDIATE, so that two writers
queue up instead of failing halfway, and a read never waits for a writer (WAL).
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from schedmgr import clock
from schedmgr.errors import DatabaseUnavailable
from schedmgr.settings import Settings, mask_url

Answer = TypeVar("Answer")

BUSY_TIMEOUT = 5.0  # seconds that a SQLite writer waits for another
TRANSACTION_TRIES = 5
UNUSABLE = tuple(f"SQLITE_{why}" for why in ("CANTOPEN", "READONLY", "IOERR", "FULL", "PERM", "NOTADB", "CORRUPT"))
FIRST_PAUSE = 0.02  # seconds before the second try; doubled at each further one


class Session:
    """One transaction: statements, and the database's clock as it stood at its first look."""

    def __init__(self, connection: Connection, database: "Database") -> None:
        self.connection = connection
        self.execute = connection.execute
        self.scalar = connection.scalar
        self.scalars = connection.scalars
        self._database = database
        self._now: datetime | None = None

    def now(self) -> datetime:
        """The database's clock, UTC; read once, so that all that one transaction decides shares one instant."""
        if self._now is None:
            self._now = self._database.read_clock(self.connection)
        return self._now

    def host_ahead(self) -> float:
        """Seconds by which the host's clock is ahead of the database's; the journey to the database is in it."""
        host, now = self._database.approximate_now(), self._database.read_clock(self.connection)
        return (host - now).total_seconds()


class Database:
    """The connections to one database.  Safe to share between threads."""

    def __init__(self, url: str, *, test_clock: Path | None = None) -> None:
        self.url = url
        self._test_clock = test_clock
        self._reader = _sqlite_engine(url)
        self._writer = self._reader.execution_options(sqlite_begin="IMMEDIATE")

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """The database that the settings name.  Nothing is connected yet."""
        return cls(settings.database_url, test_clock=settings.test_clock)

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads: all its queries see one state.

        Raises DatabaseUnavailable if there is no answer.
        """
        with self._transaction(self._reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes: all of it is kept, or none of it after an error.

        Raises DatabaseUnavailable if there is no answer, or another writer does not end within the time-out.
        """
        with self._transaction(self._writer) as session:
            yield session

    def transact(self, work: Callable[[Session], Answer]) -> Answer:
        """Do `work` in a writing transaction; the whole of it again when another one was in its way."""
        for nth in range(TRANSACTION_TRIES):
            try:
                with self.write() as session:
                    return work(session)
            except TransactionLost as error:
                if nth + 1 == TRANSACTION_TRIES:
                    raise DatabaseUnavailable(str(error)) from error
                clock.sleep(FIRST_PAUSE * 2**nth)
        raise AssertionError("unreachable: the last try returns or raises")

    def approximate_now(self) -> datetime:
        """The database's clock without asking the database: good for log lines, not for decisions."""
        return clock.host_now() + timedelta(seconds=self._clock_offset())

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Session]:
        try:
            with engine.begin() as connection:
                yield Session(connection, self)
        except DBAPIError as error:
            raise _explained(error, self.url) from error

    def read_clock(self, connection: Connection) -> datetime:
        """The database's clock.  SQLite has none of its own: it is the host's."""
        return self.approximate_now()

    def _clock_offset(self) -> float:
        if self._test_clock is None:
            return 0.0
        try:
            return float(self._test_clock.read_text() or 0)
        except (OSError, ValueError):
            return 0.0


class TransactionLost(DatabaseUnavailable):
    """Another transaction held what this one wanted; nothing was written and it may be tried again."""


def _explained(error: DBAPIError, url: str) -> Exception:
    """The error that a person should read, or the error itself where it can only be a bug of ours."""
    cause = error.orig
    if not isinstance(cause, sqlite3.DatabaseError):
        return error
    # What Python's own code raises, say for text that is no UTF-8, has no name of SQLite's.
    name = getattr(cause, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        return TransactionLost(
            f"Another process has held the database file {mask_url(url)} for over {BUSY_TIMEOUT:.0f} s. "
            "Look for a stopped or hanging schedmgr or sqlite3 process that has it open."
        )
    if name.startswith(UNUSABLE):
        return DatabaseUnavailable(
            f"The database {mask_url(url)} cannot be used: {cause}. Check the path and its disk."
        )
    return error


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        make_url(url), connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False}, pool_size=16, max_overflow=32
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """No hidden BEGINs by the driver; durable and concurrent by the journal."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT * 1000:.0f}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}")
