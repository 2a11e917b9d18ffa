"""How many next runs a second, beside CronSim and croniter: `python bench/cron.py [SECONDS]`.

"Next" goes on from the run before, with the expression parsed and the zone known: what a daemon does all day.  "Cold"
parses an expression that was not seen before (though its single fields may have been).  One core, no database; CPU
time, so that other work on the machine counts little.  `x sim` and `x iter` are ratios: how many times as many as
CronSim and croniter do, which keep an object for each schedule and go on from it ("next"), or build it anew ("cold").
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import geometric_mean

from croniter import croniter
from cronsim import CronSim

from schedmgr.core import cron
from schedmgr.core.cron import expression as cron_expression

START = datetime(2026, 3, 1, tzinfo=UTC)
LAST_YEAR = 2125
AIM = 60_000  # next runs a second, for any expression in any zone

EXPRESSIONS = (
    *("* * * * *", "*/5 * * * *", "30 2 * * *", "0 9 * * 1-5", "0,30 8-18 * * MON-FRI", "0 0 1 * *"),
    *("0 5 L * *", "0 0 * * 5#2", "0 0 1 1 *", "0 0 29 2 *", "0 0 29 2 */7"),
)
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe")

Step = Callable[[], object]


def main(seconds: float) -> None:
    print(f"{'':44}{'next/s':>9}{'x sim':>7}{'x iter':>7}{'cold/s':>9}{'x sim':>7}{'x iter':>7}")
    rows = [measure(expression, zone, seconds) for expression in EXPRESSIONS for zone in ZONES]
    slowest = min(row[0] for row in rows)
    means = [geometric_mean(column) for column in zip(*rows, strict=True)]
    print(line("geometric mean", "", means))
    print(f"slowest {slowest:,.0f} next runs a second; the aim is {AIM:,}: {'met' if slowest >= AIM else 'MISSED'}")
    print(f"ten years of minutes counted in {count_ten_years():.2f} ms")


def measure(expression: str, zone: str, seconds: float) -> list[float]:
    """Our rates and the ratios to the others, in the order of the columns."""
    ours, cold = (rate(step(expression, zone), seconds) for step in (our_next, our_cold))
    others = [rate(step(expression, zone), seconds) for step in (sim_next, iter_next, sim_cold, iter_cold)]
    figures = [ours, ours / others[0], ours / others[1], cold, cold / others[2], cold / others[3]]
    print(line(expression, zone, figures), flush=True)
    return figures


def line(expression: str, zone: str, figures: list[float]) -> str:
    numbers = [f"{figure:9,.0f}" if place % 3 == 0 else f"{figure:7.1f}" for place, figure in enumerate(figures)]
    return f"{expression:23} {zone:20}{''.join(numbers)}"


def rate(step: Step, seconds: float) -> float:
    """Calls a second."""
    step()
    done, began = 0, time.process_time()
    while (passed := time.process_time() - began) < seconds:
        for _ in range(10):
            step()
        done += 10
    return done / passed


def our_next(expression: str, zone: str) -> Step:
    after = START

    def step() -> None:
        nonlocal after
        due = cron.next_after(expression, zone, after)
        after = START if due is None or due.year > LAST_YEAR else due

    return step


def our_cold(expression: str, zone: str) -> Step:
    def step() -> None:
        cron_expression._parse.cache_clear()
        cron.next_after(expression, zone, START)

    return step


def sim_next(expression: str, zone: str) -> Step:
    start = START.astimezone(cron.zone(zone))
    runs = CronSim(expression, start)

    def step() -> None:
        nonlocal runs
        if next(runs).year > LAST_YEAR:
            runs = CronSim(expression, start)

    return step


def sim_cold(expression: str, zone: str) -> Step:
    start = START.astimezone(cron.zone(zone))
    return lambda: next(CronSim(expression, start))


def iter_next(expression: str, zone: str) -> Step:
    start = START.astimezone(cron.zone(zone))
    runs = croniter(expression, start, ret_type=datetime)

    def step() -> None:
        if runs.get_next().year > LAST_YEAR:
            runs.set_current(start)

    return step


def iter_cold(expression: str, zone: str) -> Step:
    start = START.astimezone(cron.zone(zone))
    return lambda: croniter(expression, start, ret_type=datetime).get_next()


def count_ten_years() -> float:
    """Milliseconds, with the zone's changes not yet known."""
    began = time.process_time()
    counted = cron.count_between("* * * * *", "America/New_York", START, START.replace(year=START.year + 10))
    assert counted == 5_260_320
    return (time.process_time() - began) * 1000


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2)
