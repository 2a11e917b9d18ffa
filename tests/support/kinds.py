"""Marks that say on which kinds of database a test runs."""

import pytest

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
ON_MARIADB = pytest.mark.parametrize("database_kind", ["mariadb"])
ON_EACH = pytest.mark.parametrize("database_kind", ["sqlite", "mariadb"])
