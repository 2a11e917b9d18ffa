"""A stored next run is only an index: whatever it holds, no occurrence is lost, doubled or invented."""

import logging
from datetime import UTC, datetime

import pytest

from schedmgr.core import locking, retention
from schedmgr.core.definitions import Schedule
from schedmgr.vocabulary import Decision

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ANYWHERE = {
    "NULL": None,
    "1970": "1970-01-01 00:00:00.000000",
    "9999": "9999-12-31 00:00:00.000000",
    "a minute that is not due": "2026-03-02 12:03:00.000000",
    "a moment too late": "2026-03-02 12:00:00.000001",
    "the one after": "2026-03-02 12:05:00.000000",
}
IN_SQLITE = ANYWHERE | {
    "text": "tomorrow",
    "empty": "",
    "a number": 1772452800,
    "a negative number": -1,
    "a fraction": 1.5,
    "bytes": b"bytes",
    "bytes that are no text": b"\xff\x00\xfe",
    "the right instant as bytes": b"2026-03-02 12:00:00.000000",
    "the right instant with a T": "2026-03-02T12:00:00.000000",
    "the right instant without dashes": "20260302T120000",
    "a huge text": "9" * 1_000_000,
    "no date": "2026-02-30 12:00:00.000000",
    "a zero": "2026-03-02 12:00:00\0",
}
IN_MARIADB = ANYWHERE | {"the zero date": "0000-00-00 00:00:00", "no month": "2026-00-02 12:00:00"}
WRONG = pytest.mark.parametrize(
    ("database_kind", "value"),
    [
        *(pytest.param("sqlite", value, id=f"sqlite-{name}") for name, value in IN_SQLITE.items()),
        *(pytest.param("mariadb", value, id=f"mariadb-{name}") for name, value in IN_MARIADB.items()),
    ],
)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def running(installation, clock):
    """At 11:58:30 a daemon runs and a schedule of every five minutes is on."""
    clock.set_to(at(11, 58, 30))
    installation.start_daemon()
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow"))
    return installation


def corrupt(running, value, column="next_run_at"):
    """Past what a server in its strict mode takes."""
    lax = "SET STATEMENT sql_mode = '' FOR " if running.database.is_server else ""
    running.sql(f"{lax}UPDATE job_schedule SET {column} = :value", value=value)


@WRONG
def test_repair_writes_what_accounted_until_gives(running, value):
    corrupt(running, value)
    running.repair()
    assert running.schedule("feeds").next_run_at == NOON


@WRONG
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


@WRONG
def test_a_tick_that_meets_a_wrong_next_run_invents_nothing(running, clock, value):
    corrupt(running, value)
    running.tick()
    assert running.firings("feeds") == []


@WRONG
def test_what_is_due_is_never_said_to_be_due_without_a_claim_that_finds_it(running, database, value):
    corrupt(running, value)
    with database.write() as session:
        look = locking.look(session)
        claimed = locking.claim_due(session, session.now(), 10)
    assert look.is_due == bool(claimed)


def test_a_missing_next_run_is_logged_as_such(running, caplog):
    corrupt(running, None)
    with caplog.at_level(logging.WARNING):
        running.repair()
    assert "next_run_at IS NULL" in caplog.text
    assert "schedule=feeds" in caplog.text


@WRONG
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


@WRONG
def test_switching_works_on_a_schedule_whose_next_run_is_wrong(running, clock, value):
    corrupt(running, value)
    clock.set_to(at(12, 0, 1))
    running.disable("feeds")
    assert [row.scheduled_for for row in running.firings("feeds")] == [NOON]
    running.enable("feeds")
    assert running.schedule("feeds").next_run_at == at(12, 5)


@WRONG
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


UNREADABLE = pytest.mark.parametrize(
    ("database_kind", "value"),
    [
        ("sqlite", "garbage"),
        ("sqlite", b"garbage"),
        ("sqlite", b"\xff\x00"),
        ("sqlite", 7),
        ("mariadb", "0000-00-00 00:00:00"),
    ],
)


@UNREADABLE
def test_an_account_that_cannot_be_read_is_worked_out_from_the_firings(running, clock, value):
    clock.set_to(at(12, 5, 1))
    running.tick()
    before = running.firings("feeds")
    corrupt(running, value, "accounted_until")
    clock.set_to(at(12, 10, 1))
    running.tick()
    assert running.firings("feeds") == before
    running.repair()
    running.tick()
    assert [row.scheduled_for for row in running.firings("feeds")] == [NOON, at(12, 5), at(12, 10)]


@UNREADABLE
def test_an_account_that_cannot_be_read_before_any_firing_begins_with_the_period(running, clock, value):
    corrupt(running, value, "accounted_until")
    running.repair()
    assert running.schedule("feeds").accounted_until == running.periods("feeds")[0].from_at


@UNREADABLE
def test_an_account_that_cannot_be_read_does_not_forget_what_was_pruned(running, database, clock, value):
    clock.set_to(at(12, 5, 1))
    running.tick()
    running.sql("UPDATE job_run SET status = 'SUCCEEDED', finished_at = started_at")
    clock.set_to(at(12, 9))
    retention.prune(database, at(12, 6), running.person)
    corrupt(running, value, "accounted_until")
    running.repair()
    assert running.schedule("feeds").accounted_until == at(12, 6)
