"""What a newcomer does in the first minutes, in a real browser."""

import re
from datetime import UTC, datetime

from playwright.sync_api import Page, expect


def seconds_to_a_quiet_minute() -> float:
    """How far to move the clock so that dev-quick-test, due every five minutes, does not fire during the test."""
    now = datetime.now(UTC)
    return 60.0 * ((1 - now.minute) % 5) - now.second


def printed_link(running):
    return re.search(r"http\S+/login\?token=\S+", running.log("up").read_text())


def test_a_newcomer_signs_in_by_the_printed_link_and_watches_a_first_run(running, page: Page, wait_until):
    clock = running.folder / "clock"
    clock.write_text(str(seconds_to_a_quiet_minute()))
    running.start("up", SCHEDMGR_TEST_CLOCK=str(clock))
    wait_until(lambda: printed_link(running), "the sign-in link is printed")

    page.goto(printed_link(running).group(0))
    row = page.locator("#row-dev-quick-test")
    expect(row).to_contain_text("New, off")

    row.get_by_role("switch").click()
    expect(row.get_by_role("switch")).to_be_checked()
    expect(row).to_contain_text(re.compile(r"in \d+ (s|min)"))

    page.evaluate("window.sameDocument = true")
    row.get_by_role("button", name=re.compile("Run now")).click()
    expect(row).to_contain_text("Succeeded", timeout=40_000)
    assert page.evaluate("window.sameDocument"), "the row changed without a reload"

    row.get_by_role("link", name=re.compile("Succeeded")).click()
    expect(page).to_have_url(re.compile(r"/admin/jobs\?.*firing="))
    expect(page.locator("tr[id^=run-]")).to_have_count(5)
    page.get_by_role("link", name=re.compile("write-report")).first.click()
    expect(page.get_by_role("region", name=re.compile("Output of write-report"))).to_contain_text("match")

    page.goto(f"{running.url}/admin/schedules")
    row.get_by_role("switch").click()
    expect(row.get_by_role("switch")).not_to_be_checked()
    expect(row).to_contain_text("Off")
