"""What several parts of the suite start once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Cluster, binaries, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster of its own."""
    if binaries() is None:
        pytest.skip("takes a PostgreSQL server: apt-get install postgresql")
    with running_cluster() as found:
        yield found
