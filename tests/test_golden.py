"""Golden repositories: every release reads what earlier ones wrote, and so does a reader made from the page alone."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from safebackup.backup import back_up
from safebackup.format.header import Kind
from safebackup.format.index import build_index
from safebackup.format.manifest import INLINE_EXTENTS_MAX
from safebackup.format.objects import StoredObject, build_record
from safebackup.format.records import DoomBody
from safebackup.recovery import restore, verify
from safebackup.repository import Repository
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.manifests import Manifests
from tests import independent_reader
from tests.golden import make_golden
from tests.golden.make_golden import FUTURE, HERE, OLD

NAMES = sorted(path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("_"))
DAMAGE: list[dict[str, Any]] = json.loads((HERE / "damage.json").read_text(encoding="ascii"))
EXACT_MODES = os.geteuid() == 0  # set-id bits are left out where the owner cannot be set


@cache
def _listings(name: str) -> dict[str, list[dict[str, Any]]]:
    listings: dict[str, list[dict[str, Any]]] = json.loads((HERE / f"{name}.json").read_text(encoding="ascii"))
    return listings


@cache
def _holds_attributes() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "user.probe", b"1")
        except OSError:
            return False
    return True


@cache
def _holds_times() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        held = []
        for time in (OLD, FUTURE):
            os.utime(file.name, ns=(time, time))
            held.append(os.stat(file.name).st_mtime_ns)
    return held == [OLD, FUTURE]


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what the file system of this machine cannot hold."""
    found = []
    for row in rows:
        left_out = set() if _holds_attributes() else {"xattrs"}
        if not _holds_times():
            left_out.add("mtime")
        mode = row["mode"] if EXACT_MODES else row["mode"] & 0o1777
        found.append({key: value for key, value in row.items() if key not in left_out} | {"mode": mode})
    return found


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    yield make_golden.open_golden(HERE / request.param, request.param, tmp_path)


def _name(repository: Repository) -> str:
    return Path(repository.url).name


def _read_independently(folder: Path, name: str) -> independent_reader.Repository:
    passphrase, key_file = HERE / f"{name}.passphrase", HERE / f"{name}.keyfile"
    return independent_reader.Repository(
        str(folder),
        passphrase=passphrase.read_text(encoding="utf-8").rstrip("\n") if passphrase.exists() else None,
        key_file=key_file.read_bytes() if key_file.exists() else None,
    )


def test_there_is_a_golden_repository_of_each_kind() -> None:
    assert {"plain-1", "sealed-keyfile-1", "sealed-passphrase-1"} <= set(NAMES)


def test_golden_repositories_stay_small() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 3 << 19


def test_a_golden_repository_verifies_in_full(golden: Repository) -> None:
    report = verify(golden, level="full", record=False)
    assert report.passed
    assert report.findings == ()
    assert report.snapshots == len(_listings(_name(golden)))
    assert report.packs_read == report.packs_total > 0


def test_every_snapshot_restores_to_what_was_read(golden: Repository, tmp_path: Path) -> None:
    listings = _listings(_name(golden))
    snapshots = golden.snapshots()
    assert [snapshot.id for snapshot in snapshots] == list(listings)
    for snapshot in snapshots:
        target = tmp_path / snapshot.id
        assert restore(snapshot, target).complete
        assert _comparable(make_golden.list_tree(target)) == _comparable(listings[snapshot.id])


def test_manifests_hold_what_was_read(golden: Repository) -> None:
    for snapshot in golden.snapshots():
        entries = list(snapshot.walk())
        rows = _listings(_name(golden))[snapshot.id]
        assert [(entry.path.hex(), entry.mode, entry.mtime_ns, entry.size) for entry in entries] == [
            (row["path"], row["mode"], row["mtime"], row.get("size", 0)) for row in rows
        ]


def test_golden_repositories_cover_holes_trees_of_extents_and_recurring_chunks(golden: Repository) -> None:
    manifests = Manifests(golden.reader())
    entries = {entry.path: entry for entry in golden.snapshots()[0].walk()}
    extents = {path: list(manifests.extents(entry)) for path, entry in entries.items()}
    assert len(extents[b"many extents"]) > INLINE_EXTENTS_MAX
    many = entries[b"many extents"].content
    assert isinstance(many, list)
    assert many[0] == 1
    assert [chunk is None for chunk, _ in extents[b"sparse"]] == [True, False, True]
    assert [chunk for chunk, _ in extents[b"only a hole"]] == [None]
    assert len(extents[b"large"]) > len(set(extents[b"large"])) > 2


def test_the_second_epoch_of_a_golden_repository_is_in_use(tmp_path: Path) -> None:
    golden = make_golden.open_golden(HERE / "sealed-keyfile-1", "sealed-keyfile-1", tmp_path)
    epochs = {int.from_bytes(golden.store.get(name, start=16, length=4), "big") for name in _objects(golden)}
    assert epochs == {0, 1, 2}


def _objects(repository: Repository) -> list[str]:
    return [info.name for info in repository.store.list("")]


# The independent reader


def test_the_independent_reader_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(independent_reader.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {module.split(".")[0] for module in modules} - sys.stdlib_module_names
    assert foreign == {"blake3", "cryptography", "zstandard"}


@pytest.mark.parametrize("name", NAMES)
def test_the_independent_reader_restores_every_snapshot(name: str, tmp_path: Path) -> None:
    repository = _read_independently(HERE / name, name)
    listings = _listings(name)
    assert {f"snapshots/{identity}" for identity in listings} == set(repository.snapshots)
    for number, (snapshot, body) in enumerate(repository.snapshots.items()):
        target = tmp_path / str(number)
        assert independent_reader.restore(repository, body, str(target)) == []
        assert _comparable(make_golden.list_tree(target)) == _comparable(listings[snapshot.partition("/")[2]])
    assert repository.problems == {}


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_keep_holes_sparse(name: str, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    golden = make_golden.open_golden(HERE / name, name, tmp_path)
    restore(golden.snapshot(), mine)
    repository = _read_independently(HERE / name, name)
    independent_reader.restore(repository, repository.snapshots[golden.snapshot().name], str(theirs))
    for target in (mine, theirs):
        status = (target / "only a hole").stat()
        assert status.st_blocks * 512 < status.st_size // 2


def test_the_independent_reader_makes_an_index_anew_from_packs(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(HERE / "plain-1", folder)
    shutil.rmtree(folder / "index")
    repository = _read_independently(folder, "plain-1")
    for number, body in enumerate(repository.snapshots.values()):
        assert independent_reader.restore(repository, body, str(tmp_path / str(number))) == []


@pytest.mark.parametrize("beside", [[], ["lower tier"], ["missing"], ["damaged"]], ids=str)
def test_both_readers_see_the_same_indexes_where_a_merge_has_parts(beside: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "plain-1"
    shutil.copytree(HERE / "plain-1", folder)
    golden = make_golden.open_golden(folder, "plain-1", tmp_path)
    lower = sorted(info.name for info in golden.store.list("index/"))
    part, spoiled = (_empty_index(golden, salt, tier=1) for salt in (b"p", b"d"))
    names = {"lower tier": lower[0], "missing": part.name, "damaged": spoiled.name}
    golden.store.put_new(spoiled.name, spoiled.data)
    make_golden.damage(folder, [{"do": "flip", "object": spoiled.name, "offset": 90}])
    merged = _empty_index(golden, b"m", tier=2, replaces=lower, beside=[names[one] for one in beside])
    golden.store.put_new(merged.name, merged.data)

    theirs = _read_independently(folder, "plain-1")
    ours = ChunkIndex(golden.store, golden.identity)

    whole = beside in ([], ["lower tier"])
    assert set(ours.visible) == set(theirs.indexes) == {merged.name, *(() if whole else lower)}


def test_both_readers_refuse_an_index_of_another_tier_than_its_name_says(tmp_path: Path) -> None:
    folder = tmp_path / "plain-1"
    shutil.copytree(HERE / "plain-1", folder)
    golden = make_golden.open_golden(folder, "plain-1", tmp_path)
    stored = _empty_index(golden, b"m", tier=1)
    moved = stored.name.replace("index/1/", "index/7/")
    golden.store.put_new(moved, stored.data)
    assert set(_read_independently(folder, "plain-1").problems) == {moved}
    assert set(ChunkIndex(golden.store, golden.identity).problems) == {moved}


def _empty_index(golden: Repository, salt: bytes, **more: Any) -> StoredObject:
    return build_index(golden.identity, (), pack_sizes={}, salt=salt * 32, **more)


def test_what_a_snapshot_avoids_is_the_digest_of_the_page(tmp_path: Path) -> None:
    shutil.copytree(HERE / "plain-1", tmp_path / "plain-1")
    golden = make_golden.open_golden(tmp_path / "plain-1", "plain-1", tmp_path)
    assert {snapshot.body.avoids for snapshot in golden.snapshots()} == {hashlib.sha256(b"").digest()}
    damaged = next(info.name for info in golden.store.list("data/"))
    doom = build_record(golden.identity, Kind.DOOM, DoomBody(packs=("data/00/00",), created=1), salt=b"s" * 32)
    golden.store.put_new(doom.name, doom.data)
    record = journal_body(golden, run=bytes(16), kind="verification", outcome="damaged", started=1, heads=())
    write_journal(golden, msgspec.structs.replace(record, damaged=(damaged,)))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content")

    snapshot = back_up(tmp_path / "tree", into=golden).snapshot

    assert snapshot.body.avoids == hashlib.sha256("\n".join([damaged, doom.name]).encode()).digest()


def test_the_independent_reader_passes_over_slots_that_are_damaged(tmp_path: Path) -> None:
    name = "sealed-keyfile-1"
    folder = tmp_path / name
    shutil.copytree(HERE / name, folder)
    (folder / "keys" / ("0" * 64)).write_bytes(b"no key slot")
    assert set(_read_independently(folder, name).problems) == {"keys/" + "0" * 64}


def test_the_independent_reader_refuses_a_wrong_key() -> None:
    with pytest.raises(independent_reader.FormatError, match="opens no slot"):
        independent_reader.Repository(str(HERE / "sealed-passphrase-1"), passphrase="wrong")
    with pytest.raises(independent_reader.FormatError, match="no key was given"):
        independent_reader.Repository(str(HERE / "sealed-passphrase-1"))


def test_the_independent_reader_is_a_program(tmp_path: Path) -> None:
    program = [sys.executable, independent_reader.__file__, str(HERE / "sealed-keyfile-1")]
    key = ["--key-file", str(HERE / "sealed-keyfile-1.keyfile")]
    listed = subprocess.run([*program, *key], check=True, capture_output=True, text=True).stdout
    listings = _listings("sealed-keyfile-1")
    assert [line.split()[0] for line in listed.splitlines()] == list(listings)
    first = next(iter(listings))
    target = tmp_path / "target"
    subprocess.run([*program, str(target), *key, "--snapshot", first[:10]], check=True, capture_output=True)
    assert _comparable(make_golden.list_tree(target)) == _comparable(listings[first])


# Damage


@pytest.mark.parametrize("recipe", DAMAGE, ids=[f"{recipe['repository']}: {recipe['title']}" for recipe in DAMAGE])
def test_verify_finds_exactly_what_was_damaged(recipe: dict[str, Any], tmp_path: Path) -> None:
    name = recipe["repository"]
    folder = tmp_path / name
    shutil.copytree(HERE / name, folder)
    make_golden.damage(folder, recipe["steps"])
    found = make_golden.findings_of(make_golden.open_golden(folder, name, tmp_path))
    assert found == recipe["findings"]
    assert found


@pytest.mark.parametrize("recipe", DAMAGE, ids=[f"{recipe['repository']}: {recipe['title']}" for recipe in DAMAGE])
def test_no_reader_takes_damage_for_content(recipe: dict[str, Any], tmp_path: Path) -> None:
    name = recipe["repository"]
    folder = tmp_path / name
    shutil.copytree(HERE / name, folder)
    make_golden.damage(folder, recipe["steps"])
    repository = _read_independently(folder, name)
    for snapshot, body in repository.snapshots.items():
        listed = {row["path"]: row.get("sha256") for row in _listings(name)[snapshot.partition("/")[2]]}
        target = tmp_path / "target" / snapshot.partition("/")[2]
        target.parent.mkdir(exist_ok=True)
        with suppress(independent_reader.FormatError):  # its manifest is damaged
            independent_reader.restore(repository, body, str(target))
        for row in make_golden.list_tree(target):
            assert row.get("sha256") == listed[row["path"]]
