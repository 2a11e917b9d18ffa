"""What the definitions would change in the tables: the plan that is shown first, and that sync then carries out."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from schedmgr.core.cron import CronError
from schedmgr.core.definitions import JSON, Definitions, Job, Schedule, fingerprint_of
from schedmgr.core.timetable import Timetable
from schedmgr.database.engine import Session
from schedmgr.database.models import Job as JobRow
from schedmgr.database.models import JobSchedule, JobVersion


class ChangeKind(StrEnum):
    """What becomes of a schedule or a job."""

    ADD = "add"
    CHANGE = "change"
    ARCHIVE = "archive"
    RESTORE = "restore"  # it was archived and comes back


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a definition that differs.  JSON values."""

    name: str
    old: JSON
    new: JSON


@dataclass(frozen=True, slots=True)
class Change:
    """What would change about one schedule or job.  Next runs are None for what is off."""

    kind: ChangeKind
    thing: str  # schedule or job
    id: str
    fields: tuple[Field, ...] = ()
    old_next_run_at: datetime | None = None
    new_next_run_at: datetime | None = None
    enabled: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """What the tables hold of a schedule, as far as a comparison needs it."""

    definition: Mapping[str, Any]
    fingerprint: str
    position: int
    enabled: bool
    archived: bool
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredJob:
    """What the tables hold of a job."""

    definition: Mapping[str, Any]
    fingerprint: str
    position: int
    archived: bool

    def is_still(self, job: Job, position: int) -> bool:
        """Whether the tables hold this job as it is defined, at its place."""
        return not self.archived and self.position == position and self.fingerprint == version_of(job)[0]


def compare(session: Session, definitions: Definitions) -> tuple[Change, ...]:
    """Everything that writing these definitions to the tables would change, schedules first."""
    schedules = stored_schedules(session)
    jobs = stored_jobs(session)
    return (
        *_schedule_changes(session.now(), schedules, definitions),
        *_job_changes(jobs, definitions),
    )


def stored_schedules(session: Session) -> dict[str, StoredSchedule]:
    """Every schedule of the tables, archived ones included."""
    rows = session.execute(
        select(
            JobSchedule.id,
            JobSchedule.definition,
            JobSchedule.fingerprint,
            JobSchedule.position,
            JobSchedule.enabled,
            JobSchedule.archived_at,
            JobSchedule.next_run_at,
        )
    )
    return {
        id: StoredSchedule(definition, fingerprint, position, enabled, archived_at is not None, next_run_at)
        for id, definition, fingerprint, position, enabled, archived_at, next_run_at in rows
    }


def stored_jobs(session: Session) -> dict[str, StoredJob]:
    """Every job of the tables, archived ones included."""
    rows = session.execute(
        select(JobRow.name, JobVersion.definition, JobVersion.fingerprint, JobRow.position, JobRow.archived_at).join(
            JobVersion, JobVersion.id == JobRow.version_id
        )
    )
    return {
        name: StoredJob(definition, fingerprint, position, archived_at is not None)
        for name, definition, fingerprint, position, archived_at in rows
    }


def timetable_of(schedule: Schedule) -> Timetable:
    """When a schedule as defined is due."""
    return Timetable(schedule.id, schedule.cron, schedule.timezone, schedule.starts_at, schedule.ends_at)


def _schedule_changes(
    now: datetime, stored: Mapping[str, StoredSchedule], definitions: Definitions
) -> Iterator[Change]:
    wanted = {schedule.id: schedule for schedule in definitions.schedules}
    leaving = {id: row for id, row in stored.items() if id not in wanted and not row.archived}
    for schedule in definitions.schedules:
        row = stored.get(schedule.id)
        data = schedule.as_data()
        if row is None or row.archived:
            yield Change(
                ChangeKind.ADD if row is None else ChangeKind.RESTORE,
                "schedule",
                schedule.id,
                note=_rename_note(schedule, leaving) or "It arrives off.",
            )
        elif row.fingerprint != fingerprint_of(data):
            yield Change(
                ChangeKind.CHANGE,
                "schedule",
                schedule.id,
                fields=differences(row.definition, data),
                old_next_run_at=row.next_run_at,
                new_next_run_at=_next(schedule, now) if row.enabled else None,
                enabled=row.enabled,
            )
    for id, row in leaving.items():
        yield Change(ChangeKind.ARCHIVE, "schedule", id, old_next_run_at=row.next_run_at, enabled=row.enabled)


def _job_changes(stored: Mapping[str, StoredJob], definitions: Definitions) -> Iterator[Change]:
    for job in definitions.jobs:
        row = stored.get(job.name)
        data = job.as_data()
        if row is None:
            yield Change(ChangeKind.ADD, "job", job.name)
        elif row.archived:
            yield Change(ChangeKind.RESTORE, "job", job.name, fields=differences(row.definition, data))
        elif row.fingerprint != fingerprint_of(data):
            yield Change(ChangeKind.CHANGE, "job", job.name, fields=differences(row.definition, data))
    wanted = {job.name for job in definitions.jobs}
    for name, row in stored.items():
        if name not in wanted and not row.archived:
            yield Change(ChangeKind.ARCHIVE, "job", name)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields in which two definitions differ."""
    names = list(dict.fromkeys([*old, *new]))
    return tuple(Field(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def _rename_note(schedule: Schedule, leaving: Mapping[str, StoredSchedule]) -> str:
    """Whether it looks like one that leaves, under another id: the same content, or nearly the same id."""
    own = {name: value for name, value in schedule.as_data().items() if name != "id"}
    same = [id for id, row in leaving.items() if {n: v for n, v in row.definition.items() if n != "id"} == own]
    alike = same or difflib.get_close_matches(schedule.id, leaving, n=1, cutoff=0.8)
    return f"It looks like a rename of {alike[0]}; it arrives off." if alike else ""


def _next(schedule: Schedule, now: datetime) -> datetime | None:
    try:
        return timetable_of(schedule).after(now)
    except CronError:
        return None


def version_of(job: Job) -> tuple[str, dict[str, JSON]]:
    """A job's fingerprint and data, as its version is stored."""
    data = job.as_data()
    return fingerprint_of(data), data
