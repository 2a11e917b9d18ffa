"""`schedmgr worker`."""

import click


@click.command()
def worker() -> None:
    """Run jobs and decide nothing, until stopped: on any number of hosts, beside a daemon or without one."""
    from schedmgr.cli import worker_process
    from schedmgr.settings import Settings

    worker_process.run(Settings.load())
