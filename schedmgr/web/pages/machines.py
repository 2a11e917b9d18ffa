"""What other machines ask: whether the process lives, whether the system is well, and the files that pages need."""

from typing import Any

from litestar import Response, get
from litestar.enums import MediaType
from litestar.params import FromPath

from schedmgr.core import health
from schedmgr.core.verdict import Status
from schedmgr.database import migrate
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseUnavailable, NotFound
from schedmgr.web.site import Visit, in_thread

A_YEAR = 365 * 24 * 3600  # seconds


@get("/healthz", sync_to_thread=False)
def healthz() -> Response[str]:
    """The process lives."""
    return _plain(200, "ok\n")


@get("/static/{name:path}", sync_to_thread=False)
def static(request: Visit, name: FromPath[str]) -> Response[Any]:
    """A script, a style, a font or a picture.  One that is asked for by its version never changes."""
    asset = request.site.assets.find(name)
    if asset is None:
        raise NotFound("There is no file at this address.")
    is_named = request.asked("v") == asset.tag.strip('"')
    headers = {
        "Cache-Control": f"public, max-age={A_YEAR}, immutable" if is_named else "no-cache",
        "ETag": asset.tag,
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("If-None-Match") == asset.tag:
        return Response(None, status_code=304, headers=headers)
    if asset.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(asset.zipped, headers=headers | {"Content-Encoding": "gzip"}, media_type=asset.content_type)
    return Response(asset.content, headers=headers, media_type=asset.content_type)


@get("/readyz")
@in_thread
def readyz(request: Visit) -> Response[str]:
    """Whether the system is well, with the reasons if it is not; `?part=web`: database and revision alone."""
    site = request.site
    if request.asked("part") == "web":
        problem = site.live.worked_out("revision", lambda: _revision_problem(site.database))
        return _plain(503, f"CRITICAL: {problem}\n") if problem else _plain(200, "OK\n")
    verdict = site.live.worked_out("health", lambda: health.check(site.database))
    lines = [f"{check.status}: {check.sentence}" for check in verdict.troubles] or ["OK"]
    return _plain(503 if verdict.status is Status.CRITICAL else 200, "\n".join(lines) + "\n")


@get("/metrics")
@in_thread
def metrics(request: Visit) -> Response[bytes]:
    """What Prometheus scrapes; as /readyz, from the same answer of the database, which is at most a second old."""
    from schedmgr.web.metrics import exposition  # when it is asked for: the start does not wait for the client library

    site = request.site
    verdict = site.live.worked_out("health", lambda: health.check(site.database))
    content, content_type = exposition(verdict, site.version, request.headers.get("Accept", ""))
    return Response(content, media_type=content_type)


def _revision_problem(database: Database) -> str | None:
    try:
        return migrate.problem_with(migrate.revision(database))
    except DatabaseUnavailable as error:
        return str(error)


def _plain(status: int, text: str) -> Response[str]:
    return Response(text, status_code=status, media_type=MediaType.TEXT)


HANDLERS = [healthz, static, readyz, metrics]
