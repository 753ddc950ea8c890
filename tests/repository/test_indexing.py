"""The index in use: right for every chunk however little it may keep in memory."""

from __future__ import annotations

import itertools
import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.format.header import Kind
from safebackup.format.index import BLOCK_ENTRIES, Entry, build_index
from safebackup.format.objects import Identity, StoredObject, build_record
from safebackup.format.pack import ChunkPlace
from safebackup.format.records import DoomBody
from safebackup.format.sealing import Keyring
from safebackup.repository.indexing import ChunkIndex
from safebackup.storage import MemoryStore
from safebackup.testing import RecordingStore
from tests.faults import tampered

_numbers = itertools.count()
PLAIN = Identity(bytes(16), Keyring(identity=bytes(32), chunker_seed=0, classes={}))
SEALED = Identity(
    bytes(16),
    Keyring(
        identity=bytes(32),
        chunker_seed=0,
        classes={1: {name: bytes(32) for name in ("data", "metadata", "index", "status")}},
    ),
)
NOTHING_CACHED = 1


@attrs.define
class Indexes:
    """A store with indexes in it."""

    identity: Identity = PLAIN
    store: MemoryStore = attrs.field(factory=lambda: MemoryStore(f"indexing-{next(_numbers)}"))

    def __attrs_post_init__(self) -> None:
        self.store.create_root()

    def put(self, entries: list[Entry], *, replaces: tuple[str, ...] = (), tier: int = 0) -> StoredObject:
        """Store an index of these entries."""
        sizes = {place.pack: 1000 for _, place in entries}
        index = build_index(self.identity, entries, pack_sizes=sizes, replaces=replaces, tier=tier, salt=os.urandom(32))
        self.store.put_new(index.name, index.data)
        return index

    def doom(self, *packs: str) -> None:
        """Condemn packs."""
        record = build_record(self.identity, Kind.DOOM, DoomBody(packs=packs, created=0), salt=os.urandom(32))
        self.store.put_new(record.name, record.data)

    def load(self, *, cache_bytes: int = 1 << 20) -> ChunkIndex:
        """The index of all that is stored."""
        return ChunkIndex(self.store, self.identity, cache_bytes=cache_bytes)


def chunk(number: int) -> bytes:
    """A chunk id; numbers and ids are in the same order."""
    return number.to_bytes(32, "big")


def place(pack: int, ordinal: int = 1) -> ChunkPlace:
    """A place in a pack."""
    return ChunkPlace(f"data/00/{pack:064x}", ordinal, 1, 88, 100, 200, 0, 200)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=40), max_size=5),
    st.sets(st.integers(0, 4)),
    st.sampled_from([NOTHING_CACHED, 3000, 1 << 20]),
)
def test_every_chunk_is_found_where_it_is_and_never_in_a_doomed_pack(
    indexes: list[list[tuple[int, int]]], doomed: set[int], cache_bytes: int
) -> None:
    stored = Indexes()
    model: dict[int, set[ChunkPlace]] = {}
    for number, pairs in enumerate(indexes):
        entries = {(chunk(id), place(pack, number + 1)) for id, pack in pairs}
        stored.put(sorted(entries, key=lambda entry: (entry[0], entry[1].pack)))
        for id, pack in pairs:
            model.setdefault(id, set()).add(place(pack, number + 1))
    stored.doom(*(place(pack).pack for pack in doomed))
    bad = {place(pack).pack for pack in doomed}
    loaded = stored.load(cache_bytes=cache_bytes)
    for id in range(62):
        places = model.get(id, set())
        assert set(loaded.find_all(chunk(id))) == places
        hit = loaded.find(chunk(id))
        good = {one for one in places if one.pack not in bad}
        assert (hit in good) if good else hit is None


@pytest.mark.parametrize("identity", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_large_index_is_answered_by_range_reads_of_single_blocks(identity: Identity) -> None:
    stored = Indexes(identity)
    count = BLOCK_ENTRIES * 4 + 7
    index = stored.put([(chunk(2 * number), place(number % 7)) for number in range(count)])
    reads = RecordingStore(stored.store)
    loaded = ChunkIndex(reads, identity, cache_bytes=NOTHING_CACHED)
    reads.calls.clear()
    for number in (0, 1, BLOCK_ENTRIES - 1, BLOCK_ENTRIES, 3 * BLOCK_ENTRIES, count - 1):
        assert loaded.find(chunk(2 * number)) == place(number % 7)
        assert loaded.find(chunk(2 * number + 1)) is None
    assert {name for _, name in reads.calls} == {index.name}
    assert len(reads.calls) <= 12


def test_the_index_that_knew_the_chunk_before_is_asked_first() -> None:
    stored = Indexes()
    names = [stored.put([(chunk(3 * id + one), place(one)) for id in range(5)]).name for one in range(3)]
    reads = RecordingStore(stored.store)
    loaded = ChunkIndex(reads, PLAIN, cache_bytes=NOTHING_CACHED)

    for one in (2, 0, 1):
        assert loaded.find(chunk(one)) == place(one)
        reads.calls.clear()
        assert loaded.find(chunk(3 + one)) == place(one)
        assert {name for _, name in reads.calls} <= {names[one]}


def test_all_places_of_a_chunk_are_found_where_they_fill_more_than_a_block() -> None:
    stored = Indexes()
    places = [place(pack) for pack in range(2 * BLOCK_ENTRIES + 5)]
    around = [(chunk(number), place(1)) for number in range(BLOCK_ENTRIES)]
    after = [(chunk(10_000 + number), place(2)) for number in range(BLOCK_ENTRIES)]
    stored.put([*around, *((chunk(5000), one) for one in places), *after])
    for cache_bytes in (NOTHING_CACHED, 1 << 22):
        loaded = stored.load(cache_bytes=cache_bytes)
        assert sorted(loaded.find_all(chunk(5000)), key=lambda one: one.pack) == places


def test_a_merged_index_answers_for_those_that_it_replaces() -> None:
    stored = Indexes()
    parts = [stored.put([(chunk(number), place(number))]) for number in range(8)]
    entries = [(chunk(number), place(number)) for number in range(8)]
    merged = stored.put(entries, replaces=tuple(part.name for part in parts), tier=1)
    loaded = stored.load()
    assert set(loaded.visible) == {merged.name}
    assert [list(loaded.find_all(chunk(number))) for number in range(8)] == [[place(number)] for number in range(8)]


def test_a_damaged_merged_index_falls_back_to_those_that_it_replaces() -> None:
    stored = Indexes()
    parts = [stored.put([(chunk(number), place(number))]) for number in range(8)]
    entries = [(chunk(number), place(number)) for number in range(8)]
    merged = stored.put(entries, replaces=tuple(part.name for part in parts), tier=1)
    higher = stored.put(entries, replaces=(merged.name, *(part.name for part in parts)), tier=2)
    for damaged in (higher, merged):
        data = bytearray(stored.store.get(damaged.name))
        data[len(data) // 2] ^= 1
        tampered(stored.store, damaged.name, bytes(data))
        loaded = stored.load()
        assert all(loaded.find(chunk(number)) == place(number) for number in range(8))
        assert damaged.name in loaded.problems
    assert set(stored.load().visible) == {part.name for part in parts}


def test_what_a_run_has_stored_is_found_before_and_after_an_index_names_it() -> None:
    stored = Indexes()
    loaded = stored.load()
    loaded.add_own([(chunk(1), place(1)), (chunk(2), place(1))], place(1).pack, 1000)
    assert loaded.find(chunk(1)) == place(1)
    entries, sizes = loaded.take_own()
    index = build_index(PLAIN, entries, pack_sizes=sizes, replaces=(), tier=0, salt=os.urandom(32))
    loaded.add_own([(chunk(3), place(3))], place(3).pack, 1000)  # by a worker, meanwhile
    loaded.replace_own(index.name, index.data, entries)
    assert [loaded.find(chunk(number)) for number in (1, 2, 3)] == [place(1), place(1), place(3)]
    assert loaded.take_own() == ([(chunk(3), place(3))], {place(3).pack: 1000})


@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 40), max_size=8)), max_size=8))
def test_what_this_run_has_published_and_what_others_have_are_found_alike(steps: list[tuple[bool, set[int]]]) -> None:
    stored = Indexes()
    loaded = stored.load(cache_bytes=NOTHING_CACHED)
    model: dict[int, set[ChunkPlace]] = {}
    for pack, (is_ours, ids) in enumerate(steps):
        entries = [(chunk(id << 230), place(pack)) for id in sorted(ids)]
        for id in ids:
            model.setdefault(id, set()).add(place(pack))
        if not entries:
            continue
        if is_ours:
            loaded.add_own(entries, place(pack).pack, 1000)
            index = stored.put(entries)
            loaded.replace_own(index.name, index.data, entries)
        else:
            stored.put(entries)
            loaded.refresh()
        for id in range(42):
            assert set(loaded.find_all(chunk(id << 230))) == model.get(id, set())
            assert (loaded.find(chunk(id << 230)) is None) == (id not in model)


def test_dooms_that_come_later_take_effect_when_they_are_read() -> None:
    stored = Indexes()
    stored.put([(chunk(1), place(1)), (chunk(1), place(2))])
    loaded = stored.load()
    before = loaded.dooms
    stored.doom(place(1).pack)
    stored.doom(place(2).pack)
    assert loaded.find(chunk(1)) is not None
    loaded.refresh_dooms()
    assert loaded.find(chunk(1)) is None
    assert loaded.doomed == {place(1).pack, place(2).pack}
    assert len(loaded.dooms - before) == 2


@pytest.mark.parametrize("cache_bytes", [NOTHING_CACHED, 64 * BLOCK_ENTRIES, 10 * 64 * BLOCK_ENTRIES])
def test_blocks_in_memory_stay_within_the_bound(cache_bytes: int) -> None:
    stored = Indexes()
    for index in range(4):
        stored.put([(chunk(index * 10_000 + number), place(index)) for number in range(3 * BLOCK_ENTRIES)])
    loaded = stored.load(cache_bytes=cache_bytes)
    for number in range(0, 40_000, 501):
        loaded.find(chunk(number))
        kept = sum(len(block.data) for block in loaded._blocks.values())
        assert kept <= max(cache_bytes, 64 * BLOCK_ENTRIES)  # one block is always kept
