"""Any other class of fsspec's file systems, used with the user's consent, and believed as little as possible.

What it says to be missing is believed if a fresh listing of a folder above confirms it, and a range of bytes if it is
as long as it has to be; `RemoteStore` reads back what was written. An object is written under its name at once, so that
a part of one is visible while it is written, and after a crash.
"""

from __future__ import annotations

import errno
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from safebackup.remotes import open_files
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

T = TypeVar("T")

_ABSENT = (FileNotFoundError, NotADirectoryError)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_PLACEHOLDER = "tmp/placeholder"


class UnprovenError(Exception):
    """An answer that is not the one that was asked for, and what it means."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble


@attrs.frozen
class _Entry:
    name: str
    is_folder: bool
    size_bytes: int


class UnprovenTransport:
    """A folder on whatever a class of fsspec's serves. Each thread has its own."""

    is_shared = False
    is_exclusive = False
    is_proven = False

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self._limits = limits
        self._calls: _Calls = queue.SimpleQueue()
        threading.Thread(target=_answer, args=(self._calls,), name="unproven store", daemon=True).start()
        self._close = weakref.finalize(self, self._calls.put, None)
        self._files, root = self._ask(lambda: open_files(url, options))
        self._root: str = root.rstrip("/")
        self._is_reached = False

    def reach(self) -> None:
        """As `Transport.reach`."""
        try:
            self._within(self._at(""))
        except _ABSENT as error:
            self._require_missing(self._at(""), is_folder=True)
            raise UnprovenError(Trouble.NO_ROOT, "the folder is not there") from error
        self._is_reached = True

    def make_root(self) -> None:
        """As `Transport.make_root`; where a folder is but what names begin with, something has to be in it."""
        self._make_folder(self._at(""))
        try:
            self._within(self._at(""))
        except _ABSENT:
            self._ask(lambda: self._files.pipe_file(self._at(_PLACEHOLDER), b""))

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        place, size = self._at(path), self.size(path)
        end = min(start + length, size)
        if start >= end:
            return b""
        if end - start < size:
            part = self._ask(lambda: self._files.cat_file(place, start=start, end=end), carries=end - start)
            if len(part) == end - start:
                return bytes(part)
            # Some classes ignore ranges, or count them differently.
        data = self._ask(lambda: self._files.cat_file(place), carries=size)
        if len(data) != size:
            raise UnprovenError(Trouble.UNREACHED, f"{len(data)} bytes came of {size}")
        return bytes(data[start:end])

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self.look(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        place = self._at(path)
        try:
            entry = _entry(self._ask(lambda: self._files.info(place)))
        except _ABSENT as error:
            self._require_missing(place)
            raise UnprovenError(Trouble.MISSING, "it is not there") from error
        if entry.is_folder:
            raise UnprovenError(Trouble.MISSING, "it is a folder")
        return Listed(path, entry.size_bytes)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`, but that a part of it is visible before."""
        place = self._at(path)
        if not self._is_reached:
            self.reach()  # a root is never made by the way
        self._make_folder(_above(place, self._files.root_marker))
        try:
            self._ask(lambda: self._files.pipe_file(place, bytes(data)), carries=len(data))
        except TimeoutError:
            raise  # it may still be writing
        except Exception:
            with suppress(Exception):  # what made this necessary says more
                self._withdraw(path, data)
            raise
        size = self.size(path)
        if size != len(data):
            raise UnprovenError(Trouble.REFUSED, f"it kept {size} bytes of {len(data)}")

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                within = self._within(self._at(current))
            except _ABSENT:
                self._require_missing(self._at(current), is_folder=True)
                continue
            for entry in within:
                path = f"{current}/{entry.name}" if current else entry.name
                if entry.is_folder:
                    waiting.append(path)
                else:
                    yield Listed(path, entry.size_bytes)

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        place = self._at(path)
        self.size(path)
        self._ask(lambda: self._files.rm_file(place))
        try:
            self.size(path)
        except UnprovenError as error:
            if error.trouble is Trouble.MISSING:
                return
            raise
        raise UnprovenError(Trouble.UNKNOWN, "it was removed, and is still there")

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`. That a class says "not found" means nothing by itself."""
        if isinstance(error, UnprovenError):
            return error.trouble
        if isinstance(error, PermissionError):
            return Trouble.DENIED
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return Trouble.FULL
        if isinstance(error, NotImplementedError):
            return Trouble.REFUSED
        return Trouble.UNREACHED if isinstance(error, ConnectionError | TimeoutError) else Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._close()

    def _at(self, path: str) -> str:
        if not self._root:
            return f"{self._files.root_marker}{path}"
        return f"{self._root}/{path}" if path else self._root

    def _ask(self, call: Callable[[], T], *, carries: int = 0) -> T:
        """What a call gives, in the one thread that calls this class; it may be one that never returns."""
        answer: Future[Any] = Future()
        self._calls.put((call, answer))
        result: T = answer.result(self._limits.seconds_for(carries))
        return result

    def _within(self, place: str) -> list[_Entry]:
        """What is directly in a folder, fresh; of a file nothing. What is not there raises one of `_ABSENT`."""

        def ask() -> list[dict[str, Any]]:
            self._files.invalidate_cache()
            return list(self._files.ls(place, detail=True, refresh=True))

        found: list[_Entry] = []
        own = place.strip("/")
        for facts in self._ask(ask):
            entry = _entry(facts)
            full = str(self._files._strip_protocol(entry.name)).strip("/")
            if full == own:
                continue  # the folder itself, or a file that was listed as if it were one
            folder, _, name = full.rpartition("/")
            if folder != own or not name:
                raise UnprovenError(Trouble.UNKNOWN, f"{entry.name!r} was listed within another folder")
            found.append(attrs.evolve(entry, name=name))
        return found

    def _require_missing(self, place: str, *, is_folder: bool = False) -> None:
        """Return if the nearest folder above that can be listed does not have what leads to a file, or a folder."""
        path = place
        while path.strip("/"):
            above = _above(path, self._files.root_marker)
            try:
                within = self._within(above)
            except _ABSENT:
                path = above
                continue
            name = path.strip("/").rpartition("/")[2]
            if any(entry.name == name and (entry.is_folder or (path == place and not is_folder)) for entry in within):
                break
            return
        raise UnprovenError(Trouble.UNKNOWN, "it was said not to be there, and no listing confirms that")

    def _make_folder(self, place: str) -> None:
        with suppress(FileExistsError):
            self._ask(lambda: self._files.makedirs(place, exist_ok=True))

    def _withdraw(self, path: str, data: memoryview) -> None:
        """Remove the beginning of these bytes, which a write that failed has left."""
        size = self.size(path)
        if size < len(data) and (size == 0 or self.read(path, 0, size) == data[:size]):
            self.remove(path)


_Calls = queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]


def _answer(calls: _Calls) -> None:
    while (asked := calls.get()) is not None:
        call, answer = asked
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)
        del asked, call, answer


def _entry(facts: dict[str, Any]) -> _Entry:
    kind, size = facts.get("type"), facts.get("size")
    if kind == "directory":
        return _Entry(str(facts["name"]), True, 0)
    if kind != "file" or not isinstance(size, int) or size < 0:
        raise UnprovenError(Trouble.UNKNOWN, f"{facts.get('name')!r} is {kind!r}, of {size!r} bytes")
    return _Entry(str(facts["name"]), False, size)


def _above(place: str, top: str) -> str:
    return place.rstrip("/").rpartition("/")[0] or top
