"""The pause of all schedules, and its end."""

from datetime import UTC, datetime
from typing import Any

from litestar import Response, get, post

from schedmgr.core import actions
from schedmgr.errors import Refused
from schedmgr.web.auth import operators
from schedmgr.web.site import Form, Visit, in_thread, text_of
from schedmgr.web.views import PausePage

LONGEST_REASON = 200
HOME = "/admin/schedules"


@get("/admin/pause", guards=[operators])
@in_thread
def ask_pause(request: Visit) -> Response[Any]:
    """The form."""
    reading = request.site.live.reading()
    return request.page("pause", PausePage(request.shell(reading, "schedules")))


@post("/admin/pause", guards=[operators])
@in_thread
def pause(request: Visit, data: Form) -> Response[Any]:
    """Stop all firing."""
    reason, until = text_of(data, "reason").strip(), text_of(data, "until").strip()
    try:
        end = _instant(until)
        if len(reason) > LONGEST_REASON:
            raise Refused(f"The reason has {len(reason)} characters. Say it in {LONGEST_REASON}.")
        request.site.database.transact(lambda session: actions.pause(session, request.requester, reason, end))
    except Refused as error:
        if request.is_live:
            raise
        reading = request.site.live.reading()
        page = PausePage(request.shell(reading, "schedules"), reason, until, str(error))
        return request.page("pause", page, 409)
    return request.done(HOME, toast="All schedules are paused.")


@post("/admin/resume", guards=[operators])
@in_thread
def resume(request: Visit) -> Response[Any]:
    """End the pause."""
    request.site.database.transact(lambda session: actions.resume(session, request.requester))
    return request.done(request.back(HOME), toast="Schedules fire again.")


def _instant(text: str) -> datetime | None:
    """What a browser's field for date and time holds, as UTC; None when it is empty."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(f"Until: {text[:40]!r} is no time. Write it as 2026-10-23T02:30, in UTC.") from None


HANDLERS = [ask_pause, pause, resume]
