"""One database, whichever it is: transactions for reading and for writing, and its clock.

Reads and writes are told apart: on SQLite a write takes the file's one write lock at its start, and a read never waits
for it; on MySQL and MariaDB a read keeps to one state, while each statement of a write sees what others have committed.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from schedmgr import clock, database_url
from schedmgr.database.backend import MOST_AT_ONCE, Backend
from schedmgr.database.failures import ConnectionLost, TransactionLost
from schedmgr.database_url import SQLiteFile
from schedmgr.errors import DatabaseUnavailable
from schedmgr.settings import Settings

Answer = TypeVar("Answer")

TRANSACTION_TRIES = 8
TRIED_FOR = 10.0  # seconds after which no further try begins: who waits for a lock has waited long enough
FIRST_PAUSE = 0.02  # seconds before the second try; doubled at each further one
LONGEST_PAUSE = 0.5
READ_BACK_WITHIN = 40.0
"""Seconds that a database has to say whether it took a COMMIT: longer than any keeps the locks of a silent session."""


class Session:
    """One transaction: statements, and the database's clock as it stood at its first look."""

    def __init__(self, connection: Connection, database: "Database") -> None:
        self.connection = connection
        self.execute = connection.execute
        self.scalar = connection.scalar
        self.scalars = connection.scalars
        self._database = database
        self._now: datetime | None = None
        self.trace: Select[Any] | None = None
        self.is_committing = False

    def now(self) -> datetime:
        """The database's clock, UTC; read once, so that all that one transaction decides shares one instant."""
        if self._now is None:
            self._now = self._database.read_clock(self.connection)
        return self._now

    def host_ahead(self) -> float:
        """Seconds by which the host's clock is ahead of the database's; the journey to the database is in it."""
        host, now = self._database.approximate_now(), self._database.read_clock(self.connection)
        return (host - now).total_seconds()

    def leaves(self, trace: Select[Any]) -> None:
        """Name a row that is there once this transaction is committed, and only then.

        By it a COMMIT that got no answer is read back.  One is enough, as all of a transaction is kept or none of it.
        """
        self.trace = trace


class Database:
    """The connections to one database.  Safe to share between threads."""

    def __init__(self, url: str, *, test_clock: Path | None = None) -> None:
        self.url = url
        self._test_clock = test_clock
        self._backend = _backend(url)

    @classmethod
    def of(cls, settings: Settings) -> "Database":
        """The database that the settings name.  Nothing is connected yet."""
        return cls(settings.database_url, test_clock=settings.test_clock)

    @property
    def is_server(self) -> bool:
        """Whether it is a server rather than a file on this host."""
        return self._backend.is_server

    def close(self) -> None:
        """Close every connection."""
        self._backend.reader.dispose()
        self._backend.writer.dispose()
        self._backend.migrator.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads: all its queries see one state.

        Raises DatabaseUnavailable if there is no answer.
        """
        with self._transaction(self._backend.reader) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes: all of it is kept, or none of it after an error.

        Raises TransactionLost if another one was in its way, ConnectionLost if it cannot be said whether it was kept,
        DatabaseUnavailable if there is no answer.
        """
        with self._transaction(self._backend.writer) as session:
            yield session

    def transact(self, work: Callable[[Session], Answer]) -> Answer:
        """Do `work` in a writing transaction; the whole of it again when another one was in its way.

        So `work` may run several times, each time on the state that it finds then.  A COMMIT that got no answer is read
        back by what the session `leaves`; work that leaves nothing must do no harm when it is done twice.
        """
        ends_at = clock.monotonic() + TRIED_FOR
        for nth in range(TRANSACTION_TRIES):
            try:
                return self._try(work)
            except (TransactionLost, ConnectionLost, IntegrityError) as error:
                if nth + 1 == TRANSACTION_TRIES or clock.monotonic() >= ends_at:
                    raise error if isinstance(error, IntegrityError) else DatabaseUnavailable(str(error)) from error
                clock.sleep(min(FIRST_PAUSE * 2**nth, LONGEST_PAUSE) * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def migrate(self) -> Iterator[Session]:
        """A transaction that changes tables, and no other process does.

        Where a change of a table cannot be rolled back (MySQL, MariaDB) an error leaves what was done before it.
        """
        # The transaction ends before the next process may begin: it must find what this one wrote last.
        with (
            self._explaining(),
            self._backend.migrator.connect() as connection,
            self._backend.one_migration(connection),
            connection.begin(),
        ):
            yield Session(connection, self)

    def approximate_now(self) -> datetime:
        """The database's clock without asking the database: good for log lines, not for decisions."""
        return clock.host_now() + timedelta(seconds=self._clock_offset())

    def read_clock(self, connection: Connection) -> datetime:
        """The database's clock at this moment."""
        return self._backend.clock(connection) + timedelta(seconds=self._clock_offset())

    def _try(self, work: Callable[[Session], Answer]) -> Answer:
        session: Session | None = None
        try:
            with self.write() as session:
                answer = work(session)
                session.is_committing = True
        except ConnectionLost:
            if session is None or not session.is_committing or not self._was_kept(session.trace):
                raise
        return answer

    def _was_kept(self, trace: Select[Any] | None) -> bool:
        """Whether a COMMIT that got no answer was carried out.

        It may be on its way still, and its transaction alive with all its locks.  So the trace is read with a lock,
        which waits until that transaction has been committed, or let go by the server.
        """
        if trace is None:
            return False
        ends_at = clock.monotonic() + READ_BACK_WITHIN
        while True:
            try:
                with self.write() as session:
                    return session.execute(trace.with_for_update()).first() is not None
            except DatabaseUnavailable as error:
                if clock.monotonic() > ends_at:
                    raise DatabaseUnavailable(f"{error} Whether the last change was kept cannot be said.") from error
                clock.sleep(LONGEST_PAUSE)

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Session]:
        with self._explaining(), engine.begin() as connection:
            yield Session(connection, self)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._backend.explained(error) from error
        except NoFreeConnection as error:
            raise DatabaseUnavailable(
                f"All {MOST_AT_ONCE} connections of this process to the database are in use: it answers too slowly, or "
                "more is asked of it at once than it can do."
            ) from error

    def _clock_offset(self) -> float:
        if self._test_clock is None:
            return 0.0
        try:
            return float(self._test_clock.read_text() or 0)
        except (OSError, ValueError):
            return 0.0


def _backend(url: str) -> Backend:
    """Only the one that is used is imported."""
    named = database_url.parse(url)
    if isinstance(named, SQLiteFile):
        from schedmgr.database.sqlite import SQLite

        return SQLite(url)
    from schedmgr.database.mysql import MySQL

    return MySQL(named)
