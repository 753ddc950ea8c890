"""Malice: whoever holds the key may write anything, and nothing hangs, swells, crashes or leaves its place."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import msgspec
import pytest
import zstandard

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import Code, IntegrityError, SafeBackupError
from safebackup.format.compressing import Codec
from safebackup.format.header import FRAME_BYTES_MAX, TABLE_BYTES_MAX, KeyWrap, Kind
from safebackup.format.ids import ChunkIds
from safebackup.format.index import IndexTable, PackRow, build_index
from safebackup.format.keyslots import wrapping_key
from safebackup.format.manifest import Entry, EntryKind, NodeRef
from safebackup.format.objects import encode
from safebackup.format.pack import EncodedFrame, FrameRow, PackTable, places_of
from safebackup.format.records import (
    CatalogueBody,
    Configuration,
    DeathBody,
    DoomBody,
    IntentBody,
    JournalBody,
    SnapshotBody,
    TreeRef,
)
from tests.attack import besiege
from tests.attack.forging import ROOT, Forger, Tree, directory, file, raw, symlink
from tests.attack.world import LONG, scratch, tree_of

SECONDS_MAX = 10.0
GROWN_MIB_MAX = 300
LOOT = b"written where it must not be"


@attrs.frozen
class Stage:
    """A repository with one honest snapshot, and folders around the target of restores."""

    base: Path
    repository: Repository
    forger: Forger
    honest: SnapshotBody

    @property
    def source(self) -> Path:
        return self.base / "source"

    @property
    def target(self) -> Path:
        return self.base / "around" / "target"

    def around(self) -> dict[bytes, tuple[object, ...]]:
        """Everything beside the target."""
        found = tree_of(self.base)
        inside = b"around/target"
        ignored = (b"", b"around", inside)
        return {
            path: seen
            for path, seen in found.items()
            if path not in ignored and not path.startswith((inside + b"/", b"repository"))
        }

    def besieged(self) -> dict[str, str]:
        """What every verb answers, in this process."""
        return besiege.answers(self.repository.url, str(self.source), self.base / "work")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with scratch() as base:
        (base / "source").mkdir()
        (base / "source" / "file").write_bytes(b"an honest file")
        (base / "around").mkdir()
        (base / "around" / "canary").write_bytes(b"alive")
        (base / "work").mkdir()
        repository = Repository.create(base / "repository", key=None)
        snapshot = back_up(base / "source", into=repository).snapshot
        yield Stage(base, repository, Forger(repository), snapshot.body)


# Paths that could leave their place


def loot(path: bytes, forger: Forger) -> Entry:
    return file(path, size=len(LOOT), content=forger.data(LOOT))


Forge = Callable[[Forger, Path], Sequence[Entry]]

ESCAPES: dict[str, Forge] = {
    "two dots": lambda f, _: [ROOT, directory(b".."), loot(b"../loot", f)],
    "two dots below": lambda f, _: [ROOT, directory(b"a"), directory(b"a/.."), loot(b"a/../../loot", f)],
    "two dots alone": lambda f, _: [ROOT, loot(b"../loot", f)],
    "two dots last": lambda f, _: [ROOT, directory(b"a"), loot(b"a/..", f)],
    "absolute": lambda f, base: [ROOT, loot(os.fsencode(base) + b"/around/loot", f)],
    "absolute, from the root": lambda f, base: [ROOT, directory(b"/"), loot(b"/" + b"loot", f)],
    "an empty component": lambda f, _: [ROOT, directory(b"a"), directory(b"a/"), loot(b"a//loot", f)],
    "a slash at the end": lambda f, _: [ROOT, loot(b"loot/", f)],
    "a NUL": lambda f, _: [ROOT, loot(b"../loot\0", f)],
    "one dot": lambda f, _: [ROOT, directory(b"."), loot(b"./loot", f)],
    "out of order": lambda f, _: [ROOT, loot(b"b", f), loot(b"a", f)],
    "twice": lambda f, _: [ROOT, loot(b"a", f), loot(b"a", f)],
    "a link, then its name again as a directory": lambda f, _: [
        ROOT,
        symlink(b"a", b"../../around"),
        directory(b"a"),
        loot(b"a/loot", f),
    ],
    "below a symbolic link": lambda f, _: [ROOT, symlink(b"a", b".."), loot(b"a/loot", f)],
    "a directory below a symbolic link": lambda f, _: [
        ROOT,
        symlink(b"a", b".."),
        directory(b"a/b"),
        loot(b"a/b/loot", f),
    ],
    "below a file": lambda f, _: [ROOT, loot(b"a", f), loot(b"a/loot", f)],
    "below nothing": lambda f, _: [ROOT, loot(b"a/b/loot", f)],
    "without a root, below": lambda f, _: [loot(b"a/loot", f)],
    "the root a link": lambda f, _: [symlink(b"", b".."), loot(b"loot", f)],
    "the root a file": lambda f, _: [loot(b"", f)],
    "the root twice": lambda f, _: [ROOT, ROOT, loot(b"loot", f)],
}


@pytest.mark.parametrize("overwrite", ["refuse", "replace"])
@pytest.mark.parametrize("escape", ESCAPES)
def test_no_manifest_makes_a_restore_write_outside_of_its_target(stage: Stage, escape: str, overwrite: str) -> None:
    entries = ESCAPES[escape](stage.forger, stage.base)
    name = stage.forger.publish(stage.forger.tree(entries), stage.honest)
    snapshot = stage.repository.snapshot(name.partition("/")[2])
    before = stage.around()
    outcomes = []
    selections: list[list[bytes] | None] = [None, *([entry.path] for entry in entries if entry.path)]
    for number, paths in enumerate(selections):
        try:
            report = restore(snapshot, stage.target, paths=paths, overwrite="refuse" if number == 0 else overwrite)  # type: ignore[arg-type]
            outcomes.append(report.complete)
        except SafeBackupError:
            outcomes.append(False)

    verified = verify(stage.repository, level="full", record=False)

    assert stage.around() == before
    assert outcomes[0] is False
    assert not verified.passed


def test_a_link_that_is_restored_is_never_written_through(stage: Stage) -> None:
    first = stage.forger.tree([ROOT, symlink(b"a", b"..")])
    second_entries = [ROOT, directory(b"a"), loot(b"a/loot", stage.forger)]
    first_name = stage.forger.publish(first, stage.honest)
    second = stage.forger.tree(second_entries)
    second_name = stage.forger.publish(second, stage.honest)
    repository = stage.repository
    restore(repository.snapshot(first_name.partition("/")[2]), stage.target)
    before = stage.around()

    report = restore(repository.snapshot(second_name.partition("/")[2]), stage.target, overwrite="replace")

    assert not report.complete
    assert stage.around() == before


def test_device_nodes_are_not_made_without_consent(stage: Stage) -> None:
    entries = [
        ROOT,
        file(b"block", kind=EntryKind.BLOCK_DEVICE, device=(8, 0), mode=0o666),
        file(b"character", kind=EntryKind.CHARACTER_DEVICE, device=(1, 1), mode=0o666),
    ]
    name = stage.forger.publish(stage.forger.tree(entries), stage.honest)

    report = restore(stage.repository.snapshot(name.partition("/")[2]), stage.target)

    assert os.listdir(stage.target) == []
    assert Code.DEVICE_NOT_MADE in {finding.code for finding in report.findings}


@pytest.mark.parametrize("device", [None, (-1, -1), (1 << 62, 1 << 62), (1 << 12, 0), (0, 1 << 20)])
def test_impossible_device_numbers_are_findings_even_with_consent(stage: Stage, device: tuple[int, int] | None) -> None:
    entries = [ROOT, file(b"node", kind=EntryKind.BLOCK_DEVICE, device=device)]
    name = stage.forger.publish(stage.forger.tree(entries), stage.honest)

    report = restore(stage.repository.snapshot(name.partition("/")[2]), stage.target, devices=True)

    assert os.listdir(stage.target) == []
    assert Code.DEVICE_NOT_MADE in {finding.code for finding in report.findings}


# Entries that lie about themselves


def entry_lies(f: Forger) -> dict[str, list[Entry]]:
    five = f.data(b"12345")
    a = b"a"
    return {
        "2**63 bytes": [file(a, size=1 << 63, content=[0, None, 1 << 63])],
        "2**64-1 bytes": [file(a, size=(1 << 64) - 1, content=five)],
        "fewer than 0 bytes": [file(a, size=-1)],
        "bytes without content": [file(a, size=5)],
        "content of another length": [file(a, size=4, content=five)],
        "content and no size": [file(a, size=0, content=five)],
        "a chunk that is not there": [file(a, size=5, content=bytes(32))],
        "an id of no length": [file(a, size=5, content=b"")],
        "an id of 3 bytes": [file(a, size=5, content=b"abc")],
        "extents that are too short": [file(a, size=6, content=[0, five, 5])],
        "extents that are too long": [file(a, size=4, content=[0, None, 5])],
        "an extent of negative length": [file(a, size=4, content=[0, None, -5, None, 9])],
        "an extent of no length": [file(a, size=5, content=[0, None, 0, five, 5])],
        "half an extent": [file(a, size=5, content=[0, five])],
        "no level": [file(a, size=5, content=[])],
        "a level of bytes": [file(a, size=5, content=[b"\1", five, 5])],
        "a level of nothing": [file(a, size=5, content=[None, five, 5])],
        "a negative level": [file(a, size=5, content=[-1, five, 5])],
        "level 17": [file(a, size=5, content=[17, five, 5, 5])],
        "level 2**63": [file(a, size=5, content=[1 << 63, five, 5, 5])],
        "a node without an id": [file(a, size=5, content=[1, None, 5, 5])],
        "a node that is no list": [file(a, size=5, content=[1, *f.metadata(b"\x01"), 5])],
        "a node of 2**62 bytes": [file(a, size=5, content=[1, f.metadata(b"\x91\x00")[0], 1 << 62, 5])],
        "a node that is a piece of a file": [file(a, size=5, content=[1, five, 5, 5])],
        "a hole in a node": [file(a, size=5, content=[2, *f.metadata(encode([1, None, 5, 5])), 5])],
        "kind 0": [file(a, kind=0)],
        "kind 7": [file(a, kind=7)],
        "a mode beyond all modes": [file(a, mode=0o10644)],
        "a negative mode": [file(a, mode=-1)],
        "a link to nowhere": [file(a, kind=EntryKind.SYMLINK)],
        "a link to nothing": [symlink(a, b"")],
    }


def odd_entries(f: Forger) -> dict[str, list[Entry]]:
    """Strange, but nothing that contradicts itself: restored as far as the file system takes it."""
    a, b = b"a", b"b"
    five = f.data(b"12345")
    return {
        "a hole of 2**62 bytes": [file(a, size=1 << 62, content=[0, None, 1 << 62])],
        "a hole of 2**63-1 bytes": [file(a, size=(1 << 63) - 1, content=[0, None, (1 << 63) - 1])],
        "two holes of 2**62 bytes": [file(a, size=(1 << 63) - 1, content=[0, None, 1 << 62, None, (1 << 62) - 1])],
        "bytes behind 2**62 bytes of hole": [file(a, size=(1 << 62) + 5, content=[0, None, 1 << 62, five, 5])],
        "times that no file has": [
            file(b"%d" % number, mtime=mtime)
            for number, mtime in enumerate(
                [(1 << 63) - 1, 1 << 63, -(1 << 63), b"", b"\x7f" + b"\xff" * 15, b"\x80" + bytes(15), b"\1" * 100_000]
            )
        ],
        "owners that nobody has": [
            file(b"%d" % number, uid=uid, gid=uid) for number, uid in enumerate([-1, (1 << 32) - 1, 1 << 32, 1 << 63])
        ],
        "attributes without a name": [file(a, xattrs=((b"", b""), (b"user.", b"x"), (b"user.\0", b"x")))],
        "attributes that are too long": [file(a, xattrs=((b"user." + b"x" * 300, b"x"), (b"user.y", bytes(70_000))))],
        "attributes of no kind": [file(a, xattrs=((b"nonsense", b"x"), (b"system.posix_acl_access", b"garbage")))],
        "a link with a NUL": [symlink(a, b"x\0y")],
        "a link that is too long": [symlink(a, b"x" * 5000)],
        "a link with content": [file(a, kind=EntryKind.SYMLINK, target=b"t", size=5, content=five)],
        "a directory with content": [file(a, kind=EntryKind.DIRECTORY, size=5, content=five, target=b"t")],
        "a fifo with content": [file(a, kind=EntryKind.FIFO, size=5, content=five, target=b"t")],
        "names of one file that are not alike": [
            file(a, link=b"x", size=5, content=five),
            file(b, link=b"x"),
            file(b"c", kind=EntryKind.FIFO, link=b"x"),
            file(b"d", kind=EntryKind.DIRECTORY, link=b"x"),
        ],
        "a group of links without a name": [file(a, link=b""), file(b, link=b"")],
        "a digest of nothing": [file(a, digest=("", b""))],
        "a name of 300 bytes": [file(b"n" * 300), directory(b"o" * 300), file(b"o" * 300 + b"/below")],
        "a name of 70,000 bytes": [file(b"n" * 70_000)],
        "a temporary's name": [file(b".safebackup-0000000000000000-1")],
        "flags of the future": [file(a, flags=1 << 63)],
    }


LIES = [
    *("2**63 bytes", "2**64-1 bytes", "fewer than 0 bytes", "bytes without content", "content of another length"),
    *("content and no size", "a chunk that is not there", "an id of no length", "an id of 3 bytes"),
    *("extents that are too short", "extents that are too long", "an extent of negative length"),
    *("an extent of no length", "half an extent", "no level", "a level of bytes", "a level of nothing"),
    *("a negative level", "level 17", "level 2**63", "a node without an id", "a node that is no list"),
    *("a node of 2**62 bytes", "a node that is a piece of a file", "a hole in a node", "kind 0", "kind 7"),
    *("a mode beyond all modes", "a negative mode", "a link to nowhere", "a link to nothing"),
]
ODDITIES = [
    *("a hole of 2**62 bytes", "a hole of 2**63-1 bytes", "two holes of 2**62 bytes"),
    *("bytes behind 2**62 bytes of hole", "times that no file has", "owners that nobody has"),
    *("attributes without a name", "attributes that are too long", "attributes of no kind", "a link with a NUL"),
    *("a link that is too long", "a link with content", "a directory with content", "a fifo with content"),
    *("names of one file that are not alike", "a group of links without a name", "a digest of nothing"),
    *("a name of 300 bytes", "a temporary's name", "a name of 70,000 bytes", "flags of the future"),
]


def crashes(found: dict[str, str]) -> dict[str, str]:
    return {verb: answer for verb, answer in found.items() if answer.startswith("CRASH")}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_that_contradicts_itself_is_damage(stage: Stage, lie: str) -> None:
    tree = stage.forger.tree([ROOT, *entry_lies(stage.forger)[lie]])
    stage.forger.publish(tree, stage.honest)

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] != "passed"
    assert found["restore"] != "complete, complete"


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_entry_crashes_nothing(stage: Stage, oddity: str) -> None:
    tree = stage.forger.tree([ROOT, *odd_entries(stage.forger)[oddity]])
    stage.forger.publish(tree, stage.honest)

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["back_up"] == "complete"


# Trees and snapshots


def tree_lies(f: Forger, honest: SnapshotBody) -> dict[str, Callable[[], object]]:
    entries = [ROOT, file(b"a"), file(b"b")]

    def with_root(root: TreeRef) -> Callable[[], object]:
        return lambda: f.publish(attrs.evolve(f.tree(entries), manifest=root), honest)

    def with_node(refs: Sequence[object], level: int = 1) -> Callable[[], object]:
        return lambda: f.publish(
            attrs.evolve(f.tree(entries), manifest=TreeRef(level, *f.metadata(list(refs)))), honest
        )

    ref = f.segment_ref(entries)
    empty = NodeRef(b"", 0, 0, *f.metadata([[], [], []]))
    return {
        "a segment twice": with_node([ref, ref]),
        "an empty segment twice": with_node([empty, empty]),
        "an empty segment behind a full one": with_node([ref, msgspec.structs.replace(empty, first=b"c")]),
        "an empty node": with_node([]),
        "a node of numbers": with_node([1, 2, 3]),
        "a segment for a node": with_node([ref], level=2),
        "a segment 16 levels deep": with_node([ref], level=16),
        "no level": with_root(TreeRef(0, ref.chunk, ref.chunk_bytes)),
        "a negative level": with_root(TreeRef(-1, ref.chunk, ref.chunk_bytes)),
        "17 levels": with_root(TreeRef(17, ref.chunk, ref.chunk_bytes)),
        "2**63 levels": with_root(TreeRef(1 << 63, ref.chunk, ref.chunk_bytes)),
        "a root that is not there": with_root(TreeRef(1, bytes(32), 5)),
        "a root of 2**62 bytes": with_root(TreeRef(1, ref.chunk, 1 << 62)),
        "a root of -1 bytes": with_root(TreeRef(1, ref.chunk, -1)),
        "a root without an id": with_root(TreeRef(1, b"", 0)),
        "2**63 entries": lambda: f.publish(f.tree(entries, entries=1 << 63), honest),
        "-1 entries": lambda: f.publish(f.tree(entries, entries=-1), honest),
        "2**63 bytes": lambda: f.publish(f.tree(entries, content_bytes=1 << 63), honest),
        "another first path": lambda: f.publish(f.tree(entries, first=b"a"), honest),
        "evidence of another shape": lambda: f.publish(
            attrs.evolve(f.tree(entries), evidence=f.node([f.evidence_ref([ROOT])])), honest
        ),
        "more evidence than segments": lambda: f.publish(
            attrs.evolve(f.tree(entries), evidence=f.node([f.evidence_ref([ROOT]), f.evidence_ref([file(b"z")])])),
            honest,
        ),
        "a manifest for evidence": lambda: f.publish(
            attrs.evolve(f.tree(entries), evidence=f.tree(entries).manifest), honest
        ),
        "more entries than there are": lambda: f.publish(f.tree(entries), honest, entries=99),
        "fewer bytes than none": lambda: f.publish(f.tree(entries), honest, content_bytes=-1),
    }


TREES = [
    *("a segment twice", "an empty segment twice", "an empty segment behind a full one", "an empty node"),
    *("a node of numbers", "a segment for a node", "a segment 16 levels deep", "no level", "a negative level"),
    *("17 levels", "2**63 levels", "a root that is not there", "a root of 2**62 bytes", "a root of -1 bytes"),
    *("a root without an id", "2**63 entries", "-1 entries", "2**63 bytes", "another first path"),
    *("evidence of another shape", "more evidence than segments", "a manifest for evidence"),
    *("more entries than there are", "fewer bytes than none"),
]


@pytest.mark.parametrize("lie", TREES)
def test_a_tree_that_lies_is_damage(stage: Stage, lie: str) -> None:
    tree_lies(stage.forger, stage.honest)[lie]()

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] != "passed"


SNAPSHOTS: dict[str, dict[str, object]] = {
    "the last sequence that there is": {"sequence": (1 << 62) - 1},
    "from before the world began": {"started": -(1 << 63), "finished": -(1 << 63)},
    "from the end of time": {"started": (1 << 64) - 1, "finished": (1 << 64) - 1},
    "parents that are not there": {"parents": ("snapshots/nothing", "../../x", "")},
    "heads that are not there": {"heads": ("journal/nothing",)},
    "an order of the future": {"order": "backwards"},
    "evidence of the future": {"evidence_kind": "astrology"},
    "a run without an id": {"run": b""},
    "roots of nothing": {"roots": ((b"../..", b""), (b"\0", b"\0"))},
    "names with control characters": {"source": "\x1b[2J\n\0", "host": "\r\n", "software": "\x07", "zone": "No/Where"},
    "findings that are none": {"findings": (("no-such-code", "dreadful", "", "\n"),), "findings_total": -5},
    "avoiding nothing, in three bytes": {"avoids": b"abc"},
}


@pytest.mark.parametrize("lie", SNAPSHOTS)
def test_a_snapshot_that_talks_nonsense_crashes_nothing(stage: Stage, lie: str) -> None:
    stage.forger.publish(stage.forger.tree([ROOT, file(b"a")]), stage.honest, **SNAPSHOTS[lie])

    found = stage.besieged()

    assert crashes(found) == {}
    assert set(found["restore"].split(", ")) == {"complete"}


# Other records


def journal(**facts: object) -> JournalBody:
    plain = JournalBody(
        run=b"r" * 16, kind="backup", outcome="complete", started=1, finished=2, host="h", heads=(), snapshots=()
    )
    return msgspec.structs.replace(plain, **facts)


JOURNALS: dict[str, JournalBody] = {
    "facts of the wrong type": journal(kind="verification", outcome="passed", facts={"level": 5, "slice": True}),
    "a slice of 2**63": journal(kind="verification", facts={"level": "sample", "slice": 1 << 63}),
    "damaged packs that are none": journal(kind="verification", damaged=("", "../../x", "snapshots/x")),
    "snapshots that are none": journal(snapshots=("", "../../x")),
    "an outcome of the future": journal(kind="juggling", outcome="dropped"),
    "times beyond time": journal(started=(1 << 64) - 1, finished=-(1 << 63)),
    "a run without an id": journal(run=b"", outcome="started"),
    "a slice that is no number": journal(kind="verification", facts={"level": "sample", "slice": "x"}),
    "runs that are not hexadecimal": journal(facts={"adopted": "zz"}),
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in JOURNALS.items()])
def test_a_journal_record_that_talks_nonsense_crashes_nothing(stage: Stage, body: JournalBody) -> None:
    stage.forger.record(Kind.JOURNAL, body)

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["restore"] == "complete"
    assert found["back_up"] == "complete"


def test_a_journal_that_goes_in_circles_in_a_catalogue_ends_and_is_damage(stage: Stage) -> None:
    first = stage.forger.record(Kind.JOURNAL, journal())
    second = stage.forger.record(Kind.JOURNAL, journal(heads=(first,)))
    circle = {first: journal(heads=(second,)), second: journal(heads=(first, second))}
    stage.forger.record(Kind.CATALOGUE, CatalogueBody(tier=0, replaces=(), snapshots={}, journal=raw(circle)))

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] == "damaged"


def test_a_catalogue_that_lies_about_a_snapshot_is_damage(stage: Stage) -> None:
    (name,) = stage.repository.history().snapshots
    lie = msgspec.structs.replace(stage.honest, complete=False, entries=0)
    stage.forger.record(Kind.CATALOGUE, CatalogueBody(tier=0, replaces=(), snapshots=raw({name: lie}), journal={}))

    report = verify(stage.repository, level="full", record=False)

    assert not report.passed


def test_a_catalogue_that_replaces_itself_and_others_hides_no_snapshot(stage: Stage) -> None:
    names = stage.repository.history().snapshots.keys()
    hiding = CatalogueBody(tier=5, replaces=tuple(names), snapshots={}, journal={})
    stage.forger.record(Kind.CATALOGUE, hiding, tier=5)

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["restore"] == "complete"


def test_a_death_of_a_published_run_is_told(stage: Stage) -> None:
    stage.forger.record(Kind.DEATH, DeathBody(run=stage.honest.run, final=True, created=1))

    report = verify(stage.repository, level="full", record=False)

    assert stage.repository.snapshots() == []
    assert Code.RUN_IS_DEAD in {finding.code for finding in report.findings}


def test_a_backup_rests_on_no_pack_that_a_doom_names(stage: Stage) -> None:
    store = stage.repository.store
    packs = tuple(info.name for info in [*store.list("data/"), *store.list("metadata/")])
    stage.forger.record(Kind.DOOM, DoomBody(packs=(*packs, "", "../../x"), created=1))

    report = back_up(stage.source, into=Repository.open(stage.repository.url, key=None))
    for pack in packs:
        Path(stage.repository.url.removeprefix("file://"), pack).unlink()
    restored = restore(report.snapshot, stage.target)

    assert restored.complete
    assert (stage.target / "file").read_bytes() == b"an honest file"


def test_an_intent_that_names_nothing_crashes_nothing(stage: Stage) -> None:
    nowhere = TreeRef(1 << 40, b"", -1)
    stage.forger.record(Kind.INTENT, IntentBody(run=b"", manifest=nowhere, evidence=nowhere, created=-1, host=""))

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] == "passed"


def configuration(**facts: object) -> Configuration:
    plain = Configuration(founding=False, created=1, sealed=False, software="x")
    return msgspec.structs.replace(plain, **facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"founding": True},
        {"features_read": ("telepathy",)},
        {"features_read": ("",)},
        {"sealed": True, "identity": b"x", "chunker_seed": -1},
    ],
    ids=str,
)
def test_a_further_configuration_record_crashes_nothing(stage: Stage, facts: dict[str, object]) -> None:
    stage.forger.record(Kind.CONFIGURATION, configuration(**facts))

    assert crashes(stage.besieged()) == {}


@pytest.mark.parametrize(
    "facts", [{"chunker_seed": -1}, {"chunker_seed": 1 << 63}, {"chunk_bytes": (64, 64, 64)}], ids=str
)
def test_a_founding_record_with_an_impossible_chunker_is_refused(stage: Stage, facts: dict[str, object]) -> None:
    founding = stage.repository.configurations
    Path(stage.repository.url.removeprefix("file://"), founding.founding_name).unlink()
    stage.forger.record(Kind.CONFIGURATION, msgspec.structs.replace(founding.founding, **facts))
    (stage.source / "large").write_bytes(bytes(5 << 20))

    assert crashes(stage.besieged()) == {}


@pytest.mark.parametrize(
    "cost", [(1 << 40, 8, 1), (1 << 63, 1, 1), (1 << 14, 1 << 40, 1), (1 << 14, 8, 1 << 40), (3 << 14, 8, 1), (0, 0, 0)]
)
def test_a_key_slot_that_asks_for_too_much_work_is_refused_before_any_is_done(cost: tuple[int, int, int]) -> None:
    with pytest.raises(IntegrityError) as caught:
        wrapping_key(b"passphrase", "scrypt", salt=bytes(32), cost=cost, name="keys/forged")

    assert caught.value.hint


# Indexes and packs

_ENTRY = struct.Struct(">32sIIIIIIII")
_FIELDS = ("pack", "ordinal", "codec", "offset", "stored_bytes", "raw_bytes", "chunk_offset", "chunk_bytes")


@attrs.define
class ForgedIndex:
    """The honest index of a repository, as a forger would write it again with something changed."""

    forger: Forger
    table: IndexTable
    rows: list[list[int | bytes]]

    @classmethod
    def of(cls, stage: Stage) -> ForgedIndex:
        index = stage.repository.reader().index
        (loaded,) = index.visible.values()
        numbers = {row.name: number for number, row in enumerate(loaded.table.packs)}
        rows: list[list[int | bytes]] = [
            [chunk, numbers[place.pack], *place[1:]] for chunk, place in index.entries(loaded)
        ]
        return cls(stage.forger, msgspec.structs.replace(loaded.table, replaces=[loaded.name], tier=1), rows)

    def put(self, **lies: object) -> None:
        """It hides the honest one; `lies` are told by its table."""
        block = b"".join(_ENTRY.pack(*row) for row in self.rows)
        self.put_block(block, **lies)

    def put_block(self, block: bytes, **lies: object) -> None:
        table = msgspec.structs.replace(self.table, blocks=[len(block) + 16])
        self.forger.frames(Kind.INDEX, msgspec.structs.replace(table, **lies), [block], tier=1)

    def put_with(self, field: str, value: int) -> None:
        for row in self.rows:
            row[1 + _FIELDS.index(field)] = value
        self.put()


@pytest.mark.parametrize("value", [0, 1, 9, (1 << 24) + 1, (1 << 32) - 1])
@pytest.mark.parametrize("field", _FIELDS)
def test_index_entries_that_lie_are_damage_and_yield_no_byte(stage: Stage, field: str, value: int) -> None:
    index = ForgedIndex.of(stage)
    honest = {row[1 + _FIELDS.index(field)] for row in index.rows}
    index.put_with(field, value)

    found = stage.besieged()

    assert crashes(found) == {}
    if honest != {value}:
        assert found["verify"] != "passed"
    if found["restore"] == "complete":
        assert (stage.base / "work" / "0" / "file").read_bytes() == b"an honest file"


INDEX_TABLES: dict[str, dict[str, object]] = {
    "no packs": {"packs": []},
    "packs that lie elsewhere": {"packs": [PackRow("../../etc/passwd", 5), PackRow("", 5)]},
    "packs that are snapshots": {"packs": [PackRow("snapshots/x", 5), PackRow("data/x", -1)]},
    "packs of 2**63 bytes": {"packs": [PackRow(f"data/00/{'0' * 64}", 1 << 63)] * 2},
    "no fences": {"fences": []},
    "fences for more blocks": {"fences": [bytes(32), b"\xff" * 32]},
    "a fence of no bytes": {"fences": [b""]},
    "a fence behind its block": {"fences": [b"\xff" * 32]},
    "a block of no bytes": {"blocks": [0]},
    "a block of negative length": {"blocks": [-64]},
    "a block of 2**60 bytes": {"blocks": [1 << 60]},
    "blocks that do not add up": {"blocks": [80, 80]},
    "2**63 entries": {"entries": 1 << 63},
    "a tier of the future": {"tier": 1 << 63},
    "parts that are not there": {"beside": ["index/1/nothing", "../../x", ""]},
}


@pytest.mark.parametrize("lie", INDEX_TABLES)
def test_index_tables_that_lie_crash_nothing(stage: Stage, lie: str) -> None:
    ForgedIndex.of(stage).put(**INDEX_TABLES[lie])

    found = stage.besieged()

    assert crashes(found) == {}
    if lie not in ("2**63 entries", "a tier of the future", "a fence of no bytes", "parts that are not there"):
        assert found["verify"] != "passed"


@pytest.mark.parametrize("size", [0, 1, 63, 65])
def test_index_blocks_that_are_no_multiple_of_an_entry_are_damage(stage: Stage, size: int) -> None:
    ForgedIndex.of(stage).put_block(bytes(size))

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] != "passed"


def zstd(data: bytes, **parameters: object) -> bytes:
    compressor = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(**parameters))  # type: ignore[arg-type]
    return compressor.compress(data)


def without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def announcing(size: int, *, window_log: int = 20) -> bytes:
    """A frame header that announces `size` bytes, and one empty last block."""
    single_segment = window_log == 0
    descriptor = 0b11_0_00000 | (0b001_00000 if single_segment else 0)
    window = b"" if single_segment else bytes([(window_log - 10) << 3])
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + window + size.to_bytes(8, "little") + b"\x01\x00\x00"


def swap_pack(stage: Stage, frame: EncodedFrame) -> None:
    """A snapshot of one file, whose chunk is said to be in this frame."""
    identity = stage.repository.identity
    row = FrameRow(frame.codec, len(frame.payload) + 16, frame.raw_bytes, frame.ids[0], list(frame.lengths))
    table = PackTable([row])
    pack = stage.forger.frames(Kind.DATA_PACK, table, [bytes(frame.payload)])
    index = build_index(
        identity,
        places_of(pack, table),
        pack_sizes={pack: len(stage.repository.store.get(pack))},
        replaces=(),
        tier=0,
        salt=os.urandom(32),
    )
    stage.repository.store.put_new(index.name, bytes(index.data))
    entries = [ROOT, file(b"bomb", size=frame.lengths[0], content=frame.ids[0])]
    stage.forger.publish(stage.forger.tree(entries), stage.honest)


FRAMES: dict[str, tuple[int, bytes, int]] = {
    "16 MiB and a byte": (Codec.ZSTD, zstd(bytes(FRAME_BYTES_MAX + 1)), FRAME_BYTES_MAX + 1),
    "more than announced": (Codec.ZSTD, zstd(bytes(FRAME_BYTES_MAX)), 1000),
    "less than announced": (Codec.ZSTD, zstd(bytes(1000)), FRAME_BYTES_MAX),
    "no announcement": (Codec.ZSTD, without_size(bytes(1000)), 1000),
    "an announcement of 2**60": (Codec.ZSTD, announcing(1 << 60), 1000),
    "an announcement and nothing": (Codec.ZSTD, announcing(1000), 1000),
    "a window of 2 GiB": (Codec.ZSTD, announcing(1000, window_log=31), 1000),
    "two frames": (Codec.ZSTD, zstd(bytes(1000)) + zstd(bytes(1 << 20)), 1000),
    "no zstd": (Codec.ZSTD, b"x" * 1000, 1000),
    "a codec of the future": (7, b"x" * 1000, 1000),
    "raw of another length": (Codec.RAW, b"x" * 999, 1000),
    "no bytes": (Codec.RAW, b"", 0),
}


@pytest.mark.parametrize("bomb", FRAMES)
def test_a_frame_that_is_a_bomb_is_damage(stage: Stage, bomb: str) -> None:
    codec, payload, raw_bytes = FRAMES[bomb]
    chunk = ChunkIds.of(stage.repository.identity.keyring.identity).data(bytes(min(raw_bytes, 1000)))
    swap_pack(stage, EncodedFrame(codec, payload, raw_bytes, [chunk], [raw_bytes]))

    found = stage.besieged()

    assert crashes(found) == {}
    if bomb != "two frames" and raw_bytes:  # what lies behind a whole frame is never looked at
        assert found["verify"] != "passed"
        assert "incomplete" in found["restore"] or "damaged" in found["restore"]


ROWS: dict[str, list[object]] = {
    "a frame of 2**62 bytes": [0, 1 << 62, 1 << 62, bytes(32), [1 << 62]],
    "negative lengths": [0, 20, 4, bytes(64), [-4, 8]],
    "lengths that do not add up": [0, 20, 4, bytes(32), [5]],
    "more ids than lengths": [0, 20, 4, bytes(64), [4]],
    "an id cut short": [0, 20, 4, bytes(31), [4]],
    "a frame of negative length": [0, -20, 4, bytes(32), [4]],
    "a frame of no bytes": [0, 20, 0, b"", []],
    "text": ["0", "20", "4", "", []],
}


@pytest.mark.parametrize("row", ROWS)
def test_a_pack_whose_table_lies_is_damage_and_is_not_adopted(stage: Stage, row: str) -> None:
    stage.forger.frames(Kind.DATA_PACK, [[ROWS[row]]], [b"abcd"])
    stage.forger.record(Kind.JOURNAL, journal(outcome="started"))  # so that the next run looks for packs to adopt

    found = stage.besieged()

    assert crashes(found) == {}
    assert found["verify"] == "damaged"
    assert found["back_up"] == "complete"


# Headers and tables

HEADERS: dict[str, dict[str, object]] = {
    "a table of 2**60 bytes": {"table_length": 1 << 60},
    "a table at 2**60": {"table_offset": 1 << 60},
    "a table of no bytes": {"table_length": 0},
    "a table in the header": {"table_offset": 0},
    "both at the end of numbers": {"table_offset": (1 << 64) - 1, "table_length": (1 << 64) - 1},
    "another repository": {"repository": bytes(16)},
    "an epoch of the future": {"epoch": (1 << 32) - 1},
    "sealed in a plain repository": {"wrap": KeyWrap.EPOCH, "epoch": 1},
}
KINDS = [kind for kind in Kind if kind not in (Kind.KEY_SLOT, Kind.FOUNDING, Kind.INTENT)]


@pytest.mark.parametrize("lie", HEADERS)
def test_a_header_that_lies_is_damage_in_every_kind_of_object(stage: Stage, lie: str) -> None:
    for kind in KINDS:
        name = stage.forger.lying_header(kind, **HEADERS[lie])
        found = stage.besieged()
        Path(stage.repository.url.removeprefix("file://"), name).unlink()

        assert crashes(found) == {}, kind
        assert found["verify"] != "passed", kind


def table_bombs() -> dict[str, bytes]:
    return {
        "no zstd": b"x" * 100,
        "no bytes": b"",
        "no announcement": without_size(b"\x80"),
        "an announcement of 2**60": announcing(1 << 60),
        "an announcement of 32 MiB and a byte": announcing(TABLE_BYTES_MAX + 1),
        "an announcement of 32 MiB and nothing": announcing(TABLE_BYTES_MAX),
        "a window of 2 GiB": announcing(1000, window_log=31),
        "32 MiB and a byte": zstd(bytes(TABLE_BYTES_MAX + 1)),
        "arrays in arrays": zstd(b"\x91" * 1_000_000),
        "maps in maps": zstd(b"\x81\xa1x" * 300_000),
        "an unknown key that is deep": zstd(b"\x81\xa3foo" + b"\x91" * 1_000_000),
        "an array of 2**32-1": zstd(b"\xdd" + b"\xff" * 4),
        "a map of 2**32-1": zstd(b"\xdf" + b"\xff" * 4),
        "a text of 2**32-1": zstd(b"\xdb" + b"\xff" * 4),
        "an unknown key of 2**32-1": zstd(b"\x81\xa3foo\xc6" + b"\xff" * 4),
        "a text that is not UTF-8": zstd(b"\x81\xa2\xff\xfe\x01"),
        "an extension": zstd(b"\xc7\x05\x01abcde"),
        "nothing": zstd(b""),
    }


@pytest.mark.parametrize("bomb", table_bombs())
def test_a_table_that_is_a_bomb_is_damage_in_every_kind_of_object(stage: Stage, bomb: str) -> None:
    packed = table_bombs()[bomb]
    for kind in KINDS:
        name = stage.forger.raw_table(kind, packed)
        found = stage.besieged()
        Path(stage.repository.url.removeprefix("file://"), name).unlink()

        assert crashes(found) == {}, kind
        assert found["verify"] != "passed", kind


# What could hang or swell: in a child, which is killed


@attrs.frozen(kw_only=True)
class Siege:
    """What a child process said, and how much it took."""

    answers: dict[str, str]
    grown_mib: int
    slowest: float


def siege(stage: Stage, *, seconds_max: float) -> Siege:
    """Every verb in a child process, which is killed after a while.

    Raises:
        TimeoutExpired: it was.
    """
    command = [sys.executable, "-m", "tests.attack.besiege", stage.repository.url, str(stage.source)]
    done = subprocess.run(
        [*command, str(stage.base / "work")],
        capture_output=True,
        text=True,
        timeout=seconds_max,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    return Siege(**json.loads(done.stdout))


def extents_bomb(forger: Forger, leaf: list[object], leaf_bytes: int) -> list[Entry]:
    """Four nodes over one leaf, each listing the one below 1,000 times."""
    chunk, length, size = *forger.metadata(leaf), leaf_bytes
    for level in range(1, 5):
        chunk, length = forger.metadata([level, *([chunk, length, max(size, 1)] * 1000)])
        size *= 1000
    return [ROOT, file(b"bomb", size=size, content=[5, chunk, length, max(size, 1)])]


def big_body(body: object, **many: object) -> bytes:
    """A record with far too much in it, encoded."""
    fields = msgspec.msgpack.decode(encode(body))
    return zstd(msgspec.msgpack.encode({**fields, **many}))


def bombs(stage: Stage) -> dict[str, Callable[[], object]]:
    f, honest = stage.forger, stage.honest
    rows = TABLE_BYTES_MAX // 7 - 10
    row = b"\x95\x00\x14\x04\xc4\x00\x90"
    texts = [""] * (TABLE_BYTES_MAX - (1 << 20))

    def publish(entries: Callable[[], list[Entry]]) -> Callable[[], object]:
        return lambda: f.publish(f.tree(entries()), honest)

    def publish_segment(body: bytes) -> Callable[[], object]:
        def act() -> object:
            ref = NodeRef(b"", 1, 0, *f.metadata(body))
            tree = Tree(
                manifest=f.node([ref]), evidence=f.node([f.evidence_ref([ROOT])]), entries=1, files=0, content_bytes=0
            )
            return f.publish(tree, honest)

        return act

    entry = encode(ROOT)
    many = FRAME_BYTES_MAX // len(entry) - 10
    return {
        "nodes of extents that list one another": publish(lambda: extents_bomb(f, [0, *([None, 1] * 1000)], 1000)),
        "nodes of extents that list nothing": publish(lambda: extents_bomb(f, [0], 0)),
        "millions of extents": publish(
            lambda: [
                ROOT,
                file(b"a", size=4_000_000, content=[1, *f.metadata([0, *([None, 1] * 4_000_000)]), 4_000_000]),
            ]
        ),
        "a segment of a million entries": publish_segment(b"\x93\x90\x90\xdd" + many.to_bytes(4, "big") + entry * many),
        "a segment of deep arrays": publish_segment(b"\x91" * (FRAME_BYTES_MAX - 10)),
        "a directory 400 levels deep": publish(
            lambda: [ROOT, *(directory(b"/".join([b"d"] * n)) for n in range(1, 401))]
        ),
        "a pack of millions of frames": lambda: f.raw_table(
            Kind.DATA_PACK, zstd(b"\x91\xdd" + rows.to_bytes(4, "big") + row * rows)
        ),
        "an index of millions of packs": lambda: ForgedIndex.of(stage).put(packs=[PackRow("", 0)] * 10_000_000),
        "a snapshot of millions of parents": lambda: f.raw_table(Kind.SNAPSHOT, big_body(honest, parents=texts)),
        "a journal of millions of facts": lambda: f.raw_table(
            Kind.JOURNAL, big_body(journal(), facts={f"{number:x}": 0 for number in range(3_000_000)})
        ),
        "a doom of millions of packs": lambda: f.raw_table(
            Kind.DOOM, big_body(DoomBody(packs=(), created=1), packs=texts)
        ),
        "a sparse snapshot of 8 GiB": lambda: sparse_object(stage, "snapshots/" + "0" * 64, 8 << 30),
        "a sparse pack of 8 GiB": lambda: sparse_object(stage, f"data/00/{'0' * 64}", 8 << 30),
    }


def sparse_object(stage: Stage, name: str, size: int) -> None:
    path = Path(stage.repository.url.removeprefix("file://"), name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as sparse:
        sparse.truncate(size)


TABLES = "a table of 32 MiB, the most that there may be, becomes 400 to 730 MiB of objects in memory"


@pytest.mark.parametrize(
    "name",
    [
        "a segment of a million entries",
        "a segment of deep arrays",
        "a directory 400 levels deep",
        "a sparse snapshot of 8 GiB",
        "a sparse pack of 8 GiB",
    ],
)
def test_a_bomb_neither_hangs_nor_swells_nor_crashes_anything(stage: Stage, name: str) -> None:
    require_little(stage, name)


@pytest.mark.skipif(not LONG, reason="takes a minute: SAFEBACKUP_LONG=1")
@pytest.mark.parametrize(
    "name",
    [
        "millions of extents",
        *(
            pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=TABLES))
            for name in (
                "a pack of millions of frames",
                "an index of millions of packs",
                "a snapshot of millions of parents",
                "a journal of millions of facts",
                "a doom of millions of packs",
            )
        ),
    ],
)
def test_a_large_bomb_neither_hangs_nor_swells_nor_crashes_anything(stage: Stage, name: str) -> None:
    require_little(stage, name)


def require_little(stage: Stage, name: str) -> None:
    bombs(stage)[name]()

    found = siege(stage, seconds_max=6 * SECONDS_MAX)

    assert crashes(found.answers) == {}
    assert found.slowest < SECONDS_MAX
    assert found.grown_mib < GROWN_MIB_MAX


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "nodes of extents that list one another",
            marks=pytest.mark.xfail(
                strict=True,
                raises=subprocess.TimeoutExpired,
                reason="a file of exabytes in a few kilobytes is restored until the disk is full or somebody stops it",
            ),
        ),
        "nodes of extents that list nothing",
    ],
)
def test_nodes_of_extents_cost_no_more_than_their_chunks(stage: Stage, name: str) -> None:
    bombs(stage)[name]()

    found = siege(stage, seconds_max=SECONDS_MAX if LONG else 4.0)

    assert "complete" in found.answers["restore"]
    assert found.slowest < SECONDS_MAX


def test_a_kept_name_whose_content_is_nonsense_stops_no_restore(stage: Stage) -> None:
    five = stage.forger.data(b"12345")
    twins = [file(name, size=10, content=[0, five, 5], link=b"x" * 16) for name in (b"a", b"b")]
    tree = stage.forger.tree([ROOT, *twins, file(b"c", size=5, content=five)])
    stage.forger.publish(tree, stage.honest)
    target = stage.base / "target"
    target.mkdir()
    (target / "a").write_bytes(b"1234567890")
    os.utime(target / "a", ns=(1, 1))

    report = restore(stage.repository.snapshot(), to=target, overwrite="keep")

    assert not report.complete
    assert (target / "c").read_bytes() == b"12345"
