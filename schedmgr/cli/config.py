"""`schedmgr config`."""

import click

from schedmgr.cli.options import as_json
from schedmgr.cli.printing import print_columns, print_json


@click.command()
@as_json
def config(as_json: bool) -> None:
    """Print the settings in force; secrets are covered."""
    from schedmgr.settings import VARIABLES, Settings, masked

    in_force = masked(Settings.load())
    if as_json:
        print_json(in_force)
        return
    print_columns(("VARIABLE", "VALUE", "MEANING"), [(v.name, in_force[v.name], v.meaning) for v in VARIABLES])
