"""What becomes of every occurrence: the rules of docs/guarantees.md, "Missed runs" and "Overlap"."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schedmgr.core.cron import CronError
from schedmgr.core.policies import Facts, Paused, Presence, Unfinished, Verdict, decide, undecidable
from schedmgr.core.timetable import Timetable
from schedmgr.vocabulary import Decision, Missed, Overlap, Reason, Trigger

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
EVERY_5_MINUTES = Timetable("s", "*/5 * * * *", "UTC")
A_MINUTE = timedelta(minutes=1)


def at(clock_time: str) -> datetime:
    """That time on the day of NOON."""
    hour, minute, *second = (int(part) for part in clock_time.split(":"))
    return NOON.replace(hour=hour, minute=minute, second=second[0] if second else 0)


def facts(since: str, now: str, **changes: object) -> Facts:
    """A schedule of every five minutes, accounted for until `since`; a daemon was there all the time."""
    usual = Facts(
        timetable=EVERY_5_MINUTES,
        accounted_until=at(since),
        now=at(now),
        grace=A_MINUTE,
        missed=Missed.SKIP,
        catch_up_limit=3,
        overlap=Overlap.SKIP,
        unfinished=None,
        worker_alive=True,
        pauses=(),
        presences=(Presence(at("00:00"), at(now)),),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def fired(verdicts: tuple[Verdict, ...]) -> list[datetime]:
    return [verdict.scheduled_for for verdict in verdicts if verdict.decision is Decision.ENQUEUED]


def skipped(verdicts: tuple[Verdict, ...]) -> list[tuple[Reason | None, datetime, datetime | None, int]]:
    return [
        (verdict.reason, verdict.scheduled_for, verdict.missed_until, verdict.missed_count)
        for verdict in verdicts
        if verdict.decision is Decision.SKIPPED
    ]


def absent(*spans: tuple[str, str]) -> tuple[Presence, ...]:
    return tuple(Presence(at(since), at(until)) for since, until in spans)


# On time


def test_an_occurrence_on_time_fires_without_a_reason():
    assert decide(facts("11:56", "12:00:01")) == (Verdict("s", NOON, Decision.ENQUEUED, Trigger.SCHEDULE),)


def test_an_occurrence_exactly_now_fires():
    assert fired(decide(facts("11:56", "12:00"))) == [NOON]


def test_what_is_accounted_for_is_not_decided_again():
    assert decide(facts("12:00", "12:04:59")) == ()


def test_an_occurrence_exactly_as_old_as_the_grace_still_fires():
    assert fired(decide(facts("11:56", "12:01"))) == [NOON]


def test_an_occurrence_a_microsecond_older_than_the_grace_is_missed():
    verdicts = decide(facts("11:56", "12:01", grace=A_MINUTE - timedelta(microseconds=1)))
    assert skipped(verdicts) == [(Reason.MISSED_LATE, NOON, NOON, 1)]


@pytest.mark.parametrize("grace", [0, 1])
def test_what_the_daemons_first_look_finds_is_on_time_however_short_the_grace(grace):
    """It looks at least once a second."""
    assert fired(decide(facts("11:56", "12:00:01", grace=timedelta(seconds=grace)))) == [NOON]
    (missed,) = decide(facts("11:56", "12:00:02", grace=timedelta(seconds=grace)))
    assert missed.detail == f"Missed: 2 s late, grace is {grace} s (the daemon was busy or frozen)"


def test_several_within_the_grace_fire_oldest_first_where_overlap_allows_it():
    verdicts = decide(facts("11:46", "12:01", grace=timedelta(minutes=20), overlap=Overlap.ALLOW))
    assert fired(verdicts) == [at("11:50"), at("11:55"), at("12:00")]


def test_nothing_is_due_outside_the_schedules_window():
    window = replace(EVERY_5_MINUTES, starts_at=at("11:50"), ends_at=at("12:00"))
    verdicts = decide(facts("11:30", "12:01", timetable=window, grace=timedelta(hours=1), overlap=Overlap.ALLOW))
    assert fired(verdicts) == [at("11:50"), at("11:55")]


# Missed: the cause


def test_one_row_covers_a_run_of_occurrences_that_no_daemon_was_there_for():
    (verdict,) = decide(facts("11:41", "12:02", presences=absent(("11:00", "11:41"), ("12:02", "12:02"))))
    assert skipped((verdict,)) == [(Reason.MISSED_NO_DAEMON, at("11:45"), at("12:00"), 4)]
    assert verdict.detail == "4 runs missed, 11:45 to 12:00 UTC: no daemon reached the database from 11:41 to 12:02 UTC"


def test_a_single_missed_run_says_so_in_one_clause():
    (verdict,) = decide(facts("11:56", "12:02", presences=absent(("11:00", "11:56"), ("12:02", "12:02"))))
    assert verdict.detail == "Missed: no daemon reached the database from 11:56 to 12:02 UTC"


def test_before_the_very_first_daemon_there_was_none():
    (verdict,) = decide(facts("11:56", "12:02", presences=absent(("12:02", "12:02"))))
    assert verdict.reason is Reason.MISSED_NO_DAEMON
    assert verdict.detail == "Missed: no daemon had reached the database before 12:02 UTC"


def test_late_under_a_daemons_eyes_is_the_daemons_lateness():
    (verdict,) = decide(facts("11:56", "12:06", grace=timedelta(minutes=5)))[:1]
    assert verdict.reason is Reason.MISSED_LATE
    assert verdict.detail == "Missed: 6 min late, grace is 5 min (the daemon was busy or frozen)"


def test_a_pause_at_the_due_instant_is_the_cause_even_if_no_daemon_was_there_either():
    pauses = (Paused(at("11:50"), at("12:00:30")),)
    verdicts = decide(facts("11:56", "12:02", pauses=pauses, presences=absent(("12:02", "12:02"))))
    assert skipped(verdicts) == [(Reason.MISSED_PAUSED, NOON, NOON, 1)]
    assert verdicts[0].detail == "Missed: all schedules were paused from 11:50 to 12:00 UTC"


def test_a_pause_that_holds_at_the_decision_covers_all_that_is_due():
    pauses = (Paused(at("12:01"), None),)
    verdicts = decide(facts("11:41", "12:02", pauses=pauses, missed=Missed.CATCH_UP))
    assert skipped(verdicts) == [(Reason.MISSED_PAUSED, at("11:45"), at("12:00"), 4)]


def test_a_pause_that_will_end_by_itself_says_until_when():
    pauses = (Paused(at("11:50"), at("14:00")),)
    (verdict,) = decide(facts("11:56", "12:00:01", pauses=pauses))
    assert verdict.detail == "Missed: all schedules are paused from 11:50 to 14:00 UTC"


def test_several_daemons_that_came_late_one_after_another_are_one_cause():
    verdicts = decide(facts("10:01", "11:04", presences=absent(("09:00", "10:12"), ("10:13", "11:04"))))
    assert skipped(verdicts) == [(Reason.MISSED_LATE, at("10:05"), at("11:00"), 12)]


def test_a_pause_at_the_due_instant_is_the_cause_within_the_grace_too():
    pauses = (Paused(at("11:50"), at("12:00:30")),)
    verdicts = decide(facts("11:56", "12:00:45", pauses=pauses))
    assert fired(verdicts) == []
    assert skipped(verdicts) == [(Reason.MISSED_PAUSED, NOON, NOON, 1)]


def test_a_pause_holds_from_its_first_instant_up_to_but_not_including_its_end():
    pauses = (Paused(at("11:55"), at("12:00")),)
    verdicts = decide(facts("11:51", "12:00", pauses=pauses, grace=timedelta(minutes=10)))
    assert (fired(verdicts), skipped(verdicts)) == (
        [NOON],
        [(Reason.MISSED_PAUSED, at("11:55"), at("11:55"), 1)],
    )


def test_what_was_on_time_before_the_pause_is_not_counted_among_what_it_covered():
    pauses = (Paused(at("11:55"), at("12:00")),)
    verdicts = decide(facts("11:46", "12:00", pauses=pauses, grace=timedelta(minutes=20), overlap=Overlap.ALLOW))
    assert fired(verdicts) == [at("11:50"), at("12:00")]
    assert skipped(verdicts) == [(Reason.MISSED_PAUSED, at("11:55"), at("11:55"), 1)]


def test_a_range_splits_where_the_cause_changes():
    pauses = (Paused(at("10:20"), at("10:40")),)
    presences = absent(("09:00", "10:10"), ("10:52", "12:02"))
    assert skipped(decide(facts("10:04", "11:02", pauses=pauses, presences=presences))) == [
        (Reason.MISSED_LATE, at("10:05"), at("10:10"), 2),
        (Reason.MISSED_NO_DAEMON, at("10:15"), at("10:15"), 1),
        (Reason.MISSED_PAUSED, at("10:20"), at("10:35"), 4),
        (Reason.MISSED_NO_DAEMON, at("10:40"), at("10:50"), 3),
        (Reason.MISSED_LATE, at("10:55"), at("11:00"), 2),
    ]


def test_years_of_minutes_are_counted_and_not_listed():
    every_minute = Timetable("s", "* * * * *", "UTC")
    since = NOON - timedelta(days=3650)
    verdicts = decide(facts("12:00", "12:01:30", timetable=every_minute, accounted_until=since, presences=()))
    assert skipped(verdicts) == [(Reason.MISSED_NO_DAEMON, since + A_MINUTE, NOON, 3650 * 24 * 60)]


# Missed: the policy


def test_under_skip_nothing_late_fires_and_what_is_on_time_does():
    verdicts = decide(facts("11:41", "12:00:30"))
    assert fired(verdicts) == [NOON]
    assert skipped(verdicts) == [(Reason.MISSED_LATE, at("11:45"), at("11:55"), 3)]


def test_under_run_once_the_newest_fires_and_the_others_are_skipped():
    verdicts = decide(facts("11:41", "12:02", missed=Missed.RUN_ONCE))
    assert fired(verdicts) == [NOON]
    assert skipped(verdicts) == [(Reason.MISSED_LATE, at("11:45"), at("11:55"), 3)]


def test_what_is_made_up_names_its_cause_and_its_trigger():
    verdict = decide(
        facts("11:56", "12:02", missed=Missed.RUN_ONCE, presences=absent(("11:00", "11:56"), ("12:02", "12:02")))
    )[-1]
    assert (verdict.trigger, verdict.reason) == (Trigger.CATCH_UP, Reason.MISSED_NO_DAEMON)
    assert verdict.detail == "Made up 2 min late: no daemon reached the database from 11:56 to 12:02 UTC"


def test_under_run_once_one_on_time_is_the_newest_and_enough():
    verdicts = decide(facts("11:41", "12:00:30", missed=Missed.RUN_ONCE))
    assert fired(verdicts) == [NOON]
    assert verdicts[-1].trigger is Trigger.SCHEDULE


@pytest.mark.parametrize(("overlap", "waits"), [("skip", True), ("queue", True), ("allow", False)])
def test_under_run_once_the_newest_fires_although_a_run_from_before_the_outage_has_not_ended(overlap, waits):
    """A run that went down with its daemon is unfinished until its lease lapses."""
    left_over = Unfinished(queued_at=at("11:00"), started_at=at("11:01"))
    verdict = decide(facts("11:41", "12:02", missed=Missed.RUN_ONCE, overlap=Overlap(overlap), unfinished=left_over))[
        -1
    ]
    assert (verdict.scheduled_for, verdict.decision, verdict.in_turn) == (NOON, Decision.ENQUEUED, waits)


@pytest.mark.parametrize(
    ("missed", "now", "made_of_it"),
    [
        (Missed.SKIP, "12:02", "(the daemon was busy or frozen)"),
        (Missed.RUN_ONCE, "12:02", "; only the newest is made up"),
        (Missed.RUN_ONCE, "12:00:30", "; a newer one was on time"),
        (Missed.CATCH_UP, "12:02", "; beyond catch-up limit (3)"),
    ],
)
def test_a_row_of_missed_occurrences_says_what_the_policy_made_of_them(missed, now, made_of_it):
    verdict = decide(facts("11:31", now, missed=missed))[0]
    assert verdict.decision is Decision.SKIPPED
    assert verdict.detail is not None
    assert verdict.detail.endswith(made_of_it)


def test_what_a_pause_covered_is_skipped_whatever_the_policy_and_says_no_more():
    pauses = (Paused(at("11:50"), at("12:01")),)
    verdicts = decide(facts("11:51", "12:02", pauses=pauses, missed=Missed.CATCH_UP))
    assert verdicts[0].detail == "2 runs missed, 11:55 to 12:00 UTC: all schedules were paused from 11:50 to 12:01 UTC"


def test_under_catch_up_the_newest_fire_oldest_first_and_the_older_ones_are_one_skipped_row():
    verdicts = decide(facts("11:31", "12:02", missed=Missed.CATCH_UP, catch_up_limit=3))
    assert fired(verdicts) == [at("11:50"), at("11:55"), at("12:00")]
    assert skipped(verdicts) == [(Reason.MISSED_LATE, at("11:35"), at("11:45"), 3)]
    assert "beyond catch-up limit (3)" in (verdicts[0].detail or "")


@pytest.mark.parametrize("overlap", Overlap)
def test_under_catch_up_runs_go_one_behind_another_whatever_overlap_says(overlap):
    verdicts = decide(facts("11:31", "12:02", missed=Missed.CATCH_UP, overlap=overlap))
    assert [verdict.in_turn for verdict in verdicts if verdict.decision is Decision.ENQUEUED] == [True] * 3


def test_under_catch_up_one_on_time_waits_behind_those_that_are_made_up():
    verdicts = decide(facts("11:51", "12:00:30", missed=Missed.CATCH_UP))
    assert fired(verdicts) == [at("11:55"), at("12:00")]
    assert verdicts[-1].in_turn


@pytest.mark.parametrize("missed", Missed)
def test_what_a_pause_covered_is_never_made_up(missed):
    pauses = (Paused(at("11:40"), at("12:01")),)
    verdicts = decide(facts("11:31", "12:02", pauses=pauses, missed=missed, overlap=Overlap.ALLOW))
    assert not [instant for instant in fired(verdicts) if instant >= at("11:40")]


# Overlap


def test_a_run_that_is_still_going_keeps_the_next_one_from_starting():
    going = Unfinished(queued_at=at("11:00"), started_at=at("11:01"))
    (verdict,) = decide(facts("11:56", "12:00:01", unfinished=going))
    assert (verdict.decision, verdict.reason) == (Decision.SKIPPED, Reason.OVERLAP)
    assert verdict.detail == "Previous run still going (started 11:01 UTC)"
    assert (verdict.missed_count, verdict.missed_until) == (0, None)


def test_a_run_that_still_waits_for_a_worker_counts_as_an_earlier_run():
    waiting = Unfinished(queued_at=at("11:00"), started_at=None)
    (verdict,) = decide(facts("11:56", "12:00:01", unfinished=waiting, worker_alive=False))
    assert verdict.reason is Reason.OVERLAP
    assert verdict.detail == "Previous run still queued: no worker"


def test_overlap_queue_enqueues_behind_the_earlier_run():
    going = Unfinished(queued_at=at("11:00"), started_at=at("11:01"))
    (verdict,) = decide(facts("11:56", "12:00:01", unfinished=going, overlap=Overlap.QUEUE))
    assert (verdict.decision, verdict.in_turn, verdict.reason) == (Decision.ENQUEUED, True, None)


def test_overlap_allow_starts_beside_the_earlier_run():
    going = Unfinished(queued_at=at("11:00"), started_at=at("11:01"))
    (verdict,) = decide(facts("11:56", "12:00:01", unfinished=going, overlap=Overlap.ALLOW))
    assert (verdict.decision, verdict.in_turn) == (Decision.ENQUEUED, False)


def test_of_several_on_time_each_knows_those_before_it():
    verdicts = decide(facts("11:46", "12:01", grace=timedelta(minutes=20)))
    assert fired(verdicts) == [at("11:50")]
    assert [verdict.reason for verdict in verdicts[1:]] == [Reason.OVERLAP, Reason.OVERLAP]


def test_of_several_on_time_all_wait_in_turn_under_queue():
    verdicts = decide(facts("11:46", "12:01", grace=timedelta(minutes=20), overlap=Overlap.QUEUE))
    assert [(verdict.decision, verdict.in_turn) for verdict in verdicts] == [
        (Decision.ENQUEUED, False),
        (Decision.ENQUEUED, True),
        (Decision.ENQUEUED, True),
    ]


# What cannot be decided


def test_an_expression_that_cannot_be_read_is_said_and_nothing_else_is_raised():
    with pytest.raises(CronError):
        decide(facts("11:00", "12:00", timetable=Timetable("s", "61 * * * *", "UTC")))


def test_the_verdict_on_what_cannot_be_worked_out_is_a_skip_with_its_own_reason():
    verdict = undecidable("s", NOON, "Minute: 61 is too high.")
    assert (verdict.decision, verdict.reason, verdict.detail) == (
        Decision.SKIPPED,
        Reason.UNDECIDABLE,
        "Minute: 61 is too high.",
    )
