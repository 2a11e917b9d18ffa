"""What is judged of the database itself: whether it takes changes, who keeps others from making them, and whether it
keeps what it acknowledged."""

import os
import shutil
from pathlib import Path
from typing import Any

from schedmgr import database_url
from schedmgr.core.file_locks import hanging_writer
from schedmgr.core.verdict import Check, Status
from schedmgr.core.vitals import Vitals
from schedmgr.database import server
from schedmgr.database.engine import Database

LEAST_DISK = 1024 * 1024  # bytes, below which writes may fail
NODES_THAT_KEEP = 3
"""In a cluster of so many nodes the others have what one forgets."""


def disk_free(database: Database) -> int | None:
    """Bytes on the disk of the database's file; None for a server, and where the system does not tell."""
    file = database_url.file_of(database.url)
    try:
        return None if file is None else shutil.disk_usage(file).free
    except OSError:
        return None


def hindrances(database: Database) -> dict[str, Any]:
    """The facts of why nothing may be decided: worth looking for only where something is wrong."""
    file = database_url.file_of(database.url)
    if file is None:
        return {"rows_held_by": server.hanging_session(database)}
    return {"file_held_by": hanging_writer(file), "file_is_read_only": _is_on_read_only_disk(file)}


def _is_on_read_only_disk(file: Path) -> bool:
    try:
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def disk(facts: Vitals) -> Check | None:
    """A full one."""
    if facts.disk_free is None or facts.disk_free >= LEAST_DISK:
        return None
    left = f"{facts.disk_free // 1024:,} KiB"
    return Check(
        "disk", Status.CRITICAL, f"The disk of the database file is full ({left} left): nothing is decided. Make room."
    )


def writes(facts: Vitals, *, is_hindered: bool) -> Check | None:
    """A database that takes no changes.  Said of a server only where it hinders: some users may write all the same."""
    if facts.file_is_read_only:
        what = "The disk of the database file is mounted read-only"
    elif facts.server is not None and facts.server.is_read_only and is_hindered:
        what = f"The {facts.server.name} server is set to read-only"
    else:
        return None
    return Check("writes", Status.CRITICAL, f"{what}: nothing is decided. Let it take changes again.")


def file_lock(facts: Vitals) -> Check | None:
    """On SQLite one process can keep all others from writing for as long as it likes."""
    if facts.file_held_by is None:
        return None
    held = f"The database file is held by {facts.file_held_by}: nothing is decided until that ends."
    return Check("file", Status.WARNING, held)


def row_locks(facts: Vitals) -> Check | None:
    """On a server, whoever keeps rows locked keeps them undecided."""
    if facts.rows_held_by is None:
        return None
    return Check(
        "rows",
        Status.WARNING,
        f"Rows are held locked by {facts.rows_held_by}: what they stand for is not decided until that ends. "
        "End that program, or its session: KILL and its number.",
    )


def durability(facts: Vitals) -> Check | None:
    """A node of a large enough cluster may forget: a commit is on all of its nodes before it is acknowledged."""
    database = facts.server
    if database is None or not database.unflushed:
        return None
    found = " and ".join(f"{one.setting} = {one.value}" for one in database.unflushed)
    nodes = database.cluster_nodes
    if nodes is not None and nodes >= NODES_THAT_KEEP:
        return Check(
            "durability",
            Status.OK,
            f"This node does not flush at commit ({found}); the {nodes - 1} others have what it forgets, unless all "
            "lose power at once.",
        )
    mend = ", ".join(f"{one.setting} = {one.mend}" for one in database.unflushed)
    return Check(
        "durability",
        Status.WARNING,
        f"{database.name} does not flush at commit ({found}): if its host loses power, the decisions of the last "
        f"moments are forgotten, and their jobs may run twice. Set in its configuration: {mend}",
    )
