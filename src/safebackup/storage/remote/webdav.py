"""WebDAV, through the HTTP client of webdav4: each request is made here, and each answer is looked at.

An object is put into a folder in `tmp/` and then moved to its name, which servers do as one step. Not all of them keep
two moves to one name apart, so nothing rests on that. No redirect is followed: credentials go to the server in the URL
alone.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from safebackup.errors import SafeBackupError
from safebackup.remotes import bad_url, open_files, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.multistatus import QUESTION, DoubtfulAnswerError, Member, members_of, parts_of
from safebackup.storage.remote.transport import Listed, Trouble
from safebackup.storage.remote.webdav_exchange import (
    REDIRECTS,
    Exchange,
    WebdavError,
    exchanged,
    fail,
    is_itself_with_a_slash,
    length_of_part,
    may_be_a_page,
)

# A folder that holds nothing else, because some servers answer for it only when what is being uploaded has arrived.
_UNPUBLISHED = "tmp/safebackup-unpublished"
_STORED = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)


class WebdavTransport:
    """A folder on a WebDAV server. Threads may share it."""

    is_shared = True
    is_exclusive = False
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        client, path = _client_of(url, {**options, "retry": False, "timeout": limits.request})
        self._limits = limits
        self._http: httpx.Client = client.http
        self._root: httpx.URL = client.join_url(path)
        self._root_path = self._root.raw_path.decode().rstrip("/")
        try:
            self._root_parts = parts_of(self._root_path)
        except DoubtfulAnswerError as error:
            raise bad_url(f"{shown(url)} has a detour, or something that is not UTF-8, behind a %") from error
        self._folders: set[str] = set()  # those that are known to be there
        self._close = weakref.finalize(self, _close, self._http, os.getpid())

    def reach(self) -> None:
        """As `Transport.reach`."""
        try:
            member = self._member(self._url("", is_folder=True))
        except WebdavError as error:
            if error.trouble is Trouble.MISSING:
                raise WebdavError(Trouble.NO_ROOT, "the folder is not there") from error
            raise
        if not member.is_folder:
            raise WebdavError(Trouble.REFUSED, "a file is there, not a folder")

    def make_root(self) -> None:
        """As `Transport.make_root`."""
        self._make_with_parents(self._root_path)

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._exchange("GET", path, headers=wanted) as exchange:
            response = exchange.response
            if response.status_code in (*REDIRECTS, 405) or may_be_a_page(response):
                self._require_object(path)  # servers show folders to browsers
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                skipped, length = 0, length_of_part(response, start, length)
            elif response.status_code == HTTPStatus.OK:
                # The server ignores ranges, and sends all.
                size = response.headers.get("Content-Length") or self.size(path)
                skipped, length = start, max(0, min(length, int(size) - start))
            else:
                fail(response)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise WebdavError(Trouble.REFUSED, "the server sent the object in another encoding")
            data = exchange.received(skipped, length)
        if len(data) != length:
            raise WebdavError(Trouble.UNREACHED, f"{len(data)} bytes came of {length}")
        return data

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self._require_object(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        member = self._require_object(path)
        return Listed(path, member.size_bytes, member.tag, member.modified)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`. What a crash leaves in `tmp/` is never listed."""
        temporary = f"{_UNPUBLISHED}/{os.urandom(16).hex()}"
        try:
            self._within_its_folder(temporary, lambda: self._put(temporary, data))
            stored = self.size(temporary)
            if stored != len(data):
                raise WebdavError(Trouble.UNREACHED, f"{stored} bytes were stored of {len(data)}")
            self._within_its_folder(path, lambda: self._move(temporary, path, len(data)))
        except WebdavError:
            self._discard(temporary)
            raise

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`, without uploads that are not published.

        It takes one request for each folder, as many servers refuse to answer for all at once.
        """
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            for member in self._within(current, is_first=current == folder):
                path = "/".join(member.parts[len(self._root_parts) :])
                if member.is_folder and path != _UNPUBLISHED:
                    waiting.append(path)
                elif not member.is_folder:
                    yield Listed(path, member.size_bytes, member.tag, member.modified)

    def remove(self, path: str) -> None:
        """As `Transport.remove`. Removing a folder would remove all that is in it, so this looks first."""
        self._require_object(path)
        with self._exchange("DELETE", path) as exchange:
            if exchange.response.status_code not in _STORED:
                fail(exchange.response)

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, WebdavError):
            return error.trouble
        return Trouble.UNREACHED if isinstance(error, DoubtfulAnswerError | httpx.TransportError) else Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._close()

    def _url(self, path: str, *, is_folder: bool = False) -> httpx.URL:
        whole = f"{self._root_path}/{quote(path)}" if path else self._root_path
        return self._at(f"{whole}/" if is_folder else whole)

    def _at(self, path: str) -> httpx.URL:
        return self._root.copy_with(raw_path=path.encode())

    def _exchange(
        self,
        method: str,
        path: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: memoryview | None = None,
        waits_for: int = 0,
    ) -> AbstractContextManager[Exchange]:
        url = self._url(path) if isinstance(path, str) else path
        return exchanged(self._http, self._limits, method, url, headers=headers, data=data, waits_for=waits_for)

    def _member(self, url: httpx.URL) -> Member:
        asked = _parts(url)
        for member in self._members(url, depth=0):
            if member.parts == asked:
                return member
        raise DoubtfulAnswerError("the server answered about something else")

    def _is_folder(self, url: httpx.URL) -> bool:
        try:
            return self._member(url).is_folder
        except WebdavError:
            return False

    def _is_file(self, url: httpx.URL) -> bool:
        try:
            return not self._member(url).is_folder
        except WebdavError:
            return False

    def _require_object(self, path: str) -> Member:
        member = self._member(self._url(path))
        if member.is_folder:
            raise WebdavError(Trouble.MISSING, "it is a folder")
        return member

    def _within(self, folder: str, *, is_first: bool) -> list[Member]:
        """What is directly in a folder."""
        url = self._url(folder, is_folder=True)
        asked = _parts(url)
        try:
            members = self._members(url, depth=1)
        except WebdavError as error:
            if error.trouble is not Trouble.MISSING or is_first:
                raise
            if self._is_listed(folder):  # some servers call missing what they may not read
                raise WebdavError(Trouble.UNREACHED, f"{folder} is listed, and said not to be there") from error
            return []
        itself = [member for member in members if member.parts == asked]
        if len(itself) != 1:
            raise DoubtfulAnswerError("the server did not answer about the folder that was asked for")
        if not itself[0].is_folder:
            return []
        within = [member for member in members if member.parts != asked]
        if any(member.parts[:-1] != asked for member in within):
            raise DoubtfulAnswerError("the server answered about other folders than the one that was asked for")
        return within

    def _is_listed(self, folder: str) -> bool:
        asked = _parts(self._url(folder))
        try:
            above = self._members(self._url(folder.rpartition("/")[0], is_folder=True), depth=1)
        except WebdavError as error:
            if error.trouble is not Trouble.MISSING:
                raise
            return False
        return any(member.parts == asked for member in above)

    def _members(self, url: httpx.URL, *, depth: int) -> list[Member]:
        headers = {"Depth": str(depth), "Content-Type": "application/xml"}
        with self._exchange("PROPFIND", url, headers=headers, data=memoryview(QUESTION)) as exchange:
            response = exchange.response
            if response.status_code in REDIRECTS and is_itself_with_a_slash(response, url):
                raise WebdavError(Trouble.MISSING, "it is a folder")
            if response.status_code == HTTPStatus.BAD_REQUEST and self._lies_in_a_file(url):
                raise WebdavError(Trouble.MISSING, "it would lie in a file")  # Apache says no more than that
            if response.status_code != HTTPStatus.MULTI_STATUS:
                fail(response)
            return members_of(exchange.received(), str(url))

    def _lies_in_a_file(self, url: httpx.URL) -> bool:
        path = url.raw_path.decode().rpartition("/")[0]
        while len(path) > len(self._root_path):
            if self._is_file(self._at(path)):
                return True
            path = path.rpartition("/")[0]
        return False

    def _put(self, path: str, data: memoryview) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        with self._exchange("PUT", path, headers=headers, data=data, waits_for=len(data)) as exchange:
            if exchange.response.status_code not in _STORED:
                fail(exchange.response)

    def _move(self, path: str, to: str, size_bytes: int) -> None:
        headers = {"Destination": str(self._url(to)), "Overwrite": "F"}
        with self._exchange("MOVE", path, headers=headers, waits_for=size_bytes) as exchange:
            status = exchange.response.status_code
            if status == HTTPStatus.PRECONDITION_FAILED:
                raise WebdavError(Trouble.TAKEN, "the name is taken")
            if status not in _STORED:
                fail(exchange.response)

    def _discard(self, temporary: str) -> None:
        try:
            self.remove(temporary)
        except (WebdavError, DoubtfulAnswerError, httpx.HTTPError):
            return  # what made this necessary says more

    def _within_its_folder(self, path: str, act: Callable[[], None]) -> None:
        """Do what needs the folder of `path`: make it before, and once more if somebody has removed it since."""
        folder = path.rpartition("/")[0]
        is_new = folder not in self._folders
        self._make(folder)
        try:
            act()
        except WebdavError as error:
            # Servers disagree on how they say that a folder is not there.
            if is_new or error.trouble not in (Trouble.MISSING, Trouble.DENIED, Trouble.REFUSED):
                raise
            self._folders.clear()
            self._make(folder)
            act()

    def _make(self, folder: str) -> None:
        if folder in self._folders:
            return
        if folder:
            self._make(folder.rpartition("/")[0])
            self._make_collection(self._url(folder, is_folder=True))
        else:
            self.reach()  # a root is never made by the way
        self._folders.add(folder)

    def _make_with_parents(self, path: str) -> None:
        try:
            self._make_collection(self._at(f"{path}/"))
        except WebdavError as error:
            if not path or error.trouble not in (Trouble.MISSING, Trouble.REFUSED):
                raise
            self._make_with_parents(path.rpartition("/")[0])
            self._make_collection(self._at(f"{path}/"))

    def _make_collection(self, url: httpx.URL) -> None:
        with self._exchange("MKCOL", url) as exchange:
            # 405 says that something is there; when another makes it at this moment, servers say anything.
            status = exchange.response.status_code
            if status not in (*_STORED, HTTPStatus.METHOD_NOT_ALLOWED) and not self._is_folder(url):
                fail(exchange.response)


def _client_of(url: str, options: dict[str, object]) -> tuple[Any, str]:
    try:
        files, path = open_files(url, options)
        client = files.client
    except SafeBackupError:
        raise
    except Exception as error:  # nothing was asked of the network yet
        raise bad_url(f"{shown(url)} cannot be used with these options: {type(error).__name__}: {error}") from error
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        client.http.close()
        raise bad_url(f"{shown(url)}: base_url has to begin with https:// or http://, and a host")
    return client, path


def _close(http: httpx.Client, process: int) -> None:
    if os.getpid() == process:  # a child that was forked leaves its parent's connections alone
        http.close()


def _parts(url: httpx.URL) -> tuple[str, ...]:
    return parts_of(url.raw_path.decode())
