"""Which process holds a SQLite file's write lock, where the system tells: on Linux."""

from pathlib import Path

from schedmgr import clock

_LOCKS = Path("/proc/locks")
_WRITE_LOCK = "120"  # the byte of the -shm file that a writer locks (sqlite.org/walformat.html, "WAL Locks")
_LOOKS, _BETWEEN = 3, 0.05  # a writer that is at work is gone at one of the looks, one that hangs is not


def hanging_writer(file: Path) -> str | None:
    """ "process 4711 (python feeds.py)" for the one that holds the lock all the while one looks; else None."""
    pid = _holder(file)
    for _ in range(_LOOKS):
        if pid is None:
            return None
        clock.sleep(_BETWEEN)
        pid = pid if _holder(file) == pid else None
    return None if pid is None else f"process {pid}{_command(pid)}"


def _holder(file: Path) -> int | None:
    """The process that holds the lock at this moment."""
    try:
        inode = str(file.with_name(f"{file.name}-shm").stat().st_ino)
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, *kind, pid, device_and_inode, first, last = line.split()
        if (
            kind == ["POSIX", "ADVISORY", "WRITE"]
            and device_and_inode.endswith(f":{inode}")
            and first == last == _WRITE_LOCK
        ):
            return int(pid)
    return None


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # of another user, or in another container
        return ""
    text = b" ".join(words).decode(errors="replace").strip()
    return f" ({text[:80]})" if text else ""
