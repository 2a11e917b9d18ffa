"""What a change of the clocks does to a schedule, in two or three sentences for people."""

from datetime import date, timedelta

from schedmgr.core.cron.expression import MINUTES_A_DAY, Cron, parse
from schedmgr.core.cron.phrases import WEEKDAYS, clock, clocks, duration, short_date
from schedmgr.core.cron.zones import EPOCH, SECOND, ClockChange, span_at

_MINUTE = timedelta(minutes=1)
_EPOCH_DATE = EPOCH.date()
_A_WEEK, _A_MONTH = 7, 31


def clock_note(cron: str, timezone: str, change: ClockChange, *, hash_id: str | None = None) -> str:
    """What `change`, one of the `clock_changes` of `timezone`, does to a schedule; empty if it is not due just then.

    Raises `CronError`.
    """
    expression = parse(cron, hash_id=hash_id)
    wall_before, wall_after = (
        (change.instant + offset - EPOCH) // _MINUTE for offset in (change.offset_before, change.offset_after)
    )
    low, high = sorted((wall_before, wall_after))
    touched = _minutes(expression, low, high)
    if not touched:
        return ""
    goes_forward = change.shift > timedelta(0)
    direction = "forward" if goes_forward else "back"
    opening = f"Clocks in {timezone} go {direction} on {short_date(_day(low))}."
    if expression.follows_real_time:
        effect = f"skips the missing {duration(change.shift)}" if goes_forward else "runs in both passes"
        return f"{opening} This schedule follows real time, so it {effect}."
    when = "that night" if _is_night(low, high) else "that day"
    if goes_forward:
        return f"{opening} {_made_up(touched, when, wall_after, change)}"
    return f"{opening} {_repeated(touched, when, change)}{_from_then_on(expression, timezone, touched, change)}"


def _made_up(touched: list[int], when: str, wall_after: int, change: ClockChange) -> str:
    times = clocks([minute % MINUTES_A_DAY for minute in touched])
    missing = f"{times} does not exist {when}; it runs once"
    if len(touched) > 1:
        missing = f"{times} do not exist {when}; this schedule runs once for all of them,"
    at_utc = f"{change.instant:%H:%M} UTC"
    return f"{missing} at {clock(wall_after % MINUTES_A_DAY)} ({at_utc})."


def _repeated(touched: list[int], when: str, change: ClockChange) -> str:
    times = clocks([minute % MINUTES_A_DAY for minute in touched])
    first_pass = f"in the first pass ({_in_utc(touched, change.offset_before)} UTC)"
    if len(touched) == 1:
        return f"{times} happens twice {when}; this schedule runs once, {first_pass}."
    return f"{times} happen twice {when}; this schedule runs once at each of them, {first_pass}."


def _from_then_on(cron: Cron, timezone: str, touched: list[int], change: ClockChange) -> str:
    """The times in UTC from the next such day on; nothing if that is over a month away."""
    day = touched[0] // MINUTES_A_DAY
    found = cron.next_minute((day + 1) * MINUTES_A_DAY)
    if found is None or (later := found // MINUTES_A_DAY - day) > _A_MONTH:
        return ""
    offset = change.offset_after // SECOND
    if span_at(timezone, found * 60 - offset).offset != offset:
        return ""  # the clocks change once more before that
    next_day = _day((day + later) * MINUTES_A_DAY)
    named = WEEKDAYS[next_day.isoweekday() % 7] if later < _A_WEEK else short_date(next_day)
    verb = "it is" if len(touched) == 1 else "they are"
    return f" From {named} on {verb} {_in_utc(touched, change.offset_after)} UTC."


def _in_utc(walls: list[int], offset: timedelta) -> str:
    return clocks([(wall - offset // _MINUTE) % MINUTES_A_DAY for wall in walls])


def _minutes(cron: Cron, low: int, high: int) -> list[int]:
    found: list[int] = []
    minute = cron.next_minute(low)
    while minute is not None and minute < high:
        found.append(minute)
        minute = cron.next_minute(minute + 1)
    return found


def _day(wall: int) -> date:
    return _EPOCH_DATE + timedelta(days=wall // MINUTES_A_DAY)


def _is_night(low: int, high: int) -> bool:
    return high - low < MINUTES_A_DAY // 2 and not 6 <= low % MINUTES_A_DAY // 60 < 21
