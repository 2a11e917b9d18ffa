"""The worker: claims job runs, has them executed, keeps their leases, and stops cleanly."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from schedmgr import clock
from schedmgr.core import attempts, locking, phrases, transitions
from schedmgr.core.attempts import OutputChunk
from schedmgr.core.locking import ClaimedRun
from schedmgr.core.outage import Outage
from schedmgr.core.transitions import Ending
from schedmgr.database.engine import Database, Session
from schedmgr.errors import DatabaseUnavailable
from schedmgr.vocabulary import RunStatus
from schedmgr.worker.environment import RunFacts, UnsetVariable, command_environment
from schedmgr.worker.keeper import boot_seconds
from schedmgr.worker.outcomes import Outcome
from schedmgr.worker.output import Chunk, Flush
from schedmgr.worker.process import AttemptSpec, Execution, Guard, Stop

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25  # between looks at the queue, unless woken
WATCH_SECONDS = 0.5  # between looks for cancellations
RENEW_SECONDS = 10.0
KILL_SECONDS = 10.0  # between TERM and KILL


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many job runs at once, and how long a lease and the grace at a stop are, in seconds.  No groups: all."""

    concurrency: int
    lease_seconds: float
    shutdown_grace: float
    groups: tuple[str, ...] = ()

    @property
    def renew_seconds(self) -> float:
        """How often leases are renewed: several times before one could lapse."""
        return min(RENEW_SECONDS, self.lease_seconds / 4)


@dataclass(slots=True)
class _Held:
    """A run under way here."""

    run: ClaimedRun
    execution: Execution
    is_cancelled: bool = False


class Pool:
    """Runs up to `concurrency` job runs at once, in threads of its own.

    `process_id` gives the id of the process's present life; `environ` is what `${NAME}` in jobs is filled from.
    """

    def __init__(
        self,
        database: Database,
        options: PoolOptions,
        *,
        process_id: Callable[[], str],
        environ: Mapping[str, str],
    ) -> None:
        self._database = database
        self._options = options
        self._process_id = process_id
        self._environ = environ
        self._guard = Guard(now=database.approximate_now)
        self._held: dict[str, _Held] = {}
        self._claim_token: str | None = None  # of a claim of which something may be left unstarted
        self._lock = threading.Lock()
        self._outage = Outage(log, "worker", clock.monotonic)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker")
        self._renewed_at = clock.monotonic()
        self._watched_at = clock.monotonic()

    def start(self) -> None:
        """Begin to claim."""
        self._guard.start()
        self._thread.start()

    def wake(self) -> None:
        """Something was put on the queue: look at once."""
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; running jobs get the grace, then TERM, then KILL.  Returns when all have ended."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def hurry(self) -> None:
        """End running jobs now: TERM, and KILL after its time."""
        self._hurry.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._guarded(self._step)
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        self._finish()

    def _step(self) -> None:
        self._keep_leases()
        self._watch_cancellations()
        self._give_back_unstarted()
        free = self._options.concurrency - len(self._held)
        if free > 0 and self._something_waits():
            self._claim(free)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Whatever one step meets, the worker goes on; what it could not do now it does at the next one."""
        try:
            step()
            self._outage.is_over()
        except DatabaseUnavailable as error:
            self._outage.goes_on(error)
            self._stopping.wait(1.0)
        except Exception:
            log.exception("worker step failed")
            self._stopping.wait(1.0)

    def _something_waits(self) -> bool:
        with self._database.read() as session:
            return locking.something_waits(session, self._options.groups)

    def _claim(self, free: int) -> None:
        claimed_at = boot_seconds()
        length = timedelta(seconds=self._options.lease_seconds)
        token = self._claim_token = locking.new_token()
        groups = self._options.groups
        claimed = self._database.transact(
            lambda session: locking.claim_runs(session, self._process_id(), free, length, groups, claim_token=token)
        )
        for run in claimed:
            self._start_or_give_back(run, claimed_at)
        self._claim_token = None

    def _give_back_unstarted(self) -> None:
        """After a claim of which it was never known whether it was kept, or that an error interrupted: return what was
        claimed and not started, or it would stay with this worker until its lease lapsed, and then count as lost."""
        token = self._claim_token
        if token is None:
            return
        with self._lock:
            started = set(self._held)
        returned = self._database.transact(lambda session: locking.give_back_claim(session, token, started))
        self._claim_token = None
        if returned:
            log.warning("job runs given back unstarted, since their claim was in doubt count=%d", returned)

    def _start_or_give_back(self, run: ClaimedRun, claimed_at: float) -> None:
        """A run that was claimed is started, or it goes back to the queue untouched."""
        if not self._stopping.is_set():
            self._start(run, claimed_at)
            return
        self._database.transact(lambda session: transitions.give_back(session, run.id, run.attempt, run.lease_token))
        log.info("job run given back run=%d job=%s", run.id, run.job)

    def _start(self, run: ClaimedRun, claimed_at: float) -> None:
        log.info("job run started run=%d job=%s attempt=%d", run.id, run.job, run.attempt)
        spec, refusal = self._specification(run, claimed_at)
        if spec is None:
            self._record(run, Outcome(RunStatus.FAILED, None, refusal))
            return
        sink = _DatabaseSink(self._database, run)
        with self._lock:
            execution = self._guard.run(spec, sink, lambda outcome: self._ended(run, outcome))
            self._held[run.lease_token] = _Held(run, execution)

    def _specification(self, run: ClaimedRun, claimed_at: float) -> tuple[AttemptSpec | None, str | None]:
        """What the guard is to run, or why nothing can be."""
        command = run.definition.get("command")
        if command is None:
            return None, f"this worker runs command jobs only, and {run.job} is none"
        facts = RunFacts(run.id, run.job, run.attempt, run.schedule_id, run.scheduled_for)
        try:
            env = command_environment(run.definition.get("env", {}), self._environ, facts)
        except UnsetVariable as error:
            return None, str(error)
        return AttemptSpec(
            run_id=run.id,
            attempt=run.attempt,
            command=command if isinstance(command, str) else tuple(command),
            env=env,
            cwd=run.definition.get("cwd"),
            timeout=run.definition.get("timeout"),
            deadline=self._deadline(claimed_at),
        ), None

    def _deadline(self, claimed_at: float) -> float:
        """Shortly before the lease ends: everything is killed by then, so that a second execution cannot overlap."""
        return claimed_at + self._options.lease_seconds * 0.9

    def _ended(self, run: ClaimedRun, outcome: Outcome) -> None:
        """Record the end, however long the database takes to answer; the lease decides whether it still counts.

        Where it cannot be recorded, the lease is let go: when it has lapsed, another process takes the run as lost.
        """
        ended_at = clock.monotonic()
        outage = Outage(log, f"end of job run {run.id}", clock.monotonic)
        try:
            while not self._is_recorded(run, outcome, outage) and not self._gives_up(ended_at):
                clock.sleep(1.0)
        finally:
            with self._lock:
                self._held.pop(run.lease_token, None)
            self._wake.set()

    def _is_recorded(self, run: ClaimedRun, outcome: Outcome, outage: Outage) -> bool:
        try:
            self._record(run, outcome)
        except DatabaseUnavailable as error:
            outage.goes_on(error)
            return False
        outage.is_over()
        return True

    def _gives_up(self, ended_at: float) -> bool:
        """A worker that is to stop does not wait for the database longer than the end could count."""
        if self._hurry.is_set():
            return True
        return self._stopping.is_set() and clock.monotonic() - ended_at > self._options.lease_seconds

    def _record(self, run: ClaimedRun, outcome: Outcome) -> None:
        def record(session: Session) -> bool:
            printed = attempts.output_size(session, run.id, run.attempt)
            ending = Ending(outcome.status, session.now(), outcome.exit_code, outcome.error, *printed)
            return attempts.end_attempt(session, run.id, run.attempt, run.definition, ending, run.lease_token)

        kept = self._database.transact(record)
        error = f" error={phrases.quoted(outcome.error)}" if outcome.error else ""
        facts = f"run={run.id} job={run.job} attempt={run.attempt} status={outcome.status}{error}"
        if kept:
            log.info("job run ended %s", facts)
        else:
            log.warning("job run ended after its lease was lost, so this end is not recorded %s", facts)

    def _keep_leases(self) -> None:
        if not self._held or clock.monotonic() - self._renewed_at < self._options.renew_seconds:
            return
        renewed_at = boot_seconds()
        with self._lock:
            held = dict(self._held)
        length = timedelta(seconds=self._options.lease_seconds)
        kept = self._database.transact(lambda session: locking.renew_leases(session, list(held), length))
        self._renewed_at = clock.monotonic()
        for token, one in held.items():
            if token in kept:
                one.execution.renew(self._deadline(renewed_at))
            elif one.execution.wait(0) is None:
                log.warning("lease lost run=%d job=%s", one.run.id, one.run.job)
                one.execution.stop(Stop.SHUTDOWN, grace=0)

    def _watch_cancellations(self) -> None:
        if not self._held or clock.monotonic() - self._watched_at < WATCH_SECONDS:
            return
        self._watched_at = clock.monotonic()
        with self._lock:
            held = dict(self._held)
        with self._database.read() as session:
            asked = locking.cancellations(session, list(held))
        for token, who in asked.items():
            if not held[token].is_cancelled:
                log.info("job run cancelled run=%d by=%s", held[token].run.id, who)
                held[token].is_cancelled = True
                held[token].execution.stop(Stop.CANCEL, grace=KILL_SECONDS)

    def _finish(self) -> None:
        """Give back what was not started; let running jobs end within the grace; then TERM, then KILL."""
        self._guarded(self._give_back_unstarted)
        ends_at = clock.monotonic() + self._options.shutdown_grace
        while self._held and clock.monotonic() < ends_at and not self._hurry.is_set():
            self._guarded(self._keep_leases)
            self._guarded(self._watch_cancellations)
            self._guarded(self._give_back_unstarted)
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        with self._lock:
            left = list(self._held.values())
        for one in left:
            log.warning("job run stopped with its worker run=%d job=%s", one.run.id, one.run.job)
            one.execution.stop(Stop.SHUTDOWN, grace=KILL_SECONDS)
        for one in left:
            one.execution.wait()
        self._guard.close()


class _DatabaseSink:
    """Where one attempt's output goes: rows of job_run_output."""

    def __init__(self, database: Database, run: ClaimedRun) -> None:
        self._database = database
        self._run = run

    def write(self, flush: Flush) -> None:
        chunks = [_stored(chunk) for chunk in flush.chunks]
        self._database.transact(
            lambda session: attempts.store_output(
                session,
                self._run.id,
                self._run.attempt,
                chunks,
                flush.dropped,
                flush.total_bytes,
                flush.left_out_bytes,
            )
        )


def _stored(chunk: Chunk) -> OutputChunk:
    segments = [[round(one.at.timestamp() * 1000), one.stream, one.text] for one in chunk.segments]
    return OutputChunk(
        chunk.seq, chunk.first_line, chunk.byte_offset, chunk.byte_count, json.dumps(segments, ensure_ascii=False)
    )
