"""Packs: objects of many frames, each frame holding one or more chunks (format.md, "Packs").

Small chunks share a frame of about 1 MiB, so that they compress together and one read brings a small file.
A pack's table lists its frames with the chunks in them, so that an index can be rebuilt from packs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import attrs
import msgspec

from safebackup.format.compressing import decompress
from safebackup.format.header import FRAME_BYTES_MAX, HEADER_BYTES, OBJECT_BYTES_MAX, Header, Kind, damaged
from safebackup.format.objects import Identity, ObjectBuilder, StoredObject, read_table
from safebackup.format.sealing import TAG_BYTES, Buffer, Seal

CHUNK_ID_BYTES = 32


class FrameRow(msgspec.Struct, array_like=True, frozen=True):
    """One frame in a pack's table; `ids` are 32 bytes a chunk, in the order of `lengths`."""

    codec: int
    stored_bytes: int  # sealed, in the pack
    raw_bytes: int
    ids: bytes
    lengths: list[int]


class PackTable(msgspec.Struct, array_like=True, frozen=True):
    """What a pack holds, frame by frame from its header on, without gaps."""

    frames: list[FrameRow]


@attrs.frozen
class EncodedFrame:
    """Chunks encoded together, not yet sealed."""

    codec: int
    payload: Buffer = attrs.field(repr=False)
    raw_bytes: int
    ids: Sequence[bytes]
    lengths: Sequence[int]


class ChunkPlace(NamedTuple):
    """Where one chunk lies: everything that a reader needs without asking the pack.

    A tuple, as there is one for every chunk that is written, looked up or verified.
    """

    pack: str
    ordinal: int
    codec: int
    offset: int  # of the sealed frame in the pack
    stored_bytes: int
    raw_bytes: int
    chunk_offset: int  # of the chunk in the decoded frame
    chunk_bytes: int


class PackBuilder:
    """Collects encoded frames into one pack; see `ObjectBuilder` for `salt` and `room`."""

    def __init__(self, identity: Identity, kind: Kind, *, salt: bytes, room: memoryview | None = None) -> None:
        self._object = ObjectBuilder(identity, kind, salt=salt, room=room)
        self._rows: list[FrameRow] = []
        self.chunks = 0

    @property
    def size_bytes(self) -> int:
        """The size so far."""
        return self._object.size_bytes

    @property
    def room(self) -> memoryview:
        """The memory that the pack is in."""
        return self._object.room

    def add(self, frame: EncodedFrame) -> None:
        """Seal the next frame; it is not needed afterwards."""
        self._object.add(frame.payload)
        self.chunks += len(frame.lengths)
        stored_bytes = len(frame.payload) + TAG_BYTES
        self._rows.append(
            FrameRow(frame.codec, stored_bytes, frame.raw_bytes, b"".join(frame.ids), list(frame.lengths))
        )

    def finish(self) -> StoredObject:
        """The pack."""
        return self._object.finish(PackTable(self._rows))


def read_pack_table(data: Buffer, *, name: str, kind: Kind, identity: Identity) -> tuple[Seal, PackTable]:
    """The table of a whole pack, with every bound checked.

    Raises:
        IntegrityError: it is damaged, or its frames do not fill it exactly.
    """
    if len(data) > OBJECT_BYTES_MAX:
        raise damaged(name, f"it has {len(data)} bytes; a pack has at most {OBJECT_BYTES_MAX}")
    header, seal, table = read_table(data, PackTable, name=name, kind=kind, identity=identity)
    require_whole(table, header, name=name)
    return seal, table


def require_whole(table: PackTable, header: Header, *, name: str) -> None:
    """Check that the frames of a table have possible sizes and fill the pack.

    Raises:
        IntegrityError: they do not.
    """
    for row in table.frames:
        if not 0 < row.raw_bytes <= FRAME_BYTES_MAX or row.stored_bytes <= TAG_BYTES:
            raise damaged(name, f"a frame would have {row.raw_bytes} bytes")
        if len(row.ids) != CHUNK_ID_BYTES * len(row.lengths) or min(row.lengths, default=0) < 0:
            raise damaged(name, "a frame lists other numbers of ids and lengths")
        if sum(row.lengths) != row.raw_bytes:
            raise damaged(name, "the chunks of a frame do not fill it")
    if HEADER_BYTES + sum(row.stored_bytes for row in table.frames) != header.table_offset:
        raise damaged(name, "its frames do not fill it")


def places_of(name: str, table: PackTable) -> Iterator[tuple[bytes, ChunkPlace]]:
    """Every chunk of a pack with its place, in stored order."""
    for frame in frame_places(name, table):
        yield from frame


def frame_places(name: str, table: PackTable) -> Iterator[list[tuple[bytes, ChunkPlace]]]:
    """The same, frame by frame."""
    offset = HEADER_BYTES
    for ordinal, row in enumerate(table.frames, start=1):
        found = []
        start = at = 0
        for length in row.lengths:
            place = ChunkPlace(name, ordinal, row.codec, offset, row.stored_bytes, row.raw_bytes, start, length)
            found.append((row.ids[at : at + CHUNK_ID_BYTES], place))
            start += length
            at += CHUNK_ID_BYTES
        yield found
        offset += row.stored_bytes


def open_frame(seal: Seal, sealed: Buffer, place: ChunkPlace) -> Buffer:
    """The decoded frame in which `place` lies, from its sealed bytes.

    Raises:
        IntegrityError: it is not what was sealed there.
    """
    if not 0 <= place.raw_bytes <= FRAME_BYTES_MAX:
        raise damaged(place.pack, f"frame {place.ordinal} would have {place.raw_bytes} bytes")
    plain = seal.open(sealed, place.ordinal, name=place.pack)
    return decompress(plain, place.codec, place.raw_bytes, name=place.pack)
