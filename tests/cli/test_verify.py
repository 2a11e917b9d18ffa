"""`verify`: exit code 0 and the numbers, or 1 and one line for each thing that is wrong."""

from datetime import UTC, datetime

import pytest

from schedmgr.core.definitions import Schedule

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def fired(schedmgr, installation, clock):
    """Every five minutes, on time at 12:00 and 12:05; now it is 12:06."""
    clock.set_to(at(11, 58))
    installation.turned_on(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow"))
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        installation.start_daemon()
        installation.tick()
    clock.set_to(at(12, 6))
    return schedmgr


def delete(installation, instant: str) -> None:
    installation.sql("DELETE FROM job_run WHERE scheduled_for LIKE :at", at=f"%{instant}%")
    installation.sql("DELETE FROM schedule_firing WHERE scheduled_for LIKE :at", at=f"%{instant}%")


def test_all_is_accounted_for(fired):
    answer = fired("verify")
    assert (answer.code, answer.lines, answer.err) == (0, ["2 occurrences, 2 accounted for."], "")


def test_nothing_was_due_yet(schedmgr):
    assert schedmgr("verify").lines == ["0 occurrences, 0 accounted for."]


def test_each_problem_is_one_line_with_the_thing_the_instant_and_what_it_means(fired, installation):
    delete(installation, "12:00:00")
    answer = fired("verify")
    assert answer.code == 1
    assert answer.lines == [
        "feeds: 2026-03-02T12:00:00Z: missing. No firing covers this occurrence. It counts as decided, so a row was "
        "deleted or an older backup restored; nothing will fire it. Run it by hand if it matters: "
        "schedmgr schedules run feeds",
        "2 occurrences, 1 accounted for.",
    ]


def test_json_has_the_numbers_and_the_problems(fired, installation):
    delete(installation, "12:00:00")
    found = fired("verify", "--json").json
    assert (found["occurrences"], found["accounted"], found["pending"], found["not_checkable"]) == (2, 1, 0, 0)
    assert found["since"] is None
    [problem] = found["problems"]
    assert (problem["kind"], problem["schedule_id"], problem["at"]) == ("missing", "feeds", "2026-03-02T12:00:00Z")


def test_only_what_was_due_after_an_instant(fired, installation):
    delete(installation, "12:00:00")
    answer = fired("verify", "--since", "2026-03-02T12:00:00Z")
    assert answer.code == 0
    assert answer.lines == ["1 occurrence, 1 accounted for. Begins after 2026-03-02T12:00:00Z, as asked."]


def test_an_instant_to_come_is_refused(fired):
    answer = fired("verify", "--since", "2026-03-02T13:00:00Z")
    assert answer.code == 1
    assert answer.said == "Nothing was due after 2026-03-02T13:00:00Z yet. Name an earlier instant."


def test_one_schedule_only(fired, installation):
    delete(installation, "12:00:00")
    installation.sync(
        Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow"),
        Schedule("other", cron="*/5 * * * *", execution_mode="ALL_JOBS"),
    )
    assert fired("verify", "--schedule", "other").code == 0
    assert fired("verify", "--schedule", "feeds").code == 1


def test_an_unknown_schedule_names_the_nearest(fired):
    answer = fired("verify", "--schedule", "feed")
    assert (answer.code, answer.said) == (1, "No schedule has the id feed. Nearest: feeds.")


def test_what_is_due_just_now_is_pending(fired, clock):
    clock.set_to(at(12, 10, 30))
    assert fired("verify").lines == [
        "3 occurrences, 2 accounted for. 1 pending: due just now, and not decided yet.",
    ]


def test_what_stays_undecided_is_missing_and_says_what_to_do(fired, clock):
    clock.set_to(at(12, 13))
    answer = fired("verify")
    assert answer.code == 1
    assert answer.lines[0].startswith("feeds: 2026-03-02T12:10:00Z: missing. Due 3 min")
    assert answer.lines[0].endswith("No daemon is running. Start it, and it decides this first: schedmgr daemon")


def test_it_begins_at_what_pruning_left_and_says_so(fired, installation):
    delete(installation, "12:00:00")
    installation.sql(
        "INSERT INTO setting (key, value, changed_at, changed_by) VALUES ('retention', :value, :at, 'daemon')",
        value='{"pruned_until": "2026-03-02T12:01:00+00:00"}',
        at="2026-03-02 12:05:00.000000",
    )
    assert fired("verify").lines == [
        "1 occurrence, 1 accounted for. Begins after 2026-03-02T12:01:00Z: what is older was pruned."
    ]


def test_other_time_zone_data_is_no_problem_but_not_checkable(fired, installation):
    installation.sql("UPDATE schedule_period SET tzdata = '2020a', timezone = 'Europe/Berlin', cron = '*/10 * * * *'")
    installation.sql("UPDATE job_schedule SET timezone = 'Europe/Berlin', cron = '*/10 * * * *'")
    answer = fired("verify")
    assert answer.code == 0
    assert "1 occurrence not checkable: decided under other time zone data" in answer.out
    assert fired("verify", "--json").json["not_checkable"] == 1


def test_a_grace_that_changed_makes_no_false_alarm(fired, installation):
    installation.sync(Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS", overlap="allow", grace=30))
    installation.sql("UPDATE schedule_firing SET decided_at = '2026-03-02 12:00:50.000000' WHERE id = 1")
    installation.sql("UPDATE process SET beat_at = '2026-03-02 12:05:59.000000'")
    answer = fired("verify")
    assert answer.code == 0
    assert "1 reason not checkable: decided before the definition" in answer.out


def test_an_expression_that_nobody_can_read_is_said(fired, installation):
    installation.sql("UPDATE schedule_period SET cron = '61 * * * *'")
    answer = fired("verify")
    assert answer.code == 1
    assert "cannot be worked out: Minute: 61 is too high." in answer.out
    assert "Traceback" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("schedule_firing", "decided_at"),
        ("schedule_firing", "scheduled_for"),
        ("schedule_firing", "missed_until"),
        ("schedule_period", "from_at"),
        ("schedule_period", "until_at"),
        ("schedule_period", "starts_at"),
        ("process", "beat_at"),
        ("job_schedule", "accounted_until"),
    ],
)
def test_an_instant_that_nobody_can_read_is_said(fired, installation, table, column):
    newest = f"(SELECT max(rowid) FROM {table})"
    installation.sql(f"UPDATE {table} SET {column} = 'tomorrow' WHERE rowid = {newest}")
    answer = fired("verify")
    assert answer.code == 1
    assert f"{column} of row " in answer.out
    assert "is no instant" in answer.out
