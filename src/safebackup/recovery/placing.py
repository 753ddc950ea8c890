"""Placing: how the paths of a restore get their names in the target folder.

Files, links and special files get their name when they are whole, dressed and checked, in one step that never replaces
anything unless `Overwrite.REPLACE` allows it. So a restore that is killed leaves nothing half-made under a real name,
and `Overwrite.KEEP` continues where it stopped.

* A file is written without any name (O_TMPFILE) and then linked to it. That was measured to be the cheapest way, and
  the kernel removes what a killed process leaves.
* Where that is not possible, and for links and special files, a temporary name in the same folder is linked to the
  final one and then removed. File systems without hard links (FAT) need a reservation instead: an empty file
  under the final name, over which the temporary is renamed. There alone a kill can leave that empty file.
* What replaces something is linked to a temporary name first and then renamed over it.

Temporary names begin with `.safebackup-`. Where a killed restore left some, `find TARGET -name '.safebackup-*'` lists
them; nothing here deletes them, because they could belong to another restore that is still running.
A directory is made under its name, with a mode that marks it as unfinished until everything below it was placed.

Files are not synced one by one; `sync_target` makes all of them durable at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import attrs

from safebackup.errors import Code, IntegrityError, InternalError
from safebackup.findings import Finding, Severity, printable
from safebackup.format.manifest import Entry, EntryKind, time_to_stored
from safebackup.recovery.metadata import (
    ERRORS_OF_ONE_PATH,
    NO_CONSENT,
    NO_PROC,
    Owner,
    Shortfalls,
    handle_of,
    remove_strange_acls,
    set_metadata,
)
from safebackup.recovery.target import (
    LOST_AND_FOUND,
    NO_LINKS_HERE,
    PRIVATE,
    UNFINISHED_DIRECTORY,
    Draft,
    Folder,
    Folders,
    Overwrite,
    Target,
    begin_draft,
    discard,
    disk_failed,
    give_another_name,
    open_target,
    sync_target,
    try_nameless,
)

__all__ = [
    "Buffer",
    "Overwrite",
    "Owner",
    "PartialFile",
    "Placer",
    "Report",
    "Shortfalls",
    "Target",
    "open_target",
    "sync_target",
]

_TEMPORARY_PREFIX = b".safebackup-"
_BUFFERS_PER_WRITE_MAX = 1024  # IOV_MAX
_OPEN_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # names a link, fifo or device without opening what it stands for

_READ_AGAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_FORMATS: dict[int, int] = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.DIRECTORY: stat.S_IFDIR,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.FIFO: stat.S_IFIFO,
    EntryKind.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryKind.BLOCK_DEVICE: stat.S_IFBLK,
}
# After these a copy is placed instead of a hard link.
_NO_HARD_LINK = NO_LINKS_HERE | {errno.EXDEV, errno.EMLINK, errno.ENOENT}

Buffer = bytes | bytearray | memoryview
Report = Callable[[Finding], None]


class Placer:
    """Creates the paths of a restore; one for each thread.

    Where a path cannot be placed, that is reported as a finding and the answer is False; the others go on.
    A disk that fails or is full raises StorageError, and nothing half-made keeps its name.
    """

    def __init__(
        self, target: Target, *, overwrite: Overwrite, devices: bool, report: Report, shortfalls: Shortfalls
    ) -> None:
        self._overwrite = overwrite
        self._devices = devices
        self._report = report
        self._shortfalls = shortfalls
        self._folders = Folders(target)
        self._temporary = _TEMPORARY_PREFIX + secrets.token_hex(8).encode() + b"-"
        self._temporaries = 0
        self._devices_taking_nameless: dict[int, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories that are held open; the target stays open."""
        self._folders.close()

    # Directories

    def make_directory(self, entry: Entry) -> bool:
        """Create a directory that nobody else can enter yet; `finish_directory` gives it its metadata.

        A directory that is there already is merged, whatever the policy; False where that is no directory.
        """
        if entry.path == b"":
            return True
        try:
            folder, name = self._folders.locate(entry.path)
            try:
                os.mkdir(name, UNFINISHED_DIRECTORY, dir_fd=folder.fd)
            except FileExistsError:
                return self._merge(folder, name, entry)
            if folder.gives_acl:
                # What the new folder took over from the one above could even lock out its owner.
                fd = self._folders.open(entry.path).fd
                remove_strange_acls(fd, entry)
                os.chmod(fd, UNFINISHED_DIRECTORY)
        except OSError as error:
            return self._not_placed(entry.path, error)
        return True

    def _merge(self, folder: Folder, name: bytes, entry: Entry) -> bool:
        found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "something else"
            return self._not_restored(
                entry.path, f"{what} is where a folder should go; it stays, and nothing goes below"
            )
        if self._overwrite is Overwrite.KEEP and not _is_unfinished_directory(found):
            self._kept(entry.path, "was there: its own metadata was kept, and what it lacked was added")
        elif self._overwrite is Overwrite.REFUSE and entry.path != LOST_AND_FOUND:
            self._report(
                Finding(
                    code=Code.PATH_KEPT,
                    severity=Severity.WARNING,
                    what="a folder of this name appeared during the restore, and both were merged",
                    action="See who else writes here, or whether the file system takes two names to be the same.",
                    subject=printable(entry.path),
                )
            )
        return True

    def finish_directory(self, entry: Entry, owner: Owner) -> bool:
        """Give a directory its metadata; call it after everything below was placed, the deepest first.

        A directory that was there before keeps its own under `Overwrite.KEEP`.
        """
        try:
            folder = self._folders.open(entry.path)
            if self._overwrite is Overwrite.KEEP and not _is_unfinished_directory(os.fstat(folder.fd)):
                return True
            remove_strange_acls(folder.fd, entry)
            set_metadata(folder.fd, entry, owner, None, self._shortfalls)
        except OSError as error:
            return self._not_placed(entry.path, error)
        return True

    # Files

    def place_file(self, entry: Entry, pieces: Sequence[Buffer], owner: Owner) -> bool:
        """Create a file of these bytes, already checked; False where it was kept or could not be placed.

        Raises:
            StorageError: the disk failed or is full.
            IntegrityError: the path is unsafe.
        """
        if sum(map(len, pieces)) != entry.size:
            raise InternalError(f"{printable(entry.path)} of {entry.size} bytes came with {sum(map(len, pieces))}")
        try:
            folder, name = self._folders.locate(entry.path)
            if self._is_kept(folder, name, entry):
                return False
            draft = self._draft(folder)
            try:
                _write_all(draft.fd, pieces, entry.size)
                return self._complete(folder, draft, name, entry, owner)
            finally:
                draft.close()
        except OSError as error:
            return self._not_placed(entry.path, error)

    def looks_restored(self, entry: Entry) -> bool:
        """Whether what is there may be what a restore has placed; its content is not read."""
        try:
            folder, name = self._folders.locate(entry.path)
            return _looks_restored(os.stat(name, dir_fd=folder.fd, follow_symlinks=False), entry)
        except OSError:
            return False

    def read_again(self, path: bytes, most_bytes: int, offset: int = 0) -> bytes | None:
        """What a path holds that may have been placed before, at most so much; None if it cannot be read."""
        try:
            folder, name = self._folders.locate(path)
            fd = os.open(name, _READ_AGAIN, dir_fd=folder.fd)
        except OSError:
            return None  # not placed yet, or not at all: its content is fetched as for the first time
        try:
            return os.pread(fd, most_bytes, offset)
        except OSError:
            return None
        finally:
            os.close(fd)

    def open_file(self, entry: Entry) -> PartialFile | None:
        """A large file to be written in pieces; None where it is kept or cannot be placed."""
        try:
            folder, name = self._folders.locate(entry.path)
            if not self._may_place(folder, name, entry):
                return None
            # The folder is held apart from the cache, which may close its own descriptor meanwhile.
            own = attrs.evolve(folder, fd=os.dup(folder.fd))
            try:
                return PartialFile(self, own, self._draft(own), name, entry)
            except BaseException:
                os.close(own.fd)
                raise
        except OSError as error:
            self._not_placed(entry.path, error)
            return None

    def _draft(self, folder: Folder) -> Draft:
        if folder.takes_nameless is None:
            folder.takes_nameless = self._takes_nameless(folder.fd)
        return begin_draft(folder.fd, None if folder.takes_nameless else self._temporary_name())

    def _takes_nameless(self, folder_fd: int) -> bool:
        """Whether files can be written here without a name and get one later; tried once on each file system."""
        device = os.fstat(folder_fd).st_dev
        if device not in self._devices_taking_nameless:
            self._devices_taking_nameless[device] = try_nameless(folder_fd, self._temporary_name())
        return self._devices_taking_nameless[device]

    def _complete(self, folder: Folder, draft: Draft, name: bytes, entry: Entry, owner: Owner) -> bool:
        """Dress and publish a file whose content is written."""
        self._dress(folder, draft.fd, entry, owner)
        os.close(os.dup(draft.fd))  # some file systems report only when it is closed that they are full
        return self._publish(folder, name, entry, draft.give)

    def _publish(self, folder: Folder, name: bytes, entry: Entry, give: Callable[[bytes], None]) -> bool:
        """Let something whole appear under its final name; False where something has it that is to stay.

        `give` gives it one more name in `folder`, and fails where that is taken.
        """
        try:
            give(name)
        except FileExistsError:
            if not self._may_place(folder, name, entry):
                return False
            if self._overwrite is not Overwrite.REPLACE:
                give(name)  # what was in the way has just gone; nothing that follows it is replaced
                return True
            temporary = self._temporary_name()
            give(temporary)
            try:
                os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            finally:
                # Renaming one name of a file to another of the same file does nothing and leaves both.
                discard(folder.fd, temporary)
        return True

    # Everything else

    def place_symlink(self, entry: Entry, owner: Owner) -> bool:
        """Create a symbolic link; where it points to is not looked at. False where kept or not placed."""
        link = entry.target
        if link is None or b"\0" in link:
            raise IntegrityError(
                f"the symbolic link {printable(entry.path)} has no possible target", code=Code.UNSAFE_PATH
            )
        return self._place_node(entry, owner, lambda name, folder_fd: os.symlink(link, name, dir_fd=folder_fd))

    def place_special(self, entry: Entry, owner: Owner) -> bool:
        """Create a fifo, or with consent a device node. False where kept or not placed, which is then a finding."""
        number = 0
        if entry.kind != EntryKind.FIFO:
            if not self._devices:
                self._shortfalls.add(Code.DEVICE_NOT_MADE, "device node", NO_CONSENT, entry.path)
                return False
            major, minor = entry.device or (-1, -1)
            if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):  # what Linux holds
                self._shortfalls.add(Code.DEVICE_NOT_MADE, "device node", "no such device number", entry.path)
                return False
            number = os.makedev(major, minor)
        mode = _FORMATS[entry.kind] | PRIVATE

        def make(name: bytes, folder_fd: int) -> None:
            os.mknod(name, mode, number, dir_fd=folder_fd)

        return self._place_node(entry, owner, make)

    def place_hard_link(self, entry: Entry, existing_path: bytes) -> bool:
        """Make `entry` another name of `existing_path`, which this restore has placed with the same content.

        False: this file system cannot link the two, so place a copy. True: nothing is left to do, as it was linked,
        or kept, or could not be placed, and a finding says so.
        """
        try:
            folder, name = self._folders.locate(entry.path)
            folder_fd = os.dup(folder.fd)  # opening the other folder may push this one out of the cache
        except OSError as error:
            self._not_placed(entry.path, error)
            return True
        try:
            return self._link(attrs.evolve(folder, fd=folder_fd), name, entry, existing_path)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            self._not_placed(entry.path, error)
            return True
        finally:
            os.close(folder_fd)

    def _link(self, folder: Folder, name: bytes, entry: Entry, existing_path: bytes) -> bool:
        try:
            source, source_name = self._folders.locate(existing_path)
            found = os.stat(source_name, dir_fd=source.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        is_same_kind = stat.S_IFMT(found.st_mode) == _FORMATS[entry.kind]
        if not is_same_kind or (entry.kind == EntryKind.FILE and found.st_size != entry.size):
            return False  # somebody has put something else in its place

        def give(new: bytes) -> None:
            os.link(source_name, new, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)

        self._publish(folder, name, entry, give)
        return True

    def _place_node(self, entry: Entry, owner: Owner, make: Callable[[bytes, int], None]) -> bool:
        try:
            folder, name = self._folders.locate(entry.path)
            if self._is_kept(folder, name, entry):
                return False
            temporary = self._temporary_name()
            make(temporary, folder.fd)
            try:
                self._dress_node(folder, temporary, entry, owner)
                return self._publish(folder, name, entry, lambda new: give_another_name(temporary, new, folder.fd))
            finally:
                discard(folder.fd, temporary)
        except OSError as error:
            if entry.kind in (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE) and error.errno == errno.EPERM:
                self._shortfalls.add_error(Code.DEVICE_NOT_MADE, "device node", error, entry.path)
                return False
            return self._not_placed(entry.path, error)

    def _dress_node(self, folder: Folder, name: bytes, entry: Entry, owner: Owner) -> None:
        fd = os.open(name, _OPEN_NODE, dir_fd=folder.fd)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != _FORMATS[entry.kind]:
                raise FileExistsError(errno.EEXIST, "somebody put something else in its place")
            if os.path.lexists(handle_of(fd, entry)):
                self._dress(folder, fd, entry, owner)
            else:
                self._shortfalls.add(Code.METADATA_NOT_SET, "links and special files", NO_PROC, entry.path)
        finally:
            os.close(fd)

    def _dress(self, folder: Folder, fd: int, entry: Entry, owner: Owner) -> None:
        """Metadata for something new in `folder`."""
        if folder.gives is None:
            found = os.fstat(fd)
            folder.gives = Owner(found.st_uid, found.st_gid)
        if folder.gives_acl:
            remove_strange_acls(fd, entry)
        set_metadata(fd, entry, owner, folder.gives, self._shortfalls)

    # Names and folders

    def _temporary_name(self) -> bytes:
        self._temporaries += 1
        return self._temporary + b"%d" % self._temporaries

    # What stands in the way, and what is said about it

    def _is_kept(self, folder: Folder, name: bytes, entry: Entry) -> bool:
        """Whether what has this name is to be kept; spares making what could not be placed. A finding says so."""
        return self._overwrite is Overwrite.KEEP and not self._may_place(folder, name, entry)

    def _may_place(self, folder: Folder, name: bytes, entry: Entry) -> bool:
        """Whether nothing has this name, or what has it may be replaced; if not, a finding says why."""
        try:
            found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return True
        if stat.S_ISDIR(found.st_mode):
            return self._not_restored(entry.path, "a folder is where a file should go; it stays as it is")
        if self._overwrite is Overwrite.REPLACE:
            return True
        if self._overwrite is Overwrite.KEEP:
            if _looks_restored(found, entry):
                self._kept(entry.path, "was there and was kept")
            else:
                self.report_kept_although_different(entry.path)
            return False
        return self._not_restored(
            entry.path,
            "the name appeared during the restore: somebody else writes here, or two names are the same here",
        )

    def _kept(self, path: bytes, what: str) -> None:
        self._report(Finding(code=Code.PATH_KEPT, severity=Severity.INFO, what=what, subject=printable(path)))

    def report_kept_although_different(self, path: bytes) -> None:
        """Say that what was kept is not what the snapshot has."""
        self._report(
            Finding(
                code=Code.PATH_KEPT,
                severity=Severity.ERROR,
                what="was there and was kept, but it is not what the snapshot has: kind, size, time or content differs",
                action="Restore this path to another folder and compare, or replace it.",
                subject=printable(path),
            )
        )

    def _not_restored(self, path: bytes, why: str) -> bool:
        self._report(
            Finding(
                code=Code.PATH_NOT_RESTORED,
                severity=Severity.ERROR,
                what=f"not restored: {why}",
                action="Restore this path to another folder.",
                subject=printable(path),
            )
        )
        return False

    def _not_placed(self, path: bytes, error: OSError) -> bool:
        if error.errno not in ERRORS_OF_ONE_PATH:
            raise disk_failed(path, error) from error
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return self._not_restored(path, "above it is something that is no folder, and no link is followed")
        if error.errno == errno.ENOENT:
            return self._not_restored(path, "its folder is not there")
        return self._not_restored(path, os.strerror(error.errno))


class PartialFile:
    """A file that is being written and has no name yet; use it in a `with` statement, which aborts unless finished.

    Not for several threads at once.
    """

    def __init__(self, placer: Placer, folder: Folder, draft: Draft, name: bytes, entry: Entry) -> None:
        self._placer = placer
        self._folder = folder
        self._draft = draft
        self._name = name
        self._entry = entry
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write `data` at `offset`; what is never written stays a hole.

        Where the file system cannot hold a file of this size, that is a finding and the rest is ignored.

        Raises:
            StorageError: the disk failed or is full.
        """
        if not self._is_open:
            return
        view = memoryview(data).cast("B")
        try:
            while view:
                written = os.pwrite(self._draft.fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            self.abort()
            self._placer._not_placed(self._entry.path, error)

    def finish(self, owner: Owner) -> bool:
        """Set size and metadata and give the file its name; False where it was kept or not placed after all."""
        if not self._is_open:
            return False
        try:
            os.ftruncate(self._draft.fd, self._entry.size)
            return self._placer._complete(self._folder, self._draft, self._name, self._entry, owner)
        except OSError as error:
            return self._placer._not_placed(self._entry.path, error)
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go of the file; one that was not finished leaves nothing."""
        if not self._is_open:
            return
        self._is_open = False
        self._draft.close()
        os.close(self._folder.fd)


# Bytes and names


def _write_all(fd: int, pieces: Sequence[Buffer], size: int) -> None:
    """Write all pieces, which are `size` bytes together."""
    written = os.write(fd, pieces[0]) if len(pieces) == 1 else 0
    while written < size:
        written += os.writev(fd, _after(pieces, written))


def _after(pieces: Sequence[Buffer], skip: int) -> list[memoryview]:
    """What follows the first `skip` bytes, as far as one call takes it."""
    rest: list[memoryview] = []
    for piece in pieces:
        if skip >= len(piece):
            skip -= len(piece)
            continue
        rest.append(memoryview(piece)[skip:])
        skip = 0
        if len(rest) == _BUFFERS_PER_WRITE_MAX:
            break
    return rest


def _looks_restored(found: os.stat_result, entry: Entry) -> bool:
    """Whether what is there may be what a restore that was interrupted has placed: its content is not read."""
    if stat.S_IFMT(found.st_mode) != _FORMATS.get(entry.kind):
        return False
    return entry.kind != EntryKind.FILE or (
        found.st_size == entry.size and time_to_stored(found.st_mtime_ns) == entry.mtime
    )


def _is_unfinished_directory(found: os.stat_result) -> bool:
    mode = stat.S_IMODE(found.st_mode) & ~stat.S_ISGID  # which a folder takes over from the one above it
    return stat.S_ISDIR(found.st_mode) and mode == UNFINISHED_DIRECTORY
