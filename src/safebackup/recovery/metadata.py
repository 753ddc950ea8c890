"""Metadata: owner, attributes, ACLs, time and mode of a restored path, and what of them could not be set."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import NamedTuple, TypeAlias

from safebackup.errors import Code
from safebackup.findings import Finding, Severity, printable
from safebackup.format.manifest import Entry, EntryKind, stored_to_time

NO_CONSENT = "no consent to device nodes"
NO_PROC = "/proc is not mounted"
_NOT_HELD = "the file system does not hold this value"
_OWNER_LACKING = "the owner could not be set"

_SET_ID = stat.S_ISUID | stat.S_ISGID
_NO_ID = (1 << 32) - 1  # chown takes it for "leave as it is"
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)

# What is wrong with one path only. Every other error is the disk's or the machine's and stops the restore.
ERRORS_OF_ONE_PATH = frozenset(
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


class Owner(NamedTuple):
    """Who is to own a path on this machine."""

    uid: int
    gid: int


ShortfallCounts: TypeAlias = dict[tuple[Code, str, str], tuple[int, bytes]]


class Shortfalls:
    """Counts what could not be set as recorded, by kind and cause; one for all placers of a restore, thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: ShortfallCounts = {}  # by kind, aspect and cause: how many, and the first of them

    def add(self, code: Code, aspect: str, cause: str, path: bytes) -> None:
        """`aspect` of `path` is not as recorded, because of `cause`."""
        with self._lock:
            count, first = self._seen.get((code, aspect, cause), (0, path))
            self._seen[code, aspect, cause] = (count + 1, first)

    def add_error(self, code: Code, aspect: str, error: OSError, path: bytes) -> None:
        """The same for a failed system call; an error that is not this path's own is raised again."""
        if error.errno not in ERRORS_OF_ONE_PATH:
            raise error
        self.add(code, aspect, os.strerror(error.errno), path)

    def counts(self) -> ShortfallCounts:
        """What was counted so far, to be added to others."""
        with self._lock:
            return dict(self._seen)

    def add_counts(self, counts: ShortfallCounts) -> None:
        """What others have counted."""
        with self._lock:
            for key, (count, path) in counts.items():
                before, first = self._seen.get(key, (0, path))
                self._seen[key] = before + count, first

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


def _action(code: Code, cause: str) -> str:
    if cause == NO_CONSENT:
        return "If you trust this snapshot and need its device nodes, restore again with devices allowed."
    if cause == NO_PROC:
        return "Mount /proc and restore again."
    if cause in (os.strerror(errno.EPERM), os.strerror(errno.EACCES), _OWNER_LACKING):
        return "Restore as root to get it back."
    if code is Code.DEVICE_NOT_MADE:
        return "Make the node by hand with mknod, if it is needed."
    return "Restore to a file system that can hold it, or do without."


def set_metadata(fd: int, entry: Entry, owner: Owner, gives: Owner | None, shortfalls: Shortfalls) -> None:
    """Set owner, attributes, time and mode, and read them back; what is not as recorded becomes a shortfall.

    `gives` is who owns it already, where that is known, which spares a call.

    The order is what makes it exact. A change of owner clears capabilities and setuid, so it comes first. An access
    ACL and the mode share bits, and setting the mode adjusts both to what was recorded together. The mode comes last
    because it ends the mark of an unfinished directory.
    """
    handle = handle_of(fd, entry)
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


def handle_of(fd: int, entry: Entry) -> int | bytes:
    """What system calls take for the very thing that is open, whatever has its name by now."""
    return fd if entry.kind <= _DIRECTORY else b"/proc/self/fd/%d" % fd  # opened without access: calls by fd refuse it


def _set_owner(handle: int | bytes, entry: Entry, owner: Owner, shortfalls: Shortfalls) -> bool:
    """Whether it now belongs to `owner`; where only its group can be set, that is set."""
    try:
        _change_owner(handle, owner)
    except OSError as error:
        if error.errno not in ERRORS_OF_ONE_PATH:
            raise
        found = os.stat(handle)
        for aspect, is_now, wanted in (("owner", found.st_uid, owner.uid), ("group", found.st_gid, owner.gid)):
            if is_now != wanted:
                shortfalls.add_error(Code.METADATA_NOT_SET, aspect, error, entry.path)
        return (found.st_uid, found.st_gid) == owner
    if not entry.mode & _SET_ID:
        return True
    # Some file systems accept a change of owner and ignore it; no program may then run as somebody else.
    found = os.stat(handle)
    return (found.st_uid, found.st_gid) == owner


def _change_owner(handle: int | bytes, owner: Owner) -> None:
    """Change user and group or, where that is refused, the group alone, and raise the refusal."""
    has_group = 0 <= owner.gid < _NO_ID
    try:
        if not (0 <= owner.uid < _NO_ID and has_group):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        os.chown(handle, owner.uid, owner.gid)
    except OSError:
        # Only root may give a path to another user, but its owner may give it to any group that they are in.
        if has_group:
            with contextlib.suppress(OSError):  # the refusal of the whole is the one to report
                os.chown(handle, -1, owner.gid)
        raise


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


def remove_strange_acls(fd: int, entry: Entry) -> None:
    """Remove the ACLs that a new path took over from its folder, or an old one had, unless they are recorded."""
    if entry.kind == _SYMLINK:
        return
    handle = handle_of(fd, entry)
    recorded = {name for name, _ in entry.xattrs}
    try:
        found = os.listxattr(handle)
    except OSError:
        return  # without attributes there are no ACLs
    for acl in _ACLS:
        if acl in found and acl.encode() not in recorded:
            os.removexattr(handle, acl)
