"""120 schedules on a cluster of three nodes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from galera import Cluster
from operation import FIRST_MINUTE, LEASE_SECONDS, MINUTE, Operation
from programs import Site, environment

from schedmgr.database.engine import Database
from schedmgr.database.migrate import migrate

MEASURED: list[str] = []


@pytest.fixture
def measured() -> Callable[[str], None]:
    """Says a sentence with a figure at the end of the run."""
    return MEASURED.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in MEASURED:
        terminalreporter.write_line(sentence)


@pytest.fixture
def operation(cluster: Cluster, tmp_path: Path, clock: Any, kinds: Any) -> Iterator[Operation]:
    """The cluster, whole; in it a migrated database with 120 schedules that are on, and no daemon yet.

    The first minute that is due is FIRST_MINUTE.
    """
    cluster.mend()
    name = "operation"
    cluster.drop(name)
    url = cluster.create(name)
    database = Database(url, test_clock=clock.file)
    site = Site(tmp_path, environment(url, clock.file) | {"SCHEDMGR_LEASE_SECONDS": str(LEASE_SECONDS)})
    operation = Operation(cluster, site, name, clock)
    clock.set_to(FIRST_MINUTE - 0.75 * MINUTE)
    migrate(database)
    operation.define()
    operation.turn_on(kinds.installation(database, clock))
    yield operation
    for program in site.programs:
        program.end()
    database.close()
