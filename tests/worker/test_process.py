"""How an attempt of a command job starts, runs and ends."""

import os
import sys
import threading
from pathlib import Path

import pytest

from schedmgr.vocabulary import RunStatus
from schedmgr.worker.keeper import boot_seconds
from schedmgr.worker.output import Flush
from schedmgr.worker.process import Stop

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers and /proc")


def test_a_command_that_ends_with_0_succeeded(start):
    attempt = start(("true",))
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert (attempt.outcome.exit_code, attempt.outcome.error) == (0, None)


def test_another_exit_code_is_a_failure_that_names_it(start):
    attempt = start(("sh", "-c", "exit 3"))
    assert attempt.outcome.status == RunStatus.FAILED
    assert (attempt.outcome.exit_code, attempt.outcome.error) == (3, "exit code 3")


def test_a_death_by_signal_names_the_signal(start):
    attempt = start(("sh", "-c", "kill -SEGV $$"))
    assert attempt.outcome.status == RunStatus.FAILED
    assert (attempt.outcome.exit_code, attempt.outcome.error) == (None, "killed by signal SIGSEGV (11)")


def test_a_string_is_run_by_the_shell(start):
    attempt = start("printf 'b\\na\\n' | sort")
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert attempt.text == "a\nb\n"


def test_a_list_is_not_run_by_a_shell(start):
    attempt = start(("echo", "$HOME; exit 3"))
    assert attempt.outcome.exit_code == 0
    assert attempt.text == "$HOME; exit 3\n"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("no-such-command", "exit code 127: the shell did not find the command"),
        ("/", "exit code 126: the shell found the command but could not execute it"),
        ("sh -c 'kill -SEGV $$'; exit $?", "exit code 139: killed by signal SIGSEGV (11)"),
    ],
)
def test_what_a_shell_means_by_its_exit_code_is_said(start, command, error):
    assert start(command).outcome.error == error


def test_a_command_that_is_nowhere_on_the_path_is_a_sentence(start):
    attempt = start(("no-such-command", "--all"), env={"PATH": "/usr/bin:/bin"})
    assert attempt.outcome.status == RunStatus.FAILED
    assert attempt.outcome.error == "command not found: 'no-such-command' on the PATH /usr/bin:/bin"


def test_a_command_that_is_not_in_its_directory_is_a_sentence(start, tmp_path):
    attempt = start(("./match.sh",), cwd=tmp_path)
    assert attempt.outcome.error == f"command not found: './match.sh' in {tmp_path}"


def test_a_file_without_the_right_to_execute_is_a_sentence(start, tmp_path):
    (tmp_path / "match.sh").write_text("#!/bin/sh\n")
    attempt = start(("./match.sh",), cwd=tmp_path)
    assert attempt.outcome.error == f"not executable: './match.sh' in {tmp_path}; chmod +x makes it so"


def test_a_script_whose_interpreter_is_missing_is_a_sentence(start, tmp_path):
    script(tmp_path / "match.sh", "#!/no/such/shell\n")
    attempt = start(("./match.sh",), cwd=tmp_path)
    assert attempt.outcome.error == (
        "cannot start './match.sh': the interpreter that its first line names does not exist"
    )


def test_a_file_that_is_no_program_is_a_sentence(start, tmp_path):
    script(tmp_path / "match.sh", "echo no first line\n")
    attempt = start(("./match.sh",), cwd=tmp_path)
    assert attempt.outcome.error == (
        "not executable: './match.sh' is neither a program nor a script with #! in its first line"
    )


def test_a_working_directory_that_does_not_exist_is_a_sentence(start, tmp_path):
    attempt = start(("true",), cwd=tmp_path / "gone")
    assert attempt.outcome.error == f"the working directory '{tmp_path}/gone' does not exist"


def test_an_argument_that_no_system_takes_is_a_sentence(start):
    assert start(("echo", "a\0b")).outcome.error == "cannot start 'echo': embedded null byte"


def test_arguments_that_are_too_large_are_a_sentence(start):
    attempt = start(("echo", "x" * 3_000_000))
    assert attempt.outcome.error == (
        "cannot start 'echo': its arguments and environment are larger than the system allows"
    )


def test_a_command_runs_in_its_working_directory(start, tmp_path):
    attempt = start(("pwd",), cwd=tmp_path)
    assert attempt.outcome.exit_code == 0
    assert attempt.text == f"{tmp_path}\n"


def test_a_command_has_the_environment_of_its_spec_and_nothing_else(start):
    attempt = start(("/usr/bin/env",), env={"COLOUR": "grün", "BYTES": "\udcff"})
    assert attempt.outcome.exit_code == 0
    assert sorted(attempt.text.splitlines()) == ["BYTES=\\xff", "COLOUR=grün"]


def test_a_command_leads_a_session_of_its_own_and_has_an_empty_standard_input(start):
    attempt = start(
        (sys.executable, "-c", "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '')")
    )
    assert attempt.outcome.exit_code == 0
    assert attempt.text == "True True\n"


KEPT_BY_THE_C_LIBRARY = 1 << 31 | 1 << 32
"""Signals 32 and 33: whoever started us may have them ignored, and no program can change that through the library."""


@needs_proc
def test_signals_do_to_a_command_what_they_do_in_a_terminal(start):
    attempt = start(("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"))
    assert attempt.outcome.exit_code == 0
    blocked, ignored = (int(mask, 16) for mask in attempt.text.split()[1::2])
    assert (blocked, ignored & ~KEPT_BY_THE_C_LIBRARY) == (0, 0)


def test_a_timeout_sends_term_first(start):
    attempt = start("trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.05; done", timeout=1)
    assert attempt.outcome.status == RunStatus.TIMED_OUT
    assert attempt.outcome.error == "timed out after 1 s"
    assert "ending" in attempt.text


def test_what_ignores_the_term_of_its_timeout_is_killed(start):
    attempt = start("trap '' TERM; while :; do sleep 0.05; done", timeout=0.2, kill_grace=0.2)
    assert attempt.outcome.status == RunStatus.TIMED_OUT
    assert attempt.outcome.exit_code is None


def test_a_timeout_ends_what_a_pipeline_started_too(start, lives):
    attempt = start("sh -c 'echo $$; trap \"\" TERM; while :; do sleep 0.05; done' | cat", timeout=1, kill_grace=0.2)
    assert attempt.outcome.status == RunStatus.TIMED_OUT
    assert not lives(int(attempt.text))


def test_a_cancelled_command_is_cancelled_even_if_it_then_ends_with_0(start, until):
    attempt = start("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: attempt.says("ready"))
    attempt.execution.stop(Stop.CANCEL)
    assert attempt.outcome.status == RunStatus.CANCELLED
    assert (attempt.outcome.exit_code, attempt.outcome.error) == (0, "cancelled while it ran")


def test_what_ignores_a_cancel_is_killed_after_the_grace(start, until):
    attempt = start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: attempt.says("ready"))
    attempt.execution.stop(Stop.CANCEL, grace=0.2)
    assert attempt.outcome.status == RunStatus.CANCELLED


def test_a_second_stop_may_hurry_the_first(start, until):
    attempt = start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: attempt.says("ready"))
    attempt.execution.stop(Stop.CANCEL, grace=1000)
    attempt.execution.stop(Stop.SHUTDOWN, grace=0)
    assert attempt.outcome.status == RunStatus.CANCELLED


def test_what_is_stopped_feels_a_cancel_too(start, until):
    attempt = start("trap 'echo ending; exit 0' TERM; echo ready; kill -STOP $$; sleep 1000")
    until(lambda: attempt.says("ready"))
    attempt.execution.stop(Stop.CANCEL, grace=1000)
    assert attempt.outcome.exit_code == 0
    assert "ending" in attempt.text


def test_a_worker_that_stops_leaves_the_attempt_lost(start):
    attempt = start(("sleep", "1000"))
    attempt.execution.stop(Stop.SHUTDOWN)
    assert attempt.outcome.status == RunStatus.LOST
    assert attempt.outcome.error == "ended because its worker was told to stop"


def test_a_stop_after_the_end_changes_nothing(start):
    attempt = start(("true",))
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    attempt.execution.stop(Stop.CANCEL)
    assert attempt.outcome.status == RunStatus.SUCCEEDED


@needs_proc
def test_a_daemon_that_a_command_leaves_behind_ends_with_it(start, daemonising, lives):
    attempt = start(daemonising.command(then="exit 0"))
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert not lives(daemonising.pid)


@needs_proc
def test_a_cancel_reaches_a_daemon_that_a_command_started(start, daemonising, until, lives):
    attempt = start(daemonising.command(then="echo ready; sleep 1000"))
    until(lambda: attempt.says("ready"))
    assert lives(daemonising.pid)
    attempt.execution.stop(Stop.CANCEL)
    assert attempt.outcome.status == RunStatus.CANCELLED
    assert not lives(daemonising.pid)


def test_the_last_words_of_what_outlives_the_leader_for_a_moment_are_kept(start):
    attempt = start("(sleep 0.1; echo afterword) & echo word")
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert attempt.text == "word\nafterword\n"


@needs_proc
def test_somebody_outside_who_holds_the_output_does_not_hold_up_the_end(start, until):
    attempt = start("echo ready; sleep 1000")
    until(lambda: attempt.says("ready"))
    with Path(f"/proc/{attempt.execution.pid}/fd/1").open("wb"):
        attempt.execution.stop(Stop.CANCEL)
        assert attempt.outcome.status == RunStatus.CANCELLED


def test_a_lease_that_is_not_renewed_ends_the_attempt(start, lives):
    attempt = start("trap '' TERM; echo $$; while :; do sleep 0.05; done", lease=1)
    assert attempt.outcome.status == RunStatus.LOST
    assert attempt.outcome.error == "ended because its worker could not renew its lease in time"
    assert not lives(int(attempt.text))


def test_a_renewed_lease_lets_the_attempt_go_on(start, until, tmp_path):
    attempt = start("while [ ! -e go ]; do sleep 0.01; done", cwd=tmp_path, lease=1)
    first_deadline = attempt.execution.spec.deadline
    attempt.execution.renew(first_deadline + 60)
    until(lambda: boot_seconds() > first_deadline + 0.1)
    (tmp_path / "go").touch()
    assert attempt.outcome.status == RunStatus.SUCCEEDED


def test_a_lease_that_has_already_lapsed_starts_nothing(start, tmp_path):
    attempt = start(("touch", "started"), cwd=tmp_path, lease=0)
    assert attempt.outcome.status == RunStatus.LOST
    assert not (tmp_path / "started").exists()


def test_twenty_attempts_run_at_once(start, tmp_path):
    meet = f'touch "$NAME"; while [ $(ls {tmp_path} | wc -l) -lt 20 ]; do sleep 0.05; done'
    attempts = [start(meet, cwd=tmp_path, env={**os.environ, "NAME": f"{n}"}) for n in range(20)]
    assert [attempt.outcome.status for attempt in attempts] == [RunStatus.SUCCEEDED] * 20


def test_the_end_is_told_once_after_the_last_of_the_output(start):
    attempt = start("echo first; echo last")
    assert attempt.ends == [attempt.outcome]
    assert attempt.text == "first\nlast\n"


def test_output_arrives_while_the_command_runs(start, until, tmp_path):
    attempt = start("echo one; while [ ! -e go ]; do sleep 0.01; done; printf two", cwd=tmp_path)
    until(lambda: attempt.says("one"))
    (tmp_path / "go").touch()
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert attempt.text == "one\ntwo"


def test_both_streams_are_kept_apart_and_in_order(start, until, tmp_path):
    said_then_seen = (
        "say() { echo $1 >&$2; while [ ! -e $1 ]; do sleep 0.01; done; }; say a 1; say b 2; say c 1; say d 2"
    )
    attempt = start(said_then_seen, cwd=tmp_path)
    seen_by(attempt, until, tmp_path, "abcd")
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert attempt.rows.streams == [("out", "a\n"), ("err", "b\n"), ("out", "c\n"), ("err", "d\n")]


def test_fifty_megabytes_are_bounded_and_the_job_never_waits(start):
    attempt = start("echo first; yes 'a line of some length' | head -c 50000000; echo; echo last")
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert attempt.rows.total_bytes == 50_000_000 + len("first\n\nlast\n")
    assert attempt.rows.most_text <= 1024 * 1024
    assert attempt.text.startswith("first\na line") and attempt.text.endswith("\nlast\n")


def test_a_sink_that_hangs_holds_up_neither_its_job_nor_another(start, until, tmp_path):
    sink = HangingSink()
    attempt = start("yes | head -c 5000000; touch done", cwd=tmp_path, sink=sink)
    until((tmp_path / "done").exists)
    assert start(("echo", "meanwhile")).outcome.status == RunStatus.SUCCEEDED
    sink.goes_on.set()
    assert attempt.outcome.status == RunStatus.SUCCEEDED
    assert sink.total == 5_000_000


def test_a_job_that_cuts_its_own_output_off_runs_on(start):
    attempt = start("echo before; exec >&- 2>&-; sleep 0.2; exit 4")
    assert attempt.outcome.exit_code == 4
    assert attempt.text == "before\n"


class HangingSink:
    """Like a database that does not answer."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.total = 0

    def write(self, flush: Flush) -> None:
        self.goes_on.wait()
        self.total = flush.total_bytes


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def seen_by(attempt, until, directory, names):
    for name in names:
        until(lambda name=name: attempt.says(f"{name}\n"))
        (directory / name).touch()
