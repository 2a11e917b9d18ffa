"""`schedmgr cron next`."""

from collections.abc import Sequence
from datetime import datetime

import click

from schedmgr.cli.options import Instant, Number, Section, as_json
from schedmgr.cli.printing import print_json


@click.group(cls=Section)
def cron() -> None:
    """Say when a cron expression is due."""


@cron.command("next")
@click.argument("expression", metavar="EXPR")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="The zone of its times.")
@click.option("--after", type=Instant(), metavar="T", help="Strictly after this instant.  [default: now]")
@click.option("--count", type=Number(1, 10_000), default=10, show_default=True, metavar="N", help="How many.")
@as_json
def next_runs(expression: str, tz: str, after: datetime | None, count: int, as_json: bool) -> None:
    """Say when EXPR is due next; needs no database.

    An instant is ISO 8601, in UTC unless it says otherwise.  What H stands for depends on the schedule: see
    schedmgr schedules next.
    """
    from schedmgr import clock
    from schedmgr.core import cron
    from schedmgr.errors import SchedmgrError

    try:
        runs = cron.next_runs(expression, tz, after or clock.host_now(), count)
    except cron.CronError as error:
        raise SchedmgrError(str(error)) from error
    print_runs(runs, tz, as_json)


def print_runs(runs: Sequence[datetime], timezone: str, as_json: bool) -> None:
    """One instant a line: in UTC and, in another zone, as its clocks show it."""
    from schedmgr.core import cron, phrases

    if as_json:
        print_json(runs)
        return
    zone = cron.zone(timezone)
    for at in runs:
        local = "" if timezone == "UTC" else f"  {at.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}"
        click.echo(phrases.iso(at) + local)
    if not runs:
        click.echo("It is never due again.", err=True)
