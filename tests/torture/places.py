"""The processes of the site: started, watched, stopped."""

import ctypes
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torture.fastclock import FastClock
from torture.fleet import Fleet
from torture.journal import Journal, boot_seconds
from torture.store import Store

Given = TypeVar("Given")

OWN_SETTINGS = ("SCHED", "DATABASE_", "APP_ENV", "NODE_ENV", "LOG_", "HOST", "PORT", "JWT_", "PYTHONPATH")
ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 5
SHUTDOWN_GRACE = 3
STOP_PATIENCE = 60.0  # seconds from SIGTERM to the end, at most: the grace, the KILL after it, a database that is away
PASSWORD = "the storm will pass"

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_us() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Process:
    """One place in the site, and the process that has it now.  Who holds `lock` may do things to it."""

    name: str
    role: str
    command: tuple[str, ...]
    variables: dict[str, str]
    log: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    popen: subprocess.Popen[bytes] | None = None
    log_from: int = 0
    """Where the log of the present life begins."""
    is_wanted: bool = False
    """Whether it should be running: False between its kill and its restart."""

    @property
    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    @property
    def has_settled_in(self) -> bool:
        """Whether the present life has said that it started: before, a SIGTERM may meet a bare interpreter."""
        return f"{self.role} started " in self.life()

    def life(self) -> str:
        """What the present life has logged."""
        with self.log.open(errors="replace") as log:
            log.seek(self.log_from)
            return log.read()

    def signal(self, number: signal.Signals) -> None:
        if self.popen is not None:
            with suppress(ProcessLookupError):
                self.popen.send_signal(number)

    @property
    def pid(self) -> int:
        """Of the present life, or of the last one."""
        assert self.popen is not None
        return self.popen.pid


class Site:
    """A folder with definitions, a database, a clock, and processes on them."""

    def __init__(self, folder: Path, store: Store, clock: FastClock, fleet: Fleet, journal: Journal) -> None:
        self.folder = folder
        self.store = store
        self.clock = clock
        self.fleet = fleet
        self.journal = journal
        self.port = _free_port()
        self.processes: list[Process] = []
        # A process dies with the thread that started it, so one thread that lives as long as we do starts them all.
        self._starter = ThreadPoolExecutor(1, "starter")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
        self.environment = inherited | {
            "DATABASE_URL": store.url,
            "SCHEDMGR_TEST_CLOCK": str(clock.file),
            "SCHEDULE_POLL_INTERVAL_MS": "1000",
            "SCHEDMGR_LEASE_SECONDS": str(LEASE_SECONDS),
            "SCHEDMGR_SHUTDOWN_GRACE": str(SHUTDOWN_GRACE),
            "SCHEDMGR_ADMIN_USER": "storm",
            "SCHEDMGR_ADMIN_PASSWORD": PASSWORD,
            "JWT_SECRET": secrets.token_hex(32),
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def in_starter(self, work: Callable[[], Given]) -> Given:
        """Do something in the one thread that lives as long as we do."""
        return self._starter.submit(work).result()

    # Processes

    def place(self, role: str, **variables: str) -> None:
        """One more place for a process."""
        nth = sum(process.role == role for process in self.processes) + 1
        name = f"{role}-{nth}"
        command = (sys.executable, "-m", "schedmgr", role)
        self.processes.append(Process(name, role, command, variables, self.folder / f"{name}.log"))

    def start(self, process: Process) -> None:
        """Begin a new life in this place."""

        def begin() -> None:
            with process.log.open("ab") as log:
                process.log_from = log.tell()
                process.popen = subprocess.Popen(
                    process.command,
                    cwd=self.folder,
                    env=self.environment | process.variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with_us,
                )
            process.is_wanted = True

        self.in_starter(begin)

    def kill(self, *processes: Process) -> None:
        """SIGKILL to all of them at one moment, and wait for their ends."""
        for process in processes:
            process.is_wanted = False
            if process.is_running:
                self.journal.ends[process.pid] = boot_seconds()
                process.signal(signal.SIGKILL)
        for process in processes:
            if process.popen is not None:
                process.popen.wait(30)

    def terminate(self, process: Process) -> int | None:
        """SIGTERM, and how it ended; None if it did not end in time and had to be killed."""
        self._ask_to_stop(process)
        return self._end_of(process)

    def terminate_all(self) -> list[tuple[Process, int | None]]:
        """The same to all at once."""
        for process in self.processes:
            self._ask_to_stop(process)
        return [(process, self._end_of(process)) for process in self.processes]

    def _ask_to_stop(self, process: Process) -> None:
        process.is_wanted = False
        process.signal(signal.SIGTERM)

    def _end_of(self, process: Process) -> int | None:
        assert process.popen is not None
        try:
            code = process.popen.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(process)
            return None
        self.journal.ends.setdefault(process.pid, boot_seconds())
        return code

    @contextmanager
    def hold(self, draw: random.Random, over: threading.Event, *roles: str) -> Iterator[Process | None]:
        """A process of these roles with which nobody else meddles meanwhile; None if the storm ends before."""
        order = [process for process in self.processes if process.role in roles]
        draw.shuffle(order)
        while not over.is_set():
            for process in order:
                if process.is_running and process.lock.acquire(blocking=False):
                    try:
                        yield process
                    finally:
                        process.lock.release()
                    return
            over.wait(0.1)
        yield None

    def look_after(self) -> None:
        """A process that ended by itself is an error; it gets a new life."""
        for process in self.processes:
            if process.is_wanted and not process.is_running and process.lock.acquire(blocking=False):
                try:
                    if process.is_wanted and not process.is_running and process.popen is not None:
                        said = " ".join(process.life().split()[-40:])
                        self.journal.wrong(f"{process.name} ended by itself with {process.popen.returncode}: {said}")
                        self.start(process)
                finally:
                    process.lock.release()

    def names(self, role: str) -> list[str]:
        """Of the places for processes of that role."""
        return [process.name for process in self.processes if process.role == role]

    # Commands

    def command(self, *words: str, within: float = 90.0) -> subprocess.CompletedProcess[str]:
        """`schedmgr ...`.  A traceback is an error, whatever the database does meanwhile."""
        done = subprocess.run(
            [sys.executable, "-m", "schedmgr", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
        )
        if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
            shown = "\n".join(done.stderr.strip().splitlines()[-4:])
            self.journal.wrong(f"`schedmgr {' '.join(words)}` ended with {done.returncode}: {shown}")
        return done

    def require(self, *words: str) -> str:
        """A command that must succeed."""
        done = self.command(*words)
        if done.returncode != 0:
            raise RuntimeError(f"schedmgr {' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    # The end

    def end(self) -> None:
        """Whatever state it all is in."""
        self.kill(*self.processes)
        self._starter.shutdown()

    def children_of(self, process: Process) -> list[int]:
        """The processes that it started and that still live."""
        assert process.popen is not None
        found: list[int] = []
        for tasks in Path(f"/proc/{process.popen.pid}/task").glob("*/children"):
            with suppress(OSError):
                found += [int(pid) for pid in tasks.read_text().split()]
        return found

    def keep(self, wanted: Path) -> None:
        """Leave everything for whoever has to find out."""
        wanted.mkdir(parents=True, exist_ok=True)
        for file in self.folder.iterdir():
            if file.is_file():
                shutil.copy(file, wanted)
        shutil.copytree(self.fleet.marks, wanted / "marks", dirs_exist_ok=True)
        self.store.keep(wanted)


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], Any], within: float, pause: float = 0.1) -> bool:
    """Whether the condition came true in time."""
    limit = time.monotonic() + within
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(pause)
    return True
