"""The scratch folder of a drill: where it may lie, making it, and removing it without touching anything else.

It never lies on, in, around or beside what was backed up, also not by way of bind mounts and links: nobody may take the
rehearsal for the real thing, and no program that looks into neighbouring folders may find it.
"""

from __future__ import annotations

import errno
import operator
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import attrs

from safebackup.errors import Code, ConfigurationError, RefusedError, StorageError
from safebackup.findings import AT_HOME, printable, starts_at_home
from safebackup.recovery.descent import Descent
from safebackup.recovery.held import Held
from safebackup.recovery.leftovers import PREFIX, hold, is_in_use, removal_command
from safebackup.recovery.selection import AnyPath
from safebackup.recovery.target import LOST_AND_FOUND

RESTORED = b"restored"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFT_NAMED = 5


@attrs.frozen
class Place:
    """Where a scratch folder is to be made: `above` is a folder, which may still have to be made itself."""

    above: bytes
    named: bool  # by the caller; else it is the folder for temporary files

    @property
    def nearest(self) -> bytes:
        """The nearest folder that is there."""
        return next(path for path in (self.above, *_above(self.above)) if os.path.isdir(path))


def choose_place(scratch: AnyPath | None) -> Place:
    """The place that a caller named, or the folder for temporary files; links are resolved.

    Raises:
        ConfigurationError: it is no path.
    """
    if scratch is None:
        return Place(os.path.realpath(os.fsencode(tempfile.gettempdir())), named=False)
    if not isinstance(scratch, str | bytes | os.PathLike):
        raise ConfigurationError(f"scratch={scratch!r} is no path", hint="Name a folder that is new or empty.")
    path = os.fsencode(scratch).removeprefix(b"file://")
    if not path or b"\0" in path or b"://" in path:
        raise ConfigurationError(
            f"scratch={printable(path)!r} is no path of a folder", hint="Name a folder of this machine, new or empty."
        )
    if starts_at_home(path):
        raise ConfigurationError(f"scratch={printable(path)!r} begins with ~, which a shell expands", hint=AT_HOME)
    return Place(os.path.realpath(path), named=True)


# Is it safe?


def require_safe(place: Place, roots: Sequence[bytes], repository: str) -> None:
    """Check that nothing of the source or of the repository is near.

    Raises:
        RefusedError: it lies on, in, around or beside a root of the source, or in the repository, or holds something.
    """
    # Of temporary folders the new one counts; the folder for all of them may hold the source itself.
    path = place.above if place.named else os.path.join(place.above, PREFIX)
    home = os.fsencode(repository.removeprefix("file://"))
    if home.startswith(b"/") and (how := _relation(path, os.path.realpath(home))) and how != "lies beside":
        raise RefusedError(
            f"the scratch folder {printable(place.above)} {how} the repository",
            code=Code.TARGET_IN_REPOSITORY,
            hint="Name a folder outside of it: scratch=…",
        )
    for root in roots:
        if how := _relation_to_root(path, root):
            raise RefusedError(
                f"a scratch folder in {printable(place.above)} is refused: it {how} {printable(root)}, which the "
                "snapshot was made of",
                code=Code.SCRATCH_UNSAFE,
                hint="Name a folder elsewhere, new or empty, best on another disk"
                + (f"{_such_as(roots)}." if place.named else ": scratch=…"),
            )
    if place.named:
        _require_empty(place.above)


def _relation_to_root(path: bytes, root: bytes) -> str:
    return _relation(path, os.path.realpath(root)) if root.startswith(b"/") else ""


def _such_as(roots: Sequence[bytes]) -> str:
    """One among the temporary files, if that would be taken."""
    path = os.path.realpath(os.path.join(os.fsencode(tempfile.gettempdir()), b"drill"))
    if os.path.lexists(path) or any(_relation_to_root(path, root) for root in roots):
        return ""
    return f", such as {printable(path)}"


def _require_empty(path: bytes) -> None:
    try:
        found = {os.fsencode(name) for name in os.listdir(path)} - {LOST_AND_FOUND}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        found = {os.path.basename(path)}
    except OSError as error:
        raise _failed(f"the scratch folder {printable(path)}", error) from error
    for name in sorted(found):
        if name.startswith(PREFIX):
            raise _drilled_in(os.path.join(path, name))
    if found:
        raise RefusedError(
            f"the scratch folder {printable(path)} is not an empty folder: there is {printable(min(found))!r}",
            code=Code.TARGET_NOT_EMPTY,
            hint="Name one that is new or empty.",
        )


def _drilled_in(path: bytes) -> RefusedError:
    if is_in_use(path):
        return RefusedError(
            f"a drill is at work in {printable(path)}",
            code=Code.TARGET_NOT_EMPTY,
            hint="Wait until it has ended, or name another folder, new or empty.",
        )
    return RefusedError(
        f"{printable(path)} was left by a drill that was killed, or told to keep it, and holds restored data",
        code=Code.TARGET_NOT_EMPTY,
        hint=f"Run: {removal_command([path])}",
    )


def _relation(path: bytes, root: bytes) -> str:
    """How `path` lies to `root`, "" if they have nothing to do with each other; both are real paths."""
    views: list[tuple[bytes, bytes, Callable[[bytes, bytes], bool]]] = []
    if root != b"/":  # everything lies in it by name; its own file system is what counts
        views += [(path, root, operator.eq), (path, root, _is_same)]
    mounts = read_mounts()
    here, there = _in_file_system(path, mounts), _in_file_system(root, mounts)
    if here and there and here[0] == there[0]:
        views.append((here[1], there[1], operator.eq))
    for one, other, same in views:
        if same(one, other):
            return "is"
        if any(same(above, other) for above in _above(one)):
            return "lies in"
        if any(same(above, one) for above in _above(other)):
            return "holds"
        if same(os.path.dirname(one), os.path.dirname(other)):
            return "lies beside"
    return ""


def _above(path: bytes) -> Iterator[bytes]:
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def _is_same(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False


@attrs.frozen
class Mount:
    """A mounted file system, or a part of one."""

    device: bytes
    root: bytes  # which folder of the file system is mounted
    point: bytes


def read_mounts() -> list[Mount]:
    """What is mounted, later mounts last; nothing where the system does not tell."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            rows = [line.split() for line in table]
    except OSError:
        return []
    return [Mount(row[2], _unescaped(row[3]), _unescaped(row[4])) for row in rows if len(row) > 4]


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda escape: bytes([int(escape[1], 8) & 0xFF]), field)


def _in_file_system(path: bytes, mounts: list[Mount]) -> tuple[bytes, bytes] | None:
    """The device of a path and its path on that device: the same place, whatever it is mounted as."""
    holding = [mount for mount in mounts if mount.point in (path, *_above(path))]
    if not holding:
        return None
    mount = max(reversed(holding), key=lambda one: len(one.point))
    below = path[len(mount.point.rstrip(b"/")) + 1 :]
    return mount.device, os.path.join(mount.root, below) if below else mount.root


# Making and removing it


@attrs.define
class Scratch:
    """A private folder; `restored` is where to restore to.

    It and what was restored are held open, so that they can be removed wherever a check has moved them.
    """

    folder: Held
    above: bytes
    made_above: bool
    data: Held | None = None

    @property
    def path(self) -> bytes:
        """Where it is."""
        return self.folder.now

    @property
    def restored(self) -> bytes:
        """The folder for what is restored, which does not exist at first."""
        return os.path.join(self.folder.path, RESTORED)

    def hold_restored(self) -> int:
        """Hold what was restored, once it is there: a descriptor that stays open until the end."""
        if self.data is None:
            self.data = Held(self.restored, os.open(RESTORED, _FOLDER, dir_fd=self.folder.fd), self.folder.fd)
        return self.data.fd

    @property
    def strayed(self) -> Held | None:
        """What was restored, if it does not lie in the folder any more."""
        if self.data is None or self.data.now.startswith(self.folder.now + b"/"):
            return None
        return self.data

    def wandered(self) -> str:
        """What became of it, or of what was restored, if that is not where it was made; else ""."""
        for held in (self.folder, self.data):
            if held is not None and (what := held.wandered()):
                return f"{printable(held.path)} {what}"
        return ""

    def release(self) -> None:
        """Let go of it; it stays."""
        for fd in (self.data.fd if self.data else None, self.folder.fd, self.folder.above_fd):
            if fd is not None:
                os.close(fd)


def make_scratch(place: Place) -> Scratch:
    """Make a folder that nobody else can enter.

    Raises:
        StorageError: it cannot be made there, or the folder above it is missing (`Code.STORE_MISSING`).
    """
    made_above = False
    try:
        if place.named:
            with suppress(FileExistsError):
                os.mkdir(place.above, 0o700)  # alone: where even its parent is missing, a disk is not mounted
                made_above = True
        above_fd = os.open(place.above, _PATH_ONLY)
        try:
            path = os.fsencode(tempfile.mkdtemp(prefix=PREFIX.decode(), dir=os.fsdecode(place.above)))
            fd = os.open(os.path.basename(path), _FOLDER, dir_fd=above_fd)
        except BaseException:
            os.close(above_fd)
            raise
        hold(fd)
        return Scratch(Held(path, fd, above_fd), place.above, made_above)
    except OSError as error:
        raise _not_made(place, error) from error


def _not_made(place: Place, error: OSError) -> StorageError:
    needed = os.path.dirname(place.above) if place.named else place.above
    if isinstance(error, FileNotFoundError) and not os.path.isdir(needed):
        return StorageError(
            f"no scratch folder can be made in {printable(place.above)}: {printable(needed)} is not there",
            code=Code.STORE_MISSING,
            hint="Make that folder, or mount its disk.",
        )
    return _failed(f"making a scratch folder in {printable(place.above)}", error)


def _failed(what: str, error: OSError) -> StorageError:
    """As `StorageError.from_os`, without the path that the system adds in bytes: `what` names it."""
    return StorageError.from_os(what, OSError(error.errno, error.strerror))


@attrs.define
class Leftovers:
    """What could not be removed, the first few by path with the reason."""

    count: int = 0
    first: list[str] = attrs.field(factory=list)

    def add(self, path: bytes, why: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < _LEFT_NAMED:
            self.first.append(f"{printable(path)} ({why})")


def remove(scratch: Scratch) -> Leftovers:
    """Remove a scratch folder with all that is in it, wherever it was moved to, and say what is left.

    No link is followed, and nothing that is mounted in it is entered.
    """
    left = Leftovers()
    try:
        for held in (scratch.strayed, scratch.folder):
            if held is not None:
                _remove_held(held, left)
        if scratch.made_above:
            with suppress(OSError):  # somebody has put something beside it
                os.rmdir(scratch.above)
    finally:
        scratch.release()
    return left


def _remove_held(held: Held, left: Leftovers) -> None:
    try:
        _Removal(held, left).perform()
        held.remove_empty()
    except OSError as error:
        if not left.count:
            left.add(held.path, error.strerror or str(error))


class _Removal:
    def __init__(self, held: Held, left: Leftovers) -> None:
        self._held = held
        self._left = left
        self._home = held.now
        self._mounted = {mount.point for mount in read_mounts()}

    def perform(self) -> None:
        """Empty the folder, the deepest first."""
        device = os.fstat(self._held.fd).st_dev
        with Descent(self._held.fd) as descent:
            while descent.depth or descent.names:
                name = descent.names.pop() if descent.names else None
                try:
                    if name is None:
                        name = descent.leave()
                        os.rmdir(name, dir_fd=descent.fd)
                    else:
                        self._remove(descent, name, device)
                except OSError as error:
                    self._note(descent, name, error)

    def _remove(self, descent: Descent, name: bytes, device: int) -> None:
        status = os.stat(name, dir_fd=descent.fd, follow_symlinks=False)
        path = descent.path_of(name)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=descent.fd)
        elif status.st_dev != device or os.path.join(self._home, path) in self._mounted:
            self._left.add(path, "another file system is mounted there")
        else:
            _enter(descent, name, status)

    def _note(self, descent: Descent, name: bytes | None, error: OSError) -> None:
        if name is None:
            raise error  # there is no way back to the folder above
        # What makes a folder not empty was told before.
        if error.errno == errno.ENOENT or (error.errno == errno.ENOTEMPTY and self._left.count):
            return
        self._left.add(descent.path_of(name), error.strerror or str(error))


def _enter(descent: Descent, name: bytes, status: os.stat_result) -> None:
    """Go into a folder, with the permission to empty it."""
    if status.st_mode & 0o700 != 0o700:
        fd = os.open(name, _PATH_ONLY, dir_fd=descent.fd)
        try:
            os.chmod(b"/proc/self/fd/%d" % fd, 0o700)  # the folder that was opened, whatever has its name by now
        finally:
            os.close(fd)
    descent.enter(name)
