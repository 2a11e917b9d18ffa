"""The command line in this process, on a migrated database of the test's own; real processes where it matters."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schedmgr.cli import program
from schedmgr.core import attempts, locking, transitions
from schedmgr.core.attempts import OutputChunk
from schedmgr.core.locking import ClaimedRun
from schedmgr.core.transitions import Ending
from schedmgr.database.engine import Database
from schedmgr.settings import VARIABLES
from schedmgr.vocabulary import RunStatus

Command = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def said(self) -> str:
        """What a person was told about a failure, and nothing else."""
        assert self.out == ""
        return self.err.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and none of this shell's variables that the program reads."""
    for name in ("NODE_ENV", *(variable.name for variable in VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bare(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`schedmgr` in the empty working directory: no database yet.  `stdin` is what is piped into it."""

    def call(*words: str, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = program.run(words)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call


@pytest.fixture
def schedmgr(bare: Command, database_url: str, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`schedmgr` on a migrated database, the one of the fixture `installation`."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("SCHEDMGR_TEST_CLOCK", str(clock.file))
    return bare


@pytest.fixture
def process(folder: Path) -> Callable[..., Answer]:
    """`schedmgr` as a process of its own in the working directory, with variables of its own."""

    def call(*words: str, stdin: str = "", **variables: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "schedmgr", *words],
            env=dict(os.environ) | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


DEFINITIONS = """
from schedmgr import ExecutionMode, Job, Schedule

jobs = [
    Job("fetch", group="feed", command="echo fetched", description="Fetches the feeds"),
    Job("match", group="feed", command="echo matched"),
    Job("tidy", command="true"),
]
schedules = [
    Schedule("feeds", cron="*/15 * * * *", execution_mode=ExecutionMode.GROUP, job_group="feed"),
    Schedule("nightly", cron="30 2 * * *", timezone="Europe/Berlin", execution_mode=ExecutionMode.ALL_JOBS),
    Schedule("try-out", cron="* * * * *", execution_mode=ExecutionMode.JOB, job="tidy", environments=["development"]),
]
"""


@pytest.fixture
def definitions(folder: Path) -> Path:
    """A definitions file in the working directory: three jobs, three schedules, two of them for production."""
    file = folder / "definitions.py"
    file.write_text(DEFINITIONS)
    return file


@pytest.fixture
def synced(schedmgr: Command, definitions: Path) -> Command:
    """`schedmgr` on a database that holds the definitions."""
    assert schedmgr("sync").code == 0
    return schedmgr


@pytest.fixture
def at_noon(clock: Any, request: pytest.FixtureRequest) -> Command:
    """`schedmgr` on a database that holds the definitions since 2 March 2026, a minute past noon."""
    clock.set_to(datetime(2026, 3, 2, 12, 1, tzinfo=UTC))
    synced: Command = request.getfixturevalue("synced")
    return synced


class Worker:
    """What a worker writes to the tables, without running anything."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def starts_one(self) -> ClaimedRun:
        """The next waiting run begins its attempt."""
        lease = timedelta(seconds=60)
        [claimed] = self.database.transact(lambda session: locking.claim_runs(session, "worker-1", 1, lease))
        return claimed

    def prints(self, run: ClaimedRun, seq: int, *segments: tuple[str, str]) -> None:
        """Stretch `seq` of its output: stream and text each."""
        text = json.dumps([[1_700_000_000_000, stream, printed] for stream, printed in segments])
        chunk = OutputChunk(seq, 1, 0, len(text), text)
        self.database.transact(
            lambda session: attempts.store_output(session, run.id, run.attempt, [chunk], range(0), len(text), 0)
        )

    def ends(self, run: ClaimedRun, status: RunStatus = RunStatus.SUCCEEDED, exit_code: int = 0) -> None:
        """The run ends for good."""
        self.database.transact(
            lambda session: transitions.finish(
                session, run.id, run.attempt, Ending(status, session.now(), exit_code), run.lease_token
            )
        )

    def fails_once(self, run: ClaimedRun) -> None:
        """The attempt fails, and another one follows at once."""
        self.database.transact(
            lambda session: transitions.try_again(
                session,
                run.id,
                run.attempt,
                Ending(RunStatus.FAILED, session.now(), 1, "exit code 1"),
                run.lease_token,
                session.now(),
            )
        )


@pytest.fixture
def worker(database: Database) -> Worker:
    """Works on the test's database."""
    return Worker(database)
