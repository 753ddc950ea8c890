"""The scan: every path of a source with its status, in manifest order, each path once.

A directory is opened and listed before it is handed on, and what is in it is asked for through that descriptor:
nothing that is swapped for a link meanwhile leads the walk astray, and paths may be of any length.
Descriptors and memory are bounded in depth; a directory's names are held while it is walked.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import attrs

from safebackup.backup.metadata import SHORT_PATH_BYTES, open_path
from safebackup.backup.source import Root, Source
from safebackup.errors import Code, ConfigurationError, RefusedError
from safebackup.findings import Finding, Severity, printable

ONE_FILE_SYSTEM = "one-file-system"
CACHE_DIRECTORY = "cache directory"
SOCKET = "socket"

_CACHE_TAG = b"CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_LEVELS_OPEN_MAX = 32  # in a deeper tree those nearest to the root are closed, and opened again on the way back
_CLOSED = -1
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_USUAL_MOUNT_POINT = re.compile(rb"/(?:mnt|media|run/media)(?:/.*)?", re.DOTALL)


class Found(NamedTuple):
    """A path that a scan came to."""

    path: bytes  # in the manifest: b"" or b"a/b"
    absolute: bytes  # where to open it; may be longer than a system call takes
    status: os.stat_result  # from lstat, at the time of the scan


@attrs.define
class _Level:
    """A directory whose entries are being walked."""

    fd: int
    status: os.stat_result
    names: list[bytes]  # those still to come, the next one last
    beneath: int  # the length of the path from the root to its entries

    def close(self) -> None:
        if self.fd != _CLOSED:
            os.close(self.fd)
            self.fd = _CLOSED


class Scan:
    """One pass over a source: iterate, then read `findings`, `excluded` and `complete`.

    Directories come before what is in them. Iterating raises before the first path if a root does not exist
    (`NotFoundError`), or is empty (`RefusedError`), since that is what a disk that is not mounted looks like.
    `excluded` says how many paths each rule left out; what lies beneath such a path is not counted.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.findings: list[Finding] = []
        self.excluded: dict[str, int] = {}
        self._finished = False
        self._stack: list[_Level] = []
        self._folder = b""  # the path of the stack's last
        self._displaced = False
        self._rules = source.rules()
        self._anything_goes = not self._rules.exist and source.larger_than is None

    @property
    def complete(self) -> bool:
        """Whether the scan came to its end and saw everything that no rule leaves out (I10)."""
        return self._finished and all(finding.severity is not Severity.ERROR for finding in self.findings)

    def is_in_place(self) -> bool:
        """Whether the directory that is being walked is still where it was, or was deleted.

        If not, it was moved or its disk was unmounted: what is missing from it then was not deleted.
        """
        if not self._stack:
            return False  # a root that is gone, a file for instance
        level = self._stack[-1]
        try:
            if os.path.samestat(_status_of(self._folder), level.status):
                return True
        except OSError:
            pass
        return level.fd != _CLOSED and os.fstat(level.fd).st_nlink == 0

    def __iter__(self) -> Iterator[Found]:
        self.findings, self.excluded, self._finished, self._displaced = [], {}, False, False
        roots = self.source.roots()
        for root in roots:
            self._refuse_unfit(root)
        for root in roots:
            yield from self._scan_root(root)
        self._finished = True

    def _scan_root(self, root: Root) -> Iterator[Found]:
        level = None
        try:
            status = os.lstat(root.path)
        except OSError as error:
            self._missed(Code.PATH_UNREADABLE, root.path, "was there when the scan began and is gone", error)
            return
        if stat.S_ISDIR(status.st_mode):
            try:
                level = self._listed(root.path, None, root.path, beneath=0)
                status = level.status
            except OSError as error:
                self._missed(Code.PATH_UNREADABLE, root.path, "could not be listed", error)
        try:
            yield Found(root.name, root.path, status)
            if level:
                yield from self._walk(root, level)
        finally:
            if level:
                level.close()

    def _walk(self, root: Root, top: _Level) -> Iterator[Found]:
        in_manifest = root.name + b"/" if root.name else b""
        on_disk = root.path.rstrip(b"/") + b"/"
        anything_goes, lstat, file_type, regular = self._anything_goes, os.lstat, 0o170000, stat.S_IFREG
        beneath, stack = b"", [top]
        self._stack = stack
        try:
            while stack:
                level = stack[-1]
                beneath = beneath[: level.beneath]
                path, absolute, names = in_manifest + beneath, on_disk + beneath, level.names
                self._folder = absolute
                fd = self._descriptor(level, absolute)
                while names:
                    name = names.pop()
                    try:
                        status = lstat(name, dir_fd=fd)
                    except OSError as error:
                        self._unseen(absolute + name, error)
                        continue
                    kind = status.st_mode & file_type
                    if kind == regular and anything_goes:
                        yield Found(path + name, absolute + name, status)
                    elif self._is_excluded(beneath + name, status):
                        continue
                    elif kind != stat.S_IFDIR or self._is_elsewhere(status, top.status):
                        yield Found(path + name, absolute + name, status)
                    elif entered := self._entered(stack, name, absolute + name, status):
                        yield Found(path + name, absolute + name, entered)
                        if stack[-1] is not level:
                            beneath += name + b"/"
                            break
                else:
                    self._leave(stack, absolute)
        finally:
            for level in stack:
                level.close()

    def _entered(
        self, stack: list[_Level], name: bytes, absolute: bytes, status: os.stat_result
    ) -> os.stat_result | None:
        """The status of a directory, which is now the stack's last if it can be listed; None if it is gone."""
        parent = stack[-1]
        try:
            level = self._listed(name, parent, absolute, beneath=parent.beneath + len(name) + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                self._missed(Code.PATH_UNREADABLE, absolute, "was a directory and became something else", error)
                return None
            self._missed(Code.PATH_UNREADABLE, absolute, "could not be listed", error)
            return status
        stack.append(level)
        if len(stack) > _LEVELS_OPEN_MAX:
            stack[-1 - _LEVELS_OPEN_MAX].close()
        return level.status

    def _listed(self, name: bytes, parent: _Level | None, absolute: bytes, *, beneath: int) -> _Level:
        """The directory, opened, with its names; `parent` is None for a root, which is never taken for a cache."""
        fd = os.open(name, _DIRECTORY, dir_fd=parent.fd if parent else None)
        try:
            status = os.fstat(fd)
            # Asked by descriptor, the system's names arrive as text and are turned back into the bytes that they are.
            names = [each.encode(_ENCODING, _ERRORS) for each in os.listdir(fd)]
            names.sort(reverse=True)
            if parent and not names:
                self._suspect_missing_disk(absolute, status, parent.status)
            if parent and self.source.exclude_caches and _is_cache(fd, names):
                self._count(CACHE_DIRECTORY, len(names) - 1)
                names = [_CACHE_TAG]
        except BaseException:
            os.close(fd)
            raise
        return _Level(fd, status, names, beneath)

    def _descriptor(self, level: _Level, absolute: bytes) -> int:
        """The level's descriptor, opened again where it was closed and there is something left to ask."""
        if level.fd != _CLOSED or not level.names:
            return level.fd
        try:
            level.fd = open_path(absolute.rstrip(b"/"), _DIRECTORY)
            if not os.path.samestat(os.fstat(level.fd), level.status):
                raise FileNotFoundError(errno.ENOENT, "another directory is there now")
        except OSError as error:
            left = f"was moved while it was scanned, with {len(level.names):,} of its entries still to come"
            self._missed(Code.PATH_UNREADABLE, absolute, left, error)
            level.names.clear()
        return level.fd

    def _is_excluded(self, relative: bytes, status: os.stat_result) -> bool:
        rule = None
        if self._rules.exist:
            rule = self._rules.verdict(relative, is_dir=stat.S_ISDIR(status.st_mode))
        if rule is None and stat.S_ISSOCK(status.st_mode):
            rule = SOCKET
        limit = self.source.larger_than
        if rule is None and limit is not None and stat.S_ISREG(status.st_mode) and status.st_size > limit:
            rule = f"larger than {limit} bytes"
        if rule is None:
            return False
        self._count(rule, 1)
        return True

    def _is_elsewhere(self, status: os.stat_result, top: os.stat_result) -> bool:
        """Whether the walk stops at this mount point; the directory itself is stored."""
        if not self.source.one_file_system or status.st_dev == top.st_dev:
            return False
        self._count(ONE_FILE_SYSTEM, 1)
        return True

    def _count(self, rule: str, paths: int) -> None:
        self.excluded[rule] = self.excluded.get(rule, 0) + paths

    def _unseen(self, absolute: bytes, error: OSError) -> None:
        if error.errno != errno.ENOENT:  # what went before it was seen was never there
            self._missed(Code.PATH_UNREADABLE, absolute, "could not be examined", error)

    def _leave(self, stack: list[_Level], absolute: bytes) -> None:
        if not self._displaced and not self.is_in_place():
            self._displaced = True  # said once: it holds for all that is above and comes after
            gone = OSError(errno.ENOENT, "another directory is there now, or none")
            where = absolute.rstrip(b"/") or absolute
            self._missed(Code.PATH_UNREADABLE, where, "was moved, or its disk unmounted, while it was read", gone)
        stack.pop().close()

    def _missed(self, code: Code, absolute: bytes, what: str, error: OSError) -> None:
        subject = printable(absolute)
        self.findings.append(
            Finding(
                code=code,
                severity=Severity.ERROR,
                what=f'"{subject}" {what}: {_named(error)}; what it holds is not in this snapshot',
                action="Let the user of the backup read it, or exclude it on purpose."
                if error.errno in (errno.EACCES, errno.EPERM)
                else "Look at this path and its disk, then back up again.",
                subject=subject,
            )
        )

    def _suspect_missing_disk(self, absolute: bytes, status: os.stat_result, parent: os.stat_result) -> None:
        mounted = status.st_dev != parent.st_dev
        if not mounted and (self.source.one_file_system or absolute not in self._expected_mounts):
            return
        subject = printable(absolute)
        state = (
            "a mounted file system that is empty" if mounted else "empty, and what /etc/fstab puts there is not mounted"
        )
        self.findings.append(
            Finding(
                code=Code.EMPTY_MOUNT_POINT,
                severity=Severity.WARNING,
                what=f'"{subject}" is {state}',
                action="Check that the right disk is mounted there, or exclude it on purpose.",
                subject=subject,
            )
        )

    def _refuse_unfit(self, root: Root) -> None:
        try:
            status = os.lstat(root.path)
            if stat.S_ISSOCK(status.st_mode):
                raise ConfigurationError(
                    f'"{printable(root.path)}" is a socket, which holds nothing', hint="Name a file or a directory."
                )
            if not stat.S_ISDIR(status.st_mode) or self.source.allow_empty:
                return
            with os.scandir(root.path) as listing:
                if next(listing, None) is not None:
                    return
        except OSError:
            return  # the walk meets it again and reports it
        raise RefusedError(
            f'"{printable(root.path)}" is {self._emptiness(root.path, status)}; nothing was backed up',
            code=Code.EMPTY_SOURCE,
            hint="If it is meant to be empty, say so with allow_empty=True.",
        )

    def _emptiness(self, absolute: bytes, status: os.stat_result) -> str:
        if os.path.ismount(absolute):
            return "the root of a mounted file system that is empty: is the right disk mounted?"
        on_system_disk = status.st_dev == os.stat(b"/").st_dev
        if absolute in self._expected_mounts or (on_system_disk and _USUAL_MOUNT_POINT.fullmatch(absolute)):
            return "empty and looks like a mount point without its disk: is the disk mounted?"
        return "an empty directory: is it the right one?"

    @cached_property
    def _expected_mounts(self) -> frozenset[bytes]:
        """Where /etc/fstab says that something is to be mounted."""
        try:
            with open("/etc/fstab", "rb") as table:
                rows = [line.split() for line in table if not line.lstrip().startswith(b"#")]
        except OSError:
            return frozenset()
        return frozenset(re.sub(rb"\\([0-7]{3})", _octal, row[1]) for row in rows if len(row) > 1)


def _status_of(folder: bytes) -> os.stat_result:
    path = folder.rstrip(b"/") or b"/"
    if len(path) <= SHORT_PATH_BYTES:
        return os.lstat(path)
    fd = open_path(path, _DIRECTORY)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _octal(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 8) & 0xFF])


def _named(error: OSError) -> str:
    return f"{errno.errorcode.get(error.errno or 0, error.errno)} ({error.strerror})"


def _is_cache(fd: int, names: list[bytes]) -> bool:
    """Whether the directory declares itself a cache; one whose tag cannot be read is stored."""
    if _CACHE_TAG not in names:
        return False
    try:
        tag = os.open(_CACHE_TAG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
    except OSError:
        return False
    try:
        is_file = stat.S_ISREG(os.fstat(tag).st_mode)
        return is_file and os.read(tag, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(tag)
