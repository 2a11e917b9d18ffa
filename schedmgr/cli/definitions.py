"""`schedmgr check`, `plan` and `sync`: the way of the definitions from their file into the tables."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schedmgr.cli.options import as_json
from schedmgr.cli.printing import one_line, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedmgr.core.comparison import Change
    from schedmgr.core.definitions import Definitions
    from schedmgr.settings import Settings

SIGNS = {"add": "+", "change": "~", "archive": "-", "restore": "+"}


@click.command()
@click.argument("file", required=False)
@as_json
@click.pass_context
def check(ctx: click.Context, file: str | None, as_json: bool) -> None:
    """Say what is wrong in the definitions, if anything.

    FILE is a path or the name of a module; without it, what SCHEDMGR_DEFINITIONS says.  Needs no database.
    """
    from schedmgr.core.loading import load
    from schedmgr.core.problems import DefinitionsError
    from schedmgr.settings import Settings

    settings = Settings.load()
    source = _source(settings, file)
    try:
        definitions = load(source)
    except DefinitionsError as error:
        if not as_json:
            raise
        print_json({"source": source, "problems": [problem.as_data() for problem in error.problems]})
        ctx.exit(1)
    ours = len(definitions.for_environment(settings.environment).schedules)
    if as_json:
        print_json(_summary(definitions, settings, ours))
    else:
        click.echo(
            f"{_shown(source)}: {_counted(len(definitions.jobs), 'job')}, "
            f"{_counted(len(definitions.schedules), 'schedule')} ({ours} for {settings.environment}). No mistakes."
        )


@click.command()
@as_json
def plan(as_json: bool) -> None:
    """Say what a deploy of the definitions would change."""
    from schedmgr.cli.opening import opened
    from schedmgr.core import sync
    from schedmgr.settings import Settings

    settings = Settings.load()
    definitions = _load(settings)
    with opened(settings) as database, database.read() as session:
        changes = sync.plan(session, definitions, settings.environment)
    if as_json:
        print_json(
            {
                "source": definitions.source,
                "environment": settings.environment,
                "changes": [asdict(change) for change in changes],
            }
        )
    elif changes:
        _print_changes(changes)
    else:
        click.echo(f"Nothing would change: {_shown(definitions.source)} is in force for {settings.environment}.")


@click.command("sync")
@click.option("--change-environment", is_flag=True, help="Let the tables change to this environment.")
@as_json
def sync(change_environment: bool, as_json: bool) -> None:
    """Write the definitions to the tables, as a deploy step.

    New schedules arrive off, changed ones keep their switch, those that left the file are archived.
    """
    from schedmgr.cli.opening import opened, requester
    from schedmgr.core import audit
    from schedmgr.core import sync as syncing
    from schedmgr.core.comparison import Change
    from schedmgr.database.engine import Session
    from schedmgr.settings import Settings

    settings = Settings.load()
    definitions = _load(settings)
    by = requester()

    def write(session: Session) -> tuple[Change, ...]:
        synced = syncing.sync(
            session, definitions, settings.environment, by=by.who, change_environment=change_environment
        )
        changes = _counted(len(synced.changes), "change")
        audit.note(session, by, "sync", f"synced {_shown(definitions.source)} for {settings.environment}: {changes}")
        return synced.changes

    with opened(settings) as database:
        changes = database.transact(write)
    if as_json:
        print_json({"environment": settings.environment, "changes": [asdict(change) for change in changes]})
    elif changes:
        _print_changes(changes)
    else:
        click.echo("Nothing changed.")


def _source(settings: "Settings", file: str | None = None) -> str:
    from schedmgr.core.loading import find_source

    return find_source(file or settings.definitions, Path.cwd())


def _load(settings: "Settings") -> "Definitions":
    """The definitions of the settings' environment.  Raises DefinitionsError."""
    from schedmgr.core.loading import load

    return load(_source(settings)).for_environment(settings.environment)


def _summary(definitions: "Definitions", settings: "Settings", ours: int) -> dict[str, object]:
    return {
        "source": definitions.source,
        "fingerprint": definitions.fingerprint,
        "jobs": len(definitions.jobs),
        "schedules": len(definitions.schedules),
        "environment": settings.environment,
        "schedules_of_environment": ours,
        "problems": [],
    }


def _print_changes(changes: "Sequence[Change]") -> None:
    for change in changes:
        note = f"  {change.note}" if change.note else ""
        click.echo(f"{SIGNS[change.kind]} {change.kind} {change.thing} {change.id}{note}")
        for field in change.fields:
            click.echo(f"    {field.name}: {_value(field.old)} -> {_value(field.new)}")
        if change.old_next_run_at != change.new_next_run_at:
            click.echo(f"    next run: {_next(change.old_next_run_at)} -> {_next(change.new_next_run_at)}")


def _value(value: object) -> str:
    import json

    return "(default)" if value is None else one_line(json.dumps(value, ensure_ascii=False))


def _next(at: "datetime | None") -> str:
    from schedmgr.core import phrases

    return "none" if at is None else phrases.iso(at)


def _counted(number: int, thing: str) -> str:
    from schedmgr.core import phrases

    return phrases.counted(number, thing)


def _shown(source: str) -> str:
    from schedmgr.core.problems import relative

    return relative(source)
