"""The whole path in its plainest form: back up, change, back up, verify, restore; and what is reported on the way."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from fsspec.callbacks import Callback

from safebackup import KeyFile, Passphrase, Repository, SafeBackupError, Snapshot, back_up, restore, verify
from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.events import Event, ObjectStored, RunFinished, RunStarted
from safebackup.repository import Standing
from safebackup.repository.repository import attach, found
from safebackup.repository.runtime import Runtime
from safebackup.storage import open_store
from safebackup.testing import RecordingStore


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "one.txt").write_text("one\n")
    (folder / "deep" / "two.bin").write_bytes(bytes(range(256)) * 5000)
    (folder / "deep" / "er" / "link").symlink_to("../two.bin")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", key=KeyFile.create(tmp_path / "key"))


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.portable
def test_what_was_backed_up_is_what_is_restored(source: Path, repository: Repository, tmp_path: Path) -> None:
    first = back_up(source, into=repository)
    before = contents(source)
    (source / "one.txt").write_text("changed\n")
    (source / "three.txt").write_text("three\n")
    (source / "deep" / "er" / "link").unlink()

    second = back_up(source, into=repository)
    checked = verify(repository, level="full")
    restore(first.snapshot, tmp_path / "first")
    restore(second.snapshot, tmp_path / "second")

    assert first.complete
    assert second.complete
    assert (second.files_new, second.files_changed, second.entries_removed) == (1, 1, 1)
    assert checked.passed
    assert contents(tmp_path / "first") == before
    assert contents(tmp_path / "second") == contents(source)


@pytest.mark.portable
def test_a_passphrase_opens_what_it_has_sealed_and_another_does_not(source: Path, tmp_path: Path) -> None:
    back_up(source, into=Repository.create(tmp_path / "sealed", key=Passphrase("correct horse")))

    opened = Repository.open(tmp_path / "sealed", key=Passphrase("correct horse"))

    assert opened.snapshot().files == 2
    with pytest.raises(SafeBackupError) as caught:
        Repository.open(tmp_path / "sealed", key=Passphrase("wrong"))
    assert caught.value.code is Code.WRONG_KEY


def test_nothing_of_a_sealed_repository_shows_names_or_content(source: Path, tmp_path: Path) -> None:
    (source / "confidential-name.txt").write_text("confidential content " * 50)
    key = KeyFile.create(tmp_path / "key")

    back_up(source, into=Repository.create(tmp_path / "sealed", key=key))

    stored = b"".join(path.read_bytes() for path in (tmp_path / "sealed").rglob("*") if path.is_file())
    assert b"confidential" not in stored
    assert key.material() not in stored


def test_progress_speaks_fsspecs_convention(source: Path, repository: Repository, tmp_path: Path) -> None:
    backing, restoring, verifying = Callback(), Callback(), Callback()

    report = back_up(source, into=repository, callback=backing)
    restore(report.snapshot, tmp_path / "out", callback=restoring)
    verify(repository, callback=verifying)

    assert backing.value == report.snapshot.content_bytes
    assert (restoring.size, restoring.value) == (report.snapshot.content_bytes, report.snapshot.content_bytes)
    assert verifying.size == verifying.value > 0


def test_an_observer_sees_the_run_from_its_beginning_to_its_end(source: Path, repository: Repository) -> None:
    events: list[Event] = []

    report = back_up(source, into=repository, observer=events.append)

    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].outcome == "complete"
    assert {event.run for event in events} == {report.snapshot.body.run.hex()}
    stored = [event.name for event in events if isinstance(event, ObjectStored)]
    assert report.snapshot.name in stored
    assert stored.index(report.snapshot.name) > stored.index(next(name for name in stored if "intents/" in name))


def test_the_library_logs_under_its_name_with_the_run_and_prints_nothing(
    source: Path, repository: Repository, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="safebackup"):
        report = back_up(source, into=repository)

    assert {record.name for record in caplog.records} == {"safebackup"}
    assert {getattr(record, "run", None) for record in caplog.records} == {report.snapshot.body.run.hex()}
    assert capfd.readouterr() == ("", "")


def test_standing_rises_with_what_was_proved(source: Path, repository: Repository) -> None:
    back_up(source, into=repository)
    assert repository.snapshot().standing is Standing.COMPLETE

    verify(repository, level="structure")
    assert (repository.snapshot().standing, repository.snapshot().verified_level) == (Standing.VERIFIED, "structure")

    verify(repository, level="full")
    assert repository.snapshot().verified_level == "full"


def test_damage_makes_a_snapshot_suspect_until_it_was_verified_as_deeply(source: Path, repository: Repository) -> None:
    back_up(source, into=repository)
    verify(repository, level="full")
    pack = next(Path(repository.url.removeprefix("file://")).glob("data/*/*"))
    good = pack.read_bytes()
    pack.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])

    assert not verify(repository, level="full").passed
    assert (repository.snapshot().suspect, repository.snapshot().standing) == (True, Standing.COMPLETE)

    pack.write_bytes(good)
    verify(repository, level="structure")
    assert repository.snapshot().suspect
    verify(repository, level="full")
    assert (repository.snapshot().suspect, repository.snapshot().standing) == (False, Standing.VERIFIED)


def test_a_snapshot_travels_without_its_repository(source: Path, repository: Repository) -> None:
    snapshot = back_up(source, into=repository).snapshot

    copy: Snapshot = pickle.loads(pickle.dumps(snapshot))

    assert copy == snapshot
    assert copy.repository is None
    assert "key" not in repr(copy).lower()
    with pytest.raises(ConfigurationError):
        restore(copy, "anywhere")


def test_a_repository_is_never_pickled(repository: Repository) -> None:
    with pytest.raises(ConfigurationError, match="holds keys"):
        pickle.dumps(repository)


def test_an_observer_that_fails_breaks_nothing(source: Path, repository: Repository) -> None:
    (source / "large").write_bytes(bytes(range(256)) * 200_000)
    (source / "large again").write_bytes(bytes(range(256)) * 200_000)

    def fail(event: Event) -> None:
        raise OSError(28, f"no space left for the log of {event}")

    report = back_up(source, into=repository, observer=fail)

    assert (report.complete, report.findings_total) == (True, 0)
    assert verify(repository, level="full").passed


class FullDisk(RecordingStore):
    """Takes nothing new."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        raise StorageError(f"no space left for {name}, {len(data)} bytes", code=Code.STORE_FULL)


def test_a_verification_that_cannot_be_recorded_still_reports(source: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "full", create=True)
    back_up(source, into=found(store, key=None, runtime=Runtime()))

    report = verify(attach(FullDisk(store), key=None, runtime=Runtime()), level="full")

    assert report.passed
    assert [finding.code for finding in report.findings] == [Code.STORE_FULL]


@pytest.mark.parametrize("folder", ["deaths", "dooms", "config", "snapshots", "journal"])
def test_a_note_that_somebody_left_in_the_repository_keeps_nobody_from_work(
    folder: str, source: Path, repository: Repository, tmp_path: Path
) -> None:
    back_up(source, into=repository)
    home = tmp_path / "repository" / folder
    home.mkdir(exist_ok=True)
    (home / "notes.txt").write_text("do not delete")

    reopened = Repository.open(tmp_path / "repository", key=KeyFile(tmp_path / "key"))

    assert back_up(source, into=reopened).complete
    assert restore(reopened.snapshot(), tmp_path / "out").complete
