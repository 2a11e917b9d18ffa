"""`schedmgr schedules why`: what happened at an instant, what decided it, and what to do."""

from datetime import datetime

import click

from schedmgr.cli.options import Instant, as_json


@click.command()
@click.argument("schedule_id", metavar="ID")
@click.option("--at", type=Instant(), metavar="T", help="At this instant.  [default: the last one that was due]")
@as_json
def why(schedule_id: str, at: datetime | None, as_json: bool) -> None:
    """Say why a schedule ran, or did not.

    What happened at the instant, what decided it, the evidence, and what to do.  T is ISO 8601, in UTC unless it says
    otherwise.
    """
    from schedmgr.cli.opening import opened
    from schedmgr.cli.printing import one_line, print_json
    from schedmgr.core import actions
    from schedmgr.core.ledger import told
    from schedmgr.core.ledger.why import why as ask
    from schedmgr.errors import NotFound

    with opened() as database, database.read() as session:
        answer = ask(session, schedule_id, at)
        if answer is None:
            raise NotFound(actions.no_such_schedule(session, schedule_id))
    if as_json:
        print_json(answer.as_data())
        return
    when = "" if answer.at is None else f", {told.moment(answer.at)}"
    click.echo(one_line(f"{answer.schedule_id}{when}: {answer.headline}"))
    lines = [
        ("because", answer.because),
        *(("evidence", said) for said in answer.evidence),
        ("next", answer.next),
        ("do", answer.do),
    ]
    for label, said in lines:
        if said:
            click.echo(f"  {label:<9} {one_line(said)}")
