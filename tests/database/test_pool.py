"""The worker's pool with a real guard, and a database that is away when a job ends.

The way in which the database is kept away here is SQLite's.
"""

import os
import threading
import time

import pytest
from kinds import ON_SQLITE

from schedmgr.core import actions
from schedmgr.core.definitions import Job, Schedule
from schedmgr.vocabulary import RunStatus
from schedmgr.worker.pool import Pool, PoolOptions

PATIENCE = 30.0  # seconds


def wait_until(condition, what):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"not in time: {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def pool(monkeypatch, open_database):
    """A pool whose writers give up after a moment instead of five seconds."""
    monkeypatch.setattr("schedmgr.database.sqlite.BUSY_TIMEOUT", 0.02)
    pool = Pool(open_database(), PoolOptions(1, 60, 30), process_id=lambda: "w1", environ=os.environ)
    pool.start()
    yield pool
    pool.hurry()
    pool.stop()


@pytest.fixture
def running(pool, installation, tmp_path):
    """A run that ends when `go` exists, and says `done` then."""
    command = f"while ! test -e {tmp_path}/go; do sleep 0.02; done; echo done; touch {tmp_path}/done"
    installation.sync(Schedule("s", cron="@daily", execution_mode="ALL_JOBS"), jobs=[Job("work", command=command)])
    run_id = installation.database.transact(lambda session: actions.run_job(session, "work", installation.person))
    pool.wake()
    wait_until(lambda: installation.runs()[0].status is RunStatus.RUNNING, "the run is running")
    return run_id


@ON_SQLITE
def test_an_end_is_recorded_once_the_database_is_back(running, installation, open_database, tmp_path, caplog):
    with open_database().write():
        (tmp_path / "go").touch()
        wait_until((tmp_path / "done").exists, "the job is done")
        wait_until(lambda: "waits for the database" in caplog.text, "the end could not be recorded")
    wait_until(lambda: installation.runs()[0].status is RunStatus.SUCCEEDED, "the end is recorded")


@ON_SQLITE
def test_a_worker_that_is_hurried_ends_although_the_database_is_away(pool, running, open_database, tmp_path, caplog):
    stopping = threading.Thread(target=pool.stop)
    with open_database().write():
        (tmp_path / "go").touch()
        wait_until(lambda: "waits for the database" in caplog.text, "the end could not be recorded")
        pool.hurry()
        stopping.start()
        wait_until(lambda: not stopping.is_alive(), "the worker has ended")


@ON_SQLITE
def test_a_run_whose_end_cannot_be_recorded_keeps_no_place_and_no_lease(pool, running, installation, tmp_path, caplog):
    installation.sql("CREATE TRIGGER refuse BEFORE UPDATE OF status ON job_run BEGIN SELECT RAISE(ABORT, 'no'); END")
    (tmp_path / "go").touch()
    wait_until(lambda: "end not recorded" in caplog.text, "the end is refused")
    installation.sql("DROP TRIGGER refuse")
    installation.database.transact(lambda session: actions.run_job(session, "work", installation.person))
    pool.wake()
    wait_until(lambda: installation.runs()[1].status is RunStatus.SUCCEEDED, "the next run has the place")
    assert installation.runs()[0].status is RunStatus.RUNNING
