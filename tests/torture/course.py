"""One torture from the first process to the last, and then the accounts."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from torture import accountant, faults, fleet, footprints, report, storm
from torture.fastclock import FastClock
from torture.journal import Journal
from torture.mending import Mending
from torture.observer import Observer
from torture.places import ROOT, Site
from torture.report import Findings
from torture.stoppages import stoppages
from torture.store import Mariadb, Sqlite

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)
"""Weeks before the first clock change of the year in any zone of the fleet."""

KEPT = ROOT / ".cache" / "torture"


@dataclass(frozen=True)
class Form:
    """How large a torture is.  `pace`: seconds of the site's clock that pass in one of the host's."""

    schedules: int
    pace: float
    disk_mib: int


SHORT = Form(schedules=100, pace=10.0, disk_mib=64)
LONG = Form(schedules=320, pace=6.0, disk_mib=256)
LONG_FROM = 3.0  # minutes


def torture(database: str, minutes: float, seed: int, say: Callable[[str], None], *, keep: bool) -> Findings:
    """Start a site, let the storm rage over it, mend it, stop it, and work out the accounts."""
    began = time.monotonic()
    form = LONG if minutes >= LONG_FROM else SHORT
    draw = random.Random(seed)
    start = FIRST_DAY + timedelta(days=draw.randrange(14), minutes=draw.randrange(1440))
    with ExitStack() as ends:
        site = _site(database, form, start, draw, ends)
        observer = Observer(site.store, site.clock)
        ends.callback(observer.stop)
        say(f"{database}: the site stands after {time.monotonic() - began:.0f} s")
        _start(site)
        observer.start()
        planned = storm.plan(seed, minutes * 60, faults.of(database))
        storm.Storm(site, site.journal, seed, minutes * 60).rage(planned)
        say(f"{database}: {len(site.journal.faults)} faults were injected; now all is mended")
        mending = Mending(site)
        mending.through()
        observer.stop()
        _stop(site)
        say(f"{database}: all has stopped; the accountant is at work")
        account = _account(site, mending)
        found = Findings(
            database=database,
            version=site.store.version(),
            seed=seed,
            minutes=minutes,
            pace=form.pace,
            schedules=_schedules(site),
            processes=_census(site),
            account=account,
            journal=site.journal,
            delays=observer.delays(stoppages(site.journal.faults, site.names("daemon")), site.journal.faults),
            verified=_verify(site, account),
            drained_in=mending.seconds,
            wall_seconds=time.monotonic() - began,
            versions=_versions(),
            simulated=f"{start:%Y-%m-%d %H:%M} to {site.clock.peak:%Y-%m-%d %H:%M} by its clock",
        )
        if keep or not found.is_right:
            found.kept = KEPT / found.name
            site.keep(found.kept)
    return found


def _site(database: str, form: Form, start: datetime, draw: random.Random, ends: ExitStack) -> Site:
    """A site with its definitions written, synced and switched on; no process runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    ends.callback(shutil.rmtree, folder, ignore_errors=True)
    store = Mariadb(folder) if database == "mariadb" else Sqlite(folder, form.disk_mib)
    ends.callback(store.close)
    clock = FastClock(folder / "clock", start, form.pace)
    ends.callback(clock.stop)
    marks = folder / "marks"
    marks.mkdir()
    (marks / "job.py").write_text(footprints.SCRIPT)
    its_fleet = fleet.make(folder, marks, draw, form.schedules, start)
    site = Site(folder, store, clock, its_fleet, Journal(folder / "storm.log"))
    ends.callback(site.end)
    its_fleet.write()
    for words in (("migrate",), ("sync",), ("schedules", "enable", *its_fleet.ids())):
        site.require(*words)
    return site


def _start(site: Site) -> None:
    """SQLite: two daemons, which work too.  MariaDB: three daemons, of which one works, and two workers."""
    if site.store.kind == "sqlite":
        for _ in range(2):
            site.place("daemon", SCHEDMGR_WORKER_CONCURRENCY="4")
    else:
        for places in ("2", "0", "0"):
            site.place("daemon", SCHEDMGR_WORKER_CONCURRENCY=places)
        for _ in range(2):
            site.place("worker", SCHEDMGR_WORKER_CONCURRENCY="3")
    site.place("web")
    site.clock.start()
    for process in site.processes:
        site.start(process)


def _schedules(site: Site) -> int:
    """How many there were, those that the storm added or took out included."""
    return int(site.store.rows("SELECT COUNT(*) AS schedules FROM job_schedule")[0]["schedules"])


def _census(site: Site) -> str:
    roles = [process.role for process in site.processes]
    return ", ".join(f"{roles.count(role)} {role}" for role in dict.fromkeys(roles))


def _account(site: Site, mending: Mending) -> accountant.Account:
    account = accountant.settle_accounts(
        accountant.open_books(site.store),
        footprints.read(site.fleet.marks),
        site.journal,
        settled_at=mending.settled_at,
        peak=site.clock.peak,
        last_run=mending.last_run,
    )
    _look_at_logs(site, account)
    return account


def _stop(site: Site) -> None:
    """All at once, as at the end of a day; each has to end with 0."""
    for process, code in site.terminate_all():
        if code != 0:
            site.journal.wrong(
                f"{process.name} was stopped at the end and {'hung' if code is None else f'gave {code}'}"
            )


def _look_at_logs(site: Site, account: accountant.Account) -> None:
    """A traceback in a log is a mistake that nobody foresaw; each is told once, by what it ends with."""
    for process in site.processes:
        ends = Counter(_tracebacks(process.log.read_text(errors="replace").splitlines()))
        account.wrong["amiss in the storm"] += [
            f"{process.name}: a traceback in its log, {count} times: {end}" for end, count in ends.items()
        ]


def _tracebacks(lines: list[str]) -> Iterator[str]:
    """The error in which each ends."""
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line.startswith(" "):
            inside = False
            yield line[:300]


def _verify(site: Site, account: accountant.Account) -> report.Verified:
    """`schedmgr verify` has to come to the same, by its own way."""
    done = site.command("verify", "--json")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return report.Verified(f"gave {done.returncode}: {done.stderr.strip()[-300:]}", [], agrees=False)
    problems = [
        f"{problem['schedule_id']} {problem['at']}: {problem['kind']}. {problem['problem']}"
        for problem in said["problems"]
    ]
    # What is wrong they count in different ways; what is right, in one.
    same = (said["occurrences"] - said["pending"], said["accounted"]) == (account.occurrences, account.covered)
    agrees = (
        done.returncode == (1 if problems else 0)
        and bool(problems) == account.firings_are_wrong
        and (same or bool(problems))
    )
    summary = f"{said['occurrences']:,} occurrences, {said['accounted']:,} accounted for, {len(problems)} problems"
    return report.Verified(" ".join([summary, *said["notes"]]), problems, agrees)


def _versions() -> dict[str, str]:
    said = subprocess.run(
        [sys.executable, "-m", "schedmgr", "version"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    return {
        "schedmgr": f"{said.strip().removeprefix('schedmgr ')} ({commit or 'no commit'})",
        "Python": sys.version.split()[0],
    }
