"""`schedules why`: a headline, and what bears it out, for people and as JSON."""

from datetime import UTC, datetime

import pytest

from schedmgr.core.definitions import Schedule

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def missed(schedmgr, installation, clock):
    """Every five minutes; nobody was there from 12:00 to 12:25."""
    clock.set_to(NOON.replace(hour=11, minute=58))
    installation.start_daemon()
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS"))
    clock.set_to(NOON.replace(minute=27))
    installation.start_daemon()
    installation.tick()
    return schedmgr


def test_people_read_a_headline_and_short_lines_under_it(missed):
    answer = missed("schedules", "why", "feeds", "--at", "2026-03-02T12:10")
    headline, *lines = answer.lines
    assert answer.code == 0
    assert headline.startswith("feeds, Mon 2 Mar 2026 12:10 UTC: It did not run: no daemon was there; it is one of 6")
    assert [line.split()[0] for line in lines] == ["because", "evidence", "evidence", "next", "do"]


def test_without_an_instant_it_is_the_last_one_that_was_due(missed):
    assert missed("schedules", "why", "feeds").out.startswith("feeds, Mon 2 Mar 2026 12:25 UTC: ")


def test_an_instant_may_be_given_in_another_zone(missed):
    answer = missed("schedules", "why", "feeds", "--at", "2026-03-02T13:10+01:00")
    assert answer.out.startswith("feeds, Mon 2 Mar 2026 12:10 UTC: ")


def test_programs_read_the_same_as_json(missed):
    found = missed("schedules", "why", "feeds", "--at", "2026-03-02T12:10", "--json").json
    assert (found["schedule_id"], found["at"], found["verdict"]) == (
        "feeds",
        "2026-03-02T12:10:00Z",
        "missed no daemon",
    )
    assert list(found) == [
        *("schedule_id", "at", "verdict", "headline", "because", "evidence", "next", "do"),
        *("firing_id", "job_run_ids"),
    ]


def test_an_unknown_schedule_names_the_nearest(missed):
    answer = missed("schedules", "why", "feed")
    assert (answer.code, answer.said) == (1, "No schedule has the id feed. Nearest: feeds.")


def test_what_is_no_instant_is_wrong_usage(missed):
    answer = missed("schedules", "why", "feeds", "--at", "yesterday")
    assert answer.code == 2
    assert "'yesterday' is no instant. Write it like 2026-03-01T02:00:00Z." in answer.err


def test_names_and_reasons_are_data_and_steer_no_terminal(missed, installation, clock):
    installation.pause("\x1b[31mred\nalert")
    clock.set_to(NOON.replace(minute=30, second=1))
    installation.start_daemon()
    installation.tick()
    answer = missed("schedules", "why", "feeds")
    assert "\x1b" not in answer.out
    assert "[31mred alert" in answer.out
