"""`schedmgr version`."""

import click

from schedmgr import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"schedmgr {__version__}")
