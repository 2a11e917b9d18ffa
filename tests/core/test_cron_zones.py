"""Time zones: out of tzdata alone, and cut at exactly the changes that its files list."""

import struct
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise

import pytest
import tzdata
from hypothesis import given, settings
from hypothesis import strategies as st

from schedmgr.core import cron
from schedmgr.core.cron.zones import span_at, spans_from

NAMES = (resources.files("tzdata") / "zones").read_text().split()
FROM, TO = datetime(1970, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)


def test_every_zone_of_tzdata_is_known() -> None:
    assert [cron.zone(name).key for name in NAMES] == NAMES


def test_the_version_is_that_of_tzdata() -> None:
    assert cron.tzdata_version() == tzdata.IANA_VERSION


def test_a_zone_does_not_come_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    cron.zone.cache_clear()
    monkeypatch.setattr("zoneinfo.TZPATH", ("/nonexistent",))
    assert datetime(2026, 7, 1, tzinfo=cron.zone("Europe/Berlin")).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Europe/Berln", "unknown time zone 'Europe/Berln', did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "unknown time zone 'europe/berlin', did you mean 'Europe/Berlin'?"),
        ("Berlin", "unknown time zone 'Berlin', did you mean 'Europe/Berlin'?"),
        ("America/New York", "unknown time zone 'America/New York', did you mean 'America/New_York'?"),
        ("Utc", "unknown time zone 'Utc', did you mean 'UTC'?"),
        ("", "unknown time zone ''. Write an IANA name such as Europe/Berlin, or UTC."),
        ("Middle-earth", "unknown time zone 'Middle-earth'. Write an IANA name such as Europe/Berlin, or UTC."),
        ("../../etc/passwd", "unknown time zone '../../etc/passwd'. Write an IANA name such as Europe/Berlin, or UTC."),
        ("x" * 100, f"unknown time zone '{'x' * 40}…'. Write an IANA name such as Europe/Berlin, or UTC."),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_known_one(name: str, sentence: str) -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.zone(name)
    assert str(refusal.value) == sentence


def test_the_changes_of_every_zone_are_those_that_its_file_lists() -> None:
    names = {tzif(name): name for name in NAMES}.values()  # many are the same under another name
    listed = {name: changes_listed(name) for name in names}
    assert {name: changes_found(name)[: len(changes)] for name, changes in listed.items()} == listed


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.integers(-3_000_000_000, 13_000_000_000))
def test_the_offset_at_any_instant_is_that_of_the_zone(name: str, instant: int) -> None:
    local = datetime.fromtimestamp(instant, cron.zone(name))
    assert timedelta(seconds=span_at(name, instant).offset) == local.utcoffset()


def test_no_zone_changes_its_offset_twice_within_six_days() -> None:
    changes = [changes_listed(name) for name in NAMES]
    distances = [later[0] - earlier[0] for zone in changes for earlier, later in pairwise(zone)]
    assert min(distances) > 6 * 86_400


def changes_found(name: str) -> list[tuple[int, int]]:
    changes = cron.clock_changes(name, FROM, TO)
    return [(int(change.instant.timestamp()), int(change.offset_after.total_seconds())) for change in changes]


def tzif(name: str) -> bytes:
    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def changes_listed(name: str) -> list[tuple[int, int]]:
    """(instant, offset from then on) of each change of offset in a TZif file (RFC 8536), read here from its bytes."""
    data = tzif(name)
    version_1 = struct.unpack(">6l", data[20:44])
    at = 44 + version_1[3] * 5 + version_1[4] * 6 + version_1[5] + version_1[2] * 8 + version_1[1] + version_1[0]
    _, _, _, times, types, _ = struct.unpack(">6l", data[at + 20 : at + 44])
    instants = struct.unpack_from(f">{times}q", data, at + 44)
    kinds = data[at + 44 + 8 * times : at + 44 + 9 * times]
    offsets = [struct.unpack_from(">l", data, at + 44 + 9 * times + 6 * kind)[0] for kind in range(types)]
    steps = zip(
        instants, (offsets[0], *(offsets[kind] for kind in kinds)), (offsets[kind] for kind in kinds), strict=False
    )
    start, end = FROM.timestamp(), TO.timestamp()
    return [(instant, after) for instant, before, after in steps if before != after and start < instant <= end]


def test_a_change_tells_the_offsets_and_abbreviations_on_both_sides() -> None:
    spring, autumn = cron.clock_changes(
        "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    )
    assert (spring.instant, spring.shift) == (datetime(2026, 3, 29, 1, tzinfo=UTC), timedelta(hours=1))
    assert (spring.abbreviation_before, spring.abbreviation_after) == ("CET", "CEST")
    assert (autumn.instant, autumn.shift) == (datetime(2026, 10, 25, 1, tzinfo=UTC), timedelta(hours=-1))
    assert (autumn.offset_before, autumn.offset_after) == (timedelta(hours=2), timedelta(hours=1))


def test_changes_are_those_after_the_start_and_up_to_the_end() -> None:
    instant = datetime(2026, 3, 29, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    assert len(cron.clock_changes("Europe/Berlin", instant - second, instant)) == 1
    assert cron.clock_changes("Europe/Berlin", instant, instant + second) == []
    assert cron.clock_changes("Europe/Berlin", instant - second, instant - second) == []


def test_a_zone_without_changes_has_none() -> None:
    assert cron.clock_changes("UTC", FROM, TO) == []
    assert cron.clock_changes("Asia/Kathmandu", datetime(1990, 1, 1, tzinfo=UTC), TO) == []


def test_the_rules_of_a_zone_go_on_for_ever() -> None:
    (spring, _) = cron.clock_changes(
        "Europe/Berlin", datetime(2999, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
    )
    assert spring.instant == datetime(2999, 3, 31, 1, tzinfo=UTC)


def test_the_spans_of_a_zone_follow_each_other_without_a_gap() -> None:
    spans = spans_from("Africa/Casablanca", 0)
    first = next(spans)
    ends = [first.end, *(span.end for span in (next(spans) for _ in range(300)))]
    spans = spans_from("Africa/Casablanca", 0)
    next(spans)
    assert [next(spans).start for _ in range(300)] == ends[:-1]
