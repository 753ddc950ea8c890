"""URLs as sources: web servers, archives and object stores, backed up like folders."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup import Repository, SafeBackupError, Snapshot, Source, back_up, drill, restore, verify
from safebackup.backup import BackupReport
from safebackup.backup.url_source import UrlSource
from safebackup.errors import Code, ConfigurationError, NotFoundError, RefusedError, StorageError
from safebackup.findings import Severity
from safebackup.format.manifest import path_key
from safebackup.statuses import ExitStatus
from safebackup.storage.places import Listing, listing, open_place
from safebackup.storage.remote import Limits
from safebackup.testing import FaultProxy, Mode
from tests.backup.website import LONG_AGO, Site, answer, serving
from tests.cli.program import safebackup
from tests.servers import BUCKET, Server

MIB = 1 << 20
SOON = Limits(request=3, deadline=4, first_answer=3)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", key=None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path / "site") as found:
        yield found


@pytest.fixture
def memory() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Puts files into fsspec's memory; the URL of their folder."""
    files = fsspec.filesystem("memory")
    numbers = count()

    def put(content: dict[str, bytes]) -> str:
        folder = f"/source-{next(numbers)}"
        files.pipe({f"{folder}/{path}": data for path, data in content.items()})
        return f"memory:/{folder}"

    yield put
    files.rm("/", recursive=True)


def content(size: int, seed: bytes = b"content") -> bytes:
    return hashlib.shake_128(seed).digest(size)


def restored(snapshot: Snapshot, folder: Path) -> dict[str, bytes]:
    restore(snapshot, to=folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told(report: BackupReport) -> list[tuple[Code, Severity, str]]:
    """Its findings beyond remarks, by subject."""
    found = [(one.code, one.severity, one.subject) for one in report.findings if one.severity is not Severity.INFO]
    return sorted(found, key=lambda one: one[2])


def remark(report: BackupReport) -> str:
    (found,) = [one.what for one in report.findings if one.code is Code.CHANGE_EVIDENCE]
    return found


# What comes back


@pytest.mark.parametrize("size", [0, 1, 5000, (256 << 10) + 1, 8 * MIB, 20 * MIB + 3])
def test_a_file_of_any_size_comes_back_byte_for_byte(
    repository: Repository, tmp_path: Path, memory: Callable[[dict[str, bytes]], str], size: int
) -> None:
    files = {"a/one": content(size), "two": content(size, b"two")}

    report = back_up(Source.url(memory(files)), into=repository)

    assert (report.complete, report.files_new, report.read_bytes) == (True, 2, 2 * size)
    assert restored(report.snapshot, tmp_path / "copy") == files
    assert verify(repository, level="full").passed


ODD_NAMES = ["b-x", "b/x", "b.x", "b x/y", "b/ü &%41;#?=.txt", "httpd.conf", "b/x y+z", "ab\u0301", "b/~", "B"]


def test_what_a_web_server_lists_comes_back_whatever_it_is_called(
    repository: Repository, tmp_path: Path, site: Site
) -> None:
    for name in ODD_NAMES:
        site.write(name, name.encode())
    (site.folder / "empty").mkdir()

    report = back_up(site.url, into=repository)

    assert (report.complete, told(report)) == (True, [])
    assert restored(report.snapshot, tmp_path / "copy") == {name: name.encode() for name in ODD_NAMES}
    assert (tmp_path / "copy/empty").is_dir()
    assert (tmp_path / "copy/B").stat().st_mtime == LONG_AGO
    assert verify(repository, level="full").passed


def test_the_order_of_names_is_that_of_manifests_and_not_the_servers(
    repository: Repository, memory: Callable[[dict[str, bytes]], str]
) -> None:
    names = ["a/b", "a-b", "a.b/c", "b/a/c", "b/a-c", "ä", "Z"]

    report = back_up(memory(dict.fromkeys(names, b"x")), into=repository)

    paths = [entry.path for entry in report.snapshot.walk()]
    assert paths == sorted(paths, key=path_key)
    assert {path.decode() for path in paths} >= set(names)
    assert verify(repository, level="full").passed


def test_archives_are_read_like_folders(repository: Repository, tmp_path: Path) -> None:
    files = {"top": b"t", "d/x.bin": content(3 * MIB), "d/e/y": b""}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

    from_zip = back_up(f"zip://::{tmp_path}/a.zip", into=repository)
    from_tar = back_up(Source.url(f"tar://::{tmp_path}/a.tar.gz"), into=repository)
    within = back_up(Source.url(f"zip://d::{tmp_path}/a.zip"), into=repository)

    assert restored(from_zip.snapshot, tmp_path / "1") == files
    assert restored(from_tar.snapshot, tmp_path / "2") == files
    assert restored(within.snapshot, tmp_path / "3") == {"x.bin": files["d/x.bin"], "e/y": b""}


def test_a_url_of_one_file_is_that_file(repository: Repository, tmp_path: Path, site: Site) -> None:
    site.write("dumps/orders 1.sql", b"CREATE")

    report = back_up(f"{site.url}dumps/orders%201.sql", into=repository)

    assert restored(report.snapshot, tmp_path / "copy") == {"orders 1.sql": b"CREATE"}


def test_a_file_url_is_the_path_that_it_names(tmp_path: Path) -> None:
    assert Source.url(f"file://{tmp_path}", name="data") == Source(tmp_path, name="data")


def test_a_file_of_unknown_size_is_read_to_its_end_each_time(
    repository: Repository, tmp_path: Path, site: Site
) -> None:
    def without_length(handler: SimpleHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content(2 * MIB))
        return True

    site.write("live", b"")
    site.faults["live"] = without_length

    reports = [back_up(site.url, into=repository) for _ in range(2)]

    assert [(report.complete, report.read_bytes) for report in reports] == [(True, 2 * MIB)] * 2
    assert restored(reports[1].snapshot, tmp_path / "copy") == {"live": content(2 * MIB)}
    assert "1 not at all, and read each time" in remark(reports[1])
    assert reports[1].snapshot.body.evidence_kind == "none"


# What is not read again


def test_what_has_not_changed_is_not_read_again(repository: Repository, tmp_path: Path, site: Site) -> None:
    site.write("same", b"same")
    site.write("d/large", content(2 * MIB))
    site.write("changed", b"old")
    site.write("gone", b"gone")
    back_up(site.url, into=repository)
    site.read()
    (site.folder / "gone").unlink()
    site.write("changed", b"new", modified=LONG_AGO + 7)
    site.write("added", b"")

    report = back_up(site.url, into=repository)

    assert site.read() == ["changed"]
    counts = (report.files_new, report.files_changed, report.files_unchanged, report.entries_removed)
    assert (*counts, report.read_bytes) == (1, 1, 2, 1, 3)
    assert restored(report.snapshot, tmp_path / "copy") == {
        "same": b"same",
        "d/large": content(2 * MIB),
        "changed": b"new",
        "added": b"",
    }


def test_the_report_says_that_size_and_time_are_weak_evidence(repository: Repository, site: Site) -> None:
    site.write("a", b"a")

    report = back_up(site.url, into=repository)

    assert "1 by size and time alone. That is weaker" in remark(report)
    assert report.snapshot.body.evidence_kind == "mtime"


def test_a_tag_tells_of_a_change_that_keeps_size_and_time(repository: Repository, tmp_path: Path, site: Site) -> None:
    state = {"body": b"one", "tag": '"1"'}

    def tagged(handler: SimpleHTTPRequestHandler) -> bool:
        return answer(handler, state["body"], tag=str(state["tag"]))  # type: ignore[arg-type]

    site.write("a", b"one")
    site.faults["a"] = tagged
    back_up(site.url, into=repository)
    again = back_up(site.url, into=repository)
    state = {"body": b"two", "tag": '"2"'}

    report = back_up(site.url, into=repository)

    assert (again.files_unchanged, again.read_bytes, report.files_changed) == (1, 0, 1)
    assert restored(report.snapshot, tmp_path / "copy") == {"a": b"two"}
    assert "1 by tag" in remark(report)
    assert report.snapshot.body.evidence_kind == "inode"


def test_what_is_younger_than_an_hour_is_read_again_where_only_times_tell(
    repository: Repository, memory: Callable[[dict[str, bytes]], str]
) -> None:
    url = memory({"a": b"just now"})
    back_up(url, into=repository)

    assert back_up(url, into=repository).read_bytes == len(b"just now")


def test_everything_is_read_without_a_parent(repository: Repository, site: Site) -> None:
    site.write("a", b"a")
    back_up(site.url, into=repository)

    assert back_up(site.url, into=repository, parent=None).read_bytes == 1


# What changes meanwhile


def test_a_file_that_changes_whenever_it_is_looked_at_is_marked_as_torn(repository: Repository, site: Site) -> None:
    numbers = count()
    for name, size in (("small", 100), ("large", 2 * MIB)):
        site.write(name, b"")
        site.faults[name] = lambda handler, size=size: answer(handler, bytes(size), tag=f'"{next(numbers)}"')  # type: ignore[misc]

    report = back_up(site.url, into=repository)

    assert report.complete
    assert told(report) == [
        (Code.PATH_TORN, Severity.WARNING, "large"),
        (Code.PATH_TORN, Severity.WARNING, "small"),
    ]
    assert [entry.flags for entry in report.snapshot.walk() if entry.size] == [1, 1]
    assert back_up(site.url, into=repository).read_bytes == 2 * MIB + 100


def test_a_file_that_changes_once_is_read_again(repository: Repository, tmp_path: Path, site: Site) -> None:
    for name, size in (("small", 100), ("grows", 600_000), ("large", 9 * MIB)):
        site.write(name, content(100 if name == "grows" else size))

        def overwrite(handler: SimpleHTTPRequestHandler, name: str = name, size: int = size) -> bool:
            if handler.command == "GET":
                del site.faults[name]
                before = (site.folder / name).read_bytes()
                site.write(name, content(size, b"new"), modified=LONG_AGO + 60)
                return answer(handler, before)
            return False

        site.faults[name] = overwrite

    report = back_up(site.url, into=repository)

    assert (report.complete, told(report)) == (True, [])
    assert restored(report.snapshot, tmp_path / "copy") == {
        "small": content(100, b"new"),
        "grows": content(600_000, b"new"),
        "large": content(9 * MIB, b"new"),
    }


def test_a_file_that_vanishes_after_it_was_listed_is_a_warning(repository: Repository, site: Site) -> None:
    site.write("stays", b"x")
    for name, size in (("small", 10), ("large", 2 * MIB)):
        site.write(name, bytes(size))
        asked = count()
        # The list asks for its facts; when its content is asked for, it is gone.
        site.faults[name] = lambda handler, asked=asked: next(asked) > 0 and answer(handler, b"", status=404)  # type: ignore[misc]

    report = back_up(site.url, into=repository)

    assert (report.complete, report.snapshot.files) == (True, 1)
    assert told(report) == [
        (Code.PATH_VANISHED, Severity.WARNING, "large"),
        (Code.PATH_VANISHED, Severity.WARNING, "small"),
    ]


# What cannot be read


@pytest.mark.parametrize("size", [100, 2 * MIB])
def test_a_file_that_does_not_come_whole_is_never_stored_short(repository: Repository, site: Site, size: int) -> None:
    site.write("fine", b"x")
    site.write("cut", bytes(size))
    site.faults["cut"] = lambda handler: handler.command == "GET" and _cut(handler, size)

    report = back_up(site.url, into=repository)

    assert (report.complete, report.snapshot.files) == (False, 1)
    assert told(report) == [(Code.PATH_UNREADABLE, Severity.ERROR, "cut")]


def _cut(handler: SimpleHTTPRequestHandler, size: int) -> bool:
    answer(handler, bytes(size // 2), length=size)
    handler.close_connection = True
    return True


class _Short(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
    """A file system that loses the end of what it sends, and says nothing."""

    protocol = "short"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def _open(self, path: str, mode: str = "rb", **options: object) -> object:
        if mode != "rb":
            return super()._open(path, mode, **options)
        return io.BytesIO(super()._open(path, mode, **options).read()[:-1])

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("short://")))


class _Moody(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
    """A file system in which one folder does not answer, and which holds something that is no file."""

    protocol = "moody"
    store: ClassVar[dict[str, object]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    mood: Exception | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("moody://")))

    def ls(self, path: str, detail: bool = True, **options: object) -> object:
        if self.mood is not None and path.endswith("/silent"):
            raise self.mood
        found = super().ls(path, detail=detail, **options)
        if path.endswith("/odd"):
            found.append({"name": f"{path}/pipe", "size": 0, "type": "other"})
        return found


@pytest.fixture
def registered() -> Iterator[None]:
    for kind in (_Short, _Moody):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
        kind.store.clear()
        kind.pseudo_dirs[:] = [""]
    _Moody.mood = None
    yield
    for kind in (_Short, _Moody):
        kind.store.clear()


@pytest.mark.parametrize("size", [100, 2 * MIB, 8 * MIB + 1])
def test_a_library_that_loses_bytes_without_a_word_is_noticed(
    repository: Repository, registered: None, size: int
) -> None:
    fsspec.filesystem("short").pipe_file("/data/a", bytes(size))

    report = back_up("short://data", into=repository)

    assert told(report) == [(Code.PATH_UNREADABLE, Severity.ERROR, "a")]


@pytest.mark.parametrize(
    "mood", [OSError(5, "no"), PermissionError(13, "no"), FileNotFoundError(2, "no"), RuntimeError()]
)
def test_a_folder_that_does_not_answer_stops_the_backup(
    repository: Repository, registered: None, mood: Exception
) -> None:
    fsspec.filesystem("moody").pipe({"/data/silent/a": b"a", "/data/b": b"b"})
    back_up("moody://data", into=repository)
    _Moody.mood = mood

    with pytest.raises((StorageError, NotFoundError)):
        back_up("moody://data", into=repository)

    assert len(repository.snapshots()) == 1


def test_what_is_neither_file_nor_folder_makes_the_snapshot_incomplete(
    repository: Repository, registered: None
) -> None:
    fsspec.filesystem("moody").pipe({"/data/odd/a": b"a"})

    report = back_up("moody://data", into=repository)

    chosen = back_up(Source.url("moody://data", exclude=["/odd/pipe"]), into=repository)

    assert not report.complete
    assert told(report) == [(Code.PATH_UNFIT, Severity.ERROR, "odd/pipe")]
    assert (chosen.complete, chosen.excluded) == (True, {"exclude: /odd/pipe": 1})


def test_a_link_to_nothing_makes_the_snapshot_incomplete(repository: Repository, site: Site) -> None:
    site.write("a", b"a")
    site.faults["d/"] = lambda handler: answer(handler, b"<a href=\"there\">x</a> <A HREF='missing&amp;x'>y</A>")
    site.write("d/there", b"")

    report = back_up(site.url, into=repository)

    assert not report.complete
    assert told(report) == [(Code.PATH_UNREADABLE, Severity.ERROR, "d/missing&x")]


def test_links_that_lead_elsewhere_are_no_part_of_a_folder(repository: Repository, site: Site) -> None:
    links = ["?C=N;O=D", "../", "/", "https://example.org/x", "mailto:a@b", "#top", "http://[", "a#x", "b/?C=N", "../d"]
    page = "".join(f'<a href="{link}">x</a>' for link in links).encode()
    site.write("d/a", b"")
    site.write("d/b/c", b"")
    site.faults["d/"] = lambda handler: answer(handler, page)

    report = back_up(f"{site.url}d", into=repository)

    assert [entry.path for entry in report.snapshot.walk()] == [b"", b"a", b"b", b"b/c"]


def test_a_server_that_is_gone_fails_and_leaves_the_last_snapshot(repository: Repository, tmp_path: Path) -> None:
    with serving(tmp_path / "site") as site:
        site.write("a", b"a")
        back_up(site.url, into=repository)

    with pytest.raises(StorageError) as caught:
        back_up(site.url, into=repository)

    assert caught.value.retryable
    assert len(repository.snapshots()) == 1


def test_a_server_that_goes_away_in_the_middle_fails(repository: Repository, site: Site) -> None:
    def drop(handler: SimpleHTTPRequestHandler) -> bool:
        handler.close_connection = True
        return True  # without a word

    def vanish(handler: SimpleHTTPRequestHandler) -> bool:
        if handler.command == "GET":
            site.faults = {"": drop, "a": drop, "b": drop}
            return drop(handler)
        return False

    site.write("a", bytes(2 * MIB))
    site.write("b", b"")
    site.faults["a"] = vanish

    with pytest.raises(StorageError) as caught:
        back_up(site.url, into=repository)

    assert caught.value.retryable
    assert repository.snapshots() == []


@pytest.mark.parametrize("path", ["nothing/", "nothing"])
def test_a_url_that_leads_nowhere_is_not_found(repository: Repository, site: Site, path: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        back_up(site.url + path, into=repository)

    assert caught.value.code is Code.NO_SOURCE


def test_an_archive_that_is_not_there_is_not_found(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        back_up(f"zip://::{tmp_path}/nothing.zip", into=repository)

    assert caught.value.code is Code.NO_SOURCE


def test_an_empty_folder_is_refused_unless_it_may_be_empty(repository: Repository, site: Site) -> None:
    (site.folder / "d").mkdir()

    with pytest.raises(RefusedError) as caught:
        back_up(f"{site.url}d/", into=repository)

    assert caught.value.code is Code.EMPTY_SOURCE
    assert back_up(Source.url(f"{site.url}d/", allow_empty=True), into=repository).complete


# What is left out on purpose


def test_rules_are_those_of_folders(repository: Repository, memory: Callable[[dict[str, bytes]], str]) -> None:
    files = {"a.tmp": b"", "keep/a.txt": b"1", "keep/big": bytes(100), "cache/x/y": b"", "cache/z": b"", "k.tmp/b": b""}
    rules = {"exclude": ["*.tmp", "/cache/"], "larger_than": 50}

    report = back_up(Source.url(memory(files), **rules), into=repository)  # type: ignore[arg-type]

    assert report.complete
    assert [entry.path for entry in report.snapshot.walk()] == [b"", b"keep", b"keep/a.txt"]
    assert report.excluded == {"exclude: *.tmp": 2, "exclude: /cache/": 1, "larger than 50 bytes": 1}


def test_include_takes_one_file_of_many(repository: Repository, memory: Callable[[dict[str, bytes]], str]) -> None:
    url = memory({"d/dump.sql": b"x", "d/other": b"y"})

    report = back_up(Source.url(url, include=["/d/dump.sql"]), into=repository)

    assert [entry.path for entry in report.snapshot.walk()] == [b"", b"d", b"d/dump.sql"]


def test_rules_that_leave_nothing_are_refused(
    repository: Repository, memory: Callable[[dict[str, bytes]], str]
) -> None:
    with pytest.raises(RefusedError):
        back_up(Source.url(memory({"a": b""}), include=["b"]), into=repository)


def test_the_repository_is_not_backed_up_into_itself(tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    with serving(tmp_path) as site:
        site.write("data/a", b"a")
        with pytest.raises(RefusedError) as caught:
            back_up(site.url, into=repository)
        report = back_up(Source.url(site.url, exclude=["/repository/"]), into=repository)

    assert caught.value.code is Code.REPOSITORY_IN_SOURCE
    assert report.complete


# Progress, threads, secrets


def test_progress_counts_every_byte(repository: Repository, memory: Callable[[dict[str, bytes]], str]) -> None:
    done = fsspec.Callback()
    url = memory({"a": bytes(10), "b": bytes(9 * MIB), "c": b""})

    back_up(url, into=repository, callback=done)

    assert done.value == 9 * MIB + 10


def test_who_interrupts_it_gets_no_snapshot_and_no_threads(repository: Repository, site: Site) -> None:
    class Impatient:
        def set_size(self, size: int) -> None:
            pass

        def relative_update(self, inc: int = 1) -> None:
            raise KeyboardInterrupt

    for number in range(200):
        site.write(f"{number}", bytes(number))
    site.write("large", bytes(30 * MIB))

    with pytest.raises(KeyboardInterrupt):
        back_up(site.url, into=repository, callback=Impatient())

    assert repository.snapshots() == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("safebackup")] == []


def test_no_secret_of_a_url_is_shown_or_stored(repository: Repository) -> None:
    source = Source.url("ftp://ada:Hunter2@127.0.0.1:1/x?y=Hunter2", storage_options={"password": "Hunter2"})

    with pytest.raises(SafeBackupError) as caught:
        back_up(source, into=repository)

    assert isinstance(source, UrlSource)
    seen = [repr(source), source.name, str(caught.value), repr(caught.value)]
    assert not any("Hunter2" in text for text in seen)


def test_a_source_with_credentials_is_never_pickled_or_copied() -> None:
    for url, options in (
        ("s3://bucket/x", {"key": "k", "secret": "Hunter2"}),
        ("az://bucket/x", {"connection_string": "AccountKey=Hunter2"}),
        ("sftp://host/x", {"client_keys": ["a"], "passphrase": "Hunter2"}),
        ("ftp://host/x", {"password": "Hunter2"}),
        ("webdavs://host/x", {"auth": ("ann", "Hunter2")}),
        ("ftp://ann:Hunter2@host/x", {}),
        ("https://Hunter2@host/x", {}),
        ("https://host/x?signature=Hunter2", {}),
        ("zip://*::ftp://ann:Hunter2@host/a.zip", {}),
        ("simplecache::s3://bucket/x", {"s3": {"secret": "Hunter2"}}),
    ):
        source = Source.url(url, storage_options=options)
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(ConfigurationError, match="credentials") as caught:
                act(source)
            assert "Hunter2" not in str(caught.value)


def test_a_source_without_credentials_arrives_as_it_was() -> None:
    options = {"anon": True, "client_kwargs": {"region_name": "x"}}
    source = Source.url("s3://bucket/x", storage_options=options, name="n", exclude=["*.tmp"], larger_than=7)

    assert pickle.loads(pickle.dumps(source)) == source
    assert copy.deepcopy(source) == source


@pytest.mark.parametrize("url", ["", "data", "/srv/data", 7, None, "nonesuch://x", "s3://", "s3://key:sec@bucket/x"])
def test_what_is_no_url_is_refused(repository: Repository, url: object) -> None:
    with pytest.raises(ConfigurationError):
        back_up(Source.url(url), into=repository)  # type: ignore[arg-type]


# Listings


@pytest.mark.parametrize("path", ["a//b", "/a", "a/../b", "./a", "a/.", "..", "a//", "/", "a\0b", "\ud800"])
def test_a_name_that_cannot_be_a_path_is_kept_apart(path: str) -> None:
    found = Listing()

    found.add(path, 1)

    assert ([one.path for one in found.left_out], list(found)) == ([path], [])


def test_an_object_that_marks_a_folder_is_one_unless_it_holds_something() -> None:
    found = Listing()

    found.add("a/", 0)
    found.add("b/", 1)
    found.add("", 0)

    assert [(file.path, file.is_folder) for file in found] == [("a", True)]
    assert [one.path for one in found.left_out] == ["b/"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text("ab-./ é", min_size=1, max_size=3), min_size=1, max_size=3)), st.integers(1, 9))
def test_a_long_listing_is_sorted_on_disk_as_in_memory(names: list[list[str]], rows: int) -> None:
    paths = ["/".join(parts) for parts in names]
    long, short = Listing(), Listing()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listing, "ROWS_IN_MEMORY", rows)
        for path in paths:
            long.add(path, 0, f"tag of {path}", 7)
    for path in reversed(paths):
        short.add(path, 0)

    try:
        found = list(long)
        assert found == list(long)
    finally:
        long.close()
    assert [(file.path, file.is_folder) for file in found] == [(file.path, file.is_folder) for file in short]
    assert {file.modified for file in found} <= {7}
    assert len({(file.path, file.is_folder) for file in found}) == len(found)
    keys = [path_key(file.path.encode()) for file in found]
    assert keys == sorted(keys)


# Object stores


def put(server: Server, folder: str, files: dict[str, bytes]) -> None:
    """Objects with these very keys, through the client that fsspec holds."""
    store = fsspec.filesystem("s3", **server.options, skip_instance_cache=True)
    for path, data in files.items():
        store.call_s3("put_object", Bucket=BUCKET, Key=f"{folder}/{path}", Body=data)


def test_a_bucket_comes_back_and_is_not_read_again(repository: Repository, tmp_path: Path, s3_server: Server) -> None:
    files = {"a": b"1", "b/c": content(5000), "b-c": b"", "b/ü #?%.x": b"q", "large": content(20 * MIB + 1)}
    put(s3_server, "bucket-1", {**files, "marked/": b""})
    source = Source.url(s3_server.url("bucket-1"), storage_options=s3_server.options)

    first = back_up(source, into=repository)
    again = back_up(source, into=repository)
    put(s3_server, "bucket-1", {"a": b"2"})
    third = back_up(source, into=repository)

    assert (first.complete, told(first), first.read_bytes) == (True, [], sum(map(len, files.values())))
    assert (again.files_unchanged, again.read_bytes) == (5, 0)
    assert (third.files_changed, third.read_bytes) == (1, 1)
    assert "5 by tag" in remark(third)
    assert restored(third.snapshot, tmp_path / "copy") == {**files, "a": b"2"}
    assert (tmp_path / "copy/marked").is_dir()
    assert verify(repository, level="full").passed


def test_a_slash_at_the_end_names_the_same_folder(
    repository: Repository, memory: Callable[[dict[str, bytes]], str], s3_server: Server
) -> None:
    put(s3_server, "bucket-slash", {"a": b"1"})
    for url, options in ((s3_server.url("bucket-slash"), s3_server.options), (memory({"a": b"1"}), {})):
        back_up(Source.url(url, name=url, storage_options=options), into=repository)
        again = back_up(Source.url(f"{url}/", name=url, storage_options=options), into=repository)

        assert again.files_new == 0


def test_a_slash_at_the_end_is_left_to_a_web_server_to_which_it_means_something() -> None:
    assert [Source.url(url).url for url in ("https://host/a/", "s3://bucket/a//", "memory://")] == [
        "https://host/a/",
        "s3://bucket/a",
        "memory://",
    ]


def test_a_bucket_that_is_not_there_and_a_prefix_without_objects_are_told_apart(
    repository: Repository, s3_server: Server
) -> None:
    with pytest.raises(NotFoundError) as missing:
        back_up(Source.url("s3://no-such-bucket/x", storage_options=s3_server.options), into=repository)
    with pytest.raises(RefusedError) as empty:
        back_up(Source.url(s3_server.url("no-such-prefix"), storage_options=s3_server.options), into=repository)

    assert (missing.value.code, empty.value.code) == (Code.NO_SOURCE, Code.EMPTY_SOURCE)


def test_an_object_that_is_a_folder_too_makes_the_snapshot_incomplete_unless_it_is_left_out(
    repository: Repository, s3_server: Server
) -> None:
    put(s3_server, "bucket-2", {"x/y": b"folder", "x": b"object", "z": b""})
    options = s3_server.options

    report = back_up(Source.url(s3_server.url("bucket-2"), storage_options=options), into=repository)
    chosen = back_up(
        Source.url(s3_server.url("bucket-2"), storage_options=options, exclude=["/x", "!/x/"]), into=repository
    )

    assert told(report) == [(Code.PATH_UNFIT, Severity.ERROR, "x")]
    assert not report.complete
    assert chosen.complete
    assert [entry.path for entry in chosen.snapshot.walk()] == [b"", b"x", b"x/y", b"z"]


def test_names_that_are_no_paths_make_the_snapshot_incomplete_unless_they_are_left_out(
    repository: Repository, azure_server: Server
) -> None:
    from azure.storage.blob import BlobServiceClient

    options = azure_server.options
    with BlobServiceClient.from_connection_string(str(options["connection_string"])) as service:
        for name in ("a//b", "a", "end/", "/lead", "logs//1", "logs//2", "mark/x"):
            service.get_blob_client(BUCKET, f"odd/{name}").upload_blob(b"x", overwrite=True)
        service.get_blob_client(BUCKET, "odd/mark/").upload_blob(b"", overwrite=True)
    rules = ["/logs/", "/a", "/end", "lead"]

    report = back_up(Source.url(azure_server.url("odd"), storage_options=options), into=repository)
    chosen = back_up(Source.url(azure_server.url("odd"), storage_options=options, exclude=rules), into=repository)

    assert not report.complete
    unfit = [subject for code, _, subject in told(report) if code is Code.PATH_UNFIT]
    assert unfit == ["/lead", "a//b", "end/", "logs//1", "logs//2"]
    assert [entry.path for entry in report.snapshot.walk()] == [b"", b"a", b"mark", b"mark/x"]
    assert (chosen.complete, told(chosen)) == (True, [])
    assert [entry.path for entry in chosen.snapshot.walk()] == [b"", b"mark", b"mark/x"]


def test_an_object_that_is_overwritten_while_it_is_read_is_one_version_or_marked(
    repository: Repository, tmp_path: Path, s3_server: Server
) -> None:
    versions = [bytes([number]) * (20 * MIB) for number in range(4)]
    put(s3_server, "bucket-3", {"busy": versions[0]})
    stop = threading.Event()

    def overwrite() -> None:
        for number in count():
            if stop.is_set():
                return
            put(s3_server, "bucket-3", {"busy": versions[number % 4]})

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        reports = [
            back_up(Source.url(s3_server.url("bucket-3"), storage_options=s3_server.options), into=repository)
            for _ in range(3)
        ]
    finally:
        stop.set()
        writer.join()

    for number, report in enumerate(reports):
        is_torn = any(entry.flags for entry in report.snapshot.walk())
        is_one = restored(report.snapshot, tmp_path / f"{number}")["busy"] in versions
        assert is_one or is_torn
        assert is_torn == (told(report) == [(Code.PATH_TORN, Severity.WARNING, "busy")])


def test_wrong_credentials_are_denied_and_shown_to_nobody(repository: Repository, s3_server: Server) -> None:
    options = {**s3_server.options, "secret": "Wrong-Hunter2"}

    with pytest.raises(StorageError) as caught:
        back_up(Source.url(s3_server.url("x"), storage_options=options), into=repository)

    assert caught.value.code is Code.STORE_DENIED
    assert "Hunter2" not in str(caught.value)
    stored = b"".join(path.read_bytes() for path in Path(repository.url).rglob("*") if path.is_file())
    assert b"Hunter2" not in stored


def test_a_store_that_is_down_is_never_an_empty_one(s3_server: Server) -> None:
    options = s3_server.options_at(1)

    place = open_place(s3_server.url("x"), options, limits=SOON)

    with pytest.raises(StorageError) as caught:
        place.listing()
    assert caught.value.retryable
    place.close()


def test_a_cut_line_is_taken_up_again(repository: Repository, tmp_path: Path, s3_server: Server) -> None:
    put(s3_server, "bucket-4", {"large": content(20 * MIB), "a": b"a"})
    with FaultProxy("127.0.0.1", s3_server.port) as proxy:
        proxy.mode = Mode.cut_down(3 * MIB).first(2)
        source = Source.url(s3_server.url_at("bucket-4", proxy.port), storage_options=s3_server.options_at(proxy.port))
        report = back_up(source, into=repository)
        struck = proxy.struck

    assert struck == 2
    assert (report.complete, told(report)) == (True, [])
    assert restored(report.snapshot, tmp_path / "copy") == {"large": content(20 * MIB), "a": b"a"}


@pytest.mark.parametrize("kind", ["gcs_server", "azure_server", "ssh_server", "ftp_server", "webdav_server"])
def test_every_proven_store_can_be_a_source(
    repository: Repository, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(kind)
    files = {"a.bin": content(9 * MIB), "b/c/d.txt": b"d", "b/e": b""}
    made = tmp_path / "made"
    for path, data in files.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    local = back_up(made, into=repository)
    restore(local.snapshot, server.url(f"source-{os.getpid()}"), storage_options=server.options)
    source = Source.url(server.url(f"source-{os.getpid()}"), storage_options=server.options)

    report = back_up(source, into=repository)
    again = back_up(source, into=repository)

    assert (report.complete, told(report)) == (True, [])
    assert restored(report.snapshot, tmp_path / "copy") == files
    assert again.read_bytes in (0, 9 * MIB + 1), "what is young is read again where only times tell"
    assert kind not in ("gcs_server", "azure_server") or again.read_bytes == 0


# Afterwards, and from the terminal


def test_a_drill_proves_what_came_from_a_url(repository: Repository, site: Site) -> None:
    site.write("d/a", content(2 * MIB))

    assert drill(back_up(site.url, into=repository).snapshot).outcome == "proved"


def test_the_terminal_takes_a_url_like_a_folder(repository: Repository, tmp_path: Path, site: Site) -> None:
    site.write("d/a", b"a")
    site.write("d/b.tmp", b"b")

    done = safebackup(
        *("backup", f"{site.url}d/", "-r", repository.url, "--name", "site", "--exclude", "*.tmp", "--json"),
        *("--source-option", 'client_kwargs={"trust_env": false}'),
        folder=tmp_path,
    )

    assert (done.status, done.document["outcome"], done.document["files_new"]) == (0, "complete", 1)
    assert [finding["code"] for finding in done.document["findings"]] == ["change-evidence"]
    assert restored(repository.snapshot(source="site"), tmp_path / "copy") == {"a": b"a"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["s3://bucket/x", "--source-option", "secret=Hunter2"], "every user of this machine"),
        (["s3://bucket/x", "--source-option", "Hunter2"], "NAME=VALUE"),
        (["s3://bucket/x", "--source-option", "a=1", "--source-option", "a=2"], "given twice"),
        (["s3://bucket/x", "--source-option", "secret=@nowhere"], "cannot be read"),
        (["s3://bucket/x", "/srv/data"], "exclude each other"),
        (["s3://bucket/x", "--one-file-system"], "makes no sense"),
        (["--source-option", "a=1", "."], "no URL is backed up"),
        (["--source-option", "a=1", "--stdin", "x"], "makes no sense"),
        (["s3://ada:Hunter2@bucket/x"], "credentials"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    repository: Repository, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    done = safebackup("backup", *arguments, "-r", repository.url, folder=tmp_path)

    assert done.status == ExitStatus.USAGE
    assert complaint in done.err
    assert "=Hunter2" not in done.err
    assert ":Hunter2" not in done.err


def test_a_secret_in_a_file_opens_a_bucket_from_the_terminal(
    repository: Repository, tmp_path: Path, s3_server: Server
) -> None:
    put(s3_server, "bucket-5", {"a": b"a"})
    (tmp_path / "secret").write_text(f"{s3_server.secret}\n")
    given = {**s3_server.options, "secret": "@secret"}
    written = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}

    made = safebackup(
        *("backup", s3_server.url("bucket-5"), "-r", repository.url, "--name", "bucket"),
        *(word for name, value in written.items() for word in ("--source-option", f"{name}={value}")),
        folder=tmp_path,
    )
    back = safebackup(
        *("restore", "latest", "-r", repository.url, "--to", s3_server.url("restored-5")),
        *(word for name, value in written.items() for word in ("--target-option", f"{name}={value}")),
        folder=tmp_path,
    )

    assert (made.status, back.status) == (0, 0), made.err + back.err
    assert s3_server.peek("restored-5") == {"a": b"a"}
