"""`schedmgr prune`: what ended long ago goes by hand, too."""

from datetime import timedelta

import pytest
from past import NOON, Past

from schedmgr.core import retention

DAY = timedelta(days=1)


@pytest.fixture
def past(schedmgr, database, clock):
    """Runs that ended 100, 91 and 10 days ago, each of a firing of its own."""
    clock.set_to(NOON)
    past = Past(database)
    for id, days in ((1, 100), (2, 91), (3, 10)):
        past.firing(id, NOON - days * DAY)
        past.run(id, NOON - days * DAY, firing_id=id, output=[1000])
    return past


@pytest.fixture
def run_ids(schedmgr):
    return lambda: sorted(row["id"] for row in schedmgr("runs", "list", "--json").json)


def test_it_removes_what_is_older_than_the_retention_and_says_how_much(schedmgr, past, run_ids):
    answer = schedmgr("prune")
    assert answer.code == 0
    assert answer.lines == [
        "Removed what ended before 2025-12-02 12:00:00 UTC:",
        "",
        "KIND              NUMBER",
        "job runs          2",
        "output bytes      2,000",
        "firings           2",
        "schedule periods  0",
        "pauses            0",
        "processes         0",
        "sign ins          0",
    ]
    assert run_ids() == [3]


def test_the_retention_is_a_setting(schedmgr, past, run_ids, monkeypatch):
    monkeypatch.setenv("SCHEDMGR_RETENTION_DAYS", "95")
    assert schedmgr("prune", "--json").json["job_runs"] == 1
    assert run_ids() == [2, 3]


def test_older_than_goes_before_the_setting(schedmgr, past, run_ids):
    assert schedmgr("prune", "--older-than", "9").code == 0
    assert run_ids() == []


def test_a_dry_run_says_the_same_and_removes_nothing(schedmgr, past, run_ids, database):
    answer = schedmgr("prune", "--dry-run")
    assert answer.lines[0] == "Would remove what ended before 2025-12-02 12:00:00 UTC:"
    assert answer.lines[3:6] == ["job runs          2", "output bytes      2,000", "firings           2"]
    assert run_ids() == [1, 2, 3]
    with database.read() as session:
        assert retention.pruned_until(session) is None


def test_as_json_it_gives_the_instant_and_the_numbers(schedmgr, past):
    planned, done = schedmgr("prune", "--dry-run", "--json").json, schedmgr("prune", "--json").json
    assert (planned.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert all(one.pop("before").startswith("2025-12-02T12:00:0") for one in (planned, done))
    assert (
        planned
        == done
        == {
            "job_runs": 2,
            "output_bytes": 2000,
            "firings": 2,
            "schedule_periods": 0,
            "pauses": 0,
            "processes": 0,
            "sign_ins": 0,
        }
    )


@pytest.mark.parametrize("days", ["-1", "36501", "soon", "1.5"])
def test_days_that_are_no_number_of_the_past_are_refused(schedmgr, past, run_ids, days):
    answer = schedmgr("prune", f"--older-than={days}")
    assert answer.code == 2
    assert f"{days!r} is no whole number from 0 to 36500." in answer.err
    assert run_ids() == [1, 2, 3]


def test_the_setting_is_shown_among_the_others(schedmgr, monkeypatch):
    assert schedmgr("config", "--json").json["SCHEDMGR_RETENTION_DAYS"] == "90"
    monkeypatch.setenv("SCHEDMGR_RETENTION_DAYS", "7")
    assert schedmgr("config", "--json").json["SCHEDMGR_RETENTION_DAYS"] == "7"
