"""Instants and durations as every face shows them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedmgr.core import phrases

MORNING = datetime(2026, 10, 19, 2, 13, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 s"),
        (timedelta(milliseconds=1840), "1.8 s"),
        (timedelta(seconds=2), "2 s"),
        (timedelta(seconds=9.94), "9.9 s"),
        (timedelta(seconds=9.97), "10 s"),
        (timedelta(seconds=41), "41 s"),
        (timedelta(seconds=59.6), "1 min"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=6, seconds=41), "6 min 41 s"),
        (timedelta(minutes=59, seconds=59.7), "1 h"),
        (timedelta(hours=1, minutes=13, seconds=20), "1 h 13 min"),
        (timedelta(hours=23, minutes=59, seconds=59.9), "1 day"),
        (timedelta(days=1, hours=5), "1 day"),
        (timedelta(days=3), "3 days"),
        (timedelta(seconds=-5), "0 s"),
    ],
    ids=lambda value: str(value),
)
def test_a_duration_is_told_in_the_units_that_matter(length, words):
    assert phrases.duration(length) == words


def test_a_time_of_the_same_day_is_hour_and_minute():
    assert phrases.clock_time(MORNING, near=MORNING + timedelta(hours=3)) == "02:13"


def test_a_time_a_day_or_more_away_names_its_day():
    assert phrases.clock_time(MORNING, near=MORNING + timedelta(days=1)) == "Mon 19 Oct 02:13"


def test_a_time_without_anything_near_names_its_day():
    assert phrases.clock_time(MORNING) == "Mon 19 Oct 02:13"


def test_every_instant_is_told_in_utc():
    in_berlin = MORNING.astimezone(timezone(timedelta(hours=2)))
    assert phrases.clock_time(in_berlin) == "Mon 19 Oct 02:13"
    assert phrases.iso(in_berlin) == "2026-10-19T02:13:05Z"


def test_a_span_within_a_day_is_two_clock_times():
    assert phrases.span(MORNING, MORNING + timedelta(minutes=31)) == "02:13 to 02:44 UTC"


def test_a_span_of_days_names_both():
    assert phrases.span(MORNING, MORNING + timedelta(days=2)) == "Mon 19 Oct 02:13 to Wed 21 Oct 02:13 UTC"


def test_iso_shows_a_fraction_only_where_there_is_one():
    assert phrases.iso(MORNING.replace(microsecond=40)) == "2026-10-19T02:13:05.000040Z"


@pytest.mark.parametrize(("number", "words"), [(0, "0 runs"), (1, "1 run"), (1200, "1,200 runs")])
def test_things_are_counted_in_singular_and_plural(number, words):
    assert phrases.counted(number, "run") == words
