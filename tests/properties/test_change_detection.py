"""Change detection: what has changed is read, and evidence speaks only of what was read under it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from safebackup import Repository, Source, back_up, restore
from safebackup.backup import Evidence
from safebackup.backup.pipeline import YOUNG_NANOSECONDS

LONG_AGO = 1_000_000_000_000_000_000


def let_age() -> None:
    """Wait until what was just written is no longer too young to trust."""
    time.sleep(YOUNG_NANOSECONDS / 1e9 + 0.1)


def test_a_strict_mode_reads_what_a_weak_mode_before_it_had_passed_over(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    changing = source / "changing"
    changing.write_bytes(b"before")
    os.utime(changing, ns=(LONG_AGO, LONG_AGO))
    let_age()
    repository = Repository.create(tmp_path / "repository", key=None)
    back_up(Source(source, evidence=Evidence.MTIME), into=repository)
    changing.write_bytes(b"AFTER.")
    os.utime(changing, ns=(LONG_AGO, LONG_AGO))
    (source / "another").touch()  # so that the segment is written anew
    let_age()
    back_up(Source(source, evidence=Evidence.MTIME), into=repository)

    report = back_up(Source(source, evidence=Evidence.INODE_CTIME), into=repository)

    restore(report.snapshot, tmp_path / "restored")
    assert (tmp_path / "restored" / "changing").read_bytes() == b"AFTER."
