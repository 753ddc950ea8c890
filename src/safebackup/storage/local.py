"""A folder on a disk, with everything that durability asks for.

An object is written whole to a file that nobody can see, synced, given its name by a hard link, which never
replaces anything, and then its folder is synced. File systems that cannot do this are served by the next best way:

* `publish_unnamed`: the file has no name until it is whole (Linux: ext4, XFS, Btrfs, tmpfs). A crash leaves nothing.
* `publish_linked`: the file is in `tmp/` until it is whole. A crash leaves a temporary there.
* `publish_renamed`: for file systems without hard links (FAT, exFAT, some FUSE). It looks whether the name is free and
  then renames, so a writer that gets in between is overwritten: S2 holds there only for writers that do not race for
  one name. The names of this library's objects are random or say what is in them, so two writers never do
  with different bytes.

Whatever is in `tmp/` may be removed while no process writes to the store.

Tested on Linux. On Windows folders cannot be synced, and on macOS the disk may still hold back what it was
told to sync, so that S1 is weaker on both.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, TypeAlias

from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.storage.names import is_object_name, require_object_name, require_prefix, require_range
from safebackup.storage.store import ObjectInfo

Publish: TypeAlias = Callable[[str, str, memoryview], None]

_COMPARED_AT_ONCE = 1 << 20
_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone would translate line ends
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opening a FIFO would wait for its writer
_NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_NO_LINKS = {errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EINVAL}
_NO_UNNAMED_LINKS = _NO_LINKS | {errno.ENOENT, errno.EXDEV}  # without /proc the file cannot be named
_NO_FOLDER_SYNC = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class _CannotPublishError(Exception):
    """This file system does not know this way of publishing; nothing was published."""


class LocalStore:
    """The folder `root`, one file per object.

    Cheap to make, pickled as its path, shared freely by threads and across a fork: it holds no open file and no lock.
    It remembers the folder that it first saw at `root` and refuses to work in another one,
    so that a disk unmounted in the middle of a run does not read as an empty store.
    """

    ways: ClassVar[tuple[Publish, ...]]

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(root)
        self._inode: int | None = None
        self._lasting: set[str] = set()  # folders whose own names are known to be durable
        self._way = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.root,))

    @property
    def url(self) -> str:
        """`file:///path`, with the path as it is: nothing is escaped."""
        return f"file://{self.root}"

    @property
    def is_exclusive(self) -> bool:
        """Whether a race for a name has one winner: no more once this file system was seen to have no hard links."""
        return self._way < len(self.ways) - 1

    def create_root(self) -> None:
        """Make the folder, and those that lead to it, unless it is there."""
        with _failing(f"creating {self.root}"):
            missing = []
            path = self.root
            while not os.path.lexists(path):
                missing.append(path)
                path = os.path.dirname(path)
            for folder in reversed(missing):
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o700 if folder == self.root else 0o777)
                _sync_folder(os.path.dirname(folder))
        self._require_root()

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        path = self._path(require_object_name(name))
        with _failing(f"reading {name} in {self.root}"):
            try:
                with _opened(path, os.O_RDONLY | _AT_ONCE) as file:
                    size = _regular_size(file, path)
                    end = require_range(name, start, length, size)
                    return _read(file, name, start, end)
            except _NOT_THERE:
                self._require_reached(name)
                raise NotFoundError(f"{self.root} has no object {name}") from None

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`; files that have no object's name are no objects."""
        require_prefix(prefix)
        with _failing(f"listing {prefix or 'everything'} in {self.root}"):
            try:
                pending = _entries(self.root, prefix)
            except _NOT_THERE:
                self._require_reached(prefix[:-1])
                return []
            found: list[ObjectInfo] = []
            while pending:
                name, entry = pending.pop()
                if not is_object_name(name):
                    continue
                if entry.is_dir():
                    pending += _entries(self.root, f"{name}/")
                else:
                    found += _measured(name, entry)
            # Asked last: what was listed before the disk went away would be too little.
            self._require_root()
            return sorted(found, key=lambda info: info.name)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`; it costs one sync of the file and one of its folder."""
        path = self._path(require_object_name(name))
        ours = memoryview(data).cast("B")
        with _failing(f"storing {name} in {self.root}"):
            self._require_root()
            folder = os.path.dirname(path)
            self._make_folder(folder)
            try:
                self._publish(path, ours)
            except FileExistsError:
                self._require_same(name, path, ours)
            _sync_folder(folder)

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`."""
        path = self._path(require_object_name(name))
        with _failing(f"deleting {name} in {self.root}"):
            self._require_root()
            try:
                os.unlink(path)
            except _NOT_THERE:
                self._require_reached(name)
            # Also where it was missing: whoever removed it may not have come as far as this.
            with suppress(*_NOT_THERE):
                _sync_folder(os.path.dirname(path))

    def _path(self, name: str) -> str:
        return os.path.join(self.root, *name.split("/"))

    def _require_root(self) -> None:
        """Raise `StorageError` unless the root is there and is the folder that it was before."""
        hint = "Mount the disk that it is on. If no repository was made there yet, create one."
        try:
            root = os.stat(self.root)
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError(f"{self.root} is not there", code=Code.STORE_MISSING, hint=hint) from None
        except OSError as error:
            raise StorageError.from_os(f"reaching {self.root}", error) from error
        if not stat.S_ISDIR(root.st_mode):
            raise StorageError(f"{self.root} is not a folder", code=Code.STORE_MISSING, hint=hint)
        # The device number is not compared: a network disk may be given a new one when it is mounted again.
        if self._inode is None:
            self._inode = root.st_ino
        if self._inode != root.st_ino:
            raise StorageError(
                f"{self.root} is another folder than a moment ago: its disk was unmounted, or it was replaced",
                code=Code.STORE_MISSING,
                hint="Mount the disk again, then start again.",
            )

    def _require_reached(self, name: str) -> None:
        """Raise unless it is certain that what does not open under `name` is not there."""
        self._require_root()
        path = self.root
        for segment in name.split("/"):
            path = os.path.join(path, segment)
            if os.path.islink(path):
                # Somebody moved it to another disk and left a link: if that leads nowhere, the disk is missing.
                try:
                    os.stat(path)
                except OSError as error:
                    raise StorageError(
                        f"{path} is a link that leads nowhere: {error.strerror}",
                        code=Code.STORE_MISSING,
                        hint="Mount the disk that it points to.",
                    ) from error

    def _make_folder(self, folder: str) -> None:
        """Make `folder` with those above it, durably.

        One that is there may have been made by somebody who has not synced it yet; so each is synced once.
        """
        if folder == self.root:
            return
        parent = os.path.dirname(folder)
        self._make_folder(parent)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if folder in self._lasting:
                return
        _sync_folder(parent)
        self._lasting.add(folder)

    def _publish(self, path: str, data: memoryview) -> None:
        way = self._way
        while True:
            try:
                self.ways[way](self.root, path, data)
            except _CannotPublishError:
                way += 1
            else:
                self._way = way
                return

    def _require_same(self, name: str, path: str, ours: memoryview) -> None:
        """Raise `ConflictError` unless the object there is `ours`; then make certain that it is durable."""
        with _opened(path, os.O_RDONLY | _AT_ONCE) as file:
            if _regular_size(file, path) != len(ours) or not _holds(file, ours):
                raise ConflictError(
                    f"{self.root} has other bytes under {name}: that object is damaged or foreign, and was left alone",
                    hint="Verify the repository before anything else writes to it.",
                )
            os.fsync(file)


def publish_unnamed(_root: str, path: str, data: memoryview) -> None:
    """Write a file without a name and link it to `path`; `FileExistsError` if that is taken."""
    if not hasattr(os, "O_TMPFILE"):
        raise _CannotPublishError
    folder, name = os.path.split(path)
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as at:
        with _unless(_NO_UNNAMED_FILES):
            file = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=at)
        try:
            _write(file, data)
            os.fsync(file)
            with _unless(_NO_UNNAMED_LINKS):
                # Given folder descriptors, Python follows the link in /proc; without them it would link that link.
                os.link(f"/proc/self/fd/{file}", name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=True)
        finally:
            os.close(file)


def publish_linked(root: str, path: str, data: memoryview) -> None:
    """Write a temporary and link it to `path`; `FileExistsError` if that is taken."""
    with _temporary(root, data) as temporary, _unless(_NO_LINKS):
        os.link(temporary, path)


def publish_renamed(root: str, path: str, data: memoryview) -> None:
    """Write a temporary and rename it to `path`; `FileExistsError` if that was taken before the rename."""
    with _temporary(root, data) as temporary:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.rename(temporary, path)


LocalStore.ways = (publish_unnamed, publish_linked, publish_renamed)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(what, error) from error


@contextmanager
def _unless(unsupported: set[int]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in unsupported:
            raise _CannotPublishError from error
        raise


@contextmanager
def _opened(path: str, flags: int, mode: int = 0o600) -> Iterator[int]:
    file = os.open(path, flags | _BINARY, mode)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _temporary(root: str, data: memoryview) -> Iterator[str]:
    """The path of a synced file that holds `data`; it is gone afterwards."""
    folder = os.path.join(root, "tmp")
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    path = os.path.join(folder, f"{os.urandom(16).hex()}.tmp")
    try:
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            _write(file, data)
            os.fsync(file)
        yield path
    finally:
        # What cannot be removed is litter in tmp/, not damage: the outcome of the operation stands.
        with suppress(OSError):
            os.unlink(path)


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _read(file: int, name: str, start: int, end: int) -> bytes:
    # Seek and read rather than pread, which Windows does not have; nobody else uses this descriptor.
    os.lseek(file, start, os.SEEK_SET)
    parts = []
    while start < end:
        part = os.read(file, end - start)
        if not part:
            raise StorageError(f"{name} became shorter while it was read", code=Code.SHORT_READ)
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _holds(file: int, data: memoryview) -> bool:
    while data:
        part = os.read(file, min(len(data), _COMPARED_AT_ONCE))
        if not part or part != data[: len(part)]:
            return False
        data = data[len(part) :]
    return True


def _regular_size(file: int, path: str) -> int:
    found = os.fstat(file)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{path} is neither a file nor a folder", hint="Find out who put it there, and remove it.")
    return found.st_size


def _entries(root: str, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    with os.scandir(os.path.join(root, folder)) as entries:
        return [(folder + entry.name, entry) for entry in entries]


def _measured(name: str, entry: os.DirEntry[str]) -> list[ObjectInfo]:
    """The object at `entry`; none if it was deleted since, or is a device or the like."""
    try:
        found = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():  # its target is missing, perhaps with a whole disk
            raise
        return []
    return [ObjectInfo(name, found.st_size)] if stat.S_ISREG(found.st_mode) else []


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as at:
        try:
            os.fsync(at)
        except OSError as error:
            # Some network file systems cannot sync a folder: there is nothing more to be asked of them.
            if error.errno not in _NO_FOLDER_SYNC:
                raise
