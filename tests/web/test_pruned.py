"""Where the past ends at what pruning left, pages say so; they never say that nothing happened."""

from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core import retention
from schedmgr.core.definitions import Job, Schedule

NOON = datetime(2026, 10, 22, 12, 1, tzinfo=UTC)
TIDY = Job("tidy", command="true")
FEEDS = Schedule("feeds", cron="@daily", execution_mode="ALL_JOBS")
SAID = "Older ones were pruned (kept 90 days)."


@pytest.fixture
def fire(installation):
    """The schedule fires by hand, and its run ends."""

    def fire() -> None:
        installation.run_now("feeds")
        installation.sql("UPDATE job_run SET status = 'SUCCEEDED', finished_at = queued_at WHERE status = 'QUEUED'")

    return fire


@pytest.fixture
def pruned(installation, fire, clock):
    """The schedule fired once, a hundred days ago; that was pruned."""
    clock.set_to(NOON - timedelta(days=100))
    installation.sync(FEEDS, jobs=[TIDY])
    fire()
    clock.set_to(NOON)
    retention.prune(installation.database, NOON - timedelta(days=90), installation.person)


def test_the_history_of_a_schedule_says_where_it_was_cut(pruned, fire, operator):
    page = operator.get("/admin/schedules/feeds").text
    assert "It has not fired in the last 90 days" in page
    assert "It has never fired" not in page
    assert "Never fired" not in operator.get("/admin/schedules").text


def test_below_the_oldest_firing_that_is_left_it_is_said_that_older_ones_were_pruned(pruned, fire, operator):
    fire()
    assert f"1–1 of 1. {SAID}" in operator.get("/admin/schedules/feeds").text


def test_it_is_said_on_the_last_page_only(pruned, fire, operator, installation):
    for _ in range(51):
        fire()
    assert SAID not in operator.get("/admin/schedules/feeds").text
    assert SAID not in operator.get("/admin/jobs").text
    assert SAID in operator.get("/admin/schedules/feeds?before=3&at=51").text
    assert SAID in operator.get("/admin/jobs?before=3&at=51").text


def test_a_schedule_that_is_younger_than_what_was_pruned_has_lost_nothing(pruned, installation, operator):
    installation.sync(FEEDS, Schedule("new", cron="@daily", execution_mode="ALL_JOBS"), jobs=[TIDY])
    assert "It has never fired" in operator.get("/admin/schedules/new").text
    installation.run_now("new")
    assert SAID not in operator.get("/admin/schedules/new").text


def test_the_list_of_runs_says_where_it_was_cut(pruned, fire, operator):
    page = operator.get("/admin/jobs").text
    assert "No run in the last 90 days" in page
    assert "Older ones were pruned." in page


def test_below_the_oldest_run_that_is_left_it_is_said_that_older_ones_were_pruned(pruned, fire, operator):
    fire()
    assert f"1–1 of 1. {SAID}" in operator.get("/admin/jobs").text
    assert f"1–1 of 1. {SAID}" in operator.poll("/admin/jobs/rows").text


def test_runs_that_wait_or_go_are_never_pruned(pruned, installation, operator):
    installation.run_now("feeds")
    assert SAID not in operator.get("/admin/jobs?status=queued").text


def test_where_nothing_was_pruned_nothing_is_said_of_it(installation, fire, operator):
    installation.sync(FEEDS, jobs=[TIDY])
    fire()
    assert SAID not in operator.get("/admin/schedules/feeds").text
    assert SAID not in operator.get("/admin/jobs").text


def test_the_page_of_a_run_that_was_pruned_says_why_it_is_not_there(pruned, operator):
    answer = operator.get("/admin/jobs/1")
    assert answer.status_code == 404
    assert "It may be older than what is kept." in answer.text
