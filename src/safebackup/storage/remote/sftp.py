"""SFTP, through the connection of asyncssh that sshfs holds; the server's key is always checked.

An object is written to `tmp/`, flushed, and then given its name by a hard link, which never replaces anything. A server
without hard links renames instead: by the protocol that replaces nothing either, and some servers do it all the same,
so that two writers who race for one name are kept apart by hard links alone.

How durable an object is depends on the server. OpenSSH is asked (`fsync@openssh.com`) to flush the bytes before they
get their name, and to flush again after it, which makes the name last too on file systems with a journal (ext4, XFS,
Btrfs). A server that does not know the request may lose in a power cut what it confirmed shortly before.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import asyncssh
from asyncssh import SFTPAttrs, SFTPClient, SFTPClientFile, SFTPName
from fsspec.asyn import sync

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.remotes import open_files, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

T = TypeVar("T")

_KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
_UNDER_WAY_BYTES = 1 << 20  # more would keep small requests waiting on a slow line
_FOLDERS_AT_ONCE = 8
_DEPTH_MAX = 100
_OURS_ALONE = SFTPAttrs(permissions=0o600)
_OUR_FOLDER = SFTPAttrs(permissions=0o700)
_FULL_WORDS = ("no space", "quota", "disk full")
_TROUBLES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Trouble], ...] = (
    ((asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath), Trouble.MISSING),
    ((asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect), Trouble.DENIED),
    ((asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded), Trouble.FULL),
    (asyncssh.SFTPOpUnsupported, Trouble.REFUSED),
    ((asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError), Trouble.UNREACHED),
    ((OSError, EOFError), Trouble.UNREACHED),  # also what took too long
)


class SftpError(Exception):
    """What was found out in more than one request, and what it means."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble


class SftpTransport:
    """A folder on an SSH server, and one session with it. Threads may share it."""

    is_shared = True
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self.is_exclusive = False  # until this server has made a hard link
        self._may_link = True
        self._limits = limits
        files, self._root = _connected(url, options, limits)
        self._files = files  # the connection ends when nobody holds these
        self._loop: asyncio.AbstractEventLoop = files.loop
        self._connection: asyncssh.SSHClientConnection = files.client
        wanted: Any = {"path_errors": "surrogateescape", **(files.storage_options.get("sftp_client_kwargs") or {})}

        async def start() -> SFTPClient:
            return await self._connection.start_sftp_client(**wanted)

        try:
            self._sftp: SFTPClient = sync(self._loop, start, timeout=limits.request)
        except BaseException:
            self.close()
            raise

    def reach(self) -> None:
        """As `Transport.reach`."""
        if not self._ask(lambda: self._is_folder(self._root or ".")):
            raise SftpError(Trouble.NO_ROOT, f"the server has no folder {self._root}")

    def make_root(self) -> None:
        """As `Transport.make_root`."""
        self._ask(lambda: self._make_folder(self._root or ".", within=""))

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        wanted = min(length, self.size(path) - start)
        return self._ask(lambda: self._read(path, start, wanted), wanted) if wanted > 0 else b""

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self._ask(lambda: self._size(path))

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        return self._ask(lambda: self._look(path))

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`. What a crash leaves in `tmp/` is never listed."""
        self._ask(lambda: self._publish(path, data), len(data))

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`. A link is followed, and one that leads nowhere raises: a disk may be missing."""
        waiting = [folder]
        while waiting:
            now, waiting = waiting[:_FOLDERS_AT_ONCE], waiting[_FOLDERS_AT_ONCE:]
            try:
                listings = self._listings(now)
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPFailure) as error:
                if now == [folder]:
                    self._ask(lambda: self._require_folder(folder))
                if isinstance(error, asyncssh.SFTPFailure):
                    raise
                # Of a part that is missing nothing follows for the whole.
                raise SftpError(Trouble.UNREACHED, f"a folder vanished while {folder or 'all'} was listed") from error
            for path, attrs in (each for listing in listings for each in listing):
                if attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
                    waiting.append(_not_too_deep(path))
                elif attrs.type == asyncssh.FILEXFER_TYPE_REGULAR:
                    yield Listed(path, _bytes_of(attrs, path), modified=_nanoseconds(attrs))

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        self._ask(lambda: self._remove(path))

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`. A plain "failure", which is what most things are to SFTP, is unknown."""
        if isinstance(error, SftpError):
            return error.trouble
        if isinstance(error, asyncssh.SFTPFailure) and any(words in error.reason.lower() for words in _FULL_WORDS):
            return Trouble.FULL
        return next((trouble for kind, trouble in _TROUBLES if isinstance(error, kind)), Trouble.UNKNOWN)

    def close(self) -> None:
        """As `Transport.close`. Nobody waits for a server that may be silent."""
        with suppress(RuntimeError):  # the loop has ended, and the connection with it
            self._loop.call_soon_threadsafe(self._connection.abort)

    def _ask(self, act: Callable[[], Awaitable[T]], size_bytes: int = 0) -> T:
        async def within() -> T:
            return await act()

        answer: T = sync(self._loop, within, timeout=self._limits.seconds_for(size_bytes))
        return answer

    def _at(self, path: str) -> str:
        return posixpath.join(self._root, path)

    # Reading

    async def _size(self, path: str) -> int:
        return (await self._look(path)).size_bytes

    async def _look(self, path: str) -> Listed:
        try:
            attrs = await self._sftp.stat(self._at(path))
        except asyncssh.SFTPNoSuchFile:
            await self._require_no_broken_link(path)
            raise
        if attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY:
            raise SftpError(Trouble.MISSING, f"{path} is a folder")
        if attrs.type != asyncssh.FILEXFER_TYPE_REGULAR:  # reading a FIFO would wait for its writer
            raise SftpError(Trouble.REFUSED, f"{path} is neither a file nor a folder")
        return Listed(path, _bytes_of(attrs, path), modified=_nanoseconds(attrs))

    async def _require_no_broken_link(self, path: str) -> None:
        """Raise if what is missing lies behind a link: somebody moved it to a disk that is not there."""
        parts = path.split("/") if path else []
        for count in range(1, len(parts) + 1):
            place = self._at("/".join(parts[:count]))
            try:
                attrs = await self._sftp.lstat(place)
            except asyncssh.SFTPNoSuchFile:
                return
            if attrs.type == asyncssh.FILEXFER_TYPE_SYMLINK:
                await self._followed(place)

    async def _followed(self, place: str) -> SFTPAttrs:
        try:
            return await self._sftp.stat(place)
        except asyncssh.SFTPNoSuchFile as error:
            raise SftpError(Trouble.NO_ROOT, f"{place} is a link that leads nowhere") from error

    async def _read(self, path: str, start: int, wanted: int) -> bytes:
        data = bytearray(wanted)
        came = 0

        async def fetch(at: int, end: int) -> None:
            nonlocal came
            while at < end and (part := await file.read(end - at, start + at)):
                data[at : at + len(part)] = part
                at += len(part)
                came += len(part)

        async with self._opened(self._at(path), "rb") as file:
            await _in_blocks(fetch, wanted, self._sftp.limits.max_read_len)
        if came != wanted or len(data) != wanted:
            raise SftpError(Trouble.UNREACHED, f"{came} bytes came of {wanted}")
        return bytes(data)

    def _opened(self, place: str, mode: str, attrs: SFTPAttrs | None = None) -> Any:
        # Each read and write is one request, and no larger than the server takes: OpenSSH ends the session of a client
        # that sends more.
        return self._sftp.open(place, mode, attrs or SFTPAttrs(), block_size=0)

    # Listing

    def _listings(self, folders: list[str]) -> list[list[tuple[str, SFTPAttrs]]]:
        """What is in these folders; it may take long, as long as something keeps coming."""
        seconds = self._limits.seconds_for(0)

        async def listings() -> list[list[tuple[str, SFTPAttrs]]]:
            timer = self._loop.call_later(seconds, self._connection.abort)

            async def listing(folder: str) -> list[tuple[str, SFTPAttrs]]:
                nonlocal timer
                found = []
                async for entry in self._sftp.scandir(self._at(folder) or "."):
                    timer.cancel()
                    timer = self._loop.call_later(seconds, self._connection.abort)
                    found.append(entry)
                return await self._members(folder, found)

            try:
                return await asyncio.gather(*map(listing, folders))
            finally:
                timer.cancel()

        found: list[list[tuple[str, SFTPAttrs]]] = sync(self._loop, listings)
        return found

    async def _require_folder(self, path: str) -> None:
        if not await self._is_folder(self._at(path) or "."):
            await self._require_no_broken_link(path)
            raise SftpError(Trouble.MISSING, f"there is no folder {path}")

    async def _members(self, folder: str, found: list[SFTPName]) -> list[tuple[str, SFTPAttrs]]:
        names = {_text(entry.filename): entry.attrs for entry in found}
        if "." not in names:
            # OpenSSH leaves out, without a word, what it may not look at: in a folder that may not be entered, all.
            await self._sftp.stat(posixpath.join(self._at(folder), "."))
        members = []
        for name, attrs in names.items():
            if name in (".", ".."):
                continue
            if "/" in name or not name:
                raise SftpError(Trouble.REFUSED, f"the server lists {name!r}, which is no file's name")
            path = f"{folder}/{name}" if folder else name
            if attrs.type == asyncssh.FILEXFER_TYPE_SYMLINK:
                attrs = await self._followed(self._at(path))  # noqa: PLW2901 -- what is behind it counts
            members.append((path, attrs))
        return members

    # Writing

    async def _publish(self, path: str, data: memoryview) -> None:
        temporary, target = self._at(f"tmp/{os.urandom(16).hex()}"), self._at(path)
        whole: Any = data  # said to be bytes, and any buffer will do

        async def send(at: int, end: int) -> None:
            await file.write(whole[at:end], at)

        try:
            async with await self._new_file(temporary) as file:
                await _in_blocks(send, len(data), self._sftp.limits.max_write_len)
                await _flush(file)
                stored = (await file.stat()).size
                if stored != len(data):
                    raise SftpError(Trouble.UNREACHED, f"{stored} bytes were stored of {len(data)}")
                is_linked = await self._is_linked(temporary, target)
                if is_linked:
                    await _flush(file)
            if not is_linked:
                await self._rename(temporary, target)
                return
        except asyncssh.SFTPFailure as error:
            is_full = await self._is_full(len(data))
            await self._discard(temporary)
            if is_full:
                raise SftpError(Trouble.FULL, f"no space is left there ({error.reason})") from error
            raise
        except (asyncssh.SFTPError, SftpError):
            await self._discard(temporary)
            raise
        await self._discard(temporary)

    async def _discard(self, temporary: str) -> None:
        with suppress(asyncssh.Error):  # what cannot be removed is litter in tmp/, not damage
            await self._sftp.remove(temporary)

    async def _new_file(self, temporary: str) -> SFTPClientFile:
        async def open_new() -> SFTPClientFile:
            file: SFTPClientFile = await self._opened(temporary, "xb", _OURS_ALONE)
            return file

        try:
            return await open_new()
        except asyncssh.SFTPNoSuchFile:
            await self._make_folder(posixpath.dirname(temporary), within=self._root)
            return await open_new()

    async def _is_linked(self, temporary: str, target: str) -> bool:
        """Give the object its name by a hard link; false if this server makes none."""
        if not self._may_link:
            return False
        try:
            await self._within_its_folder(target, lambda: self._sftp.link(temporary, target))
        except asyncssh.SFTPOpUnsupported:
            self._may_link = self.is_exclusive = False
            return False
        except (asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
            # The name is taken, or the disk has no links, or no space: SFTP has one word for all of them.
            await self._require_free(target)
            self._may_link = self.is_exclusive = False
            return False
        self.is_exclusive = True
        return True

    async def _rename(self, temporary: str, target: str) -> None:
        try:
            await self._within_its_folder(target, lambda: self._sftp.rename(temporary, target))
        except asyncssh.SFTPFailure:
            await self._require_free(target)
            raise

    async def _within_its_folder(self, target: str, name: Callable[[], Awaitable[None]]) -> None:
        try:
            await name()
        except asyncssh.SFTPNoSuchFile:
            await self._make_folder(posixpath.dirname(target), within=self._root)
            try:
                await name()
            except asyncssh.SFTPNoSuchFile as error:
                raise SftpError(Trouble.UNREACHED, "what was just stored is gone") from error

    async def _require_free(self, target: str) -> None:
        try:
            attrs = await self._sftp.lstat(target)
        except asyncssh.SFTPNoSuchFile:
            return
        is_folder = attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY
        raise SftpError(Trouble.REFUSED if is_folder else Trouble.TAKEN, f"{target} is there already")

    async def _is_full(self, size_bytes: int) -> bool:
        try:
            disk = await self._sftp.statvfs(self._root or ".")
        except asyncssh.SFTPError:
            return False
        return disk.bavail * disk.frsize < size_bytes or (disk.files > 0 and disk.favail == 0)

    async def _make_folder(self, folder: str, within: str) -> None:
        """Make a folder and those that lead to it, up to `within`, which has to be there."""
        if folder in (within, "") or await self._is_folder(folder):
            return
        parent = posixpath.dirname(folder)
        if parent != folder:
            await self._make_folder(parent, within)
        try:
            await self._sftp.mkdir(folder, _OUR_FOLDER)
        except asyncssh.SFTPError:
            if not await self._is_folder(folder):  # else somebody else was faster
                raise

    async def _is_folder(self, place: str) -> bool:
        try:
            return (await self._sftp.stat(place)).type == asyncssh.FILEXFER_TYPE_DIRECTORY
        except asyncssh.SFTPNoSuchFile:
            return False

    async def _remove(self, path: str) -> None:
        try:
            await self._sftp.remove(self._at(path))
        except (asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied) as error:
            if await self._is_folder(self._at(path)):
                raise SftpError(Trouble.MISSING, f"{path} is a folder") from error
            raise


def _connected(url: str, options: dict[str, object], limits: Limits) -> tuple[Any, str]:
    # sshfs would check no keys at all unless it is told which hosts are known.
    known = [place for place in map(os.path.expanduser, _KNOWN_HOSTS) if os.access(place, os.R_OK)]
    try:
        return open_files(url, {"known_hosts": known, **options, "connect_timeout": limits.request})
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        raise StorageError(
            f"{shown(url)}: the server's key is not a known one, and nothing was sent to it ({error.reason})",
            code=Code.STORE_DENIED,
            hint=f"Ask whoever runs the server for its key, and add that to {_KNOWN_HOSTS[0]}, or to a file that the "
            "storage option known_hosts names. If the key has changed, find out why first.",
        ) from None
    except PermissionError as error:
        raise StorageError(
            f"{shown(url)} lets nobody in with these credentials ({error})",
            code=Code.STORE_DENIED,
            hint="Check the user, the key or password, and who may read the key's file.",
        ) from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"{shown(url)}: a file that the storage options name cannot be read ({error.filename}: {error.strerror})",
            hint="Check the paths among the storage options, such as known_hosts and client_keys.",
        ) from None


async def _in_blocks(act: Callable[[int, int], Awaitable[None]], size_bytes: int, block_bytes: int) -> None:
    """Do `act` with where each block begins and ends, several at once.

    asyncssh does so too, and leaves requests behind when a line is cut, whose errors Python then prints.
    """
    starts = iter(range(0, size_bytes, block_bytes))

    async def work() -> None:
        for start in starts:
            await act(start, min(start + block_bytes, size_bytes))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, _UNDER_WAY_BYTES // block_bytes)):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _flush(file: SFTPClientFile) -> None:
    with suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else os.fsdecode(name)


def _not_too_deep(path: str) -> str:
    if path.count("/") >= _DEPTH_MAX:
        raise SftpError(Trouble.REFUSED, f"{path[:100]}... is too deep: does a link lead back to a folder above it?")
    return path


def _bytes_of(attrs: SFTPAttrs, path: str) -> int:
    if attrs.size is None:
        raise SftpError(Trouble.REFUSED, f"the server does not say how large {path} is")
    return attrs.size


def _nanoseconds(attrs: SFTPAttrs) -> int | None:
    return None if attrs.mtime is None else attrs.mtime * 10**9 + (attrs.mtime_ns or 0)
