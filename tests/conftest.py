"""A migrated database for each test, a clock that the test moves, and short words for what daemons and people do."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import galera
import mariadb
import pymysql
import pytest
from galera import Cluster
from mariadb import Server
from sqlalchemy import Row, select, text

from schedmgr.core import actions, processes, settlement, sync
from schedmgr.core.audit import Requester
from schedmgr.core.definitions import Definitions, Job, Schedule
from schedmgr.core.enqueue import Enqueued
from schedmgr.core.processes import Registered, Silent
from schedmgr.core.settlement import Settlement
from schedmgr.core.sync import Synced
from schedmgr.daemon import tick
from schedmgr.database.engine import Database
from schedmgr.database.migrate import NEWEST, VERSION_TABLE, migrate
from schedmgr.database.models import Base, JobRun, JobSchedule, ScheduleFiring, SchedulePeriod
from schedmgr.vocabulary import ProcessRole

ON_SERVER = "schedmgr_test"
PERSON = Requester("cli:ann@desk", "command line")
ONE_JOB = (Job("tidy", command="true"),)


class MovedClock:
    """The database's clock: the host's, moved by the seconds that a file holds.  It goes on by itself in between."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._write(0.0)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._offset)

    def set_to(self, instant: datetime) -> None:
        self._write((instant - datetime.now(UTC)).total_seconds())

    def move(self, **span: float) -> None:
        """Forward by a span (`minutes=3`), or back by a negative one."""
        self._write(self._offset + timedelta(**span).total_seconds())

    def _write(self, offset: float) -> None:
        # Renamed into place: a reader never meets a file that is half written.
        new = self.file.with_suffix(".new")
        new.write_text(repr(offset))
        new.rename(self.file)
        self._offset = offset


class Installation:
    """One database with its clock.  The daemon here only ticks when it is told to."""

    def __init__(self, database: Database, clock: MovedClock) -> None:
        self.database = database
        self.clock = clock
        self.person = PERSON
        self._daemon: Registered | None = None

    # What people do

    def sync(
        self,
        *schedules: Schedule,
        jobs: Sequence[Job] = ONE_JOB,
        environment: str = "development",
        source: str = "definitions.py",
        **how: Any,
    ) -> Synced:
        definitions = Definitions(tuple(jobs), schedules, (), source)
        return self.database.transact(
            lambda session: sync.sync(session, definitions, environment, by="cli:ann@desk", **how)
        )

    def enable(self, *ids: str) -> None:
        self.database.transact(lambda session: [actions.enable(session, id, PERSON) for id in ids])

    def turned_on(self, *schedules: Schedule, jobs: Sequence[Job] = ONE_JOB) -> None:
        """Sync these schedules, and turn on each of them."""
        self.sync(*schedules, jobs=jobs)
        self.enable(*(schedule.id for schedule in schedules))

    def disable(self, id: str) -> None:
        self.database.transact(lambda session: actions.disable(session, id, PERSON))

    def pause(self, reason: str = "db failover", until: datetime | None = None) -> None:
        self.database.transact(lambda session: actions.pause(session, PERSON, reason, until))

    def resume(self) -> None:
        self.database.transact(lambda session: actions.resume(session, PERSON))

    def run_now(self, id: str, request_key: str | None = None) -> Enqueued:
        return self.database.transact(lambda session: actions.run_now(session, id, PERSON, request_key))

    # What daemons do

    def start_daemon(self, concurrency: int = 4) -> Registered:
        """A new life of a daemon; the one before beats no more."""
        self._daemon = self.database.transact(
            lambda session: processes.register(
                session, ProcessRole.DAEMON, environment="development", version="1", concurrency=concurrency
            )
        )
        return self._daemon

    def beat_until(self, instant: datetime) -> None:
        """The daemon beats, but decides nothing, until then."""
        while self.clock.now < instant:
            self.clock.set_to(min(instant, self.clock.now + timedelta(seconds=50)))
            self.database.transact(lambda session: processes.beat_unbroken(session, self._living()))

    def tick(self) -> Settlement:
        """One tick; after a silence of more than a minute in a new life, as the daemon's loop does."""
        try:
            return tick.tick(self.database, self._living())
        except Silent:
            return tick.tick(self.database, self.start_daemon())

    def repair(self) -> Settlement:
        process_id = self._living().id
        return self.database.transact(lambda session: settlement.repair(session, process_id=process_id))

    def later(self, seconds: float) -> datetime:
        """So long after the clock's now."""
        return self.clock.now + timedelta(seconds=seconds)

    def _living(self) -> Registered:
        return self._daemon or self.start_daemon()

    # What the tables hold

    def firings(self, schedule_id: str) -> list[Row[Any]]:
        """Oldest occurrence first."""
        table = ScheduleFiring.__table__
        return self._rows(
            select(table).where(table.c.schedule_id == schedule_id).order_by(table.c.scheduled_for, table.c.id)
        )

    def runs(self, schedule_id: str | None = None) -> list[Row[Any]]:
        table = JobRun.__table__
        query = select(table).order_by(table.c.id)
        return self._rows(query if schedule_id is None else query.where(table.c.schedule_id == schedule_id))

    def schedule(self, id: str) -> Row[Any]:
        table = JobSchedule.__table__
        (row,) = self._rows(select(table).where(table.c.id == id))
        return row

    def schedules(self) -> list[str]:
        """The ids of all."""
        return [row.id for row in self._rows(select(JobSchedule.__table__))]

    def periods(self, schedule_id: str) -> list[Row[Any]]:
        table = SchedulePeriod.__table__
        return self._rows(select(table).where(table.c.schedule_id == schedule_id).order_by(table.c.id))

    def sql(self, statement: str, **values: Any) -> None:
        """What somebody does to the tables past the program."""
        self.database.transact(lambda session: session.execute(text(statement), values))

    def _rows(self, query: Any) -> list[Row[Any]]:
        with self.database.read() as session:
            return list(session.execute(query).all())


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once; each test gets a copy, which takes a millisecond instead of a hundred."""
    file = tmp_path_factory.mktemp("template") / "schedmgr.db"
    database = Database(f"sqlite:///{file}")
    migrate(database)
    database.close()
    return file


@pytest.fixture
def database_file(_migrated_file: Path, tmp_path: Path) -> Path:
    """A migrated SQLite database of the test's own."""
    return Path(shutil.copy(_migrated_file, tmp_path / "schedmgr.db"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three private servers that hold the same, for all tests of this process."""
    if reason := galera.reason_to_skip():
        pytest.skip(reason)
    with Cluster.make() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A private server, for all tests of this process; with CLUSTER=true a node of a cluster."""
    if reason := mariadb.reason_to_skip():
        pytest.skip(reason)
    if galera.is_asked_for():
        yield request.getfixturevalue("cluster").nodes[0]
        return
    with Server.make(tmp_path_factory.mktemp("mariadb") / "server") as server:
        yield server


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """A migrated, empty database for the test alone."""
    if database_kind == "sqlite":
        return f"sqlite:///{request.getfixturevalue('database_file')}"
    server: Server = request.getfixturevalue("mariadb_server")
    if not _is_emptied(server):
        server.drop(ON_SERVER)
        database = Database(server.create(ON_SERVER))
        migrate(database)
        database.close()
    return server.url(ON_SERVER)


def _is_emptied(server: Server) -> bool:
    """Empty the tables that an earlier test filled: faster than to make them anew, unless it spoiled them."""
    server.kill_connections(ON_SERVER)  # what it left open may hold locks
    tables = " UNION ALL ".join(f"(SELECT '{name}' FROM `{name}` LIMIT 1)" for name in Base.metadata.tables)
    try:
        filled = server.query(tables, database=ON_SERVER)
        revision = server.query(f"SELECT version_num FROM {VERSION_TABLE}", database=ON_SERVER)
    except pymysql.MySQLError:
        return False
    for (name,) in filled:
        server.query(f"SET STATEMENT foreign_key_checks = 0 FOR TRUNCATE TABLE `{name}`", database=ON_SERVER)
    return revision == [(NEWEST,)]


@pytest.fixture
def database_kind() -> str:
    """Where the test's database lies: "sqlite" or "mariadb".  Those of the database itself run on each, all others
    where the variable DATABASE_KIND says."""
    return os.environ.get("DATABASE_KIND", "sqlite")


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    """The clock of the test's database."""
    return MovedClock(tmp_path / "clock")


@pytest.fixture
def open_database(database_url: str, clock: MovedClock) -> Iterator[Callable[[], Database]]:
    """Opens one more set of connections to the test's database, as another process would have."""
    opened: list[Database] = []

    def open() -> Database:
        opened.append(Database(database_url, test_clock=clock.file))
        return opened[-1]

    yield open
    for database in opened:
        database.close()


@pytest.fixture
def database(open_database: Callable[[], Database]) -> Database:
    """The test's database, with its clock."""
    return open_database()


@pytest.fixture(scope="session")
def kinds() -> type["Kinds"]:
    """The classes of this file, for who makes an installation by himself."""
    return Kinds


class Kinds:
    """Test modules cannot import this file."""

    clock = MovedClock
    installation = Installation


@pytest.fixture
def installation(database: Database, clock: MovedClock) -> Installation:
    """The test's database, and what daemons and people do to it."""
    return Installation(database, clock)
