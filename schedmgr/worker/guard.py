"""The guard: one small process beside each worker, through which every attempt is started.

For each attempt it forks a keeper (see `keeper`), which is ready in a millisecond and holds its own connection to the
worker.  What makes this safe against every kind of sudden death:

- The worker dies: each keeper sees its connection close and kills its attempt at once; so does the guard, which ends
  when its own connection has closed and nothing is left below it.
- A keeper dies: its orphans fall to the guard, a subreaper too, which kills them and then tells the worker so.
- The guard dies: the keepers go on alone; the worker starts another guard for its next attempts.

Only a SIGKILL to worker, guard and keepers together leaves anything running.  On macOS there are no subreapers: the
process groups of the attempts are killed, and what daemonised itself out of them is not.

It runs in a session of its own and ends by no signal but SIGKILL; its life is that of its connection.
"""

import os
import selectors
import signal
import socket
import struct
import time
import traceback
from collections.abc import Sequence
from typing import NoReturn

from schedmgr.resources import program_argv
from schedmgr.worker.descendants import adopt_orphans, descendants, signal_all
from schedmgr.worker.keeper import keep
from schedmgr.worker.signals import Wakeups
from schedmgr.worker.wire import Wire

SERIAL = struct.Struct("!I")  # to the guard, with three descriptors: start a keeper; from it: that keeper left nothing

_DESCRIPTORS = 3  # the keeper's end of its connection, standard output, standard error
_PATIENCE = 0.5  # seconds that keepers get to kill their attempts once the worker is gone
_PAUSE = 0.05  # seconds between two rounds of KILL


def guard_command(connection: int) -> list[str]:
    """The arguments that start a guard on the inherited socket `connection`."""
    return program_argv("guard", str(connection))


def main(arguments: Sequence[str]) -> None:
    """Be the guard of the worker at the other end of the inherited socket that the first argument numbers."""
    with socket.socket(fileno=int(arguments[0])) as worker:
        adopt_orphans()
        _Guard(worker).serve()


class _Guard:
    def __init__(self, worker: socket.socket) -> None:
        self.worker = worker
        self.wakeups = Wakeups()
        self.selector = selectors.DefaultSelector()
        self.selector.register(worker, selectors.EVENT_READ)
        self.selector.register(self.wakeups, selectors.EVENT_READ)
        self.keepers: dict[int, int] = {}  # process id -> serial
        self.bereft: list[int] = []  # serials of keepers that died, with orphans perhaps
        self.worker_gone_at: float | None = None

    def serve(self) -> None:
        while self.worker_gone_at is None or self.keepers or self.bereft:
            hurried = self.bereft or self.worker_gone_at is not None
            for key, _ in self.selector.select(_PAUSE if hurried else None):
                if key.fileobj is self.wakeups:
                    self.wakeups.clear()
                else:
                    self.hear_worker()
            self.collect_ended()
            self.kill_orphans()
            self.outlast_keepers()

    def hear_worker(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.worker, SERIAL.size, _DESCRIPTORS)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self.selector.unregister(self.worker)
            self.worker_gone_at = time.monotonic()
            return
        self.start_keeper(SERIAL.unpack(data)[0], descriptors)

    def start_keeper(self, serial: int, descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError:  # no process to be had: the worker sees the connection close
            traceback.print_exc()
            pid = -1
        if pid == 0:
            self.become_keeper(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self.keepers[pid] = serial
        else:
            self.report(serial)

    def become_keeper(self, connection: int, out: int, err: int) -> NoReturn:
        status = 1
        try:
            self.worker.close()  # or a worker's death would not show on it
            keep(Wire(socket.socket(fileno=connection)), out, err)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def collect_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            serial = self.keepers.pop(pid, None)
            if serial is not None and status != 0:
                self.bereft.append(serial)

    def kill_orphans(self) -> None:
        if not self.bereft:
            return
        if orphans := descendants(os.getpid(), without=self.keepers):
            signal_all(orphans, signal.SIGKILL)
            return
        for serial in self.bereft:
            self.report(serial)
        self.bereft.clear()

    def outlast_keepers(self) -> None:
        """A keeper that hangs (stopped, say) when the worker is gone must not save its attempt."""
        if self.worker_gone_at is not None and time.monotonic() > self.worker_gone_at + _PATIENCE:
            for pid in self.keepers:
                os.kill(pid, signal.SIGKILL)

    def report(self, serial: int) -> None:
        try:
            self.worker.sendall(SERIAL.pack(serial))
        except OSError:
            return  # nobody is left to be told
