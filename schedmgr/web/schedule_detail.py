"""One schedule: its facts, its next ten runs with the changes of clocks that touch them, its history."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from urllib.parse import urlencode

from schedmgr.core import cron, phrases
from schedmgr.core.queries.firings import RECENT, FiringFacts, Show
from schedmgr.core.queries.schedules import HistoryPage, Rules
from schedmgr.core.queries.snapshot import ScheduleFacts
from schedmgr.core.timetable import Timetable
from schedmgr.vocabulary import ExecutionMode, Missed, Overlap, Reason, RunStatus
from schedmgr.web import outcomes, trouble, views
from schedmgr.web.schedule_rows import RowBuilder, in_words, is_new
from schedmgr.web.views import Action, Banner, Empty, Fact, History, Kind, NextRun, Pager, Tab

NEXT_RUNS = 10
NOTES = 3
PAGE = 50
_FAR = datetime.max.replace(tzinfo=UTC)

_SHOWN = {Show.ALL: "All", Show.FAILED: "Failed", Show.SKIPPED: "Skipped", Show.BY_HAND: "By hand"}


def facts(build: RowBuilder, schedule: ScheduleFacts, rules: Rules, success: tuple[int, int]) -> views.ScheduleFacts:
    """The parts of the page that live.  `success`: firings that succeeded, and all that ended."""
    snapshot = build.snapshot
    firings = snapshot.firings.get(schedule.id, ())
    next_runs, notes = _next_runs(schedule, rules, snapshot.now)
    return views.ScheduleFacts(
        id=schedule.id,
        description=schedule.description,
        timezone=schedule.timezone,
        controls=build.controls(schedule),
        is_new=is_new(schedule),
        archived_at=schedule.archived_at,
        next_run_at=schedule.next_run_at if schedule.is_on else None,
        grace_seconds=schedule.grace,
        banners=tuple(_banners(schedule, firings)),
        strip=outcomes.strip(firings),
        succeeded=success[0],
        fired=success[1],
        usual_seconds=_percentile(rules.usual, 0.5),
        usual_max_seconds=_percentile(rules.usual, 0.95),
        next_runs=next_runs,
        notes=notes,
    )


def history(
    schedule: ScheduleFacts, page: HistoryPage, show: Show, place: int, is_first: bool, kept_days: int
) -> History:
    """A page of its firings; `place` is the number of the first one, `kept_days` for how long they are kept."""
    return History(
        schedule_id=schedule.id,
        timezone=schedule.timezone,
        tabs=tuple(Tab(each, label, is_current=each is show) for each, label in _SHOWN.items()),
        rows=tuple(outcomes.row(firing) for firing in page.firings),
        pager=_pager(schedule.id, page, show, place, kept_days),
        is_first_page=is_first,
        empty=None if page.firings else _empty(schedule, show, kept_days if page.was_pruned else None),
    )


def definition(build: RowBuilder, schedule: ScheduleFacts, rules: Rules) -> tuple[Fact, ...]:
    """What the code says."""
    limit = f", {rules.catch_up_limit} at most" if schedule.missed is Missed.CATCH_UP else ""
    always = [
        Fact("Runs", build.what(schedule)),
        Fact("Cron", schedule.cron, is_code=True),
        Fact("In words", in_words(schedule.cron)),
        Fact("Time zone", schedule.timezone),
        Fact("Environments", ", ".join(rules.environments) or "all"),
        Fact("Missed runs", _MISSED[schedule.missed] + limit),
        Fact("While a run goes", _OVERLAPS[rules.overlap]),
        Fact("Grace", phrases.duration(timedelta(seconds=schedule.grace))),
    ]
    jitter = [Fact("Jitter, up to", phrases.duration(timedelta(seconds=rules.jitter)))] if rules.jitter else []
    ends = [("Starts at", rules.starts_at), ("Ends at", rules.ends_at)]
    return (*always, *jitter, *(Fact(label, phrases.iso(at)) for label, at in ends if at is not None))


_MISSED = {
    Missed.SKIP: "are skipped",
    Missed.RUN_ONCE: "the newest one runs",
    Missed.CATCH_UP: "are caught up",
}
_OVERLAPS = {
    Overlap.SKIP: "the next one is skipped",
    Overlap.QUEUE: "the next one waits",
    Overlap.ALLOW: "the next one starts beside it",
}


def group_of(build: RowBuilder, schedule: ScheduleFacts) -> str | None:
    """The group that the schedule belongs to; None for one that runs all jobs."""
    if schedule.execution_mode is ExecutionMode.JOB:
        return next((job.group for job in build.snapshot.jobs if job.name == schedule.job), None)
    return schedule.job_group


def _next_runs(schedule: ScheduleFacts, rules: Rules, now: datetime) -> tuple[tuple[NextRun, ...], tuple[str, ...]]:
    """The next ones that are not decided yet, also of a schedule that is off, and what the clocks do to them."""
    if schedule.archived_at is not None:
        return (), ()
    timetable = Timetable(schedule.id, schedule.cron, schedule.timezone, rules.starts_at, rules.ends_at)
    try:
        undecided = max(now, rules.accounted_until or now)  # later than now where the clock was set back
        found = list(islice(timetable.between(undecided, _FAR), NEXT_RUNS))
        return tuple(_shifts(schedule, found, now)), tuple(islice(_notes(schedule, found, now), NOTES))
    except cron.CronError as error:
        return (), (f"When it is due cannot be worked out: {error}",)


def _shifts(schedule: ScheduleFacts, found: Sequence[datetime], now: datetime) -> Iterator[NextRun]:
    """Each with whether the clocks changed since the one before."""
    zone = cron.zone(schedule.timezone)
    before = now.astimezone(zone).utcoffset()
    for at in found:
        offset = at.astimezone(zone).utcoffset()
        yield NextRun(at, is_shifted=offset != before)
        before = offset


def _notes(schedule: ScheduleFacts, found: Sequence[datetime], now: datetime) -> Iterator[str]:
    if not found:
        return
    for change in cron.clock_changes(schedule.timezone, now, found[-1] + timedelta(days=1)):
        if note := cron.clock_note(schedule.cron, schedule.timezone, change, hash_id=schedule.id):
            yield note


def _banners(schedule: ScheduleFacts, firings: Sequence[FiringFacts]) -> Iterator[Banner]:
    if schedule.archived_at is not None:
        when = f"{schedule.archived_at.day} {schedule.archived_at:%b %Y}"
        yield Banner("archived", Kind.INFO, f"Archived on {when}: it left the code", "Its history stays here.")
        return
    if firings and firings[0].reason is Reason.UNDECIDABLE:
        yield Banner("undecidable", Kind.BAD, "When it is due cannot be worked out", firings[0].detail or "")
    count = outcomes.failures_in_a_row(firings)
    if count and (firings[0].has_failed or count >= trouble.FAILURES_THAT_STAY):
        yield _failing(firings, count)


def _failing(firings: Sequence[FiringFacts], count: int) -> Banner:
    newest = next(firing for firing in firings if firing.has_failed)
    success = next((firing for firing in firings if firing.outcome is RunStatus.SUCCEEDED), None)
    among = "its firings" if len(firings) < RECENT else f"the last {RECENT} firings"
    last = f"Last success: {phrases.iso(success.decided_at)}." if success else f"No success among {among}."
    ended = outcomes.note(newest)
    ended_so = f" It ended with: {ended}." if ended else ""
    title = "The last run failed" if count == 1 else f"The last {count} runs failed"
    url = outcomes.url(newest)
    return Banner("failing", Kind.BAD, title, f"{last}{ended_so}", Action("Open the last run", url) if url else None)


def _percentile(lengths: Sequence[timedelta], part: float) -> float | None:
    if not lengths:
        return None
    return lengths[min(len(lengths) - 1, int(len(lengths) * part))].total_seconds()


def _pager(schedule_id: str, page: HistoryPage, show: Show, place: int, kept_days: int) -> Pager:
    count = len(page.firings)
    newer = older = None
    if count and page.has_newer:
        newer = _url(schedule_id, show, after=page.firings[0].id, at=max(1, place - PAGE))
    if count and page.has_older:
        older = _url(schedule_id, show, before=page.firings[-1].id, at=place + count)
    return Pager(
        first=place if count else 0,
        last=place + count - 1 if count else 0,
        total=page.total,
        total_is_over=page.is_over,
        newer_url=newer,
        older_url=older,
        kept_days=kept_days if page.was_pruned else None,
    )


def _url(schedule_id: str, show: Show, **more: int) -> str:
    query = ({"show": str(show)} if show else {}) | {name: str(value) for name, value in more.items()}
    return f"/admin/schedules/{schedule_id}?{urlencode(query)}"


def _empty(schedule: ScheduleFacts, show: Show, kept_days: int | None) -> Empty:
    home = f"/admin/schedules/{schedule.id}"
    if show is not Show.ALL:
        return Empty("No such firing", "Its history holds others.", Action("Show all", home))
    if kept_days is not None:
        return Empty(f"It has not fired in the last {phrases.counted(kept_days, 'day')}", "Older firings were pruned.")
    if schedule.is_on or schedule.archived_at is not None:
        return Empty("It has never fired", "Its first firing will stand here.")
    text = "It is off. Look at its next ten runs, turn it on, or press Run now to try it."
    return Empty("It has never fired", text, Action("Turn on", f"{home}/enable", post=True))
