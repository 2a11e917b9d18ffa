"""One reading feeds every browser; what did not change is not sent again."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event

from schedmgr.core.definitions import Schedule
from schedmgr.core.queries import firings, snapshot
from schedmgr.errors import DatabaseUnavailable
from schedmgr.web.live import Live

HOURLY = Schedule("hourly", cron="0 * * * *", execution_mode="ALL_JOBS")
POLLED = ["/admin/schedules/rows", "/admin/live/shell", "/admin/schedules/rows?state=off", "/admin/live/banners"]


@pytest.fixture
def going(installation, clock):
    """A schedule that is on, and a daemon that beats.  It is a quarter past: nothing becomes due for a while."""
    clock.set_to(clock.now.replace(minute=15, second=0))
    installation.turned_on(HOURLY)
    installation.start_daemon()


@contextmanager
def reads_of(database) -> Iterator[list[str]]:
    """The transactions that begin meanwhile."""
    seen: list[str] = []
    lock = threading.Lock()

    def note(_connection) -> None:
        with lock:
            seen.append("begin")

    event.listen(database._backend.reader, "begin", note)
    yield seen
    event.remove(database._backend.reader, "begin", note)


def test_a_hundred_polls_by_twenty_browsers_within_a_second_read_the_database_once(going, browser, database, monotonic):
    browsers = [browser("viewer") for _ in range(20)]
    monotonic.move(1)
    with reads_of(database) as reads, ThreadPoolExecutor(20) as pool:
        polls = [pool.submit(each.poll, POLLED[nth % len(POLLED)]) for nth in range(5) for each in browsers]
        statuses = {poll.result().status_code for poll in polls}
    assert len(polls) == 100
    assert statuses <= {200, 304}
    assert len(reads) == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_the_number_of_questions_does_not_grow_with_the_schedules(installation, database, is_first):
    def statements_of(count: int) -> int:
        installation.turned_on(
            *(Schedule(f"s{nth}", cron="0 * * * *", execution_mode="ALL_JOBS") for nth in range(count))
        )
        with database.read() as session:
            before = None if is_first else snapshot.read(session)
        asked: list[str] = []
        event.listen(database._backend.reader, "before_cursor_execute", lambda *args: asked.append(args[2]))
        with database.read() as session:
            snapshot.read(session, before)
        return len(asked)

    assert statements_of(2) == statements_of(60) < 25


def test_nobody_asks_the_database_while_nobody_looks(going, browser, database, monotonic):
    browser("viewer").get("/admin/schedules")
    with reads_of(database) as reads:
        monotonic.move(3600)
    assert reads == []


def test_an_unchanged_page_is_304_for_a_minute_while_a_daemon_beats(going, installation, operator, monotonic, clock):
    pages = [*POLLED, "/admin/schedules/hourly/facts", "/admin/schedules/hourly/history", "/admin/jobs/rows"]
    first = [operator.poll(page) for page in pages]
    assert {answer.status_code for answer in first} == {200}
    beats = set()
    for _ in range(30):
        monotonic.move(2)
        installation.beat_until(clock.now + timedelta(seconds=2))
        answers = [operator.poll(page) for page in pages]
        assert [answer.status_code for answer in answers] == [304] * len(pages)
        beats |= {answer.headers["x-schedmgr-beat"] for answer in answers}
    assert len(beats) == 30


def test_a_304_is_empty_and_tells_the_databases_clock(going, operator, monotonic, clock):
    operator.poll("/admin/schedules/rows")
    before = clock.now
    monotonic.move(1)
    clock.move(seconds=90)
    answer = operator.poll("/admin/schedules/rows")
    assert (answer.status_code, answer.text) == (304, "")
    assert answer.headers["x-schedmgr-now"] > before.isoformat()


def test_a_change_is_seen_with_the_next_second(going, installation, operator, monotonic):
    operator.poll("/admin/schedules/rows")
    installation.disable("hourly")
    assert operator.poll("/admin/schedules/rows").status_code == 304
    monotonic.move(1)
    assert operator.poll("/admin/schedules/rows").status_code == 200


def test_who_presses_sees_the_change_at_once(going, operator):
    operator.poll("/admin/schedules/rows")
    operator.press("/admin/schedules/hourly/disable")
    answer = operator.poll("/admin/schedules/rows")
    assert answer.status_code == 200
    assert 'aria-checked="false"' in answer.text


def test_the_tag_tells_apart_what_two_roles_see(going, browser):
    viewer, operator = browser("viewer"), browser("operator")
    viewer.poll("/admin/schedules/rows")
    operator.tags = viewer.tags
    assert operator.poll("/admin/schedules/rows").status_code == 200


def test_a_run_that_ends_changes_the_row_although_nothing_new_was_fired(going, installation, operator, monotonic):
    operator.press("/admin/schedules/hourly/run", request_key="k")
    assert "Queued" in operator.poll("/admin/schedules/rows").text
    installation.sql("UPDATE job_run SET status = 'FAILED', exit_code = 3, finished_at = queued_at")
    monotonic.move(1)
    assert "exit 3" in operator.poll("/admin/schedules/rows").text


def test_while_the_database_is_away_the_page_shows_the_last_it_knew_and_says_so(
    going, operator, database, monotonic, monkeypatch
):
    operator.poll("/admin/schedules/rows")
    away = DatabaseUnavailable("The database cannot be used.")

    @contextmanager
    def no_answer():
        raise away
        yield

    monkeypatch.setattr(database, "read", no_answer)
    monotonic.move(6)
    assert operator.poll("/admin/schedules/rows").status_code == 304
    assert "The database does not answer" in operator.poll("/admin/live/shell").text
    monkeypatch.undo()
    monotonic.move(5)
    assert "The database does not answer" not in operator.poll("/admin/live/shell").text


def test_where_nothing_was_ever_read_an_absent_database_is_one_sentence(tmp_path, monotonic):
    from schedmgr.database.engine import Database

    live = Live(Database(f"sqlite:///{tmp_path}/nowhere/x.db"), monotonic=monotonic)
    with pytest.raises(DatabaseUnavailable, match="cannot be used"):
        live.reading()


def test_only_one_of_many_that_come_at_once_asks(database, monotonic):
    live = Live(database, monotonic=monotonic)
    asked: list[int] = []
    all_there = threading.Barrier(8)

    def look(_nth: int) -> int:
        all_there.wait()
        return live.ask("question", lambda session: asked.append(1) or 42)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(look, range(8))) == {42}
    assert len(asked) == 1


def test_answers_are_forgotten_before_they_fill_the_memory(database, monotonic):
    live = Live(database, monotonic=monotonic)
    for nth in range(2000):
        live.worked_out(("page", nth), lambda: "x")
    assert len(live._answers) <= 500


def test_the_newest_firings_of_all_schedules_are_found_by_the_index_and_not_by_reading_the_rest(going, database):
    asked: list[tuple[str, tuple[object, ...]]] = []
    event.listen(database._backend.reader, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    with database.read() as session:
        firings.newest_by_schedule(session)
        statement, values = next(each for each in asked if each[0].startswith("SELECT"))
        plan = [row[3] for row in session.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    index = "USING INDEX ix_schedule_firing_schedule_id_id (schedule_id=? AND id>?)"
    assert any(line.startswith(f"SEARCH schedule_firing {index}") for line in plan)
    assert not any(line.startswith("SCAN schedule_firing") for line in plan)
