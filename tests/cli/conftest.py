"""A folder with something to back up, and repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from safebackup import KeyFile, Passphrase, Repository


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder `data` with two files."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "ledger.csv").write_text("1,17.50\n")
    (folder / "sub" / "note.txt").write_text("hello\n")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository `repository` without a key."""
    Repository.create(tmp_path / "repository", key=None)
    return tmp_path / "repository"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A repository `sealed` with the key file `my.key`."""
    Repository.create(tmp_path / "sealed", key=KeyFile.create(tmp_path / "my.key"))
    return tmp_path / "sealed"


@pytest.fixture
def with_passphrase(tmp_path: Path) -> Path:
    """A repository `with_passphrase` with the passphrase `correct horse`."""
    Repository.create(tmp_path / "with_passphrase", key=Passphrase("correct horse"))
    return tmp_path / "with_passphrase"
