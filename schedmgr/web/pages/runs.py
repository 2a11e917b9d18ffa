"""The list of job runs."""

from typing import Any

from litestar import Response, get

from schedmgr.core import retention
from schedmgr.core.queries import runs as queries
from schedmgr.core.queries.snapshot import Snapshot
from schedmgr.vocabulary import Trigger
from schedmgr.web import run_rows, schedule_rows
from schedmgr.web.auth import viewers
from schedmgr.web.live import Part, Reading
from schedmgr.web.site import Visit, in_thread
from schedmgr.web.views import RunFilter, RunList, RunsPage

LONGEST = 200
MARK_RENEWED_AFTER = 30.0  # seconds


@get("/admin/jobs", guards=[viewers])
@in_thread
def runs(request: Visit) -> Response[Any]:
    """The list, or an older page of it."""
    reading = request.site.live.reading()
    snapshot = reading.snapshot
    asked = _filter(request)
    page = RunsPage(
        shell=request.shell(reading, "jobs"),
        jobs=_with(tuple(sorted(job.name for job in snapshot.jobs)), asked.job),
        groups=_with(schedule_rows.groups(snapshot), asked.group),
        schedules=_with(_ids(snapshot), asked.schedule),
        is_first_page=_is_first(request),
        list=_list(request, reading, asked).view,
    )
    return request.page("runs", page)


@get("/admin/jobs/rows", guards=[viewers])
@in_thread
def rows(request: Visit) -> Response[Any]:
    """The live part of the first page."""
    reading = request.site.live.reading()
    part = _list(request, reading, _filter(request))
    return request.fragment(reading, part, "run_rows", list=part.view)


def _list(request: Visit, reading: Reading, asked: RunFilter) -> Part[RunList]:
    older, newer = request.number("before"), request.number("after")
    page = request.site.live.ask(
        ("runs", asked, older, newer),
        lambda session: queries.page(
            session, run_rows.wanted(asked), run_rows.PAGE, older_than=older, newer_than=newer
        ),
    )
    place = 1 if _is_first(request) else request.number("at") or 1
    pruned_until = request.site.live.ask("pruned until", retention.pruned_until, fresh_for=MARK_RENEWED_AFTER)
    kept_days = None if pruned_until is None else request.site.settings.retention_days
    view = run_rows.run_list(reading.snapshot, page, asked, place, kept_days)
    return Part(view, request.site.live.etag(view))


def _filter(request: Visit) -> RunFilter:
    status, trigger, firing = request.asked("status"), request.asked("trigger"), request.number("firing")
    return RunFilter(
        status=status if status in run_rows.STATUSES else "",
        job=request.asked("job")[:LONGEST],
        group=request.asked("group")[:LONGEST],
        schedule=request.asked("schedule")[:LONGEST],
        trigger=trigger if trigger in set(Trigger) else "",
        firing="" if firing is None else str(firing),
        q=request.asked("q").strip()[:LONGEST],
    )


def _is_first(request: Visit) -> bool:
    return request.number("before") is None and request.number("after") is None


def _ids(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(sorted(schedule.id for schedule in snapshot.schedules))


def _with(names: tuple[str, ...], chosen: str) -> tuple[str, ...]:
    """The names to choose from; the chosen one stays among them although it left the definitions."""
    return names if not chosen or chosen in names else (chosen, *names)


HANDLERS = [runs, rows]
