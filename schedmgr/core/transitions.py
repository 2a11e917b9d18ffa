"""How a job run's status may change.  No other code sets `job_run.status` or `job_run_attempt.status`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobRunAttempt
from schedmgr.vocabulary import RunStatus

ALLOWED = {
    RunStatus.QUEUED: {RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.SKIPPED},
    RunStatus.RUNNING: {
        RunStatus.QUEUED,
        RunStatus.SUCCEEDED,
        RunStatus.FAILED,
        RunStatus.TIMED_OUT,
        RunStatus.CANCELLED,
        RunStatus.LOST,
    },
}
NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_until": None}


class ForbiddenMove(ValueError):
    """No run may ever go that way: a bug of the caller."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's claim on one attempt of a run: its secret, its holder, and until when it holds unless renewed."""

    token: str
    process_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    status: RunStatus
    at: datetime
    exit_code: int | None = None
    error: str | None = None
    output_bytes: int = 0
    output_left_out: int = 0


def start(session: Session, run_id: int, attempt: int, lease: Lease, at: datetime) -> bool:
    """QUEUED -> RUNNING: the attempt begins under this lease.  False: another process moved the run first."""
    moved = _move(
        session,
        run_id,
        RunStatus.QUEUED,
        RunStatus.RUNNING,
        None,
        attempt=attempt,
        started_at=at,
        exit_code=None,
        error=None,
        process_id=lease.process_id,
        lease_token=lease.token,
        lease_until=lease.until,
    )
    if moved:
        session.execute(
            insert(JobRunAttempt).values(
                run_id=run_id,
                attempt=attempt,
                status=RunStatus.RUNNING,
                process_id=lease.process_id,
                started_at=at,
                output_bytes=0,
                output_left_out=0,
            )
        )
    return moved


def finish(session: Session, run_id: int, attempt: int, ending: Ending, lease_token: str) -> bool:
    """RUNNING -> an end, for good.  False: the lease is no longer ours; leave the run alone."""
    moved = _move(
        session,
        run_id,
        RunStatus.RUNNING,
        ending.status,
        lease_token,
        finished_at=ending.at,
        exit_code=ending.exit_code,
        error=ending.error,
        **NO_LEASE,
    )
    if moved:
        _end_attempt(session, run_id, attempt, ending)
    return moved


def try_again(
    session: Session, run_id: int, attempt: int, ending: Ending, lease_token: str, available_at: datetime
) -> bool:
    """RUNNING -> QUEUED: this attempt ended, the next may start at `available_at`.  False: the lease is not ours."""
    moved = _move(
        session,
        run_id,
        RunStatus.RUNNING,
        RunStatus.QUEUED,
        lease_token,
        attempt=attempt + 1,
        available_at=available_at,
        exit_code=ending.exit_code,
        error=ending.error,
        process_id=None,
        **NO_LEASE,
    )
    if moved:
        _end_attempt(session, run_id, attempt, ending)
    return moved


def give_back(session: Session, run_id: int, attempt: int, lease_token: str) -> bool:
    """RUNNING -> QUEUED untouched: the attempt was claimed, but nothing of it was started."""
    moved = _move(
        session,
        run_id,
        RunStatus.RUNNING,
        RunStatus.QUEUED,
        lease_token,
        started_at=None,
        process_id=None,
        **NO_LEASE,
    )
    if moved:
        session.execute(delete(JobRunAttempt).where(JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt))
    return moved


def cancel_queued(session: Session, run_id: int, at: datetime, error: str) -> bool:
    """QUEUED -> CANCELLED.  False: it has been started or ended meanwhile."""
    return _move(session, run_id, RunStatus.QUEUED, RunStatus.CANCELLED, None, finished_at=at, error=error)


def skip(session: Session, run_id: int, at: datetime, error: str) -> bool:
    """QUEUED -> SKIPPED: what it comes after did not succeed.  False: it has been started or ended meanwhile."""
    return _move(session, run_id, RunStatus.QUEUED, RunStatus.SKIPPED, None, finished_at=at, error=error)


def _move(session: Session, run_id: int, was: RunStatus, to: RunStatus, held: str | None, **values: Any) -> bool:
    """Change the status if it still is `was`; a running run only under the lease token `held`."""
    if to not in ALLOWED.get(was, ()):
        raise ForbiddenMove(f"a run never goes from {was} to {to}")
    moved = update(JobRun).where(JobRun.id == run_id, JobRun.status == was).values(status=to, **values)
    if was is RunStatus.RUNNING:
        moved = moved.where(JobRun.lease_token == held)
    return session.execute(moved).rowcount == 1


def _end_attempt(session: Session, run_id: int, attempt: int, ending: Ending) -> None:
    session.execute(
        update(JobRunAttempt)
        .where(JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt)
        .values(
            status=ending.status,
            finished_at=ending.at,
            exit_code=ending.exit_code,
            error=ending.error,
            output_bytes=ending.output_bytes,
            output_left_out=ending.output_left_out,
        )
    )
    session.leaves(
        select(JobRunAttempt.attempt).where(
            JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt, JobRunAttempt.finished_at == ending.at
        )
    )
