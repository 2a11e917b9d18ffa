"""`jobs` and `runs`: run one, look at it, read what it printed, cancel it, retry it."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from schedmgr.vocabulary import RunStatus

RUN = [
    *("id", "job", "group", "schedule_id", "firing_id", "trigger", "status", "attempt", "queued_at", "started_at"),
    *("finished_at", "exit_code", "error", "requested_by"),
]


@pytest.fixture
def queued(synced):
    """Job fetch waits in the queue as run 1."""
    assert synced("jobs", "run", "fetch", "--json").json == {"firing_id": None, "job_run_ids": [1]}
    return synced


def test_jobs_are_listed_in_the_order_of_the_file_with_their_last_run(queued):
    rows = queued("jobs", "list", "--json").json
    assert [(row["name"], row["group"]) for row in rows] == [("fetch", "feed"), ("match", "feed"), ("tidy", "default")]
    assert list(rows[0]) == ["name", "group", "description", "priority", "definition", "archived_at", "last_run"]
    assert (rows[0]["last_run"]["id"], rows[0]["last_run"]["status"]) == (1, "QUEUED")
    assert rows[1]["last_run"] is None
    assert "Fetches the feeds" in queued("jobs", "list").out


def test_an_unknown_job_is_told_with_the_nearest(synced):
    answer = synced("jobs", "run", "fech")
    assert (answer.code, answer.said) == (1, "No job has the name fech. Nearest: fetch.")


def test_a_job_run_by_hand_names_who_asked(queued):
    [row] = queued("runs", "list", "--json").json
    assert list(row) == RUN
    assert (row["trigger"], row["firing_id"], row["schedule_id"]) == ("MANUAL", None, None)
    assert row["requested_by"].startswith("cli:")
    assert datetime.fromisoformat(row["queued_at"]).tzinfo == UTC


def test_runs_are_filtered_by_job_schedule_firing_and_status(queued):
    firing = queued("schedules", "run", "nightly", "--json").json["firing_id"]
    queued("runs", "cancel", "1")

    def ids(*words: str) -> list[int]:
        return [row["id"] for row in queued("runs", "list", "--json", *words).json]

    assert ids() == [4, 3, 2, 1]
    assert ids("--job", "fetch") == [2, 1]
    assert ids("--schedule", "nightly") == [4, 3, 2]
    assert ids("--firing", str(firing), "--job", "tidy") == [4]
    assert ids("--status", "cancelled") == [1]
    assert queued("runs", "list", "--job", "nothing").out == "There is no such run.\n"


def test_show_tells_a_run_with_its_attempts(queued, worker):
    worker.fails_once(worker.starts_one())
    worker.ends(worker.starts_one())
    row = queued("runs", "show", "1", "--json").json
    assert list(row)[: len(RUN)] == RUN
    assert (row["status"], row["attempt"], row["exit_code"]) == ("SUCCEEDED", 2, 0)
    assert [(one["attempt"], one["status"], one["exit_code"]) for one in row["attempts"]] == [
        (1, "FAILED", 1),
        (2, "SUCCEEDED", 0),
    ]
    assert "attempt 2" in queued("runs", "show", "1").lines


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "retry"])
def test_an_unknown_run_is_told(synced, command):
    answer = synced("runs", command, "99")
    assert (answer.code, answer.said) == (1, "No run has the number 99. It may be older than what is kept.")


def test_logs_are_both_streams_in_order(queued, worker):
    run = worker.starts_one()
    worker.prints(run, 1, ("out", "fetching\n"), ("err", "slow "))
    worker.prints(run, 2, ("err", "today\n"), ("out", "done\n"))
    worker.ends(run)
    assert queued("runs", "logs", "1").out == "fetching\nslow today\ndone\n"


def test_logs_cannot_steer_the_terminal(queued, worker):
    worker.prints(worker.starts_one(), 1, ("out", "\x1b[31mred\x1b[0m \x1b]0;title\x07plain\r\n\x9b2Jbell\x07\ttab\n"))
    assert queued("runs", "logs", "1").out == "red plain\n2Jbell\ttab\n"


def test_logs_say_where_output_was_not_kept(queued, worker):
    run = worker.starts_one()
    worker.prints(run, 1, ("out", "head\n"))
    worker.prints(run, 7, ("out", "tail\n"))
    answer = queued("runs", "logs", "1")
    assert answer.out == "head\ntail\n"
    assert "not kept" in answer.err


def test_logs_as_json_tell_stream_and_instant(queued, worker):
    worker.prints(worker.starts_one(), 1, ("out", "fetching\n"), ("err", "slow\n"))
    first, second = queued("runs", "logs", "1", "--json").json
    assert first == {"attempt": 1, "at": "2023-11-14T22:13:20Z", "stream": "out", "text": "fetching\n"}
    assert (second["stream"], second["text"]) == ("err", "slow\n")


def test_logs_are_those_of_the_last_attempt_unless_another_is_named(queued, worker):
    first = worker.starts_one()
    worker.prints(first, 1, ("out", "first try\n"))
    worker.fails_once(first)
    worker.prints(worker.starts_one(), 1, ("out", "second try\n"))
    assert queued("runs", "logs", "1").out == "second try\n"
    assert queued("runs", "logs", "1", "--attempt", "1").out == "first try\n"
    answer = queued("runs", "logs", "1", "--attempt", "3")
    assert (answer.code, answer.said) == (1, "Run 1 has no attempt 3; it has 2.")


def test_a_run_that_has_not_started_has_printed_nothing(queued):
    answer = queued("runs", "logs", "1")
    assert (answer.code, answer.out) == (0, "")


def test_logs_are_followed_until_the_run_has_ended(queued, worker):
    run = worker.starts_one()
    worker.prints(run, 1, ("out", "one\n"))
    follower = subprocess.Popen(
        [sys.executable, "-m", "schedmgr", "runs", "logs", "--follow", "1"], stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout.readline() == "one\n"
    worker.prints(run, 2, ("out", "two\n"))
    assert follower.stdout.readline() == "two\n"
    worker.prints(run, 3, ("out", "three\n"))
    worker.ends(run)
    rest, _ = follower.communicate(timeout=30)
    assert (follower.returncode, rest) == (0, "three\n")


def test_a_waiting_run_is_cancelled_at_once(queued):
    assert queued("runs", "cancel", "1").out == "Run 1 is cancelled.\n"
    answer = queued("runs", "cancel", "1")
    assert (answer.code, answer.said) == (1, "Run 1 has ended already: CANCELLED. Nothing is left to cancel.")


def test_a_running_run_is_asked_to_stop(queued, worker):
    worker.starts_one()
    assert queued("runs", "cancel", "1", "--json").json == {"id": 1, "status": "RUNNING"}
    assert queued("runs", "cancel", "1").out == "Run 1 was asked to stop.\n"


def test_an_ended_run_is_retried_as_a_new_one(queued, worker):
    worker.ends(worker.starts_one(), RunStatus.FAILED, 1)
    assert queued("runs", "retry", "1").out == "Run 1 is queued again as run 2.\n"
    assert queued("runs", "show", "2", "--json").json["retry_of"] == 1
    answer = queued("runs", "retry", "2")
    assert (answer.code, answer.said) == (1, "Run 2 is queued. A run can be retried once it has ended.")
