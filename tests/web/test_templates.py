"""Each page and fragment, rendered from sample views without a server."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from jinja2 import Environment

from schedmgr import resources
from schedmgr.vocabulary import Decision, Role, RunStatus, Trigger
from schedmgr.web import views
from schedmgr.web.rendering import environment
from schedmgr.web.views import (
    Action,
    Badge,
    Banner,
    Controls,
    Empty,
    Fact,
    Kind,
    LogCut,
    LogLine,
    Question,
    StripBar,
    Tab,
)

NOW = datetime(2026, 10, 22, 2, 13, 20, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'"
TOKEN = "csrf-token-of-this-browser"


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def ahead(**parts: float) -> datetime:
    return NOW + timedelta(**parts)


# ------------------------------------------------------------------------------------------------------------- samples

OK, FAIL, RUN, SKIP = RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.RUNNING, Decision.SKIPPED


def strip(*last: StripBar, seed: int = 7, length: int = 24) -> tuple[StripBar, ...]:
    heights = [((seed * (place + 3) * 37) % 53) / 70 + 0.15 for place in range(length - len(last))]
    return (*(StripBar(OK, height) for height in heights), *last)


def controls(name: str, *, enabled: bool = True, asks: bool = False, archived: bool = False) -> Controls:
    run = Question(
        f"Run {name} now?",
        "This queues 3 jobs right away **in production**. The next scheduled run is not changed.",
        "Run now",
    )
    off = Question(f"Turn off {name}?", "It stops firing until someone turns it on.", "Turn off", danger=True)
    return Controls(
        schedule_id=name,
        enabled=enabled,
        is_archived=archived,
        can_switch=True,
        can_run=True,
        ask_run=run if asks else None,
        ask_disable=off if asks else None,
    )


def schedule(name: str, **changes: object) -> views.ScheduleRow:
    row = views.ScheduleRow(
        id=name,
        when="Every 15 minutes",
        what="group feed, 3 jobs",
        cron="*/15 * * * *",
        timezone="UTC",
        controls=controls(name),
        is_new=False,
        next_run_at=ahead(seconds=100),
        grace_seconds=60,
        repaired_at=None,
        archived_at=None,
        last=views.LastFiring(Badge(OK), ago(minutes=13), "41 s", "/admin/jobs/48201"),
        strip=strip(seed=len(name)),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def last(badge: Badge, note: str, **since: float) -> views.LastFiring:
    return views.LastFiring(badge, ago(**since), note, "/admin/jobs?firing=8812")


SECTIONS = (
    views.ScheduleSection(
        views.Section.ATTENTION,
        (
            schedule(
                "nightly-invoice-export",
                when="Every day at 02:30",
                what="job export-invoices",
                cron="30 2 * * *",
                timezone="Europe/Berlin",
                next_run_at=datetime(2026, 10, 23, 0, 30, tzinfo=UTC),
                last=last(Badge(FAIL, times=3), "exit 1", hours=1, minutes=43),
                strip=strip(StripBar(FAIL, 1), StripBar(FAIL, 1), StripBar(FAIL, 1)),
                controls=controls("nightly-invoice-export", asks=True),
            ),
            schedule(
                "search-index-rebuild",
                when="Every day at 02:10 and 14:10",
                what="group search, 2 jobs",
                cron="10 2,14 * * *",
                next_run_at=ago(minutes=3, seconds=20),
                last=last(Badge(OK), "6 min 41 s", hours=12),
            ),
            schedule(
                "hourly-matching",
                when="Every hour",
                what="group matching, 1 job",
                cron="0 * * * *",
                next_run_at=ahead(minutes=46, seconds=40),
                last=last(Badge(SKIP), "still running", minutes=13),
                strip=strip(StripBar(SKIP), StripBar(OK, 0.6), StripBar(RUN, 0.5), StripBar(SKIP)),
            ),
            schedule(
                "partner-feed-pull",
                when="Every 20 minutes",
                what="job pull-partner-feed",
                cron="*/20 * * * *",
                next_run_at=ahead(minutes=6, seconds=40),
                repaired_at=ago(minutes=15),
                last=last(Badge(RunStatus.TIMED_OUT), "after 5 min", minutes=13),
            ),
        ),
    ),
    views.ScheduleSection(
        views.Section.ON,
        (
            schedule("warm-cache", when="Every 5 minutes", what="group feed, 1 job", cron="*/5 * * * *"),
            schedule("feed-refresh", last=last(Badge(RUN, done=2, whole=3), "since 02:00 UTC", minutes=13)),
            schedule("session-cleanup", cron="H * * * *", last=last(Badge(RunStatus.QUEUED), "", seconds=12)),
            schedule("daily-full-sync", last=last(Badge(RunStatus.LOST), "its worker vanished", minutes=58)),
        ),
    ),
    views.ScheduleSection(
        views.Section.OFF,
        (
            schedule(
                "gdpr-purge",
                controls=controls("gdpr-purge", enabled=False),
                is_new=True,
                next_run_at=None,
                last=None,
                strip=(),
            ),
        ),
    ),
    views.ScheduleSection(
        views.Section.ARCHIVED,
        (
            schedule(
                "old-report",
                controls=controls("old-report", archived=True),
                next_run_at=None,
                archived_at=ago(days=10),
                last=last(Badge(RunStatus.CANCELLED), "by oncall-1", days=12),
            ),
        ),
    ),
)

PULSE = views.Pulse(
    health=Kind.WARN,
    health_words="1 of 2 daemons is stale",
    daemons=1,
    last_beat_at=ago(seconds=2),
    stale=1,
    running=5,
    queued=2,
    overdue=1,
    attention=4,
    paused=False,
)

BANNERS = (
    Banner(
        "daemon-stale-app-2",
        Kind.BAD,
        "The daemon on app-2 stopped beating 2026-10-22T02:09:46Z",
        "search-index-rebuild is overdue because of it. The database frees the work of a frozen daemon within 10 s. "
        "If this stays, restart that process.",
    ),
    Banner(
        "missed-skip",
        Kind.WARN,
        "Missed runs are skipped, not made up later",
        "**In the last 24 hours: 10 missed runs on 4 schedules.** None of them starts by itself. A run is missed when "
        "no daemon is running at its due time. To run it anyway, press Run now; to change this for good, set "
        '`missed="run_once"` in the definitions.',
        Action("Show the missed runs", "/admin/schedules?state=attention"),
    ),
    Banner(
        "paused",
        Kind.WARN,
        "All schedules are paused since 01:50 UTC by oncall-2",
        'Nothing fires by itself. Run now still works. Reason: "db failover".',
        Action("Resume", "/admin/resume", post=True),
    ),
    Banner("skip-policy", Kind.INFO, "Missed runs are skipped, not made up later", "To change this, set `missed`."),
)

SHELL = views.Shell(
    current="schedules",
    environment="production",
    is_production=True,
    version="0.1.0",
    user="oncall-2",
    role=Role.OPERATOR,
    theme=None,
    now=NOW,
    pulse=PULSE,
    banners=BANNERS[:2],
)

SCHEDULE_LIST = views.ScheduleList(
    filter=views.ScheduleFilter(state="all", q="", group=""),
    sections=SECTIONS,
    tabs=(
        Tab("all", "All", 14, is_current=True),
        Tab("attention", "Needs attention", 4, is_bad=True),
        Tab("running", "Running", 3),
        Tab("off", "Off", 4),
        Tab("archived", "Archived", 2),
    ),
    empty=None,
)

SCHEDULES = views.SchedulesPage(
    shell=SHELL,
    total=14,
    loaded_at=ago(minutes=42),
    can_pause=True,
    paused_since=None,
    groups=("billing", "feed", "matching"),
    list=SCHEDULE_LIST,
)

NO_SCHEDULES = replace(
    SCHEDULES,
    list=replace(
        SCHEDULE_LIST,
        sections=(),
        empty=Empty(
            "Nothing matches “fed”", "Search looks at ids and jobs.", Action("Clear the search", "/admin/schedules")
        ),
    ),
)


def firing(number: int, badge: Badge, **changes: object) -> views.FiringRow:
    row = views.FiringRow(
        id=number,
        badge=badge,
        due_at=datetime(2026, 10, 22, 0, 30, tzinfo=UTC) - timedelta(days=8900 - number),
        decided_at=datetime(2026, 10, 22, 0, 30, tzinfo=UTC) - timedelta(days=8900 - number),
        trigger=Trigger.SCHEDULE,
        requested_by=None,
        detail="",
        took_seconds=252.0,
        started_at=None,
        run_count=1,
        url=f"/admin/jobs?firing={number}",
    )
    return replace(row, **changes)  # type: ignore[arg-type]


HISTORY = views.History(
    schedule_id="nightly-invoice-export",
    timezone="Europe/Berlin",
    tabs=(Tab("", "All", is_current=True), Tab("failed", "Failed"), Tab("skipped", "Skipped"), Tab("hand", "By hand")),
    rows=(
        firing(8900, Badge(RUN, done=1, whole=2), took_seconds=None, started_at=ago(minutes=4), run_count=2),
        firing(8899, Badge(FAIL), detail="exit 1 after 3 attempts"),
        firing(8898, Badge(FAIL), detail="exit 1 after 3 attempts"),
        firing(8897, Badge(OK), due_at=None, trigger=Trigger.MANUAL, requested_by="oncall-1", took_seconds=718),
        firing(
            8896,
            Badge(SKIP),
            detail="Missed: no daemon reached the database from 00:21 to 00:52 UTC",
            took_seconds=None,
            url=None,
            run_count=0,
        ),
        firing(8895, Badge(OK), took_seconds=700),
    ),
    pager=views.Pager(1, 6, 1204, False, None, "/admin/schedules/nightly-invoice-export?before=8895"),
    is_first_page=True,
    empty=None,
)

FACTS = views.ScheduleFacts(
    id="nightly-invoice-export",
    description="Writes yesterday's invoices to the accounting exchange folder",
    timezone="Europe/Berlin",
    controls=controls("nightly-invoice-export", asks=True),
    is_new=False,
    archived_at=None,
    next_run_at=datetime(2026, 10, 23, 0, 30, tzinfo=UTC),
    grace_seconds=60,
    banners=(
        Banner(
            "failing",
            Kind.BAD,
            "The last 3 runs failed",
            "Last success: Mon 19 Oct 09:23 UTC, started by oncall-1. All 3 ended with exit 1: "
            "`invoice folder is not writable`.",
            Action("Open the last run", "/admin/jobs/48201"),
        ),
    ),
    strip=strip(
        StripBar(SKIP), StripBar(OK, 0.5), StripBar(OK, 0.4), StripBar(FAIL, 1), StripBar(FAIL, 1), StripBar(FAIL, 1)
    ),
    succeeded=26,
    fired=30,
    usual_seconds=700,
    usual_max_seconds=770,
    next_runs=tuple(
        views.NextRun(
            datetime(2026, 10, 23, 0, 30, tzinfo=UTC) + timedelta(days=day, hours=1 if day > 2 else 0),
            is_shifted=day == 2,
        )
        for day in range(10)
    ),
    notes=(
        "Clocks in Europe/Berlin go back on Sun 25 Oct. 02:30 happens twice that night; this schedule runs once, in "
        "the first pass (00:30 UTC). From Monday on it is 01:30 UTC.",
    ),
)

SCHEDULE = views.SchedulePage(
    shell=replace(SHELL, banners=()),
    group="billing",
    facts=FACTS,
    history=HISTORY,
    definition=(
        Fact("Runs", "Every day at 02:30"),
        Fact("Cron", "30 2 * * *", is_code=True),
        Fact("Time zone", "Europe/Berlin"),
        Fact("What", "job export-invoices", url="/admin/jobs?job=export-invoices"),
        Fact("When missed", "Skip, not made up later"),
        Fact("When still running", "Skip"),
        Fact("Grace", "60 s"),
        Fact("Environments", "production, staging"),
    ),
)


def run(number: int, badge: Badge, **changes: object) -> views.RunRow:
    row = views.RunRow(
        id=number,
        job="match-items",
        badge=badge,
        schedule_id="hourly-matching",
        trigger=Trigger.SCHEDULE,
        requested_by=None,
        queued_at=ago(hours=1, minutes=13),
        started_at=ago(hours=1, minutes=12),
        took_seconds=2280,
        attempt=1,
        attempts_allowed=4,
        exit_code=0,
        error="",
    )
    return replace(row, **changes)  # type: ignore[arg-type]


RUN_LIST = views.RunList(
    filter=views.RunFilter(status="", job="", group="", schedule="", trigger="", firing="", q=""),
    rows=(
        run(48211, Badge(RUN), took_seconds=None, exit_code=None, attempt=2),
        run(
            48230,
            Badge(RUN, is_cancelling=True),
            job="refresh-feeds",
            took_seconds=None,
            exit_code=None,
            attempts_allowed=1,
        ),
        run(
            48229,
            Badge(RunStatus.QUEUED, retry_at=ahead(seconds=40)),
            started_at=None,
            took_seconds=None,
            exit_code=None,
        ),
        run(48228, Badge(RunStatus.QUEUED), started_at=None, took_seconds=None, exit_code=None, schedule_id=None),
        run(48209, Badge(FAIL), exit_code=1, error="invoice folder is not writable", took_seconds=4.2, attempt=4),
        run(48208, Badge(OK), trigger=Trigger.MANUAL, requested_by="oncall-1", took_seconds=0.84),
        run(48207, Badge(RunStatus.TIMED_OUT), exit_code=None, error="stopped after 5 min"),
        run(48206, Badge(RunStatus.LOST), exit_code=None),
        run(48205, Badge(RunStatus.CANCELLED), exit_code=143),
        run(48204, Badge(RunStatus.SKIPPED), exit_code=None, error="refresh-feeds did not succeed"),
    ),
    tabs=(
        Tab("", "All", is_current=True),
        Tab("running", "Running", 2),
        Tab("queued", "Queued", 2),
        Tab("failed", "Failed", 31, is_bad=True),
        Tab("lost", "Lost", 1),
        Tab("cancelled", "Cancelled", 1),
        Tab("skipped", "Skipped", 1),
    ),
    queue=views.Queue(waiting=2, oldest_queued_at=ago(seconds=4), busy=5, places=8),
    pager=views.Pager(1, 10, 10000, True, None, "/admin/jobs?before=48204"),
    empty=None,
)

RUNS = views.RunsPage(
    shell=replace(SHELL, current="jobs", banners=()),
    jobs=("match-items", "refresh-feeds"),
    groups=("feed", "matching"),
    schedules=("feed-refresh", "hourly-matching"),
    is_first_page=True,
    list=RUN_LIST,
)

HEAD = views.RunHead(
    id=48211,
    job="match-items",
    group="matching",
    schedule_id="hourly-matching",
    firing_id=8812,
    badge=Badge(RUN),
    trigger=Trigger.SCHEDULE,
    requested_by=None,
    due_at=datetime(2026, 10, 22, 1, 0, tzinfo=UTC),
    queued_at=datetime(2026, 10, 22, 1, 0, 0, 118000, tzinfo=UTC),
    available_at=None,
    started_at=ago(hours=1, minutes=12),
    finished_at=None,
    took_seconds=None,
    attempt=2,
    attempts_allowed=4,
    worker="app-1, process 4121",
    exit_code=None,
    stops_at=ahead(minutes=18),
    usual_seconds=2280,
    banners=(
        Banner(
            "slow",
            Kind.WARN,
            "This run takes much longer than usual",
            "19 in 20 end within 44 min. It is stopped at its timeout, 02:31:02 UTC. Because overlap is skip, "
            "hourly-matching skipped its 02:00 firing.",
        ),
    ),
    attempts=(
        views.AttemptRow(2, Badge(RUN), ago(hours=1, minutes=12), None, "Started 01:01:02 UTC on app-1", True),
        views.AttemptRow(
            1,
            Badge(RunStatus.LOST),
            ago(hours=1, minutes=13),
            32,
            "Its worker on app-2 could not renew the lease.",
            False,
        ),
    ),
    retry_of=None,
    retried_as=None,
    can_cancel=True,
    can_retry=False,
    ask_cancel=Question(
        "Cancel match-items #48211?", "It gets 10 s to stop, then is killed. It is not retried.", "Cancel run", True
    ),
    ask_retry=None,
)

ESC = "\x1b"
LOG = views.LogPart(
    lines=(
        LogLine(
            1, ago(hours=1, minutes=12), False, f"{ESC}[1mmatch.sh{ESC}[0m --all {ESC}[90m# attempt 2 of 4{ESC}[0m"
        ),
        LogLine(
            2,
            ago(hours=1, minutes=12),
            False,
            f"{ESC}[36minfo{ESC}[0m  connected to catalogue replica, 1,482,337 items",
        ),
        LogLine(3, ago(hours=1, minutes=12), False, f"{ESC}[36minfo{ESC}[0m  candidates: 48,210 in 97 batches of 500"),
        LogCut(2_411_724, 524_288),
        *(
            LogLine(
                4112 + n,
                ago(minutes=12 - n / 2),
                False,
                f"{ESC}[32mdone{ESC}[0m  batch {84 + n}/97   500 matched   0 rejected   {44 + n}.1 s",
            )
            for n in range(22)
        ),
        LogLine(4134, ago(seconds=50), True, f"{ESC}[33mwarn{ESC}[0m  replica lag 11.4 s, slowing down"),
        LogLine(
            4135, ago(seconds=40), True, f"{ESC}[31merror{ESC}[0m item 88213: price is missing, put aside for review"
        ),
    ),
    tail=LogLine(4136, ago(seconds=4), False, "batch 95/97 ..."),
    next="913:0:4136",
    earlier=None,
    is_over=False,
    line_count=4136,
    byte_count=3_460_300,
    newest_at=ago(seconds=4),
)

RUN_PAGE = views.RunPage(
    shell=replace(SHELL, current="jobs", banners=()),
    head=HEAD,
    attempt=2,
    log=LOG,
    definition=(
        Fact("Command", "./match.sh --all", is_code=True),
        Fact("Group", "matching", url="/admin/jobs?group=matching"),
        Fact("Timeout", "1 h 30 min"),
        Fact("Retries", "3, from 30 s, doubling"),
        Fact("When lost", "Retry"),
        Fact("At once", "1"),
    ),
    earlier=(run(48187, Badge(OK)), run(48150, Badge(FAIL)), run(48101, Badge(OK))),
)

ENDED_RUN = replace(
    RUN_PAGE,
    head=replace(
        HEAD,
        badge=Badge(FAIL),
        finished_at=ago(minutes=2),
        took_seconds=4210,
        exit_code=1,
        can_cancel=False,
        can_retry=True,
        retried_as=48230,
        banners=(Banner("error", Kind.BAD, "It failed with exit 1", "`invoice folder is not writable`"),),
        attempts=(replace(HEAD.attempts[0], badge=Badge(FAIL), took_seconds=4210, note="exit 1"), HEAD.attempts[1]),
    ),
    log=replace(LOG, is_over=True, tail=None, earlier=4112),
)

EMPTY_RUN = replace(
    RUN_PAGE,
    head=replace(
        HEAD,
        badge=Badge(RunStatus.QUEUED),
        started_at=None,
        worker=None,
        attempts=(),
        attempt=1,
        stops_at=None,
        banners=(),
    ),
    log=replace(LOG, lines=(), tail=None, line_count=0, byte_count=0, newest_at=None),
)

LOGIN = views.LoginPage("production", True, None, "oncall-2", "Wrong user name or password.", "/admin/jobs")
CONFIRM = views.ConfirmPage(
    replace(SHELL, banners=()),
    Question("Turn off nightly-invoice-export?", "Runs that are due meanwhile are skipped.", "Turn off", True),
    "/admin/schedules/nightly-invoice-export/disable",
    "/admin/schedules",
)
PAUSE = views.PausePage(replace(SHELL, banners=()), error="A pause needs a reason.")
NOT_FOUND = views.ErrorPage(
    replace(SHELL, current="", banners=()), "production", True, None, 404, "Not found",
    "No schedule has the id `fed-refresh`. Nearest: feed-refresh.", Action("Schedules", "/admin/schedules"),
)  # fmt: skip

PAGES: dict[str, tuple[str, dict[str, object]]] = {
    "schedules": ("pages/schedules.html", {"page": SCHEDULES}),
    "schedules-empty": ("pages/schedules.html", {"page": NO_SCHEDULES}),
    "schedules-paused": (
        "pages/schedules.html",
        {"page": replace(SCHEDULES, paused_since=ago(minutes=20), shell=replace(SHELL, banners=BANNERS))},
    ),
    "schedule": ("pages/schedule.html", {"page": SCHEDULE}),
    "runs": ("pages/runs.html", {"page": RUNS}),
    "run": ("pages/run.html", {"page": RUN_PAGE}),
    "run-ended": ("pages/run.html", {"page": ENDED_RUN}),
    "run-waiting": ("pages/run.html", {"page": EMPTY_RUN}),
    "login": ("pages/login.html", {"page": LOGIN}),
    "confirm": ("pages/confirm.html", {"page": CONFIRM}),
    "pause": ("pages/pause.html", {"page": PAUSE}),
    "error": ("pages/error.html", {"page": NOT_FOUND}),
    "error-alone": ("pages/error_alone.html", {"page": replace(NOT_FOUND, shell=None)}),
}

FRAGMENTS: dict[str, tuple[str, dict[str, object]]] = {
    "shell": ("partials/shell.html", {"pulse": PULSE, "banners": BANNERS}),
    "schedule rows": ("partials/schedule_rows.html", {"list": SCHEDULE_LIST}),
    "schedule facts": ("partials/schedule_facts.html", {"facts": FACTS}),
    "history": ("partials/history.html", {"history": HISTORY}),
    "run rows": ("partials/run_rows.html", {"list": RUN_LIST}),
    "run head": ("partials/run_head.html", {"head": HEAD}),
    "output": ("partials/log_lines.html", {"log": LOG}),
}

# --------------------------------------------------------------------------------------------------------------- tools


@pytest.fixture(scope="module")
def env() -> Environment:
    return environment(resources.templates())


def render(env: Environment, template: str, context: dict[str, object]) -> str:
    """As the web does it: Litestar adds the token and its hidden field."""
    field = f'<input type="hidden" name="_csrf_token" value="{TOKEN}" />'
    return env.get_template(template).render(**context, csrf_input=field, csrf_token=lambda: TOKEN)


class Tags(HTMLParser):
    """All start tags of a page, with their attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.script_text = ""
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        self.script_text += data if self._in_script else ""

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.all if name == tag]


every_page = pytest.mark.parametrize(("template", "context"), PAGES.values(), ids=PAGES.keys())
everything = pytest.mark.parametrize(
    ("template", "context"), [*PAGES.values(), *FRAGMENTS.values()], ids=[*PAGES.keys(), *FRAGMENTS.keys()]
)

# --------------------------------------------------------------------------------------------------- content policy


@everything
def test_nothing_rendered_needs_inline_style_or_script(
    env: Environment, template: str, context: dict[str, object]
) -> None:
    tags = Tags(render(env, template, context))
    assert [tag for tag, attributes in tags.all if "style" in attributes or tag == "style"] == []
    assert [name for _, attributes in tags.all for name in attributes if name.startswith(("on", "hx-on"))] == []
    assert [attributes for attributes in tags.named("script") if not attributes.get("src")] == []
    assert tags.script_text.strip() == ""


@everything
def test_nothing_rendered_asks_another_host(env: Environment, template: str, context: dict[str, object]) -> None:
    places = [
        value or ""
        for _, attributes in Tags(render(env, template, context)).all
        for name, value in attributes.items()
        if name in {"src", "href", "action", "formaction", "hx-get", "hx-post", "srcset", "poster"}
    ]
    assert [place for place in places if not place.startswith(("/", "#"))] == []


@everything
def test_no_attribute_needs_eval(env: Environment, template: str, context: dict[str, object]) -> None:
    values = [
        value or ""
        for _, attributes in Tags(render(env, template, context)).all
        for name, value in attributes.items()
        if name.startswith("hx-")
    ]
    assert [value for value in values if re.search(r"^js:|^javascript:|\w\[", value)] == []


@every_page
def test_every_asset_that_a_page_names_is_there(env: Environment, template: str, context: dict[str, object]) -> None:
    tags = Tags(render(env, template, context))
    named = [each.get("href") or each.get("src") or "" for each in (*tags.named("link"), *tags.named("script"))]
    assert named
    assert [name for name in named if not (resources.static() / name.removeprefix("/static/")).is_file()] == []


@everything
def test_every_symbol_that_is_drawn_is_in_the_sprite(
    env: Environment, template: str, context: dict[str, object]
) -> None:
    sprite = (resources.templates() / "partials" / "sprite.html").read_text()
    used = {use["href"] or "" for use in Tags(render(env, template, context)).named("use")}
    assert {name for name in used if f'id="{name.removeprefix("#")}"' not in sprite} == set()


# --------------------------------------------------------------------------------------------------------- hostile text


def poisoned(value: object) -> object:
    """The same view with markup in every field of free text; words that choose a shape or a place stay as they are."""
    kept = {
        "theme",
        "state",
        "url",
        "newer_url",
        "older_url",
        "post_url",
        "back_url",
        "timezone",
        "current",
        "key",
        "next",
    }
    if isinstance(value, tuple):
        return tuple(poisoned(each) for each in value)
    if not hasattr(value, "__dataclass_fields__"):
        return HOSTILE if type(value) is str else value
    fields = {name: getattr(value, name) for name in value.__dataclass_fields__ if name not in kept}
    return replace(value, **{name: poisoned(each) for name, each in fields.items()})  # type: ignore[type-var]


@everything
def test_hostile_text_is_shown_and_never_becomes_markup(
    env: Environment, template: str, context: dict[str, object]
) -> None:
    html = render(env, template, {name: poisoned(value) for name, value in context.items()})
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert [name for _, attributes in Tags(html).all for name in attributes if "script" in name or "'" in name] == []


def test_an_id_in_an_address_is_quoted(env: Environment) -> None:
    html = render(env, "partials/run_now.html", {"controls": controls("../../x?y=1"), "primary": False})
    assert 'action="/admin/schedules/..%2F..%2Fx%3Fy%3D1/run"' in html


def test_every_address_stands_below_the_prefix_of_a_proxy() -> None:
    html = render(environment(resources.templates(), prefix="/ops"), "pages/schedules.html", {"page": SCHEDULES})
    names = ("href", "src", "action", "hx-get", "hx-post")
    places = [value or "" for _, each in Tags(html).all for name, value in each.items() if name in names]
    assert [place for place in places if not place.startswith(("/ops/", "#"))] == []


# --------------------------------------------------------------------------------------------------------- forms, rows


@every_page
def test_every_form_that_posts_carries_the_token_and_none_that_asks_does(
    env: Environment, template: str, context: dict[str, object]
) -> None:
    html = render(env, template, context)
    forms = re.findall(r"<form\b(.*?)</form>", html, re.S)
    assert forms or "<form" not in html
    assert [form for form in forms if 'method="post"' in form and TOKEN not in form] == []
    assert [form for form in forms if 'method="get"' in form and TOKEN in form] == []


@every_page
def test_ids_are_unique(env: Environment, template: str, context: dict[str, object]) -> None:
    ids = [each["id"] for _, each in Tags(render(env, template, context)).all if "id" in each]
    assert sorted({each for each in ids if ids.count(each) > 1}, key=str) == []


@pytest.mark.parametrize(
    ("page", "fragment", "row"),
    [
        ("schedules", "schedule rows", "row-feed-refresh"),
        ("runs", "run rows", "run-48211"),
        ("schedule", "history", "firing-8896"),
    ],
)
def test_a_row_is_the_same_on_the_page_and_in_the_fragment(
    env: Environment, page: str, fragment: str, row: str
) -> None:
    def row_of(html: str) -> str:
        found = re.search(rf'<tr role="row" id="{row}".*?</tr>', html, re.S)
        assert found
        return re.sub(r'name="request_key" value="\w+"', "", found[0])

    assert row_of(render(env, *PAGES[page])) == row_of(render(env, *FRAGMENTS[fragment]))


def test_a_fragment_holds_no_time_that_would_have_changed_by_itself(env: Environment) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", render(env, *each)) for each in FRAGMENTS.values())
    assert re.findall(r"\b\d+ (?:s|min|h|days?) ago\b|\bin \d+ (?:s|min|h|days?)\b(?! end)|\boverdue \d", text) == []


def test_each_run_form_has_a_key_of_its_own(env: Environment) -> None:
    keys = re.findall(r'name="request_key" value="(\w+)"', render(env, *PAGES["schedules"]))
    assert len(keys) > 1
    assert len(set(keys)) == len(keys)


def test_a_viewer_sees_switch_and_button_and_why_they_do_nothing(env: Environment) -> None:
    row = schedule("feed-refresh", controls=replace(controls("feed-refresh"), can_switch=False, can_run=False))
    buttons = Tags(render(env, "partials/schedule_row.html", {"row": row})).named("button")
    assert [("disabled" in each, each["title"]) for each in buttons] == [
        (True, "Operators can turn schedules on and off"),
        (True, "Operators can run schedules"),
    ]


def test_an_archived_schedule_has_neither_switch_nor_button(env: Environment) -> None:
    row = schedule("old", controls=controls("old", archived=True), archived_at=NOW, next_run_at=None)
    assert Tags(render(env, "partials/schedule_row.html", {"row": row})).named("button") == []


# ------------------------------------------------------------------------------------------------------------- contrast

PAIRS = (  # ink, the surfaces that it meets, the least ratio
    ("text", ("bg", "surface", "surface-2", "inset", "bad-soft", "warn-soft", "accent-soft", "idle-soft", "thumb"), 7),
    ("text-2", ("bg", "surface", "surface-2", "bad-soft", "warn-soft", "idle-soft", "track", "thumb"), 4.5),
    ("text-3", ("bg", "surface", "surface-2", "inset", "idle-soft", "track", "thumb", "bad-soft", "warn-soft"), 4.5),
    ("accent", ("bg", "surface", "surface-2", "accent-soft", "inset"), 4.5),
    ("accent-ink", ("accent", "accent-hover"), 4.5),
    ("ok", ("bg", "surface", "surface-2", "ok-soft"), 4.5),
    ("warn", ("bg", "surface", "surface-2", "warn-soft", "inset"), 4.5),
    ("bad", ("bg", "surface", "surface-2", "bad-soft", "inset"), 4.5),
    ("bad-ink", ("bad",), 4.5),
    ("ink-inverse", ("text", "text-2"), 4.5),
    ("line-strong", ("bg", "surface"), 3),
    ("bar-ok", ("surface", "surface-2"), 3),
    ("focus", ("bg", "surface", "surface-2", "inset"), 3),
    *((f"ansi-{code}", ("inset",), 4.5) for code in (31, 32, 33, 34, 35, 36, 90)),
)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "surfaces", "least"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_ink_can_be_read_on_every_surface_that_it_meets(
    theme: int, ink: str, surfaces: tuple[str, ...], least: float
) -> None:
    css = (resources.static() / "app.css").read_text()
    colours = {
        name: pair[theme]
        for name, *pair in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", css)
    }
    ratios = {surface: contrast(colours[ink], colours[surface]) for surface in surfaces}
    assert {surface: round(ratio, 2) for surface, ratio in ratios.items() if ratio < least} == {}
