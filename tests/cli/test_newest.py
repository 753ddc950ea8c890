"""An operator who asks for the newest snapshot learns which one it is, and never gets an older one for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from safebackup import Repository, Source, back_up
from tests.cli.program import Done, safebackup


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository with two snapshots of one source and an older one of another."""
    repository = Repository.create(tmp_path / "place", key=None)
    for name in ("other", "data", "data"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "file").write_text(name)
        back_up(Source(tmp_path / name, name=name), into=repository)
    return tmp_path / "place"


def run(*arguments: str | Path) -> Done:
    return safebackup(*arguments, folder=Path("/"))


def newest(place: Path) -> Path:
    snapshot = Repository.open(place, key=None).snapshots()[-1]
    return place / snapshot.name


def test_it_is_said_which_one_was_restored_and_what_else_there_is(place: Path, tmp_path: Path) -> None:
    done = run("restore", "latest", "-r", place, "--to", tmp_path / "target", "-v")

    assert done.status == 0
    assert "it is of data, made 20" in done.out + done.err
    assert "there are other sources, too: other; choose by --source" in done.out + done.err
    again = run("restore", "latest", "-r", place, "--to", tmp_path / "again", "-v", "--source", "data")
    assert "other sources" not in again.out + again.err


def test_an_older_one_is_not_restored_for_one_that_is_gone(place: Path, tmp_path: Path) -> None:
    newest(place).unlink()

    done = run("restore", "latest", "-r", place, "--to", tmp_path / "target")

    assert done.status == 5
    assert "broken-history" in done.err
    assert not (tmp_path / "target").exists()
    listed = run("snapshots", "--json", "-r", place)
    assert listed.status == 5
    assert len(listed.document["gone"]) == 1


def test_snapshots_that_are_all_gone_are_not_none_yet(place: Path) -> None:
    shutil.rmtree(place / "snapshots")

    done = run("snapshots", "-r", place)

    assert done.status == 5
    assert done.err.count("is gone") == 3
    assert "yet" not in done.out + done.err


def test_a_digit_is_no_id(place: Path) -> None:
    done = run("ls", newest(place).name[:1], "-r", place)

    assert done.status == 2
    assert "at least 4 characters" in done.err
