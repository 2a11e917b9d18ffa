"""Definitions -> tables.  Whatever changes when a schedule is due first settles it, under the old definition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, insert, select, update

from schedmgr.core import comparison, installation, loading, locking, periods, settlement
from schedmgr.core.comparison import Change, ChangeKind, StoredJob, StoredSchedule
from schedmgr.core.definitions import Definitions, Job, Schedule, fingerprint_of
from schedmgr.core.settlement import Settlement
from schedmgr.database.engine import Session
from schedmgr.database.models import Job as JobRow
from schedmgr.database.models import JobSchedule, JobVersion
from schedmgr.errors import Refused

DUE_FIELDS = ("cron", "timezone", "starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did: the changes, and what it had to settle before."""

    changes: tuple[Change, ...]
    settled: Settlement


def plan(session: Session, definitions: Definitions, environment: str) -> tuple[Change, ...]:
    """What a sync of these definitions would change.  `definitions` are those of the environment already.

    Raises Refused as `sync` would.
    """
    _refuse_wrong_environment(session, definitions, environment)
    _refuse_sample(session, definitions)
    return comparison.compare(session, definitions)


def sync(
    session: Session,
    definitions: Definitions,
    environment: str,
    *,
    by: str,
    process_id: str | None = None,
    change_environment: bool = False,
) -> Synced:
    """Write the definitions of an environment to the tables.  `by` goes into the record of what is in force.

    New schedules arrive off; changed ones keep their switch; those that left are archived with their history, and come
    back off.  Raises Refused, with nothing written, unless `change_environment`: for another environment than the
    tables', when no schedule would be left, or when the sample would replace a project's own definitions.
    """
    locking.hold_definitions(session)
    if not change_environment:
        _refuse_wrong_environment(session, definitions, environment)
        _refuse_sample(session, definitions)
    _hold_what_changes(session, definitions)
    changes = comparison.compare(session, definitions)
    stored = comparison.stored_schedules(session)
    touched = [change.id for change in changes if change.thing == "schedule" and change.enabled]
    restarted = [id for id in periods.of_other_tzdata(session) if id not in touched]
    settled = settlement.settle(session, [*touched, *restarted], process_id=process_id)
    _write_jobs(session, definitions)
    _write_schedules(session, definitions, stored)
    _archive(session, [c.id for c in changes if c.thing == "schedule" and c.kind is ChangeKind.ARCHIVE])
    _begin_anew(session, _due_otherwise(changes), restarted)
    installation.set_environment(session, environment, by)
    installation.put_in_force(session, definitions.fingerprint, definitions.source, len(definitions.schedules), by)
    return Synced(changes, settled)


def _hold_what_changes(session: Session, definitions: Definitions) -> None:
    """Wait for whoever is just switching or deciding one of these schedules: what is compared then, stays so."""
    changed = [change.id for change in comparison.compare(session, definitions) if change.thing == "schedule"]
    locking.lock_schedules(session, [*changed, *periods.of_other_tzdata(session)])


def was_replaced(session: Session, definitions: Definitions) -> bool:
    """Whether these definitions were in force once, and others took their place."""
    in_force = installation.definitions_in_force(session)
    return in_force is not None and definitions.fingerprint in in_force.replaced


def _refuse_wrong_environment(session: Session, definitions: Definitions, environment: str) -> None:
    of_tables = installation.environment(session)
    if of_tables not in (None, environment):
        raise Refused(
            f"The tables are those of the environment {of_tables}, this is {environment}. Set APP_ENV={of_tables}, or, "
            "if the tables are to change sides, run: schedmgr sync --change-environment"
        )
    if not definitions.schedules:
        raise Refused(
            f"No schedule of {definitions.source} is for the environment {environment}: every schedule would be "
            "archived. Check APP_ENV and `environments`, or run: schedmgr sync --change-environment"
        )


def _refuse_sample(session: Session, definitions: Definitions) -> None:
    """A daemon that was started in a wrong folder finds the sample there, and must not archive everything for it."""
    in_force = installation.definitions_in_force(session)
    if in_force is not None and loading.is_sample(definitions.source) and not loading.is_sample(in_force.source):
        raise Refused(
            f"The shipped sample would replace {in_force.source}: every schedule of that would be archived. Start in "
            "its folder or set SCHEDMGR_DEFINITIONS, or, if it is meant, run: schedmgr sync --change-environment"
        )


def _write_jobs(session: Session, definitions: Definitions) -> None:
    stored = comparison.stored_jobs(session)
    versions = _versions(session, definitions.jobs)
    for position, job in enumerate(definitions.jobs):
        row = stored.get(job.name)
        if row is not None and row.is_still(job, position):
            continue
        values = {
            "group": job.group,
            "description": job.description,
            "version_id": versions[job.name],
            "priority": job.priority,
            "position": position,
            "archived_at": None,
        }
        if row is not None:
            session.execute(update(JobRow).where(JobRow.name == job.name).values(values))
        else:
            session.execute(insert(JobRow).values(name=job.name, **values))
    _archive_jobs(session, definitions, stored)


def _archive_jobs(session: Session, definitions: Definitions, stored: Mapping[str, StoredJob]) -> None:
    wanted = {job.name for job in definitions.jobs}
    gone = [name for name, row in stored.items() if name not in wanted and not row.archived]
    if gone:
        session.execute(update(JobRow).where(JobRow.name.in_(gone)).values(archived_at=session.now()))


def _versions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """The id of each job's version, made where this definition was never seen."""
    known = {
        (job, fingerprint): id
        for id, job, fingerprint in session.execute(select(JobVersion.id, JobVersion.job, JobVersion.fingerprint))
    }
    found = {}
    for job in jobs:
        fingerprint, data = comparison.version_of(job)
        found[job.name] = known.get((job.name, fingerprint)) or _new_version(session, job.name, fingerprint, data)
    return found


def _new_version(session: Session, job: str, fingerprint: str, data: Mapping[str, Any]) -> int:
    values = {"job": job, "fingerprint": fingerprint, "definition": data, "created_at": session.now()}
    inserted = session.execute(insert(JobVersion).values(values)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def _write_schedules(session: Session, definitions: Definitions, stored: Mapping[str, StoredSchedule]) -> None:
    for position, schedule in enumerate(definitions.schedules):
        row = stored.get(schedule.id)
        values = _columns(schedule) | {"position": position}
        if row is None:
            session.execute(insert(JobSchedule).values(id=schedule.id, **values, **_new(session)))
        elif row.archived:
            back = values | {"archived_at": None, "changed_at": session.now()}
            session.execute(update(JobSchedule).where(JobSchedule.id == schedule.id).values(back))
        elif row.fingerprint != values["fingerprint"]:
            changed = values | {"changed_at": _after_what_is_decided(session)}
            session.execute(update(JobSchedule).where(JobSchedule.id == schedule.id).values(changed))
        elif row.position != position:
            session.execute(update(JobSchedule).where(JobSchedule.id == schedule.id).values(position=position))


def _after_what_is_decided(session: Session) -> ColumnElement[datetime]:
    """Now; after a clock that was set back, the instant up to which the old definition has decided."""
    return case((JobSchedule.accounted_until > session.now(), JobSchedule.accounted_until), else_=session.now())


def _new(session: Session) -> dict[str, Any]:
    """A schedule that is off, and accounted for from now on."""
    return {
        "enabled": False,
        "accounted_until": session.now(),
        "next_run_at": None,
        "created_at": session.now(),
        "changed_at": session.now(),
    }


def _columns(schedule: Schedule) -> dict[str, Any]:
    data = schedule.as_data()
    return {
        "description": schedule.description,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "execution_mode": schedule.execution_mode,
        "job_group": schedule.job_group,
        "job": schedule.job,
        "environments": list(schedule.environments),
        "missed": schedule.missed,
        "catch_up_limit": schedule.catch_up_limit,
        "overlap": schedule.overlap,
        "grace": schedule.grace,
        "jitter": schedule.jitter,
        "starts_at": schedule.starts_at,
        "ends_at": schedule.ends_at,
        "expect_within": schedule.expect_within,
        "definition": data,
        "fingerprint": fingerprint_of(data),
    }


def _archive(session: Session, ids: Sequence[str]) -> None:
    if not ids:
        return
    periods.end(session, ids)
    session.execute(
        update(JobSchedule)
        .where(JobSchedule.id.in_(ids))
        .values(enabled=False, archived_at=session.now(), next_run_at=None, changed_at=session.now())
    )


def _due_otherwise(changes: Sequence[Change]) -> list[str]:
    """Schedules that are on and whose due instants changed."""
    return [
        change.id
        for change in changes
        if change.thing == "schedule"
        and change.kind is ChangeKind.CHANGE
        and change.enabled
        and any(field.name in DUE_FIELDS for field in change.fields)
    ]


def _begin_anew(session: Session, changed: Sequence[str], restarted: Sequence[str]) -> None:
    """New periods and next runs for what is due otherwise from now on."""
    periods.end(session, [*changed, *restarted])
    states = settlement.schedules(session, [*changed, *restarted])
    periods.begin(session, [(state.timetable, state.accounted_until) for state in states])
    locking.account(
        session,
        [
            locking.Move(state.id, state.accounted_until, state.accounted_until, settlement.next_run(state))
            for state in states
        ],
    )
