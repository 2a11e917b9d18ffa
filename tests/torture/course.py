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
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from torture import accountant, fleet, footprints, report, storm
from torture.fastclock import FastClock
from torture.journal import Journal, boot_seconds
from torture.observer import Observer
from torture.places import ROOT, Site, wait_until
from torture.report import Findings
from torture.stoppages import stoppages
from torture.store import AWAY, Mariadb, Row, Sqlite, Store

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)
"""Weeks before the first clock change of the year in any zone of the fleet."""

SHORT_SCHEDULES, LONG_SCHEDULES = 100, 320
SHORT_PACE, LONG_PACE = 10.0, 6.0
KEPT = ROOT / ".cache" / "torture"
PATIENCE = 90.0  # seconds in which everything has to come right after the storm


def torture(database: str, minutes: float, seed: int, say: Callable[[str], None], *, keep: bool) -> Findings:
    """Start a site, let the storm rage over it, mend it, stop it, and work out the accounts."""
    began = time.monotonic()
    is_long = minutes >= 3
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    draw = random.Random(seed)
    start = FIRST_DAY + timedelta(days=draw.randrange(14), minutes=draw.randrange(1440))
    pace = LONG_PACE if is_long else SHORT_PACE
    store = _store(database, folder, is_long)
    journal = Journal(folder / "storm.log")
    clock = FastClock(folder / "clock", start, pace)
    marks = folder / "marks"
    marks.mkdir()
    (marks / "job.py").write_text(footprints.SCRIPT)
    the_fleet = fleet.make(folder, marks, draw, LONG_SCHEDULES if is_long else SHORT_SCHEDULES, start)
    site = Site(folder, store, clock, the_fleet, journal)
    observer = Observer(store, clock)
    try:
        _place(site)
        _open(site)
        say(f"{database}: the site stands after {time.monotonic() - began:.0f} s")
        clock.start()
        for process in site.processes:
            site.start(process)
        observer.start()
        the_storm = storm.Storm(site, journal, seed, minutes * 60)
        the_storm.rage(storm.plan(seed, minutes * 60, database))
        say(f"{database}: {len(journal.faults)} faults were injected; now all is mended")
        healed = time.monotonic()
        mending = Mending(site)
        mending.through()
        drained_in = time.monotonic() - healed
        observer.stop()
        _stop(site)
        peak = clock.peak
        say(f"{database}: all has stopped; the accountant is at work")
        account = accountant.settle_accounts(
            accountant.open_books(store),
            footprints.read(marks),
            journal,
            settled_at=mending.settled_at,
            peak=peak,
            last_run=mending.last_run,
        )
        _look_at_logs(site, account)
        found = Findings(
            database=database,
            version=store.version(),
            seed=seed,
            minutes=minutes,
            pace=pace,
            schedules=len(accountant.open_books(store).schedules),
            processes=_census(site),
            account=account,
            journal=journal,
            delays=observer.delays(stoppages(journal.faults, site.names("daemon")), journal.faults),
            verified=_verify(site, account),
            drained_in=drained_in,
            wall_seconds=0.0,
            versions=_versions(),
            simulated=f"{start:%Y-%m-%d %H:%M} to {peak:%Y-%m-%d %H:%M} by its clock",
        )
        if keep or not found.is_right:
            found.kept = KEPT / found.name
            site.keep(found.kept)
        found.wall_seconds = time.monotonic() - began
        return found
    finally:
        clock.stop()
        observer.stop()
        site.end()
        store.close()
        shutil.rmtree(folder, ignore_errors=True)


def _store(database: str, folder: Path, is_long: bool) -> Store:
    return Mariadb(folder) if database == "mariadb" else Sqlite(folder, 256 if is_long else 64)


def _place(site: Site) -> None:
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


def _census(site: Site) -> str:
    roles = [process.role for process in site.processes]
    return ", ".join(f"{roles.count(role)} {role}" for role in dict.fromkeys(roles))


def _open(site: Site) -> None:
    site.fleet.write()
    site.require("migrate")
    site.require("sync")
    site.require("schedules", "enable", *site.fleet.ids())


class Mending:
    """Everything as it should be, until all that is due is decided and all that was queued has ended."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.settled_at = site.clock.peak
        """Up to when everything is decided."""
        self.last_run = 0
        """The last run that had to end."""
        self._ends_at = time.monotonic() + PATIENCE

    def through(self) -> None:
        """What does not come right in time is noted as wrong."""
        site = self.site
        site.clock.reach_peak()
        site.fleet.write()
        for process in site.processes:
            if not process.is_running:
                site.start(process)
        self._must(
            lambda: [process.name for process in site.processes if not process.has_settled_in], "has not started"
        )
        self._resume()
        self._must(self._unlike_the_file, "is not in the tables as the file has it")
        self._switch_on()
        # The clock goes on at the host's pace, from the beginning of a minute on: nothing more is due for a while.
        time.sleep(site.clock.until(1.0))
        site.clock.stop()
        self.settled_at = site.clock.now
        self._must(self._undecided, "is not decided")
        self.last_run = int(site.store.rows("SELECT MAX(id) AS id FROM job_run")[0]["id"] or 0)
        self._must(self._unfinished, "has not ended")

    def _must(self, left: Callable[[], list[str]], what: str) -> None:
        """Wait until nothing is left."""

        def is_done() -> bool:
            self.site.look_after()
            with suppress(*AWAY):
                return not left()
            return False

        self.site.journal.note(f"wait until nothing {what}")
        if not wait_until(is_done, max(1.0, self._ends_at - time.monotonic()), pause=0.2):
            self.site.journal.wrong(f"{PATIENCE:.0f} s after the storm this {what}: {', '.join(left()[:5])}")

    def _resume(self) -> None:
        done = self.site.command("resume")
        if done.returncode != 0 and "Nothing is paused" not in done.stderr:
            self.site.journal.wrong(f"after the storm `resume` was refused: {done.stderr.strip()[-300:]}")

    def _unlike_the_file(self) -> list[str]:
        rows = self.site.store.rows("SELECT id FROM job_schedule WHERE archived_at IS NULL")
        return sorted({row["id"] for row in rows} ^ set(self.site.fleet.ids()))

    def _switch_on(self) -> None:
        """Whatever the file has: so every schedule has to show that it still fires."""
        rows = self.site.store.rows("SELECT id FROM job_schedule WHERE NOT enabled AND archived_at IS NULL")
        if rows and self.site.command("schedules", "enable", *(row["id"] for row in rows)).returncode != 0:
            self.site.journal.wrong("after the storm `schedules enable` was refused")

    def _undecided(self) -> list[str]:
        """Schedules whose newest occurrence no firing covers."""
        covered: dict[str, datetime] = {}
        for row in self.site.store.rows(
            "SELECT schedule_id, MAX(scheduled_for) AS fired, MAX(missed_until) AS missed FROM schedule_firing "
            "GROUP BY schedule_id"
        ):
            covered[row["schedule_id"]] = max((row["fired"] or FIRST_DAY), (row["missed"] or FIRST_DAY))
        periods = self.site.store.rows("SELECT * FROM schedule_period WHERE until_at IS NULL")
        return [period["schedule_id"] for period in periods if self._lacks(period, covered)]

    def _lacks(self, period: Row, covered: dict[str, datetime]) -> bool:
        lately = max(period["from_at"], self.settled_at - timedelta(hours=3))
        newest = max(accountant.due_in(period | {"from_at": lately}, self.settled_at), default=None)
        return newest is not None and covered.get(period["schedule_id"], FIRST_DAY) < newest

    def _unfinished(self) -> list[str]:
        rows = self.site.store.rows(
            "SELECT id, job, status FROM job_run WHERE id <= ? AND status IN ('QUEUED', 'RUNNING')", self.last_run
        )
        return [f"run {row['id']} of {row['job']} ({row['status']})" for row in rows]


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


__all__ = ["boot_seconds", "report", "torture"]
