"""Sources that disappear while they are read: what was not deleted is missing, and said to be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup import Repository, SnapshotWriter, back_up
from safebackup.findings import Finding


class Trigger:
    """Does something once so many bytes or files were counted."""

    def __init__(self, after: int, act: Callable[[], object]) -> None:
        self.left = after
        self.act = act

    def set_size(self, size: int) -> None:
        pass

    def relative_update(self, inc: int = 1) -> None:
        self.left -= 1
        if self.left == 0:
            self.act()


def many_files(folder: Path) -> Path:
    """So many bytes that the first are counted long before the last are read."""
    for number in range(40):
        (folder / f"d{number:02}").mkdir(parents=True)
        for other in range(30):
            (folder / f"d{number:02}" / f"f{other}").write_bytes(b"%6d" % (number * 100 + other) * 5000)
    return folder


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("parts", [False, True], ids=["back_up", "SnapshotWriter"])
def test_a_source_that_is_moved_away_midway_is_never_complete(tmp_path: Path, parts: bool) -> None:
    source = many_files(tmp_path / "source")
    repository = Repository.create(tmp_path / "repository", key=None)

    complete, findings = store(source, repository, parts, Trigger(150, lambda: moved_away(source)))

    assert not complete
    assert any(finding.severity == "error" for finding in findings)


@pytest.mark.parametrize("parts", [False, True], ids=["back_up", "SnapshotWriter"])
def test_a_disk_that_is_unmounted_midway_is_never_complete(tmp_path: Path, parts: bool) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "none", source], check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        many_files(source)
        repository = Repository.create(tmp_path / "repository", key=None)
        gone = Trigger(150, lambda: subprocess.run(["umount", "-l", source], check=True))
        complete, findings = store(source, repository, parts, gone)
    finally:
        subprocess.run(["umount", "-l", source], check=False, stderr=subprocess.DEVNULL)

    assert not complete
    assert any("unmounted" in finding.what for finding in findings)


def test_a_folder_that_is_deleted_midway_was_not_missed(tmp_path: Path) -> None:
    source = many_files(tmp_path / "source")
    repository = Repository.create(tmp_path / "repository", key=None)

    complete, findings = store(source, repository, False, Trigger(150, lambda: deleted(source / "d01")))

    assert complete
    assert {str(finding.code) for finding in findings} <= {"path-vanished"}


def store(source: Path, repository: Repository, parts: bool, callback: Trigger) -> tuple[bool, tuple[Finding, ...]]:
    if not parts:
        report = back_up(source, into=repository, callback=callback)
    else:
        with SnapshotWriter(repository, source="parts", callback=callback) as writer:
            writer.add(source)
        assert writer.report is not None
        report = writer.report
    return report.complete, report.findings
