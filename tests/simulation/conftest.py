"""Where simulations keep their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


def quick_folder() -> str | None:
    # A restore syncs its whole file system, which costs nothing where it is in memory.
    shared_memory = "/dev/shm"
    return shared_memory if os.access(shared_memory, os.W_OK) else None


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for one module's trees, in memory where the machine has such."""
    with TemporaryDirectory(prefix="safebackup-simulation-", dir=quick_folder()) as name:
        yield Path(name)
