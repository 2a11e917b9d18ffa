"""A stored next run is only an index: whatever it holds, no occurrence is lost, doubled or invented."""

import logging
from datetime import UTC, datetime

import pytest

from schedmgr.core import locking
from schedmgr.core.definitions import Schedule
from schedmgr.vocabulary import Decision

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WRONG = [
    pytest.param(None, id="NULL"),
    pytest.param("1970-01-01 00:00:00.000000", id="1970"),
    pytest.param("9999-12-31 00:00:00.000000", id="9999"),
    pytest.param("2026-03-02 12:03:00.000000", id="a minute that is not due"),
    pytest.param("tomorrow", id="text"),
    pytest.param("", id="empty"),
    pytest.param(1772452800, id="number"),
    pytest.param(b"bytes", id="bytes"),
]


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def running(installation, clock):
    """At 11:58:30 a daemon runs and a schedule of every five minutes is on."""
    clock.set_to(at(11, 58, 30))
    installation.start_daemon()
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow"))
    return installation


def corrupt(running, value):
    running.sql("UPDATE job_schedule SET next_run_at = :value", value=value)


@pytest.mark.parametrize("value", WRONG)
def test_repair_writes_what_accounted_until_gives(running, value):
    corrupt(running, value)
    running.repair()
    assert running.schedule("feeds").next_run_at == NOON


@pytest.mark.parametrize("value", WRONG)
def test_no_occurrence_is_lost_doubled_or_invented(running, clock, value):
    for minute in (0, 5, 10):
        clock.set_to(at(12, minute, 1))
        corrupt(running, value)
        running.repair()
        running.tick()
        corrupt(running, value)
        running.tick()
    assert [(row.scheduled_for, row.decision) for row in running.firings("feeds")] == [
        (NOON, Decision.ENQUEUED),
        (at(12, 5), Decision.ENQUEUED),
        (at(12, 10), Decision.ENQUEUED),
    ]


@pytest.mark.parametrize("value", WRONG)
def test_a_tick_that_meets_a_wrong_next_run_invents_nothing(running, clock, value):
    corrupt(running, value)
    running.tick()
    assert running.firings("feeds") == []


@pytest.mark.parametrize("value", WRONG)
def test_what_is_due_is_never_said_to_be_due_without_a_claim_that_finds_it(running, database, value):
    corrupt(running, value)
    with database.read() as session:
        look = locking.look(session)
        claimed = locking.claim_due(session, session.now(), 10)
    assert look.is_due == bool(claimed)


def test_a_missing_next_run_is_logged_as_such(running, caplog):
    corrupt(running, None)
    with caplog.at_level(logging.WARNING):
        running.repair()
    assert "next_run_at IS NULL" in caplog.text
    assert "schedule=feeds" in caplog.text


@pytest.mark.parametrize("value", WRONG)
def test_a_repair_is_kept_on_the_schedule_for_health_and_pages(running, clock, value):
    corrupt(running, value)
    running.repair()
    row = running.schedule("feeds")
    assert (row.repaired_at is not None, "No run was lost" in row.repair) == (True, True)


def test_a_repair_by_the_tick_itself_is_kept_as_well(running):
    corrupt(running, "1970-01-01 00:00:00.000000")
    assert len(running.tick().repairs) == 1
    assert "1970-01-01" in running.schedule("feeds").repair


def test_a_right_next_run_is_not_touched(running):
    before = running.schedule("feeds")
    assert running.repair().repairs == ()
    assert running.schedule("feeds") == before


def test_a_schedule_that_is_off_has_no_next_run_and_needs_no_repair(running):
    running.disable("feeds")
    assert running.repair().repairs == ()
    assert running.schedule("feeds").next_run_at is None


def test_a_next_run_of_a_schedule_that_is_off_is_taken_away_and_fires_nothing(running, clock):
    running.disable("feeds")
    corrupt(running, "1970-01-01 00:00:00.000000")
    running.tick()
    running.repair()
    assert running.schedule("feeds").next_run_at is None
    assert running.firings("feeds") == []


def test_a_schedule_that_has_ended_has_no_next_run_and_needs_no_repair(installation, clock):
    clock.set_to(at(11, 58))
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", ends_at=at(12, 3)))
    clock.set_to(at(12, 0, 1))
    installation.tick()
    assert installation.schedule("feeds").next_run_at is None
    assert installation.repair().repairs == ()


def test_switching_works_on_a_schedule_whose_next_run_is_wrong(running, clock):
    corrupt(running, "tomorrow")
    clock.set_to(at(12, 0, 1))
    running.disable("feeds")
    assert [row.scheduled_for for row in running.firings("feeds")] == [NOON]
    running.enable("feeds")
    assert running.schedule("feeds").next_run_at == at(12, 5)


@pytest.mark.parametrize("value", WRONG)
def test_a_pause_first_decides_what_is_due_although_the_next_run_is_wrong(running, clock, value):
    corrupt(running, value)
    clock.set_to(at(12, 0, 1))
    running.pause()
    assert [(row.scheduled_for, row.decision) for row in running.firings("feeds")] == [(NOON, Decision.ENQUEUED)]


def test_a_schedule_that_was_archived_is_never_said_to_be_due(running, database):
    running.sync(Schedule("other", cron="@daily", execution_mode="ALL_JOBS"))
    running.sql("UPDATE job_schedule SET enabled = true, next_run_at = '1970-01-01 00:00:00.000000' WHERE id = 'feeds'")
    with database.read() as session:
        assert not locking.look(session).is_due


def test_an_account_that_cannot_be_read_is_worked_out_from_the_firings(running, clock):
    clock.set_to(at(12, 5, 1))
    running.tick()
    before = running.firings("feeds")
    running.sql("UPDATE job_schedule SET accounted_until = 'garbage'")
    clock.set_to(at(12, 10, 1))
    running.tick()
    assert running.firings("feeds") == before
    running.repair()
    running.tick()
    assert [row.scheduled_for for row in running.firings("feeds")] == [NOON, at(12, 5), at(12, 10)]


def test_an_account_that_cannot_be_read_before_any_firing_begins_with_the_period(running, clock):
    running.sql("UPDATE job_schedule SET accounted_until = 'garbage'")
    running.repair()
    assert running.schedule("feeds").accounted_until == running.periods("feeds")[0].from_at
