"""What verify found, in words: each problem with the thing, the instant, what is wrong and what to do."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from schedmgr.core import phrases
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.coverage import Finding, Flaw
from schedmgr.core.ledger.evidence import LONGEST_SILENCE, Evidence
from schedmgr.core.ledger.rows import Firing, ScheduleRow, Unreadable


class Kind(StrEnum):
    """What kind of problem it is."""

    MISSING = "missing"
    DOUBLED = "doubled"
    NOT_DUE = "not due"
    WRONG_COUNT = "wrong count"
    WRONG_REASON = "wrongly explained"
    WRONG_RUNS = "wrong job runs"
    WRONG_PERIOD = "wrong period"
    UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be: from `at` to `until` (the same for one instant), `count` occurrences or
    rows of it.  `sentence` says what is wrong, `mend` what it means and what to do."""

    kind: Kind
    schedule_id: str | None
    at: datetime | None
    until: datetime | None
    count: int
    firing_id: int | None
    sentence: str
    mend: str

    def __str__(self) -> str:
        named = [self.schedule_id or "", "" if self.at is None else phrases.iso(self.at)]
        return ": ".join([*(name for name in named if name), f"{self.kind}. {self.sentence} {self.mend}"])


@dataclass(slots=True)
class Report:
    """What a verification counted and found.

    `accounted`, `pending` and `other_tzdata` are occurrences; `other_terms` and `stepped_back` are firings whose reason
    cannot be checked any more.
    """

    now: datetime
    since: datetime | None
    pruned_until: datetime | None
    schedules: int = 0
    occurrences: int = 0
    accounted: int = 0
    pending: int = 0
    other_tzdata: int = 0
    other_terms: int = 0
    stepped_back: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def not_checkable(self) -> int:
        """What could be neither shown to be right nor wrong."""
        return self.other_tzdata + self.other_terms + self.stepped_back

    @property
    def summary(self) -> str:
        """The numbers in a sentence."""
        return f"{phrases.counted(self.occurrences, 'occurrence')}, {self.accounted:,} accounted for."

    @property
    def notes(self) -> list[str]:
        """What has to be known beside the numbers."""
        said = [self._beginning(), *self._left_open()]
        return [note for note in said if note]

    def _beginning(self) -> str:
        if self.since is None:
            return ""
        if self.since == self.pruned_until:
            return f"Begins after {phrases.iso(self.since)}: what is older was pruned."
        return f"Begins after {phrases.iso(self.since)}, as asked."

    def _left_open(self) -> list[str]:
        reasons = (
            (self.other_terms, "decided before the definition, and so maybe the grace, changed"),
            (self.stepped_back, "the database's clock went back over what was decided"),
        )
        told = [f"{phrases.counted(count, 'reason')} not checkable: {why}." for count, why in reasons if count]
        if self.other_tzdata:
            why = "decided under other time zone data, which may have said otherwise"
            told.insert(0, f"{phrases.counted(self.other_tzdata, 'occurrence')} not checkable: {why}.")
        if self.pending:
            told.insert(0, f"{self.pending:,} pending: due just now, and not decided yet.")
        return told

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "occurrences": self.occurrences,
            "accounted": self.accounted,
            "pending": self.pending,
            "not_checkable": self.not_checkable,
            "since": self.since,
            "pruned_until": self.pruned_until,
            "notes": self.notes,
            "problems": [
                {
                    "kind": problem.kind,
                    "schedule_id": problem.schedule_id,
                    "at": problem.at,
                    "until": problem.until,
                    "count": problem.count,
                    "firing_id": problem.firing_id,
                    "problem": problem.sentence,
                    "mend": problem.mend,
                }
                for problem in self.problems
            ],
        }


def flaw(schedule_id: str, finding: Finding) -> Problem:
    """What the walk along the occurrences found."""
    kind = {
        Flaw.MISSING: Kind.MISSING,
        Flaw.DOUBLED: Kind.DOUBLED,
        Flaw.NOT_DUE: Kind.NOT_DUE,
        Flaw.WRONG_COUNT: Kind.WRONG_COUNT,
    }[finding.flaw]
    firing_id = None if finding.firing is None else finding.firing.id
    sentence, mend = _words(schedule_id, finding)
    return Problem(kind, schedule_id, finding.first, finding.last, finding.count, firing_id, sentence, mend)


def joined(earlier: Finding, later: Finding) -> Finding:
    """Two findings of the same flaw that follow one another, as one."""
    first, last = min(earlier.first, later.first), max(earlier.last, later.last)
    return replace(earlier, first=first, last=last, count=earlier.count + later.count)


def _words(schedule_id: str, finding: Finding) -> tuple[str, str]:
    many = finding.count > 1
    span = f"{phrases.counted(finding.count, 'occurrence')} up to {phrases.iso(finding.last)}"
    firing = "" if finding.firing is None else f"Firing {finding.firing.id}"
    match finding.flaw:
        case Flaw.MISSING:
            return (
                f"No firing covers {'the ' + span if many else 'this occurrence'}.",
                "It counts as decided, so a row was deleted or an older backup restored; nothing will fire it. Run it "
                f"by hand if it matters: schedmgr schedules run {schedule_id}",
            )
        case Flaw.DOUBLED:
            return (
                f"{firing} covers {span if many else 'this occurrence'}, and an earlier firing does, too.",
                f"Jobs may have run twice. Compare the rows: schedmgr schedules history {schedule_id} --limit 0",
            )
        case Flaw.NOT_DUE:
            others = f" and {phrases.counted(finding.count - 1, 'more firing')} up to {phrases.iso(finding.last)}"
            return (
                f"{firing}{others if many else ''} {'are' if many else 'is'} for no occurrence of the schedule as it "
                "then was.",
                "The row, or that of the period, was changed past the program, or a program with other rules wrote it.",
            )
        case Flaw.WRONG_COUNT:
            return (
                f"{firing} says {finding.count:,} missed up to {phrases.iso(finding.last)}; there are "
                f"{finding.expected or 0:,}.",
                "The row was changed past the program, or a program with other rules wrote it.",
            )


def undecided(schedule: ScheduleRow, finding: Finding, evidence: Evidence, now: datetime) -> Problem:
    """Due for longer than it may be, and nobody has decided it."""
    others = f", and {phrases.counted(finding.count - 1, 'later occurrence')}" if finding.count > 1 else ""
    return Problem(
        Kind.MISSING,
        schedule.id,
        finding.first,
        finding.last,
        finding.count,
        None,
        f"Due {phrases.duration(now - finding.first)} ago{others}, and not decided yet.",
        _why_undecided(schedule, evidence, now),
    )


def _why_undecided(schedule: ScheduleRow, evidence: Evidence, now: datetime) -> str:
    mistake = schedule.mistake()
    if mistake is not None:
        return f"Its row cannot be used: {mistake} A change of its definition writes the row anew."
    living = [life for life in evidence.lives if life.stopped_at is None and now - life.beat_at <= LONGEST_SILENCE]
    if living:
        return f"The daemon on {living[-1].host} beats but does not decide it: its log says why."
    return "No daemon is running. Start it, and it decides this first: schedmgr daemon"


def wrong_reason(firing: Firing, sentence: str) -> Problem:
    """What a firing says about itself is not so."""
    return Problem(
        Kind.WRONG_REASON,
        firing.schedule_id,
        firing.scheduled_for,
        firing.last,
        firing.speaks_of,
        firing.id,
        f"Firing {firing.id}: {sentence}.",
        f"See the evidence: schedmgr schedules why {firing.schedule_id} --at {phrases.iso(firing.scheduled_for)}",
    )


def outside(firing: Firing, now: datetime) -> Problem:
    """A firing for an instant at which the schedule was off, or that has not come."""
    when = "that has not come yet" if firing.scheduled_for > now else "at which the schedule was off"
    return Problem(
        Kind.NOT_DUE,
        firing.schedule_id,
        firing.scheduled_for,
        firing.last,
        firing.speaks_of,
        firing.id,
        f"Firing {firing.id} is for an instant {when}.",
        "The row, or that of the period, was changed past the program.",
    )


def wrong_runs(row: Any) -> Problem:
    """A firing whose job runs are not as many as it says."""
    return Problem(
        Kind.WRONG_RUNS,
        row.schedule_id,
        row.scheduled_for or row.decided_at,
        row.scheduled_for or row.decided_at,
        1,
        row.id,
        f"Firing {row.id} says {phrases.counted(row.job_run_count, 'job run')}; {row.there:,} "
        f"{'is' if row.there == 1 else 'are'} there.",
        "Rows of job_run were deleted or added past the program.",
    )


def stray_run(row: Any) -> Problem:
    """A job run that does not go with its firing."""
    what = "is for another occurrence" if row.found else "is not there"
    return Problem(
        Kind.WRONG_RUNS,
        row.schedule_id,
        row.queued_at,
        row.queued_at,
        1,
        row.firing_id,
        f"Job run {row.id} comes from firing {row.firing_id}, which {what}.",
        f"One of the two rows was changed past the program: schedmgr runs show {row.id}",
    )


def odd_firing(row: Any) -> Problem:
    """A firing for no instant that nobody asked for."""
    return Problem(
        Kind.NOT_DUE,
        row.schedule_id,
        row.decided_at,
        row.decided_at,
        1,
        row.id,
        f"Firing {row.id} is for no instant, and it is not one that somebody asked for by hand.",
        "The row was changed past the program.",
    )


def stranger(schedule_id: str) -> Problem:
    """An id that firings or periods name and no schedule has."""
    return Problem(
        Kind.UNREADABLE,
        schedule_id,
        None,
        None,
        1,
        None,
        "Firings or periods name this id, and no schedule has it.",
        "Its row in job_schedule was deleted past the program; archived schedules keep theirs.",
    )


def cannot_be_read(unreadable: Unreadable) -> Problem:
    """A row that holds something which cannot be read."""
    return Problem(
        Kind.UNREADABLE,
        unreadable.schedule_id,
        None,
        None,
        1,
        unreadable.id if unreadable.table == "schedule_firing" and isinstance(unreadable.id, int) else None,
        f"{unreadable.column} of row {unreadable.id} in {unreadable.table} is no instant.",
        "What the row says counts as not there. Somebody wrote to the table past the program: put it right there.",
    )


def unknown_calendar(period: Period, mistake: str) -> Problem:
    """A period whose occurrences cannot be worked out."""
    return Problem(
        Kind.UNREADABLE,
        period.schedule_id,
        period.from_at,
        period.until_at,
        1,
        None,
        f"When it was due in period {period.id} cannot be worked out: {mistake}",
        "The row in schedule_period was changed past the program: put it right there.",
    )


def wrong_period(schedule: ScheduleRow, what: str, period: Period | None) -> Problem:
    """The rows of the periods do not go with that of the schedule, or with one another."""
    return Problem(
        Kind.WRONG_PERIOD,
        schedule.id,
        None if period is None else period.from_at,
        None if period is None else period.until_at,
        1,
        None,
        f"{what[0].upper()}{what[1:]}{'' if period is None else f' (period {period.id})'}.",
        "A row was changed past the program. Turning the schedule off and on begins a new period: "
        f"schedmgr schedules disable {schedule.id}; schedmgr schedules enable {schedule.id}",
    )
