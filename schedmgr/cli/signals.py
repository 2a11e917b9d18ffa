"""SIGTERM and SIGINT as calls in a thread.

A handler itself may do next to nothing: it interrupts its own thread anywhere, also where that holds the lock of the
very Event to be set.  `SimpleQueue.put` is made for it.
"""

import queue
import signal
import threading
from collections.abc import Callable

from schedmgr import clock

SECOND_SIGNAL_AFTER = 1.0
"""Seconds before a further signal counts as a second one: a process manager and a terminal may both send the first."""


def on_stop(first: Callable[[], None], second: Callable[[], None]) -> None:
    """From now on the first SIGTERM or SIGINT calls `first`; each later one, more than a second after it, `second`."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: received.put(signum))
    threading.Thread(target=_serve, args=(received, first, second), name="signals", daemon=True).start()


def _serve(received: "queue.SimpleQueue[int]", first: Callable[[], None], second: Callable[[], None]) -> None:
    received.get()
    asked_at = clock.monotonic()
    first()
    while True:
        received.get()
        if clock.monotonic() - asked_at > SECOND_SIGNAL_AFTER:
            second()
