"""`schedules`: what they are, switched, run now, and what was decided about them."""

import re
from datetime import UTC, datetime

import pytest

from schedmgr.core.definitions import Schedule

KEYS = [
    *("id", "description", "cron", "timezone", "execution_mode", "job_group", "job", "environments", "enabled"),
    *("next_run_at", "last_firing", "archived_at"),
]
LAST_FIRING = ["scheduled_for", "decided_at", "trigger", "decision", "reason"]
HISTORY = [
    *("id", "schedule_id", "scheduled_for", "decided_at", "trigger", "decision", "reason", "detail", "missed_count"),
    *("missed_until", "process_id", "requested_by", "job_run_count"),
]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


def test_the_list_has_every_schedule_in_the_order_of_the_file_with_the_columns_as_keys(at_noon):
    rows = at_noon("schedules", "list", "--json").json
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["id"] for row in rows] == ["feeds", "nightly", "try-out"]
    assert rows[0]["job_group"] == "feed"
    assert rows[2]["environments"] == ["development"]
    assert (rows[0]["next_run_at"], rows[0]["last_firing"], rows[0]["archived_at"]) == (None, None, None)


def test_enable_turns_on_and_says_when_it_is_due(at_noon):
    answer = at_noon("schedules", "enable", "feeds", "nightly")
    assert (answer.code, answer.lines) == (
        0,
        [
            "feeds is on. Its next run is at 2026-03-02 12:15:00 UTC.",
            "nightly is on. Its next run is at 2026-03-03 01:30:00 UTC.",
        ],
    )
    feeds = at_noon("schedules", "list", "--json").json[0]
    assert (feeds["enabled"], feeds["next_run_at"]) == (True, "2026-03-02T12:15:00Z")


def test_enable_turns_on_all_or_none(at_noon):
    assert at_noon("schedules", "enable", "feeds", "nope").code == 1
    assert [row["enabled"] for row in at_noon("schedules", "list", "--json").json] == [False, False, False]


def test_disable_turns_off(at_noon):
    at_noon("schedules", "enable", "feeds")
    assert at_noon("schedules", "disable", "feeds").out == "feeds is off.\n"
    assert at_noon("schedules", "list", "--json").json[0]["enabled"] is False


@pytest.mark.parametrize("command", ["show", "history", "enable", "disable", "run", "next"])
def test_an_unknown_id_is_told_with_the_nearest(at_noon, command):
    answer = at_noon("schedules", command, "nigthly")
    assert (answer.code, answer.said) == (1, "No schedule has the id nigthly. Nearest: nightly.")


def test_run_enqueues_the_jobs_and_names_firing_and_runs(at_noon):
    fired = at_noon("schedules", "run", "feeds", "--json").json
    assert list(fired) == ["firing_id", "job_run_ids"]
    runs = at_noon("runs", "list", "--json").json
    assert sorted(run["id"] for run in runs) == fired["job_run_ids"]
    assert {run["firing_id"] for run in runs} == {fired["firing_id"]}
    assert {run["job"] for run in runs} == {"fetch", "match"}


def test_run_says_that_no_worker_is_there(at_noon, installation):
    assert "No worker is running, so they wait in the queue." in at_noon("schedules", "run", "feeds").out
    installation.start_daemon()
    assert at_noon("schedules", "run", "feeds").out == "Enqueued firing 2: 2 job runs (3, 4).\n"


def test_the_list_tells_the_last_firing(at_noon):
    at_noon("schedules", "run", "feeds")
    last = at_noon("schedules", "list", "--json").json[0]["last_firing"]
    assert list(last) == LAST_FIRING
    assert (last["scheduled_for"], last["trigger"], last["decision"], last["reason"]) == (
        None,
        "MANUAL",
        "ENQUEUED",
        None,
    )
    assert INSTANT.fullmatch(last["decided_at"])


def test_the_list_says_of_one_that_was_made_up_that_it_ran(schedmgr, installation, clock):
    clock.set_to(datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC))
    installation.turned_on(Schedule("feeds", cron="*/10 * * * *", execution_mode="ALL_JOBS", missed="run_once"))
    clock.set_to(datetime(2026, 3, 2, 12, 59, 30, tzinfo=UTC))
    installation.tick()
    (row,) = [line for line in schedmgr("schedules", "list").out.splitlines() if line.startswith("feeds")]
    assert row.endswith("  ENQUEUED")


def test_history_is_newest_first_with_reasons_in_words(at_noon, installation, clock):
    at_noon("schedules", "enable", "try-out")
    clock.move(minutes=5)
    installation.tick()
    at_noon("schedules", "run", "try-out")
    by_hand, *missed = at_noon("schedules", "history", "try-out", "--json").json
    assert list(by_hand) == HISTORY
    assert (by_hand["trigger"], by_hand["scheduled_for"]) == ("MANUAL", None)
    assert by_hand["requested_by"].startswith("cli:")
    assert {row["reason"] for row in missed if row["decision"] == "SKIPPED"} == {"MISSED_NO_DAEMON"}
    told = at_noon("schedules", "history", "try-out").out
    assert "4 runs missed, 12:02 to 12:05 UTC: no daemon had reached the database" in told


def test_history_of_all_schedules_is_that_of_each(at_noon):
    at_noon("schedules", "run", "feeds")
    at_noon("schedules", "run", "nightly")
    assert [row["schedule_id"] for row in at_noon("schedules", "history", "--all", "--json").json] == [
        "nightly",
        "feeds",
    ]


@pytest.mark.parametrize("words", [(), ("feeds", "--all")])
def test_history_wants_one_schedule_or_all(at_noon, words):
    answer = at_noon("schedules", "history", *words)
    assert answer.code == 2
    assert "Name one schedule by its ID, or say --all." in answer.said


def test_lists_end_at_the_limit_and_say_that_there_is_more(at_noon):
    answer = at_noon("schedules", "list", "--limit", "2", "--json")
    assert len(answer.json) == 2
    assert answer.err == "The newest 2 are shown. All of them: --limit 0\n"
    assert len(at_noon("schedules", "list", "--limit", "3", "--json").json) == 3


def test_a_list_has_50_rows_unless_all_are_wanted(at_noon):
    for _ in range(26):
        at_noon("schedules", "run", "feeds")
    assert len(at_noon("runs", "list", "--json").json) == 50
    everything = at_noon("runs", "list", "--limit", "0", "--json").json
    assert [row["id"] for row in everything] == list(range(52, 0, -1))


def test_after_a_clock_that_was_set_back_the_next_runs_are_those_that_are_not_decided(schedmgr, installation, clock):
    clock.set_to(datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC))
    installation.turned_on(Schedule("feeds", cron="*/10 * * * *", execution_mode="ALL_JOBS"))
    clock.set_to(datetime(2026, 3, 2, 14, 5, tzinfo=UTC))
    installation.tick()
    clock.set_to(datetime(2026, 3, 2, 13, 5, tzinfo=UTC))
    assert schedmgr("schedules", "next", "feeds", "--json").json[0] == "2026-03-02T14:10:00Z"
    assert schedmgr("schedules", "show", "feeds", "--json").json["next_runs"][0] == "2026-03-02T14:10:00Z"


@pytest.mark.parametrize("command", ["show", "next", "disable"])
def test_a_row_that_lost_its_account_is_told_with_what_mends_it(at_noon, installation, command):
    installation.sql("UPDATE job_schedule SET accounted_until = 'soon' WHERE id = 'feeds'")
    answer = at_noon("schedules", command, "feeds")
    assert answer.code == 1
    assert answer.said.startswith("The row of feeds does not say up to when it is accounted for")
    assert "start one: schedmgr daemon" in answer.said


def test_show_tells_jobs_next_runs_and_the_cron_in_words(at_noon):
    row = at_noon("schedules", "show", "nightly", "--json").json
    assert list(row)[: len(KEYS)] == KEYS
    assert row["jobs"] == ["fetch", "match", "tidy"]
    assert row["next_runs"][0] == "2026-03-03T01:30:00Z"
    assert len(row["next_runs"]) == 10
    assert row["cron_in_words"] == "Every day at 02:30"
    assert "Every day at 02:30" in at_noon("schedules", "show", "nightly").out


def test_next_tells_the_runs_of_a_schedule_as_if_it_were_on(at_noon):
    assert at_noon("schedules", "next", "nightly", "--count", "2").lines == [
        "2026-03-03T01:30:00Z  Tue 2026-03-03 02:30:00 CET",
        "2026-03-04T01:30:00Z  Wed 2026-03-04 02:30:00 CET",
    ]
    assert at_noon("schedules", "next", "feeds", "--count", "1", "--json").json == ["2026-03-02T12:15:00Z"]


def test_an_empty_list_says_how_to_fill_it(schedmgr):
    assert schedmgr("schedules", "list").out == (
        "No schedule is in the tables yet. The daemon writes them when it starts, or: schedmgr sync\n"
    )


def test_the_list_says_that_all_are_paused(at_noon):
    at_noon("pause")
    answer = at_noon("schedules", "list")
    assert answer.err == "All schedules are paused: nothing fires until someone resumes.\n"


def test_an_archived_schedule_comes_last_and_cannot_be_run(at_noon, definitions):
    definitions.write_text(re.sub(r'    Schedule\("feeds".*\n', "", definitions.read_text()))
    at_noon("sync")
    assert [row["id"] for row in at_noon("schedules", "list", "--json").json] == ["nightly", "try-out", "feeds"]
    answer = at_noon("schedules", "run", "feeds")
    assert (answer.code, answer.said) == (
        1,
        "Schedule feeds is archived: it left the definitions. Put it back to use it again.",
    )


def test_what_is_stored_cannot_steer_the_terminal(at_noon, installation):
    installation.sql("UPDATE job_schedule SET timezone = :text WHERE id = 'feeds'", text="\x1b[2JUTC\nnext line")
    told = at_noon("schedules", "list").out
    assert "\x1b" not in told
    assert len(told.splitlines()) == 4
