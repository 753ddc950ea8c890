"""How much disk a run needs, and whether it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import attrs

MIB = 1 << 20


@attrs.frozen
class Full:
    """A corpus at full scale, in MiB on the disk; one tool here restores holes as zeros."""

    files: int
    source: float
    with_holes_filled: float
    versions: int
    ratio: float


CORPORA = {
    "tree": Full(80_000, 1300, 1300, 1, 3.4),
    "database": Full(1, 2048, 2048, 2, 2.8),
    "media": Full(140, 1024, 1024, 1, 1),
    "image": Full(1, 717, 4096, 2, 2),
    "tiny": Full(300_000, 1300, 1300, 1, 5),
    "churn": Full(3000, 60, 60, 1, 0.2),
}
TOOLS_MIB = 400.0  # the programs of others, with apt's lists
CREATED_MIB, CREATED_FILES = 80.0, 20_200  # by the limits
OBJECTS = 500  # files and folders in a repository
FOLDERS = 0.02  # what a tree takes without the content of its files


@attrs.frozen
class Need:
    """Of a disk."""

    mib: float
    files: int


def need(corpora: Iterable[str], *, scale: float, tools: int, rounds: int) -> Need:
    """What all corpora need at the worst moment, about: corpora and names stay, content of a round is cut away."""
    kept, files, worst = TOOLS_MIB, 0, 0.0
    for name in corpora:
        full = CORPORA[name]
        copies = tools * rounds
        kept += scale * full.source * (full.versions + FOLDERS * copies) + rounds * CREATED_MIB
        files += int(full.files * scale * 1.1 * (1 + copies)) + rounds * (CREATED_FILES + tools * OBJECTS)
        restored = tools * full.source + full.with_holes_filled - full.source
        worst = max(worst, scale * (restored + 2 * tools * full.source / full.ratio))
    return Need(kept + worst, files)


def free(folder: Path) -> Need:
    """What the disk of a folder still has; some file systems have no limit on files."""
    disk = os.statvfs(folder)
    return Need(disk.f_bavail * disk.f_frsize / MIB, disk.f_favail if disk.f_files else 1 << 62)
