"""What the page of one schedule asks, beside what the snapshot holds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from schedmgr.core import retention
from schedmgr.core.queries import firings
from schedmgr.core.queries.firings import FiringFacts, Show
from schedmgr.database.engine import Session
from schedmgr.database.models import JobSchedule
from schedmgr.vocabulary import Overlap

COUNTED = 10_000
"""Firings are counted up to here; more are "over 10,000"."""

USUAL_OF = 50  # firings that are looked back on
SUCCESS_OVER = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rest of a schedule's definition.  Spans are in seconds."""

    environments: tuple[str, ...]
    catch_up_limit: int
    overlap: Overlap
    jitter: int
    starts_at: datetime | None
    ends_at: datetime | None
    expect_within: int | None
    accounted_until: datetime | None
    usual: tuple[timedelta, ...]  # how long its newest successful firings took, shortest first


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some firings, newest first; `total` is counted up to COUNTED."""

    firings: tuple[FiringFacts, ...]
    has_newer: bool
    has_older: bool
    total: int
    is_over: bool
    was_pruned: bool  # there may have been older ones than the oldest, which are not kept


def rules(session: Session, schedule_id: str) -> Rules | None:
    """The rest of a schedule's definition; None for an id that no schedule has."""
    row = session.execute(
        select(
            JobSchedule.environments,
            JobSchedule.catch_up_limit,
            JobSchedule.overlap,
            JobSchedule.jitter,
            JobSchedule.starts_at,
            JobSchedule.ends_at,
            JobSchedule.expect_within,
            JobSchedule.accounted_until,
        ).where(JobSchedule.id == schedule_id)
    ).first()
    if row is None:
        return None
    environments, catch_up_limit, overlap, jitter, starts_at, ends_at, expect_within, accounted_until = row
    usual = sorted(firings.successful_durations(session, schedule_id, USUAL_OF))
    return Rules(
        environments=tuple(environments),
        catch_up_limit=catch_up_limit,
        overlap=overlap,
        jitter=jitter,
        starts_at=starts_at,
        ends_at=ends_at,
        expect_within=expect_within,
        accounted_until=accounted_until,
        usual=tuple(usual),
    )


def success(session: Session, schedule_id: str) -> tuple[int, int]:
    """Of its firings of the last 30 days that ended: how many succeeded, how many there are."""
    return firings.ended_since(session, schedule_id, session.now() - SUCCESS_OVER)


def history(
    session: Session, schedule_id: str, show: Show, limit: int, *, before: int | None = None, after: int | None = None
) -> HistoryPage:
    """A page of its firings: the newest, those older than an id, or just newer than one."""
    found = firings.history(session, schedule_id, show, limit + 1, before=before, after=after)
    has_more = len(found) > limit
    total = firings.count_history(session, schedule_id, show, COUNTED + 1)
    shown = found[-limit:] if after is not None else found[:limit]
    has_older = True if after is not None else has_more
    return HistoryPage(
        firings=tuple(shown),
        has_newer=has_more if after is not None else before is not None,
        has_older=has_older,
        total=min(total, COUNTED),
        is_over=total > COUNTED,
        was_pruned=not has_older and _was_pruned(session, schedule_id),
    )


def _was_pruned(session: Session, schedule_id: str) -> bool:
    """Whether the schedule is older than what is kept."""
    pruned_until = retention.pruned_until(session)
    created_at = session.scalar(select(JobSchedule.created_at).where(JobSchedule.id == schedule_id))
    return pruned_until is not None and created_at is not None and created_at < pruned_until
