"""A worker on its own in a thread, with a database that is away for a while."""

import threading
import time

import pytest
from kinds import ON_SQLITE
from sqlalchemy import select

from schedmgr.database.models import Process
from schedmgr.vocabulary import ProcessRole
from schedmgr.worker.station import Station, StationOptions

PATIENCE = 30.0  # seconds
OPTIONS = StationOptions(environment="development", version="1", concurrency=2, lease_seconds=0.4)

pytestmark = ON_SQLITE  # one writer keeps all others waiting


def wait_until(condition):
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        threading.Event().wait(0.02)


@pytest.fixture
def station(monkeypatch, open_database):
    """One that has not begun; writers give up after a moment instead of five seconds."""
    monkeypatch.setattr("schedmgr.database.sqlite.BUSY_TIMEOUT", 0.02)
    monkeypatch.setattr("schedmgr.worker.station.AFTER_TROUBLE", 0.05)
    return Station(open_database(), OPTIONS)


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def in_a_thread(stop):
    """Begin and run until the test ends."""
    threads: list[threading.Thread] = []

    def start(station: Station) -> None:
        threads.append(threading.Thread(target=lambda: station.begin(stop) and station.run(stop)))
        threads[0].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def lives(database):
    """The rows of workers, oldest first."""

    def lives():
        query = select(Process.__table__).where(Process.role == ProcessRole.WORKER).order_by(Process.started_at)
        with database.read() as session:
            return session.execute(query).all()

    return lives


def test_it_registers_as_soon_as_the_database_takes_it(station, in_a_thread, open_database, lives, caplog):
    with open_database().write():
        in_a_thread(station)
        wait_until(lambda: "worker waits for the database" in caplog.text)
        assert lives() == []
    wait_until(lives)


def test_told_to_stop_before_that_it_does_not_begin(station, stop, lives):
    stop.set()
    assert station.begin(stop) is False
    assert lives() == []


def test_a_database_that_is_away_for_a_while_ends_no_life(station, in_a_thread, open_database, lives, caplog):
    in_a_thread(station)
    wait_until(lives)
    with open_database().write():
        wait_until(lambda: "worker's beat waits for the database" in caplog.text)
    (before,) = lives()
    wait_until(lambda: lives()[0].beat_at > before.beat_at)
    assert len(lives()) == 1


def test_after_more_than_a_minute_a_new_life_begins(station, in_a_thread, clock, lives):
    in_a_thread(station)
    wait_until(lives)
    clock.move(seconds=70)
    wait_until(lambda: len(lives()) == 2)
    assert lives()[1].id == station.process_id


def test_a_new_life_that_the_database_refuses_is_begun_later(station, in_a_thread, installation, clock, lives, caplog):
    in_a_thread(station)
    wait_until(lives)
    installation.sql("CREATE TRIGGER refuses BEFORE INSERT ON process BEGIN SELECT RAISE(ABORT, 'no life'); END")
    clock.move(seconds=70)
    wait_until(lambda: "worker's beat failed" in caplog.text)
    installation.sql("DROP TRIGGER refuses")
    wait_until(lambda: len(lives()) == 2)


def test_its_orderly_end_is_on_record(station, stop, lives):
    station.begin(stop)
    station.end()
    (life,) = lives()
    assert life.stopped_at is not None


def test_an_end_that_the_database_does_not_take_is_said_and_does_not_hold_it_up(station, stop, open_database, caplog):
    station.begin(stop)
    with open_database().write():
        station.end()
    assert "end not recorded" in caplog.text
