"""Transactions, the database's clock, and what is said when there is no answer."""

import sqlite3
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from threading import Timer

import pytest
from kinds import ON_SQLITE
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from schedmgr.database.engine import Database
from schedmgr.database.failures import TransactionLost
from schedmgr.database.models import Setting
from schedmgr.errors import DatabaseUnavailable

NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


def setting(key: str, at: datetime = NOON) -> dict[str, object]:
    return {"key": key, "value": {"n": 1}, "changed_at": at, "changed_by": "ann"}


def keys(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Setting.key).order_by(Setting.key)))


# Transactions


def test_a_transaction_is_kept_as_a_whole_or_not_at_all(database):
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.execute(insert(Setting).values(setting("a")))
        raise ZeroDivisionError
    assert keys(database) == []
    with database.write() as session:
        session.execute(insert(Setting).values(setting("a")))
    assert keys(database) == ["a"]


def test_a_reader_sees_one_state_however_long_it_reads(database, open_database):
    with database.read() as reading:
        before = reading.scalar(text("SELECT count(*) FROM setting"))
        with open_database().write() as session:
            session.execute(insert(Setting).values(setting("a")))
        assert (before, reading.scalar(text("SELECT count(*) FROM setting"))) == (0, 0)


def test_a_lost_transaction_is_done_again_as_a_whole(database):
    tries = []

    def work(session):
        tries.append(session)
        session.execute(insert(Setting).values(setting(f"try-{len(tries)}")))
        if len(tries) < 3:
            raise TransactionLost("Another process was first.")
        return "done"

    assert database.transact(work) == "done"
    assert keys(database) == ["try-3"]


def test_a_transaction_that_is_lost_every_time_is_given_up(database):
    def work(session):
        raise TransactionLost("Another process was first.")

    with pytest.raises(DatabaseUnavailable, match="Another process was first"):
        database.transact(work)


def test_a_second_row_under_the_same_key_is_told_apart_from_an_outage(database):
    with database.write() as session:
        session.execute(insert(Setting).values(setting("a")))
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(Setting).values(setting("a")))


# The clock


def test_one_transaction_has_one_now(database, clock):
    with database.read() as session:
        first = session.now()
        clock.move(hours=1)
        assert session.now() == first
    with database.read() as session:
        assert session.now() >= first + timedelta(hours=1)


def test_the_clock_is_moved_by_the_seconds_in_its_file(database, clock):
    clock.set_to(NOON)
    with database.read() as session:
        assert timedelta(0) <= session.now() - NOON < timedelta(seconds=30)


@pytest.mark.parametrize("content", [None, "", "soon"], ids=["missing", "empty", "no number"])
def test_without_a_number_in_the_file_the_clock_is_not_moved(database, clock, content):
    clock.file.unlink()
    if content is not None:
        clock.file.write_text(content)
    with database.read() as session:
        assert abs(session.now() - datetime.now(UTC)) < timedelta(seconds=30)


# Instants


def test_an_instant_comes_back_aware_in_utc_with_its_microseconds(database):
    in_kolkata = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with database.write() as session:
        session.execute(insert(Setting).values(setting("a", in_kolkata)))
        stored = session.scalar(select(Setting.changed_at))
        as_text = session.scalar(text("SELECT CAST(changed_at AS CHAR) FROM setting"))
    assert (stored, stored.tzinfo) == (NOON, UTC)
    assert as_text == "2026-03-02 12:00:00.123456"


def test_an_instant_without_a_zone_is_refused(database):
    with pytest.raises(Exception, match="an instant needs a time zone"), database.write() as session:
        session.execute(insert(Setting).values(setting("a", NOON.replace(tzinfo=None))))


def test_instants_compare_as_their_texts_do(database):
    with database.write() as session:
        for key, at in {"b": NOON, "a": NOON - timedelta(microseconds=1), "c": NOON + timedelta(seconds=1)}.items():
            session.execute(insert(Setting).values(setting(key, at)))
        order = list(
            session.scalars(select(Setting.key).where(Setting.changed_at <= NOON).order_by(Setting.changed_at))
        )
    assert order == ["a", "b"]


# No answer


def test_who_opens_a_new_file_while_another_makes_it_waits_for_him(tmp_path):
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    Timer(0.3, other.execute, ("COMMIT",)).start()
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    with database.write() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.close()
    other.close()


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/s.db")
    with pytest.raises(DatabaseUnavailable, match=r"s\.db cannot be used: .*\. Check the path and its disk\."):
        database.read().__enter__()


@ON_SQLITE
def test_another_writer_that_does_not_end_is_said_to_hold_the_file(database, database_file, monkeypatch):
    monkeypatch.setattr("schedmgr.database.sqlite.BUSY_TIMEOUT", 0.1)
    impatient = Database(database.url)
    other = sqlite3.connect(database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="Another process has held the database file"):
        impatient.write().__enter__()
    other.close()
    impatient.close()


def test_a_writer_does_not_keep_readers_from_reading(database, open_database):
    with database.write() as session:
        session.execute(insert(Setting).values(setting("a")))
        assert keys(open_database()) == []
    assert keys(database) == ["a"]


def test_more_transactions_at_once_than_a_process_may_have_is_one_sentence(open_database, monkeypatch):
    monkeypatch.setattr("schedmgr.database.backend.POOL_WAIT", 0.1)
    database = open_database()
    with (
        ExitStack() as held,
        pytest.raises(DatabaseUnavailable, match=r"^All \d+ connections of this process"),
    ):
        for _ in range(100):
            held.enter_context(database.read())
    assert keys(database) == []
