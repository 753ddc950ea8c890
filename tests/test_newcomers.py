"""Mistakes of a first day: each is answered by an error of ours that says what to do, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from safebackup import KeyFile, Repository, SafeBackupError, Source, back_up, restore, verify
from safebackup.errors import Code


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.csv").write_text("1,17.50\n")
    return tmp_path / "data"


def test_a_key_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SafeBackupError) as caught:
        KeyFile.create(tmp_path / "keys" / "my.key")

    assert (caught.value.code, bool(caught.value.hint)) == (Code.KEY_FILE_BAD, True)


@pytest.mark.parametrize("path", ["~/my.key", "~"])
def test_a_tilde_is_nobodys_name(path: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = back_up(data, into=Repository.create("memory://tilde" + tmp_path.name.lower(), key=None)).snapshot

    for mistake in (lambda: KeyFile.create(path), lambda: Source(path), lambda: restore(snapshot, path)):
        with pytest.raises(SafeBackupError, match=r"only a shell expands|no path of a key file"):
            mistake()

    assert not list(tmp_path.glob("~*"))


def test_a_key_that_cannot_be_read_leaves_no_repository_behind(tmp_path: Path) -> None:
    with pytest.raises(SafeBackupError) as caught:
        Repository.create(tmp_path / "repository", key=KeyFile(tmp_path / "gone.key"))

    assert caught.value.code is Code.KEY_FILE_MISSING
    assert not (tmp_path / "repository").exists()


def test_a_folder_that_holds_other_things_is_no_place_for_a_repository(data: Path) -> None:
    with pytest.raises(SafeBackupError) as caught:
        Repository.create(data, key=None)

    assert caught.value.code is Code.TARGET_NOT_EMPTY
    assert [path.name for path in data.iterdir()] == ["ledger.csv"]


@pytest.mark.parametrize("inside", ["inner", "deep/down /inner", "data", "../link/inner"])
def test_no_repository_is_made_in_another_one(inside: str, tmp_path: Path, data: Path) -> None:
    outer = Repository.create(tmp_path / "outer", key=None)
    back_up(data, into=outer)
    (tmp_path / "link").symlink_to(tmp_path / "outer")

    with pytest.raises(SafeBackupError, match="outer") as caught:
        Repository.create(tmp_path / "outer" / "inner" / ".." / inside, key=None)

    assert caught.value.code is Code.TARGET_IN_REPOSITORY
    assert not (tmp_path / "outer" / "inner").exists()
    assert verify(outer).findings == ()


def test_repositories_lie_beside_each_other(tmp_path: Path) -> None:
    Repository.create(tmp_path / "all" / "first", key=None)
    (tmp_path / "all" / "founding").mkdir()
    (tmp_path / "all" / "founding" / "minutes.txt").write_text("of the club")

    second = Repository.create(tmp_path / "all" / "second", key=None)

    assert second.snapshots() == []


@pytest.mark.parametrize("rules", [{"include": ["*.cvs"]}, {"exclude": ["*"]}])
def test_rules_that_leave_nothing_over_are_refused(rules: dict[str, list[str]], data: Path, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)

    with pytest.raises(SafeBackupError) as caught:
        back_up(Source(data, **rules), into=repository)  # type: ignore[arg-type]

    assert caught.value.code is Code.EMPTY_SOURCE
    assert repository.snapshots() == []
    assert back_up(Source(data, allow_empty=True, **rules), into=repository).complete  # type: ignore[arg-type]


def test_what_left_nothing_over_is_said_in_words(data: Path, tmp_path: Path) -> None:
    for number in range(5):
        (data / f"{number}.tmp").touch()
    repository = Repository.create(tmp_path / "repository", key=None)
    rules = [f"{number}.tmp" for number in range(4)]

    with pytest.raises(SafeBackupError) as one:
        back_up(Source(data, name="data", include=["*.nope"]), into=repository)
    with pytest.raises(SafeBackupError) as many:
        back_up(Source(data, name="data", exclude=rules, include=["*.nope"]), into=repository)

    assert one.value.message == (
        "the rules leave no file of data, as they left out 6 paths (not included); nothing was published"
    )
    assert many.value.message == (
        "the rules leave no file of data, as they left out 2 paths (not included), 1 path (exclude: 0.tmp), "
        "1 path (exclude: 1.tmp), and more by 2 other rules; nothing was published"
    )


def test_a_misspelled_source_does_not_look_like_an_empty_repository(data: Path, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    with pytest.raises(SafeBackupError, match=r"no snapshot .* yet"):
        repository.snapshot()
    back_up(Source(data, name="data"), into=repository)

    with pytest.raises(SafeBackupError, match=r"no snapshot of a source 'dta'.*'data'"):
        repository.snapshot(source="dta")


def test_the_full_path_of_a_file_is_answered_with_the_one_that_is_meant(data: Path, tmp_path: Path) -> None:
    snapshot = back_up(data, into=Repository.create(tmp_path / "repository", key=None)).snapshot

    with pytest.raises(SafeBackupError, match=r"write 'ledger\.csv'"):
        restore(snapshot, tmp_path / "out", paths=[data / "ledger.csv"])


def test_a_failed_verification_does_not_say_that_all_is_well(data: Path, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    assert verify(repository).statement.startswith("There is no snapshot")
    back_up(data, into=repository)
    next((tmp_path / "repository" / "data").rglob("*/*")).unlink()

    report = verify(repository, level="full")

    assert not report.passed
    assert report.statement.startswith("Damage was found: 1 of 1 snapshot")
