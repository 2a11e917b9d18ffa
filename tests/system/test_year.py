"""A year of firings in every kind of zone, against a list that somebody else worked out.

The daemon's tick is driven once a day with the clock moved a day at a time, so that a year takes seconds.  Between two
ticks everything is late by up to a day; three ways of meeting that are used, each of which has to account for every
occurrence: a grace of two days (each fires), a catch-up (each is made up), and skipping (rows that count them).

The expected instants are CronSim's.  Around the changes of the clocks those of the hand-checked table take precedence;
for each schedule that the table names, all that it says of the year is compared.
"""

import tomllib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cronsim import CronSim

from schedmgr.core import cron
from schedmgr.core.definitions import Schedule
from schedmgr.daemon import tick
from schedmgr.vocabulary import Decision

BY_HAND = tomllib.loads((Path(__file__).parents[1] / "core" / "clock_changes.toml").read_text())["row"]
IN_CRONSIMS_WORDS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *"}

OTHER_ZONES = [
    ("America/Havana", "0 0 * * *"),  # two midnights in a night
    ("America/Nuuk", "30 23 * * SAT"),  # the evening before, at the same instant as Europe
    ("America/St_Johns", "30 2 * * *"),  # half-hour offset
    ("Asia/Jerusalem", "15 2 * * FRI,SUN"),
    ("Asia/Kolkata", "0 0 1 * *"),  # no change at all
    ("Atlantic/Azores", "30 0 * * SUN"),  # midnight
    ("Australia/Adelaide", "30 2 * * *"),  # southern, half-hour offset
    ("Australia/Sydney", "30 2 * * *"),
    ("Australia/Sydney", "*/15 1-3 * * SUN"),
    ("Europe/Berlin", "0 2 L * *"),
    ("Europe/Berlin", "30 2 * * 0#5"),
    ("Europe/Berlin", "30 2 * * 0L"),
    ("Europe/London", "30 1 * * *"),
    ("Pacific/Auckland", "30 2 * * *"),
    ("Pacific/Easter", "30 22 * * SAT"),
    ("Pacific/Norfolk", "0 2 * * *"),
    ("UTC", "0 0 29 2 *"),
]


@dataclass(frozen=True)
class Year:
    """A year to simulate and the schedules in it: (zone, cron)."""

    number: int
    schedules: tuple[tuple[str, str], ...]

    @property
    def start(self) -> datetime:
        return datetime(self.number, 1, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        return datetime(self.number + 1, 1, 1, tzinfo=UTC)


def by_hand(year: int) -> list[tuple[str, str]]:
    """The schedules that the table names in a year."""
    return list(dict.fromkeys((row["zone"], row["cron"]) for row in BY_HAND if row["after"].year == year))


def expected(year: Year, zone: str, expression: str) -> list[datetime]:
    """CronSim's list, with the table's in its place where there is one."""
    words = IN_CRONSIMS_WORDS.get(expression, expression)
    instants = []
    for local in CronSim(words, year.start.astimezone(cron.zone(zone))):
        instant = local.astimezone(UTC)
        if instant > year.end:
            break
        instants.append(instant)
    for row in BY_HAND:
        if (row["zone"], row["cron"], row["after"].year) == (zone, expression, year.number):
            outside = [instant for instant in instants if not row["after"] < instant <= row["until"]]
            instants = sorted([*outside, *(instant for instant in row["due"] if instant <= year.end)])
    return instants


def schedule(id: str, zone: str, expression: str, a_year: int) -> Schedule:
    """However often it is due, a day of it is accounted for by a handful of statements."""
    how = {"grace": 2 * 86_400, "overlap": "allow"}
    if a_year > 5_000:
        how = {"grace": 0, "missed": "catch_up", "catch_up_limit": 100}
    if a_year > 10_000:
        how = {"grace": 0}
    return Schedule(id, cron=expression, timezone=zone, execution_mode="ALL_JOBS", **how)


def accounted_for(rows, due: list[datetime]) -> list[datetime]:
    """The occurrences that the rows speak of; a row that counts must count what is due in its range."""
    found: list[datetime] = []
    for row in rows:
        if row.missed_until is None:
            found.append(row.scheduled_for)
            continue
        covered = due[bisect_left(due, row.scheduled_for) : bisect_right(due, row.missed_until)]
        assert (len(covered), covered[0], covered[-1]) == (row.missed_count, row.scheduled_for, row.missed_until)
        found += covered
    return found


@pytest.fixture
def lived_through(installation, clock):
    """Turn these schedules on when the year begins, tick every day, and give the firings of each."""

    def lived_through(year: Year, due: dict[str, list[datetime]]):
        clock.set_to(year.start)
        installation.turned_on(
            *(
                schedule(id, zone, expression, len(due[id]))
                for id, (zone, expression) in zip(due, year.schedules, strict=True)
            )
        )
        for day in range((year.end - year.start).days):
            clock.set_to(year.start + timedelta(days=day + 1))
            while tick.look(installation.database).is_due:  # one transaction decides so much and no more
                installation.tick()
            installation.sql("UPDATE job_run SET status = 'SUCCEEDED' WHERE status = 'QUEUED'")
        assert installation.repair().repairs == ()
        return {id: installation.firings(id) for id in due}

    return lived_through


YEARS = [
    pytest.param(Year(2026, (*by_hand(2026), *OTHER_ZONES)), id="2026: 50 schedules in 20 zones"),
    pytest.param(Year(2018, tuple(by_hand(2018))), id="2018: permanent changes"),
]


@pytest.mark.parametrize("year", YEARS)
def test_the_ledger_of_a_year_is_what_others_work_out(lived_through, year):
    due = {f"s{nth}": expected(year, *schedule) for nth, schedule in enumerate(year.schedules)}
    ledger = lived_through(year, due)
    assert {id: accounted_for(ledger[id], due[id]) for id in due} == due
    enqueued = {id for id, rows in ledger.items() for row in rows if row.decision is Decision.ENQUEUED}
    assert enqueued >= {id for id, instants in due.items() if 0 < len(instants) <= 10_000}


def test_the_simulated_years_have_fifty_schedules_in_more_than_a_dozen_zones_with_changes():
    big, _ = (parameter.values[0] for parameter in YEARS)
    changing = {zone for zone, _ in big.schedules if list(cron.clock_changes(zone, big.start, big.end))}
    assert len(big.schedules) == 50
    assert len(changing) >= 18
