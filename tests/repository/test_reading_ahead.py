"""Reading ahead changes how many requests there are, and nothing of what is read."""

from __future__ import annotations

import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from safebackup.format.header import Kind
from safebackup.format.ids import ChunkIds
from safebackup.format.index import build_index, by_chunk
from safebackup.format.objects import Identity
from safebackup.format.pack import PackBuilder, places_of, read_pack_table
from safebackup.format.sealing import Keyring
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.reading import ChunkReader
from safebackup.repository.runtime import Runtime
from safebackup.repository.writing import Writer
from safebackup.storage import MemoryStore
from safebackup.testing import RecordingStore
from tests.faults import tampered

_numbers = itertools.count()
PLAIN = Identity(bytes(16), Keyring(identity=bytes(32), chunker_seed=0, classes={}))
IDS = ChunkIds.of(PLAIN.keyring.identity)
PACK = f"metadata/00/{0:064x}"


def empty() -> MemoryStore:
    """A new store in memory."""
    store = MemoryStore(f"ahead-{next(_numbers)}")
    store.create_root()
    return store


def reader_of(store: MemoryStore) -> tuple[ChunkReader, RecordingStore]:
    """A reader, and what it asks the store from now on."""
    recording = RecordingStore(store)
    reader = ChunkReader(recording, PLAIN, ChunkIndex(recording, PLAIN))
    recording.calls.clear()
    return reader, recording


def put_pack(store: MemoryStore, chunks: list[bytes]) -> str:
    """A pack with a frame for each chunk, and its index; the name of the pack."""
    builder = PackBuilder(PLAIN, Kind.METADATA_PACK, salt=os.urandom(32))
    writer = Writer(store, PLAIN, ChunkIndex(store, PLAIN), Runtime())
    for chunk in chunks:
        builder.add(writer.encode(chunk, [IDS.metadata(chunk)], [len(chunk)]))
    writer.close()
    pack = builder.finish()
    store.put_new(pack.name, pack.data)
    table = read_pack_table(pack.data, name=pack.name, kind=Kind.METADATA_PACK, identity=PLAIN)[1]
    entries = sorted(places_of(pack.name, table), key=by_chunk)
    index = build_index(PLAIN, entries, pack_sizes={pack.name: len(pack.data)}, salt=os.urandom(32))
    store.put_new(index.name, index.data)
    return pack.name


@given(
    st.binary(min_size=1, max_size=200),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=6),
    st.tuples(st.integers(0, 200), st.integers(1, 200)),
)
def test_what_was_read_ahead_is_given_for_exactly_the_bytes_that_it_covers(
    data: bytes, kept: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    store = empty()
    store.put_new(PACK, data)
    reader, recording = reader_of(store)
    start = min(wanted[0], len(data) - 1)
    size = min(wanted[1], len(data) - start)
    for begin, length in kept:
        reader._keep_ahead(PACK, begin, data[begin : begin + length])

    assert reader.fetch(PACK, start, size) == data[start : start + size]

    covered = any(begin <= start and start + size <= len(data[: begin + length]) for begin, length in kept)
    assert len(recording.calls) == (0 if covered else 1)


def test_many_chunks_come_by_one_request_and_are_the_same_as_without() -> None:
    store = empty()
    chunks = [os.urandom(10_000) for _ in range(20)]
    put_pack(store, chunks)
    reader, recording = reader_of(store)

    reader.read_ahead(IDS.metadata(chunk) for chunk in chunks)

    assert [bytes(reader.read_metadata(IDS.metadata(chunk), len(chunk))) for chunk in chunks] == chunks
    assert recording.counts["get"] == 1


def test_what_lies_far_from_each_other_is_not_read_with_what_lies_between() -> None:
    store = empty()
    chunks = [os.urandom(1 << 20) for _ in range(5)]
    put_pack(store, chunks)
    reader, recording = reader_of(store)

    reader.read_ahead([IDS.metadata(chunks[0]), IDS.metadata(chunks[4])])
    apart = recording.counts["get"]
    reader, recording = reader_of(store)
    reader.read_ahead([IDS.metadata(chunks[4])], from_start=True)

    assert apart == 2
    assert [bytes(reader.read_metadata(IDS.metadata(chunk), len(chunk))) for chunk in chunks] == chunks
    assert recording.counts["get"] == 1


def test_no_more_is_kept_than_was_said_however_much_is_asked_for() -> None:
    store = empty()
    chunks = [os.urandom(1 << 20) for _ in range(24)]
    put_pack(store, chunks)
    reader, _ = reader_of(store)

    reader.read_ahead(IDS.metadata(chunk) for chunk in chunks)

    kept = sum(len(data) for data in reader._ahead.values())
    assert 0 < kept == reader._ahead_bytes <= 16 << 20
    assert [bytes(reader.read_metadata(IDS.metadata(chunk), len(chunk))) for chunk in chunks] == chunks


def test_what_cannot_be_read_ahead_is_left_to_reading_which_finds_the_other_copy() -> None:
    store = empty()
    chunks = [b"one" * 100, b"two" * 100]
    packs = [put_pack(store, chunks), put_pack(store, chunks)]
    reader, _ = reader_of(store)
    store.delete(packs[0])

    reader.read_ahead(IDS.metadata(chunk) for chunk in chunks)

    assert [bytes(reader.read_metadata(IDS.metadata(chunk), len(chunk))) for chunk in chunks] == chunks


def test_bytes_that_were_damaged_when_they_were_read_ahead_are_never_given() -> None:
    store = empty()
    chunks = [os.urandom(1000) for _ in range(3)]
    first, second = put_pack(store, chunks), put_pack(store, chunks)
    data = bytearray(store.get(first))
    data[300] ^= 1
    tampered(store, first, bytes(data))
    reader, _ = reader_of(store)

    reader.read_ahead(IDS.metadata(chunk) for chunk in chunks)

    assert [bytes(reader.read_metadata(IDS.metadata(chunk), len(chunk))) for chunk in chunks] == chunks
    assert second != first
