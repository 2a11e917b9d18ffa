"""`schedmgr verify`: every occurrence of every period, worked out again and compared with the firings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schedmgr.core.cron import CronError
from schedmgr.core.ledger import evidence, reasons, report, rows
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.coverage import Finding, Flaw, Uncovered, Walk
from schedmgr.core.ledger.evidence import SteppedBack, Unfinished
from schedmgr.core.ledger.reasons import Case, Terms
from schedmgr.core.ledger.report import Problem, Report
from schedmgr.core.ledger.rows import Firing, FiringRows, ScheduleRow, Unreadable
from schedmgr.core.ledger.spans import FOREVER, NEVER, just_before
from schedmgr.database.engine import Session
from schedmgr.vocabulary import Reason

PENDING = timedelta(seconds=60)
"""Beyond its grace, an occurrence may be undecided for so long before that is a problem."""
FIXED_ZONES = ("UTC", "Etc/UTC")
"""Zones that no version of the time zone data changes."""


def verify(session: Session, *, since: datetime | None = None, schedule_id: str | None = None) -> Report:
    """Check every occurrence after `since`, and after what pruning left; of one schedule, or of all.

    The transaction must see one state.  An id that no schedule has gives an empty report.
    """
    return _Verification(session, since, schedule_id).report()


@dataclass(slots=True)
class _Tally:
    """What was counted of one period."""

    occurrences: int = 0
    missing: int = 0
    doubled: int = 0
    not_due: int = 0
    pending: int = 0
    flaws: list[Finding] = field(default_factory=list)
    undecided: list[Finding] = field(default_factory=list)

    @property
    def accounted(self) -> int:
        return max(0, self.occurrences - self.missing - self.doubled - self.pending)

    def add(self, finding: Finding, *, follows: bool = False) -> None:
        """One more flaw; if it `follows` the last one of the same kind, with nothing sound between, the two are one."""
        if finding.flaw is Flaw.MISSING:
            self.missing += finding.count
        elif finding.flaw is Flaw.DOUBLED:
            self.doubled += finding.count
        elif finding.flaw is Flaw.NOT_DUE:
            self.not_due += finding.count
        nth = next((nth for nth in reversed(range(len(self.flaws))) if self.flaws[nth].flaw is finding.flaw), None)
        if follows and nth is not None and finding.flaw is not Flaw.WRONG_COUNT:
            self.flaws[nth] = report.joined(self.flaws[nth], finding)
        else:
            self.flaws.append(finding)


class _Verification:
    """One run of verify over one state of the tables."""

    def __init__(self, session: Session, since: datetime | None, schedule_id: str | None) -> None:
        self.session = session
        self.now = session.now()
        self._pruned_until = rows.pruned_until(session)
        self.start = max((one for one in (since, self._pruned_until) if one is not None), default=None)
        self._schedule_id = schedule_id
        self.evidence, self._unreadable = evidence.load(session, self.start)
        self._stepped_back: SteppedBack | None = None
        self.counts = Report(self.now, self.start, self._pruned_until)

    def report(self) -> Report:
        """Everything, schedule by schedule."""
        self.counts.problems += map(report.cannot_be_read, self._unreadable)
        for schedule in rows.schedules(self.session, self._schedule_id):
            _ScheduleCheck(self, schedule).run()
        self.counts.problems += self._of_rows()
        return self.counts

    def went_back(self, firing: Firing) -> bool:
        """Whether the clock went back over the instants that a firing speaks of, or over its decision."""
        if self._stepped_back is None:
            self._stepped_back = evidence.stepped_back(self.session)
        back = self._stepped_back
        return back.touches(firing.scheduled_for, firing.last) or back.touches(firing.decided_at, firing.decided_at)

    def _of_rows(self) -> Iterator[Problem]:
        """What a look at the rows alone shows, without any calendar."""
        if self._schedule_id is None:
            yield from map(report.stranger, rows.strangers(self.session))
        scope = (self.session, self._pruned_until, self.start, self._schedule_id)
        yield from map(report.wrong_runs, rows.wrong_run_counts(*scope))
        yield from map(report.stray_run, rows.stray_runs(*scope))
        yield from map(report.odd_firing, rows.odd_manual_firings(self.session, self.start, self._schedule_id))


class _ScheduleCheck:
    """One schedule of a verification."""

    def __init__(self, whole: _Verification, schedule: ScheduleRow) -> None:
        self._whole = whole
        self._report = whole.counts
        self._schedule = schedule
        self._terms = Terms.of(schedule)
        self._unfinished: Unfinished | None = None
        self._periods, self._unreadable = rows.periods(whole.session, schedule.id)
        self._firings = FiringRows(whole.session, schedule.id, whole.start)

    def run(self) -> None:
        problems = list(self._of_the_row())
        belt = _Belt(self._firings)
        covered_until = NEVER
        for period in self._periods:
            after, until = max(period.from_at, covered_until, self._whole.start or NEVER), self._end_of(period)
            problems += self._outside(belt.up_to(max(period.from_at, covered_until)))
            covered_until = max(covered_until, until)
            if after < until:
                problems += self._of_period(period, after, until, belt.up_to(until))
        problems += self._outside(belt.up_to(FOREVER))
        problems += map(report.cannot_be_read, [*self._unreadable, *self._firings.unreadable])
        self._report.problems += sorted(problems, key=lambda problem: problem.at or NEVER)

    def _of_the_row(self) -> Iterator[Problem]:
        """The schedule's row and its periods agree, and each instant lies in one period at most."""
        schedule, open_ones = self._schedule, [period for period in self._periods if period.until_at is None]
        if schedule.accounted_until is None:
            yield report.cannot_be_read(Unreadable("job_schedule", schedule.id, schedule.id, "accounted_until"))
        if schedule.is_on and not open_ones:
            yield report.wrong_period(schedule, "it is on, and no period says so", None)
        if open_ones and not schedule.is_on:
            yield report.wrong_period(schedule, "it is off, and a period still runs", open_ones[-1])
        if schedule.is_on and open_ones and not _is_the_same(schedule, open_ones[-1]):
            yield report.wrong_period(schedule, "its row and its running period say different things", open_ones[-1])
        for earlier, later in zip(self._periods, self._periods[1:], strict=False):
            if later.from_at < earlier.end:
                yield report.wrong_period(schedule, "two of its periods overlap", later)

    def _end_of(self, period: Period) -> datetime:
        """Until when it is to be covered: by now, or as far as a clock that was ahead has come."""
        accounted_until = self._schedule.accounted_until or self._whole.now
        if period.until_at is not None:
            return period.until_at
        return max(self._whole.now, accounted_until) if self._schedule.is_on else accounted_until

    def _of_period(
        self, period: Period, after: datetime, until: datetime, firings: Iterable[Firing]
    ) -> Iterator[Problem]:
        if (mistake := period.mistake()) is not None:
            yield from self._without_calendar(period, mistake, sum(1 for _ in firings))
            return
        walk = Walk(period, after, until)
        tally = _Tally(period.count(after, until))
        objections: list[Problem] = []
        followed: dict[Flaw, int] = {}
        for finding in walk.findings(self._judged(period, firings, objections)):
            tally.add(finding, follows=followed.get(finding.flaw) == walk.sound)
            followed[finding.flaw] = walk.sound
        if walk.uncovered is not None:
            self._note_uncovered(tally, period, walk.uncovered)
        yield from objections
        yield from self._counted(period, tally)

    def _counted(self, period: Period, tally: _Tally) -> Iterator[Problem]:
        """Put a period's numbers into the report; where other time zone data may be the cause, nothing is a problem."""
        self._report.occurrences += tally.occurrences
        self._report.accounted += tally.accounted
        self._report.pending += tally.pending
        if tally.flaws and period.is_of_other_tzdata and period.timezone not in FIXED_ZONES:
            self._report.other_tzdata += max(tally.missing + tally.doubled, tally.not_due, 1)
        else:
            yield from (report.flaw(self._schedule.id, finding) for finding in tally.flaws)
        for finding in tally.undecided:
            yield report.undecided(self._schedule, finding, self._whole.evidence, self._whole.now)

    def _note_uncovered(self, tally: _Tally, period: Period, uncovered: Uncovered) -> None:
        """What is after the last firing: lost where it is accounted for, undecided when old, pending while young."""
        is_open = period.until_at is None and self._schedule.is_on
        lost_until = (self._schedule.accounted_until or NEVER) if is_open else period.end
        lost, later = _split(period, uncovered, lost_until)
        old, young = _split(period, later, self._whole.now - self._schedule.grace - PENDING)
        if lost is not None:
            tally.add(_missing(lost))
        if old is not None:
            tally.missing += old.count
            tally.undecided.append(_missing(old))
        tally.pending += 0 if young is None else young.count

    def _judged(self, period: Period, firings: Iterable[Firing], objections: list[Problem]) -> Iterator[Firing]:
        """The same firings; what speaks against one is added to `objections` on the way."""
        for firing in firings:
            if not reasons.is_plain(firing, self._terms, self._whole.evidence) and firing.reason != Reason.UNDECIDABLE:
                objections += self._objections(period, firing)
            yield firing

    def _objections(self, period: Period, firing: Firing) -> Iterator[Problem]:
        start = self._whole.start or NEVER
        case = Case(firing, period, self._terms, self._whole.evidence, self._runs, start)
        objection = reasons.objection(case)
        if objection is None:
            return
        if not objection.is_certain:
            self._report.other_terms += 1
        elif objection.by_evidence and self._whole.went_back(firing):
            self._report.stepped_back += 1
        else:
            yield report.wrong_reason(firing, objection.sentence)

    def _runs(self) -> Unfinished:
        if self._unfinished is None:
            self._unfinished = evidence.unfinished(self._whole.session, self._schedule.id)
        return self._unfinished

    def _without_calendar(self, period: Period, mistake: CronError, firings: int) -> Iterator[Problem]:
        """The expression or the zone of a period cannot be read, so nothing in it can be worked out."""
        if period.is_of_other_tzdata and mistake.field == "Time zone":
            self._report.other_tzdata += max(1, firings)
        else:
            yield report.unknown_calendar(period, str(mistake))

    def _outside(self, firings: Iterable[Firing]) -> Iterator[Problem]:
        """Firings for instants at which the schedule was off, or that have not come."""
        for firing in firings:
            if self._whole.start is not None and firing.scheduled_for <= self._whole.start:
                continue  # its period may have been pruned
            yield report.outside(firing, self._whole.now)


class _Belt:
    """Firings in order, taken off up to an instant at a time."""

    def __init__(self, firings: Iterable[Firing]) -> None:
        self._coming = iter(firings)
        self._next = next(self._coming, None)

    def up_to(self, instant: datetime) -> Iterator[Firing]:
        """Those scheduled for that instant or before that nobody has taken yet."""
        while self._next is not None and self._next.scheduled_for <= instant:
            yield self._next
            self._next = next(self._coming, None)


def _split(period: Period, uncovered: Uncovered | None, instant: datetime) -> tuple[Uncovered | None, Uncovered | None]:
    """What of it is due up to an instant, and what is due later."""
    if uncovered is None:
        return None, None
    return _part(period, just_before(uncovered.first), min(instant, uncovered.last)), _part(
        period, max(just_before(uncovered.first), instant), uncovered.last
    )


def _part(period: Period, after: datetime, until: datetime) -> Uncovered | None:
    first, last = period.first(after, until), period.last(after, until)
    return None if first is None or last is None else Uncovered(first, last, period.count(after, until))


def _missing(uncovered: Uncovered) -> Finding:
    return Finding(Flaw.MISSING, uncovered.first, uncovered.last, uncovered.count)


def _is_the_same(schedule: ScheduleRow, period: Period) -> bool:
    of_schedule = (schedule.cron, schedule.timezone, schedule.starts_at, schedule.ends_at)
    return of_schedule == (period.cron, period.timezone, period.starts_at, period.ends_at)
