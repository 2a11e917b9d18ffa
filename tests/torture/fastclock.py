"""The site's clock: the host's, ahead by an offset in a file that every process of the site reads.

It runs several times as fast as the host's, so that a minute, which is the shortest span of cron, passes in seconds.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

PERIOD = 0.1  # seconds between two writes of the file


class FastClock:
    """`pace` seconds of the site pass in each second of the host."""

    def __init__(self, file: Path, start: datetime, pace: float) -> None:
        self.file = file
        self.pace = pace
        self._highest = start
        self._lock = threading.Lock()
        self._offset = (start - datetime.now(UTC)).total_seconds()
        self._moved_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock")
        self._write()

    @property
    def now(self) -> datetime:
        """What the processes of the site see."""
        return datetime.now(UTC) + timedelta(seconds=self._offset)

    @property
    def peak(self) -> datetime:
        """The latest instant that the clock ever showed."""
        return max(self._highest, self.now)

    def start(self) -> None:
        self._moved_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Go on at the host's pace."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self, seconds: float) -> None:
        """Jump forward, or back."""
        with self._lock:
            self._offset += seconds
            self._write()

    def reach_peak(self) -> None:
        """Jump to the latest instant that was ever shown, if it lies ahead."""
        behind = (self.peak - self.now).total_seconds()
        if behind > 0:
            self.step(behind)

    def until(self, second: float) -> float:
        """Seconds of the host until the next time at which a minute's seconds are that many."""
        now = self.now
        ahead = (second - now.second - now.microsecond / 1e6) % 60
        return ahead / self.pace

    def _run(self) -> None:
        while not self._over.wait(PERIOD):
            with self._lock:
                now = time.monotonic()
                self._offset += (self.pace - 1) * (now - self._moved_at)
                self._moved_at = now
                self._write()
        self.pace = 1.0

    def _write(self) -> None:
        # Renamed into place: a reader never meets a file that is half written.
        new = self.file.with_suffix(".new")
        new.write_text(repr(self._offset))
        new.rename(self.file)
        self._highest = self.peak
