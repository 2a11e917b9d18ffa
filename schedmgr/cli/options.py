"""Arguments, options and groups that several commands share."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

LIMIT = 50
LARGEST_ID = 2**63 - 1  # what a database's integer holds


class Number(click.ParamType[int]):
    """A whole number between two limits."""

    name = "number"

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises BadParameter with what would do."""
        if not re.fullmatch(r"[0-9]{1,19}", str(value), re.ASCII) or not self.least <= int(value) <= self.most:
            self.fail(f"{value!r} is no whole number from {self.least} to {self.most}.", param, ctx)
        return int(value)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
limit = click.option(
    "--limit",
    type=Number(0, 1_000_000),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="Rows at most; 0: all.",
)
run_id = click.argument("run_id", type=Number(1, LARGEST_ID), metavar="RUN")


def choice(kind: type[StrEnum]) -> click.Choice[str]:
    """One of an enumeration's values, as they stand in the tables; in any case."""
    return click.Choice([member.value for member in kind], case_sensitive=False)


class Section(click.Group):
    """Commands about one thing, listed in the order in which they are written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As defined, not by name."""
        return list(self.commands)


class Instant(click.ParamType[datetime]):
    """An instant: ISO 8601, in UTC unless it says otherwise."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises BadParameter with a value that would do."""
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(str(value))
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no instant. Write it like 2026-03-01T02:00:00Z.", param, ctx)


class InstantOrSpan(click.ParamType[datetime | timedelta]):
    """An instant, or a span from now on."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """Raises BadParameter with values that would do."""
        if isinstance(value, datetime | timedelta):
            return value
        span = re.fullmatch(r"([0-9]{1,6})([mhd])", str(value), re.ASCII)
        if span is not None:
            return int(span[1]) * {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[span[2]]
        try:
            return Instant().convert(value, None, None)
        except click.BadParameter:
            self.fail(
                f"{value!r} is no instant. Write it like 2026-03-01T02:00:00Z, or as 30m, 2h or 1d from now.",
                param,
                ctx,
            )
