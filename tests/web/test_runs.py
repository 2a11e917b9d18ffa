"""Job runs: the list, one run, what may be done to it, and its output as it comes."""

import json
import re
from datetime import timedelta

import pytest

from schedmgr.core.attempts import OutputChunk, store_output
from schedmgr.core.definitions import Job, Schedule
from tests.web.conftest import audit_of

JOBS = (
    Job("fetch", group="feed", command=["python", "feeds.py", "refresh all"], retries=2, timeout=300),
    Job("match", group="matching", command="./match.sh", env={"KEY": "${MATCH_KEY}"}),
)
NIGHTLY = Schedule("nightly", cron="30 2 * * *", execution_mode="ALL_JOBS")


@pytest.fixture
def runs(installation):
    """Two queued runs: fetch is 1, match is 2."""
    installation.sync(NIGHTLY, jobs=JOBS)
    daemon = installation.start_daemon()
    installation.run_now("nightly")
    return daemon


@pytest.fixture
def run_1(installation, runs):
    """Run 1 is running, since ten seconds ago."""
    installation.sql("UPDATE job_run SET status = 'RUNNING', started_at = queued_at, lease_token = 't' WHERE id = 1")
    installation.sql(
        "INSERT INTO job_run_attempt (run_id, attempt, status, process_id, started_at, output_bytes, output_left_out) "
        "SELECT 1, 1, 'RUNNING', :process, queued_at, 0, 0 FROM job_run WHERE id = 1",
        process=runs.id,
    )


@pytest.fixture
def prints(installation, run_1):
    """Stores output of run 1 as a worker does: each call is one stretch of (stream, text)."""
    state = {"seq": 1, "line": 1, "offset": 0}

    def store(*segments, left_out=0):
        text = "".join(text for _, text in segments)
        state["offset"] += left_out
        stored = json.dumps([[1_792_600_000_000 + state["seq"], stream, text] for stream, text in segments])
        chunk = OutputChunk(state["seq"], state["line"], state["offset"], len(text.encode()), stored)
        state["seq"] += 1
        state["line"] += text.count("\n")
        state["offset"] += len(text.encode())
        installation.database.transact(
            lambda session: store_output(session, 1, 1, [chunk], range(0), state["offset"], left_out)
        )

    return store


@pytest.fixture
def ends(installation):
    def end(status="SUCCEEDED", exit_code=0, error=None):
        installation.sql(
            "UPDATE job_run SET status = :status, exit_code = :code, error = :error, finished_at = queued_at "
            "WHERE id = 1",
            status=status,
            code=exit_code,
            error=error,
        )
        installation.sql(
            "UPDATE job_run_attempt SET status = :status, exit_code = :code, finished_at = started_at WHERE run_id = 1",
            status=status,
            code=exit_code,
        )

    return end


def lines(page):
    """The lines of a page or a poll: number, whether standard error, text."""
    found = re.findall(
        r'<li (class="err")? ?(?:data-tail)?>.*?class="no">(\d+)<.*?class="tx">(.*?)</span></li>', page, re.DOTALL
    )
    return [(int(number), bool(error), text) for error, number, text in found]


def point(page):
    return re.search(r'data-next="([^"]+)"', page)[1]


def poll(browser, after, monotonic):
    monotonic.move(1)
    return browser.poll(f"/admin/jobs/1/output?attempt=1&after={after}").text


# ------------------------------------------------------------------------------------------------------------ the list


def test_running_runs_stand_first_and_then_the_newest(installation, runs, operator, rows_in):
    installation.run_now("nightly")
    installation.sql("UPDATE job_run SET status = 'RUNNING', started_at = queued_at WHERE id = 2")
    assert rows_in(operator.get("/admin/jobs").text, "run") == ["2", "4", "3", "1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=failed", ["1"]),
        ("status=queued", ["2"]),
        ("job=match", ["2"]),
        ("group=feed", ["1"]),
        ("schedule=nightly", ["2", "1"]),
        ("schedule=other", []),
        ("trigger=MANUAL", ["2", "1"]),
        ("trigger=SCHEDULE", []),
        ("firing=1", ["2", "1"]),
        ("q=disk", ["1"]),
        ("q=%23" + "2", ["2"]),
        ("q=100%25", []),
        ("status=nonsense&trigger=x&firing=y&before=z", ["2", "1"]),
    ],
)
def test_the_list_can_be_filtered_by_its_address(installation, runs, operator, rows_in, query, found):
    installation.sql(
        "UPDATE job_run SET status = 'TIMED_OUT', error = 'disk full', finished_at = queued_at WHERE id = 1"
    )
    assert rows_in(operator.get(f"/admin/jobs?{query}").text, "run") == found
    assert rows_in(operator.poll(f"/admin/jobs/rows?{query}").text, "run") == found


def test_the_list_goes_back_by_pages_and_forth_again(installation, runs, operator, rows_in):
    for _ in range(60):
        installation.run_now("nightly")
    newest = operator.get("/admin/jobs?job=fetch").text
    assert "1–50 of 61" in newest
    older = operator.get(re.search(r'rel="next" href="([^"]+)"', newest)[1].replace("&amp;", "&")).text
    assert "51–61 of 61" in older
    assert len(rows_in(older, "run")) == 11
    back = operator.get(re.search(r'rel="prev" href="([^"]+)"', older)[1].replace("&amp;", "&")).text
    assert rows_in(back, "run") == rows_in(newest, "run")


def test_only_the_first_page_lives(installation, runs, operator):
    assert "data-live data-every" in re.search(r'<div id="runs"[^>]*>', operator.get("/admin/jobs").text)[0]
    assert "data-live" not in re.search(r'<div id="runs"[^>]*>', operator.get("/admin/jobs?before=2&at=2").text)[0]


def test_the_queue_line_says_how_many_wait_and_how_many_places_are_busy(installation, run_1, operator):
    page = operator.get("/admin/jobs").text
    assert "<strong>1</strong> waiting" in page
    assert "1 of 4 places busy" in page


def test_a_run_that_waits_for_its_next_try_says_when(installation, runs, operator, clock):
    installation.sql(
        "UPDATE job_run SET attempt = 2, available_at = :at WHERE id = 1",
        at=(clock.now + timedelta(seconds=40)).replace(tzinfo=None).isoformat(" "),
    )
    assert re.search(r"Retry <time", operator.get("/admin/jobs").text)


# ------------------------------------------------------------------------------------------------------------- one run


def test_the_page_of_a_run_shows_its_job_as_its_version_had_it(installation, runs, operator):
    page = operator.get("/admin/jobs/1").text
    assert "python feeds.py &#34;refresh all&#34;" in page
    assert "1 of 3" in page
    assert "KEY=${MATCH_KEY}" in operator.get("/admin/jobs/2").text


def test_a_queued_run_is_cancelled_at_once_and_a_running_one_asked_to_stop(installation, run_1, operator, database):
    assert "Run 2 is cancelled." in operator.press("/admin/jobs/2/cancel").headers["hx-trigger"]
    assert "Run 1 is asked to stop." in operator.press("/admin/jobs/1/cancel").headers["hx-trigger"]
    assert [run.status for run in installation.runs()] == ["RUNNING", "CANCELLED"]
    assert "Cancelling…" in operator.get("/admin/jobs/1").text
    assert [entry[2] for entry in audit_of(database)][-2:] == ["cancelled run 2", "asked run 1 to stop"]


def test_a_retry_is_a_new_run_and_pressing_twice_makes_one(installation, run_1, ends, operator):
    ends("FAILED", 1, "exit 1")
    first = operator.press("/admin/jobs/1/retry", request_key="k")
    assert operator.press("/admin/jobs/1/retry", request_key="k").headers["hx-trigger"] == first.headers["hx-trigger"]
    assert [run.retry_of for run in installation.runs()] == [None, None, 1]
    assert "retried as" in operator.get("/admin/jobs/1").text
    assert operator.submit("/admin/jobs/1/retry", request_key="k").headers["location"] == "/admin/jobs/3"


def test_a_run_that_goes_cannot_be_retried(run_1, operator):
    answer = operator.press("/admin/jobs/1/retry")
    assert (answer.status_code, answer.text) == (409, "Run 1 is running. A run can be retried once it has ended.")


def test_a_failed_run_says_so_above_all_with_its_error_as_text(run_1, ends, operator):
    ends("FAILED", 3, "exit 3: <script>alert(1)</script>")
    page = operator.get("/admin/jobs/1").text
    assert "This run failed" in page
    assert "exit 3: &lt;script&gt;" in page
    assert "<script>alert" not in page


def test_a_run_over_its_usual_duration_says_so(installation, run_1, operator, clock):
    for _ in range(6):
        installation.run_now("nightly")
    installation.sql(
        "UPDATE job_run SET status = 'SUCCEEDED', started_at = queued_at, finished_at = queued_at WHERE id > 2"
    )
    clock.move(seconds=30)
    page = operator.get("/admin/jobs/1").text
    assert "This run takes much longer than usual" in page


def test_the_head_lives_and_is_304_while_nothing_changes(run_1, ends, operator, monotonic):
    assert operator.poll("/admin/jobs/1/head").status_code == 200
    monotonic.move(1)
    assert operator.poll("/admin/jobs/1/head").status_code == 304
    ends()
    monotonic.move(1)
    assert "Succeeded" in operator.poll("/admin/jobs/1/head").text


# -------------------------------------------------------------------------------------------------------------- output


def test_output_comes_line_by_line_with_its_numbers_and_streams(prints, operator, monotonic):
    prints(("out", "one\ntwo\n"), ("err", "oops\n"))
    page = operator.get("/admin/jobs/1").text
    assert lines(page) == [(1, False, "one"), (2, False, "two"), (3, True, "oops")]
    prints(("out", "four\n"))
    assert lines(poll(operator, point(page), monotonic)) == [(4, False, "four")]


def test_a_line_that_has_not_ended_is_shown_and_completed_by_the_next_answer(prints, operator, monotonic):
    prints(("out", "load"))
    page = operator.get("/admin/jobs/1").text
    assert lines(page) == [(1, False, "load")]
    assert "data-tail" in page
    prints(("out", "ing\nnext"))
    came = poll(operator, point(page), monotonic)
    assert lines(came) == [(1, False, "loading"), (2, False, "next")]
    prints(("out", " line\n"))
    assert lines(poll(operator, point(came), monotonic)) == [(2, False, "next line")]


def test_lines_of_both_streams_that_grow_at_once_are_not_mixed(prints, operator, monotonic):
    prints(("out", "out begins "), ("err", "err begins "))
    page = operator.get("/admin/jobs/1").text
    prints(("out", "and ends\n"))
    came = poll(operator, point(page), monotonic)
    assert lines(came)[0] == (1, False, "out begins and ends")
    prints(("err", "and ends\n"))
    assert lines(poll(operator, point(came), monotonic)) == [(2, True, "err begins and ends")]


def test_the_last_line_counts_although_it_never_ended(prints, ends, operator, monotonic):
    prints(("out", "done\nno newline"))
    page = operator.get("/admin/jobs/1").text
    ends()
    came = poll(operator, point(page), monotonic)
    assert lines(came) == [(2, False, "no newline")]
    assert 'data-over="true"' in came
    assert "data-tail" not in came


def test_nothing_new_is_304(prints, operator, monotonic):
    prints(("out", "one\n"))
    after = point(operator.get("/admin/jobs/1").text)
    poll(operator, after, monotonic)
    monotonic.move(1)
    assert operator.poll(f"/admin/jobs/1/output?attempt=1&after={after}").status_code == 304


def test_what_was_left_out_stands_between_head_and_tail(prints, operator):
    prints(("out", "head\n"))
    prints(("out", "tail\n"), left_out=2_411_725)
    page = operator.get("/admin/jobs/1").text
    assert "2.3 MiB left out here" in page
    assert [text for _, _, text in lines(page)] == ["head", "tail"]


def test_a_long_output_shows_its_end_and_goes_back_on_request(prints, operator, monotonic):
    for start in range(0, 2500, 10):
        prints(("out", "".join(f"line {number}\n" for number in range(start + 1, start + 11))))
    page = operator.get("/admin/jobs/1").text
    shown = lines(page)
    assert (shown[0][0], shown[-1]) == (1501, (2500, False, "line 2500"))
    assert 'data-earlier="1501"' in page
    monotonic.move(1)
    earlier = operator.get("/admin/jobs/1/output?attempt=1&before=1501").text
    assert [number for number, _, _ in lines(earlier)] == list(range(501, 1501))
    first = operator.get("/admin/jobs/1/output?attempt=1&before=501").text
    assert [number for number, _, _ in lines(first)] == list(range(1, 501))
    assert "data-earlier" not in first


def test_a_flood_comes_in_portions_without_losing_a_line(prints, operator, monotonic):
    after = point(operator.get("/admin/jobs/1").text)
    prints(("out", "".join(f"{number}\n" for number in range(1, 12_001))))
    seen = []
    for _ in range(3):
        came = poll(operator, after, monotonic)
        seen += [number for number, _, _ in lines(came)]
        after = point(came)
    assert seen == list(range(1, 12_001))


@pytest.mark.parametrize("after", ["", "x", "1.1", "-1.0.0", "1.1.1.1", "9" * 30 + ".1.1", "999.999.999"])
def test_a_point_that_nobody_gave_harms_nothing(prints, operator, after):
    prints(("out", "one\n"))
    assert operator.get(f"/admin/jobs/1/output?attempt=1&after={after}").status_code == 200


def test_output_is_text_whatever_it_holds(prints, operator):
    prints(("out", "<img src=x onerror=alert(1)> \x1b[31mred\x1b[0m \x1b]0;title\x07&amp;\n"))
    page = operator.get("/admin/jobs/1").text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert '<span class="a31">red</span>' in page
    assert "\x1b" not in page


def test_output_can_be_downloaded_as_plain_text_that_no_browser_takes_for_a_page(prints, operator):
    prints(("out", "<b>one</b>\n"), ("err", "two\n"))
    prints(("out", "three"), left_out=100)
    answer = operator.get("/admin/jobs/1/output.txt?attempt=1")
    assert answer.text == "<b>one</b>\ntwo\n\n[100 bytes left out here]\nthree"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="fetch-1-attempt-1.txt"'
    assert answer.headers["x-content-type-options"] == "nosniff"
