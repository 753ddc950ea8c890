"""The target folder of a restore: opening it, reaching its directories, giving names in it, syncing it.

Nothing outside the target is ever written, whatever a manifest says and whoever else writes into the target: each
directory is opened by one name at a time, below a descriptor of the one above it, and no symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections import OrderedDict
from enum import StrEnum
from types import TracebackType
from typing import Self

import attrs

from safebackup.errors import Code, IntegrityError, RefusedError, StorageError
from safebackup.findings import printable
from safebackup.recovery.metadata import Owner

LOST_AND_FOUND = b"lost+found"  # is in each new ext4 file system, the natural place to restore a lost disk to

# The sticky bit means hardly anything on a private folder: no real one has this mode.
UNFINISHED_DIRECTORY = 0o1700

_NO_NAMES = (b"", b".", b"..")
_OPEN_FOLDERS_MAX = 64
_SOMEBODY_ELSE = 65534
PRIVATE = 0o600  # of what is not finished
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# What says that this file system, or what guards it, makes no hard links.
NO_LINKS_HERE = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class Overwrite(StrEnum):
    """What happens where the target already holds something."""

    REFUSE = "refuse"  # the target must be missing or empty
    KEEP = "keep"  # what is there stays as it is; folders that an interrupted restore left unfinished are completed
    REPLACE = "replace"  # files are replaced one by one, folders merged, nothing is deleted


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


def require_target(path: bytes, overwrite: Overwrite) -> None:
    """Refuse what `open_target` would refuse, without making anything.

    Raises:
        RefusedError, StorageError: as for `open_target`.
    """
    if os.path.lexists(path):
        with open_target(path, overwrite):
            pass


def _require_empty(fd: int, path: bytes) -> None:
    found = {os.fsencode(name) for name in os.listdir(fd)} - {LOST_AND_FOUND}
    if found:
        example = printable(min(found))
        raise RefusedError(
            f"the target {printable(path)} is not empty: it holds {len(found):,} names, such as {example!r}",
            code=Code.TARGET_NOT_EMPTY,
            hint='Restore to a new folder. To complete an interrupted restore, keep what is there (overwrite="keep").',
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
        raise disk_failed(target.path, OSError(number, os.strerror(number)))


@attrs.define(eq=False)
class Folder:
    """An open directory, and what the file system gives to each new file in it."""

    fd: int
    gives_acl: bool  # it has a default ACL
    gives: Owner | None = None  # who owns a new file: depends on setgid and on the mount, so the first one tells
    takes_nameless: bool | None = None  # files can be written without a name; unknown before the first


class Folders:
    """Directories of a target, reached name by name and some of them held open; not for several threads at once."""

    def __init__(self, target: Target) -> None:
        self._root = _describe(target.fd)
        self._open: OrderedDict[bytes, Folder] = OrderedDict()
        # Most paths lie where the one before lay, so that one is at hand without a look into the cache.
        self._last_path = b""
        self._last = self._root

    def close(self) -> None:
        """Close the directories that are held open; the target stays open."""
        while self._open:
            os.close(self._open.popitem()[1].fd)
        self._last_path, self._last = b"", self._root

    def locate(self, path: bytes) -> tuple[Folder, bytes]:
        """The open directory that `path` lies in, and its name there; the next calls may close that directory.

        Raises:
            IntegrityError: it is no plain relative path.
            OSError: a directory above it is missing, or is none.
        """
        parent, _, name = path.rpartition(b"/")
        if name in _NO_NAMES or b"\0" in name or path.startswith(b"/"):
            raise _unsafe(path)
        if parent == self._last_path:
            return self._last, name
        self._last = self.open(parent)
        self._last_path = parent
        return self._last, name

    def open(self, path: bytes) -> Folder:
        """The directory at `path`, reached name by name from the nearest one that is still open; as for `locate`."""
        above, missing = path, []
        while above and above not in self._open:
            above, _, name = above.rpartition(b"/")
            if name in _NO_NAMES or b"\0" in name or path.startswith(b"/"):
                raise _unsafe(path)
            missing.append(name)
        folder = self._root
        if above:
            folder = self._open[above]
            self._open.move_to_end(above)
        for name in reversed(missing):
            folder = _describe(os.open(name, _OPEN_FOLDER, dir_fd=folder.fd))
            above = above + b"/" + name if above else name
            self._remember(above, folder)
        return folder

    def _remember(self, path: bytes, folder: Folder) -> None:
        self._open[path] = folder
        if len(self._open) > _OPEN_FOLDERS_MAX:
            evicted_path, evicted = self._open.popitem(last=False)
            os.close(evicted.fd)
            if evicted_path == self._last_path:  # its descriptor's number may soon stand for another folder
                self._last_path, self._last = b"", self._root


def _describe(fd: int) -> Folder:
    try:
        os.getxattr(fd, "system.posix_acl_default")
        gives_acl = True
    except OSError:
        gives_acl = False
    return Folder(fd, gives_acl)


# Names


@attrs.frozen
class Draft:
    """A file that is being written and does not have its final name yet."""

    fd: int
    folder_fd: int
    temporary: bytes | None  # None: it has no name at all and goes away with its descriptor

    def give(self, name: bytes) -> None:
        """Let it appear as `name`, whole and at once; FileExistsError where something has that name."""
        if self.temporary is None:
            _give_first_name(self.fd, name, self.folder_fd)
        else:
            give_another_name(self.temporary, name, self.folder_fd)

    def close(self) -> None:
        """Let go of it; what was given no name is gone then."""
        os.close(self.fd)
        if self.temporary is not None:
            discard(self.folder_fd, self.temporary)


def begin_draft(folder_fd: int, temporary: bytes | None) -> Draft:
    """A new file to be written, under a temporary name or, with None, without any."""
    if temporary is None:
        fd = os.open(b".", _CREATE_NAMELESS, PRIVATE, dir_fd=folder_fd)
    else:
        fd = os.open(temporary, _CREATE, PRIVATE, dir_fd=folder_fd)
    return Draft(fd, folder_fd, temporary)


def _give_first_name(fd: int, name: bytes, folder_fd: int) -> None:
    """Name a file that was created without a name."""
    os.link(b"/proc/self/fd/%d" % fd, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=True)


def give_another_name(temporary: bytes, name: bytes, folder_fd: int) -> None:
    """Name what has a temporary name, which may be gone afterwards; FileExistsError where something has that name."""
    try:
        os.link(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS_HERE:
            raise
    else:
        return
    # Reserve the name, exclusively, and rename over the reservation: nothing of anybody else is replaced then.
    os.close(os.open(name, _CREATE, PRIVATE, dir_fd=folder_fd))
    try:
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        discard(folder_fd, name)
        raise


def try_nameless(folder_fd: int, name: bytes) -> bool:
    """Whether a file can be created without a name and get one later: it takes the file system, links and /proc."""
    try:
        fd = os.open(b".", _CREATE_NAMELESS, PRIVATE, dir_fd=folder_fd)
        try:
            # A process may be allowed to give files away, and not to link what is somebody else's by then.
            with contextlib.suppress(OSError):
                os.chown(fd, _SOMEBODY_ELSE, -1)
            _give_first_name(fd, name, folder_fd)
        finally:
            os.close(fd)
        os.unlink(name, dir_fd=folder_fd)
    except OSError:
        return False
    return True


def discard(folder_fd: int, name: bytes) -> None:
    """Remove a temporary name, if it is there."""
    with contextlib.suppress(OSError):  # the error that led here is the one to report
        os.unlink(name, dir_fd=folder_fd)


# Errors


def _unsafe(path: bytes) -> IntegrityError:
    return IntegrityError(
        f"the manifest names {printable(path) or 'the root'!r}, which is not a plain relative path",
        code=Code.UNSAFE_PATH,
        hint="Nothing was written there. Somebody made this snapshot by hand: do not trust the repository.",
    )


def disk_failed(path: bytes, error: OSError) -> StorageError:
    """What to raise where the disk of the target failed or is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"no space left for {printable(path)} ({error})",
            code=Code.STORE_FULL,
            hint='Free space on the target\'s disk; then restore again and keep what is there (overwrite="keep").',
        )
    return StorageError.from_os(f"restoring {printable(path)}", error)
