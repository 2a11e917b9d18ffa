"""When one schedule is due: its expression in its zone, inside its window."""

from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core.cron import CronError
from schedmgr.core.timetable import SHORTEST, Timetable

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Timetable("s", "0 * * * *", "UTC")
OPEN_TO_THREE = Timetable("s", "0 * * * *", "UTC", starts_at=NOON, ends_at=NOON + 3 * HOUR)


def test_an_occurrence_is_strictly_after_the_instant_asked_for():
    assert HOURLY.after(NOON) == NOON + HOUR
    assert HOURLY.after(NOON - SHORTEST) == NOON


def test_a_span_leaves_out_its_beginning_and_includes_its_end():
    assert list(HOURLY.between(NOON, NOON + 2 * HOUR)) == [NOON + HOUR, NOON + 2 * HOUR]
    assert HOURLY.count(NOON, NOON + 2 * HOUR) == 2
    assert HOURLY.newest(NOON, NOON + 2 * HOUR, 5) == [NOON + HOUR, NOON + 2 * HOUR]


def test_a_window_includes_its_start_and_leaves_out_its_end():
    day = (NOON - 12 * HOUR, NOON + 12 * HOUR)
    open_hours = [NOON, NOON + HOUR, NOON + 2 * HOUR]
    assert list(OPEN_TO_THREE.between(*day)) == open_hours
    assert OPEN_TO_THREE.count(*day) == 3
    assert OPEN_TO_THREE.newest(*day, 2) == open_hours[1:]
    assert OPEN_TO_THREE.after(day[0]) == NOON


def test_once_the_window_has_closed_nothing_is_due_any_more():
    assert OPEN_TO_THREE.after(NOON + 2 * HOUR) is None


@pytest.mark.parametrize("start", [NOON - 5 * HOUR, NOON + 5 * HOUR], ids=["before", "after"])
def test_a_span_outside_the_window_is_empty(start):
    span = (start, start + HOUR)
    assert (list(OPEN_TO_THREE.between(*span)), OPEN_TO_THREE.count(*span), OPEN_TO_THREE.newest(*span)) == ([], 0, [])


def test_the_newest_are_the_last_of_a_span_oldest_first():
    assert HOURLY.newest(NOON - 10 * HOUR, NOON, 2) == [NOON - HOUR, NOON]


def test_a_schedules_spread_hash_is_its_own():
    spread = [Timetable(id, "H * * * *", "UTC").after(NOON) for id in ("a", "b", "c", "d")]
    assert spread == [Timetable(id, "H * * * *", "UTC").after(NOON) for id in ("a", "b", "c", "d")]
    assert len(set(spread)) > 1


@pytest.mark.parametrize(("cron", "zone"), [("61 * * * *", "UTC"), ("0 * * * *", "Mars/Olympus")])
def test_an_unknown_expression_or_zone_is_an_error_of_every_question(cron, zone):
    wrong = Timetable("s", cron, zone)
    with pytest.raises(CronError):
        wrong.after(NOON)
    with pytest.raises(CronError):
        list(wrong.between(NOON, NOON + HOUR))
    with pytest.raises(CronError):
        wrong.count(NOON, NOON + HOUR)
    with pytest.raises(CronError):
        wrong.newest(NOON, NOON + HOUR)
