"""The sample: what `schedmgr` runs where there is no definitions.py yet.  Copy it and make it yours.

A definitions file is plain Python: jobs say what there is to run, schedules say when.  It stands in version control and
is reviewed like any other code; `schedmgr check` finds its mistakes, `schedmgr plan` shows what a deploy would change.
"""

from schedmgr import ExecutionMode, Group, Job, Schedule
from schedmgr.resources import program_argv

# These jobs are parts of this very program, so that the sample runs wherever it does.  Yours are commands of your own,
# command=["python", "feeds.py", "refresh"] or command="./match.sh --all | tee match.log", Python functions under
# @job(...), or HTTP requests, http="https://app.example.com/warm".
SAMPLE = program_argv("sample")

jobs = [
    Job(
        "refresh-feeds",
        group="feed",
        command=[*SAMPLE, "refresh-feeds"],
        description="Takes the next items of every feed into the sample's database",
        timeout=300,  # a feed that hangs must not hold up the next refresh
        retries=2,  # up to three attempts: feeds are often back after a moment
    ),
    Job(
        "check-feeds",
        group="feed",
        command=[*SAMPLE, "check-feeds"],
        description="Says which feeds a reader would stumble over",
        timeout=60,
    ),
    Job(
        "match-items",
        group="matching",
        command=[*SAMPLE, "match-items"],
        description="Matches new items against the watch-list",
        timeout=300,
        after=["refresh-feeds"],  # where both are in one firing, it waits for the items; alone it starts at once
    ),
    Job(
        "write-report",
        group="report",
        command=[*SAMPLE, "write-report"],
        description="Counts what the watch-list found and shows the latest matches",
        timeout=60,
        after=["match-items"],
    ),
    Job(
        "prune-items",
        group="maintenance",
        command=[*SAMPLE, "prune-items"],
        description="Removes all but the newest items",
        timeout=60,
        priority=-10,  # nobody waits for it: everything else goes first
        after=["write-report"],
    ),
]

# Optional: says what a group is for.
groups = [
    Group("feed", description="Reads the outside world"),
]

# New schedules arrive switched off.  Look at their next runs in the browser, then switch them on.
schedules = [
    Schedule(
        "daily-full-sync",
        cron="0 2 * * *",
        execution_mode=ExecutionMode.ALL_JOBS,
        description="Everything once a night, while nobody is waiting",
    ),
    Schedule(
        "hourly-matching",
        cron="0 * * * *",
        execution_mode=ExecutionMode.GROUP,
        job_group="matching",
        description="Matches what came in since the last hour",
    ),
    Schedule(
        "feed-refresh",
        cron="*/15 * * * *",
        execution_mode=ExecutionMode.GROUP,
        job_group="feed",
        description="Keeps the items at most a quarter of an hour old",
    ),
    Schedule(
        "dev-quick-test",
        cron="*/5 * * * *",
        execution_mode=ExecutionMode.ALL_JOBS,
        environments=["development"],  # loaded nowhere else: production has the other three
        description="Something to look at while you try things out",
    ),
]
