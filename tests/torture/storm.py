"""The storm: a plan of faults drawn from a seed, each carried out and ended by a thread of its own.

Each fault draws its details from a generator of its own, made of the seed and its number, so that the same seed plans
the same faults however their threads take turns.
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from torture.journal import Journal, boot_seconds
from torture.places import Process, Site
from torture.store import AWAY, Mariadb, Sqlite, until_done
from torture.visitor import Visitor

QUIET_START = 1.5  # seconds
A_MINUTE = 18  # faults
A_FEW = 8  # faults at least besides one of each kind
LONG_STORM = 180.0  # seconds; from then on freezes may take their full length

Deed = Callable[["Storm", random.Random], None]


@dataclass(frozen=True)
class Kind:
    """One kind of fault.  `weight`: how often it comes, beside the others."""

    name: str
    weight: float
    deed: Deed
    databases: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """A fault to come, that many seconds after the storm's beginning."""

    at: float
    number: int
    kind: Kind


KINDS: list[Kind] = []


def fault(name: str, weight: float, *databases: str) -> Callable[[Deed], Deed]:
    """A kind of fault, for these databases or for all."""

    def add(deed: Deed) -> Deed:
        KINDS.append(Kind(name, weight, deed, databases or ("sqlite", "mariadb")))
        return deed

    return add


def plan(seed: int, seconds: float, database: str) -> list[Planned]:
    """Every kind at least once, then by weight, at any time of the storm."""
    draw = random.Random(f"{seed} {database}")
    kinds = [kind for kind in KINDS if database in kind.databases]
    wanted = max(round(seconds / 60 * A_MINUTE), len(kinds) + A_FEW)
    chosen = kinds + draw.choices(kinds, [kind.weight for kind in kinds], k=wanted - len(kinds))
    draw.shuffle(chosen)
    times = sorted(draw.uniform(QUIET_START, seconds * 0.93) for _ in chosen)
    return [Planned(at, number, kind) for number, (at, kind) in enumerate(zip(times, chosen, strict=True))]


class Storm:
    """Carries out a plan.  `over` is set when its time has passed: what holds then ends."""

    def __init__(self, site: Site, journal: Journal, seed: int, seconds: float) -> None:
        self.site = site
        self.journal = journal
        self.seed = seed
        self.seconds = seconds
        self.over = threading.Event()
        self.longest = 45.0 if seconds >= LONG_STORM else min(12.0, seconds / 5)
        """Seconds that a freeze may take."""
        self.pausing = threading.Lock()
        self.deploying = threading.Lock()
        self.server = threading.Lock()
        self.stepping = threading.Lock()
        self.visitor = Visitor(site, journal)

    def rage(self, planned: list[Planned]) -> None:
        """From the first fault to the end of the last."""
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._visit, name="visitor"),
            threading.Thread(target=self._tend, name="tend"),
        ]
        try:
            for thread in threads:
                thread.start()
            for one in planned:
                self.over.wait(max(0.0, began + one.at - time.monotonic()))
                threads.append(threading.Thread(target=self._carry_out, args=(one,), name=one.kind.name))
                threads[-1].start()
            self.over.wait(max(0.0, began + self.seconds - time.monotonic()))
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def hold(self, draw: random.Random, least: float, most: float) -> None:
        """Let a fault last: mostly short, sometimes as long as it may."""
        most = min(most, self.longest)
        seconds = draw.uniform(least, most) if draw.random() < 0.4 else draw.uniform(least, min(4.0, most))
        self.over.wait(seconds)

    def aim(self, process: Process, draw: random.Random) -> None:
        """Mostly wait until the process is running a job: then what befalls it befalls the job, too."""
        limit = time.monotonic() + 5.0
        if draw.random() < 0.3 or process.popen is None:
            return
        while time.monotonic() < limit and not self.over.wait(0.05):
            with suppress(*AWAY):
                if self.site.store.rows(
                    "SELECT job_run.id FROM job_run JOIN process ON process.id = job_run.process_id "
                    "WHERE job_run.status = 'RUNNING' AND process.pid = ?",
                    process.pid,
                ):
                    return

    def _carry_out(self, planned: Planned) -> None:
        draw = random.Random(f"{self.seed} {planned.number}")
        try:
            planned.kind.deed(self, draw)
        except Exception as error:
            self.journal.wrong(f"the storm itself failed at {planned.kind.name}: {error!r}")
            raise

    def _visit(self) -> None:
        draw = random.Random(f"{self.seed} visitor")
        while not self.over.wait(1.0):
            self.visitor.look(draw)

    def _tend(self) -> None:
        while not self.over.wait(0.5):
            self.site.look_after()

    def switched_on(self, schedule_id: str, patience: float = 30.0) -> bool:
        """Turn a schedule on, once the tables know it and the database takes it."""
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            if self.site.command("schedules", "enable", schedule_id).returncode == 0:
                return True
            if self.over.wait(1.0):
                return False
        return False


# Processes


def _killed(storm: Storm, draw: random.Random, role: str) -> None:
    delay = draw.uniform(0, 5)
    with storm.site.hold(draw, storm.over, role) as process:
        if process is None:
            return
        storm.aim(process, draw)
        with storm.journal.fault(f"kill -9 of a {role}", process.name):
            storm.site.kill(process)
            storm.over.wait(delay)
            storm.site.start(process)


@fault("kill -9 of a daemon", 4)
def kill_daemon(storm: Storm, draw: random.Random) -> None:
    _killed(storm, draw, "daemon")


@fault("kill -9 of a worker", 3, "mariadb")
def kill_worker(storm: Storm, draw: random.Random) -> None:
    _killed(storm, draw, "worker")


@fault("kill -9 of a web", 1)
def kill_web(storm: Storm, draw: random.Random) -> None:
    _killed(storm, draw, "web")


@fault("kill -9 of every daemon", 1)
def kill_all_daemons(storm: Storm, draw: random.Random) -> None:
    """At one moment, as when a machine dies."""
    delay = draw.uniform(0, 4)
    daemons = [process for process in storm.site.processes if process.role == "daemon"]
    held = [process for process in daemons if process.lock.acquire(blocking=False)]
    try:
        for process in held[:1]:
            storm.aim(process, draw)
        with storm.journal.fault("kill -9 of every daemon", f"{len(held)} at once"):
            storm.site.kill(*held)
            storm.over.wait(delay)
            for process in held:
                storm.site.start(process)
    finally:
        for process in held:
            process.lock.release()


@fault("kill -9 of a guard", 1)
def kill_guard(storm: Storm, draw: random.Random) -> None:
    """The process that starts the attempts, without its worker."""
    if sys.platform != "linux":
        storm.journal.not_possible["kill -9 of a guard"] = "only Linux tells which processes a process started"
        return
    with storm.site.hold(draw, storm.over, "daemon", "worker") as process:
        if process is None:
            return
        storm.aim(process, draw)
        for pid in storm.site.children_of(process):
            with suppress(OSError):
                if b"guard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    with storm.journal.fault("kill -9 of a guard", process.name), suppress(ProcessLookupError):
                        subprocess.run(["kill", "-9", str(pid)], check=False)


@fault("freeze of a daemon", 4)
def freeze_daemon(storm: Storm, draw: random.Random) -> None:
    _frozen(storm, draw, "daemon")


@fault("freeze of a worker", 2, "mariadb")
def freeze_worker(storm: Storm, draw: random.Random) -> None:
    _frozen(storm, draw, "worker")


def _frozen(storm: Storm, draw: random.Random, role: str) -> None:
    with storm.site.hold(draw, storm.over, role) as process:
        if process is None:
            return
        storm.aim(process, draw)
        with storm.journal.fault(f"freeze of a {role}", process.name) as one:
            process.signal(signal.SIGSTOP)
            storm.hold(draw, 0.5, 45.0)
            storm.journal.freezes.append((process.pid, one.began, boot_seconds()))
            process.signal(signal.SIGCONT)


@fault("stop and restart at :59.9", 4)
def deploy(storm: Storm, draw: random.Random) -> None:
    delay = draw.uniform(0, 2)
    roles = ("web",) if draw.random() < 0.2 else ("daemon", "worker")
    with storm.site.hold(draw, storm.over, *roles) as process:
        if process is None:
            return
        while not process.has_settled_in:
            if storm.over.wait(0.1):
                return
        storm.over.wait(storm.site.clock.until(59.9))
        with storm.journal.fault("stop and restart at :59.9", process.name):
            code = storm.site.terminate(process)
            if code != 0:
                storm.journal.wrong(
                    f"{process.name} was asked to stop and {'hung' if code is None else f'gave {code}'}"
                )
            storm.over.wait(delay)
            storm.site.start(process)


# The database


@fault("connections cut", 3, "mariadb")
def cut_connections(storm: Storm, draw: random.Random) -> None:
    store = storm.site.store
    assert isinstance(store, Mariadb)
    times = draw.randint(1, 5)
    with suppress(*AWAY), storm.journal.fault("connections cut", f"all, {times} times") as one:
        for _ in range(times):
            one.what += f" {store.server.kill_connections(store.NAME)}"
            storm.over.wait(draw.uniform(0, 0.3))


@fault("kill -9 of the server", 2, "mariadb")
def kill_server(storm: Storm, draw: random.Random) -> None:
    store = storm.site.store
    assert isinstance(store, Mariadb)
    delay = draw.uniform(0, 3)
    with storm.server, storm.journal.fault("kill -9 of the server"):
        store.server.kill()
        storm.over.wait(delay)
        storm.site.in_starter(store.server.start)


@fault("freeze of the server", 2, "mariadb")
def freeze_server(storm: Storm, draw: random.Random) -> None:
    store = storm.site.store
    assert isinstance(store, Mariadb)
    with storm.server, storm.journal.fault("freeze of the server"):
        store.server.freeze()
        storm.hold(draw, 0.5, 20.0)
        store.server.thaw()


@fault("full disk", 3, "sqlite")
def fill_disk(storm: Storm, draw: random.Random) -> None:
    store = storm.site.store
    assert isinstance(store, Sqlite)
    if store.cannot_fill:
        storm.journal.not_possible["full disk"] = store.cannot_fill
        return
    with storm.server, storm.journal.fault("full disk") as one:
        one.what = f"{store.fill():,} bytes of ballast"
        storm.hold(draw, 0.5, 8.0)
        store.free()


@fault("foreign transaction", 3)
def foreign_transaction(storm: Storm, draw: random.Random) -> None:
    """Somebody holds what the daemons need: the file, or many rows."""
    ids = storm.site.fleet.ids()
    wanted = draw.sample(ids, max(1, len(ids) // 3))
    with suppress(*AWAY), storm.site.store.in_the_way(wanted), storm.journal.fault("foreign transaction"):
        storm.hold(draw, 0.5, 9.0)


ODD_TIMES = {
    "NULL": None,
    "year 9999": "9999-12-31 23:59:59.000000",
    "1970": "1970-01-01 00:00:00.000000",
    "an hour ahead": timedelta(hours=1),
    "an hour ago": timedelta(hours=-1),
}
GARBAGE = {
    "garbage": "tomorrow, perhaps",
    "an empty text": "",
    "a number": 12345,
    "bytes": b"\xff\x00\xfe",
    "ISO": "2026-01-01T00:00:00Z",
}


@fault("next run corrupted", 4)
def corrupt_next_run(storm: Storm, draw: random.Random) -> None:
    odd = ODD_TIMES | (GARBAGE if storm.site.store.kind == "sqlite" else {})
    name = draw.choice(sorted(odd))
    value = odd[name]
    if isinstance(value, timedelta):
        value = (storm.site.clock.now + value).strftime("%Y-%m-%d %H:%M:%S.%f")
    ids = draw.sample(storm.site.fleet.ids(), draw.randint(1, 8))
    marks = ", ".join("?" for _ in ids)
    sql = f"UPDATE job_schedule SET next_run_at = ? WHERE enabled AND id IN ({marks})"
    if until_done(storm.site.store, sql, value, *ids):
        with storm.journal.fault("next run corrupted", f"{name} in {len(ids)} schedules"):
            pass


# The clock


@fault("clock stepped", 2)
def step_clock(storm: Storm, draw: random.Random) -> None:
    """A little, either way."""
    seconds = draw.choice((draw.uniform(1, 90), draw.uniform(1, 90), draw.uniform(-90, -1)))
    with storm.stepping, storm.journal.fault("clock stepped", f"{seconds:+.0f} s"):
        storm.site.clock.step(seconds)


@fault("clock jumped by hours", 1)
def jump_clock(storm: Storm, draw: random.Random) -> None:
    """Forward for good, or back for a while: what lies ahead is accounted for, so until then nothing would fire."""
    seconds = draw.uniform(1200, 4 * 3600)
    with storm.stepping:
        if draw.random() < 0.5:
            with storm.journal.fault("clock jumped by hours", f"{seconds:+.0f} s"):
                storm.site.clock.step(seconds)
            return
        with storm.journal.fault("clock jumped by hours", f"{-seconds:+.0f} s for a while"):
            storm.site.clock.step(-seconds)
            storm.hold(draw, 1.0, 6.0)
            storm.site.clock.step(seconds)


# What people do


@fault("definitions changed", 5)
def change_definitions(storm: Storm, draw: random.Random) -> None:
    fleet = storm.site.fleet
    with storm.deploying:
        what = draw.choice(("cron", "cron", "job", "add", "remove"))
        if what == "cron":
            detail = fleet.change_cron(draw)
        elif what == "job":
            detail = fleet.change_job(draw)
        elif what == "remove":
            detail = fleet.remove(draw)
            storm.journal.interruptions[detail] += 1
        else:
            detail = fleet.add(draw)
        with storm.journal.fault("definitions changed", f"{what} {detail}"):
            pass
    if what == "add":
        storm.switched_on(detail)


@fault("definitions broken", 2)
def break_definitions(storm: Storm, draw: random.Random) -> None:
    with storm.deploying, storm.journal.fault("definitions broken") as one:
        one.what = storm.site.fleet.break_(draw)
        storm.hold(draw, 1.0, 8.0)
        storm.site.fleet.write()


@fault("switched off and on", 3)
def switch(storm: Storm, draw: random.Random) -> None:
    ids = [storm.site.fleet.pick(draw) for _ in range(draw.randint(1, 6))]
    storm.journal.interruptions.update(set(ids))
    with storm.journal.fault("switched off and on", f"{len(set(ids))} schedules"):
        storm.site.command("schedules", "disable", *ids)
        storm.hold(draw, 0.5, 8.0)
    for id in set(ids):
        storm.switched_on(id, patience=5.0)


@fault("paused", 2)
def pause(storm: Storm, draw: random.Random) -> None:
    with storm.pausing:
        until = ("--until", f"{draw.randint(1, 3)}m") if draw.random() < 0.4 else ()
        with storm.journal.fault("paused", " ".join(until)):
            storm.site.command("pause", "--reason", "a storm", *until)
            storm.hold(draw, 1.0, 8.0)
            _resume(storm)


def _resume(storm: Storm) -> None:
    """Unless its end has come already."""
    while not storm.over.is_set():
        done = storm.site.command("resume")
        if done.returncode == 0 or "Nothing is paused" in done.stderr:
            return
        storm.over.wait(0.5)


@fault("run by hand", 3)
def run_by_hand(storm: Storm, draw: random.Random) -> None:
    schedule_id = storm.site.fleet.pick(draw)
    if draw.random() < 0.5:
        with storm.journal.fault("run by hand", schedule_id):
            done = storm.site.command("schedules", "run", schedule_id, "--json")
        if done.returncode == 0:
            said = json.loads(done.stdout)
            storm.journal.acknowledged_firings[said["firing_id"]] = tuple(said["job_run_ids"])
        return
    with storm.journal.fault("run by hand", f"{schedule_id}, twice with one key") as one:
        once = storm.visitor.run_twice(schedule_id)
        one.what += {True: ": ran once", None: ": not taken", False: ": ran not once"}[once]
    if once is False:
        storm.journal.wrong(f"Run now of {schedule_id} was posted twice with one key, and did not happen once")


@fault("run cancelled", 1)
def cancel(storm: Storm, draw: random.Random) -> None:
    with suppress(*AWAY):
        rows = storm.site.store.rows(
            "SELECT id FROM job_run WHERE status IN ('QUEUED', 'RUNNING') ORDER BY id DESC LIMIT 9"
        )
        if rows:
            run_id = draw.choice(rows)["id"]
            with storm.journal.fault("run cancelled", str(run_id)):
                storm.site.command("runs", "cancel", str(run_id))


__all__ = ["Planned", "Storm", "boot_seconds", "plan"]
