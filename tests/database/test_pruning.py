"""The daemon prunes in its spare moments: it looks for what is due between any two steps, and so delays no firing."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest
from past import CUTOFF, NOON, Past
from sqlalchemy import Engine, event, select

from schedmgr.core import locking, retention
from schedmgr.core.definitions import Schedule
from schedmgr.core.locking import DueLook
from schedmgr.daemon.loop import Daemon, DaemonOptions
from schedmgr.daemon.pruning import Pruning
from schedmgr.database.models import JobRun, ScheduleFiring

SECOND = timedelta(seconds=1)
NINETY_DAYS = timedelta(days=90)


Then = Mapping[int, Callable[[], object]]
"""What happens after which step."""


@dataclass(frozen=True)
class Step:
    """What one step of the loop found when it began, and what it did."""

    was_due: bool
    is_due: bool
    removed: tuple[int, ...]  # rows of each statement that removed runs or firings
    pause: float


class Between:
    """Stands where the loop sleeps, and goes on at once: notes each step, and moves the clock before the next."""

    def __init__(self, installation, seconds: float, is_over: Callable[["Between"], bool], then: Then) -> None:
        self.installation = installation
        self.seconds = seconds
        self.is_over = is_over
        self.then = then
        self.steps: list[Step] = []
        self.was_due = self.something_is_due()
        self.removed: list[int] = []

    def is_set(self) -> bool:
        assert len(self.steps) < 2000, "it does not come to its end"
        return bool(self.steps) and self.is_over(self)

    def wait(self, pause: float) -> None:
        self.steps.append(Step(self.was_due, self.something_is_due(), tuple(self.removed), pause))
        self.removed.clear()
        self.installation.clock.move(seconds=self.seconds)
        self.then.get(len(self.steps), bool)()
        self.was_due = self.something_is_due()

    def something_is_due(self) -> bool:
        with self.installation.database.read() as session:
            return locking.look(session).is_due

    def note(self, _connection, cursor, statement, _values, _context, _many) -> None:
        if statement.startswith(("DELETE FROM job_run WHERE", "DELETE FROM schedule_firing WHERE")):
            self.removed.append(cursor.rowcount)


def after(steps: int) -> Callable[[Between], bool]:
    return lambda between: len(between.steps) >= steps


@pytest.fixture
def past(database, clock):
    clock.set_to(NOON)
    return Past(database)


@pytest.fixture
def daemon(open_database, tmp_path, past):
    """Makes one; its definitions are of no use, so that it works with what the tables hold."""
    (tmp_path / "definitions.py").write_text("jobs = [\n")

    def daemon(interval: timedelta = timedelta(0)) -> Daemon:
        options = DaemonOptions(
            environment="development",
            version="1",
            definitions=None,
            directory=tmp_path,
            poll_interval=interval,
            lease_seconds=0.01,  # it beats at each step, however far the clock is moved in between
            concurrency=0,
            retention=NINETY_DAYS,
        )
        one = Daemon(open_database(), options)
        one.begin(lambda: None, threading.Event())
        return one

    return daemon


@pytest.fixture
def walk(installation):
    """Lets a daemon's loop take steps, and gives them."""

    def walk(
        daemon: Daemon, is_over: Callable[[Between], bool], *, seconds: float = 0, then: Then | None = None
    ) -> list[Step]:
        between = Between(installation, seconds, is_over, then or {})
        event.listen(Engine, "after_cursor_execute", between.note)
        try:
            daemon.run(between)
        finally:
            event.remove(Engine, "after_cursor_execute", between.note)
        return between.steps

    return walk


@pytest.fixture
def runs(database):
    def runs() -> list[int]:
        with database.read() as session:
            return list(session.scalars(select(JobRun.id).where(JobRun.finished_at.is_not(None)).order_by(JobRun.id)))

    return runs


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)

    def said(words: str) -> list[str]:
        return [line for line in caplog.messages if line.startswith(words)]

    return said


def test_twenty_thousand_old_runs_are_removed_and_no_firing_waits_for_it(
    installation, past, daemon, walk, runs, said, database, database_kind
):
    count = {"sqlite": 20_000, "mariadb": 4_000}[database_kind]  # which takes as long
    names = ["a", "b", "c"]
    installation.turned_on(
        *(Schedule(name, cron="* * * * *", execution_mode="ALL_JOBS", overlap="allow") for name in names)
    )
    past.history(count, old=count, output=100)
    steps = walk(daemon(timedelta(hours=1)), lambda _: said("history pruned") != [], seconds=10)

    due = [step for step in steps if step.was_due]
    assert len(due) >= 5
    assert [step for step in due if step.removed or step.is_due] == []

    pruning = [step for step in steps if step.removed]
    assert len(pruning) == 2 * count / retention.ROWS
    assert {len(step.removed) for step in pruning} == {1}
    assert {step.removed[0] for step in pruning} == {retention.ROWS}
    assert max(step.pause for step in pruning) <= 0.01
    assert runs() == []
    with database.read() as session:
        fired = Counter(session.scalars(select(ScheduleFiring.schedule_id)))
    assert fired["a"] == fired["b"] == fired["c"] >= len(due)


def test_a_pass_ends_with_one_line_that_counts_what_went(past, daemon, walk, said, clock):
    clock.set_to(NOON - 30 * SECOND)
    past.history(10, output=100)
    past.pause(1, CUTOFF - 60 * SECOND)
    walk(daemon(), after(5))
    (line,) = said("history pruned")
    assert line.startswith("history pruned until=2025-12-02T11:59:3")
    assert line.endswith("Z job_runs=5 output_bytes=500 firings=5 schedule_periods=0 pauses=1 processes=0 sign_ins=0")


def test_after_a_pass_it_looks_again_in_the_next_interval_only(past, daemon, walk, runs, said):
    past.run(1)
    walk(daemon(timedelta(hours=1)), after(20), then={10: lambda: past.run(2)})
    assert (len(said("history pruned")), runs()) == (1, [2])


@pytest.mark.parametrize("hours", [2, -2, 24 * 365])
def test_when_the_clock_stepped_nothing_is_pruned_until_the_daemon_is_restarted(
    past, daemon, walk, runs, said, clock, hours
):
    stepped = {5: lambda: clock.move(hours=hours), 6: lambda: past.run(1), 10: lambda: clock.move(hours=-hours)}
    walk(daemon(), after(20), then=stepped)
    assert len(said("daemon began anew")) == 2
    assert len(said("pruning stopped until this daemon is restarted: the database's clock stepped")) == 1
    assert runs() == [1]
    walk(daemon(), after(5))
    assert runs() == []


def test_a_clock_that_is_put_right_by_minutes_stops_nothing(past, daemon, walk, runs, clock):
    walk(daemon(), after(10), then={3: lambda: clock.move(minutes=30), 5: lambda: past.run(1)})
    assert runs() == []


def test_what_goes_wrong_in_pruning_stops_no_firing(installation, past, daemon, walk, said):
    installation.turned_on(Schedule("a", cron="* * * * *", execution_mode="ALL_JOBS", overlap="allow"))
    installation.sql("INSERT INTO setting VALUES ('retention', '{}', '2026-01-01 00:00:00.000000', 'somebody')")
    past.run(1)
    steps = walk(daemon(), after(20), seconds=20)
    assert len(said("pruning failed")) > 5
    assert sum(step.was_due for step in steps) > 5
    assert [step for step in steps if step.was_due and step.is_due] == []


@pytest.mark.parametrize(("seconds", "left"), [(0, [1]), (0.2, [1]), (1, []), (None, [])])
def test_no_step_begins_shortly_before_something_is_due(past, database, runs, seconds, left):
    past.run(1)
    pruning = Pruning(database, NINETY_DAYS, timedelta(0), lambda: 0.0)
    due_at = None if seconds is None else NOON + timedelta(seconds=seconds)
    assert pruning.step(DueLook(NOON, due_at), "daemon:d1") == (left == [])
    assert runs() == left
