"""How an attempt ended, in words (pure: what the keeper reported in, the sentence out)."""

import errno
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from schedmgr.vocabulary import RunStatus
from schedmgr.worker.keeper import Cause, Order


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt.  `exit_code` is None where no process ended by itself; `error` is None for success."""

    status: RunStatus
    exit_code: int | None = None
    error: str | None = None


def ended(order: Order, exit_status: int | None, cause: Cause | None) -> Outcome:
    """Of an attempt that ran.  `exit_status` is negative for a signal, None when nothing was started in the end."""
    code = exit_status if exit_status is not None and exit_status >= 0 else None
    match cause:
        case Cause.TIMEOUT:
            return Outcome(RunStatus.TIMED_OUT, code, f"timed out after {order.timeout:g} s")
        case Cause.CANCEL:
            return Outcome(RunStatus.CANCELLED, code, "cancelled while it ran")
        case Cause.SHUTDOWN:
            return Outcome(RunStatus.LOST, code, "ended because its worker was told to stop")
        case Cause.LEASE:
            return Outcome(RunStatus.LOST, code, "ended because its worker could not renew its lease in time")
        case None if exit_status == 0:
            return Outcome(RunStatus.SUCCEEDED, code)
        case None:
            return Outcome(RunStatus.FAILED, code, _failure(order, exit_status or 0))


def refused(order: Order, number: int | None, text: str) -> Outcome:
    """Of an attempt whose first process could not be started: `number` is the system's errno, `text` its words."""
    return Outcome(RunStatus.FAILED, None, _wrong_directory(order.cwd) or _wrong_program(order, number, text))


def vanished(why: str) -> Outcome:
    """Of an attempt whose end nobody saw."""
    return Outcome(RunStatus.LOST, None, why)


def signal_name(number: int) -> str:
    """As in `SIGSEGV (11)`; real-time signals have no name."""
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"{number}"


def _failure(order: Order, exit_status: int) -> str:
    if exit_status < 0:
        return f"killed by signal {signal_name(-exit_status)}"
    if isinstance(order.command, list):
        return f"exit code {exit_status}"
    return f"exit code {exit_status}{_shell_meaning(exit_status)}"


def _shell_meaning(code: int) -> str:
    """What a shell means by the codes that it makes up itself."""
    if code == 126:
        return ": the shell found the command but could not execute it"
    if code == 127:
        return ": the shell did not find the command"
    if code - 128 in signal.valid_signals():
        return f": killed by signal {signal_name(code - 128)}"
    return ""


def _wrong_directory(directory: str) -> str | None:
    path = Path(directory)
    if not path.exists():
        return f"the working directory {directory!r} does not exist"
    if not path.is_dir():
        return f"the working directory {directory!r} is not a directory"
    if not os.access(path, os.X_OK):
        return f"the working directory {directory!r} may not be entered by the worker's user"
    return None


def _wrong_program(order: Order, number: int | None, text: str) -> str:
    program = "/bin/sh" if isinstance(order.command, str) else order.command[0]
    file = Path(order.cwd, program)
    is_path = "/" in program
    if number == errno.ENOENT and is_path and file.exists():
        return f"cannot start {program!r}: the interpreter that its first line names does not exist"
    if number == errno.ENOENT and is_path:
        return f"command not found: {program!r} in {order.cwd}"
    if number == errno.ENOENT:
        return f"command not found: {program!r} on the PATH {order.env.get('PATH', os.defpath)}"
    if number == errno.EACCES and file.is_dir():
        return f"not executable: {program!r} is a directory"
    if number == errno.EACCES:
        return f"not executable: {program!r}{f' in {order.cwd}' if is_path else ''}; chmod +x makes it so"
    if number == errno.ENOEXEC:
        return f"not executable: {program!r} is neither a program nor a script with #! in its first line"
    if number == errno.E2BIG:
        return f"cannot start {program!r}: its arguments and environment are larger than the system allows"
    return f"cannot start {program!r}: {text}"
