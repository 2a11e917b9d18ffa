"""The list of schedules: filtered, grouped and ordered, from a snapshot."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from schedmgr.core import cron, phrases
from schedmgr.core.queries.snapshot import JobFacts, ScheduleFacts, Snapshot, UnfinishedRun
from schedmgr.vocabulary import ExecutionMode, Overlap, Role, RunStatus
from schedmgr.web import outcomes, trouble
from schedmgr.web.views import (
    Action,
    Controls,
    Empty,
    Question,
    ScheduleFilter,
    ScheduleList,
    ScheduleRow,
    ScheduleSection,
    Section,
    Tab,
)

STATES = {
    "all": "All",
    "attention": "Needs attention",
    "missed": "Missed",
    "running": "Running",
    "off": "Off",
    "archived": "Archived",
}
_BESIDE_IT = {
    Overlap.SKIP: "Scheduled firings would skip; this one starts beside it.",
    Overlap.QUEUE: "Scheduled firings would wait; this one starts beside it.",
    Overlap.ALLOW: "This one starts beside it.",
}
_SHOWN_IF_ANY = {"missed", "archived"}
_LAST = datetime.max.replace(tzinfo=UTC)


def schedule_list(snapshot: Snapshot, wanted: ScheduleFilter, role: Role, *, is_production: bool) -> ScheduleList:
    """The rows that a person of this role sees under a filter."""
    build = RowBuilder(snapshot, role, is_production=is_production)
    found = [schedule for schedule in snapshot.schedules if build.matches(schedule, wanted)]
    states = {schedule.id: build.states(schedule) for schedule in found}
    counts = Counter(state for of_one in states.values() for state in of_one)
    shown = [schedule for schedule in found if wanted.state in states[schedule.id]]
    return ScheduleList(
        filter=wanted,
        sections=_sections(build, shown),
        tabs=_tabs(counts, wanted.state),
        empty=None if shown else _empty(snapshot, wanted),
    )


def basis(snapshot: Snapshot) -> tuple[object, ...]:
    """All of a snapshot that its rows depend on.  What was not read anew is the same object, so comparing costs little.

    The time is in it as far as it matters: as what is overdue, and what was repaired lately.
    """
    return (
        snapshot.firings,
        snapshot.schedules,
        snapshot.jobs,
        snapshot.unfinished,
        snapshot.pause is None,
        bool(snapshot.places),
        snapshot.missings.schedule_ids,
        [schedule.id for schedule in trouble.overdue(snapshot)],
        [schedule.id for schedule in snapshot.schedules if trouble.is_repaired(schedule, snapshot.now)],
    )


class RowBuilder:
    """Makes the rows of one snapshot for one role; what they share is worked out once."""

    def __init__(self, snapshot: Snapshot, role: Role, *, is_production: bool) -> None:
        self.snapshot = snapshot
        self._can_act = role.includes(Role.OPERATOR)
        self._is_production = is_production
        self._going: Mapping[str | None, list[UnfinishedRun]] = _by_schedule(snapshot)
        self._jobs_of_group = Counter(job.group for job in snapshot.jobs)

    def matches(self, schedule: ScheduleFacts, wanted: ScheduleFilter) -> bool:
        """Whether the search and the group let it through; the state is another question."""
        if wanted.group and not self._touches(schedule, wanted.group):
            return False
        needle = wanted.q.strip().lower()
        if not needle:
            return True
        jobs = [job for job in self.snapshot.jobs if runs_job(schedule, job)]
        texts = [schedule.id, schedule.description, *(job.name for job in jobs), *(job.group for job in jobs)]
        return any(needle in text.lower() for text in texts)

    def states(self, schedule: ScheduleFacts) -> set[str]:
        """Under which tabs it stands.  "All" has the archived ones too, last."""
        states = {"all"}
        if schedule.id in self.snapshot.missings.schedule_ids:
            states.add("missed")
        if schedule.archived_at is not None:
            return states | {"archived"}
        if trouble.needs_attention(self.snapshot, schedule):
            states.add("attention")
        if self._running(schedule):
            states.add("running")
        if not schedule.enabled:
            states.add("off")
        return states

    def section(self, schedule: ScheduleFacts) -> Section:
        """In which group of the list it stands."""
        if schedule.archived_at is not None:
            return Section.ARCHIVED
        if trouble.needs_attention(self.snapshot, schedule):
            return Section.ATTENTION
        return Section.ON if schedule.enabled else Section.OFF

    def row(self, schedule: ScheduleFacts) -> ScheduleRow:
        """One line of the list."""
        firings = self.snapshot.firings.get(schedule.id, ())
        return ScheduleRow(
            id=schedule.id,
            when=in_words(schedule.cron),
            what=self.what(schedule),
            cron=schedule.cron,
            timezone=schedule.timezone,
            controls=self.controls(schedule),
            is_new=is_new(schedule),
            next_run_at=schedule.next_run_at if schedule.is_on else None,
            grace_seconds=schedule.grace,
            repaired_at=schedule.repaired_at if trouble.is_repaired(schedule, self.snapshot.now) else None,
            archived_at=schedule.archived_at,
            last=outcomes.last(firings),
            strip=outcomes.strip(firings),
        )

    def what(self, schedule: ScheduleFacts) -> str:
        """What it runs: "job export-invoices", "group feed, 3 jobs", "all 23 jobs"."""
        if schedule.execution_mode is ExecutionMode.JOB:
            return f"job {schedule.job}"
        if schedule.execution_mode is ExecutionMode.GROUP:
            count = self._jobs_of_group[schedule.job_group or ""]
            return f"group {schedule.job_group}, {phrases.counted(count, 'job')}"
        return f"all {phrases.counted(len(self.snapshot.jobs), 'job')}"

    def controls(self, schedule: ScheduleFacts) -> Controls:
        """The switch and the button, and what is asked before."""
        return Controls(
            schedule_id=schedule.id,
            enabled=schedule.enabled,
            is_archived=schedule.archived_at is not None,
            can_switch=self._can_act,
            can_run=self._can_act,
            ask_run=self.ask_run(schedule) if self._is_production or self._running(schedule) else None,
            ask_disable=ask_disable(schedule.id) if self._is_production else None,
        )

    def ask_run(self, schedule: ScheduleFacts) -> Question:
        """What is asked before it runs by hand."""
        count = sum(runs_job(schedule, job) for job in self.snapshot.jobs)
        where = " **in production**" if self._is_production else ""
        said = [f"This queues {phrases.counted(count, 'job')} right away{where}."]
        if schedule.is_on and schedule.next_run_at is not None:
            due = phrases.clock_time(schedule.next_run_at)
            said.append(f"The next scheduled run ({due} UTC) is not changed.")
        if running := self._running(schedule):
            began = min(run.started_at or run.queued_at for run in running)
            said.append(f"A run from {began:%H:%M} UTC is still going. {_BESIDE_IT[schedule.overlap]}")
        if not schedule.enabled:
            said.append("The schedule stays off.")
        if self.snapshot.pause is not None:
            said.append("Schedules are paused; this still runs.")
        if not self.snapshot.places:
            said.append("No worker is running, so it waits in the queue.")
        return Question(f"Run {schedule.id} now?", " ".join(said), "Run now")

    def _running(self, schedule: ScheduleFacts) -> list[UnfinishedRun]:
        return [run for run in self._going.get(schedule.id, []) if run.status is RunStatus.RUNNING]

    def _touches(self, schedule: ScheduleFacts, group: str) -> bool:
        """Whether it runs a job of a group."""
        return any(job.group == group and runs_job(schedule, job) for job in self.snapshot.jobs)


def runs_job(schedule: ScheduleFacts, job: JobFacts) -> bool:
    """Whether a schedule runs a job."""
    if schedule.execution_mode is ExecutionMode.GROUP:
        return job.group == schedule.job_group
    return schedule.execution_mode is ExecutionMode.ALL_JOBS or job.name == schedule.job


def ask_disable(schedule_id: str) -> Question:
    """What is asked in production before a schedule is turned off."""
    text = "It stops firing until someone turns it on. Runs that are due meanwhile are skipped."
    return Question(f"Turn off {schedule_id}?", text, "Turn off", danger=True)


def is_new(schedule: ScheduleFacts) -> bool:
    """Whether it has been off since it arrived."""
    return not schedule.enabled and not schedule.was_on and schedule.archived_at is None


@lru_cache(maxsize=5000)
def in_words(expression: str) -> str:
    """A cron expression in plain English; itself where it cannot be read (any more)."""
    try:
        return cron.describe(expression)
    except cron.CronError:
        return expression


def groups(snapshot: Snapshot) -> tuple[str, ...]:
    """All job groups, by name."""
    return tuple(sorted({job.group for job in snapshot.jobs}))


def _by_schedule(snapshot: Snapshot) -> Mapping[str | None, list[UnfinishedRun]]:
    found: dict[str | None, list[UnfinishedRun]] = defaultdict(list)
    for run in snapshot.unfinished:
        found[run.schedule_id].append(run)
    return found


def _sections(build: RowBuilder, schedules: list[ScheduleFacts]) -> tuple[ScheduleSection, ...]:
    grouped: dict[Section, list[ScheduleFacts]] = defaultdict(list)
    for schedule in schedules:
        grouped[build.section(schedule)].append(schedule)
    return tuple(
        ScheduleSection(section, tuple(build.row(schedule) for schedule in sorted(grouped[section], key=_place)))
        for section in Section
        if grouped[section]
    )


def _place(schedule: ScheduleFacts) -> tuple[bool, datetime, int, str]:
    """By next run; of those that are off the new ones first."""
    return (not is_new(schedule), schedule.next_run_at or _LAST, schedule.position, schedule.id)


def _tabs(counts: Counter[str], current: str) -> tuple[Tab, ...]:
    return tuple(
        Tab("" if state == "all" else state, label, counts[state], state == current, is_bad=state == "attention")
        for state, label in STATES.items()
        if counts[state] or state == current or state not in _SHOWN_IF_ANY
    )


def _empty(snapshot: Snapshot, wanted: ScheduleFilter) -> Empty:
    if not snapshot.schedules:
        text = "Schedules are written in code. Copy the sample, run `schedmgr check`, then reload."
        return Empty("No schedules yet", text)
    if wanted.q:
        text = "Search looks at ids, descriptions, jobs and groups."
        return Empty(f"Nothing matches “{wanted.q}”", text, Action("Clear the search", "/admin/schedules"))
    if wanted.state == "attention" and not wanted.group:
        return Empty("Nothing needs you", _all_is_well(snapshot))
    return Empty("No schedule is here", "Another filter shows more.", Action("Show all", "/admin/schedules"))


def _all_is_well(snapshot: Snapshot) -> str:
    on = sum(schedule.is_on for schedule in snapshot.schedules)
    if not on:
        return "No schedule is on."
    return f"None of the {phrases.counted(on, 'schedule')} that are on fails, is overdue or was skipped."
