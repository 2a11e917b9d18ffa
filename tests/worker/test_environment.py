"""What a command finds in its environment."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schedmgr.settings import VARIABLES
from schedmgr.worker.environment import RunFacts, UnsetVariable, command_environment, filled, user_environment

BY_HAND = RunFacts(run_id=7, job="match-items", attempt=2)


def test_a_command_has_the_worker_s_environment_and_the_job_s_over_it():
    env = command_environment({"COLOUR": "red"}, {"COLOUR": "blue", "HOME": "/home/ana"}, BY_HAND)
    assert (env["COLOUR"], env["HOME"]) == ("red", "/home/ana")


def test_none_of_our_own_variables_and_secrets_reaches_a_command():
    ours = {variable.name: "x" for variable in VARIABLES if variable.secret or variable.name.startswith("SCHEDMGR_")}
    env = command_environment({}, ours | {"SCHEDMGR_NOTIFY_URLS": "x", "SCHEDMGR_HEARTBEAT_URL": "x"}, BY_HAND)
    assert sorted(env) == ["PYTHONUNBUFFERED", "SCHEDMGR_ATTEMPT", "SCHEDMGR_JOB", "SCHEDMGR_RUN_ID"]


def test_a_secret_reaches_a_command_on_purpose():
    env = command_environment({"DATABASE_URL": "${DATABASE_URL}"}, {"DATABASE_URL": "mysql://db"}, BY_HAND)
    assert env["DATABASE_URL"] == "mysql://db"


def test_names_are_filled_from_the_worker_s_environment():
    worker = {"USER": "ana", "TOKEN": "t0${USER}"}
    assert filled("Bearer ${TOKEN} for ${USER}, $USER", worker, where="header") == "Bearer t0${USER} for ana, $USER"


def test_every_name_that_is_not_set_is_named():
    with pytest.raises(UnsetVariable) as error:
        command_environment({"AUTH": "${B}:${A}:${SET}"}, {"SET": ""}, BY_HAND)
    assert str(error.value) == (
        "env 'AUTH' of job 'match-items' asks for ${A}, ${B}, which the worker's environment does not have; "
        "set it where the worker starts."
    )


def test_a_run_by_hand_knows_its_run_job_and_attempt():
    env = command_environment({}, {}, BY_HAND)
    assert env == {
        "PYTHONUNBUFFERED": "1",
        "SCHEDMGR_RUN_ID": "7",
        "SCHEDMGR_JOB": "match-items",
        "SCHEDMGR_ATTEMPT": "2",
    }


def test_a_scheduled_run_knows_its_schedule_and_instant_in_utc():
    at = datetime(2026, 3, 1, 3, 0, tzinfo=timezone(timedelta(hours=1)))
    env = command_environment({}, {}, RunFacts(7, "match-items", 1, "nightly", at))
    assert env["SCHEDMGR_SCHEDULE_ID"] == "nightly"
    assert env["SCHEDMGR_SCHEDULED_FOR"] == "2026-03-01T02:00:00Z"


def test_what_a_run_is_told_of_itself_cannot_be_overridden():
    assert command_environment({"SCHEDMGR_RUN_ID": "1"}, {}, BY_HAND)["SCHEDMGR_RUN_ID"] == "7"


@pytest.mark.parametrize(("worker", "job"), [({"PYTHONUNBUFFERED": ""}, {}), ({}, {"PYTHONUNBUFFERED": ""})])
def test_python_jobs_stream_unless_told_otherwise(worker, job):
    assert command_environment(job, worker, BY_HAND)["PYTHONUNBUFFERED"] == ""


def test_the_executable_gives_the_user_s_library_path_back():
    bundle = {"LD_LIBRARY_PATH": "/bundle:/opt/lib", "LD_LIBRARY_PATH_ORIG": "/opt/lib", "_PYI_ARCHIVE_FILE": "x"}
    assert user_environment(bundle, frozen=True) == {"LD_LIBRARY_PATH": "/opt/lib"}


def test_the_executable_gives_no_library_path_to_who_had_none():
    assert user_environment({"LD_LIBRARY_PATH": "/bundle", "A": "b"}, frozen=True) == {"A": "b"}


def test_outside_the_executable_a_library_path_is_the_user_s():
    assert user_environment({"LD_LIBRARY_PATH": "/opt/lib"}, frozen=False) == {"LD_LIBRARY_PATH": "/opt/lib"}


def test_an_instant_keeps_its_fraction():
    at = datetime(2026, 3, 1, 2, 0, 0, 500_000, tzinfo=UTC)
    env = command_environment({}, {}, RunFacts(7, "match-items", 1, "nightly", at))
    assert env["SCHEDMGR_SCHEDULED_FOR"] == "2026-03-01T02:00:00.500000Z"
