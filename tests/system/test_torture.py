"""The short form of `make torture`: a minute of storm over real processes, and accounts in which nothing is wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mariadb
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # seconds; it takes 80 to 90 where it has two cores to itself
SEED = 1

needs_mariadb = pytest.mark.skipif(bool(mariadb.reason_to_skip()), reason=mariadb.reason_to_skip() or "")


@pytest.fixture
def start_torture(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts one; it ends what it started when it is asked to stop."""
    started: list[subprocess.Popen[str]] = []

    def start(database: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "torture", "--seed", str(SEED), "--database", database],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": "tests:tests/support", "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for torture in started:
        torture.send_signal(signal.SIGTERM)
        torture.communicate(timeout=60)


@pytest.mark.timeout(PATIENCE + 90)
@pytest.mark.parametrize("database", ["sqlite", pytest.param("mariadb", marks=needs_mariadb)])
def test_a_minute_of_storm_leaves_every_occurrence_accounted_for_and_no_job_run_twice(start_torture, database):
    torture = start_torture(database)
    findings, _ = torture.communicate(timeout=PATIENCE)
    assert torture.returncode == 0, findings
    assert findings.rstrip().splitlines()[-2].startswith("RIGHT"), findings
