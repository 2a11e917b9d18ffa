"""`python -m torture [--minutes N] [--seed N] [--database sqlite|mariadb]`: exit code 1 if anything was wrong."""

import argparse
import os
import random
import signal
import subprocess
import sys
from types import FrameType

import mariadb

from torture import report
from torture.course import KEPT, torture

APART = "TORTURE_IS_APART"


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", choices=("sqlite", "mariadb"), default=None)
    parser.add_argument("--keep", action="store_true", help="keep everything, also where nothing was wrong")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    stand_apart()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    is_right = True
    for database in [asked.database] if asked.database else ["sqlite", "mariadb"]:
        say(f"{database}: seed {seed}, {asked.minutes:g} min")
        try:
            found = torture(database, asked.minutes, seed, say, keep=asked.keep)
        except mariadb.NotInstalled as missing:
            say(str(missing))
            return 1
        sys.stdout.write(report.text(found) + "\n")
        sys.stdout.flush()
        say(f"{database}: {report.keep(found, KEPT)}")
        is_right = is_right and found.is_right
    return 0 if is_right else 1


def say(text: str) -> None:
    """How it goes, beside the findings."""
    sys.stderr.write(text + "\n")


def stand_apart() -> None:
    """Begin anew with mounts of our own: the small disk that is filled is seen by nobody else, and goes with us."""
    if APART in os.environ or sys.platform != "linux":
        return
    for words in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        if _works([*words, "true"]):
            os.environ[APART] = "yes"
            os.execvp(words[0], [*words, sys.executable, "-m", "torture", *sys.argv[1:]])


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _leave(number: int, _frame: FrameType | None) -> None:
    """End by way of everything that has to be mended first."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
