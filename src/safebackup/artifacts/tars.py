"""Walking a tar: every header with its checksum, every member to its end, and the two blocks of zeros that end it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable

import attrs

from safebackup.artifacts.reading import Reader, cut, damaged, drain, unreadable
from safebackup.artifacts.report import Inquiry, Level
from safebackup.errors import Code
from safebackup.findings import Severity, printable

BLOCK = 512
_PAX_MOST = 16 << 20
_NO_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_CONTINUED = b"M"  # GNU tar begins a volume so that goes on with a member of the one before
_CONTINUED_KEYS = frozenset({b"GNU.volume.filename", b"GNU.volume.size", b"GNU.volume.offset"})
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)

# Looks at a member: its name and its bytes. What it leaves is skipped.
Visitor = Callable[[str, Reader], None]


@attrs.define
class TarWalk:
    """What a walk has counted."""

    members: int = 0
    files: int = 0
    bytes: int = 0


def looks_like_tar(beginning: bytes) -> bool:
    """Whether a header with a right checksum stands at the beginning; old tars have no other mark."""
    if len(beginning) < BLOCK or not beginning[0]:
        return False
    try:
        return tarfile.TarInfo.frombuf(beginning[:BLOCK], "utf-8", "surrogateescape").size >= 0
    except (tarfile.HeaderError, ValueError):
        return False


def check_tar(reader: Reader, inquiry: Inquiry) -> None:
    """Judge a tar; its members are not judged."""
    inquiry.reach(Level.LISTED)
    if not inquiry.wants(Level.STRUCTURE):
        return
    walk = walk_tar(reader, inquiry)
    inquiry.learn(members=walk.members, bytes=walk.bytes)
    look = "Look whether what it was made of was there: a disk not mounted?"
    if walk.members == 0:
        inquiry.find(Code.ARTIFACT_EMPTY, "the tar has no member", look)
    elif walk.files == 0:
        inquiry.find(Code.ARTIFACT_EMPTY, "the tar holds folders only, no file", look, severity=Severity.WARNING)
    elif walk.bytes == 0:
        inquiry.find(Code.ARTIFACT_EMPTY, "every file in the tar is empty", severity=Severity.WARNING)
    inquiry.doubt("The members are not judged themselves: a dump in one may be half of one.")
    if not inquiry.checksummed:
        inquiry.doubt("tar keeps no checksum of contents: a changed byte inside a file does not show.")
    inquiry.reach(Level.FULL)


def walk_tar(reader: Reader, inquiry: Inquiry, visit: Visitor | None = None) -> TarWalk:
    """Go through all members to the very end; a flaw where it is cut or contradicts itself."""
    walk = TarWalk()
    size_told: int | None = None
    while True:
        block = reader.upto(BLOCK)
        if not block:
            raise cut("the tar: its two closing blocks of zeros are missing")
        if len(block) < BLOCK:
            raise cut("a header of the tar")
        if block == bytes(BLOCK):
            _require_end(reader, inquiry)
            return walk
        header = _header(block, walk.members)
        size = header.size if size_told is None else size_told
        name = printable(header.name.encode("utf-8", "surrogateescape"))
        if header.type in (*_PAX, tarfile.XGLTYPE):
            told = _pax_size(reader, header.size, inquiry)
            size_told = told if header.type in _PAX else size_told
            continue
        if header.type in _LONG:
            reader.skip(_padded(header.size), "a long name of the tar")
            continue
        size_told = None
        _require_beginning(header.type == _CONTINUED, inquiry)
        if header.type == tarfile.GNUTYPE_SPARSE:
            _skip_sparse_map(reader, block)
        walk.members += 1
        walk.files += header.type != tarfile.DIRTYPE
        if header.type not in _NO_DATA:
            _take_content(reader, name, size, visit)
            walk.bytes += size


def _header(block: bytes, members: int) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise damaged(f"after member {members} of the tar comes no header ({error})") from None
    if header.size < 0:
        raise damaged(f"the header after member {members} of the tar has a negative size")
    return header


def _take_content(reader: Reader, name: str, size: int, visit: Visitor | None) -> None:
    content = reader.part(size, f"member {name} of the tar")
    if visit is not None:
        visit(name, content)
    drain(content)
    reader.skip(_padded(size) - size, f"member {name} of the tar")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _require_beginning(continued: bool, inquiry: Inquiry) -> None:
    if continued:
        inquiry.find(
            Code.ARTIFACT_PART_MISSING,
            "the tar begins within a member whose beginning is in another file: it is one volume of several",
            "Check all volumes together: unpack them with tar -M, and make one tar of them.",
        )


def _pax_records(reader: Reader, length: int) -> dict[bytes, bytes]:
    """What an extended header says, by keyword."""
    if length > _PAX_MOST:
        raise unreadable(f"an extended header of {length} bytes in the tar", "Look at it with tar itself.")
    records = reader.exactly(_padded(length), "an extended header of the tar")[:length]
    position, found = 0, dict[bytes, bytes]()
    while position < len(records):
        digits, _, _ = records[position : position + 12].partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits):
            raise damaged("an extended header of the tar is malformed")
        record = records[position + len(digits) + 1 : position + int(digits)]
        position += int(digits)
        key, _, value = record.rstrip(b"\n").partition(b"=")
        found[key] = value
    return found


def _pax_size(reader: Reader, length: int, inquiry: Inquiry) -> int | None:
    """The size that an extended header gives to the next member, if it does."""
    records = _pax_records(reader, length)
    _require_beginning(bool(records.keys() & _CONTINUED_KEYS), inquiry)
    value = records.get(b"size")
    if value is not None and (not value.isdigit() or len(value) > 20):
        raise damaged("an extended header of the tar gives no number as size")
    return None if value is None else int(value)


def _skip_sparse_map(reader: Reader, block: bytes) -> None:
    more = block[482]
    while more:
        more = reader.exactly(BLOCK, "the map of a sparse file in the tar")[504]


def _require_end(reader: Reader, inquiry: Inquiry) -> None:
    second = reader.upto(BLOCK)
    if len(second) < BLOCK:
        raise cut("the tar's end mark: one block of zeros where two belong")
    if second != bytes(BLOCK):
        raise damaged("one block of zeros stands in the middle of the tar")
    count = len(second)
    while piece := reader.some():
        count += len(piece)
        if piece.strip(b"\0"):
            raise damaged("after the tar's end comes more; tar would leave it out when it is restored")
    if count % BLOCK:
        raise cut("the tar's closing blocks of zeros")
    inquiry.reach(Level.STRUCTURE)
