"""`cron next`: when an expression is due, without a database."""

import pytest


def test_next_runs_are_told_one_a_line_in_utc(bare):
    answer = bare("cron", "next", "0 2 * * *", "--after", "2026-03-01T00:00:00Z", "--count", "2")
    assert (answer.code, answer.lines) == (0, ["2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z"])


def test_another_zone_s_clock_stands_beside_utc_through_its_changes(bare):
    answer = bare("cron", "next", "30 * * * *", "--tz", "Europe/Berlin", "--after", "2026-03-29T00:00Z", "--count", "2")
    assert answer.lines == [
        "2026-03-29T00:30:00Z  Sun 2026-03-29 01:30:00 CET",
        "2026-03-29T01:30:00Z  Sun 2026-03-29 03:30:00 CEST",
    ]


def test_as_json_they_are_a_list_of_instants(bare):
    words = ("cron", "next", "@hourly", "--after", "2026-03-01T00:00:00Z", "--count", "1", "--json")
    assert bare(*words).json == ["2026-03-01T01:00:00Z"]


def test_ten_are_told_after_now_unless_said_otherwise(bare):
    assert len(bare("cron", "next", "* * * * *").lines) == 10


@pytest.mark.parametrize(
    ("expression", "zone", "sentence"),
    [
        ("61 * * * *", "UTC", "Minute: 61 is too high. Minute goes from 0 to 59."),
        ("* * * *", "UTC", "Cron expression: * * * * has 4 fields."),
        ("* * * * *", "Mars/Base", "Mars/Base"),
    ],
)
def test_what_cannot_be_worked_out_is_told_in_a_sentence(bare, expression, zone, sentence):
    answer = bare("cron", "next", expression, "--tz", zone)
    assert answer.code == 1
    assert sentence in answer.said


def test_it_reads_no_settings_and_opens_no_database(bare, folder, monkeypatch):
    monkeypatch.setenv("PORT", "nonsense")
    assert bare("cron", "next", "@daily").code == 0
    assert not list(folder.iterdir())
