"""The processes of ours: each life of one has a row, which it keeps fresh while its main loop makes progress."""

import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, insert, select, update

from schedmgr.core.definitions import Definitions, Problem
from schedmgr.core.policies import Presence
from schedmgr.database.engine import Session
from schedmgr.database.models import Process
from schedmgr.vocabulary import ProcessRole

BEAT_EVERY = 10.0  # seconds
SILENT_AFTER = timedelta(seconds=60)
"""Without a beat for longer a process is stale; when it returns it takes a new id, so that its gap stays on record."""


class Silent(Exception):
    """The process has not beaten for so long that its life counts as ended: it needs a new one before it goes on."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One life of a process: the id that its firings and runs name."""

    id: str
    role: ProcessRole
    environment: str
    version: str
    concurrency: int


def register(
    session: Session,
    role: ProcessRole,
    *,
    environment: str,
    version: str,
    concurrency: int = 0,
) -> Registered:
    """Begin a life: a new id, never the host's name."""
    process = Registered(secrets.token_hex(8), role, environment, version, concurrency)
    session.execute(
        insert(Process).values(
            id=process.id,
            role=role,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version,
            environment=environment,
            started_at=session.now(),
            beat_at=session.now(),
            clock_offset=session.host_ahead(),
            concurrency=concurrency,
        )
    )
    session.leaves(select(Process.id).where(Process.id == process.id))
    return process


def beat(session: Session, process: Registered) -> None:
    """Say that the process's main loop still turns."""
    _beat(session, process)


def beat_unbroken(session: Session, process: Registered) -> None:
    """The same for a process whose silences are evidence: a daemon.

    Raises Silent after a silence of more than a minute, wherever in its loop the process was frozen.  Nothing of the
    transaction may be kept then: it would hide the gap.
    """
    if not _beat(session, process, Process.beat_at >= session.now() - SILENT_AFTER):
        raise Silent(f"process {process.id} was silent for more than {SILENT_AFTER.total_seconds():.0f} s")


def _beat(session: Session, process: Registered, *conditions: ColumnElement[bool]) -> bool:
    beaten = session.execute(
        update(Process)
        .where(Process.id == process.id, *conditions)
        .values(beat_at=session.now(), clock_offset=session.host_ahead())
    )
    return beaten.rowcount == 1


def living_daemon_holds(session: Session, fingerprint: str, *, other_than: str) -> bool:
    """Whether a living daemon other than this one holds the definitions of that fingerprint."""
    held = session.scalars(
        select(Process.definitions).where(
            Process.role == ProcessRole.DAEMON,
            Process.id != other_than,
            Process.stopped_at.is_(None),
            Process.beat_at >= session.now() - SILENT_AFTER,
        )
    )
    return any(one is not None and one["fingerprint"] == fingerprint for one in held)


def stop(session: Session, process: Registered) -> None:
    """End a life in an orderly way."""
    session.execute(
        update(Process).where(Process.id == process.id).values(beat_at=session.now(), stopped_at=session.now())
    )


def hold_definitions(session: Session, process: Registered, definitions: Definitions | None, at: datetime) -> None:
    """Note which definitions a daemon holds, and that its file has no errors (any more)."""
    held = None
    if definitions is not None:
        held = {
            "source": definitions.source,
            "fingerprint": definitions.fingerprint,
            "loaded_at": at.isoformat(),
            "schedules": len(definitions.schedules),
        }
    session.execute(update(Process).where(Process.id == process.id).values(definitions=held, definitions_errors=None))


def report_errors(session: Session, process: Registered, problems: Iterable[Problem]) -> None:
    """Note what is wrong with the definitions that a daemon found; it keeps those that it holds."""
    errors = [problem.as_data() for problem in problems]
    session.execute(update(Process).where(Process.id == process.id).values(definitions_errors=errors))


def presences(session: Session, since: datetime) -> tuple[Presence, ...]:
    """When some daemon reached the database, from shortly before `since` on: merged spans, oldest first."""
    newest_before = (
        select(Process.started_at, Process.beat_at)
        .where(Process.role == ProcessRole.DAEMON, Process.beat_at < since)
        .order_by(Process.beat_at.desc())
        .limit(1)
    )
    later = (
        select(Process.started_at, Process.beat_at)
        .where(Process.role == ProcessRole.DAEMON, Process.beat_at >= since)
        .order_by(Process.started_at)
    )
    rows = [*session.execute(newest_before), *session.execute(later)]
    return _merged(Presence(started_at, beat_at) for started_at, beat_at in rows)


def _merged(spans: Iterable[Presence]) -> tuple[Presence, ...]:
    merged: list[Presence] = []
    for span in sorted(spans, key=lambda span: span.since):
        if merged and span.since <= merged[-1].until:
            merged[-1] = Presence(merged[-1].since, max(merged[-1].until, span.until))
        else:
            merged.append(span)
    return tuple(merged)
