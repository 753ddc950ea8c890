"""Placing: the part of a restore that touches the target folder.

Nothing outside the target is ever written, whatever a manifest says and whoever else writes into the target: each
directory is opened by one name at a time, below a descriptor of the one above it, and no symbolic link is followed.

A path gets its name in one of two ways, and neither ever writes into something that was there before.

* Small files are created under their final name, exclusively. That alone guarantees that nothing is replaced, and it
  is a quarter cheaper than a temporary name and a renaming. Until such a file is whole, its mode is the mark of
  unfinished work (`UNFINISHED_FILE`), which nobody but its owner may open, and which no real file has: its last
  permission bits are set in the very last step. So whatever a killed restore left half-made can be told from what was
  there before, and `Overwrite.KEEP` continues where it stopped.
* Large files, and whatever replaces something, get a temporary name in the same folder and are renamed when whole.

Files are not synced one by one; `sync_target` makes all of them durable at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

import attrs

from safebackup.errors import Code, IntegrityError, InternalError, RefusedError, StorageError
from safebackup.findings import Finding, Severity, printable
from safebackup.format.manifest import Entry, EntryKind, stored_to_time

_LOST_AND_FOUND = b"lost+found"  # is in each new ext4 file system, the natural place to restore a lost disk to

# The sticky bit means nothing on a file and hardly anything on a private folder: no real path has these modes.
UNFINISHED_FILE = 0o1200
UNFINISHED_DIRECTORY = 0o1700

_NO_NAMES = (b"", b".", b"..")
_TEMPORARY_PREFIX = b".safebackup-"
_OPEN_FOLDERS_MAX = 64
_BUFFERS_PER_WRITE_MAX = 1024  # IOV_MAX
_SET_ID = stat.S_ISUID | stat.S_ISGID
_NO_ID = (1 << 32) - 1  # chown takes it for "leave as it is"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # names a link, fifo or device without opening what it stands for

_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)
_FORMATS: dict[int, int] = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.FIFO: stat.S_IFIFO,
    EntryKind.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryKind.BLOCK_DEVICE: stat.S_IFBLK,
}
# What is wrong with one path only. Every other error is the disk's or the machine's and stops the restore.
_ERRORS_OF_ONE_PATH = frozenset(
    {
        errno.EACCES,
        errno.EBUSY,
        errno.EEXIST,
        errno.EFBIG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.EMLINK,
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOSYS,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.ENXIO,
        errno.EOPNOTSUPP,
        errno.EOVERFLOW,
        errno.EPERM,
        errno.ERANGE,
        errno.EXDEV,
    }
)
_NO_HARD_LINK = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOENT, errno.EOPNOTSUPP, errno.ENOSYS}
)

Buffer = bytes | bytearray | memoryview
Report = Callable[[Finding], None]


class Overwrite(StrEnum):
    """What happens where the target already holds something."""

    REFUSE = "refuse"  # the target must be missing or empty
    KEEP = "keep"  # what is there stays as it is, unless an interrupted restore left it unfinished
    REPLACE = "replace"  # files are replaced one by one, folders merged, nothing is deleted


class Owner(NamedTuple):
    """Who is to own a path on this machine."""

    uid: int
    gid: int


@attrs.frozen
class Target:
    """The folder restored to, held open; close it, or use it in a `with` statement."""

    path: bytes
    fd: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)


def open_target(path: bytes, overwrite: Overwrite = Overwrite.REFUSE) -> Target:
    """The target folder, created if it is missing, with the folders above it.

    Symbolic links above it are the caller's own and are followed; the folder itself must not be one.

    Raises:
        RefusedError: it is no folder, or it holds something and `overwrite` is REFUSE; nothing was written.
        StorageError: it cannot be created or opened.
    """
    path = path.rstrip(b"/") or path[:1]  # a final slash would follow a link
    try:
        os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, UNFINISHED_DIRECTORY)
        fd = os.open(path, _OPEN_FOLDER)
    except (NotADirectoryError, FileExistsError) as error:
        raise RefusedError(
            f"the target {printable(path)} is not a folder: a file or a symbolic link is there, or above it",
            code=Code.TARGET_NOT_EMPTY,
            hint="Name the folder itself, or one that does not exist yet.",
        ) from error
    except OSError as error:
        raise StorageError.from_os(f"the target folder {printable(path)}", error) from error
    try:
        if overwrite is Overwrite.REFUSE:
            _require_empty(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return Target(path, fd)


def _require_empty(fd: int, path: bytes) -> None:
    found = {os.fsencode(name) for name in os.listdir(fd)} - {_LOST_AND_FOUND}
    if found:
        example = printable(min(found))
        raise RefusedError(
            f"the target {printable(path)} is not empty: it holds {len(found):,} names, such as {example!r}",
            code=Code.TARGET_NOT_EMPTY,
            hint="Restore to a new folder. To complete an interrupted restore, keep what is there (overwrite=keep).",
        )


def sync_target(target: Target) -> None:
    """Make everything placed in the target durable, at once.

    One `syncfs` of the target's file system, far cheaper than a sync per file; `os.sync` where the C library lacks it.
    Linux reports write-back errors since the target was opened here, so do not call a restore done before this.

    Raises:
        StorageError: the disk reported that something was not written.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(ctypes.c_int(target.fd)) != 0:
        number = ctypes.get_errno()
        raise _disk_failed(target.path, OSError(number, os.strerror(number)))


class Shortfalls:
    """Counts what could not be set as recorded, by kind and cause; one for all placers of a restore, thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[Code, str, str], tuple[int, bytes]] = {}

    def add(self, code: Code, aspect: str, cause: str, path: bytes) -> None:
        """`aspect` of `path` is not as recorded, because of `cause`."""
        with self._lock:
            count, first = self._seen.get((code, aspect, cause), (0, path))
            self._seen[code, aspect, cause] = (count + 1, first)

    def add_error(self, code: Code, aspect: str, error: OSError, path: bytes) -> None:
        """The same for a failed system call; an error that is not this path's own is raised again."""
        if error.errno not in _ERRORS_OF_ONE_PATH:
            raise error
        self.add(code, aspect, os.strerror(error.errno), path)

    def findings(self) -> list[Finding]:
        """One finding for each kind and cause, with a count and the first path."""
        with self._lock:
            seen = list(self._seen.items())
        return [
            Finding(
                code=code,
                severity=Severity.WARNING,
                what=f"{aspect}: not as recorded on {count:,} {'path' if count == 1 else 'paths'} ({cause})",
                action=_action(code, cause),
                subject=printable(first),
            )
            for (code, aspect, cause), (count, first) in seen
        ]


_NO_CONSENT = "no consent to device nodes"
_NOT_HELD = "the file system does not hold this value"
_NO_PROC = "/proc is not mounted"
_OWNER_LACKING = "the owner could not be set"


def _action(code: Code, cause: str) -> str:
    if cause == _NO_CONSENT:
        return "If you trust this snapshot and need its device nodes, restore again with devices allowed."
    if cause == _NO_PROC:
        return "Mount /proc and restore again."
    if cause in (os.strerror(errno.EPERM), os.strerror(errno.EACCES), _OWNER_LACKING):
        return "Restore as root to get it back."
    if code is Code.DEVICE_NOT_MADE:
        return "Make the node by hand with mknod, if it is needed."
    return "Restore to a file system that can hold it, or do without."


@attrs.define(eq=False)
class _Folder:
    """An open directory, and what the file system gives to each new file in it."""

    fd: int
    gives_acl: bool  # it has a default ACL
    gives: Owner | None = None  # who owns a new file: depends on setgid and on the mount, so the first one tells


class Placer:
    """Creates the paths of a restore; one for each thread.

    Where a path cannot be placed, that is reported as a finding and the answer is False; the others go on.
    A disk that fails or is full raises StorageError, and nothing half-made keeps its name.
    """

    def __init__(
        self, target: Target, *, overwrite: Overwrite, devices: bool, report: Report, shortfalls: Shortfalls
    ) -> None:
        self._overwrite = overwrite
        self._devices = devices
        self._report = report
        self._shortfalls = shortfalls
        self._root = self._describe(target.fd)
        self._folders: OrderedDict[bytes, _Folder] = OrderedDict()
        # Most paths lie where the one before lay, so that one is at hand without a look into the cache.
        self._last_path = b""
        self._last = self._root
        self._temporary = _TEMPORARY_PREFIX + secrets.token_hex(8).encode() + b"-"
        self._temporaries = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories that are held open; the target stays open."""
        while self._folders:
            os.close(self._folders.popitem()[1].fd)
        self._last_path, self._last = b"", self._root

    # Directories

    def make_directory(self, entry: Entry) -> bool:
        """Create a directory that nobody else can enter yet; `finish_directory` gives it its metadata.

        A directory that is there already is merged, whatever the policy; False where that is no directory.
        """
        if entry.path == b"":
            return True
        try:
            folder, name = self._locate(entry.path)
            try:
                os.mkdir(name, UNFINISHED_DIRECTORY, dir_fd=folder.fd)
            except FileExistsError:
                return self._merge(folder, name, entry)
            if folder.gives_acl:
                # What the new folder took over from the one above could even lock out its owner.
                fd = self._folder(entry.path).fd
                _remove_strange_acls(fd, entry)
                os.chmod(fd, UNFINISHED_DIRECTORY)
        except OSError as error:
            return self._not_placed(entry.path, error)
        return True

    def _merge(self, folder: _Folder, name: bytes, entry: Entry) -> bool:
        found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "something else"
            return self._not_restored(
                entry.path, f"{what} is where a folder should go; it stays, and nothing goes below"
            )
        if self._overwrite is Overwrite.KEEP and not _is_unfinished_directory(found):
            self._kept(entry.path, "was there: its own metadata was kept, and what it lacked was added")
        elif self._overwrite is Overwrite.REFUSE and entry.path != _LOST_AND_FOUND:
            self._report(
                Finding(
                    code=Code.PATH_KEPT,
                    severity=Severity.WARNING,
                    what="a folder of this name appeared during the restore, and both were merged",
                    action="See who else writes here, or whether the file system takes two names to be the same.",
                    subject=printable(entry.path),
                )
            )
        return True

    def finish_directory(self, entry: Entry, owner: Owner) -> bool:
        """Give a directory its metadata; call it after everything below was placed, the deepest first.

        A directory that was there before keeps its own under `Overwrite.KEEP`.
        """
        try:
            folder = self._folder(entry.path)
            if self._overwrite is Overwrite.KEEP and not _is_unfinished_directory(os.fstat(folder.fd)):
                return True
            _remove_strange_acls(folder.fd, entry)
            _set_metadata(folder.fd, entry, owner, None, self._shortfalls)
        except OSError as error:
            return self._not_placed(entry.path, error)
        return True

    # Files

    def place_file(self, entry: Entry, pieces: Sequence[Buffer], owner: Owner) -> bool:
        """Create a file of these bytes, already checked; False where it was kept or could not be placed.

        Raises:
            StorageError: the disk failed or is full.
            IntegrityError: the path is unsafe.
        """
        if sum(map(len, pieces)) != entry.size:
            raise InternalError(f"{printable(entry.path)} of {entry.size} bytes came with {sum(map(len, pieces))}")
        try:
            folder, name = self._locate(entry.path)
            placed_as = name
            try:
                fd = os.open(name, _CREATE, UNFINISHED_FILE, dir_fd=folder.fd)
            except FileExistsError:
                if not self._may_replace(folder, name, entry):
                    return False
                placed_as = self._temporary_name()
                fd = os.open(placed_as, _CREATE, UNFINISHED_FILE, dir_fd=folder.fd)
            try:
                try:
                    _write_all(fd, pieces, entry.size)
                    self._dress(folder, fd, entry, owner)
                finally:
                    os.close(fd)
                if placed_as is not name:
                    os.rename(placed_as, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            except BaseException:
                _discard(folder.fd, placed_as)
                raise
        except OSError as error:
            return self._not_placed(entry.path, error)
        return True

    def open_file(self, entry: Entry) -> PartialFile | None:
        """A large file to be written in pieces, under a temporary name; None where it is kept or cannot be placed."""
        try:
            folder, name = self._locate(entry.path)
            if not self._may_replace(folder, name, entry):
                return None
            temporary = self._temporary_name()
            # The folder is held apart from the cache, which may close its own descriptor meanwhile.
            own = _Folder(os.dup(folder.fd), folder.gives_acl)
            try:
                fd = os.open(temporary, _CREATE, UNFINISHED_FILE, dir_fd=own.fd)
            except BaseException:
                os.close(own.fd)
                raise
            return PartialFile(self, own, fd, temporary, name, entry)
        except OSError as error:
            self._not_placed(entry.path, error)
            return None

    # Everything else

    def place_symlink(self, entry: Entry, owner: Owner) -> bool:
        """Create a symbolic link; where it points to is not looked at. False where kept or not placed."""
        link = entry.target
        if link is None or b"\0" in link:
            raise IntegrityError(
                f"the symbolic link {printable(entry.path)} has no possible target", code=Code.UNSAFE_PATH
            )
        return self._place_node(entry, owner, lambda name, folder_fd: os.symlink(link, name, dir_fd=folder_fd))

    def place_special(self, entry: Entry, owner: Owner) -> bool:
        """Create a fifo, or with consent a device node. False where kept or not placed, which is then a finding."""
        number = 0
        if entry.kind != EntryKind.FIFO:
            if not self._devices:
                self._shortfalls.add(Code.DEVICE_NOT_MADE, "device node", _NO_CONSENT, entry.path)
                return False
            major, minor = entry.device or (-1, -1)
            if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):  # what Linux holds
                self._shortfalls.add(Code.DEVICE_NOT_MADE, "device node", "no such device number", entry.path)
                return False
            number = os.makedev(major, minor)
        mode = _FORMATS[entry.kind] | UNFINISHED_FILE

        def make(name: bytes, folder_fd: int) -> None:
            os.mknod(name, mode, number, dir_fd=folder_fd)

        return self._place_node(entry, owner, make)

    def place_hard_link(self, entry: Entry, existing_path: bytes) -> bool:
        """Make `entry` another name of `existing_path`, which this restore has placed with the same content.

        False: this file system cannot link the two, so place a copy. True: nothing is left to do, as it was linked,
        or kept, or could not be placed, and a finding says so.
        """
        try:
            folder, name = self._locate(entry.path)
            folder_fd = os.dup(folder.fd)  # opening the other folder may push this one out of the cache
        except OSError as error:
            self._not_placed(entry.path, error)
            return True
        try:
            return self._link(_Folder(folder_fd, folder.gives_acl), name, entry, existing_path)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            self._not_placed(entry.path, error)
            return True
        finally:
            os.close(folder_fd)

    def _link(self, folder: _Folder, name: bytes, entry: Entry, existing_path: bytes) -> bool:
        try:
            source, source_name = self._locate(existing_path)
            found = os.stat(source_name, dir_fd=source.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        is_same_kind = stat.S_IFMT(found.st_mode) == _FORMATS[entry.kind]
        if not is_same_kind or (entry.kind == EntryKind.FILE and found.st_size != entry.size):
            return False  # somebody has put something else in its place

        def make(new: bytes) -> None:
            os.link(source_name, new, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)

        try:
            make(name)
        except FileExistsError:
            if self._may_replace(folder, name, entry):
                temporary = self._temporary_name()
                make(temporary)
                try:
                    os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
                finally:
                    # Renaming one name of a file to another of the same file does nothing and leaves both.
                    _discard(folder.fd, temporary)
        return True

    def _place_node(self, entry: Entry, owner: Owner, make: Callable[[bytes, int], None]) -> bool:
        try:
            folder, name = self._locate(entry.path)
            placed_as = name
            try:
                make(name, folder.fd)
            except FileExistsError:
                if not self._may_replace(folder, name, entry):
                    return False
                placed_as = self._temporary_name()
                make(placed_as, folder.fd)
            try:
                self._dress_node(folder, placed_as, entry, owner)
                if placed_as is not name:
                    os.rename(placed_as, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            except BaseException:
                _discard(folder.fd, placed_as)
                raise
        except OSError as error:
            if entry.kind in (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE) and error.errno == errno.EPERM:
                self._shortfalls.add_error(Code.DEVICE_NOT_MADE, "device node", error, entry.path)
                return False
            return self._not_placed(entry.path, error)
        return True

    def _dress_node(self, folder: _Folder, name: bytes, entry: Entry, owner: Owner) -> None:
        fd = os.open(name, _OPEN_NODE, dir_fd=folder.fd)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != _FORMATS[entry.kind]:
                raise FileExistsError(errno.EEXIST, "somebody put something else in its place")
            if os.path.lexists(_handle(fd, entry)):
                self._dress(folder, fd, entry, owner)
            else:
                self._shortfalls.add(Code.METADATA_NOT_SET, "links and special files", _NO_PROC, entry.path)
        finally:
            os.close(fd)

    def _dress(self, folder: _Folder, fd: int, entry: Entry, owner: Owner) -> None:
        """Metadata for something new in `folder`."""
        if folder.gives is None:
            found = os.fstat(fd)
            folder.gives = Owner(found.st_uid, found.st_gid)
        if folder.gives_acl:
            _remove_strange_acls(fd, entry)
        _set_metadata(fd, entry, owner, folder.gives, self._shortfalls)

    # Names and folders

    def _temporary_name(self) -> bytes:
        self._temporaries += 1
        return self._temporary + b"%d" % self._temporaries

    def _locate(self, path: bytes) -> tuple[_Folder, bytes]:
        parent, _, name = path.rpartition(b"/")
        if name in _NO_NAMES or b"\0" in name or path.startswith(b"/"):
            raise _unsafe(path)
        if parent == self._last_path:
            return self._last, name
        self._last = self._folder(parent)
        self._last_path = parent
        return self._last, name

    def _folder(self, path: bytes) -> _Folder:
        """The open directory at `path`, reached name by name from the nearest one that is still open."""
        above, missing = path, []
        while above and above not in self._folders:
            above, _, name = above.rpartition(b"/")
            if name in _NO_NAMES or b"\0" in name or path.startswith(b"/"):
                raise _unsafe(path)
            missing.append(name)
        folder = self._root
        if above:
            folder = self._folders[above]
            self._folders.move_to_end(above)
        for name in reversed(missing):
            folder = self._describe(os.open(name, _OPEN_FOLDER, dir_fd=folder.fd))
            above = above + b"/" + name if above else name
            self._remember(above, folder)
        return folder

    def _remember(self, path: bytes, folder: _Folder) -> None:
        self._folders[path] = folder
        if len(self._folders) > _OPEN_FOLDERS_MAX:
            evicted_path, evicted = self._folders.popitem(last=False)
            os.close(evicted.fd)
            if evicted_path == self._last_path:  # its descriptor's number may soon stand for another folder
                self._last_path, self._last = b"", self._root

    def _describe(self, fd: int) -> _Folder:
        try:
            os.getxattr(fd, "system.posix_acl_default")
            gives_acl = True
        except OSError:
            gives_acl = False
        return _Folder(fd, gives_acl)

    # What stands in the way, and what is said about it

    def _may_replace(self, folder: _Folder, name: bytes, entry: Entry) -> bool:
        """Whether nothing has this name, or what has it may be replaced; if not, a finding says why."""
        try:
            found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(found):
            return self._not_restored(entry.path, "a folder is where a file should go; it stays as it is")
        if self._overwrite is Overwrite.REPLACE:
            return True
        if self._overwrite is Overwrite.KEEP:
            if stat.S_IMODE(found) == UNFINISHED_FILE and not stat.S_ISLNK(found):
                return True
            self._kept(entry.path, "was there and was kept")
            return False
        return self._not_restored(
            entry.path,
            "the name appeared during the restore: somebody else writes here, or two names are the same here",
        )

    def _kept(self, path: bytes, what: str) -> None:
        self._report(Finding(code=Code.PATH_KEPT, severity=Severity.INFO, what=what, subject=printable(path)))

    def _not_restored(self, path: bytes, why: str) -> bool:
        self._report(
            Finding(
                code=Code.PATH_NOT_RESTORED,
                severity=Severity.ERROR,
                what=f"not restored: {why}",
                action="Restore this path to another folder.",
                subject=printable(path),
            )
        )
        return False

    def _not_placed(self, path: bytes, error: OSError) -> bool:
        if error.errno not in _ERRORS_OF_ONE_PATH:
            raise _disk_failed(path, error) from error
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return self._not_restored(path, "above it is something that is no folder, and no link is followed")
        if error.errno == errno.ENOENT:
            return self._not_restored(path, "its folder is not there")
        return self._not_restored(path, os.strerror(error.errno))


class PartialFile:
    """A file that is being written under a temporary name; use it in a `with` statement, which aborts unless finished.

    Not for several threads at once.
    """

    def __init__(self, placer: Placer, folder: _Folder, fd: int, temporary: bytes, name: bytes, entry: Entry) -> None:
        self._placer = placer
        self._folder = folder
        self._fd = fd
        self._temporary = temporary
        self._name = name
        self._entry = entry
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write `data` at `offset`; what is never written stays a hole.

        Where the file system cannot hold a file of this size, that is a finding and the rest is ignored.

        Raises:
            StorageError: the disk failed or is full.
        """
        if not self._is_open:
            return
        view = memoryview(data).cast("B")
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            self.abort()
            self._placer._not_placed(self._entry.path, error)

    def finish(self, owner: Owner) -> bool:
        """Set size and metadata and give the file its name; False where it was kept or not placed after all."""
        if not self._is_open:
            return False
        try:
            os.ftruncate(self._fd, self._entry.size)
            self._placer._dress(self._folder, self._fd, self._entry, owner)
            return self._publish()
        except OSError as error:
            return self._placer._not_placed(self._entry.path, error)
        finally:
            self.abort()

    def _publish(self) -> bool:
        folder_fd = self._folder.fd
        fd, self._fd = self._fd, -1
        os.close(fd)  # some file systems report only now that they are full
        # Reserve the name, exclusively, and rename over the reservation: nothing of anybody else is replaced then.
        # Unlike a hard link this works on every file system.
        reserved = False
        if self._placer._overwrite is not Overwrite.REPLACE:
            try:
                os.close(os.open(self._name, _CREATE, UNFINISHED_FILE, dir_fd=folder_fd))
                reserved = True
            except FileExistsError:
                if not self._placer._may_replace(self._folder, self._name, self._entry):
                    return False
        try:
            os.rename(self._temporary, self._name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except BaseException:
            if reserved:
                _discard(folder_fd, self._name)
            raise
        self._is_open = False
        os.close(folder_fd)
        return True

    def abort(self) -> None:
        """Remove the temporary; does nothing once the file is finished or aborted."""
        if not self._is_open:
            return
        self._is_open = False
        if self._fd >= 0:
            os.close(self._fd)
        _discard(self._folder.fd, self._temporary)
        os.close(self._folder.fd)


# Metadata


def _set_metadata(fd: int, entry: Entry, owner: Owner, gives: Owner | None, shortfalls: Shortfalls) -> None:
    """Set owner, attributes, time and mode, and read them back; what is not as recorded becomes a shortfall.

    `gives` is who owns it already, where that is known, which spares a call.

    The order is what makes it exact. A change of owner clears capabilities and setuid, so it comes first. An access
    ACL and the mode share bits, and setting the mode adjusts both to what was recorded together. The mode comes last
    because it ends the mark of unfinished work.
    """
    handle = _handle(fd, entry)
    mode = entry.mode & 0o7777
    owned = True
    if owner != gives or mode & _SET_ID:
        owned = _set_owner(handle, entry, owner, shortfalls)
        if mode & _SET_ID and not owned:
            mode &= ~_SET_ID
            shortfalls.add(Code.METADATA_NOT_SET, "setuid and setgid", _OWNER_LACKING, entry.path)
    if entry.xattrs:
        _set_xattrs(handle, entry, owned, shortfalls)
    mtime = entry.mtime if isinstance(entry.mtime, int) else stored_to_time(entry.mtime)
    timed = _set_time(handle, mtime, entry, shortfalls)
    permitted = entry.kind != _SYMLINK and _set_mode(handle, mode, entry, shortfalls)  # a link has no mode of its own
    found = os.fstat(fd)
    if owned and (found.st_uid, found.st_gid) != owner:
        shortfalls.add(Code.METADATA_NOT_SET, "owner", _NOT_HELD, entry.path)
    if timed and found.st_mtime_ns != mtime:
        shortfalls.add(Code.METADATA_NOT_SET, "modification time", _NOT_HELD, entry.path)
    if permitted and found.st_mode & 0o7777 != mode:
        shortfalls.add(Code.METADATA_NOT_SET, "permissions", _NOT_HELD, entry.path)


def _set_time(handle: int | bytes, mtime: int, entry: Entry, shortfalls: Shortfalls) -> bool:
    try:
        os.utime(handle, ns=(mtime, mtime))
    except OverflowError:
        shortfalls.add(Code.METADATA_NOT_SET, "modification time", _NOT_HELD, entry.path)
        return False
    except OSError as error:
        shortfalls.add_error(Code.METADATA_NOT_SET, "modification time", error, entry.path)
        return False
    return True


def _set_mode(handle: int | bytes, mode: int, entry: Entry, shortfalls: Shortfalls) -> bool:
    try:
        os.chmod(handle, mode)
    except OSError as error:
        shortfalls.add_error(Code.METADATA_NOT_SET, "permissions", error, entry.path)
        return False
    return True


def _handle(fd: int, entry: Entry) -> int | bytes:
    """What system calls take for the very thing that is open, whatever has its name by now."""
    return fd if entry.kind <= _DIRECTORY else b"/proc/self/fd/%d" % fd  # opened without access: calls by fd refuse it


def _set_owner(handle: int | bytes, entry: Entry, owner: Owner, shortfalls: Shortfalls) -> bool:
    """Whether it now belongs to `owner`."""
    try:
        if not (0 <= owner.uid < _NO_ID and 0 <= owner.gid < _NO_ID):
            raise OSError(errno.EINVAL, "no such owner")
        os.chown(handle, owner.uid, owner.gid)
    except OSError as error:
        shortfalls.add_error(Code.METADATA_NOT_SET, "owner", error, entry.path)
        return False
    if not entry.mode & _SET_ID:
        return True
    # Some file systems accept a change of owner and ignore it; no program may then run as somebody else.
    found = os.stat(handle)
    return (found.st_uid, found.st_gid) == owner


def _set_xattrs(handle: int | bytes, entry: Entry, owned: bool, shortfalls: Shortfalls) -> None:
    for name, value in entry.xattrs:
        aspect = f"extended attributes {printable(name.partition(b'.')[0])}.*"
        if not owned and name == b"security.capability":
            shortfalls.add(Code.METADATA_NOT_SET, aspect, _OWNER_LACKING, entry.path)
            continue
        try:
            os.setxattr(handle, name, value)
        except (OSError, ValueError) as error:
            # "No space" and "too big" mean here that one attribute does not fit into its inode or block.
            number = error.errno if isinstance(error, OSError) else errno.EINVAL
            if number == errno.EIO:
                raise
            shortfalls.add(Code.METADATA_NOT_SET, aspect, os.strerror(number or errno.EINVAL), entry.path)


def _remove_strange_acls(fd: int, entry: Entry) -> None:
    """Remove the ACLs that a new path took over from its folder, or an old one had, unless they are recorded."""
    if entry.kind == _SYMLINK:
        return
    handle = _handle(fd, entry)
    recorded = {name for name, _ in entry.xattrs}
    try:
        found = os.listxattr(handle)
    except OSError:
        return  # without attributes there are no ACLs
    for acl in _ACLS:
        if acl in found and acl.encode() not in recorded:
            os.removexattr(handle, acl)


# Bytes and names


def _write_all(fd: int, pieces: Sequence[Buffer], size: int) -> None:
    """Write all pieces, which are `size` bytes together."""
    written = os.write(fd, pieces[0]) if len(pieces) == 1 else 0
    while written < size:
        written += os.writev(fd, _after(pieces, written))


def _after(pieces: Sequence[Buffer], skip: int) -> list[memoryview]:
    """What follows the first `skip` bytes, as far as one call takes it."""
    rest: list[memoryview] = []
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        rest.append(memoryview(piece)[skip:])
        skip = 0
        if len(rest) == _BUFFERS_PER_WRITE_MAX:
            break
    return rest


def _is_unfinished_directory(found: os.stat_result) -> bool:
    mode = stat.S_IMODE(found.st_mode) & ~stat.S_ISGID  # which a folder takes over from the one above it
    return stat.S_ISDIR(found.st_mode) and mode == UNFINISHED_DIRECTORY


def _discard(folder_fd: int, name: bytes) -> None:
    with contextlib.suppress(OSError):  # the error that led here is the one to report
        os.unlink(name, dir_fd=folder_fd)


def _unsafe(path: bytes) -> IntegrityError:
    return IntegrityError(
        f"the manifest names {printable(path) or 'the root'!r}, which is not a plain relative path",
        code=Code.UNSAFE_PATH,
        hint="Nothing was written there. Somebody made this snapshot by hand: do not trust the repository.",
    )


def _disk_failed(path: bytes, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"no space left for {printable(path)} ({error})",
            code=Code.STORE_FULL,
            hint="Free space on the target's disk; then restore again and keep what is there (overwrite=keep).",
        )
    return StorageError.from_os(f"restoring {printable(path)}", error)
