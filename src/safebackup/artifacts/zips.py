"""Judging a zip: its listing at the end, the header of each member, and each member's bytes against their CRC."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from typing import IO

from safebackup.artifacts.reading import PIECE, Flaw, cut, damaged, unreadable
from safebackup.artifacts.report import Inquiry, Level
from safebackup.errors import Code
from safebackup.findings import Severity, printable

_LISTING_MOST = 256 << 20
_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_LOCAL_SIZE = 30


def check_zip(file: IO[bytes], inquiry: Inquiry) -> None:
    """Judge a zip in a file that can seek; what its members are is not judged."""
    count = _require_listing(file)
    try:
        listing = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise damaged(f"the zip's listing cannot be read ({error})") from None
    with listing:
        members = listing.infolist()
        inquiry.reach(Level.LISTED)
        inquiry.learn(members=len(members), bytes=sum(member.file_size for member in members))
        if len(members) != count:
            raise damaged(f"the zip lists {len(members)} members and says that it has {count}")
        if not any(not member.is_dir() for member in members):
            inquiry.find(Code.ARTIFACT_EMPTY, "the zip holds no file", "Look whether what it was made of was there.")
        elif not inquiry.holds.bytes:
            inquiry.find(Code.ARTIFACT_EMPTY, "every file in the zip is empty", severity=Severity.WARNING)
        if not inquiry.wants(Level.STRUCTURE):
            return
        _require_apart(members)
        done = Level.FULL if inquiry.wants(Level.FULL) else Level.STRUCTURE
        for member in members:
            if not _check_member(listing, member, inquiry):
                done = Level.STRUCTURE
        inquiry.reach(done)


def _require_listing(file: IO[bytes]) -> int:
    """How many members the end record promises; a flaw if the file ends otherwise than a zip."""
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 22 - 76))
    tail = file.read()
    place = tail.rfind(_END)
    if place < 0 or len(tail) - place < 22:
        raise cut("the zip: the listing that belongs at its end is missing")
    count, length, comment = struct.unpack("<10xHIxxxxH", tail[place : place + 22])
    if len(tail) - place - 22 < comment:
        raise cut("the comment at the end of the zip")
    if len(tail) - place - 22 > comment:
        raise damaged("bytes that are none of its own follow the zip")
    wide = tail.rfind(_END_64, 0, place) if tail[:place][-20:].startswith(_LOCATOR_64) else -1
    if wide >= 0 and place - wide >= 56:
        count, length = struct.unpack("<32xQQ", tail[wide : wide + 48])
    if length > _LISTING_MOST:
        raise unreadable(f"the zip's listing takes {length} bytes", "Check it with unzip -t.")
    return int(count)


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
