"""Reading one side of a comparison without leaving a trace on it.

Every path is first opened without access (O_PATH), by its parent's descriptor, and everything is asked of that
descriptor: nothing that is swapped for a link or a device meanwhile is followed or opened, and paths may be of any
length.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Self

import attrs

_PLACE = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW
_NO_ATIME = getattr(os, "O_NOATIME", 0)
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
CLOSED = -1


class SideError(Exception):
    """A system call failed on one side, "expected" or "restored", so that the path cannot be compared."""

    def __init__(self, side: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        super().__init__(f"{side}: {name} ({error.strerror or error})")


@attrs.define(eq=False)
class Node:
    """A path that is held open without access, and its status when it was opened."""

    fd: int
    status: os.stat_result
    side: str

    @classmethod
    def at(cls, path: bytes, side: str) -> Self:
        """The root of a side; a link there is followed.

        Raises:
            OSError: it is not there, or may not be reached.
        """
        return cls._of(os.open(path, _PLACE & ~os.O_NOFOLLOW), side)

    def child(self, name: bytes) -> Self:
        """What has this name in this folder.

        Raises:
            OSError: it is not there any more, or may not be reached.
        """
        return self._of(os.open(name, _PLACE, dir_fd=self.fd), self.side)

    @classmethod
    def _of(cls, fd: int, side: str) -> Self:
        try:
            return cls(fd, os.fstat(fd), side)
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Let go of it; harmless when that was done before."""
        if self.fd != CLOSED:
            os.close(self.fd)
            self.fd = CLOSED

    def moved(self) -> Self:
        """The same, held by its receiver from now on; this one is closed."""
        fd, self.fd = self.fd, CLOSED
        return type(self)(fd, self.status, self.side)

    def reopen_from(self, child: Self) -> None:
        """Hold a closed folder again, coming from a folder in it.

        Raises:
            SideError: the child was moved elsewhere meanwhile.
        """
        try:
            above = self._of(os.open(b"..", _PLACE | os.O_DIRECTORY, dir_fd=child.fd), self.side)
        except OSError as error:
            raise SideError(self.side, error) from error
        if not os.path.samestat(above.status, self.status):
            above.close()
            raise SideError(self.side, FileNotFoundError(errno.ENOENT, "it was moved while it was compared"))
        self.fd = above.fd

    @property
    def kind(self) -> int:
        """The file type bits."""
        return stat.S_IFMT(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether there may be something in it."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def may_have_holes(self) -> bool:
        """Whether fewer blocks are allotted than the size needs."""
        return self.status.st_blocks * 512 < self.status.st_size

    def status_now(self) -> os.stat_result:
        """The status asked again."""
        try:
            return os.fstat(self.fd)
        except OSError as error:
            raise SideError(self.side, error) from error

    def names(self) -> list[bytes]:
        """What is in this folder, the last name first."""
        fd = self.open(os.O_DIRECTORY)
        try:
            # Asked by descriptor, the system's names arrive as text and are turned back into the bytes that they are.
            names = [name.encode(_ENCODING, _ERRORS) for name in os.listdir(fd)]
        except OSError as error:
            raise SideError(self.side, error) from error
        finally:
            os.close(fd)
        names.sort(reverse=True)
        return names

    def open(self, flags: int = 0) -> int:
        """A descriptor that reads this very folder or regular file; the caller closes it."""
        try:
            try:
                return os.open(self._by_descriptor, os.O_RDONLY | os.O_NONBLOCK | _NO_ATIME | flags)
            except PermissionError:
                # Only the owner and root may leave the access time alone.
                return os.open(self._by_descriptor, os.O_RDONLY | os.O_NONBLOCK | flags)
        except OSError as error:
            raise SideError(self.side, error) from error

    def target(self) -> bytes:
        """What a symbolic link says."""
        try:
            return os.readlink(b"", dir_fd=self.fd)
        except OSError as error:
            raise SideError(self.side, error) from error

    def xattrs(self) -> dict[bytes, bytes]:
        """All extended attributes that this user may see; none where the file system knows none."""
        try:
            names = os.listxattr(self._by_descriptor)
            return {os.fsencode(name): os.getxattr(self._by_descriptor, name) for name in names}
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return {}
            raise SideError(self.side, error) from error

    @property
    def _by_descriptor(self) -> bytes:
        return b"/proc/self/fd/%d" % self.fd
