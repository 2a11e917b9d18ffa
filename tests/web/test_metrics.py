"""/metrics: what Prometheus is told, at what cost, and what is left when the database does not answer."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kinds import ON_SQLITE
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from schedmgr import __version__
from schedmgr.core import processes
from schedmgr.core.definitions import Job, Schedule
from schedmgr.vocabulary import ProcessRole

NOON = datetime(2026, 10, 22, 12, 1, tzinfo=UTC)
FEED = Schedule("feed-refresh", cron="*/15 * * * *", execution_mode="ALL_JOBS", overlap="allow")
MONITORING = Path(__file__).parents[2] / "docs" / "monitoring.md"


@pytest.fixture
def feed(installation, clock):
    """A minute past noon a schedule is on, and a daemon beats."""
    clock.set_to(NOON)
    installation.sync(FEED, jobs=(Job("fetch", group="feed", command="true"),))
    installation.enable("feed-refresh")
    installation.start_daemon()
    return installation


@pytest.fixture
def scrape(browser, monotonic) -> Callable[[], dict[str, float]]:
    """What a stranger reads a second later: the samples by name, with their labels where they have some."""
    stranger = browser(None)

    def scrape() -> dict[str, float]:
        monotonic.move(1)
        answer = stranger.get("/metrics")
        assert answer.status_code == 200
        return {
            sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    return scrape


def test_what_is_well_is_told_in_numbers(feed, scrape):
    told = scrape()
    assert told[f"schedmgr_build_info version={__version__}"] == 1
    assert told["schedmgr_database_up"] == 1
    assert told["schedmgr_check_status check=daemon"] == 0
    assert told["schedmgr_daemon_up"] == 1
    assert told["schedmgr_processes role=daemon"] == 1
    assert told["schedmgr_processes role=worker"] == 0
    assert 0 <= told["schedmgr_daemon_last_beat_age_seconds"] < 30
    assert told["schedmgr_schedules_enabled"] == 1
    assert told["schedmgr_oldest_due_age_seconds"] == 0
    assert told["schedmgr_worker_places"] == 4


@ON_SQLITE  # the servers of the tests do not flush at commit, which is a warning
def test_where_nothing_is_wrong_the_verdict_is_0(feed, scrape):
    assert scrape()["schedmgr_health_status"] == 0


def test_a_daemon_that_beats_but_does_not_fire_is_told_by_how_late_it_is(feed, scrape):
    feed.beat_until(NOON + timedelta(minutes=18))
    told = scrape()
    assert (told["schedmgr_daemon_up"], told["schedmgr_schedules_overdue"]) == (1, 1)
    assert 240 <= told["schedmgr_oldest_due_age_seconds"] < 270
    assert told["schedmgr_check_status check=due"] == 1
    feed.tick()
    assert scrape()["schedmgr_oldest_due_age_seconds"] == 0


def test_a_daemon_that_is_gone_is_told_with_the_age_of_its_last_beat(feed, scrape, clock):
    clock.move(minutes=6)
    told = scrape()
    assert (told["schedmgr_daemon_up"], told["schedmgr_health_status"]) == (0, 2)
    assert 360 <= told["schedmgr_daemon_last_beat_age_seconds"] < 390


def test_where_no_daemon_has_ever_run_its_last_beat_is_left_out(installation, scrape):
    told = scrape()
    assert told["schedmgr_daemon_up"] == 0
    assert "schedmgr_daemon_last_beat_age_seconds" not in told


def test_the_queue_is_told(feed, scrape):
    feed.run_now("feed-refresh")
    feed.run_now("feed-refresh")
    feed.sql("UPDATE job_run SET status = 'RUNNING' WHERE id = 1")
    feed.beat_until(NOON + timedelta(seconds=40))
    told = scrape()
    assert (told["schedmgr_queue_waiting"], told["schedmgr_runs_running"]) == (1, 1)
    assert 35 <= told["schedmgr_queue_oldest_waiting_age_seconds"] < 60


def test_a_repair_a_pause_and_a_clock_set_back_are_told(feed, scrape, clock):
    feed.sql("UPDATE job_schedule SET next_run_at = NULL")
    feed.repair()
    feed.pause()
    told = scrape()
    assert (told["schedmgr_next_runs_repaired"], told["schedmgr_paused"], told["schedmgr_schedules_ahead"]) == (1, 1, 0)
    feed.beat_until(NOON + timedelta(minutes=90))
    feed.tick()
    clock.set_to(NOON)
    assert scrape()["schedmgr_schedules_ahead"] == 1


def test_of_several_processes_on_a_host_the_clock_that_is_furthest_off_is_told(feed, scrape):
    for offset in (-8.5, 2.0):
        other = feed.database.transact(
            lambda session: processes.register(
                session, ProcessRole.WORKER, environment="development", version="1", concurrency=1
            )
        )
        feed.sql("UPDATE process SET host = 'app-2', clock_offset = :offset WHERE id = :id", offset=offset, id=other.id)
    assert scrape()["schedmgr_clock_offset_seconds host=app-2 role=worker"] == -8.5


def test_a_database_that_cannot_be_used_is_told_and_nothing_is_made_up(feed, scrape):
    feed.sql("UPDATE alembic_version SET version_num = '0000'")
    told = scrape()
    assert (told["schedmgr_database_up"], told["schedmgr_health_status"]) == (0, 2)
    assert {name.split()[0] for name in told} == {
        "schedmgr_build_info",
        "schedmgr_database_up",
        "schedmgr_health_status",
        "schedmgr_check_status",
    }


@ON_SQLITE  # a file can be moved away
def test_a_database_that_is_away_is_told_also_to_who_carries_a_cookie(feed, operator, database_file, monotonic):
    assert "schedmgr_database_up 1.0" in operator.get("/metrics").text
    operator.client.app.state.site.database.close()
    database_file.rename(database_file.with_suffix(".away"))
    database_file.mkdir()
    monotonic.move(60)
    answer = operator.get("/metrics")
    assert answer.status_code == 200
    assert "schedmgr_database_up 0.0" in answer.text


def test_however_often_it_is_scraped_the_database_is_asked_once_a_second(feed, browser, database, monotonic):
    begun: list[object] = []
    event.listen(database._backend.reader, "begin", begun.append)
    stranger = browser(None)
    stranger.get("/metrics")
    once = len(begun)
    for _ in range(20):
        stranger.get("/metrics")
    stranger.get("/readyz")
    assert len(begun) == once
    monotonic.move(1)
    stranger.get("/metrics")
    assert len(begun) > once


def test_who_asks_for_openmetrics_gets_it(feed, browser):
    wanted = "application/openmetrics-text; version=1.0.0"
    answer = browser(None).get("/metrics", Accept=wanted)
    assert answer.headers["content-type"].startswith(wanted)
    assert "schedmgr_daemon_up" in {family.name for family in openmetrics(answer.text)}


def test_the_start_of_the_web_does_not_wait_for_the_client_library():
    script = "import sys, schedmgr.web.server; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_page_on_monitoring_lists_exactly_the_metrics_that_there_are(feed, scrape):
    listed = re.findall(r"^\| `(schedmgr_\w+)(?:\{[\w, ]+\})?` \|", MONITORING.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({name.split()[0] for name in scrape()})
