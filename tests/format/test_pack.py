"""Packs: every chunk has a place, and tables that lie about sizes are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import IntegrityError
from safebackup.format.compressing import Codec, compress
from safebackup.format.header import FRAME_BYTES_MAX, HEADER_BYTES, OBJECT_BYTES_MAX, Kind
from safebackup.format.ids import ChunkIds
from safebackup.format.objects import Identity, StoredObject, build_object
from safebackup.format.pack import (
    EncodedFrame,
    FrameRow,
    PackBuilder,
    PackTable,
    open_frame,
    places_of,
    read_pack_table,
)
from safebackup.format.sealing import TAG_BYTES, Keyring

IDENTITY = Identity(b"r" * 16, Keyring(identity=b"i" * 32, chunker_seed=0, classes={1: {"data": b"d" * 32}}))
IDS = ChunkIds.of(b"i" * 32)
SALT = b"s" * 32


def _encoded(chunks: list[bytes]) -> EncodedFrame:
    codec, payload = compress(b"".join(chunks))
    return EncodedFrame(
        codec, payload, sum(map(len, chunks)), [IDS.data(chunk) for chunk in chunks], [len(chunk) for chunk in chunks]
    )


def _pack(frames: list[list[bytes]]) -> StoredObject:
    builder = PackBuilder(IDENTITY, Kind.DATA_PACK, salt=SALT)
    for frame in frames:
        builder.add(_encoded(frame))
    return builder.finish()


@given(st.lists(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5), max_size=5))
def test_every_chunk_is_found_in_its_place(frames: list[list[bytes]]) -> None:
    pack = _pack(frames)
    seal, table = read_pack_table(pack.data, name=pack.name, kind=Kind.DATA_PACK, identity=IDENTITY)
    found = []
    for chunk_id, place in places_of(pack.name, table):
        sealed = pack.data[place.offset : place.offset + place.stored_bytes]
        frame = open_frame(seal, sealed, place)
        found.append(bytes(frame[place.chunk_offset : place.chunk_offset + place.chunk_bytes]))
        assert chunk_id == IDS.data(found[-1])
    assert found == [chunk for frame in frames for chunk in frame]


def test_a_frame_opens_in_no_other_place() -> None:
    pack = _pack([[b"one"], [b"two"]])
    seal, table = read_pack_table(pack.data, name=pack.name, kind=Kind.DATA_PACK, identity=IDENTITY)
    (_, one), (_, two) = places_of(pack.name, table)
    with pytest.raises(IntegrityError):
        open_frame(seal, pack.data[two.offset : two.offset + two.stored_bytes], one)


def test_a_frame_that_would_be_too_large_is_refused_before_it_is_opened() -> None:
    pack = _pack([[b"one"]])
    seal, table = read_pack_table(pack.data, name=pack.name, kind=Kind.DATA_PACK, identity=IDENTITY)
    _, place = next(places_of(pack.name, table))
    for raw_bytes in (FRAME_BYTES_MAX + 1, -1):
        with pytest.raises(IntegrityError):
            open_frame(seal, b"", place._replace(raw_bytes=raw_bytes))


ROW = FrameRow(Codec.RAW, 5 + TAG_BYTES, 5, b"a" * 64, [2, 3])


def _with_table(rows: list[FrameRow]) -> StoredObject:
    return build_object(IDENTITY, Kind.DATA_PACK, salt=SALT, frames=[b"alpha"], table=PackTable(rows))


def test_the_table_that_the_next_tests_spoil_is_accepted() -> None:
    pack = _with_table([ROW])
    assert (
        len(list(places_of("x", read_pack_table(pack.data, name="x", kind=Kind.DATA_PACK, identity=IDENTITY)[1]))) == 2
    )


@pytest.mark.parametrize(
    "change",
    [
        {"raw_bytes": 0, "lengths": [0, 0]},
        {"raw_bytes": FRAME_BYTES_MAX + 1, "lengths": [1, FRAME_BYTES_MAX]},
        {"raw_bytes": 6},
        {"lengths": [2]},
        {"lengths": [7, -2]},
        {"ids": b"a" * 63},
        {"ids": b"a" * 96},
        {"stored_bytes": TAG_BYTES},
        {"stored_bytes": 6 + TAG_BYTES},
        {"stored_bytes": 4 + TAG_BYTES},
    ],
    ids=str,
)
def test_a_table_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    pack = _with_table([msgspec.structs.replace(ROW, **change)])
    with pytest.raises(IntegrityError):
        read_pack_table(pack.data, name="x", kind=Kind.DATA_PACK, identity=IDENTITY)


@pytest.mark.parametrize("count", [0, 2])
def test_a_table_of_more_or_fewer_frames_than_there_are_is_refused(count: int) -> None:
    pack = _with_table([ROW] * count)
    with pytest.raises(IntegrityError):
        read_pack_table(pack.data, name="x", kind=Kind.DATA_PACK, identity=IDENTITY)


class _Vast(bytes):
    def __len__(self) -> int:
        return OBJECT_BYTES_MAX + 1


def test_a_pack_that_is_too_large_is_refused() -> None:
    with pytest.raises(IntegrityError, match="at most"):
        read_pack_table(_Vast(), name="x", kind=Kind.DATA_PACK, identity=IDENTITY)


def test_frames_begin_behind_the_header() -> None:
    pack = _pack([[b"one"]])
    _, table = read_pack_table(pack.data, name=pack.name, kind=Kind.DATA_PACK, identity=IDENTITY)
    assert next(places_of(pack.name, table))[1].offset == HEADER_BYTES
