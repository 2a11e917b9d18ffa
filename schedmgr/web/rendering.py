"""The Jinja environment of the pages, and the pure functions that turn values into words, times and shapes.

Nothing here asks a clock or a database: the same view renders to the same bytes at any moment, so that a fragment that
did not change can be answered with 304.  Relative times are made in the browser (static/js/clock.js) from the `<time>`
elements written here.
"""

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from schedmgr.core.cron import CronError
from schedmgr.core.cron.zones import zone as zone_of
from schedmgr.vocabulary import Decision, RunStatus
from schedmgr.web.views import Badge, Kind, Outcome, StripBar

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STRIP_LENGTH = 24


def environment(templates: Path, *, prefix: str = "") -> Environment:
    """The environment that renders every page.  `prefix` is the path under which a proxy serves us ("/jobs", or "")."""
    env = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "ansi": ansi,
        "bytes": in_bytes,
        "count": in_thousands,
        "duration": duration,
        "iso": iso,
        "local": local_time,
        "prose": prose,
    }
    env.globals |= {
        "BANNER_ICONS": BANNER_ICONS,
        "NAVIGATION": NAVIGATION,
        "asset": lambda name: f"{prefix}/static/{name}",
        "instant": instant,
        "look": look,
        "path": partial(url, prefix),
        "percent": percent,
        "prefix": prefix,
        "request_key": lambda: secrets.token_hex(16),
        "strip_label": strip_label,
        "strip_shapes": strip_shapes,
    }
    return env


# --------------------------------------------------------------------------------------------------------- navigation


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A link of the side navigation and of the phone's tab bar.  A new page adds one here."""

    key: str  # what `Shell.current` says
    label: str
    short: str  # under the phone's icon
    path: str
    icon: str
    count: str  # the field of Pulse that stands beside it
    count_kind: str  # its colour
    count_words: str  # what a screen reader hears after it


NAVIGATION = (
    NavigationEntry(
        "schedules", "Schedules", "Schedules", "/admin/schedules", "cal", "attention", "bad", "need attention"
    ),
    NavigationEntry("jobs", "Job runs", "Runs", "/admin/jobs", "list", "running", "live", "running"),
)


def url(prefix: str, path: str, /, *ids: object, **query: str | int | None) -> str:
    """`path` below `prefix`, with each `{}` replaced by an id, quoted, and the query parts that hold something.

    >>> url("/ops", "/admin/schedules/{}", "a/b", show="failed", q="")
    '/ops/admin/schedules/a%2Fb?show=failed'
    """
    for each in ids:
        path = path.replace("{}", quote(str(each), safe=""), 1)
    pairs = {name: value for name, value in query.items() if value not in ("", None)}
    return prefix + path + (f"?{urlencode(pairs)}" if pairs else "")


# -------------------------------------------------------------------------------------------------------------- times


def iso(at: datetime) -> str:
    """The instant for machines: `2026-10-22T02:09:51.000000Z` without needless digits."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def day(at: datetime) -> str:
    """`Fri 23 Oct`, whatever the locale."""
    return f"{WEEKDAYS[at.weekday()]} {at.day} {MONTHS[at.month - 1]}"


def exact(at: datetime, zone: str = "UTC") -> str:
    """The instant in full, in UTC and, on a second line, in the schedule's zone."""
    utc = at.astimezone(UTC)
    lines = [f"{day(utc)} {utc.year} {utc:%H:%M:%S} UTC"]
    there = _in_zone(at, zone)
    if zone != "UTC" and there is not None:
        lines.append(f"{day(there)} {there.year} {there:%H:%M:%S} {zone} ({there.tzname()})")
    return "\n".join(lines)


def local_time(at: datetime, zone: str) -> tuple[str, str]:
    """The time of day in `zone` and that zone's name at the instant: ("02:30", "CEST"); UTC if no such zone exists.

    It stands beside a time in UTC, so it names its day where that is another one: ("Thu 20:30", "EDT").
    """
    utc = at.astimezone(UTC)
    there = _in_zone(at, zone) or utc
    its_day = "" if there.date() == utc.date() else f"{WEEKDAYS[there.weekday()]} "
    return f"{its_day}{there:%H:%M}", there.tzname() or zone


def _in_zone(at: datetime, zone: str) -> datetime | None:
    # An archived schedule may name a zone that a newer tzdata no longer has, and a spoiled row the last day of the year
    # 9999, which has no tomorrow; its page still opens.
    try:
        return at.astimezone(zone_of(zone))
    except (CronError, OverflowError):
        return None


def instant(
    at: datetime, how: str, *, zone: str = "UTC", css: str = "", focus: bool = True, grace: int | None = None
) -> Markup:
    """A `<time>` that says the exact instant here and that the page turns into `how`, ticking:

    `ago` "3 min ago", the date after a day · `age` always as "3 days ago" · `in` "in 40 s" · `about` "in 22 h" ·
    `next` as `in`, then "due now" and "overdue 3 min" · `span` "1 h 12 min" since then · `clock` "Fri 00:30 UTC" ·
    `due` as `clock`, then "was due 00:30 UTC" · `second` "00:30:00 UTC" · `day` "Fri 23 Oct".  `grace`, in seconds, is
    told when it is overdue."""
    utc = at.astimezone(UTC)
    texts = {"second": f"{utc:%H:%M:%S} UTC", "span": f"since {utc:%H:%M} UTC", "day": day(utc)}
    attributes = {"class": css, "datetime": iso(at), "data-how": how, "data-exact": exact(at, zone)}
    if grace is not None:
        attributes["data-grace"] = str(grace)
    if focus:
        attributes["tabindex"] = "0"
    written = Markup(" ").join(Markup('{}="{}"').format(name, value) for name, value in attributes.items() if value)
    return Markup("<time {}>{}</time>").format(written, texts.get(how, f"{day(utc)} {utc:%H:%M} UTC"))


def duration(seconds: float) -> str:
    """`1.8 s`, `41 s`, `6 min 41 s`, `1 h 13 min`, `2 days 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", 1, "s")
    if whole < 86400:
        return _two(whole, 3600, "h", 60, "min")
    return _two(whole, 86400, "day" if whole < 2 * 86400 else "days", 3600, "h")


def _two(seconds: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = seconds % big // small
    return f"{seconds // big} {big_name}" + (f" {rest} {small_name}" if rest else "")


# ----------------------------------------------------------------------------------------------------- numbers, prose


def in_thousands(number: int) -> str:
    """`1,204`"""
    return f"{number:,}"


def percent(part: int, whole: int) -> int:
    """`part` of `whole`, rounded, but never to 100 when something is missing nor to 0 when something is there."""
    if part in (0, whole):
        return 100 if part else 0
    return min(99, max(1, round(100 * part / whole)))


def in_bytes(number: int) -> str:
    """`812 B`, `3.3 MiB`"""
    if number < 1024:
        return f"{number} B"
    size = number / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 100 else f"{size:.1f} {unit}"


_MARKS = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\b(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)"
)


def prose(text: str) -> Markup:
    """A sentence with its code, strong and instant marks as markup; everything else is escaped."""
    return Markup("").join(_pieces(text))


def _pieces(text: str) -> Iterator[Markup]:
    end = 0
    for mark in _MARKS.finditer(text):
        yield escape(text[end : mark.start()])
        end = mark.end()
        if mark["code"]:
            yield Markup("<code>{}</code>").format(mark["code"])
        elif mark["strong"]:
            yield Markup("<strong>{}</strong>").format(mark["strong"])
        else:
            yield _spoken_instant(mark["at"])
    yield escape(text[end:])


def _spoken_instant(text: str) -> Markup:
    """A ticking time in a sentence; not live, or a notice would be read aloud again at each tick."""
    try:
        return Markup('<span aria-live="off">{}</span>').format(instant(datetime.fromisoformat(text), "ago"))
    except ValueError:  # it only looks like one: somebody's words
        return escape(text)


# -------------------------------------------------------------------------------------------------------- job output

_ESCAPE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m"  # colour and weight
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # any other control sequence
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def ansi(text: str) -> Markup:
    """One line of job output as a terminal would show it: the 16 colours and bold as classes, nothing else as markup.

    What was overwritten after a carriage return is left out (a progress bar shows its last state)."""
    text = text.rstrip("\r\n").rpartition("\r")[2]
    return Markup("").join(_spans(text))


def _spans(text: str) -> Iterator[Markup]:
    classes: frozenset[str] = frozenset()
    end = 0
    for sequence in _ESCAPE.finditer(text):
        yield _span(text[end : sequence.start()], classes)
        end = sequence.end()
        if sequence["sgr"] is not None:
            classes = _after(classes, sequence["sgr"])
    yield _span(text[end:], classes)


def _span(text: str, classes: Iterable[str]) -> Markup:
    shown = escape(_CONTROL.sub(_picture, text))
    names = " ".join(sorted(classes))
    return Markup('<span class="{}">{}</span>').format(names, shown) if shown and names else shown


def _picture(control: re.Match[str]) -> str:
    """The visible stand-in of a control character: U+241B for escape."""
    code = ord(control[0])
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else chr(0x2400 + code)


def _after(classes: frozenset[str], sgr: str) -> frozenset[str]:
    """The classes in force after one colour sequence."""
    codes = iter(int(code) if code.isdigit() and len(code) < 4 else 0 for code in re.split("[;:]", sgr))
    for code in codes:
        if code == 0:
            classes = frozenset()
        elif code == 1:
            classes |= {"a1"}
        elif code == 22:
            classes -= {"a1"}
        elif code in (38, 48):  # a colour of the palette or of its own: read past it
            for _ in range({5: 1, 2: 3}.get(next(codes, 0), 0)):
                next(codes, 0)
        elif code == 39 or 30 <= code <= 37 or 90 <= code <= 97:
            classes = (classes & {"a1"}) | _COLOURS.get(code, frozenset())
    return classes


_COLOURS = {
    code: frozenset({f"a{code if code == 90 else 30 + code % 10}"}) for code in (*range(31, 37), *range(90, 97))
}


# ---------------------------------------------------------------------------------------------------- badges and strip


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is drawn: the symbol's name, the colour's kind, the word."""

    icon: str
    kind: str  # ok, bad, warn, live, or "" for neutral
    word: str


_LOOKS: dict[Outcome, Look] = {
    Decision.ENQUEUED: Look("ok", "ok", "Enqueued"),
    Decision.SKIPPED: Look("skip", "warn", "Skipped"),
    RunStatus.QUEUED: Look("queued", "", "Queued"),
    RunStatus.RUNNING: Look("run", "live", "Running"),
    RunStatus.SUCCEEDED: Look("ok", "ok", "Succeeded"),
    RunStatus.FAILED: Look("bad", "bad", "Failed"),
    RunStatus.TIMED_OUT: Look("timeout", "bad", "Timed out"),
    RunStatus.CANCELLED: Look("cancel", "", "Cancelled"),
    RunStatus.LOST: Look("lost", "warn", "Lost"),
    RunStatus.SKIPPED: Look("skip", "warn", "Skipped"),
}
BANNER_ICONS = {Kind.BAD: "warn", Kind.WARN: "warn", Kind.INFO: "info", Kind.OK: "ok"}


def look(badge: Badge) -> Look:
    """How a badge is drawn."""
    drawn = _LOOKS[badge.outcome]
    if badge.is_cancelling:
        return Look("run", "", "Cancelling…")
    if badge.outcome is RunStatus.RUNNING and badge.whole is not None and badge.whole > 1:
        return Look(drawn.icon, drawn.kind, f"Running {badge.done or 0} of {badge.whole}")
    return Look(drawn.icon, drawn.kind, drawn.word + (f" ×{badge.times}" if badge.times > 1 else ""))


@dataclass(frozen=True, slots=True)
class StripShape:
    """One mark of a strip, in the strip's own pixels: 166 wide, 28 high."""

    kind: str  # ok, bad, run, skip, none
    x: int
    y: float
    height: float


_STRIP_KINDS: dict[Outcome, str] = {
    RunStatus.SUCCEEDED: "ok",
    RunStatus.FAILED: "bad",
    RunStatus.TIMED_OUT: "bad",
    RunStatus.LOST: "bad",
    RunStatus.RUNNING: "run",
    RunStatus.SKIPPED: "skip",
    Decision.SKIPPED: "skip",
}


def strip_shapes(bars: tuple[StripBar, ...]) -> list[StripShape]:
    """The marks of a strip, newest at the right edge, empty places first."""
    shown = bars[-STRIP_LENGTH:]
    empty = STRIP_LENGTH - len(shown)
    places = [StripShape("none", 7 * place, 20, 2) for place in range(empty)]
    return places + [_shape(bar, 7 * (empty + place)) for place, bar in enumerate(shown)]


def _shape(bar: StripBar, x: int) -> StripShape:
    kind = _STRIP_KINDS.get(bar.outcome, "none")
    height = {"bad": 20.0, "skip": 8.0, "none": 2.0}.get(kind, round(4 + 16 * min(max(bar.height, 0), 1), 1))
    return StripShape(kind, x, round(22 - height, 1), height)


def strip_label(bars: tuple[StripBar, ...]) -> str:
    """What the strip says to who cannot see it: "last 24 firings: 21 succeeded, 3 failed. Newest on the right."."""
    counts = Counter(_LOOKS[bar.outcome].word.lower() for bar in bars)
    said = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    if not bars:
        return "no firings yet"
    return f"last {len(bars)} firings: {said}. Newest on the right." if len(bars) > 1 else f"last firing: {said}"
