"""What ended long ago goes, a little at a time; what is left is complete, whatever dies in between."""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import ON_MARIADB
from past import CUTOFF, NOON, Past
from plans import plans_within
from sqlalchemy import Engine, event, select

from schedmgr.core import retention
from schedmgr.core.audit import Requester
from schedmgr.core.definitions import Schedule
from schedmgr.core.retention import Pass
from schedmgr.database.engine import Database
from schedmgr.database.models import (
    AdminSession,
    AuditEvent,
    Base,
    JobRun,
    JobRunAttempt,
    JobRunOutput,
    Pause,
    Process,
    ScheduleFiring,
    SchedulePeriod,
    Setting,
)
from schedmgr.errors import DatabaseUnavailable, Refused
from schedmgr.vocabulary import Decision, ProcessRole, RunStatus

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def past(database, clock):
    clock.set_to(NOON)
    return Past(database)


@pytest.fixture
def prune(database, installation):
    return lambda before=CUTOFF: retention.prune(database, before, installation.person)


@pytest.fixture
def left(database):
    """The keys that a table still holds."""

    def left(table: type[Base]) -> list[object]:
        key = next(iter(table.__table__.primary_key))
        with database.read() as session:
            return list(session.scalars(select(key).order_by(key)))

    return left


@pytest.fixture
def pruned_until(database):
    def pruned_until() -> datetime | None:
        with database.read() as session:
            return retention.pruned_until(session)

    return pruned_until


# What goes


def test_a_run_that_ended_before_the_cutoff_goes_with_its_attempts_and_its_output(past, prune, left):
    past.run(1, CUTOFF - SECOND, output=[100, 100])
    past.run(2, CUTOFF, output=[100])
    removed = prune()
    assert (removed["job_runs"], removed["output_bytes"]) == (1, 200)
    assert [left(table) for table in (JobRun, JobRunAttempt, JobRunOutput)] == [[2], [2], [2]]


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_a_run_that_has_not_ended_stays_however_old_it_is_and_its_firing_with_it(past, prune, left, status):
    past.firing(1)
    past.run(1, None, firing_id=1, status=status)
    prune()
    assert (left(JobRun), left(ScheduleFiring)) == ([1], [1])


def test_a_firing_goes_when_the_last_of_its_runs_is_gone(past, prune, left):
    for firing_id, ends in ((1, (CUTOFF - DAY, CUTOFF - HOUR)), (2, (CUTOFF - DAY, CUTOFF + HOUR))):
        past.firing(firing_id, CUTOFF - DAY + firing_id * SECOND)
        for nth, ended_at in enumerate(ends):
            past.run(10 * firing_id + nth, ended_at, firing_id=firing_id)
    assert prune()["firings"] == 1
    assert (left(ScheduleFiring), left(JobRun)) == ([2], [21])


def test_a_skipped_firing_goes_by_when_it_was_decided(past, prune, left):
    skipped = {"decision": Decision.SKIPPED, "job_run_count": 0}
    past.firing(1, CUTOFF - SECOND, **skipped)
    past.firing(2, CUTOFF, scheduled_for=CUTOFF - 30 * DAY, **skipped)
    prune()
    assert left(ScheduleFiring) == [2]


def test_a_run_stays_whose_firing_was_decided_later_because_the_clock_stood_wrong_then(past, prune, left):
    past.firing(1, CUTOFF + 365 * DAY)
    past.run(1, CUTOFF - DAY, firing_id=1)
    prune()
    assert (left(JobRun), left(ScheduleFiring)) == ([1], [1])


def test_what_made_a_schedule_due_goes_but_for_its_newest_record(past, prune, left):
    past.period(1, "feeds", CUTOFF - 3 * DAY, CUTOFF - 2 * DAY)
    past.period(2, "feeds", CUTOFF - 2 * DAY, CUTOFF - DAY)
    past.period(3, "nightly", CUTOFF - 3 * DAY, CUTOFF - 2 * DAY)
    past.period(4, "nightly", CUTOFF - 2 * DAY, CUTOFF + DAY)
    past.period(5, "nightly", CUTOFF + DAY, None)
    prune()
    assert left(SchedulePeriod) == [2, 4, 5]


def test_pauses_go_when_they_ended_before_the_cutoff(past, prune, left):
    past.pause(1, CUTOFF - SECOND)
    past.pause(2, CUTOFF)
    past.pause(3, None)
    prune()
    assert left(Pause) == [2, 3]


def test_processes_go_but_for_the_last_daemon_before_what_is_left(past, prune, left):
    past.process("d1", CUTOFF - 2 * DAY)
    past.process("d2", CUTOFF - DAY)
    past.process("d3", CUTOFF + DAY)
    past.process("web", CUTOFF - HOUR, ProcessRole.WEB)
    past.process("worker", CUTOFF - HOUR, ProcessRole.WORKER)
    assert prune()["processes"] == 3
    assert left(Process) == ["d2", "d3"]


def test_a_process_stays_that_made_an_attempt_of_a_run_which_is_left(past, prune, left):
    past.process("made-it", CUTOFF - DAY, ProcessRole.WORKER)
    past.process("runs-it", CUTOFF - DAY, ProcessRole.WORKER)
    past.process("made-one-that-goes", CUTOFF - DAY, ProcessRole.WORKER)
    past.run(1, CUTOFF + HOUR, process_id="made-it")
    past.run(2, None, process_id="runs-it")
    past.run(3, CUTOFF - HOUR, process_id="made-one-that-goes")
    prune()
    assert left(Process) == ["made-it", "runs-it"]


def test_sign_ins_go_that_ended_or_expired_before_the_cutoff(past, prune, left):
    past.sign_in("expired", CUTOFF - SECOND)
    past.sign_in("ended", CUTOFF + DAY, CUTOFF - SECOND)
    past.sign_in("both", CUTOFF - SECOND, CUTOFF - DAY)
    past.sign_in("ended-later", CUTOFF + DAY, CUTOFF)
    past.sign_in("goes-on", NOON + DAY)
    assert prune()["sign_ins"] == 3
    assert left(AdminSession) == ["ended-later", "goes-on"]


def test_the_audit_stays_and_says_who_pruned(past, prune, database):
    old = {"at": CUTOFF - DAY, "who": "cli:ann@desk", "action": "pause", "what": "paused", "origin": "command line"}
    past.add(AuditEvent, old)
    past.run(1)
    prune()
    with database.read() as session:
        told = session.execute(select(AuditEvent.who, AuditEvent.what).order_by(AuditEvent.id)).all()
    assert told == [
        ("cli:ann@desk", "paused"),
        ("cli:ann@desk", "pruned 1 job run and whatever else ended before 2025-12-02T12:00:00Z"),
    ]


def test_pauses_and_processes_stay_while_an_occurrence_of_their_time_is_undecided(
    past, prune, left, installation, clock
):
    clock.set_to(CUTOFF - 3 * DAY)
    installation.turned_on(Schedule("feeds", cron="@daily", execution_mode="ALL_JOBS"))
    clock.set_to(NOON)
    past.pause(1, CUTOFF - 4 * DAY)
    past.pause(2, CUTOFF - DAY)
    past.process("d1", CUTOFF - 5 * DAY)
    past.process("d2", CUTOFF - 4 * DAY)
    past.process("d3", CUTOFF - DAY)
    prune()
    assert (left(Pause), left(Process)) == ([2], ["d2", "d3"])


# The mark


def test_where_nothing_was_pruned_there_is_no_mark(past, prune, pruned_until):
    past.run(1, CUTOFF + DAY)
    prune()
    assert pruned_until() is None


def test_the_mark_says_up_to_when_what_ended_may_be_gone(past, prune, pruned_until, database):
    past.run(1)
    prune()
    assert pruned_until() == CUTOFF
    with database.read() as session:
        value, by = session.execute(select(Setting.value, Setting.changed_by).where(Setting.key == "retention")).one()
    assert (value, by) == ({"pruned_until": "2025-12-02T12:00:00+00:00"}, "cli:ann@desk")


def test_the_mark_moves_only_forward(past, prune, pruned_until):
    past.run(1)
    prune()
    past.run(2, CUTOFF - 10 * DAY)
    prune(CUTOFF - 5 * DAY)
    assert pruned_until() == CUTOFF
    past.run(3, CUTOFF + HOUR)
    prune(CUTOFF + DAY)
    assert pruned_until() == CUTOFF + DAY


def test_the_mark_has_moved_before_the_first_row_is_gone(past, database, pruned_until, left):
    past.history(2 * retention.ROWS + 2)
    one = Pass(CUTOFF, "daemon:d1")
    assert one.step(database)
    assert (pruned_until(), len(left(JobRun))) == (CUTOFF, retention.ROWS + 2)


def test_an_instant_in_the_future_is_refused(past, prune, database, left):
    past.run(1, NOON)
    with pytest.raises(Refused, match=r"^What ended before 2026-03-02T13:00:00Z cannot be pruned: that is in the fut"):
        prune(NOON + HOUR)
    with database.read() as session, pytest.raises(Refused):
        retention.plan(session, NOON + HOUR)
    assert left(JobRun) == [1]


# A plan


def test_a_plan_says_beforehand_what_a_pass_removes(past, prune, database):
    past.history(6, output=50)
    past.run(7, CUTOFF + DAY, firing_id=2, process_id="d2")
    for nth in range(4):
        past.process(f"d{nth}", CUTOFF - 2 * DAY + nth * SECOND)
        past.pause(nth + 1, CUTOFF - nth * DAY)
        past.period(nth + 1, "feeds", CUTOFF - (9 - nth) * DAY, CUTOFF - (8 - nth) * DAY)
        past.sign_in(f"s{nth}", CUTOFF - nth * SECOND, CUTOFF - DAY if nth == 3 else None)
    with database.read() as session:
        planned = retention.plan(session, CUTOFF)
    assert planned == {
        "job_runs": 3,
        "output_bytes": 150,
        "firings": 2,
        "schedule_periods": 3,
        "pauses": 3,
        "processes": 2,
        "sign_ins": 3,
    }
    assert prune() == planned


# Small steps


@contextmanager
def noted() -> Iterator[list[tuple[str, int]]]:
    """Each statement within the block, with the number of rows that it changed."""
    seen: list[tuple[str, int]] = []

    def note(_connection, cursor, statement, _values, _context, _many):
        seen.append((" ".join(statement.split()), cursor.rowcount))

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "after_cursor_execute", note)


def changed(seen: list[tuple[str, int]], table: str) -> int:
    return sum(count for statement, count in seen if statement.startswith(f"DELETE FROM {table} "))


def test_a_step_removes_a_bounded_number_of_rows_by_a_bounded_number_of_statements(past, database):
    past.history(2 * 3 * retention.ROWS, output=10)
    one, more, steps = Pass(CUTOFF, "daemon:d1"), True, []
    while more:
        with noted() as seen:
            more = one.step(database)
        steps.append(seen)
    assert one.removed == {"job_runs": 600, "output_bytes": 6000, "firings": 600}
    assert len(steps) == 7
    assert max(changed(seen, "job_run") for seen in steps) == retention.ROWS
    assert max(changed(seen, "job_run_output") for seen in steps) == retention.ROWS
    assert max(len(seen) for seen in steps) < 25


def test_a_step_removes_a_bounded_amount_of_output(past, database, left):
    past.run(1, output=[400_000] * 8)
    past.run(2, output=[1] * (retention.OUTPUT_ROWS + 10))
    past.run(3, output=[1])
    one, sizes = Pass(CUTOFF, "daemon:d1"), []
    while one.step(database):
        sizes.append(one.removed["output_bytes"])
        one.removed.clear()
    assert sizes == [1_200_000, 1_200_000, 800_000 + 498, 13]
    assert [left(table) for table in (JobRun, JobRunAttempt, JobRunOutput)] == [[], [], []]


def test_rows_that_stay_do_not_hide_older_or_younger_ones_that_go(past, prune, left, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 3)
    for id in range(1, 21):
        past.firing(id, CUTOFF - DAY + id // 7 * SECOND, scheduled_for=CUTOFF - DAY + id * SECOND)
    for id in (*range(1, 14), *range(15, 19)):
        past.run(id, CUTOFF + DAY, firing_id=id)
    prune()
    assert left(ScheduleFiring) == [*range(1, 14), *range(15, 19)]


def test_no_step_reads_a_table_from_end_to_end(past, prune):
    past.history(8000, output=10)
    for nth in range(200):
        past.process(f"p{nth}", CUTOFF + (nth - 2) * HOUR)
        past.pause(nth + 1, CUTOFF + (nth - 2) * HOUR)
        past.period(nth + 1, f"s{nth % 5}", CUTOFF + (nth - 3) * HOUR, CUTOFF + (nth - 2) * HOUR)
        past.sign_in(f"s{nth}", CUTOFF + (nth - 2) * HOUR)
    with plans_within() as plans:
        removed = prune()
    assert removed == {
        "job_runs": 4000,
        "output_bytes": 40_000,
        "firings": 4000,
        "schedule_periods": 2,
        "pauses": 2,
        "processes": 1,
        "sign_ins": 2,
    }
    assert len(plans) > 100
    assert [plan.statement for plan in plans if plan.scans or plan.sorts] == []


# What dies in between, and what goes on beside it


class Died(Exception):
    pass


@contextmanager
def dying_at(beginning: str, nth: int) -> Iterator[None]:
    """The nth statement with that beginning is not carried out, nor is anything after it."""
    seen = []

    def die(_connection, _cursor, statement, _values, _context, _many):
        seen.extend([statement] if statement.startswith(beginning) else [])
        if len(seen) >= nth:
            raise Died

    event.listen(Engine, "before_cursor_execute", die)
    try:
        with pytest.raises(Died):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", die)


@pytest.fixture
def orphans(database):
    """Rows that refer to one which is gone."""

    def orphans() -> list[int]:
        runs = select(JobRun.id)
        with database.read() as session:
            return [
                *session.scalars(select(JobRunOutput.run_id).where(JobRunOutput.run_id.not_in(runs))),
                *session.scalars(select(JobRunAttempt.run_id).where(JobRunAttempt.run_id.not_in(runs))),
                *session.scalars(select(JobRun.firing_id).where(JobRun.firing_id.not_in(select(ScheduleFiring.id)))),
            ]

    return orphans


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize(
    "table", ["job_run_output", "job_run_attempt", "job_run", "schedule_firing", "setting"], ids=lambda name: name
)
def test_whoever_dies_at_whatever_statement_leaves_what_the_next_pass_finishes(
    past, prune, left, pruned_until, orphans, monkeypatch, table, nth
):
    monkeypatch.setattr(retention, "ROWS", 5)
    past.history(40, output=10)
    statement, nth = ("INSERT INTO setting", 1) if table == "setting" else (f"DELETE FROM {table} ", nth)
    with dying_at(statement, nth):
        prune()
    assert orphans() == []
    assert left(JobRun)[-20:] == left(ScheduleFiring)[-20:] == list(range(21, 41))
    assert (pruned_until() == CUTOFF) == (len(left(JobRun)) < 40)
    prune()
    kept = list(range(21, 41))
    assert [left(each) for each in (JobRun, ScheduleFiring, JobRunAttempt, JobRunOutput)] == [kept] * 4


def test_to_prune_twice_changes_nothing_more(past, prune):
    past.history(20, output=10)
    past.process("d1", CUTOFF - DAY)
    past.period(1, "feeds", CUTOFF - 2 * DAY, CUTOFF - DAY)
    assert prune()["job_runs"] == 10
    assert set(prune().values()) == {0}


def test_several_may_prune_at_once(past, open_database, left, orphans, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 10)
    past.history(400, output=10)
    databases = [open_database() for _ in range(3)]

    def work(database):
        return retention.prune(database, CUTOFF, Requester(f"cli:{id(database)}", "command line"))

    monkeypatch.setattr(retention, "AFTER_DISPUTE", 0.02)
    with ThreadPoolExecutor() as pool:
        removed = list(pool.map(work, databases))
    assert sum(one["job_runs"] for one in removed) == sum(one["firings"] for one in removed) == 200
    assert left(JobRun) == left(ScheduleFiring) == list(range(201, 401))
    assert orphans() == []


@ON_MARIADB
@pytest.mark.parametrize("held", [JobRun.id, Setting.key], ids=["rows", "the mark"])
def test_what_a_frozen_one_holds_is_not_waited_for(past, database, prune, left, held):
    past.run(1, CUTOFF - 2 * DAY)
    prune(CUTOFF - DAY)
    past.history(20)
    with database.write() as frozen:
        frozen.execute(select(held).with_for_update())
        one = Pass(CUTOFF, "daemon:d1")
        with noted() as seen:
            assert not one.step(database)
        assert (one.is_disputed, one.removed.total(), changed(seen, "job_run")) == (True, 0, 0)
    prune()
    assert left(JobRun) == list(range(11, 21))


@ON_MARIADB
def test_who_prunes_by_hand_is_told_when_others_hold_the_rows_for_long(past, database, prune, monkeypatch):
    monkeypatch.setattr(retention, "AFTER_DISPUTE", 0.01)
    past.history(20)
    with database.write() as frozen:
        frozen.execute(select(JobRun.id).with_for_update())
        with pytest.raises(DatabaseUnavailable, match=r"^Other sessions have held what is to be pruned for over"):
            prune()


# Whatever the past was


def walked(database: Database, steps: int = 1000) -> Pass:
    """A pass after so many steps, or at its end."""
    one = Pass(CUTOFF, "daemon:d1")
    any(not one.step(database) for _ in range(steps))
    return one


AGES = st.integers(-3, 3)  # hours after the cutoff
FIRINGS = st.lists(st.tuples(AGES, st.lists(st.none() | AGES, max_size=3)), max_size=8)


@given(firings=FIRINGS, by_hand=st.lists(st.none() | AGES, max_size=4), steps=st.integers(0, 4), rows=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_whatever_the_past_was_exactly_what_is_old_and_done_goes(new_past, firings, by_hand, steps, rows):
    past = new_past()
    runs: list[tuple[int, int | None, int | None]] = [(900 + nth, None, ended) for nth, ended in enumerate(by_hand)]
    for firing_id, (decided, ends) in enumerate(firings, 1):
        past.firing(firing_id, CUTOFF + decided * HOUR, scheduled_for=CUTOFF + firing_id * SECOND)
        runs += [(10 * firing_id + nth, firing_id, ended) for nth, ended in enumerate(ends)]
    for run_id, firing_id, ended in runs:
        past.run(run_id, None if ended is None else CUTOFF + ended * HOUR, firing_id=firing_id, output=[5, 5])

    decided_at = {firing_id: decided for firing_id, (decided, _) in enumerate(firings, 1)}
    runs_kept = {(id, f) for id, f, ended in runs if ended is None or ended >= 0 or decided_at.get(f, -9) >= 0}
    firings_kept = {f for f, decided in decided_at.items() if decided >= 0} | {f for _, f in runs_kept if f}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "ROWS", rows)
        walked(past.database, steps)  # and died then
        walked(past.database)
        again = walked(past.database)
    with past.database.read() as session:
        assert set(session.scalars(select(JobRun.id))) == {id for id, _ in runs_kept}
        assert set(session.scalars(select(JobRunOutput.run_id))) == {id for id, _ in runs_kept}
        assert set(session.scalars(select(ScheduleFiring.id))) == firings_kept
    assert again.removed.total() == 0


@pytest.fixture(scope="module")
def new_past(request):
    """A fresh database for each example, which a fixture for the whole test cannot give."""
    template = request.getfixturevalue("_migrated_file")
    with tempfile.TemporaryDirectory() as folder:
        opened = []

        def new_past() -> Past:
            for one in opened:
                one.close()
            file = shutil.copy(template, Path(folder) / "schedmgr.db")
            for rest in ("-wal", "-shm"):
                Path(f"{file}{rest}").unlink(missing_ok=True)
            opened[:] = [Database(f"sqlite:///{file}")]
            return Past(opened[0])

        yield new_past
        for one in opened:
            one.close()
