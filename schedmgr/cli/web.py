"""`schedmgr web`."""

import click


@click.command()
def web() -> None:
    """Serve the pages, until stopped."""
    from schedmgr.cli import logs
    from schedmgr.cli.opening import connected, wait_until_ready
    from schedmgr.core import accounts
    from schedmgr.settings import Settings

    settings = Settings.load()
    logs.set_up(settings)
    with connected(settings) as database:
        wait_until_ready(database, "web")
        accounts.create_first_admin(database, settings)

    from schedmgr.web import server

    server.serve(settings)
