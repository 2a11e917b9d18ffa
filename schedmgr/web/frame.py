"""The frame around every page: the top bar's facts, the counts beside the navigation, the banners."""

from typing import TYPE_CHECKING

from schedmgr.core.queries.snapshot import SignedIn
from schedmgr.vocabulary import Role, RunStatus
from schedmgr.web import banners, trouble
from schedmgr.web.live import Part, Reading
from schedmgr.web.views import Banner, Kind, Pulse, Shell

if TYPE_CHECKING:
    from schedmgr.web.site import Site


def shell(site: "Site", reading: Reading, person: SignedIn, theme: str | None, current: str) -> Shell:
    """The frame for one person."""
    return Shell(
        current=current,
        environment=site.settings.environment,
        is_production=site.settings.is_production,
        version=site.version,
        user=person.name,
        role=person.role,
        theme=theme,
        now=site.live.now(reading),
        pulse=pulse_for(site, reading),
        banners=banners_for(site, reading, person.role),
    )


def banners_for(site: "Site", reading: Reading, role: Role) -> tuple[Banner, ...]:
    """The notices that a person of this role sees, worst first."""
    can_act = role.includes(Role.OPERATOR)
    part: Part[tuple[Banner, ...]] = site.live.part(
        reading, ("banners", can_act), lambda: banners.banners(reading, site.settings.environment, can_act)
    )
    return part.view


def pulse_for(site: "Site", reading: Reading) -> Pulse:
    """The top bar's facts."""
    part: Part[Pulse] = site.live.part(reading, "pulse", lambda: _pulse(reading))
    return part.view


def _pulse(reading: Reading) -> Pulse:
    snapshot = reading.snapshot
    health, words = _health(reading)
    return Pulse(
        health=health,
        health_words=words,
        daemons=len(trouble.beating(snapshot)),
        last_beat_at=snapshot.vitals.last_daemon.beat_at if snapshot.vitals.last_daemon else None,
        stale=len(trouble.stale(snapshot)) if trouble.beating(snapshot) else 0,
        running=len(snapshot.with_status(RunStatus.RUNNING)),
        queued=len(snapshot.with_status(RunStatus.QUEUED)),
        overdue=len(trouble.overdue(snapshot)),
        attention=sum(trouble.needs_attention(snapshot, schedule) for schedule in snapshot.schedules),
        paused=snapshot.pause is not None,
    )


def _health(reading: Reading) -> tuple[Kind, str]:
    snapshot = reading.snapshot
    alive, silent = trouble.beating(snapshot), trouble.stale(snapshot)
    if reading.is_old:
        return Kind.BAD, "The database does not answer"
    if not alive:
        return Kind.BAD, "No daemon is running" if snapshot.vitals.last_daemon else "No daemon has run yet"
    if trouble.overdue(snapshot):
        return Kind.BAD, "The daemon beats but does not fire"
    if silent:
        verb = "is" if len(silent) == 1 else "are"
        return Kind.WARN, f"{len(silent)} of {len(alive) + len(silent)} daemons {verb} stale"
    if snapshot.pause is not None:
        return Kind.WARN, "All schedules are paused"
    return Kind.OK, "The daemon beats" if len(alive) == 1 else f"{len(alive)} daemons beat"
