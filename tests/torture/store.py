"""The database as anybody may reach it: plain SQL, without a line of the program that is tested."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import mariadb
import pymysql

Row = dict[str, Any]

AWAY = (sqlite3.Error, pymysql.err.MySQLError, OSError)
"""What a database that is away, full or held raises."""

LONGEST_WAIT = 10.0  # seconds that a statement waits for others


class Store(Protocol):
    """One database.  Instants are aware, UTC."""

    kind: str
    url: str

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """The rows of a query.  `?` stands for a value."""

    def execute(self, sql: str, *values: Any) -> None:
        """One statement in a transaction of its own."""

    @contextmanager
    def in_the_way(self, ids: list[str]) -> Iterator[None]:
        """A foreign transaction that holds what a daemon needs: these schedules, or the whole file."""

    def version(self) -> str:
        """As in "SQLite 3.40.1"."""

    def keep(self, folder: Path) -> None:
        """Leave a copy of the whole database in a folder."""

    def close(self) -> None:
        """Give back what it holds of the machine."""


class Sqlite:
    """A file, if possible on a small disk of its own which can be filled."""

    kind = "sqlite"

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "torture", str(self.disk)],
            capture_output=True,
            text=True,
        )
        self.cannot_fill = "" if mounted.returncode == 0 else mounted.stderr.strip() or "mount failed"
        self.file = self.disk / "schedmgr.db"
        self.url = f"sqlite:///{self.file}"

    def rows(self, sql: str, *values: Any) -> list[Row]:
        with self._connection() as connection:
            connection.row_factory = sqlite3.Row
            return [{name: _instant(row[name]) for name in row.keys()} for row in connection.execute(sql, values)]  # noqa: SIM118

    def execute(self, sql: str, *values: Any) -> None:
        with self._connection() as connection:
            connection.execute(sql, values)

    @contextmanager
    def in_the_way(self, ids: list[str]) -> Iterator[None]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def fill(self) -> int:
        """Leave no byte on the disk.  Returns how many it took."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(b"\0" * 4096)
        return self._ballast.stat().st_size

    def free(self) -> None:
        """Give the disk its space back."""
        self._ballast.unlink()

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def keep(self, folder: Path) -> None:
        for file in self.disk.glob("schedmgr.db*"):
            shutil.copy(file, folder)

    def close(self) -> None:
        if not self.cannot_fill:
            subprocess.run(["umount", str(self.disk)], capture_output=True)

    @property
    def _ballast(self) -> Path:
        return self.disk / "ballast"

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"file:{self.file}?mode=rw", uri=True, timeout=LONGEST_WAIT, isolation_level=None)
        with closing(connection):
            yield connection


class Mariadb:
    """A database of a server of its own."""

    kind = "mariadb"
    cannot_fill = "the database is no file of its own"
    NAME = "torture"

    def __init__(self, folder: Path) -> None:
        self.server = mariadb.Server.make(folder / "server", durable=True)
        self.server.start()
        self.url = self.server.create(self.NAME)

    def rows(self, sql: str, *values: Any) -> list[Row]:
        with self._connection() as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(sql.replace("?", "%s"), values)
            return [{name: _instant(value) for name, value in row.items()} for row in cursor.fetchall()]

    def execute(self, sql: str, *values: Any) -> None:
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), values)

    @contextmanager
    def in_the_way(self, ids: list[str]) -> Iterator[None]:
        with self._connection() as connection, connection.cursor() as cursor:
            connection.begin()
            cursor.execute("SELECT id FROM job_schedule WHERE id IN %s FOR UPDATE", (ids,))
            yield
            connection.rollback()

    def version(self) -> str:
        return f"MariaDB {mariadb.version()}"

    def keep(self, folder: Path) -> None:
        if not self.server.is_running():
            return
        dump = mariadb.program("mariadb-dump") or "mariadb-dump"
        with (folder / "schedmgr.sql").open("wb") as out:
            subprocess.run(
                [dump, "--no-defaults", "-uroot", "-h127.0.0.1", f"-P{self.server.port}", self.NAME], stdout=out
            )

    def close(self) -> None:
        self.server.close()

    @contextmanager
    def _connection(self) -> Iterator[pymysql.Connection]:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.server.port,
            user="root",
            database=self.NAME,
            autocommit=True,
            connect_timeout=3,
            read_timeout=60,
            charset="utf8mb4",
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 10, sql_mode = ''")
            yield connection


def until_done(store: Store, sql: str, *values: Any, within: float = 60.0) -> bool:
    """Try a statement until the database takes it.  False: it did not within that many seconds."""
    limit = time.monotonic() + within
    while True:
        try:
            store.execute(sql, *values)
        except AWAY:
            if time.monotonic() > limit:
                return False
            time.sleep(0.3)
        else:
            return True


def _instant(value: Any) -> Any:
    """Instants come as naive datetimes from MariaDB and as text from SQLite."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, str) and len(value) in (19, 26) and value[4:5] == "-" and value[10:11] == " ":
        with suppress(ValueError):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value
