"""What becomes of a job run when one of its attempts has ended, and of one whose worker vanished."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from schedmgr.core import succession, transitions
from schedmgr.core.transitions import Ending
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobRunAttempt, JobRunOutput, JobVersion
from schedmgr.vocabulary import OnLost, RunStatus

LONGEST_DELAY = timedelta(hours=1)
LOST_RETRIES = 3
"""How often a lost run is tried again at least, where the job says on_lost="retry": a job that kills its worker each
time must not do so for ever."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When a job's run is tried again.  `retries` is how many attempts may follow the first."""

    retries: int
    delay: timedelta
    on_lost: OnLost

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> "RetryRule":
        """The rule of a stored job definition, which leaves out what is as usual."""
        return cls(
            definition.get("retries", 0),
            timedelta(seconds=definition.get("retry_delay", 10)),
            OnLost(definition.get("on_lost", OnLost.FAIL)),
        )

    def next_attempt_after(self, attempt: int, status: RunStatus, spread: float) -> timedelta | None:
        """How long to wait before the attempt after this one; None if there is none.

        Exponential backoff: the delay doubles with each attempt, up to an hour.  `spread`, in [0, 1), moves it by up to
        a quarter either way, so that jobs which failed together do not come back together.
        """
        if status is RunStatus.LOST:
            if self.on_lost is OnLost.FAIL or attempt > max(self.retries, LOST_RETRIES):
                return None
        elif status not in (RunStatus.FAILED, RunStatus.TIMED_OUT) or attempt > self.retries:
            return None
        doubled = self.delay * (1 << min(attempt - 1, 20))
        return min(doubled, LONGEST_DELAY) * (0.75 + spread / 2)


def end_attempt(
    session: Session, run_id: int, attempt: int, definition: Mapping[str, Any], ending: Ending, lease_token: str
) -> bool:
    """Record the end of an attempt: for good, or with another one to come.  False: the lease was no longer ours."""
    delay = RetryRule.of(definition).next_attempt_after(attempt, ending.status, random.random())
    if delay is None or _is_cancelled(session, run_id):
        ended = transitions.finish(session, run_id, attempt, ending, lease_token)
        if ended:
            succession.ended(session, run_id, ending.status)
        return ended
    return transitions.try_again(session, run_id, attempt, ending, lease_token, session.now() + delay)


def lose(session: Session, run_id: int, attempt: int, lease_token: str, why: str) -> bool:
    """Record that a run's worker vanished.  False: somebody else did, or the worker came back in time."""
    definition = session.scalar(
        select(JobVersion.definition).join(JobRun, JobRun.job_version_id == JobVersion.id).where(JobRun.id == run_id)
    )
    printed = output_size(session, run_id, attempt)
    ending = Ending(RunStatus.LOST, session.now(), None, why, *printed)
    return end_attempt(session, run_id, attempt, definition or {}, ending, lease_token)


def output_size(session: Session, run_id: int, attempt: int) -> tuple[int, int]:
    """How many bytes an attempt has printed, and how many of them were not kept."""
    found = session.execute(
        select(JobRunAttempt.output_bytes, JobRunAttempt.output_left_out).where(
            JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt
        )
    ).first()
    return (found.output_bytes, found.output_left_out) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """A stretch of output as it is stored; see models.JobRunOutput."""

    seq: int
    first_line: int
    byte_offset: int
    byte_count: int
    segments: str


def store_output(
    session: Session,
    run_id: int,
    attempt: int,
    chunks: list[OutputChunk],
    dropped: range,
    total_bytes: int,
    left_out_bytes: int,
) -> None:
    """Store stretches of output and delete those that the tail has left behind.  The same again changes nothing."""
    of_attempt = (JobRunOutput.run_id == run_id, JobRunOutput.attempt == attempt)
    gone = [chunk.seq for chunk in chunks]
    session.execute(delete(JobRunOutput).where(*of_attempt, JobRunOutput.seq.in_(gone)))
    if dropped:
        session.execute(
            delete(JobRunOutput).where(*of_attempt, JobRunOutput.seq >= dropped.start, JobRunOutput.seq < dropped.stop)
        )
    kept = [chunk for chunk in chunks if chunk.seq not in dropped]
    if kept:
        session.execute(
            insert(JobRunOutput),
            [
                {
                    "run_id": run_id,
                    "attempt": attempt,
                    "seq": chunk.seq,
                    "first_line": chunk.first_line,
                    "byte_offset": chunk.byte_offset,
                    "byte_count": chunk.byte_count,
                    "segments": chunk.segments,
                }
                for chunk in kept
            ],
        )
    session.execute(
        update(JobRunAttempt)
        .where(JobRunAttempt.run_id == run_id, JobRunAttempt.attempt == attempt)
        .values(output_bytes=total_bytes, output_left_out=left_out_bytes)
    )


def _is_cancelled(session: Session, run_id: int) -> bool:
    """Nobody can ask for it any more until the transaction ends."""
    of_run = select(JobRun.cancel_requested_at).where(JobRun.id == run_id)
    asked: datetime | None = session.scalar(of_run.with_for_update())
    return asked is not None
