"""What a MySQL or MariaDB server tells about itself: whether it keeps what it acknowledges, whether it takes changes,
and who keeps rows locked.

Sources: mariadb.com/kb, "InnoDB System Variables", "Replication and Binary Log System Variables", "Galera Cluster
Status Variables"; dev.mysql.com, "The INFORMATION_SCHEMA INNODB_TRX Table".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable

HANGS_AFTER = 15  # seconds that a session may do nothing in a transaction; ours are ended after 10 on MariaDB

_ASKED = (
    "version",
    "read_only",
    "innodb_read_only",
    "innodb_flush_log_at_trx_commit",
    "innodb_flush_method",
    "log_bin",
    "sync_binlog",
    "wsrep_on",
)
_FLUSHED_AT_COMMIT = {"1", "3"}  # 3 is MariaDB's: at the preparation, too
_NEVER_FLUSHING = {"nosync", "littlesync"}


@dataclass(frozen=True, slots=True)
class Unflushed:
    """A setting by which a commit is not on the disk yet when it is acknowledged, and what it should be."""

    setting: str
    value: str
    mend: str


@dataclass(frozen=True, slots=True)
class Server:
    """The server as its variables have it."""

    name: str  # "MariaDB" or "MySQL"
    is_read_only: bool
    """For users without the privilege to write all the same."""
    unflushed: tuple[Unflushed, ...]
    cluster_nodes: int | None  # of the Galera cluster that it is part of; None: of none


def server(session: Session) -> Server | None:
    """What the server says of itself; None where the database is a file."""
    if session.connection.dialect.name != "mysql":
        return None
    names = ", ".join(f"'{name}'" for name in _ASKED)
    found = session.execute(text(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"))
    variables = {str(name).lower(): str(value) for name, value in found}
    return Server(
        name="MariaDB" if "MariaDB" in variables["version"] else "MySQL",
        is_read_only=any(variables.get(name, "OFF") != "OFF" for name in ("read_only", "innodb_read_only")),
        unflushed=tuple(_unflushed(variables)),
        cluster_nodes=_cluster_nodes(session) if variables.get("wsrep_on") == "ON" else None,
    )


def _unflushed(variables: Mapping[str, str]) -> Iterator[Unflushed]:
    flush = variables.get("innodb_flush_log_at_trx_commit", "1")
    if flush not in _FLUSHED_AT_COMMIT:
        yield Unflushed("innodb_flush_log_at_trx_commit", flush, "1")
    method = variables.get("innodb_flush_method", "fsync")
    if method.lower() in _NEVER_FLUSHING:
        yield Unflushed("innodb_flush_method", method, "fsync")
    # What was prepared and is missing in the binary log is rolled back by the recovery, flushed or not.
    if variables.get("log_bin") == "ON" and variables.get("sync_binlog", "1") != "1":
        yield Unflushed("sync_binlog", variables["sync_binlog"], "1")


def _cluster_nodes(session: Session) -> int | None:
    row = session.execute(text("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'")).first()
    return None if row is None else int(row[1])


def hanging_session(database: Database, *, seconds: int = HANGS_AFTER) -> str | None:
    """The session in this database that has kept rows locked the longest, in words.

    It has done nothing, or been at one statement, for so many seconds at least.  What other programs lock in databases
    of their own is none of ours.  None if there is none, or if the user of DATABASE_URL may not know (the privilege
    PROCESS).
    """
    try:
        with database.read() as session:
            row = session.execute(text(_HANGING), {"seconds": seconds}).first()
    except (DatabaseUnavailable, SQLAlchemyError):
        return None
    if row is None:
        return None
    client = str(row.host).partition(":")[0]
    does = "has done nothing in its transaction" if row.command == "Sleep" else "has been at one statement"
    return f"session {row.id} of {row.user}@{client}, which {does} for {row.seconds} s"


# By the list of processes, since trx_started is in the server's own zone.
_HANGING = """
SELECT held.id AS id, held.user AS user, held.host AS host, held.command AS command, held.time AS seconds
FROM information_schema.innodb_trx AS trx
JOIN information_schema.processlist AS held ON held.id = trx.trx_mysql_thread_id
WHERE trx.trx_rows_locked > 0 AND held.db = DATABASE() AND held.time >= :seconds
ORDER BY held.time DESC
LIMIT 1
"""
