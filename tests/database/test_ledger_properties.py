"""Whatever people, daemons and clocks do, in whatever order: every occurrence is accounted for once and truly."""

import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from schedmgr.core import processes
from schedmgr.core.definitions import Schedule
from schedmgr.core.processes import Silent
from schedmgr.core.timetable import SHORTEST, Timetable
from schedmgr.database.engine import Database
from schedmgr.database.models import Pause, Process
from schedmgr.errors import NotFound, Refused
from schedmgr.vocabulary import Decision, ProcessRole, Reason


def schedule(id: str, cron: str, **fields: object) -> Schedule:
    return Schedule(id, cron=cron, execution_mode="ALL_JOBS", **fields)


DEPLOYS = [
    (
        schedule("a", "*/5 * * * *"),
        schedule("b", "30 2 * * *", timezone="Europe/Berlin", missed="run_once"),
        schedule("c", "*/20 * * * *", missed="catch_up", catch_up_limit=3, overlap="queue"),
    ),
    (schedule("a", "*/7 * * * *", grace=600, overlap="allow"), schedule("c", "*/20 * * * *", missed="run_once")),
    (schedule("a", "*/5 * * * *", description="of partners"), schedule("b", "* * * * *", missed="catch_up", grace=2)),
]
IDS = st.sampled_from(["a", "b", "c"])
SPANS = st.sampled_from([1, 8, 50, 61, 299, 1200, 3600, 40_000])
WRONG = st.sampled_from([None, "1970-01-01 00:00:00.000000", "9999-12-31 00:00:00.000000", "tomorrow", ""])
STEPS = st.one_of(
    st.tuples(st.just("forward"), SPANS),
    st.tuples(st.just("forward"), SPANS),
    st.tuples(st.just("back"), SPANS),
    st.tuples(st.just("tick")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("new daemon")),
    st.tuples(st.just("enable"), IDS),
    st.tuples(st.just("enable"), IDS),
    st.tuples(st.just("disable"), IDS),
    st.tuples(st.just("deploy"), st.sampled_from(DEPLOYS)),
    st.tuples(st.just("pause"), st.none() | SPANS),
    st.tuples(st.just("resume")),
    st.tuples(st.just("run now"), IDS),
    st.tuples(st.just("jobs end")),
    st.tuples(st.just("corrupt"), WRONG),
    st.tuples(st.just("repair")),
)


@pytest.fixture(scope="module")
def new_installation(request):
    """A fresh installation for each example, which a fixture for the whole test cannot give."""
    template = request.getfixturevalue("_migrated_file")
    made = request.getfixturevalue("kinds")

    def new_installation(folder: Path):
        clock = made.clock(folder / "clock")
        file = shutil.copy(template, folder / "schedmgr.db")
        return made.installation(Database(f"sqlite:///{file}", test_clock=clock.file), clock)

    return new_installation


OTHERS: WeakKeyDictionary = WeakKeyDictionary()
"""Daemons of an installation beside the one that ticks: they beat, and are too slow to decide anything."""


def registered(installation, **how):
    return installation.database.transact(
        lambda session: processes.register(session, ProcessRole.DAEMON, environment="development", version="1", **how)
    )


def beaten(installation, other):
    """It beats, in a new life if it has to."""
    try:
        installation.database.transact(lambda session: processes.beat_unbroken(session, other))
    except Silent:
        return registered(installation, replaces=other)
    return other


def take(installation, step) -> None:
    """What people are refused is no harm."""
    clock = installation.clock
    match step:
        case ("forward", seconds):
            clock.move(seconds=seconds)
        case ("back", seconds):
            clock.move(seconds=-seconds)
        case ("tick",):
            installation.tick()
        case ("new daemon",):
            installation.start_daemon()
        case ("another daemon",):
            OTHERS.setdefault(installation, []).append(registered(installation))
        case ("beats",):
            OTHERS[installation] = [beaten(installation, other) for other in OTHERS.get(installation, ())]
        case ("stops",):
            for other in OTHERS.pop(installation, ()):
                installation.database.transact(lambda session, other=other: processes.stop(session, other))
        case ("deploy", schedules):
            installation.sync(*schedules)
        case ("pause", seconds):
            installation.pause(until=None if seconds is None else installation.later(seconds))
        case ("resume",):
            installation.resume()
        case ("jobs end",):
            installation.sql("UPDATE job_run SET status = 'SUCCEEDED' WHERE status = 'QUEUED'")
        case ("corrupt", value):
            installation.sql("UPDATE job_schedule SET next_run_at = :value WHERE enabled", value=value)
        case ("repair",):
            installation.repair()
        case ("enable", id):
            installation.enable(id)
        case ("disable", id):
            installation.disable(id)
        case ("run now", id):
            installation.run_now(id)


def lived_through(installation, steps, begins_with=DEPLOYS[0]) -> None:
    installation.clock.set_to(datetime(2026, 3, 28, 12, 0, tzinfo=UTC))
    installation.turned_on(*begins_with)
    for step in steps:
        try:
            take(installation, step)
        except (Refused, NotFound):
            continue
    installation.repair()
    installation.tick()


def periods(installation, id: str):
    """What made it due, from when until when; a running one until it is accounted for."""
    accounted_until = installation.schedule(id).accounted_until
    return [
        (
            Timetable(id, row.cron, row.timezone, row.starts_at, row.ends_at),
            row.from_at,
            accounted_until if row.until_at is None else row.until_at,
        )
        for row in installation.periods(id)
    ]


def due(installation, id: str) -> Counter:
    return Counter(
        occurrence
        for timetable, since, until in periods(installation, id)
        for occurrence in timetable.between(since, until)
    )


def covered(installation, id: str, row) -> list:
    """The occurrences that a firing speaks of."""
    if row.missed_until is None:
        return [row.scheduled_for]
    (timetable,) = [
        timetable for timetable, since, until in periods(installation, id) if since < row.scheduled_for <= until
    ]
    return list(timetable.between(row.scheduled_for - SHORTEST, row.missed_until))


def by_clock(installation, id: str):
    return [row for row in installation.firings(id) if row.scheduled_for is not None]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_every_occurrence_is_accounted_for_once(new_installation, steps):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        lived_through(installation, steps)
        for id in installation.schedules():
            rows = by_clock(installation, id)
            assert Counter(one for row in rows for one in covered(installation, id, row)) == due(installation, id)
            counted = [row for row in rows if row.missed_until is not None]
            assert [row.missed_count for row in counted] == [len(covered(installation, id, row)) for row in counted]
        installation.database.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_a_pause_is_the_reason_exactly_where_one_held_at_the_due_instant_or_the_decision(new_installation, steps):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        lived_through(installation, [step for step in steps if step[0] != "back"])
        with installation.database.read() as session:
            pauses = session.execute(select(Pause.from_at, Pause.until_at)).all()

        def held_when_due(instant) -> bool:
            return any(since <= instant and (until is None or instant < until) for since, until in pauses)

        def held_when_decided(instant) -> bool:
            # What pause and resume decide themselves, they decide before the one and within the other.
            return any(since < instant and (until is None or instant <= until) for since, until in pauses)

        for id in installation.schedules():
            for row in by_clock(installation, id):
                decided_in_pause = held_when_decided(row.decided_at)
                held = {decided_in_pause or held_when_due(one) for one in covered(installation, id, row)}
                assert held == {row.reason is Reason.MISSED_PAUSED}
        installation.database.close()


# Where daemons come and go within a minute, and people decide in between.
COMINGS = st.one_of(
    st.tuples(st.just("forward"), st.sampled_from([1, 8, 25, 50])),
    st.tuples(st.just("forward"), st.sampled_from([1, 8, 25, 61, 600])),
    st.tuples(st.just("back"), st.sampled_from([8, 50, 61, 600])),
    st.tuples(st.just("tick")),
    st.tuples(st.just("another daemon")),
    st.tuples(st.just("beats")),
    st.tuples(st.just("beats")),
    st.tuples(st.just("stops")),
    st.tuples(st.just("enable"), st.just("d")),
    st.tuples(st.just("disable"), st.just("d")),
    st.tuples(st.just("disable"), st.just("d")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(COMINGS, min_size=4, max_size=30))
def test_whether_a_daemon_was_there_is_what_the_rows_of_the_processes_say_for_ever_after(new_installation, steps):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        lived_through(installation, steps, (schedule("d", "* * * * *", grace=2),))
        with installation.database.read() as session:
            spans = session.execute(
                select(Process.started_at, Process.beat_at).where(Process.role == ProcessRole.DAEMON)
            ).all()
        reasons = {Reason.MISSED_LATE: True, Reason.MISSED_NO_DAEMON: False}
        for id in installation.schedules():
            for row in [row for row in by_clock(installation, id) if row.reason in reasons]:
                there = {any(since <= one <= until for since, until in spans) for one in covered(installation, id, row)}
                assert there == {reasons[row.reason]}
        installation.database.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_every_firing_has_the_job_runs_that_it_says(new_installation, steps):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        lived_through(installation, steps)
        runs = Counter(run.firing_id for run in installation.runs())
        for id in installation.schedules():
            rows = installation.firings(id)
            assert [row.job_run_count for row in rows] == [runs[row.id] for row in rows]
            assert [row.job_run_count for row in rows] == [int(row.decision is Decision.ENQUEUED) for row in rows]
        installation.database.close()
