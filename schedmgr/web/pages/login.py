"""Signing in and out, and the theme."""

import logging
import math
from typing import Any

from litestar import Response, get, post
from litestar.response import Redirect

from schedmgr import clock
from schedmgr.core import accounts
from schedmgr.core.audit import Requester
from schedmgr.core.queries import sessions
from schedmgr.database.engine import Session
from schedmgr.errors import NotFound
from schedmgr.web.auth import SESSION_COOKIE, session_id_of, session_token
from schedmgr.web.brake import Slowed
from schedmgr.web.site import THEME_COOKIE, THEMES, Form, Visit, in_thread, own_path, text_of
from schedmgr.web.views import LoginPage

log = logging.getLogger(__name__)

HOME = "/admin/schedules"
LONGEST_NAME = 100
THEME_KEPT = 400 * 24 * 3600  # seconds

WRONG = "Wrong user name or password. After 5 wrong tries, each further try waits longer."
ENDED = {
    "password changed": "You were signed out because the password changed.",
    "user removed": "You were signed out because the user was removed.",
}
USED_UP = "This sign-in link was used or has expired. Sign in with your password."


@get(["/", "/admin"], sync_to_thread=False)
def home(request: Visit) -> Redirect:
    """The schedules are the first page, also for who types the start of its address."""
    return Redirect(request.site.prefix + HOME, status_code=303)


@get("/login")
@in_thread
def login(request: Visit) -> Response[Any]:
    """The form; or the way in for who comes with a link."""
    if token := request.asked("token"):
        return _by_link(request, token)
    if request.user is not None:
        return Redirect(request.site.prefix + (own_path(request.asked("next")) or HOME), status_code=303)
    return _form(request, 200, error=_why_ended(request), next_url=request.asked("next"))


@post("/login")
@in_thread
def sign_in(request: Visit, data: Form) -> Response[Any]:
    """Check name and password, and begin a session."""
    name, next_url = text_of(data, "username", LONGEST_NAME).strip(), text_of(data, "next")
    database, password = request.site.database, text_of(data, "password")
    try:
        user = request.site.brake.look(name, request.address, lambda: accounts.verify(database, name, password))
    except Slowed as slowed:
        log.warning("sign-in slowed user=%r address=%s", name, request.address)
        return _form(request, 429, name, f"Too many tries. Try again in {math.ceil(slowed.seconds)} s.", next_url)
    if user is None:
        log.warning("sign-in refused user=%r address=%s", name, request.address)
        return _form(request, 403, name, WRONG, next_url)
    return _begin(request, user.name, own_path(next_url) or HOME)


@post("/logout")
@in_thread
def sign_out(request: Visit) -> Response[Any]:
    """End the session on the server; the cookie is worth nothing from then on."""
    site = request.site
    session_id = session_id_of(site.keys, request.cookies.get(SESSION_COOKIE))
    if session_id is not None and request.user is not None:
        by = request.requester
        site.database.transact(lambda session: accounts.end_session(session, session_id, by))
        site.live.forget()
    answer = Redirect(f"{site.prefix}/login", status_code=303)
    answer.set_cookie(site.cookie(SESSION_COOKIE, "", 0))
    return answer


@post("/theme", sync_to_thread=False)
def theme(request: Visit, data: Form) -> Response[Any]:
    """Remember light or dark in this browser."""
    chosen = text_of(data, "theme")
    answer: Response[Any] = (
        Response(None, status_code=204)
        if request.is_live
        else Redirect(request.site.prefix + request.back(HOME), status_code=303)
    )
    answer.set_cookie(request.site.cookie(THEME_COOKIE, chosen if chosen in THEMES else "", THEME_KEPT))
    return answer


def _why_ended(request: Visit) -> str:
    """Why the session of this browser's cookie was ended by somebody else; "" where it was not."""
    session_id = session_id_of(request.site.keys, request.cookies.get(SESSION_COOKIE))
    if session_id is None:
        return ""
    word = request.site.live.ask(("ended", session_id), lambda session: sessions.why_ended(session, session_id))
    return ENDED.get(word or "", "")


def _by_link(request: Visit, token: str) -> Response[Any]:
    user = request.site.database.transact(lambda session: accounts.redeem_sign_in_link(session, token))
    if user is None:
        return _form(request, 403, error=USED_UP)
    return _begin(request, user.name, own_path(request.asked("next")) or HOME)


def _begin(request: Visit, name: str, location: str) -> Response[Any]:
    site = request.site
    by = Requester(who=f"web:{name}", origin=request.address, process_id=site.process_id)

    def begin(session: Session) -> str | None:
        try:
            return accounts.begin_session(session, name, by)
        except NotFound:  # removed between the check and now
            return None

    session_id = site.database.transact(begin)
    if session_id is None:
        return _form(request, 403, name, WRONG)
    site.live.forget()
    answer = Redirect(site.prefix + location, status_code=303)
    token = session_token(site.keys, session_id, clock.host_now())
    answer.set_cookie(site.cookie(SESSION_COOKIE, token, int(accounts.SESSION_LENGTH.total_seconds())))
    return answer


def _form(request: Visit, status: int, name: str = "", error: str = "", next_url: str = "") -> Response[Any]:
    settings = request.site.settings
    page = LoginPage(
        environment=settings.environment,
        is_production=settings.is_production,
        theme=request.theme,
        username=name,
        error=error,
        next_url=own_path(next_url) or "",
    )
    return request.page("login", page, status)


HANDLERS = [home, login, sign_in, sign_out, theme]
