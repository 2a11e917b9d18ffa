"""Answers about a firing: what was decided, what bears it out, and what became of its job runs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from schedmgr.core import phrases
from schedmgr.core.ledger import rows, told, waiting
from schedmgr.core.ledger.answer import Answer
from schedmgr.core.ledger.rows import Firing
from schedmgr.core.ledger.scene import Scene
from schedmgr.core.ledger.spans import FOREVER
from schedmgr.core.ledger.waiting import Run
from schedmgr.vocabulary import UNFINISHED, Decision, Missed, Reason, RunStatus, Trigger


def answer(scene: Scene, at: datetime, firing: Firing) -> Answer:
    """What a firing says about the occurrence at that instant."""
    runs = waiting.of_firing(scene.session, firing.id)
    is_enqueued = firing.decision == Decision.ENQUEUED
    found = _enqueued(scene, at, firing, runs) if is_enqueued else _skipped(scene, at, firing)
    ids = tuple(run.id for run in runs)
    return replace(found, firing_id=firing.id, job_run_ids=ids, next=scene.next_words(at))


def _enqueued(scene: Scene, at: datetime, firing: Firing, runs: Sequence[Run]) -> Answer:
    late = phrases.duration(firing.decided_at - firing.scheduled_for)
    is_made_up = firing.trigger == Trigger.CATCH_UP
    said = f"It was made up {late} late" if is_made_up else f"It was enqueued {late} after it was due, on time"
    decided = f"{_decider(scene, firing)} decided it at {told.clock(firing.decided_at, at)}"
    open_runs = [run for run in runs if run.status in UNFINISHED]
    waits = [waiting.wait_of(scene.session, run) for run in open_runs[: waiting.BY_WAY_OF_EXAMPLE]]
    return Answer(
        scene.schedule.id,
        at,
        "made up" if is_made_up else "enqueued",
        f"{said}: {_outcome(runs, firing)}",
        because=told.sentence(rows.detail(scene.session, firing.id) or decided),
        evidence=(
            *(_cause(scene, firing, at) if is_made_up else ()),
            *(told.sentence(wait.why) for wait in waits),
            *waiting.became([run for run in runs if run.status not in UNFINISHED], scene.now),
            *_pruned(firing.job_run_count - len(runs)),
        ),
        do=next((wait.do for wait in waits if wait.do), "") or _after_a_failure(runs),
    )


def _outcome(runs: Sequence[Run], firing: Firing) -> str:
    if not runs:
        return "its job runs were pruned since." if firing.job_run_count else "nothing was put on the queue."
    counts = {
        "succeeded": sum(run.status is RunStatus.SUCCEEDED for run in runs),
        "running": sum(run.status is RunStatus.RUNNING for run in runs),
        "waiting": sum(run.status is RunStatus.QUEUED for run in runs),
    }
    counts["did not succeed"] = len(runs) - sum(counts.values())
    parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{phrases.counted(len(runs), 'job run')}, {parts}."


def _pruned(gone: int) -> list[str]:
    if gone < 1:
        return []
    return [f"{phrases.counted(gone, 'job run')} of it {'is' if gone == 1 else 'are'} not there any more."]


def _after_a_failure(runs: Sequence[Run]) -> str:
    bad = next((run for run in runs if run.status not in (*UNFINISHED, RunStatus.SUCCEEDED)), None)
    if bad is None:
        return ""
    return f"Read what it printed: schedmgr runs logs {bad.id}. Run it again: schedmgr runs retry {bad.id}"


def _skipped(scene: Scene, at: datetime, firing: Firing) -> Answer:
    cause = _SKIPPED.get(firing.reason or "", "it was skipped")
    if firing.missed_count > 1:
        span = f"from {told.clock(firing.scheduled_for, at)} to {told.clock(firing.last, at)}"
        cause += f"; it is one of {firing.missed_count:,} missed {span}"
    return Answer(
        scene.schedule.id,
        at,
        (firing.reason or "skipped").lower().replace("_", " "),
        f"It did not run: {cause}.",
        because=told.sentence(rows.detail(scene.session, firing.id) or f"Its row says {firing.reason}"),
        evidence=tuple(_cause(scene, firing, at)),
        do=_what_to_do(scene, firing),
    )


_SKIPPED = {
    Reason.MISSED_PAUSED.value: "all schedules were paused",
    Reason.MISSED_NO_DAEMON.value: "no daemon was there",
    Reason.MISSED_LATE.value: "it was decided too late",
    Reason.OVERLAP.value: "its earlier run had not ended",
    Reason.UNDECIDABLE.value: "nobody could work out when it is due",
}


def _what_to_do(scene: Scene, firing: Firing) -> str:
    run = f"Run it now: schedmgr schedules run {scene.schedule.id}"
    if firing.reason == Reason.UNDECIDABLE:
        return "Change its definition so that it can be read, and deploy that: schedmgr sync"
    if firing.reason == Reason.MISSED_PAUSED and scene.pause_at(scene.now):
        return "Let schedules fire again: schedmgr resume"
    if firing.reason == Reason.MISSED_NO_DAEMON and scene.living() is None:
        return "No daemon is running now either. Start one: schedmgr daemon"
    if firing.reason in (Reason.MISSED_NO_DAEMON, Reason.MISSED_LATE):
        return run + _MAKING_UP.get(scene.schedule.missed, "")
    if firing.reason == Reason.OVERLAP:
        return f'{run}. To have it wait instead: overlap="queue" in its definition'
    return run


_MAKING_UP = {
    Missed.SKIP.value: '. To have it made up next time: missed="run_once" in its definition',
    Missed.RUN_ONCE.value: '. To have more than the newest made up next time: missed="catch_up" in its definition',
    Missed.CATCH_UP.value: ". To have more made up next time: a higher catch_up_limit in its definition",
}


def _cause(scene: Scene, firing: Firing, at: datetime) -> list[str]:
    """The rows that bear a reason out."""
    match firing.reason:
        case Reason.MISSED_PAUSED:
            return _pause_words(scene, firing, at)
        case Reason.MISSED_NO_DAEMON:
            return _absence_words(scene, at)
        case Reason.MISSED_LATE:
            return _presence_words(scene, firing, at)
        case Reason.OVERLAP:
            earlier = waiting.unfinished_at(scene.session, scene.schedule.id, firing.decided_at, besides=firing.id)
            return [waiting.lasted(run, at) for run in earlier]
    return []


def _pause_words(scene: Scene, firing: Firing, at: datetime) -> list[str]:
    holding = (
        pause
        for pause in scene.evidence.pauses
        if pause.from_at <= at < (pause.until_at or FOREVER)
        or pause.from_at < firing.decided_at <= (pause.until_at or FOREVER)
    )
    return [told.pause(pause, at) for pause in holding][:1]


def _absence_words(scene: Scene, at: datetime) -> list[str]:
    lives = [life for life in scene.evidence.lives if life.started_at <= life.beat_at]
    before = max((life for life in lives if life.beat_at < at), key=lambda life: life.beat_at, default=None)
    after = min((life for life in lives if life.started_at > at), key=lambda life: life.started_at, default=None)
    words = []
    if before is not None:
        ended = "was stopped" if before.stopped_at == before.beat_at else "beat last"
        words.append(f"The daemon on {before.host} (process {before.pid}) {ended} at {told.clock(before.beat_at, at)}.")
    if after is not None:
        began = told.clock(after.started_at, at)
        words.append(f"The next one, on {after.host} (process {after.pid}), began at {began}.")
    return words or ["No daemon is on record."]


def _presence_words(scene: Scene, firing: Firing, at: datetime) -> list[str]:
    words = [f"{_decider(scene, firing)} decided it at {told.clock(firing.decided_at, at)}."]
    life = next((life for life in scene.evidence.lives if life.started_at <= at <= life.beat_at), None)
    if life is not None:
        span = f"from {told.clock(life.started_at, at)} to {told.clock(life.beat_at, at)}"
        words.insert(0, f"The daemon on {life.host} (process {life.pid}) was there {span}.")
    return words


def _decider(scene: Scene, firing: Firing) -> str:
    life = next((life for life in scene.evidence.lives if life.id == firing.process_id), None)
    if life is not None:
        return f"The daemon on {life.host} (process {life.pid})"
    return "A person's command" if firing.process_id is None else f"Process {firing.process_id}"
