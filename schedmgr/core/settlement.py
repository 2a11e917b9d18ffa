"""Settling schedules: every occurrence up to now gets its firing, and `accounted_until` moves with it.

The daemon settles what is due; whatever changes when a schedule is due (sync, archive, switch) settles it first, under
the old definition and in the same transaction.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, String, case, cast, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from schedmgr.core import cron, enqueue, locking, phrases, policies, processes, retention
from schedmgr.core.cron import CronError
from schedmgr.core.enqueue import Firing, JobToRun, Selection
from schedmgr.core.locking import Move
from schedmgr.core.policies import Facts, Paused, Presence, Unfinished, Verdict
from schedmgr.core.timetable import Timetable
from schedmgr.database.engine import Session
from schedmgr.database.failures import TransactionLost
from schedmgr.database.models import JobRun, JobSchedule, Pause, Process, ScheduleFiring, SchedulePeriod
from schedmgr.database.types import stored
from schedmgr.vocabulary import UNFINISHED, Decision, Missed, Overlap, ProcessRole, Reason, RunStatus

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """One schedule as its row has it.  `stored_next` is None for NULL and for what cannot be read."""

    id: str
    timetable: Timetable
    selection: Selection
    missed: Missed
    catch_up_limit: int
    overlap: Overlap
    grace: timedelta
    jitter: timedelta
    enabled: bool
    accounted_until: datetime
    stored_next: datetime | None
    stored_next_text: str | None
    """What next_run_at holds, as text: it may be anything."""
    unknown_words: tuple[str, ...] = ()
    """Columns that hold a word which this program does not know."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A stored next run that was not what `accounted_until` gives."""

    schedule_id: str
    was: str
    now: datetime | None

    def __str__(self) -> str:
        right = f"{phrases.clock_time(self.now)} UTC" if self.now else "none"
        return f"{self.was}; {right} was worked out again from what is accounted for. No run was lost"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one settling did.  `firing_ids` are the rows that the firings became, in their order.

    Of the schedules that it was `asked` for, so many are `settled`; it leaves the others as they are.
    """

    firings: tuple[Firing, ...] = ()
    firing_ids: tuple[int, ...] = ()
    repairs: tuple[Repair, ...] = ()
    asked: int = 0
    settled: int = 0


def settle(session: Session, schedule_ids: Sequence[str], *, process_id: str | None) -> Settlement:
    """Decide every occurrence of these schedules up to now, write it all, and move `accounted_until`.

    The rows must be locked by this transaction.  `process_id` is the deciding daemon or web process; None: a person's
    command.  Schedules that are off or archived are left alone.  A schedule whose occurrences cannot be worked out gets
    a firing that says so, and cannot harm the others.
    """
    locking.hold_pauses(session)
    states = [state for state in schedules(session, schedule_ids) if state.enabled]
    facts = _facts(session, states)
    decided = [(state, verdict) for state in states for verdict in _verdicts(state, facts[state.id])]
    _let_absences_stand(session, facts.values(), [verdict for _, verdict in decided])
    enqueues = any(verdict.decision is Decision.ENQUEUED for _, verdict in decided)
    jobs = enqueue.active_jobs(session) if enqueues else []
    firings = [_firing(verdict, state, jobs) for state, verdict in decided]
    ids = enqueue.record(session, firings, claim_token=locking.new_token(), process_id=process_id)
    locking.account(session, [_move(state, session.now()) for state in states])
    return Settlement(tuple(firings), ids, _note_repairs(session, states), len(schedule_ids), len(states))


def repair(session: Session, *, process_id: str | None) -> Settlement:
    """Put right every stored next run that is not what `accounted_until` gives.  Loses, doubles, invents nothing.

    A schedule whose occurrences cannot be worked out is settled instead, so that a firing says so before it goes quiet.
    """
    _restore_accounts(session)
    wrong = [state for state in schedules(session) if _wrong(state)]
    if not wrong:
        return Settlement()
    locking.lock_schedules(session, [state.id for state in wrong])
    undecidable = [state.id for state in wrong if not _is_decidable(state)]
    right = [state for state in wrong if state.id not in undecidable]
    settled = settle(session, undecidable, process_id=process_id)
    locking.account(
        session,
        [Move(state.id, state.accounted_until, state.accounted_until, next_run(state)) for state in right],
    )
    return replace(settled, repairs=_note_repairs(session, right))


def _restore_accounts(session: Session) -> None:
    """Work out every `accounted_until` that cannot be read from what it stands for: the newest occurrence that has a
    firing, or the start of the period if that is later."""
    accounts = session.execute(select(JobSchedule.id, JobSchedule.accounted_until, JobSchedule.created_at))
    for row in [row for row in accounts if row.accounted_until is None]:
        restored = _account_of(session, row.id) or row.created_at
        session.execute(update(JobSchedule).where(JobSchedule.id == row.id).values(accounted_until=restored))
        log.warning("account restored schedule=%s accounted_until=%s", row.id, phrases.iso(restored))


def _account_of(session: Session, schedule_id: str) -> datetime | None:
    of_firings = select(func.max(ScheduleFiring.scheduled_for), func.max(ScheduleFiring.missed_until)).where(
        ScheduleFiring.schedule_id == schedule_id
    )
    of_periods = select(func.max(SchedulePeriod.from_at)).where(SchedulePeriod.schedule_id == schedule_id)
    # What pruning has removed was decided: were it forgotten here, a schedule that is seldom due would fire it again.
    found = (*session.execute(of_firings).one(), session.scalar(of_periods), retention.pruned_until(session))
    return max((instant for instant in found if instant is not None), default=None)


def schedules(session: Session, ids: Sequence[str] | None = None) -> list[ScheduleState]:
    """The schedules of these ids, or all, in the order of ids.

    One whose `accounted_until` cannot be read is left out until `repair` has worked it out again.
    """
    query = select(*_COLUMNS).order_by(JobSchedule.id)
    rows = session.execute(query if ids is None else query.where(JobSchedule.id.in_(ids)))
    return [_state(row._mapping) for row in rows if row.accounted_until is not None]


def next_run(state: ScheduleState, after: datetime | None = None) -> datetime | None:
    """The first occurrence after what is accounted for; None for one that is off, ended or cannot be worked out."""
    if not state.enabled or not _is_decidable(state):
        return None
    return state.timetable.after(after or state.accounted_until)


_COLUMNS = (
    JobSchedule.id,
    JobSchedule.cron,
    JobSchedule.timezone,
    JobSchedule.starts_at,
    JobSchedule.ends_at,
    JobSchedule.execution_mode,
    JobSchedule.job_group,
    JobSchedule.job,
    JobSchedule.missed,
    JobSchedule.catch_up_limit,
    JobSchedule.overlap,
    JobSchedule.grace,
    JobSchedule.jitter,
    JobSchedule.enabled,
    JobSchedule.archived_at,
    JobSchedule.accounted_until,
    JobSchedule.next_run_at,
    cast(JobSchedule.next_run_at, String(40)).label("next_text"),
)


def _state(row: Any) -> ScheduleState:
    return ScheduleState(
        id=row["id"],
        timetable=Timetable(row["id"], row["cron"], row["timezone"], row["starts_at"], row["ends_at"]),
        selection=Selection(row["execution_mode"], row["job_group"], row["job"]),
        missed=row["missed"],
        catch_up_limit=row["catch_up_limit"],
        overlap=row["overlap"],
        grace=timedelta(seconds=row["grace"]),
        jitter=timedelta(seconds=row["jitter"]),
        enabled=row["enabled"] and row["archived_at"] is None,
        accounted_until=row["accounted_until"],
        stored_next=row["next_run_at"],
        stored_next_text=row["next_text"],
        unknown_words=tuple(name for name in ("execution_mode", "missed", "overlap") if row[name] is None),
    )


def _facts(session: Session, states: Sequence[ScheduleState]) -> Mapping[str, Facts]:
    """The facts of all of them, from a handful of queries however many they are."""
    if not states:
        return {}
    now = session.now()
    covered_until = _covered_until(session, states)
    oldest = min(covered_until.values())
    late = any(covered_until[state.id] < now - state.grace for state in states)
    unfinished = _unfinished(session, [state.id for state in states])
    pauses = pauses_since(session, oldest)
    presences = processes.presences(session, oldest) if late else ()
    worker_alive = bool(unfinished) and is_worker_alive(session)
    return {
        state.id: Facts(
            timetable=state.timetable,
            accounted_until=covered_until[state.id],
            now=now,
            grace=state.grace,
            missed=state.missed,
            catch_up_limit=state.catch_up_limit,
            overlap=state.overlap,
            unfinished=unfinished.get(state.id),
            worker_alive=worker_alive,
            pauses=pauses,
            presences=presences,
        )
        for state in states
    }


def _unfinished(session: Session, ids: Sequence[str]) -> dict[str, Unfinished]:
    started_at = case((JobRun.status == RunStatus.RUNNING, JobRun.started_at))  # else it waits for its next attempt
    rows = session.execute(
        select(JobRun.schedule_id, func.min(JobRun.queued_at), func.min(started_at))
        .where(JobRun.schedule_id.in_(ids), JobRun.status.in_(UNFINISHED))
        .group_by(JobRun.schedule_id)
    )
    return {
        schedule_id: Unfinished(queued_at, started_at)
        for schedule_id, queued_at, started_at in rows
        if schedule_id is not None
    }


def pauses_since(session: Session, since: datetime) -> tuple[Paused, ...]:
    """Every pause that held at some instant after `since`, oldest first."""
    rows = session.execute(
        select(Pause.from_at, Pause.until_at, Pause.resumed_by.is_not(None).label("is_over"))
        .where(or_(Pause.until_at.is_(None), Pause.until_at > since))
        .order_by(Pause.from_at)
    )
    return tuple(Paused(row.from_at, row.until_at, row.is_over) for row in rows if row.from_at is not None)


def is_worker_alive(session: Session) -> bool:
    """Whether some process with places for job runs has beaten lately."""
    alive: Select[Any] = select(Process.id).where(
        Process.role.in_([ProcessRole.DAEMON, ProcessRole.WORKER]),
        processes.is_living(session.now()),
        Process.concurrency > 0,
    )
    return session.scalar(alive.limit(1)) is not None


def _verdicts(state: ScheduleState, facts: Facts) -> tuple[Verdict, ...]:
    """Nothing if the database's clock stepped back to what is accounted for already."""
    if facts.now <= facts.accounted_until:
        return ()
    if state.unknown_words:
        names = " and ".join(state.unknown_words)
        why = f"Its row holds an unknown word in {names}. A change of its definition writes the row anew."
        return (policies.undecidable(state.id, facts.now, why),)
    try:
        return policies.decide(facts)
    except CronError as error:
        return (policies.undecidable(state.id, facts.now, f"When it is due cannot be worked out: {error}"),)


def _let_absences_stand(session: Session, facts: Collection[Facts], verdicts: Iterable[Verdict]) -> None:
    """Where these verdicts say that no daemon was there, nobody can have been there after all.

    Raises TransactionLost if one has just come back: nothing of this transaction may be kept.
    """
    absent = [verdict for verdict in verdicts if verdict.reason is Reason.MISSED_NO_DAEMON]
    if not absent:
        return
    newest = max(verdict.missed_until or verdict.scheduled_for for verdict in absent)
    processes.end_lives_that_missed(session, newest)
    oldest = min(one.accounted_until for one in facts)
    seen = next(one.presences for one in facts)
    if _until(newest, processes.presences(session, oldest)) != _until(newest, seen):
        raise TransactionLost("A daemon has come back meanwhile. Try again.")


def _until(instant: datetime, presences: Iterable[Presence]) -> list[Presence]:
    return [Presence(one.since, min(one.until, instant)) for one in presences if one.since <= instant]


def _covered_until(session: Session, states: Sequence[ScheduleState]) -> dict[str, datetime]:
    """Up to when each is covered by firings: what `accounted_until` says, unless a later firing shows that somebody set
    that back by hand.  So what has its firing is never fired again."""
    rows = session.execute(
        select(
            JobSchedule.id,
            _of_newest_firing(ScheduleFiring.scheduled_for),
            _of_newest_firing(ScheduleFiring.missed_until),
        ).where(JobSchedule.id.in_([state.id for state in states]))
    )
    fired_until = {id: [instant for instant in instants if instant is not None] for id, *instants in rows}
    return {state.id: max([state.accounted_until, *fired_until.get(state.id, ())]) for state in states}


def _of_newest_firing(column: InstrumentedAttribute[datetime | None]) -> ColumnElement[datetime | None]:
    """What the newest firing of a schedule by the clock has there: one look into the index, however many it has, and
    however long ago the schedule was due before."""
    newest = select(column).where(ScheduleFiring.schedule_id == JobSchedule.id)
    newest = newest.order_by(ScheduleFiring.scheduled_for.desc()).limit(1)
    by_instant = "FORCE INDEX (uq_schedule_firing_schedule_id_scheduled_for)"
    return newest.with_hint(ScheduleFiring, by_instant, locking.ON_SERVERS).scalar_subquery()


def _firing(verdict: Verdict, state: ScheduleState, jobs: Sequence[JobToRun]) -> Firing:
    return Firing(
        schedule_id=verdict.schedule_id,
        scheduled_for=verdict.scheduled_for,
        trigger=verdict.trigger,
        decision=verdict.decision,
        jobs=state.selection.of(jobs) if verdict.decision is Decision.ENQUEUED else (),
        reason=verdict.reason,
        detail=verdict.detail,
        missed_count=verdict.missed_count,
        missed_until=verdict.missed_until,
        in_turn=verdict.in_turn,
        jitter=state.jitter,
    )


def _move(state: ScheduleState, now: datetime) -> Move:
    until = max(state.accounted_until, now)
    return Move(state.id, state.accounted_until, until, next_run(state, after=until))


def _is_decidable(state: ScheduleState) -> bool:
    if state.unknown_words:
        return False
    try:
        cron.parse(state.timetable.cron, hash_id=state.id)
        cron.zone(state.timetable.timezone)
    except CronError:
        return False
    return True


def _wrong(state: ScheduleState) -> bool:
    """By the text too: the same instant written in another way is found at another place of the index."""
    expected = next_run(state)
    return state.stored_next != expected or state.stored_next_text != (None if expected is None else stored(expected))


def _note_repairs(session: Session, states: Sequence[ScheduleState]) -> tuple[Repair, ...]:
    repairs = tuple(
        Repair(state.id, _what_was_wrong(state), next_run(state))
        for state in states
        if _wrong(state) and _is_decidable(state)
    )
    for one in repairs:
        log.warning("next run repaired schedule=%s %s", one.schedule_id, one)
        session.execute(
            update(JobSchedule)
            .where(JobSchedule.id == one.schedule_id)
            .values(repaired_at=session.now(), repair=str(one))
        )
    return repairs


def _what_was_wrong(state: ScheduleState) -> str:
    if state.stored_next_text is None:
        return "next_run_at IS NULL"
    if state.stored_next is None:
        return f"The stored next_run_at {state.stored_next_text[:40]!r} could not be read"
    if state.stored_next == next_run(state):
        return f"The stored next_run_at {state.stored_next_text[:40]!r} was not written as instants are"
    return f"The stored next_run_at {phrases.iso(state.stored_next)} was wrong"
