"""`verify` works the past out by itself: what happened is clean, and what was changed past the program is found."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedmgr.core import retention
from schedmgr.core.definitions import Schedule
from schedmgr.core.ledger.verify import verify
from schedmgr.database.engine import Database
from schedmgr.errors import NotFound, Refused

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def schedule(id: str, cron: str, **fields: object) -> Schedule:
    return Schedule(id, cron=cron, execution_mode="ALL_JOBS", **fields)


DEPLOYS = [
    (
        schedule("a", "*/5 * * * *"),
        schedule("b", "30 2 * * *", timezone="Europe/Berlin", missed="run_once"),
        schedule("c", "*/20 * * * *", missed="catch_up", catch_up_limit=3, overlap="queue"),
    ),
    (schedule("a", "*/7 * * * *", grace=600, overlap="allow"), schedule("c", "*/20 * * * *", missed="run_once")),
    (schedule("a", "*/5 * * * *", description="of partners", grace=0), schedule("b", "0 * * * *", missed="catch_up")),
    (schedule("a", "*/5 * * * *", grace=1), schedule("b", "H/10 * * * *", timezone="Australia/Lord_Howe")),
]
IDS = st.sampled_from(["a", "b", "c"])
SPANS = st.sampled_from([1, 8, 50, 61, 299, 1200, 3600, 40_000])
WRONG = st.sampled_from([None, "1970-01-01 00:00:00.000000", "9999-12-31 00:00:00.000000", "tomorrow", ""])
STEPS = st.one_of(
    st.tuples(st.just("forward"), SPANS),
    st.tuples(st.just("forward"), SPANS),
    st.tuples(st.just("beat"), st.sampled_from([9, 61, 299])),
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
    st.tuples(st.just("prune"), SPANS),
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


def take(installation, step) -> None:
    """What people are refused is no harm."""
    clock = installation.clock
    match step:
        case ("forward", seconds):
            clock.move(seconds=seconds)
        case ("back", seconds):
            clock.move(seconds=-seconds)
        case ("beat", seconds):
            installation.start_daemon()
            installation.beat_until(installation.later(seconds))
        case ("tick",):
            installation.tick()
        case ("new daemon",):
            installation.start_daemon()
        case ("deploy", schedules):
            installation.sync(*schedules)
        case ("pause", seconds):
            installation.pause(until=None if seconds is None else installation.later(seconds))
        case ("resume",):
            installation.resume()
        case ("jobs end",):
            installation.sql(
                "UPDATE job_run SET status = 'SUCCEEDED', finished_at = :now WHERE status = 'QUEUED'",
                now=f"{clock.now:%Y-%m-%d %H:%M:%S.%f}",
            )
        case ("corrupt", value):
            installation.sql("UPDATE job_schedule SET next_run_at = :value WHERE enabled", value=value)
        case ("prune", seconds):
            retention.prune(installation.database, installation.later(-seconds), installation.person)
        case ("repair",):
            installation.repair()
        case ("enable", id):
            installation.enable(id)
        case ("disable", id):
            installation.disable(id)
        case ("run now", id):
            installation.run_now(id)


def live_through(installation, steps) -> None:
    installation.clock.set_to(datetime(2026, 3, 28, 12, 0, tzinfo=UTC))
    installation.sync(*DEPLOYS[0])
    installation.enable("a", "b", "c")
    for step in steps:
        try:
            take(installation, step)
        except (Refused, NotFound):
            continue
    installation.repair()
    installation.tick()


def verified(installation, **how):
    with installation.database.read() as session:
        return verify(session, **how)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS.filter(lambda step: step[0] != "back"), max_size=25))
def test_whatever_people_and_daemons_do_every_occurrence_is_accounted_for_and_truly_explained(new_installation, steps):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        live_through(installation, steps)
        report = verified(installation)
        installation.database.close()
        assert [str(problem) for problem in report.problems] == []
        assert report.occurrences == report.accounted + report.pending


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_clocks_do_every_occurrence_is_accounted_for(new_installation, steps):
    """A pause or a deploy in a time that the clock shows twice may speak against what the first pass decided."""
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        live_through(installation, steps)
        report = verified(installation)
        installation.database.close()
        assert {problem.kind for problem in report.problems} <= {"wrongly explained"}
        assert report.occurrences == report.accounted + report.pending


def swapped(one: str, other: str) -> str:
    """One reason for another; where there is none, the first."""
    return (
        f"UPDATE schedule_firing SET reason = CASE reason WHEN '{one}' THEN '{other}' ELSE '{one}' END WHERE id = :id"
    )


MUTATIONS = st.sampled_from(
    [
        "DELETE FROM schedule_firing WHERE id = :id",
        "UPDATE schedule_firing SET scheduled_for = NULL WHERE id = :id",
        "UPDATE schedule_firing SET scheduled_for = replace(scheduled_for, '0.000000', '0.000001') WHERE id = :id",
        "UPDATE schedule_firing SET scheduled_for = replace(scheduled_for, '00.000000', '30.000000') WHERE id = :id",
        "UPDATE schedule_firing SET decided_at = '2026-03-28 00:00:00.000000' WHERE id = :id",
        "UPDATE schedule_firing SET `trigger` = 'API' WHERE id = :id",
        "UPDATE schedule_firing SET schedule_id = 'other' WHERE id = :id",
        "UPDATE schedule_firing SET job_run_count = job_run_count + 1 WHERE id = :id",
        "UPDATE schedule_firing SET missed_count = missed_count + 1 WHERE id = :id",
        "UPDATE schedule_firing SET missed_until = '2026-03-28 12:00:00.000000' WHERE id = :id",
        "UPDATE schedule_firing SET decision = CASE decision WHEN 'ENQUEUED' THEN 'SKIPPED' ELSE 'ENQUEUED' END, "
        "job_run_count = 1 - (job_run_count > 0) WHERE id = :id",
        swapped("MISSED_NO_DAEMON", "MISSED_LATE"),
        swapped("MISSED_PAUSED", "MISSED_NO_DAEMON"),
        swapped("MISSED_LATE", "MISSED_PAUSED"),
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS.filter(lambda step: step[0] not in ("back", "prune")), max_size=25), st.randoms(), MUTATIONS)
def test_whatever_happened_one_changed_firing_is_found(new_installation, steps, choice, mutation):
    with tempfile.TemporaryDirectory() as folder:
        installation = new_installation(Path(folder))
        live_through(installation, [("forward", 1200), ("tick",), *steps])
        firings = [row.id for id in installation.schedules() for row in installation.firings(id) if row.scheduled_for]
        installation.sql(mutation, id=choice.choice(firings))
        report = verified(installation)
        installation.database.close()
        assert report.problems


# One history with a bit of everything


@pytest.fixture
def history(installation, clock):
    """Of 2 March: on time until 12:10, nobody there at 12:15 to 12:25, late at 12:30 with a daemon there, paused at
    12:35 and 12:40, and overlapping at 12:50; now it is 12:52."""
    clock.set_to(at(11, 58))
    installation.start_daemon()
    installation.turned_on(schedule("feeds", "*/5 * * * *"))
    for minute in (0, 5, 10):
        clock.set_to(at(12, minute, 1))
        installation.start_daemon()
        installation.tick()
        end_runs(installation)
    clock.set_to(at(12, 27))
    installation.start_daemon()
    installation.tick()
    installation.beat_until(at(12, 32))
    installation.tick()
    installation.pause(until=at(12, 43))
    clock.set_to(at(12, 44))
    installation.start_daemon()
    installation.tick()
    clock.set_to(at(12, 45, 1))
    installation.tick()
    clock.set_to(at(12, 50, 1))
    installation.start_daemon()
    installation.tick()
    clock.set_to(at(12, 52))
    return installation


def end_runs(installation) -> None:
    installation.sql(
        "UPDATE job_run SET status = 'SUCCEEDED', finished_at = :now WHERE status = 'QUEUED'",
        now=f"{installation.clock.now:%Y-%m-%d %H:%M:%S.%f}",
    )


def kinds_found(installation, **how) -> list[str]:
    return [str(problem.kind) for problem in verified(installation, **how).problems]


def firing(installation, instant) -> int:
    """The number of the firing that is scheduled for that instant."""
    return next(row.id for row in installation.firings("feeds") if row.scheduled_for == instant)


def change(installation, instant, assignment: str, **values) -> None:
    installation.sql(
        f"UPDATE schedule_firing SET {assignment} WHERE id = :id", id=firing(installation, instant), **values
    )


def test_the_history_is_clean_and_has_each_reason(history):
    report = verified(history)
    assert (report.occurrences, report.accounted, report.problems) == (11, 11, [])
    assert {row.reason for row in history.firings("feeds")} == {
        *(None, "MISSED_NO_DAEMON", "MISSED_LATE", "MISSED_PAUSED", "OVERLAP"),
    }


def test_a_deleted_firing_is_missing(history):
    change(history, at(12, 5), "claim_token = 'x'")
    history.sql("DELETE FROM job_run WHERE firing_id = :id", id=firing(history, at(12, 5)))
    history.sql("DELETE FROM schedule_firing WHERE id = :id", id=firing(history, at(12, 5)))
    (problem,) = verified(history).problems
    assert (problem.kind, problem.schedule_id, problem.at, problem.count) == ("missing", "feeds", at(12, 5), 1)
    assert "No firing covers this occurrence." in str(problem)


def test_deleted_firings_that_follow_one_another_are_one_problem(history):
    history.sql("DELETE FROM job_run")
    history.sql("DELETE FROM schedule_firing WHERE scheduled_for < '2026-03-02 12:28'")
    missing = verified(history).problems[0]
    assert (missing.kind, missing.at, missing.until, missing.count) == ("missing", at(12, 0), at(12, 25), 6)


def test_the_newest_firing_deleted_is_missing_although_everything_else_agrees(history):
    history.sql("DELETE FROM schedule_firing WHERE id = :id", id=firing(history, at(12, 50)))
    assert kinds_found(history) == ["missing"]


def test_a_firing_that_was_added_is_not_due(history):
    add_firing(history, at(12, 7))
    assert kinds_found(history) == ["not due", "wrong job runs"]


def test_a_firing_added_for_the_future_is_not_due(history):
    add_firing(history, at(13, 0))
    (problem,) = [problem for problem in verified(history).problems if problem.kind == "not due"]
    assert "that has not come yet" in str(problem)


def test_a_firing_added_within_a_range_doubles_its_occurrence(history):
    add_firing(history, at(12, 20))
    assert kinds_found(history) == ["doubled", "wrong job runs"]


def add_firing(installation, instant) -> None:
    installation.sql(
        "INSERT INTO schedule_firing (schedule_id, scheduled_for, `trigger`, decision, missed_count, decided_at, "
        "job_run_count, claim_token) VALUES ('feeds', :at, 'SCHEDULE', 'ENQUEUED', 0, :decided, 1, 'x')",
        at=f"{instant:%Y-%m-%d %H:%M:%S.%f}",
        decided=f"{instant:%Y-%m-%d %H:%M:%S}.500000",
    )


@pytest.mark.parametrize("shift", ["12:06:00.000000", "12:04:00.000000", "12:05:00.000001", "12:05:01.000000"])
def test_a_firing_that_was_shifted_is_not_due_and_leaves_its_occurrence_missing(history, shift):
    number = firing(history, at(12, 5))
    change(history, at(12, 5), f"scheduled_for = '2026-03-02 {shift}'")
    found = verified(history).problems
    assert {"missing", "not due"} <= {str(problem.kind) for problem in found}
    assert number in {problem.firing_id for problem in found}


def test_a_firing_without_its_instant_is_found(history):
    change(history, at(12, 5), "scheduled_for = NULL")
    assert {"missing", "not due", "wrong job runs"} <= set(kinds_found(history))


@pytest.mark.parametrize(
    ("instant", "assignment"),
    [
        (at(12, 5), "reason = 'MISSED_LATE'"),
        (at(12, 5), "`trigger` = 'CATCH_UP', reason = 'MISSED_LATE'"),
        (at(12, 5), "decision = 'SKIPPED', reason = 'OVERLAP', job_run_count = 0"),
        (at(12, 5), "decided_at = '2026-03-02 12:07:00'"),
        (at(12, 5), "decided_at = '2026-03-02 12:04:59'"),
        (at(12, 15), "reason = 'MISSED_LATE'"),
        (at(12, 15), "reason = 'MISSED_PAUSED'"),
        (at(12, 15), "reason = 'OVERLAP'"),
        (at(12, 30), "reason = 'MISSED_NO_DAEMON'"),
        (at(12, 30), "reason = 'MISSED_PAUSED'"),
        (at(12, 30), "decided_at = '2026-03-02 12:30:30'"),
        (at(12, 35), "reason = 'MISSED_NO_DAEMON'"),
        (at(12, 35), "reason = 'MISSED_LATE'"),
        (at(12, 35), "reason = NULL"),
        (at(12, 35), "reason = 'BECAUSE'"),
        (at(12, 50), "decision = 'ENQUEUED', reason = NULL"),
        (at(12, 50), "reason = 'MISSED_NO_DAEMON'"),
        (at(12, 50), "`trigger` = 'MANUAL'"),
    ],
)
def test_a_changed_reason_is_found(history, instant, assignment):
    number = firing(history, instant)
    change(history, instant, assignment)
    assert number in {problem.firing_id for problem in verified(history).problems}


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_changed_count_is_found(history, count):
    change(history, at(12, 15), f"missed_count = {count}")
    assert "wrong count" in kinds_found(history)


@pytest.mark.parametrize("until", ["12:20:00", "12:24:00", "12:30:00", "12:10:00"])
def test_a_changed_end_of_a_range_is_found(history, until):
    change(history, at(12, 15), f"missed_until = '2026-03-02 {until}'")
    assert kinds_found(history)


@pytest.mark.parametrize(
    "assignment",
    [
        "cron = '*/10 * * * *'",
        "cron = '1-59/5 * * * *'",
        "cron = '* * * * *'",
        "cron = '61 * * * *'",
        "timezone = 'Mars/Olympus'",
        "starts_at = '2026-03-02 12:10:00'",
        "ends_at = '2026-03-02 12:20:00'",
        "from_at = '2026-03-02 12:12:00'",
        "until_at = '2026-03-02 12:12:00'",
        "from_at = '2026-03-01 12:12:00'",
        "schedule_id = 'other'",
    ],
)
def test_a_changed_period_is_found(history, assignment):
    history.sql(f"UPDATE schedule_period SET {assignment}")
    assert kinds_found(history)


def test_a_changed_period_that_has_ended_is_found_by_its_firings(history, clock):
    history.disable("feeds")
    history.sql("UPDATE schedule_period SET cron = '*/10 * * * *'")
    assert "not due" in kinds_found(history)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pause",
        "UPDATE pause SET until_at = '2026-03-02 12:36:00'",
        "UPDATE pause SET from_at = '2026-03-02 12:29:00'",
        "DELETE FROM process",
        "UPDATE process SET beat_at = '2026-03-02 12:20:00' WHERE beat_at < '2026-03-02 12:20:00'",
        "DELETE FROM job_run",
        "UPDATE job_run SET finished_at = queued_at, status = 'FAILED'",
        "UPDATE job_run SET firing_id = firing_id + 1000",
        "UPDATE job_run SET scheduled_for = '2026-03-02 12:01:00'",
        "UPDATE schedule_firing SET job_run_count = 2 WHERE job_run_count = 1",
        "UPDATE job_schedule SET enabled = 0, next_run_at = NULL",
        "UPDATE job_schedule SET accounted_until = '2026-03-02 14:00:00'",
        "DELETE FROM schedule_period",
        "DELETE FROM job_schedule",
        "INSERT INTO schedule_period (schedule_id, cron, timezone, tzdata, from_at) "
        "SELECT schedule_id, cron, timezone, tzdata, '2026-03-02 12:30:00' FROM schedule_period",
    ],
)
def test_whatever_evidence_is_changed_the_change_is_found(history, statement):
    history.sql(statement)
    assert kinds_found(history)
