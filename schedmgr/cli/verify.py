"""`schedmgr verify`: the proof that every occurrence is accounted for."""

from datetime import datetime

import click

from schedmgr.cli.options import Instant, as_json


@click.command()
@click.option("--since", type=Instant(), metavar="T", help="Only what was due after this instant.")
@click.option("--schedule", "schedule_id", metavar="ID", help="Of this schedule only.")
@as_json
@click.pass_context
def verify(ctx: click.Context, since: datetime | None, schedule_id: str | None, as_json: bool) -> None:
    """Prove that every occurrence is accounted for.

    Works out anew when each schedule was due, and compares that with what was decided: each occurrence must be covered
    by exactly one firing, and each reason must be borne out by the pauses and the processes on record.  Exit code 0, or
    1 and one line for each thing that is missing, doubled, not due or wrongly explained.
    """
    from schedmgr.cli.opening import opened
    from schedmgr.cli.printing import one_line, print_json
    from schedmgr.core import actions, phrases
    from schedmgr.core.ledger.rows import schedules
    from schedmgr.core.ledger.verify import verify as check
    from schedmgr.errors import NotFound, Refused

    with opened() as database, database.read() as session:
        if since is not None and since >= session.now():
            raise Refused(f"Nothing was due after {phrases.iso(since)} yet. Name an earlier instant.")
        if schedule_id is not None and not schedules(session, schedule_id):
            raise NotFound(actions.no_such_schedule(session, schedule_id))
        report = check(session, since=since, schedule_id=schedule_id)
    if as_json:
        print_json(report.as_data())
    else:
        for problem in report.problems:
            click.echo(one_line(str(problem)))
        click.echo(" ".join([report.summary, *report.notes]))
    ctx.exit(1 if report.problems else 0)
