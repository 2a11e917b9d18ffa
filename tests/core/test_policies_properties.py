"""The decision against a slow one that looks at each occurrence by itself, whatever the facts.

The rules are those of docs/guarantees.md, "Missed runs" and "Overlap"; here they are written as one would say them.
"""

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedmgr.core import cron
from schedmgr.core.policies import Facts, Paused, Presence, Unfinished, Verdict, decide
from schedmgr.core.timetable import Timetable
from schedmgr.vocabulary import Decision, Missed, Overlap, Reason, Trigger

NIGHT = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)  # before the clocks go forward in Berlin
SHORT, LONG = timedelta(hours=7), timedelta(days=5)
TICK = timedelta(microseconds=1)


# Any facts


def instants(span: timedelta) -> st.SearchStrategy[datetime]:
    """Whole minutes as often as not: edges that meet occurrences are where mistakes are."""
    minutes = st.integers(0, int(span.total_seconds()) // 60).map(lambda minute: timedelta(minutes=minute))
    anything = st.integers(0, int(span.total_seconds()) * 10**6).map(lambda micro: timedelta(microseconds=micro))
    return (minutes | anything).map(lambda length: NIGHT + length)


@st.composite
def pauses(draw: st.DrawFn, span: timedelta, now: datetime) -> tuple[Paused, ...]:
    """In the order of their beginnings; they may overlap and touch, and some have no end."""
    drawn = draw(st.lists(st.tuples(instants(span), st.none() | instants(span)), max_size=4))
    spans = [Paused(since, until) for since, until in drawn if since <= now and (until is None or since < until)]
    return tuple(sorted(spans, key=lambda pause: pause.since))


@st.composite
def presences(draw: st.DrawFn, span: timedelta, now: datetime) -> tuple[Presence, ...]:
    """In order, none touching the next."""
    edges = sorted(draw(st.lists(instants(span), unique=True, max_size=8)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return tuple(Presence(since, min(until, now)) for since, until in pairs if since <= now)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    span, expressions = draw(
        st.sampled_from(
            [
                (SHORT, ["* * * * *", "*/5 * * * *", "7,8 * * * *", "30 2 * * *", "H/10 1-4 * * *"]),
                (LONG, ["30 2 * * *", "0 */6 * * *", "15 1 * * MON", "59 23 L * *", "0 0 29 2 *"]),
            ]
        )
    )
    accounted_until, now = sorted(draw(st.lists(instants(span), min_size=2, max_size=2, unique=True)))
    started = draw(st.none() | st.just(accounted_until))
    return Facts(
        timetable=Timetable(
            draw(st.sampled_from(["s", "t"])),
            draw(st.sampled_from(expressions)),
            draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"])),
            draw(st.none() | instants(span)),
            draw(st.none() | instants(span)),
        ),
        accounted_until=accounted_until,
        now=now,
        grace=timedelta(seconds=draw(st.sampled_from([0, 1, 2, 60, 90, 3600, 90_000]))),
        missed=draw(st.sampled_from(Missed)),
        catch_up_limit=draw(st.sampled_from([1, 2, 3, 10, 1000])),
        overlap=draw(st.sampled_from(Overlap)),
        unfinished=draw(st.none() | st.just(Unfinished(accounted_until, started))),
        worker_alive=draw(st.booleans()),
        pauses=draw(pauses(span, now)),
        presences=draw(presences(span, now)),
    )


# The slow decision


@dataclass(frozen=True)
class Expected:
    """What the rules say about one occurrence.  `cause` tells apart what may not share a row."""

    occurrence: datetime
    decision: Decision
    reason: Reason | None
    trigger: Trigger
    in_turn: bool
    cause: object


def due(facts: Facts) -> list[datetime]:
    """By the expression alone; the window is looked at afterwards."""
    one = facts.timetable
    found = []
    for occurrence in cron.occurrences(one.cron, one.timezone, facts.accounted_until, hash_id=one.schedule_id):
        if occurrence > facts.now:
            break
        found.append(occurrence)
    starts_at, ends_at = one.starts_at or NIGHT - LONG, one.ends_at or NIGHT + 2 * LONG
    return [occurrence for occurrence in found if starts_at <= occurrence < ends_at]


def pause_over(facts: Facts, instant: datetime) -> Paused | None:
    held = [p for p in facts.pauses if p.since <= instant and (p.until is None or instant < p.until)]
    return held[0] if held else None


def cause_of(facts: Facts, occurrence: datetime) -> tuple[Reason, object] | None:
    """None: on time."""
    if pause := pause_over(facts, facts.now) or pause_over(facts, occurrence):
        return Reason.MISSED_PAUSED, pause
    if facts.now - occurrence <= max(facts.grace, timedelta(seconds=1)):
        return None
    if any(presence.since <= occurrence <= presence.until for presence in facts.presences):
        return Reason.MISSED_LATE, "late"
    return Reason.MISSED_NO_DAEMON, sum(presence.until < occurrence for presence in facts.presences)


def expected(facts: Facts) -> Iterator[Expected]:
    causes = {occurrence: cause_of(facts, occurrence) for occurrence in due(facts)}
    late = [one for one, cause in causes.items() if cause and cause[0] is not Reason.MISSED_PAUSED]
    is_any_on_time = None in causes.values()
    wanted = {
        Missed.SKIP: 0,
        Missed.RUN_ONCE: 0 if is_any_on_time else 1,
        Missed.CATCH_UP: facts.catch_up_limit,
    }[facts.missed]
    made_up = late[-wanted:] if wanted else []
    is_busy, allows = facts.unfinished is not None, facts.overlap is Overlap.ALLOW
    for occurrence, cause in causes.items():
        if occurrence in made_up:
            assert cause is not None
            behind = facts.missed is Missed.CATCH_UP or not allows
            yield Expected(occurrence, Decision.ENQUEUED, cause[0], Trigger.CATCH_UP, behind, None)
        elif cause is not None:
            yield Expected(occurrence, Decision.SKIPPED, cause[0], Trigger.SCHEDULE, False, cause)
        elif allows or not (is_busy or made_up):
            yield Expected(occurrence, Decision.ENQUEUED, None, Trigger.SCHEDULE, False, None)
            is_busy = True
        elif facts.overlap is Overlap.QUEUE or made_up:
            yield Expected(occurrence, Decision.ENQUEUED, None, Trigger.SCHEDULE, True, None)
        else:
            yield Expected(occurrence, Decision.SKIPPED, Reason.OVERLAP, Trigger.SCHEDULE, False, occurrence)


def covered(facts: Facts, verdict: Verdict) -> list[datetime]:
    """The occurrences that a verdict speaks of."""
    last = verdict.missed_until or verdict.scheduled_for
    return [occurrence for occurrence in due(facts) if verdict.scheduled_for <= occurrence <= last]


# What holds


@settings(max_examples=400, deadline=None)
@given(any_facts())
def test_each_occurrence_is_decided_as_the_rules_say(facts):
    decided = [
        (occurrence, verdict.decision, verdict.reason, verdict.trigger, verdict.in_turn)
        for verdict in decide(facts)
        for occurrence in covered(facts, verdict)
    ]
    ruled = [(one.occurrence, one.decision, one.reason, one.trigger, one.in_turn) for one in expected(facts)]
    assert decided == ruled


@settings(max_examples=300, deadline=None)
@given(any_facts())
def test_rows_of_missed_occurrences_split_where_the_cause_changes_and_only_there(facts):
    rows = [
        (verdict.scheduled_for, verdict.missed_until, verdict.missed_count)
        for verdict in decide(facts)
        if verdict.reason in (Reason.MISSED_PAUSED, Reason.MISSED_LATE, Reason.MISSED_NO_DAEMON)
        and verdict.decision is Decision.SKIPPED
    ]
    wanted = []
    for cause, group in groupby(expected(facts), key=lambda one: one.cause):
        together = [one.occurrence for one in group]
        if isinstance(cause, tuple):
            wanted.append((together[0], together[-1], len(together)))
    assert rows == joined_over_the_decisions_pause(facts, wanted)


def joined_over_the_decisions_pause(facts: Facts, wanted: list) -> list:
    """A pause that holds at the decision is the one cause of all of it, whatever pauses held before."""
    if pause_over(facts, facts.now) is None or not wanted:
        return wanted
    return [(wanted[0][0], wanted[-1][1], sum(count for _, _, count in wanted))]


@settings(max_examples=200, deadline=None)
@given(any_facts())
def test_every_occurrence_is_covered_by_exactly_one_verdict_oldest_first(facts):
    assert [one for verdict in decide(facts) for one in covered(facts, verdict)] == due(facts)


@settings(max_examples=200, deadline=None)
@given(any_facts())
def test_nothing_fires_that_was_due_in_a_pause_or_is_decided_in_one(facts):
    firing = [verdict.scheduled_for for verdict in decide(facts) if verdict.decision is Decision.ENQUEUED]
    assert not [one for one in firing if pause_over(facts, one) or pause_over(facts, facts.now)]


@settings(max_examples=200, deadline=None)
@given(any_facts(), st.sampled_from([Overlap.SKIP, Overlap.QUEUE]))
def test_unless_overlap_allows_it_no_two_runs_can_be_under_way_at_once(facts, overlap):
    verdicts = decide(replace(facts, overlap=overlap))
    beside_others = [verdict for verdict in verdicts if verdict.decision is Decision.ENQUEUED and not verdict.in_turn]
    assert len(beside_others) <= (1 if facts.unfinished is None else 0)


@settings(max_examples=200, deadline=None)
@given(any_facts(), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_two_decisions_one_after_the_other_cover_what_one_would(facts, share):
    between = facts.accounted_until + (facts.now - facts.accounted_until) * share
    first, second = replace(facts, now=between), replace(facts, accounted_until=between)
    halves = [[one for verdict in decide(half) for one in covered(half, verdict)] for half in (first, second)]
    assert [*halves[0], *halves[1]] == due(facts)


@settings(max_examples=200, deadline=None)
@given(any_facts())
def test_what_is_skipped_or_made_up_says_why_and_from_when_to_when(facts):
    for verdict in decide(facts):
        sentence = verdict.detail or ""
        words = {
            Reason.MISSED_PAUSED: "all schedules ",
            Reason.MISSED_LATE: " late",
            Reason.MISSED_NO_DAEMON: "no daemon ",
            Reason.OVERLAP: "Previous run still ",
            None: "Waits for the previous run: still " if verdict.in_turn else "",
        }
        assert words[verdict.reason] in sentence
        assert sentence.startswith("Made up ") == (verdict.trigger is Trigger.CATCH_UP)
        assert (f"{verdict.missed_count:,} runs missed" in sentence) == (verdict.missed_count > 1)


# Bounded


@pytest.mark.parametrize("missed", Missed)
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_years_of_minutes_are_decided_in_bounded_time_and_memory(missed, timezone):
    long_ago = datetime(1996, 1, 1, tzinfo=UTC)
    facts = Facts(
        timetable=Timetable("s", "* * * * *", timezone),
        accounted_until=long_ago,
        now=NIGHT,
        grace=timedelta(seconds=60),
        missed=missed,
        catch_up_limit=1000,
        overlap=Overlap.SKIP,
        unfinished=None,
        worker_alive=True,
        pauses=(Paused(long_ago + timedelta(days=900), long_ago + timedelta(days=901)),),
        presences=tuple(
            Presence(long_ago + timedelta(days=n), long_ago + timedelta(days=n, hours=7)) for n in range(30)
        ),
    )
    decide(replace(facts, now=long_ago + timedelta(hours=1)))  # what is worked out once for all is not measured
    tracemalloc.start()
    begun = time.perf_counter()
    verdicts = decide(facts)
    took, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(verdict.missed_count or 1 for verdict in verdicts) == (NIGHT - long_ago) // timedelta(minutes=1)
    assert (took < 5.0, peak < 16 * 1024 * 1024) == (True, True)


@pytest.mark.parametrize(
    "edge",
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    ids=["the first instant", "the last instant"],
)
@pytest.mark.parametrize("part", ["accounted_until", "now", "starts_at", "ends_at"])
def test_the_ends_of_the_calendar_are_instants_like_others(edge, part):
    usual = Facts(
        timetable=Timetable("s", "0 0 1 1 *", "America/New_York"),
        accounted_until=NIGHT - timedelta(days=1),
        now=NIGHT,
        grace=timedelta(seconds=60),
        missed=Missed.RUN_ONCE,
        catch_up_limit=1,
        overlap=Overlap.SKIP,
        unfinished=None,
        worker_alive=True,
        pauses=(),
        presences=(),
    )
    at_the_edge = {
        "accounted_until": replace(usual, accounted_until=min(edge, NIGHT - TICK)),
        "now": replace(usual, now=max(edge, usual.accounted_until + TICK)),
        "starts_at": replace(usual, timetable=replace(usual.timetable, starts_at=edge)),
        "ends_at": replace(usual, timetable=replace(usual.timetable, ends_at=edge)),
    }[part]
    covers = sum(verdict.missed_count or 1 for verdict in decide(at_the_edge))
    assert covers == at_the_edge.timetable.count(at_the_edge.accounted_until, at_the_edge.now)
