"""Every table of the first release.  Runs in an instant: there are no rows yet, and no previous version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from schedmgr.database.types import Instant, Words

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
TABLE = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}
NUMBERED = TABLE | {"sqlite_autoincrement": True}


def upgrade() -> None:
    op.create_table(
        "admin_session",
        sa.Column("id", Words(64), nullable=False),
        sa.Column("user_name", Words(100), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("origin", Words(200), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("ended_because", Words(20), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_admin_session"),
        **TABLE,
    )
    op.create_index("ix_admin_session_user_name", "admin_session", ["user_name"])
    op.create_table(
        "admin_user",
        sa.Column("name", Words(100), nullable=False),
        sa.Column("password_hash", Words(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("signed_in_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_admin_user"),
        **TABLE,
    )
    op.create_table(
        "api_token",
        sa.Column("name", Words(100), nullable=False),
        sa.Column("token_hash", Words(64), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("created_by", Words(200), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_api_token"),
        sa.UniqueConstraint("token_hash", name="uq_api_token_token_hash"),
        **TABLE,
    )
    op.create_table(
        "audit_event",
        sa.Column("id", BIG, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("who", Words(200), nullable=False),
        sa.Column("action", Words(20), nullable=False),
        sa.Column("what", LONG_TEXT, nullable=False),
        sa.Column("origin", Words(200), nullable=False),
        sa.Column("schedule_id", Words(100), nullable=True),
        sa.Column("run_id", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_event"),
        **NUMBERED,
    )
    op.create_index("ix_audit_event_at", "audit_event", ["at"])
    op.create_index("ix_audit_event_schedule_id_at", "audit_event", ["schedule_id", "at"])
    op.create_table(
        "job",
        sa.Column("name", Words(100), nullable=False),
        sa.Column("group", Words(100), nullable=False),
        sa.Column("description", LONG_TEXT, nullable=False),
        sa.Column("version_id", BIG, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_job"),
        **TABLE,
    )
    op.create_index("ix_job_group", "job", ["group"])
    op.create_table(
        "job_run",
        sa.Column("id", BIG, nullable=False),
        sa.Column("firing_id", BIG, nullable=True),
        sa.Column("schedule_id", Words(100), nullable=True),
        sa.Column("scheduled_for", Instant(), nullable=True),
        sa.Column("job", Words(100), nullable=False),
        sa.Column("group", Words(100), nullable=False),
        sa.Column("job_version_id", BIG, nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("requested_by", Words(200), nullable=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("in_turn", sa.Boolean(), nullable=False),
        sa.Column("waits_for", sa.Integer(), nullable=False),
        sa.Column("queued_at", Instant(), nullable=False),
        sa.Column("available_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("process_id", Words(64), nullable=True),
        sa.Column("lease_token", Words(64), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("retry_of", BIG, nullable=True),
        sa.Column("cancel_requested_at", Instant(), nullable=True),
        sa.Column("cancel_requested_by", Words(200), nullable=True),
        sa.Column("request_key", Words(100), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job_run"),
        sa.UniqueConstraint("request_key", name="uq_job_run_request_key"),
        **NUMBERED,
    )
    op.create_index("ix_job_run_finished", "job_run", ["finished_at", "status", "job"])
    op.create_index("ix_job_run_firing", "job_run", ["firing_id"])
    op.create_index("ix_job_run_job", "job_run", ["job", "id"])
    op.create_index("ix_job_run_lease", "job_run", ["status", "lease_until"])
    op.create_index("ix_job_run_schedule", "job_run", ["schedule_id", "status"])
    op.create_table(
        "job_run_output",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("first_line", BIG, nullable=False),
        sa.Column("byte_offset", BIG, nullable=False),
        sa.Column("byte_count", BIG, nullable=False),
        sa.Column("segments", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", "seq", name="pk_job_run_output"),
        **TABLE,
    )
    op.create_table(
        "job_schedule",
        sa.Column("id", Words(100), nullable=False),
        sa.Column("description", LONG_TEXT, nullable=False),
        sa.Column("cron", Words(1000), nullable=False),
        sa.Column("timezone", Words(100), nullable=False),
        sa.Column("execution_mode", sa.String(20), nullable=False),
        sa.Column("job_group", Words(100), nullable=True),
        sa.Column("job", Words(100), nullable=True),
        sa.Column("environments", sa.JSON(), nullable=False),
        sa.Column("missed", sa.String(20), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), nullable=False),
        sa.Column("overlap", sa.String(20), nullable=False),
        sa.Column("grace", sa.Integer(), nullable=False),
        sa.Column("jitter", sa.Integer(), nullable=False),
        sa.Column("starts_at", Instant(), nullable=True),
        sa.Column("ends_at", Instant(), nullable=True),
        sa.Column("expect_within", sa.Integer(), nullable=True),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("fingerprint", Words(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("accounted_until", Instant(), nullable=False),
        sa.Column("next_run_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.Column("repaired_at", Instant(), nullable=True),
        sa.Column("repair", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job_schedule"),
        **TABLE,
    )
    op.create_index("ix_job_schedule_due", "job_schedule", ["next_run_at"])
    op.create_table(
        "job_version",
        sa.Column("id", BIG, nullable=False),
        sa.Column("job", Words(100), nullable=False),
        sa.Column("fingerprint", Words(64), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_version"),
        sa.UniqueConstraint("job", "fingerprint", name="uq_job_version_job_fingerprint"),
        **NUMBERED,
    )
    op.create_table(
        "pause",
        sa.Column("id", BIG, nullable=False),
        sa.Column("from_at", Instant(), nullable=False),
        sa.Column("until_at", Instant(), nullable=True),
        sa.Column("by", Words(200), nullable=False),
        sa.Column("reason", LONG_TEXT, nullable=False),
        sa.Column("resumed_by", Words(200), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pause"),
        **NUMBERED,
    )
    op.create_index("ix_pause_until_at", "pause", ["until_at"])
    op.create_table(
        "process",
        sa.Column("id", Words(64), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("host", Words(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", Words(20), nullable=False),
        sa.Column("environment", Words(100), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("beat_at", Instant(), nullable=False),
        sa.Column("stopped_at", Instant(), nullable=True),
        sa.Column("clock_offset", sa.Double(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("definitions", sa.JSON(), nullable=True),
        sa.Column("definitions_errors", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_process"),
        **TABLE,
    )
    op.create_index("ix_process_role_beat_at", "process", ["role", "beat_at"])
    op.create_table(
        "schedule_firing",
        sa.Column("id", BIG, nullable=False),
        sa.Column("schedule_id", Words(100), nullable=False),
        sa.Column("scheduled_for", Instant(), nullable=True),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(20), nullable=True),
        sa.Column("detail", LONG_TEXT, nullable=True),
        sa.Column("missed_count", sa.Integer(), nullable=False),
        sa.Column("missed_until", Instant(), nullable=True),
        sa.Column("decided_at", Instant(), nullable=False),
        sa.Column("process_id", Words(64), nullable=True),
        sa.Column("requested_by", Words(200), nullable=True),
        sa.Column("job_run_count", sa.Integer(), nullable=False),
        sa.Column("claim_token", Words(64), nullable=False),
        sa.Column("request_key", Words(100), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_schedule_firing"),
        sa.UniqueConstraint("request_key", name="uq_schedule_firing_request_key"),
        sa.UniqueConstraint("schedule_id", "scheduled_for", name="uq_schedule_firing_schedule_id_scheduled_for"),
        **NUMBERED,
    )
    op.create_index("ix_schedule_firing_claim_token", "schedule_firing", ["claim_token"])
    op.create_index("ix_schedule_firing_decided_at", "schedule_firing", ["decided_at"])
    op.create_index("ix_schedule_firing_schedule_id_id", "schedule_firing", ["schedule_id", "id"])
    op.create_table(
        "schedule_period",
        sa.Column("id", BIG, nullable=False),
        sa.Column("schedule_id", Words(100), nullable=False),
        sa.Column("cron", Words(1000), nullable=False),
        sa.Column("timezone", Words(100), nullable=False),
        sa.Column("starts_at", Instant(), nullable=True),
        sa.Column("ends_at", Instant(), nullable=True),
        sa.Column("tzdata", Words(20), nullable=False),
        sa.Column("from_at", Instant(), nullable=False),
        sa.Column("until_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_schedule_period"),
        **NUMBERED,
    )
    op.create_index("ix_schedule_period_schedule_id_from_at", "schedule_period", ["schedule_id", "from_at"])
    op.create_table(
        "setting",
        sa.Column("key", Words(100), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("changed_by", Words(200), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_setting"),
        **TABLE,
    )
    op.create_table(
        "job_run_attempt",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("process_id", Words(64), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("output_bytes", BIG, nullable=False),
        sa.Column("output_left_out", BIG, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["job_run.id"], name="fk_job_run_attempt_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "attempt", name="pk_job_run_attempt"),
        **TABLE,
    )
    op.create_index("ix_job_run_queue", "job_run", ["status", sa.text("priority DESC"), "available_at", "id"])
