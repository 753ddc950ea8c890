"""What a place holds: its files in the order of a manifest, however many they are, and what among them is no file.

Servers list in orders of their own. What comes is sorted; beyond so many rows it waits, sorted, in a temporary file
that has no name, and is merged when it is read.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import tempfile
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import IO, TypeAlias

import attrs
import msgspec

from safebackup.errors import StorageError

ROWS_IN_MEMORY = 50_000
LEFT_OUT_KEPT = 10_000
_ROWS_AT_ONCE = 500

_Row: TypeAlias = tuple[bytes, bool, int | None, int, int | None]
_PLACE: Callable[[_Row], tuple[bytes, bool]] = itemgetter(0, 1)
_ROWS = msgspec.msgpack.Decoder(list[_Row])


@attrs.frozen
class RemoteFile:
    """A file below a URL. `path` is relative to it; `size_bytes` is None where the server does not tell.

    `tag` is a number that changes when the content does, 0 where there is none; `modified` is in nanoseconds since
    1970. `is_folder` marks an empty object whose name ends with "/", with which people make folders in a bucket.
    """

    path: str
    size_bytes: int | None
    tag: int = 0
    modified: int | None = None
    is_folder: bool = False

    def is_like(self, other: RemoteFile) -> bool:
        """Whether nothing speaks of a change; listings tell times to the second only, so that a tag counts more."""
        if self.size_bytes != other.size_bytes:
            return False
        if self.tag and other.tag:
            return self.tag == other.tag
        return _seconds(self.modified) == _seconds(other.modified)


@attrs.frozen
class LeftOut:
    """Something that a server has, and that no tree of files can hold, or that it does not let us look at."""

    path: str
    why: str
    is_unfit: bool = True  # its name or kind is at fault, else the server


def tag_of(text: str) -> int:
    """A server's tag as a number of 64 bits, as which the evidence of a snapshot holds it; 0 for none."""
    if not text:
        return 0
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big") or 1


def _seconds(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1_000_000_000


class Listing:
    """Files in manifest order: component by component, on raw bytes. Add all, then iterate; close it in the end.

    What cannot be stored is kept apart: `left_out` has at most 10,000 of `left_out_total`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_out: list[LeftOut] = []
        self.left_out_total = 0
        self._rows: list[_Row] = []
        self._file: IO[bytes] | None = None
        self._runs: list[list[tuple[int, int]]] = []  # each sorted, as pieces of the file: offset and length

    def add(self, path: str, size_bytes: int | None, tag: str = "", modified: int | None = None) -> None:
        """The next one, as the server names it."""
        if path == "" and not size_bytes:
            return  # the mark of the folder itself
        is_folder = path.endswith("/") and not size_bytes
        plain = path[:-1] if is_folder else path
        self.add_file(RemoteFile(plain, size_bytes, tag_of(tag), modified, is_folder))

    def add_file(self, file: RemoteFile) -> None:
        """The same, for who knows what it is."""
        if why := _unfit(file.path):
            self.leave_out(LeftOut(file.path, why))
            return
        key = file.path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")
        self._rows.append((key, file.is_folder, file.size_bytes, file.tag, file.modified))
        self.count += 1
        if len(self._rows) >= ROWS_IN_MEMORY:
            self._set_aside()

    def leave_out(self, one: LeftOut) -> None:
        """Take note of something that is there and cannot be taken."""
        self.left_out_total += 1
        if len(self.left_out) < LEFT_OUT_KEPT:
            self.left_out.append(one)

    def __iter__(self) -> Iterator[RemoteFile]:
        self._rows.sort(key=_PLACE)
        previous: tuple[bytes, bool] | None = None
        for row in heapq.merge(*map(self._read, self._runs), self._rows, key=_PLACE):
            if _PLACE(row) == previous:
                continue  # listed twice, as pages are cut while others write
            previous = _PLACE(row)
            key, is_folder, size, tag, modified = row
            path = key.replace(b"\0", b"/").decode("utf-8", "surrogateescape")
            yield RemoteFile(path, size, tag, modified, is_folder)

    def close(self) -> None:
        """Let go of the temporary file."""
        if self._file is not None:
            self._file.close()

    def _set_aside(self) -> None:
        rows, self._rows = sorted(self._rows, key=_PLACE), []
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="safebackup-")  # noqa: SIM115 - closed by `close`
            run = []
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                data = msgspec.msgpack.encode(rows[start : start + _ROWS_AT_ONCE])
                run.append((self._file.tell(), len(data)))
                self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise StorageError.from_os(f"a long listing, put aside in {tempfile.gettempdir()}", error) from error
        self._runs.append(run)

    def _read(self, run: list[tuple[int, int]]) -> Iterator[_Row]:
        assert self._file is not None
        for offset, length in run:
            yield from _ROWS.decode(os.pread(self._file.fileno(), length, offset))


def _unfit(path: str) -> str:
    """Why this cannot be the path of a file in a folder; empty if it can."""
    parts = path.split("/")
    if "" in parts:
        return "it has an empty part: a slash at its beginning or end, or two in a row"
    if "." in parts or ".." in parts:
        return 'a part of it is "." or ".."'
    if "\0" in path:
        return "it holds a NUL"
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "it is no text"
    return ""
