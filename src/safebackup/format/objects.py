"""The anatomy of an object: header ‖ sealed frames ‖ sealed table (format.md, "Objects").

Every object of a repository has this shape. A record (snapshot, intent, doom, …) is an object without frames,
whose table is a zstd frame of MessagePack. Tables are read as hostile until their seal has opened,
and as ours to misread even then: types and bounds are checked while decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs
import msgspec
import zstandard

from safebackup.errors import Code, IntegrityError, InternalError
from safebackup.format.compressing import LEVEL_DEFAULT, Codec, decompress
from safebackup.format.header import (
    HEADER_BYTES,
    KEY_CLASS,
    TABLE_BYTES_MAX,
    Header,
    KeyClass,
    KeyWrap,
    Kind,
    damaged,
    digest_of,
    object_name,
    parse_header,
    require_digest,
)
from safebackup.format.sealing import TABLE_ORDINAL, TAG_BYTES, Buffer, Keyring, Seal, seal_for

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()


@attrs.frozen
class StoredObject:
    """The bytes of an object, and the name that they give it."""

    name: str
    data: Buffer = attrs.field(repr=False)


@attrs.frozen
class Identity:
    """What every object of a repository is stamped with."""

    repository: bytes
    keyring: Keyring


def encode(value: object) -> bytes:
    """MessagePack in its shortest form: equal values have equal bytes.

    Raises:
        InternalError: the value has no such form; a caller should have refused it.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InternalError(
            f"a record cannot be written: {error}", hint="Nothing of it was stored. Please report this."
        ) from error


def decode(data: Buffer, shape: type[T], *, name: str) -> T:
    """Read MessagePack of a known shape.

    Raises:
        IntegrityError: it has another shape.
    """
    try:
        return msgspec.msgpack.decode(data, type=shape)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise damaged(name, f"its content is malformed ({error})") from error


class ObjectBuilder:
    """Seals frames one after the other into one buffer, then the table behind them.

    The salt is 32 fresh random bytes, given by the caller. The memory to build it in can be given too, as `room`:
    fresh memory of this size costs more than the sealing.
    """

    def __init__(self, identity: Identity, kind: Kind, *, salt: bytes, room: memoryview | None = None) -> None:
        self._identity = identity
        self._kind = kind
        self._salt = salt
        self.room = room if room is not None else memoryview(bytearray(HEADER_BYTES))
        self._ordinal = TABLE_ORDINAL
        # The seal is bound to the part of the header that does not speak of the table.
        self._seal = seal_for(self._header(0, 0), identity.keyring, name="a new object")
        self.size_bytes = HEADER_BYTES

    def add(self, frame: Buffer) -> None:
        """Seal the next frame; it is not needed afterwards."""
        self._ordinal += 1
        self._append(frame, self._ordinal)

    def finish(self, table: object, *, tier: int = 0) -> StoredObject:
        """The object. It lives in `room`, until that is used again."""
        packed = _pack_table(table)
        header = self._header(self.size_bytes, len(packed) + TAG_BYTES)
        self._append(packed, TABLE_ORDINAL)
        self.room[:HEADER_BYTES] = header.to_bytes()
        data = self.room[: self.size_bytes]
        return StoredObject(object_name(self._kind, digest_of(data), tier=tier), data)

    def _header(self, table_offset: int, table_length: int) -> Header:
        return make_header(
            self._identity, self._kind, salt=self._salt, table_offset=table_offset, table_length=table_length
        )

    def _append(self, part: Buffer, ordinal: int) -> None:
        end = self.size_bytes + len(part) + TAG_BYTES
        if end > len(self.room):
            larger = memoryview(bytearray(max(end, 2 * len(self.room))))
            larger[: self.size_bytes] = self.room[: self.size_bytes]
            self.room = larger
        self._seal.seal_into(self.room[self.size_bytes : end], part, ordinal)
        self.size_bytes = end


def build_object(
    identity: Identity, kind: Kind, *, salt: bytes, frames: Sequence[Buffer], table: object, tier: int = 0
) -> StoredObject:
    """Seal `frames` and `table` into one object."""
    builder = ObjectBuilder(identity, kind, salt=salt)
    for frame in frames:
        builder.add(frame)
    return builder.finish(table, tier=tier)


def make_header(identity: Identity, kind: Kind, *, salt: bytes, table_offset: int, table_length: int) -> Header:
    """The header of a new object of this repository."""
    unsealed = KEY_CLASS[kind] is KeyClass.NONE
    keyring = identity.keyring
    return Header(
        kind=kind,
        wrap=KeyWrap.NONE if unsealed else keyring.wrap,
        epoch=0 if unsealed else keyring.epoch,
        repository=identity.repository,
        salt=salt,
        table_offset=table_offset,
        table_length=table_length,
    )


def read_header(data: Buffer, *, name: str, kind: Kind, identity: Identity) -> tuple[Header, Seal]:
    """Header and seal of an object that must be of this kind and repository.

    Raises:
        IntegrityError: it is damaged, or belongs to another repository (`Code.FOREIGN_OBJECT`).
        ConfigurationError: a newer release wrote it, or the key does not open it.
    """
    header = parse_header(memoryview(data), name=name)
    if header.kind is not kind:
        raise damaged(name, f"it is a {header.kind.name} where a {kind.name} is expected")
    if header.repository != identity.repository:
        raise IntegrityError(
            f"{name} belongs to repository {header.repository.hex()}, not to {identity.repository.hex()}",
            code=Code.FOREIGN_OBJECT,
            hint="Two repositories were mixed in one place: move the foreign object back to where it came from.",
        )
    return header, seal_for(header, identity.keyring, name=name)


def read_table(data: Buffer, shape: type[T], *, name: str, kind: Kind, identity: Identity) -> tuple[Header, Seal, T]:
    """Header, seal and table of a whole object."""
    header, seal = read_header(data, name=name, kind=kind, identity=identity)
    if header.table_offset + header.table_length != len(data):
        raise damaged(name, f"it has {len(data)} bytes where {header.table_offset + header.table_length} are expected")
    sealed = memoryview(data)[header.table_offset :]
    return header, seal, open_table(seal, sealed, shape, name=name)


def open_table(seal: Seal, sealed: Buffer, shape: type[T], *, name: str) -> T:
    """A table from its sealed bytes, as a range read brings them."""
    plain = seal.open(sealed, TABLE_ORDINAL, name=name)
    try:
        raw_bytes = zstandard.frame_content_size(plain)
    except zstandard.ZstdError as error:
        raise damaged(name, f"its table does not decompress ({error})") from error
    if not 0 <= raw_bytes <= TABLE_BYTES_MAX:
        raise damaged(name, f"its table would have {raw_bytes} bytes")
    return decode(decompress(plain, Codec.ZSTD, raw_bytes, name=name), shape, name=name)


def build_record(identity: Identity, kind: Kind, body: object, *, salt: bytes, tier: int = 0) -> StoredObject:
    """An object without frames: a snapshot, an intent, a journal record and so on.

    What is written is read back first: a record of the wrong shape would be lost to every reader.
    """
    try:
        decode(encode(body), type(body), name="a new record")
    except IntegrityError as error:
        raise InternalError(f"a record has the wrong shape ({error.message})", hint="Please report this.") from error
    return build_object(identity, kind, salt=salt, frames=(), table=body, tier=tier)


def read_record(data: Buffer, shape: type[T], *, name: str, kind: Kind, identity: Identity) -> T:
    """The body of a record.

    Raises:
        IntegrityError: it is damaged or foreign.
        ConfigurationError: a newer release wrote it, or the key does not open it.
    """
    require_digest(name, data)
    return read_table(data, shape, name=name, kind=kind, identity=identity)[2]


def _pack_table(table: object) -> bytes:
    raw = encode(table)
    packed = zstandard.ZstdCompressor(level=LEVEL_DEFAULT).compress(raw)
    if max(len(raw), len(packed) + TAG_BYTES) > TABLE_BYTES_MAX:
        raise InternalError(
            f"a table of {len(raw)} bytes would be written, and readers take {TABLE_BYTES_MAX}",
            hint="Nothing of it was stored. Please report this with the size of what was backed up.",
        )
    return packed
