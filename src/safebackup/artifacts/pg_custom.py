"""Judging pg_dump's custom format: every data block to its end, and every table that the contents promise."""

from __future__ import annotations

from collections.abc import Callable

from safebackup.artifacts.pg_toc import (
    CUSTOM,
    PgReader,
    Toc,
    TocEntry,
    count_rows,
    describe,
    doubt_contents,
    find_missing,
    note_rows,
    plain_data,
    read_toc,
)
from safebackup.artifacts.reading import PIECE, Flaw, Reader, cut, damaged, drain
from safebackup.artifacts.report import Inquiry, Level
from safebackup.artifacts.streams import finish
from safebackup.errors import Code

_DATA, _LARGE_OBJECTS = 1, 3


def check_pg_custom(reader: Reader, inquiry: Inquiry) -> None:
    """Judge a dump made with -Fc; the blocks are found by walking, so that it may come as a stream."""
    toc = read_toc(reader)
    if toc.layout != CUSTOM:
        raise damaged("a single file says that it is pg_dump's directory or tar format")
    describe(toc, inquiry)
    inquiry.reach(Level.LISTED)
    if not inquiry.wants(Level.STRUCTURE):
        return
    blocks = _Blocks(reader, toc, inquiry)
    while reader.peek(1):
        blocks.take()
    for entry in blocks.missing.values():
        find_missing(entry, "is missing", inquiry)
    inquiry.reach(Level.STRUCTURE)
    if inquiry.wants(Level.FULL) and not blocks.unread:
        note_rows(toc, blocks.rows, inquiry)
        doubt_contents(toc, inquiry)
        if not inquiry.checksummed:
            inquiry.doubt(
                "The definitions in a dump in custom format are neither compressed nor checksummed: a changed byte in"
                " one does not show."
            )
        inquiry.reach(Level.FULL)


class _Blocks:
    """The data blocks, one after another; `missing` is what has had none yet."""

    def __init__(self, reader: Reader, toc: Toc, inquiry: Inquiry) -> None:
        self.reader = reader
        self.toc = toc
        self.inquiry = inquiry
        self.entries = toc.with_data()
        self.missing = dict(self.entries)
        self.rows = 0
        self.unread = False

    def take(self) -> None:
        """Follow the next block to its end."""
        start = self.reader.taken
        pg = PgReader(self.reader, f"the data block at byte {start} of the dump")
        pg.int_size = self.toc.int_size
        form, number = pg.byte(), pg.integer()
        entry = self.entries.get(number)
        if entry is None or form not in (_DATA, _LARGE_OBJECTS):
            raise damaged(f"at byte {start} of the dump stands a data block that its contents do not name")
        if self.missing.pop(number, None) is None:
            raise damaged(f"entry {number} of the dump has two data blocks")
        if entry.place is not None and entry.place != start:
            raise damaged(f"the data of entry {number} is at byte {start} and should be at {entry.place}")
        pg.what = f"the data of {entry.tag or entry.kind} (entry {number})"
        if form == _DATA:
            self._take_data(pg, entry)
            return
        while pg.integer():
            self._take_data(pg, None)

    def _take_data(self, pg: PgReader, entry: TocEntry | None) -> None:
        """One run of pieces up to the piece of length nothing; rows if it belongs to a table."""
        chunks = Reader(_pieces(pg))
        if not self.inquiry.wants(Level.FULL):
            drain(chunks)
            return
        try:
            content = plain_data(chunks, self.toc.compression, pg.what) if chunks.peek(1) else chunks
            self.rows += count_rows(content, entry) if entry is not None else 0 * drain(content)
            finish(content, chunks, pg.what)
        except Flaw as flaw:
            if flaw.code is not Code.ARTIFACT_UNREADABLE:
                raise
            if not self.unread:
                self.inquiry.find(flaw.code, flaw.what, flaw.action)
            self.unread = True
            drain(chunks)


def _pieces(pg: PgReader) -> Callable[[], bytes]:
    """What gives the bytes of one piece after another; a piece may be one row of a gigabyte."""
    left = 0

    def pull() -> bytes:
        nonlocal left
        if left == 0:
            left = pg.integer()
            if left < 0:
                raise damaged(f"{pg.what} has a piece of negative length")
            if left == 0:
                return b""
        data = pg.reader.some(min(left, PIECE))
        if not data:
            raise cut(pg.what)
        left -= len(data)
        return data

    return pull
