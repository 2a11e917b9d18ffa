"""What each session at a MySQL or MariaDB server is told, which of several hosts is used, and what is said when none
can be.  Nothing rests on how the server is set up, or on more rights than those on the one database."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from mariadb import Port, Server, reason_to_skip
from sqlalchemy import insert, select, text

from schedmgr.database.engine import Database
from schedmgr.database.migrate import migrate
from schedmgr.database.models import Setting
from schedmgr.errors import DatabaseUnavailable

NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
PASSWORD = "s3:cr@e/t%2F?#"  # all that a URL could stumble over
APP = "app"
LOOSE = (  # what a server may be set up with, and our sessions must not inherit
    "--sql-mode=",
    "--default-time-zone=+05:30",
    "--transaction-isolation=SERIALIZABLE",
    "--character-set-server=latin1",
    "--innodb-lock-wait-timeout=500",
)


@pytest.fixture(scope="module")
def loose_server(tmp_path_factory) -> Iterator[Server]:
    """A server that is set up differently in all that matters, with a user who may use one database alone."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    server = Server.make(tmp_path_factory.mktemp("loose") / "server")
    server.start(*LOOSE)
    add_user(server)
    yield server
    server.close()


@pytest.fixture(scope="module")
def read_only_server(tmp_path_factory) -> Iterator[Server]:
    """The same user and database, and no changes."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    server = Server.make(tmp_path_factory.mktemp("readonly") / "server")
    server.start()
    add_user(server)
    server.query("SET GLOBAL read_only = 1")
    yield server
    server.close()


def add_user(server: Server) -> None:
    server.create(APP)
    server.query(f"CREATE USER ann@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    server.query(f"GRANT ALL ON `{APP}`.* TO ann@'127.0.0.1'")


def url_of(*ports: int, user: str = "ann", password: str = PASSWORD, database: str = APP) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"mysql://{user}:{quote(password, safe='')}@{hosts}/{database}"


@contextmanager
def opened(*ports: int, **more: str) -> Iterator[Database]:
    database = Database(url_of(*ports, **more))
    try:
        yield database
    finally:
        database.close()


@pytest.fixture(scope="module")
def app(loose_server) -> Iterator[Database]:
    """The migrated database, as that user has it."""
    with opened(loose_server.port) as database:
        migrate(database)
        yield database


@pytest.fixture
def empty_setting(app) -> Database:
    """With no rows in the table that the tests write to."""
    app.transact(lambda session: session.execute(text("DELETE FROM setting")))
    return app


def variables(database_session, *names: str) -> dict[str, str]:
    rows = database_session.execute(text("SHOW SESSION VARIABLES"))
    return {name: value for name, value in rows if name in names}


def setting(key: str, at: datetime = NOON) -> dict[str, object]:
    return {"key": key, "value": {}, "changed_at": at, "changed_by": "ann"}


# What a session is told


@pytest.mark.parametrize("way", ["read", "write", "migrate"])
def test_no_session_depends_on_how_the_server_is_set_up(app, way):
    expected = {
        "time_zone": "+00:00",
        "character_set_client": "utf8mb4",
        "collation_connection": "utf8mb4_bin",
        "innodb_lock_wait_timeout": "5",
        "lock_wait_timeout": "5",
        "idle_transaction_timeout": "10",
        "wait_timeout": "600",
    }
    with getattr(app, way)() as session:
        found = variables(session, *expected, "sql_mode")
    assert "STRICT_ALL_TABLES" in found.pop("sql_mode").split(",")
    assert found == expected


@pytest.mark.parametrize(
    ("way", "isolation", "read_only"),
    [
        ("read", "REPEATABLE-READ", "ON"),
        ("write", "READ-COMMITTED", "OFF"),
        ("migrate", "READ-COMMITTED", "OFF"),
    ],
)
def test_a_read_keeps_to_one_state_and_a_write_sees_what_others_have_committed(app, way, isolation, read_only):
    with getattr(app, way)() as session:
        found = variables(session, "tx_isolation", "tx_read_only")
    assert found == {"tx_isolation": isolation, "tx_read_only": read_only}


def test_each_statement_of_a_write_sees_what_was_committed_before_it(empty_setting):
    with empty_setting.write() as writing:
        before = writing.scalar(text("SELECT count(*) FROM setting"))
        empty_setting.transact(lambda session: session.execute(insert(Setting).values(setting("a"))))
        assert (before, writing.scalar(text("SELECT count(*) FROM setting"))) == (0, 1)


def test_nothing_can_be_changed_by_who_only_reads(empty_setting):
    with pytest.raises(Exception, match="READ ONLY transaction"), empty_setting.read() as session:
        session.execute(insert(Setting).values(setting("a")))


def test_what_does_not_fit_its_column_is_refused_instead_of_cut(empty_setting):
    with pytest.raises(Exception, match="Data too long"), empty_setting.write() as session:
        session.execute(insert(Setting).values(setting("a" * 101)))


def test_names_that_differ_in_case_or_by_a_blank_are_different_names(empty_setting):
    names = ["A", "a", "a ", "á"]
    with empty_setting.write() as session:
        session.execute(insert(Setting), [setting(name) for name in names])
        found = {name: list(session.scalars(select(Setting.key).where(Setting.key == name))) for name in names}
    assert found == {name: [name] for name in names}


def test_an_instant_comes_back_aware_with_its_microseconds_whatever_zone_it_was_given_in(empty_setting):
    in_kolkata = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with empty_setting.write() as session:
        session.execute(insert(Setting).values(setting("a", in_kolkata)))
        stored = session.scalar(select(Setting.changed_at))
        as_text = session.scalar(text("SELECT CAST(changed_at AS CHAR) FROM setting"))
    assert (stored, stored.tzinfo, as_text) == (NOON, UTC, "2026-03-02 12:00:00.123456")


def test_the_clock_is_the_servers_in_utc_whatever_its_zone(app, loose_server):
    with app.read() as session:
        now = session.now()
    ((later,),) = loose_server.query("SELECT UTC_TIMESTAMP(6)")
    assert timedelta(0) <= later.replace(tzinfo=UTC) - now < timedelta(seconds=10)
    assert app.is_server


def test_text_of_any_script_comes_back_as_it_was(empty_setting):
    value = {"said": "Zoë, 東京, 🚀"}
    with empty_setting.write() as session:
        session.execute(insert(Setting).values(setting("a") | {"value": value}))
    with empty_setting.read() as session:
        assert session.scalar(select(Setting.value)) == value


# Several hosts


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Nobody listens there, and nobody will meanwhile."""
    port = Port()
    yield port.number
    port.give_back()


class Listener:
    """A host that takes connections, counts them, and then says what it is told: nothing, or not even nothing."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._held.append(client)
            self._answer(client)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self._held:
            client.close()


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], Listener]]:
    opened: list[Listener] = []

    def listen(answer: Callable[[socket.socket], None]) -> Listener:
        opened.append(Listener(answer))
        return opened[-1]

    yield listen
    for one in opened:
        one.close()


def port_in_use(database: Database) -> int:
    with database.write() as session:
        port: int = session.scalar(text("SELECT @@port"))
    return port


def port_read_from(database: Database) -> int:
    with database.read() as session:
        port: int = session.scalar(text("SELECT @@port"))
    return port


@pytest.fixture
def demoted_server(loose_server) -> Iterator[Server]:
    """One that takes no changes at the beginning."""
    loose_server.query("SET GLOBAL read_only = 1")
    yield loose_server
    loose_server.query("SET GLOBAL read_only = 0")


def test_the_first_host_is_used_while_it_can_be(loose_server, read_only_server):
    with opened(loose_server.port, read_only_server.port) as database:
        assert port_in_use(database) == loose_server.port


def test_where_the_first_host_is_dead_the_next_is_used(dead_port, loose_server):
    with opened(dead_port, loose_server.port) as database:
        assert port_in_use(database) == loose_server.port


def test_where_the_first_host_takes_no_changes_the_next_is_used(read_only_server, loose_server):
    with opened(read_only_server.port, loose_server.port) as database:
        assert port_in_use(database) == loose_server.port


def test_where_no_other_host_answers_one_that_takes_no_changes_is_read_from(read_only_server, dead_port):
    with opened(read_only_server.port, dead_port) as database, database.read() as session:
        assert session.scalar(text("SELECT @@port")) == read_only_server.port


def test_a_host_that_takes_no_changes_is_left_once_another_one_takes_them(
    read_only_server, demoted_server, monkeypatch
):
    with opened(read_only_server.port, demoted_server.port) as database:
        assert port_read_from(database) == read_only_server.port
        demoted_server.query("SET GLOBAL read_only = 0")
        assert port_read_from(database) == read_only_server.port  # for a while
        monkeypatch.setattr("schedmgr.database.mysql.MAKESHIFT_FOR", 0.0)
        assert port_read_from(database) == demoted_server.port


def test_a_host_that_did_not_answer_is_tried_last_for_a_while(listener, loose_server, monkeypatch):
    hangs_up = listener(socket.socket.close)
    with opened(hangs_up.port, loose_server.port) as database:
        with database.write(), database.write(), database.read():
            assert hangs_up.connections == 1
        monkeypatch.setattr("schedmgr.database.mysql.AVOIDED_FOR", 0.0)
        with database.write(), database.write(), database.write():
            assert hangs_up.connections == 2


@pytest.mark.parametrize("way", ["read", "write", "migrate"])
def test_a_host_that_takes_connections_and_says_nothing_holds_nobody_up_for_long(
    listener, loose_server, monkeypatch, way
):
    monkeypatch.setattr("schedmgr.database.mysql.CONNECT_TIMEOUT", 0.5)
    frozen = listener(lambda client: None)
    began = time.monotonic()
    with opened(frozen.port, loose_server.port) as database, getattr(database, way)() as session:
        assert session.scalar(text("SELECT 1")) == 1
    assert time.monotonic() - began < 5


def test_an_answer_may_take_longer_than_a_connection(loose_server, monkeypatch):
    monkeypatch.setattr("schedmgr.database.mysql.CONNECT_TIMEOUT", 0.5)
    with opened(loose_server.port) as database, database.read() as session:
        assert session.scalar(text("SELECT SLEEP(1)")) == 0


# What is said when there is none


def sentence(database: Database) -> str:
    with pytest.raises(DatabaseUnavailable) as caught, database.write() as session:
        session.execute(text("INSERT INTO setting VALUES ('a', '{}', UTC_TIMESTAMP(6), 'ann')"))
    return str(caught.value)


def test_no_host_that_answers_is_one_sentence_with_all_of_them(dead_port):
    other = Port()
    with opened(dead_port, other.number) as database:
        said = sentence(database)
    other.give_back()
    assert said.startswith(f"No database answers at 127.0.0.1:{dead_port}, 127.0.0.1:{other.number} (")
    assert said.endswith("Start it, or correct DATABASE_URL.")
    assert "\n" not in said
    assert "Connection refused" in said


def test_a_wrong_password_is_one_sentence_without_it(loose_server):
    with opened(loose_server.port, password="wr0ng") as database:
        said = sentence(database)
    assert f"The database at 127.0.0.1:{loose_server.port} refuses user 'ann': Access denied" in said
    assert "wr0ng" not in said
    assert "\n" not in said


def test_a_database_that_does_not_exist_is_one_sentence_with_the_way_to_make_it(loose_server):
    with opened(loose_server.port, user="root", password="", database="nowhere") as database:
        said = sentence(database)
    assert said == (
        f"The server at 127.0.0.1:{loose_server.port} has no database nowhere. "
        "Create it: CREATE DATABASE nowhere CHARACTER SET utf8mb4"
    )


def test_a_database_that_the_user_may_not_use_is_one_sentence(loose_server):
    with opened(loose_server.port, database="mysql") as database:
        said = sentence(database)
    assert "refuses user 'ann'" in said
    assert said.endswith("Check user and password in DATABASE_URL, and what the user is granted.")
    assert PASSWORD not in said


def test_a_server_that_takes_no_changes_is_one_sentence(read_only_server):
    read_only_server.query("SET GLOBAL read_only = 0")
    with opened(read_only_server.port) as database:
        migrate(database)
    read_only_server.query("SET GLOBAL read_only = 1")
    with opened(read_only_server.port) as database:
        said = sentence(database)
    assert said.startswith(f"The database at 127.0.0.1:{read_only_server.port} is read-only: ")
    assert said.endswith("Let DATABASE_URL name the server that takes changes.")


def test_a_database_without_room_is_one_sentence(empty_setting):
    filling = "INSERT INTO full SELECT 'x' FROM information_schema.collations"
    with empty_setting.migrate() as session:
        session.execute(text("SET SESSION max_heap_table_size = 16384"))
        session.execute(text("CREATE TABLE full (text CHAR(250)) ENGINE = MEMORY"))
    no_room = pytest.raises(DatabaseUnavailable, match=r"cannot write: The table .* Make room on its disk\.$")
    with no_room, empty_setting.write() as session:
        session.execute(text(f"{filling}, information_schema.engines"))


@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"\x05\x00\x00\x00hello"],
    ids=["ssh", "http", "zeros", "nearly"],
)
def test_a_port_where_something_else_answers_is_one_sentence(listener, monkeypatch, greeting):
    monkeypatch.setattr("schedmgr.database.mysql.CONNECT_TIMEOUT", 0.5)
    other = listener(lambda client: client.sendall(greeting))
    with opened(other.port) as database:
        said = sentence(database)
    assert said.startswith(f"No database answers at 127.0.0.1:{other.port} (")
    assert "\n" not in said


def test_no_error_and_no_text_of_a_database_shows_its_password(app):
    with pytest.raises(Exception, match="nowhere") as caught, app.write() as session:
        session.execute(text("SELECT * FROM nowhere"))
    assert PASSWORD not in str(caught.value) + repr(caught.value) + repr(app)
