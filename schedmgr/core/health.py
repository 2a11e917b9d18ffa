"""The verdicts behind `schedmgr health`, /readyz, banners and metrics: facts in, judgement out."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from schedmgr.core import database_checks, phrases
from schedmgr.core.processes import SILENT_AFTER
from schedmgr.core.verdict import Check, Status
from schedmgr.core.vitals import Life, Vitals, vitals
from schedmgr.database import migrate
from schedmgr.database.engine import Database
from schedmgr.errors import DatabaseUnavailable
from schedmgr.vocabulary import ProcessRole

log = logging.getLogger(__name__)

MAX_AGE = timedelta(seconds=300)
"""Nothing may be silent or undecided for longer."""
ANSWER_WITHIN = 5.0  # seconds that the database has
LEAST_SUCCESS = 90.0  # percent
RUNS_FOR_A_RATE = 10
CLOCK_TOLERANCE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, the checks it comes from, and the facts; no facts: the database could not be asked."""

    status: Status
    checks: tuple[Check, ...]
    facts: Vitals | None = None

    @classmethod
    def of(cls, checks: tuple[Check, ...], facts: Vitals | None = None) -> "Health":
        """As bad as its worst check."""
        return cls(max((check.status for check in checks), key=lambda status: status.exit_code), checks, facts)

    @property
    def troubles(self) -> tuple[Check, ...]:
        """The checks that are not OK, worst first."""
        bad = [check for check in self.checks if check.status is not Status.OK]
        return tuple(sorted(bad, key=lambda check: -check.status.exit_code))


def check(database: Database, *, max_age: timedelta = MAX_AGE, within: float = ANSWER_WITHIN) -> Health:
    """Ask the database and judge, within that many seconds whatever the database does."""
    answers: list[Health] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(database, max_age)), daemon=True)
    asking.start()
    asking.join(within)
    if asking.is_alive():
        return unanswered(f"The database did not answer within {within:g} s.")
    return answers[0]


def unanswered(sentence: str) -> Health:
    """The verdict when the database cannot be asked."""
    return Health.of((Check("database", Status.CRITICAL, sentence),))


def _ask(database: Database, max_age: timedelta) -> Health:
    try:
        if problem := migrate.problem_with(migrate.revision(database)):
            return unanswered(problem)
        with database.read() as session:
            facts = vitals(session)
        return judge(with_hindrances(database, facts, max_age), max_age)
    except DatabaseUnavailable as error:
        return unanswered(str(error))
    except SQLAlchemyError as error:
        return unanswered(f"The database cannot be used: {getattr(error, 'orig', error)}.")
    except Exception as error:
        log.exception("check failed")
        return Health.of((Check("health", Status.UNKNOWN, f"The check itself failed: {error!r}."),))


def with_hindrances(database: Database, facts: Vitals, max_age: timedelta = MAX_AGE) -> Vitals:
    """The facts with what no row says: how full the disk is, and, where something is wrong, who is in the way."""
    facts = replace(facts, disk_free=database_checks.disk_free(database))
    if judge(facts, max_age).status is Status.OK:
        return facts
    return replace(facts, **database_checks.hindrances(database))


def judge(facts: Vitals, max_age: timedelta = MAX_AGE) -> Health:
    """The verdict on these facts.  Pure.

    A daemon that is silent, and an occurrence that is undecided, are a WARNING over 60 s and CRITICAL over `max_age`.
    """
    checks = (question(facts, max_age) for question in _QUESTIONS)
    return Health.of(tuple(answer for answer in checks if answer is not None), facts)


def _database(facts: Vitals, max_age: timedelta) -> Check:
    return Check("database", Status.OK, "The database answers.")


def _daemon(facts: Vitals, max_age: timedelta) -> Check:
    last = facts.last_daemon
    if last is None:
        return Check(
            "daemon", Status.CRITICAL, "No daemon has run yet. Nothing fires until one starts: schedmgr daemon"
        )
    silence = max(facts.now - last.beat_at, timedelta(0))
    status = _by_age(silence, max_age)
    if status is Status.OK:
        did = "was stopped" if last.ended_well else "beat"
        return Check("daemon", status, f"The daemon on {last.host} {did} {phrases.duration(silence)} ago.")
    at = f"{phrases.duration(silence)} ago, at {phrases.clock_time(last.beat_at, near=facts.now)} UTC"
    if last.ended_well:
        sentence = f"No daemon is running: the one on {last.host} was stopped {at}. Start it: schedmgr daemon"
    else:
        sentence = (
            f"No daemon is running: the one on {last.host} (process {last.pid}) beat last {at}. It was killed, or it "
            "hangs or cannot write to the database: then its log says so. Start it again: schedmgr daemon"
        )
    return Check("daemon", status, sentence)


def _due(facts: Vitals, max_age: timedelta) -> Check:
    oldest = facts.oldest_due
    if oldest is None:
        return Check("due", Status.OK, f"Nothing is overdue; {phrases.counted(facts.enabled, 'schedule')} on.")
    waited = facts.now - oldest.due_at
    status = _by_age(waited, max_age)
    if status is Status.OK:
        return Check("due", status, f"Nothing is overdue; {oldest.schedule_id} is due just now.")
    living = facts.living(ProcessRole.DAEMON)
    mend = f" The daemon on {living[0].host} beats but does not fire: its log says what it waits for." if living else ""
    return Check(
        "due",
        status,
        f"{oldest.schedule_id} was due {phrases.duration(waited)} ago, at "
        f"{phrases.clock_time(oldest.due_at, near=facts.now)} UTC, and nothing has decided it.{mend}",
    )


def _disk(facts: Vitals, max_age: timedelta) -> Check | None:
    return database_checks.disk(facts)


def _writes(facts: Vitals, max_age: timedelta) -> Check | None:
    is_late = facts.oldest_due is not None and facts.now - facts.oldest_due.due_at > SILENT_AFTER
    return database_checks.writes(facts, is_hindered=is_late or not facts.living(ProcessRole.DAEMON))


def _file(facts: Vitals, max_age: timedelta) -> Check | None:
    return database_checks.file_lock(facts)


def _rows(facts: Vitals, max_age: timedelta) -> Check | None:
    return database_checks.row_locks(facts)


def _ahead(facts: Vitals, max_age: timedelta) -> Check | None:
    ahead = facts.ahead
    if ahead is None:
        return None
    until = phrases.clock_time(ahead.until, near=facts.now)
    left = phrases.duration(ahead.until - facts.now)
    are = "schedule is" if ahead.schedules == 1 else "schedules are"
    return Check(
        "ahead",
        Status.WARNING,
        f"The database's clock was set back: {ahead.schedules:,} {are} decided already, at most up to {until} UTC, and "
        f"will be silent until the clock is there, in {left}. What was due until then has been decided and does not "
        "fire twice. If the clock is wrong now, correct it.",
    )


def _never_due(facts: Vitals, max_age: timedelta) -> Check | None:
    if not facts.never_due:
        return None
    first, others = facts.never_due[0], len(facts.never_due) - 1
    more = f" Neither does that of {phrases.counted(others, 'other schedule')}." if others else ""
    return Check(
        "undecidable",
        Status.WARNING,
        f"{first} is on and never fires: its row does not say when it is due.{more} Why: schedmgr schedules history "
        f"{first}. Write its row anew: schedmgr sync",
    )


def _stale(facts: Vitals, max_age: timedelta) -> Check | None:
    """Only beside a living one: otherwise the question of the daemon says it."""
    if not facts.stale or not facts.living(ProcessRole.DAEMON):
        return None
    return Check("stale", Status.WARNING, " ".join(_stale_words(life, facts.now) for life in facts.stale))


def _stale_words(life: Life, now: datetime) -> str:
    silence = phrases.duration(now - life.beat_at)
    return f"The {life.role} on {life.host} (process {life.pid}) stopped beating {silence} ago. Restart that process."


def _workers(facts: Vitals, max_age: timedelta) -> Check | None:
    queue = facts.queue
    if not queue.waiting or queue.longest_waiting_since is None or any(life.takes_runs for life in facts.living()):
        return None
    waited = phrases.duration(facts.now - queue.longest_waiting_since)
    return Check(
        "workers",
        Status.WARNING,
        f"{phrases.counted(queue.waiting, 'run')} waiting and no worker is running; the oldest has waited {waited}. "
        "Start one, schedmgr worker, or a daemon with SCHEDMGR_WORKER_CONCURRENCY above 0.",
    )


def _untaken(facts: Vitals, max_age: timedelta) -> Check | None:
    """Runs that wait beside free places: by what is started, not by what beats."""
    run = facts.queue.untaken
    if run is None:
        return None
    free = phrases.counted(facts.places - facts.queue.running, "place")
    are = "is" if facts.places - facts.queue.running == 1 else "are"
    return Check(
        "queue",
        Status.WARNING,
        f"A run of {run.job} has waited {phrases.duration(facts.now - run.since)} although {free} {are} free, and no "
        f"run of its group, {run.group}, goes. Start a worker that takes this group (SCHEDMGR_WORKER_GROUPS); if there "
        "is one, it hangs: restart it.",
    )


def _success(facts: Vitals, max_age: timedelta) -> Check | None:
    runs, percent = facts.runs, facts.runs.success_percent
    if percent is None or runs.judged < RUNS_FOR_A_RATE:
        return None
    words = f"{int(percent)} % of the {runs.judged:,} runs of the last 24 hours succeeded"
    if percent >= LEAST_SUCCESS:
        return Check("success", Status.OK, f"{words}.")
    worst = runs.most_failing
    sentence = f"{words}; most of the failures: {worst}. Its runs: schedmgr runs list --job {worst}"
    return Check("success", Status.WARNING, sentence)


def _repairs(facts: Vitals, max_age: timedelta) -> Check | None:
    if not facts.repaired:
        return None
    newest, others = facts.repaired[0], len(facts.repaired) - 1
    more = f" So were those of {phrases.counted(others, 'other schedule')}." if others else ""
    return Check(
        "repairs",
        Status.WARNING,
        f"The next run of {newest.schedule_id} was repaired at {phrases.clock_time(newest.at, near=facts.now)} UTC: "
        f"{newest.repair}.{more}",
    )


def _definitions(facts: Vitals, max_age: timedelta) -> Check | None:
    life = next((life for life in facts.living(ProcessRole.DAEMON) if life.definitions_errors), None)
    if life is None:
        return None
    first = life.definitions_errors[0]
    place = " ".join(str(first[part]) for part in ("file", "kind", "id", "field") if first.get(part))
    said = f"{place}: {first.get('mend', '')}"
    if len(life.definitions_errors) == 1:
        sentence = f"The daemon on {life.host} cannot use its definitions; those before them stay in force. {said}"
    else:
        sentence = (
            f"The definitions on {life.host} have {len(life.definitions_errors):,} errors; the last good ones stay in "
            f"force. First: {said} All of them: schedmgr check"
        )
    return Check("definitions", Status.WARNING, sentence)


def _agreement(facts: Vitals, max_age: timedelta) -> Check | None:
    """Daemons that hold other definitions than those in force, or than one another."""
    holding = [life for life in facts.living(ProcessRole.DAEMON) if life.definitions is not None]
    held = {life.definitions["fingerprint"] for life in holding if life.definitions is not None}
    in_force = set() if facts.in_force is None else {facts.in_force.fingerprint}
    if not holding or len(held | in_force) < 2:
        return None
    if len(held) > 1:
        hosts = " and ".join(dict.fromkeys(life.host for life in holding))
        sentence = f"Daemons hold different definitions ({hosts}). Deploy the same code to all of them."
    else:
        sentence = (
            f"The daemon on {holding[0].host} holds other definitions than those in force. Deploy the same code to it, "
            "or run there: schedmgr sync"
        )
    return Check("agreement", Status.WARNING, sentence)


def _clocks(facts: Vitals, max_age: timedelta) -> Check | None:
    off = [life for life in facts.living() if abs(life.clock_offset) > CLOCK_TOLERANCE]
    if not off:
        return None
    worst = max(off, key=lambda life: abs(life.clock_offset))
    side = "ahead of" if worst.clock_offset > 0 else "behind"
    return Check(
        "clock",
        Status.WARNING,
        f"The clock of {worst.host} is {abs(worst.clock_offset):.1f} s {side} the database's. "
        "Schedules fire by the database's clock; check the time synchronisation of both.",
    )


def _durability(facts: Vitals, max_age: timedelta) -> Check | None:
    return database_checks.durability(facts)


def _pause(facts: Vitals, max_age: timedelta) -> Check | None:
    """Said, but no trouble: a person wants it so."""
    paused = facts.paused
    if paused is None:
        return None
    since = f"since {phrases.clock_time(paused.from_at, near=facts.now)} UTC"
    if paused.until_at is None:
        sentence = f"All schedules are paused {since} by {paused.by}: {paused.reason}."
    else:
        until = phrases.clock_time(paused.until_at, near=facts.now)
        sentence = f"All schedules are paused until {until} UTC by {paused.by}: {paused.reason} ({since})."
    return Check("pause", Status.OK, sentence)


def _by_age(age: timedelta, max_age: timedelta) -> Status:
    if age > max_age:
        return Status.CRITICAL
    return Status.WARNING if age > SILENT_AFTER else Status.OK


_QUESTIONS: tuple[Callable[[Vitals, timedelta], Check | None], ...] = (
    _database,
    _daemon,
    _due,
    _disk,
    _writes,
    _file,
    _rows,
    _ahead,
    _never_due,
    _stale,
    _workers,
    _untaken,
    _success,
    _repairs,
    _definitions,
    _agreement,
    _clocks,
    _durability,
    _pause,
)


def numbers(facts: Vitals, max_age: timedelta = MAX_AGE) -> Iterator[tuple[str, float, str, str]]:
    """The measured values: name, value, unit, and the limits "warning;critical;least" of performance data."""
    limits = f"{SILENT_AFTER.total_seconds():g};{max_age.total_seconds():g};0"
    if facts.last_daemon is not None:
        yield "beat_age", _seconds(facts.now - facts.last_daemon.beat_at), "s", limits
    due_at = facts.now if facts.oldest_due is None else facts.oldest_due.due_at
    yield "due_age", _seconds(facts.now - due_at), "s", limits
    yield "overdue", facts.overdue, "", ";;0"
    yield "schedules_on", facts.enabled, "", ";;0"
    yield "queued", facts.queue.waiting, "", ";;0"
    yield "running", facts.queue.running, "", ";;0"
    if facts.runs.success_percent is not None:
        yield "success_rate", round(facts.runs.success_percent, 1), "%", f"{LEAST_SUCCESS:g}:;;0;100"


def _seconds(length: timedelta) -> float:
    return round(max(0.0, length.total_seconds()), 1)
