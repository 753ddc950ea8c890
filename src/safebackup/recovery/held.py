"""A folder that is held open, so that it can be removed wherever somebody has moved it."""

from __future__ import annotations

import errno
import os

import attrs

from safebackup.findings import printable


@attrs.define
class Held:
    """A folder that is held open: it is the same one, whatever becomes of its path."""

    path: bytes  # where it was made
    fd: int
    above_fd: int  # the folder that it was made in

    @property
    def now(self) -> bytes:
        """Where it is now; the path where it was made if that is not known, or if it is nowhere."""
        if _is_at(self.path, self.fd):
            return self.path
        try:
            told = os.readlink(b"/proc/self/fd/%d" % self.fd)
        except OSError:
            return self.path
        return told if _is_at(told, self.fd) else self.path

    def wandered(self) -> str:
        """What became of it, if it is not where it was made; else ""."""
        if _is_at(self.path, self.fd):
            return ""
        return f"was moved to {printable(self.now)}" if self.now != self.path else "is not there any more"

    def remove_empty(self) -> None:
        """Remove it, which is empty, where it was made or where it is now.

        Raises:
            OSError: it is not empty, or nobody can tell where it is.
        """
        if not os.fstat(self.fd).st_nlink:
            return  # somebody else has removed it
        name = os.path.basename(self.path)
        if _is_at(name, self.fd, self.above_fd):
            os.rmdir(name, dir_fd=self.above_fd)
        elif _is_at(self.now, self.fd):
            os.rmdir(self.now)
        else:
            raise FileNotFoundError(errno.ENOENT, "it was moved, and is empty")


def _is_at(path: bytes, fd: int, above_fd: int | None = None) -> bool:
    try:
        return os.path.samestat(os.stat(path, dir_fd=above_fd, follow_symlinks=False), os.fstat(fd))
    except OSError:
        return False
