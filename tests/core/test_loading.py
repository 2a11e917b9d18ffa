"""Loading a definitions file in a child process: what it can do, it can do to nobody but itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schedmgr import resources
from schedmgr.core.definitions import Definitions, DefinitionsError, WatchedFile
from schedmgr.core.loading import child_argv, find_source, has_changed, load
from schedmgr.core.sources import import_source

SOUND = """
from schedmgr import ExecutionMode, Job, Schedule, job
jobs = [Job("refresh", group="feed", command=["true"])]
schedules = [Schedule("nightly", cron="0 2 * * *", execution_mode=ExecutionMode.ALL_JOBS)]
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file of a project, which is the working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str, name: str = "definitions.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return to_file


def failure(source: Path | str, timeout: float = 10.0) -> DefinitionsError:
    with pytest.raises(DefinitionsError) as raised:
        load(str(source), timeout=timeout)
    return raised.value


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


# What is loaded


def test_a_sound_file_becomes_definitions(write: Write):
    path = write(SOUND)
    loaded = load(str(path))
    assert [job.name for job in loaded.jobs] == ["refresh"]
    assert [schedule.id for schedule in loaded.schedules] == ["nightly"]
    assert loaded.source == str(path)
    assert loaded == load(str(path))


def test_decorated_jobs_come_after_the_listed_ones_and_are_addressed_in_the_definitions(write: Write):
    path = write(SOUND + '@job(group="sync")\ndef sync_accounts() -> None: ...\n', "prod-jobs.py")
    loaded = load(str(path))
    assert [(job.name, job.call) for job in loaded.jobs][1:] == [("sync-accounts", "definitions:sync_accounts")]


def test_decorated_jobs_of_a_neighbour_need_not_be_imported_by_name(write: Write):
    write("from schedmgr import job\n@job()\ndef warm() -> None: ...\n", "neighbour.py")
    loaded = load(str(write(SOUND + "import neighbour\n")))
    assert [job.call for job in loaded.jobs][1:] == ["neighbour:warm"]


def test_a_module_is_loaded_from_the_working_directory(write: Write):
    write("", "company/__init__.py")
    write(SOUND + "@job()\ndef warm() -> None: ...\n", "company/plans.py")
    loaded = load("company.plans")
    assert loaded.source == "company.plans"
    assert [job.call for job in loaded.jobs][1:] == ["company.plans:warm"]


def test_a_neighbour_that_imports_the_file_by_its_name_gets_the_same_module(write: Write):
    write("import plans\n", "neighbour.py")
    loaded = load(str(write(SOUND + "import neighbour\n@job()\ndef warm() -> None: ...\n", "plans.py")))
    assert len(loaded.jobs) == 2


@pytest.mark.parametrize("name", ["queue", "json", "random", "schedmgr"])
def test_a_neighbour_named_like_a_module_that_we_need_does_no_harm(write: Write, name: str):
    write("raise RuntimeError('taken for the other one')\n", f"{name}.py")
    assert load(str(write(SOUND))).jobs


def test_a_file_may_itself_be_named_like_a_module_of_python(write: Write):
    assert load(str(write(SOUND, "calendar.py"))).jobs


def test_a_function_is_found_again_by_its_address(write: Write):
    path = write(SOUND + "@job()\ndef warm() -> str:\n    return 'warm'\n", "plans.py")
    call = load(str(path)).jobs[1].call
    code = (
        "import sys; from schedmgr.core.sources import import_source; import_source(sys.argv[1]);"
        "module, _, name = sys.argv[2].partition(':'); print(getattr(sys.modules[module], name)())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(path), str(call)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "warm\n"
    assert import_source.__doc__


def test_what_a_file_prints_goes_nowhere(write: Write, capfd: pytest.CaptureFixture[str]):
    prints = 'import os, sys, subprocess\nprint("out")\nprint("err", file=sys.stderr)\nos.write(1, b"raw")\n'
    path = write(prints + 'subprocess.run(["echo", "child"])\n' + SOUND)
    assert load(str(path)).jobs
    assert capfd.readouterr() == ("", "")


def test_a_hundred_megabytes_of_output_are_no_reason_to_fail(write: Write):
    flood = 'import os\nfor _ in range(1600):\n    os.write(1, b"x" * 65536)\n    os.write(2, b"y" * 4096)\n'
    assert load(str(write(flood + SOUND))).jobs


@pytest.fixture
def typed_input() -> Iterator[None]:
    """Something waits on our standard input."""
    before, (readable, writable) = os.dup(0), os.pipe()
    os.write(writable, b"typed")
    os.close(writable)
    os.dup2(readable, 0)
    yield
    os.dup2(before, 0)


@pytest.mark.usefixtures("typed_input")
def test_a_file_reads_nothing_of_our_standard_input(write: Write):
    assert load(str(write("import sys\nassert sys.stdin.read() == ''\n" + SOUND))).jobs


def test_what_a_file_prints_is_never_taken_for_the_answer(write: Write):
    forged = 'import os\nos.write(1, b\'\\x1e{"files": [], "problems": [], "jobs": []}\\n\')\n'
    assert load(str(write(forged + SOUND))).jobs


def test_a_file_leaves_no_bytecode_beside_it(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    write("", "neighbour.py")
    load(str(write(SOUND + "import neighbour\n")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["definitions.py", "neighbour.py"]


def test_thousands_of_definitions_are_loaded_whole(write: Write):
    many = (
        'jobs += [Job(f"j{n}", command=["x" * 100]) for n in range(2000)]\n'
        'schedules += [Schedule(f"s{n}", cron="H * * * *", execution_mode="JOB", job=f"j{n}") for n in range(2000)]\n'
    )
    loaded = load(str(write(SOUND + many)))
    assert (len(loaded.jobs), len(loaded.schedules)) == (2001, 2001)


# What goes wrong


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n\n1 / 0\n", "definitions.py:3: It raised ZeroDivisionError: division by zero while it was loaded."),
        (
            "def f():\n    raise ValueError('no\\nline')\nf()\n",
            "definitions.py:2: It raised ValueError: no line while it was loaded.",
        ),
        ("import json\njson.loads('{')\n", "definitions.py:2: It raised JSONDecodeError: "),
        ("raise KeyboardInterrupt\n", "definitions.py:1: It raised KeyboardInterrupt while it was loaded."),
        ("def f(): f()\nf()\n", "definitions.py:1: It raised RecursionError: "),
        ("jobs = [\n", "definitions.py:1: It is not valid Python: '[' was never closed."),
        ("x = '\0'\n", "definitions.py: It is not valid Python: source code string cannot contain null bytes."),
        ("import nowhere\n", "definitions.py:1: It raised ModuleNotFoundError: No module named 'nowhere' while"),
        (
            "import sys\n\nsys.exit('bye')\n",
            "definitions.py:3: sys.exit 'bye': It ended the program while it was loaded.",
        ),
        ("import os\nos._exit(0)\n", "definitions.py: It ended the process with exit code 0 while it was loaded."),
        (
            "import os\nos.write(2, b'no disk')\nos._exit(3)\n",
            "definitions.py: It ended the process with exit code 3 while it was loaded. Take out what ends it. "
            "It last wrote: no disk",
        ),
        ("import os\nos.kill(os.getpid(), 9)\n", "definitions.py: It was ended by signal 9 while it was loaded."),
        ("import ctypes\nctypes.string_at(0)\n", "definitions.py:2: It was ended by signal 11 while it was loaded."),
        ("import os\nos.closerange(3, 999)\n" + SOUND, "definitions.py: It closed file descriptors"),
        ("import os\nos.closerange(0, 999)\n" + SOUND, "definitions.py: It closed file descriptors"),
        (
            "import os\nos.closerange(3, 999)\nkept = [open('mine', 'w') for _ in range(20)]\n" + SOUND,
            "definitions.py: It closed file descriptors",
        ),
        (SOUND.replace("jobs =", "job_list ="), "definitions.py: The file has no job. Write jobs = [Job(...)]"),
        (SOUND + "jobs = 5\n", "definitions.py: jobs 5: Write a list: jobs = [Job(...), ...]."),
        (SOUND + "jobs.append('refresh')\n", "definitions.py: jobs[1] 'refresh': Only Job(...) belongs here."),
        (
            SOUND + "jobs += schedules\n",
            "definitions.py:4: schedule 'nightly': It stands in jobs; move it to schedules.",
        ),
        (SOUND + "schedules = []\n", "definitions.py: The file has no schedule."),
        (
            SOUND + "jobs.append(Job('a', call='definitions:synk'))\ndef sync() -> None: ...\n",
            "definitions.py:5: job 'a': call 'definitions:synk': Module 'definitions' has no such function. "
            "Did you mean 'sync'?",
        ),
    ],
)
def test_every_way_to_fail_is_a_problem_with_its_place(write: Write, text: str, sentence: str):
    error = failure(write(text))
    assert str(error.problems[0]).startswith(sentence)
    assert len(error.problems) == 1


def test_mistakes_of_the_file_and_of_its_neighbours_are_told_together(write: Write):
    write("from schedmgr import Job\nmore = [Job('B', command='x')]\n", "neighbour.py")
    error = failure(
        write(SOUND + "import neighbour\njobs += neighbour.more\njobs.append(Job('a', command='x', retries=-1))\n")
    )
    assert [(problem.file, problem.line) for problem in error.problems] == [("definitions.py", 7), ("neighbour.py", 2)]


def test_a_list_with_another_name_is_suggested(write: Write):
    error = failure(write(SOUND.replace("jobs =", "job =")))
    assert str(error).endswith("Did you mean 'job'?")


@pytest.mark.parametrize("source", ["missing.py", "sub/missing.py", "missing", "no.such.module", "folder.py"])
def test_a_source_that_is_not_there_is_a_problem(write: Write, source: str, tmp_path: Path):
    write("", "folder.py/x")
    error = failure(source)
    assert "Set SCHEDMGR_DEFINITIONS to a file" in str(error)
    assert not has_changed(error.files)


def test_a_file_that_hangs_is_stopped_at_the_limit_and_told_with_its_line(write: Write):
    path = write("import time\n\ndef wait():\n    time.sleep(60)\n\nwait()\n")
    begun = time.monotonic()
    error = failure(path, timeout=0.7)
    assert str(error) == "definitions.py:4: It did not finish loading within 0.7 s. Take out what waits there."
    assert time.monotonic() - begun < 3


def test_a_file_that_ignores_signals_and_floods_its_errors_is_stopped_all_the_same(write: Write):
    path = write(
        "import signal, os\nfor n in range(1, 32):\n    n in (9, 19) or signal.signal(n, signal.SIG_IGN)\n"
        "while True:\n    os.write(2, b'x' * 65536)\n"
    )
    assert "did not finish loading within 0.7 s" in str(failure(path, timeout=0.7))


def test_nothing_that_a_hanging_file_started_is_left(write: Write, tmp_path: Path):
    path = write(
        "import os, subprocess\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "fork = os.fork() or os.execlp('sleep', 'sleep', '60')\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid} {fork}')\n"
        "child.wait()\n"
    )
    failure(path, timeout=0.7)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert wait_until(lambda: not any(map(is_running, pids)))


def test_a_process_left_behind_with_our_pipes_delays_nothing(write: Write, tmp_path: Path):
    path = write(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n" + SOUND
    )
    begun = time.monotonic()
    assert load(str(path)).jobs
    assert time.monotonic() - begun < 5
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_fork_that_comes_back_from_the_file_does_not_answer_for_it(write: Write):
    fork = "import os\nfork = os.fork()\nif fork == 0:\n    jobs = schedules = 5\nelse:\n    os.waitpid(fork, 0)\n"
    assert load(str(write(fork + _indented(SOUND)))).jobs


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def test_a_thread_that_goes_on_does_not_keep_the_child(write: Write):
    path = write("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + SOUND)
    begun = time.monotonic()
    assert load(str(path)).jobs
    assert time.monotonic() - begun < 5


# Which file


def test_a_source_is_the_setting_else_the_file_in_the_working_directory_else_the_sample(tmp_path: Path):
    sample = str(resources.sample_definitions())
    assert find_source(None, tmp_path) == find_source("", tmp_path) == sample
    (tmp_path / "definitions.py").touch()
    assert find_source(None, tmp_path) == str(tmp_path / "definitions.py")
    assert find_source("jobs/prod.py", tmp_path) == str(tmp_path / "jobs/prod.py")
    assert find_source("/etc/prod.py", tmp_path) == "/etc/prod.py"
    assert find_source("company.plans", tmp_path) == "company.plans"


def test_the_child_is_this_program_without_the_working_directory_in_its_path():
    assert child_argv("x.py") == [sys.executable, "-P", "-m", "schedmgr", "load-definitions", "x.py"]


def test_the_child_of_the_executable_is_the_executable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert child_argv("x.py") == [sys.executable, "load-definitions", "x.py"]


# What is watched


def watched(loaded: Definitions | DefinitionsError) -> list[str]:
    return [Path(file.path).name for file in loaded.files]


def test_the_file_and_what_it_imported_of_the_user_s_are_watched(write: Write):
    write("", "neighbour.py")
    write("", ".venv/lib/python3.11/site-packages/installed.py")
    path = write(
        "import sys\nsys.path.append('.venv/lib/python3.11/site-packages')\nimport installed, neighbour, csv\n" + SOUND
    )
    assert watched(load(str(path))) == ["definitions.py", "neighbour.py"]


@pytest.mark.parametrize("name", ["definitions.py", "neighbour.py"])
def test_an_edit_a_touch_or_a_loss_of_a_watched_file_is_a_change(write: Write, name: str):
    write("x = 1\n", "neighbour.py")
    files = load(str(write(SOUND + "import neighbour\n"))).files
    path = Path(name)
    assert not has_changed(files)
    before = path.stat()
    path.write_text(path.read_text().replace("1", "2").replace("nightly", "daily12"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert has_changed(files)
    path.unlink()
    assert has_changed(files)


def test_a_release_that_is_switched_in_by_a_link_is_a_change(write: Write, tmp_path: Path):
    releases = [write(SOUND, f"{name}/definitions.py") for name in ("one", "two")]
    for path in releases:
        os.utime(path, ns=(0, 0))  # as in an image whose files all have the same time
    (tmp_path / "current").symlink_to("one")
    files = load(str(tmp_path / "current/definitions.py")).files
    assert not has_changed(files)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("two")
    assert has_changed(files)


@pytest.mark.parametrize("text", ["1 / 0\n", "jobs = [\n", "import gone\n"])
def test_after_a_failure_in_a_neighbour_mending_it_is_a_change(write: Write, text: str):
    write(text, "neighbour.py")
    error = failure(write("import neighbour\n" + SOUND))
    assert "neighbour.py" in watched(error)
    assert not has_changed(error.files)
    write("x = 1\n", "neighbour.py")
    assert has_changed(error.files)


def test_after_a_missing_module_its_appearance_is_a_change(write: Write):
    error = failure(write("import gone\n" + SOUND))
    write("", "gone.py")
    assert has_changed(error.files)


def test_after_a_hang_in_a_neighbour_mending_it_is_a_change(write: Write):
    write("import time\ntime.sleep(60)\n", "neighbour.py")
    error = failure(write("import neighbour\n" + SOUND), timeout=0.7)
    assert not has_changed(error.files)
    write("x = 1\n", "neighbour.py")
    assert has_changed(error.files)


def test_a_module_written_while_it_is_imported_counts_as_changed(write: Write):
    path = write("open('neighbour.py', 'w').write('x = 1')\nimport neighbour\n" + SOUND)
    assert has_changed(load(str(path)).files)


def test_an_edit_of_the_same_length_within_the_same_second_is_seen_by_the_next_load(write: Write):
    path = write(SOUND)
    load(str(path))
    path.write_text(SOUND.replace("nightly", "daily12"))
    assert [schedule.id for schedule in load(str(path)).schedules] == ["daily12"]


def test_a_file_that_is_not_there_can_be_watched(tmp_path: Path):
    file = WatchedFile.of(tmp_path / "later.py")
    assert not has_changed([file])
    (tmp_path / "later.py").touch()
    assert has_changed([file])
