"""Contents that snapshots share: verified once, and missed in each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from safebackup import Repository, back_up, verify
from safebackup.errors import Code


@pytest.mark.parametrize("level", ["structure", "full"])
def test_a_content_that_no_index_names_is_missed_in_every_snapshot_that_needs_it(tmp_path: Path, level: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "lost").write_bytes(b"what both need")
    repository = Repository.create(tmp_path / "repository", key=None)
    first = back_up(source, into=repository).snapshot
    (source / "twice").write_bytes(b"what both need")
    second = back_up(source, into=repository).snapshot
    assert verify(repository, level=level).passed  # type: ignore[arg-type]

    for pack in (tmp_path / "repository" / "data").rglob("*"):
        if pack.is_file():
            pack.unlink()
    report = verify(repository, level=level)  # type: ignore[arg-type]

    assert not report.passed
    assert set(report.affected) == {first.id, second.id}
    missed = [finding.what for finding in report.findings if finding.code == Code.MISSING_CHUNK]
    assert sorted("1 files: lost" in what or "2 files: lost, twice" in what for what in missed) == [True, True]
