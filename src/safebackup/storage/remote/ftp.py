"""FTP, by the standard library; see `ftp_session` for TLS.

An object is stored in `tmp/`, measured, and renamed. Renaming replaces what is there, so that two writers who race for
one name are not kept apart. FTP has no request for flushing: how durable an object is, is the server's affair. Most
servers do not say that their disk is full, either, but break off: it is then tried again until the deadline, and
nothing is stored.

A server says 550 for "not there" and for "not allowed". What is not there is so called only after a listing has shown
that; and a listing is asked for from within the folder, as being let in shows that what is there may be looked at.
"""

from __future__ import annotations

import ftplib
import os
import posixpath
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TypeVar

import attrs

from safebackup.errors import StorageError
from safebackup.storage.remote.ftp_listing import (
    Kind,
    Member,
    UnclearListingError,
    members_of_list,
    members_of_mlsd,
    modified_of,
)
from safebackup.storage.remote.ftp_session import (
    UNKNOWN_COMMAND,
    FtpError,
    FtpSession,
    code_of,
    is_no,
    trouble_of_reply,
)
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

T = TypeVar("T")

_DEPTH_MAX = 100
_DISCARDING_SECONDS = 5
_FAILURES = (ftplib.Error, FtpError, OSError, EOFError)


class FtpTransport:
    """A folder on an FTP server, and one session with it, for one thread at a time."""

    is_shared = False
    is_exclusive = False
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self._has_mlsd = True
        self._session = FtpSession(url, options, limits)
        quick = attrs.evolve(limits, request=min(limits.request, _DISCARDING_SECONDS))
        self._again: Callable[[], FtpSession] = lambda: FtpSession(url, options, quick)
        self._root = self._session.root

    def reach(self) -> None:
        """As `Transport.reach`."""
        if not self._is_folder(self._root) and self._members(self._root) is None:
            raise FtpError(Trouble.NO_ROOT, f"the server has no folder {self._root}")

    def make_root(self) -> None:
        """As `Transport.make_root`."""
        self._make_folder(self._root, within="/")

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`. What the object has beyond the range is not received."""
        size = self.size(path)
        wanted = min(length, size - start)
        if wanted <= 0:
            return b""
        is_to_the_end = start + wanted == size
        place = self._at(path)
        return self._granted(place, lambda: self._session.received(place, start, wanted, is_to_the_end=is_to_the_end))

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        place = self._at(path)
        return self._granted(place, lambda: self._size(place))

    def look(self, path: str) -> Listed:
        """As `Transport.look`; the time is only as good as the server's answer to MDTM."""
        size, place = self.size(path), self._at(path)
        modified = None
        with suppress(ftplib.error_perm):  # it does not know the command, or has no time
            modified = modified_of(self._session.command("MDTM", place).partition(" ")[2].strip())
        return Listed(path, size, modified=modified)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`. What a crash leaves in `tmp/` is never listed."""
        temporary, target = self._at(f"tmp/{os.urandom(16).hex()}"), self._at(path)
        try:
            self._within_its_folder(temporary, lambda: self._session.store(temporary, data))
            stored = self._size(temporary)
            if stored != len(data):
                raise FtpError(Trouble.UNREACHED, f"{stored} bytes were stored of {len(data)}")
            self._rename(temporary, target)
        except _FAILURES as error:
            self._discard(temporary, is_silent=isinstance(error, TimeoutError))
            raise

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`. A link is followed, and one that leads nowhere raises: a disk may be missing."""
        waiting = [folder]
        while waiting:
            now = waiting.pop()
            for member in self._members_below(now, is_first=now == folder):
                path = f"{now}/{member.name}" if now else member.name
                kind, size = member.kind, member.size_bytes
                if kind is Kind.LINK:
                    kind, size = self._followed(self._at(path))
                if kind is Kind.FOLDER:
                    waiting.append(_not_too_deep(path))
                elif kind is Kind.FILE:
                    yield Listed(path, self._size(self._at(path)) if size is None else size, modified=member.modified)

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        place = self._at(path)
        self._granted(place, lambda: self._session.command("DELE", place))

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, FtpError):
            return error.trouble
        if isinstance(error, UnclearListingError):
            return Trouble.REFUSED
        if isinstance(error, ftplib.error_temp | ftplib.error_perm):
            return trouble_of_reply(error)
        return Trouble.UNREACHED if isinstance(error, OSError | EOFError) else Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._session.close()

    def _at(self, path: str) -> str:
        return posixpath.join(self._root, path)

    def _granted(self, place: str, act: Callable[[], T]) -> T:
        """Do something with an object, or raise what it means that the server refuses."""
        for is_again in (False, True):
            try:
                return act()
            except ftplib.error_perm as error:
                if not is_no(error):
                    raise
                if self._listed_as(place) is None or self._is_folder(place):
                    raise FtpError(Trouble.MISSING, f"{place} is no file ({error})") from error
                if is_again:  # else it may have been stored in between
                    raise FtpError(Trouble.DENIED, f"{place} is there ({error})") from error
        raise AssertionError

    # Looking

    def _size(self, place: str) -> int:
        self._session.set_type("I")  # as text it would have another one
        try:
            return int(self._session.command("SIZE", place).split()[1])
        except (IndexError, ValueError) as error:
            raise FtpError(Trouble.REFUSED, f"the server gives no size of {place}") from error
        except ftplib.error_perm as error:
            if code_of(error) not in UNKNOWN_COMMAND:
                raise
        member = self._listed_as(place)
        if member is None or member.kind is Kind.FOLDER:
            raise FtpError(Trouble.MISSING, f"{place} is not listed as a file")
        if member.size_bytes is None:
            raise FtpError(Trouble.REFUSED, f"the server gives no size of {place}")
        return member.size_bytes

    def _is_folder(self, place: str) -> bool:
        """Whether it may be entered: a folder that may not, is none to us."""
        try:
            self._session.command("CWD", place)
        except ftplib.error_perm as error:
            if not is_no(error):
                raise
            return False
        return True

    def _followed(self, place: str) -> tuple[Kind, int | None]:
        if self._is_folder(place):
            return Kind.FOLDER, None
        try:
            return Kind.FILE, self._size(place)
        except ftplib.error_perm as error:
            raise FtpError(Trouble.NO_ROOT, f"{place} is a link that leads nowhere, or may not be read") from error

    def _listed_as(self, place: str) -> Member | None:
        """What the listing of its folder has of something; none if it is certain that it is not there."""
        folder, name = posixpath.split(place)
        if folder == place:
            raise FtpError(Trouble.DENIED, f"the server lets nobody into {place}")
        members = self._members(folder)
        return next((member for member in members or () if member.name == name), None)

    def _members_below(self, folder: str, *, is_first: bool) -> list[Member]:
        members = self._members(self._at(folder))
        if members is None:
            # Of a part that is missing nothing follows for the whole.
            raise FtpError(Trouble.MISSING if is_first else Trouble.UNREACHED, f"{folder or 'the root'} is not there")
        return members

    def _members(self, folder: str) -> list[Member] | None:
        """What is in a folder; none if it is certain that there is no such folder."""
        for _ in range(2):  # as it may be made just after the first look
            if self._is_folder(folder):
                return self._members_here(folder)
            listed = self._listed_as(folder)
            if listed is None or listed.kind is Kind.FILE:
                return None
        raise FtpError(Trouble.DENIED, f"the server lets nobody into {folder}")

    def _members_here(self, folder: str) -> list[Member]:
        try:
            if self._has_mlsd:
                try:
                    return members_of_mlsd(self._session.lines("MLSD"))
                except ftplib.error_perm as error:
                    if code_of(error) not in UNKNOWN_COMMAND:
                        raise
                self._has_mlsd = False
            return members_of_list(self._session.lines("LIST -a"))
        except ftplib.error_perm as error:
            if is_no(error):
                raise FtpError(Trouble.DENIED, f"the server does not list {folder} ({error})") from error
            raise

    # Writing

    def _discard(self, temporary: str, *, is_silent: bool) -> None:
        """Remove what was not published: on a full disk there is no room beside it. It is no damage if it stays."""
        try:
            self._session.command("DELE", temporary)
        except ftplib.Error:
            return
        except (FtpError, OSError, EOFError):  # the session is over
            if not is_silent:
                with suppress(*_FAILURES, StorageError), closing(self._again()) as session:
                    session.command("DELE", temporary)

    def _rename(self, temporary: str, target: str) -> None:
        def rename() -> None:
            self._session.command("RNFR", temporary, expected="3")
            self._session.command("RNTO", target)

        try:
            self._within_its_folder(target, rename)
        except FtpError as error:
            # Some servers never replace.
            if error.trouble is Trouble.DENIED and self._listed_as(target) is not None:
                raise FtpError(Trouble.TAKEN, f"{target} is there already") from error
            raise

    def _within_its_folder(self, place: str, act: Callable[[], None]) -> None:
        """Do what a server refuses if the folder is not there, which is then made."""
        try:
            act()
        except ftplib.error_perm as error:
            if not is_no(error):
                raise
            self._make_folder(posixpath.dirname(place), within=self._root)
            try:
                act()
            except ftplib.error_perm as again:
                if not is_no(again):
                    raise
                raise FtpError(Trouble.DENIED, str(again)) from again

    def _make_folder(self, folder: str, within: str) -> None:
        """Make a folder and those that lead to it, up to `within`, which has to be there."""
        if self._is_folder(folder):
            return
        if folder == within:
            self.reach()
            return
        self._make_folder(posixpath.dirname(folder), within)
        try:
            self._session.command("MKD", folder)
        except ftplib.error_perm as error:
            if self._is_folder(folder):  # somebody else was faster
                return
            if is_no(error):
                raise FtpError(Trouble.DENIED, f"the server does not make {folder}: {error}") from error
            raise


def _not_too_deep(path: str) -> str:
    if path.count("/") >= _DEPTH_MAX:
        raise FtpError(Trouble.REFUSED, f"{path[:100]}... is too deep: does a link lead back to a folder above it?")
    return path
