"""Who asks: the session behind a cookie, what its role may do, and a brake on guessing passwords.

The cookie holds a signed token that names a session on the server.  It is worth nothing once that session has ended,
and its role is that of this moment.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from schedmgr.core import accounts
from schedmgr.core.accounts import SESSION_LENGTH
from schedmgr.core.queries.snapshot import SignedIn
from schedmgr.database.engine import Session
from schedmgr.vocabulary import Role
from schedmgr.web.live import Live

SESSION_COOKIE = "schedmgr_session"
ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of this installation, each for one purpose."""

    session: bytes
    csrf: str

    @classmethod
    def of(cls, secret: str) -> "Keys":
        """Derived from the one that the settings hold, so that no token of one kind passes as another."""
        return cls(session=_derived(secret, "session"), csrf=_derived(secret, "csrf").hex())

    @property
    def mark(self) -> str:
        """Says nothing about the secrets, but differs when they do."""
        return hashlib.sha256(self.csrf.encode()).hexdigest()[:8]


def _derived(secret: str, purpose: str) -> bytes:
    return hmac.new(secret.encode(), f"schedmgr {purpose}".encode(), hashlib.sha256).digest()


def session_token(keys: Keys, session_id: str, now: datetime) -> str:
    """The cookie's value for a session that begins `now`."""
    claims = {"sid": session_id, "iat": now, "exp": now + SESSION_LENGTH}
    return jwt.encode(claims, keys.session, algorithm=ALGORITHM)


def session_id_of(keys: Keys, token: str | None) -> str | None:
    """The session that a cookie names; None for no cookie, a forged one or an expired one.

    Whether the session has ended is for the server's table to say.
    """
    if not token:
        return None
    try:
        claims = jwt.decode(token, keys.session, algorithms=[ALGORITHM], options={"require": ["exp", "sid"]})
    except jwt.InvalidTokenError:
        return None
    session_id = claims["sid"]
    return session_id if isinstance(session_id, str) else None


class Door:
    """Tells who stands behind a cookie.  Sessions come with the snapshot: a poll costs no question of its own."""

    def __init__(self, keys: Keys, live: Live) -> None:
        self.keys = keys
        self._live = live

    def known(self, token: str | None) -> SignedIn | None:
        """Who it is as far as the latest snapshot says, without asking the database."""
        reading, session_id = self._live.latest(), session_id_of(self.keys, token)
        return None if reading is None or session_id is None else reading.snapshot.sessions.get(session_id)

    def person(self, token: str | None) -> SignedIn | None:
        """Who it is; None for nobody.  Raises DatabaseUnavailable if nothing is known at all."""
        session_id = session_id_of(self.keys, token)
        if session_id is None:
            return None
        found = self._live.reading().snapshot.sessions.get(session_id)
        # It may have begun since, perhaps through another web process.
        return found or self._live.ask(("session", session_id), lambda session: _signed_in(session, session_id))


def _signed_in(session: Session, session_id: str) -> SignedIn | None:
    user = accounts.session_user(session, session_id)
    return None if user is None else SignedIn(session_id, user.name, user.role)


AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Authentication(AbstractAuthenticationMiddleware):
    """Notes on every request who asks; what that allows, the route's guard says."""

    async def authenticate_request(self, connection: AnyConnection) -> AuthenticationResult:
        """The person, or nobody."""
        door: Door = connection.app.state.site.door
        token = connection.cookies.get(SESSION_COOKIE)
        user = await sync_to_thread(door.person, token) if token else None
        return AuthenticationResult(user=user, auth=None)


def needs(role: Role) -> Callable[[AnyConnection, BaseRouteHandler], Awaitable[None]]:
    """The guard of a route that is for people of this role or a higher one."""

    async def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        user: SignedIn | None = connection.scope.get("user")
        if user is None:
            raise NotAuthorizedException("You are signed out. Sign in again to go on.")
        if not user.role.includes(role):
            raise PermissionDeniedException(_too_little(user.role, role))

    guard.__name__ = f"needs_{role}"
    return guard


viewers = needs(Role.VIEWER)
operators = needs(Role.OPERATOR)


def _too_little(role: Role, wanted: Role) -> str:
    deed = "look but not run" if wanted is Role.OPERATOR else "not manage users and tokens"
    return f"Your role, {role}, can {deed}. Ask an admin."
