"""What a log line looks like."""

import json
import logging
import sys

from schedmgr.cli.logs import JsonLines, TextLines


def record(message: str, *arguments: object, level: int = logging.INFO, error: bool = False) -> logging.LogRecord:
    found = logging.LogRecord(
        "schedmgr.daemon", level, "loop.py", 1, message, arguments, sys.exc_info() if error else None
    )
    found.created = 1_772_330_400.004
    return found


FIRING = ("firing enqueued schedule=%s firing=%d detail=%s", "nightly", 8812, '"run 8790 is \\"still\\" running"')


def test_a_text_line_is_instant_level_event_and_facts():
    assert TextLines().format(record(*FIRING)) == (
        "2026-03-01T02:00:00.004Z INFO  firing enqueued schedule=nightly firing=8812 "
        'detail="run 8790 is \\"still\\" running"'
    )


def test_a_warning_is_as_short_as_the_other_levels():
    line = TextLines().format(record("job run lost run=3", level=logging.WARNING))
    assert line == "2026-03-01T02:00:00.004Z WARN  job run lost run=3"


def test_a_line_break_in_a_value_does_not_make_a_second_line():
    assert TextLines().format(record("job run failed error=%s", "a\nb\rc")).count("\n") == 0


def test_a_json_line_has_a_field_for_each_fact():
    assert json.loads(JsonLines().format(record(*FIRING))) == {
        "time": "2026-03-01T02:00:00.004Z",
        "level": "info",
        "event": "firing enqueued",
        "logger": "schedmgr.daemon",
        "schedule": "nightly",
        "firing": "8812",
        "detail": 'run 8790 is "still" running',
    }


def test_a_json_line_without_facts_is_its_event():
    line = json.loads(JsonLines().format(record("Loaded %d schedule definitions from code", 4)))
    assert line["event"] == "Loaded 4 schedule definitions from code"


def test_a_json_line_begins_with_when_and_what():
    assert list(json.loads(JsonLines().format(record(*FIRING))))[:3] == ["time", "level", "event"]


def test_a_fact_cannot_take_the_place_of_a_line_s_own_fields():
    assert json.loads(JsonLines().format(record("x level=fine time=never")))["level"] == "info"


def test_a_traceback_stays_on_the_json_line_and_follows_the_text_line():
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record("daemon step failed", level=logging.ERROR, error=True)
    assert "ValueError: broken" in json.loads(JsonLines().format(failed))["exception"]
    first, *rest = TextLines().format(failed).splitlines()
    assert first.endswith("ERROR daemon step failed")
    assert rest[-1] == "ValueError: broken"
