"""Runs attempts: hands each to a keeper of the guard process, reads its output and learns of its end.

One thread reads all connections and pipes, and never waits for anything else, so that no job waits for another's
slow sink.  Each attempt has a thread of its own that writes its output to its sink and then tells its end.
"""

import contextlib
import itertools
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from schedmgr.worker import outcomes
from schedmgr.worker.descendants import SEES_DESCENDANTS, signal_group
from schedmgr.worker.guard_process import GuardProcess
from schedmgr.worker.keeper import Cause, Order
from schedmgr.worker.outcomes import Outcome
from schedmgr.worker.output import Capture, OutputSink, Stream
from schedmgr.worker.wire import Message, Wire

KILL_GRACE = 10.0  # seconds from TERM to KILL
PATIENCE = 10.0  # seconds; a guard that has not answered by then hangs, and is replaced

_READ_BYTES = 65_536
_LAST_READS = 64  # of a pipe whose attempt is over, but which something outside of it still holds
_TRIES = 3
_AFTER_BUG = 0.1  # seconds; what caused it may still be there

log = logging.getLogger(__name__)

EndHandler = Callable[[Outcome], None]


class Stop(StrEnum):
    """Why an attempt is to end before its time."""

    CANCEL = Cause.CANCEL.value
    SHUTDOWN = Cause.SHUTDOWN.value


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """What to run, and how long it may."""

    run_id: int
    attempt: int
    command: tuple[str, ...] | str  # a string is run by /bin/sh
    env: Mapping[str, str]  # the whole of it, see `environment.command_environment`
    cwd: str | None  # relative to the worker's; None: the worker's
    timeout: float | None  # seconds
    deadline: float  # the lease's end in `keeper.boot_seconds()`: all of it is killed then unless renewed
    kill_grace: float = KILL_GRACE  # seconds from TERM to KILL after a timeout

    def order(self) -> Order:
        """As the keeper takes it."""
        command = self.command if isinstance(self.command, str) else list(self.command)
        directory = str(Path(self.cwd or ".").absolute())
        return Order(command, dict(self.env), directory, self.timeout, self.deadline, self.kill_grace)


class Execution:
    """One attempt under way.  Its methods may be called from any thread, and do nothing once it is over."""

    def __init__(self, spec: AttemptSpec, wire: Wire | None, sink: OutputSink, on_end: EndHandler) -> None:
        self.spec = spec
        self.pid: int | None = None  # of its first process, once that has started
        self.capture = Capture(sink, run_id=spec.run_id)
        self._wire = wire
        self._on_end = on_end
        self._outcome: Outcome | None = None
        self._over = threading.Event()
        threading.Thread(target=self._write_out, name=f"run-{spec.run_id}", daemon=True).start()

    def stop(self, why: Stop, *, grace: float = KILL_GRACE) -> None:
        """TERM to all of it now, KILL `grace` seconds later.  Asked again, only the KILL may come sooner."""
        self._tell({"stop": why, "grace": grace})

    def renew(self, deadline: float) -> None:
        """The lease now ends at `deadline`, in `keeper.boot_seconds()`."""
        self._tell({"deadline": deadline})

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """The end, once its output is stored and the end-handler has returned.  None: not within `timeout` seconds."""
        return self._outcome if self._over.wait(timeout) else None

    def end(self, outcome: Outcome) -> None:
        """All output is captured and nothing of it runs any more; for the guard's side alone."""
        self._outcome = outcome
        self.capture.close()

    def _tell(self, message: Message) -> None:
        if self._wire is not None:
            self._wire.send(message)

    def _write_out(self) -> None:
        self.capture.write_out()
        try:
            if self._outcome is not None:
                self._on_end(self._outcome)
        except Exception:
            log.exception("end not recorded run=%d attempt=%d", self.spec.run_id, self.spec.attempt)
        finally:
            self._over.set()


@dataclass(slots=True, eq=False)
class _Keeper:
    """The worker's ends of what a keeper holds."""

    guard: GuardProcess
    serial: int
    wire: Wire
    pipes: dict[Stream, int]

    def close(self) -> None:
        self.wire.close()
        for pipe in self.pipes.values():
            os.close(pipe)


@dataclass(slots=True, eq=False)
class _Channel:
    """A running attempt as the thread sees it."""

    keeper: _Keeper
    order: Order
    execution: Execution
    vanished_at: float | None = None  # monotonic; when its keeper did, until the guard says that nothing is left

    @property
    def guard(self) -> GuardProcess:
        return self.keeper.guard

    @property
    def wire(self) -> Wire:
        return self.keeper.wire

    @property
    def pipes(self) -> dict[Stream, int]:
        return self.keeper.pipes


class Guard:
    """Starts attempts through a guard process, and starts that when there is none, or no longer."""

    def __init__(self, *, now: Callable[[], datetime], patience: float = PATIENCE) -> None:
        self._now = now
        self._patience = patience
        self._serials = itertools.count(1)
        self._starting = threading.Lock()
        self._process: GuardProcess | None = None
        self._channels: set[_Channel] = set()
        self._selector = selectors.DefaultSelector()
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, self._do_requests)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="attempts", daemon=True)

    def start(self) -> Self:
        """Start the thread, and a guard process before the first attempt needs one."""
        self._thread.start()
        with self._starting:
            self._living_process()
        return self

    def run(self, spec: AttemptSpec, sink: OutputSink, on_end: EndHandler) -> Execution:
        """Start an attempt.  Its output goes to `sink`; `on_end` is called once, after the last of it.

        Both are called in a thread of the attempt's own.  What prevents the start is an outcome, never an exception.
        """
        try:
            order = spec.order()
            keeper = self._find_keeper()
        except OSError as error:
            execution = Execution(spec, None, sink, on_end)
            execution.end(outcomes.vanished(f"the worker could not start it: {error}"))
            return execution
        execution = Execution(spec, keeper.wire, sink, on_end)
        self._request(lambda: self._watch(_Channel(keeper, order, execution)))
        keeper.wire.send(order.message())
        return execution

    def close(self) -> None:
        """Kill what still runs, hear of its end, and let the guard process go.  Nothing may be run afterwards.

        Output and ends may still be on their way to their sinks and handlers: `Execution.wait` tells.
        """
        self._request(self._begin_to_close)
        self._thread.join(self._patience)
        if self._process is not None:
            self._process.end()  # which kills keepers that hang, and what they kept

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_keeper(self) -> "_Keeper":
        """One that is ready for an order.  A guard that dies or hangs meanwhile has started nothing: ask another."""
        for _ in range(_TRIES):
            keeper = self._fork_keeper()
            if keeper.wire.receive() is not None:
                return keeper
            keeper.close()
            keeper.guard.kill()
        raise ChildProcessError(f"no guard process answered, {_TRIES} were tried")

    def _fork_keeper(self) -> "_Keeper":
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as on_failure:
            ours, connection = socket.socketpair()
            theirs.callback(connection.close)
            on_failure.callback(ours.close)
            out, out_end = _pipe(theirs, on_failure)
            err, err_end = _pipe(theirs, on_failure)
            with self._starting:
                serial = next(self._serials)
                guard = self._living_process()
                guard.start_keeper(serial, [connection.fileno(), out_end, err_end])
            on_failure.pop_all()
            return _Keeper(guard, serial, Wire(ours, patience=self._patience), {"out": out, "err": err})

    def _living_process(self) -> GuardProcess:
        if self._process is None or self._process.is_dead:
            guard = self._process = GuardProcess()
            self._request(lambda: self._register(guard.connection, lambda: self._hear_guard(guard)))
        return self._process

    # Everything below is the thread's.

    def _request(self, call: Callable[[], None]) -> None:
        self._requests.put(call)
        self._waker.send(b"!")

    def _do_requests(self) -> None:
        self._woken.recv(_READ_BYTES)
        while not self._requests.empty():
            self._guarded(self._requests.get())

    def _serve(self) -> None:
        with self._selector, self._woken, self._waker:
            while not (self._closing and not self._channels):
                for key, _ in self._selector.select(1.0 if self._vanished() else None):
                    self._guarded(key.data)
                self._kill_hanging_guards()

    def _guarded(self, handler: Callable[[], object]) -> None:
        """Whatever one handler meets, the other attempts go on."""
        try:
            handler()
        except Exception:
            log.exception("attempt not handled")
            time.sleep(_AFTER_BUG)

    def _register(self, source: "socket.socket | Wire | int", handler: Callable[[], object]) -> None:
        self._selector.register(source, selectors.EVENT_READ, handler)

    def _begin_to_close(self) -> None:
        self._closing = True
        for channel in self._channels:
            channel.execution.stop(Stop.SHUTDOWN, grace=0)

    def _watch(self, channel: _Channel) -> None:
        self._channels.add(channel)
        self._register(channel.wire, lambda: self._hear_keeper(channel))
        for stream in channel.pipes:
            self._watch_pipe(channel, stream)

    def _watch_pipe(self, channel: _Channel, stream: Stream) -> None:
        self._register(channel.pipes[stream], lambda: self._read(channel, stream))

    def _read(self, channel: _Channel, stream: Stream) -> bool:
        """One read, so that every attempt has its turn.  False: there is nothing (more) to read."""
        if (pipe := channel.pipes.get(stream)) is None:
            return False
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            channel.execution.capture.feed(stream, data, self._now())
            return True
        self._close_pipe(channel, stream)
        return False

    def _close_pipe(self, channel: _Channel, stream: Stream) -> None:
        pipe = channel.pipes.pop(stream)
        self._selector.unregister(pipe)
        os.close(pipe)

    def _hear_keeper(self, channel: _Channel) -> None:
        if channel not in self._channels:  # it ended in the same round
            return
        messages = channel.wire.receive()
        for message in messages or ():
            if "started" in message:
                channel.execution.pid = message["started"]
            else:
                self._end(channel, _outcome(channel.order, message))
                return
        if messages is None:
            self._keeper_vanished(channel)

    def _keeper_vanished(self, channel: _Channel) -> None:
        self._selector.unregister(channel.wire)
        channel.wire.close()
        channel.vanished_at = time.monotonic()
        if channel.guard.is_dead or channel.keeper.serial in channel.guard.cleared:
            self._lose(channel)

    def _hear_guard(self, guard: GuardProcess) -> None:
        serials = guard.receive()
        if serials is None:
            self._selector.unregister(guard.connection)
            guard.end()
            log.warning("guard process ended guard=%d", guard.pid)
        for channel in self._vanished():
            if channel.guard is guard and (serials is None or channel.keeper.serial in serials):
                self._lose(channel)

    def _lose(self, channel: _Channel) -> None:
        nobody_else_kills_it = channel.guard.is_dead or not SEES_DESCENDANTS
        if nobody_else_kills_it and channel.execution.pid is not None:
            signal_group(channel.execution.pid, signal.SIGKILL)
        self._end(channel, outcomes.vanished("its keeper, the process that watched over it, was killed"))

    def _end(self, channel: _Channel, outcome: Outcome) -> None:
        for stream in list(channel.pipes):
            for _ in range(_LAST_READS):
                if not self._read(channel, stream):
                    break
            if stream in channel.pipes:
                self._close_pipe(channel, stream)
        if channel.vanished_at is None:
            self._selector.unregister(channel.wire)
            channel.wire.close()
        self._channels.discard(channel)
        channel.guard.cleared.discard(channel.keeper.serial)
        channel.execution.end(outcome)

    def _vanished(self) -> list[_Channel]:
        return [channel for channel in self._channels if channel.vanished_at is not None]

    def _kill_hanging_guards(self) -> None:
        """One that does not clear up after a keeper: without it we do."""
        for channel in self._vanished():
            if channel.vanished_at is not None and time.monotonic() - channel.vanished_at > self._patience:
                channel.guard.kill()


def _pipe(theirs: contextlib.ExitStack, on_failure: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe's end that we read without ever waiting, and the end for the attempt."""
    ours, their_end = os.pipe()
    on_failure.callback(os.close, ours)
    theirs.callback(os.close, their_end)
    os.set_blocking(ours, False)
    return ours, their_end


def _outcome(order: Order, message: Message) -> Outcome:
    if "refused" in message:
        return outcomes.refused(order, message["refused"], message["text"])
    cause = message["cause"]
    return outcomes.ended(order, message["ended"], None if cause is None else Cause(cause))
