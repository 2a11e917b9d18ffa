"""Environment variables -> one frozen Settings.  A `.env` in the working directory is read; real variables win."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from schedmgr import database_url
from schedmgr.database_url import DatabaseURLError
from schedmgr.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: its name, its default as a person would type it, and what it means."""

    name: str
    default: str
    meaning: str
    secret: bool = False


VARIABLES = (
    Variable("APP_ENV", "development", "the environment; NODE_ENV is read when it is not set"),
    Variable("DATABASE_URL", "sqlite:///schedmgr.db", "where everything is stored", secret=True),
    Variable("SCHEDMGR_MODE", "", "what bare `schedmgr` runs: web, daemon or worker"),
    Variable("SCHEDULE_DAEMON_ENABLED", "true", "false: a daemon says so and exits 0"),
    Variable("SCHEDULE_POLL_INTERVAL_MS", "10000; 60000 in production", "spacing of sync, repair and clean-up"),
    Variable("SCHEDMGR_DEFINITIONS", "definitions.py, else the sample", "where jobs and schedules stand"),
    Variable("JWT_SECRET", "random in development", "signs sessions; 32 bytes or more elsewhere", secret=True),
    Variable("HOST", "127.0.0.1", "the address that the web listens on"),
    Variable("PORT", "3001", "the port that the web listens on"),
    Variable("SCHEDMGR_PUBLIC_URL", "", "the address users see: Secure cookies, links, a path prefix"),
    Variable("SCHEDMGR_TRUSTED_PROXIES", "", "addresses whose X-Forwarded-* are believed, with commas"),
    Variable("SCHEDMGR_WORKER_CONCURRENCY", "4", "jobs at once of a worker; 0: the daemon only schedules"),
    Variable("SCHEDMGR_WORKER_GROUPS", "", "groups whose jobs this worker takes, with commas; unset: all"),
    Variable("SCHEDMGR_LEASE_SECONDS", "60", "how long a worker's claim on a run holds without renewal"),
    Variable("SCHEDMGR_SHUTDOWN_GRACE", "30", "seconds that running jobs get to end at a stop"),
    Variable("SCHEDMGR_RETENTION_DAYS", "90", "how many days ended runs, their output and firings are kept"),
    Variable("SCHEDMGR_ADMIN_USER", "", "the first admin's name, created once if no user exists"),
    Variable("SCHEDMGR_ADMIN_PASSWORD", "", "the first admin's password", secret=True),
    Variable("SCHEDMGR_TEST_CLOCK", "", "a file with seconds that are added to the database's clock; for tests"),
    Variable("LOG_FORMAT", "text", "text or json"),
    Variable("LOG_LEVEL", "info", "debug, info, warning or error"),
)

MODES = ("web", "daemon", "worker")
LOCAL_ENVIRONMENT = "development"
GROUP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
JWT_SECRET_BYTES = 32
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force for this process.  Durations are in seconds unless the type says otherwise."""

    environment: str
    database_url: str
    mode: str | None
    daemon_enabled: bool
    daemon_enabled_was_set: bool
    poll_interval: timedelta
    definitions: str | None
    jwt_secret: str | None
    host: str
    port: int
    public_url: str | None
    trusted_proxies: tuple[str, ...]
    worker_concurrency: int
    worker_groups: tuple[str, ...]
    """Those whose jobs a worker here takes; empty: all."""
    lease_seconds: int
    shutdown_grace: int
    retention_days: int
    admin_user: str | None
    admin_password: str | None
    test_clock: Path | None
    log_format: str
    log_level: str

    @property
    def is_production(self) -> bool:
        """Whether the environment is the one in which a mistake hurts most."""
        return self.environment == "production"

    @property
    def is_development(self) -> bool:
        """Whether defaults may be convenient rather than strict."""
        return self.environment == LOCAL_ENVIRONMENT

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, directory: Path | None = None) -> "Settings":
        """Read the environment and the `.env` of `directory` (default: the working directory).

        Raises SettingsError with one line a problem: variable, value, what is allowed.
        """
        return _Reader(variables_in_force(environ, directory)).settings()


def variables_in_force(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> dict[str, str]:
    """The process's variables over those of the `.env` in `directory`."""
    real = dict(os.environ if environ is None else environ)
    file = (directory or Path.cwd()) / ".env"
    if not file.is_file():
        return real
    from dotenv import dotenv_values  # only who has a .env pays for its parser

    try:
        written = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: it cannot be read: {error}. Make it a text file in UTF-8."]) from error
    return {name: value for name, value in written.items() if value is not None} | real


def masked(settings: Settings) -> dict[str, str]:
    """Every variable with its value in force, as `schedmgr config` prints it; secrets are covered."""
    in_force = {
        "APP_ENV": settings.environment,
        "DATABASE_URL": mask_url(settings.database_url),
        "SCHEDMGR_MODE": settings.mode or "",
        "SCHEDULE_DAEMON_ENABLED": str(settings.daemon_enabled).lower(),
        "SCHEDULE_POLL_INTERVAL_MS": str(round(settings.poll_interval.total_seconds() * 1000)),
        "SCHEDMGR_DEFINITIONS": settings.definitions or "",
        "JWT_SECRET": _covered(settings.jwt_secret),
        "HOST": settings.host,
        "PORT": str(settings.port),
        "SCHEDMGR_PUBLIC_URL": settings.public_url or "",
        "SCHEDMGR_TRUSTED_PROXIES": ",".join(settings.trusted_proxies),
        "SCHEDMGR_WORKER_CONCURRENCY": str(settings.worker_concurrency),
        "SCHEDMGR_WORKER_GROUPS": ",".join(settings.worker_groups),
        "SCHEDMGR_LEASE_SECONDS": str(settings.lease_seconds),
        "SCHEDMGR_SHUTDOWN_GRACE": str(settings.shutdown_grace),
        "SCHEDMGR_RETENTION_DAYS": str(settings.retention_days),
        "SCHEDMGR_ADMIN_USER": settings.admin_user or "",
        "SCHEDMGR_ADMIN_PASSWORD": _covered(settings.admin_password),
        "SCHEDMGR_TEST_CLOCK": str(settings.test_clock or ""),
        "LOG_FORMAT": settings.log_format,
        "LOG_LEVEL": settings.log_level,
    }
    return {variable.name: in_force[variable.name] for variable in VARIABLES}


def mask_url(url: str) -> str:
    """The URL without its password, also where that holds characters which would have to be escaped, or where the host
    behind it was forgotten."""
    covered = re.sub(r"^([\w+.-]+://[^:/@]*:).*@", r"\1****@", url, flags=re.DOTALL)
    return re.sub(r"^([\w+.-]+://[^:/@,\[\]]*:)(?!\d+([,/?]|$)|\*{4}@)[^/]*", r"\1****", covered)


def _covered(secret: str | None) -> str:
    return "****" if secret else ""


class _Reader:
    """Reads each variable, and collects what is wrong, so that all of it is said at once."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.problems: list[str] = []

    def settings(self) -> Settings:
        environment = self.environment()
        settings = Settings(
            environment=environment,
            database_url=self.database_url(),
            mode=self.one_of("SCHEDMGR_MODE", MODES),
            daemon_enabled=self.boolean("SCHEDULE_DAEMON_ENABLED", True),
            daemon_enabled_was_set=self.text("SCHEDULE_DAEMON_ENABLED") is not None,
            poll_interval=timedelta(
                milliseconds=self.integer(
                    "SCHEDULE_POLL_INTERVAL_MS", 60_000 if environment == "production" else 10_000, 100, 3_600_000
                )
            ),
            definitions=self.text("SCHEDMGR_DEFINITIONS"),
            jwt_secret=self.text("JWT_SECRET"),
            host=self.text("HOST") or "127.0.0.1",
            port=self.integer("PORT", 3001, 1, 65_535),
            public_url=self.public_url(),
            trusted_proxies=self.items("SCHEDMGR_TRUSTED_PROXIES"),
            worker_concurrency=self.integer("SCHEDMGR_WORKER_CONCURRENCY", 4, 0, 1000),
            worker_groups=self.groups("SCHEDMGR_WORKER_GROUPS"),
            lease_seconds=self.integer("SCHEDMGR_LEASE_SECONDS", 60, 5, 3600),
            shutdown_grace=self.integer("SCHEDMGR_SHUTDOWN_GRACE", 30, 0, 86_400),
            retention_days=self.integer("SCHEDMGR_RETENTION_DAYS", 90, 1, 36_500),
            admin_user=self.text("SCHEDMGR_ADMIN_USER"),
            admin_password=self.text("SCHEDMGR_ADMIN_PASSWORD"),
            test_clock=self.test_clock(environment),
            log_format=self.one_of("LOG_FORMAT", ("text", "json")) or "text",
            log_level=self.one_of("LOG_LEVEL", ("debug", "info", "warning", "error")) or "info",
        )
        if self.problems:
            raise SettingsError(self.problems)
        return settings

    def text(self, name: str) -> str | None:
        return self.variables.get(name, "").strip() or None

    def wrong(self, name: str, allowed: str) -> None:
        self.problems.append(f"{name}: {self.text(name)!r} is not allowed. {allowed}")

    def boolean(self, name: str, default: bool) -> bool:
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        value = self.text(name)
        if value is not None and value.lower() not in words:
            self.wrong(name, "Allowed are true and false.")
        return words.get((value or "").lower(), default)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not least <= int(value) <= most:
            self.wrong(name, f"Allowed is a whole number from {least} to {most}.")
            return default
        return int(value)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value is not None and value.lower() not in allowed:
            self.wrong(name, f"Allowed are {', '.join(allowed)}.")
        return value.lower() if value else None

    def items(self, name: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in (self.text(name) or "").split(",") if item.strip())

    def groups(self, name: str) -> tuple[str, ...]:
        names = self.items(name)
        if not all(GROUP_NAME.fullmatch(one) for one in names) or (self.text(name) and not names):
            self.wrong(name, "Allowed are names of groups with commas between them, such as feed,sync.")
        return names

    def environment(self) -> str:
        name = "APP_ENV" if self.text("APP_ENV") else "NODE_ENV"
        value = self.text(name) or LOCAL_ENVIRONMENT
        if len(value) > LONGEST_NAME or not value.isprintable():
            self.wrong(name, f"Allowed is a name of up to {LONGEST_NAME} characters.")
        return value

    def database_url(self) -> str:
        url = self.text("DATABASE_URL") or "sqlite:///schedmgr.db"
        try:
            database_url.parse(url)
        except DatabaseURLError as error:
            self.problems.append(f"DATABASE_URL: {mask_url(url)!r} is not allowed. {error}")
        return url

    def public_url(self) -> str | None:
        url = self.text("SCHEDMGR_PUBLIC_URL")
        if url is not None and not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", url):
            self.wrong("SCHEDMGR_PUBLIC_URL", "Allowed is http:// or https://, a host and a path if wanted.")
        return url.rstrip("/") if url else None

    def test_clock(self, environment: str) -> Path | None:
        value = self.text("SCHEDMGR_TEST_CLOCK")
        if value and environment == "production":
            self.problems.append("SCHEDMGR_TEST_CLOCK: it moves the clock, so it is refused in production. Unset it.")
        return Path(value) if value else None
