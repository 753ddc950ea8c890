"""Judging what pg_dump writes as a folder (-Fd) or as a tar (-Ft): every file that the contents name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from safebackup.artifacts.pg_toc import (
    DIRECTORY,
    TAR_FORMAT,
    Toc,
    TocEntry,
    count_rows,
    describe,
    doubt_contents,
    find_missing,
    note_rows,
    read_toc,
)
from safebackup.artifacts.reading import Flaw, Reader, cut, damaged, drain
from safebackup.artifacts.report import Inquiry, Level
from safebackup.artifacts.streams import gunzip, unlz4, unzstd
from safebackup.artifacts.tars import BLOCK, walk_tar
from safebackup.errors import Code
from safebackup.findings import Severity

_LARGE_OBJECT = re.compile(rb"([0-9]+) (blob_[0-9]+\.dat)")
_OBJECT_FILE = re.compile(r"(blob_[0-9]+\.dat)(\.gz|\.lz4|\.zst)?")
_LIST_OF_OBJECTS = re.compile(r"blobs(_[0-9]+)?\.toc")
_LIST_MOST = 64 << 20
_SUFFIXES = ("", ".gz", ".lz4", ".zst")
Opener = Callable[[str], Reader]


def check_pg_directory(names: Collection[str], open_file: Opener, inquiry: Inquiry) -> None:
    """Judge a dump made with -Fd, from the names in its folder and a way to read each."""
    toc = read_toc(contents := open_file("toc.dat"))
    # pg_dump writes the number of the tar format here, so that older versions could pack the folder as one.
    if toc.layout not in (DIRECTORY, TAR_FORMAT) or drain(contents):
        raise damaged("toc.dat is not that of a dump in directory format, or goes on after its end")
    describe(toc, inquiry)
    inquiry.reach(Level.LISTED)
    if not inquiry.wants(Level.STRUCTURE):
        return
    folder = _Folder(names, open_file, inquiry)
    for entry in toc.with_data().values():
        folder.take(entry)
    folder.name_strangers()
    inquiry.reach(Level.STRUCTURE)
    if not folder.unread:
        note_rows(toc, folder.rows, inquiry)
        doubt_contents(toc, inquiry)
        inquiry.reach(Level.FULL)


class _Folder:
    """The files of a dump in directory format, as its contents name them."""

    def __init__(self, names: Collection[str], open_file: Opener, inquiry: Inquiry) -> None:
        self.names = names
        self.open_file = open_file
        self.inquiry = inquiry
        self.seen = {"toc.dat"}
        self.objects: set[str] = set()
        self.rows = 0
        self.unread = False

    def take(self, entry: TocEntry) -> None:
        """Read the file of one entry, and those that it names in turn."""
        wanted = entry.place if isinstance(entry.place, str) else ""
        if not wanted:
            raise damaged(f"the contents give no file to {entry.kind} {entry.tag}")
        name = self._find(wanted)
        if name is None:
            find_missing(entry, f"is missing: no file {wanted}", self.inquiry)
        elif wanted.endswith(".toc"):
            self._take_objects(entry, name)
        else:
            self.rows += self._read(name, lambda content: count_rows(content, entry))

    def _take_objects(self, entry: TocEntry, name: str) -> None:
        """Read the large objects that a list names."""
        listed = self._large_objects(name)
        if listed is not None and not listed:
            find_missing(entry, f"is missing: {name} names no large object", self.inquiry)
        for wanted in listed or ():
            self.objects.add(wanted)
            found = self._find(wanted)
            if found is None:
                find_missing(entry, f"is missing: no file {wanted}", self.inquiry)
            elif not self._read(found, drain) and found == wanted:
                action = "Look whether it was empty in the database: an empty one cannot be told from one that was cut."
                self.inquiry.find(
                    Code.ARTIFACT_EMPTY, f"large object {found} is empty", action, severity=Severity.WARNING
                )
            if found == wanted:
                self.inquiry.doubt(
                    "Large objects that are not compressed have no end mark: a cut in one does not show."
                )

    def name_strangers(self) -> None:
        """Files that are none of the dump's: left over from another one, or lost by their list."""
        strangers = sorted(set(self.names) - self.seen)
        find_unlisted(strangers, self.objects, self.inquiry)
        strangers = [name for name in strangers if not _OBJECT_FILE.fullmatch(name)]
        if strangers:
            self.inquiry.find(
                Code.ARTIFACT_MISLABELLED,
                f"{len(strangers)} files in the folder are not in its contents: {', '.join(strangers[:5])}",
                "pg_restore leaves them out: look what they are.",
                severity=Severity.WARNING,
            )

    def _find(self, wanted: str) -> str | None:
        """The file, which has the suffix of its compression; of several, pg_restore would take the first."""
        found = [wanted + suffix for suffix in _SUFFIXES if wanted + suffix in self.names]
        self.seen.update(found[:1])
        return found[0] if found else None

    def _read(self, name: str, read: Callable[[Reader], int]) -> int:
        try:
            return read(self._plain(self.open_file(name), name))
        except Flaw as flaw:
            self.inquiry.find(flaw.code, f"{name}: {flaw.what}", flaw.action)
            self.unread |= flaw.code is Code.ARTIFACT_UNREADABLE
            return 0

    def _plain(self, raw: Reader, name: str) -> Reader:
        if name.endswith(".gz"):
            if not raw.peek(1):
                raise Flaw(Code.ARTIFACT_EMPTY, "the file is empty", "Make the dump again.")
            return gunzip(raw, self.inquiry)
        if name.endswith(".lz4"):
            return unlz4(raw, name)
        return unzstd(raw, None, name) if name.endswith(".zst") else raw

    def _large_objects(self, name: str) -> list[str] | None:
        """The names in a list of them, None if it cannot be followed."""
        try:
            return large_objects(self.open_file(name), name)
        except Flaw as flaw:
            self.inquiry.find(flaw.code, flaw.what, flaw.action)
            return None


def find_unlisted(names: Iterable[str], listed: Collection[str], inquiry: Inquiry) -> None:
    """Note large objects that are there and that no list names."""
    matches = [match for match in map(_OBJECT_FILE.fullmatch, names) if match]
    strays = sorted(match[0] for match in matches if match[1] not in listed)
    if strays:
        inquiry.find(
            Code.ARTIFACT_PART_MISSING,
            f"no list names {len(strays)} large objects that are there: {', '.join(strays[:5])}",
            "pg_restore leaves them out: make the dump again, or bring blobs.toc from another copy.",
        )


def large_objects(reader: Reader, name: str) -> list[str]:
    """The files that a list of large objects names."""
    lines = reader.upto(_LIST_MOST).split(b"\n")
    if lines.pop() or reader.peek(1):
        raise cut(f"a line of {name}")
    names = []
    for line in lines:
        match = _LARGE_OBJECT.fullmatch(line)
        if match is None:
            raise damaged(f"{name} has a line that names no large object")
        names.append(match[2].decode())
    return names


def check_pg_tar(reader: Reader, inquiry: Inquiry) -> None:
    """Judge a dump made with -Ft: a tar whose first member is the contents of the dump."""
    inquiry.reach(Level.LISTED)
    if not inquiry.wants(Level.STRUCTURE):
        reader.skip(BLOCK, "the tar")
        describe(read_toc(reader), inquiry)
        return
    members = _Members(inquiry)
    walk = walk_tar(reader, inquiry, members.visit)
    toc = members.toc
    if toc is None:
        raise damaged("the tar begins as a dump and holds none")
    members.find_missing()
    note_rows(toc, members.rows, inquiry)
    inquiry.learn(bytes=walk.bytes)
    doubt_contents(toc, inquiry)
    inquiry.reach(Level.FULL)


class _Members:
    """The members of a dump in tar format, as they come by."""

    def __init__(self, inquiry: Inquiry) -> None:
        self.inquiry = inquiry
        self.toc: Toc | None = None
        self.wanted: dict[str, TocEntry] = {}
        self.listed: dict[str, list[str]] = {}
        self.found: set[str] = set()
        self.rows = 0

    def visit(self, name: str, content: Reader) -> None:
        """Read one member."""
        if name in self.found:
            raise damaged(f"member {name} stands twice in the dump")
        self.found.add(name)
        if self.toc is None:
            self.toc = read_toc(content)
            if self.toc.layout != TAR_FORMAT:
                raise damaged("toc.dat in the tar is not that of a dump in tar format")
            describe(self.toc, self.inquiry)
            self.wanted = {str(entry.place): entry for entry in self.toc.with_data().values()}
        elif _LIST_OF_OBJECTS.fullmatch(name):
            self.listed[name] = large_objects(content, name)
        elif name in self.wanted:
            self.rows += count_rows(content, self.wanted[name])

    def find_missing(self) -> None:
        """Name what the contents promise and no member held."""
        for name, entry in self.wanted.items():
            # Large objects lie in members of their own; until PostgreSQL 16 one list names all of them.
            names = ("blobs.toc", f"blobs_{entry.number}.toc") if entry.kind == "BLOBS" else (name,)
            if not any(candidate in self.found for candidate in names):
                find_missing(entry, f"is missing: no member {names[0]}", self.inquiry)
            elif entry.kind == "BLOBS" and not any(self.listed.get(candidate) for candidate in names):
                find_missing(entry, f"is missing: {names[0]} names no large object", self.inquiry)
            for listed in [listed for candidate in names for listed in self.listed.get(candidate, ())]:
                if listed not in self.found:
                    find_missing(entry, f"is missing: no member {listed}", self.inquiry)
        find_unlisted(self.found, {name for names in self.listed.values() for name in names}, self.inquiry)
