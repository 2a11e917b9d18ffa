"""Brings a database to this program's revision, and says whether it is there."""

from sqlalchemy import inspect, text

from schedmgr import resources
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseNotReady

NEWEST = "0001"
"""The newest revision in migrations/; a test holds it equal to the folder, so that a start need not read that."""


def revision(database: Database) -> str | None:
    """The revision that the database is at; None if it was never migrated."""
    with database.read() as session:
        if not inspect(session.connection).has_table("alembic_version"):
            return None
        found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        return found


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
    if found > NEWEST:
        return (
            f"The database is at migration {found}, this program knows {NEWEST}: it is older than the database. "
            "Deploy the newer program."
        )
    return (
        f"The database is at migration {found}, this program needs {NEWEST}. Stop the daemon and run: schedmgr migrate"
    )


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the database to the newest revision, all or nothing.  Returns the revisions before and after.

    Raises DatabaseNotReady if the database is newer than this program.
    """
    from alembic import command  # 130 ms that only this needs
    from alembic.config import Config

    before = revision(database)
    if before is not None and before > NEWEST:
        raise DatabaseNotReady(problem_with(before) or "")
    with database.write() as session:
        config = Config()
        config.set_main_option("script_location", str(resources.migrations()))
        config.attributes["connection"] = session.connection
        command.upgrade(config, "head")
    return before, NEWEST
