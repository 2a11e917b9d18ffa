"""The daemon's loop in a thread, with a database that is away for a while."""

import logging
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from kinds import ON_MARIADB, ON_SQLITE
from sqlalchemy import select

from schedmgr.core import loading, processes, sync
from schedmgr.core.definitions import Schedule
from schedmgr.daemon.loop import Daemon, DaemonOptions
from schedmgr.database.models import Process

PATIENCE = 30.0  # seconds


@pytest.fixture
def impatient(monkeypatch):
    """Writers give up after a moment instead of five seconds."""
    monkeypatch.setattr("schedmgr.database.sqlite.BUSY_TIMEOUT", 0.02)


@pytest.fixture
def looping(impatient, open_database, tmp_path):
    """A daemon that has begun, and runs in a thread from the call on."""
    (tmp_path / "definitions.py").write_text(
        "from schedmgr import Job, Schedule\n"
        "jobs = [Job('tidy', command='true')]\n"
        "schedules = [Schedule('feeds', cron='@daily', execution_mode='ALL_JOBS')]\n"
    )
    options = DaemonOptions(
        environment="development",
        version="1",
        definitions=None,
        directory=tmp_path,
        poll_interval=timedelta(seconds=0.2),
        lease_seconds=60,
        concurrency=0,
        retention=timedelta(days=90),
    )
    daemon = Daemon(open_database(), options)
    stop = threading.Event()
    daemon.begin(lambda: None, stop)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    yield thread.start
    stop.set()
    thread.join()
    daemon.end()


def wait_until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        threading.Event().wait(0.02)


def test_what_is_wrong_with_the_definitions_is_still_told_after_a_silence(looping, database, clock, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "definitions.py").write_text("jobs = [\n")
    looping()
    wait_until(lambda: "definitions invalid" in caplog.text)
    clock.move(minutes=2)
    wait_until(lambda: "daemon started" in caplog.text)  # anew: at its first start the test did not listen yet
    with database.read() as session:
        newest = select(Process.definitions_errors).order_by(Process.started_at.desc()).limit(1)
        assert "not valid Python" in str(session.scalar(newest))


@ON_SQLITE  # one writer keeps all others waiting
def test_definitions_that_could_not_be_written_are_written_once_the_database_is_back(
    looping, installation, open_database, caplog
):
    caplog.set_level(logging.DEBUG, "schedmgr.daemon.loop")
    with open_database().write():
        looping()
        wait_until(lambda: "Loaded 1 schedule definitions" in caplog.text)
        seen = caplog.text.count("waits for the database")
        wait_until(lambda: caplog.text.count("waits for the database") > seen)
    wait_until(lambda: installation.schedules() == ["feeds"])


def test_a_table_that_is_away_for_a_while_as_in_a_restore_does_not_end_the_loop(
    looping, installation, tmp_path, caplog
):
    looping()
    wait_until(lambda: installation.schedules() == ["feeds"])
    installation.sql("ALTER TABLE job_schedule RENAME TO away")
    wait_until(lambda: "daemon step failed" in caplog.text)
    installation.sql("ALTER TABLE away RENAME TO job_schedule")
    definitions = (tmp_path / "definitions.py").read_text()
    (tmp_path / "definitions.py").write_text(definitions.replace("'feeds'", "'digest'"))
    wait_until(lambda: "digest" in installation.schedules())


@ON_MARIADB  # rows are locked one by one
def test_old_definitions_do_not_come_back_through_a_daemon_that_starts_while_newer_ones_are_put_into_force(
    looping, installation, open_database, mariadb_server, tmp_path, caplog
):
    old = loading.load(str(tmp_path / "definitions.py"))
    new = replace(old, schedules=(Schedule("digest", cron="@daily", execution_mode="ALL_JOBS"),))
    database = open_database()
    database.transact(lambda session: sync.sync(session, old, "development", by="ann"))
    newer = installation.start_daemon()
    database.transact(lambda session: processes.hold_definitions(session, newer, new, session.now()))
    with database.write() as deploying:
        sync.sync(deploying, new, "development", by="ann")
        looping()
        wait_until(lambda: somebody_waits_for_a_row(mariadb_server))
    wait_until(lambda: "definitions not written: newer ones are in force" in caplog.text)
    assert installation.schedule("digest").archived_at is None


def somebody_waits_for_a_row(server):
    threading.Event().wait(0.2)  # asked more often, a server gives its old answer
    return server.query("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") != []
