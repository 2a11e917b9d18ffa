"""`pause` and `resume`."""

import pytest


def test_pause_stops_firing_until_someone_resumes(at_noon):
    assert at_noon("pause", "--reason", "db failover").out == "All schedules are paused until someone resumes.\n"
    assert "All schedules are paused since 12:01 UTC" in at_noon("health").out
    assert at_noon("resume").out == "All schedules fire again.\n"
    assert "paused" not in at_noon("health").out


def test_a_pause_with_an_end_is_told_by_health_with_who_and_why(at_noon):
    at_noon("pause", "--reason", "migration", "--until", "2h")
    assert "All schedules are paused until 14:01 UTC by cli:" in at_noon("health").out
    assert ": migration (since 12:01 UTC)" in at_noon("health").out


@pytest.mark.parametrize(
    ("until", "end"),
    [
        ("2026-03-02T14:30:00Z", "2026-03-02 14:30:00"),
        ("2026-03-02T14:30:00+01:00", "2026-03-02 13:30:00"),
        ("2026-03-02 14:30", "2026-03-02 14:30:00"),
        ("30m", "2026-03-02 12:31:"),
        ("2h", "2026-03-02 14:01:"),
        ("1d", "2026-03-03 12:01:"),
    ],
)
def test_a_pause_may_end_by_itself_at_an_instant_or_after_a_span(at_noon, until, end):
    assert f"paused until {end}" in at_noon("pause", "--until", until).out


def test_a_pause_cannot_end_in_the_past(at_noon):
    answer = at_noon("pause", "--until", "2026-03-02T12:00:00Z")
    assert (answer.code, answer.said) == (
        1,
        "The pause would end at 2026-03-02T12:00:00Z, which has passed. Name a later instant.",
    )


def test_a_second_pause_and_a_second_resume_are_refused(at_noon):
    at_noon("pause")
    answer = at_noon("pause")
    assert (answer.code, answer.said) == (1, "All schedules are paused already. Resume first to pause anew.")
    at_noon("resume")
    answer = at_noon("resume")
    assert (answer.code, answer.said) == (1, "Nothing is paused.")
