"""The tables (docs: DESIGN, "Tables").  Statements are Core; the classes give them their typed columns.

Instants are UTC with microseconds.  `JsonText` columns hold canonical JSON.  Names of schedules, jobs and groups are
natural keys: [a-z0-9][a-z0-9._-]{0,99}.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import MetaData

from schedmgr.database.types import Choice, Instant, Words
from schedmgr.vocabulary import (
    Decision,
    ExecutionMode,
    Missed,
    Overlap,
    ProcessRole,
    Reason,
    Role,
    RunStatus,
    Trigger,
)

Name = Annotated[str, mapped_column(Words(100))]
Word = Annotated[str, mapped_column(Words(20))]
Who = Annotated[str, mapped_column(Words(200))]
Token = Annotated[str, mapped_column(Words(64))]
Sentence = Annotated[str, mapped_column(Text().with_variant(LONGTEXT, "mysql", "mariadb"))]  # of any length
BigId = Annotated[int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)]
BigRef = Annotated[int, mapped_column(BigInteger().with_variant(Integer, "sqlite"))]

CHOICES: tuple[type[StrEnum], ...] = (
    ExecutionMode,
    Missed,
    Overlap,
    Trigger,
    Decision,
    Reason,
    RunStatus,
    ProcessRole,
    Role,
)

INNODB = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}
NUMBERED = INNODB | {"sqlite_autoincrement": True}
"""For tables whose ids people see: a pruned row's id is never given again."""


class Base(DeclarativeBase):
    """Every table of ours."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Instant,
        **{kind: Choice(kind) for kind in CHOICES},
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }
    __table_args__: Any = INNODB


class JobVersion(Base):
    """One distinct definition of a job; a job run points at the one that it ran."""

    __tablename__ = "job_version"
    __table_args__ = (UniqueConstraint("job", "fingerprint"), NUMBERED)

    id: Mapped[BigId]
    job: Mapped[Name]
    fingerprint: Mapped[Token]
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Job(Base):
    """A named unit of work, as the definitions in force have it; archived when it left them."""

    __tablename__ = "job"
    __table_args__ = (Index(None, "group"), INNODB)

    name: Mapped[Name] = mapped_column(primary_key=True)
    group: Mapped[Name]
    description: Mapped[Sentence]
    version_id: Mapped[BigRef]
    priority: Mapped[int]
    position: Mapped[int]
    archived_at: Mapped[datetime | None]


class JobSchedule(Base):
    """A schedule.  `accounted_until` is the truth of the whole program: every occurrence up to it is covered by a
    firing.  `next_run_at` is its index only: the first occurrence after it; NULL when off, archived or ended."""

    __tablename__ = "job_schedule"
    __table_args__ = (Index("ix_job_schedule_due", "next_run_at"), INNODB)

    id: Mapped[Name] = mapped_column(primary_key=True)
    description: Mapped[Sentence]
    cron: Mapped[str] = mapped_column(Words(1000))
    timezone: Mapped[Name]
    execution_mode: Mapped[ExecutionMode]
    job_group: Mapped[Name | None]
    job: Mapped[Name | None]
    environments: Mapped[list[Any]]
    missed: Mapped[Missed]
    catch_up_limit: Mapped[int]
    overlap: Mapped[Overlap]
    grace: Mapped[int]  # seconds
    jitter: Mapped[int]  # seconds
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    expect_within: Mapped[int | None]  # seconds
    definition: Mapped[dict[str, Any]]
    fingerprint: Mapped[Token]
    position: Mapped[int]
    enabled: Mapped[bool]
    accounted_until: Mapped[datetime]
    next_run_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    archived_at: Mapped[datetime | None]
    repaired_at: Mapped[datetime | None]
    repair: Mapped[Sentence | None]


class SchedulePeriod(Base):
    """What made a schedule due, from when to when it was on: (from_at, until_at], until_at NULL while it still is."""

    __tablename__ = "schedule_period"
    __table_args__ = (Index(None, "schedule_id", "from_at"), Index(None, "until_at"), NUMBERED)

    id: Mapped[BigId]
    schedule_id: Mapped[Name]
    cron: Mapped[str] = mapped_column(Words(1000))
    timezone: Mapped[Name]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    tzdata: Mapped[Word]
    from_at: Mapped[datetime]
    until_at: Mapped[datetime | None]


class Pause(Base):
    """A span in which nothing fires by itself: [from_at, until_at), until_at NULL while nobody set its end."""

    __tablename__ = "pause"
    __table_args__ = (Index(None, "until_at"), NUMBERED)

    id: Mapped[BigId]
    from_at: Mapped[datetime]
    until_at: Mapped[datetime | None]
    by: Mapped[Who]
    reason: Mapped[Sentence]
    resumed_by: Mapped[Who | None]


class ScheduleFiring(Base):
    """The recorded decision about one occurrence, a run of missed ones with the same cause, or one manual trigger."""

    __tablename__ = "schedule_firing"
    __table_args__ = (
        UniqueConstraint("schedule_id", "scheduled_for"),
        UniqueConstraint("request_key"),
        Index(None, "schedule_id", "id"),
        Index(None, "claim_token"),
        Index(None, "decided_at"),
        NUMBERED,
    )

    id: Mapped[BigId]
    schedule_id: Mapped[Name]
    scheduled_for: Mapped[datetime | None]
    trigger: Mapped[Trigger]
    decision: Mapped[Decision]
    reason: Mapped[Reason | None]
    detail: Mapped[Sentence | None]
    missed_count: Mapped[int]
    missed_until: Mapped[datetime | None]
    decided_at: Mapped[datetime]
    process_id: Mapped[Token | None]
    requested_by: Mapped[Who | None]
    job_run_count: Mapped[int]
    claim_token: Mapped[Token]
    request_key: Mapped[Name | None]


class JobRun(Base):
    """One job on the queue.  Its status is moved by `core.transitions` and by nothing else."""

    __tablename__ = "job_run"
    __table_args__ = (
        UniqueConstraint("request_key"),
        Index("ix_job_run_queue", "status", text("priority DESC"), "available_at", "id"),
        Index("ix_job_run_schedule", "schedule_id", "status"),
        Index("ix_job_run_firing", "firing_id"),
        Index("ix_job_run_job", "job", "id"),
        Index("ix_job_run_lease", "status", "lease_until"),
        Index("ix_job_run_finished", "finished_at", "status", "job"),
        NUMBERED,
    )

    id: Mapped[BigId]
    firing_id: Mapped[BigRef | None]
    schedule_id: Mapped[Name | None]
    scheduled_for: Mapped[datetime | None]
    job: Mapped[Name]
    group: Mapped[Name]
    job_version_id: Mapped[BigRef]
    trigger: Mapped[Trigger]
    requested_by: Mapped[Who | None]
    status: Mapped[RunStatus]
    attempt: Mapped[int]
    priority: Mapped[int]
    in_turn: Mapped[bool]  # waits until earlier runs of its schedule have ended
    waits_for: Mapped[int]  # runs of the same firing that must succeed first
    queued_at: Mapped[datetime]
    available_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    error: Mapped[Sentence | None]
    process_id: Mapped[Token | None]
    lease_token: Mapped[Token | None]
    lease_until: Mapped[datetime | None]
    retry_of: Mapped[BigRef | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_requested_by: Mapped[Who | None]
    request_key: Mapped[Name | None]


class JobRunAttempt(Base):
    """One try of a job run, with its own times, exit and output."""

    __tablename__ = "job_run_attempt"
    __table_args__ = (Index(None, "process_id"), INNODB)

    run_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), ForeignKey("job_run.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[RunStatus]
    process_id: Mapped[Token]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    error: Mapped[Sentence | None]
    output_bytes: Mapped[BigRef]
    output_left_out: Mapped[BigRef]  # bytes between head and tail that were not kept


class JobRunOutput(Base):
    """A stretch of an attempt's output.  `segments`: JSON [[unix milliseconds, "out" | "err", text], ...]; a text
    that does not end in a newline is continued by the next segment."""

    __tablename__ = "job_run_output"

    run_id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    first_line: Mapped[BigRef]  # 1-based
    byte_offset: Mapped[BigRef]
    byte_count: Mapped[BigRef]
    segments: Mapped[Sentence]


class Process(Base):
    """One life of a process of ours; its main loop keeps `beat_at` fresh.  [started_at, beat_at] is when it reached
    the database."""

    __tablename__ = "process"
    __table_args__ = (Index(None, "role", "beat_at"), INNODB)

    id: Mapped[Token] = mapped_column(primary_key=True)
    role: Mapped[ProcessRole]
    host: Mapped[Who]
    pid: Mapped[int]
    version: Mapped[Word]
    environment: Mapped[Name]
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    clock_offset: Mapped[float]  # seconds that the host's clock is ahead of the database's
    concurrency: Mapped[int]  # places for job runs
    definitions: Mapped[dict[str, Any] | None]  # source, fingerprint, loaded_at, schedules
    definitions_errors: Mapped[list[Any] | None]


class AuditEvent(Base):
    """Who did what, when, from where."""

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "at"), Index(None, "schedule_id", "at"), NUMBERED)

    id: Mapped[BigId]
    at: Mapped[datetime]
    who: Mapped[Who]
    action: Mapped[Word]
    what: Mapped[Sentence]
    origin: Mapped[Who]
    schedule_id: Mapped[Name | None]
    run_id: Mapped[BigRef | None]


class AdminUser(Base):
    """A person who may sign in."""

    __tablename__ = "admin_user"

    name: Mapped[Name] = mapped_column(primary_key=True)
    password_hash: Mapped[str] = mapped_column(Words(200))
    role: Mapped[Role]
    created_at: Mapped[datetime]
    signed_in_at: Mapped[datetime | None]


class AdminSession(Base):
    """A sign-in that has not ended; the cookie's token names it by `id`."""

    __tablename__ = "admin_session"
    __table_args__ = (Index(None, "user_name"), Index(None, "expires_at"), Index(None, "ended_at"), INNODB)

    id: Mapped[Token] = mapped_column(primary_key=True)
    user_name: Mapped[Name]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    origin: Mapped[Who]
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[Word | None]


class ApiToken(Base):
    """A machine's key to the API; only its hash is stored."""

    __tablename__ = "api_token"
    __table_args__ = (UniqueConstraint("token_hash"), INNODB)

    name: Mapped[Name] = mapped_column(primary_key=True)
    token_hash: Mapped[Token]
    role: Mapped[Role]
    created_at: Mapped[datetime]
    created_by: Mapped[Who]
    used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Setting(Base):
    """What the whole installation shares, one JSON value a key."""

    __tablename__ = "setting"

    key: Mapped[Name] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]
    changed_by: Mapped[Who]
