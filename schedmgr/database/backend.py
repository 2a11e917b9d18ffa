"""What the two kinds of database each have to bring, so that nothing else needs to tell them apart."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

KEPT_OPEN = 16  # connections for reading, and as many for writing
MOST_AT_ONCE = 48
POOL_WAIT = 5.0  # seconds that a transaction waits for one of them


def pool() -> dict[str, Any]:
    """How many connections an engine keeps, and how long it lets a transaction wait for one."""
    return {"pool_size": KEPT_OPEN, "max_overflow": MOST_AT_ONCE - KEPT_OPEN, "pool_timeout": POOL_WAIT}


class Backend(Protocol):
    """One database's connections and its manners."""

    reader: Engine
    """Transactions that only read: all their queries see one state, and none waits for a writer."""

    writer: Engine
    """Transactions that write."""

    migrator: Engine
    """The same for changes of tables, which may take long."""

    is_server: bool
    """Whether it is a server rather than a file on this host, which has no clock but the host's."""

    def clock(self, connection: Connection) -> datetime:
        """The database's clock, aware, UTC."""

    def one_migration(self, connection: Connection) -> AbstractContextManager[None]:
        """While it is open no other process changes tables through a migrator."""

    def explained(self, error: DBAPIError) -> Exception:
        """The error that a person should read, or the error itself where it can only be a bug of ours."""
