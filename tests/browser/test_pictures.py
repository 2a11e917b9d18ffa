"""A picture of each page in each theme and width, for people to look at; `make screenshots` keeps them in .cache.

What a machine can judge of a picture, it judges: the page is whole, nothing scrolls sideways, nothing is blocked.
"""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

PICTURES = Path(__file__).parent.parent.parent / ".cache" / "pictures"
PAGES = {
    "schedules": "/admin/schedules",
    "schedule": "/admin/schedules/nightly-invoice-export",
    "runs": "/admin/jobs",
    "run": "/admin/jobs/1",
    "pause": "/admin/pause",
    "not-found": "/admin/schedules/fed-refresh",
    "sign-in": "/login",
}
SIZES = {"desktop": (1440, 900), "phone": (390, 844), "narrow": (320, 640)}
DEFINITIONS = """
from schedmgr import ExecutionMode, Job, Schedule

jobs = [
    Job("refresh-feeds", group="feed", command="echo 12 feeds, 48 items; sleep 1; echo '\\033[32mdone\\033[0m'"),
    Job("warm-cache", group="feed", command="sleep 0.3; echo warm"),
    Job("export-invoices", group="billing", command="echo opening the folder; echo not writable >&2; exit 1"),
    Job("match-items", group="matching", command="for n in $(seq 400); do echo batch $n; sleep 1; done"),
    Job("rebuild-index", group="search", command="sleep 0.6"),
]
schedules = [
    Schedule(
        "nightly-invoice-export", cron="30 2 * * *", execution_mode=ExecutionMode.JOB, job="export-invoices",
        timezone="Europe/Berlin", description="Writes yesterday's invoices to the accounting folder",
    ),
    Schedule("feed-refresh", cron="*/15 * * * *", execution_mode=ExecutionMode.GROUP, job_group="feed"),
    Schedule("hourly-matching", cron="0 * * * *", execution_mode=ExecutionMode.GROUP, job_group="matching"),
    Schedule(
        "search-index-rebuild", cron="10 2,14 * * *", execution_mode=ExecutionMode.GROUP, job_group="search",
        timezone="America/New_York",
    ),
    Schedule("daily-full-sync", cron="0 2 * * *", execution_mode=ExecutionMode.ALL_JOBS),
    Schedule("quarterly-report", cron="0 6 1 */3 *", execution_mode=ExecutionMode.ALL_JOBS),
]
"""


@pytest.fixture
def busy(running, wait_until):
    """An installation in which something failed, something succeeded and something runs."""
    (running.folder / "definitions.py").write_text(DEFINITIONS)
    running.do("migrate")
    running.start("daemon")
    wait_until(
        lambda: "definition added schedule=quarterly-report" in running.log("daemon").read_text(),
        "the definitions load",
    )
    names = ["nightly-invoice-export", "feed-refresh", "hourly-matching", "search-index-rebuild", "daily-full-sync"]
    running.do("schedules", "enable", *names)
    for name in ["nightly-invoice-export"] * 3 + ["feed-refresh"] * 4 + ["search-index-rebuild"] * 3:
        running.do("schedules", "run", name)
    running.do("schedules", "run", "hourly-matching")
    wait_until(lambda: '"RUNNING"' in running.do("runs", "list", "--json"), "the long run goes")
    running.start("web")
    running.until_it_answers()
    return running


def test_every_page_is_whole_in_each_theme_and_width(busy, browser: Browser):
    PICTURES.mkdir(parents=True, exist_ok=True)
    context = browser.new_context()
    busy.sign_in(context.new_page())
    cookies = context.storage_state()
    context.close()
    wrong = []
    for theme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            context = browser.new_context(
                storage_state=cookies, viewport={"width": width, "height": height}, color_scheme=theme
            )
            page = context.new_page()
            page.on(
                "console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None
            )
            for name, path in PAGES.items():
                page.goto(busy.url + path)
                expect(page.locator("h1")).to_have_text(re.compile(r"\w"))
                page.screenshot(path=PICTURES / f"{name}-{size}-{theme}.png")
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    wrong.append(f"{name} scrolls sideways at {width}")
            context.close()
    assert wrong == []
