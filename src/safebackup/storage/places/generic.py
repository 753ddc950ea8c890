"""A place on any file system that fsspec knows, to be read: a web server, a zip, a repository on GitHub.

Nothing is known of what serves it, so little is asked: a list of each folder, the facts of a file, and its content in
order. A list that does not come is an error; no folder counts as empty because it did not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Self, SupportsIndex, TypeVar

import attrs
import tenacity

from safebackup.errors import Code, NotFoundError, StorageError
from safebackup.remotes import Remote, shown
from safebackup.storage.places.listing import LeftOut, Listing, RemoteFile, tag_of
from safebackup.storage.places.pages import link_to, links_below, name_in

T = TypeVar("T")

_TRIES = 3
_LEVELS_MAX = 200
_TAGS = ("ETag", "etag", "e_tag", "Content-MD5", "generation", "sha", "md5", "content_hash", "CRC")
_TIMES = ("mtime", "modified", "last_modified", "LastModified", "Last-Modified", "updated", "created")
_WEB = ("http", "https")


class GenericPlace:
    """A folder, or one file, that fsspec can read. Only what runs on fsspec's own loop is shared by threads."""

    reads_ahead = 1
    has_content_tags = False

    def __init__(self, remote: Remote, root: str, file_name: str, *, is_web: bool) -> None:
        self.where = remote.where
        self.file_name = file_name
        self.readers = 8 if getattr(remote.files, "async_impl", False) else 1
        self._remote = remote
        self._root = root
        self._is_web = is_web

    @classmethod
    def reach(cls, url: str, storage_options: Mapping[str, object] | None) -> Self:
        """As `open_place`."""
        try:
            return cls._reached(Remote.reach(url, storage_options), url)
        except NotFoundError as error:
            raise NotFoundError(f"{shown(url)} does not exist", code=Code.NO_SOURCE, hint=error.hint) from error

    @classmethod
    def _reached(cls, remote: Remote, url: str) -> Self:
        is_web = "::" not in url and url.split("://", 1)[0].lower() in _WEB
        if remote.path.strip("/") == "":
            return cls(remote, remote.path, "", is_web=False)
        facts = _asked(remote, "looking at", lambda: dict(remote.files.info(remote.path)))
        if is_web:
            final = str(facts.get("url") or remote.path)  # a folder's address gets its slash from the server
            name = name_in(remote.path) if name_in(final) else ""
            return cls(remote, remote.path if name else final.rstrip("/") + "/", name, is_web=True)
        is_file = facts.get("type") == "file"
        return cls(remote, remote.path.rstrip("/"), remote.path.rpartition("/")[2] if is_file else "", is_web=False)

    def listing(self) -> Listing:
        """As `Place.listing`."""
        listing = Listing()
        try:
            if self.file_name:
                file = self.look(self.file_name)
                listing.add_file(file)
            elif self._is_web:
                self._list_pages(listing)
            else:
                self._list_folders(listing)
        except BaseException:
            listing.close()
            raise
        return listing

    def look(self, path: str) -> RemoteFile:
        """As `Place.look`."""
        return _file(path, self._ask(f"looking at {path} in", lambda: self._remote.files.info(self._name(path))))

    def open(self, path: str, size_bytes: int | None) -> _OpenFile:
        """As `Place.open`."""
        # Of a web server one answer is read to its end: not each of them knows parts.
        options = {"block_size": 0, "size": size_bytes or None} if self._is_web else {}
        opened = self._ask(f"reading {path} in", lambda: self._remote.files.open(self._name(path), "rb", **options))
        return _OpenFile(path, opened, self._ask_once)

    def close(self) -> None:
        """Nothing is held that fsspec does not let go by itself."""

    def _name(self, path: str) -> str:
        if self.file_name:
            return self._root
        if self._is_web:
            return link_to(self._root, path)
        return f"{self._root}/{path}" if self._root else path

    # Folders

    def _list_folders(self, listing: Listing) -> None:
        pending = [""]
        while pending:
            folder = pending.pop()
            _require_depth(folder, self.where)
            for path, facts in self._entries(folder):
                kind = facts.get("type")
                if kind == "directory" and not facts.get("islink"):
                    listing.add(path + "/", 0)
                    pending.append(path)
                elif kind == "file":
                    listing.add_file(_file(path, facts))
                else:
                    listing.leave_out(LeftOut(path, f"it is neither a file nor a folder, but {kind!r} or a link"))

    def _entries(self, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """What lies directly in a folder, by its path below the root."""
        name = self._name(folder) if folder else self._root

        def members() -> list[tuple[str, dict[str, Any]]]:
            return [(str(one["name"]).strip("/"), dict(one)) for one in self._remote.files.ls(name, detail=True)]

        above = name.strip("/")
        for inside, facts in self._ask(f"listing {folder or 'everything'} in", members):
            if inside == above:
                continue  # the folder itself, which some list among its content
            if not inside.startswith(f"{above}/" if above else ""):
                raise StorageError(f"{self.where}: a list of {folder!r} names {inside!r}, which does not lie in it")
            last = inside.removeprefix(above).lstrip("/")
            yield (f"{folder}/{last}" if folder else last), facts

    # Pages

    def _list_pages(self, listing: Listing) -> None:
        folders, files, pending = {""}, set[str](), [""]
        while pending:
            folder = pending.pop()
            _require_depth(folder, self.where)
            for path in self._linked_from(folder):
                if not path.endswith("/"):
                    files.add(path)
                elif path not in folders:
                    folders.add(path)
                    listing.add(path, 0)
                    pending.append(path)
        with ThreadPoolExecutor(self.readers, thread_name_prefix="safebackup-list") as pool:
            try:
                for found in pool.map(self._linked, sorted(files)):
                    if isinstance(found, LeftOut):
                        listing.leave_out(found)
                    else:
                        listing.add_file(found)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _linked_from(self, folder: str) -> list[str]:
        page = link_to(self._root, folder)
        data = self._ask(f"listing {folder or 'everything'} in", lambda: bytes(self._remote.files.cat_file(page)))
        return links_below(self._root, page, data.decode("utf-8", "replace"))

    def _linked(self, path: str) -> RemoteFile | LeftOut:
        try:
            return self.look(path)
        except NotFoundError:
            return LeftOut(path, "a page links to it, and the server does not have it", is_unfit=False)
        except StorageError as error:
            if error.retryable:
                raise
            return LeftOut(path, error.message, is_unfit=False)

    # Asking

    def _ask(self, doing: str, act: Callable[[], T]) -> T:
        return self._judged(doing, lambda: _asked(self._remote, doing, act))

    def _ask_once(self, doing: str, act: Callable[[], T]) -> T:
        """Without a second try: a stream that broke off does not go on."""

        def once() -> T:
            with self._remote.failing(doing):
                return act()

        return self._judged(doing, once)

    def _judged(self, doing: str, act: Callable[[], T]) -> T:
        """Tell what is wrong with one file from what is wrong with the place: that one is asked too."""
        try:
            return act()
        except StorageError as error:
            if error.retryable and self._answers():
                raise StorageError(error.message, code=error.code, hint="Look at this file alone.") from error
            raise

    def _answers(self) -> bool:
        with suppress(NotFoundError, StorageError), self._remote.failing("looking at"):
            if self._is_web or self.file_name:
                self._remote.files.info(self._root)
            else:
                self._remote.files.ls(self._root, detail=True)
            return True
        return False


@attrs.define
class _OpenFile:
    """A file that is read in order."""

    path: str
    file: Any
    ask: Callable[[str, Callable[[], bytes]], bytes]
    at: int = 0

    def read(self, start: int, length: int) -> bytes:
        """As `OpenFile.read`; each call goes on where the last one ended."""
        assert start == self.at, "it is read in order"
        pieces: list[bytes] = []
        while length:
            piece = self.ask(f"reading {self.path} in", partial(self.file.read, length))
            if not piece:
                break
            pieces.append(piece)
            length -= len(piece)
            self.at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """As `OpenFile.close`."""
        with suppress(Exception):
            self.file.close()


def _asked(remote: Remote, doing: str, act: Callable[[], T]) -> T:
    """Ask, and ask again where it may help."""

    def once() -> T:
        with remote.failing(doing):
            return act()

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, StorageError) and error.retryable),
        reraise=True,
    )
    found: T = retrying(once)
    return found


def _require_depth(folder: str, where: str) -> None:
    if folder.count("/") > _LEVELS_MAX:
        raise StorageError(
            f"{where} has more than {_LEVELS_MAX} folders within each other",
            hint="Does a folder contain itself? Name what you want to back up.",
        )


def _file(path: str, facts: Mapping[str, Any]) -> RemoteFile:
    size = facts.get("size")
    tag = next((str(facts[name]) for name in _TAGS if facts.get(name) is not None), "")
    times = (_nanoseconds(facts.get(name)) for name in _TIMES)
    modified = next((time for time in times if time is not None), None)
    return RemoteFile(path, int(size) if isinstance(size, SupportsIndex) else None, tag_of(tag), modified)


def _nanoseconds(time: object) -> int | None:
    """A time as a library gives it; None if it does not say in which zone, or makes no sense."""
    if isinstance(time, str):
        with suppress(ValueError):
            time = parsedate_to_datetime(time)
    if isinstance(time, datetime) and time.tzinfo is not None:
        seconds = int(time.replace(microsecond=0).timestamp())
        return seconds * 1_000_000_000 + time.microsecond * 1000
    if isinstance(time, int | float) and not isinstance(time, bool) and 0 < time < 1 << 34:
        return int(time * 1_000_000_000)
    return None
