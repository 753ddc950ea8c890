"""Putting the text and the script into a repository, where they are nobody's objects."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Literal

import pytest

import safebackup
from safebackup import Repository, back_up, verify
from safebackup.emergency import ensure_emergency, restore_script, restore_text, script_digest, script_name
from safebackup.errors import StorageError
from safebackup.storage import LocalStore, MemoryStore, ObjectInfo
from safebackup.storage.names import is_emergency_name


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore(str(tmp_path))
    store.create_root()
    return store


def test_the_bytes_in_a_repository_are_those_that_are_shipped(tmp_path: Path) -> None:
    Repository.create(tmp_path / "repository", key=None)
    ensure_emergency(LocalStore(tmp_path / "repository"))

    shipped = Path(safebackup.__file__).parent / "emergency"
    assert (tmp_path / "repository" / "RESTORE.md").read_bytes() == (shipped / "RESTORE.md").read_bytes()
    script = (tmp_path / "repository" / f"restore-{safebackup.__version__}.py").read_bytes()
    assert script == (shipped / "restore.py").read_bytes()
    assert hashlib.sha256(script).hexdigest() == script_digest()


def test_putting_them_again_changes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.create_root()
    ensure_emergency(store)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    ensure_emergency(store)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()} == before


def test_an_older_text_stays(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    store.put_new("RESTORE.md", b"the text of an older release")
    store.put_new("restore-0.0.1.py", b"its script")
    with caplog.at_level(logging.WARNING, logger="safebackup"):
        ensure_emergency(store)
    assert store.get("RESTORE.md") == b"the text of an older release"
    assert [info.name for info in store.list("")] == ["RESTORE.md", "restore-0.0.1.py", script_name()]
    assert caplog.messages == []


def test_a_script_that_somebody_changed_is_left_alone_and_spoken_of(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put_new(script_name(), b"import os; os.system('...')")
    with caplog.at_level(logging.WARNING, logger="safebackup"):
        ensure_emergency(store)
    assert store.get(script_name()).startswith(b"import os")
    assert store.get("RESTORE.md") == restore_text()
    assert [script_name() in message and "do not run it" in message for message in caplog.messages] == [True]


class _Late(MemoryStore):
    """A store in which somebody else puts each object between our look and our put."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        super().put_new(name, b"somebody else's" if name == "RESTORE.md" else data)
        super().put_new(name, data)


def test_who_comes_second_is_content(tmp_path: Path) -> None:
    store = _Late(str(tmp_path))
    store.create_root()
    ensure_emergency(store)
    assert store.get("RESTORE.md") == b"somebody else's"
    assert store.get(script_name()) == restore_script()


def test_a_failing_store_is_an_error_for_the_caller(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ensure_emergency(LocalStore(tmp_path / "not there"))


@pytest.mark.parametrize("name", ["RESTORE.md", "restore-0.1.0.py", "restore-1.0rc1.py"])
def test_names_for_an_emergency(name: str) -> None:
    assert is_emergency_name(name)


@pytest.mark.parametrize("name", ["restore.md", "README.md", "restore-.py", "restore-1.py.bak", "data/restore-1.py"])
def test_other_names_are_none(name: str) -> None:
    assert not is_emergency_name(name)


def test_no_verb_takes_them_for_something_else(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    store = LocalStore(tmp_path / "repository")
    store.create_root()
    ensure_emergency(store)
    repository = Repository.create(tmp_path / "repository", key=None)

    back_up(tmp_path / "source", into=repository)
    report = verify(repository)

    assert report.passed
    assert report.findings == ()
    assert {ObjectInfo("RESTORE.md", len(restore_text()))} <= set(store.list(""))


def test_what_only_looks_like_them_is_still_a_stranger(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    (tmp_path / "repository" / "restore-1.py.bak").write_bytes(b"")
    assert [finding.code for finding in verify(repository).findings] == ["unknown-object"]


@pytest.mark.parametrize("name", ["RESTORE.md", script_name()])
@pytest.mark.parametrize("level", ["structure", "sample", "full"])
def test_a_verification_tells_what_is_not_what_was_shipped(
    tmp_path: Path, name: str, level: Literal["structure", "sample", "full"]
) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    (tmp_path / "repository" / "restore-0.0.1.py").write_text("its script")
    assert verify(repository, level=level).findings == ()
    (tmp_path / "repository" / name).chmod(0o600)
    (tmp_path / "repository" / name).write_text("curl …| sh")

    report = verify(repository, level=level)

    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.subject) == ("emergency-changed", "warning", name)
    assert report.passed
    (tmp_path / "repository" / name).unlink()
    assert verify(repository, level=level).findings == ()


class _Textless(MemoryStore):
    """A store that takes no text."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if name == "RESTORE.md":
            raise StorageError("no more")
        super().put_new(name, data)


def test_where_the_text_cannot_be_put_the_script_is_put_all_the_same(tmp_path: Path) -> None:
    store = _Textless(str(tmp_path))
    store.create_root()
    with pytest.raises(StorageError):
        ensure_emergency(store)
    assert store.get(script_name()) == restore_script()
