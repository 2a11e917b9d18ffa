"""The MariaDB servers that tests and the torture start for themselves can be killed, frozen and started again."""

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mariadb
import pymysql
import pytest


@pytest.fixture
def server(tmp_path: Path) -> Iterator[mariadb.Server]:
    """One that flushes at each commit, with a database `work` and in it an empty table `kept`."""
    if reason := mariadb.reason_to_skip():
        pytest.skip(reason)
    with mariadb.Server.make(tmp_path / "server", durable=True) as server:
        server.create("work")
        server.query("CREATE TABLE kept (id INT PRIMARY KEY)", database="work")
        yield server


def connect(server: mariadb.Server) -> pymysql.Connection:
    return pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="work", autocommit=True)


def test_a_killed_server_comes_back_on_its_port_with_all_that_it_acknowledged(server: mariadb.Server):
    port = server.port
    for id in range(20):
        server.query("INSERT INTO kept VALUES (%s)", id, database="work")

    server.kill()
    assert not server.answers()
    server.restart()

    assert server.port == port
    assert server.query("SELECT count(*) FROM kept", database="work") == [(20,)]


def test_a_server_keeps_its_rows_over_a_clean_restart(server: mariadb.Server):
    server.query("INSERT INTO kept VALUES (1)", database="work")
    before = server.pid
    server.restart()
    assert server.pid != before
    assert server.query("SELECT id FROM kept", database="work") == [(1,)]


def test_a_frozen_server_answers_nobody_until_it_is_thawed(server: mariadb.Server):
    connection = connect(server)
    answered = threading.Event()

    def ask() -> None:
        connection.cursor().execute("INSERT INTO kept VALUES (1)")
        answered.set()

    server.freeze()
    threading.Thread(target=ask, daemon=True).start()
    assert not answered.wait(0.5)

    server.thaw()
    assert answered.wait(30)


def test_killing_the_connections_of_a_database_leaves_those_of_others(server: mariadb.Server):
    server.create("other")
    cut = [connect(server), connect(server)]
    spared = pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="other")

    assert server.kill_connections("work") == 2

    for connection in cut:
        with pytest.raises(pymysql.err.OperationalError):
            connection.cursor().execute("SELECT 1")
    assert spared.cursor().execute("SELECT 1") == 1


def test_a_server_ends_with_the_process_that_started_it_even_if_that_is_killed(
    tmp_path: Path, until: Callable[..., Any], lives: Callable[[int], bool]
):
    if reason := mariadb.reason_to_skip():
        pytest.skip(reason)
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process with the one that started it")
    script = textwrap.dedent("""
        import sys, pathlib, mariadb
        server = mariadb.Server.make(pathlib.Path(sys.argv[1])).start()
        print(server.pid, flush=True)
        sys.stdin.read()
    """)
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "server")],
        env={"PYTHONPATH": str(Path(mariadb.__file__).parent), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    pid = int(starter.stdout.readline())
    assert lives(pid)

    starter.send_signal(signal.SIGKILL)
    starter.communicate()

    until(lambda: not lives(pid), "the server ends")
