"""How a database goes about a query, said alike of SQLite and of MariaDB."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

from schedmgr.database.engine import Session

SQLITE_STEP = re.compile(
    r"(SEARCH|SCAN) (\w+)(?: USING (?:COVERING )?(?:INDEX (\w+)|INTEGER (PRIMARY) KEY))?(?: \((.*)\))?"
)


@dataclass(frozen=True)
class Step:
    """One table that is read: through an index, or from its first row to its last."""

    table: str
    index: str | None
    is_scan: bool


@dataclass(frozen=True)
class Plan:
    statement: str
    steps: tuple[Step, ...]
    sorts: bool
    """Whether it collects all rows and sorts them before it gives the first."""

    @property
    def indexes(self) -> list[tuple[str, str | None]]:
        """Table and index of each step."""
        return [(step.table, step.index) for step in self.steps]

    @property
    def scans(self) -> set[str]:
        return {step.table for step in self.steps if step.is_scan}

    def index_of(self, table: str) -> str | None:
        (step,) = (step for step in self.steps if step.table == table)
        return step.index


def plans_of(session: Session, ask: Callable[[Session], Any]) -> list[Plan]:
    """The plans of all that `ask` asks, or changes row by row, in the order in which it does."""
    with _noted(session.connection) as asked:
        ask(session)
    return [
        _plan(session.connection, statement, values)
        for statement, values in asked
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and re.search(r"FROM|UPDATE", statement)
    ]


def plan_of(session: Session, ask: Callable[[Session], Any], table: str) -> Plan:
    """The plan of its first statement on that table."""
    mentions = re.compile(rf"(FROM|UPDATE) {table}\b")
    return next(plan for plan in plans_of(session, ask) if mentions.search(plan.statement))


@contextmanager
def plans_within() -> Iterator[list[Plan]]:
    """The plans of all that any connection asks or changes within the block, each as it is just before."""
    plans: list[Plan] = []

    def plan(connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        if re.match(r"(SELECT|UPDATE|DELETE)\b.*\b(FROM|UPDATE)\b", statement, re.DOTALL):
            plans.append(_plan(connection, " ".join(statement.split()), values))

    event.listen(Engine, "before_cursor_execute", plan)
    try:
        yield plans
    finally:
        event.remove(Engine, "before_cursor_execute", plan)


@contextmanager
def _noted(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        asked.append((" ".join(statement.split()), values))

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(connection, "before_cursor_execute", note)


def _plan(connection: Connection, statement: str, values: Any) -> Plan:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        return _of_sqlite(statement, [row[3] for row in rows])
    return _of_mariadb(statement, list(connection.exec_driver_sql(f"EXPLAIN {statement}", values).mappings()))


def _of_sqlite(statement: str, lines: list[str]) -> Plan:
    found = [step for line in lines if (step := SQLITE_STEP.match(line))]
    steps = (
        # An index that is read from end to end spares no row, but maybe the sorting.
        Step(match[2], match[3] or match[4], match[1] == "SCAN" and not (match[3] and "LIMIT" in statement))
        for match in found
    )
    return Plan(statement, tuple(steps), any("TEMP B-TREE FOR ORDER BY" in line for line in lines))


def _of_mariadb(statement: str, rows: list[Any]) -> Plan:
    steps = (Step(row["table"], row["key"], row["type"] in ("ALL", "index")) for row in rows if row["table"])
    return Plan(statement, tuple(steps), any("filesort" in (row["Extra"] or "") for row in rows))
