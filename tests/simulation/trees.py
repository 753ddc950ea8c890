"""Trees of real files: described so that two of them can be compared, and made."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import attrs


@attrs.frozen
class Described:
    """One path of a tree: everything that a restore must bring back. `names` are all names of the same file."""

    kind: int
    mode: int
    mtime_ns: int
    content: str = ""
    target: str = ""
    names: tuple[str, ...] = ()
    xattrs: tuple[tuple[str, bytes], ...] = ()


Tree = dict[str, Described]


def describe(root: Path) -> Tree:
    """The tree as it is now, by relative path; the root itself is "."."""
    found: dict[str, tuple[Path, os.stat_result]] = {".": (root, root.lstat())}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            found[str(path.relative_to(root))] = (path, path.lstat())
    groups: dict[tuple[int, int], list[str]] = {}
    for name, (_, status) in sorted(found.items()):
        if not stat.S_ISDIR(status.st_mode):
            groups.setdefault((status.st_dev, status.st_ino), []).append(name)
    return {
        name: _describe(path, status, tuple(groups.get((status.st_dev, status.st_ino), ())))
        for name, (path, status) in found.items()
    }


def _describe(path: Path, status: os.stat_result, names: tuple[str, ...]) -> Described:
    is_link = stat.S_ISLNK(status.st_mode)
    return Described(
        kind=stat.S_IFMT(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        content=hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else "",
        target=os.readlink(path) if is_link else "",
        names=names,
        xattrs=() if is_link else _user_xattrs(path),
    )


def _user_xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(name for name in os.listxattr(path) if name.startswith("user."))
    return tuple((name, os.getxattr(path, name)) for name in names)


def write_files(root: Path, files: dict[str, bytes]) -> None:
    """Write files by relative path, with the folders above them."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
