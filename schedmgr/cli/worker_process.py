"""A worker's station and its pool, composed to one process."""

import threading

from schedmgr import __version__
from schedmgr.cli import logs
from schedmgr.cli.opening import connected
from schedmgr.cli.signals import on_stop
from schedmgr.errors import SettingsError
from schedmgr.settings import Settings, variables_in_force
from schedmgr.worker.pool import Pool, PoolOptions
from schedmgr.worker.station import Station, StationOptions


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: then take no more runs, and let running ones end within the grace.

    Raises SettingsError for a worker without a place, and DatabaseNotReady on an unmigrated or newer database.
    """
    if settings.worker_concurrency == 0:
        raise SettingsError(
            ["SCHEDMGR_WORKER_CONCURRENCY: '0' is not allowed for a worker, which would run nothing. Set 1 or more."]
        )
    logs.set_up(settings)
    with connected(settings) as database:
        station = Station(database, _station_options(settings))
        pool = Pool(
            database, pool_options(settings), process_id=lambda: station.process_id, environ=variables_in_force()
        )
        stop = threading.Event()
        on_stop(stop.set, pool.hurry)
        if not station.begin(stop):
            return
        pool.start()
        try:
            station.run(stop)
            station.end()
        finally:  # whatever ended the station: its process must not live on unseen
            pool.stop()


def pool_options(settings: Settings) -> PoolOptions:
    """How a worker takes runs, on its own or inside a daemon."""
    return PoolOptions(
        settings.worker_concurrency, settings.lease_seconds, settings.shutdown_grace, settings.worker_groups
    )


def _station_options(settings: Settings) -> StationOptions:
    return StationOptions(
        environment=settings.environment,
        version=__version__,
        concurrency=settings.worker_concurrency,
        lease_seconds=settings.lease_seconds,
    )
