"""What Prometheus is told: the facts and the verdict of health, under names that do not change.

The only module that knows the client library, and imported by nobody before the first scrape.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from schedmgr.core.health import Health
from schedmgr.core.vitals import Life, Vitals
from schedmgr.vocabulary import ProcessRole


def exposition(verdict: Health, version: str, accept: str) -> tuple[bytes, str]:
    """The answer to a scrape and its content type, in the format that the Accept header prefers."""
    registry = CollectorRegistry()
    registry.register(_Collector(verdict, version))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector(Collector):
    """One verdict as metrics.  Where the database did not answer there are no facts, so what they say is left out."""

    def __init__(self, verdict: Health, version: str) -> None:
        self._verdict = verdict
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        yield InfoMetricFamily("schedmgr_build", "The web process that answers.", {"version": self._version})
        yield _gauge("schedmgr_database_up", "1: the database answers and is at this program's revision.",
                     self._verdict.facts is not None)  # fmt: skip
        yield _gauge("schedmgr_health_status", f"{_STATUSES}, as schedmgr health ends.", self._verdict.status.exit_code)
        yield _checks(self._verdict)
        if self._verdict.facts is not None:
            yield from _of_daemons(self._verdict.facts)
            yield from _of_schedules(self._verdict.facts)
            yield from _of_runs(self._verdict.facts)
            yield _clock_offsets(self._verdict.facts.living())


_STATUSES = "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN"


def _checks(verdict: Health) -> Metric:
    family = GaugeMetricFamily("schedmgr_check_status", f"{_STATUSES}, by check of schedmgr health.", labels=["check"])
    for check in verdict.checks:
        family.add_metric([check.key], check.status.exit_code)
    return family


def _of_daemons(facts: Vitals) -> Iterator[Metric]:
    living = facts.living(ProcessRole.DAEMON)
    yield _gauge("schedmgr_daemon_up", "1: a daemon has beaten within the last 60 s.", bool(living))
    processes = GaugeMetricFamily("schedmgr_processes", "Processes that beat, by role.", labels=["role"])
    for role in ProcessRole:
        processes.add_metric([role], len(facts.living(role)))
    yield processes
    if facts.last_daemon is not None:
        age = _seconds(facts.now - facts.last_daemon.beat_at)
        yield _gauge("schedmgr_daemon_last_beat_age_seconds", "Since any daemon beat; absent if none ever ran.", age)


def _of_schedules(facts: Vitals) -> Iterator[Metric]:
    yield _gauge("schedmgr_schedules_enabled", "Schedules that are on.", facts.enabled)
    yield _gauge("schedmgr_schedules_overdue", "Schedules due for over 60 s and undecided.", facts.overdue)
    due_at = facts.oldest_due.due_at if facts.oldest_due else facts.now
    yield _gauge("schedmgr_oldest_due_age_seconds", "How late the oldest undecided occurrence is; 0 if there is none.",
                 _seconds(facts.now - due_at))  # fmt: skip
    yield _gauge("schedmgr_schedules_undecidable", "Schedules that are on and can never be due (20 at most).",
                 len(facts.never_due))  # fmt: skip
    yield _gauge("schedmgr_schedules_ahead", "Schedules that the database's clock, set back, has silenced.",
                 facts.ahead.schedules if facts.ahead else 0)  # fmt: skip
    yield _gauge("schedmgr_next_runs_repaired", "Schedules whose next run was repaired within the last hour.",
                 len(facts.repaired))  # fmt: skip
    yield _gauge("schedmgr_paused", "1: all schedules are paused.", facts.paused is not None)


def _of_runs(facts: Vitals) -> Iterator[Metric]:
    queue = facts.queue
    yield _gauge("schedmgr_queue_waiting", "Job runs that wait for a worker or for their turn.", queue.waiting)
    since: datetime = queue.longest_waiting_since or facts.now
    yield _gauge("schedmgr_queue_oldest_waiting_age_seconds", "How long the oldest of them has waited.",
                 _seconds(facts.now - since))  # fmt: skip
    yield _gauge("schedmgr_runs_running", "Job runs that are under way.", queue.running)
    yield _gauge("schedmgr_worker_places", "Job runs that all living workers can run at once.", facts.places)


def _clock_offsets(living: tuple[Life, ...]) -> Metric:
    """Of processes of one role on one host the one that is furthest off: their clock is the same."""
    family = GaugeMetricFamily(
        "schedmgr_clock_offset_seconds",
        "By how much a process's clock is ahead of the database's.",
        labels=["role", "host"],
    )
    furthest: dict[tuple[str, str], float] = {}
    for life in living:
        place = (life.role.value, life.host)
        furthest[place] = max(life.clock_offset, furthest.get(place, 0.0), key=abs)
    for place, offset in furthest.items():
        family.add_metric(place, offset)
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))


def _seconds(length: timedelta) -> float:
    return max(0.0, length.total_seconds())
