"""Reading a file so that what was read belongs to one state of it, or is marked as torn.

A file is torn if what lstat said when it was found differs from what fstat says after its size plus one byte were
read. It is then read again, a bounded number of times, and otherwise kept with a mark.
"""

from __future__ import annotations

import errno
import os
import stat

import attrs

from safebackup.backup.metadata import open_path, read_xattrs

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOATIME", 0)
_TRIES = 3
GONE = (errno.ENOENT,)  # what became something else is missing, not gone


class BecameLargeError(Exception):
    """The file has outgrown a single read since it was found."""


@attrs.frozen
class WholeFile:
    """A small file, read at once: how many bytes it has, and the status that goes with them."""

    size_bytes: int
    status: os.stat_result
    torn: bool
    xattrs: tuple[tuple[bytes, bytes], ...]
    xattrs_error: OSError | None


def open_file(absolute: bytes) -> int:
    """A descriptor that reads a regular file without touching its access time where that is allowed.

    Raises:
        OSError: it cannot be opened, or is no regular file any more (`ENXIO`).
    """
    try:
        handle = open_path(absolute, _READ)
    except PermissionError:
        # Only the owner and root may ask for O_NOATIME.
        handle = open_path(absolute, _READ & ~getattr(os, "O_NOATIME", 0))
    return handle


def read_whole(absolute: bytes, found: os.stat_result, into: memoryview, *, most: int) -> WholeFile:
    """Read a file of at most `most` bytes to the beginning of `into`, which has room for two bytes more.

    Raises:
        OSError: it cannot be read, or is gone.
        BecameLargeError: it has grown beyond `most`.
    """
    handle = open_file(absolute)
    try:
        expected = found
        for attempt in range(_TRIES):
            if attempt:
                os.lseek(handle, 0, os.SEEK_SET)
                expected = os.fstat(handle)
            if expected.st_size > most or not stat.S_ISREG(expected.st_mode):
                _raise_unfit(expected)
            size = _read(handle, into[: expected.st_size + 1])
            status = os.fstat(handle)
            if size == status.st_size and unchanged(expected, status):
                return WholeFile(size, status, False, *_xattrs(handle))
        os.lseek(handle, 0, os.SEEK_SET)
        # /proc has files of "0 bytes" with content, so the end is where reading ends.
        size = _read(handle, into[: most + 2])
        if size > most:
            raise BecameLargeError
        return WholeFile(size, os.fstat(handle), True, *_xattrs(handle))
    finally:
        os.close(handle)


def _raise_unfit(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        raise BecameLargeError
    raise OSError(errno.ENXIO, "it is no regular file any more")


def _read(handle: int, into: memoryview) -> int:
    size = os.readv(handle, [into])
    # One byte less than asked for is the whole file; still less is a network file system, or a file that shrank.
    while size < len(into) - 1:
        more = os.readv(handle, [into[size:]])
        if not more:
            break
        size += more
    return size


def _xattrs(handle: int) -> tuple[tuple[tuple[bytes, bytes], ...], OSError | None]:
    try:
        return read_xattrs(handle), None
    except OSError as error:
        return (), error


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file is still in the state that `before` describes."""
    return (
        before.st_size == after.st_size
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_ino == after.st_ino
    )
