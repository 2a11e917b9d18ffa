"""What stands still although processes beat is found by what should have happened."""

from datetime import UTC, datetime, timedelta

import pytest
from kinds import ON_SQLITE
from sqlalchemy import event

from schedmgr.core import actions, health, standstill
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.standstill import Ahead, Due, Untaken
from schedmgr.core.verdict import Status
from schedmgr.core.vitals import Vitals, vitals

NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
JOBS = (Job("pull", command="true", group="feed"), Job("push", command="true", group="sync"))


def found(installation) -> Vitals:
    with installation.database.read() as session:
        return vitals(session)


def every_minute(id: str = "feeds", **more):
    return Schedule(id, cron="* * * * *", execution_mode="ALL_JOBS", overlap="allow", **more)


def on_the_minute(minute: int) -> datetime:
    return NOON.replace(minute=minute, second=0)


@pytest.fixture
def fed(installation, clock):
    """At 12:00:30, a schedule of every minute is on and a daemon has begun."""
    clock.set_to(NOON)
    installation.turned_on(every_minute())
    installation.start_daemon()
    return installation


# The clock was set back


def test_schedules_decided_beyond_the_clock_are_counted_until_it_catches_up(fed, clock):
    clock.move(minutes=90)
    fed.tick()
    reached = fed.schedule("feeds").accounted_until
    clock.move(minutes=-60)
    assert found(fed).ahead == Ahead(1, reached)
    clock.set_to(reached)
    assert found(fed).ahead is None


def test_a_clock_that_was_put_right_by_seconds_silences_nothing(fed, clock):
    clock.move(minutes=1)
    fed.tick()
    clock.move(seconds=-4)
    assert found(fed).ahead is None


def test_a_schedule_that_is_off_is_silent_anyway(fed, clock):
    clock.move(minutes=90)
    fed.tick()
    fed.disable("feeds")
    clock.move(minutes=-60)
    assert found(fed).ahead is None


def test_health_says_that_the_clock_was_set_back(fed, clock):
    clock.move(minutes=90)
    fed.tick()
    clock.move(minutes=-60)
    fed.start_daemon()
    verdict = health.check(fed.database)
    assert "ahead" in [check.key for check in verdict.troubles]
    assert verdict.status is Status.WARNING


# What is due is told by what is accounted for


@pytest.mark.parametrize("stored", [None, "9999-12-31 00:00:00.000000"])
def test_an_occurrence_is_late_although_the_stored_next_run_hides_it(fed, clock, stored):
    fed.sql("UPDATE job_schedule SET next_run_at = :stored", stored=stored)
    clock.move(minutes=5)
    assert found(fed).oldest_due == Due("feeds", on_the_minute(1))


def test_a_schedule_that_nothing_can_say_the_times_of_is_told(fed, clock):
    fed.sql("UPDATE job_schedule SET cron = '61 * * * *'")
    clock.move(minutes=1)
    fed.tick()
    assert fed.schedule("feeds").next_run_at is None
    assert found(fed).never_due == ("feeds",)


def test_a_schedule_that_has_ended_is_not_said_to_be_broken(installation, clock):
    clock.set_to(NOON)
    installation.turned_on(every_minute(ends_at=on_the_minute(2)))
    clock.set_to(on_the_minute(5))
    installation.tick()
    assert installation.schedule("feeds").next_run_at is None
    assert found(installation).never_due == ()


# Runs that no worker takes


@pytest.fixture
def queue(installation, clock):
    """A daemon with four places, and two jobs that people put on the queue."""
    clock.set_to(NOON)
    installation.sync(Schedule("daily", cron="@daily", execution_mode="ALL_JOBS"), jobs=JOBS)
    installation.start_daemon(concurrency=4)

    class Queue:
        def put(self, job: str) -> int:
            return installation.database.transact(lambda session: actions.run_job(session, job, installation.person))

        def marks(self, run_id: int, status: str, finished_at: datetime | None = None) -> None:
            stored = finished_at and finished_at.replace(tzinfo=None).isoformat(" ", "microseconds")
            installation.sql(
                "UPDATE job_run SET status = :status, finished_at = :at WHERE id = :id",
                status=status,
                at=stored,
                id=run_id,
            )

    return Queue()


def test_a_run_that_waits_for_a_minute_beside_free_places_is_told_with_its_group(installation, queue, clock):
    queue.put("push")
    installation.beat_until(NOON + timedelta(seconds=59))
    assert found(installation).queue.untaken is None
    installation.beat_until(NOON + timedelta(seconds=62))
    untaken = found(installation).queue.untaken
    assert (untaken.job, untaken.group) == ("push", "sync")


def test_a_group_of_which_a_run_goes_or_ended_lately_is_moving(installation, queue, clock):
    goes, waits = queue.put("push"), queue.put("push")
    queue.marks(goes, "RUNNING")
    installation.beat_until(NOON + timedelta(seconds=90))
    assert found(installation).queue.untaken is None
    queue.marks(goes, "SUCCEEDED", clock.now - timedelta(seconds=30))
    assert found(installation).queue.untaken is None
    queue.marks(goes, "SUCCEEDED", clock.now - timedelta(seconds=61))
    assert found(installation).queue.untaken == Untaken("push", "sync", found(installation).queue.longest_waiting_since)
    queue.marks(waits, "CANCELLED")


def test_one_group_that_moves_does_not_hide_another_that_stands_still(installation, queue):
    queue.marks(queue.put("pull"), "RUNNING")
    queue.put("pull")
    queue.put("push")
    installation.beat_until(NOON + timedelta(seconds=90))
    assert found(installation).queue.untaken.group == "sync"


def test_a_run_may_wait_where_all_places_are_taken(installation, queue):
    for _ in range(4):
        queue.marks(queue.put("pull"), "RUNNING")
    queue.put("push")
    installation.beat_until(NOON + timedelta(seconds=90))
    assert found(installation).queue.untaken is None


def test_health_names_the_run_that_no_worker_takes(installation, queue):
    queue.put("push")
    installation.beat_until(NOON + timedelta(seconds=90))
    assert "queue" in [check.key for check in health.check(installation.database).troubles]


@ON_SQLITE
def test_looking_for_such_a_run_reads_no_whole_table(installation, queue, clock):
    queue.put("push")
    clock.move(seconds=90)
    plans = []

    def note(connection, cursor, statement, values, context, many):
        plans.extend(row[-1] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall())

    with installation.database.read() as session:
        event.listen(session.connection, "before_cursor_execute", note)
        assert standstill.untaken(session) is not None
        event.remove(session.connection, "before_cursor_execute", note)
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN job_run")] == []
