"""Environment variables -> settings: defaults, what is allowed, and every mistake said at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from schedmgr.errors import SettingsError
from schedmgr.settings import VARIABLES, Settings, mask_url, masked


@pytest.fixture
def load(tmp_path):
    def load(**variables: str) -> Settings:
        return Settings.load(variables, tmp_path)

    return load


def problems(load, **variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    return caught.value.problems


def test_without_any_variable_everything_has_its_default(load):
    settings = load()
    assert (settings.environment, settings.database_url, settings.host, settings.port) == (
        "development",
        "sqlite:///schedmgr.db",
        "127.0.0.1",
        3001,
    )
    assert (settings.poll_interval, settings.worker_concurrency, settings.lease_seconds, settings.shutdown_grace) == (
        timedelta(seconds=10),
        4,
        60,
        30,
    )
    assert (settings.daemon_enabled, settings.mode, settings.test_clock) == (True, None, None)


def test_in_production_the_poll_interval_is_a_minute(load):
    assert load(APP_ENV="production").poll_interval == timedelta(minutes=1)
    assert load(APP_ENV="production", SCHEDULE_POLL_INTERVAL_MS="500").poll_interval == timedelta(seconds=0.5)


def test_app_env_goes_before_node_env(load):
    assert load(NODE_ENV="staging").environment == "staging"
    assert load(NODE_ENV="staging", APP_ENV="production").environment == "production"


def test_a_dot_env_is_read_and_real_variables_win(load, tmp_path):
    (tmp_path / ".env").write_text("PORT=4000\nHOST=0.0.0.0\n")
    settings = load(PORT="5000")
    assert (settings.host, settings.port) == ("0.0.0.0", 5000)


def test_a_variable_that_is_set_to_nothing_is_not_set(load):
    assert load(PORT="", APP_ENV=" ", SCHEDULE_DAEMON_ENABLED="").port == 3001


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "70000", "PORT: '70000' is not allowed. Allowed is a whole number from 1 to 65535."),
        ("PORT", "30O1", "PORT: '30O1' is not allowed. Allowed is a whole number from 1 to 65535."),
        ("PORT", "٣٠٠١", "PORT: '٣٠٠١' is not allowed. Allowed is a whole number from 1 to 65535."),
        (
            "SCHEDULE_DAEMON_ENABLED",
            "maybe",
            "SCHEDULE_DAEMON_ENABLED: 'maybe' is not allowed. Allowed are true and false.",
        ),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: 'xml' is not allowed. Allowed are text, json."),
        ("SCHEDMGR_LEASE_SECONDS", "4", "SCHEDMGR_LEASE_SECONDS: '4' is not allowed."),
        ("SCHEDMGR_WORKER_CONCURRENCY", "-1", "SCHEDMGR_WORKER_CONCURRENCY: '-1' is not allowed."),
        (
            "SCHEDMGR_RETENTION_DAYS",
            "0",
            "SCHEDMGR_RETENTION_DAYS: '0' is not allowed. Allowed is a whole number from 1 to 36500.",
        ),
        ("SCHEDMGR_RETENTION_DAYS", "36501", "SCHEDMGR_RETENTION_DAYS: '36501' is not allowed."),
        ("SCHEDMGR_RETENTION_DAYS", "30d", "SCHEDMGR_RETENTION_DAYS: '30d' is not allowed."),
        ("SCHEDMGR_MODE", "both", "SCHEDMGR_MODE: 'both' is not allowed. Allowed are web, daemon, worker."),
        (
            "SCHEDMGR_WORKER_GROUPS",
            "feed, Sync",
            "SCHEDMGR_WORKER_GROUPS: 'feed, Sync' is not allowed. Allowed are names of groups with commas between them",
        ),
        ("SCHEDMGR_WORKER_GROUPS", ",", "SCHEDMGR_WORKER_GROUPS: ',' is not allowed."),
        ("SCHEDMGR_PUBLIC_URL", "example.com", "SCHEDMGR_PUBLIC_URL: 'example.com' is not allowed."),
        ("SCHEDULE_POLL_INTERVAL_MS", "0", "SCHEDULE_POLL_INTERVAL_MS: '0' is not allowed."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(load, name, value, sentence):
    (problem,) = problems(load, **{name: value})
    assert problem.startswith(sentence)


def test_a_worker_takes_all_groups_or_those_that_are_named(load):
    assert load().worker_groups == ()
    assert load(SCHEDMGR_WORKER_GROUPS="feed, sync").worker_groups == ("feed", "sync")


def test_all_that_is_wrong_is_said_at_once_a_line_each(load):
    with pytest.raises(SettingsError) as caught:
        load(PORT="x", LOG_LEVEL="loud", SCHEDULE_DAEMON_ENABLED="2")
    assert len(str(caught.value).splitlines()) == 3


def test_a_database_that_is_not_supported_is_named_without_its_password(load):
    (problem,) = problems(load, DATABASE_URL="postgresql://ann:secret@db/app")
    assert "secret" not in problem
    assert "postgresql://ann:****@db/app" in problem


def test_a_server_is_taken_as_it_is_written(load):
    url = "mysql://ann:se@cret@a:3306,b:3306/app?ssl=true"
    assert load(DATABASE_URL=url).database_url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "mysql://ann:secret@db",
            "DATABASE_URL: 'mysql://ann:****@db' is not allowed. Allowed is mysql://USER:PASSWORD@HOST:3306/DATABASE",
        ),
        (
            "mysql://ann:secret/app",
            "DATABASE_URL: 'mysql://ann:****/app' is not allowed. What stands after 'ann:' is no port.",
        ),
        (
            "mysql://ann:secret@db/app?timeout=5",
            "DATABASE_URL: 'mysql://ann:****@db/app?timeout=5' is not allowed. The option 'timeout' is not known.",
        ),
    ],
)
def test_a_server_that_is_not_named_rightly_is_one_sentence_without_its_password(load, url, sentence):
    (problem,) = problems(load, DATABASE_URL=url)
    assert problem.startswith(sentence)
    assert "secret" not in problem


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"])
def test_a_database_that_several_processes_cannot_share_is_refused(load, url):
    (problem,) = problems(load, DATABASE_URL=url)
    assert problem == f"DATABASE_URL: '{url}' is not allowed. Allowed is sqlite:///PATH, such as sqlite:///schedmgr.db."


def test_moving_the_clock_is_refused_in_production(load):
    (problem,) = problems(load, APP_ENV="production", SCHEDMGR_TEST_CLOCK="/tmp/clock")
    assert "refused in production" in problem
    assert load(SCHEDMGR_TEST_CLOCK="/tmp/clock").test_clock == Path("/tmp/clock")


@pytest.mark.parametrize(
    ("value", "meaning"), [("true", True), ("1", True), ("ON", True), ("false", False), ("0", False), ("No", False)]
)
def test_true_and_false_may_be_written_in_the_usual_ways(load, value, meaning):
    settings = load(SCHEDULE_DAEMON_ENABLED=value)
    assert (settings.daemon_enabled, settings.daemon_enabled_was_set) == (meaning, True)


def test_what_is_in_force_is_shown_with_every_variable_and_without_a_secret(load):
    secret = "s" * 40
    shown = masked(load(JWT_SECRET=secret, SCHEDMGR_ADMIN_PASSWORD=secret, DATABASE_URL="sqlite:///x.db", PORT="4000"))
    assert list(shown) == [variable.name for variable in VARIABLES]
    assert secret not in str(shown)
    assert (shown["PORT"], shown["JWT_SECRET"]) == ("4000", "****")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///schedmgr.db", "sqlite:///schedmgr.db"),
        ("mysql://ann:secret@db:3306/app", "mysql://ann:****@db:3306/app"),
        ("mysql://ann:se@cret@a:3306,b:3306/app", "mysql://ann:****@a:3306,b:3306/app"),
        ("mysql://ann:se/cret@db/app", "mysql://ann:****@db/app"),
        ("mysql://ann:se#cret@db/app", "mysql://ann:****@db/app"),
        ("mysql://ann:secret/app", "mysql://ann:****/app"),
        ("mysql://ann:secret", "mysql://ann:****"),
        ("mysql://ann:secret@/app", "mysql://ann:****@/app"),
        ("mysql://db:3306/app", "mysql://db:3306/app"),
        ("mysql://a:3306,b:3307/app", "mysql://a:3306,b:3307/app"),
        ("mysql://[::1]:3306/app", "mysql://[::1]:3306/app"),
        ("sqlite:////data/12:30.db", "sqlite:////data/12:30.db"),
    ],
)
def test_a_password_in_a_url_is_covered(url, shown):
    assert mask_url(url) == shown


def test_an_environment_has_a_name_that_fits_the_tables(load):
    assert load(APP_ENV="x" * 100).environment == "x" * 100
    with pytest.raises(
        SettingsError, match=r"^APP_ENV: 'x+' is not allowed\. Allowed is a name of up to 100 characters"
    ):
        load(APP_ENV="x" * 101)
