"""`schedmgr daemon`."""

import click


@click.command()
def daemon() -> None:
    """Fire schedules and run jobs, until stopped."""
    from schedmgr.settings import Settings

    settings = Settings.load()
    if not settings.daemon_enabled:
        click.echo("The daemon is disabled by SCHEDULE_DAEMON_ENABLED=false. It does nothing and ends.")
        return

    from schedmgr.cli import daemon_process

    daemon_process.run(settings)
