"""Names as long as the definitions allow: every page keeps its width, and every button stays within reach."""

import pytest
from playwright.sync_api import Browser, Page, expect

LONG = "x" * 100
DEFINITIONS = f"""
from schedmgr import ExecutionMode, Job, Schedule

jobs = [Job("{LONG}", group="{LONG}", command="echo done", description="{LONG * 5}")]
schedules = [
    Schedule("{LONG}", cron="0 3 * * *", execution_mode=ExecutionMode.JOB, job="{LONG}", description="{LONG * 5}"),
    Schedule("short", cron="0 4 * * *", execution_mode=ExecutionMode.GROUP, job_group="{LONG}"),
]
"""
PAGES = ["/admin/schedules", f"/admin/schedules/{LONG}", "/admin/jobs", "/admin/jobs/1", f"/admin/schedules/{LONG}/run"]
RIGHTMOST = """Math.max(
    document.documentElement.scrollWidth,
    ...[...document.querySelectorAll("h1, table, td, dd, nav.crumb > *")].map(el => el.getBoundingClientRect().right)
)"""
"""Where the page ends, also the part of a table that a panel would cut off."""


@pytest.fixture
def with_long_names(running, wait_until):
    (running.folder / "definitions.py").write_text(DEFINITIONS)
    running.do("migrate")
    running.do("sync")
    running.start("web")
    running.until_it_answers()
    running.do("schedules", "run", LONG)
    return running


@pytest.mark.parametrize("width", [1440, 900, 320])
def test_a_page_of_long_names_does_not_scroll_sideways(with_long_names, browser: Browser, width: int):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    with_long_names.sign_in(page)
    too_wide = []
    for path in PAGES:
        page.goto(with_long_names.url + path)
        if page.evaluate(RIGHTMOST) > width:
            too_wide.append(path)
    context.close()
    assert too_wide == []


def test_a_long_name_leaves_the_other_rows_their_buttons(with_long_names, page: Page):
    with_long_names.sign_in(page)
    row = page.locator("#row-short")
    row.get_by_role("button", name="Run now: short").click()
    expect(row).to_contain_text("1 queued")


def test_what_was_queued_is_readable_under_the_pointer(with_long_names, page: Page):
    """The button that was pressed becomes a link, and the pointer still rests on it."""
    with_long_names.sign_in(page)
    page.goto(f"{with_long_names.url}/admin/schedules/short")
    page.get_by_role("button", name="Run now").click()
    link = page.locator("#schedule-actions").get_by_role("link", name="1 queued")
    link.hover()
    expect(link).to_have_css("background-color", "rgb(230, 244, 235)")
    expect(link).to_have_css("color", "rgb(23, 112, 63)")
