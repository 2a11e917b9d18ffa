"""What happened in the storm, as the storm itself saw it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


def boot_seconds() -> float:
    """The clock of the footprints."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True)
class Injected:
    """One fault.  `ended` is None while it holds."""

    kind: str
    what: str
    began: float
    ended: float | None = None


@dataclass
class Journal:
    """Filled by many threads."""

    file: Path
    faults: list[Injected] = field(default_factory=list)
    amiss: list[str] = field(default_factory=list)
    """What went wrong before the eyes of the storm."""
    acknowledged_firings: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Firing -> its runs, of each Run now that was answered."""
    interruptions: Counter[str] = field(default_factory=Counter)
    """How often a schedule was switched off or taken out, or may have been."""
    ends: dict[int, float] = field(default_factory=dict)
    """When a process ended: by its pid, the moment of its SIGKILL or of its exit."""
    freezes: list[tuple[int, float, float]] = field(default_factory=list)
    """Pid, from when, until when."""
    not_possible: dict[str, str] = field(default_factory=dict)
    """Faults that cannot be injected here, and why."""
    web_answers: Counter[int] = field(default_factory=Counter)
    began: float = field(default_factory=boot_seconds)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _out: TextIO | None = None

    def note(self, text: str) -> None:
        """A line with the seconds since the beginning."""
        with self._lock:
            if self._out is None:
                self._out = self.file.open("a")
            self._out.write(f"{boot_seconds() - self.began:8.2f} {text}\n")
            self._out.flush()

    def wrong(self, text: str) -> None:
        """Something that must not be."""
        self.amiss.append(text)
        self.note(f"WRONG {text}")

    @contextmanager
    def fault(self, kind: str, what: str = "") -> Iterator[Injected]:
        """A fault that was injected just now, and ends with the block."""
        injected = Injected(kind, what, boot_seconds())
        self.faults.append(injected)
        self.note(f"{kind}: {what}")
        try:
            yield injected
        finally:
            injected.ended = boot_seconds()
            self.note(f"{kind}: {what}: over after {injected.ended - injected.began:.2f} s")

    def kinds(self) -> Counter[str]:
        """How often each kind was injected."""
        return Counter(fault.kind for fault in self.faults)
