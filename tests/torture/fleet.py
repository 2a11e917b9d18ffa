"""The jobs and schedules of the site, and how the storm changes them."""

import random
import sys
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

BEACONS = ("beacon-a", "beacon-b", "beacon-c")
"""Due each minute, and never touched: by them the recovery is measured."""

STANDING = {"standing-a": "marathon", "standing-b": "marathon", "standing-c": "brood"}
"""Due each minute, too: so that whatever is killed was running a long job."""

# No clock change falls into the span in which the torture plays, so cronsim is right about all of them.
ZONES = ("UTC", "UTC", "UTC", "Asia/Kolkata", "Asia/Tokyo", "America/Phoenix", "Etc/GMT+5", "Europe/Berlin")
OFTEN = ("* * * * *", "*/2 * * * *", "1-59/2 * * * *", "*/3 * * * *", "1-59/3 * * * *", "*/4 * * * *", "*/5 * * * *")
SELDOM = (
    "*/7 * * * *",
    "*/10 * * * *",
    "3-59/10 * * * *",
    "*/15 * * * *",
    "7,22,41 * * * *",
    "*/20 * * * *",
    "@hourly",
)
RARE = ("{m} * * * *", "{m} */2 * * *", "{m},{n} * * * 1-5", "{m} {h} * * *", "0 0 L * *", "{m} {h} * * 5#2", "@daily")

JOBS: tuple[dict[str, Any], ...] = (
    *({"name": f"quick-{n}", "group": "fast", "takes": (0.03 * n,)} for n in range(1, 5)),
    {"name": "plain", "group": "plain", "takes": (0.1,), "description": "as it was written first"},
    {"name": "steady", "group": "slow", "takes": (1.5,), "on_lost": "retry"},
    {"name": "long", "group": "slow", "takes": (4.0,), "on_lost": "retry", "retries": 1, "retry_delay": 1},
    {"name": "marathon", "group": "slow", "takes": (10.0,), "on_lost": "retry", "retry_delay": 1, "priority": 5},
    {"name": "once-only", "group": "slow", "takes": (2.0,), "on_lost": "fail"},
    {"name": "flaky", "group": "odd", "takes": (0.1, "fail=1"), "retries": 2, "retry_delay": 1},
    {"name": "doomed", "group": "odd", "takes": (0.05, "fail=99", "code=3"), "retries": 1, "retry_delay": 2},
    {"name": "sluggish", "group": "odd", "takes": (9.0,), "timeout": 1, "retry_delay": 1},
    {"name": "brood", "group": "odd", "takes": (1.5, "brood=20"), "on_lost": "retry", "retry_delay": 1},
    {"name": "stubborn", "group": "odd", "takes": (1.0, "stubborn"), "on_lost": "retry"},
    {"name": "first", "group": "chain", "takes": (0.1,), "on_lost": "retry"},
    {"name": "second", "group": "chain", "takes": (0.1,), "after": ["first"], "on_lost": "retry"},
    {"name": "third", "group": "chain", "takes": (0.05,), "after": ["first", "second"], "on_lost": "retry"},
)

BROKEN = (
    "def oops(:\n",
    "raise RuntimeError('half a deploy')\n",
    "from schedmgr import Job, Schedule\njobs = [Job('plain', command='true')]\n"
    "schedules = [Schedule('beacon-a', cron='61 * * * *', execution_mode='ALL_JOBS')]\n",
    "import sys\nsys.exit(3)\n",
    "",
)


@dataclass(frozen=True)
class Entry:
    """One schedule, as it stands in the file."""

    id: str
    cron: str
    how: dict[str, Any]

    @property
    def has_window(self) -> bool:
        """Whether it is due between two instants only."""
        return bool({"starts_at", "ends_at"} & set(self.how))

    def text(self) -> str:
        """As the file has it."""
        fields = "".join(f", {name}={value}" for name, value in self.how.items())
        return f"    Schedule({self.id!r}, cron={self.cron!r}{fields}),\n"


@dataclass
class Fleet:
    """The definitions in force.  Methods may be called from any thread; each writes the file anew."""

    folder: Path
    marks: Path
    entries: dict[str, Entry]
    descriptions: dict[str, str] = field(default_factory=dict)
    removed: list[Entry] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self) -> None:
        """The file as it should be."""
        with self.lock:
            self._write()

    def break_(self, draw: random.Random) -> str:
        """Put something in its place that cannot be loaded.  Says what."""
        broken = draw.choice(BROKEN)
        with self.lock:
            self._put(broken)
        return broken.strip().splitlines()[-1] if broken else "an empty file"

    def change_cron(self, draw: random.Random) -> str:
        """Another expression for one schedule.  Says which."""
        with self.lock:
            entry = self.entries[self._pick(draw)]
            # One that has a window must still be due in it.
            crons = OFTEN if entry.has_window else OFTEN + SELDOM
            changed = replace(entry, cron=_cron(draw, crons))
            self.entries[entry.id] = changed
            self._write()
        return f"{entry.id}: {entry.cron} -> {changed.cron}"

    def change_job(self, draw: random.Random) -> str:
        """A new version of one job.  Says which."""
        with self.lock:
            job = draw.choice(JOBS)["name"]
            self.descriptions[job] = f"version {draw.randrange(10**6)}"
            self._write()
        return str(job)

    def remove(self, draw: random.Random) -> str:
        """Take one schedule out.  Says which."""
        with self.lock:
            entry = self.entries.pop(self._pick(draw))
            self.removed.append(entry)
            self._write()
        return entry.id

    def add(self, draw: random.Random) -> str:
        """A new schedule, or one that was taken out before comes back.  Says which."""
        with self.lock:
            if self.removed and draw.random() < 0.5:
                entry = self.removed.pop(draw.randrange(len(self.removed)))
            else:
                entry = _entry(draw, f"added-{draw.randrange(10**9)}", OFTEN, None)
            self.entries[entry.id] = entry
            self._write()
        return entry.id

    def ids(self) -> list[str]:
        """Every schedule in the file."""
        with self.lock:
            return list(self.entries)

    def pick(self, draw: random.Random) -> str:
        """A schedule that may be meddled with."""
        with self.lock:
            return self._pick(draw)

    def _pick(self, draw: random.Random) -> str:
        return draw.choice([id for id in self.entries if id not in (*BEACONS, *STANDING)])

    def _write(self) -> None:
        jobs = "".join(self._job_text(job) for job in JOBS)
        schedules = "".join(entry.text() for entry in self.entries.values())
        self._put(
            f"from datetime import datetime\n\nfrom schedmgr import Job, Schedule\n\njobs = [\n{jobs}]\n\n"
            f"schedules = [\n{schedules}]\n"
        )

    def _job_text(self, job: dict[str, Any]) -> str:
        told = {"description": self.descriptions.get(job["name"], job.get("description", ""))}
        fields = {name: value for name, value in (job | told).items() if name not in ("name", "takes")}
        # Isolated and without site: an interpreter that is there in a hundredth of a second.
        command = [sys.executable, "-I", "-S", str(self.marks / "job.py"), str(self.marks), *map(str, job["takes"])]
        rest = "".join(f", {name}={value!r}" for name, value in fields.items())
        return f"    Job({job['name']!r}, command={command!r}{rest}),\n"

    def _put(self, text: str) -> None:
        new = self.folder / "definitions.new"
        new.write_text(text)
        new.rename(self.folder / "definitions.py")


def make(folder: Path, marks: Path, draw: random.Random, count: int, start: datetime) -> Fleet:
    """A fleet of that many schedules of every kind."""
    entries = [
        _steady(BEACONS[0], "quick-1", "skip", "allow"),
        _steady(BEACONS[1], "quick-1", "run_once", "skip"),
        _steady(BEACONS[2], "quick-1", "catch_up", "queue"),
        *(_steady(id, job, "skip", "skip") for id, job in STANDING.items()),
    ]
    kinds = draw.choices((OFTEN, SELDOM, RARE), weights=(2, 5, 4) if count > 150 else (6, 2, 2), k=count - len(entries))
    entries += [_entry(draw, f"s{n:03}", crons, start) for n, crons in enumerate(kinds)]
    return Fleet(folder, marks, {entry.id: entry for entry in entries})


def _steady(id: str, job: str, missed: str, overlap: str) -> Entry:
    how = {"missed": missed, "overlap": overlap, "execution_mode": "JOB", "job": job}
    return Entry(id, "* * * * *", {name: repr(value) for name, value in how.items()})


def _entry(draw: random.Random, id: str, crons: tuple[str, ...], start: datetime | None) -> Entry:
    how: dict[str, Any] = _target(draw, crons)
    how["timezone"] = draw.choice(ZONES)
    how["missed"] = draw.choice(("skip", "skip", "run_once", "catch_up"))
    if how["missed"] == "catch_up":
        how["catch_up_limit"] = draw.randint(1, 4)
    how["overlap"] = draw.choice(("skip", "skip", "queue", "allow"))
    how["grace"] = draw.choice((0, 5, 30, 60, 60, 120, 600))
    how["jitter"] = draw.choice((0, 0, 0, 0, 5))
    quoted = {name: repr(value) for name, value in how.items()}
    if start is not None and crons is OFTEN and draw.random() < 0.12:
        quoted["starts_at"] = _instant(start + timedelta(minutes=draw.randint(1, 10)))
    if start is not None and crons is OFTEN and draw.random() < 0.12:
        quoted["ends_at"] = _instant(start + timedelta(minutes=draw.randint(20, 60)))
    return Entry(id, _cron(draw, crons), quoted)


def _instant(at: datetime) -> str:
    return f"datetime.fromisoformat({at.isoformat()!r})"


def _cron(draw: random.Random, crons: tuple[str, ...]) -> str:
    m, n = sorted(draw.sample(range(60), 2))
    return draw.choice(crons).format(m=m, n=n, h=draw.randrange(24))


def _target(draw: random.Random, crons: tuple[str, ...]) -> dict[str, Any]:
    """What it runs; what is due often runs little."""
    kind = draw.random()
    if crons is RARE and kind < 0.1:
        return {"execution_mode": "ALL_JOBS"}
    if crons is not OFTEN and kind < 0.3:
        return {"execution_mode": "GROUP", "job_group": draw.choice(("fast", "chain", "plain", "odd", "slow"))}
    if kind < 0.06:
        return {"execution_mode": "GROUP", "job_group": "chain"}
    jobs = [job["name"] for job in JOBS if not job.get("after")]
    cheap = draw.random() < (0.6 if crons is OFTEN else 0.3)
    return {"execution_mode": "JOB", "job": draw.choice(jobs[:5] if cheap else jobs)}
