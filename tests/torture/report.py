"""What a torture found, for people and as JSON."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torture.accountant import Account
from torture.journal import Journal
from torture.observer import Delay

SHOWN = 15
"""Cases of one check that are printed; all of them stand in the JSON."""


@dataclass(frozen=True)
class Verified:
    """What `schedmgr verify` said of the same database, and whether that is what the accountant says."""

    said: str
    problems: list[str]
    agrees: bool


@dataclass
class Findings:
    """One torture of one database."""

    database: str
    version: str
    seed: int
    minutes: float
    pace: float
    schedules: int
    processes: str
    account: Account
    journal: Journal
    delays: list[Delay]
    verified: Verified
    drained_in: float
    wall_seconds: float
    versions: dict[str, str]
    simulated: str
    kept: Path | None = None
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_right(self) -> bool:
        return self.account.is_right and self.verified.agrees and not self.verified.problems

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.date:%Y-%m-%dT%H%M%S}-{self.database}-{self.seed}"


def text(found: Findings) -> str:
    """A compact table."""
    account, journal = found.account, found.journal
    lines = [
        f"torture of {found.version}: seed {found.seed}, {found.date:%Y-%m-%d %H:%M} UTC",
        *_row("versions", (f"{name} {version}" for name, version in found.versions.items())),
        *_row("site", (found.processes, f"{found.schedules} schedules", f"clock at {found.pace:g} times its pace")),
        *_row("time", (f"{found.minutes:g} min of storm", found.simulated, f"{found.wall_seconds:.0f} s in all")),
        *_row("faults", [f"{sum(journal.kinds().values())} injected", *_counted(journal.kinds())]),
        *_row("not possible here", (f"{kind}: {why}" for kind, why in journal.not_possible.items())),
        *_row(
            "occurrences",
            (
                f"{account.occurrences:,}",
                f"{account.fired:,} fired",
                f"{account.made_up:,} made up later",
                *(f"{count:,} {reason}" for reason, count in account.skipped.most_common()),
            ),
        ),
        *_row("by hand", (f"{account.by_hand} firings", f"{len(journal.acknowledged_firings)} acknowledged on paper")),
        *_row("job runs", [f"{sum(account.runs.values()):,}", *_counted(account.runs)]),
        *_row(
            "executions",
            (
                f"{account.executions:,} seen",
                f"{account.cut_short} cut short",
                f"{account.unrecorded_ends} ended unrecorded",
            ),
        ),
        *_row("lives", _counted(account.lives)),
        *_row("web", (f"{count} x {status}" for status, count in sorted(journal.web_answers.items()))),
        *_row("slowest recovery", _slowest(found.delays)),
        *_row("drained in", (f"{found.drained_in:.1f} s after the storm",)),
        *_row("verify", (found.verified.said, "agrees" if found.verified.agrees else "DISAGREES")),
        *_row("wrong", (f"{len(cases)} {check}" for check, cases in account.wrong.items())),
    ]
    for check, cases in (*account.wrong.items(), ("verify", found.verified.problems)):
        different = Counter(cases)
        lines += [
            f"  {check.upper()}: {case}{f' ({times} times)' if times > 1 else ''}"
            for case, times in list(different.items())[:SHOWN]
        ]
        if len(different) > SHOWN:
            lines.append(f"  {check.upper()}: and {len(different) - SHOWN} more")
    if found.kept:
        lines.append(f"everything is kept in {found.kept}")
    lines.append("RIGHT" if found.is_right else "WRONG")
    return "\n".join(lines)


def keep(found: Findings, folder: Path) -> Path:
    """The same as JSON, with every case."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{found.name}.json"
    file.write_text(json.dumps(_data(found), indent=1))
    return file


def _data(found: Findings) -> dict[str, Any]:
    account = found.account
    return {
        "database": found.database,
        "version": found.version,
        "versions": found.versions,
        "seed": found.seed,
        "date": found.date.isoformat(timespec="seconds"),
        "minutes": found.minutes,
        "pace": found.pace,
        "schedules": found.schedules,
        "processes": found.processes,
        "wall_seconds": round(found.wall_seconds, 1),
        "drained_in": round(found.drained_in, 1),
        "faults": dict(found.journal.kinds()),
        "faults_one_by_one": [
            [
                one.kind,
                one.what,
                round(one.began - found.journal.began, 2),
                round((one.ended or one.began) - one.began, 2),
            ]
            for one in found.journal.faults
        ],
        "not_possible": found.journal.not_possible,
        "occurrences": account.occurrences,
        "fired": account.fired,
        "made_up": account.made_up,
        "skipped": dict(account.skipped),
        "by_hand": account.by_hand,
        "runs": dict(account.runs),
        "executions": account.executions,
        "cut_short": account.cut_short,
        "unrecorded_ends": account.unrecorded_ends,
        "web_answers": dict(found.journal.web_answers),
        "delays": [[round(one.seconds, 2), sorted(one.amid)] for one in found.delays],
        "verify": {"said": found.verified.said, "agrees": found.verified.agrees, "problems": found.verified.problems},
        "wrong": account.wrong,
        "right": found.is_right,
        "kept": str(found.kept) if found.kept else None,
    }


def _row(name: str, cells: Iterable[str]) -> list[str]:
    """A name and its cells, as many to a line as it holds."""
    lines: list[str] = []
    for cell in cells:
        if lines and len(lines[-1]) + len(cell) + 2 <= 116:
            lines[-1] += f", {cell}"
        else:
            lines.append(f"  {cell}")
    return [f"{name if number == 0 else '':<18}{line}" for number, line in enumerate(lines)]


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{count} {name}" for name, count in counts.most_common()]


def _slowest(delays: list[Delay]) -> list[str]:
    """How long something was undecided although it could have been decided: the three longest times."""
    return [f"{one.seconds:.1f} s ({', '.join(sorted(one.amid)) or 'with no fault near'})" for one in delays[:3]]
