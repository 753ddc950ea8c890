"""Restoring to a URL: files become objects, and what no URL holds is told."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import fsspec
import pytest

from safebackup import Repository, SafeBackupError, Snapshot, back_up, restore
from safebackup.errors import Code, ConfigurationError, RefusedError, StorageError
from safebackup.findings import Severity
from safebackup.recovery import RestoreReport, url_target
from safebackup.testing import FaultProxy, Mode
from tests.servers import BUCKET, Server

MIB = 1 << 20
_NUMBERS = count()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", key=None)


@pytest.fixture
def folder() -> str:
    """A name on a server that nobody has used."""
    return f"target-{os.getpid()}-{next(_NUMBERS)}"


def content(size: int, seed: bytes = b"content") -> bytes:
    return hashlib.shake_128(seed).digest(size)


FILES = {
    "a": b"1",
    "b/ü #?%41.x": b"odd",
    "b/empty": b"",
    "b-c": content(5000),
    "medium": content(3 * MIB),
    "large": content(17 * MIB + 1),
}


@pytest.fixture
def snapshot(repository: Repository, tmp_path: Path) -> Snapshot:
    return made(repository, tmp_path / "made", FILES)


def made(repository: Repository, source: Path, files: dict[str, bytes]) -> Snapshot:
    for path, data in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    return back_up(source, into=repository).snapshot


def told(report: RestoreReport) -> list[tuple[Code, Severity, str]]:
    """Its findings without what is said of every restore to a URL, by subject."""
    found = [(one.code, one.severity, one.subject) for one in report.findings if "permissions" not in one.what]
    return sorted(found, key=lambda one: one[2])


KINDS = ["s3_server", "gcs_server", "azure_server", "ssh_server", "ftp_server", "webdav_server"]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Server:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


# What arrives


def test_every_file_arrives_on_every_kind_of_server(snapshot: Snapshot, server: Server, folder: str) -> None:
    report = restore(snapshot, server.url(folder), storage_options=server.options)

    assert (report.complete, report.files, told(report)) == (True, len(FILES), [])
    assert {path: data for path, data in server.peek(folder).items() if not path.startswith("tmp/")} == FILES


def test_what_a_url_cannot_hold_is_one_finding_for_each_kind(
    repository: Repository, tmp_path: Path, s3_server: Server, folder: str
) -> None:
    source = tmp_path / "source"
    (source / "d/hollow").mkdir(parents=True)
    for name in ("one", "two"):
        (source / name).symlink_to("elsewhere")
    os.mkfifo(source / "fifo")
    (source / "first").write_bytes(b"1")
    os.link(source / "first", source / "second")
    snapshot = back_up(source, into=repository).snapshot

    report = restore(snapshot, s3_server.url(folder), storage_options=s3_server.options)

    assert report.complete
    assert [(one.code, one.severity) for one in report.findings] == [(Code.NOT_HELD, Severity.WARNING)] * 5
    assert sorted(one.what.partition(":")[0] for one in report.findings) == [
        "empty folders",
        "fifos and devices",
        "hard links (now copies)",
        "permissions, owners and times",
        "symbolic links",
    ]
    (links,) = [one.what for one in report.findings if one.what.startswith("symbolic")]
    assert "2 paths" in links
    assert s3_server.peek(folder) == {"first": b"1", "second": b"1"}


def test_a_name_that_is_no_text_is_not_restored_and_the_rest_is(
    repository: Repository, tmp_path: Path, s3_server: Server, folder: str
) -> None:
    made(repository, tmp_path / "source", {"a": b"1"})
    with open(os.fsencode(tmp_path / "source") + b"/\xff", "wb"):
        pass
    snapshot = back_up(tmp_path / "source", into=repository).snapshot

    report = restore(snapshot, s3_server.url(folder), storage_options=s3_server.options)

    assert not report.complete
    assert told(report) == [(Code.PATH_NOT_RESTORED, Severity.ERROR, "\\xff")]
    assert s3_server.peek(folder) == {"a": b"1"}


def test_parts_of_a_snapshot_arrive_under_their_paths(snapshot: Snapshot, s3_server: Server, folder: str) -> None:
    report = restore(snapshot, s3_server.url(folder), storage_options=s3_server.options, paths=["b", "medium"])

    assert (report.complete, told(report)) == (True, [])
    assert s3_server.peek(folder) == {path: FILES[path] for path in ("b/empty", "b/ü #?%41.x", "medium")}


def test_a_sparse_file_arrives_with_its_zeros(
    repository: Repository, tmp_path: Path, s3_server: Server, folder: str
) -> None:
    (tmp_path / "source").mkdir()
    with open(tmp_path / "source/sparse", "wb") as file:
        file.seek(5 * MIB)
        file.write(b"end")
        file.truncate(8 * MIB)
    snapshot = back_up(tmp_path / "source", into=repository).snapshot

    restore(snapshot, s3_server.url(folder), storage_options=s3_server.options)

    assert s3_server.peek(folder) == {"sparse": (tmp_path / "source/sparse").read_bytes()}


@pytest.mark.parametrize("more", [{}, {"client": "obstore"}], ids=str)
def test_a_large_file_is_sent_in_parts(
    snapshot: Snapshot, s3_server: Server, folder: str, monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    monkeypatch.setattr(url_target, "IN_PARTS_BYTES", 8 * MIB)
    monkeypatch.setattr(url_target, "_PART_BYTES", 5 * MIB)

    report = restore(snapshot, s3_server.url(folder), storage_options={**s3_server.options, **more})

    assert (report.complete, told(report)) == (True, [])
    assert s3_server.peek(folder) == FILES
    store = fsspec.filesystem("s3", **s3_server.options, skip_instance_cache=True)
    assert store.info(f"{BUCKET}/{folder}/large")["ETag"].strip('"').endswith("-4")


def test_memory_and_what_else_fsspec_writes_to_is_read_back(snapshot: Snapshot) -> None:
    restore(snapshot, "memory://restored-here")

    files = fsspec.filesystem("memory")
    assert {path.removeprefix("/restored-here/"): files.cat(path) for path in files.find("/restored-here")} == FILES


def test_a_dry_run_writes_nothing(snapshot: Snapshot, server: Server, folder: str) -> None:
    report = restore(snapshot, server.url(folder), storage_options=server.options, dry_run=True)

    assert (report.complete, report.dry_run, report.files) == (True, True, len(FILES))
    assert server.peek(folder) == {}


# What is there already


def test_a_target_that_holds_something_is_refused(snapshot: Snapshot, s3_server: Server, folder: str) -> None:
    options = s3_server.options
    restore(snapshot, s3_server.url(folder), storage_options=options, paths=["a"])

    for is_dry in (True, False):
        with pytest.raises(RefusedError) as caught:
            restore(snapshot, s3_server.url(folder), storage_options=options, dry_run=is_dry)
        assert caught.value.code is Code.TARGET_NOT_EMPTY
    assert s3_server.peek(folder) == {"a": b"1"}


@pytest.mark.parametrize("kind", ["s3_server", "ssh_server"])
def test_kept_is_what_is_there_and_replaced_is_what_should_be(
    repository: Repository,
    snapshot: Snapshot,
    tmp_path: Path,
    folder: str,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    server: Server = request.getfixturevalue(kind)
    other = made(repository, tmp_path / "other", {"a": b"2", "b/empty": b"full", "mine": b"mine"})
    restore(other, server.url(folder), storage_options=server.options)

    kept = restore(snapshot, server.url(folder), storage_options=server.options, overwrite="keep")
    after_keep = server.peek(folder)
    replaced = restore(snapshot, server.url(folder), storage_options=server.options, overwrite="replace")

    assert not kept.complete
    assert told(kept) == [(Code.PATH_KEPT, Severity.INFO, "a"), (Code.PATH_KEPT, Severity.ERROR, "b/empty")]
    assert without_temporaries(after_keep) == {**FILES, "a": b"2", "b/empty": b"full", "mine": b"mine"}
    assert (replaced.complete, told(replaced)) == (True, [])
    assert without_temporaries(server.peek(folder)) == {**FILES, "mine": b"mine"}


def without_temporaries(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if not path.startswith("tmp/")}


@pytest.mark.parametrize("kind", ["s3_server", "ftp_server"])
def test_what_appears_meanwhile_is_not_replaced(
    snapshot: Snapshot, folder: str, kind: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    somebody = url_target.UrlTarget(server.url(folder), server.options)
    done: list[int] = []

    class Progress:
        def set_size(self, size: int) -> None:
            pass

        def relative_update(self, inc: int = 1) -> None:
            if not done:  # the target was found empty, and "medium" is not written yet
                somebody.put("medium", memoryview(b"theirs"), replace=False)
            done.append(inc)

    report = restore(snapshot, server.url(folder), storage_options=server.options, callback=Progress(), workers=1)
    somebody.close()

    assert not report.complete
    assert told(report) == [(Code.PATH_NOT_RESTORED, Severity.ERROR, "medium")]
    assert without_temporaries(server.peek(folder)) == {**FILES, "medium": b"theirs"}


def test_what_is_gone_at_the_end_is_reported(
    snapshot: Snapshot, s3_server: Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("s3", **s3_server.options, skip_instance_cache=True)
    listing = url_target.UrlTarget.listing

    def late(target: url_target.UrlTarget) -> object:
        store.call_s3("delete_object", Bucket=BUCKET, Key=f"{folder}/a")
        store.call_s3("put_object", Bucket=BUCKET, Key=f"{folder}/b-c", Body=b"short")
        return listing(target)

    monkeypatch.setattr(url_target.UrlTarget, "listing", late)

    report = restore(snapshot, s3_server.url(folder), storage_options=s3_server.options)

    assert not report.complete
    assert told(report) == [
        (Code.PATH_NOT_RESTORED, Severity.ERROR, "a"),
        (Code.PATH_NOT_RESTORED, Severity.ERROR, "b-c"),
    ]


def test_what_the_repository_has_lost_is_reported_once(
    repository: Repository, tmp_path: Path, s3_server: Server, folder: str
) -> None:
    snapshot = made(repository, tmp_path / "made", {"a": b"1", "large": content(2 * MIB)})
    for pack in (tmp_path / "repository/data").rglob("*"):
        if pack.is_file():
            pack.unlink()

    report = restore(snapshot, s3_server.url(folder), storage_options=s3_server.options)

    assert [(code, subject) for code, _, subject in told(report)] == [
        (Code.PATH_NOT_RESTORED, "a"),
        (Code.PATH_NOT_RESTORED, "large"),
    ]
    assert s3_server.peek(folder) == {}


def test_the_repository_is_no_target(tmp_path: Path, s3_server: Server, folder: str) -> None:
    repository = Repository.create(s3_server.url(folder), key=None, storage_options=s3_server.options)
    snapshot = made(repository, tmp_path / "made", {"a": b"1"})

    for below in ("", "/restored"):
        with pytest.raises(RefusedError) as caught:
            restore(snapshot, s3_server.url(folder) + below, storage_options=s3_server.options, overwrite="replace")
        assert caught.value.code is Code.TARGET_IN_REPOSITORY


# What goes wrong


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "zip://::a.zip", "github://a:b@/", "nonesuch://x", "s3://", "simplecache::s3://a/b"]
)
def test_what_cannot_be_written_to_is_refused(snapshot: Snapshot, url: str) -> None:
    with pytest.raises(ConfigurationError):
        restore(snapshot, url)


def test_storage_options_are_for_urls(snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        restore(snapshot, tmp_path / "restored", storage_options={"key": "x"})


def test_a_bucket_that_is_not_there_is_never_made(snapshot: Snapshot, s3_server: Server) -> None:
    with pytest.raises(StorageError) as caught:
        restore(snapshot, "s3://no-such-bucket-here/x", storage_options=s3_server.options)

    assert caught.value.code is Code.STORE_MISSING


def test_wrong_credentials_are_denied_and_shown_to_nobody(snapshot: Snapshot, s3_server: Server) -> None:
    with pytest.raises(StorageError) as caught:
        restore(snapshot, s3_server.url("x"), storage_options={**s3_server.options, "secret": "Wrong-Hunter2"})

    assert caught.value.code is Code.STORE_DENIED
    assert "Hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "mode",
    [Mode.cut_up(2 * MIB).first(2), Mode.cut_down(300).first(2), Mode.swallow(after=1).first(2)],
    ids=["cut up", "cut down", "lost answer"],
)
def test_a_line_that_fails_now_and_then_changes_nothing(
    snapshot: Snapshot, s3_server: Server, folder: str, mode: Mode
) -> None:
    with FaultProxy("127.0.0.1", s3_server.port) as proxy:
        proxy.mode = mode
        report = restore(
            snapshot, s3_server.url_at(folder, proxy.port), storage_options=s3_server.options_at(proxy.port)
        )
        struck = proxy.struck

    assert struck >= 1
    assert (report.complete, told(report)) == (True, [])
    assert s3_server.peek(folder) == FILES


def test_an_upload_in_parts_that_fails_shows_nothing(
    snapshot: Snapshot, s3_server: Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_target, "IN_PARTS_BYTES", 8 * MIB)
    monkeypatch.setattr(url_target, "_PART_BYTES", 5 * MIB)
    with FaultProxy("127.0.0.1", s3_server.port) as proxy:
        proxy.mode = Mode.cut_up(4 * MIB)
        with pytest.raises(SafeBackupError):
            restore(
                snapshot,
                s3_server.url_at(folder, proxy.port),
                storage_options=s3_server.options_at(proxy.port),
                paths=["large"],
            )

    assert s3_server.peek(folder) == {}


KILLED = """
import sys
from safebackup import Repository, restore
restore(Repository.open(sys.argv[1], key=None).snapshot(), sys.argv[2], storage_options=eval(sys.argv[3]))
"""


@pytest.mark.parametrize("kind", ["s3_server", "ssh_server"])
def test_a_restore_that_is_killed_leaves_whole_files_and_can_be_completed(
    repository: Repository, tmp_path: Path, folder: str, kind: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    files = {f"{number:03d}": content(2 * MIB, b"%d" % number) for number in range(30)}
    snapshot = made(repository, tmp_path / "made", files)
    arguments = [repository.url, server.url(folder), repr(server.options)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    wait_until(lambda: len(server.peek(folder)) > 2)
    process.send_signal(signal.SIGKILL)
    process.wait()

    left = without_temporaries(server.peek(folder))
    report = restore(snapshot, server.url(folder), storage_options=server.options, overwrite="keep")

    assert left == {path: files[path] for path in left}
    assert (report.complete, without_temporaries(server.peek(folder))) == (True, files)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")
