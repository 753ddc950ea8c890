"""Malice: whoever can write the repository may write anything, and the script leaves its target alone at most."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from safebackup import KeyFile, Passphrase, Repository, back_up
from safebackup.emergency import restore as script
from safebackup.format.header import FRAME_BYTES_MAX, Kind
from safebackup.format.index import IndexTable, PackRow
from safebackup.format.objects import Identity, build_record
from safebackup.format.pack import FrameRow, PackTable
from safebackup.format.records import DeathBody
from safebackup.repository.keys import NO_KEYS, build_slot, new_secrets
from tests.attack.forging import ROOT, Forger, directory, file, symlink
from tests.attack.test_hostile import (
    ESCAPES,
    LIES,
    ODDITIES,
    SNAPSHOTS,
    TREES,
    Stage,
    entry_lies,
    odd_entries,
    tree_lies,
)
from tests.attack.world import tree_of

# What no restore looks at, or what only says how much to expect.
NOT_LOOKED_AT = {
    "2**63 bytes",
    "evidence of another shape",
    "more evidence than segments",
    "a manifest for evidence",
    "fewer bytes than none",
}


def call(stage: Stage, *arguments: str | Path) -> int:
    """The script in this process; it never fails in a way that was not foreseen."""
    return script.main([*map(str, arguments), "--repository", stage.repository.url])


@pytest.fixture(autouse=True)
def nothing_unforeseen(capsys: pytest.CaptureFixture[str]) -> Any:
    yield
    assert "unforeseen" not in capsys.readouterr().err


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_manifest_makes_it_write_outside_of_its_target(stage: Stage, escape: str) -> None:
    entries = ESCAPES[escape](stage.forger, stage.base)
    stage.forger.publish(stage.forger.tree(entries), stage.honest)
    before = stage.around()
    outcomes = [call(stage, "restore", "latest", stage.target)]
    for number, entry in enumerate(entries):
        if entry.path:
            target = stage.target / f"target-{number}"
            outcomes.append(call(stage, "restore", "latest", target, "--path", os.fsdecode(entry.path[:40])))
    assert stage.around() == before
    assert outcomes[0] == script.INCOMPLETE
    assert call(stage, "verify") == script.DAMAGED


@pytest.mark.parametrize("lost", [0, 1])
def test_what_is_lost_is_no_way_out(stage: Stage, lost: int) -> None:
    """Where a piece of the manifest is lost, folders are made for what lies in them: never through a link."""
    segments = [
        [ROOT, symlink(b"a", b"../../around"), symlink(b"b", b".")],
        [directory(b"c"), directory(b"d")],
        [file(b"e/../loot"), file(b"f/loot"), symlink(b"g", b".."), file(b"g/loot"), file(b"h/i/j")],
    ]
    refs = [stage.forger.segment_ref(entries) for entries in segments]
    refs[lost] = msgspec.structs.replace(refs[lost], chunk=bytes(32))
    tree = stage.forger.tree([ROOT])
    stage.forger.publish(attrs.evolve(tree, manifest=stage.forger.node(refs), entries=9), stage.honest)
    before = stage.around()
    assert call(stage, "restore", "latest", stage.target) == script.INCOMPLETE
    assert stage.around() == before
    assert (stage.target / "h" / "i" / "j").exists()
    assert not (stage.target / "loot").exists()


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_contradicts_itself_is_lost_alone(stage: Stage, lie: str) -> None:
    five = stage.forger.data(b"12345")
    entries = [ROOT, *entry_lies(stage.forger)[lie], file(b"z", size=5, content=five)]
    stage.forger.publish(stage.forger.tree(entries), stage.honest)
    assert call(stage, "restore", "latest", stage.target) == script.INCOMPLETE
    assert os.listdir(stage.target) == ["z"]
    assert call(stage, "verify") == script.DAMAGED


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_entry_is_restored_or_named(stage: Stage, oddity: str) -> None:
    stage.forger.publish(stage.forger.tree([ROOT, *odd_entries(stage.forger)[oddity]]), stage.honest)
    before = stage.around()
    assert call(stage, "ls", "latest") in (script.OK, script.DAMAGED)
    assert call(stage, "restore", "latest", stage.target) in (script.OK, script.INCOMPLETE)
    shutil.rmtree(stage.target)  # it may hold a file of 2**62 bytes
    assert stage.around() == before


@pytest.mark.parametrize("lie", TREES)
def test_a_tree_that_lies_is_no_complete_restore(stage: Stage, lie: str) -> None:
    tree_lies(stage.forger, stage.honest)[lie]()
    # Without an id of its manifest it is no snapshot at all: the one before is restored, and that is said.
    expected = {"a root without an id": script.DAMAGED} | dict.fromkeys(NOT_LOOKED_AT, script.OK)
    assert call(stage, "restore", "latest", stage.target) == expected.get(lie, script.INCOMPLETE)
    assert call(stage, "ls", "latest") == (script.OK if lie in NOT_LOOKED_AT else script.DAMAGED)


@pytest.mark.parametrize("lie", SNAPSHOTS)
def test_a_snapshot_that_talks_nonsense_is_listed_on_one_line(
    stage: Stage, lie: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.forger.publish(stage.forger.tree([ROOT, file(b"a")]), stage.honest, **SNAPSHOTS[lie])
    assert call(stage, "snapshots") in (script.OK, script.DAMAGED)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2
    assert "\x1b" not in shown
    assert call(stage, "restore", "latest", stage.target) in (script.OK, script.DAMAGED)


BODIES: list[object] = [None, 1, "text", b"bytes", [], {}, [[]], {"run": []}, {1: 2}, [1, 2, 3, 4, 5, 6, 7], True]
RECORDS = [Kind.SNAPSHOT, Kind.DEATH, Kind.DOOM, Kind.JOURNAL, Kind.CATALOGUE, Kind.CONFIGURATION, Kind.KEY_SLOT]


@pytest.mark.parametrize("kind", [*RECORDS, Kind.FOUNDING, Kind.INDEX, Kind.DATA_PACK, Kind.METADATA_PACK])
def test_tables_of_any_shape_are_damage(stage: Stage, kind: Kind) -> None:
    for body in BODIES:
        stage.forger.frames(kind, body)
    assert call(stage, "snapshots") in (script.OK, script.DAMAGED)
    assert call(stage, "restore", "latest", stage.target) in (script.OK, script.DAMAGED)
    assert (stage.target / "file").read_bytes() == b"an honest file"
    assert call(stage, "verify") in (script.OK, script.DAMAGED)


def record_lies() -> list[tuple[Kind, dict[str, object]]]:
    odd: tuple[object, ...] = (None, -1, 1 << 63, "x", b"x", [1], [[1]], {"x": 1})
    keys = {
        Kind.DEATH: ("run", "final"),
        Kind.DOOM: ("packs",),
        Kind.JOURNAL: ("heads", "snapshots", "kind"),
        Kind.CATALOGUE: ("snapshots",),
        Kind.SNAPSHOT: ("run", "manifest", "roots", "heads", "sequence", "complete", "finished"),
    }
    return [(kind, {key: value}) for kind, names in keys.items() for key in names for value in odd]


def test_bodies_with_odd_values_are_damage_at_most(stage: Stage) -> None:
    honest = msgspec.to_builtins(stage.honest, builtin_types=(bytes,))
    for kind, lie in record_lies():
        stage.forger.frames(kind, {**honest, **lie} if kind is Kind.SNAPSHOT else lie)
    (stage.base / "repository" / f"snapshots/{'0' * 64}").write_bytes(b"so that catalogues are read")
    assert call(stage, "snapshots") == script.DAMAGED
    assert call(stage, "verify") == script.DAMAGED
    (honest_one,) = [one for one in stage.repository.snapshots() if one.sequence == stage.honest.sequence][:1]
    assert call(stage, "restore", honest_one.id, stage.target) in (script.DAMAGED, script.INCOMPLETE)


@pytest.mark.parametrize(
    "table",
    [
        IndexTable(0, [], [], [PackRow("data/../../etc/passwd", 5)], [bytes(32)], [16 + 64], 1),
        IndexTable(0, [], [], [PackRow(f"data/00/{'0' * 64}", 5)], [], [1 << 40], 1),
        IndexTable(0, [], [], [PackRow(f"data/00/{'0' * 64}", 5)], [b""], [16 + 63], 1),
        IndexTable(0, ["index/0/x"], ["index/0/x"], [], [], [], -1),
    ],
    ids=["a pack outside", "a huge block", "half an entry", "nothing"],
)
def test_indexes_that_lie_cost_nothing(stage: Stage, table: IndexTable) -> None:
    stage.forger.frames(Kind.INDEX, table, [bytes(64)] if table.blocks else [])
    expected = script.DAMAGED if table.packs else script.OK
    assert call(stage, "restore", "latest", stage.target) == expected
    assert (stage.target / "file").read_bytes() == b"an honest file"


def test_an_index_that_leads_astray_is_not_followed(stage: Stage) -> None:
    """Entries for the right chunk in the wrong places are tried, found wanting, and passed over."""
    repository = stage.repository
    (data,) = [info.name for info in repository.store.list("data/")]
    wanted = next(entry.content for entry in repository.snapshot().walk() if entry.path == b"file")
    assert isinstance(wanted, bytes)
    rows = []
    for ordinal, codec, offset, stored, raw, start, length in [
        (1, 0, 88, 30, 14, 0, 14),
        (2, 0, 88, 30, 14, 0, 14),
        (1, 9, 88, 30, 14, 0, 14),
        (1, 1, 88, 30, 14, 0, 14),
        (1, 0, 0, 30, 14, 0, 14),
        (1, 0, (1 << 32) - 1, (1 << 32) - 1, (1 << 32) - 1, (1 << 32) - 1, 14),
        (1, 0, 88, 30, 14, 13, 14),
        (1, 0, 88, 16, 0, 0, 14),
    ]:
        numbers = (0, ordinal, codec, offset, stored, raw, start, length)
        rows.append(wanted + b"".join(number.to_bytes(4, "big") for number in numbers))
    block = b"".join(sorted(rows))
    table = IndexTable(0, [], [], [PackRow(data, 1)], [wanted], [16 + len(block)], len(rows))
    stage.forger.frames(Kind.INDEX, table, [block])
    assert call(stage, "restore", "latest", stage.target) in (script.OK, script.DAMAGED)
    assert (stage.target / "file").read_bytes() == b"an honest file"


def test_packs_that_lie_in_their_tables_are_passed_over(stage: Stage) -> None:
    for row in (
        FrameRow(0, 30, 1 << 60, bytes(32), [1 << 60]),
        FrameRow(0, 30, 14, bytes(32), [-1]),
        FrameRow(0, 30, 0, b"", []),
        FrameRow(7, 30, 14, bytes(32), [14]),
        FrameRow(0, 1 << 40, FRAME_BYTES_MAX, bytes(32), [FRAME_BYTES_MAX]),
    ):
        stage.forger.frames(Kind.DATA_PACK, PackTable([row]), [bytes(14)])
    for info in stage.repository.store.list("index/"):
        (stage.base / "repository" / info.name).unlink()
    assert call(stage, "restore", "latest", stage.target) == script.DAMAGED
    assert (stage.target / "file").read_bytes() == b"an honest file"


def test_a_bomb_takes_no_memory(stage: Stage) -> None:
    big = bytes(1 << 30)
    honest = zstandard.ZstdCompressor().compress(big)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(big)
    liar = bytearray(zstandard.ZstdCompressor().compress(big[: 1 << 20]))
    del big
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for packed in (honest, unsized, bytes(liar)):
        for kind in (Kind.DOOM, Kind.DEATH, Kind.SNAPSHOT):
            stage.forger.raw_table(kind, packed)
    assert call(stage, "restore", "latest", stage.target) == script.DAMAGED
    assert (stage.target / "file").read_bytes() == b"an honest file"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_death_of_nobody_hides_nothing(stage: Stage) -> None:
    stage.forger.record(Kind.DEATH, DeathBody(run=b"", final=True, created=1))
    assert call(stage, "restore", "latest", stage.target) == script.OK


def test_what_is_no_file_is_no_object(stage: Stage) -> None:
    """A FIFO would wait for its writer for ever, and a folder is no bytes."""
    for number, folder in enumerate(("snapshots", "deaths", "dooms", "index/0", "journal")):
        path = stage.base / "repository" / folder
        path.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path / f"{number:064x}")
        (path / f"{number + 100:064x}").mkdir()
        os.symlink("/dev/zero", path / f"{number + 200:064x}")
        os.symlink("/nowhere/at/all", path / f"{number + 300:064x}")
    assert call(stage, "restore", "latest", stage.target) == script.DAMAGED
    assert (stage.target / "file").read_bytes() == b"an honest file"
    assert call(stage, "verify") == script.DAMAGED


# Objects that are what they should not be


def test_a_chunk_is_never_another_one(stage: Stage) -> None:
    """A pack, well made, that says of other bytes that they are the content of a file."""
    (data,) = [info.name for info in stage.repository.store.list("data/")]
    content = next(entry.content for entry in stage.repository.snapshot().walk() if entry.path == b"file")
    assert isinstance(content, bytes)
    liar = stage.forger.frames(Kind.DATA_PACK, PackTable([FrameRow(0, 30, 14, content, [14])]), [b"not what it is"])
    for info in stage.repository.store.list("index/"):
        (stage.base / "repository" / info.name).unlink()
    assert call(stage, "restore", "latest", stage.target) == script.DAMAGED
    assert (stage.target / "file").read_bytes() == b"an honest file"

    (stage.base / "repository" / data).unlink()
    assert call(stage, "restore", "latest", stage.base / "again") == script.INCOMPLETE
    assert os.listdir(stage.base / "again") == []
    assert liar != data


def test_a_byte_is_never_another_one_where_only_seals_are_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "blake3", None)
    (data,) = [info.name for info in stage.repository.store.list("data/")]
    path = stage.base / "repository" / data
    path.write_bytes(path.read_bytes().replace(b"an honest file", b"an Honest file"))
    assert call(stage, "restore", "latest", stage.target) == script.INCOMPLETE
    assert os.listdir(stage.target) == []


def test_an_object_under_another_name_is_damage(stage: Stage) -> None:
    snapshot = stage.base / "repository" / stage.repository.snapshot().name
    snapshot.rename(snapshot.with_name("0" * 64))
    assert call(stage, "restore", "0000", stage.target) == script.DAMAGED
    assert not stage.target.exists()


def test_an_object_of_another_repository_is_none_of_this_one(stage: Stage) -> None:
    other = Repository.create(stage.base / "other", key=None)
    theirs = back_up(stage.base / "source", into=other).snapshot
    shutil.copy(stage.base / "other" / theirs.name, stage.base / "repository" / "snapshots")
    assert call(stage, "restore", theirs.id, stage.target) == script.USAGE
    assert call(stage, "snapshots") == script.DAMAGED


def test_what_is_not_sealed_is_none_of_a_sealed_repository(tmp_path: Path) -> None:
    """Whoever can write, without the key, must not be able to make a snapshot."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"sealed")
    (tmp_path / "phrase").write_text("a phrase\n")
    repository = Repository.create(tmp_path / "repository", key=Passphrase("a phrase"))
    honest = back_up(tmp_path / "tree", into=repository).snapshot.body
    identity = Identity(bytes.fromhex(repository.id), NO_KEYS)
    plain = build_record(identity, Kind.SNAPSHOT, msgspec.structs.replace(honest, sequence=9), salt=os.urandom(32))
    repository.store.put_new(plain.name, plain.data)
    arguments = ["--repository", repository.url, "--passphrase-file", str(tmp_path / "phrase")]
    assert script.main(["ls", plain.name.partition("/")[2], *arguments]) == script.USAGE
    assert script.main(["snapshots", *arguments]) == script.DAMAGED


def test_who_cannot_own_a_file_does_not_lend_its_rights(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    lent = file(b"lent", uid=1 << 40, mode=0o6755)
    stage.forger.publish(stage.forger.tree([ROOT, lent]), stage.honest)
    assert call(stage, "restore", "latest", stage.target) == script.OK
    assert (stage.target / "lent").stat().st_mode & 0o7777 == 0o755
    assert "set-id bits" in capsys.readouterr().err


# Key slots


def test_slots_that_contradict_each_other_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = KeyFile.create(tmp_path / "key")
    repository = Repository.create(tmp_path / "repository", key=key)
    identity, founding = bytes.fromhex(repository.id), repository.configurations.founding_name
    other = new_secrets(founding, repository.runtime)
    slot = build_slot(identity, other, key, repository.runtime)
    repository.store.put_new(slot.name, slot.data)
    arguments = ["--repository", repository.url, "--key-file", str(tmp_path / "key")]
    assert script.main(["snapshots", *arguments]) == script.DAMAGED
    assert "contradict" in capsys.readouterr().err


@pytest.mark.parametrize("cost", [[1 << 30, 8, 1], [1 << 14, 64, 16], [3, 8, 1], [-1, 8, 1], [1 << 14, 0, 0], [], None])
def test_a_slot_that_asks_for_too_much_is_passed_over(cost: object, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"sealed")
    (tmp_path / "phrase").write_text("a phrase\n")
    repository = Repository.create(tmp_path / "repository", key=Passphrase("a phrase"))
    back_up(tmp_path / "tree", into=repository)
    slot = {"epoch": 1, "method": "scrypt", "created": 1, "label": "", "salt": bytes(32), "sealed": bytes(99)}
    Forger(repository).frames(Kind.KEY_SLOT, {**slot, "cost": cost})
    arguments = ["--repository", str(tmp_path / "repository"), "--passphrase-file", str(tmp_path / "phrase")]
    assert script.main(["restore", "latest", str(tmp_path / "target"), *arguments]) in (script.OK, script.DAMAGED)
    assert tree_of(tmp_path / "target") == tree_of(tmp_path / "tree")


# MessagePack

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(1 << 63), (1 << 64) - 1), inner),
)


@given(VALUES)
@example([0] * 70_000)
@example({str(number): b"x" * 300 for number in range(20)})
@example("x" * 70_000)
def test_what_is_packed_is_unpacked(value: object) -> None:
    assert script.unpack(msgspec.msgpack.encode(value)) == value


@given(st.binary(max_size=40))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff\x01")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x91" * 40)
@example(b"\x81\x90\x01")
def test_any_bytes_are_a_value_or_damage(data: bytes) -> None:
    try:
        found = script.unpack(data)
    except script.Damage:
        return
    assert msgspec.msgpack.decode(data) == found
