"""The ledger's pure parts: spans, the walk along the occurrences, and the judgement on one firing."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedmgr.core import cron
from schedmgr.core.ledger.calendar import Period
from schedmgr.core.ledger.coverage import Flaw, Walk
from schedmgr.core.ledger.evidence import Evidence, Life, PauseRow, Unfinished
from schedmgr.core.ledger.reasons import Case, Terms, is_plain, objection
from schedmgr.core.ledger.rows import Firing
from schedmgr.core.ledger.spans import FOREVER, MOMENT, NEVER, Span, Spans

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def at(minute: int, second: int = 0) -> datetime:
    return NOON + minute * MINUTE + second * SECOND


def period(expression: str = "*/5 * * * *", **fields: object) -> Period:
    usual = {
        "id": 1,
        "schedule_id": "feeds",
        "cron": expression,
        "timezone": "UTC",
        "starts_at": None,
        "ends_at": None,
        "tzdata": cron.tzdata_version(),
        "from_at": NOON - SECOND,
        "until_at": None,
    }
    return Period(**usual | fields)


def firing(minute: int, **fields: object) -> Firing:
    usual = {
        "id": minute + 1,
        "schedule_id": "feeds",
        "scheduled_for": at(minute),
        "trigger": "SCHEDULE",
        "decision": "ENQUEUED",
        "reason": None,
        "missed_count": 0,
        "missed_until": None,
        "decided_at": at(minute, 1),
        "process_id": "d1",
        "job_run_count": 1,
    }
    return Firing(**usual | fields)


def skipped(minute: int, reason: str, **fields: object) -> Firing:
    return firing(minute, decision="SKIPPED", reason=reason, job_run_count=0, **fields)


def missed(first: int, last: int, reason: str = "MISSED_NO_DAEMON", **fields: object) -> Firing:
    usual = {"missed_count": (last - first) // 5 + 1, "missed_until": at(last), "decided_at": at(last + 2)}
    return skipped(first, reason, **usual | fields)


# Spans


def test_spans_that_touch_are_one():
    spans = Spans([Span(at(0), at(5)), Span(at(5), at(10)), Span(at(20), at(30))])
    assert list(spans) == [Span(at(0), at(10)), Span(at(20), at(30))]


def test_a_span_that_ends_before_it_begins_holds_nothing():
    assert not list(Spans([Span(at(5), at(0))]))


@pytest.mark.parametrize(
    ("instant", "is_in"), [(at(0), True), (at(10), True), (at(10) + MOMENT, False), (at(15), False)]
)
def test_a_span_holds_both_its_ends(instant, is_in):
    assert Spans([Span(at(0), at(10)), Span(at(20), at(30))]).cover(instant) is is_in


def test_the_parts_of_spans_within_others():
    spans = Spans([Span(at(0), at(10)), Span(at(20), at(30)), Span(at(40), FOREVER)])
    assert list(spans.within(at(5), at(45))) == [Span(at(5), at(10)), Span(at(20), at(30)), Span(at(40), at(45))]
    assert not spans.touch(at(11), at(19))


# The walk


def walked(*firings: Firing, until: int = 30):
    walk = Walk(period(), NOON - SECOND, at(until))
    found = [(finding.flaw, finding.first, finding.count) for finding in walk.findings(firings)]
    return found, walk.uncovered and (walk.uncovered.first, walk.uncovered.count)


def test_a_firing_for_each_occurrence_is_all_there_is_to_it():
    assert walked(*map(firing, range(0, 35, 5))) == ([], None)


def test_a_gap_is_missing():
    assert walked(firing(0), firing(5), firing(20), firing(25), firing(30)) == ([(Flaw.MISSING, at(10), 2)], None)


def test_what_is_left_after_the_last_firing_is_not_judged_here():
    assert walked(firing(0), firing(5)) == ([], (at(10), 5))


def test_a_row_about_many_covers_them():
    assert walked(firing(0), missed(5, 25), firing(30)) == ([], None)


def test_a_firing_within_a_row_about_many_doubles_its_occurrence():
    assert walked(missed(0, 25), firing(10), firing(30)) == ([(Flaw.DOUBLED, at(10), 1)], None)


def test_two_rows_about_many_that_overlap_double_what_both_cover():
    assert walked(missed(0, 15), missed(10, 30)) == ([(Flaw.DOUBLED, at(10), 2)], None)


def test_a_firing_between_two_occurrences_is_not_due():
    found, _ = walked(firing(0), firing(3), *map(firing, range(5, 35, 5)))
    assert found == [(Flaw.NOT_DUE, at(3), 1)]


def test_a_row_about_many_must_count_them_right():
    found, _ = walked(missed(0, 25, missed_count=5), firing(30))
    assert found == [(Flaw.WRONG_COUNT, at(0), 5)]


def test_a_row_about_many_must_end_at_an_occurrence():
    found, _ = walked(missed(0, 23, missed_count=5), firing(25), firing(30))
    assert found == [(Flaw.NOT_DUE, at(23), 1)]


def test_what_nobody_could_work_out_is_covered_by_the_row_that_says_so():
    undecidable = skipped(17, "UNDECIDABLE", decided_at=at(17))
    assert walked(firing(0), undecidable, firing(20), firing(25), firing(30)) == ([], None)


def test_a_walk_may_begin_within_a_row_about_many():
    walk = Walk(period(), at(12), at(30))
    assert list(walk.findings([missed(0, 25), firing(30)])) == []
    assert walk.uncovered is None


def covered_by(firing: Firing) -> list[datetime]:
    span = range(0, int((firing.last - firing.scheduled_for) / MINUTE) + 1, 5)
    return [firing.scheduled_for + minutes * MINUTE for minutes in span]


STARTS = st.sampled_from(range(0, 100, 5))
FIRINGS = st.lists(
    st.one_of(
        st.builds(firing, STARTS),
        st.builds(lambda first, more: missed(first, first + 5 * more), STARTS, st.integers(0, 6)),
    ),
    max_size=12,
    unique_by=lambda firing: firing.scheduled_for,
)


@given(FIRINGS)
def test_what_is_missing_and_doubled_is_what_counting_one_by_one_finds(firings):
    firings = sorted(firings, key=lambda firing: firing.scheduled_for)
    walk = Walk(period(), NOON - SECOND, at(150))
    found = list(walk.findings(firings))
    covered = Counter(instant for firing in firings for instant in covered_by(firing))
    occurrences = [at(minute) for minute in range(0, 155, 5)]
    missing = sum(finding.count for finding in found if finding.flaw is Flaw.MISSING)
    left = 0 if walk.uncovered is None else walk.uncovered.count
    assert missing + left == sum(covered[instant] == 0 for instant in occurrences)
    doubled = sum(finding.count for finding in found if finding.flaw is Flaw.DOUBLED)
    assert doubled == sum(max(0, covered[instant] - 1) for instant in occurrences)
    assert {finding.flaw for finding in found} <= {Flaw.MISSING, Flaw.DOUBLED}


# The judgement on one firing

TERMS = Terms(MINUTE, "skip", NEVER)
PAUSE = PauseRow(at(10), at(20), "ann", "failover", None)
HERE = Life("d1", "app-1", 7, at(-60), at(60), None)


def judged(firing: Firing, pauses=(), lives=(HERE,), terms=TERMS, runs=()) -> str | None:
    case = Case(firing, period(), terms, Evidence(pauses, lives), lambda: Unfinished(runs), NEVER)
    found = objection(case)
    return None if found is None else found.sentence


def test_one_on_time_is_plain_and_nothing_speaks_against_it():
    assert is_plain(firing(0), TERMS, Evidence([], [HERE]))
    assert judged(firing(0)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"decided_at": at(1, 1)},
        {"decided_at": at(-1)},
        {"reason": "MISSED_LATE"},
        {"trigger": "CATCH_UP"},
        {"trigger": "MANUAL"},
        {"decision": "SKIPPED"},
        {"decision": "PERHAPS"},
        {"reason": "BECAUSE"},
        {"job_run_count": 0},
        {"missed_count": 1},
        {"missed_until": at(5)},
    ],
)
def test_what_does_not_go_together_is_not_plain_and_something_speaks_against_it(fields):
    assert not is_plain(firing(0, **fields), TERMS, Evidence([], [HERE]))
    assert judged(firing(0, **fields)) is not None


@pytest.mark.parametrize(("second", "is_said"), [(60, False), (61, True)])
def test_one_exactly_as_late_as_the_grace_is_on_time(second, is_said):
    assert (judged(firing(0, decided_at=at(0, second))) is not None) is is_said


def test_a_pause_at_the_due_instant_must_be_the_reason():
    assert "a pause held at its due instant" in judged(firing(10, decided_at=at(20, 30)), [PAUSE])
    assert judged(missed(10, 10, "MISSED_PAUSED", decided_at=at(20, 30)), [PAUSE]) is None


def test_a_pause_at_the_decision_must_be_the_reason():
    assert "a pause held when it was decided" in judged(missed(5, 5, "MISSED_LATE", decided_at=at(12)), [PAUSE])
    assert judged(missed(5, 5, "MISSED_PAUSED", decided_at=at(12)), [PAUSE]) is None


def test_what_is_decided_at_the_instant_at_which_a_pause_begins_is_decided_before_it():
    assert judged(missed(5, 5, "MISSED_LATE", decided_at=at(10)), [PAUSE]) is None
    assert judged(missed(5, 5, "MISSED_PAUSED", decided_at=at(10)), [PAUSE]) is not None


def test_what_a_resume_decides_it_decides_within_the_pause():
    resumed = PauseRow(at(10), at(20), "ann", "failover", "ann")
    assert judged(missed(10, 20, "MISSED_PAUSED", decided_at=at(20)), [resumed]) is None


def test_a_pause_that_never_held_is_no_reason():
    assert "no pause held" in judged(missed(30, 35, "MISSED_PAUSED"), [PAUSE])


def test_a_part_of_a_row_without_its_reason_is_enough():
    assert "3 of its due instants" in judged(missed(10, 30, "MISSED_PAUSED", decided_at=at(33)), [PAUSE])


@pytest.mark.parametrize(("reason", "is_said"), [("MISSED_NO_DAEMON", True), ("MISSED_LATE", False)])
def test_with_a_daemon_there_it_was_late(reason, is_said):
    assert (judged(missed(0, 10, reason)) is not None) is is_said


@pytest.mark.parametrize(("reason", "is_said"), [("MISSED_NO_DAEMON", False), ("MISSED_LATE", True)])
def test_with_no_daemon_there_nobody_was_late(reason, is_said):
    away = [Life("d0", "app-1", 6, at(-60), at(-1), None), Life("d1", "app-1", 7, at(11), at(60), None)]
    assert (judged(missed(0, 10, reason), lives=away) is not None) is is_said


def test_a_daemon_decides_nothing_after_its_last_beat():
    dead = Life("d1", "app-1", 7, at(-60), at(0), None)
    assert "which beat last at" in judged(firing(0), lives=[dead])


def test_an_overlap_needs_a_run_that_had_not_ended():
    overlap = skipped(5, "OVERLAP")
    assert judged(overlap, runs=[(at(0), None)]) is None
    assert judged(overlap, runs=[(at(0), at(6))]) is None
    assert "no earlier run" in judged(overlap, runs=[(at(0), at(4))])
    assert "no earlier run" in judged(overlap, runs=[(at(6), None)])


def test_what_was_decided_before_the_definition_changed_may_have_had_another_grace():
    changed = Terms(MINUTE, "skip", at(30))
    found = objection(
        Case(firing(0, decided_at=at(2)), period(), changed, Evidence([], [HERE]), lambda: Unfinished([]), NEVER)
    )
    assert found is not None
    assert not found.is_certain


def test_nothing_is_made_up_where_missed_occurrences_are_skipped():
    made_up = firing(0, trigger="CATCH_UP", reason="MISSED_LATE", decided_at=at(5))
    assert "policy for those is skip" in judged(made_up)
    assert judged(made_up, terms=Terms(MINUTE, "run_once", NEVER)) is None


def test_what_is_older_than_what_is_left_is_not_judged_by_the_evidence():
    case = Case(missed(0, 10), period(), TERMS, Evidence([], [HERE]), lambda: Unfinished([]), at(10))
    assert objection(case) is None
