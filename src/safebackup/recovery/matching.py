"""Matching: is what lies in a folder what a snapshot recorded, to the byte?

The reference was taken when the source was read: a manifest names each piece of a file by a keyed hash of its bytes.
Every file is read back from the folder and cut and hashed anew. Nothing here knows how a restore writes, and nothing
that the restore decoded is used again.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import attrs

from safebackup.errors import Code
from safebackup.events import Progress
from safebackup.findings import printable
from safebackup.format.manifest import TORN, Entry, EntryKind, Segment, path_key, stored_to_time
from safebackup.format.records import TreeRef
from safebackup.recovery.checks import Outcome
from safebackup.recovery.descent import Descent
from safebackup.recovery.rereading import Contents, OpenFile
from safebackup.repository.manifests import Manifests

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SET_ID = stat.S_ISUID | stat.S_ISGID
_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)
_ROOT_ALONE_SETS = (b"security.", b"trusted.")
_DEVICES = (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE)
_KINDS: dict[int, int] = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.FIFO: stat.S_IFIFO,
    EntryKind.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryKind.BLOCK_DEVICE: stat.S_IFBLK,
}


@attrs.frozen
class Deviation:
    """A path that is not as recorded. The outcome is FAILED unless this machine or this user stands in the way."""

    code: Code
    path: bytes
    what: str
    outcome: Outcome = Outcome.FAILED


@attrs.define
class Matched:
    """What was compared. `left_out` counts device nodes that are not there, which a restore makes only on demand."""

    entries: int = 0
    files: int = 0
    content_bytes: int = 0
    torn: int = 0
    left_out: int = 0


@attrs.frozen(kw_only=True)
class Conditions:
    """Under which conditions a folder is looked at.

    `holds_metadata` is false where the restore said itself that this place or user cannot take all metadata: what
    differs in nothing else is no failure then, and no proof. Owners are compared for root alone.
    """

    holds_metadata: bool
    is_root: bool
    workers: int
    callback: Progress


def match_tree(
    folder: int, tree: TreeRef, manifests: Manifests, conditions: Conditions, report: Callable[[Deviation], None]
) -> Matched:
    """Compare the open folder with a tree of entries: nothing missing, nothing more, everything as recorded.

    Memory does not grow with the number of paths, except for those with several names.

    Raises:
        IntegrityError: the manifest is damaged.
        OSError: the folder cannot be read, so that nothing is known of the rest.
    """
    pool = ThreadPoolExecutor(conditions.workers, thread_name_prefix="safebackup-match")
    contents = Contents(manifests, pool, conditions.callback)
    try:
        with Descent(folder) as descent:
            matching = _Matching(descent, contents, conditions, report)
            matching.perform(tree, manifests)
            return matching.matched
    finally:
        contents.close()
        pool.shutdown(wait=True)


@attrs.frozen
class _Found:
    path: bytes
    name: bytes
    status: os.stat_result


@attrs.define
class _Group:
    """One file with several names, as its first name tells; `count` are the names met so far."""

    entry: Entry
    status: os.stat_result
    count: int = 1


class _Matching:
    def __init__(
        self, descent: Descent, contents: Contents, conditions: Conditions, report: Callable[[Deviation], None]
    ) -> None:
        self._descent = descent
        self._contents = contents
        self._conditions = conditions
        self._report = report
        self._owners = _Owners()
        self._groups: dict[bytes, _Group] = {}
        self.matched = Matched()

    def perform(self, tree: TreeRef, manifests: Manifests) -> None:
        found = self._next()
        for segment, entries in manifests.segments(tree):
            for entry in entries:
                self._count(entry)
                if entry.path == b"":
                    self._look(entry, segment, b".", os.fstat(self._descent.fd))
                    continue
                while found is not None and path_key(found.path) < path_key(entry.path):
                    self._report(Deviation(Code.DRILL_EXTRA, found.path, "is there and is not in the snapshot"))
                    found = self._next()
                if found is None or found.path != entry.path:
                    self._missing(entry)
                    continue
                self._look(entry, segment, found.name, found.status)
                if entry.kind == EntryKind.DIRECTORY and stat.S_ISDIR(found.status.st_mode):
                    self._descent.enter(found.name)
                found = self._next()
        while found is not None:
            self._report(Deviation(Code.DRILL_EXTRA, found.path, "is there and is not in the snapshot"))
            found = self._next()
        self._contents.finish(self._tell)
        self._check_groups()

    def _next(self) -> _Found | None:
        """The next path of the folder in manifest order; what is in a folder comes only if that was entered."""
        descent = self._descent
        while not descent.names:
            if not descent.depth:
                return None
            descent.leave()
        name = descent.names.pop()
        status = os.stat(name, dir_fd=descent.fd, follow_symlinks=False)
        return _Found(descent.path_of(name), name, status)

    def _count(self, entry: Entry) -> None:
        self.matched.entries += 1
        self.matched.torn += bool(entry.flags & TORN)
        if entry.kind == EntryKind.FILE:
            self.matched.files += 1
            self.matched.content_bytes += entry.size

    def _missing(self, entry: Entry) -> None:
        if entry.kind in _DEVICES:
            self.matched.left_out += 1
        else:
            self._report(Deviation(Code.DRILL_MISSING, entry.path, "is in the snapshot and was not restored"))
        self._conditions.callback.relative_update(entry.size)

    def _tell(self, path: bytes, wrong: list[str], metadata: list[str]) -> None:
        """Report what is wrong with a path, if anything is."""
        if wrong or metadata:
            excused = not wrong and not self._conditions.holds_metadata
            outcome = Outcome.COULD_NOT_CHECK if excused else Outcome.FAILED
            self._report(Deviation(Code.DRILL_DIFFERS, path, "; ".join(wrong + metadata), outcome))

    # One path

    def _look(self, entry: Entry, segment: Segment, name: bytes, status: os.stat_result) -> None:
        if _KINDS[entry.kind] != stat.S_IFMT(status.st_mode):
            expected = EntryKind(entry.kind).name.lower().replace("_", " ")
            self._tell(entry.path, [f"is something else than the {expected} that was recorded"], [])
            self._conditions.callback.relative_update(entry.size)
            return
        fd = self._descent.fd
        metadata = self._metadata(entry, segment, name, status)
        wrong = self._links(entry, status)
        if entry.kind == EntryKind.SYMLINK and os.readlink(name, dir_fd=fd) != entry.target:
            wrong.append("links to somewhere else")
        if entry.kind in _DEVICES and (os.major(status.st_rdev), os.minor(status.st_rdev)) != entry.device:
            wrong.append("is another device")
        if entry.kind != EntryKind.FILE:
            self._tell(entry.path, wrong, metadata)
        elif status.st_size != entry.size:
            wrong.append(f"has {status.st_size:,} bytes, recorded are {entry.size:,}")
            self._tell(entry.path, wrong, metadata)
            self._conditions.callback.relative_update(entry.size)
        else:
            self._read(entry, name, status, wrong, metadata)

    def _read(self, entry: Entry, name: bytes, status: os.stat_result, wrong: list[str], metadata: list[str]) -> None:
        try:
            handle = os.open(name, _READ, dir_fd=self._descent.fd)
        except PermissionError:
            self._tell(entry.path, wrong, metadata)
            what = "cannot be read back by this user: run the drill as root, or as who made the backup"
            self._report(Deviation(Code.NOT_COMPARED, entry.path, what, Outcome.COULD_NOT_CHECK))
            return
        if not os.path.samestat(os.fstat(handle), status):
            os.close(handle)
            raise FileNotFoundError(errno.ENOENT, "somebody else is writing into the restored folder")
        self._contents.take(OpenFile(entry, handle, wrong, metadata), self._tell)

    def _links(self, entry: Entry, status: os.stat_result) -> list[str]:
        """What is wrong with the names that this path shares its file with."""
        if entry.kind == EntryKind.DIRECTORY:
            return []
        group = self._groups.get(entry.link) if entry.link is not None else None
        if entry.link is not None and group is None:
            self._groups[entry.link] = _Group(entry, status)  # its names are counted at the end
        elif group is not None and _is_same_file(group.entry, entry):
            group.count += 1
            if not os.path.samestat(group.status, status):
                return [f"is not the same file as {printable(group.entry.path)}"]
        elif status.st_nlink != 1:
            return [f"is one file with {status.st_nlink - 1:,} other names, which was not recorded"]
        return []

    def _check_groups(self) -> None:
        for group in self._groups.values():
            if group.status.st_nlink != group.count:
                what = f"has {group.status.st_nlink:,} names, recorded are {group.count:,}"
                self._tell(group.entry.path, [what], [])

    def _metadata(self, entry: Entry, segment: Segment, name: bytes, status: os.stat_result) -> list[str]:
        wrong = []
        is_theirs = self._owners.of(entry, segment) == (status.st_uid, status.st_gid)
        if self._conditions.is_root and not is_theirs:
            wrong.append(f"belongs to {status.st_uid}:{status.st_gid}")
        if stat.S_IFMT(status.st_mode) != stat.S_IFLNK:
            # No program may run as somebody else than its owner, so without the owner these bits are not set.
            compared = 0o7777 if self._conditions.is_root or is_theirs else 0o7777 & ~_SET_ID
            if (status.st_mode ^ entry.mode) & compared:
                wrong.append(f"has mode {status.st_mode & 0o7777:o}, recorded is {entry.mode:o}")
        if status.st_mtime_ns != stored_to_time(entry.mtime):
            wrong.append("has another modification time")
        recorded = dict(entry.xattrs)
        attributes = _attributes(b"/proc/self/fd/%d/%s" % (self._descent.fd, name))
        for attribute in sorted(recorded.keys() | attributes.keys()):
            # What is there and not recorded counts where people set it; systems label files in their own ways.
            counts = attribute in recorded or attribute.startswith(b"user.") or attribute in _ACLS
            excused = not self._conditions.is_root and attribute.startswith(_ROOT_ALONE_SETS)
            if counts and not excused and recorded.get(attribute) != attributes.get(attribute):
                wrong.append(f"differs in its attribute {printable(attribute)}")
        return wrong


def _is_same_file(one: Entry, other: Entry) -> bool:
    """Whether two names of a group were read in the same state; those that were not are files of their own."""
    return (one.kind, one.size, one.content, one.target, one.device) == (
        other.kind,
        other.size,
        other.content,
        other.target,
        other.device,
    )


def _attributes(path: bytes) -> dict[bytes, bytes]:
    try:
        names = [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)]
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return {}
        raise


class _Owners:
    """Who a recorded owner is on this machine: by name, and by number where the name is not known."""

    def __init__(self) -> None:
        self._users: dict[bytes, int | None] = {}
        self._groups: dict[bytes, int | None] = {}
        self._segment: Segment | None = None
        self._names: tuple[Mapping[int, bytes], Mapping[int, bytes]] = ({}, {})

    def of(self, entry: Entry, segment: Segment) -> tuple[int, int]:
        if segment is not self._segment:
            self._segment, self._names = segment, (dict(segment.users), dict(segment.groups))
        user, group = self._names[0].get(entry.uid, b""), self._names[1].get(entry.gid, b"")
        if user not in self._users:
            self._users[user] = _number_of(user, lambda name: pwd.getpwnam(name).pw_uid)
        if group not in self._groups:
            self._groups[group] = _number_of(group, lambda name: grp.getgrnam(name).gr_gid)
        uid, gid = self._users[user], self._groups[group]
        return entry.uid if uid is None else uid, entry.gid if gid is None else gid


def _number_of(name: bytes, look_up: Callable[[str], int]) -> int | None:
    try:
        return look_up(os.fsdecode(name)) if name else None
    except (KeyError, ValueError):
        return None
