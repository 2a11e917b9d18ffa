"""What a verdict is made of: checks, each with its status and its sentence."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is, in the words of the monitoring plugins."""

    OK = "OK"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_code(self) -> int:
        """What `schedmgr health` ends with."""
        return list(Status).index(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer.  `key` stays the same for ever; `sentence` says what is and what to do."""

    key: str
    status: Status
    sentence: str
