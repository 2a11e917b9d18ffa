"""Expressions and changes of the clocks in plain English."""

from datetime import UTC, datetime

import pytest

from schedmgr.core import cron

DESCRIPTIONS = {
    # times of day
    "30 2 * * *": "Every day at 02:30",
    "@daily": "Every day at 00:00",
    "10 2,14 * * *": "Every day at 02:10 and 14:10",
    "0,30 9 * * *": "Every day at 09:00 and 09:30",
    "0 0,12 * * *": "Every day at 00:00 and 12:00",
    "7 8,9,13,14,18 * * *": "Every day at 08:07, 09:07, 13:07, 14:07 and 18:07",
    # intervals
    "* * * * *": "Every minute",
    "0-59 * * * *": "Every minute",
    "*/5 * * * *": "Every 5 minutes",
    "0,15,30,45 * * * *": "Every 15 minutes",
    "0,30 * * * *": "Every 30 minutes",
    "5/10 * * * *": "Every 10 minutes from 5 past",
    "2,17,32,47 * * * *": "Every 15 minutes from 2 past",
    "*/7 * * * *": "Every 7 minutes within each hour",
    "0-30/5 * * * *": "Every 5 minutes from 0 to 30 past each hour",
    "0-10 * * * *": "Every minute from 0 to 10 past each hour",
    "0 * * * *": "Every hour",
    "@hourly": "Every hour",
    "*/60 * * * *": "Every hour",
    "0 0-23 * * *": "Every hour",
    "41 * * * *": "Every hour at 41 past",
    "0,15 * * * *": "At 0 and 15 past each hour",
    "5,17,41 * * * *": "At 5, 17 and 41 past each hour",
    "0 */2 * * *": "Every 2 hours",
    "0 */6 * * *": "Every 6 hours",
    "30 */2 * * *": "Every 2 hours at 30 past",
    "0 1/2 * * *": "Every 2 hours from 01:00",
    "0 */5 * * *": "Every 5 hours from 00:00 to 20:00",
    # intervals within a part of the day
    "30 9-17 * * *": "Every hour from 09:30 to 17:30",
    "0 8-18/2 * * *": "Every 2 hours from 08:00 to 18:00",
    "* 2 * * *": "Every minute from 02:00 to 02:59",
    "1,31 0-5 * * *": "Every 30 minutes from 00:01 to 05:31",
    "*/5 1,5 * * *": "Every 5 minutes from 01:00 to 01:55 and from 05:00 to 05:55",
    "*/5 1,5,9,13 * * *": "Every 5 minutes in the hours 1, 5, 9 and 13",
    "*/5 */2 * * *": "Every 5 minutes in every 2nd hour from 00:00",
    "5,17,41 9-17 * * *": "At 5, 17 and 41 past each hour, from 09:05 to 17:41",
    "*/15 9-17 * * 1-5": "Every 15 minutes from 09:00 to 17:45 on Monday to Friday",
    "47 0-7,9-23 * * *": "Every hour from 00:47 to 07:47 and from 09:47 to 23:47",
    "47 0-7,9-20,22 * * *": "Every hour from 00:47 to 07:47, from 09:47 to 20:47 and at 22:47",
    "*/20 2,22-23 * * *": "Every 20 minutes from 02:00 to 02:40 and from 22:00 to 23:40",
    # days of the week
    "0 9 * * 1-5": "At 09:00 on Monday to Friday",
    "@weekly": "At 00:00 on Sunday",
    "0 9 * * 7": "At 09:00 on Sunday",
    "0 9 * * 6,0": "At 09:00 on Saturday and Sunday",
    "0 9 * * WED,mon,5": "At 09:00 on Monday, Wednesday and Friday",
    "0 9 * * 5-7": "At 09:00 on Friday to Sunday",
    "0 0 * * 1-7": "Every day at 00:00",
    "0 9 * * 5#2": "On the second Friday of the month at 09:00",
    "0 9 * * 5L": "On the last Friday of the month at 09:00",
    "0 9 * * 1,5L": "On Monday and the last Friday of the month at 09:00",
    # days of the month
    "0 6 1 * *": "On the 1st of the month at 06:00",
    "@monthly": "On the 1st of the month at 00:00",
    "0 5 L * *": "On the last day of the month at 05:00",
    "0 0 1,L * *": "On the 1st and last day of the month at 00:00",
    "0 9 2,3,11,12,22,23 * *": "On the 2nd, 3rd, 11th, 12th, 22nd and 23rd of the month at 09:00",
    "0 9 1-7 * *": "On the 1st to 7th of the month at 09:00",
    "0 2 */2 * *": "On every 2nd day of the month from the 1st at 02:00",
    "0 2 1-9/2 * *": "On every 2nd day of the month from the 1st to the 9th at 02:00",
    # months
    "0 0 * 6 *": "Every day in June at 00:00",
    "*/5 * * 1 *": "Every 5 minutes in January",
    "0 0 * 5-9 1-5": "At 00:00 on Monday to Friday in May to September",
    "0 0 1 */3 *": "On the 1st of January, April, July and October at 00:00",
    "0 0 L 2 *": "On the last day of February at 00:00",
    "@yearly": "Every year on 1 January at 00:00",
    "*/5 * 1 1 *": "Every 5 minutes on 1 January",
    "0 0 29 2 *": "Every leap year on 29 February at 00:00",
    # both day fields
    "0 5 1 * 1": "On the 1st of the month and also on Monday, at 05:00",
    "0 0 1 1,7 1": "In January and July, on the 1st of the month and also on Monday, at 00:00",
    "*/5 * 1 1 1": "Every 5 minutes in January, on the 1st of the month and also on Monday",
    "0 0 1-7 * */7": "On Sunday, if that is the 1st to 7th of the month, at 00:00",
    "0 5 */2 * 1": "On Monday, if that is every 2nd day of the month from the 1st, at 05:00",
    "0 0 1-31 * 1": "Every day at 00:00",
    # what an id will decide
    "H * * * *": "Every hour at a minute fixed by its id",
    "H H * * *": "Every day at a time fixed by its id",
    "H 2 * * *": "Every day at a time between 02:00 and 02:59 fixed by its id",
    "H H(0-7) * * *": "Every day at a time between 00:00 and 07:59 fixed by its id",
    "30 H * * *": "Every day at 30 past an hour fixed by its id",
    "H/15 * * * *": "Every 15 minutes from a minute fixed by its id",
    "H H/6 * * *": "Every 6 hours from a time fixed by its id",
    "10 H/6 * * *": "Every 6 hours at 10 past from an hour fixed by its id",
    "H */6 * * *": "Every 6 hours at a minute fixed by its id",
    "H 9-17 * * *": "At a minute fixed by its id in the hours 9 to 17",
    "H H * * H": "At a time fixed by its id on a weekday fixed by its id",
    "H H H * *": "On a day of the month fixed by its id at a time fixed by its id",
    "0 0 H/7 * *": "On every 7th day of the month from one fixed by its id at 00:00",
    "0 0 1 H *": "On the 1st of a month fixed by its id at 00:00",
}

FORWARD, BACK = "Clocks in Europe/Berlin go forward on Sun 29 Mar. ", "Clocks in Europe/Berlin go back on Sun 25 Oct. "
NOTES = [
    # back
    (
        "Europe/Berlin",
        "30 2 * * *",
        1,
        BACK + "02:30 happens twice that night; this schedule runs once, in the first pass (00:30 UTC). "
        "From Monday on it is 01:30 UTC.",
    ),
    (
        "Europe/Berlin",
        "0,30 2 * * *",
        1,
        BACK + "02:00 and 02:30 happen twice that night; this schedule runs once at each of them, in the first pass "
        "(00:00 and 00:30 UTC). From Monday on they are 01:00 and 01:30 UTC.",
    ),
    (
        "Europe/Berlin",
        "30 2 * * SUN",
        1,
        BACK + "02:30 happens twice that night; this schedule runs once, in the first pass (00:30 UTC). "
        "From Sun 1 Nov on it is 01:30 UTC.",
    ),
    (
        "Europe/Berlin",
        "30 2 25 10 *",
        1,
        BACK + "02:30 happens twice that night; this schedule runs once, in the first pass (00:30 UTC).",
    ),
    (
        "Asia/Beirut",
        "30 23 * * *",
        1,
        "Clocks in Asia/Beirut go back on Sat 24 Oct. 23:30 happens twice that night; this schedule runs once, in the "
        "first pass (20:30 UTC). From Sunday on it is 21:30 UTC.",
    ),
    # forward
    (
        "Europe/Berlin",
        "30 2 * * *",
        0,
        FORWARD + "02:30 does not exist that night; it runs once at 03:00 (01:00 UTC).",
    ),
    (
        "Europe/Berlin",
        "5-50/5 2 * * *",
        0,
        FORWARD
        + "02:05 to 02:50 do not exist that night; this schedule runs once for all of them, at 03:00 (01:00 UTC).",
    ),
    (
        "Australia/Lord_Howe",
        "15 2 * * *",
        1,
        "Clocks in Australia/Lord_Howe go forward on Sun 4 Oct. 02:15 does not exist that night; it runs once at 02:30 "
        "(15:30 UTC).",
    ),
    # what follows real time
    ("Europe/Berlin", "*/5 * * * *", 1, BACK + "This schedule follows real time, so it runs in both passes."),
    ("Europe/Berlin", "*/5 * * * *", 0, FORWARD + "This schedule follows real time, so it skips the missing hour."),
    (
        "Antarctica/Troll",
        "@hourly",
        0,
        "Clocks in Antarctica/Troll go forward on Sun 29 Mar. This schedule follows real time, so it skips the missing "
        "2 hours.",
    ),
    # not touched
    ("Europe/Berlin", "30 3 * * *", 0, ""),
    ("Europe/Berlin", "30 2 * * MON", 1, ""),
    ("Europe/Berlin", "*/5 4 * * *", 1, ""),
]


@pytest.mark.parametrize(("expression", "words"), DESCRIPTIONS.items(), ids=repr)
def test_an_expression_is_described_in_plain_english(expression: str, words: str) -> None:
    assert cron.describe(expression) == words


def test_with_an_id_the_description_names_what_it_decided() -> None:
    assert cron.describe("H H * * *", hash_id="nightly-report") == "Every day at 23:04"
    assert cron.describe("H * * * *", hash_id="nightly-report") == "Every hour at 4 past"


def test_an_expression_that_is_wrong_is_not_described() -> None:
    with pytest.raises(cron.CronError):
        cron.describe("61 * * * *")


@pytest.mark.parametrize(
    ("expression", "meanings"),
    [
        (
            "*/5 9-17 1,15,L JAN-mar 1-5",
            "every 5th minute from 0 to 55; hours 9 to 17; the 1st, 15th and last day; "
            "January to March; Monday to Friday",
        ),
        ("@weekly", "minute 0; hour 0; every day; every month; Sunday"),
        (
            "7,47 1-9/2 */2 */3 5#2,1",
            "minutes 7 and 47; every 2nd hour from 1 to 9; every 2nd day from 1st to 31st; "
            "January, April, July and October; Monday and the second Friday of the month",
        ),
        (
            "H H/6 H H H",
            "a minute fixed by its id; every 6th hour from one fixed by its id; a day fixed by its id; "
            "a month fixed by its id; a weekday fixed by its id",
        ),
    ],
)
def test_each_field_is_explained(expression: str, meanings: str) -> None:
    assert "; ".join(field.meaning for field in cron.explain_fields(expression)) == meanings


def test_an_explained_field_tells_its_name_and_text_as_they_are_written() -> None:
    fields = cron.explain_fields("H 9 * * mon", hash_id="nightly-report")
    assert [field[:2] for field in fields] == [
        ("Minute", "H"),
        ("Hour", "9"),
        ("Day of month", "*"),
        ("Month", "*"),
        ("Day of week", "mon"),
    ]
    assert fields[0].meaning == "minute 4"


@pytest.mark.parametrize(("zone", "expression", "which", "note"), NOTES)
def test_a_change_of_the_clocks_is_explained_to_the_schedules_that_it_touches(
    zone: str, expression: str, which: int, note: str
) -> None:
    changes = cron.clock_changes(zone, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert cron.clock_note(expression, zone, changes[which]) == note


def test_a_day_that_never_was_is_explained() -> None:
    (change,) = cron.clock_changes("Pacific/Apia", datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
    assert cron.clock_note("0 9 * * *", "Pacific/Apia", change) == (
        "Clocks in Pacific/Apia go forward on Fri 30 Dec. "
        "09:00 does not exist that day; it runs once at 00:00 (10:00 UTC)."
    )
    assert cron.clock_note("* * * * *", "Pacific/Apia", change).endswith("so it skips the missing day.")
