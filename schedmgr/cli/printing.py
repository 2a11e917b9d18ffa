"""What commands print: columns for people, JSON for programs."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import click

from schedmgr.core import phrases

Row = TypeVar("Row")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
"""What could steer a terminal.  Names and sentences are data."""
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
"""ANSI sequences: colours, cursor movements, titles, device control strings."""
_LINE_ENDS = re.compile(r"\r\n?")


def print_json(value: object) -> None:
    """JSON with instants in ISO 8601 with Z."""
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def print_columns(titles: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Aligned columns, or the sentence `empty` if there is nothing to show."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells and empty:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    for row in (list(titles), *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """One fact a line; those without a value are left out."""
    told = [(name, _cell(value)) for name, value in facts if value not in (None, "")]
    width = max(len(name) for name, _ in told)
    for name, value in told:
        click.echo(f"{name.ljust(width)}  {value}")


def one_more(limit: int) -> int:
    """The limit to ask for, so that one can say whether there is more."""
    return limit + 1 if limit else 0


def cut(rows: list[Row], limit: int) -> list[Row]:
    """The rows to show.  If there are more, says so beside them, on standard error."""
    if limit and len(rows) > limit:
        click.echo(f"The newest {limit} are shown. All of them: --limit 0", err=True)
        return rows[:limit]
    return rows


def one_line(text: str) -> str:
    """Text as it may go to a terminal: on one line, without control characters."""
    return _CONTROL.sub(" ", text)


def without_control(text: str) -> str:
    """A job's output as it may go to a terminal: its lines, without what would steer it."""
    return _CONTROL_BUT_LINES.sub("", _LINE_ENDS.sub("\n", _ESCAPES.sub("", text)))


def instant(value: datetime | None) -> str:
    """An instant for people: UTC, to the second."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return instant(value)
    return one_line(str(value))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return phrases.iso(value)
    raise TypeError(f"{value!r} has no form in JSON")
