"""What a restore says beside what it does."""

from __future__ import annotations

import io
from pathlib import Path

import attrs
import pytest

from safebackup import Repository, Snapshot, Source, back_up, restore
from safebackup.errors import Code
from safebackup.findings import Severity
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.storage import open_store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    return tmp_path / "source"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", key=None)


def remarks(snapshot: Snapshot, target: Path) -> list[tuple[Code, Severity]]:
    report = restore(snapshot, to=target, overwrite="replace")
    assert report.complete
    return [(finding.code, finding.severity) for finding in report.findings]


def test_a_snapshot_that_was_incomplete_when_it_was_made_is_said_to_be(
    source: Path, repository: Repository, tmp_path: Path
) -> None:
    snapshot = attrs.evolve(back_up(source, into=repository).snapshot, complete=False)

    assert remarks(snapshot, tmp_path / "target") == [(Code.SNAPSHOT_INCOMPLETE, Severity.WARNING)]


def test_a_target_within_the_source_is_remarked_upon(source: Path, repository: Repository, tmp_path: Path) -> None:
    snapshot = back_up(source, into=repository).snapshot
    (tmp_path / "link").symlink_to(source)

    assert remarks(snapshot, source / "new") == [(Code.TARGET_IN_SOURCE, Severity.WARNING)]
    assert remarks(snapshot, tmp_path / "link" / "newer") == [(Code.TARGET_IN_SOURCE, Severity.WARNING)]
    assert remarks(snapshot, source) == []  # back to where it was
    assert remarks(snapshot, tmp_path / "source-2") == []


def test_on_another_machine_the_same_path_is_another_folder(source: Path, repository: Repository) -> None:
    back_up(source, into=repository)
    elsewhere = attach(open_store(repository.url), key=None, runtime=Runtime(host="another"))

    assert remarks(elsewhere.snapshot(), source / "new") == []


def test_a_stream_was_made_of_no_folder(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = back_up(Source.stream("dump", io.BytesIO(b"data")), into=repository).snapshot
    monkeypatch.chdir(tmp_path)

    assert remarks(snapshot, tmp_path / "new") == []
