"""The accountant: works out what had to happen from the tables' plain rows, and compares it with what did.

It shares no line with the program.  Occurrences come from cronsim, executions from the jobs' own footprints.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim

from torture.footprints import Execution, Footprints
from torture.journal import Journal
from torture.places import LEASE_SECONDS
from torture.store import Row, Store

AT_ONCE = 3.0
"""Seconds; two are promised, and this machine has more to do."""

OVER = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED", "LOST", "SKIPPED"})

CHECKS = (
    *("gaps", "duplicates", "not due", "wrong counts", "wrong reasons", "too early", "wrong periods"),
    *("half firings", "overlapping executions", "double starts", "out of turn", "outlived workers", "stuck runs"),
    *("ends without a footprint", "footprints without an attempt", "lost acknowledgements", "amiss in the storm"),
)

OF_VERIFY = (
    "gaps",
    "duplicates",
    "not due",
    "wrong counts",
    "wrong reasons",
    "too early",
    "wrong periods",
    "half firings",
)


@dataclass
class Books:
    """Everything that the tables hold and that the accountant needs."""

    schedules: list[Row]
    periods: dict[str, list[Row]]
    firings: dict[str, list[Row]]
    runs: dict[int, Row]
    attempts: dict[tuple[int, int], Row]
    processes: dict[str, Row]
    pauses: list[Row]


@dataclass
class Account:
    """What the accountant found.  `wrong`: each check with every case that fails it."""

    occurrences: int = 0
    covered: int = 0
    fired: int = 0
    made_up: int = 0
    by_hand: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Occurrences by reason."""
    runs: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    executions: int = 0
    cut_short: int = 0
    """Executions that were killed before their end."""
    unrecorded_ends: int = 0
    """Executions that ended by themselves when nobody could write it down any more."""
    lives: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[str]] = field(default_factory=lambda: {check: [] for check in CHECKS})

    @property
    def is_right(self) -> bool:
        return not any(self.wrong.values())

    @property
    def firings_are_wrong(self) -> bool:
        """Whether anything is wrong that `schedmgr verify` looks at, too."""
        return any(self.wrong[check] for check in OF_VERIFY)


def open_books(store: Store) -> Books:
    """Read the tables."""
    return Books(
        schedules=store.rows("SELECT * FROM job_schedule ORDER BY id"),
        periods=_by(store.rows("SELECT * FROM schedule_period ORDER BY from_at, id"), "schedule_id"),
        firings=_by(store.rows("SELECT * FROM schedule_firing ORDER BY scheduled_for, id"), "schedule_id"),
        runs={row["id"]: row for row in store.rows("SELECT * FROM job_run")},
        attempts={(row["run_id"], row["attempt"]): row for row in store.rows("SELECT * FROM job_run_attempt")},
        processes={row["id"]: row for row in store.rows("SELECT * FROM process")},
        pauses=store.rows("SELECT * FROM pause ORDER BY from_at"),
    )


def _by(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def settle_accounts(
    books: Books, footprints: Footprints, journal: Journal, *, settled_at: datetime, peak: datetime, last_run: int
) -> Account:
    """Compare everything.

    Every occurrence up to `settled_at` had been decided when all was well again; the clock never showed more than
    `peak`; every run up to the number `last_run` has had its time to end.
    """
    account = Account()
    for schedule in books.schedules:
        _account_of(account, books, schedule["id"], settled_at, peak, journal)
    _account_of_runs(account, books, last_run)
    _account_of_executions(account, books, footprints)
    _account_of_workers(account, books, footprints, journal)
    _account_of_promises(account, books, journal)
    account.lives.update(row["role"] for row in books.processes.values())
    account.wrong["amiss in the storm"] += journal.amiss
    return account


# Occurrences and firings


def due_in(period: Row, until: datetime) -> Iterator[datetime]:
    """The occurrences of a period, (from_at, until_at], as far as `until`."""
    starts, ends = period["starts_at"], period["ends_at"]
    stop = min(until, period["until_at"] or until)
    for local in CronSim(_plain(period["cron"]), period["from_at"].astimezone(ZoneInfo(period["timezone"]))):
        due = local.astimezone(UTC)
        if due > stop or (ends is not None and due >= ends):
            return
        if due > period["from_at"] and (starts is None or due >= starts):
            yield due


def _plain(cron: str) -> str:
    return {"@hourly": "0 * * * *", "@daily": "0 0 * * *"}.get(cron, cron)


def _account_of(
    account: Account, books: Books, schedule_id: str, settled_at: datetime, peak: datetime, journal: Journal
) -> None:
    periods = books.periods.get(schedule_id, [])
    firings = books.firings.get(schedule_id, [])
    wrong = account.wrong
    _check_periods(wrong["wrong periods"], schedule_id, periods, journal.interruptions[schedule_id])
    due: list[datetime] = []
    must: set[datetime] = set()
    for period in periods:
        of_period = list(due_in(period, peak))
        due += of_period
        must.update(of_period if period["until_at"] else (one for one in of_period if one <= settled_at))
    due.sort()
    times_covered: Counter[datetime] = Counter()
    for firing in firings:
        if firing["scheduled_for"] is None:
            account.by_hand += 1
            continue
        covered = _covered(wrong, firing, due)
        times_covered.update(covered)
        _note_decision(account, firing, covered)
        wrong["wrong reasons"] += _wrong_reasons(books, firing, covered)
        if (firing["missed_until"] or firing["scheduled_for"]) > firing["decided_at"]:
            wrong["too early"].append(f"{_name(firing)} was decided at {firing['decided_at']}, before it was due")
    for one in due:
        if times_covered[one] > 1:
            wrong["duplicates"].append(f"{schedule_id} {one} is covered {times_covered[one]} times")
        elif not times_covered[one] and one in must:
            wrong["gaps"].append(f"{schedule_id} {one} is covered by no firing")
    account.covered += sum(1 for one in due if times_covered[one])
    account.occurrences += sum(1 for one in due if times_covered[one] or one in must)


def _check_periods(wrong: list[str], schedule_id: str, periods: Sequence[Row], interruptions: int) -> None:
    """One after another, with no hole that nobody made."""
    holes = 0
    for earlier, later in pairwise(periods):
        if earlier["until_at"] is None or earlier["until_at"] > later["from_at"]:
            wrong.append(f"{schedule_id}: the period from {earlier['from_at']} runs into that from {later['from_at']}")
        elif earlier["until_at"] < later["from_at"]:
            holes += 1
    if holes > interruptions:
        wrong.append(f"{schedule_id}: {holes} holes between its periods, but it was taken out {interruptions} times")
    if periods and periods[-1]["until_at"] is not None and not interruptions:
        wrong.append(f"{schedule_id}: its last period ended at {periods[-1]['until_at']}, and nobody ended it")


def _covered(wrong: dict[str, list[str]], firing: Row, due: Sequence[datetime]) -> list[datetime]:
    """The occurrences that a firing stands for."""
    first = firing["scheduled_for"]
    last = firing["missed_until"] or first
    covered = list(due[bisect_left(due, first) : bisect_right(due, last)])
    if not covered or covered[0] != first or covered[-1] != last:
        wrong["not due"].append(f"{_name(firing)} stands for {first} to {last}, which are not both due")
    elif firing["missed_until"] is not None and len(covered) != firing["missed_count"]:
        wrong["wrong counts"].append(
            f"{_name(firing)} counts {firing['missed_count']} missed, there were {len(covered)}"
        )
    elif firing["missed_until"] is None and firing["missed_count"] != 0:
        wrong["wrong counts"].append(f"{_name(firing)} counts {firing['missed_count']} missed without an end")
    return covered


def _note_decision(account: Account, firing: Row, covered: Sequence[datetime]) -> None:
    if firing["decision"] == "SKIPPED":
        account.skipped[firing["reason"]] += len(covered)
    elif firing["trigger"] == "CATCH_UP":
        account.made_up += 1
    else:
        account.fired += 1


def _wrong_reasons(books: Books, firing: Row, covered: Sequence[datetime]) -> Iterator[str]:
    """Reasons that the rows of pauses and processes contradict, whatever the clock did meanwhile."""
    reason, decided_at = firing["reason"], firing["decided_at"]
    if firing["decision"] == "ENQUEUED":
        if (reason is None) != (firing["trigger"] == "SCHEDULE"):
            yield f"{_name(firing)} was enqueued by {firing['trigger']} with the reason {reason}"
    elif reason == "MISSED_PAUSED":
        for due in covered:
            if not any(
                pause["from_at"] <= at and (pause["until_at"] is None or at <= pause["until_at"])
                for pause in books.pauses
                for at in (due, decided_at)
            ):
                yield f"{_name(firing)}: nothing was paused at {due}, nor when that was decided"
    elif reason == "MISSED_NO_DAEMON":
        decider = books.processes.get(firing["process_id"] or "")
        if decider is not None and decider["role"] == "daemon" and covered and decider["started_at"] <= covered[0]:
            yield f"{_name(firing)}: its own daemon had been there since {decider['started_at']}"
    elif reason not in ("MISSED_LATE", "OVERLAP"):
        yield f"{_name(firing)} was skipped because of {reason}"


def _name(firing: Row) -> str:
    return f"firing {firing['id']} of {firing['schedule_id']}"


# Runs


def _account_of_runs(account: Account, books: Books, last_run: int) -> None:
    of_firing: Counter[int] = Counter()
    account.attempts = len(books.attempts)
    for run in books.runs.values():
        account.runs[run["status"]] += 1
        if run["firing_id"] is not None:
            of_firing[run["firing_id"]] += 1
        if run["status"] == "RUNNING":
            account.wrong["stuck runs"].append(f"{_run(run)} is running, and nobody is left to run it")
        elif run["status"] not in OVER and run["id"] <= last_run:
            account.wrong["stuck runs"].append(f"{_run(run)} still waits (available at {run['available_at']})")
    for firings in books.firings.values():
        for firing in firings:
            runs = of_firing.pop(firing["id"], 0)
            least = 1 if firing["decision"] == "ENQUEUED" else 0
            if firing["job_run_count"] != runs or (runs > 0) != (least > 0):
                account.wrong["half firings"].append(
                    f"{_name(firing)}, {firing['decision']}, says {firing['job_run_count']} runs and has {runs}"
                )
    for firing_id, runs in of_firing.items():
        account.wrong["half firings"].append(f"{runs} runs belong to firing {firing_id}, which is not there")


def _run(run: Row) -> str:
    return f"run {run['id']} ({run['job']} of {run['schedule_id']}, attempt {run['attempt']})"


# Executions


def _account_of_executions(account: Account, books: Books, footprints: Footprints) -> None:
    account.executions = len(footprints.executions)
    executions = footprints.by_run()
    for torn in footprints.torn:
        account.wrong["footprints without an attempt"].append(f"the footprint {torn} does not begin as it must")
    for of_run in executions.values():
        _check_alone(account, of_run)
        for one in of_run:
            _check_attempt(account, books, one)
    _check_ends(account, books, executions)
    _check_turns(account, books, executions)


def _check_alone(account: Account, of_run: Sequence[Execution]) -> None:
    """Of one run nothing ever lives twice at a moment, and no attempt starts twice."""
    wrong = account.wrong
    for execution in of_run:
        if not execution.alone:
            wrong["overlapping executions"].append(f"{_execution(execution)} found another one of its run alive")
    for number, one in enumerate(of_run):
        for other in of_run[number + 1 :]:
            if one.overlaps(other):
                wrong["overlapping executions"].append(f"{_execution(one)} was seen alive beside {_execution(other)}")
            if one.attempt == other.attempt:
                wrong["double starts"].append(f"{_execution(one)} and {_execution(other)} are the same attempt")


def _check_attempt(account: Account, books: Books, one: Execution) -> None:
    """Each execution belongs to an attempt that the table knows, and each end that counts is the one that it wrote."""
    attempt = books.attempts.get((one.run_id, one.attempt))
    account.cut_short += one.ended is None
    if attempt is None:
        account.wrong["footprints without an attempt"].append(f"{_execution(one)} is not in the table")
        return
    status, code = attempt["status"], attempt["exit_code"]
    if one.ended is not None and status == "LOST":
        account.unrecorded_ends += 1
    if one.ended is not None and status in ("SUCCEEDED", "FAILED") and code != one.code:
        account.wrong["ends without a footprint"].append(f"{_execution(one)} ended with {one.code}, recorded is {code}")


def _check_ends(account: Account, books: Books, executions: dict[int, list[Execution]]) -> None:
    wrong = account.wrong["ends without a footprint"]
    for (run_id, number), attempt in books.attempts.items():
        marks = [one for one in executions.get(run_id, ()) if one.attempt == number]
        ends = [one for one in marks if one.ended is not None]
        if attempt["status"] == "SUCCEEDED" and not any(one.code == 0 for one in ends):
            wrong.append(f"run {run_id} attempt {number} SUCCEEDED, and left no footprint of its end")
        if (
            attempt["status"] == "FAILED"
            and attempt["exit_code"] is not None
            and attempt["exit_code"] >= 0
            and not ends
        ):
            wrong.append(f"run {run_id} attempt {number} FAILED with {attempt['exit_code']}, and left no footprint")
    for run in books.runs.values():
        if run["status"] == "SUCCEEDED" and (run["id"], run["attempt"]) not in books.attempts:
            wrong.append(f"{_run(run)} SUCCEEDED without an attempt")


def _check_turns(account: Account, books: Books, executions: dict[int, list[Execution]]) -> None:
    """A run that waits for its turn starts when nothing of an earlier firing of its schedule is alive any more."""
    of_schedule: dict[str, list[Row]] = defaultdict(list)
    for run in books.runs.values():
        if run["firing_id"] is not None and run["id"] in executions:
            of_schedule[run["schedule_id"]].append(run)
    for runs in of_schedule.values():
        for run in runs:
            if not run["in_turn"]:
                continue
            begins = [one.began for one in executions[run["id"]]]
            for earlier in runs:
                if earlier["firing_id"] < run["firing_id"]:
                    for one in executions[earlier["id"]]:
                        if any(one.began <= at <= one.last_seen for at in begins):
                            account.wrong["out of turn"].append(f"{_run(run)} began while {_execution(one)} was alive")


def _account_of_workers(account: Account, books: Books, footprints: Footprints, journal: Journal) -> None:
    """Nothing outlives its worker, nor the lease of one that is frozen."""
    for one in footprints.executions:
        attempt = books.attempts.get((one.run_id, one.attempt))
        worker = books.processes.get(attempt["process_id"]) if attempt else None
        if worker is None:
            continue
        died_at = journal.ends.get(worker["pid"])
        if died_at is not None and one.last_seen > died_at + AT_ONCE:
            account.wrong["outlived workers"].append(f"{_execution(one)}: its worker had died at {died_at:.3f}")
        for pid, began, ended in journal.freezes:
            lapsed = began + LEASE_SECONDS + AT_ONCE
            if pid == worker["pid"] and one.began < began and lapsed < one.last_seen < ended:
                account.wrong["outlived workers"].append(
                    f"{_execution(one)}: its worker was frozen from {began:.3f} to {ended:.3f}"
                )


def _execution(one: Execution) -> str:
    return f"run {one.run_id} attempt {one.attempt} (pid {one.pid}, {one.began:.3f} to {one.last_seen:.3f})"


# What was promised to people


def _account_of_promises(account: Account, books: Books, journal: Journal) -> None:
    known = {firing["id"] for firings in books.firings.values() for firing in firings}
    for firing_id, run_ids in journal.acknowledged_firings.items():
        if firing_id not in known or any(run_id not in books.runs for run_id in run_ids):
            account.wrong["lost acknowledgements"].append(
                f"firing {firing_id} with its runs was acknowledged, and is gone"
            )
