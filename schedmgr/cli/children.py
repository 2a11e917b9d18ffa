"""Programs that run side by side in one terminal and stop together."""

import contextlib
import selectors
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

from schedmgr import clock

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HURRY_AFTER = 1.0  # seconds; one Ctrl-C may reach us twice, by the terminal and by whoever started us


class Children:
    """Child processes by name.  Made in the main thread, as it takes over the signals that stop a program.

    From then on such a signal only wakes `wait`: nothing is interrupted halfway.
    """

    def __init__(self, command_lines: Mapping[str, Sequence[str]]) -> None:
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._asked_at: list[float] = []
        for number in STOP_SIGNALS:
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGCHLD, _only_wake)
        self._processes = {name: subprocess.Popen(argv) for name, argv in command_lines.items()}

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether a signal to stop has come."""
        return bool(self._asked_at)

    def ended(self) -> dict[str, int]:
        """The exit codes of those that have ended."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def wait(self, seconds: float | None = None) -> None:
        """Until a signal comes, a child ends, or the time has passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def stop(self, patience: float) -> None:
        """Ask all to stop, wait up to `patience` seconds for their end, and kill what is left."""
        deadline = clock.monotonic() + patience
        self._terminate()
        while (left := deadline - clock.monotonic()) > 0 and len(self.ended()) < len(self._processes):
            self.wait(left)
            if self._is_hurried():
                self._terminate()
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _is_hurried(self) -> bool:
        """Whether another signal came well after the first; it is used up by that."""
        if len(self._asked_at) < 2 or self._asked_at[-1] - self._asked_at[0] < HURRY_AFTER:
            return False
        del self._asked_at[1:]
        return True

    def _terminate(self) -> None:
        for process in self._processes.values():
            process.terminate()

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self._asked_at.append(clock.monotonic())


def _only_wake(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has done all there is to do."""
