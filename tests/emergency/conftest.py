"""An environment as on a rescue machine, and a stage for hostile repositories."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from safebackup import Repository, back_up
from tests.attack.forging import Forger
from tests.attack.test_hostile import Stage
from tests.attack.world import scratch


def make_environment(folder: Path, *packages: str) -> Path:
    """The Python of a new environment that has these packages and nothing else."""
    made = subprocess.run([sys.executable, "-m", "venv", folder], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no environment can be made here: {made.stderr[-300:]}")
    python = folder / "bin" / "python"
    if packages:
        command: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        installed = subprocess.run(command, check=False, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"pip cannot reach an index: {installed.stderr[-300:]}")
    return python


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with zstandard and cryptography, and without safebackup, blake3 and everything else."""
    return make_environment(tmp_path_factory.mktemp("bare") / "environment", "zstandard", "cryptography")


@pytest.fixture(scope="session")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed."""
    return make_environment(tmp_path_factory.mktemp("empty") / "environment")


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A repository with one honest snapshot and a forger; beside the target lies what must not change."""
    with scratch() as base:
        for name in ("source", "around", "work"):
            (base / name).mkdir()
        (base / "source" / "file").write_bytes(b"an honest file")
        (base / "around" / "canary").write_bytes(b"alive")
        repository = Repository.create(base / "repository", key=None)
        snapshot = back_up(base / "source", into=repository).snapshot
        yield Stage(base, repository, Forger(repository), snapshot.body)
