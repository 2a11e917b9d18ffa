"""The command line in this process, on a migrated database of the test's own; real processes where it matters."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schedmgr.cli import program
from schedmgr.settings import VARIABLES

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
def schedmgr(bare: Command, database_file: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`schedmgr` on a migrated database, the one of the fixture `installation`."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{database_file}")
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
