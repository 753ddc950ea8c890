"""What one path is on the expected side, held against what it is on the restored side."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from typing import TypeAlias

import attrs

from safebackup.comparing.reading import Node, SideError
from safebackup.comparing.report import Aspect
from safebackup.findings import printable

Told: TypeAlias = tuple[Aspect, str]

_BLOCK_BYTES = 1 << 20
_SECOND = 1_000_000_000
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class HardLinks:
    """Which paths of one side are names of one file, told by the number of the first of them.

    Memory grows with the files of which not all names were met yet.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], tuple[int, int]] = {}

    def first(self, status: os.stat_result, number: int) -> int:
        """The number of the first path that was a name of this file; `number` if that is this one."""
        if status.st_nlink < 2:
            return number
        key = status.st_dev, status.st_ino
        first, left = self._open.pop(key, (number, status.st_nlink))
        if left > 1:
            self._open[key] = first, left - 1
        return first


def metadata_differences(expected: Node, restored: Node, *, owners: bool) -> Iterator[Told]:
    """Mode, owner, modification time and extended attributes of two paths of one kind.

    Raises:
        SideError: one of them could not be asked.
    """
    wanted, found = expected.status, restored.status
    modes = stat.S_IMODE(wanted.st_mode), stat.S_IMODE(found.st_mode)
    if modes[0] != modes[1] and not stat.S_ISLNK(wanted.st_mode):  # a link has no mode of its own
        yield Aspect.MODE, f"mode {modes[1]:04o} instead of {modes[0]:04o}"
    if owners and (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        yield (
            Aspect.OWNER,
            f"owner {found.st_uid}:{found.st_gid} instead of {wanted.st_uid}:{wanted.st_gid}",
        )
    if wanted.st_mtime_ns != found.st_mtime_ns:
        yield Aspect.MTIME, f"modified {_moment(found.st_mtime_ns)} instead of {_moment(wanted.st_mtime_ns)}"
    attributes = expected.xattrs(), restored.xattrs()
    if attributes[0] != attributes[1]:
        names = sorted({name for name, _ in attributes[0].items() ^ attributes[1].items()})
        yield Aspect.XATTRS, f"extended attributes differ: {', '.join(map(printable, names[:5]))}"


def nature_differences(expected: Node, restored: Node) -> Iterator[Told]:
    """What two paths of one kind are without reading: a file's size, a link's target, a device's numbers.

    Raises:
        SideError: one of them could not be asked.
    """
    if expected.kind == stat.S_IFREG:
        sizes = expected.status.st_size, restored.status.st_size
        if sizes[0] != sizes[1]:
            yield Aspect.SIZE, f"{_bytes(sizes[1])} instead of {sizes[0]:,}"
    elif expected.kind == stat.S_IFLNK:
        targets = expected.target(), restored.target()
        if targets[0] != targets[1]:
            yield Aspect.TARGET, f'links to "{printable(targets[1])}" instead of "{printable(targets[0])}"'
    elif expected.kind in (stat.S_IFCHR, stat.S_IFBLK) and expected.status.st_rdev != restored.status.st_rdev:
        yield (
            Aspect.DEVICE,
            f"device {_device(restored.status.st_rdev)} instead of {_device(expected.status.st_rdev)}",
        )


def kind_difference(expected: Node, restored: Node) -> Told | None:
    """Whether one is a file and the other a folder, and so on."""
    if expected.kind == restored.kind:
        return None
    return Aspect.KIND, f"{nature_of(restored)} instead of {nature_of(expected)}"


def nature_of(node: Node) -> str:
    """What a path is, in words."""
    kind = _KINDS.get(node.kind, "unknown")
    return f"{kind} of {_bytes(node.status.st_size)}" if node.kind == stat.S_IFREG else kind


@attrs.frozen
class ContentComparison:
    """How far two files were found the same; `first_difference` is the offset of a byte, None if they are the same."""

    length: int
    first_difference: int | None


def compare_content(expected: Node, restored: Node) -> ContentComparison:
    """Read two regular files to the end or to the first byte that differs; what is a hole in both is not read.

    Raises:
        SideError: one of them could not be read.
    """
    left = expected.open()
    try:
        right = restored.open()
        try:
            sides = (left, expected), (right, restored)
            return _compare_open(sides, skip_holes=expected.may_have_holes and restored.may_have_holes)
        finally:
            os.close(right)
    finally:
        os.close(left)


def _compare_open(sides: tuple[tuple[int, Node], tuple[int, Node]], *, skip_holes: bool) -> ContentComparison:
    at = 0
    while True:
        if skip_holes:
            at = max(at, min(_next_data(fd, at, node.status.st_size) for fd, node in sides))
        wanted, found = (_read(fd, node, at) for fd, node in sides)
        if wanted != found:
            return ContentComparison(at, at + _first_difference(wanted, found))
        at += len(wanted)
        # Reading goes on to the end instead of to the size: some files of the kernel say 0 and have content.
        if len(wanted) < _BLOCK_BYTES:
            return ContentComparison(at, None)


def _next_data(fd: int, at: int, size: int) -> int:
    """Where the next byte is that may be no zero; `size` if there is none."""
    try:
        return min(os.lseek(fd, at, os.SEEK_DATA), size)
    except OSError as error:
        return size if error.errno == errno.ENXIO else at


def _read(fd: int, node: Node, at: int) -> bytes:
    """A whole block, or less at the end of the file only."""
    try:
        block = os.pread(fd, _BLOCK_BYTES, at)
        while 0 < len(block) < _BLOCK_BYTES and (more := os.pread(fd, _BLOCK_BYTES - len(block), at + len(block))):
            block += more
    except OSError as error:
        raise SideError(node.side, error) from error
    return block


def _first_difference(one: bytes, other: bytes) -> int:
    """By halves: comparing long pieces is much quicker than looking at each byte."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def is_unchanged(before: os.stat_result, now: os.stat_result) -> bool:
    """Whether a file has not been written to since `before`."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _moment(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, _SECOND)
    try:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"
    except (ValueError, OverflowError, OSError):
        return f"{nanoseconds} ns after 1970"  # a year that no calendar here knows


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count:,} bytes"
