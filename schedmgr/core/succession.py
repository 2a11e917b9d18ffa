"""Order within a firing: a run waits until the runs that it comes after have succeeded; else it is skipped."""

from sqlalchemy import select, update

from schedmgr.core import transitions
from schedmgr.database.engine import Session
from schedmgr.database.models import JobRun, JobVersion
from schedmgr.vocabulary import RunStatus


def ended(session: Session, run_id: int, status: RunStatus) -> None:
    """A run has ended for good: those that come after it wait for one run less, or are skipped, and theirs too."""
    ended_run = session.execute(select(JobRun.firing_id, JobRun.job).where(JobRun.id == run_id)).one()
    if ended_run.firing_id is None:
        return
    followers = _waiting_for(session, ended_run.firing_id, ended_run.job)
    if status is RunStatus.SUCCEEDED:
        if followers:
            session.execute(update(JobRun).where(JobRun.id.in_(followers)).values(waits_for=JobRun.waits_for - 1))
        return
    why = f"It comes after {ended_run.job}, and run {run_id} of that did not succeed: {status.lower()}."
    for follower in followers:
        if transitions.skip(session, follower, session.now(), why):
            ended(session, follower, RunStatus.SKIPPED)


def _waiting_for(session: Session, firing_id: int, job: str) -> list[int]:
    rows = session.execute(
        select(JobRun.id, JobVersion.definition)
        .join(JobVersion, JobVersion.id == JobRun.job_version_id)
        .where(JobRun.firing_id == firing_id, JobRun.status == RunStatus.QUEUED, JobRun.waits_for > 0)
        .order_by(JobRun.id)
    )
    return [run_id for run_id, definition in rows if job in definition.get("after", ())]
