"""Rows of long ago, as the program would have written them then: what pruning is tried on."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from schedmgr.database.engine import Database
from schedmgr.database.models import (
    AdminSession,
    Base,
    JobRun,
    JobRunAttempt,
    JobRunOutput,
    JobVersion,
    Pause,
    Process,
    ScheduleFiring,
    SchedulePeriod,
)
from schedmgr.vocabulary import Decision, ProcessRole, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CUTOFF = NOON - timedelta(days=90)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
AT_ONCE = 2000  # rows


class Past:
    """Writes them.  What is given no instant ended a day before the cutoff."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.add(JobVersion, {"id": 1, "job": "tidy", "fingerprint": "f", "definition": {}, "created_at": NOON})

    def add(self, table: type[Base], *rows: dict[str, object]) -> None:
        for start in range(0, len(rows), AT_ONCE):
            some = list(rows[start : start + AT_ONCE])
            with self.database.write() as session:
                session.execute(insert(table), some)

    def firing(self, id: int, decided_at: datetime = CUTOFF - DAY, **fields: object) -> None:
        self.add(ScheduleFiring, firing_row(id, decided_at) | fields)

    def run(
        self, id: int, ended_at: datetime | None = CUTOFF - DAY, *, output: Sequence[int] = (), **fields: object
    ) -> None:
        """One with one attempt, which printed stretches of so many bytes."""
        row = run_row(id, ended_at) | fields
        self.add(JobRun, row)
        self.add(JobRunAttempt, attempt_row(row))
        if output:
            self.add(JobRunOutput, *output_rows(id, output))

    def process(self, id: str, beat_at: datetime, role: ProcessRole = ProcessRole.DAEMON) -> None:
        shared = {"host": "h", "pid": 1, "version": "1", "environment": "development", "clock_offset": 0.0}
        lived = {"started_at": beat_at - DAY, "beat_at": beat_at, "concurrency": 4}
        self.add(Process, {"id": id, "role": role, **shared, **lived})

    def pause(self, id: int, until_at: datetime | None) -> None:
        self.add(Pause, {"id": id, "from_at": CUTOFF - DAY, "until_at": until_at, "by": "ann", "reason": "failover"})

    def period(self, id: int, schedule_id: str, from_at: datetime, until_at: datetime | None) -> None:
        due = {"cron": "* * * * *", "timezone": "UTC", "tzdata": "2026a"}
        self.add(
            SchedulePeriod, {"id": id, "schedule_id": schedule_id, **due, "from_at": from_at, "until_at": until_at}
        )

    def sign_in(self, id: str, expires_at: datetime, ended_at: datetime | None = None) -> None:
        who = {"user_name": "ann", "created_at": expires_at - 7 * DAY, "origin": "127.0.0.1"}
        self.add(AdminSession, {"id": id, **who, "expires_at": expires_at, "ended_at": ended_at})

    def history(self, count: int, *, old: int | None = None, output: int = 0) -> None:
        """A run a minute, each of a firing of its own; `old` of them, or the older half, ended before the cutoff."""
        ids = range(1, count + 1)
        first = -(count // 2 if old is None else old)
        instants = {id: CUTOFF + (first + id - 1) * timedelta(minutes=1) for id in ids}
        runs = [run_row(id, instants[id]) | {"firing_id": id} for id in ids]
        self.add(ScheduleFiring, *(firing_row(id, instants[id]) for id in ids))
        self.add(JobRun, *runs)
        self.add(JobRunAttempt, *map(attempt_row, runs))
        if output:
            self.add(JobRunOutput, *(row for id in ids for row in output_rows(id, [output])))


def firing_row(id: int, decided_at: datetime) -> dict[str, object]:
    about = {"schedule_id": "feeds", "scheduled_for": decided_at, "decided_at": decided_at}
    return {
        **about,
        "id": id,
        "trigger": Trigger.SCHEDULE,
        "decision": Decision.ENQUEUED,
        "missed_count": 0,
        "process_id": "p",
        "job_run_count": 1,
        "claim_token": "t",
    }


def run_row(id: int, ended_at: datetime | None) -> dict[str, object]:
    at = (ended_at or CUTOFF - DAY) - SECOND
    when = {"queued_at": at, "available_at": at, "started_at": at, "finished_at": ended_at}
    return when | {
        "id": id,
        "firing_id": None,
        "job": "tidy",
        "group": "g",
        "job_version_id": 1,
        "trigger": Trigger.SCHEDULE,
        "status": RunStatus.SUCCEEDED if ended_at else RunStatus.RUNNING,
        "attempt": 1,
        "priority": 0,
        "in_turn": False,
        "waits_for": 0,
        "process_id": "p",
    }


def attempt_row(run: dict[str, object]) -> dict[str, object]:
    about = {"run_id": run["id"], "attempt": 1, "status": run["status"], "process_id": run["process_id"]}
    return about | {"started_at": run["started_at"], "output_bytes": 0, "output_left_out": 0}


def output_rows(run_id: int, sizes: Sequence[int]) -> Iterator[dict[str, object]]:
    for seq, size in enumerate(sizes, 1):
        place = {"run_id": run_id, "attempt": 1, "seq": seq, "first_line": seq, "byte_offset": 0}
        yield place | {"byte_count": size, "segments": "x" * size}
