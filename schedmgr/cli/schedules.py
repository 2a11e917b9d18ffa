"""`schedmgr schedules`: list, show, history, enable, disable, run, next, why."""

from datetime import datetime

import click

from schedmgr.cli.options import Number, Section, as_json, limit
from schedmgr.cli.printing import cut, instant, one_more, print_columns, print_facts, print_json
from schedmgr.cli.why import why
from schedmgr.vocabulary import Decision

schedule_id = click.argument("schedule_id", metavar="ID")


@click.group(cls=Section)
def schedules() -> None:
    """List schedules, switch them, run them now."""


@schedules.command("list")
@limit
@as_json
def list_schedules(limit: int, as_json: bool) -> None:
    """List every schedule, its next run and last firing."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import actions, listing

    with opened() as database, database.read() as session:
        rows = cut(listing.schedules(session, one_more(limit)), limit)
        is_paused = actions.is_paused(session)
    if as_json:
        print_json(rows)
        return
    print_columns(
        ("ID", "ON", "CRON", "ZONE", "RUNS", "NEXT RUN (UTC)", "LAST FIRING (UTC)", ""),
        [
            (
                row["id"],
                "archived" if row["archived_at"] else row["enabled"],
                row["cron"],
                row["timezone"],
                _target(row),
                row["next_run_at"],
                *_last(row["last_firing"]),
            )
            for row in rows
        ],
        empty="No schedule is in the tables yet. The daemon writes them when it starts, or: schedmgr sync",
    )
    if is_paused:
        click.echo("All schedules are paused: nothing fires until someone resumes.", err=True)


@schedules.command("show")
@schedule_id
@as_json
def show_schedule(schedule_id: str, as_json: bool) -> None:
    """Show one schedule, its jobs, next runs and policies."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    with opened() as database, database.read() as session:
        row = listing.schedule(session, schedule_id)
    if as_json:
        print_json(row)
        return
    nested = ("last_firing", "next_runs", "jobs", "environments")
    print_facts((name.replace("_", " "), value) for name, value in row.items() if name not in nested)
    print_facts(
        [
            ("jobs", ", ".join(row["jobs"]) or "none"),
            ("environments", ", ".join(row["environments"]) or "all"),
            ("last firing", " ".join(str(word) for word in _last_words(row["last_firing"]) if word)),
            *((f"run {nth} from now", at) for nth, at in enumerate(row["next_runs"], 1)),
        ]
    )


@schedules.command("history")
@click.argument("schedule_id", metavar="ID", required=False)
@click.option("--all", "of_all", is_flag=True, help="Of all schedules.")
@limit
@as_json
@click.pass_context
def history(ctx: click.Context, schedule_id: str | None, of_all: bool, limit: int, as_json: bool) -> None:
    """List what was decided about a schedule, and why."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    if (schedule_id is None) is not of_all:
        ctx.fail("Name one schedule by its ID, or say --all.")
    with opened() as database, database.read() as session:
        rows = cut(listing.firings(session, schedule_id, one_more(limit)), limit)
    if as_json:
        print_json(rows)
        return
    print_columns(
        ("FIRING", "SCHEDULE", "SCHEDULED FOR (UTC)", "DECIDED (UTC)", "BY", "DECISION", "WHY"),
        [
            (
                row["id"],
                row["schedule_id"],
                row["scheduled_for"] or "by hand",
                row["decided_at"],
                row["requested_by"] or "schedule",
                row["decision"],
                row["detail"] or row["reason"],
            )
            for row in rows
        ],
        empty="Nothing has been decided yet.",
    )


@schedules.command("enable")
@click.argument("schedule_ids", metavar="ID...", nargs=-1, required=True)
def enable(schedule_ids: tuple[str, ...]) -> None:
    """Turn schedules on: what is due from now on fires."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions, settlement
    from schedmgr.database.engine import Session

    def turn_on(session: Session) -> dict[str, datetime | None]:
        for one in schedule_ids:
            actions.enable(session, one, requester())
        return {state.id: state.stored_next for state in settlement.schedules(session, schedule_ids)}

    with opened() as database:
        next_runs = database.transact(turn_on)
    for one in dict.fromkeys(schedule_ids):
        first = next_runs[one]
        click.echo(f"{one} is on. " + (f"Its next run is at {instant(first)} UTC." if first else "It is due no more."))


@schedules.command("disable")
@click.argument("schedule_ids", metavar="ID...", nargs=-1, required=True)
def disable(schedule_ids: tuple[str, ...]) -> None:
    """Turn schedules off: they fire no more."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions
    from schedmgr.database.engine import Session

    def turn_off(session: Session) -> None:
        for one in schedule_ids:
            actions.disable(session, one, requester())

    with opened() as database:
        database.transact(turn_off)
    for one in dict.fromkeys(schedule_ids):
        click.echo(f"{one} is off.")


@schedules.command("run")
@schedule_id
@as_json
def run_schedule(schedule_id: str, as_json: bool) -> None:
    """Run a schedule's jobs now.

    Beside its cron times; it works while the schedule is off or paused, too.
    """
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions, phrases, settlement
    from schedmgr.core.enqueue import Enqueued
    from schedmgr.database.engine import Session

    def run_now(session: Session) -> tuple[Enqueued, bool]:
        return actions.run_now(session, schedule_id, requester()), settlement.is_worker_alive(session)

    with opened() as database:
        enqueued, has_worker = database.transact(run_now)
    if as_json:
        print_json({"firing_id": enqueued.firing_id, "job_run_ids": enqueued.job_run_ids})
        return
    numbers = ", ".join(map(str, enqueued.job_run_ids))
    runs = phrases.counted(len(enqueued.job_run_ids), "job run")
    waits = "" if has_worker else " No worker is running, so they wait in the queue."
    click.echo(f"Enqueued firing {enqueued.firing_id}: {runs}{f' ({numbers})' if numbers else ''}.{waits}")


@schedules.command("next")
@schedule_id
@click.option("--count", type=Number(1, 10_000), default=10, show_default=True, metavar="N", help="How many.")
@as_json
def next_of_schedule(schedule_id: str, count: int, as_json: bool) -> None:
    """Say when a schedule is due next, were it on."""
    from itertools import islice

    from schedmgr.cli.cron import print_runs
    from schedmgr.cli.opening import opened
    from schedmgr.core import actions, settlement
    from schedmgr.core.cron import CronError
    from schedmgr.errors import NotFound, SchedmgrError

    with opened() as database, database.read() as session:
        found = settlement.schedules(session, [schedule_id])
        if not found:
            raise NotFound(actions.no_such_schedule(session, schedule_id))
        undecided = max(session.now(), found[0].accounted_until)  # later than now where the clock was set back
    timetable = found[0].timetable
    try:
        runs = list(islice(timetable.between(undecided, datetime.max.replace(tzinfo=undecided.tzinfo)), count))
    except CronError as error:
        raise SchedmgrError(f"Schedule {schedule_id}: {error}") from error
    print_runs(runs, timetable.timezone, as_json)


schedules.add_command(why)


def _target(row: "dict[str, str]") -> str:
    if row["execution_mode"] == "ALL_JOBS":
        return "all jobs"
    return f"group {row['job_group']}" if row["execution_mode"] == "GROUP" else f"job {row['job']}"


def _last(firing: "dict[str, object] | None") -> tuple[object, object]:
    """When, and what came of it."""
    if firing is None:
        return None, None
    fired = firing["decision"] == Decision.ENQUEUED  # one that was made up late has a reason, too
    return firing["scheduled_for"] or firing["decided_at"], firing["decision" if fired else "reason"]


def _last_words(firing: "dict[str, object] | None") -> tuple[object, object]:
    at, what = _last(firing)
    return (instant(at) if isinstance(at, datetime) else "none yet"), what
