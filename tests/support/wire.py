"""A wire to a MySQL or MariaDB server that can be cut just where it hurts: round a COMMIT.

It listens on a port of its own and passes on what comes, until it is told what is to become of a COMMIT.
"""

import socket
import threading
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

QUERY = b"\x03"  # the first byte of a packet that holds a statement, behind four of length and number
WRITES = (b"INSERT", b"UPDATE", b"DELETE")
PATIENCE = 30.0  # seconds


class Fate(Enum):
    """What becomes of a COMMIT.  The client sees the same of each: its connection is gone."""

    CARRIED_OUT = "the server carries it out, and its answer is lost"
    LOST = "it never reaches the server, which sees the connection go"
    LATE = "it reaches the server only when the wire lets it, long after the client saw its connection go"
    NEVER = "it never reaches the server, which does not see the connection go"


class Wire:
    """A port that leads to the server's port."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._fates: list[Fate] = []
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self.cuts = 0
        """How many COMMITs met their fate."""
        self.lets_late_ones_go = threading.Event()
        self.has_a_late_one = threading.Event()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def next_commits(self, *fates: Fate) -> None:
        """Of the next COMMITs of transactions that have written something."""
        with self._lock:
            self._fates.extend(fates)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.lets_late_ones_go.set()
        _cut(self._listener)
        for one in list(self._open):
            _cut(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += (client, server)
                answer_is_lost = threading.Event()
                for pump, parts in (
                    (self._up, (client, server, answer_is_lost)),
                    (self._down, (server, client, answer_is_lost)),
                ):
                    threading.Thread(target=pump, args=parts, daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, answer_is_lost: threading.Event) -> None:
        has_written = False
        with suppress(OSError):
            while data := client.recv(1 << 16):
                statement = data[5:] if data[4:5] == QUERY else b""
                has_written |= statement.startswith(WRITES)
                if statement == b"COMMIT":
                    fate = self._fate() if has_written else None
                    has_written = False
                    if fate is not None:
                        self._meet(fate, data, client, server, answer_is_lost)
                        return
                server.sendall(data)
        _cut(server)

    def _down(self, server: socket.socket, client: socket.socket, answer_is_lost: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if answer_is_lost.is_set():
                    break
                client.sendall(data)
        _cut(client)

    def _fate(self) -> Fate | None:
        with self._lock:
            return self._fates.pop(0) if self._fates else None

    def _meet(
        self, fate: Fate, commit: bytes, client: socket.socket, server: socket.socket, answer_is_lost: threading.Event
    ) -> None:
        self.cuts += 1
        if fate is Fate.CARRIED_OUT:
            answer_is_lost.set()
            server.sendall(commit)  # once its answer is there the other direction cuts the client off
            return
        if fate is Fate.LOST:
            _cut(server)
        _cut(client)
        if fate is Fate.LATE:
            self.has_a_late_one.set()
            self.lets_late_ones_go.wait(PATIENCE)
            server.sendall(commit)


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
