"""What the whole installation shares: the environment of the tables, and which definitions are in force."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from schedmgr.database.engine import Session
from schedmgr.database.models import Setting

REMEMBERED = 50
"""Fingerprints of replaced definitions that are kept: enough deploys for any daemon that may still run."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The definitions that the tables hold."""

    fingerprint: str
    source: str
    schedules: int
    since: datetime
    replaced: tuple[str, ...] = ()
    """Fingerprints that were in force before, newest first."""


def environment(session: Session) -> str | None:
    """The environment that the tables were last synced for; None before the first sync."""
    value = _value(session, "environment")
    return None if value is None else str(value["name"])


def set_environment(session: Session, name: str, by: str) -> None:
    """Remember for which environment the tables are."""
    if environment(session) != name:
        _set(session, "environment", {"name": name}, by)


def definitions_in_force(session: Session) -> InForce | None:
    """The definitions that the tables hold; None before the first sync."""
    value = _value(session, "definitions")
    if value is None:
        return None
    return InForce(
        fingerprint=value["fingerprint"],
        source=value["source"],
        schedules=value["schedules"],
        since=datetime.fromisoformat(value["since"]),
        replaced=tuple(value["replaced"]),
    )


def put_in_force(session: Session, fingerprint: str, source: str, schedules: int, by: str) -> None:
    """Remember which definitions the tables hold from now on, and which they replaced."""
    before = definitions_in_force(session)
    replaced = () if before is None else (before.fingerprint, *before.replaced)
    kept = [one for one in dict.fromkeys(replaced) if one != fingerprint][:REMEMBERED]
    new = InForce(fingerprint, source, schedules, session.now(), tuple(kept))
    _set(session, "definitions", asdict(new) | {"since": new.since.isoformat()}, by)
    session.leaves(select(Setting.key).where(Setting.key == "definitions", Setting.changed_at == session.now()))


def _value(session: Session, key: str) -> Mapping[str, Any] | None:
    return session.scalar(select(Setting.value).where(Setting.key == key))


def _set(session: Session, key: str, value: Mapping[str, Any], by: str) -> None:
    changes = {"value": value, "changed_at": session.now(), "changed_by": by}
    if session.execute(update(Setting).where(Setting.key == key).values(changes)).rowcount == 0:
        session.execute(insert(Setting).values(key=key, **changes))
