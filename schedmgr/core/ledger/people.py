"""Who did something to a schedule, out of the audit."""

from datetime import datetime

from sqlalchemy import select

from schedmgr.database.engine import Session
from schedmgr.database.models import AuditEvent


def who_turned_off(session: Session, schedule_id: str, at: datetime) -> str | None:
    """Who turned a schedule off last before that instant; None if the audit does not say."""
    return session.scalar(
        select(AuditEvent.who)
        .where(AuditEvent.schedule_id == schedule_id, AuditEvent.action == "disable", AuditEvent.at <= at)
        .order_by(AuditEvent.at.desc(), AuditEvent.id.desc())
        .limit(1)
    )
