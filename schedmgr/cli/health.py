"""`schedmgr health`: the verdict as a monitoring plugin gives it."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from schedmgr.cli.options import Number, as_json

if TYPE_CHECKING:
    from schedmgr.core.health import Health


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="Every check on a line of its own.")
@click.option(
    "--max-age",
    type=Number(1, 86_400),
    default=300,
    show_default=True,
    help="Seconds without a beat, or with an undecided occurrence, that are critical.",
)
@as_json
@click.pass_context
def health(ctx: click.Context, verbose: bool, max_age: int, as_json: bool) -> None:
    """Say how the whole installation is.

    Exit code 0 is OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, and one line with performance data, as the monitoring plugins
    do it.  It answers within 5 seconds, whatever the database does.
    """
    from schedmgr.cli.printing import print_json

    verdict = _verdict(timedelta(seconds=max_age))
    if as_json:
        print_json(asdict(verdict))
    else:
        click.echo(_line(verdict, timedelta(seconds=max_age)))
        for check in verdict.checks if verbose else ():
            click.echo(f"{check.status:<8} {check.key}: {_plain(check.sentence)}")
    ctx.exit(verdict.status.exit_code)


def _verdict(max_age: timedelta) -> "Health":
    from schedmgr.cli.opening import require_file
    from schedmgr.core import health
    from schedmgr.core.health import Health
    from schedmgr.core.verdict import Check, Status
    from schedmgr.database.engine import Database
    from schedmgr.errors import DatabaseNotReady, SettingsError
    from schedmgr.settings import Settings

    try:
        settings = Settings.load()
        require_file(settings)
    except SettingsError as error:
        return Health.of((Check("settings", Status.UNKNOWN, str(error)),))
    except DatabaseNotReady as error:
        return health.unanswered(str(error))
    return health.check(Database.of(settings), max_age=max_age)


def _line(verdict: "Health", max_age: timedelta) -> str:
    """What is wrong, or that nothing is; then the measured values."""
    from schedmgr.core.health import numbers

    usual = ("pause",) if verdict.troubles else ("daemon", "due", "pause")
    told = [*verdict.troubles, *(check for check in verdict.checks if check.key in usual)]
    line = f"SCHEDMGR {verdict.status} - {'; '.join(_plain(check.sentence).rstrip('.') for check in told)}"
    if verdict.facts is None:
        return line
    values = (f"{name}={value:g}{unit};{limits}" for name, value, unit, limits in numbers(verdict.facts, max_age))
    return f"{line} | {' '.join(values)}"


def _plain(sentence: str) -> str:
    """On one line; what follows a bar would be read as performance data."""
    from schedmgr.cli.printing import one_line

    return one_line(sentence).replace("|", "/")
