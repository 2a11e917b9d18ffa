"""The daemon's tick on the tables: every occurrence gets its firing, in the transaction that accounts for it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from schedmgr.core import actions, locking, settlement
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.processes import Silent
from schedmgr.daemon import tick
from schedmgr.database.failures import TransactionLost
from schedmgr.vocabulary import Decision, Missed, Overlap, Reason, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TWO_JOBS = (Job("fetch", group="feed", command="true"), Job("match", group="feed", command="true", priority=5))


def five_minutes(id: str = "feeds", **fields: object) -> Schedule:
    return Schedule(id, cron="*/5 * * * *", execution_mode="ALL_JOBS", **fields)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def due(rows):
    return [row.scheduled_for for row in rows]


@pytest.fixture
def running(installation, clock):
    """At 11:58:30 a daemon runs and a schedule of every five minutes over two jobs is on."""
    clock.set_to(at(11, 58, 30))
    installation.start_daemon()
    installation.turned_on(five_minutes(), jobs=TWO_JOBS)
    return installation


def test_a_firing_its_job_runs_and_the_next_run_appear_together(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    (firing,) = running.firings("feeds")
    assert (firing.scheduled_for, firing.decision, firing.trigger, firing.reason) == (
        NOON,
        Decision.ENQUEUED,
        Trigger.SCHEDULE,
        None,
    )
    assert [(run.job, run.firing_id, run.scheduled_for, run.status) for run in running.runs("feeds")] == [
        ("fetch", firing.id, NOON, RunStatus.QUEUED),
        ("match", firing.id, NOON, RunStatus.QUEUED),
    ]
    assert firing.job_run_count == 2
    assert running.schedule("feeds").next_run_at == at(12, 5)
    assert running.schedule("feeds").accounted_until >= at(12, 0, 1)


def test_a_firing_names_its_daemon_by_the_id_made_at_its_start(running, clock):
    clock.set_to(at(12, 0, 1))
    daemon = running.start_daemon()
    running.tick()
    assert running.firings("feeds")[0].process_id == daemon.id


def test_a_tick_before_the_due_instant_decides_nothing(running, clock):
    clock.set_to(at(11, 59, 50))
    assert running.tick().firings == ()
    assert running.firings("feeds") == []


def test_a_second_tick_at_the_same_time_decides_nothing_more(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    running.tick()
    assert due(running.firings("feeds")) == [NOON]


def test_when_a_firing_cannot_be_written_nothing_is(running, clock, database_kind):
    clock.set_to(at(12, 0, 1))
    before = running.schedule("feeds")
    running.sql(
        {
            "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON job_run BEGIN SELECT RAISE(ABORT, 'no'); END",
            "mariadb": "CREATE TRIGGER refuse BEFORE INSERT ON job_run FOR EACH ROW SIGNAL SQLSTATE '45000'",
        }[database_kind]
    )
    with pytest.raises(DBAPIError):
        running.tick()
    running.sql("DROP TRIGGER refuse")
    assert running.firings("feeds") == []
    assert running.schedule("feeds") == before


def test_the_job_version_is_fixed_when_the_run_is_enqueued(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    queued = running.runs("feeds")[0].job_version_id
    running.sync(five_minutes(), jobs=(Job("fetch", group="feed", command="false"), TWO_JOBS[1]))
    clock.set_to(at(12, 5, 1))
    running.sql("UPDATE job_run SET status = 'SUCCEEDED'")
    running.tick()
    assert [run.job_version_id == queued for run in running.runs("feeds") if run.job == "fetch"] == [True, False]


def test_jitter_delays_the_runs_and_not_the_decision(installation, clock):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(jitter=120), jobs=TWO_JOBS)
    clock.set_to(at(12, 0, 1))
    installation.tick()
    delays = [run.available_at - run.queued_at for run in installation.runs("feeds")]
    assert all(timedelta(0) <= delay <= timedelta(seconds=120) for delay in delays)
    assert len(set(delays)) == 2


# Missed


def test_an_outage_is_one_row_with_its_range_and_its_true_reason(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    clock.set_to(at(12, 30, 30))
    running.start_daemon()
    running.sql("UPDATE job_run SET status = 'SUCCEEDED'")
    running.tick()
    missed, fired = running.firings("feeds")[1:]
    assert (missed.decision, missed.reason) == (Decision.SKIPPED, Reason.MISSED_NO_DAEMON)
    assert (missed.scheduled_for, missed.missed_until, missed.missed_count) == (at(12, 5), at(12, 25), 5)
    assert missed.detail == (
        "5 runs missed, 12:05 to 12:25 UTC: no daemon reached the database from 12:00 to 12:30 UTC"
    )
    assert (fired.scheduled_for, fired.decision) == (at(12, 30), Decision.ENQUEUED)


def test_what_is_late_although_a_daemon_beat_is_the_daemons_lateness(running, clock):
    running.beat_until(at(12, 12))
    running.tick()
    assert [(row.scheduled_for, row.reason) for row in running.firings("feeds")] == [(NOON, Reason.MISSED_LATE)]
    assert running.firings("feeds")[0].missed_count == 3


def test_a_daemon_that_was_frozen_decides_nothing_in_its_old_life(running, clock, database):
    frozen = running.start_daemon()
    clock.set_to(at(12, 7))
    with pytest.raises(Silent):
        tick.tick(database, frozen)
    with pytest.raises(Silent):
        tick.tick_one_by_one(database, frozen)
    assert running.firings("feeds") == []


def test_a_frozen_daemons_gap_stays_in_evidence(running, clock):
    frozen = running.start_daemon()
    clock.set_to(at(12, 7))
    running.tick()
    (missed,) = running.firings("feeds")
    assert (missed.reason, missed.missed_count) == (Reason.MISSED_NO_DAEMON, 2)
    assert missed.detail.endswith("no daemon reached the database from 11:58 to 12:07 UTC")
    assert missed.process_id != frozen.id


def test_another_daemons_presence_counts(running, clock):
    running.start_daemon()
    running.beat_until(at(12, 4))
    clock.set_to(at(12, 8))
    running.start_daemon()
    running.tick()
    assert [(row.scheduled_for, row.reason) for row in running.firings("feeds")] == [
        (NOON, Reason.MISSED_LATE),
        (at(12, 5), Reason.MISSED_NO_DAEMON),
    ]


def test_a_web_process_that_beats_is_no_daemon(running, clock, database):
    running.sql("UPDATE process SET role = 'web', beat_at = '2026-03-02 13:00:00.000000'")
    clock.set_to(at(12, 2))
    running.start_daemon()
    running.tick()
    assert running.firings("feeds")[0].reason is Reason.MISSED_NO_DAEMON


def test_run_once_makes_up_the_newest(installation, clock):
    clock.set_to(at(10, 58, 30))
    installation.turned_on(five_minutes(missed=Missed.RUN_ONCE, grace=60), jobs=TWO_JOBS)
    clock.set_to(at(12, 2))
    installation.start_daemon()
    installation.tick()
    skipped, made_up = installation.firings("feeds")
    assert (skipped.decision, skipped.missed_until) == (Decision.SKIPPED, at(11, 55))
    assert (made_up.scheduled_for, made_up.trigger, made_up.job_run_count) == (NOON, Trigger.CATCH_UP, 2)


def test_catch_up_makes_up_the_newest_up_to_its_limit_one_behind_another(installation, clock, database):
    clock.set_to(at(10, 58, 30))
    installation.turned_on(five_minutes(missed=Missed.CATCH_UP, catch_up_limit=2))
    clock.set_to(at(12, 2))
    daemon = installation.start_daemon()
    installation.tick()
    assert [row.scheduled_for for row in installation.firings("feeds") if row.decision is Decision.ENQUEUED] == [
        at(11, 55),
        NOON,
    ]
    with database.write() as session:
        claimed = locking.claim_runs(session, daemon.id, 10, timedelta(seconds=60))
    assert [run.scheduled_for for run in claimed] == [at(11, 55)]
    installation.sql("UPDATE job_run SET status = 'FAILED' WHERE status = 'RUNNING'")
    with database.write() as session:
        claimed = locking.claim_runs(session, daemon.id, 10, timedelta(seconds=60))
    assert [run.scheduled_for for run in claimed] == [NOON]


# Pause


def test_much_that_is_to_be_made_up_is_made_up_in_several_transactions(installation, clock):
    names = [f"n{number}" for number in range(12)]
    minutely = {"cron": "* * * * *", "execution_mode": "ALL_JOBS", "missed": "catch_up", "catch_up_limit": 1000}
    installation.turned_on(*(Schedule(name, **minutely) for name in names))
    clock.move(days=1)
    settled = [installation.tick().settled for _ in range(3)]
    assert settled == [4, 4, 4]
    assert min(len(installation.firings(name)) for name in names) > 1000


def test_during_a_pause_each_occurrence_is_recorded_as_missed_by_it(running, clock):
    clock.set_to(at(11, 59))
    running.pause()
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        running.tick()
    rows = running.firings("feeds")
    assert [(row.scheduled_for, row.reason) for row in rows] == [
        (NOON, Reason.MISSED_PAUSED),
        (at(12, 5), Reason.MISSED_PAUSED),
    ]
    assert rows[0].detail == "Missed: all schedules are paused since Mon 2 Mar 11:59 UTC"
    assert running.runs() == []


def test_what_was_due_before_the_pause_still_fires(running, clock):
    clock.set_to(at(12, 0, 1))
    running.pause()
    assert [row.decision for row in running.firings("feeds")] == [Decision.ENQUEUED]


def test_a_pause_over_an_outage_is_told_apart_from_it(running, clock):
    clock.set_to(at(12, 0, 30))
    running.tick()
    clock.set_to(at(12, 7))
    running.pause(until=at(12, 21))
    clock.set_to(at(12, 32))
    running.start_daemon()
    running.tick()
    assert [(row.reason, row.scheduled_for, row.missed_count) for row in running.firings("feeds")] == [
        (None, NOON, 0),
        (Reason.MISSED_NO_DAEMON, at(12, 5), 1),
        (Reason.MISSED_PAUSED, at(12, 10), 3),
        (Reason.MISSED_NO_DAEMON, at(12, 25), 2),
    ]


def test_a_pause_that_ended_by_itself_is_the_reason_of_what_was_due_in_it(running, clock):
    clock.set_to(at(11, 59))
    running.pause(until=at(12, 0, 20))
    clock.set_to(at(12, 0, 30))
    running.tick()
    assert [row.reason for row in running.firings("feeds")] == [Reason.MISSED_PAUSED]


def test_after_resume_the_next_occurrence_fires(running, clock):
    clock.set_to(at(11, 59))
    running.pause()
    clock.set_to(at(12, 1))
    running.resume()
    clock.set_to(at(12, 5, 1))
    running.tick()
    assert [(row.scheduled_for, row.decision) for row in running.firings("feeds")] == [
        (NOON, Decision.SKIPPED),
        (at(12, 5), Decision.ENQUEUED),
    ]


# Overlap


def test_a_schedule_whose_run_has_not_ended_skips_with_overlap(running, clock):
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        running.tick()
    assert [row.reason for row in running.firings("feeds")] == [None, Reason.OVERLAP]
    assert len(running.runs("feeds")) == 2


def test_a_run_by_hand_counts_as_an_earlier_run(running, clock):
    running.run_now("feeds")
    clock.set_to(at(12, 0, 1))
    running.tick()
    assert running.firings("feeds")[-1].reason is Reason.OVERLAP


def test_a_run_that_waits_for_its_next_attempt_counts_as_queued(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    running.sql("UPDATE job_run SET attempt = 2, started_at = queued_at, available_at = '2026-03-02 12:30:00.000000'")
    running.beat_until(at(12, 5, 1))
    running.tick()
    newest = running.firings("feeds")[-1]
    assert (newest.reason, newest.detail) == (Reason.OVERLAP, "Previous run still queued (since 12:00 UTC)")


def test_a_retry_by_hand_counts_as_an_earlier_run(running, clock, database):
    clock.set_to(at(12, 0, 1))
    running.tick()
    running.sql("UPDATE job_run SET status = 'FAILED'")
    database.transact(lambda session: actions.retry(session, running.runs("feeds")[0].id, running.person))
    clock.set_to(at(12, 5, 1))
    running.tick()
    assert running.firings("feeds")[-1].reason is Reason.OVERLAP


def test_other_schedules_runs_do_not_count(installation, clock):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes("a"), five_minutes("b"))
    installation.run_now("a")
    clock.set_to(at(12, 0, 1))
    installation.tick()
    assert [row.reason for row in installation.firings("b")] == [None]


def test_without_a_worker_the_overlap_says_so(installation, clock):
    clock.set_to(at(11, 58))
    installation.start_daemon(concurrency=0)
    installation.turned_on(five_minutes())
    for minute in (0, 5):
        installation.beat_until(at(12, minute, 1))
        installation.tick()
    assert installation.firings("feeds")[1].detail == "Previous run still queued: no worker"


def test_under_queue_a_run_is_claimable_when_the_earlier_one_has_ended(installation, clock, database):
    clock.set_to(at(11, 58))
    daemon = installation.start_daemon()
    installation.turned_on(five_minutes(overlap=Overlap.QUEUE))
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        installation.tick()
    with database.write() as session:
        first = locking.claim_runs(session, daemon.id, 10, timedelta(seconds=60))
    installation.sql("UPDATE job_run SET status = 'SUCCEEDED' WHERE status = 'RUNNING'")
    with database.write() as session:
        second = locking.claim_runs(session, daemon.id, 10, timedelta(seconds=60))
    assert [[run.scheduled_for for run in claimed] for claimed in (first, second)] == [[NOON], [at(12, 5)]]


def test_under_queue_a_run_waits_for_a_retry_by_hand_too(installation, clock, database):
    clock.set_to(at(11, 58))
    daemon = installation.start_daemon()
    installation.turned_on(five_minutes(overlap=Overlap.QUEUE))
    clock.set_to(at(12, 0, 1))
    installation.tick()
    installation.sql("UPDATE job_run SET status = 'FAILED'")
    failed = installation.runs("feeds")[0].id
    retry = database.transact(lambda session: actions.retry(session, failed, installation.person))
    clock.set_to(at(12, 5, 1))
    installation.tick()
    claim = {"process_id": daemon.id, "limit": 10, "lease_length": timedelta(seconds=60)}
    first = database.transact(lambda session: locking.claim_runs(session, **claim))
    installation.sql("UPDATE job_run SET status = 'SUCCEEDED' WHERE status = 'RUNNING'")
    second = database.transact(lambda session: locking.claim_runs(session, **claim))
    assert [[run.id for run in first], [run.scheduled_for for run in second]] == [[retry], [at(12, 5)]]


# Clock steps


def test_a_clock_that_steps_forward_and_back_fires_nothing_twice_and_loses_nothing(running, clock):
    clock.set_to(at(13, 2))
    running.start_daemon()
    running.tick()
    running.sql("UPDATE job_run SET status = 'SUCCEEDED'")
    reached = running.schedule("feeds").accounted_until
    for minute in range(0, 70, 5):
        clock.set_to(at(12, 0, 1) + timedelta(minutes=minute))
        running.tick()
    assert running.schedule("feeds").accounted_until >= reached
    rows = running.firings("feeds")
    assert [(row.scheduled_for, row.missed_count) for row in rows] == [(NOON, 13), (at(13, 5), 0)]


def test_accounted_until_never_moves_back(running, clock, database):
    clock.set_to(at(12, 0, 1))
    running.tick()
    reached = running.schedule("feeds").accounted_until
    clock.set_to(at(9, 0))
    with database.write() as session:
        settlement.settle(session, ["feeds"], process_id=None)
    running.disable("feeds")
    running.enable("feeds")
    running.sync(five_minutes("other"))
    running.sync(five_minutes())
    assert running.schedule("feeds").accounted_until >= reached


# Who is first


def test_whoever_accounted_first_wins_and_the_other_writes_nothing(running, database):
    row = running.schedule("feeds")
    stale = locking.Move("feeds", row.accounted_until - timedelta(seconds=1), NOON, None)
    with pytest.raises(TransactionLost), database.write() as session:
        locking.account(session, [stale])
    assert running.schedule("feeds") == row


def test_an_occurrence_that_has_its_firing_is_never_fired_again(running, clock):
    clock.set_to(at(12, 0, 1))
    running.tick()
    running.sql("UPDATE job_schedule SET accounted_until = '2026-03-02 11:58:00.000000', next_run_at = NULL")
    running.sql("UPDATE job_run SET status = 'SUCCEEDED'")
    running.repair()
    running.tick()
    assert due(running.firings("feeds")) == [NOON]


@pytest.mark.parametrize("back_to", ["1970-01-01 00:00:00.000000", "2026-03-02 11:58:00.000000"])
def test_what_a_row_of_missed_occurrences_covers_is_never_decided_again(running, clock, back_to):
    clock.set_to(at(12, 27))
    running.start_daemon()
    running.tick()
    before = running.firings("feeds")
    assert [(row.scheduled_for, row.missed_until) for row in before] == [(NOON, at(12, 25))]
    running.sql("UPDATE job_schedule SET accounted_until = :back_to, next_run_at = NULL", back_to=back_to)
    running.repair()
    running.tick()
    assert running.firings("feeds") == before
    clock.set_to(at(12, 30, 1))
    running.tick()
    assert due(running.firings("feeds")) == [NOON, at(12, 30)]


# What cannot be decided


def test_a_schedule_whose_cron_cannot_be_read_stops_no_other_and_is_recorded(installation, clock):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes("bad"), five_minutes("good"))
    installation.sql("UPDATE job_schedule SET cron = '61 * * * *' WHERE id = 'bad'")
    clock.set_to(at(12, 0, 1))
    installation.tick()
    (bad,) = installation.firings("bad")
    assert (bad.decision, bad.reason) == (Decision.SKIPPED, Reason.UNDECIDABLE)
    assert "61 is too high" in bad.detail
    assert [row.decision for row in installation.firings("good")] == [Decision.ENQUEUED]


@pytest.mark.parametrize("column", ["execution_mode", "missed", "overlap"])
def test_a_schedule_whose_row_holds_an_unknown_word_stops_no_other_and_no_pause(installation, clock, column):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes("bad"), five_minutes("good"))
    installation.sql(f"UPDATE job_schedule SET {column} = 'perhaps' WHERE id = 'bad'")
    clock.set_to(at(12, 0, 1))
    installation.tick()
    installation.pause()
    (bad,) = installation.firings("bad")
    assert (bad.reason, bad.detail, bad.job_run_count) == (
        Reason.UNDECIDABLE,
        f"Its row holds an unknown word in {column}. A change of its definition writes the row anew.",
        0,
    )
    assert [row.decision for row in installation.firings("good")] == [Decision.ENQUEUED]


def test_a_schedule_that_cannot_be_decided_is_not_decided_over_and_over(installation, clock):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes("bad"))
    installation.sql("UPDATE job_schedule SET timezone = 'Mars/Olympus'")
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        installation.tick()
        installation.repair()
    assert [row.reason for row in installation.firings("bad")] == [Reason.UNDECIDABLE]


def test_a_repair_that_comes_before_the_due_instant_does_not_silence_an_undecidable_schedule(installation, clock):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes("bad"))
    installation.sql("UPDATE job_schedule SET cron = 'never'")
    installation.repair()
    clock.set_to(at(12, 0, 1))
    installation.tick()
    assert [row.reason for row in installation.firings("bad")] == [Reason.UNDECIDABLE]


def test_one_tick_decides_many_schedules(installation, clock, database):
    clock.set_to(at(11, 58))
    installation.turned_on(*(five_minutes(f"s{number}") for number in range(700)))
    clock.set_to(at(12, 0, 1))
    decided = [len(installation.tick().firings) for _ in range(3)]
    assert decided == [500, 200, 0]
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM schedule_firing")) == 700
