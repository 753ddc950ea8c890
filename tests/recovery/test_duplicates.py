"""Files with the same content: the second is read where the first was placed, and only believed by its hash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safebackup import Repository, Snapshot, back_up, compare_trees, restore
from safebackup.recovery import crew
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.storage import open_store
from safebackup.testing import RecordingStore

COUNT = 200


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for folder in ("a", "b"):
        (tmp_path / "source" / folder).mkdir(parents=True)
        for number in range(COUNT):
            (tmp_path / "source" / folder / f"{number:03}").write_bytes(b"%d " % number * 500)
    return tmp_path / "source"


@pytest.fixture
def snapshot(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    monkeypatch.setattr(crew, "WINDOW_ENTRIES", 20)
    return back_up(source, into=Repository.create(tmp_path / "repository", key=None)).snapshot


def counted(tmp_path: Path) -> tuple[RecordingStore, Snapshot]:
    store = RecordingStore(open_store(tmp_path / "repository"))
    return store, attach(store, key=None, runtime=Runtime()).snapshot()


def test_no_frame_is_fetched_for_what_was_placed_before(snapshot: Snapshot, source: Path, tmp_path: Path) -> None:
    store, all_of_it = counted(tmp_path)
    # One worker begins with a window when it is done with the one before, and what is not there yet is fetched.
    assert restore(all_of_it, to=tmp_path / "all", workers=1).complete
    for_all = sum(name.startswith("data/") for verb, name in store.calls if verb == "get")
    store, half = counted(tmp_path)
    assert restore(half, to=tmp_path / "half", paths=["a"], workers=1).complete
    for_half = sum(name.startswith("data/") for verb, name in store.calls if verb == "get")

    assert compare_trees(source, tmp_path / "all").same
    assert for_all == for_half


def test_what_somebody_has_put_in_the_place_of_the_first_is_not_taken_for_it(
    snapshot: Snapshot, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    (target / "a").mkdir(parents=True)
    (target / "a" / "000").write_bytes(b"somebody's")
    (target / "a" / "001").write_bytes(b"X" * (source / "a" / "001").stat().st_size)
    (target / "a" / "002").symlink_to(source / "a" / "003")
    os.mkfifo(target / "a" / "003")

    report = restore(snapshot, to=target, overwrite="keep")

    assert not report.complete
    assert (target / "a" / "000").read_bytes() == b"somebody's"
    assert compare_trees(source / "b", target / "b").same


def test_first_ones_that_were_forgotten_are_fetched_again(
    snapshot: Snapshot, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_FIRST_MAX", 50)

    assert restore(snapshot, to=tmp_path / "target").complete
    assert compare_trees(source, tmp_path / "target").same
