"""`schedmgr jobs`: list, run."""

import click

from schedmgr.cli.options import Section, as_json, limit
from schedmgr.cli.printing import cut, one_more, print_columns, print_json


@click.group(cls=Section)
def jobs() -> None:
    """List jobs, run one now."""


@jobs.command("list")
@limit
@as_json
def list_jobs(limit: int, as_json: bool) -> None:
    """List every job, with its last run."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import listing

    with opened() as database, database.read() as session:
        rows = cut(listing.jobs(session, one_more(limit)), limit)
    if as_json:
        print_json(rows)
        return
    print_columns(
        ("NAME", "GROUP", "LAST RUN", "QUEUED (UTC)", "STATUS", "DESCRIPTION"),
        [(row["name"], row["group"], *_last(row["last_run"]), _about(row)) for row in rows],
        empty="No job is in the tables yet. The daemon writes them when it starts, or: schedmgr sync",
    )


@jobs.command("run")
@click.argument("name")
@as_json
def run_job(name: str, as_json: bool) -> None:
    """Put one job on the queue by itself."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions, settlement
    from schedmgr.database.engine import Session

    def run_now(session: Session) -> tuple[int, bool]:
        return actions.run_job(session, name, requester()), settlement.is_worker_alive(session)

    with opened() as database:
        run_id, has_worker = database.transact(run_now)
    if as_json:
        print_json({"firing_id": None, "job_run_ids": [run_id]})
        return
    click.echo(
        f"Enqueued job run {run_id}." + ("" if has_worker else " No worker is running, so it waits in the queue.")
    )


def _last(run: "dict[str, object] | None") -> tuple[object, object, object]:
    return (None, None, None) if run is None else (run["id"], run["queued_at"], run["status"])


def _about(row: "dict[str, object]") -> str:
    return f"{'(archived) ' if row['archived_at'] else ''}{row['description']}"
