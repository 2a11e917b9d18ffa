"""A definitions file -> definitions, in a child process with a limit, whatever the file does.

The child is this same program.  It answers with one JSON text sequence (RFC 7464) on its standard output, which the
file's own code never gets hold of: what that prints goes nowhere, and the end of what it writes to standard error helps
to say what went wrong.
"""

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import NoReturn, TypeAlias

from schedmgr import resources
from schedmgr.core.definitions import JSON, Definitions, DefinitionsError, Group, Job, Problem, Schedule, WatchedFile
from schedmgr.core.problems import Place, file_problem, one_line
from schedmgr.core.sources import is_file, is_users, source_files, users_folders

Answer: TypeAlias = Mapping[str, list[dict[str, JSON]]]

LIMIT_SECONDS = 10.0
"""How long a definitions file may take to load."""

_ORPHAN_SECONDS = 120  # a child whose parent died ends itself after this
_PATIENCE = 0.05  # seconds; the end of a child whose pipes another process keeps open is noticed after this
_TAIL = 16 << 10  # bytes of standard error that are kept
_LOST_ANSWER = 74  # the child's exit code when its answer's descriptor is gone
_RECORD, _END = b"\x1e", b"\n"


def find_source(setting: str | None, cwd: Path) -> str:
    """Where the definitions stand: a path in full, or the name of a module.

    `setting` is what SCHEDMGR_DEFINITIONS says; without it, definitions.py in `cwd`, else the sample.
    """
    if setting:
        return str(cwd / Path(setting).expanduser()) if is_file(setting) else setting
    own = cwd / "definitions.py"
    return str(own if own.exists() else resources.sample_definitions())


def is_sample(source: str) -> bool:
    """Whether a source is the shipped sample, of this installation or of another."""
    return Path(source).parts[-3:] == resources.sample_definitions().parts[-3:]


def has_changed(files: Iterable[WatchedFile]) -> bool:
    """Whether one of the files is no longer as it was when it was read; one `stat` a file."""
    return any(WatchedFile.of(file.path) != file for file in files)


def load(
    source: str, *, timeout: float = LIMIT_SECONDS, is_unwanted: Callable[[], bool] = lambda: False
) -> Definitions:
    """The definitions that stand at `source`, a path or the name of a module.

    Raises DefinitionsError: for what is wrong in them, and for a file that is missing, raises, ends the process or
    takes longer than `timeout` seconds; also when they are `is_unwanted` before they are there.  Nothing that it
    started in the child's process group is left running.
    """
    try:
        child = _Child(source)
    except OSError as error:
        problem = file_problem(Place(source), f"The process that loads it could not be started: {error.strerror}.")
        raise DefinitionsError([problem], map(WatchedFile.of, source_files(source))) from error
    try:
        answer = child.answer(timeout, is_unwanted)
    finally:
        child.kill()
    if answer is None:
        raise DefinitionsError([child.failure(timeout)], child.files())
    return _definitions(source, answer)


def _definitions(source: str, answer: Answer) -> Definitions:
    files = tuple(_watched(data) for data in answer["files"])
    if answer["problems"]:
        raise DefinitionsError([Problem.from_data(data) for data in answer["problems"]], files)
    return Definitions(
        tuple(Job.from_data(data) for data in answer["jobs"]),
        tuple(Schedule.from_data(data) for data in answer["schedules"]),
        tuple(Group.from_data(data) for data in answer["groups"]),
        source,
        files,
    )


def _watched(data: Mapping[str, JSON]) -> WatchedFile:
    numbers = [data[name] for name in ("mtime_ns", "size", "inode")]
    return WatchedFile(str(data["path"]), *(number for number in numbers if isinstance(number, int)))


def child_argv(source: str) -> list[str]:
    """The command line of the child that loads `source`."""
    return resources.program_argv("load-definitions", source)


class _Child:
    """The process that imports the user's code, in a session of its own."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._process = subprocess.Popen(
            child_argv(source),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._heard, self._complaints = bytearray(), bytearray()
        self._pipes = DefaultSelector()
        for pipe, heard in ((self._process.stdout, self._heard), (self._process.stderr, self._complaints)):
            if pipe is not None:
                self._pipes.register(pipe, EVENT_READ, heard)
        self._was_late = False

    def answer(self, timeout: float, is_unwanted: Callable[[], bool]) -> Answer | None:
        """What the child answers within `timeout` seconds; None if it ended or hung without an answer."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and not self._is_answered():
            if is_unwanted():
                return None
            if time.monotonic() >= deadline:
                self._was_late = True
                self._ask_where_it_stands()
                return None
            self._listen(_PATIENCE)
        self._listen_to_the_rest()
        _, _, text = self._heard.rpartition(_RECORD)
        return json.loads(text) if self._is_answered() else None

    def kill(self) -> None:
        """End the child and all of its process group, and let go of its pipes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipes.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def failure(self, timeout: float) -> Problem:
        """Why there was no answer, with the line of the user's code if it is known."""
        place, code = self._place(), self._process.returncode
        if self._was_late:
            return file_problem(place, f"It did not finish loading within {timeout:g} s. Take out what waits there.")
        if code == _LOST_ANSWER:
            return file_problem(place, "It closed file descriptors that it had not opened. Take that out.")
        end = f"It was ended by signal {-code}" if code < 0 else f"It ended the process with exit code {code}"
        return file_problem(
            place, f"{end} while it was loaded. Take out what ends it.{'' if place.line else self._last_words()}"
        )

    def files(self) -> list[WatchedFile]:
        """What a child without an answer is known to have read."""
        place = self._place()
        return [WatchedFile.of(path) for path in {*source_files(self._source), *([place.file] if place.line else [])}]

    def _is_answered(self) -> bool:
        return self._heard.endswith(_END) and _RECORD in self._heard

    def _listen(self, seconds: float) -> bool:
        """Read what there is to read, waiting for it at most `seconds`.  False: nothing came."""
        ready = self._pipes.select(seconds)
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            if not data:
                self._pipes.unregister(key.fileobj)
            key.data.extend(data)
        del self._complaints[:-_TAIL]
        return bool(ready)

    def _listen_to_the_rest(self) -> None:
        """Read what is left in the pipes: no more than they hold, as a process left behind may write for ever."""
        for _ in range(64):
            if self._is_answered() or not self._listen(0):
                return

    def _ask_where_it_stands(self) -> None:
        """Make the hanging child write its stack to standard error, and give it a moment for that."""
        self._complaints.clear()
        os.kill(self._process.pid, signal.SIGUSR1)
        until = time.monotonic() + 0.5
        while self._place().line == 0 and time.monotonic() < until:
            self._listen(_PATIENCE)

    def _place(self) -> Place:
        """The innermost line of the user's in the stack that the child wrote, if it wrote one."""
        folders = users_folders(self._source)
        stack = re.findall(r'File "(.+?)", line (\d+) in ', self._complaints.decode(errors="replace"))
        places = [Place(file, int(line)) for file, line in stack]
        return next((place for place in places if is_users(place.file, folders)), Place(self._source))

    def _last_words(self) -> str:
        words = one_line(self._complaints.decode(errors="replace").strip().rpartition("\n")[2])
        return f" It last wrote: {words}" if words else ""


def main(arguments: Sequence[str]) -> NoReturn:
    """The child: `load-definitions SOURCE`.  It answers on what is its standard output at the start."""
    [source] = arguments
    result_fd = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    serve(source, result_fd)


def serve(source: str, result_fd: int) -> NoReturn:
    """Load `source` in this process, write the answer to `result_fd`, and end the process."""
    from schedmgr.core.reading import read_definitions

    sys.dont_write_bytecode = True  # a neighbour edited twice within a second must not be taken for its older self
    process, pipe = os.getpid(), os.fstat(result_fd)
    signal.alarm(_ORPHAN_SECONDS)
    complaints = os.dup(2)  # the file may close the other one
    faulthandler.enable(complaints, all_threads=False)
    faulthandler.register(signal.SIGUSR1, complaints, all_threads=False)
    try:
        answer = _answer(read_definitions(source))
    except DefinitionsError as error:
        answer = _answer(error)
    if os.getpid() != process:
        os._exit(0)  # a fork that came back from the file's code; the answer is not its business
    try:
        if not os.path.samestat(os.fstat(result_fd), pipe):
            os._exit(_LOST_ANSWER)
        _write(result_fd, _RECORD + json.dumps(answer).encode() + _END)
    except OSError:
        os._exit(_LOST_ANSWER)
    os._exit(0)  # without waiting for threads that the file started


def _answer(found: Definitions | DefinitionsError) -> Answer:
    problems = found.problems if isinstance(found, DefinitionsError) else ()
    answer: dict[str, list[dict[str, JSON]]] = {
        "files": [asdict(file) for file in found.files],
        "problems": [problem.as_data() for problem in problems],
    }
    if isinstance(found, Definitions):
        answer["jobs"] = [job.as_data() for job in found.jobs]
        answer["schedules"] = [schedule.as_data() for schedule in found.schedules]
        answer["groups"] = [group.as_data() for group in found.groups]
    return answer


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
