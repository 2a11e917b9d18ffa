"""What a MariaDB server tells about itself: how durable its commits are, and who keeps rows locked."""

import threading
import time
from collections.abc import Iterator

import galera
import pytest
from kinds import ON_MARIADB, ON_SQLITE
from sqlalchemy import text

from schedmgr.core import health
from schedmgr.core.verdict import Status
from schedmgr.database import server
from schedmgr.database.engine import Database
from schedmgr.database.server import Unflushed

PATIENCE = 30.0  # seconds
BY_ITSELF = pytest.mark.skipif(galera.is_asked_for(), reason="a cluster is asked through its other nodes")


def told(database: Database) -> server.Server:
    with database.read() as session:
        found = server.server(session)
    assert found is not None
    return found


@pytest.fixture
def variables(mariadb_server) -> Iterator[object]:
    """Sets global variables, and puts them back afterwards."""
    before: dict[str, object] = {}

    def set(**values: object) -> None:
        for name, value in values.items():
            before.setdefault(name, mariadb_server.query(f"SELECT @@GLOBAL.{name}")[0][0])
            mariadb_server.query(f"SET GLOBAL {name} = %s", value)

    yield set
    for name, value in before.items():
        mariadb_server.query(f"SET GLOBAL {name} = %s", value)


@ON_SQLITE
def test_a_file_is_no_server(database):
    with database.read() as session:
        assert server.server(session) is None


@ON_MARIADB
@pytest.mark.parametrize("flush", [0, 2])
def test_a_log_that_is_not_flushed_at_commit_is_named_with_what_it_should_be(database, variables, flush):
    variables(innodb_flush_log_at_trx_commit=flush)
    assert Unflushed("innodb_flush_log_at_trx_commit", str(flush), "1") in told(database).unflushed


@ON_MARIADB
@pytest.mark.parametrize("flush", [1, 3])
def test_a_log_that_is_flushed_at_commit_is_not(database, variables, flush):
    variables(innodb_flush_log_at_trx_commit=flush)
    assert "innodb_flush_log_at_trx_commit" not in [one.setting for one in told(database).unflushed]


@ON_MARIADB
def test_a_binary_log_that_is_off_need_not_be_flushed(database, variables):
    variables(sync_binlog=0)
    assert "sync_binlog" not in [one.setting for one in told(database).unflushed]


@ON_MARIADB
@BY_ITSELF
def test_a_server_by_itself_is_in_no_cluster(database):
    found = told(database)
    assert (found.name, found.cluster_nodes, found.is_read_only) == ("MariaDB", None, False)


@ON_MARIADB
@BY_ITSELF
def test_a_server_that_is_set_to_read_only_says_so(database, variables):
    variables(read_only=1)
    assert told(database).is_read_only


@ON_MARIADB
@BY_ITSELF
def test_health_warns_of_a_server_that_does_not_flush(installation):
    """The servers of the tests do not, to be fast."""
    installation.start_daemon()
    (durability,) = [check for check in health.check(installation.database).troubles if check.key == "durability"]
    assert durability.sentence.startswith("MariaDB does not flush at commit (innodb_flush_log_at_trx_commit = 0 and ")


@ON_MARIADB
def test_the_session_that_keeps_rows_locked_and_does_nothing_is_named(installation, database, open_database):
    installation.start_daemon()
    with open_database().write() as other:
        other.execute(text("SELECT id FROM process FOR UPDATE"))
        number = other.scalar(text("SELECT CONNECTION_ID()"))
        limit = time.monotonic() + PATIENCE
        while (holder := server.hanging_session(database, seconds=1)) is None and time.monotonic() < limit:
            threading.Event().wait(0.25)  # the server renews what it tells only when nobody asked for 0.1 s
    assert str(holder).startswith(f"session {number} of root@127.0.0.1, which has done nothing in its transaction for ")
    assert server.hanging_session(database, seconds=1) is None


@ON_MARIADB
def test_the_session_that_keeps_rows_locked_during_a_long_statement_is_named(installation, database, open_database):
    installation.start_daemon()
    locked = threading.Event()

    def work() -> None:
        with open_database().write() as other:
            other.execute(text("SELECT id FROM process FOR UPDATE"))
            locked.set()
            other.execute(text("SELECT SLEEP(4)"))

    working = threading.Thread(target=work)
    working.start()
    assert locked.wait(PATIENCE)
    while (holder := server.hanging_session(database, seconds=1)) is None and working.is_alive():
        threading.Event().wait(0.25)
    working.join()
    assert "@127.0.0.1, which has been at one statement for " in str(holder)


@ON_MARIADB
@BY_ITSELF
def test_what_others_lock_in_databases_of_their_own_is_none_of_ours(database, mariadb_server):
    url = mariadb_server.create("of_others")
    mariadb_server.query("CREATE TABLE thing (id INT PRIMARY KEY)", database="of_others")
    mariadb_server.query("INSERT INTO thing VALUES (1)", database="of_others")
    others = Database(url)
    with others.write() as session:
        session.execute(text("SELECT id FROM thing FOR UPDATE"))
        locks = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_locked > 0"
        limit = time.monotonic() + PATIENCE
        while mariadb_server.query(locks) != [(1,)] and time.monotonic() < limit:
            threading.Event().wait(0.25)
        assert mariadb_server.query(locks) == [(1,)]
        assert server.hanging_session(database, seconds=0) is None
    others.close()
    mariadb_server.drop("of_others")


@ON_MARIADB
def test_a_session_that_only_reads_hinders_nobody(installation, database, open_database):
    with open_database().read() as other:
        other.execute(text("SELECT * FROM process"))
        assert server.hanging_session(database, seconds=0) is None


@ON_MARIADB
@BY_ITSELF
def test_a_server_that_is_frozen_is_critical_within_the_time_that_it_has(installation, mariadb_server):
    installation.start_daemon()
    mariadb_server.freeze()
    began = time.monotonic()
    verdict = health.check(installation.database, within=0.5)
    took = time.monotonic() - began
    mariadb_server.thaw()
    assert (verdict.status, verdict.checks[0].sentence) == (
        Status.CRITICAL,
        "The database did not answer within 0.5 s.",
    )
    assert took < 3
