"""Damage: whatever happens to the bytes of a repository, nothing wrong is restored or called whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import Code
from safebackup.findings import Severity
from safebackup.format.header import HEADER_BYTES, Kind
from safebackup.format.objects import build_record
from safebackup.format.records import DoomBody
from tests.attack.world import LONG, World, build_world, is_noticed, scratch, tree_of

FOLDERS = (
    "catalogues",
    "config",
    "data",
    "deaths",
    "dooms",
    "founding",
    "index",
    "intents",
    "journal",
    "keys",
    "metadata",
    "snapshots",
)
STRIDE = 1 if LONG else 23


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


def condemn(repository: Repository, home: Path) -> list[Path]:
    """Put a doom that names every data pack."""
    packs = packs_of(home, "data")
    doom = DoomBody(packs=tuple(str(pack.relative_to(home)) for pack in packs), created=1)
    record = build_record(repository.identity, Kind.DOOM, doom, salt=os.urandom(32))
    repository.store.put_new(record.name, bytes(record.data))
    return packs


def test_a_full_verification_tells_that_a_snapshot_needs_condemned_packs(tmp_path: Path) -> None:
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    back_up(make_source(tmp_path / "source"), into=repository)
    condemn(repository, home)

    report = verify(repository, level="full", record=False)

    assert report.findings
    assert all(finding.severity is not Severity.INFO and finding.action for finding in report.findings)


def test_a_full_verification_never_passes_while_a_snapshot_needs_condemned_packs_that_are_damaged(
    tmp_path: Path,
) -> None:
    home = tmp_path / "repository"
    repository = Repository.create(home, key=None)
    back_up(make_source(tmp_path / "source"), into=repository)
    flip(condemn(repository, home)[0], 100)

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


# Sweeps


@pytest.fixture(scope="module", params=["plain", "sealed"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    kind = str(request.param)
    return build_world(tmp_path_factory.mktemp(kind), f"corruption-{kind}", sealed=kind == "sealed")


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Another repository with the same key."""
    sealed = world.key is not None
    stranger = build_world(tmp_path_factory.mktemp("other"), f"{world.name}-other", sealed=sealed)
    stranger.key = world.key
    return stranger


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> None:
    if "world" in request.fixturenames:
        request.getfixturevalue("world").mend()


def objects_in(world: World, folder: str) -> list[str]:
    names = world.of_folder(folder)
    if not names:
        assert (folder, world.key) == ("keys", None)
        pytest.skip("a plain repository has no key slots")
    return names


def unnoticed(world: World, changes: Iterator[tuple[str, dict[str, bytes | None]]]) -> list[str]:
    """Which of the described changes a full verification does not speak of."""
    silent = []
    for what, change in changes:
        with world.damaged(change):
            if not is_noticed(world):
                silent.append(what)
    return silent


def positions(number: int, size: int) -> list[int]:
    """Which bytes to flip: all in a long run; else all fixed ones of a header, and some of the rest."""
    chosen = set(range(number % STRIDE, size, STRIDE)) | {size - 1}
    if number == 0:
        chosen |= {*range(24), *range(72, HEADER_BYTES)}
    return sorted(chosen)


def flips(world: World, folder: str) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    for number, name in enumerate(objects_in(world, folder)):
        for position in positions(number, len(world.objects[name])):
            data = bytearray(world.objects[name])
            data[position] ^= 1 << position % 8
            yield f"{name} at {position}", {name: bytes(data)}


def cuts(world: World, folder: str) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    for name in objects_in(world, folder):
        data = world.objects[name]
        lengths = {0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(data) // 2, len(data) - 1}
        for length in range(len(data)) if LONG else sorted(lengths):
            yield f"{name} cut to {length}", {name: data[:length]}
        yield f"{name} longer by a byte", {name: data + b"\0"}


def test_without_damage_nothing_is_noticed(world: World) -> None:
    assert not is_noticed(world)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_flipped_bit_anywhere_is_noticed_and_never_restored(world: World, folder: str) -> None:
    assert unnoticed(world, flips(world, folder)) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_object_of_another_length_is_noticed_and_never_restored(world: World, folder: str) -> None:
    assert unnoticed(world, cuts(world, folder)) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_of_one_kind_that_were_swapped_or_replayed_are_noticed(world: World, folder: str) -> None:
    def changes() -> Iterator[tuple[str, dict[str, bytes | None]]]:
        for left, right in pairwise(objects_in(world, folder)):
            yield f"{left} and {right} swapped", {left: world.objects[right], right: world.objects[left]}
            yield f"{left} replayed as {right}", {right: world.objects[left]}
            yield f"{right} replayed as {left}", {left: world.objects[right]}

    assert unnoticed(world, changes()) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_object_replaced_by_one_of_another_kind_is_noticed(world: World, folder: str) -> None:
    kinds = [world.of_folder(each)[0] for each in FOLDERS if each != folder and world.of_folder(each)]

    def changes() -> Iterator[tuple[str, dict[str, bytes | None]]]:
        for name in objects_in(world, folder):
            for kind in kinds:
                yield f"{kind} as {name}", {name: world.objects[kind]}

    assert unnoticed(world, changes()) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_object_of_another_repository_is_noticed_in_the_place_of_ours(
    world: World, other: World, folder: str
) -> None:
    def changes() -> Iterator[tuple[str, dict[str, bytes | None]]]:
        for name in objects_in(world, folder):
            for foreign in other.of_folder(folder):
                yield f"{foreign} as {name}", {name: other.objects[foreign]}

    assert unnoticed(world, changes()) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_object_of_another_repository_beside_ours_is_noticed(world: World, other: World, folder: str) -> None:
    harmless = ("founding", "intents", "keys")  # nothing is ever read from these, or only what is ours

    def changes() -> Iterator[tuple[str, dict[str, bytes | None]]]:
        objects_in(world, folder)
        for foreign in other.of_folder(folder):
            yield foreign, {foreign: other.objects[foreign]}

    silent = unnoticed(world, changes())

    assert silent == (other.of_folder(folder) if folder in harmless else [])


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_deleted_object_is_noticed_unless_nothing_rests_on_it(world: World, folder: str) -> None:
    newest = {name for name, body in world.open().history().journal.items() if body.kind == "verification"}
    without = {
        "catalogues": set(world.of_folder("catalogues")),  # copies
        "deaths": set(world.of_folder("deaths")),
        "dooms": set(world.of_folder("dooms")),
        "founding": set(world.of_folder("founding")),  # served when the repository was created
        "index": set(world.of_folder("index/0"))
        | set(world.of_folder("index/1")),  # each one is held by the other tier
        "intents": set(world.of_folder("intents")),  # served when the snapshot was made
        "journal": newest,  # nothing names the last record
    }

    silent = unnoticed(world, ((name, {name: None}) for name in objects_in(world, folder)))

    assert set(silent) == without.get(folder, set())


def test_deleting_every_index_is_noticed(world: World) -> None:
    with world.damaged(dict.fromkeys(world.of_folder("index"))):
        assert is_noticed(world)


# Healing

WOUNDS: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda _: None,
    "flipped": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
}


@pytest.mark.parametrize("wound", WOUNDS)
@pytest.mark.parametrize("folder", ["data", "metadata"])
def test_what_a_verification_found_damaged_is_stored_again_by_the_next_backup(
    world: World, folder: str, wound: str
) -> None:
    changes = {name: WOUNDS[wound](world.objects[name]) for name in world.of_folder(folder)}
    with world.damaged(changes):
        verified = verify(world.open())
        report = back_up(world.source, into=world.open())
        with scratch() as folder_restored:
            restored = restore(report.snapshot, folder_restored)
            found = tree_of(folder_restored)
        again = verify(world.open(), level="full", record=False)

    assert not verified.passed
    assert report.complete
    assert restored.complete
    assert found == tree_of(world.source)
    assert report.snapshot.id not in again.affected
