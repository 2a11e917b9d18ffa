"""Private MariaDB servers, for tests and for the torture: nothing here touches a server of the system.

A server lives in a folder of its own and listens on 127.0.0.1 alone.  It dies with the process that started it.
"""

import ctypes
import fcntl
import functools
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"
BESIDE_THE_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin")
PATIENCE = 60.0  # seconds for a start or a stop; a loaded machine takes a few
SOCKET_PATH_LIMIT = 90  # bytes; the systems allow 103 or 107

MISSING = (
    "MariaDB is not installed, so what needs it is left out; "
    "get it with: apt-get install mariadb-server galera-4 rsync (macOS: brew install mariadb)"
)

SMALL = ("--innodb-log-file-size=32M", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF", "--skip-log-bin")
# Nothing is flushed: a killed server keeps what it wrote, a machine that loses power does not.
FAST = ("--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite", "--innodb-flush-method=nosync")
DURABLE = ("--innodb-flush-log-at-trx-commit=1",)

UNKNOWN_THREAD = 1094


class NotInstalled(Exception):
    """There is no MariaDB on this machine."""


class DidNotStart(Exception):
    """The server ended, or did not answer in time; its log says why."""


def program(name: str) -> str | None:
    """Where a program of MariaDB lies; Debian keeps the server off an ordinary user's PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *BESIDE_THE_PATH)))


def installed() -> bool:
    """Whether servers can be made here."""
    return bool(program("mariadbd") and program("mariadb-install-db"))


def reason_to_skip() -> str | None:
    """Why tests that need MariaDB are left out; None where they have to run.

    CI may leave nothing out: there they run into `NotInstalled` instead.
    """
    return None if installed() or os.environ.get("CI") == "true" else MISSING


def version() -> str:
    """As in "10.11.19"."""
    said = subprocess.run([_server_program(), "--no-defaults", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"Ver (\d+\.\d+\.\d+)", said.stdout)
    return found.group(1) if found else "unknown"


class Server:
    """One `mariadbd` with root and no password.  It keeps its port and its rows over kills and restarts.

    As a context it is started, and gone afterwards with all that it held; its log stays.
    """

    def __init__(self, folder: Path, flags: Sequence[str], user: str | None = None) -> None:
        self.folder = folder
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None
        self._flags = tuple(flags)
        self._port = Port()
        self._short: Path | None = None

    @classmethod
    def make(cls, folder: Path, *, durable: bool = False) -> Self:
        """A new, empty server in that folder, not started yet.

        `durable`: it flushes at each commit, as one in production does; else it is several times as fast.
        Raises NotInstalled.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir()
        copy(template(), folder / "data")
        return cls(folder, DURABLE if durable else FAST)

    @property
    def port(self) -> int:
        """The same for all its lives."""
        return self._port.number

    @property
    def pid(self) -> int:
        """Of the server that runs, or ran last."""
        assert self.process is not None, "the server was never started"
        return self.process.pid

    @property
    def log(self) -> str:
        """All that it said, in all its lives."""
        file = self.folder / "server.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def url(self, database: str) -> str:
        """For DATABASE_URL."""
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    # Its life

    def start(self, *more: str) -> Self:
        """Start it and wait until it answers.  `more`: flags for this life alone."""
        self.launch(*more)
        self._wait_until(self.answers, "answer")
        return self

    def launch(self, *more: str) -> None:
        """Start it, and leave the waiting to the caller."""
        with (self.folder / "server.out").open("ab") as out:
            self.process = subprocess.Popen(
                self._command(more),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                start_new_session=True,  # Ctrl-C is for the tests, which stop it in their own order
                preexec_fn=_die_with_the_starter,
            )

    def answers(self) -> bool:
        """Whether it takes a connection now."""
        with suppress(pymysql.err.MySQLError, OSError):
            self.query("SELECT 1", timeout=2)
            return True
        return False

    def stop(self) -> None:
        """A clean shutdown."""
        if not self.is_running():
            return
        self.process.send_signal(signal.SIGTERM)
        self.thaw()
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL: it ends at once, frozen or not, in the middle of whatever it did."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def restart(self) -> Self:
        """Stop it if it runs, and start it again."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and nothing answers on them."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """True for a frozen one too."""
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        """End it, and give back its disk space and its port."""
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
        self._port.give_back()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # What it holds

    def create(self, database: str) -> str:
        """Make an empty database; gives its URL."""
        self.query(f"CREATE DATABASE `{database}`")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database with all that is in it, if there is one."""
        self.query(f"DROP DATABASE IF EXISTS `{database}`")

    def query(self, sql: str, *values: Any, database: str | None = None, timeout: float = PATIENCE) -> list[tuple]:
        """The rows of one statement, on a connection of its own; what it changes is committed."""
        with self._connection(database, timeout) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def kill_connections(self, database: str) -> int:
        """Cut each connection to that database; gives how many there were."""
        with self._connection(None, PATIENCE) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database,))
            return sum(_cut(cursor, id) for (id,) in cursor.fetchall())

    @contextmanager
    def _connection(self, database: str | None, timeout: float) -> Iterator[pymysql.Connection]:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=database,
            autocommit=True,
            ssl_disabled=True,  # saves 16 ms a connection
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
        )
        try:
            yield connection
        finally:
            connection.close()

    def _command(self, more: Sequence[str]) -> list[str]:
        return [
            _server_program(),
            "--no-defaults",  # has to stand first
            *_as_root(self.user),
            f"--datadir={self.folder}/data",
            f"--tmpdir={self.folder}/tmp",
            f"--socket={self._socket()}",
            f"--pid-file={self.folder}/data/server.pid",
            f"--log-error={self.folder}/server.log",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",  # and its collation is what Debian's servers have
            *SMALL,
            *self._flags,
            *more,
        ]

    def _socket(self) -> Path:
        """A socket's path must be short, and a test's folder seldom is."""
        if len(bytes(self.folder)) + len("/s") <= SOCKET_PATH_LIMIT:
            return self.folder / "s"
        if self._short is None:
            self._short = Path(tempfile.mkdtemp(prefix="db-"))
            if self.user is not None:
                shutil.chown(self._short, self.user)
        return self._short / "s"

    def _wait_until(self, condition: Any, what: str) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            if not self.is_running():
                raise DidNotStart(f"{self.folder}: the server ended before it could {what}:\n{self.log[-3000:]}")
            if time.monotonic() > limit:
                raise DidNotStart(f"{self.folder}: the server did not {what} in {PATIENCE:.0f} s:\n{self.log[-3000:]}")
            time.sleep(0.03)


class Port:
    """A free port, held for one server over all its lives."""

    def __init__(self) -> None:
        self._hold = socket.socket()
        self._hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._hold.bind(("127.0.0.1", 0))
        self.number: int = self._hold.getsockname()[1]
        # On Linux a server may listen on a port that another socket is only bound to, while no outgoing connection is
        # given it: so it cannot be taken while the server is down.  Elsewhere the server could not listen.
        if sys.platform != "linux":
            self._hold.close()

    def give_back(self) -> None:
        """Somebody else may have it."""
        self._hold.close()


def template() -> Path:
    """The files of a new server, made once for each user of this machine: making them takes seconds, a copy does not.

    Raises NotInstalled.
    """
    home = CACHE / f"mariadb-{version()}-{getpass.getuser()}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "template").exists():
            _initialise(home / "new")
            (home / "new").rename(home / "template")
    return home / "template"


def _initialise(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a run that was killed left
    subprocess.run(
        [
            program("mariadb-install-db") or "mariadb-install-db",
            "--no-defaults",
            *_as_root(None),
            f"--datadir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *SMALL,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@functools.cache
def _server_program() -> str:
    found = program("mariadbd")
    if found is None or not installed():
        raise NotInstalled(MISSING)
    return found


def _as_root(user: str | None) -> tuple[str, ...]:
    """The server runs as root only when it is told so twice."""
    return ("--user=root",) if user is None and os.geteuid() == 0 else ()


def _cut(cursor: Any, id: int) -> bool:
    try:
        cursor.execute("KILL CONNECTION %s", (id,))
    except pymysql.err.MySQLError as error:
        if error.args[0] != UNKNOWN_THREAD:  # it went by itself meanwhile
            raise
        return False
    return True


# Loaded here and not in the child, where after a fork little may be done.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_the_starter() -> None:
    """In the child: be killed when the thread that started it ends, however it ends.  Linux alone can do that."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
