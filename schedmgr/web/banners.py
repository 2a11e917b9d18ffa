"""The notices under the head of every page: what is wrong now, what it means, and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from schedmgr.core import health, phrases
from schedmgr.core.health import CLOCK_TOLERANCE, LEAST_SUCCESS, RUNS_FOR_A_RATE
from schedmgr.core.queries.snapshot import Snapshot
from schedmgr.core.standstill import Due
from schedmgr.core.vitals import Life
from schedmgr.vocabulary import Missed, ProcessRole, RunStatus
from schedmgr.web import trouble
from schedmgr.web.live import Reading
from schedmgr.web.outcomes import who
from schedmgr.web.views import Action, Banner, Kind

WAITS_FOR_WORKER = timedelta(seconds=60)

_ORDER = [Kind.BAD, Kind.WARN, Kind.INFO, Kind.OK]


def banners(reading: Reading, environment: str, can_act: bool) -> tuple[Banner, ...]:
    """All notices, worst first.  `environment` is this process's; `can_act`: for a person who may resume and run."""
    return tuple(sorted(_all(reading, environment, can_act), key=lambda banner: _ORDER.index(banner.kind)))


def _all(reading: Reading, environment: str, can_act: bool) -> Iterator[Banner]:
    snapshot = reading.snapshot
    if reading.is_old:
        yield _no_answer(snapshot.now)
    yield from _judged(snapshot, "disk", "writes", "file", "rows", "undecidable")
    yield from _set_back(snapshot)
    yield from _environment(snapshot, environment)
    yield from _daemons(snapshot)
    yield from _workers(snapshot)
    yield from _definitions(snapshot)
    if snapshot.pause is not None:
        yield _paused(snapshot, can_act)
    yield from _success(snapshot)
    yield from _missed(snapshot)
    yield from _repairs(snapshot)
    yield from _clocks(snapshot)
    yield from _judged(snapshot, "durability")  # the last: it stands for weeks, and hides nothing that is wrong now


def _no_answer(shown: datetime) -> Banner:
    return Banner(
        "database-gone",
        Kind.BAD,
        "The database does not answer",
        f"Shown values are from {_second(shown)}. Trying again every 5 s.",
    )


def _judged(snapshot: Snapshot, *keys: str) -> Iterator[Banner]:
    """What health says in words that time does not change."""
    for check in health.judge(snapshot.vitals).troubles:
        if check.key in keys:
            kind, title = _JUDGED[check.key]
            yield Banner(check.key, kind, title, check.sentence)


_JUDGED = {
    "disk": (Kind.BAD, "The disk of the database file is full"),
    "file": (Kind.BAD, "Another process holds the database file"),
    "rows": (Kind.WARN, "Another program keeps rows locked"),
    "writes": (Kind.BAD, "The database takes no changes"),
    "durability": (Kind.WARN, "The database may forget what it acknowledged"),
    "undecidable": (Kind.WARN, "A schedule that is on never fires"),
}


def _set_back(snapshot: Snapshot) -> Iterator[Banner]:
    ahead = snapshot.vitals.ahead
    if ahead is None:
        return
    silent = "1 schedule is" if ahead.schedules == 1 else f"{ahead.schedules:,} schedules are"
    yield Banner(
        "clock-set-back",
        Kind.WARN,
        f"The database's clock was set back. {silent} silent until {_clock(ahead.until)} at most",
        "What was due until then has been decided already and does not fire twice. If the clock is wrong now, correct "
        "it.",
    )


def _daemons(snapshot: Snapshot) -> Iterator[Banner]:
    alive = trouble.beating(snapshot)
    if snapshot.vitals.last_daemon is None:
        yield Banner(
            "no-daemon-yet",
            Kind.BAD,
            "No daemon has run yet",
            "Nothing fires until one starts: `schedmgr daemon`. Run now works and waits in the queue.",
        )
    elif not alive:
        yield _no_daemon(snapshot, snapshot.vitals.last_daemon)
    else:
        yield from _not_firing(snapshot, alive)
        yield from _stale(snapshot)
        yield from _disagreeing(snapshot, alive)


def _no_daemon(snapshot: Snapshot, last: Life) -> Banner:
    late = len(trouble.overdue(snapshot))
    overdue = f" {phrases.counted(late, 'schedule')} {'is' if late == 1 else 'are'} overdue." if late else ""
    return Banner(
        "no-daemon",
        Kind.BAD,
        f"No daemon is running. Nothing has fired since {_second(last.beat_at)}",
        f"Last beat: {last.host}, {_mark(last.beat_at)}.{overdue} Start it: `schedmgr daemon`. "
        "Missed runs of schedules set to skip are not made up.",
    )


def _not_firing(snapshot: Snapshot, alive: Sequence[Life]) -> Iterator[Banner]:
    oldest = _longest_due(snapshot)
    if oldest is None or trouble.stale(snapshot):
        return
    yield Banner(
        "not-firing",
        Kind.BAD,
        f"The daemon on {alive[0].host} beats but does not fire",
        f"The oldest due run, {oldest.schedule_id}, was due {_mark(oldest.due_at)}. "
        "Its log and `schedmgr health -v` say what it waits for; if they name nobody else, restart that process.",
    )


def _longest_due(snapshot: Snapshot) -> Due | None:
    """What is overdue by the stored next runs, or although these hide it."""
    late = trouble.overdue(snapshot)
    if late and late[0].next_run_at is not None:
        return Due(late[0].id, late[0].next_run_at)
    oldest = snapshot.vitals.oldest_due
    return oldest if oldest is not None and snapshot.now - oldest.due_at > trouble.OVERDUE_AFTER else None


def _stale(snapshot: Snapshot) -> Iterator[Banner]:
    late = trouble.overdue(snapshot)
    for daemon in trouble.stale(snapshot):
        because = f"{late[0].id} is overdue because of it. " if late else ""
        yield Banner(
            f"stale-{daemon.id}",
            Kind.BAD if late else Kind.WARN,
            f"The daemon on {daemon.host} stopped beating {_mark(daemon.beat_at)}",
            f"{because}{_what_keeps_it(snapshot)} If this stays, restart that process.",
        )


def _what_keeps_it(snapshot: Snapshot) -> str:
    server = snapshot.vitals.server
    if server is None:
        return "Another process holds the database file, or that one is frozen or was killed."
    seconds = 10 if server.name == "MariaDB" else 30
    return (
        "It was killed, is frozen, or does not reach the database, which frees the work of a frozen daemon within "
        f"{seconds} s."
    )


def _disagreeing(snapshot: Snapshot, alive: Sequence[Life]) -> Iterator[Banner]:
    """Daemons that hold other definitions than one another, or than those in force."""
    in_force = snapshot.in_force
    held = {daemon.definitions["fingerprint"]: daemon for daemon in alive if daemon.definitions is not None}
    fingerprint = in_force.fingerprint if in_force else None
    if len(held) > 1:
        said = " ".join(_holding(daemon, is_in_force=mark == fingerprint) for mark, daemon in held.items())
        count = {2: "Two"}.get(len(held), str(len(held)))
        title = f"{count} daemons hold different definitions"
        yield Banner("disagreeing", Kind.WARN, title, f"{said} Deploy the same code to all of them.")
    elif in_force is not None and held and fingerprint not in held:
        daemon = next(iter(held.values()))
        yield Banner(
            "disagreeing",
            Kind.WARN,
            f"The daemon on {daemon.host} holds other definitions than those in force",
            f"In force: {phrases.counted(in_force.schedules, 'schedule')}, since {_clock(in_force.since)}. "
            f"{_holding(daemon)} Deploy the same code to it, or run there: `schedmgr sync`.",
        )


def _holding(daemon: Life, *, is_in_force: bool = False) -> str:
    definitions = daemon.definitions or {}
    loaded_at = _clock(datetime.fromisoformat(definitions["loaded_at"]))
    mark = ", in force" if is_in_force else ""
    return f"{daemon.host}: {phrases.counted(int(definitions['schedules']), 'schedule')}, loaded {loaded_at}{mark}."


def _environment(snapshot: Snapshot, own: str) -> Iterator[Banner]:
    """A page that takes production for something else would not ask before it acts."""
    if snapshot.environment is None or snapshot.environment == own:
        return
    yield Banner(
        "environment",
        Kind.WARN,
        f"The tables are for {snapshot.environment}, but this page runs as {own}",
        f"What is pressed here acts on {snapshot.environment}. Start the web with `APP_ENV={snapshot.environment}`.",
    )


def _workers(snapshot: Snapshot) -> Iterator[Banner]:
    yield from _no_worker(snapshot)
    yield from _untaken(snapshot)
    for worker in snapshot.vitals.stale:
        if worker.role is ProcessRole.WORKER:
            yield Banner(
                f"stale-{worker.id}",
                Kind.WARN,
                f"The worker on {worker.host} stopped beating {_mark(worker.beat_at)}",
                "It was killed, is frozen, or does not reach the database. Its job runs are lost once their leases "
                "lapse. Restart that process.",
            )


def _untaken(snapshot: Snapshot) -> Iterator[Banner]:
    run = snapshot.vitals.queue.untaken
    if run is None:
        return
    yield Banner(
        "untaken",
        Kind.WARN,
        f"Runs of the group {run.group} wait although places are free",
        f"One of {run.job} could have started {_mark(run.since)}. Start a worker that takes this group "
        "(`SCHEDMGR_WORKER_GROUPS`); if there is one, it hangs: restart it.",
    )


def _no_worker(snapshot: Snapshot) -> Iterator[Banner]:
    waiting = snapshot.with_status(RunStatus.QUEUED)
    if not waiting or snapshot.places:
        return
    oldest = min(run.queued_at for run in waiting)
    if snapshot.now - oldest < WAITS_FOR_WORKER:
        return
    wait = "1 run waits" if len(waiting) == 1 else f"{len(waiting):,} runs wait"
    yield Banner(
        "no-worker",
        Kind.BAD,
        f"{wait} and no worker is running",
        f"The oldest was queued {_mark(oldest)}. Start a worker, `schedmgr worker`, or a daemon with "
        "`SCHEDMGR_WORKER_CONCURRENCY` above 0.",
    )


def _definitions(snapshot: Snapshot) -> Iterator[Banner]:
    errors = next((daemon.definitions_errors for daemon in trouble.beating(snapshot) if daemon.definitions_errors), ())
    if not errors:
        return
    since = f", from {_clock(snapshot.in_force.since)}," if snapshot.in_force else ""
    rest = f" And {phrases.counted(len(errors) - 1, 'more error')}: `schedmgr check` shows all." if errors[1:] else ""
    yield Banner(
        "definitions-invalid",
        Kind.BAD,
        f"The definitions have {phrases.counted(len(errors), 'error')}. The last good ones{since} are in force",
        _problem(errors[0]) + rest,
    )


def _problem(error: Mapping[str, Any]) -> str:
    place = f"{error['file']}:{error['line']}" if error.get("line") else str(error.get("file", ""))
    thing = f"{error.get('kind')} {error.get('id')}" if error.get("id") else ""
    field = f"field {error['field']}" if error.get("field") else ""
    where = ", ".join(part for part in (place, thing, field) if part)
    value = f": {error['value']}" if error.get("value") else ""
    return f"{where}{value}. {error.get('mend', '')}"


def _paused(snapshot: Snapshot, can_act: bool) -> Banner:
    pause = snapshot.pause
    assert pause is not None
    since = f"since {_clock(pause.from_at)}"
    until = since if pause.until_at is None else f"until {_clock(pause.until_at)}"
    ends = "" if pause.until_at is None else f" Paused {since}; it ends by itself."
    return Banner(
        "paused",
        Kind.WARN,
        f"All schedules are paused {until} by {who(pause.by)}",
        "Nothing fires by itself; runs that are due meanwhile are skipped. Run now still works."
        f"{ends} Reason: “{pause.reason}”.",
        Action("Resume", "/admin/resume", post=True) if can_act else None,
    )


def _success(snapshot: Snapshot) -> Iterator[Banner]:
    runs = snapshot.vitals.runs
    percent = runs.success_percent
    if percent is None or runs.judged < RUNS_FOR_A_RATE or percent >= LEAST_SUCCESS:
        return
    yield Banner(
        "success-rate",
        Kind.WARN,
        f"{int(percent)} % of the runs of the last 24 hours succeeded",
        f"{runs.failed:,} of {runs.judged:,} failed; most of them: {runs.most_failing}.",
        Action("Show the failed runs", "/admin/jobs?status=failed"),
    )


def _missed(snapshot: Snapshot) -> Iterator[Banner]:
    """What the policy to skip means stands here always while a schedule has it."""
    if not any(schedule.missed is Missed.SKIP and schedule.archived_at is None for schedule in snapshot.schedules):
        return
    title = "Missed runs are skipped, not made up later"
    missed = snapshot.missings
    if missed.runs:
        yield Banner(
            "missed",
            Kind.WARN,
            title,
            f"**In the last 24 hours: {phrases.counted(missed.runs, 'missed run')} on "
            f"{phrases.counted(len(missed.schedule_ids), 'schedule')}.** None of them starts by itself. A run is "
            "missed when no daemon is running at its due time. To run it anyway, press Run now; to change this for "
            'good, set `missed="run_once"` in the definitions.',
            Action("Show the missed runs", "/admin/schedules?state=missed"),
        )
    else:
        yield Banner(
            "skip-policy",
            Kind.INFO,
            title,
            "If no daemon is running when a schedule is due, that run is recorded as skipped and never starts by "
            'itself. To change this, set `missed="run_once"` or `"catch_up"` in the definitions.',
        )


def _repairs(snapshot: Snapshot) -> Iterator[Banner]:
    for schedule in snapshot.schedules:
        if schedule.repaired_at is None or not trouble.is_repaired(schedule, snapshot.now):
            continue
        yield Banner(
            f"repaired-{schedule.id.replace('.', '-').replace('_', '-')}",
            Kind.WARN,
            f"The next run of {schedule.id} was repaired",
            f"{(schedule.repair or 'It was worked out again').rstrip('.')}. Repaired {_mark(schedule.repaired_at)}.",
            Action("Open history", f"/admin/schedules/{schedule.id}"),
        )


def _clocks(snapshot: Snapshot) -> Iterator[Banner]:
    for process in snapshot.vitals.living():
        off = process.clock_offset
        if abs(off) <= CLOCK_TOLERANCE:
            continue
        yield Banner(
            f"clock-{process.id}",
            Kind.WARN,
            f"The clock of {process.host} is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the database",
            "Schedules fire by the database's clock, so this harms only log times. Check time synchronisation.",
        )


def _mark(instant: datetime) -> str:
    """An instant that the page shows as "3 min ago", ticking: the mark of prose."""
    return phrases.iso(instant)


def _second(instant: datetime) -> str:
    return f"{instant:%H:%M:%S} UTC"


def _clock(instant: datetime) -> str:
    return f"{phrases.clock_time(instant)} UTC"
