"""Processes that are started while the database is away: a machine that boots starts all of them at once."""

import pytest
from mariadb import Server, reason_to_skip

from schedmgr.database.engine import Database
from schedmgr.database.migrate import migrate


@pytest.fixture
def server(tmp_path):
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Server.make(tmp_path / "server") as server:
        database = Database(server.create("late"))
        migrate(database)
        database.close()
        yield server


@pytest.mark.parametrize("command", ["daemon", "worker", "web"])
def test_a_process_waits_for_a_database_that_is_started_after_it(command, site, server):
    server.stop()
    site.define("jobs = [Job('tidy', command='true')]\nschedules = [Schedule('s', cron='@daily', job='tidy')]")
    start = {"daemon": site.start_daemon, "worker": site.start_worker, "web": site.start_web}[command]
    process = start(ready=False, DATABASE_URL=server.url("late"))
    process.wait_for_log(f"{command} waits for the database: No database answers")
    server.start()
    process.wait_for_log(f"{command} started")
    assert "Traceback" not in process.log
