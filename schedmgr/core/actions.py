"""What a person does to schedules and runs: switch, run, cancel, retry, pause.  Each leaves its line in the audit."""

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, insert, or_, select, update

from schedmgr.core import audit, enqueue, locking, periods, phrases, settlement, succession, transitions
from schedmgr.core.audit import Requester
from schedmgr.core.cron import CronError
from schedmgr.core.enqueue import Enqueued, Firing
from schedmgr.core.settlement import ScheduleState
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobSchedule, Pause, ScheduleFiring
from schedmgr.errors import NotFound, Refused
from schedmgr.vocabulary import Decision, Reason, RunStatus


def enable(session: Session, schedule_id: str, by: Requester) -> None:
    """Turn a schedule on: what is due from now on fires.  One that is on already is left as it is.

    Raises Refused if its expression or zone cannot be read.
    """
    state = _locked_schedule(session, schedule_id)
    if state.enabled:
        return
    accounted_until = max(session.now(), state.accounted_until)
    try:
        next_run_at = state.timetable.after(accounted_until)
    except CronError as error:
        raise Refused(f"Schedule {schedule_id} cannot be turned on: {error}") from error
    session.execute(
        update(JobSchedule)
        .where(JobSchedule.id == schedule_id)
        .values(enabled=True, accounted_until=accounted_until, next_run_at=next_run_at)
    )
    periods.begin(session, [(state.timetable, accounted_until)])
    audit.note(session, by, "enable", f"turned on {schedule_id}", schedule_id=schedule_id)


def disable(session: Session, schedule_id: str, by: Requester) -> None:
    """Turn a schedule off, after deciding what is due up to now.  One that is off already is left as it is."""
    state = _locked_schedule(session, schedule_id)
    if not state.enabled:
        return
    settlement.settle(session, [schedule_id], process_id=by.process_id)
    session.execute(update(JobSchedule).where(JobSchedule.id == schedule_id).values(enabled=False, next_run_at=None))
    periods.end(session, [schedule_id])
    audit.note(session, by, "disable", f"turned off {schedule_id}", schedule_id=schedule_id)


def run_now(session: Session, schedule_id: str, by: Requester, request_key: str | None = None) -> Enqueued:
    """Run a schedule's jobs now, beside its cron times: whatever its switch, a pause or a run that is going say.

    The same `request_key` again enqueues nothing and gives the same answer.  Raises Refused if it was used for another
    schedule, or if the schedule runs no job.
    """
    state = _locked_schedule(session, schedule_id)
    if request_key is not None and (before := _firing_of(session, schedule_id, request_key)) is not None:
        return before
    jobs = state.selection.of(enqueue.active_jobs(session))
    if not jobs:
        raise Refused(
            f"Schedule {schedule_id} has no job to run. See what it runs: schedmgr schedules show {schedule_id}"
        )
    firing = Firing(
        schedule_id=schedule_id,
        scheduled_for=None,
        trigger=by.trigger,
        decision=Decision.ENQUEUED,
        jobs=jobs,
        requested_by=by.who,
        request_key=request_key,
    )
    enqueued = enqueue.record_one(session, firing, claim_token=locking.new_token(), process_id=by.process_id)
    audit.note(
        session, by, "run", f"ran {schedule_id} now ({phrases.counted(len(jobs), 'job')})", schedule_id=schedule_id
    )
    return enqueued


def run_job(session: Session, name: str, by: Requester, request_key: str | None = None) -> int:
    """Put one job on the queue by itself.  Returns the run's id; the same `request_key` again gives the same one.

    Raises Refused if the key was used for something else.
    """
    known = {job.name: job for job in enqueue.active_jobs(session)}
    if name not in known:
        raise NotFound(no_such("job", name, known))
    if request_key is not None and (before := _run_of(session, request_key, name, None)) is not None:
        return before
    run_id = enqueue.record_run(session, known[name], trigger=by.trigger, requested_by=by.who, request_key=request_key)
    audit.note(session, by, "run", f"ran job {name} now", run_id=run_id)
    return run_id


def cancel(session: Session, run_id: int, by: Requester) -> RunStatus:
    """Cancel a run: at once while it waits; a running one is asked to stop.  Returns the status it then has.

    Raises Refused if it has ended.
    """
    status = _status(session, run_id, hold=True)
    attempt = session.scalar(select(JobRun.attempt).where(JobRun.id == run_id))
    before = "it started" if attempt == 1 else f"attempt {attempt} started"
    if status is RunStatus.QUEUED and transitions.cancel_queued(
        session, run_id, session.now(), f"cancelled by {by.who} before {before}"
    ):
        succession.ended(session, run_id, RunStatus.CANCELLED)
        audit.note(session, by, "cancel", f"cancelled run {run_id}", run_id=run_id)
        return RunStatus.CANCELLED
    if status.is_over:
        raise Refused(f"Run {run_id} has ended already: {status}. Nothing is left to cancel.")
    asked = session.execute(
        update(JobRun)
        .where(JobRun.id == run_id, JobRun.status == RunStatus.RUNNING, JobRun.cancel_requested_at.is_(None))
        .values(cancel_requested_at=session.now(), cancel_requested_by=by.who)
    ).rowcount
    if asked:
        audit.note(session, by, "cancel", f"asked run {run_id} to stop", run_id=run_id)
    return _status(session, run_id)


def retry(session: Session, run_id: int, by: Requester, request_key: str | None = None) -> int:
    """Run an ended run's job again, in its newest version, as a new run.  Returns the new run's id.

    Raises Refused while the run has not ended, when its job has left the definitions, or when the key was used for
    something else.
    """
    status = _status(session, run_id)
    if not status.is_over:
        raise Refused(f"Run {run_id} is {status.lower()}. A run can be retried once it has ended.")
    name, schedule_id = session.execute(select(JobRun.job, JobRun.schedule_id).where(JobRun.id == run_id)).one()
    if request_key is not None and (before := _run_of(session, request_key, name, run_id)) is not None:
        return before
    job = next((job for job in enqueue.active_jobs(session) if job.name == name), None)
    if job is None:
        raise Refused(f"Job {name} has left the definitions. Put it back to run it again.")
    new_id = enqueue.record_run(
        session,
        job,
        trigger=by.trigger,
        requested_by=by.who,
        request_key=request_key,
        retry_of=run_id,
        schedule_id=schedule_id,
    )
    audit.note(session, by, "retry", f"retried run {run_id} as {new_id}", schedule_id=schedule_id, run_id=new_id)
    return new_id


def pause(session: Session, by: Requester, reason: str, until: datetime | timedelta | None = None) -> datetime | None:
    """Stop all firing until someone resumes, or until an instant, or for a span.  What is due up to now is decided
    first.  Returns until when.

    Raises Refused if all is paused already, if there is no reason, or if `until` has passed.
    """
    locking.hold_pauses(session, to_change=True)
    now = session.now()
    until = now + until if isinstance(until, timedelta) else until
    if not reason.strip():
        raise Refused("A pause needs a reason: people will ask why nothing fires.")
    if until is not None and until <= now:
        raise Refused(f"The pause would end at {phrases.iso(until)}, which has passed. Name a later instant.")
    if is_paused(session):
        raise Refused("All schedules are paused already. Resume first to pause anew.")
    _settle_everything(session, by)
    session.execute(insert(Pause).values(from_at=now, until_at=until, by=by.who, reason=reason.strip()))
    audit.note(session, by, "pause", f"paused all schedules: {reason.strip()}")
    return until


def resume(session: Session, by: Requester) -> None:
    """End the pause that holds now.  What was due in it is recorded as missed by it; nothing of it fires.

    Raises Refused if nothing is paused.
    """
    locking.hold_pauses(session, to_change=True)
    if not is_paused(session):
        raise Refused("Nothing is paused.")
    _settle_everything(session, by)
    now = session.now()
    for pause_id, from_at in session.execute(
        select(Pause.id, Pause.from_at).where(
            Pause.resumed_by.is_(None), Pause.from_at <= now, or_(Pause.until_at.is_(None), Pause.until_at > now)
        )
    ).all():
        until_at = max(now, _newest_decision_by_pause(session, from_at) or now)
        session.execute(update(Pause).where(Pause.id == pause_id).values(until_at=until_at, resumed_by=by.who))
    audit.note(session, by, "resume", "resumed all schedules")


def is_paused(session: Session) -> bool:
    """Whether a pause holds now."""
    now = session.now()
    return any(pause.covers(now) and not pause.is_over for pause in settlement.pauses_since(session, now))


def _newest_decision_by_pause(session: Session, from_at: datetime) -> datetime | None:
    """When the pause that began then last kept something from firing: later than now if the clock was set back."""
    return session.scalar(
        select(func.max(ScheduleFiring.decided_at)).where(
            ScheduleFiring.decided_at >= from_at, ScheduleFiring.reason == Reason.MISSED_PAUSED
        )
    )


def no_such(thing: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that nothing has, with the nearest that something has."""
    return f"No {thing} has the name {name}. {_nearest(thing, name, known)}"


def _locked_schedule(session: Session, schedule_id: str) -> ScheduleState:
    locking.lock_schedules(session, [schedule_id])
    found = settlement.schedules(session, [schedule_id])
    if not found:
        raise NotFound(no_such_schedule(session, schedule_id))
    if session.scalar(select(JobSchedule.archived_at).where(JobSchedule.id == schedule_id)) is not None:
        raise Refused(f"Schedule {schedule_id} is archived: it left the definitions. Put it back to use it again.")
    return found[0]


def no_such_schedule(session: Session, schedule_id: str) -> str:
    """The sentence for an id that no schedule has, with the nearest that one has; or whose row nobody can work with."""
    known = session.scalars(select(JobSchedule.id)).all()
    if schedule_id in known:
        return (
            f"The row of {schedule_id} does not say up to when it is accounted for (accounted_until). A daemon works "
            "that out anew within its poll interval. If none runs, start one: schedmgr daemon"
        )
    return f"No schedule has the id {schedule_id}. {_nearest('schedule', schedule_id, known)}"


def _nearest(thing: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Nearest: {near[0]}." if near else f"All of them: schedmgr {thing}s list"


def _firing_of(session: Session, schedule_id: str, request_key: str) -> Enqueued | None:
    """What an earlier request of this key enqueued."""
    found = session.execute(
        select(ScheduleFiring.id, ScheduleFiring.schedule_id).where(ScheduleFiring.request_key == request_key)
    ).first()
    if found is None:
        return None
    if found.schedule_id != schedule_id:
        raise Refused(_used_before(request_key))
    runs = session.scalars(select(JobRun.id).where(JobRun.firing_id == found.id).order_by(JobRun.id))
    return Enqueued(found.id, tuple(runs))


def _run_of(session: Session, request_key: str, job: str, retry_of: int | None) -> int | None:
    """The run that an earlier request of this key put on the queue."""
    found = session.execute(
        select(JobRun.id, JobRun.job, JobRun.retry_of).where(JobRun.request_key == request_key)
    ).first()
    if found is None:
        return None
    if (found.job, found.retry_of) != (job, retry_of):
        raise Refused(_used_before(request_key))
    run_id: int = found.id
    return run_id


def _used_before(request_key: str) -> str:
    return f"The request key {request_key} was used before, for something else. Make a new key for each request."


def _status(session: Session, run_id: int, *, hold: bool = False) -> RunStatus:
    """`hold`: wait for whoever is just moving the run, and let nobody move it until the transaction ends."""
    of_run = select(JobRun.status).where(JobRun.id == run_id)
    status = session.scalar(of_run.with_for_update() if hold else of_run)
    if status is None:
        raise NotFound(f"No run has the number {run_id}. It may be older than what is kept.")
    return status


def _settle_everything(session: Session, by: Requester) -> None:
    """Decide what is due on every schedule that is on, as pause and resume change what becomes of it.

    Next runs are put right before: a wrong one would hide what is due.
    """
    settlement.repair(session, process_id=by.process_id)
    due = list(session.scalars(select(JobSchedule.id).where(locking.due(session.now())).order_by(JobSchedule.id)))
    locking.lock_schedules(session, due)
    settlement.settle(session, due, process_id=by.process_id)
