"""Private files that have no name until they are published.

On Linux such a file is in no folder at all, so that a crash leaves nothing. Where a file system cannot do that, it is
a hidden file `.safebackup-…part`, which may be removed while no writer is at work.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from safebackup.errors import Code, StorageError

_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
_NAME = re.compile(r"\.safebackup-[0-9a-f]{16}\.part")
_NO_LINKS = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EINVAL)


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Turn a failed system call into an error of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"{what}: no space left ({error.strerror})",
                code=Code.STORE_FULL,
                hint="Nothing was published. Free space there, or name a larger folder with scratch=, and start again.",
            ) from error
        raise StorageError.from_os(what, error) from error


def is_temporary(name: str) -> bool:
    """Whether a file in a folder is one of these, at work or left by a crash."""
    return _NAME.fullmatch(name) is not None


class Temporary:
    """A file for its owner alone, in the folder that the descriptor `folder` is open on; `close` discards it.

    With `within`, the path of that folder, it has a `path` from the start, for libraries that want one.
    """

    def __init__(self, folder: int, *, within: str | None = None) -> None:
        self._folder = folder
        self._name = ""
        self.fd = self._unnamed() if within is None else -1
        if self.fd < 0:
            self._name = f".safebackup-{secrets.token_hex(8)}.part"
            self.fd = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        # Not through /proc: asyncssh takes that for a symbolic link and stores the link.
        self.path = "" if within is None else os.path.join(within, self._name)

    def _unnamed(self) -> int:
        if not hasattr(os, "O_TMPFILE"):
            return -1
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        except OSError as error:
            if error.errno in _NO_UNNAMED_FILES:
                return -1
            raise
        if not os.path.exists(f"/proc/self/fd/{fd}"):  # without /proc it could never be given a name
            os.close(fd)
            return -1
        return fd

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.fd, rest) :]
        return len(data)

    def name_it(self, name: str) -> None:
        """Make it durable and visible as `name`; `FileExistsError` if that is taken."""
        os.fsync(self.fd)
        try:
            # Given folder descriptors, Python follows the link in /proc; without them it would link that link.
            at = self._name or f"/proc/self/fd/{self.fd}"
            os.link(at, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True)
        except FileExistsError:
            # A network disk may have done it and lost the answer.
            if not os.path.samestat(os.fstat(self.fd), os.stat(name, dir_fd=self._folder, follow_symlinks=False)):
                raise
        except OSError as error:
            if error.errno not in _NO_LINKS or not self._name:
                raise
            self._rename(name)

    def _rename(self, name: str) -> None:
        # A file system without hard links: two writers of one name that race could replace each other here.
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._name = ""

    def take_back(self, name: str) -> None:
        """Remove `name` if it is this file; what is another's, or not there, is left alone."""
        with suppress(OSError):
            if os.path.samestat(os.fstat(self.fd), os.stat(name, dir_fd=self._folder, follow_symlinks=False)):
                os.unlink(name, dir_fd=self._folder)

    def close(self) -> None:
        """Let go of it; if it was not named it is gone."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        if self._name:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
