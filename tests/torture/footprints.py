"""What the jobs leave behind: each execution writes a file of its own, so that no database has to be believed.

A line is one appended write: `begin RUN ATTEMPT SCHEDULE SCHEDULED_FOR PID NS ALONE`, then `tick PID NS` while it
lives, and `end NS CODE`.  NS is the host's boot clock in nanoseconds.  ALONE is 0 if the kernel still knew another
living execution of the same run at that moment: each holds a lock on the run's file that only its death lets go.
"""

from dataclasses import dataclass, field
from pathlib import Path

SCRIPT = '''\
"""A job of the torture: job.py FOLDER SECONDS [fail=N] [code=N] [brood=SECONDS] [stubborn]"""

import fcntl
import os
import signal
import sys
import time

folder, seconds = sys.argv[1], float(sys.argv[2])
how = dict(word.partition("=")[::2] for word in sys.argv[3:])
run, attempt = os.environ["SCHEDMGR_RUN_ID"], int(os.environ["SCHEDMGR_ATTEMPT"])


def now():
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


began = now()
alone = 1
held = os.open(f"{folder}/{run}.lock", os.O_RDWR | os.O_CREAT, 0o600)
try:
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    alone = 0
marks = os.open(f"{folder}/{run}.{attempt}.{os.getpid()}.{began}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def mark(*words):
    os.write(marks, (" ".join(map(str, words)) + "\\n").encode())


def live(until):
    while now() < until:
        time.sleep(min(0.05, max(0.0, (until - now()) / 1e9)))
        mark("tick", os.getpid(), now())


schedule = os.environ.get("SCHEDMGR_SCHEDULE_ID", "-")
mark("begin", run, attempt, schedule, os.environ.get("SCHEDMGR_SCHEDULED_FOR", "-"), os.getpid(), began, alone)
if "stubborn" in how:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "brood" in how and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        live(now() + float(how["brood"]) * 1e9)
    os._exit(0)
live(began + seconds * 1e9)
code = int(how.get("code", 1)) if attempt <= int(how.get("fail", 0)) else 0
print(f"run {run} attempt {attempt} took {(now() - began) / 1e9:.3f} s, and ends with {code}", flush=True)
mark("end", now(), code)
os._exit(code)
'''


@dataclass(slots=True)
class Execution:
    """One execution of one attempt.  Times are seconds of the boot clock."""

    run_id: int
    attempt: int
    schedule_id: str | None
    pid: int
    began: float
    alone: bool
    last_seen: float
    ended: float | None = None
    code: int | None = None

    def overlaps(self, other: "Execution") -> bool:
        """Whether both are known to have lived at one moment."""
        return self.began <= other.last_seen and other.began <= self.last_seen


@dataclass(slots=True)
class Footprints:
    """All that the jobs left.  `torn`: files that do not begin as they must."""

    executions: list[Execution] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def by_run(self) -> dict[int, list[Execution]]:
        """The executions of each run, in the order of their beginnings."""
        found: dict[int, list[Execution]] = {}
        for one in sorted(self.executions, key=lambda one: one.began):
            found.setdefault(one.run_id, []).append(one)
        return found


def read(folder: Path) -> Footprints:
    """The footprints in a folder.

    A file without a whole first line is that of a process killed in its very first moment: it proves only the start.
    """
    found = Footprints()
    for file in folder.iterdir():
        if file.suffix == ".lock" or file.name == "job.py":
            continue
        execution = _read_one(file)
        if execution is None:
            found.torn.append(file.name)
        else:
            found.executions.append(execution)
    return found


def _read_one(file: Path) -> Execution | None:
    run_id, attempt, pid, began = map(int, file.name.split("."))
    lines = [line.split() for line in file.read_text().splitlines()]
    if not lines:
        return Execution(run_id, attempt, None, pid, began / 1e9, True, began / 1e9)
    if lines[0][:3] != ["begin", str(run_id), str(attempt)]:
        return None
    schedule = lines[0][3] if lines[0][3] != "-" else None
    one = Execution(run_id, attempt, schedule, pid, began / 1e9, lines[0][7] == "1", began / 1e9)
    for word, *rest in lines[1:]:
        if word == "tick":
            one.last_seen = max(one.last_seen, int(rest[1]) / 1e9)
        elif word == "end":
            one.ended, one.code = int(rest[0]) / 1e9, int(rest[1])
            one.last_seen = max(one.last_seen, one.ended)
    return one
