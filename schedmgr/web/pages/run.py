"""One job run: its page, its head and output as they come, cancel and retry."""

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import PathParameter
from litestar.response import Stream

from schedmgr.core import actions
from schedmgr.core.queries import output
from schedmgr.core.queries import runs as queries
from schedmgr.core.queries.output import OutputPart, Point
from schedmgr.core.queries.runs import RunDetail
from schedmgr.vocabulary import RunStatus
from schedmgr.web import run_detail, run_rows
from schedmgr.web.auth import operators, viewers
from schedmgr.web.live import Part, Reading
from schedmgr.web.site import Form, Visit, in_thread
from schedmgr.web.views import ConfirmPage, Question, RunHead, RunPage

RunId = Annotated[int, PathParameter(le=2**63 - 1)]
"""The number of a run, as far as a database can hold one."""


@get("/admin/jobs/{run_id:int}", guards=[viewers])
@in_thread
def run(request: Visit, run_id: RunId) -> Response[Any]:
    """The page of a run."""
    reading, detail = request.site.live.reading(), _detail(request, run_id)
    attempt = run_detail.shown_attempt(detail, request.number("attempt"))
    page = RunPage(
        shell=request.shell(reading, "jobs"),
        head=_head(request, reading, detail, attempt),
        attempt=attempt,
        log=run_detail.log(_newest(request, run_id, attempt)),
        definition=run_detail.definition(detail.run),
        earlier=tuple(run_rows.row(each, reading.snapshot.now) for each in detail.earlier),
    )
    return request.page("run", page)


@get("/admin/jobs/{run_id:int}/head", guards=[viewers])
@in_thread
def head(request: Visit, run_id: RunId) -> Response[Any]:
    """All that lives on the page but the output."""
    reading, detail = request.site.live.reading(), _detail(request, run_id)
    attempt = run_detail.shown_attempt(detail, request.number("attempt"))
    view = _head(request, reading, detail, attempt)
    return request.fragment(reading, Part(view, request.site.live.etag(view)), "run_head", head=view)


@get("/admin/jobs/{run_id:int}/output", guards=[viewers])
@in_thread
def lines(request: Visit, run_id: RunId) -> Response[Any]:
    """Lines of an attempt: after a point (`after`), before a line (`before`), or the newest."""
    reading = request.site.live.reading()
    attempt = request.number("attempt") or 1
    point, before = Point.parse(request.asked("after")), request.number("before")
    if point is not None:
        part = request.site.live.ask(
            ("output", run_id, attempt, point), lambda session: output.after(session, run_id, attempt, point)
        )
    elif before is not None:
        part = request.site.live.ask(
            ("output", run_id, attempt, before), lambda session: output.before(session, run_id, attempt, before)
        )
    else:
        part = _newest(request, run_id, attempt)
    view = run_detail.log(part)
    return request.fragment(reading, Part(view, request.site.live.etag(view)), "log_lines", log=view)


@get("/admin/jobs/{run_id:int}/output.txt", guards=[viewers])
@in_thread
def download(request: Visit, run_id: RunId) -> Stream:
    """All the output that was kept, as a file."""
    detail = _detail(request, run_id)
    attempt = run_detail.shown_attempt(detail, request.number("attempt"))
    name = f"{detail.run.job}-{run_id}-attempt-{attempt}.txt"
    return Stream(
        output.texts(request.site.database, run_id, attempt),
        media_type="text/plain",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@get("/admin/jobs/{run_id:int}/cancel", guards=[operators])
@in_thread
def ask_cancel(request: Visit, run_id: RunId) -> Response[Any]:
    """What the dialog asks before a run is cancelled, as a page."""
    return _asked(request, run_id, "cancel", run_detail.ask_cancel(_detail(request, run_id).run))


@post("/admin/jobs/{run_id:int}/cancel", guards=[operators])
@in_thread
def cancel(request: Visit, run_id: RunId) -> Response[Any]:
    """Cancel a run, or ask it to stop."""
    status = request.site.database.transact(lambda session: actions.cancel(session, run_id, request.requester))
    said = "is cancelled" if status is RunStatus.CANCELLED else "is asked to stop"
    return request.done(f"/admin/jobs/{run_id}", toast=f"Run {run_id} {said}.")


@get("/admin/jobs/{run_id:int}/retry", guards=[operators])
@in_thread
def ask_retry(request: Visit, run_id: RunId) -> Response[Any]:
    """What the dialog asks in production before a run is retried, as a page."""
    return _asked(request, run_id, "retry", run_detail.ask_retry(_detail(request, run_id).run))


@post("/admin/jobs/{run_id:int}/retry", guards=[operators])
@in_thread
def retry(request: Visit, run_id: RunId, data: Form) -> Response[Any]:
    """Run an ended run's job again, as a new run."""
    key = request.key_of(data, f"retry {run_id}")
    new = request.site.database.transact(lambda session: actions.retry(session, run_id, request.requester, key))
    href = f"/admin/jobs/{new}"
    return request.done(href, toast=f"Queued as run {new}.", href=href, label="Show")


def _detail(request: Visit, run_id: int) -> RunDetail:
    return request.site.live.ask(("run", run_id), lambda session: queries.detail(session, run_id))


def _head(request: Visit, reading: Reading, detail: RunDetail, attempt: int) -> RunHead:
    return run_detail.head(
        detail,
        attempt,
        request.person.role,
        reading.snapshot.now,
        is_production=request.site.settings.is_production,
    )


def _newest(request: Visit, run_id: int, attempt: int) -> OutputPart:
    return request.site.live.ask(("output", run_id, attempt), lambda session: output.newest(session, run_id, attempt))


def _asked(request: Visit, run_id: int, deed: str, question: Question) -> Response[Any]:
    page = ConfirmPage(
        shell=request.shell(request.site.live.reading(), "jobs"),
        question=question,
        post_url=f"/admin/jobs/{run_id}/{deed}",
        back_url=f"/admin/jobs/{run_id}",
    )
    return request.page("confirm", page)


HANDLERS = [run, head, lines, download, ask_cancel, cancel, ask_retry, retry]
