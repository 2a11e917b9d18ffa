"""Changes of the clocks: a table worked out by hand, and a slow reading of the rule, minute by minute."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from schedmgr.core import cron

TABLE = tomllib.loads(Path(__file__).with_name("clock_changes.toml").read_text())["row"]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

# A zone and the instant at which its clocks change: by an hour, a half, two, three, a day; at midnight; for good.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Pacific/Chatham", datetime(2026, 4, 4, 14, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 3, 28, 22, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 10, 24, 21, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 3, 22, 2, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
    ("Europe/Volgograd", datetime(2020, 12, 26, 22, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2018, 3, 10, 17, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1969, 9, 30, 13, tzinfo=UTC)),
]

minutes = st.sampled_from(["*", "*/20", "0", "30", "0,30", "15,45", "59", "10-50/20", "1/29"])
hours = st.sampled_from(["*", "*/3", "0", "1", "2", "3", "23", "0-3", "1,2", "22-23", "9"])
expressions = st.builds("{} {} * * *".format, minutes, hours)


def row_name(row: dict[str, Any]) -> str:
    return f"{row['zone']}: {row['rule']} ({row['cron']})"


@pytest.mark.parametrize("row", TABLE, ids=row_name)
def test_a_schedule_is_due_exactly_when_the_table_says(row: dict[str, Any]) -> None:
    due = cron.occurrences(row["cron"], row["zone"], row["after"])
    assert list(takewhile(lambda instant: instant <= row["until"], due)) == row["due"]


@pytest.mark.parametrize("row", TABLE, ids=row_name)
def test_counting_and_looking_back_see_the_same_as_the_table(row: dict[str, Any]) -> None:
    where = row["cron"], row["zone"]
    assert cron.count_between(*where, row["after"], row["until"]) == len(row["due"])
    assert cron.last_until(*where, row["until"], 100, after=row["after"]) == row["due"]


def test_the_table_covers_eighteen_zones() -> None:
    assert len({row["zone"] for row in TABLE}) >= 18


@settings(max_examples=150, deadline=None)
@given(change=st.sampled_from(CHANGES), expression=expressions, start=st.integers(-3000, 200))
def test_around_a_change_a_schedule_is_due_when_the_clock_on_the_wall_first_shows_or_passes_its_time(
    change: tuple[str, datetime], expression: str, start: int
) -> None:
    zone, instant = change
    after = instant + start * MINUTE
    until = instant + 2 * DAY
    expected = list(watch_the_wall(expression, zone, after, until))
    due = cron.occurrences(expression, zone, after)
    assert list(takewhile(lambda instant: instant <= until, due)) == expected
    assert cron.count_between(expression, zone, after, until) == len(expected)
    assert cron.last_until(expression, zone, until, 10_000, after=after) == expected


def watch_the_wall(expression: str, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Sit before the clock, minute by minute, and say when the rule of `schedmgr.core.cron` makes a schedule due.

    CronSim, asked without a zone, only tells which wall-clock minutes match.
    """
    clock = cron.zone(zone)
    begin = after.replace(second=0) - 2 * DAY
    wall = begin.astimezone(clock).replace(tzinfo=None)
    matches = set(takewhile(lambda match: match < wall + 8 * DAY, CronSim(expression, wall - 3 * DAY)))
    follows_real_time = any(field.startswith("*") for field in expression.split()[:2])
    seen = wall  # the latest time that the clock has shown
    instant = begin
    while instant <= until:
        wall = instant.astimezone(clock).replace(tzinfo=None)
        passed = [wall] if follows_real_time else [seen + n * MINUTE for n in range(1, (wall - seen) // MINUTE + 1)]
        if instant > after and not matches.isdisjoint(passed):
            yield instant
        seen = max(seen, wall)
        instant += MINUTE
