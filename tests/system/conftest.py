"""Real daemons and workers in a folder of the test's own, on a clock that the test moves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import Site, environment, is_alive, wait_until


@pytest.fixture
def site(tmp_path: Path, database_url: str, clock: Any) -> Iterator[Site]:
    """The test's database and clock, and no daemon yet.  What a test starts ends with it."""
    site = Site(tmp_path, environment(database_url, clock.file))
    yield site
    for program in site.programs:
        program.end()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition, and give what it gave."""
    return wait_until


@pytest.fixture
def lives() -> Callable[[int], bool]:
    """Whether a process runs."""
    return is_alive
