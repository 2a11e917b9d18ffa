"""The worker's end of one guard process."""

import contextlib
import socket
import subprocess

from schedmgr.worker.guard import SERIAL, guard_command

_SEND_SECONDS = 5.0
_END_SECONDS = 5.0


class GuardProcess:
    """A guard process from its start to its end, and the connection that is its lifeline."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                guard_command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.connection.settimeout(_SEND_SECONDS)
        self.pid = self._process.pid
        self.is_dead = False
        self.cleared: set[int] = set()  # serials of keepers that were killed and of whose attempts nothing is left

    def start_keeper(self, serial: int, descriptors: list[int]) -> None:
        """Have it fork a keeper that holds these.  If it is dead or hangs nothing comes of it."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            socket.send_fds(self.connection, [SERIAL.pack(serial)], descriptors)

    def receive(self) -> set[int] | None:
        """Serials newly `cleared`.  None: it is dead."""
        try:
            data = self.connection.recv(1024 * SERIAL.size)
        except ConnectionError:
            data = b""
        if not data:
            return None
        serials = {serial for (serial,) in SERIAL.iter_unpack(data)}
        self.cleared |= serials
        return serials

    def kill(self) -> None:
        """End it though it hangs.  Attempts under way go on, each under its keeper."""
        self.is_dead = True
        self._process.kill()

    def end(self) -> None:
        """Hang up, upon which it kills what is left below it, and see it gone."""
        self.is_dead = True
        self.connection.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
