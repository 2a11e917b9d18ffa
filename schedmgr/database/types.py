"""Column types that mean the same on SQLite and on MySQL/MariaDB."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Dialect, String
from sqlalchemy.dialects.mysql import DATETIME, VARCHAR
from sqlalchemy.types import TypeDecorator, TypeEngine

ISO_LENGTH = 26


class Instant(TypeDecorator[datetime]):
    """An instant: UTC with microseconds in the table, aware in Python.  A naive datetime is refused.

    SQLite keeps it as the text 'YYYY-MM-DD HH:MM:SS.ffffff', which sorts as the instants do.  A text there that is no
    instant (someone else wrote it) reads as None, so that one bad value cannot stop those who read the table.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """DATETIME(6) where there is one, text on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(ISO_LENGTH))
        return dialect.type_descriptor(DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """UTC, without its zone: drivers drop a zone silently instead of converting."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"an instant needs a time zone: {value!r}")
        return stored(value) if dialect.name == "sqlite" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Aware again."""
        return readable_instant(value)


def stored(instant: datetime) -> str:
    """An instant as SQLite keeps it, and as MySQL and MariaDB show it."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def readable_instant(value: object) -> datetime | None:
    """What a stored value says as an aware instant; None when it says nothing."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return None


class Words(TypeDecorator[str]):
    """Text compared byte by byte, trailing blanks included, on every database."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARCHAR, told its collation, where there is one."""
        if dialect.name not in ("mysql", "mariadb"):
            return dialect.type_descriptor(String(self.length))
        collation = self.collation_of(dialect)
        return dialect.type_descriptor(VARCHAR(self.length, charset="utf8mb4", collation=collation))

    @staticmethod
    def collation_of(dialect: Dialect) -> str:
        """The name of that collation on MySQL or MariaDB."""
        return "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"


class Choice(TypeDecorator[StrEnum]):
    """One of an enumeration's values, stored as its text; no CHECK, no native ENUM, so that a word may join later.

    A text that is none of them (a newer program or a person wrote it) reads as None, so that one bad value cannot stop
    those who read the table.
    """

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(20)
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """Raises ValueError for a word that the enumeration does not have."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        """The member of that text."""
        try:
            return self.kind(value)
        except ValueError:
            return None
