"""The first 88 bytes of every object, and the kinds of objects (format.md, "Objects").

The header is all that a sealed object shows: magic, version, kind, how its key is wrapped, repository, salt,
key epoch and where its table lies. Everything else is sealed.
"""

from __future__ import annotations

import hashlib
import re
import struct
from enum import IntEnum, StrEnum

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError

MAGIC = b"safebkp\x1a"
VERSION = 1
HEADER_BYTES = 88
BOUND_BYTES = 72  # the part of the header that every seal is bound to
SALT_BYTES = 32
REPOSITORY_ID_BYTES = 16

# Bounds for hostile input: a reader refuses to allocate more than these.
FRAME_BYTES_MAX = 16 << 20
OBJECT_BYTES_MAX = 256 << 20  # what stores bring in one read, too
TABLE_BYTES_MAX = 32 << 20

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAYOUT = struct.Struct(">8sBBBBHHI4x16s32sQQ")


class Kind(IntEnum):
    """What an object is; the number is in its header."""

    CONFIGURATION = 1
    KEY_SLOT = 2
    DATA_PACK = 3
    METADATA_PACK = 4
    INDEX = 5
    SNAPSHOT = 6
    INTENT = 7
    DOOM = 8
    DEATH = 9
    JOURNAL = 10
    CATALOGUE = 11
    FOUNDING = 12


class KeyClass(StrEnum):
    """Which key seals a kind of object, so that a monitor need not hold the key that restores."""

    NONE = "none"
    DATA = "data"
    METADATA = "metadata"
    INDEX = "index"
    STATUS = "status"


class KeyWrap(IntEnum):
    """How an object's key is found: the number is in its header."""

    NONE = 0  # the object is not sealed; its frames carry a digest instead
    EPOCH = 1  # derived from the class key of the object's epoch
    PUBLIC = 2  # reserved: encapsulated to a public key, for clients that can write but not read


KEY_CLASS = {
    Kind.CONFIGURATION: KeyClass.NONE,
    Kind.KEY_SLOT: KeyClass.NONE,
    Kind.FOUNDING: KeyClass.NONE,
    Kind.DATA_PACK: KeyClass.DATA,
    Kind.METADATA_PACK: KeyClass.METADATA,
    Kind.INDEX: KeyClass.INDEX,
    Kind.SNAPSHOT: KeyClass.STATUS,
    Kind.INTENT: KeyClass.STATUS,
    Kind.DOOM: KeyClass.STATUS,
    Kind.DEATH: KeyClass.STATUS,
    Kind.JOURNAL: KeyClass.STATUS,
    Kind.CATALOGUE: KeyClass.STATUS,
}

FOLDER = {
    Kind.CONFIGURATION: "config",
    Kind.KEY_SLOT: "keys",
    Kind.FOUNDING: "founding",
    Kind.DATA_PACK: "data",
    Kind.METADATA_PACK: "metadata",
    Kind.INDEX: "index",
    Kind.SNAPSHOT: "snapshots",
    Kind.INTENT: "intents",
    Kind.DOOM: "dooms",
    Kind.DEATH: "deaths",
    Kind.JOURNAL: "journal",
    Kind.CATALOGUE: "catalogues",
}

_PACKS = (Kind.DATA_PACK, Kind.METADATA_PACK)
_TIERED = (Kind.INDEX, Kind.CATALOGUE, Kind.FOUNDING)


@attrs.frozen(kw_only=True)
class Header:
    """The clear part of an object."""

    kind: Kind
    wrap: KeyWrap
    epoch: int
    repository: bytes
    salt: bytes
    table_offset: int
    table_length: int

    def to_bytes(self) -> bytes:
        """The 88 bytes that begin the object."""
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.kind,
            self.wrap,
            0,  # flags
            0,  # bytes of wrapped key behind the header: none in version 1
            0,  # bytes of signature at the end: none in version 1
            self.epoch,
            self.repository,
            self.salt,
            self.table_offset,
            self.table_length,
        )


def parse_header(data: bytes | memoryview, *, name: str) -> Header:
    """Read the header of the object called `name`.

    Raises:
        IntegrityError: it is no object of ours, or contradicts itself.
        ConfigurationError: a newer release wrote it (`Code.FORMAT_TOO_NEW`).
    """
    if len(data) < HEADER_BYTES:
        raise damaged(name, f"it has {len(data)} bytes where a header takes {HEADER_BYTES}")
    (magic, version, kind, wrap, flags, wrap_bytes, signature_bytes, epoch, repository, salt, offset, length) = (
        _LAYOUT.unpack_from(data)
    )
    if magic != MAGIC:
        raise damaged(name, "it does not begin as an object of safebackup")
    if version != VERSION or flags or wrap_bytes or signature_bytes or wrap not in (KeyWrap.NONE, KeyWrap.EPOCH):
        raise ConfigurationError(
            f"{name} was written by a newer release: format {version}, flags {flags}, key wrap {wrap}",
            code=Code.FORMAT_TOO_NEW,
            hint="Install the newest safebackup and run the same command again. Nothing was changed.",
        )
    if kind not in Kind.__members__.values() or any(data[20:24]):
        raise damaged(name, f"its kind is {kind}")
    if length > TABLE_BYTES_MAX or offset < HEADER_BYTES:
        raise damaged(name, f"its table would have {length} bytes at {offset}")
    return Header(
        kind=Kind(kind),
        wrap=KeyWrap(wrap),
        epoch=epoch,
        repository=repository,
        salt=salt,
        table_offset=offset,
        table_length=length,
    )


def damaged(name: str, why: str) -> IntegrityError:
    """The error for an object whose bytes are not what was written."""
    return IntegrityError(
        f"{name} is damaged: {why}",
        code=Code.DAMAGED_OBJECT,
        hint='verify(repository, level="full") tells which files it affects; bring the object back from a copy.',
    )


def object_name(kind: Kind, digest: str, *, tier: int = 0) -> str:
    """Where an object with this SHA-256 lies in the store."""
    if kind in _PACKS:
        return f"{FOLDER[kind]}/{digest[:2]}/{digest}"
    if kind in _TIERED:
        return f"{FOLDER[kind]}/{tier}/{digest}"
    return f"{FOLDER[kind]}/{digest}"


def is_object_name(name: str) -> bool:
    """Whether this can be the name of an object of safebackup: one of its folders, and a digest at the end."""
    return name.partition("/")[0] in FOLDER.values() and bool(_DIGEST.fullmatch(name.rpartition("/")[2]))


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 of stored bytes in hexadecimal: the last part of every object's name."""
    return hashlib.sha256(data).hexdigest()


def require_digest(name: str, data: bytes | bytearray | memoryview) -> None:
    """Check that an object's bytes hash to its name.

    Raises:
        IntegrityError: they do not.
    """
    found = digest_of(data)
    if name.rpartition("/")[2] != found:
        raise damaged(name, f"its bytes hash to {found}")
