"""Indexes: sorted blocks of entries, in which every place of a chunk is found."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import IntegrityError
from safebackup.format.header import HEADER_BYTES, Kind
from safebackup.format.index import (
    BLOCK_ENTRIES,
    ENTRY_BYTES,
    Block,
    Entry,
    IndexTable,
    PackRow,
    build_index,
    by_chunk,
    unpack_block,
    unpack_entry,
)
from safebackup.format.objects import Identity, read_table
from safebackup.format.pack import ChunkPlace
from safebackup.format.sealing import Keyring

IDENTITY = Identity(b"r" * 16, Keyring(identity=b"i" * 32, chunker_seed=0, classes={1: {"index": b"x" * 32}}))
PACKS = {"data/00/00": 100, "data/11/11": 200, "metadata/22/22": 300}
LARGEST = (1 << 32) - 1

u32 = st.integers(0, LARGEST)
places = st.builds(ChunkPlace, st.sampled_from(sorted(PACKS)), u32, u32, u32, u32, u32, u32, u32)
entries = st.lists(st.tuples(st.binary(min_size=32, max_size=32), places), max_size=40, unique=True)


def _built(rows: list[Entry]) -> tuple[IndexTable, list[bytes]]:
    """The table and the open blocks of an index."""
    index = build_index(
        IDENTITY,
        sorted(rows, key=by_chunk),
        pack_sizes=PACKS,
        replaces=["index/0/b", "index/0/a"],
        tier=1,
        salt=b"s" * 32,
    )
    _, seal, table = read_table(index.data, IndexTable, name=index.name, kind=Kind.INDEX, identity=IDENTITY)
    blocks, start = [], HEADER_BYTES
    for ordinal, size in enumerate(table.blocks, start=1):
        blocks.append(bytes(seal.open(index.data[start : start + size], ordinal, name=index.name)))
        start += size
    return table, blocks


def _many(count: int) -> list[Entry]:
    return [
        (hashlib.sha256(b"%d" % number).digest(), ChunkPlace("data/00/00", number, 0, 0, 0, 0, 0, 0))
        for number in range(count)
    ]


@given(entries)
def test_entries_come_back_sorted(rows: list[Entry]) -> None:
    table, blocks = _built(rows)
    found = [entry for block in blocks for entry in unpack_block(block, table.packs, name="x")]
    assert sorted(found, key=repr) == sorted(rows, key=repr)
    assert [chunk_id for chunk_id, _ in found] == sorted(chunk_id for chunk_id, _ in rows)
    assert table.entries == len(rows)


def test_the_table_names_packs_with_sizes_and_what_it_replaces() -> None:
    names = ["metadata/22/22", "data/00/00", "metadata/22/22"]
    table, _ = _built([(b"%d" % at * 32, ChunkPlace(name, 1, 0, 0, 0, 0, 0, 0)) for at, name in enumerate(names)])
    assert table.packs == [PackRow("metadata/22/22", 300), PackRow("data/00/00", 100)]
    assert table.replaces == ["index/0/a", "index/0/b"]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, 0), (1, 1), (BLOCK_ENTRIES, 1), (BLOCK_ENTRIES + 1, 2), (3 * BLOCK_ENTRIES, 3)]
)
def test_a_block_holds_so_many_entries(count: int, expected: int) -> None:
    table, blocks = _built(_many(count))
    assert len(blocks) == len(table.fences) == expected
    assert [block[:32] for block in blocks] == table.fences == sorted(table.fences)
    assert all(len(block) <= BLOCK_ENTRIES * ENTRY_BYTES for block in blocks)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(0, 21))
def test_every_entry_of_a_chunk_is_found_in_its_block(numbers: list[int], wanted: int) -> None:
    rows = [
        (bytes([number]) * 32, ChunkPlace("data/00/00", position, 0, 0, 0, 0, 0, 0))
        for position, number in enumerate(numbers)
    ]
    _, blocks = _built(rows)
    block = blocks[0] if blocks else b""
    table, _ = _built(rows)
    found = [unpack_entry(block, at, table.packs, name="x") for at in Block(block).find(bytes([wanted]) * 32)]
    assert sorted(found, key=repr) == sorted([row for row in rows if row[0][0] == wanted], key=repr)


@pytest.mark.parametrize("wanted", range(5))
def test_chunks_whose_ids_begin_alike_are_told_apart(wanted: int) -> None:
    """Nobody can choose ids where they are keyed, but somebody who writes an index by hand can."""
    ids = [bytes(31) + bytes([number]) for number in range(4)]
    table, (block,) = _built([(each, ChunkPlace("data/00/00", at, 0, 0, 0, 0, 0, 0)) for at, each in enumerate(ids)])

    found = [unpack_entry(block, at, table.packs, name="x")[0] for at in Block(block).find(bytes(31) + bytes([wanted]))]

    assert found == ids[wanted : wanted + 1]


def test_an_entry_of_a_pack_that_is_not_listed_is_damage() -> None:
    table, (block,) = _built([(b"c" * 32, ChunkPlace("metadata/22/22", 1, 0, 0, 0, 0, 0, 0))])
    with pytest.raises(IntegrityError):
        unpack_entry(block, 0, table.packs[:0], name="x")


def test_a_block_that_is_no_multiple_of_an_entry_is_damage() -> None:
    table, (block,) = _built(_many(2))
    with pytest.raises(IntegrityError):
        list(unpack_block(block[:-1], table.packs, name="x"))
