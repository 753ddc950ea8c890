"""Manifests: a tree depends on its entries alone, and reads back as it was written."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import attrs
import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup import Repository, back_up
from safebackup.backup import merging
from safebackup.backup.merging import ManifestBuilder, Previous
from safebackup.backup.metadata import Owners
from safebackup.errors import IntegrityError
from safebackup.format.manifest import (
    Content,
    Entry,
    EntryKind,
    Extent,
    NodeRef,
    PathChecker,
    PathHash,
    TreeBuilder,
    content_needs,
    pack_content,
    path_key,
    read_content,
    read_nodes,
    read_refs,
    stored_to_time,
    time_to_stored,
)
from safebackup.format.records import SnapshotBody, TreeRef
from safebackup.repository.committing import Trees
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.writing import Writer
from tests.attack.world import LONG

EXAMPLES = 300 if LONG else 15
ROOT = Entry(path=b"", kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, mtime=0)


# How the work is split


def entries_of(state: dict[int, int]) -> list[Entry]:
    """A directory of files: number → version of its metadata. Numbers spread over names of several lengths."""
    found = [ROOT]
    for number, version in state.items():
        folder = b"d%d" % (number % 7)
        path = folder + b"/" + b"%d" % (number * 7919 % 10_007)
        found.append(Entry(path=path, kind=EntryKind.FILE, mode=0o644, uid=0, gid=0, mtime=version))
    folders = {entry.path.partition(b"/")[0] for entry in found[1:]}
    found += [Entry(path=one, kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, mtime=0) for one in folders]
    return sorted(found, key=lambda entry: path_key(entry.path))


@attrs.frozen
class Builder:
    """Builds trees in one repository, on top of any parent."""

    repository: Repository
    honest: SnapshotBody

    def build(self, entries: Sequence[Entry], parent: Trees | None) -> Trees:
        """As the pipeline does: what the parent has exactly like this is used again."""
        store, identity = self.repository.store, self.repository.identity
        index = ChunkIndex(store, identity)
        writer = Writer(store, identity, index, self.repository.runtime)
        try:
            previous = Previous(Manifests(ChunkReader(store, identity, index)), self.as_snapshot(parent))
            builder = ManifestBuilder(writer, Owners())
            for entry in entries:
                known = previous.at(entry.path)
                if known is not None and known.entry != entry:
                    known = None
                builder.add(entry, ctime=1, inode=1, young=False, known=known, same_evidence=known is not None)
            previous.finish()
            trees = builder.finish()
            writer.flush()
        finally:
            writer.close()
        assert previous.problems == []
        return trees

    def as_snapshot(self, trees: Trees | None) -> SnapshotBody | None:
        if trees is None:
            return None
        return msgspec.structs.replace(self.honest, manifest=trees.manifest, evidence=trees.evidence)

    def read(self, tree: TreeRef) -> list[Entry]:
        manifests = Manifests(self.repository.reader())
        return [entry for _, entries in manifests.segments(tree) for entry in entries]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    repository = Repository.create(f"memory://manifests-{os.getpid()}", key=None)
    source = tmp_path_factory.mktemp("source")
    (source / "file").touch()
    return Builder(repository, back_up(source, into=repository).snapshot.body)


EDITS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 600), st.sampled_from(["remove", "change", "add"])), max_size=4
)


def edited(state: dict[int, int], edits: Iterable[tuple[int, int, str]]) -> list[dict[int, int]]:
    """Every state on the way."""
    states = [dict(state)]
    for start, count, what in edits:
        now = dict(states[-1])
        for number in range(start, start + count):
            if what == "remove":
                now.pop(number, None)
            elif what == "change" and number in now:
                now[number] += 1
            elif what == "add":
                now.setdefault(number, 0)
        states.append(now)
    return states


@settings(max_examples=EXAMPLES)
@given(size=st.integers(0, 3000), edits=EDITS, shortcut=st.integers(0, 4))
def test_a_manifest_does_not_depend_on_its_history(
    builder: Builder, size: int, edits: list[tuple[int, int, str]], shortcut: int
) -> None:
    require_one_manifest(builder, size, edits, shortcut)


@settings(max_examples=EXAMPLES)
@given(size=st.integers(0, 300), edits=EDITS, shortcut=st.integers(0, 4))
def test_a_manifest_does_not_depend_on_its_history_where_segments_are_full(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, size: int, edits: list[tuple[int, int, str]], shortcut: int
) -> None:
    monkeypatch.setattr(merging, "SEGMENT_ENTRIES_MAX", 20)

    require_one_manifest(builder, size, edits, shortcut)


def require_one_manifest(builder: Builder, size: int, edits: list[tuple[int, int, str]], shortcut: int) -> None:
    states = [entries_of(state) for state in edited(dict.fromkeys(range(size), 0), edits)]
    last = states[-1]

    from_scratch = builder.build(last, None)
    step_by_step: Trees | None = None
    for state in states:
        step_by_step = builder.build(state, step_by_step)
    from_one = builder.build(last, builder.build(states[shortcut % len(states)], None))
    from_itself = builder.build(last, from_scratch)

    assert step_by_step == from_scratch
    assert from_one == from_scratch
    assert from_itself == from_scratch
    assert builder.read(from_scratch.manifest) == last


# Trees


class Chunks:
    """Chunks in memory, and how often one was fetched."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.fetched = 0

    def put(self, data: bytes) -> bytes:
        chunk = blake3(data).digest()
        self.held[chunk] = data
        return chunk

    def fetch(self, chunk: bytes, length: int) -> bytes:
        self.fetched += 1
        assert len(self.held[chunk]) == length
        return self.held[chunk]


class ShallowHash(PathHash):
    """Cuts so often that small trees are deep."""

    def rank(self, path: bytes) -> int:
        value = blake3(path, key=self.key).digest(length=1)[0]
        return 3 if value < 16 else 2 if value < 64 else 1 if value < 128 else 0


def build_tree(chunks: Chunks, paths: Sequence[bytes]) -> TreeRef:
    tree = TreeBuilder(chunks.put, ShallowHash(bytes(32)))
    for number, path in enumerate(paths):
        tree.add(NodeRef(path, 1, number, chunks.put(b"segment " + path), 8 + len(path)))
    return tree.finish()


NAME = st.binary(min_size=1, max_size=3).filter(lambda name: b"/" not in name and b"\0" not in name)
PATHS = st.lists(st.lists(NAME, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=80, unique=True).map(
    lambda paths: sorted(paths, key=path_key)
)


@settings(max_examples=EXAMPLES * 4)
@given(paths=PATHS, start=st.binary(max_size=4), length=st.binary(max_size=3))
def test_a_range_of_a_tree_holds_each_wanted_segment_and_none_that_lies_outside(
    paths: list[bytes], start: bytes, length: bytes
) -> None:
    chunks = Chunks()
    tree = build_tree(chunks, paths)
    end = start + b"\x01" + length
    keys = [path_key(path) for path in paths]

    found = [ref.first for ref in read_refs(chunks.fetch, tree, start=start, end=end)]

    # A segment holds what lies from its first path up to the next segment's.
    wanted = [
        path
        for path, key, behind in zip(paths, keys, [*keys[1:], None], strict=True)
        if key < end and (behind is None or behind > start)
    ]
    assert found == wanted


@settings(max_examples=EXAMPLES * 2)
@given(paths=PATHS)
def test_a_tree_reads_back_whole_and_in_order(paths: list[bytes]) -> None:
    chunks = Chunks()
    tree = build_tree(chunks, paths)

    refs = list(read_refs(chunks.fetch, tree))
    nodes = {chunk for chunk, _ in read_nodes(chunks.fetch, tree)}

    assert [(ref.first, ref.entries, ref.content_bytes) for ref in refs] == [
        (path, 1, number) for number, path in enumerate(paths)
    ]
    assert nodes == set(chunks.held)


def test_one_path_of_many_is_found_by_few_reads() -> None:
    chunks = Chunks()
    paths = [b"%06d" % number for number in range(20_000)]
    tree = build_tree(chunks, paths)

    (found,) = read_refs(chunks.fetch, tree, start=b"012345", end=b"012345\0")

    assert found.first == b"012345"
    assert chunks.fetched <= tree.level


# Paths

COMPONENTS = st.sampled_from([b"", b".", b"..", b"a", b"b", b"a.b", b"\xff", b"\0", b"..."])
ANY_PATHS = st.lists(st.lists(COMPONENTS, max_size=3).map(b"/".join), max_size=5)
ANY_ENTRIES = st.lists(
    st.tuples(st.lists(COMPONENTS, max_size=3).map(b"/".join), st.sampled_from(list(EntryKind))), max_size=6
)


def is_valid(entries: Sequence[tuple[bytes, EntryKind]]) -> bool:
    """What format.md demands of a sequence, said as plainly as can be."""
    keys = [path.split(b"/") if path else [] for path, _ in entries]
    kinds = dict(entries)
    for path, kind in entries:
        parts = path.split(b"/") if path else []
        if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
            return False
        if path == b"" and kind != EntryKind.DIRECTORY:
            return False
        for count in range(1, len(parts)):
            if kinds.get(b"/".join(parts[:count])) != EntryKind.DIRECTORY:
                return False
    return all(left < right for left, right in pairwise(keys))


@settings(max_examples=EXAMPLES * 40)
@given(entries=ANY_ENTRIES, ordered=st.booleans())
def test_just_the_sequences_that_could_be_a_tree_are_accepted(
    entries: list[tuple[bytes, EntryKind]], ordered: bool
) -> None:
    if ordered:
        entries = sorted(dict(entries).items(), key=lambda one: one[0].split(b"/"))
    checker = PathChecker()
    accepted = True
    try:
        for path, kind in entries:
            checker.check(Entry(path=path, kind=kind, mode=0, uid=0, gid=0, mtime=0))
    except IntegrityError:
        accepted = False

    assert accepted == is_valid(entries)


# Contents

CHUNK_IDS = st.integers(0, 1 << 32).map(lambda number: blake3(number.to_bytes(8, "big")).digest())
EXTENTS = st.lists(st.tuples(st.one_of(st.none(), CHUNK_IDS), st.integers(1, 1 << 40)), max_size=200)


def require_same_content(extents: list[Extent]) -> Content:
    chunks = Chunks()
    size = sum(length for _, length in extents)

    content = pack_content(extents, chunks.put)

    assert list(read_content(content, size, chunks.fetch)) == extents
    needs = content_needs(content, sum(length for _, length in extents), chunks.fetch)
    assert {chunk for is_metadata, chunk, _ in needs if is_metadata} == set(chunks.held)
    for wrong in (size - 1, size + 1):
        with pytest.raises(IntegrityError):
            # One chunk has the length that its entry says: there only its hash can tell.
            if isinstance(content, bytes):
                raise IntegrityError("")
            list(read_content(content, wrong, chunks.fetch))
    return content


@settings(max_examples=EXAMPLES * 4)
@given(extents=EXTENTS)
def test_any_extents_read_back_as_they_were(extents: list[Extent]) -> None:
    require_same_content(extents)


@pytest.mark.parametrize(
    "count", [0, 1, 2, 63, 64, 65, 4095, 4096, 4097, 20_000, *([300_000, 2_000_000] if LONG else [])]
)
def test_any_number_of_extents_reads_back_as_it_was(count: int) -> None:
    generator = random.Random(count)
    extents: list[Extent] = [
        (None if generator.random() < 0.3 else generator.randbytes(32), generator.randrange(1, 1 << 22))
        for _ in range(count)
    ]

    require_same_content(extents)


def test_millions_of_extents_make_levels_and_a_short_entry() -> None:
    chunk = b"\x00\x00" + bytes(30)  # an id at which a list is cut, so that lists are as short as can be
    content = require_same_content([(chunk, 1), (None, 1)] * 6000)

    assert isinstance(content, list)
    assert content[0] == 2
    assert len(content) <= 1 + 3 * 64


def test_an_insertion_at_the_front_leaves_most_lists_of_extents_as_they_are() -> None:
    generator = random.Random(1)
    extents: list[Extent] = [(generator.randbytes(32), 1 << 20) for _ in range(50_000)]
    before, after = Chunks(), Chunks()

    pack_content(extents, before.put)
    pack_content([(bytes([1]) * 32, 5), *extents], after.put)

    assert len(after.held.keys() - before.held.keys()) <= len(after.held) // 10 + 1


# Times


@given(st.integers(min_value=-(1 << 127), max_value=(1 << 127) - 1))
def test_any_time_reads_back_as_it_was(nanoseconds: int) -> None:
    assert stored_to_time(time_to_stored(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    "nanoseconds", [-(1 << 63) - 1, -(1 << 63), -1, 0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64]
)
def test_times_at_an_edge_read_back_as_they_were(nanoseconds: int) -> None:
    stored = time_to_stored(nanoseconds)

    assert stored_to_time(stored) == nanoseconds
    assert isinstance(stored, int) == (-(1 << 63) <= nanoseconds < 1 << 64)
