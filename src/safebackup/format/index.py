"""Indexes: which pack holds a chunk (format.md, "Indexes").

An index is an object whose frames are blocks of entries of 64 bytes, sorted by chunk id, and whose table holds the
packs, the first id of each block (the fence) and the indexes that it replaces. One block is one range read.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from safebackup.format.header import Kind, damaged
from safebackup.format.objects import Identity, ObjectBuilder, StoredObject
from safebackup.format.pack import CHUNK_ID_BYTES, ChunkPlace
from safebackup.format.sealing import TAG_BYTES, Buffer

ENTRY_BYTES = 64
BLOCK_ENTRIES = 1024
INDEX_ENTRIES_MAX = 1 << 20  # a merge of more becomes several indexes, 64 MiB each
_WORD_BYTES = 8
_ENTRY = struct.Struct(">32sIIIIIIII")

Entry = tuple[bytes, ChunkPlace]


def by_chunk(entry: Entry) -> tuple[bytes, str, int]:
    """The order of entries: by chunk, then by where it lies."""
    chunk_id, place = entry
    return chunk_id, place.pack, place.offset


class PackRow(msgspec.Struct, array_like=True, frozen=True):
    """A pack that an index names, with its size, so that a listing alone shows truncation."""

    name: str
    size_bytes: int


class IndexTable(msgspec.Struct, array_like=True, frozen=True):
    """What a reader loads of an index before it asks for a block."""

    tier: int
    replaces: list[str]  # in effect only while every index in `beside` is there too
    beside: list[str]  # other parts of merges that were too large for one object, on which `replaces` depends
    packs: list[PackRow]
    fences: list[bytes]
    blocks: list[int]  # sealed bytes of each block, from the header on, without gaps
    entries: int


def build_index(
    identity: Identity,
    entries: Iterable[Entry],
    *,
    pack_sizes: Mapping[str, int],
    salt: bytes,
    tier: int = 0,
    replaces: Iterable[str] = (),
    beside: Iterable[str] = (),
) -> StoredObject:
    """One index of `entries`, which come sorted by chunk id; `pack_sizes` knows every pack that they lie in.

    Costs 64 bytes of memory an entry.
    """
    builder = ObjectBuilder(identity, Kind.INDEX, salt=salt)
    numbers: dict[str, int] = {}
    fences: list[bytes] = []
    blocks: list[int] = []
    count = 0
    rows = (_pack_entry(chunk_id, place, numbers) for chunk_id, place in entries)
    while block := b"".join(islice(rows, BLOCK_ENTRIES)):
        builder.add(block)
        fences.append(block[:CHUNK_ID_BYTES])
        blocks.append(len(block) + TAG_BYTES)
        count += len(block) // ENTRY_BYTES
    table = IndexTable(
        tier=tier,
        replaces=sorted(replaces),
        beside=sorted(beside),
        packs=[PackRow(name, pack_sizes[name]) for name in numbers],
        fences=fences,
        blocks=blocks,
        entries=count,
    )
    return builder.finish(table, tier=tier)


def _pack_entry(chunk_id: bytes, place: ChunkPlace, numbers: dict[str, int]) -> bytes:
    return _ENTRY.pack(chunk_id, numbers.setdefault(place.pack, len(numbers)), *place[1:])


def unpack_entry(block: Buffer, position: int, packs: Sequence[PackRow], *, name: str) -> Entry:
    """The entry that begins at byte `position` of a block.

    Raises:
        IntegrityError: it names a pack that the index does not list.
    """
    chunk_id, number, *rest = _ENTRY.unpack_from(block, position)
    if number >= len(packs):
        raise damaged(name, f"an entry names pack {number} of {len(packs)}")
    return chunk_id, ChunkPlace._make((packs[number].name, *rest))


def unpack_block(block: Buffer, packs: Sequence[PackRow], *, name: str) -> Iterator[Entry]:
    """All entries of a block, in order."""
    if len(block) % ENTRY_BYTES:
        raise damaged(name, f"a block has {len(block)} bytes, no multiple of {ENTRY_BYTES}")
    for position in range(0, len(block), ENTRY_BYTES):
        yield unpack_entry(block, position, packs, name=name)


class Block:
    """A block in memory, in which chunks are looked for."""

    __slots__ = ("_keys", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._keys: array[int] | None = None

    def find(self, chunk_id: bytes) -> list[int]:
        """The positions of all entries for a chunk (it may lie in several packs)."""
        keys = self._keys
        if keys is None:
            keys = self._keys = _first_words(self.data)
        position = bisect_left(keys, int.from_bytes(chunk_id[:_WORD_BYTES], "big")) * ENTRY_BYTES
        data = self.data
        while (found := data[position : position + CHUNK_ID_BYTES]) and found < chunk_id:
            position += ENTRY_BYTES
        positions = []
        while data[position : position + CHUNK_ID_BYTES] == chunk_id:
            positions.append(position)
            position += ENTRY_BYTES
        return positions


def _first_words(data: bytes) -> array[int]:
    """The first eight bytes of each entry as a number: an eighth of the block, which bisects at the speed of C."""
    words = array("Q", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words[:: ENTRY_BYTES // _WORD_BYTES]
