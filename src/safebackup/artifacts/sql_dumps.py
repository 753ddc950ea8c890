"""Judging dumps that are SQL text: by pg_dump, pg_dumpall, mysqldump, mariadb-dump and sqlite3."""

from __future__ import annotations

import re

from safebackup.artifacts.reading import Flaw, Reader, cut, damaged
from safebackup.artifacts.report import Inquiry, Kind, Level
from safebackup.artifacts.sql_scanning import MYSQL, POSTGRES, SQLITE, Dialect, Listener, SqlScanner
from safebackup.errors import Code
from safebackup.findings import Severity, printable

_TAIL = 600
_LOCKS_MOST = 8
_LOOK_WHY = "Make it again and look at the status and the error output of what wrote it."
_TABLE = re.compile(rb"(?:/\*!\d*\s*)?CREATE (?:UNLOGGED |FOREIGN |GLOBAL |TEMPORARY |TEMP )*TABLE\b", re.IGNORECASE)
_SETTING = re.compile(rb"(/\*!|SET\b|SELECT pg_catalog\.set_config|PRAGMA\b|BEGIN\b|START\b|USE\b|COMMIT\b)", re.I)
_ERROR_TEXT = re.compile(rb"(pg_dump|pg_dumpall|mysqldump|mariadb-dump|ERROR \d+)\b[^\n]{0,200}", re.ASCII)

_PG_BEGIN = re.compile(rb"-- PostgreSQL database( cluster)? dump")
_PG_DONE = re.compile(rb"-- PostgreSQL database( cluster)? dump complete")
_PG_TRAILER = re.compile(
    rb"\n--\r?\n-- PostgreSQL database( cluster)? dump complete\r?\n--\r?\n\r?\n(\\unrestrict [^\n]+\n\r?\n)*\s*\Z"
)
_PG_SERVER = re.compile(rb"-- Dumped from database version (.+)")
_PG_PROGRAM = re.compile(rb"-- Dumped by \w+ version (.+)")

_MYSQL_BEGIN = re.compile(rb"-- (MySQL|MariaDB) dump (.+)")
_MYSQL_SERVER = re.compile(rb"-- Server version\s+(.+)")
_MYSQL_DATABASE = re.compile(rb"-- Host: .*Database: (\S+)")
_MYSQL_DONE = re.compile(rb"-- Dump completed( on \d{4}-\d\d-\d\d\s+\d{1,2}:\d\d:\d\d)?")
_MYSQL_TRAILER = re.compile(rb"\n" + _MYSQL_DONE.pattern + rb"\r?\n\s*\Z")
_SQLITE_FIRST = b"PRAGMA foreign_keys=OFF"
_SQLITE_BEGIN = re.compile(rb"BEGIN( TRANSACTION)?")


def recognise_sql(beginning: bytes) -> Kind | None:
    """Which program's dump a text is, by its first lines."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"(--\s+|\\restrict [^\n]+\s+)*-- PostgreSQL database( cluster)? dump\r?\n", text):
        return Kind.PG_PLAIN
    if re.match(rb"(/\*M?!999999\\- [^\n]*\n|--\s*\n)*-- (MySQL|MariaDB) dump ", text):
        return Kind.MYSQL_DUMP
    if re.match(rb"(PRAGMA foreign_keys=OFF;\s+)?BEGIN( TRANSACTION)?;", text):
        return Kind.SQLITE_DUMP
    return None


class _Judge(Listener):
    """What all dumps have: counts, and statements that make something."""

    dialect: Dialect
    # How much it matters that a complete dump makes nothing: most programs refuse a database that is not there.
    of_nothing = Severity.WARNING

    def __init__(self, inquiry: Inquiry) -> None:
        self.inquiry = inquiry
        self.tables = 0
        self.rows = 0
        self.made = 0

    def on_statement(self, head: bytes, rows: int) -> None:
        self.rows += rows
        self.tables += _TABLE.match(head) is not None
        self.made += _SETTING.match(head) is None
        if error := _ERROR_TEXT.match(head):
            self.inquiry.find(
                Code.ARTIFACT_DAMAGED,
                f"an error message stands in the dump: {printable(error[0])[:200]}",
                "Keep standard error out of the dump (2>errors.txt, not 2>&1), and mend what it says.",
            )

    def on_copied(self, rows: int) -> None:
        self.rows += rows
        self.made += 1

    def on_begun_inside(self) -> None:
        raise Flaw(Code.ARTIFACT_UNFINISHED, "a dump begins before the one ahead of it has ended", _LOOK_WHY)

    def close(self, tail: bytes) -> None:
        """Judge the end; `tail` is the last part of the text."""
        raise NotImplementedError


class _Postgres(_Judge):
    """pg_dump and pg_dumpall: dumps inside a dump, each with its end mark, and a key that locks psql's commands."""

    dialect = POSTGRES

    def __init__(self, inquiry: Inquiry) -> None:
        super().__init__(inquiry)
        self.open: list[bytes] = []
        self.locks: list[bytes] = []
        self.after_end = False
        self.dumps = 0

    def on_statement(self, head: bytes, rows: int) -> None:
        super().on_statement(head, rows)
        self.after_end = self.after_end or not self.open

    def on_comment(self, text: bytes) -> None:
        if begun := _PG_BEGIN.fullmatch(text):
            if self.open and self.open[-1] != b" cluster":
                self.on_begun_inside()
            if len(self.open) > 1:
                raise damaged("a dump of a cluster begins inside another one")
            self.open.append(begun[1] or b"")
            self.dumps += 1
        elif done := _PG_DONE.fullmatch(text):
            if not self.open or self.open.pop() != (done[1] or b""):
                raise damaged("an end mark of a dump stands where none was begun")
        elif version := _PG_SERVER.fullmatch(text):
            self.inquiry.learn(server_version=printable(version[1]))
        elif version := _PG_PROGRAM.fullmatch(text):
            self.inquiry.learn(dump_version=printable(version[1]))

    def on_meta(self, text: bytes) -> None:
        word, _, key = text.partition(b" ")
        if word == b"\\restrict":
            if len(self.locks) > _LOCKS_MOST:
                raise damaged("\\restrict follows \\restrict again and again")
            self.locks.append(key.strip())
        elif word == b"\\unrestrict" and (not self.locks or self.locks.pop() != key.strip()):
            raise damaged("\\unrestrict has another key than \\restrict")

    def close(self, tail: bytes) -> None:
        if self.open:
            _find_unfinished(self.inquiry, "-- PostgreSQL database dump complete")
        elif self.locks:
            raise cut("what follows the end mark: \\unrestrict is missing")
        elif self.after_end:
            self.inquiry.find(
                Code.ARTIFACT_UNFINISHED,
                "statements follow the dump's end mark: whether all of them are there cannot be told",
                "Keep what pg_dump did not write in a file of its own.",
                severity=Severity.WARNING,
            )
        elif not _PG_TRAILER.search(tail):
            raise cut("the lines that belong to the end mark")


class _MySql(_Judge):
    """mysqldump and mariadb-dump: the last line says that it was completed."""

    dialect = MYSQL

    def __init__(self, inquiry: Inquiry) -> None:
        super().__init__(inquiry)
        self.open = False

    def on_comment(self, text: bytes) -> None:
        if begun := _MYSQL_BEGIN.fullmatch(text):
            if self.open:
                self.on_begun_inside()
            self.open = True
            self.inquiry.learn(dump_version=printable(begun[2]))
        elif _MYSQL_DONE.fullmatch(text):
            self.open = False
        elif version := _MYSQL_SERVER.fullmatch(text):
            self.inquiry.learn(server_version=printable(version[1]))
        elif (database := _MYSQL_DATABASE.fullmatch(text)) and self.inquiry.holds.database is None:
            self.inquiry.learn(database=printable(database[1]))

    def close(self, tail: bytes) -> None:
        if not _MYSQL_TRAILER.search(tail):
            _find_unfinished(self.inquiry, "-- Dump completed")
        self.inquiry.doubt("With --force mysqldump writes its end mark after errors too: keep its exit status.")


class _Sqlite(_Judge):
    """sqlite3's .dump: one transaction, which is committed at the end or else rolled back; and perhaps more of them."""

    dialect = SQLITE
    of_nothing = Severity.ERROR  # a misspelt name makes an empty database, and its dump is complete

    def __init__(self, inquiry: Inquiry) -> None:
        super().__init__(inquiry)
        self.last = b""
        self.by_shell = False
        self.open = False
        self.rolled_back = False

    def on_statement(self, head: bytes, rows: int) -> None:
        super().on_statement(head, rows)
        self.by_shell = self.by_shell or (not self.last and head.startswith(b"PRAGMA"))
        begins = _SQLITE_BEGIN.fullmatch(head) is not None
        if (begins and self.open) or (head == self.last == _SQLITE_FIRST):
            self.on_begun_inside()
        self.open = (self.open or begins) and head not in (b"COMMIT", b"ROLLBACK")
        self.rolled_back = self.rolled_back or head == b"ROLLBACK"
        self.last = head

    def close(self, tail: bytes) -> None:
        if self.rolled_back:
            self.inquiry.find(
                Code.ARTIFACT_UNFINISHED,
                "a dump in it ends in ROLLBACK: sqlite3 met a damaged database, and what it restores to is nothing",
                "Check the database itself; sqlite3's .recover saves what can be read.",
            )
        elif self.last != b"COMMIT":
            _find_unfinished(self.inquiry, "COMMIT;")
        elif self.by_shell and not tail.endswith(b"\n"):
            raise cut("its last line")


def _find_unfinished(inquiry: Inquiry, mark: str) -> None:
    inquiry.find(Code.ARTIFACT_UNFINISHED, f"the end mark is missing: {mark}", _LOOK_WHY)


_JUDGES: dict[Kind, type[_Judge]] = {
    Kind.PG_PLAIN: _Postgres,
    Kind.MYSQL_DUMP: _MySql,
    Kind.SQLITE_DUMP: _Sqlite,
}


def check_sql(reader: Reader, kind: Kind, inquiry: Inquiry) -> None:
    """Judge a dump that is text; from `Level.STRUCTURE` on all of it is read."""
    inquiry.reach(Level.LISTED)
    if not inquiry.wants(Level.STRUCTURE):
        return
    judge = _JUDGES[kind](inquiry)
    scanner = SqlScanner(judge.dialect, judge)
    size, tail = 0, b""
    if reader.peek(3) == b"\xef\xbb\xbf":
        reader.skip(3, "the dump")
    while piece := reader.some():
        if b"\0" in piece:
            raise damaged(f"the dump has zero bytes, after byte {size + piece.find(0)}: no dump as text has them")
        size += len(piece)
        tail = (tail + piece)[-_TAIL:]
        scanner.feed(piece)
    scanner.end()
    inquiry.learn(bytes=size, tables=judge.tables, rows=judge.rows)
    if scanner.inside:
        raise cut(f"{scanner.inside} of the dump")
    judge.close(tail)
    if not judge.made:
        look = "Look whether the right database was dumped."
        inquiry.find(Code.ARTIFACT_EMPTY, "the dump makes nothing", look, severity=judge.of_nothing)
    if not inquiry.checksummed:
        inquiry.doubt("A dump as text carries no checksum: a changed value in it does not show.")
    inquiry.doubt("Whether every statement succeeds shows only when the dump is restored.")
    inquiry.reach(Level.FULL)
