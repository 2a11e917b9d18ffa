"""The daemon's loop: look, decide what is due, sleep until the next due instant; between that beat, sync, repair and
prune."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from schedmgr import clock
from schedmgr.core import installation, locking, processes, settlement, sync
from schedmgr.core.comparison import Change, ChangeKind
from schedmgr.core.definitions import Definitions
from schedmgr.core.health import CLOCK_TOLERANCE
from schedmgr.core.leases import LeaseWatch, LostRun
from schedmgr.core.locking import DueLook
from schedmgr.core.outage import Outage
from schedmgr.core.problems import Place, Problem, file_problem
from schedmgr.core.processes import BEAT_EVERY, SILENT_AFTER, STEPPED_BACK, Registered, Silent
from schedmgr.core.settlement import Settlement
from schedmgr.core.sync import Synced
from schedmgr.daemon import tick as ticking
from schedmgr.daemon.held import Held
from schedmgr.daemon.pruning import Pruning
from schedmgr.daemon.watch import DefinitionsWatch, News
from schedmgr.database import migrate
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable, Refused
from schedmgr.vocabulary import ProcessRole

log = logging.getLogger(__name__)

LONGEST_SLEEP = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What a daemon needs to know.  `concurrency`: places for job runs of the worker inside it."""

    environment: str
    version: str
    definitions: str | None  # SCHEDMGR_DEFINITIONS
    directory: Path
    poll_interval: timedelta
    lease_seconds: float
    concurrency: int
    retention: timedelta


class Daemon:
    """Decides and enqueues.  `begin`, then `run`, then `end`, each once."""

    def __init__(self, database: Database, options: DaemonOptions) -> None:
        self._database = database
        self._options = options
        self._on_enqueued: Callable[[], None] = lambda: None
        self._process: Registered | None = None
        self._beat_at: datetime | None = None
        self._beats_next = 0.0
        self._clock_is_off = False
        # With each beat the leases are looked at, which takes several looks a lease.
        self._beat_every = min(BEAT_EVERY, options.lease_seconds / 4)
        self._upkeep_next = 0.0
        self._leases = LeaseWatch(options.lease_seconds, clock.monotonic)
        self._pruning = Pruning(database, options.retention, options.poll_interval, clock.monotonic)
        self._watch = DefinitionsWatch(options.definitions, options.directory, options.poll_interval.total_seconds())
        self._news: News | None = None
        self._outage = Outage(log, "daemon", clock.monotonic)
        self._unclaimed = Held(clock.monotonic)
        self._held: Definitions | None = None
        self._problems: tuple[Problem, ...] = ()  # of the definitions that were found last

    @property
    def process_id(self) -> str:
        """The id of the present life of this process."""
        return self._living().id

    def begin(self, on_enqueued: Callable[[], None], stop: threading.Event) -> bool:
        """Register this process, as soon as the database takes it.  False: `stop` was set before that.

        Raises DatabaseNotReady if the database is at another revision.

        `on_enqueued` is called whenever job runs were put on the queue.
        """
        self._on_enqueued = on_enqueued
        while not stop.is_set():
            try:
                migrate.require_current(self._database)
                self._begin_life()
            except DatabaseUnavailable as error:
                self._outage.goes_on(error)
                stop.wait(ticking.AFTER_TROUBLE)
            else:
                self._outage.is_over()
                return True
        return False

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; whatever the database or a schedule does, go on."""
        self._watch.start()
        while not stop.is_set():
            stop.wait(self._guarded_step())
        self._watch.stop()

    def end(self) -> None:
        """Say that this process decides nothing more; its job runs may still be ending."""
        try:
            self._database.transact(lambda session: processes.stop(session, self._living()))
        except DatabaseUnavailable as error:
            log.warning("end not recorded: %s", error)
        log.info("daemon stopped process=%s", self._living().id)

    def _begin_life(self) -> None:
        """A new id and row."""

        def register(session: Session) -> tuple[Registered, datetime]:
            process = processes.register(
                session,
                ProcessRole.DAEMON,
                environment=self._options.environment,
                version=self._options.version,
                concurrency=self._options.concurrency,
                replaces=self._process,
            )
            processes.hold_definitions(session, process, self._held, session.now())
            if self._problems:
                processes.report_errors(session, process, self._problems)
            return process, session.now()

        self._process, self._beat_at = self._database.transact(register)
        self._pruning.begin(self._beat_at)
        self._beats_next = clock.monotonic() + self._beat_every
        log.info("daemon started process=%s environment=%s", self._process.id, self._options.environment)

    def _guarded_step(self) -> float:
        """One step; returns the seconds to sleep after it.  Whatever it meets, the loop goes on."""
        try:
            pause = self._step_or_what_is_left()
        except DatabaseUnavailable as error:
            self._outage.goes_on(error)
        except Exception:
            log.exception("daemon step failed")
        else:
            self._outage.is_over()
            return pause
        return ticking.AFTER_TROUBLE

    def _step_or_what_is_left(self) -> float:
        """After a silence of more than a minute a new life, so that the gap stays on record; after an error, each due
        schedule alone."""
        try:
            return self._step()
        except Silent as silence:
            self._begin_life()
            log.warning("daemon began anew process=%s: %s", self._living().id, silence)
            return 0.0
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("daemon step failed; trying each due schedule alone")
            self._settle_one_by_one()
            return ticking.AFTER_TROUBLE

    def _step(self) -> float:
        look = ticking.look(self._database)
        self._beat(look.now)
        settled = self._settle() if look.is_due else None
        self._unclaimed.note(is_held=settled is not None and not settled.settled)
        is_pruning = self._pruning.step(look, self._name)
        self._upkeep()
        if settled is not None:
            return ticking.pause_after(settled)
        return min(ticking.BETWEEN_BATCHES, _until_next(look)) if is_pruning else _until_next(look)

    def _settle(self) -> Settlement:
        """Settle a batch of what is due.  What it claims and cannot settle is repaired at once."""
        settled = ticking.tick(self._database, self._living())
        if any(firing.jobs for firing in settled.firings):
            self._on_enqueued()
        if settled.asked > settled.settled:
            self._upkeep_next = clock.monotonic()
        return settled

    def _settle_one_by_one(self) -> None:
        try:
            ticking.tick_one_by_one(self._database, self._living())
        except Silent as silence:
            log.warning("daemon was frozen: %s", silence)
        self._on_enqueued()

    @property
    def _name(self) -> str:
        """As what this daemon does is signed."""
        return f"daemon:{self.process_id}"

    def _living(self) -> Registered:
        if self._process is None:
            raise RuntimeError("the daemon has not begun")
        return self._process

    def _beat(self, now: datetime) -> None:
        """Beat every ten seconds, and at once after a silence or a step of the clock: that ends this life."""
        has_ended = self._beat_at is not None and not -STEPPED_BACK <= now - self._beat_at <= SILENT_AFTER
        if clock.monotonic() < self._beats_next and not has_ended:
            return

        def beat(session: Session) -> tuple[datetime, float, list[LostRun]]:
            processes.beat_unbroken(session, self._living())
            lost = self._leases.look(session)
            return session.now(), session.host_ahead(), lost

        self._beat_at, ahead, lost = self._database.transact(beat)
        for run in lost:
            log.warning("job run lost run=%d worker=%s silent=%.0fs", run.run_id, run.process_id, run.silent_seconds)
        self._beats_next = clock.monotonic() + self._beat_every
        self._note_clock(ahead)

    def _note_clock(self, ahead: float) -> None:
        """Say once that this host's clock is off, and again when it has been right in between."""
        is_off = abs(ahead) > CLOCK_TOLERANCE
        if is_off and not self._clock_is_off:
            side = "ahead of" if ahead > 0 else "behind"
            log.warning(
                "clock is off by=%.1fs: this host's is %s the database's, by which schedules fire; check the time "
                "synchronisation of both", abs(ahead), side,
            )  # fmt: skip
        self._clock_is_off = is_off

    def _upkeep(self) -> None:
        """Take up changed definitions at once; repair every poll interval."""
        if (news := self._watch.take()) is not None:
            self._news = news
            self._announce(news)
        if self._news is not None:
            self._take_up(self._news)
            self._news = None  # not before: what the database could not take is tried again
        if clock.monotonic() >= self._upkeep_next:
            self._upkeep_next = clock.monotonic() + self._options.poll_interval.total_seconds()
            self._repair()

    def _repair(self) -> None:
        process = self._living()

        def repair(session: Session) -> Settlement:
            processes.beat_unbroken(session, process)
            return settlement.repair(session, process_id=process.id)

        ticking.log_firings(self._database, self._database.transact(repair))

    def _announce(self, news: News) -> None:
        if news.definitions is not None:
            schedules = news.definitions.for_environment(self._options.environment).schedules
            log.info("Loaded %d schedule definitions from code", len(schedules))

    def _take_up(self, news: News) -> None:
        """Write what was found to the tables, and then say what came of it: who reads the line finds it done."""
        if news.definitions is None:
            self._report(news.problems)
            for problem in news.problems:
                log.error("definitions invalid, the last good ones stay in force: %s", problem)
            return
        definitions = news.definitions.for_environment(self._options.environment)
        is_first = self._held is None
        try:
            synced = self._database.transact(lambda session: self._sync(session, definitions, is_first))
        except Refused as refusal:
            self._report([file_problem(Place(definitions.source), str(refusal))])
            log.error("definitions not written: %s", refusal)
        else:
            self._problems = ()
            if synced is not None:
                ticking.log_firings(self._database, synced.settled)
                _log_changes(synced.changes)
        self._held = definitions

    def _report(self, problems: Sequence[Problem]) -> None:
        self._problems = tuple(problems)
        self._database.transact(lambda session: processes.report_errors(session, self._living(), problems))

    def _sync(self, session: Session, definitions: Definitions, is_first: bool) -> Synced | None:
        """Write them to the tables, unless this daemon has just started with definitions that others replaced: then a
        rolling deploy is under way, and the old ones must not come back.  None: they were not written."""
        process = self._living()
        processes.beat_unbroken(session, process)
        processes.hold_definitions(session, process, definitions, session.now())
        locking.hold_definitions(session)  # others may be putting newer ones into force just now
        in_force = installation.definitions_in_force(session)
        if (
            is_first
            and in_force is not None
            and sync.was_replaced(session, definitions)
            and processes.living_daemon_holds(session, in_force.fingerprint, other_than=process.id)
        ):
            log.warning(
                "definitions not written: newer ones are in force held=%s in_force=%s",
                definitions.fingerprint[:12], in_force.fingerprint[:12],
            )  # fmt: skip
            return None
        return sync.sync(session, definitions, process.environment, by=self._name, process_id=process.id)


def _until_next(look: DueLook) -> float:
    if look.next_due_at is None:
        return LONGEST_SLEEP
    return min(LONGEST_SLEEP, max(0.0, (look.next_due_at - look.now).total_seconds()))


def _log_changes(changes: Sequence[Change]) -> None:
    for change in changes:
        fields = ",".join(field.name for field in change.fields)
        log.info("definition %s %s=%s fields=%s", _PAST[change.kind], change.thing, change.id, fields or "-")


_PAST = {
    ChangeKind.ADD: "added",
    ChangeKind.CHANGE: "changed",
    ChangeKind.ARCHIVE: "archived",
    ChangeKind.RESTORE: "restored",
}
