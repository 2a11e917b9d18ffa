"""What cron expressions mean, away from changes of the clocks."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import takewhile

import pytest

from schedmgr.core import cron

START = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


def days(expression: str, count: int, after: datetime = START, hash_id: str | None = None) -> list[str]:
    """The next days on which something is due."""
    return [f"{instant:%a %d %b}" for instant in cron.next_runs(expression, "UTC", after, count, hash_id=hash_id)]


def times(expression: str, hash_id: str | None = None) -> list[str]:
    """What is due on one day."""
    due = cron.occurrences(expression, "UTC", START - timedelta(seconds=1), hash_id=hash_id)
    return [f"{instant:%H:%M}" for instant in takewhile(lambda instant: instant.date() == START.date(), due)]


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("30 2 * * *", ["02:30"]),
        ("05 02 * * *", ["02:05"]),
        ("10 2,14 * * *", ["02:10", "14:10"]),
        ("0 9-12 * * *", ["09:00", "10:00", "11:00", "12:00"]),
        ("0 */6 * * *", ["00:00", "06:00", "12:00", "18:00"]),
        ("*/25 3 * * *", ["03:00", "03:25", "03:50"]),
        ("10-40/15 3 * * *", ["03:10", "03:25", "03:40"]),
        ("10/15 3 * * *", ["03:10", "03:25", "03:40", "03:55"]),
        ("1-3,2,50 3 * * *", ["03:01", "03:02", "03:03", "03:50"]),
        ("\t0  9 *\t* * ", ["09:00"]),
        ("@daily", ["00:00"]),
        ("@midnight", ["00:00"]),
        ("@HOURLY", [f"{hour:02}:00" for hour in range(24)]),
    ],
)
def test_minutes_and_hours_take_values_lists_ranges_and_steps(expression: str, due: list[str]) -> None:
    assert times(expression) == due


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("0 0 13 * *", ["Tue 13 Jan", "Fri 13 Feb", "Fri 13 Mar"]),
        ("0 0 31 * *", ["Sat 31 Jan", "Tue 31 Mar", "Sun 31 May"]),
        ("0 0 L * *", ["Sat 31 Jan", "Sat 28 Feb", "Tue 31 Mar"]),
        ("0 0 15,L * *", ["Thu 15 Jan", "Sat 31 Jan", "Sun 15 Feb"]),
        ("0 0 1 MAR,jun *", ["Sun 01 Mar", "Mon 01 Jun", "Mon 01 Mar"]),
        ("0 0 1 */5 *", ["Mon 01 Jun", "Sun 01 Nov", "Fri 01 Jan"]),
        ("0 0 * * 0", ["Sun 04 Jan", "Sun 11 Jan", "Sun 18 Jan"]),
        ("0 0 * * 7", ["Sun 04 Jan", "Sun 11 Jan", "Sun 18 Jan"]),
        ("0 0 * * sun", ["Sun 04 Jan", "Sun 11 Jan", "Sun 18 Jan"]),
        ("0 0 * * 6-7", ["Sat 03 Jan", "Sun 04 Jan", "Sat 10 Jan"]),
        ("0 0 * * MON-FRI", ["Fri 02 Jan", "Mon 05 Jan", "Tue 06 Jan"]),
        ("0 0 * * 5#2", ["Fri 09 Jan", "Fri 13 Feb", "Fri 13 Mar"]),
        ("0 0 * * MON#5", ["Mon 30 Mar", "Mon 29 Jun", "Mon 31 Aug"]),
        ("0 0 * * 5L", ["Fri 30 Jan", "Fri 27 Feb", "Fri 27 Mar"]),
        ("0 0 * * 7L", ["Sun 25 Jan", "Sun 22 Feb", "Sun 29 Mar"]),
        ("0 0 * * friL,1#1", ["Mon 05 Jan", "Fri 30 Jan", "Mon 02 Feb"]),
        ("@weekly", ["Sun 04 Jan", "Sun 11 Jan", "Sun 18 Jan"]),
        ("@monthly", ["Sun 01 Feb", "Sun 01 Mar", "Wed 01 Apr"]),
        ("@yearly", ["Fri 01 Jan", "Sat 01 Jan", "Mon 01 Jan"]),
        ("@annually", ["Fri 01 Jan", "Sat 01 Jan", "Mon 01 Jan"]),
    ],
)
def test_days_and_months_take_numbers_names_and_the_special_forms(expression: str, due: list[str]) -> None:
    assert days(expression, 3) == due


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("0 0 13 * FRI", ["Fri 02 Jan", "Fri 09 Jan", "Tue 13 Jan"]),  # either
        ("0 0 13 * 5#2", ["Fri 09 Jan", "Tue 13 Jan", "Fri 13 Feb"]),
        ("0 0 */2 * FRI", ["Fri 09 Jan", "Fri 23 Jan", "Fri 13 Feb"]),  # both, for the star
        ("0 0 1-7 * */7", ["Sun 04 Jan", "Sun 01 Feb", "Sun 01 Mar"]),
        ("0 0 1-31 * FRI", ["Fri 02 Jan", "Sat 03 Jan", "Sun 04 Jan"]),  # a whole range is a restriction still
        ("0 0 *,13 * FRI", ["Fri 02 Jan", "Fri 09 Jan", "Fri 16 Jan"]),
    ],
)
def test_two_restricted_day_fields_mean_either_and_a_star_at_the_start_restricts_nothing(
    expression: str, due: list[str]
) -> None:
    assert days(expression, 3) == due


def test_the_rarest_days_are_found() -> None:
    leap_sundays = cron.next_runs("0 0 29 2 */7", "UTC", START, 5)
    assert [instant.year for instant in leap_sundays] == [2032, 2060, 2088, 2128, 2156]


def test_29_february_skips_the_century_that_is_no_leap_year() -> None:
    due = cron.next_runs("0 0 29 2 *", "UTC", datetime(2095, 1, 1, tzinfo=UTC), 2)
    assert [instant.year for instant in due] == [2096, 2104]


def test_runs_are_aware_in_utc_and_strictly_after() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    assert cron.next_runs("0 * * * *", "Europe/Berlin", noon, 1) == [datetime(2026, 1, 1, 12, tzinfo=UTC)]
    assert cron.next_runs("0 12 * * *", "Europe/Berlin", noon, 1) == [datetime(2026, 1, 2, 11, tzinfo=UTC)]
    assert cron.next_runs("0 12 * * *", "Europe/Berlin", noon, 1)[0].tzinfo is UTC


def test_offsets_are_those_of_the_zone() -> None:
    due = cron.next_runs("0 9 * * *", "Asia/Kathmandu", START, 1)
    assert due == [datetime(2026, 1, 1, 3, 15, tzinfo=UTC)]


def test_an_instant_without_a_zone_is_a_mistake_in_the_calling_code() -> None:
    with pytest.raises(TypeError):
        cron.next_runs("* * * * *", "UTC", START.replace(tzinfo=None), 1)


def test_a_bad_expression_or_zone_is_refused_before_the_first_occurrence_is_asked_for() -> None:
    with pytest.raises(cron.CronError):
        cron.occurrences("61 * * * *", "UTC", START)
    with pytest.raises(cron.CronError):
        cron.occurrences("* * * * *", "Nowhere", START)


def test_what_falls_into_the_gap_of_its_zone_every_time_is_never_due() -> None:
    assert cron.next_after("* 2 * 3 0L", "Europe/Berlin", START) is None
    assert cron.last_until("* 2 * 3 0L", "Europe/Berlin", START, after=datetime(2000, 1, 1, tzinfo=UTC)) == []
    assert cron.next_after("* 2 * 3 0L", "UTC", START) is not None


def test_the_end_of_the_calendar_is_the_end_of_the_search() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    assert len(cron.next_runs("0 * * * *", "UTC", end - timedelta(hours=3), 10)) == 3
    assert cron.count_between("0 0 1 1 *", "UTC", end - timedelta(days=800), end) == 2


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
@pytest.mark.parametrize("expression", ["0 * * * *", "30 3 * * *", "0 0 1 1 *"])
def test_nothing_is_due_beyond_either_end_of_the_calendar(expression: str, zone: str) -> None:
    begin, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert cron.next_after(expression, zone, end) is None
    assert cron.last_until(expression, zone, begin + timedelta(days=900), 30_000, after=begin)[0] > begin
    assert cron.next_after(expression, zone, begin) is not None


def test_years_of_minutes_are_counted() -> None:
    until = datetime(2036, 1, 1, tzinfo=UTC)
    assert cron.count_between("* * * * *", "Europe/Berlin", START, until) == 3652 * 1440
    assert cron.count_between("30 2 * * *", "Europe/Berlin", START, until) == 3652


def test_an_empty_or_reversed_span_holds_nothing() -> None:
    assert cron.count_between("* * * * *", "UTC", START, START) == 0
    assert cron.count_between("* * * * *", "UTC", START + timedelta(days=9), START) == 0
    assert cron.last_until("* * * * *", "UTC", START, after=START) == []


def test_the_newest_are_found_without_listing_the_years_before() -> None:
    newest = cron.last_until("* * * * *", "Europe/Berlin", START, 2, after=datetime(1, 1, 5, tzinfo=UTC))
    assert newest == [START - timedelta(minutes=1), START]


# H


def test_h_is_spread_by_the_id_and_stays_the_same_for_ever() -> None:
    assert times("H H * * *", hash_id="nightly-report") == ["23:04"]
    assert times("H H * * *", hash_id="nightly-report-2") == ["00:17"]


def test_the_hash_of_the_documentation_is_the_one_in_use() -> None:
    import hashlib

    number = int.from_bytes(hashlib.sha256(b"nightly-report\0minute").digest()[:8], "big")
    assert times("H 3 * * *", hash_id="nightly-report") == [f"03:{number % 60:02}"]


def test_schedules_with_h_do_not_crowd_on_one_minute() -> None:
    minutes = [times("H 3 * * *", hash_id=f"schedule-{number}")[0] for number in range(600)]
    assert len(set(minutes)) == 60
    assert max(minutes.count(minute) for minute in minutes) < 30


def test_h_within_a_range_stays_within_it() -> None:
    for number in range(50):
        (due,) = times("H(10-19) H(1-3) * * *", hash_id=f"schedule-{number}")
        assert "01:10" <= due <= "03:19"
        assert "10" <= due[3:] <= "19"


def test_h_with_a_step_keeps_its_distance_from_a_hashed_start() -> None:
    for number in range(50):
        minutes = [int(due[3:]) for due in times("H/15 3 * * *", hash_id=f"schedule-{number}")]
        assert minutes == list(range(minutes[0], 60, 15))
        assert minutes[0] < 15


def test_a_hashed_day_comes_in_every_month() -> None:
    for number in range(100):
        (due,) = cron.next_runs("0 0 H 2 *", "UTC", START, 1, hash_id=f"schedule-{number}")
        assert due.year == 2026


def test_a_hashed_weekday_is_one_day_a_week() -> None:
    seen = {days("0 0 * * H", 1, hash_id=f"schedule-{number}")[0][:3] for number in range(100)}
    assert len(seen) == 7


def test_h_counts_as_a_fixed_time_and_a_star_follows_real_time() -> None:
    assert not cron.parse("H H * * *", hash_id="x").follows_real_time
    assert not cron.parse("H/5 2-4 * * *", hash_id="x").follows_real_time
    assert not cron.parse("0-59 0-23 * * *").follows_real_time
    assert cron.parse("H * * * *", hash_id="x").follows_real_time
    assert cron.parse("*/5 2 * * *").follows_real_time
    assert cron.parse("@hourly").follows_real_time


# The module


def test_an_expression_is_parsed_once() -> None:
    assert cron.parse("1 2 3 4 *") is cron.parse("1 2 3 4 *")
    assert len({cron.parse("1 2 3 4 *"), cron.parse("1 2 3 4 *"), cron.parse("1 2 3 4 1")}) == 2


def test_importing_it_brings_neither_a_database_nor_another_cron() -> None:
    script = "import sys, schedmgr.core.cron; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in modules if name.startswith("schedmgr")}
    assert not {"sqlalchemy", "croniter", "cronsim", "dateutil", "asyncio"} & set(modules)
    assert all(
        name.startswith("schedmgr.core.cron") for name in ours - {"schedmgr", "schedmgr.core", "schedmgr.errors"}
    )
