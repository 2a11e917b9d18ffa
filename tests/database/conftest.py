"""What is specified of the database holds on SQLite and on MariaDB alike."""

import pytest


@pytest.fixture(params=["sqlite", "mariadb"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each test runs once on either.  One about SQLite alone carries ON_SQLITE, from tests/support/kinds.py."""
    kind: str = request.param
    return kind
