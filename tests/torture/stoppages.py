"""When nothing could be decided: every daemon was gone or frozen, or the database took no writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torture.journal import Injected

OF_THE_DATABASE = frozenset({"full disk", "foreign transaction", "kill -9 of the server", "freeze of the server"})
OF_EVERY_DAEMON = "kill -9 of every daemon"
OF_A_PROCESS = frozenset({"kill -9 of a daemon", "freeze of a daemon", "stop and restart at :59.9"})


@dataclass(frozen=True, slots=True)
class Stoppage:
    """From `began` to `ended` no daemon could decide, because of these kinds of faults."""

    began: float
    ended: float
    causes: frozenset[str]


def stoppages(faults: Sequence[Injected], daemons: Sequence[str]) -> list[Stoppage]:
    """All of them, in order, without overlaps.  `daemons`: the names of the places that daemons have."""
    without_database = [_as_stoppage(one) for one in faults if one.kind in OF_THE_DATABASE]
    without_daemon = _together([_absences(faults, daemon) for daemon in daemons])
    return _merged([*without_database, *without_daemon])


def _absences(faults: Sequence[Injected], daemon: str) -> list[Stoppage]:
    of_daemon = [
        _as_stoppage(one)
        for one in faults
        if one.kind == OF_EVERY_DAEMON or (one.kind in OF_A_PROCESS and one.what == daemon)
    ]
    return _merged(of_daemon)


def _together(absences: Sequence[list[Stoppage]]) -> list[Stoppage]:
    """The spans in which all are absent at once."""
    shared = absences[0]
    for others in absences[1:]:
        shared = [
            Stoppage(max(one.began, other.began), min(one.ended, other.ended), one.causes | other.causes)
            for one in shared
            for other in others
            if max(one.began, other.began) < min(one.ended, other.ended)
        ]
    return shared


def _merged(spans: Iterable[Stoppage]) -> list[Stoppage]:
    merged: list[Stoppage] = []
    for span in sorted(spans, key=lambda span: span.began):
        if merged and span.began <= merged[-1].ended:
            last = merged.pop()
            span = Stoppage(last.began, max(last.ended, span.ended), last.causes | span.causes)
        merged.append(span)
    return merged


def _as_stoppage(fault: Injected) -> Stoppage:
    return Stoppage(fault.began, fault.began if fault.ended is None else fault.ended, frozenset({fault.kind}))
