"""Damage: what does not depend on it comes back, what does is named, and the exit status tells."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from safebackup import Repository, back_up, restore
from safebackup.emergency import restore as script
from safebackup.errors import SafeBackupError
from safebackup.format.header import Kind
from safebackup.format.index import build_index
from safebackup.format.manifest import EntryKind
from safebackup.format.objects import build_record
from safebackup.format.records import CatalogueBody, Configuration, DeathBody, DoomBody
from safebackup.repository.indexing import ChunkIndex
from tests.attack.forging import ROOT, directory, file, raw
from tests.attack.test_hostile import Stage
from tests.attack.world import tree_of
from tests.emergency.test_restoring import UNCHECKED, golden_copy
from tests.golden import make_golden
from tests.golden.make_golden import HERE
from tests.test_golden import DAMAGE, _comparable, _listings

TITLES = [f"{recipe['repository']}: {recipe['title']}" for recipe in DAMAGE]
HARMLESS = "an object that is nobody's"


@pytest.fixture(params=["blake3", "no blake3"])
def checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether ids of chunks can be checked."""
    if request.param == "no blake3":
        monkeypatch.setattr(script, "blake3", None)
    return bool(request.param == "blake3")


def call(repository: Path, *arguments: str | Path) -> int:
    """The script in this process."""
    return script.main([*map(str, arguments), "--repository", str(repository)])


def missing_by_library(folder: Path, name: str, snapshot: str, work: Path) -> set[str]:
    """The paths that a restore by safebackup does not bring back; it stops where a manifest is damaged."""
    listed = {row["path"] for row in _listings(name)[snapshot]}
    target = work / "by library" / snapshot
    try:
        restore(make_golden.open_golden(folder, name, work).snapshot(snapshot), target)
    except SafeBackupError:
        return listed
    return listed - {row["path"] for row in make_golden.list_tree(target)}


@pytest.mark.parametrize("recipe", DAMAGE, ids=TITLES)
def test_what_is_not_damaged_comes_back(recipe: dict[str, Any], tmp_path: Path, checks: bool) -> None:
    name = recipe["repository"]
    folder, key = golden_copy(name, tmp_path)
    make_golden.damage(folder, recipe["steps"])
    for snapshot, listing in list(_listings(name).items())[0 if checks else -1 :]:
        target = tmp_path / "target" / snapshot
        if not (folder / "snapshots" / snapshot).exists() or recipe["title"] == "a damaged snapshot":
            continue
        status = call(folder, "restore", snapshot, target, *key)
        found = {row["path"]: row for row in _comparable(make_golden.list_tree(target))}
        truth = {row["path"]: row for row in _comparable(listing)}
        assert {path for path in found if found[path].get("sha256") != truth[path].get("sha256")} == set()
        assert truth.keys() - found.keys() <= missing_by_library(folder, name, snapshot, tmp_path)
        assert (status == script.INCOMPLETE) == (found.keys() != truth.keys())
        if status != script.INCOMPLETE:
            assert found == truth
            assert status in (script.OK, script.DAMAGED)


@pytest.mark.parametrize("recipe", DAMAGE, ids=TITLES)
def test_every_path_that_is_lost_is_named(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = recipe["repository"]
    folder, key = golden_copy(name, tmp_path)
    make_golden.damage(folder, recipe["steps"])
    status = call(folder, "restore", "latest", tmp_path / "target", *key)
    done, said = capsys.readouterr()
    latest = next(one for one in _listings(name) if f"from snapshot {one[:12]}" in done)
    lost = {row["path"] for row in _listings(name)[latest]}
    lost -= {row["path"] for row in make_golden.list_tree(tmp_path / "target")}
    lines = [line for line in said.splitlines() if line.startswith("LOST")]
    by_range = any(" all paths " in line for line in lines)
    assert by_range or {line[5:].split(": ")[0] for line in lines} == {
        script.printable(bytes.fromhex(path)) for path in lost
    }
    assert bool(lines) == bool(lost) == (status == script.INCOMPLETE)


@pytest.mark.parametrize("recipe", DAMAGE, ids=TITLES)
def test_verify_notices_all_damage(recipe: dict[str, Any], tmp_path: Path, checks: bool) -> None:
    folder, key = golden_copy(recipe["repository"], tmp_path)
    make_golden.damage(folder, recipe["steps"])
    assert call(folder, "verify", *key) == (script.OK if recipe["title"] == HARMLESS else script.DAMAGED)


def test_without_blake3_that_is_said_once(tmp_path: Path, checks: bool, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    call(folder, "restore", "latest", tmp_path / "target")
    call(folder, "verify")
    assert capsys.readouterr().err.count(UNCHECKED) == (0 if checks else 2)


def test_without_cryptography_a_sealed_repository_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    folder, key = golden_copy("sealed-keyfile-1", tmp_path)
    assert call(folder, "snapshots", *key) == script.FAILED
    assert "pip install cryptography" in capsys.readouterr().err
    assert call(golden_copy("plain-1", tmp_path)[0], "snapshots") == script.OK


# Indexes


@pytest.mark.parametrize("name", ["plain-1", "sealed-keyfile-1"])
def test_without_any_index_everything_comes_back(name: str, tmp_path: Path, checks: bool) -> None:
    folder, key = golden_copy(name, tmp_path)
    shutil.rmtree(folder / "index")
    for snapshot, listing in _listings(name).items():
        target = tmp_path / "target" / snapshot
        assert call(folder, "restore", snapshot, target, *key) == script.DAMAGED
        assert _comparable(make_golden.list_tree(target)) == _comparable(listing)


def stored_twice(folder: Path, base: Path) -> tuple[Path, list[str], list[str]]:
    """A repository in which each chunk lies in two packs; the packs of the first and of the second storing."""
    source = base / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(300_000))
    (source / "text").write_bytes(b"some text\n" * 1000)
    repository = Repository.create(folder, key=None)
    back_up(source, into=repository)
    first = [info.name for kind in ("data/", "metadata/") for info in repository.store.list(kind)]
    for part in ("data", "metadata", "index"):
        (folder / part).rename(base / part)
    back_up(source, into=repository)
    second = [info.name for kind in ("data/", "metadata/") for info in repository.store.list(kind)]
    for part in ("data", "metadata", "index"):
        shutil.copytree(base / part, folder / part, dirs_exist_ok=True)
    return source, first, second


@pytest.mark.parametrize("damaged", ["first", "second"])
@pytest.mark.parametrize("doomed", ["neither", "first", "second"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_a_chunk_is_taken_from_wherever_it_is_whole(
    damaged: str, doomed: str, how: str, tmp_path: Path, checks: bool
) -> None:
    folder = tmp_path / "repository"
    source, first, second = stored_twice(folder, tmp_path)
    repository = Repository.open(folder, key=None)
    if doomed != "neither":
        body = DoomBody(packs=tuple(first if doomed == "first" else second), created=1)
        doom = build_record(repository.identity, Kind.DOOM, body, salt=os.urandom(32))
        repository.store.put_new(doom.name, doom.data)
    for name in first if damaged == "first" else second:
        if how == "gone":
            (folder / name).unlink()
        else:
            make_golden.damage(folder, [{"do": "flip", "object": name, "offset": 100}])

    status = call(folder, "restore", "latest", tmp_path / "target")

    assert tree_of(tmp_path / "target") == tree_of(source)
    # Doomed packs are looked into last, so that damage in them is not even met.
    assert status == script.OK or (how == "flipped" and doomed != damaged and status == script.DAMAGED)


def test_a_doom_alone_takes_nothing_away(tmp_path: Path) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    repository = make_golden.open_golden(folder, "plain-1", tmp_path)
    packs = tuple(info.name for kind in ("data/", "metadata/") for info in repository.store.list(kind))
    doom = build_record(repository.identity, Kind.DOOM, DoomBody(packs=packs, created=1), salt=os.urandom(32))
    repository.store.put_new(doom.name, doom.data)
    assert call(folder, "restore", "latest", tmp_path / "target") == script.OK
    assert call(folder, "verify") == script.OK


@pytest.mark.parametrize("beside", [[], ["lower tier"], ["missing"], ["damaged"]], ids=str)
def test_it_sees_the_same_indexes_as_safebackup_where_a_merge_has_parts(beside: list[str], tmp_path: Path) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    golden = make_golden.open_golden(folder, "plain-1", tmp_path)
    lower = sorted(info.name for info in golden.store.list("index/"))
    part, spoiled = (build_index(golden.identity, (), pack_sizes={}, salt=salt * 32, tier=1) for salt in (b"p", b"d"))
    names = {"lower tier": lower[0], "missing": part.name, "damaged": spoiled.name}
    golden.store.put_new(spoiled.name, spoiled.data)
    make_golden.damage(folder, [{"do": "flip", "object": spoiled.name, "offset": 90}])
    parts = [names[one] for one in beside]
    merged = build_index(golden.identity, (), pack_sizes={}, salt=b"m" * 32, tier=2, replaces=lower, beside=parts)
    golden.store.put_new(merged.name, merged.data)

    arguments = script.parse_arguments(["snapshots", "--repository", str(folder)])
    opened = script.open_repository(arguments, script.Screen())
    theirs = {index.name for index in script.visible_indexes(opened, {})}

    assert theirs == set(ChunkIndex(golden.store, golden.identity).visible)
    assert theirs == {merged.name, *(() if beside in ([], ["lower tier"]) else lower)}
    # Where the merge lacks what it should have, the packs have it.
    assert call(folder, "restore", "latest", tmp_path / "target") == script.DAMAGED
    listing = list(_listings("plain-1").values())[-1]
    assert _comparable(make_golden.list_tree(tmp_path / "target")) == _comparable(listing)


# Records


def put_death(repository: Repository, run: bytes, *, final: bool) -> None:
    death = build_record(
        repository.identity, Kind.DEATH, DeathBody(run=run, final=final, created=1), salt=os.urandom(32)
    )
    repository.store.put_new(death.name, death.data)


def test_a_snapshot_of_a_dead_run_was_never_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    repository = make_golden.open_golden(folder, "plain-1", tmp_path)
    *_, before, last = repository.snapshots()
    put_death(repository, before.body.run, final=False)  # a suspicion changes nothing
    put_death(repository, last.body.run, final=True)
    assert call(folder, "snapshots") == script.OK
    shown = capsys.readouterr().out
    assert before.id[:12] in shown
    assert last.id[:12] not in shown
    assert call(folder, "restore", last.id, tmp_path / "target") == script.USAGE
    assert call(folder, "restore", "latest", tmp_path / "target") == script.OK
    assert before.id[:12] in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["dooms", "deaths", "catalogues", "journal", "keys", "intents"])
def test_a_record_that_cannot_be_read_stops_no_restore(kind: str, tmp_path: Path) -> None:
    name = "sealed-passphrase-1"
    folder, key = golden_copy(name, tmp_path)
    (folder / kind).mkdir(exist_ok=True)
    between = "0/" if kind == "catalogues" else ""
    (folder / kind / between).mkdir(exist_ok=True)
    (folder / kind / f"{between}{'0' * 64}").write_bytes(b"rubbish")
    status = call(folder, "restore", "latest", tmp_path / "target", *key)
    listing = list(_listings(name).values())[-1]
    assert _comparable(make_golden.list_tree(tmp_path / "target")) == _comparable(listing)
    assert status == (script.DAMAGED if kind in ("dooms", "deaths", "keys") else script.OK)
    assert call(folder, "verify", *key) == script.DAMAGED


@pytest.mark.parametrize("name", ["plain-1", "sealed-passphrase-1"])
@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_lost_founding_record_is_taken_from_its_copies(name: str, how: str, tmp_path: Path) -> None:
    folder, key = golden_copy(name, tmp_path)
    (record,) = (folder / "config").iterdir()
    record.write_bytes(b"rubbish") if how == "damaged" else record.unlink()
    assert call(folder, "restore", "latest", tmp_path / "target", *key) == script.DAMAGED
    listing = list(_listings(name).values())[-1]
    assert _comparable(make_golden.list_tree(tmp_path / "target")) == _comparable(listing)


def test_a_sealed_repository_without_any_configuration_is_opened_by_its_key(tmp_path: Path) -> None:
    folder, key = golden_copy("sealed-passphrase-1", tmp_path)
    shutil.rmtree(folder / "config")
    shutil.rmtree(folder / "founding")
    assert call(folder, "restore", "latest", tmp_path / "target", *key) == script.OK
    listing = list(_listings("sealed-passphrase-1").values())[-1]
    assert _comparable(make_golden.list_tree(tmp_path / "target")) == _comparable(listing)


def test_a_plain_repository_without_any_configuration_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    (record,) = (folder / "config").iterdir()
    record.write_bytes(b"rubbish")
    shutil.rmtree(folder / "founding")
    assert call(folder, "snapshots") == script.DAMAGED
    assert "the configuration" in capsys.readouterr().err


def test_two_repositories_in_one_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    other = Repository.create(tmp_path / "other", key=None)
    shutil.copytree(tmp_path / "other" / "config", folder / "config", dirs_exist_ok=True)
    assert call(folder, "snapshots") == script.DAMAGED
    assert other.configurations.founding_name in capsys.readouterr().err


def test_a_foreign_founding_record_does_not_come_between_a_key_and_its_repository(tmp_path: Path) -> None:
    folder, key = golden_copy("sealed-keyfile-1", tmp_path)
    for name in ("plain-1", "sealed-passphrase-1"):
        shutil.copytree(HERE / name / "config", folder / "config", dirs_exist_ok=True)
    assert call(folder, "snapshots", *key) == script.OK


def test_a_feature_of_a_newer_release_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    repository = make_golden.open_golden(folder, "plain-1", tmp_path)
    body = Configuration(founding=False, created=1, sealed=False, software="", features_read=("tomorrow",))
    record = build_record(repository.identity, Kind.CONFIGURATION, body, salt=os.urandom(32))
    repository.store.put_new(record.name, record.data)
    assert call(folder, "restore", "latest", tmp_path / "target") == script.FAILED
    assert "tomorrow" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_damaged_snapshot_is_taken_from_a_catalogue(how: str, tmp_path: Path) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    repository = make_golden.open_golden(folder, "plain-1", tmp_path)
    history = repository.history()
    body = CatalogueBody(tier=0, replaces=(), snapshots=raw(history.snapshots), journal={})
    catalogue = build_record(repository.identity, Kind.CATALOGUE, body, salt=os.urandom(32))
    repository.store.put_new(catalogue.name, catalogue.data)
    last = repository.snapshot()
    if how == "gone":
        (folder / last.name).unlink()
        # A copy counts only while an object of its name is listed: it may have been removed by plan.
        assert call(folder, "restore", last.id, tmp_path / "target") == script.USAGE
    else:
        make_golden.damage(folder, [{"do": "flip", "object": last.name, "offset": 120}])
        assert call(folder, "restore", last.id, tmp_path / "target") == script.DAMAGED
        listing = _listings("plain-1")[last.id]
        assert _comparable(make_golden.list_tree(tmp_path / "target")) == _comparable(listing)


def test_latest_says_that_a_newer_one_may_be_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    recipe = next(one for one in DAMAGE if one["title"] == "a damaged snapshot" and one["repository"] == "plain-1")
    make_golden.damage(folder, recipe["steps"])
    assert call(folder, "restore", "latest", tmp_path / "target") == script.DAMAGED
    assert "may be newer" in capsys.readouterr().err
    assert call(folder, "snapshots") == script.DAMAGED


def test_snapshots_that_were_deleted_are_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = golden_copy("plain-1", tmp_path)
    last = make_golden.open_golden(folder, "plain-1", tmp_path).snapshot()
    (folder / last.name).unlink()

    assert call(folder, "restore", "latest", tmp_path / "target") == script.DAMAGED

    told = capsys.readouterr().err
    assert f"DAMAGED {last.name}: it was published and is not there" in told
    assert "may be newer" in told
    for name in (folder / "snapshots").iterdir():
        name.unlink()
    assert call(folder, "restore", "latest", tmp_path / "other") == script.DAMAGED
    assert "yet" not in capsys.readouterr().err


# Manifests with a hole in them


def published(stage: Stage, *, missing: int) -> dict[bytes, bytes]:
    """A snapshot of three segments of which one is not there; the content of all files."""
    forger = stage.forger
    content = {path: path * 3 for path in (b"a", b"b/one", b"b/two/x", b"c")}

    def made(path: bytes) -> Any:
        return file(path, size=len(content[path]), content=forger.data(content[path]))

    segments = [
        [ROOT, made(b"a")],
        [directory(b"b"), made(b"b/one"), directory(b"b/two")],
        [made(b"b/two/x"), made(b"c")],
    ]
    refs = [forger.segment_ref(entries) for entries in segments]
    refs[missing] = msgspec.structs.replace(refs[missing], chunk=bytes(32))
    tree = forger.tree([ROOT])
    # The evidence is not that of these entries, and a restore does not look at it.
    forger.publish(attrs.evolve(tree, manifest=forger.node(refs), entries=7, files=4), stage.honest)
    return content


@pytest.mark.parametrize(
    ("missing", "left"),
    [(0, {b"b/one", b"b/two/x", b"c"}), (1, {b"a", b"b/two/x", b"c"}), (2, {b"a", b"b/one"})],
)
def test_a_lost_piece_of_a_manifest_costs_its_own_paths_only(
    stage: Stage, missing: int, left: set[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    content = published(stage, missing=missing)
    status = call(Path(stage.repository.url.removeprefix("file://")), "restore", "latest", stage.target)
    assert status == script.INCOMPLETE
    found = {path for path, seen in tree_of(stage.target, directories=False).items()}
    assert found == left
    for path in left:
        assert (stage.target / os.fsdecode(path)).read_bytes() == content[path]
    assert "LOST all paths from" in capsys.readouterr().err


def test_one_path_is_restored_from_a_manifest_with_a_hole(stage: Stage) -> None:
    published(stage, missing=2)
    folder = Path(stage.repository.url.removeprefix("file://"))
    assert call(folder, "restore", "latest", stage.target, "--path", "b/one") == script.OK
    assert (stage.target / "b" / "one").read_bytes() == b"b/one" * 3


def test_a_count_that_is_too_small_does_not_hide_paths(stage: Stage) -> None:
    entries = [ROOT, file(b"a"), file(b"b")]
    stage.forger.publish(stage.forger.tree(entries), stage.honest, entries=99)
    folder = Path(stage.repository.url.removeprefix("file://"))
    assert call(folder, "restore", "latest", stage.target) == script.INCOMPLETE
    assert sorted(os.listdir(stage.target)) == ["a", "b"]


def test_devices_are_named_and_not_made(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    node = file(b"node", kind=EntryKind.BLOCK_DEVICE, device=(8, 1))
    stage.forger.publish(stage.forger.tree([ROOT, node]), stage.honest)
    folder = Path(stage.repository.url.removeprefix("file://"))
    assert call(folder, "restore", "latest", stage.target) == script.OK
    assert os.listdir(stage.target) == []
    assert "node is a device (b [8, 1]): not made" in capsys.readouterr().err
