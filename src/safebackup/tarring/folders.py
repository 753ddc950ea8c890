"""Whether a path still leads where it led before: a disk may be unmounted, or a folder moved away, while it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

import attrs


@attrs.frozen(eq=False)
class Folder:
    """A folder that is being read: what it was when it was listed, and the paths and names in it that are left."""

    path: str
    status: os.stat_result
    left: Iterator[tuple[str, str]]

    @classmethod
    def listed(cls, path: str, name: str, status: os.stat_result, children: Sequence[str]) -> Folder:
        """With `children` in the order of their bytes; `name` is the folder's own in the tar."""
        inside = ((f"{path.rstrip('/')}/{child}", f"{name}/{child}") for child in sorted(children, key=os.fsencode))
        return cls(path, status, inside)


def still_leads_to(path: str, status: os.stat_result) -> bool:
    """Whether `path` is what it was when it had `status`.

    A file may have been replaced by another one on the same disk: that is how programs save. A folder may not.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if os.path.samestat(found, status):
        return True
    return stat.S_ISREG(found.st_mode) and stat.S_ISREG(status.st_mode) and found.st_dev == status.st_dev


def first_lost(folders: Sequence[Folder]) -> int | None:
    """The place of the first of these, from the outermost on, to which its path no longer leads."""
    return next((place for place, one in enumerate(folders) if not still_leads_to(one.path, one.status)), None)


def next_found(folders: list[Folder]) -> tuple[str, str] | None:
    """The path and name to read next; leaves the folders in which nothing is left."""
    while folders:
        if (found := next(folders[-1].left, None)) is not None:
            return found
        folders.pop()
    return None
