"""The web process: its socket, its row in the table of processes, and a stop that lets requests finish."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import uvicorn
from litestar.types import ASGIApp, Receive, Scope, Send

from schedmgr import __version__, clock
from schedmgr.core import accounts, processes
from schedmgr.core.outage import Outage
from schedmgr.core.processes import BEAT_EVERY, Registered
from schedmgr.database import migrate
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseUnavailable, Refused, SettingsError
from schedmgr.settings import JWT_SECRET_BYTES, Settings
from schedmgr.vocabulary import ProcessRole
from schedmgr.web.app import create_app

log = logging.getLogger(__name__)

THREADS = 32
"""Requests that are worked on at once: no more than the pool of connections to the database has."""

KEEP_ALIVE = 10  # seconds that a connection without a request stays open: longer than the slowest poll
FINISH_WITHIN = 5  # seconds that requests get to finish when the process is asked to stop
AFTER_TROUBLE = 1.0  # seconds
WATCH_EVERY = 0.1  # seconds between looks at `stop`


def serve(settings: Settings, stop: threading.Event | None = None, ready: Callable[[], None] | None = None) -> int:
    """Serve the pages until SIGTERM or SIGINT, or until `stop` is set; then requests finish.  Returns 0.

    With `stop` it leaves signals alone, so it may run in any thread.  `ready` is called once it listens.
    Raises SettingsError for a secret that is missing or too short, DatabaseNotReady for another revision, and Refused
    when the port is taken or when it would listen to strangers before anybody can sign in.
    """
    secret = secret_of(settings)
    database = Database.of(settings)
    try:
        migrate.require_current(database)
        require_user(settings, database)
        with listening(settings) as listener, registered(settings, database) as process:
            app = create_app(settings, database, secret=secret, process_id=process.id)
            served = _as_asked(app, app.state.site.prefix)
            beats = partial(_beats, database, process)
            asyncio.run(_serve(_server(settings, served), listener, beats, stop, ready))
    finally:
        database.close()
    return 0


def secret_of(settings: Settings) -> str:
    """What signs sessions.  In development one is made up if none is given: then a restart signs everybody out."""
    if settings.jwt_secret is None and settings.is_development:
        return secrets.token_hex(32)
    length = len((settings.jwt_secret or "").encode())
    if settings.jwt_secret is None or (length < JWT_SECRET_BYTES and not settings.is_development):
        found = "is not set" if settings.jwt_secret is None else f"has {length} bytes"
        raise SettingsError(
            [
                f"JWT_SECRET: it {found}. In the environment {settings.environment} it must have "
                f"{JWT_SECRET_BYTES} bytes or more. Make one: openssl rand -hex 32"
            ]
        )
    return settings.jwt_secret


def require_user(settings: Settings, database: Database) -> None:
    """Raises Refused if others could reach the pages while nobody can sign in to them."""
    if not is_loopback(settings.host) and not accounts.has_users(database):
        raise Refused(
            f"HOST={settings.host} is open to other machines, and no user exists yet. "
            "Run: schedmgr users add NAME --role admin"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket, bound before anything is written.  Raises Refused, with the mend, if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Refused(f"HOST: the web cannot listen on {settings.host}: {error.strerror}.") from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError as error:
            other = settings.port % 65_535 + 1
            raise Refused(
                f"The web cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
                f"Set another port, such as PORT={other}, or stop what uses it."
            ) from error
        yield listener


@contextlib.contextmanager
def registered(settings: Settings, database: Database) -> Iterator[Registered]:
    """This process's row, as soon as the database takes it (its disk may be full), until its orderly end."""
    process = _register(settings, database)
    try:
        yield process
    finally:
        try:
            database.transact(lambda session: processes.stop(session, process))
        except DatabaseUnavailable as error:
            log.warning("stop not recorded process=%s error=%s", process.id, error)


def _register(settings: Settings, database: Database) -> Registered:
    outage = Outage(log, "web", clock.monotonic)
    while True:
        try:
            process = database.transact(
                lambda session: processes.register(
                    session, ProcessRole.WEB, environment=settings.environment, version=__version__
                )
            )
        except DatabaseUnavailable as error:
            outage.goes_on(error)
            clock.sleep(AFTER_TROUBLE)
        else:
            outage.is_over()
            return process


async def _beats(database: Database, process: Registered) -> None:
    """Keeps the row fresh from the loop that serves, so that a loop which hangs falls silent."""
    outage = Outage(log, "web's beat", clock.monotonic)
    while True:
        await asyncio.sleep(BEAT_EVERY)
        await asyncio.to_thread(_beat, database, process, outage)


def _beat(database: Database, process: Registered, outage: Outage) -> None:
    """Whatever the database does, the next beat is tried."""
    try:
        database.transact(lambda session: processes.beat(session, process))
        outage.is_over()
    except DatabaseUnavailable as error:
        outage.goes_on(error)
    except Exception:
        log.exception("beat failed process=%s", process.id)


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: it would end the process before our rows are put right."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(settings: Settings, app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=FINISH_WITHIN,
            h11_max_incomplete_event_size=32 * 1024,
        )
    )


async def _serve(
    server: _Server,
    listener: socket.socket,
    beats: Callable[[], Coroutine[Any, Any, None]],
    stop: threading.Event | None,
    ready: Callable[[], None] | None,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="request"))

    def end() -> None:
        server.should_exit = True

    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
    beside = [asyncio.create_task(_watch(server, stop, ready)), asyncio.create_task(beats())]
    host, port = listener.getsockname()[:2]
    log.info("web started address=%s port=%d", host, port)
    await server.serve(sockets=[listener])
    for task in beside:
        task.cancel()
    log.info("web stopped")


async def _watch(server: _Server, stop: threading.Event | None, ready: Callable[[], None] | None) -> None:
    """Say when it listens, and pass on a wish to stop."""
    while not server.started:
        await asyncio.sleep(WATCH_EVERY / 10)
    if ready is not None:
        ready()
    while stop is not None:
        server.should_exit = server.should_exit or stop.is_set()
        await asyncio.sleep(WATCH_EVERY)


def _as_asked(app: ASGIApp, prefix: str) -> ASGIApp:
    """The application also below `prefix`, for a proxy that passes the path on as it is, and for HEAD.

    A HEAD is answered as a GET is; the server itself leaves the content out.
    """

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD":
            scope = cast(Scope, {**scope, "method": "GET"})
        path = scope.get("path", "")
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            scope["path"] = path.removeprefix(prefix) or "/"
            scope["raw_path"] = scope["raw_path"].removeprefix(prefix.encode()) or b"/"
        await app(scope, receive, send)

    return served
