"""What a file system says of a path beyond its lstat: attributes, link targets, owners, hard links, holes."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from blake3 import blake3

SHORT_PATH_BYTES = 4000  # Linux takes 4,095 bytes in one call

_NEARER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)


def open_path(absolute: bytes, flags: int) -> int:
    """A file descriptor on an absolute path of any length; the caller closes it."""
    if len(absolute) <= SHORT_PATH_BYTES:
        return os.open(absolute, flags)
    with _near(absolute) as (folder, rest):
        return os.open(rest, flags, dir_fd=folder)


@contextmanager
def _near(absolute: bytes) -> Iterator[tuple[int, bytes]]:
    """A descriptor on a directory above `absolute`, and the short path that leads on from it."""
    folder = os.open(b"/", _NEARER)
    rest = absolute.lstrip(b"/")
    try:
        # A piece without a slash is a name that no file system takes: the call that uses it says so.
        while len(rest) > SHORT_PATH_BYTES and (cut := rest.rfind(b"/", 0, SHORT_PATH_BYTES)) > 0:
            nearer = os.open(rest[:cut], _NEARER, dir_fd=folder)
            os.close(folder)
            folder, rest = nearer, rest[cut:].lstrip(b"/")
        yield folder, rest
    finally:
        os.close(folder)


def read_target(absolute: bytes) -> bytes:
    """What a symbolic link says."""
    if len(absolute) <= SHORT_PATH_BYTES:
        return os.readlink(absolute)
    with _near(absolute) as (folder, rest):
        return os.readlink(rest, dir_fd=folder)


def read_xattrs(where: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    """Names and values of all extended attributes that may be seen, ACLs and capabilities among them, sorted by name.

    `where` is an absolute path, whose last link is not followed, or an open file. A file system without
    attributes answers ().

    Raises:
        OSError: they could not be read, so that the answer would be incomplete.
    """
    if isinstance(where, bytes) and len(where) > SHORT_PATH_BYTES:
        with _near(where) as (folder, rest):
            return read_xattrs(b"/proc/self/fd/%d/%s" % (folder, rest))
    follow = isinstance(where, int)  # for a descriptor the system calls know no other way
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return ()
        raise
    found = []
    for name in names:
        try:
            found.append((os.fsencode(name), os.getxattr(where, name, follow_symlinks=follow)))
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:  # gone since it was listed
                raise
    return tuple(sorted(found))


class Owners:
    """The names of users and groups, each looked up once; for one run, since accounts change."""

    def __init__(self) -> None:
        self._users: dict[int, bytes] = {}
        self._groups: dict[int, bytes] = {}

    def user(self, uid: int) -> bytes:
        """The name of a user, b"" if this machine knows none."""
        name = self._users.get(uid)
        if name is None:
            try:
                name = os.fsencode(pwd.getpwuid(uid).pw_name)
            except KeyError:
                name = b""
            self._users[uid] = name
        return name

    def group(self, gid: int) -> bytes:
        """The name of a group, b"" if this machine knows none."""
        name = self._groups.get(gid)
        if name is None:
            try:
                name = os.fsencode(grp.getgrgid(gid).gr_name)
            except KeyError:
                name = b""
            self._groups[gid] = name
        return name


class HardLinks:
    """Which entries are names of one file: a group id that is the same in the next run.

    Device numbers change when a machine starts anew, so that a device goes by the first manifest path
    met on it: give every entry to `group`, in manifest order. `key` is 32 bytes and serves nothing else.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._labels: dict[int, bytes] = {}

    def group(self, path: bytes, status: os.stat_result) -> bytes:
        """8 bytes that all names of this file share, or b"" for a directory and for a file with one name."""
        device = status.st_dev
        if device not in self._labels:
            self._labels[device] = path
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
            return b""
        # No path holds a NUL, so that no two pairs of label and number give the same bytes.
        named = b"%s\0%d" % (self._labels[device], status.st_ino)
        return blake3(named, key=self._key).digest(length=8)


def may_have_holes(status: os.stat_result) -> bool:
    """Whether fewer blocks are allotted than the size needs: worth asking `data_extents`."""
    return status.st_blocks * 512 < status.st_size


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """(offset, length, is_hole) from 0 to `size` without a gap; moves the file's position.

    What cannot be told, because the file system has no holes or the file is changing, is data.
    """
    at = 0
    while at < size:
        try:
            data = min(os.lseek(fd, at, os.SEEK_DATA), size)
        except OSError as error:
            # ENXIO: nothing but a hole from here on.
            yield at, size - at, error.errno == errno.ENXIO
            return
        if data > at:
            yield at, data - at, True
        if data >= size:
            return
        try:
            at = min(os.lseek(fd, data, os.SEEK_HOLE), size)
        except OSError:
            at = size
        if at <= data:
            at = size
        yield data, at - data, False
