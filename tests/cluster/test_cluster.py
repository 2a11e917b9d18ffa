"""A database cluster loses nodes, and no occurrence is lost by it or fires twice.

All is counted by somebody else than the program: minutes in a row, rows of a table, and marks that the jobs left.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from operation import FIRST_MINUTE, MINUTE, Operation
from programs import wait_until

pytestmark = pytest.mark.timeout(240)

WAITS = "daemon waits for the database"
NO_MAJORITY = "a node answers, but has not the majority of nodes with it"
GOES_ON = "daemon has the database back"


def minute(number: int) -> datetime:
    """The minutes in which something is due, from 0 on."""
    return FIRST_MINUTE + number * MINUTE


def test_daemons_on_two_nodes_fire_each_occurrence_once(operation: Operation, measured: Callable[[str], None]):
    operation.start_daemon(0)
    operation.start_daemon(1)

    for number in range(6):
        operation.go_to_just_before(minute(number))
        late = operation.wait_until_fired(minute(number))
        measured(f"two daemons on two nodes: 100 firings, the last {late:.2f} s after they were due")

    operation.wait_until_run()
    assert_each_was_fired_and_run_once(operation, minute(0), minute(5))


def test_a_daemon_whose_node_is_killed_goes_on_at_another(operation: Operation, measured: Callable[[str], None]):
    daemon = operation.start_daemon(0)
    operation.go_to_just_before(minute(0))
    operation.wait_until_fired(minute(0))

    operation.go_to_just_before(minute(1))
    wait_until(lambda: operation.clock.now >= minute(1), "the minute begins")
    operation.cluster.nodes[0].kill()
    late = operation.wait_until_fired(minute(1))
    measured(f"the daemon's node killed at the minute: the last of 100 firings {late:.1f} s after they were due")

    operation.go_to_just_before(minute(2))
    late = operation.wait_until_fired(minute(2))
    measured(f"at the next minute, on another node: {late:.2f} s")
    operation.wait_until_run()
    assert_each_was_fired_and_run_once(operation, minute(0), minute(2))
    assert daemon.log.count(WAITS) <= 1


def test_a_daemon_whose_node_is_cut_off_goes_on_at_another(operation: Operation, measured: Callable[[str], None]):
    daemons = [operation.start_daemon(0), operation.start_daemon(1)]
    cut_off = operation.cluster.nodes[0]
    operation.go_to_just_before(minute(0))
    operation.wait_until_fired(minute(0))

    operation.go_to_just_before(minute(1))
    wait_until(lambda: operation.clock.now >= minute(1), "the minute begins")
    cut_off.freeze()
    frozen_at = operation.clock.now
    late = operation.wait_until_fired(minute(1))
    measured(f"a node of two daemons frozen at the minute: the last of 100 firings {late:.1f} s after they were due")
    wait_until(lambda: operation.has_beaten(daemons[0], frozen_at), "the daemon of the frozen node beats elsewhere")
    away = (operation.clock.now - frozen_at).total_seconds()
    measured(f"the daemon of the frozen node beats at another {away:.0f} s after it was frozen")

    cut_off.thaw()
    operation.cluster.mend()
    operation.go_to_just_before(minute(2))
    operation.wait_until_fired(minute(2))
    operation.wait_until_run()
    assert_each_was_fired_and_run_once(operation, minute(0), minute(2))


def test_a_daemon_whose_node_loses_the_other_nodes_goes_on_at_one_of_them(
    operation: Operation, measured: Callable[[str], None]
):
    daemon = operation.start_daemon(0)
    alone = operation.cluster.nodes[0]
    operation.go_to_just_before(minute(0))
    operation.wait_until_fired(minute(0))

    operation.go_to_just_before(minute(1))
    wait_until(lambda: operation.clock.now >= minute(1), "the minute begins")
    alone.isolate()
    late = operation.wait_until_fired(minute(1))
    measured(f"the daemon's node alone from the minute on: the last of 100 firings {late:.1f} s after they were due")
    operation.go_to_just_before(minute(2))
    operation.wait_until_fired(minute(2))
    assert not alone.answers()

    alone.end_isolation()
    operation.cluster.mend()
    operation.wait_until_run()
    assert_each_was_fired_and_run_once(operation, minute(0), minute(2))
    assert daemon.log.count(WAITS) <= 1


def test_without_a_majority_of_nodes_daemons_wait_and_say_so_and_go_on_when_it_is_back(
    operation: Operation, measured: Callable[[str], None]
):
    daemons = [operation.start_daemon(0), operation.start_daemon(1)]
    first, second, _ = operation.cluster.nodes
    operation.go_to_just_before(minute(0))
    operation.wait_until_fired(minute(0))
    operation.wait_until_run()

    first.kill()
    operation.cluster.wait_synced()
    second.kill()
    for daemon in daemons:
        daemon.wait_for_log(WAITS)
    operation.clock.set_to(minute(4))
    health = operation.site.command("health")
    assert (health.returncode, health.stdout.count("\n")) == (2, 1)
    assert health.stdout.startswith("SCHEDMGR CRITICAL - The cluster at 127.0.0.1:")
    assert NO_MAJORITY in health.stdout
    wait_until(lambda: operation.clock.now >= minute(4) + timedelta(seconds=10), "ten seconds go by")

    started_at = operation.clock.now
    operation.cluster.mend()
    for daemon in daemons:
        daemon.wait_for_log(GOES_ON)
    operation.wait_until_fired(minute(4))
    back = (operation.clock.now - started_at).total_seconds()
    measured(f"two of three nodes killed: all decided {back:.1f} s after they were started again")
    operation.wait_until_run()
    covered = operation.covered()
    assert covered.firings == operation.due(minute(0), minute(4))
    assert covered.footprints == covered.enqueued
    assert [daemon.log.count(WAITS) for daemon in daemons] == [1, 1]


def assert_each_was_fired_and_run_once(operation: Operation, first: datetime, last: datetime) -> None:
    due, covered = operation.due(first, last), operation.covered()
    assert covered.firings == due
    assert covered.enqueued == due
    assert covered.footprints == due
