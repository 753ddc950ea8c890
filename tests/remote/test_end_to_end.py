"""Back up, change, back up by two processes at once, verify, restore: the same on every kind of store."""

from __future__ import annotations

from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore, verify
from tests.remote.places import SERVERS, Place, content_of, finish, make_tree, place_on, start


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(request.param))


def test_a_repository_lives_on_every_store(place: Place, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", 1)
    other = make_tree(tmp_path / "other", 2)
    repository = Repository.create(place.url, key=None, storage_options=dict(place.options))

    first = back_up(tree, into=repository)
    before = content_of(tree)
    (tree / "d0" / "file 0 ü.txt").write_bytes(b"changed")
    (tree / "d1" / "new.txt").write_bytes(b"new")
    at_once = [start("back_up", place, str(each)) for each in (tree, other)]
    second, third = (finish(each) for each in at_once)
    checked = verify(repository, level="full")
    again = back_up(tree, into=repository)

    assert first.complete, first.findings
    assert second["complete"] and third["complete"], (second, third)
    assert second["unchanged"] == len(before) - 1
    assert checked.passed, checked.findings
    assert again.files_unchanged == len(before) + 1
    snapshots = {each.id: each for each in repository.snapshots()}
    assert set(snapshots) == {first.snapshot.id, second["snapshot"], third["snapshot"], again.snapshot.id}
    for number, (snapshot, expected) in enumerate(
        [
            (first.snapshot.id, before),
            (str(second["snapshot"]), content_of(tree)),
            (str(third["snapshot"]), content_of(other)),
        ]
    ):
        assert restore(snapshots[snapshot], tmp_path / f"back{number}").complete
        assert content_of(tmp_path / f"back{number}") == expected
