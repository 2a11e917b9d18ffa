"""Everything that a process started, however deep and however daemonised, and a way to signal all of it.

On Linux a *subreaper* adopts each orphan below it, so a process that forks twice and makes its own session is still
found by walking parents down from the subreaper.  Elsewhere (macOS) no such thing exists: only the process group of
the attempt's first process is reached, and what leaves that group outlives the attempt.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection
from typing import NamedTuple

SEES_DESCENDANTS = sys.platform == "linux" and os.access("/proc/self/stat", os.R_OK)

_PR_SET_CHILD_SUBREAPER = 36


class Descendant(NamedTuple):
    """A living process below the one that was asked about."""

    pid: int
    group: int


def adopt_orphans() -> None:
    """Become the subreaper of everything started from here on.  Raises OSError where Linux refuses it."""
    if not SEES_DESCENDANTS:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(root: int, *, without: Collection[int] = ()) -> list[Descendant]:
    """The living processes below `root`, leaving out those in `without` and everything below them.

    A process that forks while this looks may be missed: look again until nothing is left.  Where descendants cannot
    be seen there seem to be none.
    """
    if not SEES_DESCENDANTS:
        return []
    children: dict[int, list[Descendant]] = {}
    for pid in _all_pids():
        if (stat := _stat(pid)) is not None:
            children.setdefault(stat[0], []).append(Descendant(pid, stat[1]))
    found: list[Descendant] = []
    parents = [root]
    while parents:
        below = [child for child in children.get(parents.pop(), ()) if child.pid not in without]
        found += below
        parents += [child.pid for child in below]
    return found


def signal_all(targets: Collection[Descendant], number: signal.Signals) -> None:
    """Signal whole process groups, which also reaches what forks in the same instant; never our own group.

    A group below us holds nothing foreign: every attempt starts as its own session, and no process can join a group
    of another session.
    """
    own = os.getpgrp()
    for group in {target.group for target in targets} - {own}:
        signal_group(group, number)
    for target in targets:
        if target.group == own:  # it was about to make its own session
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(target.pid, number)


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal one process group.  Gone already, or another user's: nothing happens."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        if number == signal.SIGTERM:  # a stopped process acts on it only when it goes on
            os.killpg(group, signal.SIGCONT)


def group_lives(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def _all_pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and process group of a living process; None: it ended meanwhile."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.read(file, 1024)
    except OSError:
        return None
    finally:
        os.close(file)
    # pid (name) state parent group ...; the name may hold anything, so count from its last bracket
    state, parent, group = text[text.rindex(b")") + 2 :].split(None, 3)[:3]
    return None if state in (b"Z", b"X") else (int(parent), int(group))
