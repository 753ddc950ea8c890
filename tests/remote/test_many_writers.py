"""Writers on many machines, without locks: processes that are killed at random while others write and verify (I8)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore, verify
from tests.remote.places import Place, content_of, finish, make_tree, place_on, start

LONG = bool(os.environ.get("SAFEBACKUP_LONG"))
ROUNDS = 20 if LONG else 2


@pytest.fixture(params=["s3_server", "ssh_server"])
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(request.param))


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_killed_writers_harm_nobody(place: Place, tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    trees = [make_tree(tmp_path / f"tree{each}", each, large=8_000_000) for each in range(3)]
    repository = Repository.create(place.url, key=None, storage_options=dict(place.options))
    kept = back_up(trees[0], into=repository)

    victims = [start("back_up", place, str(trees[1])) for _ in range(2)]
    survivor = start("back_up", place, str(trees[2]))
    reader = start("verify", place)
    for victim in victims:
        time.sleep(rng.uniform(0.3, 2.0))  # somewhere between importing and the snapshot
        kill(victim)
    survived, read = finish(survivor), finish(reader)
    last = back_up(trees[1], into=repository)

    assert survived.get("complete") is True, survived
    assert read.get("passed") is True, read
    assert last.complete
    checked = verify(repository, level="full")
    assert checked.passed, checked.findings
    snapshots = {each.id: each for each in repository.snapshots()}
    for snapshot, tree in (
        (kept.snapshot.id, trees[0]),
        (str(survived["snapshot"]), trees[2]),
        (last.snapshot.id, trees[1]),
    ):
        target = tmp_path / f"back-{snapshot[:8]}"
        restore(snapshots[snapshot], target)
        assert content_of(target) == content_of(tree)
