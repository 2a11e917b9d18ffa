"""What the log says while the database is away."""

import logging

import pytest

from schedmgr.core.outage import Outage


@pytest.fixture
def outage(caplog):
    """An outage on a clock that the test moves, and what was said of it: (level, sentence)."""
    caplog.set_level(logging.INFO)

    class Moved(Outage):
        now = 100.0

        def said(self):
            return [(record.levelname, record.getMessage()) for record in caplog.records]

    moved = Moved(logging.getLogger("test"), "daemon", lambda: moved.now)
    return moved


GONE = ("WARNING", "daemon waits for the database: it is locked")


def test_it_is_said_once_and_then_once_a_minute(outage):
    for outage.now in (100.0, 101.0, 159.0, 160.0, 161.0):
        outage.goes_on(OSError("it is locked"))
    assert outage.said() == [GONE, GONE]


def test_its_end_is_said_once_with_its_length(outage):
    outage.goes_on(OSError("it is locked"))
    outage.now = 130.0
    outage.is_over()
    outage.is_over()
    assert outage.said() == [GONE, ("INFO", "daemon has the database back away=30s")]


def test_nothing_is_said_while_the_database_answers(outage):
    outage.is_over()
    assert outage.said() == []


def test_the_next_outage_is_said_at_once(outage):
    outage.goes_on(OSError("it is locked"))
    outage.is_over()
    outage.goes_on(OSError("it is locked"))
    assert outage.said()[-1] == GONE
