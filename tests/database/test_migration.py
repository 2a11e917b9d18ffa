"""The schema: migrations and models say the same, and a database that does not fit is one clear sentence."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from schedmgr import resources
from schedmgr.database import migrate
from schedmgr.database.engine import Database, Session
from schedmgr.database.models import Base
from schedmgr.errors import DatabaseNotReady


@pytest.fixture
def empty(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    yield database
    database.close()


def stamp(database: Database, revision: str) -> None:
    database.transact(
        lambda session: session.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    )


def test_the_program_knows_the_newest_migration_in_the_folder():
    files = [file.name for file in (Path(resources.migrations()) / "versions").glob("*.py")]
    assert max(re.match(r"(\d{4})_", file)[1] for file in files) == migrate.NEWEST


def shape(database: Database) -> dict[str, object]:
    """Every table with its columns, keys and indexes, as SQLite has them."""

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


def test_the_models_are_what_the_migrations_make(database, empty):
    with empty.write() as session:
        Base.metadata.create_all(session.connection)
    assert shape(database) == shape(empty)


def test_an_occurrence_can_have_one_firing_only(installation):
    row = "(schedule_id, scheduled_for, trigger, decision, missed_count, decided_at, job_run_count, claim_token)"
    values = "('s', '2026-03-02 12:00:00.000000', 'SCHEDULE', 'SKIPPED', 0, '2026-03-02 12:00:00.000000', 0, 't')"
    installation.sql(f"INSERT INTO schedule_firing {row} VALUES {values}")
    with pytest.raises(IntegrityError):
        installation.sql(f"INSERT INTO schedule_firing {row} VALUES {values}")


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


def test_a_migration_that_fails_leaves_nothing_behind(empty):
    empty.transact(lambda session: session.execute(text("CREATE TABLE job_run (id INTEGER)")))
    with pytest.raises(Exception, match="job_run"):
        migrate.migrate(empty)
    with empty.read() as session:
        tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    assert tables == ["job_run"]


def test_the_database_is_durable_and_lets_readers_read_while_one_writes(database, database_file):
    with database.read() as session:
        settings = [
            session.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]
    with database.write(), database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM job_schedule")) == 0
