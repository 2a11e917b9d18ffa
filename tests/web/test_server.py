"""The web process: what it refuses to start with, and how it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from schedmgr.core import accounts
from schedmgr.core.audit import Requester
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseNotReady, Refused, SettingsError
from schedmgr.settings import Settings
from schedmgr.vocabulary import Role
from schedmgr.web import server
from tests.web.conftest import PASSWORD, audit_of

PATIENCE = 30.0  # seconds; no test waits that long unless something is broken
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def settings_with(database_url, tmp_path, free_port):
    base = {"DATABASE_URL": database_url, "PORT": str(free_port)}
    return lambda **variables: Settings.load(base | variables, tmp_path)


def get(port: int, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def wait_for(condition, what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, what
        threading.Event().wait(0.02)


def process_rows(database: Database) -> list[tuple[str, bool]]:
    with database.read() as session:
        rows = session.execute(text("SELECT role, stopped_at IS NOT NULL FROM process"))
        return [(role, bool(stopped)) for role, stopped in rows]


@pytest.mark.parametrize("environment", ["production", "staging"])
@pytest.mark.parametrize(("secret", "said"), [({}, "is not set"), ({"JWT_SECRET": "short"}, "has 5 bytes")])
def test_outside_development_it_needs_a_secret_of_32_bytes(settings_with, environment, secret, said):
    with pytest.raises(SettingsError, match=rf"JWT_SECRET: it {said}\. In the environment {environment} .*32 bytes"):
        server.serve(settings_with(APP_ENV=environment, **secret))


def test_in_development_a_secret_is_made_up_anew_at_each_start(settings_with):
    settings = settings_with()
    assert server.secret_of(settings) != server.secret_of(settings)
    assert len(server.secret_of(settings)) >= 32


def test_a_database_of_another_revision_is_said_before_anything_is_done(settings_with, database):
    database.transact(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(DatabaseNotReady, match="it is older than the database"):
        server.serve(settings_with())
    assert process_rows(database) == []


def test_a_port_in_use_is_one_sentence_with_another_port(settings_with, free_port, database):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(Refused, match=rf"port {free_port}: Address already in use.*PORT={free_port + 1}"):
            server.serve(settings_with())
    assert process_rows(database) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_nothing_listens_to_strangers_while_nobody_can_sign_in(settings_with, host):
    with pytest.raises(Refused, match=r"no user exists yet\. Run: schedmgr users add NAME"):
        server.serve(settings_with(HOST=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_the_machines_own_addresses_need_no_user(host):
    assert server.is_loopback(host)


def has_beaten(database: Database) -> bool:
    with database.read() as session:
        return bool(session.scalar(text("SELECT count(*) FROM process WHERE beat_at > started_at")))


def test_it_serves_and_beats_until_it_is_told_to_stop(settings_with, free_port, database, monkeypatch):
    monkeypatch.setattr(server, "BEAT_EVERY", 0.05)
    stop, ready = threading.Event(), threading.Event()
    codes: list[int] = []
    serving = threading.Thread(target=lambda: codes.append(server.serve(settings_with(), stop, ready.set)))
    serving.start()
    assert ready.wait(PATIENCE)
    assert get(free_port, "/healthz") == (200, "ok\n")
    assert process_rows(database) == [("web", False)]
    wait_for(lambda: has_beaten(database), "the web beats")
    stop.set()
    serving.join(PATIENCE)
    assert codes == [0]
    assert process_rows(database) == [("web", True)]


def test_a_beat_that_fails_is_not_the_last_one(settings_with, database, monkeypatch, caplog):
    monkeypatch.setattr(server, "BEAT_EVERY", 0.05)
    stop, ready = threading.Event(), threading.Event()
    serving = threading.Thread(target=lambda: server.serve(settings_with(), stop, ready.set))
    serving.start()
    assert ready.wait(PATIENCE)
    database.transact(lambda session: session.execute(text("ALTER TABLE process RENAME TO away")))
    wait_for(lambda: "beat failed" in caplog.text, "the beat fails")
    database.transact(lambda session: session.execute(text("ALTER TABLE away RENAME TO process")))
    database.transact(lambda session: session.execute(text("UPDATE process SET beat_at = started_at")))
    wait_for(lambda: has_beaten(database), "the web beats again")
    stop.set()
    serving.join(PATIENCE)


def test_a_path_below_the_public_address_is_served_with_and_without_it(settings_with, free_port):
    stop, ready = threading.Event(), threading.Event()
    settings = settings_with(SCHEDMGR_PUBLIC_URL="https://example.com/ops")
    serving = threading.Thread(target=server.serve, args=(settings, stop, ready.set))
    serving.start()
    assert ready.wait(PATIENCE)
    pages = [get(free_port, "/ops/login"), get(free_port, "/login")]
    assert [status for status, _ in pages] == [200, 200]
    assert all('action="/ops/login"' in page and 'href="/ops/static/app.css?v=' in page for _, page in pages)
    stop.set()
    serving.join(PATIENCE)


@pytest.mark.parametrize(("trusted", "origin"), [("127.0.0.1", "203.0.113.9"), ("", "127.0.0.1")])
def test_the_audit_has_the_address_that_a_trusted_proxy_tells_and_no_other(
    settings_with, free_port, database, hashed_password, trusted, origin
):
    by = Requester("cli:ann@desk", "command line")
    database.transact(lambda session: accounts.add_user(session, "ann", hashed_password, Role.ADMIN, by))
    stop, ready = threading.Event(), threading.Event()
    serving = threading.Thread(
        target=server.serve, args=(settings_with(SCHEDMGR_TRUSTED_PROXIES=trusted), stop, ready.set)
    )
    serving.start()
    assert ready.wait(PATIENCE)
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", headers={"X-Forwarded-For": "203.0.113.9"}) as client:
        token = re.search(r'name="_csrf_token" value="(\w+)"', client.get("/login").text)[1]
        form = {"username": "ann", "password": PASSWORD, "_csrf_token": token}
        assert client.post("/login", data=form).status_code == 303
    stop.set()
    serving.join(PATIENCE)
    assert audit_of(database)[-1] == ("web:ann", "sign in", "signed in", origin)


def test_a_head_is_answered_like_a_get_without_its_content(settings_with, free_port):
    stop, ready = threading.Event(), threading.Event()
    serving = threading.Thread(target=server.serve, args=(settings_with(), stop, ready.set))
    serving.start()
    assert ready.wait(PATIENCE)
    answer = httpx.head(f"http://127.0.0.1:{free_port}/healthz")
    assert (answer.status_code, answer.content) == (200, b"")
    stop.set()
    serving.join(PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_0_although_a_browser_holds_a_connection(
    number, database_url, database, tmp_path: Path, free_port
):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SCHED", "APP_ENV", "NODE_ENV"))}
    environment = own | {"DATABASE_URL": database_url, "PORT": str(free_port), "JWT_SECRET": SECRET}
    process = subprocess.Popen(
        [sys.executable, "-m", "schedmgr", "web"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: process_rows(database) == [("web", False)] and answers(free_port), "the web answers")
        with closing(HTTPConnection("127.0.0.1", free_port, timeout=10)) as idle:  # it may wait for a next request
            idle.request("GET", "/healthz")
            assert idle.getresponse().read() == b"ok\n"
            process.send_signal(number)
            assert process.wait(PATIENCE) == 0
        assert "Traceback" not in process.communicate()[1]
        assert process_rows(database) == [("web", True)]
    finally:
        process.kill()


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False
