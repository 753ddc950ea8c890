"""SMB, experimental: a mounted share is a path, and the better way.

smbprotocol sometimes waits for ever when threads use it at the same time, even on connections of their own. So in one
process only one request is made at a time, and one that takes too long loses its connection.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import smbclient
from smbprotocol.exceptions import SMBConnectionClosed
from smbprotocol.file_info import FileAttributes
from smbprotocol.header import NtStatus

from safebackup.instants import to_nanoseconds
from safebackup.remotes import bad_url, open_files, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

_NO_FOLDER_OR_FILE = (
    NtStatus.STATUS_OBJECT_NAME_NOT_FOUND,
    NtStatus.STATUS_OBJECT_PATH_NOT_FOUND,
    NtStatus.STATUS_NO_SUCH_FILE,
    NtStatus.STATUS_NOT_A_DIRECTORY,
    NtStatus.STATUS_FILE_IS_A_DIRECTORY,
)
_TROUBLES = {
    **dict.fromkeys(_NO_FOLDER_OR_FILE, Trouble.MISSING),
    NtStatus.STATUS_OBJECT_NAME_COLLISION: Trouble.TAKEN,
    NtStatus.STATUS_BAD_NETWORK_NAME: Trouble.NO_ROOT,
    NtStatus.STATUS_NOT_FOUND: Trouble.NO_ROOT,  # the share is not on this server, and no other one was named
    NtStatus.STATUS_ACCESS_DENIED: Trouble.DENIED,
    NtStatus.STATUS_LOGON_FAILURE: Trouble.DENIED,
    NtStatus.STATUS_WRONG_PASSWORD: Trouble.DENIED,
    NtStatus.STATUS_PASSWORD_EXPIRED: Trouble.DENIED,
    NtStatus.STATUS_DISK_FULL: Trouble.FULL,
    NtStatus.STATUS_OBJECT_NAME_INVALID: Trouble.REFUSED,
    NtStatus.STATUS_SHARING_VIOLATION: Trouble.UNREACHED,
    NtStatus.STATUS_DELETE_PENDING: Trouble.UNREACHED,
}
_PIECE = 1 << 20
# Names that Windows gives to devices, whatever follows a dot, and the dot at the end that it drops.
_NOT_FOR_FILES = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9])(?=\.|$)|.*\.$", re.IGNORECASE)
_ALL_MAY = "rwd"  # while this has a file open, others may do anything with it


class SmbError(Exception):
    """An answer that is not the one that was asked for, and what it means."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble


class SmbTransport:
    """A folder on a share. Threads may share it, and wait for each other."""

    is_shared = True
    is_exclusive = False
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        files, path = open_files(url, {**options, "register_session_retries": -1})
        if not path.strip("/"):
            raise bad_url(f"{shown(url)} names no share", hint="Write smb://host/share/folder.")
        self._limits = limits
        self._root = rf"\\{files.host}" + path.rstrip("/").replace("/", "\\")
        self._connections: dict[str, Any] = {}
        self._with = {
            "username": files.username,
            "password": files.password,
            "port": files._port,
            "encrypt": files.encrypt,
            "connection_timeout": limits.request,
            "connection_cache": self._connections,
        }
        self._folders: set[str] = set()  # those that are known to be there
        self._close = weakref.finalize(self, _end, self._connections, os.getpid())

    def reach(self) -> None:
        """As `Transport.reach`."""
        with self._turn():
            try:
                found = smbclient.stat(self._root, **self._with)
            except OSError as error:
                if self.trouble_of(error) is Trouble.MISSING:
                    raise SmbError(Trouble.NO_ROOT, "the folder is not there") from error
                raise
        if not stat.S_ISDIR(found.st_mode):
            raise SmbError(Trouble.REFUSED, "a file is there, not a folder")

    def make_root(self) -> None:
        """As `Transport.make_root`; a share is never made."""
        with self._turn():
            smbclient.makedirs(self._root, exist_ok=True, **self._with)

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        data = bytearray()
        with self._opened(path, "rb") as file:
            wanted = max(0, min(length, file.fd.end_of_file - start))
            file.seek(start)
            while len(data) < wanted:
                piece = bytearray(min(wanted - len(data), _PIECE))
                with self._turn(len(piece)):
                    count = file.readinto(piece)
                if not count:
                    raise SmbError(Trouble.UNREACHED, "the object became shorter while it was read")
                data += piece[:count]
        return bytes(data)

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self.look(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        with self._turn():
            found = smbclient.stat(self._at(path), **self._with)
        if stat.S_ISDIR(found.st_mode):
            raise SmbError(Trouble.MISSING, "it is a folder")
        return Listed(path, found.st_size, modified=found.st_mtime_ns // 1000 * 1000)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`. What a crash leaves in `tmp/` is never listed."""
        temporary = f"tmp/{os.urandom(16).hex()}"
        try:
            self._within_its_folder(temporary, lambda: self._write(temporary, data))
            stored = self.size(temporary)
            if stored != len(data):
                raise SmbError(Trouble.UNREACHED, f"{stored} bytes were stored of {len(data)}")
            self._within_its_folder(path, lambda: self._rename(temporary, path))
        except Exception as error:
            if self.trouble_of(error) is not Trouble.UNREACHED:
                with suppress(Exception):  # what made this necessary says more
                    self.remove(temporary)
            raise

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            try:
                within = self._within(current)
            except Exception as error:
                if self.trouble_of(error) is not Trouble.MISSING:
                    raise
                continue
            for name, attributes, size, modified in within:
                path = f"{current}/{name}" if current else name
                if attributes & FileAttributes.FILE_ATTRIBUTE_REPARSE_POINT:
                    raise SmbError(Trouble.REFUSED, f"{path} is a link, and where it leads is not followed")
                if attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY:
                    waiting.append(path)
                else:
                    yield Listed(path, size, modified=modified)

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        with self._turn():
            smbclient.remove(self._at(path), **self._with)

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, SmbError):
            return error.trouble
        said: BaseException | None = error
        while said is not None:  # that a password is wrong is said by the cause of a cause
            status = getattr(said, "ntstatus", getattr(said, "status", None))
            if status in _TROUBLES:
                return _TROUBLES[status]
            said = said.__cause__
        is_cut = isinstance(error, SMBConnectionClosed | ConnectionError | TimeoutError)
        return Trouble.UNREACHED if is_cut else Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._close()

    def _at(self, path: str) -> str:
        return "\\".join([self._root, *(_written(part) for part in path.split("/") if part)])

    @contextmanager
    def _turn(self, carries: int = 0) -> Iterator[None]:
        seconds = self._limits.seconds_for(carries)
        lock = _turns.lock
        if not lock.acquire(timeout=seconds):
            raise TimeoutError("another request to a share did not end")
        timer = threading.Timer(seconds, _end, (self._connections, os.getpid()))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            lock.release()

    @contextmanager
    def _opened(self, path: str, mode: str) -> Iterator[Any]:
        with self._turn():
            file = smbclient.open_file(self._at(path), mode, buffering=0, share_access=_ALL_MAY, **self._with)
        try:
            yield file
        finally:
            with suppress(Exception), self._turn():  # a handle ends with its connection anyway
                file.close()

    def _write(self, path: str, data: memoryview) -> None:
        with self._opened(path, "xb") as file:
            done = 0
            while done < len(data):
                piece = data[done : done + _PIECE]
                with self._turn(len(piece)):
                    done += file.write(piece)
            with self._turn(len(data)):
                file.flush()

    def _rename(self, path: str, to: str) -> None:
        with self._turn():
            try:
                smbclient.stat(self._at(to), **self._with)
            except OSError as error:
                if self.trouble_of(error) is not Trouble.MISSING:
                    raise
            else:
                raise SmbError(Trouble.TAKEN, "the name is taken")
            smbclient.rename(self._at(path), self._at(to), **self._with)

    def _within(self, folder: str) -> list[tuple[str, int, int, int]]:
        with self._turn():
            found = [entry.smb_info for entry in smbclient.scandir(self._at(folder), **self._with)]
        return [
            (_called(each.file_name), each.file_attributes, each.end_of_file, to_nanoseconds(each.last_write_time))
            for each in found
        ]

    def _within_its_folder(self, path: str, act: Callable[[], None]) -> None:
        """Do what needs the folder of `path`: make it before, and once more if somebody has removed it since."""
        folder = path.rpartition("/")[0]
        is_new = folder not in self._folders
        self._make(folder)
        try:
            act()
        except Exception as error:
            if is_new or self.trouble_of(error) is not Trouble.MISSING:
                raise
            self._folders.clear()
            self._make(folder)
            act()

    def _make(self, folder: str) -> None:
        if folder in self._folders:
            return
        if folder:
            self._make(folder.rpartition("/")[0])
            with self._turn():
                try:
                    smbclient.mkdir(self._at(folder), **self._with)
                except OSError as error:
                    if self.trouble_of(error) is not Trouble.TAKEN:
                        raise
        else:
            self.reach()  # a root is never made by the way
        self._folders.add(folder)


class _Turns:
    """Whose turn it is; a child that was forked begins anew, as nobody in it could end a turn of its parent's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self.lock = threading.Lock()


_turns = _Turns()


def _written(part: str) -> str:
    """A part of a path as it is written on the share."""
    found = _NOT_FOR_FILES.match(part)
    return f"{found[0]}!{part[found.end() :]}" if found else part


def _called(part: str) -> str:
    """What was written so, back again."""
    plain = part.replace("!", "", 1)
    return plain if _written(plain) == part else part


def _end(connections: dict[str, Any], process: int) -> None:
    """End connections without a word, which a server that has fallen silent would not answer."""
    if os.getpid() != process:  # a child that was forked leaves its parent's connections alone
        return
    for connection in list(connections.values()):
        with suppress(Exception):
            connection.transport._sock.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):
            connection.disconnect(close=False)
