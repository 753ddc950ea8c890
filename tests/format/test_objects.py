"""Objects: built, read back, and refused when anything about them is not as it must be."""

from __future__ import annotations

import attrs
import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, IntegrityError, InternalError
from safebackup.format.header import HEADER_BYTES, TABLE_BYTES_MAX, Header, Kind
from safebackup.format.objects import (
    Identity,
    build_object,
    build_record,
    decode,
    encode,
    make_header,
    read_header,
    read_record,
    read_table,
)
from safebackup.format.records import DoomBody
from safebackup.format.sealing import TAG_BYTES, Keyring, seal_for

CLASSES = {1: {name: name.encode().ljust(32, b"\0") for name in ("data", "metadata", "index", "status")}}
PLAIN = Identity(b"r" * 16, Keyring(identity=b"i" * 32, chunker_seed=0, classes={}))
SEALED = attrs.evolve(PLAIN, keyring=Keyring(identity=b"i" * 32, chunker_seed=0, classes=CLASSES))
SALT = b"s" * 32
DOOM = DoomBody(packs=("data/00/00",), created=1)
both = pytest.mark.parametrize("identity", [PLAIN, SEALED], ids=["plain", "sealed"])


@both
def test_a_record_is_read_as_it_was_written(identity: Identity) -> None:
    record = build_record(identity, Kind.DOOM, DOOM, salt=SALT)
    assert read_record(record.data, DoomBody, name=record.name, kind=Kind.DOOM, identity=identity) == DOOM


@both
@given(frames=st.lists(st.binary(max_size=200), max_size=5))
def test_frames_lie_one_behind_the_other(identity: Identity, frames: list[bytes]) -> None:
    stored = build_object(identity, Kind.DATA_PACK, salt=SALT, frames=frames, table=["table"])
    header, seal, table = read_table(stored.data, list[str], name=stored.name, kind=Kind.DATA_PACK, identity=identity)
    assert table == ["table"]
    start = HEADER_BYTES
    for ordinal, frame in enumerate(frames, start=1):
        end = start + len(frame) + TAG_BYTES
        assert bytes(seal.open(stored.data[start:end], ordinal, name="x")) == frame
        start = end
    assert start == header.table_offset


@both
def test_the_same_content_with_another_salt_is_another_object(identity: Identity) -> None:
    one, other = (build_record(identity, Kind.DOOM, DOOM, salt=bytes([number]) * 32) for number in range(2))
    again = build_record(identity, Kind.DOOM, DOOM, salt=bytes(32))
    assert one.name != other.name
    assert (again.name, bytes(again.data)) == (one.name, bytes(one.data))


def test_a_sealed_object_shows_nothing_of_its_content() -> None:
    assert b"data/00/00" in zstandard.decompress(_sealed_table(PLAIN))
    stored = bytes(build_record(SEALED, Kind.DOOM, DoomBody(packs=("plain text",) * 9, created=1), salt=SALT).data)
    assert b"plain text" not in stored
    assert zstandard.FRAME_HEADER not in stored


def _sealed_table(identity: Identity) -> bytes:
    return bytes(build_record(identity, Kind.DOOM, DOOM, salt=SALT).data[HEADER_BYTES:-TAG_BYTES])


@both
@pytest.mark.parametrize("change", ["cut", "grown", "flipped"])
def test_bytes_that_do_not_hash_to_the_name_are_damage(identity: Identity, change: str) -> None:
    record = build_record(identity, Kind.DOOM, DOOM, salt=SALT)
    data = bytearray(record.data)
    if change == "cut":
        del data[-1]
    elif change == "grown":
        data.append(0)
    else:
        data[8] ^= 2  # the version: damage is damage, no newer release
    with pytest.raises(IntegrityError) as caught:
        read_record(data, DoomBody, name=record.name, kind=Kind.DOOM, identity=identity)
    assert caught.value.code is Code.DAMAGED_OBJECT


@both
@pytest.mark.parametrize("change", [-1, 1])
def test_a_table_that_does_not_end_with_the_object_is_damage(identity: Identity, change: int) -> None:
    data = bytes(build_record(identity, Kind.DOOM, DOOM, salt=SALT).data)
    data = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(IntegrityError):
        read_table(data, DoomBody, name="x", kind=Kind.DOOM, identity=identity)


@both
def test_an_object_of_another_kind_is_refused(identity: Identity) -> None:
    record = build_record(identity, Kind.DOOM, DOOM, salt=SALT)
    with pytest.raises(IntegrityError):
        read_record(record.data, DoomBody, name=record.name, kind=Kind.INTENT, identity=identity)


@both
def test_an_object_of_another_repository_is_foreign(identity: Identity) -> None:
    record = build_record(identity, Kind.DOOM, DOOM, salt=SALT)
    other = attrs.evolve(identity, repository=b"q" * 16)
    with pytest.raises(IntegrityError) as caught:
        read_header(record.data, name=record.name, kind=Kind.DOOM, identity=other)
    assert caught.value.code is Code.FOREIGN_OBJECT


def test_a_plain_record_does_not_pass_in_a_sealed_repository() -> None:
    record = build_record(PLAIN, Kind.DOOM, DOOM, salt=SALT)
    with pytest.raises(IntegrityError):
        read_record(record.data, DoomBody, name=record.name, kind=Kind.DOOM, identity=SEALED)


@both
def test_a_table_that_announces_too_much_is_refused(identity: Identity) -> None:
    packed = zstandard.compress(bytes(TABLE_BYTES_MAX + 1))
    header = make_header(
        identity, Kind.DOOM, salt=SALT, table_offset=HEADER_BYTES, table_length=len(packed) + TAG_BYTES
    )
    data = _with_table(header, identity, packed)
    with pytest.raises(IntegrityError, match="would have"):
        read_table(data, bytes, name="x", kind=Kind.DOOM, identity=identity)


def test_a_table_is_written_up_to_what_readers_take_and_no_larger() -> None:
    largest = bytes(TABLE_BYTES_MAX - 5)  # MessagePack takes 5 bytes of its own
    record = build_record(PLAIN, Kind.DOOM, largest, salt=SALT)
    assert read_record(record.data, bytes, name=record.name, kind=Kind.DOOM, identity=PLAIN) == largest
    with pytest.raises(InternalError):
        build_record(PLAIN, Kind.DOOM, largest + b"\0", salt=SALT)


def _with_table(header: Header, identity: Identity, packed: bytes) -> bytes:
    data = bytearray(header.to_bytes() + bytes(len(packed) + TAG_BYTES))
    seal_for(header, identity.keyring, name="x").seal_into(memoryview(data)[HEADER_BYTES:], packed, 0)
    return bytes(data)


class OlderBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a release knows that does not know all of `DoomBody`."""

    created: int


class OlderRow(msgspec.Struct, array_like=True, frozen=True):
    """A row of fewer places."""

    first: int


class NewerRow(msgspec.Struct, array_like=True, frozen=True):
    """A row with a place more."""

    first: int
    second: int = 7


def test_unknown_keys_and_places_are_ignored_and_missing_ones_have_their_default() -> None:
    assert decode(encode(DOOM), OlderBody, name="x") == OlderBody(created=1)
    assert decode(encode(NewerRow(1, 2)), OlderRow, name="x") == OlderRow(1)
    assert decode(encode(OlderRow(1)), NewerRow, name="x") == NewerRow(1, 7)


@given(st.binary(max_size=60))
def test_garbage_is_damage_not_an_accident(garbage: bytes) -> None:
    try:
        decode(garbage, DoomBody, name="x")
    except IntegrityError:
        return
    raise AssertionError("a body came out of garbage")


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        encode(DOOM)[:-1],
        encode(DOOM) + b"\0",
        encode({"packs": "data/00/00", "created": 1}),
        encode({"packs": [], "created": 1.5}),
        encode({"packs": []}),
    ],
    ids=["array", "map", "bytes", "deep", "cut", "grown", "text for a list", "float", "missing"],
)
def test_hostile_messagepack_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode(data, DoomBody, name="x")
