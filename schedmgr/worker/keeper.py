"""The keeper of one attempt: a process between the guard and the job, and the job's only way out.

It starts the attempt's first process (the *leader*), adopts whatever that one daemonises, and ends only when all of
it has ended.  Being the subreaper of this one attempt alone is how a daemonised grandchild is known to belong to it:
the kernel says so, whatever the job does to its environment, parents or sessions.  Its connection to the worker is
the attempt's lifeline: when that closes, everything is killed at once.

Messages to the worker: `{"ready": pid}`; upon the order `{"started": pid}` or `{"refused": errno, "text": why}`; at
the end `{"ended": exit status, "cause": ...}`.  Messages from it: the order, once it has heard that the keeper is
ready, so that an order is never given twice; then `{"stop": cause, "grace": seconds}` and `{"deadline": boot seconds}`.
"""

import math
import os
import selectors
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from enum import StrEnum

from schedmgr.worker.descendants import (
    SEES_DESCENDANTS,
    adopt_orphans,
    descendants,
    group_lives,
    signal_all,
    signal_group,
)
from schedmgr.worker.signals import Wakeups
from schedmgr.worker.wire import Message, Wire

LINGER = 0.5  # seconds that what the leader left behind gets to end by itself: `sort > >(tee log)` is no daemon
LOOK = 0.5  # seconds at most between two looks at the deadline: a wait does not count the time of a suspended host

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between two rounds of KILL


class Cause(StrEnum):
    """Why a leader was told to end.  None of these: it ended by itself."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Order:
    """What a keeper is to run.  `deadline`: seconds of `boot_seconds()`; `timeout`: seconds, None for no limit."""

    command: str | list[str]  # a string is run by /bin/sh
    env: dict[str, str]
    cwd: str
    timeout: float | None
    deadline: float
    kill_grace: float  # seconds from TERM to KILL after the timeout

    def message(self) -> Message:
        """As it goes over the wire."""
        return asdict(self)


def boot_seconds() -> float:
    """Seconds since the host started, those of a suspended host included; the same in every process of it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def keep(worker: Wire, out: int, err: int) -> None:
    """Run the attempt that the worker orders, its output going to the descriptors `out` and `err`, which are closed.

    Returns when nothing of the attempt is left.
    """
    adopt_orphans()
    wakeups = Wakeups()
    worker.send({"ready": os.getpid()})
    messages = worker.receive()
    while messages == []:  # a large environment comes in pieces
        messages = worker.receive()
    if messages is None:
        return
    order = Order(**messages.pop(0))
    if boot_seconds() >= order.deadline:  # the host slept meanwhile: another worker may have this run by now
        worker.send({"ended": None, "cause": Cause.LEASE})
        return
    try:
        leader = _start(order, out, err)
    except (OSError, ValueError) as error:
        worker.send({"refused": getattr(error, "errno", None), "text": getattr(error, "strerror", None) or str(error)})
        return
    os.close(out)
    os.close(err)
    worker.send({"started": leader.pid})
    _Attempt(worker, order, leader, wakeups).see_through(messages)


def _start(order: Order, out: int, err: int) -> subprocess.Popen[bytes]:
    shell = isinstance(order.command, str)
    return subprocess.Popen(
        order.command,
        shell=shell,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        cwd=order.cwd,
        env=order.env,
        start_new_session=True,
    )


class _Attempt:
    def __init__(self, worker: Wire, order: Order, leader: subprocess.Popen[bytes], wakeups: Wakeups) -> None:
        self.worker = worker
        self.leader = leader
        self.wakeups = wakeups
        self.selector = selectors.DefaultSelector()
        self.selector.register(worker, selectors.EVENT_READ)
        self.selector.register(wakeups, selectors.EVENT_READ)
        self.deadline = order.deadline
        self.timeout_at = math.inf if order.timeout is None else time.monotonic() + order.timeout
        self.kill_grace = order.kill_grace
        self.kill_at = math.inf
        self.kill_pause = _FIRST_PAUSE
        self.cause: Cause | None = None

    def see_through(self, messages: list[Message]) -> None:
        self.obey(messages)
        while self.anything_lives():
            self.obey(self.next_messages())
            self.enforce_limits()
        self.worker.send({"ended": self.leader.returncode, "cause": self.cause})

    def anything_lives(self) -> bool:
        """Collect whatever has ended.  As a subreaper without children we have no descendants either."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return not SEES_DESCENDANTS and group_lives(self.leader.pid)
            if pid == 0:
                return True
            if pid == self.leader.pid:
                self.leader_ended(os.waitstatus_to_exitcode(status))

    def leader_ended(self, status: int) -> None:
        self.leader.returncode = status  # Popen must not wait for it again
        self.timeout_at = math.inf
        self.kill_at = min(self.kill_at, time.monotonic() + LINGER) if self.cause is None else self.kill_at

    def next_messages(self) -> list[Message]:
        messages: list[Message] = []
        now = time.monotonic()
        wait = max(0.0, min(LOOK, self.timeout_at - now, self.kill_at - now))
        for key, _ in self.selector.select(wait):
            if key.fileobj is self.wakeups:
                self.wakeups.clear()
            elif (received := self.worker.receive()) is None:
                self.worker_is_gone()
            else:
                messages += received
        return messages

    def worker_is_gone(self) -> None:
        self.selector.unregister(self.worker)
        self.kill_at = time.monotonic()

    def obey(self, messages: list[Message]) -> None:
        for message in messages:
            if "stop" in message:
                self.stop(Cause(message["stop"]), grace=message["grace"])
            if "deadline" in message:
                self.deadline = message["deadline"]

    def stop(self, cause: Cause, *, grace: float) -> None:
        """TERM now and KILL `grace` seconds later, to all of it.  Asked again, only the KILL may come sooner."""
        if self.leader.returncode is None and self.cause is None:
            self.cause = cause
            self.signal(signal.SIGTERM)
        self.kill_at = min(self.kill_at, time.monotonic() + grace)

    def enforce_limits(self) -> None:
        if boot_seconds() >= self.deadline:
            self.deadline = math.inf
            self.stop(Cause.LEASE, grace=0)
        if time.monotonic() >= self.timeout_at:
            self.timeout_at = math.inf
            self.stop(Cause.TIMEOUT, grace=self.kill_grace)
        if time.monotonic() >= self.kill_at:
            self.signal(signal.SIGKILL)
            self.kill_at = time.monotonic() + self.kill_pause
            self.kill_pause = min(2 * self.kill_pause, _LONGEST_PAUSE)

    def signal(self, number: signal.Signals) -> None:
        if SEES_DESCENDANTS:
            signal_all(descendants(os.getpid()), number)
        else:
            signal_group(self.leader.pid, number)
