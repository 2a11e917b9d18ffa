"""`schedmgr up`."""

import click


@click.command()
def up() -> None:
    """Migrate, then run web and daemon in this terminal: the quick start.

    In development it creates an admin and prints a sign-in link.  Ctrl-C stops all of it.
    """
    from schedmgr.cli import terminal
    from schedmgr.settings import Settings

    terminal.run_everything(Settings.load())
