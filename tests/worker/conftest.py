"""Attempts with real processes, and a sink that keeps rows as a database would."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedmgr.worker.keeper import boot_seconds
from schedmgr.worker.outcomes import Outcome
from schedmgr.worker.output import Capture, Chunk, Flush, Stream
from schedmgr.worker.process import AttemptSpec, Execution, Guard

PATIENCE = 30.0  # seconds; no test waits that long unless something is broken


@dataclass
class Rows:
    """A sink that stores chunks by their number."""

    chunks: dict[int, Chunk] = field(default_factory=dict)
    total_bytes: int = 0
    left_out_bytes: int = 0
    most_text: int = 0  # bytes of text stored at any moment

    def write(self, flush: Flush) -> None:
        self.chunks |= {chunk.seq: chunk for chunk in flush.chunks}
        for seq in flush.dropped:
            del self.chunks[seq]
        self.total_bytes, self.left_out_bytes = flush.total_bytes, flush.left_out_bytes
        self.most_text = max(self.most_text, len(self.text.encode()))

    @property
    def kept_bytes(self) -> int:
        return sum(chunk.byte_count for chunk in self.chunks.values())

    @property
    def text(self) -> str:
        return "".join(segment.text for chunk in self._in_order() for segment in chunk.segments)

    @property
    def streams(self) -> list[tuple[str, str]]:
        return [(segment.stream, segment.text) for chunk in self._in_order() for segment in chunk.segments]

    def _in_order(self) -> list[Chunk]:
        return [self.chunks[seq] for seq in sorted(self.chunks)]


@dataclass
class Started:
    """An attempt under way, with what it printed so far."""

    execution: Execution
    rows: Rows
    ends: list[Outcome]

    @property
    def outcome(self) -> Outcome:
        outcome = self.execution.wait(PATIENCE)
        assert outcome is not None, "the attempt has not ended"
        return outcome

    @property
    def text(self) -> str:
        return self.rows.text

    def says(self, text: str) -> bool:
        """It has printed that, and its process id is known: the word of its start may come after its first output."""
        return text in self.text and self.execution.pid is not None


Start = Callable[..., Started]
Read = tuple[Stream, bytes, datetime]


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def captured() -> Callable[..., Rows]:
    """What is stored of these reads."""

    def capture_all(*reads: Read) -> Rows:
        rows = Rows()
        capture = Capture(rows, run_id=7, spacing=0)
        for stream, data, at in reads:
            capture.feed(stream, data, at)
        capture.close()
        capture.write_out()
        return rows

    return capture_all


@pytest.fixture
def flushed() -> Callable[..., list[Flush]]:
    """The flushes that come of these reads: one for each list of them."""

    def flush_each(*rounds: list[tuple[Stream, bytes]]) -> list[Flush]:
        sink = Feeding(list(rounds))
        sink.feed_next()
        sink.capture.write_out()
        return sink.flushes

    return flush_each


class Feeding:
    """A sink that has more printed whenever it is written to."""

    def __init__(self, rounds: list[list[tuple[Stream, bytes]]]) -> None:
        self.capture = Capture(self, run_id=7, spacing=0)
        self.flushes: list[Flush] = []
        self._rounds = rounds

    def write(self, flush: Flush) -> None:
        self.flushes.append(flush)
        self.feed_next()

    def feed_next(self) -> None:
        if not self._rounds:
            self.capture.close()
            return
        for stream, data in self._rounds.pop(0):
            self.capture.feed(stream, data, datetime(2026, 3, 1, 2, 0, tzinfo=UTC))


def spec(
    command: tuple[str, ...] | str,
    *,
    env: dict[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout: float | None = None,
    lease: float = 60,
    kill_grace: float = 10,
) -> AttemptSpec:
    """An attempt whose deadline is `lease` seconds away."""
    environment = dict(os.environ) if env is None else env
    directory = None if cwd is None else str(cwd)
    return AttemptSpec(7, 1, command, environment, directory, timeout, boot_seconds() + lease, kill_grace)


def starter(guard: Guard) -> Start:
    def start(command: tuple[str, ...] | str, *, sink: Rows | None = None, **facts: object) -> Started:
        rows = Rows() if sink is None else sink
        ends: list[Outcome] = []
        return Started(guard.run(spec(command, **facts), rows, ends.append), rows, ends)  # type: ignore[arg-type]

    return start


@pytest.fixture(scope="package")
def shared_guard() -> Iterator[Guard]:
    with Guard(now=lambda: datetime.now(UTC)) as guard:
        yield guard


@pytest.fixture
def start(shared_guard: Guard) -> Start:
    """Start an attempt."""
    return starter(shared_guard)


@pytest.fixture
def start_with() -> Callable[..., Started]:
    """Start an attempt with a guard of the test's own."""

    def start(guard: Guard, command: tuple[str, ...] | str, **facts: object) -> Started:
        return starter(guard)(command, **facts)

    return start


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard of the test's own, to be hurt."""
    with Guard(now=lambda: datetime.now(UTC), patience=1.0) as guard:
        yield guard


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition."""

    def wait(condition: Callable[[], object], *, within: float = PATIENCE) -> None:
        limit = time.monotonic() + within
        while not condition():
            assert time.monotonic() < limit, "it did not come true"
            threading.Event().wait(0.01)

    return wait


@pytest.fixture
def daemonising(tmp_path: Path) -> "Daemonising":
    return Daemonising(tmp_path)


class Daemonising:
    """A command that leaves a daemon behind: forked twice, in a session of its own, its environment emptied."""

    def __init__(self, directory: Path) -> None:
        self._pid_file = directory / "daemon.pid"
        self._script = directory / "daemonise.py"
        self._script.write_text(_DAEMONISE)

    def command(self, *, then: str) -> tuple[str, ...]:
        """Daemonise, then go on as `then`: a shell command."""
        python, script, pid_file = sys.executable, self._script, self._pid_file
        return ("sh", "-c", f"{python} -I -S {script} {pid_file} && {then}")

    @property
    def pid(self) -> int:
        """Of the daemon, which ran from before `then` on."""
        return int(self._pid_file.read_text())

    @property
    def has_started(self) -> bool:
        return self._pid_file.exists()


_DAEMONISE = """
import os, sys
read, write = os.pipe()
if os.fork():
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
os.close(read)
os.close(write)
os.execve("/bin/sleep", ["sleep", "1000"], {})
"""


@pytest.fixture
def lives() -> Callable[[int], bool]:
    """Whether a process runs, a zombie excepted."""
    return is_alive


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
