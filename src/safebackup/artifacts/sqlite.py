"""Judging a SQLite file without touching it or anything beside it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import attrs

from safebackup.artifacts.reading import Reader, cut, damaged, unreadable
from safebackup.artifacts.report import Inquiry, Level
from safebackup.errors import Code
from safebackup.findings import Severity, printable

MAGIC = b"SQLite format 3\0"
_HEADER = 100
_MOST_IN_MEMORY = 64 << 20
_PROBLEMS_NAMED = 20
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
# What a program brings along for its own database; of a judgement without it nothing could be believed.
_NOT_HERE = re.compile(r"no such (collation sequence|function|module|tokenizer)|unknown (function|tokenizer)")
# The pages are sound, and a row breaks a rule of its table, which may be younger than the row.
_RULE_BROKEN = re.compile(rb"NULL value in |CHECK constraint failed in ")
_MAKE_COPY = "Make the copy with VACUUM INTO, or with .backup and then PRAGMA journal_mode=DELETE on the copy."


@attrs.frozen
class SqliteHeader:
    """What the first hundred bytes say; `pages` is None where they do not tell."""

    page_size: int
    pages: int | None
    logs_ahead: bool


def check_sqlite_file(path: Path, inquiry: Inquiry) -> int:
    """Judge a SQLite file on a local disk; how many bytes it has."""
    with path.open("rb") as file:
        header = _read_header(file.read(_HEADER))
        size = file.seek(0, 2)
    inquiry.reach(Level.LISTED)
    _look_beside(path, header, inquiry)
    if inquiry.wants(Level.STRUCTURE):
        _require_size(header, size, inquiry)
        place = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro&immutable=1"
        with _opened(place) as connection:
            _examine(connection, header, inquiry)
    return size


def check_sqlite_stream(reader: Reader, inquiry: Inquiry) -> None:
    """Judge a SQLite database that comes as a stream: whole in memory if it is small, its size only if not."""
    header = _read_header(reader.peek(_HEADER))
    inquiry.reach(Level.LISTED)
    if header.logs_ahead:
        _find_missing_journal(inquiry)
    if not inquiry.wants(Level.STRUCTURE):
        return
    data = bytearray()
    while len(data) <= _MOST_IN_MEMORY and (piece := reader.some()):
        data += piece
    size = len(data)
    while piece := reader.some():
        size += len(piece)
    _require_size(header, size, inquiry)
    inquiry.learn(bytes=size)
    if size > _MOST_IN_MEMORY:
        if header.pages is not None:
            inquiry.reach(Level.STRUCTURE)
        if inquiry.wants(Level.FULL):
            inquiry.find(
                Code.ARTIFACT_UNREADABLE,
                f"a SQLite database of {size} bytes is judged in a local file only, not in a stream",
                "Download or decompress it and check the file.",
            )
        return
    if not hasattr(sqlite3.Connection, "deserialize"):
        raise unreadable("this Python's sqlite3 cannot read a database in memory", "Decompress it and check the file.")
    # A database in memory cannot have a write-ahead log; without these two marks the same pages can be read.
    data[18:20] = b"\1\1"
    with _opened(":memory:") as connection:
        connection.deserialize(bytes(data))
        _examine(connection, header, inquiry)


def _read_header(beginning: bytes) -> SqliteHeader:
    if len(beginning) < _HEADER:
        raise cut("the header of the SQLite file")
    page_size = int.from_bytes(beginning[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    if page_size < 512 or page_size & (page_size - 1):
        raise damaged(f"the SQLite header gives a page size of {page_size}")
    # The number of pages counts only if the same change wrote it; very old versions leave it alone.
    told = beginning[24:28] == beginning[92:96]
    pages = int.from_bytes(beginning[28:32], "big") if told else 0
    return SqliteHeader(page_size, pages or None, 2 in beginning[18:20])


def _require_size(header: SqliteHeader, size: int, inquiry: Inquiry) -> None:
    pages, rest = divmod(size, header.page_size)
    if header.pages is not None and pages < header.pages:
        raise cut(f"page {pages + 1} of the {header.pages} of the SQLite file")
    if rest:
        raise cut(f"page {pages + 1} of the SQLite file")
    if header.pages is not None and pages > header.pages:
        inquiry.find(
            Code.ARTIFACT_DAMAGED,
            f"the SQLite file has {pages} pages and its header counts {header.pages}",
            "Harmless if its space was reserved ahead. Otherwise it was copied in the middle of a transaction, or"
            f" something else wrote behind it. {_MAKE_COPY}",
            severity=Severity.WARNING,
        )


def _look_beside(path: Path, header: SqliteHeader, inquiry: Inquiry) -> None:
    """What else belongs to the state of the database: a write-ahead log, or a journal to roll back."""
    log, journal = Path(f"{path}-wal"), Path(f"{path}-journal")
    if _size(log):
        inquiry.find(
            Code.ARTIFACT_JOURNAL_BESIDE,
            f"{printable(bytes(log))} has {_size(log)} bytes: rows in it are not in the file that was checked,"
            " or it is another database's and would damage this one when it is opened",
            _MAKE_COPY,
        )
    elif header.logs_ahead:
        _find_missing_journal(inquiry)
    if _size(journal):
        with journal.open("rb") as file:
            hot = file.read(8) == _JOURNAL_MAGIC
        if hot:
            inquiry.find(
                Code.ARTIFACT_JOURNAL_BESIDE,
                f"{printable(bytes(journal))} is a hot journal: the file holds half of a transaction without it",
                "The database was copied while it was written to. " + _MAKE_COPY,
            )


def _find_missing_journal(inquiry: Inquiry) -> None:
    inquiry.find(
        Code.ARTIFACT_JOURNAL_MISSING,
        "the database uses a write-ahead log and none lies beside it: committed rows may have been left behind in it",
        _MAKE_COPY,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _opened(place: str) -> Iterator[sqlite3.Connection]:
    """A connection that runs nothing of what the file brings along; its errors are damage, or what is lacking here."""
    try:
        with closing(sqlite3.connect(place, uri=True, isolation_level=None)) as connection:
            connection.text_factory = bytes
            yield connection
    except (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError) as error:  # the last: an error that quotes bytes
        if _NOT_HERE.search(str(error)):
            raise unreadable(
                f"the database needs what its own program adds to SQLite, so that its rows cannot be judged ({error})",
                "Run PRAGMA integrity_check in that program.",
            ) from None
        raise damaged(f"SQLite cannot read it ({error})") from None


def _examine(connection: sqlite3.Connection, header: SqliteHeader, inquiry: Inquiry) -> None:
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    inquiry.doubt(
        "Whether it was copied in the middle of a transaction the file cannot tell: never copy a database that is in"
        " use with cp, make the copy with VACUUM INTO or .backup."
    )
    tables = _tables(connection)
    if not tables:
        ((others,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
        inquiry.find(
            Code.ARTIFACT_EMPTY,
            f"the SQLite database has no table{', only views and the like' if others else ''}",
            "Look whether this is the right file.",
            severity=Severity.WARNING if others else Severity.ERROR,
        )
    inquiry.learn(tables=len(tables))
    if header.pages is not None:
        inquiry.reach(Level.STRUCTURE)
    if not inquiry.wants(Level.FULL) and header.pages is not None:
        return
    for number, (problem,) in enumerate(connection.execute("PRAGMA integrity_check")):
        if problem != b"ok" and number < _PROBLEMS_NAMED:
            broken = _RULE_BROKEN.match(problem) is not None
            inquiry.find(
                Code.ARTIFACT_DAMAGED,
                f"integrity check: {printable(problem)[:300]}",
                "Look at the row. If the rule is younger, nothing is wrong; a restore from .dump would refuse the row."
                if broken
                else "Use another copy; sqlite3's .recover saves what can be read.",
                severity=Severity.WARNING if broken else Severity.ERROR,
            )
    rows = sum(_rows(connection, table) for table in tables)
    inquiry.learn(rows=rows)
    if rows == 0 and tables:
        inquiry.find(Code.ARTIFACT_EMPTY, "every table of the database is empty", severity=Severity.WARNING)
    inquiry.doubt("SQLite keeps no checksum of its pages: a changed value inside a row does not show.")
    inquiry.reach(Level.FULL)


def _tables(connection: sqlite3.Connection) -> list[bytes]:
    """Tables with rows of their own; those of the system and virtual ones are left out."""
    query = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'"
    )
    return [name for (name,) in connection.execute(query)]


def _rows(connection: sqlite3.Connection, table: bytes) -> int:
    name = table.decode("utf-8", "replace").replace('"', '""')
    ((count,),) = connection.execute(f'SELECT count(*) FROM "{name}"')
    return int(count)
