"""Round trips: what was backed up comes back, whatever it is."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore
from safebackup.repository.runtime import Runtime


def test_restoring_a_folder_alone_brings_back_names_that_begin_with_the_highest_byte(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "folder"
    folder.mkdir(parents=True)
    names = {b"\xff%04d" % number for number in range(1500)}  # enough that some begin a segment
    for name in names:
        Path(folder, os.fsdecode(name)).touch()
    runtime = Runtime(random=random.Random(1).randbytes)
    repository = Repository.create(tmp_path / "repository", key=None, runtime=runtime)
    snapshot = back_up(tmp_path / "source", into=repository).snapshot

    report = restore(snapshot, tmp_path / "restored", paths=["folder"])

    assert report.complete
    assert set(os.listdir(os.fsencode(tmp_path / "restored" / "folder"))) == names
