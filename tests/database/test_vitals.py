"""What health is judged by is read by indexes, however much history there is."""

import pytest
from kinds import ON_SQLITE
from sqlalchemy import event

from schedmgr.core import vitals


@pytest.fixture
def statements(database):
    """Every statement that is run while the test looks, with its values."""
    seen = []

    def note(connection, cursor, statement, values, context, many):
        seen.append((statement, values))

    with database.read() as session:
        event.listen(session.connection, "before_cursor_execute", note)
        vitals.vitals(session)
        event.remove(session.connection, "before_cursor_execute", note)
        yield [
            (
                statement,
                [row[-1] for row in session.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)],
            )
            for statement, values in seen
            if statement.startswith("SELECT")
        ]


@ON_SQLITE
def test_the_success_rate_reads_the_runs_of_its_day_alone(statements):
    (plan,) = [plan for statement, plan in statements if "finished_at >=" in statement]
    assert plan[0] == "SEARCH job_run USING COVERING INDEX ix_job_run_finished (finished_at>?)"


@ON_SQLITE
def test_no_question_about_runs_or_firings_reads_a_whole_table(statements):
    scans = [
        plan for _, plan in statements for line in plan if line.startswith(("SCAN job_run", "SCAN schedule_firing"))
    ]
    assert scans == []
