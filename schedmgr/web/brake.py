"""Slows down who tries passwords: by the user name that is tried, and by the address that tries."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from schedmgr import clock

FREE_TRIES = 5  # of one user name
FREE_TRIES_OF_ADDRESS = 20  # an office may share one
FIRST_WAIT = 5.0  # seconds; doubled at each further wrong try
LONGEST_WAIT = 60.0
FORGOTTEN_AFTER = 900.0  # seconds without a wrong try
REMEMBERED = 10_000


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    last_at: float = 0.0


class Brake:
    """Counts wrong tries in this process.  Safe to share between threads."""

    def __init__(self, monotonic: Callable[[], float] = clock.monotonic) -> None:
        self._monotonic = monotonic
        self._tries: OrderedDict[tuple[str, str], _Tries] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, user: str, address: str) -> float:
        """Seconds until the next try is looked at; 0: now."""
        with self._lock:
            return max(
                self._wait_of(("user", user), FREE_TRIES), self._wait_of(("address", address), FREE_TRIES_OF_ADDRESS)
            )

    def wrong(self, user: str, address: str) -> None:
        """Note a wrong try."""
        with self._lock:
            for key in (("user", user), ("address", address)):
                tries = self._tries.setdefault(key, _Tries())
                self._tries.move_to_end(key)
                if self._monotonic() - tries.last_at > FORGOTTEN_AFTER:
                    tries.wrong = 0
                tries.wrong += 1
                tries.last_at = self._monotonic()
            while len(self._tries) > REMEMBERED:
                self._tries.popitem(last=False)

    def right(self, user: str) -> None:
        """Note that the password was known: the user name starts anew, the address does not."""
        with self._lock:
            self._tries.pop(("user", user), None)

    def _wait_of(self, key: tuple[str, str], free: int) -> float:
        tries = self._tries.get(key)
        if tries is None or tries.wrong < free:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(tries.wrong - free, 10), LONGEST_WAIT)
        return max(0.0, tries.last_at + wait - self._monotonic())
