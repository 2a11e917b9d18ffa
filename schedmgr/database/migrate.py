"""Brings a database to this program's revision, and says whether it is there."""

import re

from sqlalchemy import Table, func, inspect, select, text
from sqlalchemy.schema import DropTable

from schedmgr import resources
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseNotReady

NEWEST = "0002"
"""The newest revision in migrations/; a test holds it equal to the folder, so that a start need not read that."""

VERSION_TABLE = "alembic_version"

_OURS = re.compile(r"[0-9]{4}")
"""Our revisions.  Other programs use the same tool and so the same table; theirs look like 1975ea83b712."""


def revision(database: Database) -> str | None:
    """The revision that the database is at; None if it was never migrated."""
    with database.read() as session:
        return _revision(session)


def require_current(database: Database) -> None:
    """Raises DatabaseNotReady, with what to do, unless the database is at this program's revision."""
    if problem := problem_with(revision(database)):
        raise DatabaseNotReady(problem)


def problem_with(found: str | None) -> str | None:
    """What is wrong with a database at this revision, with the mend; None if nothing is."""
    if found == NEWEST:
        return None
    if found is None:
        return "The database was never migrated. Run: schedmgr migrate"
    if not _OURS.fullmatch(found):
        return (
            f"The database is at migration {found}, which is none of schedmgr's: it is another program's. "
            "Let DATABASE_URL name a database of its own."
        )
    if found > NEWEST:
        return (
            f"The database is at migration {found}, this program knows {NEWEST}: it is older than the database. "
            "Deploy the newer program."
        )
    return (
        f"The database is at migration {found}, this program needs {NEWEST}. Stop the daemon and run: schedmgr migrate"
    )


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the database to the newest revision.  Returns the revisions before and after.

    On SQLite all or nothing.  On MySQL and MariaDB, where a change of a table cannot be rolled back, a first migration
    that was cut off is begun anew.  Raises DatabaseNotReady if the database is newer than this program, or holds tables
    of another program.
    """
    from alembic import command  # 130 ms that only this needs
    from alembic.config import Config

    with database.migrate() as session:
        before = _revision(session)
        if before is not None and (before > NEWEST or not _OURS.fullmatch(before)):
            raise DatabaseNotReady(problem_with(before) or "")
        if before is None:
            _clear_what_was_cut_off(session)
        config = Config()
        config.set_main_option("script_location", str(resources.migrations()))
        config.attributes["connection"] = session.connection
        command.upgrade(config, "head")
    return before, NEWEST


def _revision(session: Session) -> str | None:
    if not inspect(session.connection).has_table(VERSION_TABLE):
        return None
    found: str | None = session.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def _clear_what_was_cut_off(session: Session) -> None:
    """Drop the empty tables of a migration that did not come to its end; touch no other program's."""
    from schedmgr.database.models import Base

    present = set(inspect(session.connection).get_table_names())
    ours = [table for table in reversed(Base.metadata.sorted_tables) if table.name in present]
    if not ours:
        return
    is_begun = VERSION_TABLE in present and all(_is_just_made(session, table) for table in ours)
    if not is_begun:
        raise DatabaseNotReady(
            f"The database has a table {ours[0].name} already, but no migration of schedmgr: it is another program's. "
            "Let DATABASE_URL name a database of its own."
        )
    for table in ours:
        session.execute(DropTable(table))


def _is_just_made(session: Session, table: Table) -> bool:
    """Whether the table of that name is one of ours, and nothing was ever put into it."""
    columns = {column["name"] for column in inspect(session.connection).get_columns(table.name)}
    return columns <= set(table.columns.keys()) and session.scalar(select(func.count()).select_from(table)) == 0
