#!/usr/bin/env python3
"""Restore from a repository of safebackup where safebackup is not installed. This one file is all that it takes.

It needs Python 3.9 or newer and the package zstandard; for a sealed repository also cryptography. With blake3, if it
is installed, every piece of content is checked against its name as well. It changes nothing in the repository, and
it writes nothing outside of the folder that it restores to.

    python3 restore-VERSION.py snapshots
    python3 restore-VERSION.py ls SNAPSHOT [PATH]
    python3 restore-VERSION.py restore SNAPSHOT TARGET [--path PATH]...
    python3 restore-VERSION.py verify [SNAPSHOT]

SNAPSHOT is "latest" or the beginning of an id. The repository is the folder that this file lies in, or --repository
DIR. The key of a sealed repository: --key-file FILE, --passphrase-file FILE, or you are asked for the passphrase.

Exit statuses: 0 all is well; 1 something else failed; 2 it was called wrongly; 3 a restore is incomplete, what is
missing was named; 5 damage was found, and what was asked for was done all the same; 10 no repository is there;
12 the key is wrong; 130 interrupted.

It was written from docs/reference/format.md of safebackup; R1 to R8 are the rules for readers on that page.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Python looks for modules beside the script first, and who can write to the repository could put some there.
    _BESIDE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != _BESIDE]

import argparse
import ctypes
import errno
import getpass
import hashlib
import hmac
import re
import stat
import struct
import time
import unicodedata
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple, Union

try:
    import grp
    import pwd
except ImportError:  # no such accounts here
    grp = pwd = None  # type: ignore[assignment]
try:
    import zstandard
except ImportError:
    zstandard = None  # type: ignore[assignment]
try:
    from blake3 import blake3
except ImportError:
    blake3 = None  # type: ignore[assignment, misc]

OK, FAILED, USAGE, INCOMPLETE, DAMAGED, NO_REPOSITORY, WRONG_KEY, INTERRUPTED = 0, 1, 2, 3, 5, 10, 12, 130

INSTALL = "in an environment of your own (python3 -m venv), run: python3 -m pip install"

MIB = 1 << 20
HEADER_BYTES, BOUND_BYTES, TAG_BYTES, ENTRY_BYTES = 88, 72, 16, 64
TABLE_BYTES_MAX, FRAME_BYTES_MAX, OBJECT_BYTES_MAX = 32 * MIB, 16 * MIB, 256 * MIB
LEVELS_MAX, DEPTH_MAX = 16, 32
CACHE_BYTES_MAX = 96 * MIB
KNOWN_FEATURES = frozenset({"intents"})
KINDS: dict[str, tuple[int, str]] = {  # folder: number of the kind, class of the key that seals it
    "config": (1, ""),
    "keys": (2, ""),
    "data": (3, "data"),
    "metadata": (4, "metadata"),
    "index": (5, "index"),
    "snapshots": (6, "status"),
    "intents": (7, "status"),
    "dooms": (8, "status"),
    "deaths": (9, "status"),
    "journal": (10, "status"),
    "catalogues": (11, "status"),
    "founding": (12, ""),
}
BETWEEN = {"data": "[0-9a-f]{2}", "metadata": "[0-9a-f]{2}", "index": "0|[1-9][0-9]{0,9}"}
BETWEEN.update({"catalogues": BETWEEN["index"], "founding": BETWEEN["index"]})
DIGEST = re.compile("[0-9a-f]{64}")
PACK = re.compile("(?:data|metadata)/([0-9a-f]{2})/(\\1[0-9a-f]{62})")
FILE, DIRECTORY, SYMLINK, FIFO = 1, 2, 3, 4
DEVICES = {5: "c", 6: "b"}
# What fails the whole target and not one path of it.
TARGET_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)


class Damage(Exception):
    """Bytes are not what was written, or are not there."""


class Gone(Damage):
    """A pack is not there, which is no damage as long as what it held lies elsewhere."""


class Stop(Exception):
    """The program ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def require(holds: object, why: str) -> None:
    """Refuse unless it holds."""
    if not holds:
        raise Damage(why)


# What people see


def printable(name: bytes | str) -> str:
    """A name on one line, without anything that a terminal would obey."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text) or "."


def shown_time(nanoseconds: int) -> str:
    """A time in UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(nanoseconds // 10**9))
    except (OverflowError, ValueError, OSError):
        return f"{nanoseconds // 10**9} s after 1970"


class Screen:
    """Standard error: a progress line on a terminal, and what has to be said. Remembers what was lost."""

    def __init__(self) -> None:
        self.lost = 0
        self.damaged: dict[str, str] = {}
        self.shortfalls: dict[str, tuple[int, str]] = {}
        self.moves = sys.stderr.isatty()
        self._shown = False
        self._since = 0

    def say(self, text: str) -> None:
        """A line for people."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            self._shown = False

    def progress(self, verb: str, files: int, done: int, of: int, step: int) -> None:
        """Show how far it is, now and then."""
        self._since += step + 20_000
        if self.moves and self._since >= 8 * MIB:
            self._since = 0
            share = f" ({min(100, 100 * done // of)} %)" if of else ""
            sys.stderr.write(f"\r\x1b[K{verb}: {files:,} files, {done // MIB:,} MiB{share}")
            sys.stderr.flush()
            self._shown = True

    def damage(self, name: str, why: object) -> None:
        """An object is damaged; said once for each."""
        if name not in self.damaged:
            self.damaged[name] = str(why)
            self.say(f"DAMAGED {printable(name)}: {printable(str(why))}")

    def lose(self, what: str, why: object, count: int = 1) -> None:
        """Something that was asked for cannot be had."""
        self.lost += max(count, 1)
        self.say(f"LOST {what}: {printable(str(why))}")

    def lack(self, aspect: str, path: bytes) -> None:
        """Something about a path could not be set; counted, and told at the end."""
        count, first = self.shortfalls.get(aspect, (0, printable(path)))
        self.shortfalls[aspect] = (count + 1, first)


# MessagePack, as far as the format uses it


def unpack(data: bytes) -> Any:
    """The one value that `data` is."""
    value, end = _unpack(data, 0, 0)
    require(end == len(data), "there are bytes behind a value")
    return value


_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def _number(data: bytes, at: int, size: int, signed: bool = False) -> int:
    require(at + size <= len(data), "a value is cut short")
    return int.from_bytes(data[at : at + size], "big", signed=signed)


def _unpack(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    require(at < len(data) and depth < DEPTH_MAX, "a value is cut short, or too deep")
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 0x100, at
    if first in _CONSTANTS:
        return _CONSTANTS[first], at
    if 0xCC <= first <= 0xD3:
        size = 1 << (first - 0xCC) % 4
        return _number(data, at, size, first >= 0xD0), at + size
    if first >= 0xC0:
        require(first in _SIZES, f"a value of type {first:#x}, which the format does not use")
        count = _number(data, at, _SIZES[first])
        at += _SIZES[first]
    else:
        count = first & (0x1F if first >= 0xA0 else 0x0F)
    return _unpack_many(data, at, first, count, depth)


def _unpack_many(data: bytes, at: int, first: int, count: int, depth: int) -> tuple[Any, int]:
    require(count <= len(data) - at, "a value is cut short")
    if first < 0x90 or first >= 0xDE:
        return _unpack_map(data, at, count, depth)
    if first < 0xA0 or first >= 0xDC:
        items = []
        for _ in range(count):
            item, at = _unpack(data, at, depth + 1)
            items.append(item)
        return items, at
    content = data[at : at + count]
    if first in (0xC4, 0xC5, 0xC6):
        return content, at + count
    try:
        return content.decode("utf-8"), at + count
    except UnicodeDecodeError:
        raise Damage("a text is no UTF-8") from None


def _unpack_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    items = {}
    for _ in range(count):
        key, at = _unpack(data, at, depth + 1)
        require(type(key) in (str, int), "a map has odd keys")
        items[key], at = _unpack(data, at, depth + 1)
    return items, at


_TYPES = {int: "a number", bytes: "bytes", str: "a text", list: "a list", dict: "a map", bool: "yes or no"}


def take(value: Any, kind: type, what: str) -> Any:
    """`value`, if it is of this kind."""
    require(type(value) is kind, f"{what} is not {_TYPES[kind]}")
    return value


def texts(value: Any) -> set[str]:
    """The texts in a list; of what is none, nothing."""
    return {one for one in value if type(one) is str} if type(value) is list else set()


def chunk_id(value: Any) -> bytes:
    """`value`, if it can be the id of a chunk."""
    require(type(value) is bytes and len(value) == 32, "an id of a chunk is not 32 bytes long")
    return bytes(value)


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
    bound: bytes  # what seals are bound to


def parse_header(data: bytes) -> Header:
    """The header of an object, checked."""
    require(len(data) >= HEADER_BYTES, "it is shorter than a header")
    magic, version, kind, wrap, flags, wrapped, signed, epoch, zero, repository, salt, offset, length = struct.unpack(
        ">8sBBBBHHII16s32sQQ", data[:HEADER_BYTES]
    )
    require(magic == b"safebkp\x1a", "it does not begin like an object of safebackup")
    newer = version != 1 or wrap > 1 or flags or wrapped or signed
    require(not newer, "it was written by a newer release: use the restore script of that release")
    require(1 <= kind <= len(KINDS) and zero == 0, f"its kind is {kind}")
    require(length <= TABLE_BYTES_MAX and offset >= HEADER_BYTES, "its table is too long, or begins too early")
    return Header(kind, wrap, epoch, repository, salt, offset, length, data[:BOUND_BYTES])


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256 (RFC 5869)."""
    return hmac.digest(hmac.digest(salt, key, "sha256"), info + b"\x01", "sha256")


def decrypt(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """The content of a sealed part, or None if it was not sealed with this key."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise Stop(
            FAILED, f"this repository is sealed, and the package cryptography is missing: {INSTALL} cryptography"
        ) from None
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        return None


class Seal(NamedTuple):
    """What opens the parts of one object."""

    header: Header
    key: bytes | None  # of its class and epoch

    def open(self, ordinal: int, sealed: bytes) -> bytes:
        """The content of a part."""
        require(len(sealed) >= TAG_BYTES, f"part {ordinal} is shorter than its seal")
        nonce, bound = ordinal.to_bytes(12, "big"), self.header.bound
        if self.header.wrap == 0:
            content = sealed[:-TAG_BYTES]
            digest = hashlib.sha256(bound + nonce + content).digest()[:TAG_BYTES]
            require(hmac.compare_digest(digest, sealed[-TAG_BYTES:]), f"part {ordinal} does not match its digest")
            return content
        if self.key is not None:
            found = decrypt(derive(self.key, self.header.salt, b"safebackup 1 object"), nonce, sealed, bound)
            if found is not None:
                return found
        raise Damage(f"part {ordinal} was not sealed with the key of this repository")

    def table(self, sealed: bytes) -> Any:
        """The table of the object."""
        return unpack(inflate(self.open(0, sealed), None, TABLE_BYTES_MAX))


def inflate(data: bytes, size: int | None, most: int) -> bytes:
    """The content of a Zstandard frame, whose stated size is checked before memory is taken."""
    try:
        stated = zstandard.frame_content_size(data)
        require(0 <= stated <= most, f"a compressed part states a size of {stated} bytes")
        require(size in (None, stated), f"a compressed part has {stated} bytes where {size} are expected")
        content = zstandard.ZstdDecompressor(max_window_size=128 * MIB).decompress(data)
    except zstandard.ZstdError as error:
        raise Damage(f"a part does not decompress ({error})") from None
    require(len(content) == stated, "a compressed part lies about its size")
    return content


class Folder:
    """The folder of the repository. Every failure to read from it is damage of that one object."""

    def __init__(self, root: str, screen: Screen) -> None:
        self.root = root
        self._screen = screen

    def names(self, folder: str) -> list[str]:
        """The names of all objects in one folder of the repository; all other files are passed over."""
        if folder not in BETWEEN:
            return sorted(f"{folder}/{name}" for name in self._listed(folder) if DIGEST.fullmatch(name))
        found = []
        for between in self._listed(folder):
            if re.fullmatch(BETWEEN[folder], between):
                names = (f"{folder}/{between}/{name}" for name in self._listed(f"{folder}/{between}"))
                found += [name for name in names if DIGEST.fullmatch(name.rpartition("/")[2])]
        return sorted(name for name in found if folder not in ("data", "metadata") or PACK.fullmatch(name))

    def _listed(self, folder: str) -> list[str]:
        try:
            return os.listdir(os.path.join(self.root, folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if folder == "config":
                raise Stop(FAILED, f"{self.root} cannot be read: {error.strerror}. Run this as its owner.") from None
            self._screen.damage(f"{folder}/", f"it cannot be listed: {error.strerror}")
            return []

    def _open(self, name: str) -> int:
        try:
            fd = os.open(os.path.join(self.root, name), os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise Gone(f"{name} is not there") from None
        except OSError as error:
            raise Damage(f"it cannot be opened: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Damage("it is no file")
        return fd

    def size(self, name: str) -> int:
        """How many bytes an object has."""
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def part(self, name: str, start: int, length: int) -> bytes:
        """A range of an object's bytes."""
        fd = self._open(name)
        try:
            return self._read(fd, start, length)
        finally:
            os.close(fd)

    def _read(self, fd: int, start: int, length: int) -> bytes:
        require(start + length <= os.fstat(fd).st_size, "it was cut short")
        parts = []
        while length:
            try:
                part = os.pread(fd, length, start)
            except OSError as error:
                raise Damage(f"it cannot be read: {error.strerror}") from None
            require(part, "it was cut short")
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return b"".join(parts)

    def whole(self, name: str) -> bytes:
        """An object that is not a pack; its bytes hash to its name."""
        size = self.size(name)
        require(size <= OBJECT_BYTES_MAX, f"it has {size} bytes, and no object is that long")
        data = self.part(name, 0, size)
        digest = hashlib.sha256(data).hexdigest()
        require(digest == name.rpartition("/")[2], f"its SHA-256 is {digest}")
        return data

    def check(self, name: str) -> None:
        """Check that an object hashes to its name, piece by piece."""
        size, digest = self.size(name), hashlib.sha256()
        for start in range(0, size, MIB):
            digest.update(self.part(name, start, min(MIB, size - start)))
        require(digest.hexdigest() == name.rpartition("/")[2], f"its SHA-256 is {digest.hexdigest()}")


# Configuration and keys


class Founding(NamedTuple):
    """What a repository is. `name` is empty if the record itself is lost."""

    name: str
    repository: bytes
    sealed: bool
    identity: bytes


class Given(NamedTuple):
    """The key that the caller gave."""

    method: str
    material: bytes


def plain_table(data: bytes, kind: int) -> tuple[Header, dict[str, Any]]:
    """Header and body of a record that is never sealed."""
    header = parse_header(data)
    require(header.kind == kind and header.wrap == 0 and header.epoch == 0, "it is of another kind")
    require(header.table_offset + header.table_length == len(data), "its table does not end where it ends")
    return header, take(Seal(header, None).table(data[header.table_offset :]), dict, "its body")


def parse_configuration(name: str, data: bytes) -> Founding | None:
    """A configuration record, if it founds a repository; R1: it must not ask for what this script does not know."""
    header, body = plain_table(data, KINDS["config"][0])
    unknown = {str(one) for one in take(body.get("features_read", []), list, "features_read")} - KNOWN_FEATURES
    if unknown:
        raise Stop(
            FAILED,
            f"this repository was written by a newer release (it uses {printable(', '.join(sorted(unknown)))}): "
            "use the newest restore-*.py that lies in it, or install safebackup",
        )
    if not take(body.get("founding"), bool, "founding"):
        return None
    identity = take(body.get("identity", b""), bytes, "identity")
    return Founding(name, header.repository, take(body.get("sealed"), bool, "sealed"), identity)


def read_foundings(folder: Folder, screen: Screen) -> list[Founding]:
    """The founding records that are there: one, unless repositories were mixed or everything of it is lost."""
    found: dict[str, Founding] = {}
    for name in folder.names("config"):
        try:
            founding = parse_configuration(name, folder.whole(name))
        except Damage as problem:
            screen.damage(name, problem)
            continue
        if founding is not None:
            found[name] = founding
    return list((found or _copied_foundings(folder, screen)).values())


def _copied_foundings(folder: Folder, screen: Screen) -> dict[str, Founding]:
    """The founding record from the copies that its creators left: all committed votes are for the same one."""
    found: dict[str, Founding] = {}
    for name in folder.names("founding"):
        try:
            _, body = plain_table(folder.whole(name), KINDS["founding"][0])
            if body.get("phase") != 2 or body.get("committed") is not True:
                continue
            record = take(body.get("configuration"), bytes, "configuration")
            record_name = f"config/{hashlib.sha256(record).hexdigest()}"
            founding = parse_configuration(record_name, record)
        except Damage as problem:
            screen.damage(name, problem)
            continue
        if founding is not None:
            found[record_name] = founding
    for record_name in found:
        screen.damage(record_name, "it is not there or damaged; a copy of it in founding/ is used")
    return found


def read_slots(folder: Folder, screen: Screen) -> list[tuple[bytes, dict[str, Any]]]:
    """All key slots, each with the id of its repository."""
    slots: dict[str, tuple[bytes, dict[str, Any]]] = {}
    passed: dict[str, Damage] = {}
    for _ in range(5):
        names = [name for name in folder.names("keys") if name not in slots]
        for name in names:
            try:
                slots[name] = _read_slot(folder, name)
            except Damage as problem:
                passed[name] = problem
        if not any(isinstance(passed.get(name), Gone) for name in names):
            break  # otherwise list again: another slot was put before one was removed
    for name in set(passed) & set(folder.names("keys")):
        screen.damage(name, passed[name])
    return list(slots.values())


def _read_slot(folder: Folder, name: str) -> tuple[bytes, dict[str, Any]]:
    header, body = plain_table(folder.whole(name), KINDS["keys"][0])
    require(1 <= take(body.get("epoch"), int, "epoch") < 1 << 32, "its epoch is out of bounds")
    take(body.get("method"), str, "method")
    for key in ("salt", "sealed"):
        take(body.get(key), bytes, key)
    return header.repository, body


def open_slot(slot: dict[str, Any], repository: bytes, given: Given) -> dict[str, Any] | None:
    """The secrets in a slot, or None if this key does not open it."""
    if given.method == "scrypt":
        cost = take(slot.get("cost"), list, "its cost")
        require(len(cost) == 3 and all(type(one) is int for one in cost), "its cost is of another shape")
        n, r, p = cost
        require(n >= 1 << 14 and n & (n - 1) == 0 and 1 <= r <= 64 and 1 <= p <= 16, f"it costs {cost}")
        require(128 * n * r * p <= (1 << 30) - MIB, f"it costs {cost}")
        key = hashlib.scrypt(given.material, salt=slot["salt"], n=n, r=r, p=p, maxmem=(1 << 31) - 1, dklen=32)
    else:
        key = derive(given.material, slot["salt"], b"safebackup 1 key file")
    bound = b"safebackup 1 slot" + repository + slot["epoch"].to_bytes(8, "big")
    plain = decrypt(key, bytes(12), slot["sealed"], bound)
    if plain is None:
        return None
    secrets: dict[str, Any] = take(unpack(plain), dict, "the secrets")
    return secrets


class Keys:
    """The keys of a repository: what seals each class in each epoch, and what names the chunks."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.classes: dict[tuple[int, str], bytes] = {}

    def add(self, secrets: dict[str, Any]) -> None:
        """Take what one slot holds; the epochs of all slots that the key opens are united."""
        found = dict(self.classes)
        for epoch, classes in take(secrets.get("classes"), dict, "classes").items():
            for key_class, key in take(classes, dict, "classes").items():
                require(type(key) is bytes and len(key) == 32, "a key is not 32 bytes long")
                self._same(found.setdefault((epoch, key_class), key), key)
        identity = take(secrets.get("identity", b""), bytes, "identity")
        if identity and self.identity:
            self._same(self.identity, identity)
        self.identity, self.classes = self.identity or identity, found

    def _same(self, one: bytes, other: bytes) -> None:
        if one != other:
            raise Stop(
                DAMAGED,
                "two slots that this key opens contradict each other. In a copy of the repository, "
                "move one file after the other out of keys/ and see with which it works",
            )


def unlock(folder: Folder, screen: Screen, foundings: list[Founding], given: Given) -> tuple[Founding, Keys]:
    """The repository that the key belongs to, and its keys."""
    slots = read_slots(folder, screen)
    for founding in foundings or [Founding("", repository, True, b"") for repository, _ in slots]:
        keys = Keys(b"")
        for repository, slot in slots:
            if repository != founding.repository or slot["method"] != given.method:
                continue
            try:
                secrets = open_slot(slot, repository, given)
                if secrets is not None and founding.name in ("", secrets.get("configuration")):
                    keys.add(secrets)
            except (Damage, ValueError, MemoryError) as problem:
                screen.say(f"a key slot is passed over: {problem}")
        if keys.classes:
            return founding, keys
    if not slots:
        raise Stop(DAMAGED, "no key slot can be read, and without one no key opens this repository: look for a copy")
    methods = {"scrypt": "a passphrase (--passphrase-file)", "key-file": "a key file (--key-file)"}
    opens = " or ".join(sorted({methods.get(slot["method"], "something unknown") for _, slot in slots}))
    raise Stop(WRONG_KEY, f"this key does not open the repository; it was sealed with {opens}")


def read_key(arguments: argparse.Namespace, sealed: bool, folder: Folder, screen: Screen) -> Given | None:
    """The key as the caller gives it: from a file, or asked for."""
    path = arguments.key_file or arguments.passphrase_file
    if path and not sealed:
        raise Stop(USAGE, "a key was given, and this repository is not sealed: is it the one that you expect?")
    if not sealed:
        return None
    if not path:
        return _ask(folder, screen)
    try:
        with open(path, "rb") as file:
            content = file.read(MIB)
    except OSError as error:
        raise Stop(USAGE, f"{path} cannot be read: {error.strerror}") from None
    if arguments.key_file:
        return Given("key-file", content)
    try:
        return _passphrase(content.decode("utf-8").split("\n", 1)[0].rstrip("\r"))
    except UnicodeDecodeError:
        raise Stop(USAGE, f"{path} is no text; for a file of random bytes write --key-file") from None


def _ask(folder: Folder, screen: Screen) -> Given:
    if not any(slot["method"] == "scrypt" for _, slot in read_slots(folder, screen)):
        raise Stop(USAGE, "this repository is sealed with a key file: give it with --key-file FILE")
    if not sys.stdin or not sys.stdin.isatty():
        raise Stop(USAGE, "this repository is sealed: give --passphrase-file FILE or --key-file FILE")
    return _passphrase(getpass.getpass("Passphrase of the repository: "))


def _passphrase(text: str) -> Given:
    return Given("scrypt", unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape"))


# Records


class Tree(NamedTuple):
    """The root of a manifest."""

    level: int
    chunk: bytes
    chunk_bytes: int


class Snapshot(NamedTuple):
    """A published state of a source."""

    id: str
    run: bytes
    sequence: int
    source: str
    host: str
    finished: int
    roots: list[tuple[bytes, bytes]]
    manifest: Tree
    entries: int
    files: int
    content_bytes: int
    complete: bool
    heads: set[str]


def parse_snapshot(name: str, body: Any) -> Snapshot:
    """The body of a snapshot, as far as a restore needs it."""
    take(body, dict, "its body")
    tree = take(body.get("manifest"), list, "manifest")
    require(len(tree) >= 3, "its manifest is no tree")
    roots = []
    for pair in take(body.get("roots", []), list, "roots"):
        require(type(pair) is list and len(pair) >= 2, "a root is no pair")
        roots.append((take(pair[0], bytes, "a root"), take(pair[1], bytes, "a root")))
    return Snapshot(
        id=name.partition("/")[2],
        run=take(body.get("run"), bytes, "run"),
        sequence=take(body.get("sequence"), int, "sequence"),
        source=take(body.get("source"), str, "source"),
        host=take(body.get("host"), str, "host"),
        finished=take(body.get("finished"), int, "finished"),
        roots=roots,
        manifest=Tree(take(tree[0], int, "a level"), chunk_id(tree[1]), take(tree[2], int, "a length")),
        entries=take(body.get("entries"), int, "entries"),
        files=take(body.get("files"), int, "files"),
        content_bytes=take(body.get("content_bytes"), int, "content_bytes"),
        complete=take(body.get("complete"), bool, "complete"),
        heads=texts(body.get("heads")),
    )


class Repository:
    """A repository that was opened: its records, its indexes, its chunks."""

    def __init__(self, folder: Folder, screen: Screen, founding: Founding, keys: Keys) -> None:
        self.folder = folder
        self.screen = screen
        self.id = founding.repository
        self.sealed = founding.sealed
        self.keys = keys
        # R2: snapshots are listed before indexes are loaded.
        self.unread_snapshots: set[str] = set()
        self.snapshots = self._read_snapshots()
        self.doomed = self._read_dooms()

    def seal(self, name: str, header: Header) -> Seal:
        """What opens an object, after a look whether it is what its name says."""
        kind, key_class = KINDS[name.partition("/")[0]]
        require(header.kind == kind, "it is of another kind than its folder holds")
        require(header.repository == self.id, "it belongs to another repository")
        require(header.wrap == int(self.sealed and key_class != ""), "it is not sealed as this repository is")
        if header.wrap == 0:
            require(header.epoch == 0, "it is not sealed and has an epoch")
            return Seal(header, None)
        key = self.keys.classes.get((header.epoch, key_class))
        require(key, f"your key does not hold the {key_class} key of epoch {header.epoch}")
        return Seal(header, key)

    def record(self, name: str) -> Any:
        """The body of a record."""
        data = self.folder.whole(name)
        header = parse_header(data)
        require(header.table_offset + header.table_length == len(data), "its table does not end where it ends")
        return self.seal(name, header).table(data[header.table_offset :])

    def records(self, folder: str) -> dict[str, Any]:
        """The bodies of all records in a folder that can be read; the others are damage."""
        bodies = {}
        for name in self.folder.names(folder):
            try:
                bodies[name] = take(self.record(name), dict, "its body")
            except Damage as problem:
                self.screen.damage(name, problem)
        return bodies

    def _read_snapshots(self) -> list[Snapshot]:
        """Published snapshots, oldest first; those of dead runs never were."""
        dead = {body.get("run") for body in self.records("deaths").values() if body.get("final") is True}
        names = set(self.folder.names("snapshots"))
        gone = self._published(dead) - names
        bodies = self.records("snapshots")
        lost = names - bodies.keys()
        if lost:  # A catalogue may hold a copy of what the object itself does not tell any more.
            for catalogue in self.records("catalogues").values():
                copies = catalogue.get("snapshots")
                bodies.update({name: copies[name] for name in lost & set(copies if type(copies) is dict else ())})
        found = []
        for name, body in bodies.items():
            try:
                found.append(parse_snapshot(name, body))
            except Damage as problem:
                self.screen.damage(name, problem)
        for name in sorted(gone):
            self.screen.damage(name, Damage("it was published and is not there: bring it back from another copy"))
        self.unread_snapshots = gone | names - {f"snapshots/{one.id}" for one in found}
        return sorted((one for one in found if one.run not in dead), key=lambda one: (one.sequence, one.id))

    def _published(self, dead: set[Any]) -> set[str]:
        """Snapshots that the journal says were made, and not that they were removed."""
        made: set[str] = set()
        removed: set[str] = set()
        for name in self.folder.names("journal"):
            try:
                body = take(self.record(name), dict, "its body")
            except Damage:
                continue  # nothing is restored from it
            if body.get("kind") == "removal":
                removed |= texts(body.get("snapshots"))
            elif body.get("kind") == "backup" and body.get("run") not in dead:
                made |= texts(body.get("snapshots"))
        return {name for name in made - removed if re.fullmatch("snapshots/[0-9a-f]{64}", name)}

    def _read_dooms(self) -> frozenset[str]:
        """R7: packs to look into last; a doom that cannot be read stops nobody."""
        doomed: set[str] = set()
        for body in self.records("dooms").values():
            doomed |= texts(body.get("packs"))
        return frozenset(doomed)

    def choose(self, wanted: str) -> Snapshot:
        """The snapshot that the caller means."""
        if not self.snapshots:
            what = "no snapshot can be read" if self.unread_snapshots else "there is no snapshot yet"
            raise Stop(DAMAGED if self.unread_snapshots else FAILED, what)
        if wanted == "latest":
            chosen = self.snapshots[-1]
            others = sorted({one.source for one in self.snapshots} - {chosen.source})
            if others:
                self.screen.say(f"NOTE: there are other sources too: {printable(', '.join(others))}. See `snapshots`.")
            if self.unread_snapshots:
                self.screen.say("NOTE: a snapshot that cannot be read may be newer than this one.")
        else:
            found = [one for one in self.snapshots if wanted and one.id.startswith(wanted.lower())]
            if len(found) != 1:
                raise Stop(USAGE, f"{len(found)} snapshots match {wanted!r}; the command `snapshots` lists them all")
            chosen = found[0]
        self.screen.say(
            f"snapshot {chosen.id[:12]} of {printable(chosen.source)}, finished {shown_time(chosen.finished)}"
        )
        if not chosen.complete:
            self.screen.say("NOTE: it was incomplete when it was made: some paths were never in it.")
        return chosen


# Indexes


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


class Places:
    """Sorted entries of 64 bytes in blocks, read when they are needed: an index, or what pack tables say."""

    def __init__(self, packs: list[str], fences: list[bytes]) -> None:
        self.packs = packs
        self.fences = fences

    def block(self, number: int) -> bytes:
        """One block."""
        raise NotImplementedError

    def find(self, wanted: bytes) -> Iterator[Place]:
        """Every place of a chunk."""
        number = bisect_right(self.fences, wanted) - 1
        while number >= 0:
            yield from self._in_block(self.block(number), wanted)
            if self.fences[number] != wanted:
                break
            number -= 1  # entries for one chunk may begin at the end of the block before

    def _in_block(self, block: bytes, wanted: bytes) -> Iterator[Place]:
        low, high = 0, len(block) // ENTRY_BYTES
        while low < high:
            middle = (low + high) // 2
            if block[middle * ENTRY_BYTES : middle * ENTRY_BYTES + 32] < wanted:
                low = middle + 1
            else:
                high = middle
        for at in range(low * ENTRY_BYTES, len(block), ENTRY_BYTES):
            found, pack, *rest = struct.unpack(">32s8I", block[at : at + ENTRY_BYTES])
            if found != wanted:
                break
            require(pack < len(self.packs), "an entry names a pack that is not listed")
            yield Place(self.packs[pack], *rest)


class Index(Places):
    """An index object, whose blocks stay on the disk until they are needed."""

    def __init__(self, repository: Repository, name: str) -> None:
        data = repository.folder.whole(name)
        header = parse_header(data)
        require(header.table_offset + header.table_length == len(data), "its table does not end where it ends")
        self._seal = repository.seal(name, header)
        table = take(self._seal.table(data[header.table_offset :]), list, "its table")
        require(len(table) >= 7, "its table is too short")
        tier, replaces, beside, packs, fences, blocks, _ = table[:7]
        require(tier == int(name.split("/")[1]), f"it is of tier {tier}")
        self.replaces, self.beside = texts(replaces), texts(beside)
        self.sizes = {str(row[0]): row[1] for row in packs if type(row) is list and len(row) >= 2}
        super().__init__([str(row[0]) for row in packs if type(row) is list and row], fences)
        require(len(self.packs) == len(packs) and all(map(PACK.fullmatch, self.packs)), "it names odd packs")
        require(type(fences) is list and all(type(one) is bytes for one in fences), "its fences are odd")
        require(fences == sorted(fences), "its fences are out of order")
        self._starts = self._begin_blocks(take(blocks, list, "blocks"), header.table_offset)
        self.name = name
        self._folder, self._cache = repository.folder, Cache(16 * MIB)

    def _begin_blocks(self, blocks: list[Any], end: int) -> list[tuple[int, int]]:
        starts, at = [], HEADER_BYTES
        for size in blocks:
            require(type(size) is int and size > TAG_BYTES, "a block has no entries")
            require((size - TAG_BYTES) % ENTRY_BYTES == 0, "a block is cut in the middle of an entry")
            starts.append((at, size))
            at += size
        require(at == end and len(starts) == len(self.fences), "its blocks do not fill it")
        return starts

    def block(self, number: int) -> bytes:
        """One block."""
        found = self._cache.get(number)
        if found is None:
            found = self._seal.open(number + 1, self._folder.part(self.name, *self._starts[number]))
            self._cache.put(number, found)
        return found


class Rebuilt(Places):
    """The entries that the tables of all packs make: the index made anew, in memory."""

    def __init__(self, packs: list[str], rows: list[bytes]) -> None:
        rows.sort()
        step = 1024
        super().__init__(packs, [rows[at][:32] for at in range(0, len(rows), step)])
        self._blocks = [b"".join(rows[at : at + step]) for at in range(0, len(rows), step)]

    def block(self, number: int) -> bytes:
        """One block."""
        return self._blocks[number]


def visible_indexes(repository: Repository, known: dict[str, Index | None]) -> list[Index]:
    """The indexes that count, from the highest tier down; `known` keeps what was read."""

    def load(name: str) -> Index | None:
        if name not in known:
            try:
                known[name] = Index(repository, name)
            except Damage as problem:
                known[name] = None
                repository.screen.damage(name, problem)
        return known[name]

    names = repository.folder.names("index")
    visible: list[Index] = []
    replaced: set[str] = set()
    for tier in sorted({int(name.split("/")[1]) for name in names}, reverse=True):
        of_tier = [name for name in names if int(name.split("/")[1]) == tier and name not in replaced]
        loaded = [index for index in map(load, of_tier) if index is not None]
        visible += loaded
        for index in loaded:
            # What a part of a merge replaces is replaced only if all other parts can be read.
            if all(name in names and load(name) is not None for name in index.beside):
                replaced.update(index.replaces)
    return visible


def read_pack_tables(repository: Repository) -> Rebuilt:
    """R3: what the packs themselves say, where indexes are damaged or gone."""
    repository.screen.say(
        "An index does not have everything: the tables of all packs are read, which may take a while."
    )
    packs: list[str] = []
    rows: list[bytes] = []
    for folder in ("metadata", "data"):
        for name in repository.folder.names(folder):
            try:
                rows += pack_rows(repository, name, len(packs))
                packs.append(name)
            except Damage as problem:
                repository.screen.damage(name, problem)
    return Rebuilt(packs, rows)


def pack_rows(repository: Repository, name: str, number: int) -> list[bytes]:
    """The entries for all chunks of one pack, from its table."""
    header = parse_header(repository.folder.part(name, 0, HEADER_BYTES))
    require(header.table_offset + header.table_length == repository.folder.size(name), "it was cut short")
    seal = repository.seal(name, header)
    table = seal.table(repository.folder.part(name, header.table_offset, header.table_length))
    rows, at = [], HEADER_BYTES
    frames = take(take(table, list, "its table")[0] if table else None, list, "its frames")
    for ordinal, frame in enumerate(frames, start=1):
        require(type(frame) is list and len(frame) >= 5, "a frame is no row")
        codec, stored, raw, ids, lengths = frame[:5]
        numbers = type(lengths) is list and all(type(one) is int for one in (codec, stored, raw, *lengths))
        require(numbers and type(ids) is bytes and len(ids) == 32 * len(lengths), "a frame is of another shape")
        sound = 0 < raw <= FRAME_BYTES_MAX and TAG_BYTES < stored < 2 * FRAME_BYTES_MAX and codec in (0, 1)
        require(sound and lengths and min(lengths) > 0 and sum(lengths) == raw, "chunks do not fill a frame")
        start = 0
        for position, length in enumerate(lengths):
            identity = ids[32 * position : 32 * position + 32]
            rows.append(struct.pack(">32s8I", identity, number, ordinal, codec, at, stored, raw, start, length))
            start += length
        at += stored
    require(at == header.table_offset, "frames do not fill it")
    return rows


# Chunks


class Cache:
    """Bytes that were used lately, up to a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._items: OrderedDict[object, bytes] = OrderedDict()

    def get(self, key: object) -> bytes | None:
        """What was put, if it is still here."""
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: object, value: bytes) -> None:
        """Keep it, and drop what was not used for longest."""
        self._items[key] = value
        self._held += len(value)
        while self._held > self._most and len(self._items) > 1:
            self._held -= len(self._items.popitem(last=False)[1])


class Chunks:
    """From the id of a chunk to its bytes, checked, from any place that holds it."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder, self._screen = repository.folder, repository.screen
        self._known: dict[str, Index | None] = {}
        self.indexes = visible_indexes(repository, self._known)
        self._rebuilt: Rebuilt | None = None
        self._suspects: set[str] = set()
        self._hashed: set[str] = set()
        self._seals: dict[str, Seal] = {}
        self._frames = Cache(CACHE_BYTES_MAX)
        self._keys = self._subkeys(repository.keys.identity)

    def _subkeys(self, identity: bytes) -> dict[str, bytes]:
        """What keys the ids of chunks; nothing where they cannot be checked."""
        if blake3 is None or len(identity) != 32:
            return {}
        purposes = ("data", "metadata")
        return {one: blake3(b"safebackup 1 " + one.encode(), key=identity).digest() for one in purposes}

    @property
    def checks_ids(self) -> bool:
        """Whether chunks are compared with their ids."""
        return bool(self._keys)

    def get(self, kind: str, wanted: bytes, length: int) -> bytes:
        """The chunk of this id and length."""
        require(0 < length <= FRAME_BYTES_MAX, f"a chunk of {length} bytes")
        tried: dict[Place, Damage] = {}
        while True:
            for place in self._in_turn([one for one in self._find(kind, wanted) if one not in tried]):
                try:
                    return self._take(place, kind, wanted, length)
                except Damage as problem:
                    tried[place] = problem
                    self._suspects.add(place.pack)
                    if not isinstance(problem, Gone):
                        self._screen.damage(place.pack, problem)
            if not self._look_again():
                break
        problems = [str(one) for one in tried.values() if isinstance(one, Gone)]
        problems += [f"{place.pack} is damaged" for place, one in tried.items() if not isinstance(one, Gone)]
        raise Damage("; ".join(dict.fromkeys(problems)) or f"{kind} chunk {wanted.hex()} is in no pack")

    def _find(self, kind: str, wanted: bytes) -> list[Place]:
        found: dict[Place, None] = {}
        for index in self.indexes:
            try:
                found.update(dict.fromkeys(index.find(wanted)))
            except Damage as problem:
                self._screen.damage(index.name, problem)
        if self._rebuilt is not None:
            listed = list(self._rebuilt.find(wanted))
            if listed and not found:
                self._screen.damage("index/", "it lacks some of what packs hold; what the packs say is used instead")
            found.update(dict.fromkeys(listed))
        return [place for place in found if place.pack.startswith(f"{kind}/")]

    def _in_turn(self, places: list[Place]) -> Iterator[Place]:
        """R5: doomed packs come last, but for those that are known to be damaged."""
        later = []
        for place in sorted(places, key=lambda one: (one.pack in self._suspects, one.pack in self._repository.doomed)):
            if place.pack in self._suspects or self._is_whole(place.pack):
                yield place
            else:
                later.append(place)
        yield from later

    def _is_whole(self, pack: str) -> bool:
        """Where ids cannot be checked: whether the pack is what was written, hashed once."""
        if not self._keys and pack not in self._hashed:
            self._hashed.add(pack)
            try:
                self._folder.check(pack)
            except Gone:
                pass
            except Damage as problem:
                self._suspects.add(pack)
                self._screen.damage(pack, problem)
        return pack not in self._suspects

    def _look_again(self) -> bool:
        """R6: load indexes again, as a deleter may have moved chunks; then make the index anew. Is anything new?"""
        before = {index.name for index in self.indexes}
        self.indexes = visible_indexes(self._repository, self._known)
        if {index.name for index in self.indexes} - before:
            return True
        if self._rebuilt is None:
            self._rebuilt = read_pack_tables(self._repository)
            return True
        return False

    def _take(self, place: Place, kind: str, wanted: bytes, length: int) -> bytes:
        require(place.chunk_bytes == length, f"a chunk has {place.chunk_bytes} bytes where {length} are expected")
        require(place.chunk_offset + length <= place.raw_bytes, "a chunk reaches beyond its frame")
        content = self._frame(place)[place.chunk_offset : place.chunk_offset + length]
        if self._keys:
            found = blake3(content, key=self._keys[kind]).digest()
            require(found == wanted, f"frame {place.ordinal} does not hold chunk {wanted.hex()}")
        return content

    def _frame(self, place: Place) -> bytes:
        key = place[:6]
        frame = self._frames.get(key)
        if frame is None:
            require(0 < place.raw_bytes <= FRAME_BYTES_MAX and place.codec in (0, 1), "a frame of no known kind")
            require(TAG_BYTES < place.stored_bytes < 2 * FRAME_BYTES_MAX, "a frame of no possible size")
            if place.pack not in self._seals:
                header = parse_header(self._folder.part(place.pack, 0, HEADER_BYTES))
                self._seals[place.pack] = self._repository.seal(place.pack, header)
            sealed = self._folder.part(place.pack, place.offset, place.stored_bytes)
            content = self._seals[place.pack].open(place.ordinal, sealed)
            frame = content if place.codec == 0 else inflate(content, place.raw_bytes, FRAME_BYTES_MAX)
            require(len(frame) == place.raw_bytes, "a frame of another length")
            self._frames.put(key, frame)
        return frame


# Manifests


class Entry(NamedTuple):
    """A path with its metadata. `user` and `group` are names, empty where unknown."""

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    content: Any
    target: bytes | None
    device: Any
    xattrs: list[tuple[bytes, bytes]]
    link: bytes | None
    torn: bool
    user: bytes
    group: bytes


class Lost(NamedTuple):
    """Entries that cannot be had; `path` is that of a single one, where it is known."""

    what: str
    entries: int
    why: str
    path: bytes | None = None


class Implied(NamedTuple):
    """A directory whose own entry is lost, and that others lie in."""

    path: bytes


Found = Union[Entry, Lost, Implied]  # noqa: UP007  (`|` between classes is of 3.10)
ENTRY_DEFAULTS: tuple[Any, ...] = (0, None, None, None, [], None, 0)  # of the places from size to flags


def path_key(path: bytes) -> bytes:
    """What paths are ordered by."""
    return path.replace(b"/", b"\0")


def is_within(path: bytes, above: bytes) -> bool:
    """Whether it is `above` or lies in it."""
    return not above or path == above or path.startswith(above + b"/")


class Selection:
    """Which paths of a snapshot are wanted: those named, what is in them, and the directories above."""

    def __init__(self, paths: list[bytes]) -> None:
        self.paths = paths
        self._keys = [path_key(path) for path in paths]
        self._above = {path_key(path[:at]) for path in paths for at in range(len(path)) if path[at : at + 1] == b"/"}

    def __contains__(self, path: bytes) -> bool:
        return any(is_within(path, one) or is_within(one, path) for one in self.paths)

    def reaches(self, first: bytes, behind: bytes | None) -> bool:
        """Whether entries from `first` on, before `behind`, can be wanted."""
        low, high = path_key(first), None if behind is None else path_key(behind)
        if low == b"" or b"" in self._keys:
            return True
        exact = any(low <= key and (high is None or key < high) for key in self._above)
        return exact or any(low < key + b"\1" and (high is None or key < high) for key in self._keys)


class Manifests:
    """Walks the manifest of a snapshot, and goes on behind what is damaged (R4, R8)."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def entries(self, snapshot: Snapshot, selection: Selection) -> Iterator[Found]:
        """The entries that are wanted, in order, each checked against those before it; what is lost is among them."""
        previous: bytes | None = None
        directories: list[bytes] = []
        incomplete, seen = False, 0
        for found in self._segments(snapshot.manifest, snapshot.entries, selection):
            if isinstance(found, Lost):
                incomplete = True
                yield found
                continue
            for entry in self._rows(found):
                if entry.path is not None and entry.path not in selection:
                    continue
                if isinstance(entry, Lost):
                    yield entry
                    continue
                key = path_key(entry.path)
                if previous is not None and key <= previous:
                    yield Lost(printable(entry.path), 1, "it is out of order", entry.path)
                    continue
                previous = key
                yield from self._implied(entry, directories, incomplete)
                yield self._in_place(entry, directories)
            seen += len(found[2])
        if b"" in selection.paths and not incomplete and seen != snapshot.entries:
            yield Lost("some paths", abs(snapshot.entries - seen), f"{seen} of {snapshot.entries} paths are listed")

    def _implied(self, entry: Entry, directories: list[bytes], incomplete: bool) -> Iterator[Implied]:
        """Directories that the entry lies in and whose own entries were lost with a damaged segment."""
        parent = entry.path.rpartition(b"/")[0]
        while directories and not is_within(parent, directories[-1]):
            directories.pop()
        if not incomplete or not parent or (directories and directories[-1] == parent):
            return
        known = directories[-1] if directories else b""
        names = parent.split(b"/")
        for count in range(known.count(b"/") + 1 if known else 0, len(names)):
            path = b"/".join(names[: count + 1])
            directories.append(path)
            yield Implied(path)

    def _in_place(self, entry: Entry, directories: list[bytes]) -> Entry | Lost:
        """The entry, if it lies in a directory that was an entry before it."""
        parent = entry.path.rpartition(b"/")[0]
        if parent and (not directories or directories[-1] != parent):
            return Lost(printable(entry.path), 1, "it does not lie in a directory", entry.path)
        if entry.kind == DIRECTORY and entry.path:
            directories.append(entry.path)
        return entry

    def _segments(self, tree: Tree, count: int, selection: Selection) -> Iterator[Lost | list[Any]]:
        if not 1 <= tree.level <= LEVELS_MAX:
            yield Lost("everything", max(count, 1), f"the manifest has {tree.level} levels")
            return
        yield from self._below(tree.level, tree.chunk, tree.chunk_bytes, None, None, max(count, 1), selection)

    def _below(
        self,
        level: int,
        chunk: bytes,
        length: int,
        first: bytes | None,
        behind: bytes | None,
        count: int,
        selection: Selection,
    ) -> Iterator[Lost | list[Any]]:
        try:
            rows = self._node(chunk, length, first, behind)
        except Damage as problem:
            yield Lost(_range(first, behind), count, str(problem))
            return
        for row, after in zip(rows, [*(row[0] for row in rows[1:]), behind]):  # noqa: B905  (`strict` is of 3.10)
            begins, entries, _, below, below_bytes = row[:5]
            if not selection.reaches(begins, after):
                continue
            if level > 1:
                yield from self._below(level - 1, below, below_bytes, begins, after, entries, selection)
                continue
            try:
                yield self._segment(below, below_bytes, begins, entries)
            except Damage as problem:
                yield Lost(_range(begins, after), entries, str(problem))

    def _node(self, chunk: bytes, length: int, first: bytes | None, behind: bytes | None) -> list[list[Any]]:
        rows: list[list[Any]] = take(unpack(self._chunks.get("metadata", chunk, length)), list, "a node")
        require(rows, "a node is empty")
        for row in rows:
            require(type(row) is list and len(row) >= 5, "a row of a node is of another shape")
            take(row[0], bytes, "a path")
            chunk_id(row[3])
            for number in (row[1], row[2], row[4]):
                require(take(number, int, "a count") >= 0, "a count is negative")
        require(first in (None, rows[0][0]), "a node begins with another path than it should")
        keys = [path_key(row[0]) for row in rows] + ([] if behind is None else [path_key(behind)])
        require(all(keys[at] < keys[at + 1] for at in range(len(keys) - 1)), "the paths of a node do not rise")
        return rows

    def _segment(self, chunk: bytes, length: int, first: bytes, entries: int) -> list[Any]:
        segment: list[Any] = take(unpack(self._chunks.get("metadata", chunk, length)), list, "a segment")
        require(len(segment) >= 3, "a segment is of another shape")
        rows = take(segment[2], list, "entries")
        begins = rows[0][0] if rows and type(rows[0]) is list and rows[0] else b""
        require(len(rows) == entries and begins == first, "a segment holds other entries than its row says")
        return segment

    def _rows(self, segment: list[Any]) -> Iterator[Entry | Lost]:
        users, groups = _names(segment[0]), _names(segment[1])
        for row in segment[2]:
            try:
                yield parse_entry(row, users, groups)
            except Damage as problem:
                path = row[0] if type(row) is list and row and type(row[0]) is bytes else None
                yield Lost("an entry" if path is None else printable(path), 1, str(problem), path)

    def content(self, entry: Entry) -> Iterator[tuple[bytes | None, int]]:
        """The pieces of a file: id of a chunk or None for a hole, and length; they add up to its size."""
        total = 0
        for chunk, length in self._extents(entry.content, entry.size, LEVELS_MAX):
            total += length
            require(total <= entry.size, "its content is longer than its size")
            yield chunk, length
        require(total == entry.size, f"it has {total} bytes of content, and a size of {entry.size}")

    def _extents(self, content: Any, size: int, most: int) -> Iterator[tuple[bytes | None, int]]:
        if content is None:
            return
        if type(content) is bytes:
            yield chunk_id(content), size
            return
        require(type(content) is list and content and type(content[0]) is int, "its content is of another shape")
        level, step = content[0], 3 if content[0] else 2
        require(0 <= level <= most and len(content) % step == 1, "its content is of another shape")
        for at in range(1, len(content), step):
            lengths = content[at + 1 : at + step]
            require(all(type(one) is int and one > 0 for one in lengths), "a piece of it has no length")
            if level == 0:
                yield None if content[at] is None else chunk_id(content[at]), lengths[0]
                continue
            below = unpack(self._chunks.get("metadata", chunk_id(content[at]), lengths[0]))
            require(type(below) is list, "a list of its content is of another shape")
            covered = 0
            for chunk, length in self._extents(below, lengths[1], level - 1):
                covered += length
                yield chunk, length
            require(covered == lengths[1], "a list of its content covers something else")


def _range(first: bytes | None, behind: bytes | None) -> str:
    begins = "from the beginning" if not first else f"from {printable(first)!r} on"
    return f"all paths {begins}" + (f", before {printable(behind)!r}" if behind is not None else "")


def _names(pairs: Any) -> dict[int, bytes]:
    """Names of owners; where they are odd, the numbers have to do."""
    rows = [pair for pair in (pairs if type(pairs) is list else []) if type(pair) is list and len(pair) >= 2]
    return {number: name for number, name, *_ in rows if type(number) is int and type(name) is bytes}


def parse_entry(row: Any, users: dict[int, bytes], groups: dict[int, bytes]) -> Entry:
    """An entry, with everything checked that can be checked about it alone."""
    require(type(row) is list and len(row) >= 6, "it is of another shape")
    given: list[Any] = row[:13]
    path, kind, mode, uid, gid, mtime = given[:6]
    size, content, target, device, xattrs, link, flags = (*given[6:], *ENTRY_DEFAULTS[len(given) - 6 :])
    check_path(take(path, bytes, "its path"), kind)
    for number in (kind, mode, uid, gid, size, flags):
        take(number, int, "one of its numbers")
    require(1 <= kind <= 6 and 0 <= mode <= 0o7777 and 0 <= size < 1 << 63, "one of its numbers is out of bounds")
    if type(mtime) is bytes:
        require(len(mtime) == 16, "its time is not 16 bytes long")
        mtime = int.from_bytes(mtime, "big", signed=True)
    require(kind != SYMLINK or (type(target) is bytes and target), "it is a link without a target")
    require(link is None or type(link) is bytes, "its group of links is odd")
    pairs = [pair for pair in take(xattrs, list, "its attributes") if type(pair) is list and len(pair) >= 2]
    attributes = [(pair[0], pair[1]) for pair in pairs if type(pair[0]) is bytes and type(pair[1]) is bytes]
    require(len(attributes) == len(xattrs), "its attributes are odd")
    return Entry(
        *(path, kind, mode, uid, gid, take(mtime, int, "its time"), size, content, target, device, attributes, link),
        torn=bool(flags & 1),
        user=users.get(uid, b""),
        group=groups.get(gid, b""),
    )


def check_path(path: bytes, kind: Any) -> None:
    """Refuse a path that could leave its place."""
    if path == b"":
        require(kind == DIRECTORY, "the root is no directory")
        return
    names = path.split(b"/")
    require(b"\0" not in path and not {b"", b".", b".."} & set(names), "it is no plain relative path")


# The target of a restore

_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_OPEN_FOLDERS_MAX = 64


class Target:
    """The folder that is restored to. Directories are opened name by name, and no link is ever followed."""

    def __init__(self, path: str, repository: str) -> None:
        real = os.path.realpath(path)
        if is_within(os.fsencode(real), os.fsencode(os.path.realpath(repository))):
            raise Stop(USAGE, f"{path} lies in the repository: restore to a folder outside of it")
        try:
            os.makedirs(path, exist_ok=True)
            self.fd = os.open(path.rstrip("/") or "/", _OPEN_FOLDER)
            found = set(os.listdir(self.fd)) - {"lost+found"}
        except OSError as error:
            raise Stop(USAGE, f"{path} cannot be restored to: {error.strerror}. Name a new folder.") from None
        if found:
            raise Stop(USAGE, f"{path} is not empty (it holds {printable(min(found))}): name a new folder")
        self._open: list[tuple[bytes, int]] = []  # directories above the last path, or some of them

    def folder(self, path: bytes) -> int:
        """The descriptor of a directory; good until the next call."""
        while self._open and not is_within(path, self._open[-1][0]):
            os.close(self._open.pop()[1])
        above, fd = self._open[-1] if self._open else (b"", self.fd)
        rest = path[len(above) :].strip(b"/")
        for name in rest.split(b"/") if rest else []:
            fd = os.open(name, _OPEN_FOLDER, dir_fd=fd)
            above = above + b"/" + name if above else name
            self._open.append((above, fd))
            if len(self._open) > _OPEN_FOLDERS_MAX:
                os.close(self._open.pop(0)[1])
        return fd

    def open_anew(self, path: bytes) -> int:
        """A descriptor of a directory for the caller to close; those that are open stay so."""
        fd = os.dup(self.fd)
        for name in path.split(b"/") if path else []:
            try:
                below = os.open(name, _OPEN_FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def sync(self) -> None:
        """Make everything durable; what the disk reports now would otherwise be told to nobody."""
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(ctypes.c_int(self.fd)) != 0:
            raise Stop(FAILED, f"the disk of the target failed: {os.strerror(ctypes.get_errno())}. Nothing is certain.")


class Restoring:
    """One restore: places entries in the target, and says what could not be placed."""

    def __init__(self, manifests: Manifests, chunks: Chunks, target: Target, screen: Screen, total: int) -> None:
        self._manifests = manifests
        self._chunks = chunks
        self._target = target
        self._screen = screen
        self._total = total
        self._unfinished: list[Entry] = []  # directories that something may still come into
        self._leaders: dict[bytes, Entry] = {}
        self._accounts: dict[tuple[bool, int, bytes], int] = {}
        self.paths = self.files = self.content_bytes = self.torn = 0

    def place(self, found: Found) -> None:
        """Put what was found into the target."""
        if isinstance(found, Lost):
            self._screen.lose(found.what, found.why, found.entries)
            return
        self._finish_directories(found.path)
        if isinstance(found, Entry) and found.kind in DEVICES:
            numbers = found.device if type(found.device) is list else "without numbers"
            self._screen.say(f"NOTE: {printable(found.path)} is a device ({DEVICES[found.kind]} {numbers}): not made")
            return
        try:
            self._make(found)
        except (Damage, ValueError, OverflowError) as problem:
            self._screen.lose(printable(found.path), problem)
        except OSError as problem:
            if problem.errno in TARGET_FAILED:
                raise Stop(
                    FAILED,
                    f"the target failed at {printable(found.path)}: {problem.strerror}. "
                    "What is there is only a part: mend that, then restore to another new folder.",
                ) from None
            self._screen.lose(printable(found.path), problem.strerror)

    def _make(self, found: Entry | Implied) -> None:
        parent, _, name = found.path.rpartition(b"/")
        folder = self._target.folder(parent)
        if isinstance(found, Implied):
            os.mkdir(name, 0o700, dir_fd=folder)
            self._screen.say(f"NOTE: the entry of {printable(found.path)} is lost, so it is made with mode 700")
            return
        if found.kind == DIRECTORY:
            if found.path:
                os.mkdir(name, 0o700, dir_fd=folder)
            self._unfinished.append(found)
        elif not self._make_link(found, folder, name):
            self._make_node(found, folder, name)
            if found.link is not None:
                self._leaders.setdefault(found.link, found._replace(xattrs=[]))
        self.paths += 1
        self.files += found.kind == FILE
        self.content_bytes += found.size if found.kind == FILE else 0
        self.torn += found.torn
        self._screen.progress("restored", self.files, self.content_bytes, self._total, 0)

    def _make_link(self, entry: Entry, folder: int, name: bytes) -> bool:
        """Whether it is now another name of a file that was restored before, with the same content."""
        leader = None if entry.link is None else self._leaders.get(entry.link)
        if leader is None or (leader.kind, leader.size, leader.content) != (entry.kind, entry.size, entry.content):
            return False
        if leader.target != entry.target:
            return False
        parent, _, leading = leader.path.rpartition(b"/")
        try:
            at = self._target.open_anew(parent)
            try:
                os.link(leading, name, src_dir_fd=at, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(at)
        except OSError as problem:
            if problem.errno in (errno.EEXIST, *TARGET_FAILED):
                raise
            self._screen.lack("hard links, which became files of their own", entry.path)
            return False
        return True

    def _make_node(self, entry: Entry, folder: int, name: bytes) -> None:
        if entry.kind == SYMLINK:
            os.symlink(entry.target or b"", name, dir_fd=folder)
            self._set_link_metadata(entry, folder, name)
            return
        if entry.kind == FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _OPEN_FOLDER & ~os.O_DIRECTORY, dir_fd=folder)
        else:
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
        try:
            if entry.kind == FILE:
                self._write(entry, fd)
            self._set_metadata(entry, fd)
        except BaseException:
            os.unlink(name, dir_fd=folder)  # half a file must not pass for a whole one
            raise
        finally:
            os.close(fd)

    def _write(self, entry: Entry, fd: int) -> None:
        os.ftruncate(fd, entry.size)
        at = 0
        for chunk, length in self._manifests.content(entry):
            if chunk is not None:
                content = memoryview(self._chunks.get("data", chunk, length))
                written = 0
                while written < length:
                    written += os.pwrite(fd, content[written:], at + written)
                self._screen.progress("restored", self.files, self.content_bytes + at, self._total, length)
            at += length

    def finish(self) -> None:
        """Give all directories their metadata, and make everything durable."""
        self._finish_directories(None)
        self._target.sync()

    def _finish_directories(self, upcoming: bytes | None) -> None:
        while self._unfinished and (upcoming is None or not is_within(upcoming, self._unfinished[-1].path)):
            entry = self._unfinished.pop()
            try:
                self._set_metadata(entry, self._target.folder(entry.path))
            except OSError as problem:
                if problem.errno in TARGET_FAILED:
                    raise Stop(FAILED, f"the target failed: {problem.strerror}. What is there is a part.") from None
                self._screen.lack("metadata of directories", entry.path)

    # Metadata: a change of owner clears other things, so it comes first, and the mode last.

    def _set_metadata(self, entry: Entry, fd: int) -> None:
        owned = self._set_owner(entry, fd)
        mode = entry.mode
        if not owned and mode & 0o6000:
            mode &= 0o1777
            self._screen.lack("set-id bits, as the owner could not be set", entry.path)
        self._set_attributes(entry, fd, owned)
        try:
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        except (OSError, OverflowError):
            self._screen.lack("times", entry.path)
        os.chmod(fd, mode)

    def _set_link_metadata(self, entry: Entry, folder: int, name: bytes) -> None:
        owner = self._owner(entry)
        try:
            if os.geteuid() == 0:
                os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        except (OSError, OverflowError):
            self._screen.lack("owners", entry.path)
        if entry.xattrs:
            self._set_attributes(entry, b"/proc/self/fd/%d/%s" % (folder, name), True)
        try:
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)
        except (OSError, OverflowError):
            self._screen.lack("times", entry.path)

    def _set_owner(self, entry: Entry, fd: int) -> bool:
        owner, now = self._owner(entry), os.fstat(fd)
        if (now.st_uid, now.st_gid) == owner:
            return True
        try:
            require(all(0 <= one < (1 << 32) - 1 for one in owner), "no such owner can be")
            os.chown(fd, *owner)
            now = os.fstat(fd)
        except (OSError, Damage):
            pass
        if (now.st_uid, now.st_gid) != owner:
            self._screen.lack("owners", entry.path)
            return False
        return True

    def _owner(self, entry: Entry) -> tuple[int, int]:
        """Who it belongs to on this machine: by name, or by number where there is no such name."""
        found = []
        for is_group, number, name in ((False, entry.uid, entry.user), (True, entry.gid, entry.group)):
            key = (is_group, number, name)
            if key not in self._accounts:
                self._accounts[key] = _account(is_group, number, name)
            found.append(self._accounts[key])
        return found[0], found[1]

    def _set_attributes(self, entry: Entry, handle: int | bytes, owned: bool) -> None:
        for name, value in entry.xattrs:
            try:
                if not hasattr(os, "setxattr") or (name == b"security.capability" and not owned):
                    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
                os.setxattr(handle, name, value, follow_symlinks=not isinstance(handle, bytes))
            except (OSError, ValueError):
                family = printable(name.partition(b".")[0])
                self._screen.lack(f"extended attributes {family}.*", entry.path)


def _account(is_group: bool, number: int, name: bytes) -> int:
    try:
        if not name or pwd is None:
            return number
        return grp.getgrnam(os.fsdecode(name)).gr_gid if is_group else pwd.getpwnam(os.fsdecode(name)).pw_uid
    except (KeyError, ValueError):
        return number


# Commands


def list_snapshots(repository: Repository, _: argparse.Namespace) -> int:
    """Print all snapshots, oldest first."""
    for one in repository.snapshots:
        state = "complete" if one.complete else "INCOMPLETE"
        size = f"{one.files:,} files, {one.content_bytes:,} bytes"
        where = f"{printable(one.source)} from {printable(one.host)}"
        print(f"{one.id[:12]}  {shown_time(one.finished)}  {state}  {size}  {where}")
    if not repository.snapshots:
        repository.screen.say("There is no snapshot.")
    return DAMAGED if repository.screen.damaged else OK


def list_paths(repository: Repository, arguments: argparse.Namespace) -> int:
    """Print what is in a snapshot, or at a path of it."""
    snapshot, manifests, _, selection = _begin(repository, arguments, [arguments.path] if arguments.path else [])
    letters = "?-dlpcb"
    for found in manifests.entries(snapshot, selection):
        if isinstance(found, Lost):
            repository.screen.lose(found.what, found.why, found.entries)
        elif isinstance(found, Entry) and any(is_within(found.path, one) for one in selection.paths):
            mode = letters[found.kind] + stat.filemode(found.mode)[1:]
            target = f" -> {printable(found.target)}" if found.kind == SYMLINK and found.target else ""
            print(f"{mode} {found.size:>14,} {shown_time(found.mtime)} {printable(found.path)}{target}")
    return DAMAGED if repository.screen.damaged or repository.screen.lost else OK


def restore_paths(repository: Repository, arguments: argparse.Namespace) -> int:
    """Restore a snapshot, or parts of it."""
    screen = repository.screen
    snapshot, manifests, chunks, selection = _begin(repository, arguments, arguments.path or [])
    target = Target(arguments.target, repository.folder.root)
    total = snapshot.content_bytes if selection.paths == [b""] else 0
    restoring = Restoring(manifests, chunks, target, screen, total)
    for found in manifests.entries(snapshot, selection):
        restoring.place(found)
    restoring.finish()
    screen.clear()
    for aspect, (count, first) in screen.shortfalls.items():
        screen.say(f"NOTE: could not be set on {count:,} paths: {aspect}; the first is {first}")
    if restoring.torn:
        screen.say(f"NOTE: {restoring.torn:,} files were changing while they were backed up, and may be inconsistent.")
    print(
        f"restored {restoring.paths:,} paths, among them {restoring.files:,} files of {restoring.content_bytes:,} "
        f"bytes, from snapshot {snapshot.id[:12]} to {arguments.target}"
    )
    if screen.lost:
        print(f"INCOMPLETE: {screen.lost:,} paths could not be restored; each LOST line above names some.")
        return INCOMPLETE
    if screen.damaged:
        print("Everything asked for was restored, and there is damage in the repository: see above.")
        return DAMAGED
    return OK


def _begin(
    repository: Repository, arguments: argparse.Namespace, paths: list[str]
) -> tuple[Snapshot, Manifests, Chunks, Selection]:
    snapshot = repository.choose(arguments.snapshot)
    _require_content_keys(repository)
    chunks = Chunks(repository)
    _tell_unchecked(chunks, repository.screen)
    manifests = Manifests(chunks)
    wanted = [_path_in(snapshot, path) for path in paths] or [b""]
    _require_paths(manifests, snapshot, wanted)
    return snapshot, manifests, chunks, Selection(wanted)


def _require_content_keys(repository: Repository) -> None:
    if repository.sealed and not any(one == "metadata" for _, one in repository.keys.classes):
        raise Stop(WRONG_KEY, "this key shows what snapshots there are, and cannot open their content")


def _path_in(snapshot: Snapshot, path: str) -> bytes:
    """A path as manifests spell it; one that was absolute on the host is understood too."""
    raw = os.fsencode(path)
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    plain = b"/".join(parts)
    if b".." in parts or b"\0" in raw:
        raise Stop(USAGE, f"{printable(raw)} is no path in a snapshot: write it without '..'")
    if raw.startswith(b"/"):
        for inside, host in snapshot.roots:
            root = host.strip(b"/")
            if is_within(plain, root):
                return b"/".join(part for part in (inside, plain[len(root) :].strip(b"/")) if part)
    return plain


def _require_paths(manifests: Manifests, snapshot: Snapshot, wanted: list[bytes]) -> None:
    """Stop before anything is written if a path is certainly not in the snapshot."""
    for path in wanted:
        if path == b"":
            continue
        for found in manifests.entries(snapshot, Selection([path])):
            if isinstance(found, Lost) or (isinstance(found, Entry) and found.path == path):
                break
        else:
            raise Stop(USAGE, f"{printable(path)} is not in snapshot {snapshot.id[:12]}; the command `ls` lists it")


def _tell_unchecked(chunks: Chunks, screen: Screen) -> None:
    if chunks.checks_ids:
        return
    why = "the package blake3 is not installed" if blake3 is None else "this key does not hold what names them"
    screen.say(
        f"NOTE: pieces of content ARE NOT CHECKED against their names, as {why}. "
        "Each pack is checked by its SHA-256 and each piece by its seal. `pip install blake3` checks everything."
    )


def verify(repository: Repository, arguments: argparse.Namespace) -> int:
    """Read everything that one snapshot needs, or every byte that is there."""
    screen = repository.screen
    chosen = [repository.choose(arguments.snapshot)] if arguments.snapshot else repository.snapshots
    _require_content_keys(repository)
    chunks = Chunks(repository)
    _tell_unchecked(chunks, screen)
    objects = 0
    if not arguments.snapshot:
        objects = _verify_objects(repository)
        _verify_packs(repository, chunks)
        _verify_history(repository)
    checked: dict[tuple[bytes, int], str] = {}
    for snapshot in chosen:
        before = screen.lost
        _verify_snapshot(repository, chunks, snapshot, checked)
        state = "whole" if screen.lost == before else f"DAMAGED: {screen.lost - before:,} paths are lost"
        screen.clear()
        print(f"snapshot {snapshot.id[:12]} of {printable(snapshot.source)}: {state}")
    found = f"{len(screen.damaged):,} damaged objects, {screen.lost:,} lost paths"
    print(f"verified {len(chosen):,} snapshots and {objects:,} objects: {found}")
    return DAMAGED if screen.damaged or screen.lost else OK


def _verify_objects(repository: Repository) -> int:
    """Hash every object."""
    count = 0
    for folder in KINDS:
        for name in repository.folder.names(folder):
            count += 1
            try:
                repository.folder.check(name)
                header = parse_header(repository.folder.part(name, 0, HEADER_BYTES))
                if folder not in ("keys", "founding"):  # others may have tried to create it too
                    repository.seal(name, header)
            except Damage as problem:
                repository.screen.damage(name, problem)
    return count


def _verify_packs(repository: Repository, chunks: Chunks) -> None:
    """Compare the packs that are there with those that indexes name."""
    for index in chunks.indexes:
        for pack, size in index.sizes.items():
            if pack in repository.doomed:
                continue
            try:
                found = repository.folder.size(pack)
                require(found == size, f"it has {found} bytes where its index says {size}")
            except Damage as problem:
                repository.screen.damage(pack, problem)


def _verify_history(repository: Repository) -> None:
    """Find records that others speak of and that are not there."""
    journal = repository.records("journal")
    there = {*repository.folder.names("journal"), *repository.folder.names("snapshots")}
    named: set[str] = {head for snapshot in repository.snapshots for head in snapshot.heads}
    removed: set[str] = set()
    for body in journal.values():
        named.update(texts(body.get("heads")))
        made = texts(body.get("snapshots"))
        named.update(made if body.get("kind") == "backup" else ())
        removed.update(made if body.get("kind") == "removal" else ())
    for name in sorted(named - removed - there):
        repository.screen.damage(name, "later records speak of it, and it is not there: somebody deleted it")


def _verify_snapshot(
    repository: Repository, chunks: Chunks, snapshot: Snapshot, checked: dict[tuple[bytes, int], str]
) -> None:
    """Read everything that a snapshot needs; `checked` says of each chunk what was wrong with it."""
    manifests, files, done = Manifests(chunks), 0, 0
    for found in manifests.entries(snapshot, Selection([b""])):
        if isinstance(found, Lost):
            repository.screen.lose(found.what, found.why, found.entries)
        if not isinstance(found, Entry) or found.kind != FILE:
            continue
        try:
            for chunk, length in manifests.content(found):
                if chunk is not None:
                    problem_of_it = _problem_of(chunks, chunk, length, checked)
                    require(not problem_of_it, problem_of_it)
        except Damage as problem:
            repository.screen.lose(printable(found.path), problem)
        files, done = files + 1, done + found.size
        repository.screen.progress("verified", files, done, snapshot.content_bytes, found.size)


def _problem_of(chunks: Chunks, chunk: bytes, length: int, checked: dict[tuple[bytes, int], str]) -> str:
    key = (chunk, length)
    if key not in checked:
        try:
            chunks.get("data", chunk, length)
            checked[key] = ""
        except Damage as problem:
            checked[key] = str(problem)
    return checked[key]


# The command line


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for; whatever is no command ends the program with status 2."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--repository", default=argparse.SUPPRESS, metavar="DIR", help="default: where this file lies")
    key = common.add_mutually_exclusive_group()
    key.add_argument("--key-file", default=argparse.SUPPRESS, metavar="FILE", help="the key of a sealed repository")
    key.add_argument("--passphrase-file", default=argparse.SUPPRESS, metavar="FILE", help="its first line is it")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[common]
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, does in (
        ("snapshots", list_snapshots),
        ("ls", list_paths),
        ("restore", restore_paths),
        ("verify", verify),
    ):
        command = commands.add_parser(name, description=does.__doc__, help=does.__doc__, parents=[common])
        command.set_defaults(does=does)
        if name in ("ls", "restore"):
            command.add_argument("snapshot", metavar="SNAPSHOT", help='"latest", or the beginning of an id')
        if name == "ls":
            command.add_argument("path", metavar="PATH", nargs="?", help="this path and what is in it")
        if name == "restore":
            command.add_argument("target", metavar="TARGET", help="a folder that is new or empty")
            command.add_argument("--path", metavar="PATH", action="append", help="only this; may be repeated")
        if name == "verify":
            command.add_argument("snapshot", metavar="SNAPSHOT", nargs="?", help="only this; without it, everything")
    defaults = {"repository": os.path.dirname(os.path.abspath(__file__)), "key_file": "", "passphrase_file": ""}
    return parser.parse_args(arguments, argparse.Namespace(**defaults))


def open_repository(arguments: argparse.Namespace, screen: Screen) -> Repository:
    """Find the repository and open it with the key."""
    root = arguments.repository
    root = root[len("file://") :] if root.startswith("file://") else root
    if "://" in root:
        raise Stop(USAGE, f"{root} is a URL: copy the repository to a disk first, then name that folder")
    folder = Folder(os.path.abspath(root), screen)
    foundings = read_foundings(folder, screen)
    if not foundings and not folder.names("keys"):
        if screen.damaged:
            raise Stop(DAMAGED, f"the configuration in {root} is damaged, and so are its copies: look for a copy")
        raise Stop(NO_REPOSITORY, f"there is no repository at {root}: is its disk mounted? Name it with --repository")
    sealed = [one for one in foundings if one.sealed]
    given = read_key(arguments, bool(sealed or not foundings), folder, screen)
    if given is not None:
        founding, keys = unlock(folder, screen, sealed, given)
        return Repository(folder, screen, founding, keys)
    if len(foundings) > 1:
        names = ", ".join(one.name for one in foundings)
        raise Stop(DAMAGED, f"repositories were mixed in {root}: move all but one of these elsewhere: {names}")
    return Repository(folder, screen, foundings[0], Keys(foundings[0].identity))


def run(arguments: list[str] | None, screen: Screen) -> int:
    """Do what was asked for; the exit status."""
    parsed = parse_arguments(arguments)
    if zstandard is None:
        raise Stop(FAILED, f"the package zstandard is missing: {INSTALL} zstandard")
    if os.name != "posix":
        raise Stop(FAILED, "this script needs Linux or the like; on Windows, run it in the Subsystem for Linux (WSL)")
    does = parsed.does
    status = int(does(open_repository(parsed, screen), parsed))
    sys.stdout.flush()
    return status


def main(arguments: list[str] | None = None) -> int:
    """The program; whatever happens, it says so in words."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    screen = Screen()
    try:
        return run(arguments, screen)
    except Stop as stop:
        screen.say(f"{stop}")
        return stop.status
    except KeyboardInterrupt:
        screen.say("interrupted: what is in the target is only a part")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read the output went away
        return FAILED
    except Exception as problem:  # nobody is helped by a traceback at night
        screen.say(f"it failed in an unforeseen way: {type(problem).__name__}: {printable(str(problem))}")
        return FAILED


if __name__ == "__main__":
    if sys.version_info < (3, 9):  # noqa: UP036  (this file also runs where safebackup does not)
        sys.exit("this script needs Python 3.9 or newer")
    sys.exit(main())
