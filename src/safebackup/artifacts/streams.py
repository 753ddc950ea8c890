"""Decompression as a stream, in bounded memory whatever the compressed bytes claim.

gzip and zlib hand out at most a piece at a time. Zstandard is fed block by block, and a block never holds more than
128 KiB, so that a few hostile bytes cannot become gigabytes at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from importlib import import_module
from typing import Any

from safebackup.artifacts.reading import PIECE, Flaw, Reader, cut, damaged, drain, unreadable
from safebackup.artifacts.report import Inquiry
from safebackup.findings import Severity

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_WINDOW = 31
_BLOCK_MOST = 128 << 10
_LARGEST_WINDOW = 1 << 27


def zlib_stream(raw: Reader, what: str, window: int = zlib.MAX_WBITS) -> Reader:
    """The content of one zlib, gzip or raw deflate stream; what follows it stays in `raw`."""
    return Reader(_puller(_inflate(raw, what, window)))


def gunzip(raw: Reader, inquiry: Inquiry) -> Reader:
    """The content of all members of a gzip file, its checksums compared."""
    return Reader(_puller(_gzip_members(raw, inquiry)))


def unzstd(raw: Reader, inquiry: Inquiry | None, what: str) -> Reader:
    """The content of all frames of zstd data; without an inquiry nothing is said about missing checksums."""
    return Reader(_puller(_zstd_frames(raw, inquiry, what)))


def unlz4(raw: Reader, what: str) -> Reader:
    """The content of one LZ4 frame; a flaw if lz4 is not installed."""
    return Reader(_puller(_lz4_frame(raw, what)))


def _puller(pieces: Iterator[bytes]) -> Any:
    return lambda: next((piece for piece in pieces if piece), b"")


def _inflate(raw: Reader, what: str, window: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(window)
    # Small pieces first: a file of many tiny members would otherwise be taken and given back again and again.
    amount = 2048
    while not inflater.eof:
        amount = min(amount * 2, PIECE // 4)
        data = inflater.unconsumed_tail or raw.some(amount)
        if not data:
            raise cut(what)
        try:
            yield inflater.decompress(data, PIECE)
        except zlib.error as error:
            raise damaged(f"{what} cannot be decompressed ({error})") from None
    raw.give_back(inflater.unused_data)


def _gzip_members(raw: Reader, inquiry: Inquiry) -> Iterator[bytes]:
    members = 0
    while raw.peek(2) == GZIP_MAGIC:
        members += 1
        yield from _inflate(raw, f"gzip member {members}", _GZIP_WINDOW)
    if members > 1:
        inquiry.doubt(f"It has {members} gzip members: had it been cut between two of them, gzip could not tell.")
    rest = raw.some()
    zeros = not rest.strip(b"\0")
    count = len(rest)
    while piece := raw.some():
        zeros = zeros and not piece.strip(b"\0")
        count += len(piece)
    if count and not zeros:
        raise damaged(f"after the gzip data come {count} bytes that are none; gzip would leave them out")
    if count:
        code = damaged("").code
        inquiry.find(code, f"{count} zero bytes follow the gzip data", severity=Severity.WARNING)


def _zstd_frames(raw: Reader, inquiry: Inquiry | None, what: str) -> Iterator[bytes]:
    frames = unsummed = 0
    while magic := raw.upto(4):
        if len(magic) == 4 and 0x184D2A50 <= int.from_bytes(magic, "little") <= 0x184D2A5F:
            raw.skip(int.from_bytes(raw.exactly(4, what), "little"), f"a skippable frame of {what}")
            continue
        if magic != ZSTD_MAGIC:
            raise damaged(f"after {frames} frames of {what} come bytes that are no zstd") if frames else cut(what)
        frames += 1
        summed = yield from _zstd_frame(raw, f"frame {frames} of {what}")
        unsummed += not summed
    if inquiry is None:
        return
    if unsummed:
        inquiry.checksummed = False
        inquiry.doubt(f"{unsummed} of {frames} zstd frames carry no checksum: a changed byte in them may not show.")
    if frames > 1:
        inquiry.doubt(f"It has {frames} zstd frames: had it been cut between two of them, zstd could not tell.")


def _zstd_frame(raw: Reader, what: str) -> Generator[bytes, None, bool]:
    import zstandard

    header = raw.exactly(1, what)
    described = header[0]
    summed, alone, dictionary, sizes = described >> 2 & 1, described >> 5 & 1, described & 3, described >> 6
    if dictionary:
        raise unreadable(f"{what} needs a dictionary", "Decompress it with that dictionary and check what comes out.")
    header += raw.exactly((1 - alone) + ((1 << sizes) if sizes else alone), what)
    decoder = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
    last = False
    try:
        yield decoder.decompress(ZSTD_MAGIC + header)
        while not last:
            mark = raw.exactly(3, what)
            number = int.from_bytes(mark, "little")
            last, form, size = bool(number & 1), number >> 1 & 3, number >> 3
            if size > _BLOCK_MOST or form == 3:
                raise damaged(f"{what} has a block that cannot be")
            yield decoder.decompress(mark + raw.exactly(1 if form == 1 else size, what))
        if summed:
            yield decoder.decompress(raw.exactly(4, what))
    except zstandard.ZstdError as error:
        raise _zstd_flaw(what, str(error)) from None
    if not decoder.eof:
        raise damaged(f"{what} does not end where it says")
    return bool(summed)


def _zstd_flaw(what: str, message: str) -> Flaw:
    if "memory" in message or "too large" in message:
        return unreadable(
            f"{what} needs more than {_LARGEST_WINDOW >> 20} MiB of memory to decompress",
            "It was made with --long or --ultra: decompress it with zstd --long=31 and check what comes out.",
        )
    return damaged(f"{what} cannot be decompressed ({message})")


def _lz4_frame(raw: Reader, what: str) -> Iterator[bytes]:
    try:
        frame = import_module("lz4.frame")
    except ImportError:
        raise unreadable(
            f"{what} is compressed with LZ4, and the package lz4 is not installed", "Run: pip install lz4"
        ) from None
    decoder = frame.LZ4FrameDecompressor()
    data = b""
    while not decoder.eof:
        if decoder.needs_input:
            data = raw.some(PIECE // 4)
            if not data:
                raise cut(what)
        try:
            yield decoder.decompress(data, PIECE)
        except RuntimeError as error:
            raise damaged(f"{what} cannot be decompressed ({error})") from None
        data = b""
    raw.give_back(decoder.unused_data or b"")


def finish(stream: Reader, raw: Reader, what: str) -> None:
    """Read both to their ends; a flaw if anything follows the compressed stream."""
    drain(stream)
    if more := drain(raw):
        raise damaged(f"{more} bytes follow the end of {what}")
