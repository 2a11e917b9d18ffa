"""Real daemons and workers, in a folder of the test's own."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds; no test waits that long unless something is broken
OWN_SETTINGS = ("SCHED", "DATABASE_", "APP_ENV", "NODE_ENV", "LOG_")


def wait_until(condition: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """What the condition gives once it is true."""
    limit = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < limit, f"not within {within:.0f} s: {what}"
        threading.Event().wait(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


class Program:
    """One `schedmgr daemon`, or another that runs until it is stopped."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str], number: int) -> None:
        self.log_file = folder / f"{command}-{number}.log"
        self.address: str | None = None  # of one that listens
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "schedmgr", command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_for_log(self, words: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(words) >= times, f"{words!r} in {self.log_file.name}:\n{self.log}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.send(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def exit_code(self, within: float = PATIENCE) -> int:
        """How it ended, which it has to within that time."""
        return self.process.wait(within)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the process is frozen")

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def end(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)


class Site:
    """A folder with definitions and a database, in which daemons and workers are started."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.programs: list[Program] = []

    def define(self, code: str, file: str = "definitions.py") -> Path:
        """Write a definitions file, in one step as a deploy does."""
        path = self.folder / file
        new = path.with_suffix(".new")
        new.write_text("from schedmgr import Job, Schedule\n" + textwrap.dedent(code))
        return new.rename(path)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One that ends by itself: `schedmgr WORDS`."""
        argv = [sys.executable, "-m", "schedmgr", *words]
        return subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )

    def start_daemon(self, *, folder: Path | None = None, ready: bool = True, **variables: str) -> Program:
        """Start one; unless told otherwise, wait until it has read its definitions."""
        daemon = self._start("daemon", folder or self.folder, variables)
        if ready:
            daemon.wait_for_log("daemon started")
            daemon.wait_for_log("schedule definitions from code")
        return daemon

    def start_worker(self, *, ready: bool = True, **variables: str) -> Program:
        """Start one; unless told otherwise, wait until it has registered."""
        worker = self._start("worker", self.folder, variables)
        if ready:
            worker.wait_for_log("worker started")
        return worker

    def start_web(self, *, ready: bool = True, **variables: str) -> Program:
        """Start one on a free port; unless told otherwise, wait until it listens; `address` is where."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        web = self._start("web", self.folder, {"PORT": str(port)} | variables)
        if ready:
            web.wait_for_log(f"web started address=127.0.0.1 port={port}")
        web.address = f"http://127.0.0.1:{port}"
        return web

    def _start(self, command: str, folder: Path, variables: dict[str, str]) -> Program:
        program = Program(command, folder, self.environment | variables, len(self.programs))
        self.programs.append(program)
        return program


def environment(database_url: str, clock_file: Path) -> dict[str, str]:
    """What such a process runs with: nothing that the tests themselves were started with says where or how."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    ours = {
        "DATABASE_URL": database_url,
        "SCHEDMGR_TEST_CLOCK": str(clock_file),
        "SCHEDULE_POLL_INTERVAL_MS": "200",
        "SCHEDMGR_LEASE_SECONDS": "5",
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | ours
