"""The notices of what stands still although processes beat."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core import processes
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.queries import snapshot as snapshots
from schedmgr.database.server import Server, Unflushed
from schedmgr.vocabulary import ProcessRole
from schedmgr.web import banners
from schedmgr.web.live import Reading

NOON = datetime(2026, 10, 22, 12, 1, tzinfo=UTC)
FEED = Schedule("feed-refresh", cron="*/15 * * * *", execution_mode="ALL_JOBS")


@pytest.fixture
def feed(installation, clock):
    """A minute past noon a schedule is on, and a daemon beats."""
    clock.set_to(NOON)
    installation.sync(FEED, jobs=(Job("fetch", group="feed", command="true"),))
    installation.enable("feed-refresh")
    installation.start_daemon()
    return installation


@pytest.fixture
def shown(feed):
    """The notices of this moment, by key; `changes` are what the server would say of itself."""

    def shown(**changes):
        with feed.database.read() as session:
            snapshot = snapshots.read(session)
        snapshot = replace(snapshot, vitals=replace(snapshot.vitals, **changes))
        found = banners.banners(Reading(snapshot, 1, 0.0, is_old=False), "development", can_act=True)
        return {banner.key: banner for banner in found}

    return shown


def words(banner) -> str:
    return f"{banner.title}. {banner.text}"


def test_a_clock_that_was_set_back_silences_schedules_until_it_catches_up(feed, shown, clock):
    feed.beat_until(NOON + timedelta(minutes=90))
    feed.tick()
    clock.set_to(NOON)
    feed.start_daemon()
    banner = shown()["clock-set-back"]
    assert banner.title == (
        "The database's clock was set back. 1 schedule is silent until Thu 22 Oct 13:31 UTC at most"
    )
    clock.set_to(NOON + timedelta(minutes=90))
    assert "clock-set-back" not in shown()


def test_a_daemon_that_does_not_fire_is_told_although_the_stored_next_run_hides_it(feed, shown):
    feed.sql("UPDATE job_schedule SET next_run_at = NULL")
    feed.beat_until(NOON + timedelta(minutes=16))
    assert "The oldest due run, feed-refresh, was due 2026-10-22T12:15:00Z." in words(shown()["not-firing"])


def test_once_it_fires_again_nothing_is_said_of_it_any_more(feed, clock):
    feed.beat_until(NOON + timedelta(minutes=16))
    with feed.database.read() as session:
        before = snapshots.read(session)
    feed.tick()
    clock.move(seconds=1)
    with feed.database.read() as session:
        after = snapshots.read(session, before)
    assert before.vitals.oldest_due is not None
    assert after.vitals.oldest_due is None


def test_a_schedule_that_nothing_can_say_the_times_of(feed, shown):
    feed.sql("UPDATE job_schedule SET cron = '61 * * * *', next_run_at = NULL")
    assert "feed-refresh is on and never fires" in words(shown()["undecidable"])


def test_runs_of_a_group_that_no_worker_takes(feed, shown):
    feed.run_now("feed-refresh")
    feed.beat_until(NOON + timedelta(seconds=70))
    assert shown()["untaken"].title == "Runs of the group feed wait although places are free"


def test_a_worker_that_fell_silent(feed, shown, clock):
    feed.database.transact(
        lambda session: processes.register(
            session, ProcessRole.WORKER, environment="development", version="1", concurrency=2
        )
    )
    feed.beat_until(NOON + timedelta(minutes=2))
    (key,) = [key for key in shown() if key.startswith("stale-")]
    assert re.match(r"The worker on \S+ stopped beating 2026-10-22T12:01:0", shown()[key].title)


def test_a_worker_on_its_own_counts_as_one_on_every_page(feed, operator):
    feed.start_daemon(concurrency=0)
    feed.sql("UPDATE process SET stopped_at = beat_at WHERE concurrency > 0")
    feed.run_now("feed-refresh")
    feed.beat_until(NOON + timedelta(seconds=70))
    without = operator.get("/admin/jobs").text
    feed.database.transact(
        lambda session: processes.register(
            session, ProcessRole.WORKER, environment="development", version="1", concurrency=2
        )
    )
    operator.client.app.state.site.live.forget()
    with_one = operator.get("/admin/jobs").text
    assert 'id="banner-no-worker"' in without
    assert 'id="banner-no-worker"' not in with_one


def test_a_server_that_does_not_flush_at_commit(shown):
    flush = Unflushed("innodb_flush_log_at_trx_commit", "2", "1")
    banner = shown(server=Server("MariaDB", False, (flush,), None))["durability"]
    assert "MariaDB does not flush at commit (innodb_flush_log_at_trx_commit = 2)" in words(banner)
    assert "durability" not in shown(server=Server("MariaDB", False, (flush,), 3))


def test_what_hinders_nothing_now_stands_below_what_does(feed, shown):
    flush = Unflushed("innodb_flush_log_at_trx_commit", "2", "1")
    feed.sql("UPDATE job_schedule SET cron = '61 * * * *', next_run_at = NULL")
    keys = list(shown(server=Server("MariaDB", False, (flush,), None)))
    assert keys.index("undecidable") < keys.index("durability")


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (None, "Another process holds the database file"),
        (Server("MariaDB", False, (), None), "which frees the work of a frozen daemon within 10 s."),
        (Server("MySQL", False, (), None), "which frees the work of a frozen daemon within 30 s."),
    ],
)
def test_a_daemon_that_fell_silent_is_explained_by_the_database_at_hand(feed, shown, clock, server, said):
    feed.sql("UPDATE process SET host = 'app-9'")
    clock.move(minutes=2)
    feed.start_daemon()
    found = shown(server=server)
    (key,) = [key for key in found if key.startswith("stale-")]
    assert said in found[key].text
    assert ("database file" in found[key].text) == (server is None)


def test_who_or_what_keeps_daemons_from_deciding_stands_above_the_daemon_that_is_missed(feed, shown, clock):
    clock.move(minutes=2)
    assert next(iter(shown(disk_free=0))) == "disk"
    assert next(iter(shown(file_held_by="process 7 (sqlite3 s.db)"))) == "file"
    assert "held locked by session 7 of ann@desk" in shown(rows_held_by="session 7 of ann@desk")["rows"].text


def test_a_server_that_takes_no_changes(shown):
    assert "writes" not in shown(server=Server("MariaDB", True, (), None))
    assert "writes" in shown(server=Server("MariaDB", True, (), None), processes=())


def test_every_new_notice_is_shown_on_the_page(feed, operator, clock):
    feed.beat_until(NOON + timedelta(minutes=90))
    feed.tick()
    clock.set_to(NOON)
    feed.start_daemon()
    assert 'id="banner-clock-set-back"' in operator.get("/admin/schedules").text
