"""Indexes: which pack holds a chunk (format.md, "Indexes").

An index is an object whose frames are blocks of entries of 64 bytes, sorted by chunk id, and whose table holds the
packs, the first id of each block (the fence) and the indexes that it replaces. One block is one range read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from safebackup.format.header import Kind, damaged
from safebackup.format.objects import Identity, StoredObject, build_object
from safebackup.format.pack import CHUNK_ID_BYTES, ChunkPlace
from safebackup.format.sealing import Buffer

ENTRY_BYTES = 64
BLOCK_ENTRIES = 1024
_ENTRY = struct.Struct(">32sIIIIIIII")

Entry = tuple[bytes, ChunkPlace]


class PackRow(msgspec.Struct, array_like=True, frozen=True):
    """A pack that an index names, with its size, so that a listing alone shows truncation."""

    name: str
    size_bytes: int


class IndexTable(msgspec.Struct, array_like=True, frozen=True):
    """What a reader loads of an index before it asks for a block."""

    tier: int
    replaces: list[str]
    packs: list[PackRow]
    fences: list[bytes]
    blocks: list[int]  # sealed bytes of each block, from the header on, without gaps
    entries: int


def build_index(
    identity: Identity,
    entries: Iterable[Entry],
    *,
    pack_sizes: dict[str, int],
    replaces: Iterable[str],
    tier: int,
    salt: bytes,
) -> StoredObject:
    """One index of all `entries`; `pack_sizes` names every pack that they lie in."""
    packs = sorted(pack_sizes)
    numbers = {name: number for number, name in enumerate(packs)}
    rows = sorted(_pack_entry(chunk_id, place, numbers) for chunk_id, place in entries)
    blocks = [b"".join(rows[start : start + BLOCK_ENTRIES]) for start in range(0, len(rows), BLOCK_ENTRIES)]
    table = IndexTable(
        tier=tier,
        replaces=sorted(replaces),
        packs=[PackRow(name, pack_sizes[name]) for name in packs],
        fences=[block[:CHUNK_ID_BYTES] for block in blocks],
        blocks=[len(block) + 16 for block in blocks],
        entries=len(rows),
    )
    return build_object(identity, Kind.INDEX, salt=salt, frames=blocks, table=table, tier=tier)


def _pack_entry(chunk_id: bytes, place: ChunkPlace, numbers: dict[str, int]) -> bytes:
    return _ENTRY.pack(
        chunk_id,
        numbers[place.pack],
        place.ordinal,
        place.codec,
        place.offset,
        place.stored_bytes,
        place.raw_bytes,
        place.chunk_offset,
        place.chunk_bytes,
    )


def unpack_entry(block: Buffer, position: int, packs: Sequence[PackRow], *, name: str) -> Entry:
    """The entry that begins at byte `position` of a block.

    Raises:
        IntegrityError: it names a pack that the index does not list.
    """
    chunk_id, number, *rest = _ENTRY.unpack_from(block, position)
    if number >= len(packs):
        raise damaged(name, f"an entry names pack {number} of {len(packs)}")
    return chunk_id, ChunkPlace(packs[number].name, *rest)


def unpack_block(block: Buffer, packs: Sequence[PackRow], *, name: str) -> Iterator[Entry]:
    """All entries of a block, in order."""
    if len(block) % ENTRY_BYTES:
        raise damaged(name, f"a block has {len(block)} bytes, no multiple of {ENTRY_BYTES}")
    for position in range(0, len(block), ENTRY_BYTES):
        yield unpack_entry(block, position, packs, name=name)


def find_in_block(block: Buffer, chunk_id: bytes) -> list[int]:
    """The positions of all entries for a chunk in one block (a chunk may lie in several packs)."""
    low, high = 0, len(block) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        position = middle * ENTRY_BYTES
        if bytes(block[position : position + CHUNK_ID_BYTES]) < chunk_id:
            low = middle + 1
        else:
            high = middle
    found = []
    position = low * ENTRY_BYTES
    while block[position : position + CHUNK_ID_BYTES] == chunk_id:
        found.append(position)
        position += ENTRY_BYTES
    return found
