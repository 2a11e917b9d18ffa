"""How values become words, times and shapes."""

from datetime import UTC, datetime

import pytest

from schedmgr.vocabulary import Decision, RunStatus
from schedmgr.web import rendering
from schedmgr.web.views import Badge, StripBar

INSTANT = datetime(2026, 10, 23, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.1 s"),
        (1.84, "1.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (41, "41 s"),
        (59.6, "1 min"),
        (401, "6 min 41 s"),
        (3600, "1 h"),
        (4380, "1 h 13 min"),
        (86400, "1 day"),
        (187200, "2 days 4 h"),
    ],
)
def test_a_duration_has_at_most_two_parts(seconds: float, words: str) -> None:
    assert rendering.duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (524288, "512 KiB"), (2411724, "2.3 MiB")]
)
def test_a_size_is_said_in_binary_units(size: int, words: str) -> None:
    assert rendering.in_bytes(size) == words


@pytest.mark.parametrize(
    ("part", "whole", "shown"), [(0, 5, 0), (5, 5, 100), (999, 1000, 99), (1, 1000, 1), (26, 30, 87)]
)
def test_a_share_is_all_or_nothing_only_when_it_is(part: int, whole: int, shown: int) -> None:
    assert rendering.percent(part, whole) == shown


def test_an_instant_says_itself_in_utc_and_in_the_schedules_zone() -> None:
    assert rendering.exact(INSTANT, "Europe/Berlin") == (
        "Fri 23 Oct 2026 00:30:00 UTC\nFri 23 Oct 2026 02:30:00 Europe/Berlin (CEST)"
    )


def test_the_last_instant_that_can_be_written_is_said_in_utc_where_the_zone_has_no_such_day() -> None:
    assert rendering.exact(datetime.max.replace(tzinfo=UTC), "Asia/Tokyo") == "Fri 31 Dec 9999 23:59:59 UTC"


def test_an_instant_in_a_zone_that_no_longer_exists_is_said_in_utc() -> None:
    assert rendering.exact(INSTANT, "Mars/Olympus") == "Fri 23 Oct 2026 00:30:00 UTC"
    assert rendering.local_time(INSTANT, "Mars/Olympus") == ("00:30", "UTC")


def test_a_local_time_of_another_day_names_its_day() -> None:
    assert rendering.local_time(INSTANT, "Europe/Berlin") == ("02:30", "CEST")
    assert rendering.local_time(INSTANT, "America/New_York") == ("Thu 20:30", "EDT")


def test_a_time_element_holds_the_machine_form_the_exact_one_and_one_to_read_without_scripts() -> None:
    assert rendering.instant(INSTANT, "next", css="next", grace=60) == (
        '<time class="next" datetime="2026-10-23T00:30:00Z" data-how="next" '
        'data-exact="Fri 23 Oct 2026 00:30:00 UTC" data-grace="60" tabindex="0">Fri 23 Oct 00:30 UTC</time>'
    )


def test_prose_marks_code_and_weight_and_escapes_the_rest() -> None:
    assert rendering.prose('Set `missed="x"`, **now** <b>') == (
        "Set <code>missed=&#34;x&#34;</code>, <strong>now</strong> &lt;b&gt;"
    )


def test_prose_turns_an_instant_into_a_time_that_is_not_read_aloud_at_each_tick() -> None:
    html = rendering.prose("It stopped 2026-10-23T00:30:00Z.")
    assert html.startswith('It stopped <span aria-live="off"><time datetime="2026-10-23T00:30:00Z" data-how="ago"')


def test_prose_leaves_alone_what_only_looks_like_an_instant() -> None:
    assert rendering.prose("at 2026-13-45T99:99:99Z") == "at 2026-13-45T99:99:99Z"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m plain", '<span class="a31">red</span> plain'),
        ("\x1b[1;32mbold\x1b[22m green\x1b[39m", '<span class="a1 a32">bold</span><span class="a32"> green</span>'),
        ("\x1b[91mbright", '<span class="a31">bright</span>'),
        ("\x1b[90mgrey", '<span class="a90">grey</span>'),
        ("\x1b[38;5;196mpalette\x1b[m", "palette"),
        ("\x1b[38;2;1;31;1mown\x1b[m", "own"),
        ("\x1b[2K\x1b[1Aup", "up"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10 %\r50 %\r100 %\r\n", "100 %"),
        ("bell\x07 null\x00", "bell␇ null␀"),
        ("broken \x1b[", "broken ␛["),
        ("\x1b[31m<script>\x1b[0m", '<span class="a31">&lt;script&gt;</span>'),
        ("\x1b[99999999999999m\x1b[;;;mx", "x"),
    ],
)
def test_output_keeps_its_colours_and_nothing_else(raw: str, shown: str) -> None:
    assert rendering.ansi(raw) == shown


def test_an_address_quotes_its_ids_and_leaves_out_empty_query_parts() -> None:
    assert (
        rendering.url("/ops", "/admin/schedules/{}", "a/b", show="failed", q="")
        == "/ops/admin/schedules/a%2Fb?show=failed"
    )


def test_a_strip_grows_from_the_right_and_marks_trouble_in_full_height() -> None:
    shapes = rendering.strip_shapes((StripBar(RunStatus.SUCCEEDED, 0.5), StripBar(RunStatus.FAILED, 0.1)))
    assert [shape.kind for shape in shapes] == ["none"] * 22 + ["ok", "bad"]
    assert [(shape.x, shape.y, shape.height) for shape in shapes[-2:]] == [(154, 10.0, 12.0), (161, 2.0, 20.0)]


def test_a_strip_says_what_it_shows() -> None:
    bars = (StripBar(RunStatus.SUCCEEDED), StripBar(RunStatus.SUCCEEDED), StripBar(Decision.SKIPPED))
    assert rendering.strip_label(bars) == "last 3 firings: 2 succeeded, 1 skipped. Newest on the right."
    assert rendering.strip_label(bars[:1]) == "last firing: 1 succeeded"
    assert rendering.strip_label(()) == "no firings yet"


@pytest.mark.parametrize(
    ("badge", "word"),
    [
        (Badge(RunStatus.FAILED, times=3), "Failed ×3"),
        (Badge(RunStatus.RUNNING, done=2, whole=3), "Running 2 of 3"),
        (Badge(RunStatus.RUNNING, done=0, whole=1), "Running"),
        (Badge(RunStatus.RUNNING, is_cancelling=True), "Cancelling…"),
    ],
)
def test_a_badge_says_how_often_and_how_far(badge: Badge, word: str) -> None:
    assert rendering.look(badge).word == word


@pytest.mark.parametrize("outcome", [*RunStatus, *Decision])
def test_every_outcome_has_a_shape_and_a_word(outcome: RunStatus | Decision) -> None:
    drawn = rendering.look(Badge(outcome))
    assert drawn.icon
    assert drawn.word
