"""Every claim and every lease.  The lock only saves work: what makes a firing unique is its row, what makes an attempt
unique is the counted UPDATE that starts it."""

import json
import secrets
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select, text, update

from schedmgr.core import transitions
from schedmgr.core.transitions import Lease
from schedmgr.database.engine import Session
from schedmgr.database.failures import TransactionLost
from schedmgr.database.models import JobRun, JobSchedule, JobVersion, Setting
from schedmgr.database.types import Words, stored
from schedmgr.vocabulary import UNFINISHED, Missed, RunStatus

ON_SERVERS = "mysql"
"""For hints about indexes.  A claim that reads rows in another order than it takes them in has to read all, and so
locks all: nothing would be left for who comes next.  The optimizer cannot know that, and reads all if most are due."""


FIRINGS_AT_ONCE = 5_000
"""That one transaction may write.  More are a burden on memory, and take so long that others wait and that a server,
which hears nothing while they are worked out, ends it."""


@dataclass(frozen=True, slots=True)
class Move:
    """A schedule's `accounted_until` moves from `old` to `new`, never back; `next_run_at` is the index to it."""

    schedule_id: str
    old: datetime
    new: datetime
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A job run that this worker now holds: what to run, and the lease under which it does."""

    id: int
    attempt: int
    job: str
    definition: dict[str, Any]
    schedule_id: str | None
    scheduled_for: datetime | None
    lease_token: str


def new_token() -> str:
    """A token that nobody else has: of a claim, or of a lease."""
    return secrets.token_hex(16)


def due(now: datetime) -> ColumnElement[bool]:
    """The condition of schedules that have something to decide."""
    return and_(JobSchedule.enabled, JobSchedule.archived_at.is_(None), JobSchedule.next_run_at <= now)


def claim_due(session: Session, now: datetime, limit: int) -> list[str]:
    """Lock the longest due schedules; those that another daemon has locked are its work.

    Returns the ids of as many as one transaction can settle: fewer where much may have to be made up.
    """
    late = (JobSchedule.next_run_at, JobSchedule.missed, JobSchedule.catch_up_limit, JobSchedule.grace)
    query = _longest_due(now, limit).add_columns(*late).with_for_update(skip_locked=True)
    ids: list[str] = []
    firings = 0
    for id, due_at, missed, catch_up_limit, grace in session.execute(query):
        firings += _most_firings(now, due_at, catch_up_limit if missed is Missed.CATCH_UP else 1, grace)
        if ids and firings > FIRINGS_AT_ONCE:
            break
        ids.append(id)
    return ids


def _most_firings(now: datetime, due_at: datetime | None, made_up: int, grace: int) -> int:
    """How many firings may come of what has been due since then, if it was each minute."""
    minutes = 1 if due_at is None else 1 + int((now - due_at) / timedelta(minutes=1))
    return min(minutes, made_up + 1 + grace // 60)


def longest_due(session: Session, now: datetime, limit: int) -> list[str]:
    """The ids of the longest due schedules, whoever has locked them."""
    return list(session.scalars(_longest_due(now, limit)))


def _longest_due(now: datetime, limit: int) -> Select[str]:
    query = select(JobSchedule.id).where(due(now)).order_by(JobSchedule.next_run_at).limit(limit)
    return query.with_hint(JobSchedule, "FORCE INDEX (ix_job_schedule_due)", ON_SERVERS)


def lock_schedules(session: Session, ids: Sequence[str]) -> None:
    """Wait for and hold the rows of these schedules until the transaction ends."""
    session.execute(select(JobSchedule.id).where(JobSchedule.id.in_(ids)).order_by(JobSchedule.id).with_for_update())


def hold_pauses(session: Session, *, to_change: bool = False) -> None:
    """Until this transaction ends nobody begins or ends a pause: what it decides, it decides under those that it sees.

    `to_change`: this one begins or ends a pause, and waits until all that is being decided is written.  Call it before
    the clock is read, so that the pause holds from when nothing is being decided any more.
    """
    session.execute(select(Setting.key).where(Setting.key == "environment").with_for_update(read=not to_change))


def hold_definitions(session: Session) -> None:
    """Until this transaction ends no other one puts definitions into force."""
    session.execute(select(Setting.key).where(Setting.key == "definitions").with_for_update())


def account(session: Session, moves: Sequence[Move]) -> None:
    """Move `accounted_until`, in the transaction that wrote the firings which cover what lies between.

    Raises TransactionLost if another transaction moved one of them first: nothing of this one may be kept.
    """
    if not moves:
        return
    move = _move_each if session.connection.dialect.name == "sqlite" else _move_together
    if move(session, moves) != len(moves):
        raise TransactionLost("Another process accounted for one of the same schedules first. Try again.")


def _move_each(session: Session, moves: Sequence[Move]) -> int:
    """One prepared statement, many times: where the database is a file there is no journey to save."""
    table = JobSchedule.__table__
    return session.execute(
        update(JobSchedule)
        .where(table.c.id == bindparam("schedule"), table.c.accounted_until == bindparam("old", type_=_INSTANT))
        .values(accounted_until=bindparam("new"), next_run_at=bindparam("next")),
        [{"schedule": m.schedule_id, "old": m.old, "new": m.new, "next": m.next_run_at} for m in moves],
    ).rowcount


def _move_together(session: Session, moves: Sequence[Move]) -> int:
    """One statement, and so one journey to the server, however many schedules move."""
    collation = Words.collation_of(session.connection.dialect)
    rows = [
        {"id": m.schedule_id, "was": stored(m.old), "new": stored(m.new)}
        | ({} if m.next_run_at is None else {"next": stored(m.next_run_at)})
        for m in moves
    ]
    return session.execute(text(_MOVE_TOGETHER.format(collation=collation)), {"moves": json.dumps(rows)}).rowcount


_MOVE_TOGETHER = """
UPDATE job_schedule JOIN JSON_TABLE(:moves, '$[*]' COLUMNS (
    id VARCHAR(100) PATH '$.id',
    was DATETIME(6) PATH '$.was',
    new DATETIME(6) PATH '$.new',
    next DATETIME(6) PATH '$.next'
)) AS move ON job_schedule.id = move.id COLLATE {collation} AND job_schedule.accounted_until = move.was
SET job_schedule.accounted_until = move.new, job_schedule.next_run_at = move.next
"""


def claim_runs(
    session: Session,
    process_id: str,
    limit: int,
    lease_length: timedelta,
    groups: Sequence[str] = (),
    *,
    claim_token: str | None = None,
) -> list[ClaimedRun]:
    """Take up to `limit` waiting runs, highest priority first, then longest available; of `groups` only, if any.

    The tokens of their leases begin with `claim_token`, by which `give_back_claim` finds them.
    """
    now = session.now()
    claim_token = claim_token or new_token()
    rows = session.execute(_claimable(now, groups).limit(limit).with_for_update(skip_locked=True)).all()
    definitions = _definitions(session, {row.job_version_id for row in rows})
    claimed = []
    for row in rows:
        lease = Lease(f"{claim_token}.{row.id}", process_id, now + lease_length)
        if transitions.start(session, row.id, row.attempt, lease, now):
            definition = definitions[row.job_version_id]
            claimed.append(
                ClaimedRun(row.id, row.attempt, row.job, definition, row.schedule_id, row.scheduled_for, lease.token)
            )
            session.leaves(select(JobRun.id).where(JobRun.id == row.id, JobRun.lease_token == lease.token))
    return claimed


def give_back_claim(session: Session, claim_token: str, started: Container[str]) -> int:
    """Return the runs of a claim that were not started to the queue, untouched.  Returns how many.

    A claim whose COMMIT is on its way still is waited for.
    """
    held = session.execute(
        select(JobRun.id, JobRun.attempt, JobRun.lease_token)
        .where(JobRun.status == RunStatus.RUNNING, JobRun.lease_token.startswith(f"{claim_token}."))
        .with_for_update()
    ).all()
    return sum(
        transitions.give_back(session, run_id, attempt, token)
        for run_id, attempt, token in held
        if token is not None and token not in started
    )


def _definitions(session: Session, version_ids: set[int]) -> dict[int, dict[str, Any]]:
    """Read apart from the claim, which would lock them with the runs, and so hide all other runs of a job."""
    rows = session.execute(select(JobVersion.id, JobVersion.definition).where(JobVersion.id.in_(version_ids)))
    return {row.id: row.definition for row in rows}


def something_waits(session: Session, groups: Sequence[str] = ()) -> bool:
    """Whether a claim would find a run: a read, so that an idle worker writes nothing."""
    return session.execute(_claimable(session.now(), groups).limit(1)).first() is not None


def first_waiting(session: Session, since: datetime, *, but_for: Sequence[str] = ()) -> int | None:
    """The run that a claim would take first of those available since then, in other groups than these."""
    query = _claimable(since, ())
    row = session.execute((query.where(JobRun.group.not_in(but_for)) if but_for else query).limit(1)).first()
    return None if row is None else row.id


def _claimable(now: datetime, groups: Sequence[str]) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            JobRun.id,
            JobRun.attempt,
            JobRun.job,
            JobRun.job_version_id,
            JobRun.schedule_id,
            JobRun.scheduled_for,
        )
        .where(
            JobRun.status == RunStatus.QUEUED,
            JobRun.available_at <= now,
            JobRun.waits_for == 0,
            or_(~JobRun.in_turn, ~_has_earlier()),
        )
        .order_by(JobRun.priority.desc(), JobRun.available_at, JobRun.id)
        .with_hint(JobRun, "FORCE INDEX (ix_job_run_queue)", ON_SERVERS)
    )
    return query.where(JobRun.group.in_(groups)) if groups else query


def _has_earlier() -> ColumnElement[bool]:
    """Whether an earlier run of the same schedule has not ended: of an earlier firing, or a retry by hand."""
    earlier = JobRun.__table__.alias("earlier")
    return (
        select(earlier.c.id)
        .where(
            earlier.c.schedule_id == JobRun.schedule_id,
            earlier.c.status.in_(UNFINISHED),
            or_(
                earlier.c.firing_id < JobRun.firing_id,
                and_(earlier.c.firing_id.is_(None), earlier.c.id < JobRun.id),
            ),
        )
        .with_hint(earlier, "FORCE INDEX (ix_job_run_schedule)", ON_SERVERS)
        .exists()
    )


def renew_leases(session: Session, tokens: Sequence[str], lease_length: timedelta) -> set[str]:
    """Extend the leases of these tokens in one statement.  Returns the tokens that still hold.

    A run whose token is missing from the answer was taken from the worker: its attempt must be ended at once.
    """
    is_held = and_(JobRun.status == RunStatus.RUNNING, JobRun.lease_token.in_(tokens))
    # By their numbers alone (a token is there only while its run is running): a search among the running ones would
    # wait for whoever has locked any of them.
    ids = session.scalars(select(JobRun.id).where(is_held)).all()
    session.execute(
        update(JobRun)
        .where(JobRun.id.in_(ids), JobRun.lease_token.in_(tokens))
        .values(lease_until=session.now() + lease_length)
    )
    return {token for token in session.scalars(select(JobRun.lease_token).where(is_held)) if token is not None}


def cancellations(session: Session, tokens: Sequence[str]) -> dict[str, str]:
    """Of the runs held under these tokens, those that somebody asked to cancel: token -> who."""
    rows = session.execute(
        select(JobRun.lease_token, JobRun.cancel_requested_by).where(
            JobRun.status == RunStatus.RUNNING,
            JobRun.lease_token.in_(tokens),
            JobRun.cancel_requested_at.is_not(None),
        )
    )
    return {token: who or "somebody" for token, who in rows if token is not None}


@dataclass(frozen=True, slots=True)
class DueLook:
    """What one look at the index says: the database's clock, and when the next schedule is due (None: never)."""

    now: datetime
    next_due_at: datetime | None

    @property
    def is_due(self) -> bool:
        """Whether something is to be decided."""
        return self.next_due_at is not None and self.next_due_at <= self.now


def look(session: Session) -> DueLook:
    """One indexed read.  What is due is what a claim would find, also where the stored next run cannot be read."""
    now = session.now()
    first = session.execute(
        select(JobSchedule.next_run_at, (JobSchedule.next_run_at <= now).label("is_claimable"))
        .where(JobSchedule.next_run_at.is_not(None), JobSchedule.enabled, JobSchedule.archived_at.is_(None))
        .order_by(JobSchedule.next_run_at)
        .limit(1)
    ).first()
    if first is None:
        return DueLook(now, None)
    return DueLook(now, first.next_run_at or (now if first.is_claimable else None))


_INSTANT = JobSchedule.__table__.c.accounted_until.type
