"""`schedmgr migrate`."""

import click


@click.command()
def migrate() -> None:
    """Bring the database to this program's revision.  All of it, or nothing."""
    from schedmgr.cli.opening import require_no_other_file
    from schedmgr.database import migrate as migrations
    from schedmgr.database.engine import Database
    from schedmgr.settings import Settings

    settings = Settings.load()
    require_no_other_file(settings)
    before, after = migrations.migrate(Database.of(settings))
    if before == after:
        click.echo(f"The database is at migration {after} already.")
    else:
        click.echo(f"The database is at migration {after} now.")
