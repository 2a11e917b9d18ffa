"""`schedmgr runs`: list, show, logs, cancel, retry."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from schedmgr.cli.options import LARGEST_ID, Number, Section, as_json, choice, limit, run_id
from schedmgr.cli.printing import cut, one_more, print_columns, print_facts, print_json, without_control
from schedmgr.vocabulary import RunStatus

if TYPE_CHECKING:
    from schedmgr.core.listing import Printed
    from schedmgr.database.engine import Database

LOOK_EVERY = 0.5  # seconds; output is stored as often


@click.group(cls=Section)
def runs() -> None:
    """List job runs, read their output, cancel and retry them."""


@runs.command("list")
@click.option("--job", metavar="NAME", help="Of this job only.")
@click.option("--schedule", metavar="ID", help="Of this schedule only.")
@click.option("--firing", type=Number(1, LARGEST_ID), metavar="N", help="Of this firing only.")
@click.option("--status", type=choice(RunStatus), help="With this status only.")
@limit
@as_json
def list_runs(
    job: str | None, schedule: str | None, firing: int | None, status: str | None, limit: int, as_json: bool
) -> None:
    """List job runs, the newest first."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    wanted = listing.RunFilter(job, schedule, firing, RunStatus(status) if status else None)
    with opened() as database, database.read() as session:
        rows = cut(listing.runs(session, wanted, one_more(limit)), limit)
    if as_json:
        print_json(rows)
        return
    print_columns(
        ("RUN", "JOB", "SCHEDULE", "STATUS", "TRY", "QUEUED (UTC)", "STARTED (UTC)", "FINISHED (UTC)", "EXIT", "ERROR"),
        [
            (
                row["id"],
                row["job"],
                row["schedule_id"],
                row["status"],
                row["attempt"],
                row["queued_at"],
                row["started_at"],
                row["finished_at"],
                row["exit_code"],
                row["error"],
            )
            for row in rows
        ],
        empty="There is no such run.",
    )


@runs.command("show")
@run_id
@as_json
def show_run(run_id: int, as_json: bool) -> None:
    """Show one job run and its attempts."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    with opened() as database, database.read() as session:
        row = listing.run(session, run_id)
    if as_json:
        print_json(row)
        return
    attempts = row.pop("attempts")
    print_facts((name.replace("_", " "), value) for name, value in row.items())
    for attempt in attempts:
        click.echo(f"\nattempt {attempt.pop('attempt')}")
        print_facts((f"  {name.replace('_', ' ')}", value) for name, value in attempt.items())


@runs.command("logs")
@run_id
@click.option("--attempt", type=Number(1, 1_000_000), metavar="N", help="Of this attempt.  [default: the last]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@as_json
def logs(run_id: int, attempt: int | None, follow: bool, as_json: bool) -> None:
    """Print what a run printed.

    Both its streams in order, without what would steer the terminal.
    """
    from schedmgr.cli.opening import opened

    with opened() as database:
        if as_json:
            _print_as_json(database, run_id, attempt)
        else:
            _print_output(database, run_id, attempt, follow)


@runs.command("cancel")
@run_id
@as_json
def cancel(run_id: int, as_json: bool) -> None:
    """Cancel a run.

    At once while it waits; one that is running is asked to stop, and killed 10 s later.
    """
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions

    with opened() as database:
        status = database.transact(lambda session: actions.cancel(session, run_id, requester()))
    if as_json:
        print_json({"id": run_id, "status": status})
    elif status is RunStatus.CANCELLED:
        click.echo(f"Run {run_id} is cancelled.")
    else:
        click.echo(f"Run {run_id} was asked to stop.")


@runs.command("retry")
@run_id
@as_json
def retry(run_id: int, as_json: bool) -> None:
    """Run an ended run's job again, as a new run.

    It runs the newest version of the job.
    """
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions

    with opened() as database:
        new_id = database.transact(lambda session: actions.retry(session, run_id, requester()))
    if as_json:
        print_json({"firing_id": None, "job_run_ids": [new_id]})
    else:
        click.echo(f"Run {run_id} is queued again as run {new_id}.")


def _print_as_json(database: "Database", run_id: int, attempt: int | None) -> None:
    nth, _, printed = _look(database, run_id, attempt, after=0)
    segments = [segment for stretch in printed for segment in stretch.segments]
    print_json(
        [
            {"attempt": nth, "at": datetime.fromtimestamp(at / 1000, UTC), "stream": stream, "text": text}
            for at, stream, text in segments
        ]
    )


def _print_output(database: "Database", run_id: int, attempt: int | None, follow: bool) -> None:
    from schedmgr import clock

    seen, following = 0, None
    while True:
        nth, is_over, printed = _look(database, run_id, attempt, after=seen)
        if following not in (None, nth):
            click.echo(f"--- attempt {nth} ---", err=True)
            seen, following = 0, nth
            continue
        following = nth
        for stretch in printed:
            if stretch.seq > seen + 1:
                click.echo("\n--- what was printed here was not kept ---", err=True)
            click.echo(without_control("".join(text for _, _, text in stretch.segments)), nl=False)
            seen = stretch.seq
        if is_over or not follow:
            return
        clock.sleep(LOOK_EVERY)


def _look(database: "Database", run_id: int, attempt: int | None, *, after: int) -> "tuple[int, bool, list[Printed]]":
    """Which attempt is looked at, whether it will print no more, and what it printed after a stretch.

    Raises NotFound for a run or an attempt that does not exist.
    """
    from schedmgr.core import listing
    from schedmgr.errors import NotFound

    with database.read() as session:
        run = listing.run(session, run_id)
        numbers = [one["attempt"] for one in run["attempts"]]
        if attempt is not None and attempt not in numbers:
            raise NotFound(f"Run {run_id} has no attempt {attempt}; it has {len(numbers)}.")
        nth = attempt or max(numbers, default=1)
        is_over = run["status"].is_over or (attempt is not None and nth < run["attempt"])
        return nth, is_over, listing.output(session, run_id, nth, after=after)
