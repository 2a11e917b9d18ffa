"""Signals in the guard and its keepers: a child's end wakes their loops, everything else is for the jobs."""

import contextlib
import signal
import socket
from types import FrameType


class Wakeups:
    """Becomes readable whenever a signal arrived, a child's end above all.

    No signal is ignored: what is ignored stays so in a job's process, what has a handler is put back to its default.
    So a Ctrl-C, a TERM or a hang-up to the guard does nothing to it, and a job still feels its own.
    """

    def __init__(self) -> None:
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _OURS:
            signal.signal(number, _do_nothing)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the worker's thread may have blocked some

    def fileno(self) -> int:
        """For a selector."""
        return self._woken.fileno()

    def clear(self) -> None:
        """Forget what arrived so far."""
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass


_OURS = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGPIPE,
)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Keep the signal from ending us."""
