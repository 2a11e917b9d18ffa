"""The real application over a real database, and browsers that sign in to it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from schedmgr.core import accounts
from schedmgr.core.audit import Requester
from schedmgr.database.engine import Database
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role
from schedmgr.web.app import create_app

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PASSWORD = "correct horse battery staple"
SCRIPT = {"HX-Request": "true"}


class Monotonic:
    """The web's clock for "a second old", moved by the test."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Browser:
    """A browser: cookies, forms with their token, polls with their tag.  It follows no redirect by itself."""

    client: TestClient[Litestar]
    tags: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(path, headers=headers)

    def poll(self, path: str) -> Response:
        """What a page's script asks again and again."""
        known = {"If-None-Match": self.tags[path]} if path in self.tags else {}
        answer = self.client.get(path, headers=SCRIPT | known)
        if answer.status_code == 200:
            self.tags[path] = answer.headers["etag"]
        return answer

    def submit(self, path: str, **fields: str) -> Response:
        """A form posted by the browser itself."""
        return self.client.post(path, data=fields | {"_csrf_token": self.token})

    def press(self, path: str, **fields: str) -> Response:
        """The same form posted by the page's script."""
        return self.client.post(path, data=fields, headers=SCRIPT | {"X-CSRFToken": self.token})

    def sign_in(self, name: str, password: str = PASSWORD, **fields: str) -> Response:
        self.get("/login")
        return self.submit("/login", username=name, password=password, **fields)

    @property
    def token(self) -> str:
        found = [value for name, value in self.client.cookies.items() if name.startswith("schedmgr_csrf")]
        return found[0] if found else ""


class Web:
    """One web process."""

    def __init__(self, app: Litestar, database: Database, hashed: accounts.PasswordHash) -> None:
        self.app = app
        self.database = database
        self._hashed = hashed

    def add_user(self, name: str, role: Role) -> None:
        by = Requester("cli:ann@desk", "command line")
        self.database.transact(lambda session: accounts.add_user(session, name, self._hashed, role, by))


@pytest.fixture(scope="session")
def hashed_password() -> accounts.PasswordHash:
    """Made once: hashing is slow on purpose."""
    return accounts.hashed(PASSWORD)


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.load({"DATABASE_URL": database_url}, tmp_path)


@pytest.fixture
def web(settings: Settings, database: Database, monotonic: Monotonic, hashed_password: accounts.PasswordHash) -> Web:
    app = create_app(settings, database, secret=SECRET, process_id="web-1", monotonic=monotonic)
    web = Web(app, database, hashed_password)
    for role in Role:
        web.add_user(role, role)
    return web


@pytest.fixture
def browser(web: Web) -> Callable[..., Browser]:
    """Opens a browser, signed in as a user who is named as their role, or (None) not at all.

    The clients are not entered: the application has no start of its own, and two that are entered never end (2.25).
    """

    def open(user: str | None = Role.OPERATOR) -> Browser:
        client = TestClient(web.app, raise_server_exceptions=False)
        client.follow_redirects = False
        browser = Browser(client)
        if user is not None:
            assert browser.sign_in(user).status_code == 303
        return browser

    return open


@pytest.fixture
def operator(browser: Callable[..., Browser]) -> Browser:
    return browser(Role.OPERATOR)


@pytest.fixture
def rows_in() -> Callable[[str, str], list[str]]:
    """The ids of the rows of a page whose id begins with a word."""
    return lambda page, word: re.findall(rf'<tr role="row" id="{word}-([^"]+)"', page)


def audit_of(database: Database) -> list[tuple[Any, ...]]:
    """Who did what from where, oldest first."""
    from sqlalchemy import text

    with database.read() as session:
        rows = session.execute(text("SELECT who, action, what, origin FROM audit_event ORDER BY id"))
        return [tuple(row) for row in rows]
