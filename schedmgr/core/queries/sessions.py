"""What became of a sign-in."""

from sqlalchemy import select

from schedmgr.database.engine import Session
from schedmgr.database.models import AdminSession


def why_ended(session: Session, session_id: str) -> str | None:
    """The word that was noted when a session was ended; None for one that goes on, expired or never was."""
    return session.scalar(
        select(AdminSession.ended_because).where(AdminSession.id == session_id, AdminSession.ended_at.is_not(None))
    )
