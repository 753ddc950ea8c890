"""What earlier drills left behind, and how a drill that is at work is told from one that was killed."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable
from contextlib import suppress

from safebackup.findings import printable

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

PREFIX = b"safebackup-drill-"  # how the names of scratch folders begin
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def removal_command(paths: Iterable[bytes]) -> str:
    """What to type to remove scratch folders, and nothing that is mounted in them."""
    return "rm -r --one-file-system " + " ".join(shlex.quote(printable(path)) for path in paths)


def left_by_drills(above: bytes) -> list[bytes]:
    """Folders of this user that earlier drills left in `above`, by path; none that is in use."""
    try:
        with os.scandir(above) as entries:
            found = [one.path for one in entries if one.name.startswith(PREFIX) and _is_own_folder(one)]
    except OSError:
        return []  # whatever is wrong with it, the drill itself will say
    return sorted(path for path in found if not is_in_use(path))


def _is_own_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def is_in_use(path: bytes) -> bool:
    """Whether a drill is at work in a scratch folder, which it holds a lock on."""
    try:
        fd = os.open(path, _FOLDER)
    except OSError:
        return not os.path.lexists(path)  # gone meanwhile, so it was
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # there are no locks on this file system
    finally:
        os.close(fd)
    return False


def hold(fd: int) -> None:
    """Mark an open folder as in use for as long as it is open; others who look hold it for a moment at most."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
