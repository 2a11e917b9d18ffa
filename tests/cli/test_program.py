"""The command line as a whole: what it loads, what it says, and how it ends."""

import signal
import subprocess
import sys
import time

import pytest

from schedmgr import __version__
from schedmgr.cli.program import COMMANDS
from schedmgr.database.migrate import NEWEST

HEAVY = {
    *("sqlalchemy", "alembic", "litestar", "uvicorn", "jinja2", "jwt", "argon2", "pymysql", "croniter", "dotenv"),
    *("asyncio", "ssl", "logging", "socket", "subprocess", "sqlite3", "zoneinfo", "json", "http", "email"),
}


def modules_loaded_by(*words: str) -> tuple[set[str], float]:
    """The modules that a command loads beyond Python's own start, and how long the whole process took."""
    script = (
        "import sys, json; before = set(sys.modules); sys.argv = ['schedmgr', *sys.argv[1:]]\n"
        "from schedmgr.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(set(sys.modules) - before))"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()), time.monotonic() - began


def tell(words: tuple[str, ...], loaded: set[str], seconds: float) -> None:
    """For who runs the tests with -rP: how long it took here, without a verdict on a shared machine."""
    sys.stdout.write(f"schedmgr {' '.join(words)}: {seconds * 1000:.0f} ms, {len(loaded)} modules\n")


@pytest.mark.parametrize(
    "words", [(), ("--help",), ("version",), ("schedules", "--help"), ("runs", "list", "--help"), ("up", "--help")]
)
def test_help_and_version_load_nothing_heavy(folder, words):
    loaded, seconds = modules_loaded_by(*words)
    tell(words, loaded, seconds)
    assert "click" in loaded
    assert not {module.split(".")[0] for module in loaded} & HEAVY


@pytest.mark.parametrize("words", [("health",), ("schedules", "list"), ("runs", "list"), ("cron", "next", "@daily")])
def test_one_shot_commands_load_neither_web_nor_migrations(synced, words):
    loaded, seconds = modules_loaded_by(*words)
    tell(words, loaded, seconds)
    roots = {module.split(".")[0] for module in loaded}
    assert not roots & {"litestar", "uvicorn", "jinja2", "alembic", "jwt"}


def test_bare_schedmgr_says_what_it_could_run(bare):
    answer = bare()
    assert answer.code == 0
    assert "Set SCHEDMGR_MODE to web, daemon or worker" in answer.out


def test_bare_schedmgr_is_a_worker_where_the_environment_says_so(bare, monkeypatch):
    monkeypatch.setenv("SCHEDMGR_MODE", "worker")
    monkeypatch.setenv("SCHEDMGR_WORKER_CONCURRENCY", "0")
    answer = bare()
    assert answer.code == 1
    assert answer.said == (
        "SCHEDMGR_WORKER_CONCURRENCY: '0' is not allowed for a worker, which would run nothing. Set 1 or more."
    )


@pytest.mark.parametrize("variables", [{"SCHEDMGR_MODE": "daemon"}, {"SCHEDULE_DAEMON_ENABLED": "true"}])
def test_bare_schedmgr_is_the_daemon_where_the_environment_says_so(bare, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = bare()
    assert answer.code == 1
    assert answer.said.startswith("There is no database at")


def test_bare_schedmgr_is_the_web_where_the_daemon_is_disabled(process):
    answer = process(SCHEDULE_DAEMON_ENABLED="false", PORT="0")
    assert answer.said == "PORT: '0' is not allowed. Allowed is a whole number from 1 to 65535."
    answer = process(SCHEDULE_DAEMON_ENABLED="false", APP_ENV="production")
    assert answer.said.startswith("There is no database at")


def test_a_disabled_daemon_says_so_in_one_line_and_exits_0(bare, monkeypatch):
    monkeypatch.setenv("SCHEDULE_DAEMON_ENABLED", "false")
    answer = bare("daemon")
    [line] = answer.lines
    assert answer.code == 0
    assert line.startswith("The daemon is disabled by SCHEDULE_DAEMON_ENABLED=false.")


def test_help_lists_every_command_with_what_it_does(bare):
    answer = bare("--help")
    assert answer.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in answer.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(bare, name):
    answer = bare(name, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: schedmgr {name}")


def test_version_is_that_of_the_package(bare):
    assert bare("version").out == f"schedmgr {__version__}\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("schedule",), "No such command 'schedule'. Did you mean 'schedules'?"),
        (("helth",), "No such command 'helth'. Did you mean 'health'?"),
        (("runs", "lst"), "No such command 'lst'. Did you mean 'list'?"),
        (("runs", "list", "--limt", "3"), "No such option '--limt'. Did you mean '--limit'?"),
        (("runs", "list", "--limit", "-1"), "'-1' is no whole number from 0 to 1000000."),
        (("runs", "show"), "Missing argument 'RUN'."),
        (("runs", "show", "first"), "'first' is no whole number from 1 to"),
        (("cron", "next", "@daily", "--after", "noon"), "'noon' is no instant. Write it like 2026-03-01T02:00:00Z."),
        (("pause", "--until", "soon"), "'soon' is no instant."),
        (("users", "add", "ann"), "Missing option '--role'. Choose from:\n\tviewer,\n\toperator,\n\tadmin"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_would_be_right(bare, words, hint):
    answer = bare(*words)
    assert answer.code == 2
    assert hint in answer.said


def test_an_argument_that_is_no_text_is_wrong_usage(process):
    answer = process("schedules", "show", "\udcff")
    assert answer.code == 2
    assert answer.said == "Error: An argument holds bytes that are no text in UTF-8."


def test_wrong_variables_are_told_all_at_once_one_a_line(bare, monkeypatch):
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    answer = bare("config")
    assert answer.code == 1
    assert answer.said.splitlines() == [
        "PORT: 'http' is not allowed. Allowed is a whole number from 1 to 65535.",
        "LOG_LEVEL: 'loud' is not allowed. Allowed are debug, info, warning, error.",
    ]


def test_a_dotenv_file_is_read_and_real_variables_win(bare, folder, monkeypatch):
    (folder / ".env").write_text("PORT=4000\nHOST=0.0.0.0\n")
    monkeypatch.setenv("HOST", "127.0.0.1")
    in_force = bare("config", "--json").json
    assert (in_force["PORT"], in_force["HOST"]) == ("4000", "127.0.0.1")


def test_config_covers_secrets(bare, monkeypatch):
    monkeypatch.setenv("JWT_SECRET", "a secret that nobody may read")
    monkeypatch.setenv("SCHEDMGR_ADMIN_PASSWORD", "another secret of theirs")
    for answer in (bare("config"), bare("config", "--json")):
        assert answer.code == 0
        assert "****" in answer.out
        assert "secret that" not in answer.out + answer.err
        assert "another secret" not in answer.out + answer.err


NEED_TABLES = [
    ("plan",),
    ("sync",),
    ("schedules", "list"),
    ("schedules", "show", "x"),
    ("schedules", "history", "--all"),
    ("schedules", "enable", "x"),
    ("schedules", "run", "x"),
    ("schedules", "next", "x"),
    ("jobs", "list"),
    ("jobs", "run", "x"),
    ("runs", "list"),
    ("runs", "logs", "1"),
    ("runs", "cancel", "1"),
    ("pause",),
    ("resume",),
    ("users", "list"),
    ("users", "add", "ann", "--role", "admin"),
    ("web",),
    ("daemon",),
    ("worker",),
]


@pytest.mark.parametrize("words", NEED_TABLES, ids=" ".join)
def test_without_a_database_a_command_says_so_and_leaves_no_file_behind(bare, folder, words):
    answer = bare(*words)
    assert answer.code == 1
    assert answer.said == f"There is no database at {folder}/schedmgr.db yet. Run: schedmgr migrate"
    assert not list(folder.glob("*.db*"))


def test_an_empty_database_was_never_migrated(bare, folder):
    (folder / "schedmgr.db").touch()
    assert bare("schedules", "list").said == "The database was never migrated. Run: schedmgr migrate"


def test_a_database_of_a_newer_program_is_left_alone(schedmgr, installation):
    installation.sql("UPDATE alembic_version SET version_num = '9999'")
    answer = schedmgr("schedules", "list")
    assert answer.code == 1
    assert "it is older than the database. Deploy the newer program." in answer.said
    assert schedmgr("migrate").said == answer.said


def test_migrate_says_where_the_database_is_and_may_be_repeated(bare):
    assert bare("migrate").out == f"The database is at migration {NEWEST} now.\n"
    assert bare("migrate").out == f"The database is at migration {NEWEST} already.\n"


@pytest.mark.parametrize("words", [("migrate",), ("schedules", "list"), ("up",)], ids=" ".join)
def test_a_file_that_is_no_database_is_left_as_it_is(bare, folder, words):
    (folder / "schedmgr.db").write_text("my notes")
    answer = bare(*words)
    assert (answer.code, answer.said) == (
        1,
        f"{folder}/schedmgr.db is no SQLite database. Set DATABASE_URL to one that is.",
    )
    assert (folder / "schedmgr.db").read_text() == "my notes"


def test_a_folder_that_does_not_exist_is_told_with_the_path(bare, monkeypatch, folder):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder}/nowhere/schedmgr.db")
    answer = bare("migrate")
    assert answer.code == 1
    assert "nowhere/schedmgr.db cannot be used" in answer.said


def test_a_reader_that_has_had_enough_ends_a_command_without_a_word(synced):
    lister = subprocess.Popen(
        [sys.executable, "-m", "schedmgr", "cron", "next", "* * * * *", "--count", "10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lister.stdout.readline()
    lister.stdout.close()
    assert lister.stderr.read() == b""
    lister.wait(30)


def test_ctrl_c_ends_a_command_without_a_traceback(synced, worker):
    [run_id] = synced("jobs", "run", "tidy", "--json").json["job_run_ids"]
    worker.prints(worker.starts_one(), 1, ("out", "half done\n"))
    follower = subprocess.Popen(
        [sys.executable, "-m", "schedmgr", "runs", "logs", "--follow", str(run_id)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout.readline() == "half done\n"
    follower.send_signal(signal.SIGINT)
    _, complaint = follower.communicate(timeout=30)
    assert (follower.returncode, complaint.strip()) == (130, "")
