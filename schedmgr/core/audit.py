"""Who did what, when, from where."""

from dataclasses import dataclass

from sqlalchemy import insert, select

from schedmgr.database.engine import Session
from schedmgr.database.models import AuditEvent
from schedmgr.vocabulary import Trigger


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: `who` is web:NAME, api:TOKEN or cli:USER@host; `origin` is an address, or "command line".

    `process_id` is the web process that serves the request; None for the command line.
    """

    who: str
    origin: str
    trigger: Trigger = Trigger.MANUAL
    process_id: str | None = None


def note(
    session: Session,
    requester: Requester,
    action: str,
    what: str,
    *,
    schedule_id: str | None = None,
    run_id: int | None = None,
) -> None:
    """Write one line of the audit, in the transaction of the deed.  `what` reads on after the name: "turned off x"."""
    session.execute(
        insert(AuditEvent).values(
            at=session.now(),
            who=requester.who,
            action=action,
            what=what,
            origin=requester.origin,
            schedule_id=schedule_id,
            run_id=run_id,
        )
    )
    session.leaves(
        select(AuditEvent.id).where(
            AuditEvent.at == session.now(), AuditEvent.who == requester.who, AuditEvent.what == what
        )
    )
