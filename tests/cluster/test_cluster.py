"""A database cluster loses nodes, and no occurrence is lost by it or fires twice.

All is counted by somebody else than the program: minutes in a row, rows of a table, and marks that the jobs left.
"""

from collections.abc import Callable

import pytest
from operation import FIRST_MINUTE, MINUTE, Operation

pytestmark = pytest.mark.timeout(240)


def test_daemons_on_two_nodes_fire_each_occurrence_once(operation: Operation, measured: Callable[[str], None]):
    operation.start_daemon(0)
    operation.start_daemon(1)
    minutes = [FIRST_MINUTE + n * MINUTE for n in range(6)]

    for minute in minutes:
        operation.go_to_just_before(minute)
        measured(f"two daemons on two nodes: last firing {operation.wait_until_fired(minute):.2f} s after the minute")
    operation.wait_until_run()

    due = operation.due(minutes[0], minutes[-1])
    covered = operation.covered()
    assert covered.firings == due
    assert covered.enqueued == due
    assert covered.footprints == due
