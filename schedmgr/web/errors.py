"""What people see when something cannot be done: a page, or one sentence for the script that asked."""

import logging
import secrets
from typing import Any
from urllib.parse import quote, urlencode

from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    PermissionDeniedException,
    ValidationException,
)
from litestar.response import Redirect
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_403_FORBIDDEN,
    HTTP_404_NOT_FOUND,
    HTTP_409_CONFLICT,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
)

from schedmgr.errors import DatabaseNotReady, DatabaseUnavailable, NotFound, Refused, SchedmgrError
from schedmgr.web import frame
from schedmgr.web.auth import SESSION_COOKIE
from schedmgr.web.site import THEME_COOKIE, THEMES, Site
from schedmgr.web.views import Action, ErrorPage, Shell

log = logging.getLogger(__name__)

CSRF_FAILED = "CSRF token verification failed"
"""Litestar's words for a form without the token of its page."""

_STATUS: dict[type[SchedmgrError], int] = {
    Refused: HTTP_409_CONFLICT,
    NotFound: HTTP_404_NOT_FOUND,
    DatabaseUnavailable: HTTP_503_SERVICE_UNAVAILABLE,
    DatabaseNotReady: HTTP_503_SERVICE_UNAVAILABLE,
}
_TITLES = {
    HTTP_403_FORBIDDEN: "Not with your role",
    HTTP_404_NOT_FOUND: "Not found",
    HTTP_409_CONFLICT: "Not possible now",
    HTTP_503_SERVICE_UNAVAILABLE: "The database does not answer",
}
AnyRequest = Request[Any, Any, Any]


def known(request: AnyRequest, error: SchedmgrError) -> Response[Any]:
    """A failure that a person can mend: its own sentence."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), HTTP_400_BAD_REQUEST)
    return _answer(request, status, _TITLES.get(status, "Not done"), str(error))


def http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What the framework and the guards refuse."""
    if isinstance(error, NotAuthorizedException):
        return _sign_in(request, error.detail)
    if isinstance(error, PermissionDeniedException) and error.detail == CSRF_FAILED:
        return _refused_form(request)
    if error.status_code == HTTP_403_FORBIDDEN:
        return _answer(request, HTTP_403_FORBIDDEN, _TITLES[HTTP_403_FORBIDDEN], error.detail)
    # A form's fields are read one by one, so what does not validate is a part of the address.
    if error.status_code == HTTP_404_NOT_FOUND or isinstance(error, ValidationException):
        return _answer(request, HTTP_404_NOT_FOUND, "Not found", "There is no page at this address.")
    if error.status_code >= HTTP_500_INTERNAL_SERVER_ERROR:
        return unexpected(request, error)
    text = "The request could not be read. Load the page again."
    return _answer(request, error.status_code, "Not done", text)


def unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """A bug of ours: the reader gets the number under which the log has the rest."""
    number = secrets.token_hex(3)
    log.error("request failed id=%s method=%s path=%s", number, request.method, quote(request.url.path), exc_info=error)
    text = f"It is logged as {number}. Schedules are not affected."
    return _answer(request, HTTP_500_INTERNAL_SERVER_ERROR, "Something broke on our side", text)


def _refused_form(request: AnyRequest) -> Response[Any]:
    """A form without the token of its page, or without the cookie that the token is held against."""
    site: Site = request.app.state.site
    if csrf_cookie(site) in request.cookies:
        text = "This page was older than your sign-in, so nothing was done. Load it again and press once more."
        return _answer(request, HTTP_403_FORBIDDEN, "The page was too old", text)
    mend = "Let this address set cookies, and load the page again."
    if site.is_secure and request.url.scheme != "https":
        mend = "In production cookies go over https:// only: open the page by its https:// address."
    text = f"Your browser sent no cookie, so nothing was done. {mend}"
    return _answer(request, HTTP_403_FORBIDDEN, "No cookie", text)


def _sign_in(request: AnyRequest, detail: str) -> Response[Any]:
    if request.headers.get("HX-Request") == "true":
        return _plain(HTTP_401_UNAUTHORIZED, detail)
    site: Site = request.app.state.site
    wanted = request.url.path.removeprefix(site.prefix)
    query = f"?{request.url.query}" if request.url.query else ""
    next_page = f"?{urlencode({'next': wanted + query})}" if request.method == "GET" and wanted != "/" else ""
    return Redirect(f"{site.prefix}/login{next_page}", status_code=303)


def _answer(request: AnyRequest, status: int, title: str, text: str) -> Response[Any]:
    if request.headers.get("HX-Request") == "true":
        return _plain(status, text)
    page = _page(request, status, title, text)
    template = "pages/error_alone.html" if page.shell is None else "pages/error.html"
    site: Site = request.app.state.site
    rendered = site.render(template, request.cookies.get(csrf_cookie(site), ""), page=page)
    return Response(rendered, status_code=status, media_type=MediaType.HTML)


def _plain(status: int, text: str) -> Response[str]:
    return Response(text, status_code=status, media_type=MediaType.TEXT)


def csrf_cookie(site: Site) -> str:
    """The name of the cookie beside the forms' token; another one when the secret changes, which voids the old."""
    return f"schedmgr_csrf_{site.keys.mark}"


def _page(request: AnyRequest, status: int, title: str, text: str) -> ErrorPage:
    site: Site = request.app.state.site
    theme = request.cookies.get(THEME_COOKIE)
    return ErrorPage(
        shell=_shell(request, site, theme),
        environment=site.settings.environment,
        is_production=site.settings.is_production,
        theme=theme if theme in THEMES else None,
        status=status,
        title=title,
        text=text,
        action=Action("Go to the schedules", "/admin/schedules"),
    )


def _shell(request: AnyRequest, site: Site, theme: str | None) -> Shell | None:
    """The frame, from what is known without asking the database: an error must not cause another one."""
    reading, person = site.live.latest(), site.door.known(request.cookies.get(SESSION_COOKIE))
    if reading is None or person is None:
        return None
    return frame.shell(site, reading, person, theme if theme in THEMES else None, "")
