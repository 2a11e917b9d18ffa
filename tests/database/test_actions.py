"""What people do: the switch, run now, cancel, retry, pause.  Each leaves its line in the audit."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from schedmgr.core import actions, locking
from schedmgr.core.audit import Requester
from schedmgr.core.definitions import Job, Schedule
from schedmgr.database.models import AuditEvent, Pause, ScheduleFiring
from schedmgr.errors import NotFound, Refused
from schedmgr.vocabulary import Decision, RunStatus, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ANN = Requester("web:ann", "192.0.2.7", process_id="w1")
ROBOT = Requester("api:deploy", "192.0.2.9", trigger=Trigger.API)
TWO_JOBS = (Job("fetch", group="feed", command="true"), Job("match", group="matching", command="true"))
FEEDS = Schedule("feeds", cron="*/5 * * * *", execution_mode="ALL_JOBS")


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


@pytest.fixture
def synced(installation, clock):
    """At 11:58:30, a schedule that is off, over two jobs."""
    clock.set_to(at(11, 58, 30))
    installation.sync(FEEDS, jobs=TWO_JOBS)
    return installation


@pytest.fixture
def act(database):
    """Do one action, in a transaction of its own."""

    def act(action, *arguments, **named):
        return database.transact(lambda session: action(session, *arguments, **named))

    return act


@pytest.fixture
def audit(database):
    """Who did what, from where; oldest first."""

    def audit():
        with database.read() as session:
            rows = session.execute(
                select(AuditEvent.who, AuditEvent.action, AuditEvent.what, AuditEvent.origin).order_by(AuditEvent.id)
            )
            return [tuple(row) for row in rows]

    return audit


# The switch


def test_turned_on_it_is_due_from_now_on(synced, act, audit):
    act(actions.enable, "feeds", ANN)
    row = synced.schedule("feeds")
    assert (row.enabled, row.next_run_at) == (True, NOON)
    assert audit() == [("web:ann", "enable", "turned on feeds", "192.0.2.7")]


def test_turned_on_twice_is_turned_on_once(synced, act, audit):
    act(actions.enable, "feeds", ANN)
    before = synced.schedule("feeds")
    act(actions.enable, "feeds", ANN)
    assert synced.schedule("feeds") == before
    assert len(audit()) == 1
    assert len(synced.periods("feeds")) == 1


def test_turned_off_it_has_no_next_run(synced, act, audit):
    act(actions.enable, "feeds", ANN)
    act(actions.disable, "feeds", ANN)
    row = synced.schedule("feeds")
    assert (row.enabled, row.next_run_at) == (False, None)
    assert audit()[-1] == ("web:ann", "disable", "turned off feeds", "192.0.2.7")


def test_what_a_web_process_decides_at_the_switch_names_it(synced, act, clock):
    act(actions.enable, "feeds", ANN)
    clock.set_to(at(12, 0, 1))
    act(actions.disable, "feeds", ANN)
    assert [(row.scheduled_for, row.process_id) for row in synced.firings("feeds")] == [(NOON, "w1")]


def test_an_unknown_schedule_is_named_with_the_nearest(synced, act):
    with pytest.raises(NotFound, match=r"No schedule has the id feed\. Nearest: feeds\."):
        act(actions.enable, "feed", ANN)


@pytest.mark.parametrize("action", [actions.enable, actions.disable, actions.run_now])
def test_an_archived_schedule_can_be_neither_switched_nor_run(synced, act, action):
    synced.sync(Schedule("other", cron="*/5 * * * *", execution_mode="ALL_JOBS"), jobs=TWO_JOBS)
    with pytest.raises(Refused, match="feeds is archived"):
        act(action, "feeds", ANN)


def test_a_schedule_that_cannot_be_decided_cannot_be_turned_on(synced, act):
    synced.sql("UPDATE job_schedule SET cron = '61 * * * *'")
    with pytest.raises(Refused, match=r"feeds cannot be turned on.*61 is too high"):
        act(actions.enable, "feeds", ANN)


# Run now


def test_run_now_writes_the_rows_that_the_clock_writes(synced, act, clock, audit):
    act(actions.enable, "feeds", ANN)
    enqueued = act(actions.run_now, "feeds", ANN)
    synced.sql("UPDATE job_run SET status = 'SUCCEEDED'")
    clock.set_to(at(12, 0, 1))
    synced.tick()
    by_hand, by_clock = synced.firings("feeds")
    assert (by_hand.id, by_hand.scheduled_for, by_hand.trigger, by_hand.requested_by, by_hand.process_id) == (
        enqueued.firing_id,
        None,
        Trigger.MANUAL,
        "web:ann",
        "w1",
    )
    assert (by_hand.decision, by_hand.job_run_count) == (by_clock.decision, by_clock.job_run_count)
    runs = synced.runs("feeds")
    assert [run.id for run in runs[:2]] == list(enqueued.job_run_ids)
    assert [(run.job, run.job_version_id, run.attempt, run.priority, run.in_turn) for run in runs[:2]] == [
        (run.job, run.job_version_id, run.attempt, run.priority, run.in_turn) for run in runs[2:]
    ]
    assert [run.trigger for run in runs] == [Trigger.MANUAL] * 2 + [Trigger.SCHEDULE] * 2
    assert audit()[-1][:3] == ("web:ann", "run", "ran feeds now (2 jobs)")


def test_run_now_works_while_the_schedule_is_off(synced, act):
    assert len(act(actions.run_now, "feeds", ANN).job_run_ids) == 2


def test_run_now_works_while_everything_is_paused(synced, act):
    synced.pause()
    assert len(act(actions.run_now, "feeds", ANN).job_run_ids) == 2


def test_run_now_ignores_a_run_that_is_going(synced, act):
    act(actions.run_now, "feeds", ANN)
    act(actions.run_now, "feeds", ANN)
    assert [row.decision for row in synced.firings("feeds")] == [Decision.ENQUEUED, Decision.ENQUEUED]


def test_run_now_moves_nothing_that_is_due(synced, act):
    act(actions.enable, "feeds", ANN)
    before = synced.schedule("feeds")
    act(actions.run_now, "feeds", ANN)
    assert synced.schedule("feeds") == before


def test_run_now_through_the_api_says_so(synced, act):
    act(actions.run_now, "feeds", ROBOT)
    assert [(row.trigger, row.requested_by) for row in synced.firings("feeds")] == [(Trigger.API, "api:deploy")]


@pytest.mark.parametrize(
    ("schedule", "jobs"),
    [
        (Schedule("s", cron="@daily", execution_mode="ALL_JOBS"), ["fetch", "match"]),
        (Schedule("s", cron="@daily", execution_mode="GROUP", job_group="matching"), ["match"]),
        (Schedule("s", cron="@daily", execution_mode="JOB", job="fetch"), ["fetch"]),
    ],
    ids=["ALL_JOBS", "GROUP", "JOB"],
)
def test_a_schedule_runs_all_jobs_a_group_or_one_job(installation, act, schedule, jobs):
    installation.sync(schedule, jobs=TWO_JOBS)
    act(actions.run_now, "s", ANN)
    assert [run.job for run in installation.runs("s")] == jobs


def test_the_same_request_key_enqueues_once_and_answers_alike(synced, act, audit):
    first = act(actions.run_now, "feeds", ANN, "key-1")
    again = act(actions.run_now, "feeds", ANN, "key-1")
    assert first == again
    assert len(synced.firings("feeds")) == 1
    assert len(audit()) == 1


def test_another_request_key_enqueues_again(synced, act):
    assert act(actions.run_now, "feeds", ANN, "key-1") != act(actions.run_now, "feeds", ANN, "key-2")


def test_a_request_key_that_was_used_for_another_schedule_is_refused(synced, act):
    synced.sync(FEEDS, Schedule("other", cron="@daily", execution_mode="ALL_JOBS"), jobs=TWO_JOBS)
    act(actions.run_now, "feeds", ANN, "key-1")
    with pytest.raises(Refused, match="key-1 was used before"):
        act(actions.run_now, "other", ANN, "key-1")
    assert synced.firings("other") == []


def test_a_request_key_that_was_used_for_another_job_is_refused(synced, act):
    run_id = act(actions.run_job, "match", ANN, "key-1")
    with pytest.raises(Refused, match="key-1 was used before"):
        act(actions.run_job, "fetch", ANN, "key-1")
    act(actions.cancel, run_id, ANN)
    with pytest.raises(Refused, match="key-1 was used before"):
        act(actions.retry, run_id, ANN, "key-1")


def test_the_same_request_key_retries_a_run_once(synced, act):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    act(actions.cancel, run_id, ANN)
    assert act(actions.retry, run_id, ANN, "key-1") == act(actions.retry, run_id, ANN, "key-1")
    assert len(synced.runs()) == 3


def test_one_job_runs_by_itself_without_a_firing(synced, act, database, audit):
    run_id = act(actions.run_job, "match", ANN, "key-1")
    assert act(actions.run_job, "match", ANN, "key-1") == run_id
    (run,) = synced.runs()
    assert (run.id, run.job, run.firing_id, run.schedule_id, run.trigger) == (
        run_id,
        "match",
        None,
        None,
        Trigger.MANUAL,
    )
    with database.read() as session:
        assert session.execute(select(ScheduleFiring.id)).all() == []
    assert [line[:3] for line in audit()] == [("web:ann", "run", "ran job match now")]


def test_an_unknown_job_is_named_with_the_nearest(synced, act):
    with pytest.raises(NotFound, match=r"No job has the name metch\. Nearest: match\."):
        act(actions.run_job, "metch", ANN)


def test_where_nothing_is_near_an_unknown_name_it_is_said_how_to_see_all(synced, act):
    with pytest.raises(NotFound, match=r"^No job has the name zzz\. All of them: schedmgr jobs list$"):
        act(actions.run_job, "zzz", ANN)
    with pytest.raises(NotFound, match=r"^No schedule has the id zzz\. All of them: schedmgr schedules list$"):
        act(actions.enable, "zzz", ANN)


# Cancel and retry


def test_a_waiting_run_is_cancelled_at_once(synced, act, audit):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    assert act(actions.cancel, run_id, ANN) is RunStatus.CANCELLED
    run = synced.runs()[0]
    assert (run.status, run.finished_at is None, run.error) == (
        RunStatus.CANCELLED,
        False,
        "cancelled by web:ann before it started",
    )
    assert audit()[-1][:3] == ("web:ann", "cancel", f"cancelled run {run_id}")


def test_a_run_that_waits_for_another_attempt_is_not_said_to_have_never_started(synced, act):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    synced.sql("UPDATE job_run SET attempt = 2 WHERE id = :id", id=run_id)
    act(actions.cancel, run_id, ANN)
    assert synced.runs()[0].error == "cancelled by web:ann before attempt 2 started"


def test_a_running_one_is_asked_to_stop_once(synced, act, audit):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    act(locking.claim_runs, "d1", 1, timedelta(seconds=60))
    assert act(actions.cancel, run_id, ANN) is RunStatus.RUNNING
    assert act(actions.cancel, run_id, ROBOT) is RunStatus.RUNNING
    assert synced.runs()[0].cancel_requested_by == "web:ann"
    assert [line[2] for line in audit() if line[1] == "cancel"] == [f"asked run {run_id} to stop"]


def test_what_has_ended_cannot_be_cancelled(synced, act):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    act(actions.cancel, run_id, ANN)
    with pytest.raises(Refused, match=f"Run {run_id} has ended already: CANCELLED"):
        act(actions.cancel, run_id, ANN)


def test_a_retry_by_hand_is_a_new_run_of_the_newest_version(synced, act, audit):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    act(actions.cancel, run_id, ANN)
    synced.sync(FEEDS, jobs=(Job("fetch", group="feed", command="false"), TWO_JOBS[1]))
    new_id = act(actions.retry, run_id, ANN)
    old, _, new = synced.runs()
    assert (new.id, new.retry_of, new.job, new.schedule_id, new.status, new.attempt) == (
        new_id,
        run_id,
        "fetch",
        "feeds",
        RunStatus.QUEUED,
        1,
    )
    assert new.job_version_id != old.job_version_id
    assert audit()[-1][:3] == ("web:ann", "retry", f"retried run {run_id} as {new_id}")


def test_a_run_that_has_not_ended_cannot_be_retried(synced, act):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    with pytest.raises(Refused, match=f"Run {run_id} is queued"):
        act(actions.retry, run_id, ANN)


def test_a_run_whose_job_has_left_cannot_be_retried(synced, act):
    run_id, _ = act(actions.run_now, "feeds", ANN).job_run_ids
    act(actions.cancel, run_id, ANN)
    synced.sync(FEEDS, jobs=TWO_JOBS[1:])
    with pytest.raises(Refused, match="Job fetch has left the definitions"):
        act(actions.retry, run_id, ANN)


@pytest.mark.parametrize("action", [actions.cancel, actions.retry])
def test_a_run_that_does_not_exist_is_said_to(synced, act, action):
    with pytest.raises(NotFound, match="No run has the number 99"):
        act(action, 99, ANN)


# Pause


def test_a_pause_keeps_who_why_and_until_when(synced, act, database, audit):
    act(actions.pause, ANN, " db failover ", at(13, 0))
    with database.read() as session:
        (pause,) = session.execute(select(Pause.__table__)).all()
    assert (pause.by, pause.reason, pause.until_at, pause.resumed_by) == ("web:ann", "db failover", at(13, 0), None)
    assert audit() == [("web:ann", "pause", "paused all schedules: db failover", "192.0.2.7")]


def test_a_pause_without_a_reason_is_refused(synced, act):
    with pytest.raises(Refused, match="needs a reason"):
        act(actions.pause, ANN, "  ")


def test_a_pause_that_would_have_ended_is_refused(synced, act):
    with pytest.raises(Refused, match="would end at 2026-03-02T11:00:00Z, which has passed"):
        act(actions.pause, ANN, "db failover", at(11, 0))


def test_a_second_pause_is_refused_while_one_holds(synced, act):
    act(actions.pause, ANN, "db failover")
    with pytest.raises(Refused, match="paused already"):
        act(actions.pause, ANN, "again")


def test_once_a_pause_has_ended_by_itself_there_can_be_another(synced, act, clock):
    act(actions.pause, ANN, "db failover", at(12, 1))
    clock.set_to(at(12, 2))
    act(actions.pause, ANN, "again")


def test_resume_without_a_pause_is_refused(synced, act):
    with pytest.raises(Refused, match="Nothing is paused"):
        act(actions.resume, ANN)


def test_resume_ends_the_pause_and_is_kept(synced, act, database, audit):
    act(actions.pause, ANN, "db failover")
    act(actions.resume, ROBOT)
    with database.read() as session:
        (pause,) = session.execute(select(Pause.__table__)).all()
        assert not actions.is_paused(session)
    assert (pause.until_at is None, pause.resumed_by) == (False, "api:deploy")
    assert audit()[-1][:3] == ("api:deploy", "resume", "resumed all schedules")


def test_run_now_of_a_schedule_whose_mode_cannot_be_read_is_refused(synced, act):
    synced.sql("UPDATE job_schedule SET execution_mode = 'PERHAPS'")
    with pytest.raises(Refused, match="Schedule feeds has no job to run"):
        act(actions.run_now, "feeds", ANN)
    assert synced.firings("feeds") == []
