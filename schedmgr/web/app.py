"""The web application: its routes, and what holds for all of them."""

from collections.abc import Callable
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.types import Message, Scope

from schedmgr import __version__, clock, resources
from schedmgr.database.engine import Database
from schedmgr.errors import SchedmgrError
from schedmgr.settings import Settings
from schedmgr.web import errors, rendering
from schedmgr.web.assets import Assets
from schedmgr.web.auth import Authentication, Door, Keys
from schedmgr.web.brake import Brake
from schedmgr.web.live import Live
from schedmgr.web.pages import live, login, machines, pause, run, runs, schedule, schedules
from schedmgr.web.site import Site, Visit

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STRICT_TRANSPORT = "max-age=31536000"
LONGEST_BODY = 64 * 1024  # bytes: the longest form is a pause's reason

OPEN_TO_MACHINES = ("^/static/", "^/healthz$", "^/readyz$", "^/metrics$")

PAGES = (login, live, schedules, schedule, runs, run, pause, machines)


def create_app(
    settings: Settings,
    database: Database,
    *,
    secret: str,
    process_id: str | None = None,
    monotonic: Callable[[], float] = clock.monotonic,
) -> Litestar:
    """The application over a database that is at this program's revision.

    `secret` signs sessions and forms; `process_id` is this process's row, which deeds done here name.
    """
    site = site_of(settings, database, secret=secret, process_id=process_id, monotonic=monotonic)
    return Litestar(
        [handler for page in PAGES for handler in page.HANDLERS],
        request_class=Visit,
        middleware=[DefineMiddleware(Authentication, exclude=[*OPEN_TO_MACHINES])],
        csrf_config=CSRFConfig(
            secret=site.keys.csrf,
            cookie_name=errors.csrf_cookie(site),
            cookie_path=site.prefix or "/",
            cookie_httponly=True,
            cookie_samesite="lax",
            cookie_secure=site.is_secure,
            exclude=[*OPEN_TO_MACHINES],
        ),
        exception_handlers={SchedmgrError: errors.known, HTTPException: errors.http, Exception: errors.unexpected},
        before_send=[_guarded],
        state=State({"site": site}),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=LONGEST_BODY,
    )


def site_of(
    settings: Settings, database: Database, *, secret: str, process_id: str | None, monotonic: Callable[[], float]
) -> Site:
    """What the handlers work with."""
    prefix = urlsplit(settings.public_url or "").path
    assets = Assets(resources.static())
    live = Live(database, monotonic=monotonic, version=__version__)
    keys = Keys.of(secret)
    templates = rendering.environment(resources.templates(), prefix=prefix)
    templates.globals["asset"] = lambda name: f"{prefix}/static/{name}?v={assets.version_of(name)}"
    return Site(
        settings=settings,
        database=database,
        live=live,
        keys=keys,
        door=Door(keys, live),
        brake=Brake(monotonic),
        templates=templates,
        assets=assets,
        prefix=prefix,
        is_secure=settings.is_production or (settings.public_url or "").startswith("https://"),
        process_id=process_id,
        version=__version__,
    )


async def _guarded(message: Message, scope: Scope) -> None:
    """Every answer carries the headers that keep a browser to what we sent, errors too."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
    site: Site = scope["litestar_app"].state.site
    if scope["scheme"] == "https" or (site.settings.public_url or "").startswith("https://"):
        headers["Strict-Transport-Security"] = STRICT_TRANSPORT
