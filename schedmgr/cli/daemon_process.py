"""The daemon's loop and the worker beside it, composed to one process."""

import threading
from datetime import timedelta
from pathlib import Path

from schedmgr import __version__
from schedmgr.cli import logs
from schedmgr.cli.opening import connected
from schedmgr.cli.signals import on_stop
from schedmgr.cli.worker_process import pool_options
from schedmgr.daemon.loop import Daemon, DaemonOptions
from schedmgr.settings import Settings, variables_in_force
from schedmgr.worker.pool import Pool


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: then decide nothing more, and let running jobs end within the grace.

    Raises DatabaseNotReady on an unmigrated or newer database.
    """
    logs.set_up(settings)
    with connected(settings) as database:
        daemon = Daemon(database, _daemon_options(settings))
        pool = Pool(
            database, pool_options(settings), process_id=lambda: daemon.process_id, environ=variables_in_force()
        )
        stop = threading.Event()
        on_stop(stop.set, pool.hurry)
        if not daemon.begin(pool.wake, stop):
            return
        if settings.worker_concurrency:
            pool.start()
        try:
            daemon.run(stop)
            daemon.end()
        finally:  # whatever ended the daemon: its process must not live on with the worker alone
            if settings.worker_concurrency:
                pool.stop()


def _daemon_options(settings: Settings) -> DaemonOptions:
    return DaemonOptions(
        environment=settings.environment,
        version=__version__,
        definitions=settings.definitions,
        directory=Path.cwd(),
        poll_interval=settings.poll_interval,
        lease_seconds=settings.lease_seconds,
        concurrency=settings.worker_concurrency,
        retention=timedelta(days=settings.retention_days),
    )
