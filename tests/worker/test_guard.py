"""What happens when the worker, its guard, or a keeper dies or freezes at any moment: nothing outlives its attempt."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedmgr.vocabulary import RunStatus
from schedmgr.worker.keeper import boot_seconds
from schedmgr.worker.process import Guard

AT_ONCE = 2.0  # seconds, by contract; it takes a few hundredths

WAKING = 1.0  # seconds, by contract

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers and /proc")


@pytest.fixture
def worker(tmp_path, until, daemonising) -> Iterator["Worker"]:
    """A worker process with one attempt that has daemonised something."""
    worker = Worker(tmp_path, daemonising.command(then="trap '' TERM; while :; do sleep 0.05; done"))
    until(lambda: daemonising.has_started)
    yield worker
    worker.end()


@needs_proc
def test_nothing_of_a_killed_worker_is_left_within_two_seconds(worker, daemonising, until, lives):
    tree = [*worker.everything_below(), daemonising.pid]
    worker.signal(signal.SIGKILL)
    until(lambda: not any(map(lives, tree)), within=AT_ONCE)


@needs_proc
def test_nothing_of_a_killed_worker_is_left_though_its_guard_is_frozen(worker, daemonising, until, lives):
    os.kill(worker.guard, signal.SIGSTOP)
    tree = {*worker.everything_below(), daemonising.pid} - {worker.guard}
    worker.signal(signal.SIGKILL)
    until(lambda: not any(map(lives, tree)), within=AT_ONCE)
    os.kill(worker.guard, signal.SIGCONT)
    until(lambda: not lives(worker.guard))


@needs_proc
def test_nothing_of_a_killed_worker_is_left_though_a_keeper_is_frozen(worker, daemonising, until, lives):
    os.kill(worker.keeper, signal.SIGSTOP)
    tree = [*worker.everything_below(), daemonising.pid]
    worker.signal(signal.SIGKILL)
    until(lambda: not any(map(lives, tree)), within=AT_ONCE)


@needs_proc
def test_a_frozen_worker_loses_its_attempts_when_their_leases_end(worker, daemonising, until, lives):
    tree = [worker.keeper, worker.leader, daemonising.pid]
    worker.renew(1.0)
    worker.signal(signal.SIGSTOP)
    until(lambda: not any(map(lives, tree)))


@needs_proc
def test_a_host_that_wakes_after_the_lease_s_end_ends_the_attempt_at_once(worker, daemonising, until, lives):
    worker.renew(0.5)
    worker.signal(signal.SIGSTOP)
    os.kill(worker.keeper, signal.SIGSTOP)
    wakes_at = boot_seconds() + 0.6
    until(lambda: boot_seconds() > wakes_at)
    os.kill(worker.keeper, signal.SIGCONT)
    until(lambda: not lives(worker.leader) and not lives(daemonising.pid), within=WAKING)


def test_a_terminal_s_signals_do_nothing_to_the_guard_and_keepers(worker, lives):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(worker.guard, number)
        os.kill(worker.keeper, number)
    assert worker.renew(60) == "renewed"
    assert all(map(lives, (worker.guard, worker.keeper, worker.leader)))


def test_the_guard_is_out_of_reach_of_the_worker_s_terminal(worker):
    assert os.getsid(worker.guard) == worker.guard


def test_attempts_go_on_and_new_ones_start_when_the_guard_is_killed(guard, start_with, until, tmp_path):
    attempt = start_with(guard, "echo ready; while [ ! -e go ]; do sleep 0.01; done", cwd=tmp_path)
    until(lambda: attempt.says("ready"))
    os.kill(guard_of(attempt), signal.SIGKILL)
    assert start_with(guard, ("true",)).outcome.status == RunStatus.SUCCEEDED
    (tmp_path / "go").touch()
    assert attempt.outcome.status == RunStatus.SUCCEEDED


@needs_proc
def test_an_attempt_whose_keeper_is_killed_is_lost_and_nothing_of_it_is_left(
    guard, start_with, daemonising, until, lives
):
    attempt = start_with(guard, daemonising.command(then="echo ready; sleep 1000"))
    until(lambda: attempt.says("ready"))
    os.kill(parent(attempt.execution.pid), signal.SIGKILL)
    assert attempt.outcome.status == RunStatus.LOST
    assert attempt.outcome.error == "its keeper, the process that watched over it, was killed"
    assert not lives(attempt.execution.pid)
    assert not lives(daemonising.pid)


@needs_proc
def test_only_the_attempt_of_the_killed_keeper_is_lost(guard, start_with, until, tmp_path):
    other = start_with(guard, "echo ready; while [ ! -e go ]; do sleep 0.01; done", cwd=tmp_path)
    attempt = start_with(guard, "echo ready; sleep 1000")
    until(lambda: attempt.says("ready") and other.says("ready"))
    os.kill(parent(attempt.execution.pid), signal.SIGKILL)
    assert attempt.outcome.status == RunStatus.LOST
    (tmp_path / "go").touch()
    assert other.outcome.status == RunStatus.SUCCEEDED


@needs_proc
def test_an_attempt_whose_keeper_and_guard_are_killed_is_lost_and_killed(guard, start_with, until, lives):
    attempt = start_with(guard, "echo ready; sleep 1000")
    until(lambda: attempt.says("ready"))
    keeper = parent(attempt.execution.pid)
    os.kill(parent(keeper), signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)
    assert attempt.outcome.status == RunStatus.LOST
    until(lambda: not lives(attempt.execution.pid))


@needs_proc
def test_a_guard_that_hangs_is_replaced(guard, start_with, until):
    attempt = start_with(guard, "echo ready; sleep 1000")
    until(lambda: attempt.says("ready"))
    os.kill(guard_of(attempt), signal.SIGSTOP)
    assert start_with(guard, ("true",)).outcome.status == RunStatus.SUCCEEDED


def test_closing_ends_everything_and_says_so(start_with, until, lives):
    guard = Guard(now=lambda: datetime.now(UTC)).start()
    attempt = start_with(guard, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: attempt.says("ready"))
    processes = [attempt.execution.pid, parent(attempt.execution.pid), guard_of(attempt)]
    guard.close()
    assert attempt.outcome.status == RunStatus.LOST
    assert not any(map(lives, processes))


class Worker:
    """A worker in a process of its own, told what to do over its standard input."""

    def __init__(self, directory: Path, command: tuple[str, ...]) -> None:
        (directory / "worker.py").write_text(_WORKER)
        self._process = subprocess.Popen(
            [sys.executable, directory / "worker.py", json.dumps(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.leader = int(self._process.stdout.readline())
        self.keeper = parent(self.leader)
        self.guard = parent(self.keeper)

    def renew(self, seconds: float) -> str:
        """Give its attempt a lease that ends `seconds` from now."""
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def everything_below(self) -> list[int]:
        return below(self._process.pid)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
        for frozen in (self.keeper, self.guard):  # of a test that failed half-way
            with contextlib.suppress(ProcessLookupError):
                os.kill(frozen, signal.SIGCONT)


_WORKER = """
import json, os, sys, threading
from datetime import UTC, datetime
from schedmgr.worker.keeper import boot_seconds
from schedmgr.worker.process import AttemptSpec, Guard

class Nowhere:
    def write(self, flush):
        pass

with Guard(now=lambda: datetime.now(UTC)) as guard:
    spec = AttemptSpec(7, 1, tuple(json.loads(sys.argv[1])), dict(os.environ), None, None, boot_seconds() + 60)
    execution = guard.run(spec, Nowhere(), lambda outcome: None)
    while execution.pid is None:
        threading.Event().wait(0.01)
    print(execution.pid, flush=True)
    for line in sys.stdin:
        execution.renew(boot_seconds() + float(line))
        print("renewed", flush=True)
"""


def parent(pid: int) -> int:
    return int(subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout)


def guard_of(attempt) -> int:
    return parent(parent(attempt.execution.pid))


def below(pid: int) -> list[int]:
    children = [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).stdout.split()]
    return children + [process for child in children for process in below(child)]
