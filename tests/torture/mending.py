"""After the storm: everything as it should be, and time for what is due and queued."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from torture import accountant
from torture.places import Site, wait_until
from torture.store import AWAY, Row

PATIENCE = 90.0  # seconds in which everything has to come right
NEVER = datetime.min.replace(tzinfo=UTC)


class Mending:
    """Everything as it should be, until all that is due is decided and all that was queued has ended."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.settled_at = site.clock.peak
        """Up to when everything is decided."""
        self.last_run = 0
        """The last run that had to end."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return time.monotonic() - self._began

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
        if not wait_until(is_done, max(1.0, PATIENCE - self.seconds), pause=0.2):
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
            covered[row["schedule_id"]] = max((row["fired"] or NEVER), (row["missed"] or NEVER))
        periods = self.site.store.rows("SELECT * FROM schedule_period WHERE until_at IS NULL")
        return [period["schedule_id"] for period in periods if self._lacks(period, covered)]

    def _lacks(self, period: Row, covered: dict[str, datetime]) -> bool:
        lately = max(period["from_at"], self.settled_at - timedelta(hours=3))
        newest = max(accountant.due_in(period | {"from_at": lately}, self.settled_at), default=None)
        return newest is not None and covered.get(period["schedule_id"], NEVER) < newest

    def _unfinished(self) -> list[str]:
        rows = self.site.store.rows(
            "SELECT id, job, status FROM job_run WHERE id <= ? AND status IN ('QUEUED', 'RUNNING')", self.last_run
        )
        return [f"run {row['id']} of {row['job']} ({row['status']})" for row in rows]
