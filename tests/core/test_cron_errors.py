"""What is wrong with an expression is said in words that name the field, the value and the mend."""

import pickle
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedmgr.core import cron
from schedmgr.core.cron.expression import LONGEST
from schedmgr.errors import SchedmgrError

SENTENCES: dict[str, str] = tomllib.loads(Path(__file__).with_name("cron_mistakes.toml").read_text())


@pytest.mark.parametrize(("expression", "sentence"), SENTENCES.items(), ids=repr)
def test_every_mistake_has_its_sentence(expression: str, sentence: str) -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.parse(expression)
    assert str(refusal.value) == sentence


def test_an_error_tells_its_field_value_and_mend_and_is_one_of_ours() -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.parse("0 61 * * *")
    error = refusal.value
    assert (error.field, error.value, error.mend) == ("Hour", "61", "Hour goes from 0 to 23.")
    assert isinstance(error, ValueError)
    assert isinstance(error, SchedmgrError)


@pytest.mark.parametrize("expression", ["61 * * * *", "@dayly", ""])
def test_an_error_survives_the_way_from_one_process_to_another(expression: str) -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.parse(expression)
    arrived = pickle.loads(pickle.dumps(refusal.value))
    assert (str(arrived), arrived.field, arrived.mend) == (
        str(refusal.value),
        refusal.value.field,
        refusal.value.mend,
    )


def test_so_does_that_of_an_unknown_zone() -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.zone("Europe/Berln")
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)


# Hostile input

HOSTILE = {
    "megabytes of a digit": "9" * 5_000_000,
    "a huge number": "9" * 900 + " * * * *",
    "a deep list": ",".join("1" for _ in range(2_000_000)) + " * * * *",
    "the deepest list that is looked at": ",".join("1" for _ in range(490)) + "," + " * * * *",
    "megabytes of spaces": " " * 5_000_000,
    "millions of fields": "* " * 2_000_000,
    "a thousand slashes": "/" * 900 + " * * * *",
    "a thousand dashes": "1" + "-1" * 450 + " * * * *",
    "a thousand stars": "*" * 900 + " * * * *",
    "a thousand parentheses": "H(" * 450 + " * * * *",
    "a thousand Ls": "* * * * " + "L" * 900,
    "a thousand hashes": "* * * * " + "5#" * 450,
    "arabic digits": "\u0665 * * * *",
    "full-width digits": "\uff15 * * * *",
    "superscript digits": "\u00b2 * * * *",
    "no-break spaces": "0\u00a02\u00a0*\u00a0*\u00a0*",
    "nul": "0 2 * * \0",
    "escape sequences": "\x1b[31m * * * *",
    "a lone surrogate": "\ud800 * * * *",
    "right-to-left": "\u202e0 2 * * *",
    "a macro without end": "@" + "a" * 5_000_000,
}


@pytest.mark.parametrize("expression", HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_is_refused_in_one_short_printable_line(expression: str) -> None:
    with pytest.raises(cron.CronError) as refusal:
        cron.parse(expression)
    assert len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()
    str(refusal.value).encode()


class Counted(str):
    """Text that counts how often anything looks at all of it, and lets nobody take more than a first piece."""

    looked_at = 0

    def __getitem__(self, key: object) -> str:
        assert isinstance(key, slice)
        assert key.stop <= 100
        return str.__getitem__(self, key)

    def __hash__(self) -> int:
        self.looked_at += 1
        return str.__hash__(self)

    def split(self, *_: object) -> list[str]:
        self.looked_at += 1
        return []

    upper = lower = strip = split


@pytest.mark.parametrize("ask", [cron.parse, cron.describe])
def test_what_is_too_long_is_refused_by_its_length_alone(ask: Callable[[str], object]) -> None:
    text = Counted("1," * LONGEST)
    with pytest.raises(cron.CronError, match=r"has 2,000 characters. Write at most 1,000."):
        ask(text)
    assert text.looked_at == 0


def test_the_longest_expression_that_says_something_new_is_accepted() -> None:
    fields = [range(60), range(24), range(1, 32), range(1, 13), range(7)]
    everything = " ".join(",".join(map(str, field)) for field in fields)
    assert len(everything) < LONGEST / 2
    assert cron.next_after(everything, "UTC", datetime(2026, 1, 1, tzinfo=UTC)) == datetime(
        2026, 1, 1, 0, 1, tzinfo=UTC
    )


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789*/,-#LHRW?() @\x00\u0665aJMON", max_size=2000))
def test_no_text_brings_anything_but_an_answer_or_a_cron_error(text: str) -> None:
    try:
        cron.next_runs(text, "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), 3, hash_id="x")
    except cron.CronError as refusal:
        assert len(str(refusal)) < 400
