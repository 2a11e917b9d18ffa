"""The accountant of the torture finds each thing that may be wrong: else its silence would prove nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from torture.accountant import Account, Books, settle_accounts
from torture.footprints import Execution, Footprints
from torture.journal import Injected, Journal
from torture.stoppages import Stoppage, stoppages

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
FIRED = {"trigger": "SCHEDULE", "decision": "ENQUEUED", "reason": None, "missed_count": 0, "missed_until": None}
MISSED = {"trigger": "SCHEDULE", "decision": "SKIPPED", "reason": "MISSED_LATE", "job_run_count": 0}


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


class Site:
    """Books that are right: a schedule of every minute that fired at 12:01 to 12:05 with a run each, all as it should.

    What a test changes in them is found, or it is not.
    """

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "storm.log")
        self.firings = [self.firing(minute) for minute in range(1, 6)]
        self.period = {"schedule_id": "each", "cron": "* * * * *", "timezone": "UTC", "from_at": at(0)}
        self.period |= {"until_at": None, "starts_at": None, "ends_at": None}
        self.periods = [self.period]
        self.runs = {number: self.run(number) for number in range(1, 6)}
        self.attempts = {(number, 1): self.attempt(number) for number in range(1, 6)}
        self.executions = [self.execution(number) for number in range(1, 6)]
        self.pauses: list[dict[str, Any]] = []
        self.processes = {"w": {"role": "worker", "pid": 70}}

    def firing(self, minute: int, **other: Any) -> dict[str, Any]:
        row = {"id": minute, "schedule_id": "each", "scheduled_for": at(minute), "decided_at": at(minute + 0.01)}
        return row | FIRED | {"process_id": "d", "job_run_count": 1} | other

    def run(self, number: int, **other: Any) -> dict[str, Any]:
        row = {"id": number, "firing_id": number, "schedule_id": "each", "job": "work", "status": "SUCCEEDED"}
        return row | {"attempt": 1, "in_turn": False, "available_at": at(number)} | other

    def attempt(self, number: int, status: str = "SUCCEEDED", exit_code: int | None = 0) -> dict[str, Any]:
        row = {"run_id": number, "attempt": 1, "status": status, "exit_code": exit_code}
        return row | {"process_id": "w"}

    def execution(self, number: int, *, attempt: int = 1, began: float | None = None, alone: bool = True) -> Execution:
        start = float(number * 10) if began is None else began
        return Execution(number, attempt, "each", 100 + number, start, alone, start + 2, start + 2, 0)

    def account(self) -> Account:
        books = Books(
            schedules=[{"id": "each"}],
            periods={"each": self.periods},
            firings={"each": self.firings},
            runs=self.runs,
            attempts=self.attempts,
            processes=self.processes,
            pauses=self.pauses,
        )
        footprints = Footprints(self.executions)
        return settle_accounts(books, footprints, self.journal, settled_at=at(5.5), peak=at(6.5), last_run=5)

    def wrong(self) -> dict[str, int]:
        """How many cases of what."""
        return {check: len(cases) for check, cases in self.account().wrong.items() if cases}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_books_that_are_right_are_found_right(site):
    account = site.account()
    assert account.is_right
    assert (account.occurrences, account.covered, account.fired) == (5, 5, 5)


def test_an_occurrence_without_a_firing_is_a_gap(site):
    del site.firings[2], site.runs[3], site.attempts[3, 1], site.executions[2]
    assert site.wrong() == {"gaps": 1}


def test_an_occurrence_after_all_was_settled_may_be_decided_or_not(site):
    assert at(6) not in [firing["scheduled_for"] for firing in site.firings]
    assert site.account().occurrences == 5
    site.firings.append(site.firing(6, job_run_count=0) | MISSED | {"missed_count": 1, "missed_until": at(6)})
    assert site.account().occurrences == 6
    assert site.wrong() == {}


def test_an_occurrence_that_two_firings_cover_is_a_duplicate(site):
    late = {"missed_count": 2, "missed_until": at(5), "decided_at": at(5.1)}
    site.firings.append(site.firing(4, id=9) | MISSED | late)
    assert site.wrong() == {"duplicates": 2}


def test_a_firing_at_a_time_that_is_not_due_is_found(site):
    site.period["cron"] = "*/2 * * * *"
    assert site.wrong() == {"not due": 3}


def test_a_wrong_number_of_missed_occurrences_is_found(site):
    missed = MISSED | {"missed_count": 2, "missed_until": at(5), "decided_at": at(5.1)}
    site.firings[2:] = [site.firing(3) | missed]
    for number in (3, 4, 5):
        del site.runs[number], site.attempts[number, 1]
    del site.executions[2:]
    assert site.wrong() == {"wrong counts": 1}


def test_a_firing_decided_before_its_time_is_found(site):
    site.firings[0]["decided_at"] = at(0.5)
    assert site.wrong() == {"too early": 1}


def test_a_pause_that_never_was_is_no_reason(site):
    site.firings[0] |= MISSED | {"reason": "MISSED_PAUSED", "missed_count": 1, "missed_until": at(1)}
    del site.runs[1], site.attempts[1, 1], site.executions[0]
    assert site.wrong() == {"wrong reasons": 1}
    site.pauses.append({"from_at": at(0.5), "until_at": at(1.5)})
    assert site.wrong() == {}


def test_that_no_daemon_was_there_is_no_reason_for_a_daemon_that_was(site):
    site.firings[0] |= MISSED | {"reason": "MISSED_NO_DAEMON", "missed_count": 1, "missed_until": at(1)}
    del site.runs[1], site.attempts[1, 1], site.executions[0]
    site.processes["d"] = {"role": "daemon", "started_at": at(0.5)}
    assert site.wrong() == {"wrong reasons": 1}


def test_a_hole_between_periods_needs_somebody_who_made_it(site):
    site.periods[:] = [site.period | {"until_at": at(2.5)}, site.period | {"from_at": at(2.6)}]
    assert site.wrong() == {"wrong periods": 1}
    site.journal.interruptions["each"] = 1
    assert site.wrong() == {}


def test_periods_that_run_into_each_other_are_found(site):
    site.periods[:] = [site.period | {"until_at": at(2.5)}, site.period | {"from_at": at(2.4)}]
    assert site.wrong() == {"wrong periods": 1}


def test_a_firing_without_its_runs_is_half_a_firing(site):
    del site.runs[3], site.attempts[3, 1], site.executions[2]
    assert site.wrong() == {"half firings": 1}


def test_a_run_without_its_firing_is_half_a_firing(site):
    site.runs[3]["firing_id"] = 77
    assert site.wrong() == {"half firings": 2}


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING"])
def test_a_run_that_never_ended_is_stuck(site, status):
    site.runs[5]["status"] = status
    assert site.wrong() == {"stuck runs": 1}


def test_two_executions_that_were_alive_at_one_moment_overlap(site):
    site.attempts[3, 2] = site.attempt(3) | {"attempt": 2}
    site.executions.append(site.execution(3, attempt=2, began=31.9))
    assert site.wrong() == {"overlapping executions": 1}


def test_an_execution_that_found_another_one_of_its_run_overlaps_it(site):
    site.executions[2] = site.execution(3, alone=False)
    assert site.wrong() == {"overlapping executions": 1}


def test_an_attempt_that_is_executed_again_started_twice(site):
    site.executions.append(site.execution(3, began=35.0))
    assert site.wrong() == {"double starts": 1}


def test_a_run_that_waits_for_its_turn_and_begins_beside_an_earlier_one_is_found(site):
    site.runs[4]["in_turn"] = True
    site.executions[3] = site.execution(4, began=31.0)
    assert site.wrong() == {"out of turn": 1}


def test_a_success_without_a_footprint_of_its_end_is_found(site):
    site.executions[2].ended = site.executions[2].code = None
    assert site.wrong() == {"ends without a footprint": 1}


def test_a_failure_recorded_with_another_code_than_the_job_s_is_found(site):
    site.attempts[3, 1] = site.attempt(3, "FAILED", exit_code=2)
    assert site.wrong() == {"ends without a footprint": 1}


def test_a_footprint_of_an_attempt_that_no_table_knows_is_found(site):
    site.executions.append(site.execution(8, began=80.0))
    assert site.wrong() == {"footprints without an attempt": 1}


def test_an_execution_that_outlives_its_worker_is_found(site):
    site.journal.ends[70] = 31.0
    site.executions[2].last_seen = 36.0
    del site.executions[3:], site.firings[3:], site.runs[4], site.runs[5], site.attempts[4, 1], site.attempts[5, 1]
    site.period["until_at"] = at(3.5)
    site.journal.interruptions["each"] = 1
    assert site.wrong() == {"outlived workers": 1}


def test_an_execution_that_outlives_the_lease_of_its_frozen_worker_is_found(site):
    site.journal.freezes.append((70, 31.0, 45.0))
    site.executions[2].last_seen = 44.0
    assert site.wrong() == {"outlived workers": 1}


def test_an_acknowledged_firing_that_is_gone_is_found(site):
    site.journal.acknowledged_firings[12] = (40,)
    assert site.wrong() == {"lost acknowledgements": 1}


# When nothing could be decided


def of(kind: str, what: str, began: float, ended: float) -> Injected:
    return Injected(kind, what, began, ended)


def test_decisions_stand_still_while_every_daemon_is_away_at_once():
    faults = [
        of("freeze of a daemon", "daemon-1", 1, 6),
        of("kill -9 of a daemon", "daemon-2", 4, 5),
        of("kill -9 of a daemon", "daemon-2", 5, 9),
        of("kill -9 of a web", "web-1", 0, 20),
    ]
    causes = frozenset({"freeze of a daemon", "kill -9 of a daemon"})
    assert stoppages(faults, ["daemon-1", "daemon-2"]) == [Stoppage(4, 6, causes)]


def test_decisions_stand_still_while_the_database_takes_no_writes():
    faults = [of("full disk", "", 1, 3), of("foreign transaction", "", 2, 4), of("full disk", "", 8, 9)]
    both = frozenset({"full disk", "foreign transaction"})
    assert stoppages(faults, ["daemon-1"]) == [Stoppage(1, 4, both), Stoppage(8, 9, frozenset({"full disk"}))]
