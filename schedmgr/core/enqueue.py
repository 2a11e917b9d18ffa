"""The ONE place that inserts firings and job runs: by the clock, by hand, by the API alike."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from schedmgr.database.engine import Session
from schedmgr.database.models import Job, JobRun, JobVersion, ScheduleFiring
from schedmgr.vocabulary import Decision, ExecutionMode, Reason, RunStatus, Trigger


@dataclass(frozen=True, slots=True)
class JobToRun:
    """A job as it goes on the queue: the version in force at that moment."""

    name: str
    group: str
    version_id: int
    priority: int
    after: tuple[str, ...] = ()
    """Jobs that must succeed first, where they are in the same firing."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a schedule runs."""

    mode: ExecutionMode
    group: str | None = None
    job: str | None = None

    def of(self, jobs: Iterable[JobToRun]) -> list[JobToRun]:
        """The jobs that are run, in the order of the definitions."""
        if self.mode is ExecutionMode.ALL_JOBS:
            return list(jobs)
        if self.mode is ExecutionMode.GROUP:
            return [job for job in jobs if job.group == self.group]
        return [job for job in jobs if job.name == self.job]


@dataclass(frozen=True, slots=True)
class Firing:
    """One row of schedule_firing to be, and the job runs that come with it (none for a skipped one).

    `scheduled_for` is None for a trigger by hand.  `jitter` spreads the runs over that many seconds.
    """

    schedule_id: str
    scheduled_for: datetime | None
    trigger: Trigger
    decision: Decision
    jobs: Sequence[JobToRun] = ()
    reason: Reason | None = None
    detail: str | None = None
    missed_count: int = 0
    missed_until: datetime | None = None
    in_turn: bool = False
    jitter: timedelta = timedelta(0)
    requested_by: str | None = None
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What was written for one firing."""

    firing_id: int
    job_run_ids: tuple[int, ...]


def active_jobs(session: Session) -> list[JobToRun]:
    """Every job of the definitions in force, in their order."""
    rows = session.execute(
        select(Job.name, Job.group, Job.version_id, Job.priority, JobVersion.definition)
        .join(JobVersion, JobVersion.id == Job.version_id)
        .where(Job.archived_at.is_(None))
        .order_by(Job.position, Job.name)
    )
    return [
        JobToRun(name, group, version_id, priority, tuple(definition.get("after", ())))
        for name, group, version_id, priority, definition in rows
    ]


def record(session: Session, firings: Sequence[Firing], *, claim_token: str, process_id: str | None) -> tuple[int, ...]:
    """Write firings and their job runs, in bulk.  Returns the firings' ids, in their order.

    `claim_token` is new for each transaction: by it the rows are found again, also after a COMMIT in doubt.
    `process_id`: the daemon or web process that decided; None for the command line.
    Raises IntegrityError if an occurrence has its firing already: somebody was first, and nothing may be kept.
    """
    if not firings:
        return ()
    now = session.now()
    session.execute(insert(ScheduleFiring), [_firing_row(firing, now, claim_token, process_id) for firing in firings])
    session.leaves(select(ScheduleFiring.id).where(ScheduleFiring.claim_token == claim_token).limit(1))
    by_occurrence = _ids_by_occurrence(session, claim_token)
    ids = tuple(by_occurrence[firing.schedule_id, firing.scheduled_for] for firing in firings)
    runs = [row for firing, id in zip(firings, ids, strict=True) for row in _run_rows(firing, id, now)]
    if runs:
        session.execute(insert(JobRun), runs)
    return ids


def record_one(session: Session, firing: Firing, *, claim_token: str, process_id: str | None) -> Enqueued:
    """Write one firing and say which rows it became."""
    (firing_id,) = record(session, [firing], claim_token=claim_token, process_id=process_id)
    run_ids = session.scalars(select(JobRun.id).where(JobRun.firing_id == firing_id).order_by(JobRun.id)).all()
    return Enqueued(firing_id, tuple(run_ids))


def record_run(
    session: Session,
    job: JobToRun,
    *,
    trigger: Trigger,
    requested_by: str,
    request_key: str | None = None,
    retry_of: int | None = None,
    schedule_id: str | None = None,
) -> int:
    """Put one job on the queue by hand, without a schedule's firing.  Returns the run's id."""
    row = _run_row(job, session.now(), session.now()) | {
        "schedule_id": schedule_id,
        "trigger": trigger,
        "requested_by": requested_by,
        "request_key": request_key,
        "retry_of": retry_of,
    }
    inserted = session.execute(insert(JobRun).values(row)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def _firing_row(firing: Firing, now: datetime, claim_token: str, process_id: str | None) -> dict[str, Any]:
    return {
        "schedule_id": firing.schedule_id,
        "scheduled_for": firing.scheduled_for,
        "trigger": firing.trigger,
        "decision": firing.decision,
        "reason": firing.reason,
        "detail": firing.detail,
        "missed_count": firing.missed_count,
        "missed_until": firing.missed_until,
        "decided_at": now,
        "process_id": process_id,
        "requested_by": firing.requested_by,
        "job_run_count": len(firing.jobs),
        "claim_token": claim_token,
        "request_key": firing.request_key,
    }


def _ids_by_occurrence(session: Session, claim_token: str) -> Mapping[tuple[str, datetime | None], int]:
    rows = session.execute(
        select(ScheduleFiring.id, ScheduleFiring.schedule_id, ScheduleFiring.scheduled_for).where(
            ScheduleFiring.claim_token == claim_token
        )
    )
    return {(schedule_id, scheduled_for): firing_id for firing_id, schedule_id, scheduled_for in rows}


def _run_rows(firing: Firing, firing_id: int, now: datetime) -> Iterable[dict[str, Any]]:
    together = {job.name for job in firing.jobs}
    for job in firing.jobs:
        yield _run_row(job, now, now + _jitter(firing, job)) | {
            "firing_id": firing_id,
            "schedule_id": firing.schedule_id,
            "scheduled_for": firing.scheduled_for,
            "trigger": firing.trigger,
            "requested_by": firing.requested_by,
            "in_turn": firing.in_turn,
            "waits_for": len(together.intersection(job.after)),
        }


def _run_row(job: JobToRun, now: datetime, available_at: datetime) -> dict[str, Any]:
    return {
        "firing_id": None,
        "schedule_id": None,
        "scheduled_for": None,
        "job": job.name,
        "group": job.group,
        "job_version_id": job.version_id,
        "requested_by": None,
        "status": RunStatus.QUEUED,
        "attempt": 1,
        "priority": job.priority,
        "in_turn": False,
        "waits_for": 0,
        "queued_at": now,
        "available_at": available_at,
        "retry_of": None,
        "request_key": None,
    }


def _jitter(firing: Firing, job: JobToRun) -> timedelta:
    """A delay within the jitter that looks random but is the same whoever works it out."""
    if not firing.jitter:
        return firing.jitter
    digest = hashlib.sha256(f"{firing.schedule_id} {firing.scheduled_for} {job.name}".encode()).digest()
    return firing.jitter * (int.from_bytes(digest[:4], "big") / 2**32)
