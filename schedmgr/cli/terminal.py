"""Web and daemon in one terminal, with all that a newcomer needs to get in."""

import errno
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

import click

from schedmgr import clock, resources
from schedmgr.cli.children import Children
from schedmgr.cli.opening import requester, require_no_other_file
from schedmgr.core import accounts, installation
from schedmgr.core.accounts import LINK_LENGTH
from schedmgr.database import migrate
from schedmgr.database.engine import Database
from schedmgr.errors import Refused, SchedmgrError
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role

ANSWER_WITHIN = 30.0  # seconds until the web has to answer
DEFINITIONS_WITHIN = 5.0  # seconds; without them the page says what is missing
LOOK_EVERY = 0.05
STOP_MARGIN = 12.0  # seconds over the grace of running jobs, which get 10 s more between TERM and KILL


def run_everything(settings: Settings) -> None:
    """Migrate, see to a user, run web and daemon until a signal comes, and stop both.

    Raises Refused if it cannot start, and SchedmgrError if one of them ends by itself.
    """
    require_no_other_file(settings)
    _require_free_port(settings)
    database = Database.of(settings)
    migrate.migrate(database)
    password = _ensure_user(database, settings)
    programs = ["web", "daemon"] if settings.daemon_enabled else ["web"]
    children = Children({program: resources.program_argv(program) for program in programs})
    try:
        if _wait_until(lambda: _answers(settings), children, ANSWER_WITHIN):
            if settings.daemon_enabled:
                _wait_until(lambda: _has_definitions(database), children, DEFINITIONS_WITHIN)
            click.echo(_welcome(database, settings, password))
            while not children.ended() and not children.is_asked_to_stop:
                children.wait()
        problem = "" if children.is_asked_to_stop else _what_ended(children)
    finally:
        children.stop(settings.shutdown_grace + STOP_MARGIN)
        database.close()
    if problem:
        raise SchedmgrError(problem)


def _ensure_user(database: Database, settings: Settings) -> str | None:
    """See to it that somebody can sign in.  Returns the password of a development admin that was just created."""
    accounts.create_first_admin(database, settings)
    if accounts.has_users(database):
        return None
    if not settings.is_development:
        raise Refused(
            f"No user exists, and in the environment {settings.environment} none is made up. "
            "Run: schedmgr users add NAME --role admin"
        )
    return accounts.create_development_admin(database, requester())


def _welcome(database: Database, settings: Settings, password: str | None) -> str:
    """Where to look and how to get in."""
    lines = ["", f"  Schedule Manager runs at {base_url(settings)}", ""]
    link = _sign_in_link(database, settings)
    if link:
        minutes = LINK_LENGTH.seconds // 60
        lines += [f"  Sign in (once, within {minutes} minutes):", f"  {link}", ""]
    if password:
        lines += [
            f"  or as {accounts.DEVELOPMENT_ADMIN} with the password {password}",
            "  (shown this once; another: schedmgr users password admin)",
            "",
        ]
    if not settings.daemon_enabled:
        lines += ["  No daemon: SCHEDULE_DAEMON_ENABLED=false. Nothing fires.", ""]
    return "\n".join([*lines, "  Press Ctrl-C to stop.", ""])


def _sign_in_link(database: Database, settings: Settings) -> str | None:
    """A fresh one-time link for an admin; only in development, where the terminal is the newcomer's own."""
    if not settings.is_development:
        return None
    with database.read() as session:
        admins = [user.name for user in accounts.users(session) if user.role is Role.ADMIN]
    name = accounts.DEVELOPMENT_ADMIN if accounts.DEVELOPMENT_ADMIN in admins else admins[0]
    token = database.transact(lambda session: accounts.sign_in_link_token(session, name, requester()))
    return f"{base_url(settings)}/login?token={token}"


def base_url(settings: Settings) -> str:
    """The address at which a browser on this machine finds the web."""
    return settings.public_url or f"http://{_in_url(_local_address(settings))}:{settings.port}"


def _local_address(settings: Settings) -> str:
    """HOST, or the machine's own address when the web listens on all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _require_free_port(settings: Settings) -> None:
    """Raises Refused where the web could not listen: what another program answers there would be taken for ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise Refused(_why_not(settings, error)) from error


def _why_not(settings: Settings, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"HOST={settings.host} is no address of this machine: {error.strerror}. "
            "Set one that is, such as HOST=127.0.0.1."
        )
    return (
        f"The web cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
        f"Set another PORT, such as PORT={settings.port % 65_535 + 1}, or stop what uses it."
    )


def _wait_until(condition: Callable[[], bool], children: Children, seconds: float) -> bool:
    """Wait for something.  False: a signal came or a child ended before, or it took too long."""
    deadline = clock.monotonic() + seconds
    while not condition():
        if children.is_asked_to_stop or children.ended() or clock.monotonic() > deadline:
            return False
        children.wait(LOOK_EVERY)
    return True


def _answers(settings: Settings) -> bool:
    connection = HTTPConnection(_local_address(settings), settings.port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _has_definitions(database: Database) -> bool:
    """Whether the daemon has written the definitions: a newcomer's first page should show them."""
    with database.read() as session:
        return installation.definitions_in_force(session) is not None


def _what_ended(children: Children) -> str:
    """Why this does not go on."""
    ended = children.ended()
    if not ended:
        return f"The web did not answer within {ANSWER_WITHIN:.0f} s. Look at its lines above."
    name, code = next(iter(ended.items()))
    return f"The {name} ended by itself ({_exit(code)}), so everything was stopped. Its lines above say why."


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
