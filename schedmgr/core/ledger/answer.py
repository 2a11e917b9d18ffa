"""An answer of `why`: a headline and a few short lines."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer for people.  `verdict` is a word for programs; `at` is the instant that it speaks of."""

    schedule_id: str
    at: datetime | None
    verdict: str
    headline: str
    because: str = ""
    evidence: tuple[str, ...] = ()
    next: str = ""
    do: str = ""
    firing_id: int | None = None
    job_run_ids: tuple[int, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schedule_id": self.schedule_id,
            "at": self.at,
            "verdict": self.verdict,
            "headline": self.headline,
            "because": self.because,
            "evidence": list(self.evidence),
            "next": self.next,
            "do": self.do,
            "firing_id": self.firing_id,
            "job_run_ids": list(self.job_run_ids),
        }
