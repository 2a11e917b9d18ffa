"""Pages that update under a reader's eyes without taking anything out of their hands."""

import re
import signal

import pytest
from playwright.sync_api import Page, expect

DEFINITIONS = """
from schedmgr import ExecutionMode, Job, Schedule

jobs = [
    Job("count", command="for n in 1 2 3 4 5 6; do echo number $n; sleep 0.5; done"),
    Job("sleep-long", command="echo started; sleep 300", group="slow"),
    Job("markup", command="echo '<b>bold</b>'"),
]
schedules = [
    Schedule("counting", cron="0 3 * * *", execution_mode=ExecutionMode.JOB, job="count"),
    Schedule("sleeping", cron="0 4 * * *", execution_mode=ExecutionMode.GROUP, job_group="slow"),
    *[Schedule(f"filler-{n:02}", cron="0 5 * * *", execution_mode=ExecutionMode.JOB, job="count") for n in range(30)],
]
"""


@pytest.fixture
def signed_in(running, page: Page, wait_until):
    """Web and daemon run over thirty-two schedules; the person looks at the list of schedules."""
    (running.folder / "definitions.py").write_text(DEFINITIONS)
    running.do("migrate")
    running.start("daemon")
    wait_until(
        lambda: "definition added schedule=filler-29" in running.log("daemon").read_text(), "the definitions load"
    )
    running.start("web")
    running.until_it_answers()
    running.sign_in(page)
    return running


def top_of(page: Page, schedule_id: str) -> float:
    return page.evaluate("id => document.getElementById(id).getBoundingClientRect().top", f"row-{schedule_id}")


def test_what_a_reader_holds_stays_while_rows_change(signed_in, page: Page):
    row = page.locator("#row-counting")
    row.get_by_role("switch").focus()
    page.evaluate("window.scrollTo(0, 400)")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#row-filler-03 .name'))")
    under_the_eye = top_of(page, "filler-12")

    signed_in.do("schedules", "run", "counting")
    expect(row).to_contain_text("Succeeded", timeout=40_000)

    assert page.evaluate("document.activeElement.closest('tr').id") == "row-counting"
    assert top_of(page, "filler-12") == pytest.approx(under_the_eye, abs=1)
    assert page.evaluate("getSelection().toString()").strip() == "filler-03"


def test_half_typed_text_stays_while_rows_change(signed_in, page: Page):
    search = page.get_by_placeholder("Find a schedule or job")
    search.focus()
    page.evaluate("document.activeElement.value = 'half'")
    signed_in.do("schedules", "enable", "counting")
    expect(page.locator("#row-counting").get_by_role("switch")).to_be_checked(timeout=20_000)
    expect(search).to_have_value("half")
    expect(search).to_be_focused()


def test_output_streams_into_an_open_page(signed_in, page: Page):
    signed_in.do("jobs", "run", "count")
    page.goto(f"{signed_in.url}/admin/jobs/1")
    output = page.get_by_role("region", name=re.compile("Output of count"))
    expect(output).to_contain_text("number 1")
    page.evaluate("window.sameDocument = true")
    expect(output).to_contain_text("number 6")
    expect(page.locator("#run-title")).to_contain_text("Succeeded")
    assert page.evaluate("window.sameDocument")


def test_a_running_job_is_cancelled_from_its_page(signed_in, page: Page):
    signed_in.do("jobs", "run", "sleep-long")
    page.goto(f"{signed_in.url}/admin/jobs/1")
    expect(page.locator("#run-title")).to_contain_text("Running")
    page.get_by_role("button", name="Cancel run").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    expect(page.locator("#run-title")).to_contain_text("Cancelled")


def test_a_page_says_that_the_server_is_gone_and_recovers_by_itself(signed_in, page: Page):
    page.evaluate("window.sameDocument = true")
    signed_in.stop("web", signal.SIGKILL)
    expect(page.get_by_text("Connection lost")).to_be_visible(timeout=40_000)
    expect(page.locator("#row-counting")).to_be_visible()

    signed_in.start("web")
    expect(page.get_by_text("Connection lost")).to_be_hidden(timeout=40_000)
    signed_in.do("schedules", "enable", "counting")
    expect(page.locator("#row-counting").get_by_role("switch")).to_be_checked()
    assert page.evaluate("window.sameDocument"), "it recovered without a reload"


def test_a_dead_daemon_shows_in_words_within_its_time(signed_in, page: Page):
    """The top bar counts the seconds since the last beat, from the database's clock."""
    expect(page.locator("body")).to_contain_text(re.compile(r"Daemon\s+beat\s+\d+ s ago"))


def test_pausing_asks_for_a_reason_and_shows_it_until_someone_resumes(signed_in, page: Page):
    page.get_by_role("button", name="Pause all schedules").or_(
        page.get_by_role("link", name="Pause all schedules")
    ).first.click()
    page.get_by_label("Reason").last.fill("db failover")
    page.get_by_role("button", name=re.compile("^Pause")).last.click()
    banner = page.get_by_role("status").filter(has_text="All schedules are paused")
    expect(banner).to_contain_text("db failover")
    page.get_by_role("button", name="Resume").first.click()
    expect(banner).to_have_count(0)


def test_output_is_text_and_never_markup(signed_in, page: Page):
    signed_in.do("jobs", "run", "markup")
    page.goto(f"{signed_in.url}/admin/jobs/1")
    output = page.get_by_role("region", name=re.compile("Output of markup"))
    expect(output).to_contain_text("<b>bold</b>")
    expect(output.locator("b")).to_have_count(0)
