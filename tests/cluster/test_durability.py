"""A node that forgets at a loss of power has it from the others again, as long as there are enough of them."""

from collections.abc import Iterator

import pytest
from galera import Cluster

from schedmgr.core import health, processes
from schedmgr.core.verdict import Check, Status
from schedmgr.database.engine import Database
from schedmgr.database.migrate import migrate
from schedmgr.vocabulary import ProcessRole

NAME = "durability"


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A migrated database in the whole cluster, whose nodes do not flush at commit; a daemon has just beaten."""
    cluster.mend()
    cluster.drop(NAME)
    database = Database(cluster.create(NAME))
    migrate(database)
    database.transact(
        lambda session: processes.register(session, ProcessRole.DAEMON, environment="development", version="1")
    )
    yield database
    database.close()


def durability(database: Database) -> Check:
    return next(check for check in health.check(database).checks if check.key == "durability")


def test_a_commit_that_is_not_flushed_is_no_warning_while_three_nodes_have_it(database: Database):
    check = durability(database)
    assert check.status is Status.OK
    assert "the 2 others have what it forgets" in check.sentence


def test_with_two_nodes_left_it_is_a_warning(database: Database, cluster: Cluster):
    cluster.nodes[2].stop()
    check = durability(database)
    assert check.status is Status.WARNING
    assert check.sentence.startswith("MariaDB does not flush at commit (innodb_flush_log_at_trx_commit = 0")
