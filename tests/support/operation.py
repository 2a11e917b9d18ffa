"""Real daemons on a database cluster, whose every occurrence is counted by somebody else than the program."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from galera import Cluster
from programs import Program, Site, wait_until

MINUTE = timedelta(minutes=1)
FIRST_MINUTE = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EACH_MINUTE = 100  # schedules
EACH_FIFTH = 20
LEASE_SECONDS = 20  # longer than a cluster needs to do without a node


@dataclass(frozen=True)
class Covered:
    """What the tables and the jobs' own footprints say of a span of time."""

    firings: Counter[tuple[str, datetime]]  # how many rows cover this occurrence of this schedule
    enqueued: Counter[tuple[str, datetime]]
    footprints: Counter[tuple[str, datetime]]  # how many times its job was really run


class Operation:
    """120 schedules on one database of the cluster, the clock of that database, and the daemons that fire them."""

    def __init__(self, cluster: Cluster, site: Site, name: str, clock: Any) -> None:
        self.cluster = cluster
        self.site = site
        self.name = name
        self.clock = clock
        self.footprints = site.folder / "footprints"
        self.daemons: list[Program] = []

    def define(self) -> None:
        self.site.define(f"""
            mark = "echo $SCHEDMGR_SCHEDULE_ID $SCHEDMGR_SCHEDULED_FOR >> {self.footprints}"
            jobs = [Job("mark", command=mark)]
            how = {{"execution_mode": "JOB", "job": "mark", "overlap": "allow"}}
            schedules = [
                *(Schedule(f"minute-{{n:03}}", cron="* * * * *", **how) for n in range({EACH_MINUTE})),
                *(Schedule(f"fifth-{{n:02}}", cron="*/5 * * * *", **how) for n in range({EACH_FIFTH})),
            ]
        """)

    def turn_on(self, installation: Any) -> None:
        """Bring the definitions to the tables, as a deploy step does, and turn on all schedules."""
        synced = self.site.command("sync")
        assert synced.returncode == 0, synced.stderr
        installation.enable(*installation.schedules())

    def start_daemon(self, node: int, **variables: str) -> Program:
        """One that uses the node with that index as long as it can."""
        daemon = self.site.start_daemon(DATABASE_URL=self.cluster.url(self.name, first=node), **variables)
        self.daemons.append(daemon)
        return daemon

    def due(self, first: datetime, last: datetime) -> Counter[tuple[str, datetime]]:
        """Each occurrence of that span, once: counted out here, minute by minute."""
        minutes = [first + n * MINUTE for n in range(int((last - first) / MINUTE) + 1)]
        fifths = [minute for minute in minutes if minute.minute % 5 == 0]
        return Counter(
            [(f"minute-{n:03}", minute) for n in range(EACH_MINUTE) for minute in minutes]
            + [(f"fifth-{n:02}", minute) for n in range(EACH_FIFTH) for minute in fifths]
        )

    def covered(self) -> Covered:
        """Read from a node by a client of its own, and from the file in which the jobs left their marks."""
        firings: Counter[tuple[str, datetime]] = Counter()
        enqueued: Counter[tuple[str, datetime]] = Counter()
        for schedule, scheduled_for, decision, missed_until in self.rows(
            "SELECT schedule_id, scheduled_for, decision, missed_until FROM schedule_firing"
        ):
            first, last = scheduled_for.replace(tzinfo=UTC), (missed_until or scheduled_for).replace(tzinfo=UTC)
            firings.update(key for key in self.due(first, last) if key[0] == schedule)
            enqueued.update([(schedule, first)] if decision == "ENQUEUED" else [])
        return Covered(firings, enqueued, self._footprints())

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """From a node that works."""
        node = next(node for node in reversed(self.cluster.living()) if node.answers())
        return node.query(sql, *values, database=self.name)

    # Time

    def go_to_just_before(self, minute: datetime) -> None:
        """A second before it; slowly enough that no daemon takes the step for a silence of its own."""
        self.clock.set_to(minute - timedelta(seconds=30))
        self._wait_for_beats()
        self.clock.set_to(minute - timedelta(seconds=1))

    def wait_until_fired(self, minute: datetime, within: float = 60) -> float:
        """Until each occurrence of that minute is covered; gives how many seconds later than due that was."""
        wanted = sum(self.due(minute, minute).values())
        until = "coalesce(missed_until, scheduled_for)"
        sql = f"SELECT count(*) FROM schedule_firing WHERE scheduled_for <= %s AND {until} >= %s"
        plain = minute.replace(tzinfo=None)
        wait_until(lambda: self.rows(sql, plain, plain)[0][0] >= wanted, f"{minute} is covered", within)
        return (self.clock.now - minute).total_seconds()

    def wait_until_run(self) -> None:
        """Until no job run waits or is under way."""
        sql = "SELECT count(*) FROM job_run WHERE status IN ('QUEUED', 'RUNNING')"
        wait_until(lambda: self.rows(sql) == [(0,)], "every job run ends")

    def has_beaten(self, daemon: Program, since: datetime) -> bool:
        """Whether the database knows of a beat of this process after that instant."""
        sql = "SELECT count(*) FROM process WHERE pid = %s AND beat_at >= %s"
        return self.rows(sql, daemon.process.pid, since.replace(tzinfo=None)) != [(0,)]

    def _wait_for_beats(self) -> None:
        since = self.clock.now
        for daemon in self.daemons:
            wait_until(lambda daemon=daemon: self.has_beaten(daemon, since), "each daemon beats")

    def _footprints(self) -> Counter[tuple[str, datetime]]:
        lines = self.footprints.read_text().splitlines() if self.footprints.exists() else []
        return Counter((id, datetime.fromisoformat(at)) for id, at in map(str.split, lines))
