"""Slows down who tries passwords: by the user name that is tried, and by the address that tries."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from schedmgr import clock

Found = TypeVar("Found")

FREE_TRIES = 5  # of one user name
FREE_TRIES_OF_ADDRESS = 20  # an office may share one
FIRST_WAIT = 5.0  # seconds; doubled at each further wrong try
LONGEST_WAIT = 60.0
FORGOTTEN_AFTER = 900.0  # seconds without a wrong try
LINE_PATIENCE = 2.0  # seconds
REMEMBERED = 10_000
HASHED_AT_ONCE = 2
"""Passwords that are looked at together: each takes 64 MiB, and a crowd of guesses must not overtake their count."""


class Slowed(Exception):
    """The try was not looked at; the next one is after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


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
        self._turn = threading.Semaphore(HASHED_AT_ONCE)

    def look(self, user: str, address: str, verify: Callable[[], Found | None]) -> Found | None:
        """What `verify` finds for one try; None for a wrong one, which is counted.

        Raises Slowed, without looking, when the next try is not due yet, or for a crowd: it waits in line for a moment
        only, so that it leaves threads to those who are in.
        """
        if not self._turn.acquire(timeout=LINE_PATIENCE):
            raise Slowed(FIRST_WAIT)
        try:
            if wait := self._wait(user, address):
                raise Slowed(wait)
            found = verify()
            if found is None:
                self._wrong(user, address)
            else:
                self._right(user)
            return found
        finally:
            self._turn.release()

    def _wait(self, user: str, address: str) -> float:
        """Seconds until the next try is looked at; 0: now."""
        with self._lock:
            return max(
                self._wait_of(("user", user), FREE_TRIES), self._wait_of(("address", address), FREE_TRIES_OF_ADDRESS)
            )

    def _wrong(self, user: str, address: str) -> None:
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

    def _right(self, user: str) -> None:
        """Note that the password was known: the user name starts anew, the address does not."""
        with self._lock:
            self._tries.pop(("user", user), None)

    def _wait_of(self, key: tuple[str, str], free: int) -> float:
        tries = self._tries.get(key)
        if tries is None or tries.wrong < free:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(tries.wrong - free, 10), LONGEST_WAIT)
        return max(0.0, tries.last_at + wait - self._monotonic())
