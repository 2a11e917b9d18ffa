"""`schedmgr prune`."""

from datetime import timedelta

import click

from schedmgr.cli.options import Number, as_json


@click.command()
@click.option(
    "--older-than", type=Number(0, 36_500), metavar="DAYS", help="Since it ended.  [default: SCHEDMGR_RETENTION_DAYS]"
)
@click.option("--dry-run", is_flag=True, help="Only say how much would be removed.")
@as_json
def prune(older_than: int | None, dry_run: bool, as_json: bool) -> None:
    """Remove job runs, output and firings that ended long ago.

    What has not ended stays, and so does the audit.  A daemon does the same by itself; this works beside it and without
    it, and may be stopped at any time.
    """
    from schedmgr.cli.opening import opened, requester
    from schedmgr.cli.printing import instant, print_columns, print_json
    from schedmgr.core import phrases, retention
    from schedmgr.settings import Settings

    settings = Settings.load()
    with opened(settings) as database:
        with database.read() as session:
            days = settings.retention_days if older_than is None else older_than
            before = session.now() - timedelta(days=days)
            counts = retention.plan(session, before) if dry_run else {}
        if not dry_run:
            counts = retention.prune(database, before, requester())
    if as_json:
        print_json({"before": phrases.iso(before), "dry_run": dry_run, **counts})
        return
    click.echo(f"{'Would remove' if dry_run else 'Removed'} what ended before {instant(before)} UTC:\n")
    print_columns(("KIND", "NUMBER"), [(kind.replace("_", " "), f"{count:,}") for kind, count in counts.items()])
