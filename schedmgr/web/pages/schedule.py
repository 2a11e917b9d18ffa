"""The page of one schedule: its facts and its history, both live."""

from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from schedmgr.core.queries import schedules as queries
from schedmgr.core.queries.firings import Show
from schedmgr.core.queries.schedules import Rules
from schedmgr.core.queries.snapshot import ScheduleFacts
from schedmgr.errors import NotFound
from schedmgr.web import schedule_detail, views
from schedmgr.web.auth import viewers
from schedmgr.web.live import Part, Reading
from schedmgr.web.pages.schedules import builder, find
from schedmgr.web.site import Visit, in_thread
from schedmgr.web.views import History, SchedulePage

SUCCESS_RENEWED_AFTER = 30.0  # seconds: thirty days do not change in one


@get("/admin/schedules/{schedule_id:str}", guards=[viewers])
@in_thread
def schedule(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """The whole page."""
    reading = request.site.live.reading()
    found = find(reading.snapshot, schedule_id)
    rules, build = _rules(request, schedule_id), builder(request, reading.snapshot)
    page = SchedulePage(
        shell=request.shell(reading, "schedules"),
        group=schedule_detail.group_of(build, found),
        facts=_facts(request, reading, found),
        history=_history(request, found),
        definition=schedule_detail.definition(build, found, rules),
    )
    return request.page("schedule", page)


@get("/admin/schedules/{schedule_id:str}/facts", guards=[viewers])
@in_thread
def facts(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """All that lives but the history."""
    reading = request.site.live.reading()
    view = _facts(request, reading, find(reading.snapshot, schedule_id))
    return request.fragment(reading, Part(view, request.site.live.etag(view)), "schedule_facts", facts=view)


@get("/admin/schedules/{schedule_id:str}/history", guards=[viewers])
@in_thread
def history(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """The firings."""
    reading = request.site.live.reading()
    view = _history(request, find(reading.snapshot, schedule_id))
    return request.fragment(reading, Part(view, request.site.live.etag(view)), "history", history=view)


def _rules(request: Visit, schedule_id: str) -> Rules:
    rules = request.site.live.ask(("rules", schedule_id), lambda session: queries.rules(session, schedule_id))
    if rules is None:
        raise NotFound(f"No schedule has the id {schedule_id}.")
    return rules


def _facts(request: Visit, reading: Reading, found: ScheduleFacts) -> views.ScheduleFacts:
    success = request.site.live.ask(
        ("success", found.id), lambda session: queries.success(session, found.id), fresh_for=SUCCESS_RENEWED_AFTER
    )
    return schedule_detail.facts(builder(request, reading.snapshot), found, _rules(request, found.id), success)


def _history(request: Visit, found: ScheduleFacts) -> History:
    before, after = request.number("before"), request.number("after")
    asked = request.asked("show")
    show = Show(asked) if asked in set(Show) else Show.ALL
    page = request.site.live.ask(
        ("history", found.id, show, before, after),
        lambda session: queries.history(session, found.id, show, schedule_detail.PAGE, before=before, after=after),
    )
    is_first = before is None and after is None
    place = 1 if is_first else request.number("at") or 1
    return schedule_detail.history(found, page, show, place, is_first, request.site.settings.retention_days)


HANDLERS = [schedule, facts, history]
