"""What one run stores: packs of a bounded size, each chunk once."""

from __future__ import annotations

import os

import pytest

from safebackup.format.header import Kind
from safebackup.format.objects import Identity
from safebackup.format.sealing import Keyring
from safebackup.repository import writing
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.reading import ChunkReader
from safebackup.repository.runtime import Runtime
from safebackup.repository.writing import Writer
from safebackup.storage import MemoryStore

PLAIN = Identity(b"r" * 16, Keyring(identity=bytes(32), chunker_seed=0, classes={}))


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(f"writing-{os.urandom(8).hex()}")
    store.create_root()
    return store


def test_a_pack_of_tiny_chunks_is_full_at_their_number(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FULL_CHUNKS", 100)
    monkeypatch.setattr(writing, "FRAME_BYTES", 1 << 10)
    writer = Writer(store, PLAIN, ChunkIndex(store, PLAIN), Runtime())
    contents = [b"content %d" % number for number in range(2000)]

    ids = [writer.put_data(content) for content in contents]
    writer.flush()
    writer.close()

    packs = [info.name for info in store.list("data/")]
    reader = ChunkReader(store, PLAIN, ChunkIndex(store, PLAIN))
    assert 10 <= len(packs) <= 20
    assert [
        bytes(reader.read(chunk_id, len(content))) for chunk_id, content in zip(ids, contents, strict=True)
    ] == contents


@pytest.mark.parametrize("size", [0, 1, (512 << 10) - 1, 512 << 10, (512 << 10) + 1, (1 << 20) + 5, 4 << 20])
@pytest.mark.parametrize("kind", [Kind.DATA_PACK, Kind.METADATA_PACK])
def test_a_piece_of_any_size_is_stored_among_others(store: MemoryStore, size: int, kind: Kind) -> None:
    writer = Writer(store, PLAIN, ChunkIndex(store, PLAIN), Runtime())
    put = writer.put_data if kind is Kind.DATA_PACK else writer.put_metadata
    contents = [os.urandom(700), os.urandom(size), os.urandom(600_000), os.urandom(size), b"last"]

    ids = [put(content) for content in contents]
    ids += [put(content) for content in contents]
    writer.flush()
    writer.close()

    reader = ChunkReader(store, PLAIN, ChunkIndex(store, PLAIN))
    for chunk_id, content in zip(ids, contents * 2, strict=True):
        assert bytes(reader.read(chunk_id, len(content), kind=kind)) == content
    stored = [entry for index in reader.index.visible.values() for entry in reader.index.entries(index)]
    assert len(stored) == len({chunk_id for chunk_id, _ in stored}) == len(set(ids))


def test_what_is_read_into_the_room_is_stored_as_what_is_put(store: MemoryStore) -> None:
    writer = Writer(store, PLAIN, ChunkIndex(store, PLAIN), Runtime())
    contents = [os.urandom(size) for size in (1, 300_000, 500_000, 400_000, 512 << 10, 7)] * 2
    ids = []

    for content in contents:
        room = writer.room_for_data()
        assert len(room) >= 512 << 10
        room[: len(content)] = content
        ids.append(writer.put_in_room(len(content)))
    assert ids[0] == writer.put_data(contents[0])
    writer.flush()
    writer.close()

    reader = ChunkReader(store, PLAIN, ChunkIndex(store, PLAIN))
    assert [
        bytes(reader.read(chunk_id, len(content))) for chunk_id, content in zip(ids, contents, strict=True)
    ] == contents
