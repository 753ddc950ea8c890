"""Judging a zip: its listing at the end, the header of each member, and each member's bytes against their CRC."""

from __future__ import annotations

import errno
import lzma
import os
import struct
import zipfile
import zlib
from typing import IO, cast

import attrs

from safebackup.artifacts.reading import PIECE, Flaw, cut, damaged, unreadable
from safebackup.artifacts.report import Inquiry, Level
from safebackup.errors import Code
from safebackup.findings import Severity, printable

_LISTING_MOST = 256 << 20
_MEMBER = b"PK\x03\x04"
_LISTED = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_LOCAL_SIZE = 30


@attrs.frozen
class _End:
    """The end record: where it lies, how many members it promises, and how long their listing is and where it ends."""

    place: int
    comment: int
    members: int
    listing: int
    listed_until: int


def check_zip(file: IO[bytes], inquiry: Inquiry) -> None:
    """Judge a zip in a file that can seek; what its members are is not judged."""
    end = _find_end(file)
    if end.listing > _LISTING_MOST:
        raise unreadable(f"the zip's listing takes {end.listing} bytes", "Check it with unzip -t.")
    begins_as_zip = _read_at(file, 0, len(_MEMBER)) == _MEMBER
    try:
        listing = zipfile.ZipFile(cast("IO[bytes]", _WithoutComment(file, end)) if end.comment else file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise damaged(f"the zip's listing cannot be read ({error})") from None
    with listing:
        members = listing.infolist()
        inquiry.reach(Level.LISTED)
        inquiry.learn(members=len(members), bytes=sum(member.file_size for member in members))
        if len(members) != end.members:
            raise damaged(f"the zip lists {len(members)} members and says that it has {end.members}")
        if not any(not member.is_dir() for member in members):
            inquiry.find(Code.ARTIFACT_EMPTY, "the zip holds no file", "Look whether what it was made of was there.")
        elif not inquiry.holds.bytes:
            inquiry.find(Code.ARTIFACT_EMPTY, "every file in the zip is empty", severity=Severity.WARNING)
        if not inquiry.wants(Level.STRUCTURE):
            return
        _require_beginning(members, begins_as_zip, inquiry)
        _require_apart(members)
        inquiry.doubt("The members are not judged themselves: a dump in one may be half of one.")
        inquiry.doubt("The listing of a zip has no checksum: changed times and attributes of members do not show.")
        done = Level.FULL if inquiry.wants(Level.FULL) else Level.STRUCTURE
        for member in members:
            if not _check_member(listing, member, inquiry):
                done = Level.STRUCTURE
        inquiry.reach(done)


def ends_as_zip(file: IO[bytes]) -> bool:
    """Whether a file, whatever it begins with, ends in the listing of a zip that has members."""
    try:
        end = _find_end(file)
    except Flaw:
        return False
    return _read_at(file, end.listed_until - end.listing, len(_LISTED)) == _LISTED


def _find_end(file: IO[bytes]) -> _End:
    """The end record; a flaw if the file ends otherwise than a zip."""
    size = file.seek(0, 2)
    start = max(0, size - (1 << 16) - 22 - 76)
    tail = _read_at(file, start, size - start)
    place = last = tail.rfind(_END, 0, max(0, len(tail) - 18))
    if place < 0:
        raise cut("the zip: the listing that belongs at its end is missing")
    # A comment may hold the same four bytes: the record is the one whose comment ends with the file.
    while place >= 0 and _after(tail, place):
        place = tail.rfind(_END, 0, place)
    if place < 0:
        if _after(tail, last) < 0:
            raise cut("the comment at the end of the zip")
        raise damaged("bytes that are none of its own follow the zip")
    members, listing, comment = struct.unpack("<10xHIxxxxH", tail[place : place + 22])
    wide = tail.rfind(_END_64, 0, place) if tail[:place][-20:].startswith(_LOCATOR_64) else -1
    if wide >= 0 and place - wide >= 56:
        members, listing = struct.unpack("<32xQQ", tail[wide : wide + 48])
        return _End(start + place, comment, members, listing, start + wide)
    return _End(start + place, comment, members, listing, start + place)


def _after(tail: bytes, place: int) -> int:
    """How many bytes follow the comment of an end record; fewer than none if it is cut."""
    return len(tail) - place - 22 - int.from_bytes(tail[place + 20 : place + 22], "little")


def _read_at(file: IO[bytes], place: int, count: int) -> bytes:
    if place < 0:
        return b""
    file.seek(place)
    return file.read(count)


class _WithoutComment:
    """A zip as it would be without its comment, in which zipfile looks for the end record."""

    def __init__(self, file: IO[bytes], end: _End) -> None:
        self._file = file
        self._length = end.place + 20  # and two bytes that say: no comment
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        at = offset + (0, self._at, self._length + 2)[whence]
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, count: int = -1) -> bytes:
        """As of any file."""
        left = max(0, self._length + 2 - self._at)
        count = left if count < 0 else min(count, left)
        data = _read_at(self._file, self._at, min(count, max(0, self._length - self._at)))
        data = data.ljust(count, b"\0") if self._at + count > self._length else data
        self._at += len(data)
        return data

    def close(self) -> None:
        """Leave the file to whoever opened it."""


def _require_beginning(members: list[zipfile.ZipInfo], begins_as_zip: bool, inquiry: Inquiry) -> None:
    """The first member stands at the beginning, unless a program that unpacks them does."""
    first = min((member.header_offset for member in members), default=0)
    if not first:
        return
    if begins_as_zip:
        raise cut("the zip: it begins with a member that its listing lacks, as where a zip lies in a longer one")
    inquiry.doubt(f"The {first} bytes before the first member are no part of the zip, and were not judged.")


def _require_apart(members: list[zipfile.ZipInfo]) -> None:
    """No two members share bytes: that is how a small zip unpacks to petabytes."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise damaged(f"member {_shown(member)} of the zip overlaps another one")
        end = member.header_offset + _LOCAL_SIZE + member.compress_size


def _check_member(listing: zipfile.ZipFile, member: zipfile.ZipInfo, inquiry: Inquiry) -> bool:
    """Read one member as far as the level asks; false if it cannot be read here."""
    if member.flag_bits & 1:
        inquiry.find(
            Code.ARTIFACT_UNREADABLE,
            f"member {_shown(member)} of the zip is encrypted",
            "Decrypt it and check what comes out.",
        )
        return False
    try:
        # Opening compares the member's own header with the listing; reading compares the CRC at its end.
        with listing.open(member) as content:
            if inquiry.wants(Level.FULL):
                _read_all(content, member)
    except NotImplementedError as error:
        inquiry.find(Code.ARTIFACT_UNREADABLE, f"member {_shown(member)}: {error}", "Check it with unzip -t.")
        return False
    except EOFError:
        inquiry.find(Code.ARTIFACT_CUT, f"member {_shown(member)} of the zip ends too early", "Make it again.")
    except Flaw as flaw:
        inquiry.find(flaw.code, flaw.what, flaw.action)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, struct.error) as error:
        # Failures of the disk are our errors already: what is left is how bz2 and a seek to nowhere report damage.
        inquiry.find(Code.ARTIFACT_DAMAGED, f"member {_shown(member)} of the zip: {error}", "Use another copy.")
    return True


def _read_all(content: IO[bytes], member: zipfile.ZipInfo) -> None:
    count = 0
    while piece := content.read(PIECE):
        count += len(piece)
    if count != member.file_size:
        raise damaged(f"member {_shown(member)} of the zip has {count} bytes and should have {member.file_size}")


def _shown(member: zipfile.ZipInfo) -> str:
    return printable(member.filename.encode("utf-8", "surrogateescape"))
