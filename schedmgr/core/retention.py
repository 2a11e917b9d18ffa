"""Retention: what ended before an instant is removed, a little at a time, and a mark says up to when.

Whoever reads the past may rely on everything after `pruned_until` being complete: the mark moves before the first row
goes, and never back.  Each step takes its rows along an index, oldest first, and removes them by their keys in a
transaction of its own, so that no other writer waits long; a process that dies between two steps leaves nothing that
the next pass does not find.  A run goes with its attempts once the last of its output is gone, a firing after its runs.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, false, func, insert, not_, or_, select, true, update
from sqlalchemy.orm import InstrumentedAttribute, aliased

from schedmgr import clock
from schedmgr.core import audit, locking, phrases
from schedmgr.core.audit import Requester
from schedmgr.database.engine import Database, Session
from schedmgr.database.models import (
    AdminSession,
    JobRun,
    JobRunAttempt,
    JobRunOutput,
    Pause,
    Process,
    ScheduleFiring,
    SchedulePeriod,
    Setting,
)
from schedmgr.errors import DatabaseUnavailable, Refused
from schedmgr.vocabulary import UNFINISHED, ProcessRole

ROWS = 200
"""Rows of one kind that one step looks at, and so removes at most."""
OUTPUT_ROWS = 500
OUTPUT_BYTES = 1024 * 1024
"""Of the output that one step removes, beside its last row: rows are of some 64 KiB at most."""
BETWEEN_STEPS = 0.01  # seconds; other writers get in here
AFTER_DISPUTE = 1.0  # seconds
DISPUTES = 30
"""In a row and without any row removed, after which one who prunes by hand is told."""

CLOCKS_AGREE = timedelta(hours=1)
MARK = "retention"

JOB_RUNS, OUTPUT = "job_runs", "output_bytes"


def pruned_until(session: Session) -> datetime | None:
    """What ended up to then may be gone; what came after it is complete.  None: nothing was ever pruned."""
    value = session.scalar(select(Setting.value).where(Setting.key == MARK))
    return None if value is None else datetime.fromisoformat(value["pruned_until"])


def plan(session: Session, before: datetime) -> dict[str, int]:
    """How much of each kind would be removed now.  Raises Refused as `prune` does."""
    _require_past(session, before)
    found: Counter[str] = Counter()
    cut = _Cut.at(session, before)
    for kind in KINDS:
        old = select(kind.key).where(*kind.old(cut), not_(kind.is_kept(cut)))
        found[kind.name] += session.scalar(select(func.count()).select_from(old.subquery())) or 0
        if kind.name == JOB_RUNS:
            printed = select(func.sum(JobRunOutput.byte_count)).where(JobRunOutput.run_id.in_(old))
            found[OUTPUT] = int(session.scalar(printed) or 0)
    return in_order(found)


def prune(database: Database, before: datetime, by: Requester) -> dict[str, int]:
    """Remove all that ended before an instant.  Returns how much of each kind; the audit says that it was done.

    Raises Refused if that instant has yet to come, by the database's clock or by this host's; DatabaseUnavailable, also
    if others hold for long what is to go: what was removed until then stays removed.
    """
    with database.read() as session:
        _require_past(session, before)
    removed: Counter[str] = Counter()
    disputes = 0
    while (one := _walked(database, before, by)).is_disputed:
        removed.update(one.removed)
        disputes = 0 if one.removed.total() else disputes + 1
        if disputes == DISPUTES:
            raise DatabaseUnavailable(
                f"Other sessions have held what is to be pruned for over {DISPUTES * AFTER_DISPUTE:.0f} s. Look for a "
                "client with an open transaction, end it, and prune again."
            )
        clock.sleep(AFTER_DISPUTE)
    removed.update(one.removed)
    if removed.total():
        what = f"pruned {phrases.counted(removed[JOB_RUNS], 'job run')} and whatever else ended before"
        database.transact(lambda session: audit.note(session, by, "prune", f"{what} {phrases.iso(before)}"))
    return in_order(removed)


def _walked(database: Database, before: datetime, by: Requester) -> "Pass":
    one = Pass(before, by.who)
    while one.step(database):
        clock.sleep(BETWEEN_STEPS)
    return one


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """All kinds, in the order in which they go, with how much there is of each."""
    names = (JOB_RUNS, OUTPUT, *(kind.name for kind in KINDS))
    return {name: counts.get(name, 0) for name in names}


def _require_past(session: Session, before: datetime) -> None:
    here = session.now() + timedelta(seconds=session.host_ahead())
    if before > session.now() or before > here + CLOCKS_AGREE:
        raise Refused(
            f"What ended before {phrases.iso(before)} cannot be pruned: that is in the future. By the database's clock "
            f"it is {phrases.iso(session.now())}, by this host's {phrases.iso(here)}."
        )


class Pass:
    """Removes what ended before an instant, one small transaction at a time, until nothing of it is left.

    `by` is who asks for it, as the mark names them.  Several passes may go at once: rows that another one holds are its
    work, and a pass that gets none of those it wants is over.
    """

    def __init__(self, before: datetime, by: str) -> None:
        self.before = before
        self.by = by
        self.removed: Counter[str] = Counter()
        self.is_disputed = False
        self._kinds = list(KINDS)
        self._place = _START

    def step(self, database: Database) -> bool:
        """Look at some rows, and remove those that are not needed.  False: the pass is over."""
        with database.read() as session:
            batch = self._next(session)
        if batch is None:
            return bool(self._kinds)
        removed = database.transact(lambda session: _remove(session, batch, self.before, self.by))
        self.removed.update(removed or {})
        self.is_disputed = removed is None
        return not self.is_disputed

    def _next(self, session: Session) -> "_Batch | None":
        """The next rows to remove.  None: there are none, or only needed ones were looked at."""
        cut = _Cut.at(session, self.before)
        while self._kinds:
            kind = self._kinds[0]
            seen = kind.look(session, cut, self._place)
            if unneeded := kind.unneeded(session, cut, [key for key, _ in seen]):
                return _Batch.of(session, kind, unneeded)
            if len(seen) == ROWS and (beyond := self._place.beyond([at for _, at in seen])):
                self._place = beyond
                return None
            self._kinds.pop(0)
            self._place = _START
        return None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a look at one kind begins: all older rows are needed, and so are the first `passed` of that instant."""

    since: datetime | None
    passed: int

    def beyond(self, instants: Sequence[datetime | None]) -> "_Place | None":
        """The place after these rows; None where the last one's instant cannot be read."""
        last = instants[-1]
        if last is None:
            return None
        of_last = sum(at == last for at in instants)
        return _Place(last, of_last + (self.passed if last == self.since else 0))


_START = _Place(None, 0)


@dataclass(frozen=True, slots=True)
class _Cut:
    """What counts as old.  Evidence, which decisions look at, is old only before all that is still to be decided."""

    before: datetime
    evidence_before: datetime

    @classmethod
    def at(cls, session: Session, before: datetime) -> "_Cut":
        undecided = locking.look(session).next_due_at
        return cls(before, before if undecided is None else min(before, undecided))


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of row: the instant that says how old one is, by an index, and which are kept although they are old."""

    name: str
    key: InstrumentedAttribute[Any]
    ended_at: InstrumentedAttribute[Any]
    is_kept: Callable[[_Cut], ColumnElement[bool]]
    among: ColumnElement[bool] = field(default_factory=true)
    indexed: tuple[InstrumentedAttribute[Any], ...] = ()  # what the index holds between that instant and the key
    is_evidence: bool = False

    def old(self, cut: _Cut) -> tuple[ColumnElement[bool], ...]:
        """The condition of old rows, as the index has them."""
        return self.among, self.ended_at < (cut.evidence_before if self.is_evidence else cut.before)

    def look(self, session: Session, cut: _Cut, place: _Place) -> Sequence[tuple[Any, datetime | None]]:
        """The oldest rows from that place on, with their instants; no more than ROWS."""
        query = select(self.key, self.ended_at).where(*self.old(cut)).limit(ROWS).offset(place.passed)
        query = query.order_by(self.ended_at, *self.indexed, self.key)
        rows = session.execute(query if place.since is None else query.where(self.ended_at >= place.since))
        return [(key, at) for key, at in rows]

    def unneeded(self, session: Session, cut: _Cut, keys: Sequence[Any]) -> list[Any]:
        """Those of these rows that may go."""
        if not keys:
            return []
        query = select(self.key).where(self.key.in_(keys), not_(self.is_kept(cut)))
        return sorted(session.scalars(query))


def _remains(cut: _Cut) -> ColumnElement[bool]:
    """Of a run: it has not ended, ended later, or belongs to a firing that counts as complete.  After a clock that
    stepped forward and back, runs may have ended before they were decided."""
    firing = aliased(ScheduleFiring)
    return or_(
        JobRun.finished_at.is_(None),
        JobRun.finished_at >= cut.before,
        JobRun.status.in_(UNFINISHED),
        exists().where(firing.id == JobRun.firing_id, firing.decided_at >= cut.before),
    )


def _has_remaining_runs(cut: _Cut) -> ColumnElement[bool]:
    return exists().where(JobRun.firing_id == ScheduleFiring.id, _remains(cut))


def _is_newest_period(cut: _Cut) -> ColumnElement[bool]:
    """By it a schedule that is off is told from a new one."""
    later = aliased(SchedulePeriod)
    comes_later = or_(
        later.from_at > SchedulePeriod.from_at,
        and_(later.from_at == SchedulePeriod.from_at, later.id > SchedulePeriod.id),
    )
    return not_(exists().where(later.schedule_id == SchedulePeriod.schedule_id, comes_later))


def _is_named_or_last(cut: _Cut) -> ColumnElement[bool]:
    """A process that made an attempt of a remaining run, and the last daemon before all that remains: by it one knows
    since when none was there."""
    daemon = aliased(Process)
    last = (
        select(daemon.id)
        .where(daemon.role == ProcessRole.DAEMON, daemon.beat_at < cut.evidence_before)
        .order_by(daemon.beat_at.desc())
        .limit(1)
    )
    is_named = exists().where(JobRunAttempt.process_id == Process.id, JobRun.id == JobRunAttempt.run_id, _remains(cut))
    return or_(Process.id == func.coalesce(last.scalar_subquery(), ""), is_named)


def _goes_as_ended(cut: _Cut) -> ColumnElement[bool]:
    """Of a sign-in that expired: counted already."""
    return and_(AdminSession.ended_at.is_not(None), AdminSession.ended_at < cut.before)


def _none(cut: _Cut) -> ColumnElement[bool]:
    return false()


KINDS = (
    _Kind(JOB_RUNS, JobRun.id, JobRun.finished_at, _remains, indexed=(JobRun.status, JobRun.job)),
    _Kind("firings", ScheduleFiring.id, ScheduleFiring.decided_at, _has_remaining_runs),
    _Kind("schedule_periods", SchedulePeriod.id, SchedulePeriod.until_at, _is_newest_period, is_evidence=True),
    _Kind("pauses", Pause.id, Pause.until_at, _none, is_evidence=True),
    *(
        _Kind("processes", Process.id, Process.beat_at, _is_named_or_last, Process.role == role, is_evidence=True)
        for role in ProcessRole
    ),
    _Kind("sign_ins", AdminSession.id, AdminSession.ended_at, _none),
    _Kind("sign_ins", AdminSession.id, AdminSession.expires_at, _goes_as_ended),
)
"""In the order in which they go."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that one transaction removes."""

    kind: _Kind
    keys: tuple[Any, ...]
    output: Mapping[int, int] = field(default_factory=dict)
    """Of job runs: run -> bytes of the output that goes."""
    torn: tuple[int, int, int] | None = None
    """A further run, whose output is too long for one transaction: up to which attempt and row it goes."""

    @classmethod
    def of(cls, session: Session, kind: _Kind, keys: Sequence[Any]) -> "_Batch":
        """As many of these rows as one transaction may remove."""
        return _batch_of_runs(session, kind, keys) if kind.name == JOB_RUNS else cls(kind, tuple(keys))


def _batch_of_runs(session: Session, kind: _Kind, run_ids: Sequence[int]) -> _Batch:
    rows = session.execute(
        select(JobRunOutput.run_id, JobRunOutput.attempt, JobRunOutput.seq, JobRunOutput.byte_count)
        .where(JobRunOutput.run_id.in_(run_ids))
        .order_by(JobRunOutput.run_id, JobRunOutput.attempt, JobRunOutput.seq)
        .limit(OUTPUT_ROWS + 1)
    ).all()
    output: Counter[int] = Counter()
    taken, last = 0, (0, 0, 0)
    for nth, (run_id, attempt, seq, byte_count) in enumerate(rows):
        if nth == OUTPUT_ROWS or taken >= OUTPUT_BYTES:
            whole = tuple(id for id in run_ids if id < run_id)
            return _Batch(kind, whole, output, last if last[0] == run_id else None)
        output[run_id] += byte_count
        taken, last = taken + byte_count, (run_id, attempt, seq)
    return _Batch(kind, tuple(run_ids), output)


def _remove(session: Session, batch: _Batch, before: datetime, by: str) -> Counter[str] | None:
    """Remove what of these rows no other transaction holds.  Returns how much; None: all of them are held."""
    if not _mark(session, before, by):
        return None
    key = batch.kind.key
    wanted = [*batch.keys, batch.torn[0]] if batch.torn else batch.keys
    held = session.scalars(select(key).where(key.in_(wanted)).with_for_update(skip_locked=True)).all()
    if not held:
        return None
    if batch.kind.name == JOB_RUNS:
        return _remove_runs(session, batch, held)
    return Counter({batch.kind.name: session.execute(delete(key.class_).where(key.in_(held))).rowcount})


def _remove_runs(session: Session, batch: _Batch, held: Sequence[int]) -> Counter[str]:
    whole = [run_id for run_id in held if run_id in batch.keys]
    if batch.torn and batch.torn[0] in held:
        run_id, attempt, seq = batch.torn
        up_to = or_(JobRunOutput.attempt < attempt, and_(JobRunOutput.attempt == attempt, JobRunOutput.seq <= seq))
        session.execute(delete(JobRunOutput).where(JobRunOutput.run_id == run_id, up_to))
    session.execute(delete(JobRunOutput).where(JobRunOutput.run_id.in_(whole)))
    session.execute(delete(JobRunAttempt).where(JobRunAttempt.run_id.in_(whole)))
    removed = session.execute(delete(JobRun).where(JobRun.id.in_(whole))).rowcount
    return Counter({JOB_RUNS: removed, OUTPUT: sum(batch.output.get(run_id, 0) for run_id in held)})


def _mark(session: Session, until: datetime, by: str) -> bool:
    """See to it that the mark has reached `until`.  False: another transaction is moving it."""
    reached = pruned_until(session)
    if reached is not None and reached >= until:
        return True
    changes = {"value": {"pruned_until": until.isoformat()}, "changed_at": session.now(), "changed_by": by}
    if reached is None:
        session.execute(insert(Setting).values(key=MARK, **changes))
        return True
    of_mark = Setting.key == MARK
    if session.scalar(select(Setting.key).where(of_mark).with_for_update(skip_locked=True)) is None:
        return False
    if (pruned_until(session) or until) <= until:
        session.execute(update(Setting).where(of_mark).values(changes))
    return True
