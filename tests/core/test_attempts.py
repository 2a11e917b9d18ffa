"""When an attempt that ended is followed by another one."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedmgr.core.attempts import RetryRule
from schedmgr.vocabulary import OnLost, RunStatus

TEN_SECONDS = timedelta(seconds=10)
TWICE = RetryRule(retries=2, delay=TEN_SECONDS, on_lost=OnLost.FAIL)
MIDDLE = 0.5  # of the spread: no shift


def test_retries_3_means_up_to_four_attempts():
    rule = RetryRule(3, TEN_SECONDS, OnLost.FAIL)
    follows = [rule.next_attempt_after(attempt, RunStatus.FAILED, MIDDLE) is not None for attempt in (1, 2, 3, 4)]
    assert follows == [True, True, True, False]


def test_the_delay_doubles_with_each_attempt():
    rule = RetryRule(4, TEN_SECONDS, OnLost.FAIL)
    delays = [rule.next_attempt_after(attempt, RunStatus.FAILED, MIDDLE) for attempt in (1, 2, 3)]
    assert delays == [TEN_SECONDS, 2 * TEN_SECONDS, 4 * TEN_SECONDS]


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_jitter_moves_the_delay_by_a_quarter_at_most_and_an_hour_is_the_longest_base(attempt, spread):
    delay = RetryRule(100, TEN_SECONDS, OnLost.FAIL).next_attempt_after(attempt, RunStatus.FAILED, spread)
    base = min(TEN_SECONDS * 2 ** min(attempt - 1, 20), timedelta(hours=1))
    assert delay is not None
    assert 0.75 * base <= delay <= 1.25 * base


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.TIMED_OUT])
def test_a_failure_and_a_timeout_are_tried_again(status):
    assert TWICE.next_attempt_after(1, status, MIDDLE) == TEN_SECONDS


@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.CANCELLED])
def test_a_success_and_a_cancellation_are_not_tried_again(status):
    assert TWICE.next_attempt_after(1, status, MIDDLE) is None


def test_a_lost_run_fails_for_good_unless_its_job_says_retry():
    assert TWICE.next_attempt_after(1, RunStatus.LOST, MIDDLE) is None


def test_a_lost_run_is_tried_again_where_its_job_says_so_even_without_retries():
    rule = RetryRule(0, TEN_SECONDS, OnLost.RETRY)
    assert rule.next_attempt_after(1, RunStatus.LOST, MIDDLE) is not None


def test_a_job_that_kills_its_worker_each_time_is_not_tried_for_ever():
    rule = RetryRule(0, TEN_SECONDS, OnLost.RETRY)
    assert rule.next_attempt_after(50, RunStatus.LOST, MIDDLE) is None


def test_a_stored_definition_that_leaves_out_what_is_usual_is_not_retried():
    assert RetryRule.of({"name": "tidy", "command": "true"}) == RetryRule(0, TEN_SECONDS, OnLost.FAIL)
