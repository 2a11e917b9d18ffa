"""What a transaction can meet at a MySQL or MariaDB server: others in its way, connections cut, servers that stop,
freeze or die.  Whatever it was, what was asked for is done as a whole and once, or one sentence says why not."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pymysql
import pytest
from mariadb import Server, reason_to_skip
from sqlalchemy import insert, select, text, update

from schedmgr.core import health, locking
from schedmgr.database.engine import Database, Session
from schedmgr.database.failures import ConnectionLost, TransactionLost
from schedmgr.database.migrate import migrate
from schedmgr.database.models import Setting
from schedmgr.errors import DatabaseUnavailable

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
APP = "app"
PATIENCE = 30.0  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """One of this file's own, which flushes at each commit as one in production does."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Server.make(tmp_path_factory.mktemp("outages") / "server", durable=True) as server:
        database = Database(server.create(APP))
        migrate(database)
        database.close()
        server.query("CREATE USER ann@'127.0.0.1'")
        server.query(f"GRANT ALL ON `{APP}`.* TO ann@'127.0.0.1'")
        yield server


@pytest.fixture
def database(server, monkeypatch) -> Iterator[Database]:
    """The database, as a user has it who is not the administrator; nobody waits for a lock longer than a second."""
    monkeypatch.setattr("schedmgr.database.mysql.LOCK_TIMEOUT", 1)
    with opened(server) as database:
        database.transact(lambda session: session.execute(text("DELETE FROM setting")))
        yield database


@contextmanager
def opened(server: Server) -> Iterator[Database]:
    database = Database(server.url(APP).replace("root@", "ann@"))
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def in_threads() -> Iterator[Callable[..., list[threading.Thread]]]:
    started: list[threading.Thread] = []

    def start(*deeds: Callable[[], object]) -> list[threading.Thread]:
        threads = [threading.Thread(target=deed, daemon=True) for deed in deeds]
        for thread in threads:
            thread.start()
        started.extend(threads)
        return threads

    yield start
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def row(key: str) -> dict[str, object]:
    return {"key": key, "value": {}, "changed_at": NOON, "changed_by": "nobody"}


def write_row(database: Database, *keys: str) -> None:
    database.transact(lambda session: session.execute(insert(Setting), [row(key) for key in keys]))


def changed_by(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {row.key: row.changed_by for row in session.execute(select(Setting.key, Setting.changed_by))}


def change(session: Session, key: str, who: str) -> None:
    session.execute(update(Setting).where(Setting.key == key).values(changed_by=who))


class Tries:
    """Work that counts how often it was done, and does something else the first time."""

    def __init__(self, work: Callable[[Session], object], *, at_first: Callable[[Session], object] = id) -> None:
        self.times = 0
        self._work = work
        self._at_first = at_first

    def __call__(self, session: Session) -> None:
        self.times += 1
        self._work(session)
        if self.times == 1:
            self._at_first(session)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"not in time: {what}"
        threading.Event().wait(0.005)


def own_id(session: Session) -> int:
    id: int = session.scalar(text("SELECT CONNECTION_ID()"))
    return id


# Others in the way


def test_who_waits_in_vain_for_a_row_is_told_that_another_holds_it(server, database):
    write_row(database, "a")
    with opened(server) as other, other.write() as holding:
        change(holding, "a", "other")
        is_told = pytest.raises(TransactionLost, match="Another transaction held what this one wanted")
        with is_told, database.write() as session:
            change(session, "a", "ann")
    assert changed_by(database) == {"a": "other"}


@pytest.mark.parametrize(
    ("hold", "ask"),
    [
        pytest.param(lambda session: change(session, "environment", "other"), locking.hold_pauses, id="a row to share"),
        pytest.param(
            lambda session: session.execute(text("LOCK TABLES setting WRITE")),
            lambda session: session.scalar(select(Setting.key)),
            id="a whole table to read",
        ),
    ],
)
def test_who_only_reads_and_waits_in_vain_is_not_told_of_a_cluster_where_there_is_none(server, database, hold, ask):
    write_row(database, "environment")
    with opened(server) as other, other.write() as holding:
        hold(holding)
        with pytest.raises(TransactionLost, match="Another transaction held"), database.write() as session:
            ask(session)
        holding.execute(text("UNLOCK TABLES"))


def test_work_that_waited_in_vain_is_done_again_as_a_whole(server, database):
    """A server undoes the statement that waited, and no other: what came before it must not be kept twice."""
    write_row(database, "a")
    tries = Tries(lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))))
    with opened(server) as other:
        holding = other.write()
        change(holding.__enter__(), "a", "other")
        threading.Timer(1.5, holding.__exit__, (None, None, None)).start()
        database.transact(lambda session: [tries(session), change(session, "a", "ann")])
    assert tries.times == 2
    assert changed_by(database) == {"a": "ann", "try-2": "nobody"}


def test_two_transactions_that_wait_for_each_other_are_both_done_as_a_whole(server, database, in_threads):
    write_row(database, "a", "b")
    both_hold = threading.Barrier(2)
    done: list[Tries] = []

    def deed(who: str, first: str, second: str) -> Callable[[], None]:
        tries = Tries(lambda session: change(session, first, who), at_first=lambda session: both_hold.wait(PATIENCE))
        done.append(tries)

        def work(session: Session) -> None:
            tries(session)
            session.execute(insert(Setting).values(row(f"{who}-{tries.times}")))
            change(session, second, who)

        def run() -> None:
            with opened(server) as own:
                own.transact(work)

        return run

    for thread in in_threads(deed("ann", "a", "b"), deed("bob", "b", "a")):
        thread.join(PATIENCE)
    assert sorted(tries.times for tries in done) == [1, 2]
    found = changed_by(database)
    winner, loser = sorted(("ann", "bob"), key=lambda who: f"{who}-2" in found)
    assert found == {"a": loser, "b": loser, f"{winner}-1": "nobody", f"{loser}-2": "nobody"}


def test_a_statement_that_somebody_killed_is_done_again(server, database, in_threads):
    def slow(session: Session) -> None:
        id = own_id(session)
        in_threads(lambda: kill_when_asleep(server, id))
        session.execute(text("SELECT SLEEP(20)"))

    tries = Tries(lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))), at_first=slow)
    database.transact(tries)
    assert list(changed_by(database)) == ["try-2"]


def kill_when_asleep(server: Server, id: int) -> None:
    asleep = "SELECT 1 FROM information_schema.processlist WHERE id = %s AND info LIKE 'SELECT SLEEP%%'"
    wait_until(lambda: bool(server.query(asleep, id)), "it sleeps")
    server.query("KILL QUERY %s", id)


@pytest.fixture
def backup(server) -> Iterator[pymysql.Connection]:
    """What makes a copy of all tables, and keeps everybody from changing them meanwhile."""
    backup = pymysql.connect(host="127.0.0.1", port=server.port, user="root", ssl_disabled=True)
    yield backup
    backup.close()


def test_a_backup_that_locks_all_tables_keeps_nobody_waiting_for_long(database, backup):
    backup.cursor().execute("FLUSH TABLES WITH READ LOCK")
    began = time.monotonic()
    with pytest.raises(TransactionLost), database.write() as session:
        session.execute(insert(Setting).values(row("during")))
    assert time.monotonic() - began < 5
    backup.cursor().execute("UNLOCK TABLES")
    write_row(database, "after")
    assert list(changed_by(database)) == ["after"]


def test_a_commit_that_a_backup_holds_up_is_undone_and_done_again(database, backup):
    tries = Tries(
        lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))),
        at_first=lambda session: backup.cursor().execute("FLUSH TABLES WITH READ LOCK"),
    )
    threading.Timer(1.5, backup.cursor().execute, ("UNLOCK TABLES",)).start()
    database.transact(tries)
    assert list(changed_by(database)) == ["try-2"]


def test_a_commit_that_somebody_killed_while_it_was_held_up_is_done_again(server, database, backup, in_threads):
    def hold_up_and_kill(session: Session) -> None:
        id = own_id(session)
        session.execute(text("SET SESSION lock_wait_timeout = 20"))
        backup.cursor().execute("FLUSH TABLES WITH READ LOCK")
        in_threads(lambda: [kill_when_committing(server, id), backup.cursor().execute("UNLOCK TABLES")])

    tries = Tries(
        lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))), at_first=hold_up_and_kill
    )
    database.transact(tries)
    assert list(changed_by(database)) == ["try-2"]


def kill_when_committing(server: Server, id: int) -> None:
    committing = "SELECT 1 FROM information_schema.processlist WHERE id = %s AND info = 'COMMIT'"
    wait_until(lambda: bool(server.query(committing, id)), "it waits with its COMMIT")
    server.query("KILL QUERY %s", id)


# More at once than there is room for


def test_more_sessions_than_the_server_takes_is_one_sentence(server, database):
    server.query("SET GLOBAL max_connections = 10")
    with ExitStack() as held:
        is_said = pytest.raises(DatabaseUnavailable, match=r"takes no more connections .* Raise its max_connections\.$")
        with is_said:
            for _ in range(12):
                held.enter_context(database.read())
    server.query("SET GLOBAL max_connections = 151")
    assert changed_by(database) == {}


# Connections cut


@pytest.mark.parametrize("how", ["KILL CONNECTION", "KILL HARD CONNECTION"])
def test_work_whose_connection_was_killed_is_done_again(server, database, how):
    tries = Tries(
        lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))),
        at_first=lambda session: server.query(f"{how} {own_id(session)}"),
    )
    database.transact(tries)
    assert list(changed_by(database)) == ["try-2"]


def test_connections_that_were_killed_while_nobody_used_them_are_replaced(server, database):
    with database.read(), database.read(), database.write(), database.write():
        pass
    assert server.kill_connections(APP) >= 4
    with database.read(), database.read(), database.write():
        write_row(database, "a")
    assert list(changed_by(database)) == ["a"]


def test_a_transaction_that_goes_silent_loses_its_locks_and_writes_nothing(server, database, monkeypatch):
    monkeypatch.setattr("schedmgr.database.mysql.HOLD_TIMEOUT", 1)
    write_row(database, "a")
    with opened(server) as silent, pytest.raises(ConnectionLost), silent.write() as session:
        session.execute(insert(Setting).values(row("silent")))
        change(session, "a", "silent")
        database.transact(lambda session: change(session, "a", "ann"))  # it waits a little, and then it may
    assert changed_by(database) == {"a": "ann"}


# Servers that stop, freeze or take no changes


def test_a_server_that_was_restarted_is_used_as_if_nothing_had_been(server, database):
    write_row(database, "a")
    server.restart()
    write_row(database, "b")
    assert sorted(changed_by(database)) == ["a", "b"]


def test_a_server_that_is_restarted_within_a_transaction_costs_another_try(server, database):
    def restart(session: Session) -> None:
        server.stop()
        server.start()

    tries = Tries(lambda session: session.execute(insert(Setting).values(row(f"try-{tries.times}"))), at_first=restart)
    database.transact(tries)
    assert list(changed_by(database)) == ["try-2"]


def test_a_server_that_is_down_is_one_sentence_at_once(server, database):
    write_row(database, "a")
    server.stop()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=r"^No database answers at .*Start it, or correct DATABASE_URL\.$"):
        write_row(database, "b")
    assert time.monotonic() - began < 3
    server.start()
    assert list(changed_by(database)) == ["a"]


@pytest.fixture
def frozen(server, monkeypatch) -> Iterator[Database]:
    """A database with connections at hand, whose server has just frozen; nobody waits longer than a second for it."""
    monkeypatch.setattr("schedmgr.database.mysql.ANSWER_TIMEOUT", 1)
    monkeypatch.setattr("schedmgr.database.mysql.CONNECT_TIMEOUT", 1)
    with opened(server) as database:
        with database.read(), database.write() as session:
            session.execute(text("DELETE FROM setting"))
        server.freeze()
        try:
            yield database
        finally:
            server.thaw()


@pytest.mark.parametrize("ask", [changed_by, lambda database: write_row(database, "a")], ids=["reads", "writes"])
def test_a_server_that_is_frozen_holds_nobody_beyond_the_time_for_an_answer_and_for_a_connection(frozen, ask):
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        ask(frozen)
    assert time.monotonic() - began < 4


def test_a_server_that_freezes_within_a_transaction_holds_nobody_either(server, database, monkeypatch):
    monkeypatch.setattr("schedmgr.database.mysql.ANSWER_TIMEOUT", 1)
    monkeypatch.setattr("schedmgr.database.mysql.CONNECT_TIMEOUT", 1)
    began = time.monotonic()
    with opened(server) as impatient, pytest.raises(DatabaseUnavailable):
        impatient.transact(
            lambda session: [
                session.execute(insert(Setting).values(row("a"))),
                server.freeze(),
                session.execute(insert(Setting).values(row("b"))),
            ]
        )
    took = time.monotonic() - began
    server.thaw()
    assert took < 6
    wait_until(lambda: changed_by(database) == {}, "the server has let the transaction go")


def test_once_it_is_thawed_all_goes_on(server, frozen):
    with pytest.raises(DatabaseUnavailable):
        changed_by(frozen)
    server.thaw()
    write_row(frozen, "a")
    assert list(changed_by(frozen)) == ["a"]


def test_health_answers_in_time_whatever_the_server_does(server, database):
    write_row(database, "a")
    server.freeze()
    began = time.monotonic()
    verdict = health.check(database, within=1.0)
    took = time.monotonic() - began
    server.thaw()
    assert took < 2
    assert verdict.checks[0].sentence == "The database did not answer within 1 s."


def test_a_server_that_takes_no_changes_any_more_is_one_sentence_and_is_used_again_when_it_does(server, database):
    write_row(database, "a")
    server.query("SET GLOBAL read_only = 1")
    with pytest.raises(DatabaseUnavailable, match=r"is read-only: .* Let DATABASE_URL name the server that takes"):
        write_row(database, "b")
    assert list(changed_by(database)) == ["a"]
    server.query("SET GLOBAL read_only = 0")
    write_row(database, "c")
    assert sorted(changed_by(database)) == ["a", "c"]


def test_a_server_that_takes_no_changes_at_the_commit_keeps_nothing(server, database):
    with pytest.raises(DatabaseUnavailable, match="is read-only"):
        database.transact(
            lambda session: [
                session.execute(insert(Setting).values(row("a"))),
                server.query("SET GLOBAL read_only = 1"),
            ]
        )
    server.query("SET GLOBAL read_only = 0")
    assert changed_by(database) == {}


# A server that dies


class Named:
    """Work that writes one row for its name, and another one at each further try."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times = 0

    def __call__(self, session: Session) -> str:
        self._times += 1
        key = f"{self._name}/{self._times}"
        session.execute(insert(Setting).values(row(key)))
        session.leaves(select(Setting.key).where(Setting.key == key))
        return key


def test_a_server_that_is_killed_round_commits_keeps_what_it_acknowledged_and_nothing_is_doubled(
    server, database, in_threads
):
    moments = random.Random(20260302)
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                acknowledged.append(database.transact(Named(f"{writer}-{number}")))
            except DatabaseUnavailable:
                stop.wait(0.01)

    writers = in_threads(*(lambda writer=writer: write(writer) for writer in range(3)))
    for _ in range(12):
        enough = len(acknowledged) + 20
        wait_until(lambda enough=enough: len(acknowledged) >= enough, "rows were written")
        stop.wait(moments.uniform(0, 0.02))
        server.kill()
        server.start()
    stop.set()
    for writer in writers:
        writer.join(PATIENCE)
    kept = list(changed_by(database))
    assert set(acknowledged) <= set(kept)
    assert len({key.partition("/")[0] for key in kept}) == len(kept)
