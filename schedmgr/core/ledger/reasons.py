"""Whether what a firing says about itself is so: its reason, looked up again in the evidence.  Pure.

What later events can change is allowed for: a pause gets its end later, a grace counts only for what was decided after
the definition changed last.  That no daemon was there stays true: who records it ends the lives that could contradict.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schedmgr.core import phrases
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.evidence import Evidence, Unfinished
from schedmgr.core.ledger.rows import Firing, ScheduleRow
from schedmgr.core.ledger.spans import Spans, just_before
from schedmgr.vocabulary import Decision, Missed, Reason, Trigger

_TRIGGERS = {Trigger.SCHEDULE.value, Trigger.CATCH_UP.value}
_DECISIONS = {decision.value for decision in Decision}
_REASONS = {reason.value for reason in Reason}
_MISSED = {Reason.MISSED_LATE.value, Reason.MISSED_NO_DAEMON.value, Reason.MISSED_PAUSED.value}


_NO_TIME = timedelta(0)
LEAST_GRACE = timedelta(seconds=1)
"""A shorter grace counts as this: a daemon looks once a second."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A schedule's policies as they stand now; they counted for what was decided after `changed_at`.

    `grace`: how late an occurrence may be decided and still be on time.
    """

    grace: timedelta
    missed: str
    changed_at: datetime | None

    @classmethod
    def of(cls, schedule: ScheduleRow) -> "Terms":
        """Those of a schedule."""
        return cls(max(schedule.grace, LEAST_GRACE), schedule.missed, schedule.changed_at)

    def counted_for(self, firing: Firing) -> bool:
        """Whether that firing was certainly decided by them."""
        return self.changed_at is not None and firing.decided_at > self.changed_at


@dataclass(frozen=True, slots=True)
class Case:
    """All that a judgement on one firing may depend on.  Nothing before `judged_after` is judged by the evidence."""

    firing: Firing
    period: Period
    terms: Terms
    evidence: Evidence
    unfinished: Callable[[], Unfinished]
    judged_after: datetime

    @property
    def after(self) -> datetime:
        """Just before the first occurrence that is judged."""
        return max(just_before(self.firing.scheduled_for), self.judged_after)

    def count(self, spans: Spans) -> int:
        """How many of the firing's occurrences lie in these spans."""
        firing = self.firing
        if firing.missed_until is None:
            return int(firing.scheduled_for > self.judged_after and spans.cover(firing.scheduled_for))
        parts = spans.within(self.after, firing.last)
        return sum(self.period.count(max(just_before(part.first), self.after), part.last) for part in parts)

    def total(self) -> int:
        """How many of the firing's occurrences are judged."""
        if self.firing.missed_until is None:
            return int(self.firing.scheduled_for > self.judged_after)
        return self.period.count(self.after, self.firing.last)


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a firing.  `is_certain`: whatever its policies were when it was decided.  `by_evidence`: by
    when something else happened, which is in doubt where the database's clock went back."""

    sentence: str
    is_certain: bool = True
    by_evidence: bool = True


def is_plain(firing: Firing, terms: Terms, evidence: Evidence) -> bool:
    """Whether a firing is as nearly all are, on time and enqueued, so that no question needs to be asked."""
    late = firing.decided_at - firing.scheduled_for
    return (
        firing.reason is None
        and firing.missed_until is None
        and firing.missed_count == 0
        and firing.decision == "ENQUEUED"
        and firing.trigger == "SCHEDULE"
        and firing.job_run_count > 0
        and _NO_TIME <= late <= terms.grace
        and not evidence.pauses
        and (firing.process_id is None or firing.decided_at <= evidence.beats.get(firing.process_id, firing.decided_at))
    )


def objection(case: Case) -> Objection | None:
    """The first thing that speaks against it; None if all that it says is so."""
    for question in _QUESTIONS:
        if (found := question(case)) is not None:
            return found
    return None


def _form(case: Case) -> Objection | None:
    """Its columns go together."""
    firing = case.firing
    said = _form_of(firing)
    return None if said is None else Objection(said, by_evidence=False)


def _form_of(firing: Firing) -> str | None:
    if firing.trigger not in _TRIGGERS:
        return f"its trigger {firing.trigger} is not one of the clock's"
    if firing.decision not in _DECISIONS:
        return f"its decision {firing.decision} is unknown"
    if firing.reason is not None and firing.reason not in _REASONS:
        return f"its reason {firing.reason} is unknown"
    if firing.decided_at < firing.scheduled_for:
        return f"it was decided at {phrases.iso(firing.decided_at)}, before it was due"
    return _enqueued_form(firing) if firing.decision == Decision.ENQUEUED else _skipped_form(firing)


def _enqueued_form(firing: Firing) -> str | None:
    if firing.missed_count or firing.missed_until is not None:
        return "it was enqueued and speaks of missed occurrences"
    if not firing.job_run_count:
        return "it was enqueued and put no job on the queue"
    if firing.trigger == Trigger.SCHEDULE and firing.reason is not None:
        return f"it was enqueued on time and says {firing.reason}"
    if firing.trigger == Trigger.CATCH_UP and firing.reason not in _MISSED - {Reason.MISSED_PAUSED.value}:
        return f"it made up a missed occurrence and says {firing.reason or 'no reason'}"
    return None


def _skipped_form(firing: Firing) -> str | None:
    if firing.reason is None:
        return "it was skipped and gives no reason"
    if firing.trigger != Trigger.SCHEDULE:
        return f"it was skipped and its trigger is {firing.trigger}"
    if firing.job_run_count:
        return "it was skipped and says that it has job runs"
    if firing.reason in _MISSED and (firing.missed_count < 1 or firing.missed_until is None):
        return f"it says {firing.reason} and not how many were missed until when"
    if firing.reason not in _MISSED and (firing.missed_count or firing.missed_until is not None):
        return f"it says {firing.reason} and speaks of missed occurrences"
    return None


def _pauses(case: Case) -> Objection | None:
    """MISSED_PAUSED if and only if a pause held at the due instant or at the decision."""
    firing, evidence = case.firing, case.evidence
    at_decision = evidence.paused_at_decision(firing.decided_at)
    says_paused = firing.reason == Reason.MISSED_PAUSED
    if at_decision and says_paused:
        return None
    if at_decision:
        return Objection(f"a pause held when it was decided, at {phrases.iso(firing.decided_at)}, {_but_says(firing)}")
    in_pause = case.count(evidence.paused)
    if says_paused and in_pause < case.total():
        return Objection(
            f"it says MISSED_PAUSED, but no pause held at {_some(case.total() - in_pause)} or when decided"
        )
    if not says_paused and in_pause:
        return Objection(f"a pause held at {_some(in_pause)}, {_but_says(firing)}")
    return None


def _lives(case: Case) -> Objection | None:
    """MISSED_NO_DAEMON if no daemon reached the database at the due instant, else MISSED_LATE."""
    firing, present = case.firing, case.evidence.present
    if firing.reason == Reason.MISSED_LATE and (alone := case.total() - case.count(present)):
        return Objection(f"it says MISSED_LATE, but no daemon was there at {_some(alone)}: MISSED_NO_DAEMON")
    if firing.reason == Reason.MISSED_NO_DAEMON and (attended := case.count(present)):
        return Objection(f"it says MISSED_NO_DAEMON, but a daemon was there at {_some(attended)}: MISSED_LATE")
    return None


def _decider(case: Case) -> Objection | None:
    """A daemon beats in the same transaction in which it decides."""
    firing = case.firing
    last_beat = case.evidence.beats.get(firing.process_id or "")
    if last_beat is None or firing.decided_at <= last_beat:
        return None
    said = f"it was decided at {phrases.iso(firing.decided_at)} by daemon {firing.process_id}"
    return Objection(f"{said}, which beat last at {phrases.iso(last_beat)}")


def _lateness(case: Case) -> Objection | None:
    """What is older than the grace was missed, what is not was on time."""
    firing, grace = case.firing, case.terms.grace
    late = firing.decided_at - firing.last
    is_certain = case.terms.counted_for(firing)
    is_on_time = firing.reason in (None, Reason.OVERLAP.value)
    if is_on_time and late > grace:
        sentence = f"it was decided {phrases.duration(late)} late, {_beyond(grace)}, {_but_says(firing)}"
        return Objection(sentence, is_certain)
    if firing.reason in (Reason.MISSED_LATE, Reason.MISSED_NO_DAEMON) and late <= grace:
        sentence = f"it was decided {phrases.duration(late)} late, {_within(grace)}, {_but_says(firing)}"
        return Objection(sentence, is_certain)
    return None


def _making_up(case: Case) -> Objection | None:
    """Nothing is made up where missed occurrences are skipped."""
    if case.firing.trigger != Trigger.CATCH_UP or case.terms.missed != Missed.SKIP:
        return None
    sentence = "it made up a missed occurrence, and the schedule's policy for those is skip"
    return Objection(sentence, case.terms.counted_for(case.firing))


def _overlap(case: Case) -> Objection | None:
    """OVERLAP needs a run of the same schedule that had not ended."""
    firing = case.firing
    if firing.reason != Reason.OVERLAP or case.unfinished().at(firing.decided_at):
        return None
    return Objection("it says OVERLAP, but no earlier run of the schedule was unfinished when it was decided")


_QUESTIONS: tuple[Callable[[Case], Objection | None], ...] = (
    _form,
    _decider,
    _pauses,
    _lives,
    _lateness,
    _making_up,
    _overlap,
)


def _but_says(firing: Firing) -> str:
    if firing.reason is not None:
        return f"but it says {firing.reason}"
    return "but it was enqueued as on time"


def _some(count: int) -> str:
    return "its due instant" if count == 1 else f"{count:,} of its due instants"


def _beyond(grace: timedelta) -> str:
    return f"beyond the grace of {phrases.duration(grace)}"


def _within(grace: timedelta) -> str:
    return f"within the grace of {phrases.duration(grace)}"
