"""The list of job runs: rows, tabs, the queue line and the pages."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

from schedmgr.core import phrases
from schedmgr.core.queries.runs import COUNTED, RunFacts, RunsPage, Wanted
from schedmgr.core.queries.snapshot import Snapshot
from schedmgr.vocabulary import RunStatus, Trigger
from schedmgr.web import outcomes
from schedmgr.web.views import Action, Badge, Empty, Pager, Queue, RunFilter, RunList, RunRow, Tab

PAGE = 50
HOME = "/admin/jobs"

STATUSES: Mapping[str, tuple[RunStatus, ...]] = {
    "": (),
    "running": (RunStatus.RUNNING,),
    "queued": (RunStatus.QUEUED,),
    "failed": (RunStatus.FAILED, RunStatus.TIMED_OUT),
    "lost": (RunStatus.LOST,),
    "cancelled": (RunStatus.CANCELLED,),
    "skipped": (RunStatus.SKIPPED,),
}
_LABELS = {
    "": "All",
    "running": "Running",
    "queued": "Queued",
    "failed": "Failed",
    "lost": "Lost",
    "cancelled": "Cancelled",
    "skipped": "Skipped",
}
_SCHEDULES = Action("Show the schedules", "/admin/schedules")
_BAD = {"failed", "lost"}
_GOING = {"running", "queued"}


def wanted(asked: RunFilter) -> Wanted:
    """A filter of the page as a question to the tables."""
    return Wanted(
        statuses=STATUSES[asked.status],
        job=asked.job or None,
        group=asked.group or None,
        schedule_id=asked.schedule or None,
        trigger=Trigger(asked.trigger) if asked.trigger else None,
        firing_id=int(asked.firing) if asked.firing else None,
        text=asked.q,
    )


def run_list(snapshot: Snapshot, page: RunsPage, asked: RunFilter, place: int, kept_days: int | None) -> RunList:
    """The rows of a page; `place` is the number of its first one.  `kept_days`: for so long runs are kept, and older
    ones were pruned."""
    return RunList(
        filter=asked,
        rows=tuple(row(run, snapshot.now) for run in page.runs),
        tabs=_tabs(page, asked.status),
        queue=queue(snapshot),
        pager=_pager(page, asked, place, kept_days),
        empty=None if page.runs else _empty(asked, kept_days),
    )


def row(run: RunFacts, now: datetime) -> RunRow:
    """One run."""
    return RunRow(
        id=run.id,
        job=run.job,
        badge=badge(run, now),
        schedule_id=run.schedule_id,
        trigger=run.trigger,
        requested_by=outcomes.who(run.requested_by),
        queued_at=run.queued_at,
        started_at=run.started_at,
        took_seconds=outcomes.seconds(run.took),
        attempt=run.attempt,
        attempts_allowed=run.attempts_allowed,
        exit_code=run.exit_code,
        error=" ".join((run.error or "").split()),
    )


def badge(run: RunFacts, now: datetime) -> Badge:
    """What a run shows."""
    return Badge(
        run.status,
        retry_at=outcomes.retry_at(run.status, run.attempt, run.available_at, now),
        is_cancelling=run.status is RunStatus.RUNNING and run.cancel_requested_at is not None,
    )


def queue(snapshot: Snapshot) -> Queue:
    """How full the queue and the workers are."""
    waiting = snapshot.with_status(RunStatus.QUEUED)
    return Queue(
        waiting=len(waiting),
        oldest_queued_at=min((run.queued_at for run in waiting), default=None),
        busy=len(snapshot.with_status(RunStatus.RUNNING)),
        places=snapshot.places,
    )


def _tabs(page: RunsPage, current: str) -> tuple[Tab, ...]:
    return tuple(
        Tab(status, label, _count(page, status), status == current, is_bad=status in _BAD)
        for status, label in _LABELS.items()
    )


def _count(page: RunsPage, status: str) -> int | None:
    """None where not all were counted, and the number would be too low."""
    if page.is_over and status not in _GOING:
        return None
    statuses = STATUSES[status] or tuple(RunStatus)
    return sum(page.counts.get(each, 0) for each in statuses)


def _pager(page: RunsPage, asked: RunFilter, place: int, kept_days: int | None) -> Pager:
    shown = STATUSES[asked.status] or tuple(RunStatus)
    total = sum(page.counts.get(status, 0) for status in shown)
    count = len(page.runs)
    ids = [run.id for run in page.runs if run.status is not RunStatus.RUNNING]
    newer = _url(asked, after=max(ids), at=max(1, place - PAGE)) if page.has_newer and ids else None
    older = _url(asked, before=min(ids), at=place + count) if page.has_older and ids else None
    return Pager(
        first=place if count else 0,
        last=place + count - 1 if count else 0,
        total=min(max(total, place + count - 1), COUNTED),
        total_is_over=page.is_over,
        newer_url=newer,
        older_url=older,
        kept_days=None if page.has_older or asked.status in _GOING else kept_days,
    )


def _url(asked: RunFilter, **more: int) -> str:
    named = {name: getattr(asked, name) for name in RunFilter.__dataclass_fields__}
    return f"{HOME}?{urlencode({name: value for name, value in (named | more).items() if value})}"


def _empty(asked: RunFilter, kept_days: int | None) -> Empty:
    if asked == RunFilter("", "", "", "", "", "", ""):
        if kept_days is not None:
            days = phrases.counted(kept_days, "day")
            return Empty(f"No run in the last {days}", "Older ones were pruned.", _SCHEDULES)
        text = "Turn a schedule on, or press Run now: each of its jobs makes a run here."
        return Empty("No runs yet", text, _SCHEDULES)
    if asked.q:
        text = "Search looks at jobs, errors and run numbers."
        return Empty(f"Nothing matches “{asked.q}”", text, Action("Clear the search", HOME))
    return Empty("No run is here", "Drop the filters to see more.", Action("Show all", HOME))
