"""The newest snapshot is the newest that was published, or nobody claims to know it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup import Repository, Snapshot, Source, back_up, verify
from safebackup.errors import Code, IntegrityError, NotFoundError
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.storage import LocalStore, ObjectInfo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a repository."""
    Repository.create(tmp_path / "repository", key=None)
    return tmp_path / "repository"


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Callable[..., Snapshot]:
    def make(content: str, source: str = "a") -> Snapshot:
        (tmp_path / source).mkdir(exist_ok=True)
        (tmp_path / source / "file").write_text(content)
        return back_up(Source(tmp_path / source, name=source), into=reopened(folder)).snapshot

    return make


def reopened(folder: Path) -> Repository:
    return Repository.open(folder, key=None)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


HARM: dict[str, Callable[[Path], None]] = {"damaged": cut, "gone": lambda path: path.unlink()}


@pytest.mark.parametrize("harm", HARM)
def test_an_older_one_is_not_given_for_the_newest(folder: Path, made: Callable[..., Snapshot], harm: str) -> None:
    older, newest = made("1"), made("2")
    shutil.rmtree(folder / "catalogues", ignore_errors=True)
    HARM[harm](folder / newest.name)

    with pytest.raises(IntegrityError) as caught:
        reopened(folder).snapshot()

    assert caught.value.code == Code.BROKEN_HISTORY
    assert newest.id[:12] in caught.value.message
    assert older.id[:12] in caught.value.hint
    assert reopened(folder).snapshot(older.id).id == older.id


@pytest.mark.parametrize("harm", HARM)
def test_what_was_lost_before_the_newest_was_made_hides_nothing(
    folder: Path, made: Callable[..., Snapshot], harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, newest = made("1"), made("2"), made("3")
    shutil.rmtree(folder / "catalogues", ignore_errors=True)
    HARM[harm](folder / first.name)
    HARM[harm](folder / second.name)

    assert reopened(folder).snapshot().id == newest.id
    assert [one.id for one in reopened(folder).snapshots()] == [newest.id]
    assert first.name in caplog.text


def test_a_lost_one_of_another_source_does_not_matter_where_a_source_is_named(
    folder: Path, made: Callable[..., Snapshot]
) -> None:
    ours = made("1")
    theirs = [made(str(number), "b") for number in range(20)]  # as many as make a catalogue
    assert any((folder / "catalogues").rglob("*"))
    (folder / theirs[-2].name).unlink()
    made("2", "b")

    assert reopened(folder).snapshot(source="a").id == ours.id


@pytest.mark.parametrize("id", ["latest", "12ab"])
def test_a_repository_all_of_whose_snapshots_are_gone_is_not_one_without_any_yet(
    folder: Path, made: Callable[..., Snapshot], id: str
) -> None:
    with pytest.raises(NotFoundError):
        reopened(folder).snapshot(id)
    made("1")
    shutil.rmtree(folder / "snapshots")

    with pytest.raises(IntegrityError) as caught:
        reopened(folder).snapshot(id)

    assert caught.value.code == Code.BROKEN_HISTORY
    report = verify(reopened(folder))
    assert not report.passed
    assert "1 snapshot that was published is gone" in report.statement


def test_one_that_is_published_meanwhile_is_not_taken_for_lost(folder: Path, made: Callable[..., Snapshot]) -> None:
    class Meanwhile(LocalStore):
        """Somebody else backs up after snapshots were listed, and before the journal is."""

        asked = 0

        def list(self, prefix: str) -> list[ObjectInfo]:
            if prefix == "journal/":
                Meanwhile.asked += 1
                made(f"meanwhile {Meanwhile.asked}")
            return super().list(prefix)

    before = made("1")
    repository = attach(Meanwhile(folder), key=None, runtime=Runtime())

    assert repository.snapshot().id == before.id
    assert verify(repository, level="structure", record=False).passed
    assert Meanwhile.asked > 1
