"""`health`: one line for monitoring, whatever the database does."""

import re
import sqlite3
import time
from contextlib import closing

import pytest
from kinds import ON_SQLITE

LINE = re.compile(r"SCHEDMGR (OK|WARNING|CRITICAL|UNKNOWN) - [^|]+( \| ([a-z_]+=[0-9.]+(s|%)?(;[0-9.:]*){1,4} ?)+)?")
WITHOUT_A_WARNING = ON_SQLITE  # the servers of the tests do not flush at commit, and health says so


@pytest.fixture
def beating(schedmgr, installation):
    """A daemon beats."""
    installation.start_daemon()
    return schedmgr


@WITHOUT_A_WARNING
def test_a_beating_daemon_with_nothing_on_is_ok(beating):
    answer = beating("health")
    assert answer.code == 0
    assert re.match(
        r"SCHEDMGR OK - The daemon on \S+ beat [0-9.]+ s ago; Nothing is overdue; 0 schedules on \| ", answer.out
    )


def test_it_is_one_line_with_performance_data(beating):
    answer = beating("health")
    [line] = answer.lines
    assert LINE.fullmatch(line)
    for name in ("beat_age", "due_age", "overdue", "schedules_on", "queued", "running"):
        assert f" {name}=" in line


@WITHOUT_A_WARNING
def test_details_follow_when_wanted(beating):
    first, *details = beating("health", "-v").lines
    assert LINE.fullmatch(first)
    assert [detail.split(":")[0].split()[1] for detail in details] == ["database", "daemon", "due"]


def test_no_beat_is_a_warning_after_a_minute_and_critical_after_five(beating, clock):
    clock.move(seconds=90)
    assert beating("health").code == 1
    clock.move(seconds=300)
    answer = beating("health")
    assert answer.code == 2
    assert "No daemon is running: the one on" in answer.out
    assert beating("health", "--max-age", "600").code == 1


def test_a_queue_without_a_worker_is_a_warning(beating, installation, definitions):
    installation.start_daemon(concurrency=0)
    installation.sql("UPDATE process SET stopped_at = beat_at WHERE concurrency > 0")
    beating("sync")
    beating("jobs", "run", "tidy")
    answer = beating("health")
    assert answer.code == 1
    assert "1 run waiting and no worker is running" in answer.out


@WITHOUT_A_WARNING
def test_as_json_it_has_the_checks_and_the_facts(beating):
    answer = beating("health", "--json")
    assert answer.code == 0
    assert list(answer.json) == ["status", "checks", "facts"]
    assert answer.json["checks"][0] == {"key": "database", "status": "OK", "sentence": "The database answers."}
    assert answer.json["facts"]["last_daemon"]["role"] == "daemon"


def test_a_missing_database_is_critical(bare, folder):
    answer = bare("health")
    assert answer.code == 2
    assert answer.out == (
        f"SCHEDMGR CRITICAL - There is no database at {folder}/schedmgr.db yet. Run: schedmgr migrate\n"
    )
    assert bare("health", "--json").json["facts"] is None


def test_a_database_that_was_never_migrated_is_critical(bare, folder):
    (folder / "schedmgr.db").touch()
    answer = bare("health")
    assert (answer.code, answer.out) == (
        2,
        "SCHEDMGR CRITICAL - The database was never migrated. Run: schedmgr migrate\n",
    )


def test_wrong_settings_are_unknown(bare, monkeypatch):
    monkeypatch.setenv("PORT", "x")
    answer = bare("health")
    assert answer.code == 3
    assert answer.out.startswith("SCHEDMGR UNKNOWN - PORT: 'x' is not allowed.")


def test_a_file_that_is_no_database_is_critical(bare, folder):
    (folder / "schedmgr.db").write_text("hello" * 1000)
    answer = bare("health")
    assert answer.code == 2
    assert answer.out.startswith(f"SCHEDMGR CRITICAL - {folder}/schedmgr.db is no SQLite database.")


def test_a_database_that_hangs_is_critical_within_5_s(process, database_file):
    with closing(sqlite3.connect(database_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        answer = process("health", DATABASE_URL=f"sqlite:///{database_file}")
        took = time.monotonic() - began
    assert answer.code == 2
    assert re.fullmatch(
        r"SCHEDMGR CRITICAL - (The database did not answer within 5 s|Another process has held the database file .*)\n",
        answer.out,
    )
    assert took < 8  # and not two of the database's own time-outs; starting Python is in it


def test_a_bar_in_a_name_does_not_end_the_sentence(beating):
    beating("pause", "--reason", "a | b\nc")
    [line] = beating("health").lines
    assert LINE.fullmatch(line)
    assert "a / b c" in line
