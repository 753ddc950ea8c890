"""The beginning of what pg_dump writes as custom, directory or tar format: its header and table of contents."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from safebackup.artifacts.reading import Reader, cut, damaged, unreadable
from safebackup.artifacts.report import Inquiry
from safebackup.artifacts.streams import unlz4, unzstd, zlib_stream
from safebackup.errors import Code
from safebackup.findings import Severity, printable

MAGIC = b"PGDMP"
CUSTOM, TAR_FORMAT, DIRECTORY = 1, 3, 5
NEWEST = (1, 16)
_OLDEST = (1, 12)  # PostgreSQL 9.0, of 2010, and later
_TEXT_MOST = 64 << 20
_TAG_MOST = 200
_WHAT = "the table of contents of the dump"
_FRAME = ("ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES", "SCHEMA", "COMMENT", "ACL")
COPY_END = b"\\.\n\n\n"


@attrs.frozen(kw_only=True)
class TocEntry:
    """One object of the dump; `place` is an offset or a file name, None where none is given."""

    number: int
    tag: str
    kind: str
    has_data: bool
    is_copy: bool
    place: int | str | None


@attrs.frozen(kw_only=True)
class Toc:
    """The header and the table of contents."""

    version: tuple[int, int]
    layout: int
    compression: str
    database: str
    server_version: str
    dump_version: str
    int_size: int
    entries: tuple[TocEntry, ...]

    def with_data(self) -> dict[int, TocEntry]:
        """Entries that have rows or large objects, by number."""
        return {entry.number: entry for entry in self.entries if entry.has_data}


class PgReader:
    """The integers and strings of these formats."""

    def __init__(self, reader: Reader, what: str = _WHAT) -> None:
        self.reader = reader
        self.what = what
        self.int_size = 4

    def byte(self) -> int:
        """One byte."""
        return self.reader.exactly(1, self.what)[0]

    def integer(self) -> int:
        """A sign and so many bytes, the lowest first."""
        data = self.reader.exactly(1 + self.int_size, self.what)
        if data[0] > 1:
            raise damaged(f"{self.what} has a number with the sign {data[0]}")
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def text(self) -> str | None:
        """A string, or None for a null."""
        length = self.integer()
        if length < 0:
            return None
        if length > _TEXT_MOST:
            raise damaged(f"{self.what} has a text of {length} bytes")
        return printable(self.reader.exactly(length, self.what))


def read_toc(reader: Reader) -> Toc:
    """Read from the magic to the end of the table of contents."""
    pg = PgReader(reader)
    if reader.exactly(5, _WHAT) != MAGIC:
        raise damaged("toc.dat is not what pg_dump writes")
    version = (pg.byte(), pg.byte())
    pg.byte()
    if not _OLDEST <= version <= NEWEST:
        raise unreadable(
            f"the dump has format version {version[0]}.{version[1]}; this release reads 1.12 to 1.16",
            "Check it with pg_restore -f /dev/null of the version that made it.",
        )
    pg.int_size, offset_size, layout = pg.byte(), pg.byte(), pg.byte()
    if not 1 <= pg.int_size <= 8 or not 1 <= offset_size <= 8 or layout not in (CUSTOM, TAR_FORMAT, DIRECTORY):
        raise damaged("the header of the dump contradicts itself")
    compression = _compression(pg, version)
    for _ in range(7):
        pg.integer()
    database, server, program = pg.text(), pg.text(), pg.text()
    count = pg.integer()
    if count < 0:
        raise damaged("the dump says that it holds less than nothing")
    place = _offset_reader(pg, offset_size) if layout == CUSTOM else pg.text
    entries = tuple(_entry(pg, version, place) for _ in range(count))
    return Toc(
        version=version,
        layout=layout,
        compression=compression,
        database=database or "",
        server_version=server or "",
        dump_version=program or "",
        int_size=pg.int_size,
        entries=entries,
    )


def _compression(pg: PgReader, version: tuple[int, int]) -> str:
    if version < (1, 15):
        return "gzip" if pg.integer() else "none"
    number = pg.byte()
    names = ("none", "gzip", "lz4", "zstd")
    if number >= len(names):
        raise unreadable(f"the dump is compressed in a way numbered {number}", "Check it with pg_restore.")
    return names[number]


def _offset_reader(pg: PgReader, size: int) -> Callable[[], int | None]:
    def offset() -> int | None:
        state = pg.byte()
        value = int.from_bytes(pg.reader.exactly(size, _WHAT), "little")
        if state not in (1, 2, 3):
            raise damaged(f"{_WHAT} marks an offset with {state}")
        return value if state == 2 else None

    return offset


def _entry(pg: PgReader, version: tuple[int, int], place: Callable[[], int | str | None]) -> TocEntry:
    number, has_data = pg.integer(), pg.integer()
    if number <= 0 or has_data not in (0, 1):
        raise damaged(f"{_WHAT} has an entry that cannot be")
    _table_oid, _oid, tag, kind = pg.text(), pg.text(), pg.text(), pg.text()
    pg.integer()
    _definition, _drop, copy = pg.text(), pg.text(), pg.text()
    _namespace, _tablespace = pg.text(), pg.text()
    if version >= (1, 14):
        pg.text()
    if version >= (1, 16):
        pg.integer()
    _owner, _with_oids = pg.text(), pg.text()
    while pg.text() is not None:
        pass
    return TocEntry(
        number=number,
        tag=(tag or "")[:_TAG_MOST],
        kind=(kind or "")[:_TAG_MOST],
        has_data=bool(has_data),
        is_copy=bool(copy),
        place=place(),
    )


def describe(toc: Toc, inquiry: Inquiry) -> None:
    """Note what the table of contents tells, and whether the dump is one of nothing."""
    inquiry.learn(
        members=len(toc.entries),
        tables=sum(entry.kind in ("TABLE", "FOREIGN TABLE") for entry in toc.entries),
        database=toc.database,
        server_version=toc.server_version,
        dump_version=toc.dump_version,
    )
    if all(entry.kind in _FRAME for entry in toc.entries):
        inquiry.find(
            Code.ARTIFACT_EMPTY,
            "the dump holds no object of a database",
            "Look whether the right database was dumped.",
            severity=Severity.WARNING,
        )
    numbers = [entry.number for entry in toc.entries]
    if len(set(numbers)) != len(numbers):
        raise damaged(f"{_WHAT} gives one number twice")


def plain_data(raw: Reader, compression: str, what: str) -> Reader:
    """What `raw` holds, decompressed."""
    if compression == "gzip":
        return zlib_stream(raw, what)
    if compression == "lz4":
        return unlz4(raw, what)
    return unzstd(raw, None, what) if compression == "zstd" else raw


def count_rows(content: Reader, entry: TocEntry) -> int:
    """Read the data of a table to the end mark that it has, as COPY or as INSERT; how many rows, 0 for INSERT."""
    rows, tail = 0, b"\n"  # as if a row had ended before the first
    while piece := content.some():
        rows += piece.count(b"\n")
        tail = (tail + piece)[-len(COPY_END) - 1 :]
    if entry.is_copy:
        if tail != b"\n" + COPY_END:
            raise cut(f"the rows of table {entry.tag}")
        return rows - COPY_END.count(b"\n")
    if entry.kind == "TABLE DATA" and tail != b"\n\n\n" and not tail.endswith(b";\n\n\n"):
        raise cut(f"the rows of table {entry.tag}")
    return 0


def note_rows(toc: Toc, rows: int, inquiry: Inquiry) -> None:
    """Tell how many rows there are, unless some are INSERT statements, which are not taken apart."""
    if all(entry.is_copy or entry.kind != "TABLE DATA" for entry in toc.with_data().values()):
        inquiry.learn(rows=rows)


def doubt_contents(toc: Toc, inquiry: Inquiry) -> None:
    """What the compression of this dump cannot show."""
    if toc.compression == "none" and not inquiry.checksummed:
        inquiry.doubt("The dump is not compressed and carries no checksum: a changed value in a row does not show.")
    if toc.compression in ("lz4", "zstd"):
        inquiry.doubt(f"pg_dump writes {toc.compression} without a checksum: a changed byte in a row may not show.")
    inquiry.doubt("Whether the objects fit together shows only when the dump is restored.")


def find_missing(entry: TocEntry, what: str, inquiry: Inquiry) -> None:
    """Note that the data of an entry is not there."""
    inquiry.find(
        Code.ARTIFACT_PART_MISSING,
        f"the data of {entry.kind or 'entry'} {entry.tag} (number {entry.number}) {what}",
        "Make the dump again, or bring the missing part from another copy.",
        severity=Severity.ERROR,
    )
