"""One job run: its head, its attempts, its output, its job."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from schedmgr.core import phrases
from schedmgr.core.queries.output import Gap, Line, OutputPart
from schedmgr.core.queries.runs import AttemptFacts, RunDetail, RunFacts
from schedmgr.settings import mask_url
from schedmgr.vocabulary import Role, RunStatus
from schedmgr.web import outcomes, run_rows
from schedmgr.web.views import (
    AttemptRow,
    Badge,
    Banner,
    Fact,
    Kind,
    LogCut,
    LogLine,
    LogPart,
    Question,
    RunHead,
)

KEPT_BYTES = 512 * 1024
"""The worker keeps so much of the beginning of an attempt's output, and so much of its end."""

ENOUGH_TO_JUDGE = 5  # successes before a duration is called unusual


def head(detail: RunDetail, shown: int, role: Role, now: datetime, *, is_production: bool) -> RunHead:
    """All that lives on the page but the output; `shown` is the attempt whose output stands there."""
    run = detail.run
    can_act = role.includes(Role.OPERATOR)
    newest = detail.attempts[0] if detail.attempts else None
    return RunHead(
        id=run.id,
        job=run.job,
        group=run.group,
        schedule_id=run.schedule_id,
        firing_id=run.firing_id,
        badge=run_rows.badge(run, now),
        trigger=run.trigger,
        requested_by=outcomes.who(run.requested_by),
        due_at=run.scheduled_for,
        queued_at=run.queued_at,
        available_at=run.available_at if run.status is RunStatus.QUEUED and run.available_at > now else None,
        started_at=run.started_at,
        finished_at=run.finished_at,
        took_seconds=outcomes.seconds(run.took),
        attempt=run.attempt,
        attempts_allowed=run.attempts_allowed,
        worker=_worker(newest),
        exit_code=run.exit_code,
        stops_at=_stops_at(run),
        usual_seconds=outcomes.seconds(_median(detail.usual)),
        banners=tuple(_banners(detail, now)),
        attempts=tuple(_attempt(attempt, attempt.number == shown) for attempt in detail.attempts),
        retry_of=run.retry_of,
        retried_as=detail.retried_as,
        can_cancel=can_act and not run.status.is_over and run.cancel_requested_at is None,
        can_retry=can_act and run.status.is_over,
        ask_cancel=ask_cancel(run),
        ask_retry=ask_retry(run) if is_production else None,
    )


def shown_attempt(detail: RunDetail, asked: int | None) -> int:
    """The attempt whose output is shown: the one asked for, else the newest that started."""
    numbers = [attempt.number for attempt in detail.attempts]
    return asked if asked in numbers and asked is not None else max(numbers, default=1)


def ask_cancel(run: RunFacts) -> Question:
    """What is asked before a run is cancelled."""
    text = (
        "It gets 10 s to stop, then is killed. It is not retried."
        if run.status is RunStatus.RUNNING
        else "It has not started and never will. It is not retried."
    )
    return Question(f"Cancel {run.job} #{run.id}?", text, "Cancel run", danger=True)


def ask_retry(run: RunFacts) -> Question:
    """What is asked in production before a run is retried."""
    text = "This queues a new run of the job's newest version right away **in production**."
    return Question(f"Retry {run.job} #{run.id}?", text, "Retry")


def log(part: OutputPart) -> LogPart:
    """A part of the output."""
    first = part.first_number
    return LogPart(
        lines=tuple(_shown(item) for item in part.lines),
        tail=None if part.tail is None else _line(part.tail),
        next=str(part.next),
        earlier=first if first is not None and first > 1 else None,
        is_over=part.is_over,
        line_count=part.line_count,
        byte_count=part.byte_count,
        newest_at=part.newest_at,
    )


def definition(run: RunFacts) -> tuple[Fact, ...]:
    """The job as this run's version has it; secrets stand in it only as ${NAME}, and passwords of a URL not at all."""
    found = {name: value for name, value in run.definition.items() if value not in (None, "", [], {}, 0)}
    if "http" in found:
        found["http"] = mask_url(str(found["http"]))
    work = [Fact(name.capitalize(), _said(found[name]), is_code=True) for name in _WORK if name in found]
    rest = [Fact(label, _said(found[name])) for name, label in _FIELDS.items() if name in found]
    return (Fact("Group", run.group), *work, *rest)


_WORK = ("command", "call", "http")
_FIELDS = {
    "description": "What it does",
    "method": "Method",
    "cwd": "Directory",
    "env": "Environment",
    "headers": "Headers",
    "timeout": "Timeout, seconds",
    "retries": "Retries",
    "retry_delay": "Retry delay, seconds",
    "on_lost": "When its worker vanishes",
    "after": "After",
    "priority": "Priority",
}


def _said(value: Any) -> str:
    """A value of a definition as one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(part if " " not in str(part) else json.dumps(part) for part in map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(item: Line | Gap) -> LogLine | LogCut:
    return _line(item) if isinstance(item, Line) else LogCut(item.left_out_bytes, KEPT_BYTES)


def _line(line: Line) -> LogLine:
    return LogLine(line.number, line.at, line.is_error, line.text)


def _attempt(attempt: AttemptFacts, is_shown: bool) -> AttemptRow:
    took = None if attempt.finished_at is None else attempt.finished_at - attempt.started_at
    return AttemptRow(
        number=attempt.number,
        badge=Badge(attempt.status),
        started_at=attempt.started_at,
        took_seconds=outcomes.seconds(took),
        note=_note(attempt),
        is_shown=is_shown,
    )


def _note(attempt: AttemptFacts) -> str:
    if attempt.error:
        return " ".join(attempt.error.split())
    if attempt.exit_code:
        return f"exit {attempt.exit_code}"
    return f"Started on {attempt.host}" if attempt.host else ""


def _worker(attempt: AttemptFacts | None) -> str | None:
    return f"{attempt.host}, process {attempt.pid}" if attempt is not None and attempt.host else None


def _stops_at(run: RunFacts) -> datetime | None:
    timeout = run.definition.get("timeout")
    if run.status is not RunStatus.RUNNING or run.started_at is None or not timeout:
        return None
    return run.started_at + timedelta(seconds=float(timeout))


def _median(lengths: tuple[timedelta, ...]) -> timedelta | None:
    return lengths[len(lengths) // 2] if lengths else None


def _banners(detail: RunDetail, now: datetime) -> list[Banner]:
    run = detail.run
    found = []
    if run.status in (RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.LOST):
        found.append(_failure(run))
    if run.status is RunStatus.RUNNING and run.started_at is not None and len(detail.usual) >= ENOUGH_TO_JUDGE:
        longest = detail.usual[min(len(detail.usual) - 1, int(len(detail.usual) * 0.95))]
        if now - run.started_at > max(longest, timedelta(seconds=1)):
            found.append(_slow(run, longest))
    return found


def _failure(run: RunFacts) -> Banner:
    words = {RunStatus.FAILED: "failed", RunStatus.TIMED_OUT: "ran into its timeout", RunStatus.LOST: "was lost"}
    tries = f" after {run.attempt} attempts" if run.attempt > 1 else ""
    said = " ".join((run.error or "").split()) or ("" if run.exit_code is None else f"Exit code {run.exit_code}.")
    return Banner("failed", Kind.BAD, f"This run {words[run.status]}{tries}", said or "It left no word about why.")


def _slow(run: RunFacts, longest: timedelta) -> Banner:
    stops = _stops_at(run)
    end = f" It is stopped at {stops:%H:%M:%S} UTC." if stops else " It has no timeout."
    text = f"19 in 20 runs of {run.job} end within {phrases.duration(longest)}.{end}"
    return Banner("slow", Kind.WARN, "This run takes much longer than usual", text)
