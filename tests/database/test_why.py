"""`why` answers for an instant: what happened, what decided it, the evidence, and what to do."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core import locking, transitions
from schedmgr.core.definitions import Job, Schedule
from schedmgr.core.ledger.why import why
from schedmgr.core.transitions import Ending
from schedmgr.vocabulary import RunStatus

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TWO_JOBS = (Job("fetch", command="true", retries=2), Job("match", command="true", after=["fetch"]))


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


def five_minutes(id: str = "feeds", **fields: object) -> Schedule:
    return Schedule(id, cron="*/5 * * * *", execution_mode="ALL_JOBS", **fields)


@pytest.fixture
def ask(installation):
    """The answer about `feeds`, or about another schedule."""

    def ask(instant=None, id: str = "feeds"):
        with installation.database.read() as session:
            return why(session, id, instant)

    return ask


@pytest.fixture
def running(installation, clock):
    """At 11:58:30 a daemon runs and a schedule of every five minutes is on."""
    clock.set_to(at(11, 58, 30))
    installation.start_daemon()
    installation.turned_on(five_minutes())
    return installation


@pytest.fixture
def fired(running, clock):
    """It fired at 12:00, and its run waits."""
    clock.set_to(at(12, 0, 1))
    running.start_daemon()
    running.tick()
    return running


@pytest.fixture
def worker(installation, clock):
    """Starts and ends runs as a worker's rows would have it."""

    class Worker:
        def starts(self):
            lease, worker_id = timedelta(seconds=60), installation.start_daemon().id
            [claimed] = installation.database.transact(lambda session: locking.claim_runs(session, worker_id, 1, lease))
            return claimed

        def ends(self, run, status=RunStatus.SUCCEEDED, error=None):
            installation.database.transact(
                lambda session: transitions.finish(
                    session, run.id, run.attempt, Ending(status, session.now(), None, error), run.lease_token
                )
            )

        def fails_once(self, run, seconds: int):
            installation.database.transact(
                lambda session: transitions.try_again(
                    session,
                    run.id,
                    run.attempt,
                    Ending(RunStatus.FAILED, session.now(), 1, "exit code 1"),
                    run.lease_token,
                    session.now() + timedelta(seconds=seconds),
                )
            )

    return Worker()


def words(answer) -> str:
    return " ".join([answer.headline, answer.because, *answer.evidence, answer.next, answer.do])


# What was decided


def test_one_on_time_says_who_decided_it_and_what_became_of_its_runs(fired, ask, worker, clock):
    worker.ends(worker.starts())
    answer = ask(NOON)
    assert (answer.verdict, answer.at, len(answer.job_run_ids)) == ("enqueued", NOON, 1)
    assert re.search(r"It was enqueued \S+ s after it was due, on time: 1 job run, 1 succeeded\.", answer.headline)
    assert answer.because.startswith("The daemon on ")
    assert "Run 1 (tidy) succeeded at 12:00:" in words(answer)
    assert answer.do == ""


def test_without_an_instant_it_is_about_the_last_one_that_was_due(fired, ask, clock):
    clock.set_to(at(12, 3))
    assert ask().at == NOON


def test_the_seconds_may_be_those_of_a_log_line(fired, ask):
    assert ask(at(12, 0, 42)).at == NOON


def test_a_failed_run_names_its_error_and_the_way_to_its_output(fired, ask, worker):
    worker.ends(worker.starts(), RunStatus.FAILED, "exit code 3")
    answer = ask(NOON)
    assert "1 did not succeed" in answer.headline
    assert "exit code 3." in words(answer)
    assert answer.do == "Read what it printed: schedmgr runs logs 1. Run it again: schedmgr runs retry 1"


def test_one_that_nobody_was_there_for_says_which_daemons_lived_when(fired, ask, clock):
    clock.set_to(at(12, 27))
    fired.start_daemon()
    fired.tick()
    answer = ask(at(12, 15))
    assert answer.verdict == "missed no daemon"
    assert "it is one of 5 missed from 12:05:00 UTC to 12:25:00 UTC" in answer.headline
    assert "beat last at 12:00:" in answer.evidence[0]
    assert "began at 12:27:" in answer.evidence[1]
    assert 'missed="run_once"' in answer.do


@pytest.mark.parametrize(("missed", "advice"), [("run_once", 'missed="catch_up"'), ("catch_up", "catch_up_limit")])
def test_one_that_a_generous_policy_left_out_is_not_told_to_have_that_policy(installation, ask, clock, missed, advice):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(missed=missed, catch_up_limit=1))
    clock.set_to(at(12, 27))
    installation.start_daemon()
    installation.tick()
    answer = ask(at(12, 15))
    assert answer.verdict == "missed no daemon"
    assert advice in answer.do
    assert f'missed="{missed}"' not in answer.do


def test_after_a_clock_that_was_set_back_the_next_one_is_the_first_that_is_not_decided(fired, ask, clock):
    clock.set_to(at(14, 2))
    fired.start_daemon()
    fired.tick()
    clock.set_to(at(12, 7))
    assert ask().next == (
        "Due again at Mon 2 Mar 2026 14:05 UTC, in 1 h 58 min. The database's clock was set back: until then all is "
        "decided."
    )


def test_with_no_daemon_yet_the_first_thing_to_do_is_to_start_one(fired, ask, clock):
    clock.set_to(at(12, 27))
    fired.start_daemon()
    fired.tick()
    clock.set_to(at(12, 40))
    assert ask(at(12, 15)).do == "No daemon is running now either. Start one: schedmgr daemon"


def test_one_that_was_late_says_that_a_daemon_was_there(running, ask, clock):
    running.beat_until(at(12, 3))
    running.tick()
    answer = ask(NOON)
    assert answer.verdict == "missed late"
    assert re.search(r"was there from 11:58:\d\d UTC to 12:03:\d\d UTC", answer.evidence[0])
    assert "decided it at 12:03:" in answer.evidence[1]


def test_one_in_a_pause_says_who_paused_until_when_and_why(running, ask, clock):
    running.pause("db failover", until=at(12, 3))
    clock.set_to(at(12, 4))
    running.tick()
    answer = ask(NOON)
    assert answer.verdict == "missed paused"
    [said] = answer.evidence
    assert re.fullmatch(r"cli:ann@desk paused all schedules from \S+ UTC until 12:03:00 UTC: db failover\.", said)
    assert answer.do == "Run it now: schedmgr schedules run feeds"


def test_while_the_pause_holds_the_thing_to_do_is_to_end_it(running, ask, clock):
    running.pause("db failover")
    clock.set_to(at(12, 1))
    running.start_daemon()
    running.tick()
    answer = ask(NOON)
    assert "until somebody resumes: db failover." in words(answer)
    assert answer.do == "Let schedules fire again: schedmgr resume"
    assert "All schedules are paused." in answer.next


def test_one_that_overlapped_names_the_earlier_run(fired, ask, worker, clock):
    worker.starts()
    clock.set_to(at(12, 5, 1))
    fired.start_daemon()
    fired.tick()
    answer = ask(at(12, 5))
    assert answer.verdict == "overlap"
    [said] = answer.evidence
    assert re.fullmatch(r"Run 1 \(tidy\) began at 12:00:\d\d UTC and has not ended yet\.", said)
    assert 'overlap="queue"' in answer.do


def test_one_that_was_made_up_says_why_it_was_late(installation, ask, clock):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(missed="run_once"))
    clock.set_to(at(12, 3))
    installation.tick()
    answer = ask(NOON)
    assert answer.verdict == "made up"
    assert "It was made up 3 min late" in answer.headline
    assert "began at 12:03:" in words(answer)


def test_one_that_nobody_could_work_out_says_what_to_mend(running, ask, clock):
    running.sql("UPDATE job_schedule SET cron = '61 * * * *' WHERE id = 'feeds'")
    clock.set_to(at(12, 0, 1))
    running.tick()
    answer = ask(NOON)
    assert answer.verdict == "undecidable"
    assert "61 is too high" in answer.because
    assert "schedmgr sync" in answer.do


def test_a_run_by_hand_nearby_is_told(fired, ask, clock):
    clock.set_to(at(12, 6))
    fired.run_now("feeds")
    assert re.search(r"It was run by hand at 12:06:\d\d UTC by cli:ann@desk", words(ask(NOON)))


# What was not


def test_a_time_that_is_not_due_names_those_before_and_after(fired, ask):
    answer = ask(at(11, 59, 30))
    assert answer.verdict == "not due"
    assert "not due at Mon 2 Mar 2026 11:59:30 UTC." in answer.headline
    assert answer.because == "It was on, by */5 * * * *: every 5 minutes."
    assert "It was never due before, and then at Mon 2 Mar 2026 12:00 UTC." in answer.evidence
    assert answer.do.endswith("schedules why feeds --at 2026-03-02T12:00:00Z")


def test_a_schedule_that_was_never_on(installation, ask, clock):
    clock.set_to(NOON)
    installation.sync(five_minutes())
    answer = ask()
    assert (answer.verdict, answer.at) == ("never on", None)
    assert answer.because == "It has never been turned on: new schedules arrive off."
    assert answer.do == "Turn it on: schedmgr schedules enable feeds"


def test_one_that_is_on_and_has_not_been_due(running, ask):
    answer = ask()
    assert answer.verdict == "not due yet"
    assert "Due again at Mon 2 Mar 2026 12:00 UTC" in answer.next


def test_one_that_is_off_says_since_when_and_who_turned_it_off(fired, ask, clock):
    fired.disable("feeds")
    clock.set_to(at(12, 30))
    assert re.fullmatch(r"Turned off at Mon 2 Mar 2026 12:00:\d\d UTC, by cli:ann@desk\.", ask().because)
    assert ask().evidence == ("It was due last at Mon 2 Mar 2026 12:00 UTC.",)
    assert ask(at(12, 10)).verdict == "off"


def test_a_time_at_which_it_was_off_and_is_not_any_more(fired, ask, clock):
    fired.disable("feeds")
    clock.set_to(at(12, 30))
    fired.enable("feeds")
    answer = ask(at(12, 10))
    assert answer.headline == "It was off then: nothing of it was due."
    assert "and then at Mon 2 Mar 2026 12:35 UTC." in words(answer)


def test_one_that_is_archived_says_since_when(fired, ask, clock):
    clock.set_to(at(12, 2))
    fired.sync(five_minutes("other"))
    answer = ask()
    assert answer.verdict == "archived"
    assert re.fullmatch(r"Archived since Mon 2 Mar 2026 12:02\S* UTC: it left the definitions\.", answer.because)


def test_a_time_before_the_schedule_was_there(running, ask):
    assert "It did not exist then: it came into the tables at Mon 2 Mar" in ask(at(9, 0)).because


@pytest.mark.parametrize(
    ("instant", "said"),
    [(at(12, 0), "starts_at Mon 2 Mar 2026 14:00 UTC"), (at(17, 0), "ends_at Mon 2 Mar 2026 16:00")],
)
def test_a_time_outside_its_window(installation, ask, clock, instant, said):
    clock.set_to(at(11, 58))
    installation.turned_on(five_minutes(starts_at=at(14, 0), ends_at=at(16, 0)))
    answer = ask(instant)
    assert answer.verdict == "not due"
    assert said in answer.because


def test_an_id_that_no_schedule_has(running, ask):
    assert ask(id="feed") is None


def test_what_was_pruned_is_not_known_any_more(fired, ask):
    fired.sql("DELETE FROM job_run")
    fired.sql("DELETE FROM schedule_firing")
    pruned_until(fired, "2026-03-02T12:00:30+00:00")
    assert ask(NOON).because == "What was decided before Mon 2 Mar 2026 12:00:30 UTC was pruned."


def pruned_until(installation, instant: str) -> None:
    installation.sql(
        "INSERT INTO setting (`key`, value, changed_at, changed_by) VALUES ('retention', :value, "
        "'2026-03-02 12:00:00.000000', 'daemon')",
        value=f'{{"pruned_until": "{instant}"}}',
    )


def test_one_without_a_row_is_missing(fired, ask):
    fired.sql("DELETE FROM job_run")
    fired.sql("DELETE FROM schedule_firing")
    answer = ask(NOON)
    assert answer.verdict == "missing"
    assert answer.do == "See what else is missing: schedmgr verify --schedule feeds"


def test_a_period_that_cannot_be_read_is_said(fired, ask):
    fired.sql("DELETE FROM job_run")
    fired.sql("DELETE FROM schedule_firing")
    fired.sql("UPDATE schedule_period SET timezone = 'Mars/Olympus'")
    assert ask(NOON).verdict == "cannot be read"


@pytest.mark.parametrize("instant", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
def test_the_ends_of_the_calendar_have_an_answer(fired, ask, instant):
    assert ask(instant).headline


# What is still to come


def test_one_that_is_due_and_has_no_daemon(running, ask, clock):
    clock.set_to(at(12, 0, 20))
    running.sql("UPDATE process SET beat_at = '2026-03-02 11:50:00.000000', started_at = '2026-03-02 11:40:00.000000'")
    answer = ask(NOON)
    assert answer.verdict == "pending"
    assert re.fullmatch(r"It was due 2\d s ago and is not decided yet\.", answer.headline)
    assert "beat last at 11:50:00 UTC." in answer.because
    assert answer.do == "Start one, and it decides this first: schedmgr daemon"
    assert re.search(r"It still runs on time if it is decided within \d\d s; its grace is 1 min\.", words(answer))


def test_one_that_is_due_while_a_daemon_beats(running, ask, clock):
    running.beat_until(at(12, 0, 20))
    answer = ask(NOON)
    assert answer.verdict == "pending"
    assert "has not decided it." in answer.because
    assert "schedmgr health -v" in answer.do


def test_one_whose_grace_is_over_says_what_will_become_of_it(running, ask, clock):
    clock.set_to(at(12, 4))
    assert "Its grace of 1 min is over, so it will be skipped as missed (missed=skip)." in ask(NOON).evidence


def test_a_future_one_says_what_could_keep_it(fired, ask):
    answer = ask(at(12, 5))
    assert answer.verdict == "coming"
    assert answer.because == "It will run if a daemon is there and no pause holds, and if its earlier run has ended."
    assert re.search(r"Run 1 \(tidy\) was queued at 12:00:\d\d UTC and has not ended yet\.", words(answer))


def test_a_future_one_within_a_pause_will_be_skipped(running, ask):
    running.pause("db failover", until=at(12, 3))
    assert ask(NOON).headline.endswith("and it will be skipped.")
    assert ask(at(12, 5)).headline.startswith("It is due in ")


# Changes of the clocks


@pytest.fixture
def berlin(installation, clock):
    """Daily at half past two in Berlin, where that time does not exist on 29 March."""
    clock.set_to(datetime(2026, 3, 27, 12, tzinfo=UTC))
    installation.turned_on(Schedule("berlin", cron="30 2 * * *", timezone="Europe/Berlin", execution_mode="ALL_JOBS"))


def test_a_time_in_the_gap_says_where_the_occurrence_moved(berlin, ask):
    answer = ask(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "berlin")
    assert answer.verdict == "not due"
    assert "02:30 does not exist that night; it runs once at 03:00 (01:00 UTC)." in words(answer)


def test_the_moved_occurrence_says_why_it_is_then(berlin, ask):
    answer = ask(datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "berlin")
    assert answer.verdict == "coming"
    assert "02:30 does not exist that night" in words(answer)


def test_a_time_in_the_second_pass_of_the_repeated_hour_says_that_it_ran_in_the_first(berlin, ask):
    answer = ask(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "berlin")
    assert answer.verdict == "not due"
    assert "02:30 happens twice that night; this schedule runs once, in the first pass (00:30 UTC)." in words(answer)


# Runs that wait


def waits(answer) -> str:
    return answer.evidence[0]


def test_a_run_waits_for_a_worker_and_none_is_there(running, ask, clock):
    clock.set_to(at(12, 0, 1))
    running.sql("UPDATE process SET concurrency = 0")
    running.start_daemon(concurrency=0)
    running.tick()
    assert waits(ask(NOON)) == "Run 1 (tidy) waits for a worker, and none is running."
    assert ask(NOON).do.startswith("Start one: schedmgr worker")


def test_a_run_waits_because_all_places_are_taken(fired, ask, worker, clock):
    worker.starts()
    fired.run_now("feeds")
    fired.sql("UPDATE process SET stopped_at = beat_at")
    fired.start_daemon(concurrency=1)
    fired.sql("UPDATE job_run SET firing_id = 1, scheduled_for = '2026-03-02 12:00:00.000000' WHERE id = 2")
    assert re.search(r"Run \d+ \(tidy\) waits for a worker: 1 place in all, 1 run going\.", words(ask(NOON)))


def test_a_run_waits_for_its_retry(fired, ask, worker):
    worker.fails_once(worker.starts(), seconds=30)
    said = r"Run 1 \(tidy\) waits for its retry, attempt 2 of 2, at \S+ UTC \(in \d+ s\) \(attempt 1: exit code 1\)\."
    assert re.fullmatch(said, waits(ask(NOON)))
    assert ask(NOON).do == "See why it failed: schedmgr runs logs 1 --attempt 1"


def test_a_run_waits_for_the_jobs_that_it_comes_after(installation, ask, clock):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(), jobs=TWO_JOBS)
    clock.set_to(at(12, 0, 1))
    installation.tick()
    said = words(ask(NOON))
    assert re.search(
        r"Run \d+ \(match\) comes after run 1 \(fetch\), queued: it starts when that has succeeded\.", said
    )


def test_a_run_waits_for_its_turn(installation, ask, clock):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(overlap="queue"))
    for minute in (0, 5):
        clock.set_to(at(12, minute, 1))
        installation.start_daemon()
        installation.tick()
    answer = ask(at(12, 5))
    turn = r"Run \d+ \(tidy\) waits for its turn: run 1 \(tidy\) of an earlier firing has not ended\."
    assert re.search(turn, words(answer))
    assert answer.because.startswith("Waits for the previous run")


def test_a_run_waits_for_its_jitter(installation, ask, clock):
    clock.set_to(at(11, 58, 30))
    installation.turned_on(five_minutes(jitter=200))
    clock.set_to(at(12, 0, 1))
    installation.tick()
    assert "the schedule's jitter delays its runs" in waits(ask(NOON))


def test_a_run_that_is_running_says_where(fired, ask, worker):
    worker.starts()
    assert "Run 1 (tidy) is running on " in waits(ask(NOON))


def test_a_run_whose_worker_is_silent_waits_for_its_lease_to_lapse(fired, ask, worker, clock):
    worker.starts()
    fired.sql("UPDATE process SET beat_at = '2026-03-02 11:50:00.000000'")
    said = waits(ask(NOON))
    assert "but its worker on " in said
    assert "has to lapse" in said
    assert ask(NOON).do == "A daemon has to watch the lease lapse: schedmgr daemon"


def test_an_answer_is_a_handful_of_short_lines(fired, ask, clock):
    clock.set_to(at(12, 27))
    fired.start_daemon()
    fired.tick()
    answer = ask(at(12, 15))
    lines = [line for line in (answer.headline, answer.because, *answer.evidence, answer.next, answer.do) if line]
    assert 3 <= len(lines) <= 6
    assert max(len(line) for line in lines) <= 120
