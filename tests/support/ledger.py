"""Schedules of every minute, the daemons that fire them, and what the tables say of it, counted by somebody else than
the program: minute by minute, and row by row."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mariadb import Server
from programs import Program, Site, wait_until
from sqlalchemy import select, text

from schedmgr.core import locking
from schedmgr.database.models import ScheduleFiring

MINUTE = timedelta(minutes=1)
FIRST_MINUTE = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NAP = timedelta(seconds=1.3)  # a daemon with nothing to do looks each second

Occurrence = tuple[str, datetime]


def minute(number: int) -> datetime:
    """The minutes in which something is due, from 0 on."""
    return FIRST_MINUTE + number * MINUTE


class Ledger:
    """The test's schedules, all due each minute and on, and their daemons.  `server`: None on SQLite."""

    def __init__(self, site: Site, installation: Any, clock: Any, server: Server | None) -> None:
        self.site = site
        self.installation = installation
        self.clock = clock
        self.server = server
        self.ids: list[str] = []
        self.daemons: list[Program] = []
        self.workers: list[Program] = []
        self._are_on = False

    # What is there

    def define(self, count: int, command: str = "true", cron: str = "* * * * *", more: str = "") -> None:
        """So many schedules of one job; they are turned on when the first minute is approached."""
        self.clock.set_to(FIRST_MINUTE - 0.75 * MINUTE)
        self.ids = [f"s{number:03}" for number in range(count)]
        self.site.define(definitions(count, command, cron) + more)
        synced = self.site.command("sync")
        assert synced.returncode == 0, synced.stderr

    def start_daemon(self, **variables: str) -> Program:
        """One that only schedules, unless told otherwise; on a server it is a user of its own."""
        variables = {"SCHEDMGR_WORKER_CONCURRENCY": "0"} | variables
        if self.server is not None:
            variables |= {"DATABASE_URL": self._url_of(f"daemon{len(self.site.programs)}")}
        daemon = self.site.start_daemon(**variables)
        self.daemons.append(daemon)
        return daemon

    def start_worker(self) -> Program:
        """One on its own."""
        self.workers.append(self.site.start_worker())
        return self.workers[-1]

    def user_of(self, daemon: Program) -> str:
        """As whom this daemon signs in to the server."""
        return f"daemon{self.site.programs.index(daemon)}"

    def _url_of(self, user: str) -> str:
        assert self.server is not None
        self.server.query(f"CREATE USER IF NOT EXISTS {user}@'127.0.0.1'")
        self.server.query(f"GRANT ALL ON *.* TO {user}@'127.0.0.1'")
        return self.site.environment["DATABASE_URL"].replace("root@", f"{user}@")

    # Time

    def approach(self, instant: datetime) -> None:
        """Just before it: slowly enough that no daemon takes the step for a silence of its own, and early enough that
        each sees it coming."""
        self.clock.set_to(instant - MINUTE / 2)
        if not self._are_on:  # not before: nothing may be due while daemons start, however long that takes
            self.installation.enable(*self.ids)
            self._are_on = True
        since = self.clock.now
        for program in (*self.daemons, *self.workers):
            wait_until(lambda program=program: self.has_beaten(program, since), "each daemon and worker beats")
        self.clock.set_to(instant - NAP)

    def wait_for(self, instant: datetime) -> None:
        """Until the clock is there."""
        wait_until(lambda: self.clock.now >= instant, f"it is {instant}")

    def wait_until_fired(self, instant: datetime, ids: Sequence[str] | None = None, within: float = 60) -> float:
        """Until that occurrence of each schedule is to be seen in the tables; gives how many seconds late that was."""
        wanted = {(id, instant) for id in (self.ids if ids is None else ids)}
        wait_until(lambda: wanted <= self.fired_at(instant), f"{instant} has fired", within)
        return (self.clock.now - instant).total_seconds()

    # What the tables say

    def rows(self, sql: str, **values: Any) -> Sequence[Any]:
        with self.installation.database.read() as session:
            return session.execute(text(sql), values).all()

    def fired_at(self, instant: datetime) -> set[Occurrence]:
        """The schedules that have a firing for that instant, with it."""
        plain = f"{instant:%Y-%m-%d %H:%M:%S.%f}"
        found = self.rows("SELECT schedule_id FROM schedule_firing WHERE scheduled_for = :at", at=plain)
        return {(id, instant) for (id,) in found}

    def firings(self) -> list[Any]:
        """All of them, whatever they say."""
        table = ScheduleFiring.__table__
        with self.installation.database.read() as session:
            return list(session.execute(select(table).order_by(table.c.schedule_id, table.c.scheduled_for)))

    def covered(self) -> Counter[Occurrence]:
        """How many rows cover each occurrence."""
        counted: Counter[Occurrence] = Counter()
        for row in self.firings():
            covered = due([row.schedule_id], row.scheduled_for, row.missed_until or row.scheduled_for)
            assert row.missed_count in (0, len(covered)), row
            counted += covered
        return counted

    def due(self, first: datetime, last: datetime) -> Counter[Occurrence]:
        """Each occurrence of all schedules in that span, once."""
        return due(self.ids, first, last)

    def late(self, instant: datetime) -> float:
        """Seconds from that instant to its last decision, by the database's clock."""
        return max((row.decided_at - instant).total_seconds() for row in self.firings() if row.scheduled_for == instant)

    def lives(self, daemon: Program) -> list[str]:
        """The ids that a daemon had, oldest first."""
        found = self.rows("SELECT id FROM process WHERE pid = :pid ORDER BY started_at", pid=daemon.process.pid)
        return [id for (id,) in found]

    def had_a_daemon(self, instant: datetime) -> bool:
        """Whether some daemon's row says that it was there at that instant."""
        sql = "SELECT count(*) FROM process WHERE role = 'daemon' AND started_at <= :at AND beat_at >= :at"
        return self.rows(sql, at=f"{instant:%Y-%m-%d %H:%M:%S.%f}") != [(0,)]

    def beginning(self, daemon: Program) -> datetime:
        """When its last life began."""
        (row,) = self.rows("SELECT max(started_at) FROM process WHERE pid = :pid", pid=daemon.process.pid)
        return datetime.fromisoformat(str(row[0])).replace(tzinfo=UTC)

    def footprints(self, file: Path) -> Counter[Occurrence]:
        """What the jobs wrote down themselves, one line each: schedule and instant."""
        lines = map(str.split, file.read_text().splitlines())
        return Counter((id, datetime.fromisoformat(at)) for id, at in lines)

    def has_beaten(self, program: Program, since: datetime) -> bool:
        """Whether the database knows of a beat of this process after that instant."""
        sql = "SELECT count(*) FROM process WHERE pid = :pid AND beat_at >= :since"
        return self.rows(sql, pid=program.process.pid, since=f"{since:%Y-%m-%d %H:%M:%S.%f}") != [(0,)]

    # Who holds what, on a server

    @contextmanager
    def decisions_held_up(self) -> Iterator[None]:
        """Meanwhile a daemon that has claimed what is due waits with its rows locked: as if somebody began a pause."""
        with self.installation.database.write() as session:
            locking.hold_pauses(session, to_change=True)
            yield

    def holders(self, more_than: float) -> list[Program]:
        """The daemons that keep more than so many rows locked, as the server counts: two for each that was claimed,
        and one for each that was passed over."""
        assert self.server is not None
        # The server renews what it tells of its transactions only when nobody has asked for a tenth of a second.
        threading.Event().wait(0.12)
        sql = """SELECT held.user FROM information_schema.innodb_trx AS trx
            JOIN information_schema.processlist AS held ON held.id = trx.trx_mysql_thread_id
            WHERE trx.trx_rows_locked > %s"""
        users = {user for (user,) in self.server.query(sql, more_than)}
        return [daemon for daemon in self.daemons if self.user_of(daemon) in users]

    def wait_for_holder(self, more_than: float) -> Program:
        """The daemon that keeps more than so many rows locked, as soon as there is one."""
        holder: Program = wait_until(lambda: self.holders(more_than), "a daemon holds rows", within=8)[0]
        return holder

    def cut(self, daemon: Program) -> None:
        """Cut each connection of a daemon, whatever it does."""
        assert self.server is not None
        self.server.query(f"KILL CONNECTION USER {self.user_of(daemon)}")


def definitions(count: int, command: str = "true", cron: str = "* * * * *", **more: Any) -> str:
    """So many schedules of one job."""
    how = {"cron": cron, "execution_mode": "JOB", "job": "work", "overlap": "allow"} | more
    return f"""
jobs = [Job("work", command={command!r})]
schedules = [Schedule(f"s{{number:03}}", **{how!r}) for number in range({count})]
"""


def due(ids: Sequence[str], first: datetime, last: datetime) -> Counter[Occurrence]:
    """The minutes from the first to the last, of each of these schedules."""
    minutes = [first + number * MINUTE for number in range(int((last - first) / MINUTE) + 1)]
    return Counter((id, minute) for id in ids for minute in minutes)
