"""The people who may sign in: their passwords, their sessions on the server, and one-time sign-in links.

Every change leaves its line in the audit.  Hashing takes a while by design, so it is done outside of transactions.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, NewType

from sqlalchemy import delete, func, insert, select, update

from schedmgr.core import audit
from schedmgr.core.actions import no_such
from schedmgr.core.audit import Requester
from schedmgr.database.engine import Database, Session
from schedmgr.database.models import AdminSession, AdminUser, Setting
from schedmgr.errors import NotFound, Refused, SettingsError
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role

if TYPE_CHECKING:
    from argon2 import PasswordHasher

PasswordHash = NewType("PasswordHash", str)

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1024  # hashing is no way to keep the server busy
SESSION_LENGTH = timedelta(days=7)
LINK_LENGTH = timedelta(minutes=15)
DEVELOPMENT_ADMIN = "admin"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_LINK = "sign-in-link."
"""A setting of this key and a token's hash is a sign-in link that nobody has used yet."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who may sign in."""

    name: str
    role: Role
    created_at: datetime
    signed_in_at: datetime | None
    sessions: int = 0
    """Sessions that have not ended."""


def hashed(password: str) -> PasswordHash:
    """The argon2id hash to store.  Raises Refused for a password that is too short or too long."""
    if len(password) < SHORTEST_PASSWORD:
        raise Refused(f"The password has {len(password)} characters. Choose one with {SHORTEST_PASSWORD} or more.")
    if len(password) > LONGEST_PASSWORD:
        raise Refused(f"The password has {len(password)} characters. Choose one with {LONGEST_PASSWORD} or fewer.")
    return PasswordHash(_hasher().hash(password))


def add_user(session: Session, name: str, password: PasswordHash, role: Role, by: Requester) -> None:
    """Let a new person sign in.  Raises Refused for a name that is taken or not allowed."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"User name {name!r} is not allowed. A name begins with a-z or 0-9 and goes on with a-z, 0-9, '.', '_' "
            "and '-'; it has 100 characters at most."
        )
    if _role(session, name) is not None:
        raise Refused(
            f"A user with the name {name} exists already. Choose another, or run: schedmgr users password {name}"
        )
    session.execute(insert(AdminUser).values(name=name, password_hash=password, role=role, created_at=session.now()))
    audit.note(session, by, "add user", f"added user {name} as {role}")


def set_password(session: Session, name: str, password: PasswordHash, by: Requester) -> None:
    """Give a person another password and end all their sessions.  Raises NotFound."""
    _require(session, name)
    session.execute(update(AdminUser).where(AdminUser.name == name).values(password_hash=password))
    end_sessions_of(session, name, "password changed")
    audit.note(session, by, "password", f"changed the password of {name}")


def set_role(session: Session, name: str, role: Role, by: Requester) -> None:
    """Let a person do more or less.  Raises NotFound, and Refused where no admin would be left."""
    was = _require(session, name)
    if was is role:
        return
    _keep_an_admin(session, name, was)
    session.execute(update(AdminUser).where(AdminUser.name == name).values(role=role))
    audit.note(session, by, "role", f"made {name} {role} (was {was})")


def remove_user(session: Session, name: str, by: Requester) -> None:
    """Let a person sign in no more, and end their sessions.  Raises NotFound, and Refused for the last admin."""
    _keep_an_admin(session, name, _require(session, name))
    end_sessions_of(session, name, "user removed")
    session.execute(delete(AdminUser).where(AdminUser.name == name))
    audit.note(session, by, "remove user", f"removed user {name}")


def users(session: Session) -> list[User]:
    """Everybody who may sign in, by name."""
    going = (
        select(AdminSession.user_name, func.count().label("sessions"))
        .where(AdminSession.ended_at.is_(None), AdminSession.expires_at > session.now())
        .group_by(AdminSession.user_name)
        .subquery()
    )
    rows = session.execute(
        select(AdminUser.name, AdminUser.role, AdminUser.created_at, AdminUser.signed_in_at, going.c.sessions)
        .outerjoin(going, going.c.user_name == AdminUser.name)
        .order_by(AdminUser.name)
    )
    return [
        User(name, role, created_at, signed_in_at, count or 0) for name, role, created_at, signed_in_at, count in rows
    ]


def find(session: Session, name: str) -> User | None:
    """The user of that name."""
    row = session.execute(
        select(AdminUser.name, AdminUser.role, AdminUser.created_at, AdminUser.signed_in_at).where(
            AdminUser.name == name
        )
    ).first()
    return None if row is None else User(*row)


def verify(database: Database, name: str, password: str) -> User | None:
    """The user whose password this is; None for a wrong password or name, both after the same time.

    A hash of older parameters is replaced by one of today's.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    with database.read() as session:
        user = find(session, name)
        stored = session.scalar(select(AdminUser.password_hash).where(AdminUser.name == name))
    try:
        _hasher().verify(stored or _nobodys_hash(), password[: LONGEST_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return None
    if user is not None and stored is not None and _hasher().check_needs_rehash(stored):
        _rehash(database, name, was=stored, password=password)
    return user


def begin_session(session: Session, user_name: str, by: Requester) -> str:
    """Begin a session on the server.  Returns its id, which is a secret: who has it is signed in.  Raises NotFound."""
    _require(session, user_name)
    session_id = secrets.token_hex(32)
    session.execute(
        insert(AdminSession).values(
            id=session_id,
            user_name=user_name,
            created_at=session.now(),
            expires_at=session.now() + SESSION_LENGTH,
            origin=by.origin,
        )
    )
    session.execute(update(AdminUser).where(AdminUser.name == user_name).values(signed_in_at=session.now()))
    audit.note(session, by, "sign in", "signed in")
    return session_id


def session_user(session: Session, session_id: str) -> User | None:
    """Whose session this is; None if it has ended, expired or never was.  The role is that of this moment."""
    row = session.execute(
        select(AdminUser.name, AdminUser.role, AdminUser.created_at, AdminUser.signed_in_at)
        .join(AdminSession, AdminSession.user_name == AdminUser.name)
        .where(AdminSession.id == session_id, AdminSession.ended_at.is_(None), AdminSession.expires_at > session.now())
    ).first()
    return None if row is None else User(*row)


def end_session(session: Session, session_id: str, by: Requester) -> None:
    """Sign out.  One that has ended already is left as it is."""
    ended = session.execute(
        update(AdminSession)
        .where(AdminSession.id == session_id, AdminSession.ended_at.is_(None))
        .values(ended_at=session.now(), ended_because="signed out")
    ).rowcount
    if ended:
        audit.note(session, by, "sign out", "signed out")


def end_sessions_of(session: Session, user_name: str, because: str) -> None:
    """End all sessions of a person, and their unused sign-in links."""
    session.execute(
        update(AdminSession)
        .where(AdminSession.user_name == user_name, AdminSession.ended_at.is_(None))
        .values(ended_at=session.now(), ended_because=because)
    )
    _forget_links(session, [key for key, user, _ in _links(session) if user == user_name])


def sign_in_link_token(session: Session, user_name: str, by: Requester) -> str:
    """A token that signs a person in once, for a few minutes, without the password.  Raises NotFound.

    Only its hash is stored.  Links that expired are forgotten at this occasion.
    """
    _require(session, user_name)
    _forget_links(session, [key for key, _, expires_at in _links(session) if expires_at <= session.now()])
    token = secrets.token_urlsafe(32)
    value = {"user": user_name, "expires_at": (session.now() + LINK_LENGTH).isoformat()}
    session.execute(
        insert(Setting).values(key=_link_key(token), value=value, changed_at=session.now(), changed_by=by.who)
    )
    audit.note(session, by, "sign-in link", f"made a one-time sign-in link for {user_name}")
    return token


def redeem_sign_in_link(session: Session, token: str) -> User | None:
    """Use up a sign-in link.  Returns the user to sign in; None for one that was used, has expired or never was."""
    key = _link_key(token)
    found = {link: (user, expires_at) for link, user, expires_at in _links(session)}.get(key)
    if found is None or not _forget_links(session, [key]):
        return None
    user_name, expires_at = found
    return find(session, user_name) if session.now() < expires_at else None


def create_first_admin(database: Database, settings: Settings) -> str | None:
    """Create the admin that the settings name, if no user exists yet.  Returns the name if it was created.

    Raises SettingsError if only one of name and password is set, or one of them is not allowed.
    """
    name, password = settings.admin_user, settings.admin_password
    if name is None and password is None:
        return None
    if name is None or password is None:
        raise SettingsError(["SCHEDMGR_ADMIN_USER and SCHEDMGR_ADMIN_PASSWORD belong together. Set both or neither."])
    if has_users(database):
        return None
    by = Requester(who="settings", origin="SCHEDMGR_ADMIN_USER")
    try:
        created = add_first_user(database, name, hashed(password), by)
    except Refused as error:
        raise SettingsError([f"SCHEDMGR_ADMIN_USER, SCHEDMGR_ADMIN_PASSWORD: {error}"]) from error
    return name if created else None


def create_development_admin(database: Database, by: Requester) -> str | None:
    """Create an admin for a newcomer, if no user exists yet.  Returns the password, which nobody can read again."""
    password = secrets.token_urlsafe(15)
    return password if add_first_user(database, DEVELOPMENT_ADMIN, hashed(password), by) else None


def add_first_user(database: Database, name: str, password: PasswordHash, by: Requester) -> bool:
    """Add an admin if no user exists, however many processes try at once.  False: somebody exists already."""

    def add(session: Session) -> bool:
        if session.scalar(select(AdminUser.name).limit(1)) is not None:
            return False
        add_user(session, name, password, Role.ADMIN, by)
        return True

    return database.transact(add)


def has_users(database: Database) -> bool:
    """Whether anybody may sign in."""
    with database.read() as session:
        return session.scalar(select(AdminUser.name).limit(1)) is not None


def _role(session: Session, name: str) -> Role | None:
    return session.scalar(select(AdminUser.role).where(AdminUser.name == name))


def _require(session: Session, name: str) -> Role:
    role = _role(session, name)
    if role is None:
        raise NotFound(no_such("user", name, session.scalars(select(AdminUser.name))))
    return role


def _keep_an_admin(session: Session, name: str, role: Role) -> None:
    """Raises Refused if this user is the only admin: nobody could add another through the pages."""
    others = select(AdminUser.name).where(AdminUser.role == Role.ADMIN, AdminUser.name != name)
    if role is Role.ADMIN and session.scalar(others.limit(1)) is None:
        raise Refused(f"User {name} is the last admin. Add another first: schedmgr users add NAME --role admin")


def _rehash(database: Database, name: str, *, was: str, password: str) -> None:
    new = _hasher().hash(password)
    with database.write() as session:
        session.execute(
            update(AdminUser).where(AdminUser.name == name, AdminUser.password_hash == was).values(password_hash=new)
        )


def _links(session: Session) -> list[tuple[str, str, datetime]]:
    """Every unused sign-in link: its key, its user, and until when it holds."""
    rows = session.execute(select(Setting.key, Setting.value).where(Setting.key.startswith(_LINK)))
    return [(key, value["user"], datetime.fromisoformat(value["expires_at"])) for key, value in rows]


def _link_key(token: str) -> str:
    return _LINK + hashlib.sha256(token.encode()).hexdigest()


def _forget_links(session: Session, keys: Iterable[str]) -> int:
    """Delete these links.  Returns how many were there: of two that redeem the same one, one gets 0."""
    return session.execute(delete(Setting).where(Setting.key.in_(list(keys)))).rowcount


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys_hash() -> str:
    """What a password is compared with where no user is: it takes as long as a real one."""
    return _hasher().hash(secrets.token_urlsafe(32))
