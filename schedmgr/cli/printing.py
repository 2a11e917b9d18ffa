"""What commands print: columns for people, JSON for programs."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import click

from schedmgr.core import phrases

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
"""What could steer a terminal.  Names and sentences are data."""


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


def one_line(text: str) -> str:
    """Text as it may go to a terminal: on one line, without control characters."""
    return _CONTROL.sub(" ", text)


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
