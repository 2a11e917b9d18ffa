"""The schema: migrations and models say the same, and a database that does not fit is one clear sentence."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kinds import ON_MARIADB, ON_SQLITE
from mariadb import Server
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from schedmgr import resources
from schedmgr.database import migrate
from schedmgr.database.engine import Database, Session
from schedmgr.database.models import Base
from schedmgr.database.types import Instant, Words
from schedmgr.errors import DatabaseNotReady, DatabaseUnavailable

EMPTY = "schedmgr_empty"


@pytest.fixture
def empty_url(database_kind, request, tmp_path) -> Iterator[str]:
    """A database of the test's own, without a table."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: Server = request.getfixturevalue("mariadb_server")
    yield server.create(EMPTY)
    server.drop(EMPTY)


@pytest.fixture
def empty(empty_url) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.close()


def stamp(database: Database, revision: str) -> None:
    database.transact(
        lambda session: session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    )


def test_the_program_knows_the_newest_migration_in_the_folder():
    files = [file.name for file in (Path(resources.migrations()) / "versions").glob("*.py")]
    assert max(re.match(r"(\d{4})_", file)[1] for file in files) == migrate.NEWEST


@pytest.fixture
def shape(database_kind) -> Callable[[Database], dict[str, object]]:
    """Gives every table with its columns, keys and indexes, as the database has them."""
    return shape_in_sqlite if database_kind == "sqlite" else shape_in_mariadb


def shape_in_sqlite(database: Database) -> dict[str, object]:
    def ask(session: Session, pragma: str, name: str) -> list[tuple[object, ...]]:
        rows = session.execute(text(f"SELECT * FROM pragma_{pragma}(:name)"), {"name": name})
        return [tuple(row) for row in rows]

    with database.read() as session:
        tables = session.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        )
        return {
            name: {
                "columns": ask(session, "table_info", name),
                "foreign keys": ask(session, "foreign_key_list", name),
                "indexes": {
                    index[1]
                    if index[3] == "c"
                    else tuple(str(column) for column in ask(session, "index_xinfo", index[1])): (
                        index[2],
                        ask(session, "index_xinfo", index[1]),
                    )
                    for index in ask(session, "index_list", name)
                },
                "numbered": "AUTOINCREMENT"
                in (session.scalar(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name}) or ""),
            }
            for name in list(tables)
            if name != "alembic_version"
        }


def shape_in_mariadb(database: Database) -> dict[str, object]:
    kept_in = "FROM information_schema.{} WHERE {}_schema = DATABASE() AND table_name <> 'alembic_version' ORDER BY"
    questions = {
        "tables": f"table_name, engine, table_collation {kept_in.format('tables', 'table')} table_name",
        "columns": "table_name, ordinal_position, column_name, column_type, is_nullable, column_default, "
        f"character_set_name, collation_name, extra {kept_in.format('columns', 'table')} table_name, ordinal_position",
        "indexes": "table_name, index_name, seq_in_index, column_name, non_unique, collation, sub_part "
        f"{kept_in.format('statistics', 'table')} table_name, index_name, seq_in_index",
        "foreign keys": "table_name, constraint_name, referenced_table_name, delete_rule "
        f"{kept_in.format('referential_constraints', 'constraint')} table_name, constraint_name",
    }
    with database.read() as session:
        return {
            name: [tuple(row) for row in session.execute(text(f"SELECT {question}"))]
            for name, question in questions.items()
        }


def test_the_models_are_what_the_migrations_make(database, empty, shape):
    with empty.write() as session:
        Base.metadata.create_all(session.connection)
    assert shape(database) == shape(empty)


COLUMNS = [column for table in Base.metadata.sorted_tables for column in table.columns]


@ON_MARIADB
def test_every_table_can_be_undone_and_lets_others_read_while_one_writes(database):
    engines = {engine for _, engine, _ in shape_in_mariadb(database)["tables"]}
    assert engines == {"InnoDB"}


@ON_MARIADB
def test_every_instant_has_microseconds(database):
    instants = {(column.table.name, column.name) for column in COLUMNS if isinstance(column.type, Instant)}
    types = {(row[0], row[2]): row[3] for row in shape_in_mariadb(database)["columns"]}
    assert {types[instant] for instant in instants} == {"datetime(6)"}


@ON_MARIADB
def test_every_name_and_every_word_is_compared_byte_by_byte(database):
    words = {(column.table.name, column.name) for column in COLUMNS if isinstance(column.type, Words)}
    collations = {(row[0], row[2]): row[7] for row in shape_in_mariadb(database)["columns"]}
    assert {collations[word] for word in words} == {"utf8mb4_nopad_bin"}
    assert set(collations.values()) <= {None, "utf8mb4_bin", "utf8mb4_nopad_bin"}


def test_an_occurrence_can_have_one_firing_only(database):
    row = "(schedule_id, scheduled_for, `trigger`, decision, missed_count, decided_at, job_run_count, claim_token)"
    values = "('s', '2026-03-02 12:00:00.000000', 'SCHEDULE', 'SKIPPED', 0, '2026-03-02 12:00:00.000000', 0, 't')"
    with database.write() as session:
        session.execute(text(f"INSERT INTO schedule_firing {row} VALUES {values}"))
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(text(f"INSERT INTO schedule_firing {row} VALUES {values}"))


def test_a_database_that_was_never_migrated_says_what_to_run(empty):
    with pytest.raises(DatabaseNotReady, match=r"^The database was never migrated\. Run: schedmgr migrate$"):
        migrate.require_current(empty)


def test_an_older_database_says_what_to_do(database):
    stamp(database, "0000")
    with pytest.raises(DatabaseNotReady, match=r"at migration 0000, this program needs .* run: schedmgr migrate$"):
        migrate.require_current(database)


def test_a_newer_database_says_that_the_program_is_older(database):
    stamp(database, "9999")
    with pytest.raises(DatabaseNotReady, match=r"at migration 9999, this program knows .* Deploy the newer program\.$"):
        migrate.require_current(database)


def test_a_newer_database_is_not_migrated(database):
    stamp(database, "9999")
    with pytest.raises(DatabaseNotReady, match="Deploy the newer program"):
        migrate.migrate(database)
    assert migrate.revision(database) == "9999"


def test_migrating_says_from_where_to_where_and_a_second_time_changes_nothing(empty):
    assert migrate.migrate(empty) == (None, migrate.NEWEST)
    assert migrate.migrate(empty) == (migrate.NEWEST, migrate.NEWEST)
    migrate.require_current(empty)


@ON_SQLITE
def test_a_migration_that_fails_leaves_nothing_behind(empty):
    empty.transact(lambda session: session.execute(text("CREATE TABLE job_run (id INTEGER)")))
    with pytest.raises(Exception, match="job_run"):
        migrate.migrate(empty)
    with empty.read() as session:
        tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    assert tables == ["job_run"]


FOREIGN = "The database has a table setting already, but no migration of schedmgr: it is another program's. "


@pytest.mark.parametrize("rows", [0, 1], ids=["empty", "with a row"])
def test_another_programs_table_is_left_alone_and_named(empty, rows):
    with empty.migrate() as session:
        session.execute(text("CREATE TABLE setting (colour VARCHAR(20))"))
    with empty.write() as session:
        session.execute(text("INSERT INTO setting VALUES ('blue')" if rows else "DELETE FROM setting"))
    with pytest.raises(DatabaseNotReady, match=re.escape(FOREIGN)):
        migrate.migrate(empty)
    with empty.read() as session:
        assert len(session.execute(text("SELECT colour FROM setting")).all()) == rows


def test_a_table_of_another_program_that_was_migrated_halfway_is_left_alone_and_named(empty):
    with empty.migrate() as session:
        session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        session.execute(text("CREATE TABLE setting (colour VARCHAR(20))"))
    with pytest.raises(DatabaseNotReady, match=re.escape(FOREIGN)):
        migrate.migrate(empty)
    with empty.read() as session:
        assert session.execute(text("SELECT colour FROM setting")).all() == []


def test_a_database_that_another_program_migrates_is_left_alone(empty):
    with empty.migrate() as session:
        session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
    stamp_new(empty, "1f3a5c7e9b2d")
    with pytest.raises(DatabaseNotReady, match=r"another program's\. Let DATABASE_URL name a database of its own\.$"):
        migrate.migrate(empty)
    assert migrate.revision(empty) == "1f3a5c7e9b2d"


def stamp_new(database: Database, revision: str) -> None:
    with database.write() as session:
        session.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": revision})


# Together, and cut off


def test_of_two_that_migrate_at_once_one_does_it_and_the_other_finds_it_done(empty, empty_url, shape, database):
    program = [sys.executable, "-m", "schedmgr", "migrate"]
    environ = {**os.environ, "DATABASE_URL": empty_url}
    both = [
        subprocess.Popen(program, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = sorted(one.communicate(timeout=60)[0] for one in both)
    assert [one.returncode for one in both] == [0, 0], said
    assert len(set(said)) == 2
    assert shape(empty) == shape(database)


@pytest.fixture
def cut_before(mariadb_server):
    """Within it, the connections to the empty database are cut right before a statement that begins so."""

    @contextmanager
    def cut_before(beginning: str) -> Iterator[None]:
        def cut(connection, cursor, statement, parameters, context, executemany):
            if " ".join(statement.split()).startswith(beginning):
                assert mariadb_server.kill_connections(EMPTY) > 0

        event.listen(Engine, "before_cursor_execute", cut)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", cut)

    return cut_before


@ON_MARIADB
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE alembic_version",
        "CREATE TABLE admin_session",
        "CREATE INDEX ix_job_run_queue",
        "CREATE TABLE job_run_attempt",
        "INSERT INTO alembic_version",
        "CREATE INDEX ix_admin_session_ended_at",
        "UPDATE alembic_version",
    ],
)
def test_a_migration_that_was_cut_off_is_one_sentence_and_comes_to_its_end_the_next_time(
    empty, database, shape, cut_before, statement
):
    with (
        cut_before(statement),
        pytest.raises(DatabaseUnavailable, match=r"^The connection to the database at .* was lost"),
    ):
        migrate.migrate(empty)
    assert migrate.migrate(empty)[1] == migrate.NEWEST
    assert shape(empty) == shape(database)
    migrate.require_current(empty)


@ON_MARIADB
def test_who_migrates_while_another_does_is_told_so(empty, empty_url, monkeypatch):
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    other = Database(empty_url)
    is_told = pytest.raises(
        DatabaseUnavailable, match=r"^Another process is migrating this database\. Wait for its end"
    )
    with other.migrate(), is_told:
        migrate.migrate(empty)
    other.close()
    assert migrate.migrate(empty) == (None, migrate.NEWEST)


@ON_SQLITE
def test_the_database_is_durable_and_lets_readers_read_while_one_writes(database, database_file):
    with database.read() as session:
        settings = [
            session.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]
    with database.write(), database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM job_schedule")) == 0
