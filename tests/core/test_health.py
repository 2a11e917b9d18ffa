"""The verdict on the whole installation: a table of facts and what they are worth."""

import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kinds import ON_SQLITE

from schedmgr.core import health
from schedmgr.core.definitions import Schedule
from schedmgr.core.health import judge
from schedmgr.core.installation import InForce
from schedmgr.core.standstill import Ahead, Due, Untaken
from schedmgr.core.verdict import Status
from schedmgr.core.vitals import Life, Paused, Queue, Repaired, Runs, Vitals, vitals
from schedmgr.database.engine import Database
from schedmgr.database.server import Server, Unflushed
from schedmgr.vocabulary import ProcessRole

NOW = datetime(2026, 3, 2, 2, 13, 20, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def daemon(*, silent: float = 3, host: str = "app-1", **changes: object) -> Life:
    life = Life(
        id=f"id-of-{host}",
        role=ProcessRole.DAEMON,
        host=host,
        pid=4711,
        version="1",
        environment="production",
        started_at=NOW - timedelta(hours=2),
        beat_at=NOW - seconds(silent),
        stopped_at=None,
        clock_offset=0.0,
        concurrency=4,
        definitions={"source": "definitions.py", "fingerprint": "new", "schedules": 4},
        definitions_errors=(),
    )
    return replace(life, **changes)


def facts(*lives: Life, **changes: object) -> Vitals:
    """Those of an installation in good health, but for the changes."""
    alive = lives or (daemon(),)
    newest = max(alive, key=lambda life: life.beat_at)
    return replace(Vitals(now=NOW, last_daemon=newest, processes=alive, enabled=3), **changes)


def told(vitals: Vitals, **how: object) -> tuple[Status, list[str]]:
    """The verdict, and which questions it comes from."""
    verdict = judge(vitals, **how)
    return verdict.status, [check.key for check in verdict.troubles]


def sentence(vitals: Vitals, key: str) -> str:
    return next(check.sentence for check in judge(vitals).checks if check.key == key)


def test_a_beating_daemon_with_nothing_on_is_ok():
    assert told(facts(enabled=0)) == (Status.OK, [])


def test_where_no_daemon_has_ever_run_all_is_critical():
    assert told(Vitals(now=NOW)) == (Status.CRITICAL, ["daemon"])


@pytest.mark.parametrize(
    ("silent", "status"),
    [
        (0, Status.OK),
        (60, Status.OK),
        (61, Status.WARNING),
        (300, Status.WARNING),
        (301, Status.CRITICAL),
        (9999, Status.CRITICAL),
    ],
)
def test_a_silent_daemon_is_a_warning_over_60_s_and_critical_over_300_s(silent, status):
    assert judge(facts(daemon(silent=silent))).status is status


@pytest.mark.parametrize(
    ("waited", "status"), [(0, Status.OK), (60, Status.OK), (61, Status.WARNING), (301, Status.CRITICAL)]
)
def test_an_undecided_occurrence_is_a_warning_over_60_s_and_critical_over_300_s(waited, status):
    due = facts(oldest_due=Due("feed-refresh", NOW - seconds(waited)))
    assert told(due) == (status, ["due"] if status is not Status.OK else [])


def test_the_age_that_is_critical_can_be_chosen():
    assert judge(facts(daemon(silent=40)), max_age=seconds(30)).status is Status.CRITICAL
    assert judge(facts(daemon(silent=400)), max_age=seconds(500)).status is Status.WARNING


def test_one_of_two_daemons_is_enough_to_fire():
    assert "daemon" not in told(facts(daemon(), daemon(host="app-2", silent=500)))[1]


def test_a_daemon_ahead_of_the_database_s_clock_has_beaten_just_now():
    assert judge(facts(daemon(silent=-30))).status is Status.OK


def test_a_silent_daemon_beside_a_living_one_is_a_warning_with_its_name():
    two = facts(daemon(), daemon(host="app-2", silent=214))
    assert told(two) == (Status.WARNING, ["stale"])
    assert sentence(two, "stale") == (
        "The daemon on app-2 (process 4711) stopped beating 3 min 34 s ago. Restart that process."
    )


def test_a_daemon_that_ended_in_order_is_not_stale():
    ended = daemon(host="app-2", silent=500, stopped_at=NOW - seconds(500))
    assert told(facts(daemon(), ended)) == (Status.OK, [])


def test_a_killed_daemon_whose_successor_runs_on_the_same_host_is_not_stale():
    killed = daemon(silent=500)
    successor = daemon(started_at=NOW - seconds(480), id="successor")
    assert told(facts(successor, killed)) == (Status.OK, [])


def test_a_process_that_died_before_its_second_beat_has_not_replaced_itself():
    dead = daemon(host="app-2", silent=500, started_at=NOW - seconds(500))
    assert told(facts(daemon(), dead)) == (Status.WARNING, ["stale"])


def test_a_daemon_that_was_just_stopped_is_not_said_to_beat():
    assert sentence(facts(daemon(stopped_at=NOW - seconds(3))), "daemon") == "The daemon on app-1 was stopped 3 s ago."


@pytest.mark.parametrize(
    ("free", "status"), [(None, Status.OK), (1024 * 1024, Status.OK), (1024 * 1024 - 1, Status.CRITICAL)]
)
def test_a_full_disk_is_critical_and_named_before_the_daemon_that_waits_for_it(free, status):
    assert judge(facts(disk_free=free)).status is status
    assert told(facts(daemon(silent=90), disk_free=0)) == (Status.CRITICAL, ["disk", "daemon"])


def test_a_disk_that_is_mounted_read_only_is_critical_and_said_before_the_daemon_that_cannot_beat():
    silent = facts(daemon(silent=90), file_is_read_only=True)
    assert told(silent) == (Status.CRITICAL, ["writes", "daemon"])
    assert sentence(silent, "writes").startswith("The disk of the database file is mounted read-only:")


@pytest.mark.parametrize(
    ("hindered", "keys"),
    [
        ({}, []),  # the daemon's user may write all the same
        ({"oldest_due": Due("feeds", NOW - seconds(61))}, ["writes", "due"]),
        ({"processes": (), "last_daemon": None}, ["daemon", "writes"]),
    ],
)
def test_a_server_that_is_read_only_is_critical_where_nothing_is_decided(hindered, keys):
    assert told(facts(server=Server("MariaDB", True, (), None), **hindered))[1] == keys


def test_a_session_that_keeps_rows_locked_is_named():
    held = facts(
        oldest_due=Due("feeds", NOW - seconds(61)), rows_held_by="session 7 of ann@desk, which has done nothing"
    )
    assert told(held) == (Status.WARNING, ["due", "rows"])
    assert "Rows are held locked by session 7 of ann@desk" in sentence(held, "rows")


def test_schedules_that_a_clock_set_back_has_silenced_are_a_warning_that_says_until_when():
    back = facts(ahead=Ahead(12, NOW + timedelta(minutes=90)))
    assert told(back) == (Status.WARNING, ["ahead"])
    assert sentence(back, "ahead") == (
        "The database's clock was set back: 12 schedules are decided already, at most up to 03:43 UTC, and will be "
        "silent until the clock is there, in 1 h 30 min. What was due until then has been decided and does not fire "
        "twice. If the clock is wrong now, correct it."
    )


def test_a_schedule_that_is_on_and_can_never_be_due_is_a_warning():
    never = facts(never_due=("feeds", "other"))
    assert told(never) == (Status.WARNING, ["undecidable"])
    assert "feeds is on and never fires" in sentence(never, "undecidable")
    assert "Neither does that of 1 other schedule." in sentence(never, "undecidable")


FLUSH = Unflushed("innodb_flush_log_at_trx_commit", "2", "1")
BINLOG = Unflushed("sync_binlog", "0", "1")


@pytest.mark.parametrize(
    ("nodes", "unflushed", "status"),
    [
        (None, (), Status.OK),
        (None, (FLUSH,), Status.WARNING),
        (None, (BINLOG,), Status.WARNING),
        (2, (FLUSH,), Status.WARNING),
        (3, (FLUSH, BINLOG), Status.OK),  # the other nodes have what one forgets
    ],
)
def test_a_server_that_does_not_flush_at_commit_is_a_warning_unless_its_cluster_keeps_it(nodes, unflushed, status):
    assert judge(facts(server=Server("MariaDB", False, unflushed, nodes))).status is status


def test_what_is_not_flushed_is_told_with_what_may_be_lost_and_what_to_set():
    assert sentence(facts(server=Server("MariaDB", False, (FLUSH, BINLOG), None)), "durability") == (
        "MariaDB does not flush at commit (innodb_flush_log_at_trx_commit = 2 and sync_binlog = 0): if its host loses "
        "power, the decisions of the last moments are forgotten, and their jobs may run twice. Set in its "
        "configuration: innodb_flush_log_at_trx_commit = 1, sync_binlog = 1"
    )


def test_runs_that_wait_beside_free_places_are_a_warning_that_names_the_group():
    untaken = Untaken("sync-accounts", "sync", NOW - seconds(240))
    waiting = facts(daemon(concurrency=4), queue=Queue(waiting=3, running=1, untaken=untaken))
    assert told(waiting) == (Status.WARNING, ["queue"])
    assert sentence(waiting, "queue") == (
        "A run of sync-accounts has waited 4 min although 3 places are free, and no run of its group, sync, goes. "
        "Start a worker that takes this group (SCHEDMGR_WORKER_GROUPS); if there is one, it hangs: restart it."
    )


def test_runs_that_wait_without_a_worker_are_a_warning():
    waiting = Queue(waiting=5, longest_waiting_since=NOW - seconds(240))
    assert told(facts(daemon(concurrency=0), queue=waiting)) == (Status.WARNING, ["workers"])
    assert told(facts(daemon(), queue=waiting)) == (Status.OK, [])


def test_a_worker_that_runs_on_its_own_takes_the_waiting_runs():
    worker = daemon(role=ProcessRole.WORKER, host="app-2")
    waiting = Queue(waiting=5, longest_waiting_since=NOW)
    assert told(facts(daemon(concurrency=0), worker, queue=waiting)) == (Status.OK, [])


@pytest.mark.parametrize(
    ("succeeded", "failed", "status"),
    [
        (9, 1, Status.OK),  # 90 % exactly
        (8, 2, Status.WARNING),
        (0, 9, Status.OK),  # too few to say
        (0, 10, Status.WARNING),
        (0, 0, Status.OK),
        (899, 101, Status.WARNING),
    ],
)
def test_fewer_than_90_of_100_successes_are_a_warning_from_ten_runs_on(succeeded, failed, status):
    assert judge(facts(runs=Runs(succeeded, failed, "match-items"))).status is status


def test_a_poor_rate_is_told_rounded_down_with_the_job_that_fails_most():
    poor = facts(runs=Runs(succeeded=899, failed=101, most_failing="match-items"))
    assert sentence(poor, "success") == (
        "89 % of the 1,000 runs of the last 24 hours succeeded; most of the failures: match-items. "
        "Its runs: schedmgr runs list --job match-items"
    )


def test_a_repaired_next_run_is_a_warning():
    repaired = Repaired("partner-feed-pull", NOW - seconds(900), "next_run_at IS NULL; 02:20 UTC was worked out again")
    assert told(facts(repaired=(repaired,))) == (Status.WARNING, ["repairs"])


def test_definitions_with_errors_are_a_warning_that_names_the_first():
    error = {"file": "definitions.py", "line": 12, "kind": "schedule", "id": "daily", "field": "cron", "value": "x"}
    broken = facts(daemon(definitions_errors=({**error, "mend": "Write five fields."}, error)))
    assert told(broken) == (Status.WARNING, ["definitions"])
    assert "have 2 errors; the last good ones stay in force." in sentence(broken, "definitions")
    assert "First: definitions.py schedule daily cron: Write five fields." in sentence(broken, "definitions")
    assert sentence(broken, "definitions").endswith(" All of them: schedmgr check")


def test_definitions_that_are_right_and_refused_are_not_said_to_be_wrong():
    """As those of another environment are: `check` finds nothing in them."""
    refused = {"file": "definitions.py", "line": 0, "kind": "file", "id": "", "field": "", "value": "", "mend": "No."}
    assert sentence(facts(daemon(definitions_errors=(refused,))), "definitions") == (
        "The daemon on app-1 cannot use its definitions; those before them stay in force. definitions.py file: No."
    )


def test_daemons_that_hold_different_definitions_are_a_warning():
    older = daemon(host="app-2", definitions={"fingerprint": "old"})
    assert told(facts(daemon(), older)) == (Status.WARNING, ["agreement"])


def test_a_daemon_that_holds_other_definitions_than_those_in_force_is_a_warning():
    in_force = InForce("newest", "definitions.py", 4, NOW)
    assert told(facts(in_force=in_force)) == (Status.WARNING, ["agreement"])
    assert told(facts(in_force=replace(in_force, fingerprint="new"))) == (Status.OK, [])


def test_a_daemon_that_has_not_loaded_its_definitions_yet_disagrees_with_nobody():
    in_force = InForce("newest", "definitions.py", 4, NOW)
    assert told(facts(daemon(definitions=None), in_force=in_force)) == (Status.OK, [])


@pytest.mark.parametrize(("offset", "status"), [(5.0, Status.OK), (5.1, Status.WARNING), (-8.2, Status.WARNING)])
def test_a_clock_that_is_off_by_more_than_5_s_is_a_warning(offset, status):
    assert judge(facts(daemon(clock_offset=offset))).status is status


def test_a_pause_is_told_and_is_no_trouble():
    paused = facts(paused=Paused(NOW - seconds(1400), None, "cli:oncall@app-1", "db failover"))
    assert told(paused) == (Status.OK, [])
    assert sentence(paused, "pause") == "All schedules are paused since 01:50 UTC by cli:oncall@app-1: db failover."


def test_a_pause_that_ends_by_itself_says_until_when():
    paused = facts(paused=Paused(NOW - seconds(1400), NOW + seconds(3600), "web:oncall-1", "migration"))
    until = f"{NOW + seconds(3600):%H:%M}"
    assert sentence(paused, "pause") == (
        f"All schedules are paused until {until} UTC by web:oncall-1: migration (since 01:50 UTC)."
    )


def test_the_worst_check_decides_and_comes_first():
    two = facts(daemon(clock_offset=9), oldest_due=Due("feeds", NOW - seconds(400)))
    assert told(two) == (Status.CRITICAL, ["due", "clock"])


def test_a_database_that_cannot_be_asked_is_critical_and_leaves_no_facts():
    verdict = health.unanswered("The database did not answer within 5 s.")
    assert (verdict.status, verdict.facts) == (Status.CRITICAL, None)


def test_exit_codes_are_those_of_the_monitoring_plugins():
    assert [status.exit_code for status in (Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN)] == [0, 1, 2, 3]


# The facts as the tables give them


def found(installation) -> Vitals:
    with installation.database.read() as session:
        return vitals(session)


def every_minute(id: str = "feeds"):
    return Schedule(id, cron="* * * * *", execution_mode="ALL_JOBS")


def test_an_empty_installation_has_no_daemon_and_nothing_due(installation):
    empty = found(installation)
    assert (empty.last_daemon, empty.oldest_due, empty.processes, empty.in_force) == (None, None, (), None)


def test_the_oldest_due_occurrence_is_that_of_the_schedule_that_waits_longest(installation, clock):
    clock.set_to(NOW)
    installation.turned_on(every_minute("first"))
    clock.set_to(NOW + timedelta(minutes=5))
    installation.turned_on(every_minute("first"), every_minute("second"))
    clock.set_to(NOW + timedelta(minutes=10))
    waiting = found(installation)
    assert waiting.oldest_due == Due("first", NOW.replace(minute=14, second=0))
    assert (waiting.enabled, waiting.overdue) == (2, 2)


@ON_SQLITE  # a server stores no instant that is none
@pytest.mark.parametrize("stored", ["1970-01-01 00:00:00.000000", "no instant at all"])
def test_a_spoiled_next_run_does_not_make_a_schedule_overdue(installation, clock, stored):
    clock.set_to(NOW)
    installation.turned_on(every_minute())
    installation.sql("UPDATE job_schedule SET next_run_at = :stored", stored=stored)
    assert found(installation).oldest_due is None


def test_a_decided_occurrence_is_due_no_more(installation, clock):
    clock.set_to(NOW)
    installation.turned_on(every_minute())
    clock.move(minutes=3)
    installation.tick()
    assert found(installation).oldest_due is None


def test_a_repair_is_remembered_for_an_hour(installation, clock):
    clock.set_to(NOW)
    installation.turned_on(every_minute())
    installation.sql("UPDATE job_schedule SET next_run_at = NULL")
    installation.repair()
    assert [repaired.schedule_id for repaired in found(installation).repaired] == ["feeds"]
    clock.move(minutes=61)
    assert found(installation).repaired == ()


def test_ended_runs_count_for_a_day_and_cancelled_ones_say_nothing(installation, clock):
    clock.set_to(NOW)
    installation.turned_on(every_minute())
    for status in ("SUCCEEDED", "FAILED", "TIMED_OUT", "LOST", "CANCELLED", "SKIPPED"):
        installation.run_now("feeds")
        installation.sql(
            "UPDATE job_run SET status = :status, finished_at = :at WHERE status = 'QUEUED'",
            status=status,
            at=f"{NOW:%Y-%m-%d %H:%M:%S.%f}",
        )
    assert found(installation).runs == Runs(succeeded=1, failed=3, most_failing="tidy")
    clock.move(hours=25)
    assert found(installation).runs == Runs()


def test_the_queue_counts_what_waits_now_and_not_what_waits_for_a_retry(installation, clock):
    clock.set_to(NOW)
    installation.turned_on(every_minute())
    installation.run_now("feeds")
    assert found(installation).queue.waiting == 1
    installation.sql("UPDATE job_run SET available_at = '2026-03-02 02:20:00.000000'")
    assert found(installation).queue.waiting == 0


def test_the_pause_that_holds_now_is_a_fact(installation, clock):
    clock.set_to(NOW)
    installation.pause("db failover", until=NOW + timedelta(minutes=10))
    assert found(installation).paused.reason == "db failover"
    clock.move(minutes=11)
    assert found(installation).paused is None


def test_a_daemon_that_beat_long_ago_is_still_the_last_one(installation, clock):
    clock.set_to(NOW)
    daemon = installation.start_daemon()
    clock.move(hours=30)
    late = found(installation)
    assert (late.last_daemon.id, late.processes) == (daemon.id, ())


@ON_SQLITE
def test_a_check_that_gets_no_answer_in_time_says_so(database, database_file):
    with closing(sqlite3.connect(database_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        verdict = health.check(database, within=0.1)
    assert (verdict.status, verdict.checks[0].sentence) == (
        Status.CRITICAL,
        "The database did not answer within 0.1 s.",
    )


def test_a_file_that_is_no_database_is_critical(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be looked at as one" * 20)
    verdict = health.check(Database(f"sqlite:///{file}"))
    assert (verdict.status, verdict.checks[0].sentence) == (
        Status.CRITICAL,
        f"The database sqlite:///{file} cannot be used: file is not a database. Check the path and its disk.",
    )


@ON_SQLITE
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who holds a lock")
def test_a_process_that_keeps_the_file_from_all_others_is_named(installation, clock, database_file):
    installation.start_daemon()
    clock.move(seconds=90)
    with closing(sqlite3.connect(database_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        verdict = health.check(installation.database)
    held = next(check for check in verdict.checks if check.key == "file")
    assert held.sentence.startswith(f"The database file is held by process {os.getpid()} (")
    assert "file" not in [check.key for check in health.check(installation.database).checks]


@ON_SQLITE  # the servers of the tests do not flush at commit, which is a warning
def test_a_check_of_a_migrated_database_with_a_daemon_is_ok(installation):
    installation.start_daemon()
    verdict = health.check(installation.database)
    assert verdict.status is Status.OK
    assert verdict.facts.disk_free > 0


def test_the_page_on_monitoring_lists_exactly_the_checks_that_there_are():
    root = Path(__file__).parents[2]
    code = "".join((root / "schedmgr" / "core" / name).read_text() for name in ("health.py", "database_checks.py"))
    page = (root / "docs" / "monitoring.md").read_text().split("## `/readyz`")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == set(re.findall(r'Check\(\s*"([a-z]+)"', code))
