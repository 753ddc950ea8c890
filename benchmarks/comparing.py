"""Is a restored tree the source? Looked at byte by byte, with nothing of safebackup, as it is judged here too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PIECE_BYTES = 1 << 20


def differences(source: Path, restored: Path, *, seconds: float) -> list[str]:
    """What differs in names, kinds, content, permissions and modification times, the roots themselves aside.

    Times may differ by less than `seconds`, as some tools keep whole seconds only; those of links are not compared.
    """
    here, there = tree_of(source), tree_of(restored)
    found = [f"{path}: missing" for path in here.keys() - there.keys()]
    found += [f"{path}: not in the source" for path in there.keys() - here.keys()]
    for path in here.keys() & there.keys():
        found += [
            f"{path}: {what}" for what in differing(source / path, here[path], restored / path, there[path], seconds)
        ]
    return sorted(found)


def tree_of(root: Path) -> dict[str, os.stat_result]:
    """Every path below a root, and what `lstat` says."""
    paths = (os.path.join(home, name) for home, folders, files in os.walk(root) for name in (*folders, *files))
    return {os.path.relpath(path, root): os.lstat(path) for path in paths}


def differing(path: Path, left: os.stat_result, other: Path, right: os.stat_result, seconds: float) -> list[str]:
    """In what two of the same name differ."""
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        return ["another kind"]
    if stat.S_ISLNK(left.st_mode):
        return [] if os.readlink(path) == os.readlink(other) else ["another target"]
    found = [] if left.st_mode == right.st_mode else [f"mode {right.st_mode:o} for {left.st_mode:o}"]
    if abs(left.st_mtime_ns - right.st_mtime_ns) > seconds * 1e9:
        found.append(f"modified {(right.st_mtime_ns - left.st_mtime_ns) / 1e9:+} s")
    if stat.S_ISREG(left.st_mode) and (left.st_size != right.st_size or not same_content(path, other)):
        found.append("other content")
    return found


def same_content(path: Path, other: Path) -> bool:
    """Whether two files of one size hold the same bytes."""
    with path.open("rb") as left, other.open("rb") as right:
        while piece := left.read(PIECE_BYTES):
            if piece != right.read(PIECE_BYTES):
                return False
        return True
