"""What several parts of the suite start once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.postgres import Cluster, binaries, running_cluster

# Started by nohup, or in the background of a script, this process has been told to ignore these two, and every program
# that a test starts and signals would be too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster of its own."""
    if binaries() is None:
        pytest.skip("takes a PostgreSQL server: apt-get install postgresql")
    with running_cluster() as found:
        yield found
