"""The processes of ours: each life of one has a row, which it keeps fresh while its main loop makes progress."""

import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, func, insert, select, update

from schedmgr.core.definitions import Definitions, Problem
from schedmgr.core.policies import Presence
from schedmgr.database.engine import Session
from schedmgr.database.models import Process, ScheduleFiring
from schedmgr.vocabulary import ProcessRole

BEAT_EVERY = 10.0  # seconds
SILENT_AFTER = timedelta(seconds=60)
"""Without a beat for longer a process is stale; when it returns it takes a new id, so that its gap stays on record."""

STEPPED_BACK = timedelta(seconds=1)
"""A clock that shows so much less than at the last beat was set back; that ends a life, too, and so stays on record."""


class Silent(Exception):
    """The life of the process counts as ended: it has not beaten for too long, the database's clock stepped back, or
    somebody recorded that it was not there.  It needs a new life before it goes on."""


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
    replaces: Registered | None = None,
) -> Registered:
    """Begin a life: a new id, never the host's name.  `replaces`: the life of the same process before."""
    if replaces is not None:
        _end(session, Process.id == replaces.id)
    process = Registered(secrets.token_hex(8), role, environment, version, concurrency)
    session.execute(
        insert(Process).values(
            id=process.id,
            role=role,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version,
            environment=environment,
            started_at=_beginning(session) if role is ProcessRole.DAEMON else session.now(),
            beat_at=session.now(),
            clock_offset=session.host_ahead(),
            concurrency=concurrency,
        )
    )
    session.leaves(select(Process.id).where(Process.id == process.id))
    return process


def _beginning(session: Session) -> datetime:
    """Now; after a clock that stepped back, the instant that had been reached before.

    What lies between is recorded already, so a daemon's presence there would contradict the record.
    """
    reached = (
        session.scalar(select(func.max(Process.beat_at)).where(Process.role == ProcessRole.DAEMON)),
        session.scalar(select(func.max(ScheduleFiring.decided_at))),
    )
    return max([session.now(), *(instant for instant in reached if instant is not None)])


def beat(session: Session, process: Registered) -> None:
    """Say that the process's main loop still turns."""
    session.execute(
        update(Process).where(Process.id == process.id).values(beat_at=session.now(), clock_offset=session.host_ahead())
    )


def beat_unbroken(session: Session, process: Registered) -> None:
    """The same for a process whose silences are evidence: a daemon.  Its last beat moves only forward.

    Raises Silent if this life has ended: after a silence of more than a minute, wherever in its loop the process was
    frozen; after a clock that was set back; or if it was ended by `end_lives_that_missed`.  Nothing of the
    transaction may be kept then: it would hide the gap.
    """
    beaten = session.execute(
        update(Process)
        .where(Process.id == process.id, is_living(session.now()))
        .values(beat_at=_newest_beat(session), clock_offset=session.host_ahead())
    )
    if beaten.rowcount != 1:
        seconds = f"{SILENT_AFTER.total_seconds():.0f} s"
        raise Silent(f"process {process.id} was silent for more than {seconds}, or the database's clock stepped")


def is_living(now: datetime) -> ColumnElement[bool]:
    """The condition of a life that has not ended and beat lately.  A beat of the future is that of a clock which has
    stepped back since: it says nothing about now."""
    return and_(Process.stopped_at.is_(None), Process.beat_at.between(now - SILENT_AFTER, now + STEPPED_BACK))


def end_lives_that_missed(session: Session, instant: datetime) -> None:
    """End every daemon's life that had begun at that instant, and has not reached the database since before it.

    For who records that no daemon was there then: whatever such a daemon does next, it does in a new life, and the
    record stays true.
    """
    _end(
        session,
        Process.role == ProcessRole.DAEMON,
        is_living(session.now()),
        Process.started_at <= instant,
        Process.beat_at < instant,
    )


def _end(session: Session, *which: ColumnElement[bool]) -> None:
    """End lives where they stand: the last beat stays what it was."""
    session.execute(update(Process).where(Process.stopped_at.is_(None), *which).values(stopped_at=session.now()))


def _newest_beat(session: Session) -> ColumnElement[datetime]:
    """Now, unless the clock has stepped back a little."""
    return case((Process.beat_at > session.now(), Process.beat_at), else_=session.now())


def living_daemon_holds(session: Session, fingerprint: str, *, other_than: str) -> bool:
    """Whether a living daemon other than this one holds the definitions of that fingerprint."""
    held = session.scalars(
        select(Process.definitions).where(
            Process.role == ProcessRole.DAEMON, Process.id != other_than, is_living(session.now())
        )
    )
    return any(one is not None and one["fingerprint"] == fingerprint for one in held)


def stop(session: Session, process: Registered) -> None:
    """End a life in an orderly way.  The last beat of one that was silent for too long stays what it was."""
    session.execute(
        update(Process).where(Process.id == process.id, is_living(session.now())).values(beat_at=_newest_beat(session))
    )
    _end(session, Process.id == process.id)


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
    readable = [row for row in rows if row.started_at is not None and row.beat_at is not None]
    return _merged(Presence(started_at, beat_at) for started_at, beat_at in readable if started_at <= beat_at)


def _merged(spans: Iterable[Presence]) -> tuple[Presence, ...]:
    merged: list[Presence] = []
    for span in sorted(spans, key=lambda span: span.since):
        if merged and span.since <= merged[-1].until:
            merged[-1] = Presence(merged[-1].since, max(merged[-1].until, span.until))
        else:
            merged.append(span)
    return tuple(merged)
