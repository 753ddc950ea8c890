"""Damage: whatever happens to the bytes of a repository, nothing wrong is restored or called whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import Code, SafeBackupError
from safebackup.findings import Severity
from safebackup.format.header import Kind
from safebackup.format.objects import build_record
from safebackup.format.records import DoomBody


def make_source(folder: Path) -> Path:
    """Three files, the middle one in a pack of its own kind of frame: compressible, random, tiny."""
    folder.mkdir()
    (folder / "letters").write_bytes(b"dear all, " * 500)
    (folder / "noise").write_bytes(os.urandom(3000))
    (folder / "small").write_bytes(b"hello")
    return folder


def packs_of(home: Path, folder: str) -> list[Path]:
    return sorted(path for path in (home / folder).rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit of a frame flipped": lambda path: flip(path, 100),
    "a bit of the version flipped": lambda path: flip(path, 8),
    "cut in half": halve,
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_manifest_that_was_found_damaged_is_stored_again_by_the_next_backup(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    source = make_source(tmp_path / "source")
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    back_up(source, into=repository)
    for pack in packs_of(home, "metadata"):
        damage(pack)

    report = back_up(source, into=Repository.open(home, key=None))

    restored = restore(report.snapshot, tmp_path / "restored")
    assert report.complete
    assert restored.complete
    assert contents(tmp_path / "restored") == contents(source)


@pytest.mark.parametrize("name", ["a bit of the version flipped", "cut in half"])
def test_a_damaged_pack_costs_no_file_of_another_pack(tmp_path: Path, name: str) -> None:
    source = make_source(tmp_path / "source")
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    back_up(source, into=repository)
    first = packs_of(home, "data")
    (source / "later").write_bytes(b"in a pack of its own")
    report = back_up(source, into=repository)
    for pack in first:
        DAMAGE[name](pack)

    restored = restore(report.snapshot, tmp_path / "restored")

    assert not restored.complete
    assert contents(tmp_path / "restored") == {"later": b"in a pack of its own"}


@pytest.mark.parametrize("also_damaged", [False, True])
def test_a_full_verification_never_passes_while_a_snapshot_needs_condemned_packs(
    tmp_path: Path, also_damaged: bool
) -> None:
    source = make_source(tmp_path / "source")
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    back_up(source, into=repository)
    packs = packs_of(home, "data")
    doom = DoomBody(packs=tuple(str(pack.relative_to(home)) for pack in packs), created=1)
    record = build_record(repository.identity, Kind.DOOM, doom, salt=os.urandom(32))
    repository.store.put_new(record.name, record.data)
    if also_damaged:
        flip(packs[0], 100)

    report = verify(repository, level="full", record=False)

    assert not report.passed
    assert any(finding.severity is Severity.ERROR for finding in report.findings)


def test_a_full_verification_notices_that_a_snapshot_was_deleted_behind_its_back(tmp_path: Path) -> None:
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    report = back_up(make_source(tmp_path / "source"), into=repository)
    (home / report.snapshot.name).unlink()

    verified = verify(repository, level="full", record=False)

    assert not verified.passed
    assert Code.BROKEN_HISTORY in {finding.code for finding in verified.findings}
