"""`check`, `plan` and `sync`: what a deploy step says and does."""

import pytest


def test_check_counts_what_is_there_and_for_this_environment(bare, definitions, monkeypatch):
    assert bare("check").out == "definitions.py: 3 jobs, 3 schedules (3 for development). No mistakes.\n"
    monkeypatch.setenv("APP_ENV", "production")
    assert bare("check").out == "definitions.py: 3 jobs, 3 schedules (2 for production). No mistakes.\n"


def test_check_takes_another_file_and_needs_no_database(bare, folder, definitions):
    definitions.rename(folder / "other.py")
    assert bare("check", "other.py").lines[0].startswith("other.py: 3 jobs")
    assert not list(folder.glob("*.db"))


def test_check_without_a_file_of_one_s_own_checks_the_sample(bare):
    answer = bare("check", "--json")
    assert answer.code == 0
    assert (answer.json["schedules"], answer.json["schedules_of_environment"]) == (4, 4)


def test_check_tells_every_mistake_on_a_line_of_its_own(bare, definitions):
    definitions.write_text(
        definitions.read_text().replace('"30 2 * * *"', '"61 * * * *"').replace('job_group="feed"', 'job_group="fed"')
    )
    answer = bare("check")
    assert answer.code == 1
    first, second = answer.said.splitlines()
    assert first.startswith("definitions.py:10: schedule 'feeds': job_group 'fed': ")
    assert second.startswith("definitions.py:11: schedule 'nightly': cron '61 * * * *': ")
    assert second.endswith("Minute: 61 is too high. Minute goes from 0 to 59.")


def test_check_as_json_has_the_problems_and_still_fails(bare, definitions):
    definitions.write_text("jobs = [\n")
    answer = bare("check", "--json")
    assert (answer.code, answer.err) == (1, "")
    assert [problem["line"] for problem in answer.json["problems"]] == [1]


def test_check_of_a_missing_file_says_where_it_looked(bare):
    answer = bare("check", "nowhere.py")
    assert answer.code == 1
    assert "nowhere.py" in answer.said
    assert "It cannot be read" in answer.said


def test_plan_says_what_would_be_new_and_writes_nothing(schedmgr, definitions):
    answer = schedmgr("plan")
    assert answer.code == 0
    assert "+ add schedule nightly  It arrives off." in answer.lines
    assert "+ add job fetch" in answer.lines
    assert schedmgr("schedules", "list", "--json").json == []


def test_plan_after_a_sync_says_that_nothing_would_change(synced):
    assert synced("plan").out == "Nothing would change: definitions.py is in force for development.\n"
    assert synced("plan", "--json").json["changes"] == []


def test_plan_tells_each_changed_field_and_the_next_run_old_and_new(at_noon, definitions):
    assert at_noon("schedules", "enable", "feeds").code == 0
    definitions.write_text(definitions.read_text().replace('"*/15 * * * *"', '"*/20 * * * *", grace=30'))
    assert at_noon("plan").lines == [
        "~ change schedule feeds",
        '    cron: "*/15 * * * *" -> "*/20 * * * *"',
        "    grace: (default) -> 30",
        "    next run: 2026-03-02T12:15:00Z -> 2026-03-02T12:20:00Z",
    ]
    [change] = at_noon("plan", "--json").json["changes"]
    assert (change["kind"], change["thing"], change["id"], change["enabled"]) == ("change", "schedule", "feeds", True)
    assert change["fields"][1] == {"name": "grace", "old": None, "new": 30}
    assert (change["old_next_run_at"], change["new_next_run_at"]) == ("2026-03-02T12:15:00Z", "2026-03-02T12:20:00Z")


def test_plan_says_what_looks_like_a_rename(synced, definitions):
    definitions.write_text(definitions.read_text().replace('"nightly"', '"every-night"'))
    lines = synced("plan").lines
    assert "+ add schedule every-night  It looks like a rename of nightly; it arrives off." in lines
    assert "- archive schedule nightly" in lines


def test_sync_writes_the_definitions_and_says_what_changed(schedmgr, definitions):
    assert "+ add schedule feeds  It arrives off." in schedmgr("sync").lines
    listed = schedmgr("schedules", "list", "--json").json
    assert [(row["id"], row["enabled"]) for row in listed] == [("feeds", False), ("nightly", False), ("try-out", False)]
    assert schedmgr("sync").out == "Nothing changed.\n"


def test_sync_by_hand_stands_in_the_audit(synced, database):
    from sqlalchemy import select

    from schedmgr.database.models import AuditEvent

    with database.read() as session:
        [event] = session.execute(select(AuditEvent.who, AuditEvent.action, AuditEvent.what)).all()
    assert event.who.startswith("cli:")
    assert (event.action, event.what) == ("sync", "synced definitions.py for development: 6 changes")


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_another_environment_is_refused_until_someone_insists(synced, monkeypatch, command):
    monkeypatch.setenv("APP_ENV", "staging")
    answer = synced(command)
    assert answer.code == 1
    assert "The tables are those of the environment development, this is staging." in answer.said
    assert answer.said.endswith("run: schedmgr sync --change-environment")


def test_insisting_changes_the_environment_and_archives_what_is_not_for_it(synced, monkeypatch):
    monkeypatch.delenv("SCHEDMGR_TEST_CLOCK")  # refused in production
    monkeypatch.setenv("APP_ENV", "production")
    assert synced("sync", "--change-environment").lines == ["- archive schedule try-out"]
    [*_, last] = synced("schedules", "list", "--json").json
    assert (last["id"], last["archived_at"] is not None) == ("try-out", True)


def test_broken_definitions_are_not_synced(synced, definitions):
    definitions.write_text("raise SystemExit(3)")
    answer = synced("sync")
    assert answer.code == 1
    assert answer.said.startswith("definitions.py:1: ")
    assert len(synced("schedules", "list", "--json").json) == 3
