"""Names that shared one file share it again, also where a restore has to be run twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safebackup import Repository, Snapshot, back_up, restore
from safebackup.events import NoProgress
from safebackup.findings import Severity
from safebackup.format.chunking import CHUNK_BYTES_MAX

HOLE = 6 << 20
LARGE = CHUNK_BYTES_MAX * 2 + 1


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Pairs of names `a/…` and `b/…`: small, empty, of many chunks, and with a hole."""
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    (source / "b").mkdir()
    for number in range(50):
        (source / "a" / f"small{number}").write_bytes(b"%d" % number * 100)
    (source / "a" / "empty").touch()
    (source / "a" / "large").write_bytes(os.urandom(LARGE))
    with (source / "a" / "sparse").open("wb") as file:
        file.truncate(HOLE)
        file.seek(HOLE)
        file.write(b"end")
    for path in (source / "a").iterdir():
        os.link(path, source / "b" / path.name)
    return back_up(source, into=Repository.create(tmp_path / "repository", key=None)).snapshot


def pairs(target: Path) -> dict[str, bool]:
    """Which names of the one folder are the same file as in the other."""
    return {path.name: path.samefile(target / "b" / path.name) for path in (target / "a").iterdir()}


def test_a_restore_that_was_interrupted_between_the_names_of_a_file_is_completed(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    restore(snapshot, to=target)
    for path in (target / "b").iterdir():
        path.unlink()

    report = restore(snapshot, to=target, overwrite="keep")

    assert report.complete
    assert set(pairs(target).values()) == {True}
    assert not [finding for finding in report.findings if finding.severity is not Severity.INFO]


@pytest.mark.parametrize("name", ["small7", "large", "sparse"])
def test_what_only_looks_like_the_first_name_is_not_linked(snapshot: Snapshot, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    restore(snapshot, to=target)
    kept = target / "a" / name
    recorded = kept.read_bytes()
    (target / "b" / name).unlink()
    status = kept.stat()
    with kept.open("r+b") as file:
        file.seek(status.st_size // 2)
        file.write(b"!")
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))

    report = restore(snapshot, to=target, overwrite="keep")

    assert not report.complete
    assert [one.subject for one in report.findings if one.severity is Severity.ERROR] == [f"a/{name}"]
    assert not pairs(target)[name]
    assert (target / "b" / name).read_bytes() == recorded


@pytest.mark.parametrize("is_there_before", [False, True])
def test_progress_ends_where_it_said_that_it_would(snapshot: Snapshot, tmp_path: Path, is_there_before: bool) -> None:
    class Counting(NoProgress):
        size = done = 0

        def set_size(self, size: int) -> None:
            self.size = size

        def relative_update(self, inc: int = 1) -> None:
            self.done += inc

    if is_there_before:
        restore(snapshot, to=tmp_path / "target")
        (tmp_path / "target" / "b" / "large").unlink()
    counting = Counting()

    restore(snapshot, to=tmp_path / "target", overwrite="keep", callback=counting, workers=1)

    assert counting.done == counting.size == snapshot.content_bytes > 0
