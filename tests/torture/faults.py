"""Every kind of fault: how it is injected, how long it holds, how it ends."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torture.journal import boot_seconds
from torture.store import AWAY, Mariadb, Sqlite, until_done
from torture.storm import Deed, Kind, Storm

KINDS: list[Kind] = []


def of(database: str) -> list[Kind]:
    """Those that this database can suffer."""
    return [kind for kind in KINDS if database in kind.databases]


def fault(name: str, weight: float, *databases: str) -> Callable[[Deed], Deed]:
    """A kind of fault, for these databases or for all."""

    def add(deed: Deed) -> Deed:
        KINDS.append(Kind(name, weight, deed, databases or ("sqlite", "mariadb")))
        return deed

    return add


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
