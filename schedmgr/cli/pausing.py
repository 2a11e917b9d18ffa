"""`schedmgr pause` and `resume`."""

from datetime import datetime, timedelta

import click

from schedmgr.cli.options import InstantOrSpan


@click.command()
@click.option("--reason", default="no reason given", metavar="T", help="Why; people will ask.")
@click.option("--until", type=InstantOrSpan(), metavar="T", help="An instant, or 30m, 2h or 1d from now.")
def pause(reason: str, until: datetime | timedelta | None) -> None:
    """Stop all firing until someone resumes, or its end.  What is due meanwhile is skipped; run now still works."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.cli.printing import instant
    from schedmgr.core import actions

    with opened() as database:
        end = database.transact(lambda session: actions.pause(session, requester(), reason, until))
    click.echo(f"All schedules are paused until {instant(end) + ' UTC' if end else 'someone resumes'}.")


@click.command()
def resume() -> None:
    """End the pause.  What was due in it is recorded as missed by it; nothing of it fires."""
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import actions

    with opened() as database:
        database.transact(lambda session: actions.resume(session, requester()))
    click.echo("All schedules fire again.")
