"""Indexes by which pruning finds what is old, and which processes the attempts that remain still name.

Without them each look would read whole tables.  A second or two for a million attempts, next to nothing otherwise; the
tables can be read and written meanwhile on MySQL and MariaDB.  The previous version's code would run on it unchanged.
"""

from alembic import op
from sqlalchemy import inspect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_schedule_period_until_at", "schedule_period", "until_at"),
    ("ix_job_run_attempt_process_id", "job_run_attempt", "process_id"),
    ("ix_admin_session_expires_at", "admin_session", "expires_at"),
    ("ix_admin_session_ended_at", "admin_session", "ended_at"),
)


def upgrade() -> None:
    for name, table, column in INDEXES:
        # MySQL and MariaDB keep what a migration that was cut off had made already.
        if name not in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}:
            op.create_index(name, table, [column])
