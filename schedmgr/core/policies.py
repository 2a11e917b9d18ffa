"""The missed and overlap decisions: facts in, verdicts out.  Pure; the rules stand in docs/guarantees.md."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schedmgr.core import phrases
from schedmgr.core.timetable import SHORTEST, Timetable
from schedmgr.vocabulary import Decision, Missed, Overlap, Reason, Trigger

LEAST_GRACE = timedelta(seconds=1)
"""A shorter grace counts as this: the daemon looks once a second, so what it finds at its first look is on time."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A span [since, until) in which all schedules were paused; `until` is None while no end is known.

    `is_over`: somebody resumed.  After a clock that was set back it may be over before it ends: what it kept from
    firing in the first pass through the same time stays explained by it, but it holds for nobody who decides.
    """

    since: datetime
    until: datetime | None
    is_over: bool = False

    def covers(self, instant: datetime) -> bool:
        """Whether the pause held at that instant."""
        return self.since <= instant and (self.until is None or instant < self.until)


@dataclass(frozen=True, slots=True)
class Presence:
    """A span [since, until] in which some daemon reached the database."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The oldest run of the same schedule that has not ended: running since, or queued since."""

    queued_at: datetime
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision may depend on.

    `accounted_until` is before `now`; `presences` are merged and in order; `unfinished` is None if no run is left over.
    """

    timetable: Timetable
    accounted_until: datetime
    now: datetime
    grace: timedelta
    missed: Missed
    catch_up_limit: int
    overlap: Overlap
    unfinished: Unfinished | None
    worker_alive: bool
    pauses: tuple[Paused, ...]
    presences: tuple[Presence, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided about one occurrence, or about a run of missed ones with the same cause.

    `missed_count` is 0 and `missed_until` None unless occurrences were missed: then they are `missed_count` many, from
    `scheduled_for` to `missed_until`.  `in_turn`: its runs wait until earlier runs of the schedule have ended.
    """

    schedule_id: str
    scheduled_for: datetime
    decision: Decision
    trigger: Trigger = Trigger.SCHEDULE
    reason: Reason | None = None
    detail: str | None = None
    missed_count: int = 0
    missed_until: datetime | None = None
    in_turn: bool = False


def decide(facts: Facts) -> tuple[Verdict, ...]:
    """What becomes of every occurrence after `accounted_until` up to `now`, all of them covered, oldest first.

    An occurrence exactly `grace` old is still on time.  While a pause holds no missed policy applies: what is due was
    missed by the pause.  Raises CronError only: if the expression or the zone cannot be read.
    """
    if (pause := next((one for one in facts.pauses if one.covers(facts.now) and not one.is_over), None)) is not None:
        return tuple(_missed(facts, facts.now, _pause_cause(facts, pause)))
    late_until = max(facts.now - max(facts.grace, LEAST_GRACE) - SHORTEST, facts.accounted_until)
    missed = _joined(_missed_spans(facts, late_until))
    recent = facts.timetable.between(late_until, facts.now)
    on_time = [occurrence for occurrence in recent if _pause_at(facts, occurrence) is None]
    made_up, skipped = _made_up(facts, missed, on_time)
    verdicts = (*skipped, *made_up, *_overlapping(facts, on_time, behind=made_up))
    return tuple(sorted(verdicts, key=lambda verdict: verdict.scheduled_for))


def undecidable(schedule_id: str, now: datetime, why: str) -> Verdict:
    """The verdict on a schedule whose occurrences cannot be worked out; `why` says what to mend."""
    return Verdict(schedule_id, now, Decision.SKIPPED, reason=Reason.UNDECIDABLE, detail=why)


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why an occurrence was missed, and up to which instant (inclusive) the same holds.  An empty clause: late."""

    reason: Reason
    clause: str
    until: datetime


@dataclass(frozen=True, slots=True)
class _Missed:
    """Occurrences in (after, until] that were missed by the same cause."""

    after: datetime
    until: datetime
    first: datetime
    last: datetime
    count: int
    cause: _Cause


def _missed_spans(facts: Facts, late_until: datetime) -> Iterator[_Missed]:
    """What is too late to fire, and what was due in a pause, however late; split where the cause changes."""
    after = facts.accounted_until
    while (first := _first_missed(facts, after, late_until)) is not None:
        cause = _cause_at(facts, first)
        end = min(cause.until, facts.now if cause.reason is Reason.MISSED_PAUSED else late_until)
        before = first - SHORTEST
        yield _Missed(
            after=before,
            until=end,
            first=first,
            last=facts.timetable.newest(before, end)[-1],
            count=facts.timetable.count(before, end),
            cause=cause,
        )
        after = end


def _joined(spans: Iterable[_Missed]) -> list[_Missed]:
    """Lateness is one cause, however many daemons were late one after another."""
    joined: list[_Missed] = []
    for span in spans:
        before = joined[-1] if joined else None
        if before and before.cause.reason is span.cause.reason is Reason.MISSED_LATE:
            joined[-1] = replace(before, until=span.until, last=span.last, count=before.count + span.count)
        else:
            joined.append(span)
    return joined


def _first_missed(facts: Facts, after: datetime, late_until: datetime) -> datetime | None:
    if after < late_until and (late := facts.timetable.after(after)) is not None and late <= late_until:
        return late
    for pause in facts.pauses:
        begin = max(after, late_until, pause.since - SHORTEST)
        if pause.until is not None and pause.until <= begin:  # long over, as most are: nothing to work out
            continue
        paused = facts.timetable.after(begin)
        if paused is not None and paused <= facts.now and pause.covers(paused):
            return paused
    return None


def _cause_at(facts: Facts, instant: datetime) -> _Cause:
    """What kept an occurrence at that instant from firing: looked up, never inferred from how late it is."""
    if (pause := _pause_at(facts, instant)) is not None:
        return _pause_cause(facts, pause)
    next_pause = min((pause.since for pause in facts.pauses if pause.since > instant), default=None)
    before_pause = facts.now if next_pause is None else next_pause - SHORTEST
    nth = bisect_right(facts.presences, instant, key=lambda presence: presence.since)
    newest, coming = facts.presences[:nth][-1:], facts.presences[nth : nth + 1]
    if newest and instant <= newest[0].until:
        return _Cause(Reason.MISSED_LATE, "", min(newest[0].until, before_pause))
    left = newest[0].until if newest else None
    came = coming[0].since if coming else facts.now
    clause = (
        f"no daemon had reached the database before {phrases.clock_time(came, near=instant)} UTC"
        if left is None
        else f"no daemon reached the database from {phrases.span(left, came)}"
    )
    return _Cause(Reason.MISSED_NO_DAEMON, clause, min(max(came - SHORTEST, instant), before_pause))


def _pause_at(facts: Facts, instant: datetime) -> Paused | None:
    return next((pause for pause in facts.pauses if pause.covers(instant)), None)


def _pause_cause(facts: Facts, pause: Paused) -> _Cause:
    if pause.until is None:
        clause = f"all schedules are paused since {phrases.clock_time(pause.since)} UTC"
        return _Cause(Reason.MISSED_PAUSED, clause, facts.now)
    are = "are" if pause.covers(facts.now) else "were"
    clause = f"all schedules {are} paused from {phrases.span(pause.since, pause.until)}"
    return _Cause(Reason.MISSED_PAUSED, clause, min(pause.until - SHORTEST, facts.now))


def _missed(facts: Facts, until: datetime, cause: _Cause) -> Iterator[Verdict]:
    """One verdict over all that is due up to `until`, or none if nothing is."""
    count = facts.timetable.count(facts.accounted_until, until)
    first = facts.timetable.after(facts.accounted_until)
    if count and first is not None:
        last = facts.timetable.newest(facts.accounted_until, until)[-1]
        yield _skipped(facts, _Missed(facts.accounted_until, until, first, last, count, cause))


def _skipped(facts: Facts, missed: _Missed, note: str = "") -> Verdict:
    late = phrases.duration(facts.now - missed.first)
    grace = f"grace is {_as_defined(facts.grace)} (the daemon was busy or frozen)"
    if missed.count == 1:
        clause = missed.cause.clause or f"{late} late, {grace}"
        detail = f"Missed: {clause}"
    else:
        clause = missed.cause.clause or f"up to {late} late, {grace}"
        detail = f"{missed.count:,} runs missed, {phrases.span(missed.first, missed.last)}: {clause}"
    return Verdict(
        facts.timetable.schedule_id,
        missed.first,
        Decision.SKIPPED,
        reason=missed.cause.reason,
        detail=detail + note,
        missed_count=missed.count,
        missed_until=missed.last,
    )


def _as_defined(grace: timedelta) -> str:
    """Seconds, as people write it, unless that is hard to read."""
    return f"{grace.total_seconds():.0f} s" if grace < timedelta(minutes=2) else phrases.duration(grace)


def _made_up(facts: Facts, spans: list[_Missed], on_time: list[datetime]) -> tuple[list[Verdict], list[Verdict]]:
    """What the missed policy makes of missed occurrences: those that fire after all, and those that are skipped.

    Only what no pause covered is made up; unless `overlap` allows it, behind the runs that have not ended.  Under
    run_once an occurrence on time is the newest one, and enough.
    """
    left = _how_many(facts, on_time)
    note = _what_fires_instead(facts, on_time)
    fired: list[Verdict] = []
    skipped: list[Verdict] = []
    for missed in reversed(spans):
        wanted = 0 if missed.cause.reason is Reason.MISSED_PAUSED else left
        newest = facts.timetable.newest(missed.after, missed.until, wanted) if wanted else []
        left -= len(newest)
        fired[:0] = [_late_firing(facts, missed, occurrence) for occurrence in newest]
        if rest := _without(facts, missed, newest):
            skipped.insert(0, _skipped(facts, rest, note if missed.cause.reason is not Reason.MISSED_PAUSED else ""))
    return fired, skipped


def _how_many(facts: Facts, on_time: list[datetime]) -> int:
    if facts.missed is Missed.CATCH_UP:
        return facts.catch_up_limit
    return int(facts.missed is Missed.RUN_ONCE and not on_time)


def _what_fires_instead(facts: Facts, on_time: list[datetime]) -> str:
    """What the policy makes of the occurrences that it does not make up."""
    if facts.missed is Missed.CATCH_UP:
        return f"; beyond catch-up limit ({facts.catch_up_limit})"
    if facts.missed is Missed.RUN_ONCE:
        return "; a newer one was on time" if on_time else "; only the newest is made up"
    return ""


def _late_firing(facts: Facts, missed: _Missed, occurrence: datetime) -> Verdict:
    late = phrases.duration(facts.now - occurrence)
    return Verdict(
        facts.timetable.schedule_id,
        occurrence,
        Decision.ENQUEUED,
        trigger=Trigger.CATCH_UP,
        reason=missed.cause.reason,
        detail=f"Made up {late} late: {missed.cause.clause or 'the daemon was busy or frozen'}",
        in_turn=facts.missed is Missed.CATCH_UP or facts.overlap is not Overlap.ALLOW,
    )


def _without(facts: Facts, missed: _Missed, newest: list[datetime]) -> _Missed | None:
    """The missed occurrences before the newest ones, if any are left."""
    if not newest:
        return missed
    if len(newest) == missed.count:
        return None
    last = facts.timetable.newest(missed.after, newest[0] - SHORTEST)[-1]
    return replace(missed, until=newest[0] - SHORTEST, last=last, count=missed.count - len(newest))


def _overlapping(facts: Facts, on_time: list[datetime], behind: list[Verdict]) -> Iterator[Verdict]:
    """What the overlap policy makes of occurrences on time, oldest first, each knowing those before it."""
    earlier = _earlier(facts, behind)
    for occurrence in on_time:
        verdict = _fired_or_skipped(facts, occurrence, earlier, in_turn=bool(behind))
        yield verdict
        if verdict.decision is Decision.ENQUEUED and earlier is None:
            earlier = f"still queued (due {phrases.clock_time(occurrence, near=facts.now)} UTC)"


def _earlier(facts: Facts, behind: list[Verdict]) -> str | None:
    """How the oldest run before stands; None if every one has ended."""
    if facts.unfinished is None:
        return "still queued: missed runs are made up first" if behind else None
    if facts.unfinished.started_at is not None:
        return f"still going (started {phrases.clock_time(facts.unfinished.started_at, near=facts.now)} UTC)"
    if not facts.worker_alive:
        return "still queued: no worker"
    return f"still queued (since {phrases.clock_time(facts.unfinished.queued_at, near=facts.now)} UTC)"


def _fired_or_skipped(facts: Facts, occurrence: datetime, earlier: str | None, *, in_turn: bool) -> Verdict:
    fired = Verdict(facts.timetable.schedule_id, occurrence, Decision.ENQUEUED)
    if earlier is None or facts.overlap is Overlap.ALLOW:
        return fired
    if facts.overlap is Overlap.QUEUE or in_turn:
        return replace(fired, in_turn=True, detail=f"Waits for the previous run: {earlier}")
    return replace(fired, decision=Decision.SKIPPED, reason=Reason.OVERLAP, detail=f"Previous run {earlier}")
