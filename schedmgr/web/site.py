"""What every handler works with: the site as a whole, and one visit to it."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from jinja2 import Environment
from litestar import Request, Response
from litestar.concurrency import sync_to_thread
from litestar.datastructures import Cookie, State
from litestar.enums import MediaType, RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect
from litestar.template.base import csrf_token
from markupsafe import Markup

from schedmgr.core.audit import Requester
from schedmgr.core.queries.snapshot import SignedIn
from schedmgr.database.engine import Database
from schedmgr.settings import Settings
from schedmgr.web import frame
from schedmgr.web.assets import Assets
from schedmgr.web.auth import Door, Keys
from schedmgr.web.brake import Brake
from schedmgr.web.live import Live, Part, Reading
from schedmgr.web.rendering import iso
from schedmgr.web.views import Shell

Form = Annotated[dict[str, Any] | None, Body(media_type=RequestEncodingType.URL_ENCODED)]
"""The fields of a posted form; None where it has none."""

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

THEME_COOKIE = "theme"
THEMES = ("light", "dark")

_OWN_PATH = re.compile(r"/admin/[\x21-\x5b\x5d-\x7e]*")  # printable, and no backslash, which browsers read as a slash


@dataclass(frozen=True, slots=True)
class Site:
    """One web process.  `prefix` is the path under which a proxy serves it ("/jobs", or "")."""

    settings: Settings
    database: Database
    live: Live
    keys: Keys
    door: Door
    brake: Brake
    templates: Environment
    assets: Assets
    prefix: str
    is_secure: bool  # cookies go over HTTPS only
    process_id: str | None
    version: str

    def cookie(self, key: str, value: str, max_age: int) -> Cookie:
        """A cookie that no script reads; `max_age` in seconds, 0 to remove it."""
        return Cookie(
            key=key,
            value=value,
            max_age=max_age,
            path=self.prefix or "/",
            httponly=True,
            samesite="lax",
            secure=self.is_secure,
        )

    def render(self, template: str, token: str, **context: object) -> str:
        """A template's text.  `token` is what the forms in it carry."""
        field = Markup('<input type="hidden" name="_csrf_token" value="{}">').format(token)
        return self.templates.get_template(template).render(csrf_token=lambda: token, csrf_input=field, **context)


class Visit(Request[SignedIn | None, Any, State]):
    """One request to the site."""

    @property
    def site(self) -> Site:
        """The site that is visited."""
        site: Site = self.app.state.site
        return site

    @property
    def person(self) -> SignedIn:
        """Who asks, on a route whose guard lets nobody else in."""
        assert self.user is not None
        return self.user

    @property
    def is_live(self) -> bool:
        """Whether a script of the page asks, not the browser itself."""
        return self.headers.get("HX-Request") == "true"

    @property
    def theme(self) -> str | None:
        """The theme that this browser chose; None: follow the system."""
        chosen = self.cookies.get(THEME_COOKIE)
        return chosen if chosen in THEMES else None

    @property
    def address(self) -> str:
        """Where it comes from; behind a trusted proxy, what that says."""
        return self.client.host if self.client else "unknown"

    @property
    def requester(self) -> Requester:
        """The person as the audit names them."""
        return Requester(who=f"web:{self.person.name}", origin=self.address, process_id=self.site.process_id)

    def asked(self, name: str) -> str:
        """A parameter of the query; "" where there is none."""
        return self.query_params.get(name, "")

    def number(self, name: str) -> int | None:
        """A parameter of the query that is a whole number; None for anything else."""
        text = self.asked(name)
        return int(text) if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) else None

    def key_of(self, form: Mapping[str, Any] | None, deed: str) -> str | None:
        """What makes a deed happen once however often its form is posted: this person's, for this deed alone."""
        key = text_of(form, "request_key", 100)
        return hashlib.sha256(f"{self.requester.who} {deed} {key}".encode()).hexdigest() if key else None

    def shell(self, reading: Reading, current: str) -> Shell:
        """The frame around a page."""
        return frame.shell(self.site, reading, self.person, self.theme, current)

    def page(self, template: str, page: object, status: int = 200) -> Response[str]:
        """A whole page."""
        text = self.site.render(f"pages/{template}.html", csrf_token({"request": self}), page=page)
        return Response(text, status_code=status, media_type=MediaType.HTML)

    def fragment(self, reading: Reading, part: Part[Any], template: str, **context: object) -> Response[str | None]:
        """A part of a page that lives, or 304 if the browser has it already.  `context`: what the template calls it."""
        headers = self.clock_headers(reading) | {"ETag": part.etag}
        if self.headers.get("If-None-Match") == part.etag:
            return Response(None, status_code=304, headers=headers)
        text = self.site.render(f"partials/{template}.html", csrf_token({"request": self}), **context)
        return Response(text, headers=headers, media_type=MediaType.HTML)

    def clock_headers(self, reading: Reading) -> dict[str, str]:
        """What keeps a page's clock right although nothing else of it changed."""
        headers = {"X-Schedmgr-Now": iso(self.site.live.now(reading))}
        daemon = reading.snapshot.vitals.last_daemon
        return headers | ({"X-Schedmgr-Beat": iso(daemon.beat_at)} if daemon else {})

    def done(self, location: str, **said: object) -> Response[Any]:
        """The answer to a deed: word of it for the page's script, or the way back for a browser without.

        `said` is toast, href (a path of ours), label, queued, each if it applies; app.js shows them.
        """
        self.site.live.forget()
        if not self.is_live:
            return Redirect(self.site.prefix + location, status_code=303)
        if isinstance(href := said.get("href"), str):
            said["href"] = self.site.prefix + href
        return Response(None, status_code=204, headers={"HX-Trigger": json.dumps({"schedmgr:done": said})})

    def back(self, otherwise: str) -> str:
        """The page of ours that this form stood on, without the prefix."""
        try:
            came_from = urlsplit(self.headers.get("Referer", ""))
        except ValueError:  # a client may send anything
            return otherwise
        query = f"?{came_from.query}" if came_from.query else ""
        found = own_path(came_from.path.removeprefix(self.site.prefix) + query)
        is_form = found is not None and found.split("?")[0] == self.scope["path"]
        return otherwise if found is None or is_form else found


def own_path(text: str) -> str | None:
    """A path of a page of ours, as it may be gone to; None for anything else."""
    return text if _OWN_PATH.fullmatch(text) else None


def text_of(form: Mapping[str, Any] | None, name: str, longest: int = 2000) -> str:
    """A field of a form; "" where it is missing, twice there, or absurdly long."""
    value = (form or {}).get(name)
    return value if isinstance(value, str) and len(value) <= longest else ""


def in_thread(work: Callable[Given, Answer]) -> Callable[Given, Coroutine[Any, Any, Answer]]:
    """A handler that asks the database, moved off the loop that serves everybody.

    Litestar's own `sync_to_thread` wraps a handler twice where its path has another method, too (seen in 2.25).
    """

    @functools.wraps(work)
    async def handler(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return await sync_to_thread(work, *args, **kwargs)

    return handler
