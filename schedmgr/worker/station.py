"""A worker on its own: the life of its process, and a watch on everybody's leases.  The job runs are a pool's."""

import logging
import threading
from dataclasses import dataclass

from schedmgr import clock
from schedmgr.core import processes
from schedmgr.core.leases import LeaseWatch, LostRun
from schedmgr.core.outage import Outage
from schedmgr.core.processes import BEAT_EVERY, Registered, Silent
from schedmgr.database import migrate
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable
from schedmgr.vocabulary import ProcessRole

log = logging.getLogger(__name__)

AFTER_TROUBLE = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class StationOptions:
    """What a worker's row says of it, and how long a lease is in seconds."""

    environment: str
    version: str
    concurrency: int
    lease_seconds: float


class Station:
    """Beats, and finds lost runs also where no daemon runs.  `begin`, then `run`, then `end`, each once."""

    def __init__(self, database: Database, options: StationOptions) -> None:
        self._database = database
        self._options = options
        self._process: Registered | None = None
        # With each beat the leases are looked at, which takes several looks a lease.
        self._beat_every = min(BEAT_EVERY, options.lease_seconds / 4)
        self._leases = LeaseWatch(options.lease_seconds, clock.monotonic)
        self._outage = Outage(log, "worker's beat", clock.monotonic)  # the pool says the same for itself

    @property
    def process_id(self) -> str:
        """The id of the present life of this process."""
        return self._living().id

    def begin(self, stop: threading.Event) -> bool:
        """Register this process, as soon as the database takes it.  False: `stop` was set before that.

        Raises DatabaseNotReady if the database is at another revision.
        """
        outage = Outage(log, "worker", clock.monotonic)
        while not stop.is_set():
            try:
                migrate.require_current(self._database)
                self._begin_life()
            except DatabaseUnavailable as error:
                outage.goes_on(error)
                stop.wait(AFTER_TROUBLE)
            else:
                outage.is_over()
                return True
        return False

    def run(self, stop: threading.Event) -> None:
        """Beat until `stop` is set; whatever the database does, go on."""
        while not stop.is_set():
            stop.wait(self._guarded_beat())

    def end(self) -> None:
        """Say that this process takes no more runs; those that it has may still be ending."""
        try:
            self._database.transact(lambda session: processes.stop(session, self._living()))
        except DatabaseUnavailable as error:
            log.warning("end not recorded: %s", error)
        log.info("worker stopped process=%s", self._living().id)

    def _begin_life(self) -> None:
        """A new id and row."""
        self._process = self._database.transact(
            lambda session: processes.register(
                session,
                ProcessRole.WORKER,
                environment=self._options.environment,
                version=self._options.version,
                concurrency=self._options.concurrency,
                replaces=self._process,
            )
        )
        log.info("worker started process=%s environment=%s", self._process.id, self._options.environment)

    def _guarded_beat(self) -> float:
        """One beat; returns the seconds to wait after it.  Whatever it meets, the next one comes."""
        try:
            self._beat_or_begin_anew()
        except DatabaseUnavailable as error:
            self._outage.goes_on(error)
        except Exception:
            log.exception("worker's beat failed")
        else:
            self._outage.is_over()
            return self._beat_every
        return AFTER_TROUBLE

    def _beat_or_begin_anew(self) -> None:
        """After a silence of more than a minute a new life begins, so that the gap stays on record."""
        try:
            self._log_lost(self._database.transact(self._beat))
        except Silent as silence:
            self._begin_life()
            log.warning("worker began anew process=%s: %s", self._living().id, silence)

    def _beat(self, session: Session) -> list[LostRun]:
        processes.beat_unbroken(session, self._living())
        return self._leases.look(session)

    def _log_lost(self, lost: list[LostRun]) -> None:
        for run in lost:
            log.warning("job run lost run=%d worker=%s silent=%.0fs", run.run_id, run.process_id, run.silent_seconds)

    def _living(self) -> Registered:
        if self._process is None:
            raise RuntimeError("the worker has not begun")
        return self._process
