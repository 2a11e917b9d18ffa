"""The storm: a plan of faults drawn from a seed, each carried out and ended by a thread of its own.

Each fault draws its details from a generator of its own, made of the seed and its number, so that the same seed plans
the same faults however their threads take turns.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from torture.journal import Journal
from torture.places import Process, Site
from torture.store import AWAY
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


def plan(seed: int, seconds: float, kinds: Sequence[Kind]) -> list[Planned]:
    """Every kind at least once, then by weight, at any time of the storm."""
    draw = random.Random(seed)
    wanted = max(round(seconds / 60 * A_MINUTE), len(kinds) + A_FEW)
    chosen = [*kinds, *draw.choices(kinds, [kind.weight for kind in kinds], k=wanted - len(kinds))]
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
