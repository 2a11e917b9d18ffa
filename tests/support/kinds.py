"""Marks for a test that is about one kind of database alone."""

import pytest

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"])
ON_MARIADB = pytest.mark.parametrize("database_kind", ["mariadb"])
