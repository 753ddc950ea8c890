"""A second reader of repositories, written from docs/reference/format.md alone.

It imports nothing of safebackup, so that the page is proven to be enough. Slow and simple on purpose.

    python tests/independent_reader.py REPOSITORY [TARGET] [--passphrase-file F | --key-file F] [--snapshot ID]

Without a target it lists the snapshots.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
import struct
import sys
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"safebkp\x1a"
KINDS = {  # folder: number of the kind, class of the key that seals it
    "config": (1, None),
    "keys": (2, None),
    "data": (3, "data"),
    "metadata": (4, "metadata"),
    "index": (5, "index"),
    "snapshots": (6, "status"),
    "intents": (7, "status"),
    "dooms": (8, "status"),
    "deaths": (9, "status"),
    "journal": (10, "status"),
    "catalogues": (11, "status"),
    "founding": (12, None),
}
FILE, DIRECTORY, SYMLINK, FIFO, CHARACTER_DEVICE, BLOCK_DEVICE = range(1, 7)
MIB = 1 << 20


class FormatError(Exception):
    """Bytes are not what the page says."""


def require(holds: object, why: str) -> None:
    """Refuse unless it holds."""
    if not holds:
        raise FormatError(why)


# MessagePack, as far as the page allows it


def unpack(data: bytes) -> Any:
    """The one value that `data` is."""
    value, end = _unpack(data, 0, 0)
    require(end == len(data), "bytes behind a MessagePack value")
    return value


def _take(data: bytes, at: int, size: int) -> bytes:
    require(at + size <= len(data), "MessagePack is cut short")
    return data[at : at + size]


def _unpack(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    require(depth < 32, "MessagePack is too deep")
    first = _take(data, at, 1)[0]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return first if first < 0x80 else first - 0x100, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if 0xCC <= first <= 0xD3:
        size = 1 << (first - 0xCC) % 4
        return int.from_bytes(_take(data, at, size), "big", signed=first >= 0xD0), at + size
    if first < 0xC0:
        count = first & (0x1F if first >= 0xA0 else 0x0F)
    else:
        sizes = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
        require(first in sizes, f"MessagePack of type {first:#x}")
        count = int.from_bytes(_take(data, at, sizes[first]), "big")
        at += sizes[first]
    if first < 0x90 or first >= 0xDE:
        return _unpack_map(data, at, count, depth)
    if first < 0xA0 or first >= 0xDC:
        return _unpack_array(data, at, count, depth)
    content = _take(data, at, count)
    return (content if 0xC4 <= first <= 0xC6 else _text(content)), at + count


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FormatError("a text that is no UTF-8") from error


def _unpack_array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    require(count <= len(data) - at, "more items than bytes")
    items = []
    for _ in range(count):
        item, at = _unpack(data, at, depth + 1)
        items.append(item)
    return items, at


def _unpack_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    require(2 * count <= len(data) - at, "more items than bytes")
    items = {}
    for _ in range(count):
        key, at = _unpack(data, at, depth + 1)
        items[key], at = _unpack(data, at, depth + 1)
    return items, at


# Objects


class Header(NamedTuple):
    """The first 88 bytes of an object."""

    kind: int
    wrap: int
    epoch: int
    repository: bytes
    salt: bytes
    table_offset: int
    table_length: int


def read_header(data: bytes) -> Header:
    """The header of an object, with everything checked that the page asks for."""
    require(len(data) >= 88, "shorter than a header")
    magic, version, kind, wrap, flags, wrapped, signed, epoch, zero, repository, salt, offset, length = struct.unpack(
        ">8sBBBBHHII16s32sQQ", data[:88]
    )
    require(magic == MAGIC, "another magic")
    require(version == 1 and wrap <= 1 and not flags and not wrapped and not signed, "written by a newer release")
    require(1 <= kind <= 12 and zero == 0, f"kind {kind}")
    require(length <= 32 * MIB and offset >= 88, "a table that is too long or too early")
    return Header(kind, wrap, epoch, repository, salt, offset, length)


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256 (RFC 5869): a single block is enough."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def unseal(data: bytes, header: Header, class_key: bytes | None, ordinal: int, sealed: bytes) -> bytes:
    """The content of one part of an object."""
    require(len(sealed) >= 16, "a part shorter than its seal")
    nonce, bound = ordinal.to_bytes(12, "big"), data[:72]
    if header.wrap == 0:
        content = sealed[:-16]
        digest = hashlib.sha256(bound + nonce + content).digest()[:16]
        require(hmac.compare_digest(digest, sealed[-16:]), f"part {ordinal} does not match its digest")
        return content
    require(class_key is not None, f"no key of epoch {header.epoch}")
    assert class_key is not None
    cipher = AESGCM(hkdf(class_key, header.salt, b"safebackup 1 object"))
    try:
        return cipher.decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise FormatError(f"part {ordinal} was not sealed with this key") from None


def inflate(data: bytes, size: int | None, most: int) -> bytes:
    """The content of a Zstandard frame, whose stated size is checked before memory is taken."""
    try:
        stated = zstandard.frame_content_size(data)
        require(0 <= stated <= most and size in (None, stated), f"a Zstandard frame of {stated} bytes")
        content = zstandard.ZstdDecompressor(max_window_size=128 * MIB).decompress(data)
    except zstandard.ZstdError as error:
        raise FormatError(f"no Zstandard frame: {error}") from error
    require(len(content) == stated, "a Zstandard frame lies about its size")
    return content


def read_table(data: bytes, header: Header, class_key: bytes | None) -> Any:
    """The table of a whole object."""
    require(header.table_offset + header.table_length == len(data), "the table does not end where the object ends")
    sealed = data[header.table_offset :]
    return unpack(inflate(unseal(data, header, class_key, 0, sealed), None, 32 * MIB))


class Place(NamedTuple):
    """Where a chunk lies."""

    pack: str
    ordinal: int
    codec: int
    offset: int
    stored_bytes: int
    raw_bytes: int
    chunk_offset: int
    chunk_bytes: int


def pack_places(name: str, header: Header, table: Any) -> Iterator[tuple[bytes, Place]]:
    """Every chunk of a pack, from its table."""
    offset = 88
    for ordinal, (codec, stored, raw, ids, lengths, *_) in enumerate(table[0], start=1):
        require(0 < raw <= 16 * MIB and stored > 16, "a frame of a size that no writer makes")
        require(
            len(ids) == 32 * len(lengths) and min(lengths) > 0 and sum(lengths) == raw, "chunks do not fill a frame"
        )
        start = 0
        for number, length in enumerate(lengths):
            yield ids[32 * number : 32 * number + 32], Place(name, ordinal, codec, offset, stored, raw, start, length)
            start += length
        offset += stored
    require(offset == header.table_offset, "frames do not fill the pack")


def index_places(data: bytes, header: Header, class_key: bytes | None, table: Any) -> Iterator[tuple[bytes, Place]]:
    """Every entry of a whole index."""
    _, _, _, packs, fences, blocks, count, *_ = table
    require(fences == sorted(fences) and len(fences) == len(blocks), "fences are out of order")
    offset, seen, previous = 88, 0, b""
    for ordinal, (fence, size) in enumerate(zip(fences, blocks, strict=True), start=1):
        block = unseal(data, header, class_key, ordinal, data[offset : offset + size])
        require(block and len(block) % 64 == 0 and block[:32] == fence, "a block does not fit its fence")
        for start in range(0, len(block), 64):
            row = block[start : start + 64]
            require(row[:32] >= previous, "entries are out of order")
            chunk_id, pack, *rest = struct.unpack(">32s8I", row)
            require(pack < len(packs), "an entry names a pack that is not listed")
            yield chunk_id, Place(packs[pack][0], *rest)
            previous, seen = row[:32], seen + 1
        offset += size
    require(offset == header.table_offset and seen == count, "blocks do not fill the index")


def open_frame(data: bytes, header: Header, class_key: bytes | None, place: Place) -> bytes:
    """The decoded frame of a whole pack in which a chunk lies."""
    require(place.raw_bytes <= 16 * MIB, "a frame that is too large")
    sealed = data[place.offset : place.offset + place.stored_bytes]
    content = unseal(data, header, class_key, place.ordinal, sealed)
    require(place.codec in (0, 1), f"codec {place.codec}")
    frame = content if place.codec == 0 else inflate(content, place.raw_bytes, 16 * MIB)
    require(len(frame) == place.raw_bytes, "a frame of another length")
    return frame


# Keys


def unlock(slot: Any, material: bytes, method: str, repository: bytes) -> Any:
    """The secrets in a key slot, or None if this key does not open it."""
    if slot["method"] != method:
        return None
    if method == "scrypt":
        n, r, p = slot["cost"]
        require(n >= 1 << 14 and n & (n - 1) == 0 and 1 <= r <= 64 and 1 <= p <= 16, "a cost that is out of bounds")
        require(128 * n * r * p <= (1 << 30) - MIB, "scrypt would take more than 1 GiB")
        key = hashlib.scrypt(material, salt=slot["salt"], n=n, r=r, p=p, maxmem=(1 << 31) - 1, dklen=32)
    else:
        key = hkdf(material, slot["salt"], b"safebackup 1 key file")
    require(1 <= slot["epoch"] < 1 << 32, "an epoch that is out of bounds")
    bound = b"safebackup 1 slot" + repository + slot["epoch"].to_bytes(8, "big")
    try:
        plain = AESGCM(key).decrypt(bytes(12), slot["sealed"], bound)
    except InvalidTag:
        return None
    return unpack(plain)


class Entry(NamedTuple):
    """A path with its metadata."""

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    content: Any = None
    target: bytes | None = None
    device: Any = None
    xattrs: Any = ()
    link: bytes | None = None
    flags: int = 0
    digest: Any = None


def read_time(stored: int | bytes) -> int:
    """A time in nanoseconds since 1970."""
    if isinstance(stored, int):
        return stored
    require(len(stored) == 16, "a time that is not 16 bytes long")
    return int.from_bytes(stored, "big", signed=True)


class Repository:
    """A repository in a folder, opened for reading. `problems` are objects that could not be used."""

    def __init__(self, root: str, *, passphrase: str | None = None, key_file: bytes | None = None) -> None:
        self.root = root
        self.problems: dict[str, str] = {}
        self.names = sorted(self._walk())
        self._open_configuration()
        self._open_keys(passphrase, key_file)
        self._packs: dict[str, tuple[bytes, Header]] = {}
        self._frames: dict[tuple[str, int], bytes] = {}
        dead = {body["run"] for body in self._records("deaths").values() if body["final"]}
        # Snapshots before indexes (I3).
        found = self._records("snapshots")
        self.snapshots = {name: body for name, body in found.items() if body["run"] not in dead}
        self.places: dict[bytes, list[Place]] = {}
        self._load_indexes()
        self._packs_listed = False

    def _walk(self) -> Iterator[str]:
        for folder, _, files in os.walk(self.root):
            for file in files:
                yield os.path.relpath(os.path.join(folder, file), self.root)

    def _in(self, folder: str) -> list[str]:
        return [name for name in self.names if name.startswith(folder + "/")]

    def get(self, name: str) -> bytes:
        """A whole object, if its bytes hash to its name."""
        with open(os.path.join(self.root, name), "rb") as file:
            data = file.read()
        require(hashlib.sha256(data).hexdigest() == name.rpartition("/")[2], f"{name} does not hash to its name")
        return data

    def _open_configuration(self) -> None:
        foundings = {}
        for name in self._in("config"):
            data = self.get(name)
            header = read_header(data)
            require(header.kind == 1 and header.wrap == 0, f"{name} is no configuration")
            body = read_table(data, header, None)
            require(not body["features_read"], f"features {body['features_read']}")
            if body["founding"]:
                foundings[name] = (header.repository, body)
        require(len(foundings) == 1, f"{len(foundings)} founding records")
        ((self.founding, (self.id, self.configuration)),) = foundings.items()

    def _open_keys(self, passphrase: str | None, key_file: bytes | None) -> None:
        if not self.configuration["sealed"]:
            self.identity = self.configuration["identity"]
            self.classes: dict[int, dict[str, bytes]] = {}
        else:
            method = "scrypt" if passphrase is not None else "key-file"
            material = unicodedata.normalize("NFC", passphrase).encode() if passphrase is not None else key_file
            require(material is not None, "the repository is sealed and no key was given")
            assert material is not None
            self.identity, self.classes = self._unlocked(material, method)
        require(len(self.identity) == 32, "no identity key")
        self.ids = {purpose: self._subkey(purpose) for purpose in ("data", "metadata")}

    def _unlocked(self, material: bytes, method: str) -> tuple[bytes, Any]:
        """The identity and the class keys of all slots that open together."""
        slots: dict[str, Any] = {}
        for name in self._in("keys"):
            try:
                data = self.get(name)
                header = read_header(data)
                if header.repository == self.id:
                    require(header.kind == 2 and header.wrap == 0, f"{name} is no key slot")
                    slots[name] = read_table(data, header, None)
            except FormatError as problem:
                self.problems[name] = str(problem)
        identities: set[bytes] = set()
        classes: dict[int, dict[str, bytes]] = {}
        for name, slot in slots.items():
            try:
                secrets = unlock(slot, material, method, self.id)
            except FormatError as problem:
                self.problems[name] = str(problem)
                continue
            if secrets is None or secrets["configuration"] != self.founding:
                continue
            identities |= {secrets["identity"]} - {b""}
            for epoch, keys in secrets["classes"].items():
                known = classes.setdefault(epoch, {})
                require(all(known.setdefault(each, key) == key for each, key in keys.items()), f"two epochs {epoch}")
        require(classes, "the key opens no slot")
        require(len(identities) <= 1, "two identity keys")
        return next(iter(identities), b""), classes

    def _subkey(self, purpose: str) -> bytes:
        return blake3(b"safebackup 1 " + purpose.encode(), key=self.identity).digest()

    def _open(self, name: str) -> tuple[bytes, Header, bytes | None]:
        """An object of this repository, of the kind that its folder holds, with the key that seals it."""
        data = self.get(name)
        header = read_header(data)
        kind, key_class = KINDS[name.partition("/")[0]]
        require(header.kind == kind, f"{name} is of kind {header.kind}")
        require(header.repository == self.id, f"{name} belongs to another repository")
        sealed = bool(self.classes) and key_class is not None
        require(header.wrap == sealed, f"{name} has key wrap {header.wrap}")
        if not sealed:
            return data, header, None
        assert key_class is not None
        return data, header, self.classes.get(header.epoch, {}).get(key_class)

    def _records(self, folder: str) -> dict[str, Any]:
        bodies = {}
        for name in self._in(folder):
            try:
                data, header, key = self._open(name)
                bodies[name] = read_table(data, header, key)
            except FormatError as problem:
                self.problems[name] = str(problem)
        return bodies

    def _load_indexes(self) -> None:
        read = {name: self._read_index(name) for name in self._in("index")}
        readable = {name: one for name, one in read.items() if one is not None}
        self.indexes: list[str] = []
        replaced: set[str] = set()
        tiers = {tier_of(name) for name in readable}
        for tier in sorted(tiers, reverse=True):
            visible = [name for name in readable if tier_of(name) == tier and name not in replaced]
            self.indexes += visible
            for name in visible:
                (_, replaces, beside, *_), places = readable[name]
                # What a part of a merge replaces is replaced only if all other parts are readable.
                if readable.keys() >= set(beside):
                    replaced.update(replaces)
                for chunk_id, place in places:
                    self.places.setdefault(chunk_id, []).append(place)

    def _read_index(self, name: str) -> tuple[Any, list[tuple[bytes, Place]]] | None:
        try:
            data, header, key = self._open(name)
            table = read_table(data, header, key)
            require(table[0] == tier_of(name), f"{name} is of tier {table[0]}")
            return table, list(index_places(data, header, key, table))
        except FormatError as problem:
            self.problems[name] = str(problem)
            return None

    def _list_packs(self) -> None:
        """Make the index anew from the tables of all packs."""
        self._packs_listed = True
        for name in self._in("data") + self._in("metadata"):
            try:
                data, header, key = self._open(name)
                for chunk_id, place in pack_places(name, header, read_table(data, header, key)):
                    self.places.setdefault(chunk_id, []).append(place)
            except FormatError as problem:
                self.problems[name] = str(problem)

    def _frame(self, place: Place) -> bytes:
        key = (place.pack, place.ordinal)
        if key not in self._frames:
            data, header, class_key = self._open(place.pack)
            self._frames[key] = open_frame(data, header, class_key, place)
        return self._frames[key]

    def chunk(self, kind: str, chunk_id: bytes, length: int) -> bytes:
        """A chunk by its id, from any place that holds it."""
        for place in self.places.get(chunk_id, []):
            if place.chunk_bytes != length or not place.pack.startswith(kind + "/"):
                continue
            try:
                content = self._frame(place)[place.chunk_offset : place.chunk_offset + length]
            except (FormatError, FileNotFoundError) as problem:
                self.problems[place.pack] = str(problem)
                continue
            if blake3(content, key=self.ids[kind]).digest() == chunk_id:
                return content
            self.problems[place.pack] = f"it does not hold chunk {chunk_id.hex()}"
        if not self._packs_listed:
            self._list_packs()
            return self.chunk(kind, chunk_id, length)
        raise FormatError(f"{kind} chunk {chunk_id.hex()} is not there")

    # Manifests

    def segments(self, tree: Any) -> Iterator[tuple[bytes, Any]]:
        """The segments of a tree, in order, each with the row that lists it."""
        level, chunk_id, length, *_ = tree
        require(1 <= level <= 16, f"a tree of {level} levels")
        yield from self._below(level, chunk_id, length, None, None)

    def _below(
        self, level: int, chunk_id: bytes, length: int, first: bytes | None, behind: bytes | None
    ) -> Iterator[tuple[bytes, Any]]:
        """The segments below a node whose paths begin with `first` and end before `behind`."""
        rows = unpack(self.chunk("metadata", chunk_id, length))
        require(rows and first in (None, rows[0][0]), "a node begins elsewhere")
        bounds = [row[0] for row in rows] + ([] if behind is None else [behind])
        require(all(sort_key(left) < sort_key(right) for left, right in pairwise(bounds)), "a node is unsorted")
        for row, after in zip(rows, [*bounds[1:], None], strict=False):
            if level == 1:
                yield self.chunk("metadata", row[3], row[4]), row
            else:
                yield from self._below(level - 1, row[3], row[4], row[0], after)

    def entries(self, snapshot: Any) -> Iterator[Entry]:
        """The entries of a snapshot, each checked against those before it."""
        previous: bytes | None = None
        directories = [b""]
        for segment, listed in self.segments(snapshot["manifest"]):
            rows = unpack(segment)[2]
            require(len(rows) == listed[1] and (rows[0][0] if rows else b"") == listed[0], "another segment")
            for row in rows:
                entry = Entry(*row[:14])
                key = sort_key(entry.path)
                require(previous is None or key > previous, "paths are out of order")
                previous = key
                check_path(entry, directories)
                yield entry._replace(mtime=read_time(entry.mtime))

    def extents(self, content: Any, size: int, most: int = 16) -> Iterator[tuple[bytes | None, int]]:
        """The pieces of a file: chunk id or None for a hole, and length."""
        if content is None:
            return
        if isinstance(content, bytes):
            yield content, size
            return
        level, *places = content
        require(0 <= level <= most and len(places) % (3 if level else 2) == 0, "a list of extents of a wrong shape")
        if level == 0:
            for chunk_id, length in zip(places[::2], places[1::2], strict=True):
                require(length > 0, "an extent without bytes")
                yield chunk_id, length
            return
        for chunk_id, length, covered in zip(places[::3], places[1::3], places[2::3], strict=True):
            below = list(self.extents(unpack(self.chunk("metadata", chunk_id, length)), covered, level - 1))
            require(sum(one for _, one in below) == covered, "a node of extents covers something else")
            yield from below

    def content(self, entry: Entry) -> Iterator[tuple[bytes | None, int]]:
        """The pieces of a file: bytes or None for a hole, and length; they add up to its size."""
        total = 0
        for chunk_id, length in self.extents(entry.content, entry.size):
            total += length
            yield (None if chunk_id is None else self.chunk("data", chunk_id, length)), length
        require(total == entry.size, f"{entry.path!r} has {total} bytes of {entry.size}")


def tier_of(name: str) -> int:
    """The tier in the name of an index."""
    return int(name.split("/")[1])


def sort_key(path: bytes) -> bytes:
    """What paths are ordered by."""
    return path.replace(b"/", b"\0")


def check_path(entry: Entry, directories: list[bytes]) -> None:
    """Refuse a path that could leave its place; `directories` are those above the entry before."""
    path = entry.path
    require(FILE <= entry.kind <= BLOCK_DEVICE and 0 <= entry.mode <= 0o7777, f"{path!r} is of kind {entry.kind}")
    require(entry.kind != SYMLINK or entry.target, f"{path!r} has no target")
    if path == b"":
        require(entry.kind == DIRECTORY, "the root is no directory")
        return
    require(b"\0" not in path, "a path that no file system has")
    require(not {b"", b".", b".."} & set(path.split(b"/")), f"{path!r} is not plain")
    parent = path.rpartition(b"/")[0]
    while directories and directories[-1] != parent:
        directories.pop()
    require(directories, f"{path!r} does not lie in a directory")
    if entry.kind == DIRECTORY:
        directories.append(path)


# Restoring


def restore(repository: Repository, snapshot: Any, target: str) -> list[str]:
    """Write a snapshot into a new folder; what could not be written."""
    os.mkdir(target)
    root = os.fsencode(target)
    problems: list[str] = []
    links: dict[bytes, tuple[bytes, Entry]] = {}
    directories: list[tuple[bytes, Entry]] = []
    for entry in repository.entries(snapshot):
        path = root + b"/" + entry.path if entry.path else root
        try:
            first = links.get(entry.link) if entry.link is not None else None
            if first is not None and first[1][6:8] == entry[6:8] and first[1].kind == entry.kind:
                os.link(first[0], path, follow_symlinks=False)
                continue
            create(repository, entry, path)
            if entry.kind == DIRECTORY:
                directories.append((path, entry))
                continue
            if entry.link is not None:
                links[entry.link] = (path, entry)
            finish(entry, path)
        except (FormatError, OSError) as problem:
            problems.append(f"{entry.path!r}: {problem}")
    for path, entry in reversed(directories):
        finish(entry, path)
    return problems


def create(repository: Repository, entry: Entry, path: bytes) -> None:
    """Make what the entry is, with its content."""
    if entry.kind == DIRECTORY:
        if entry.path:
            os.mkdir(path)
    elif entry.kind == SYMLINK:
        assert entry.target is not None
        os.symlink(entry.target, path)
    elif entry.kind == FIFO:
        os.mkfifo(path)
    elif entry.kind == FILE:
        pieces = list(repository.content(entry))
        with open(path, "xb") as file:
            for content, length in pieces:
                if content is None:
                    file.seek(length, os.SEEK_CUR)
                else:
                    file.write(content)
            file.truncate(entry.size)
    else:
        device = os.makedev(*entry.device)
        os.mknod(path, entry.mode | (0o020000 if entry.kind == CHARACTER_DEVICE else 0o060000), device)


def finish(entry: Entry, path: bytes) -> None:
    """Owner, mode, attributes and time, in the order in which none undoes another."""
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    for name, value in entry.xattrs:
        try:
            os.setxattr(path, name, value, follow_symlinks=False)
        except OSError as problem:
            print(f"{entry.path!r}: {name!r} was not set: {problem}", file=sys.stderr)
    if entry.kind != SYMLINK:
        os.chmod(path, entry.mode)
    os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read a repository of safebackup from its specification alone.")
    parser.add_argument("repository")
    parser.add_argument("target", nargs="?")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--passphrase-file")
    key.add_argument("--key-file")
    parser.add_argument("--snapshot", default="", help="the beginning of its id; without one, the newest")
    given = parser.parse_args(arguments)
    passphrase = key_file = None
    if given.passphrase_file:
        with open(given.passphrase_file, encoding="utf-8", newline="") as file:
            passphrase = file.readline().rstrip("\r\n")
    if given.key_file:
        with open(given.key_file, "rb") as file:
            key_file = file.read()
    try:
        repository = Repository(given.repository, passphrase=passphrase, key_file=key_file)
        ordered = sorted(repository.snapshots.items(), key=lambda item: (item[1]["sequence"], item[0]))
        if given.target is None:
            for name, body in ordered:
                print(name.partition("/")[2], body["sequence"], body["source"], body["entries"], "entries")
            return 0
        chosen = [body for name, body in ordered if name.startswith(f"snapshots/{given.snapshot}")]
        require(chosen, "there is no such snapshot")
        problems = restore(repository, chosen[-1], given.target)
    except FormatError as problem:
        print(problem, file=sys.stderr)
        return 1
    for line in (*problems, *(f"{name}: {why}" for name, why in repository.problems.items())):
        print(line, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
