"""Where log lines go and what they look like.

A line is an event and its facts, as the code logs it: "firing enqueued schedule=nightly firing=8812".  In JSON the
event and each fact get a field of their own.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from schedmgr.settings import Settings

_FACT = re.compile(r'(?:^| )([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')
_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}


def set_up(settings: Settings) -> None:
    """For web and daemon: every log line goes to standard output, in the settings' format and from their level on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
    for loud in ("alembic", "asyncio", "uvicorn"):  # what matters of theirs, ours say in our words
        logging.getLogger(loud).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """ "2026-03-01T02:00:00.004Z INFO  firing enqueued schedule=nightly firing=8812" """

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows on its own lines."""
        level = _LEVELS.get(record.levelname, record.levelname)
        line = f"{_time(record)} {level:<5} {_on_one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """{"time": ..., "level": "info", "event": "firing enqueued", "schedule": "nightly", "firing": "8812"}"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, a traceback included."""
        message = record.getMessage()
        facts = {name: _unquoted(value) for name, value in _FACT.findall(message)}
        event = _FACT.split(message, maxsplit=1)[0]
        own = {"time": _time(record), "level": record.levelname.lower(), "event": event, "logger": record.name}
        if record.exc_info:
            own["exception"] = self.formatException(record.exc_info)
        return json.dumps({**own, **facts, **own}, ensure_ascii=False)  # ours first, and whatever a fact is called


def _time(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z"


def _on_one_line(message: str) -> str:
    return message.replace("\r", "\\r").replace("\n", "\\n")


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') and len(value) > 1 else value
