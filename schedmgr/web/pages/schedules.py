"""The schedules: the list, its live rows, the switch and Run now."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from schedmgr.core import actions, phrases
from schedmgr.core.queries.snapshot import ScheduleFacts, Snapshot
from schedmgr.errors import NotFound
from schedmgr.vocabulary import Role
from schedmgr.web import schedule_rows
from schedmgr.web.auth import operators, viewers
from schedmgr.web.live import Part, Reading
from schedmgr.web.schedule_rows import RowBuilder
from schedmgr.web.site import Form, Visit, in_thread
from schedmgr.web.views import ConfirmPage, Question, ScheduleFilter, ScheduleList, SchedulesPage

LONGEST_SEARCH = 200


@get("/admin/schedules", guards=[viewers])
@in_thread
def schedules(request: Visit) -> Response[Any]:
    """The list of schedules."""
    reading = request.site.live.reading()
    snapshot = reading.snapshot
    page = SchedulesPage(
        shell=request.shell(reading, "schedules"),
        total=sum(schedule.archived_at is None for schedule in snapshot.schedules),
        loaded_at=snapshot.in_force.since if snapshot.in_force else None,
        can_pause=request.person.role.includes(Role.OPERATOR),
        paused_since=snapshot.pause.from_at if snapshot.pause else None,
        groups=schedule_rows.groups(snapshot),
        list=_list(request, reading).view,
    )
    return request.page("schedules", page)


@get("/admin/schedules/rows", guards=[viewers])
@in_thread
def rows(request: Visit) -> Response[Any]:
    """The live part of the list."""
    reading = request.site.live.reading()
    part = _list(request, reading)
    return request.fragment(reading, part, "schedule_rows", list=part.view)


@post("/admin/schedules/{schedule_id:str}/enable", guards=[operators])
@in_thread
def enable(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """Turn a schedule on."""
    request.site.database.transact(lambda session: actions.enable(session, schedule_id, request.requester))
    return request.done(request.back(f"/admin/schedules/{schedule_id}"))


@get("/admin/schedules/{schedule_id:str}/disable", guards=[operators])
@in_thread
def ask_disable(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """What the dialog asks before turning a schedule off, as a page."""
    return _ask(request, schedule_id, "disable", schedule_rows.ask_disable(schedule_id))


@post("/admin/schedules/{schedule_id:str}/disable", guards=[operators])
@in_thread
def disable(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """Turn a schedule off."""
    request.site.database.transact(lambda session: actions.disable(session, schedule_id, request.requester))
    return request.done(request.back(f"/admin/schedules/{schedule_id}"))


@get("/admin/schedules/{schedule_id:str}/run", guards=[operators])
@in_thread
def ask_run(request: Visit, schedule_id: FromPath[str]) -> Response[Any]:
    """What the dialog asks before a run by hand, as a page."""
    snapshot = request.site.live.reading().snapshot
    return _ask(request, schedule_id, "run", builder(request, snapshot).ask_run(find(snapshot, schedule_id)))


@post("/admin/schedules/{schedule_id:str}/run", guards=[operators])
@in_thread
def run(request: Visit, schedule_id: FromPath[str], data: Form) -> Response[Any]:
    """Run a schedule's jobs now.  The form's key makes pressing twice harmless."""
    key = request.key_of(data, f"run {schedule_id}")
    enqueued = request.site.database.transact(
        lambda session: actions.run_now(session, schedule_id, request.requester, key)
    )
    count = len(enqueued.job_run_ids)
    href = f"/admin/jobs/{enqueued.job_run_ids[0]}" if count == 1 else f"/admin/jobs?firing={enqueued.firing_id}"
    toast = f"Queued {phrases.counted(count, 'job')} of {schedule_id}."
    return request.done(request.back(href), toast=toast, href=href, label="Show", queued=count)


def builder(request: Visit, snapshot: Snapshot) -> RowBuilder:
    """Makes rows as this person sees them."""
    return RowBuilder(snapshot, request.person.role, is_production=request.site.settings.is_production)


def find(snapshot: Snapshot, schedule_id: str) -> ScheduleFacts:
    """The schedule of that id.  Raises NotFound, with the nearest one."""
    for schedule in snapshot.schedules:
        if schedule.id == schedule_id:
            return schedule
    sentence = actions.no_such("schedule", schedule_id, [schedule.id for schedule in snapshot.schedules])
    raise NotFound(sentence.replace("has the name", "has the id"))


def _list(request: Visit, reading: Reading) -> Part[ScheduleList]:
    state = request.asked("state")
    wanted = ScheduleFilter(
        state=state if state in schedule_rows.STATES else "all",
        q=request.asked("q")[:LONGEST_SEARCH],
        group=request.asked("group")[:LONGEST_SEARCH],
    )
    role, is_production = request.person.role, request.site.settings.is_production
    return request.site.live.part(
        reading,
        ("schedules", wanted, role),
        lambda: schedule_rows.schedule_list(reading.snapshot, wanted, role, is_production=is_production),
        basis=schedule_rows.basis(reading.snapshot),
    )


def _ask(request: Visit, schedule_id: str, deed: str, question: Question) -> Response[Any]:
    reading = request.site.live.reading()
    find(reading.snapshot, schedule_id)
    page = ConfirmPage(
        shell=request.shell(reading, "schedules"),
        question=question,
        post_url=f"/admin/schedules/{schedule_id}/{deed}",
        back_url=request.back(f"/admin/schedules/{schedule_id}"),
    )
    return request.page("confirm", page)


HANDLERS = [schedules, rows, enable, ask_disable, disable, ask_run, run]
