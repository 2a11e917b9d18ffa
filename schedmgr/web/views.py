"""What each template may use: one frozen dataclass a page, a row or a part of them.

A handler fills these and hands them to `rendering`; a template lays them out and decides nothing.  What a person may do
(`can_run`, `can_switch` ...) is decided before, because the template cannot know.  Every instant is UTC and aware; no
field holds a relative time ("3 min ago"), because the page ticks those itself from the database's clock and a fragment
that held one would never be unchanged.

Fields marked "prose" hold a sentence with three marks that the filter `prose` renders safely: `` `code` ``,
`**strong**` and an instant such as `2026-10-22T02:09:51Z`, which shows as "3 min ago".  All other text is shown as it
stands.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from schedmgr.vocabulary import Decision, Role, RunStatus, Trigger

Outcome = RunStatus | Decision
"""What a badge says.  A firing shows the worst of its runs; `Decision.SKIPPED` when it was skipped, `Decision.ENQUEUED`
when it was enqueued and none of its runs is left to look at."""


class Kind(StrEnum):
    """How much a notice or a count matters."""

    BAD = "bad"
    WARN = "warn"
    INFO = "info"
    OK = "ok"


# ---------------------------------------------------------------------------------------------------------- the frame


@dataclass(frozen=True, slots=True)
class Pulse:
    """The top bar and the counts beside the navigation: partials/pulse.html, fragment /admin/live/shell.

    `last_beat_at` must not be part of the fragment's ETag: the header X-Schedmgr-Beat keeps it fresh."""

    health: Kind  # ok, warn or bad; the one shape that a phone shows
    health_words: str  # "The daemon beats", "1 of 2 daemons is stale", "No daemon is running"
    daemons: int  # that beat within 60 s
    last_beat_at: datetime | None  # of any daemon; None: none ever beat
    stale: int
    running: int  # job runs
    queued: int
    overdue: int  # schedules
    attention: int  # schedules in the section "Needs attention"
    paused: bool


@dataclass(frozen=True, slots=True)
class Action:
    """What a banner or an empty state offers.  `url` is a path of ours without the prefix (`/admin/...`)."""

    label: str
    url: str
    post: bool = False  # True: a form that posts there; False: a link


@dataclass(frozen=True, slots=True)
class Banner:
    """One notice: partials/banner.html.  `key` is stable while the trouble lasts (id, fold memory)."""

    key: str  # [a-z0-9-]
    kind: Kind
    title: str  # prose
    text: str  # prose; its first sentence must make sense alone
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Shell:
    """What the frame around every signed-in page needs: layouts/app.html."""

    current: str  # the key of the navigation entry: "schedules", "jobs", or "" for none
    environment: str
    is_production: bool
    version: str
    user: str
    role: Role
    theme: str | None  # "light", "dark", or None: follow the system (cookie `theme`)
    now: datetime  # the database's clock
    pulse: Pulse
    banners: tuple[Banner, ...]  # worst first; fragment /admin/live/banners


@dataclass(frozen=True, slots=True)
class Empty:
    """Why a list is empty, and the way on: partials/empty.html."""

    title: str
    text: str  # prose
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Asked before an action: a dialog, or the confirm page without JavaScript."""

    title: str  # "Run daily-full-sync now?"
    text: str  # prose
    verb: str  # "Run now", "Turn off", "Cancel run"
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Tab:
    """One segment of a filter: `value` goes into the query, "" being the first one."""

    value: str
    label: str
    count: int | None = None
    is_current: bool = False
    is_bad: bool = False  # its count is trouble


@dataclass(frozen=True, slots=True)
class Pager:
    """Keyset pages.  The URLs are paths of ours with their query, without the prefix; None: no such page."""

    first: int  # number of the first row shown; 0 when there is none
    last: int
    total: int  # counted up to 10,000
    total_is_over: bool  # True: "over 10,000"
    newer_url: str | None
    older_url: str | None
    kept_days: int | None = None  # set at the end of what is kept: there were older ones, perhaps


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a definition list."""

    label: str
    value: str
    is_code: bool = False
    url: str | None = None


# ------------------------------------------------------------------------------------------------ badges and the strip


@dataclass(frozen=True, slots=True)
class Badge:
    """Shape and word of a state: partials/badge.html."""

    outcome: Outcome
    times: int = 1  # in a row: "Failed ×3"
    done: int | None = None  # "Running 2 of 3": ended runs, of `whole`
    whole: int | None = None
    retry_at: datetime | None = None  # QUEUED and waiting for its next attempt: "Retry in 40 s"
    is_cancelling: bool = False  # RUNNING and asked to stop


@dataclass(frozen=True, slots=True)
class StripBar:
    """One of the last 24 firings, oldest first.  `height` is 0 to 1: its duration against the schedule's longest."""

    outcome: Outcome
    height: float = 0.0


# ----------------------------------------------------------------------------------------------------------- schedules


class Section(StrEnum):
    """Where a schedule stands in the list."""

    ATTENTION = "attention"
    ON = "on"
    OFF = "off"
    ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class LastFiring:
    """The newest firing of a schedule, as its row shows it."""

    badge: Badge
    at: datetime  # when it was decided
    note: str  # "exit 1", "6 min 41 s", the short reason of a skip; "" for nothing
    url: str | None  # its runs, or its run when there is one: a path of ours without the prefix


@dataclass(frozen=True, slots=True)
class Controls:
    """The switch and the Run now button of a schedule: partials/switch.html, partials/run_now.html."""

    schedule_id: str
    enabled: bool
    is_archived: bool  # neither switch nor button
    can_switch: bool
    can_run: bool
    ask_run: Question | None  # set: production, or a run is going.  None: one press runs
    ask_disable: Question | None  # set in production


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """What partials/schedule_row.html may use; the page and the fragment build the same one."""

    id: str
    when: str  # the cron expression in words: "Every day at 02:30"
    what: str  # "job export-invoices", "group feed, 3 jobs", "all 23 jobs"
    cron: str
    timezone: str
    controls: Controls
    is_new: bool  # off since it arrived: "New, off"
    next_run_at: datetime | None  # None when off, archived, ended
    grace_seconds: int
    repaired_at: datetime | None  # its next run was repaired within the last hour
    archived_at: datetime | None
    last: LastFiring | None
    strip: tuple[StripBar, ...]  # at most 24


@dataclass(frozen=True, slots=True)
class ScheduleSection:
    """A group of rows under its head; a section without rows is left out."""

    section: Section
    rows: tuple[ScheduleRow, ...]


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """The query of the schedules page, as read; the same names as in the URL."""

    state: str  # "all", "attention", "running", "off", "archived"
    q: str
    group: str  # "": all


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """partials/schedule_rows.html, fragment /admin/schedules/rows."""

    filter: ScheduleFilter
    sections: tuple[ScheduleSection, ...]
    tabs: tuple[Tab, ...]  # their counts follow the filter
    empty: Empty | None  # set when there is no row


@dataclass(frozen=True, slots=True)
class SchedulesPage:
    """pages/schedules.html"""

    shell: Shell
    total: int  # not archived
    loaded_at: datetime | None  # when the definitions in force were written to the tables
    can_pause: bool
    paused_since: datetime | None  # set: the head offers Resume instead of Pause
    groups: tuple[str, ...]  # all job groups, for the select
    list: ScheduleList


# ----------------------------------------------------------------------------------------------------- one schedule


@dataclass(frozen=True, slots=True)
class FiringRow:
    """What partials/firing_row.html may use."""

    id: int
    badge: Badge
    due_at: datetime | None  # None: by hand
    decided_at: datetime
    trigger: Trigger
    requested_by: str | None  # as people read it: "oncall-1", "cli:ann@host"
    detail: (
        str  # plain: the stored sentence of a skip, or how the runs ended ("exit 1 after 3 attempts"); "" for nothing
    )
    took_seconds: float | None  # None: not ended, or skipped
    started_at: datetime | None  # set while its runs go: the page ticks the duration
    run_count: int
    url: str | None  # its runs, or the one: a path of ours without the prefix; None when it has none


@dataclass(frozen=True, slots=True)
class History:
    """partials/history.html, fragment /admin/schedules/{id}/history."""

    schedule_id: str
    timezone: str
    tabs: tuple[Tab, ...]  # All "", Failed "failed", Skipped "skipped", By hand "hand": query `show`
    rows: tuple[FiringRow, ...]
    pager: Pager
    is_first_page: bool  # only the first page is live
    empty: Empty | None


@dataclass(frozen=True, slots=True)
class NextRun:
    """A line of "Next 10 runs"."""

    at: datetime
    is_shifted: bool = False  # the clocks change between this one and the one before, or in its night


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """partials/schedule_facts.html, fragment /admin/schedules/{id}/facts: the parts of the page that live."""

    id: str
    description: str  # from the definitions; "" when none was written
    timezone: str
    controls: Controls
    is_new: bool
    archived_at: datetime | None
    next_run_at: datetime | None
    grace_seconds: int
    banners: tuple[Banner, ...]  # its own trouble; archived says so here
    strip: tuple[StripBar, ...]
    succeeded: int  # firings of the last 30 days whose runs all succeeded
    fired: int  # firings of the last 30 days that ended
    usual_seconds: float | None  # median of the last 50 successes
    usual_max_seconds: float | None  # their 95th percentile
    next_runs: tuple[NextRun, ...]  # ten at most, also when it is off: what it would do
    notes: tuple[str, ...]  # prose: clock changes that touch them


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """pages/schedule.html"""

    shell: Shell
    group: str | None  # for the crumb; None: all jobs
    facts: ScheduleFacts
    history: History
    definition: tuple[Fact, ...]


# ------------------------------------------------------------------------------------------------------------ job runs


@dataclass(frozen=True, slots=True)
class RunRow:
    """What partials/run_row.html may use; the page and the fragment build the same one."""

    id: int
    job: str
    badge: Badge
    schedule_id: str | None  # None: the job was started by itself
    trigger: Trigger
    requested_by: str | None
    queued_at: datetime
    started_at: datetime | None
    took_seconds: float | None  # of the last attempt; None while it runs or waits
    attempt: int
    attempts_allowed: int
    exit_code: int | None
    error: str  # one line; "" for none


@dataclass(frozen=True, slots=True)
class Queue:
    """The line over the runs: "2 waiting, oldest 4 s · 5 of 8 places busy"."""

    waiting: int
    oldest_queued_at: datetime | None
    busy: int
    places: int  # of all living workers; 0: no worker is running


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The query of the runs page, as read; the same names as in the URL.  "" means any."""

    status: str  # "", "running", "queued", "failed" (failed and timed out), "lost", "cancelled", "skipped"
    job: str
    group: str
    schedule: str
    trigger: str  # "" or a value of Trigger
    firing: str  # "" or the id of a firing: the link of "3 queued"
    q: str


@dataclass(frozen=True, slots=True)
class RunList:
    """partials/run_rows.html, fragment /admin/jobs/rows."""

    filter: RunFilter
    rows: tuple[RunRow, ...]
    tabs: tuple[Tab, ...]
    queue: Queue
    pager: Pager
    empty: Empty | None


@dataclass(frozen=True, slots=True)
class RunsPage:
    """pages/runs.html"""

    shell: Shell
    jobs: tuple[str, ...]  # for the selects
    groups: tuple[str, ...]
    schedules: tuple[str, ...]
    is_first_page: bool  # only the first page is live
    list: RunList


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of a run: partials/attempt_row.html."""

    number: int
    badge: Badge
    started_at: datetime
    took_seconds: float | None  # None: still running
    note: str  # prose: "Started on app-1", "exit 1", why it was lost; "" for nothing
    is_shown: bool  # its output is the one on the page


@dataclass(frozen=True, slots=True)
class RunHead:
    """partials/run_head.html, fragment /admin/jobs/{run_id}/head: all of the page that lives, but the output."""

    id: int
    job: str
    group: str
    schedule_id: str | None
    firing_id: int | None
    badge: Badge
    trigger: Trigger
    requested_by: str | None
    due_at: datetime | None  # the occurrence; None: by hand
    queued_at: datetime
    available_at: datetime | None  # set while it waits for a retry or for an earlier run
    started_at: datetime | None  # of the newest attempt
    finished_at: datetime | None
    took_seconds: float | None  # None while it runs or waits
    attempt: int
    attempts_allowed: int
    worker: str | None  # "app-1, process 4121"
    exit_code: int | None
    stops_at: datetime | None  # its timeout, while it runs
    usual_seconds: float | None
    banners: tuple[Banner, ...]  # much longer than usual, the error
    attempts: tuple[AttemptRow, ...]  # newest first
    retry_of: int | None
    retried_as: int | None  # the newest run that retries this one
    can_cancel: bool
    can_retry: bool
    ask_cancel: Question
    ask_retry: Question | None  # set in production


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of output.  `text` is raw: the filter `ansi` turns colours into classes and all else into text."""

    number: int
    at: datetime | None
    is_error: bool  # standard error
    text: str


@dataclass(frozen=True, slots=True)
class LogCut:
    """Where output was left out."""

    left_out_bytes: int
    kept_bytes: int  # of head and of tail, each


@dataclass(frozen=True, slots=True)
class LogPart:
    """partials/log_lines.html: lines of one attempt, in order, as the page holds them or as a poll appends them.

    `next` goes back unchanged as `after=`; it names the point behind the last whole line."""

    lines: tuple[LogLine | LogCut, ...]  # whole lines only
    tail: LogLine | None  # the line that has not ended yet; the next answer repeats or completes it
    next: str
    earlier: int | None  # the number of the first line here, if there are earlier ones; goes back as `before=`
    is_over: bool  # the attempt ended and all of its output is here: polling stops
    line_count: int  # of the attempt so far
    byte_count: int
    newest_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """pages/run.html"""

    shell: Shell
    head: RunHead
    attempt: int  # whose output is shown
    log: LogPart
    definition: tuple[Fact, ...]  # the job as this run's version has it
    earlier: tuple[RunRow, ...]  # of the same job, newest first, at most 5


# --------------------------------------------------------------------------------- sign in, confirm, pause and errors


@dataclass(frozen=True, slots=True)
class LoginPage:
    """pages/login.html"""

    environment: str
    is_production: bool
    theme: str | None
    username: str = ""  # what was typed before
    error: str = ""  # one sentence; "" for none
    next_url: str = ""  # the wanted page, field `next`; the handler checks that it is ours


@dataclass(frozen=True, slots=True)
class ConfirmPage:
    """pages/confirm.html: what a dialog asks, for a browser without JavaScript."""

    shell: Shell
    question: Question
    post_url: str
    back_url: str
    fields: tuple[tuple[str, str], ...] = field(default=())  # hidden fields besides the token and `request_key`


@dataclass(frozen=True, slots=True)
class PausePage:
    """pages/pause.html: form with `reason` and, if wanted, `until` (YYYY-MM-DDTHH:MM, UTC)."""

    shell: Shell
    reason: str = ""
    until: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """pages/error.html: with the frame for a person who is signed in, else alone (`shell` is None)."""

    shell: Shell | None
    environment: str
    is_production: bool
    theme: str | None
    status: int  # 403, 404, 500 ...
    title: str
    text: str  # prose: "Your role, viewer, can look but not run. Ask an admin."
    action: Action | None
