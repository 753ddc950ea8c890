"""Bad input: each mistake and each broken surrounding has its own error, says what to do next, and costs nothing."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.synchronize
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import msgspec
import pytest

from safebackup import KeyFile, Passphrase, Repository, Source, back_up, restore, verify
from safebackup.errors import (
    AccessError,
    Code,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
    StorageError,
)
from safebackup.findings import Severity
from safebackup.format.header import Kind
from safebackup.format.objects import Identity, build_record
from safebackup.format.records import Configuration
from safebackup.repository.keys import NO_KEYS
from tests.attack.world import scratch, tree_of

IS_ROOT = os.getuid() == 0
NOBODY = 65534


@contextmanager
def refused(kind: type[SafeBackupError], code: Code, *, hint: bool = True) -> Iterator[None]:
    """What happens inside is refused with this class and code, and says what to do next."""
    with pytest.raises(SafeBackupError) as caught:
        yield
    assert (type(caught.value), caught.value.code) == (kind, code), str(caught.value)
    assert caught.value.hint or not hint


@attrs.frozen
class Home:
    """A repository with one good snapshot, which has to outlive everything."""

    base: Path
    repository: Repository

    @property
    def url(self) -> Path:
        return self.base / "repository"

    @property
    def source(self) -> Path:
        return self.base / "source"

    def require_unharmed(self) -> None:
        repository = Repository.open(self.url, key=None)
        assert verify(repository, level="full", record=False).passed
        assert len(repository.snapshots()) >= 1


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Afterwards its snapshots still verify."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    repository = Repository.create(tmp_path / "repository", key=None)
    back_up(tmp_path / "source", into=repository)
    made = Home(tmp_path, repository)
    yield made
    made.require_unharmed()


# Keys


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "key")


def test_a_wrong_key_file_is_an_access_error(tmp_path: Path, key: KeyFile) -> None:
    Repository.create(tmp_path / "sealed", key=key)
    other = KeyFile.create(tmp_path / "other")

    with refused(AccessError, Code.WRONG_KEY):
        Repository.open(tmp_path / "sealed", key=other)
    with refused(AccessError, Code.WRONG_KEY):
        Repository.open(tmp_path / "sealed", key=Passphrase("a passphrase where a key file belongs"))


def test_a_wrong_passphrase_is_an_access_error(tmp_path: Path) -> None:
    Repository.create(tmp_path / "sealed", key=Passphrase("right"))

    with refused(AccessError, Code.WRONG_KEY):
        Repository.open(tmp_path / "sealed", key=Passphrase("wrong"))


def test_a_sealed_repository_asks_for_its_key(tmp_path: Path, key: KeyFile) -> None:
    Repository.create(tmp_path / "sealed", key=key)

    with refused(ConfigurationError, Code.KEY_REQUIRED):
        Repository.open(tmp_path / "sealed", key=None)


def test_a_plain_repository_wants_no_key(home: Home, key: KeyFile) -> None:
    with refused(ConfigurationError, Code.KEY_NOT_WANTED):
        Repository.open(home.url, key=key)


@pytest.mark.parametrize(
    "wrong", ["secret", b"secret", 5, ("secret",), object()], ids=["str", "bytes", "int", "tuple", "object"]
)
def test_what_is_no_key_is_refused(home: Home, wrong: object) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        Repository.open(home.url, key=wrong)  # type: ignore[arg-type]
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        Repository.create(home.base / "new", key=wrong)  # type: ignore[arg-type]
    assert not (home.base / "new").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, key: KeyFile, mode: int) -> None:
    Repository.create(tmp_path / "sealed", key=key)
    os.chmod(key.path, mode)

    with refused(AccessError, Code.KEY_FILE_EXPOSED):
        Repository.open(tmp_path / "sealed", key=key)


def test_a_key_file_that_is_missing_short_huge_or_a_folder_is_refused(tmp_path: Path, key: KeyFile) -> None:
    Repository.create(tmp_path / "sealed", key=key)
    short, huge = tmp_path / "short", tmp_path / "huge"
    short.write_bytes(b"x" * 31)
    huge.write_bytes(bytes(70_000))
    for path in (short, huge):
        path.chmod(0o600)

    with refused(NotFoundError, Code.KEY_FILE_MISSING):
        Repository.open(tmp_path / "sealed", key=KeyFile(str(tmp_path / "missing")))
    with refused(ConfigurationError, Code.KEY_FILE_BAD):
        Repository.open(tmp_path / "sealed", key=KeyFile(str(short)))
    with refused(ConfigurationError, Code.KEY_FILE_BAD, hint=False):
        Repository.open(tmp_path / "sealed", key=KeyFile(str(huge)))
    with refused(AccessError, Code.KEY_FILE_BAD, hint=False):
        Repository.open(tmp_path / "sealed", key=KeyFile(str(tmp_path)))


def test_an_existing_key_file_is_never_overwritten(key: KeyFile) -> None:
    before = Path(key.path).read_bytes()

    with refused(ConfigurationError, Code.KEY_FILE_BAD, hint=False):
        KeyFile.create(key.path)

    assert Path(key.path).read_bytes() == before


@pytest.mark.parametrize("wrong", ["", "   ", None, b"bytes", 5], ids=repr)
def test_what_is_no_passphrase_is_refused(wrong: object) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        Passphrase(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 5, b"key", ["key"]], ids=repr)
def test_what_is_no_path_of_a_key_file_is_refused(wrong: object) -> None:
    with refused(ConfigurationError, Code.KEY_FILE_BAD):
        KeyFile(wrong)


# No such repository, and repositories from the future


def test_a_place_without_a_repository_tells_how_to_make_one(tmp_path: Path) -> None:
    for place in (tmp_path / "missing", tmp_path):
        with pytest.raises(NotFoundError) as caught:
            Repository.open(place, key=None)
        assert caught.value.code is Code.NO_REPOSITORY
        assert "Repository.create(" in caught.value.hint


def test_creating_over_a_repository_is_refused(home: Home) -> None:
    with refused(ConflictError, Code.REPOSITORY_EXISTS):
        Repository.create(home.url, key=None)


@pytest.mark.parametrize(
    "wrong",
    ["", " ", None, 5, b"x", "https://host/x", "simplecache::file:///x", "~/backups", "a\0b", "memory://"],
    ids=repr,
)
def test_what_is_no_place_for_a_repository_is_refused(wrong: object) -> None:
    with refused(ConfigurationError, Code.BAD_URL):
        Repository.open(wrong, key=None)  # type: ignore[arg-type]
    with refused(ConfigurationError, Code.BAD_URL):
        Repository.create(wrong, key=None)  # type: ignore[arg-type]


def put_newer(home: Home, folder: str) -> Path:
    """An object of the next version of the format, named as its bytes demand."""
    original = next(path for path in sorted((home.url / folder).rglob("*")) if path.is_file())
    data = bytearray(original.read_bytes())
    data[8] = 2
    name = original.with_name(hashlib.sha256(data).hexdigest())
    name.write_bytes(data)
    return name


def test_a_repository_of_a_newer_format_asks_for_a_newer_release(home: Home) -> None:
    newer = put_newer(home, "config")

    with refused(ConfigurationError, Code.FORMAT_TOO_NEW):
        Repository.open(home.url, key=None)

    newer.unlink()


@pytest.mark.parametrize("folder", ["snapshots", "journal", "index", "data", "metadata"])
def test_an_object_of_a_newer_format_is_found_and_keeps_nobody_from_the_others(home: Home, folder: str) -> None:
    newer = put_newer(home, folder)
    repository = Repository.open(home.url, key=None)

    found = verify(repository, level="full", record=False)

    assert (newer.name, Code.FORMAT_TOO_NEW) in {
        (finding.subject.rpartition("/")[2], finding.code) for finding in found.findings
    }
    if folder == "snapshots":  # which may be the newest
        with refused(ConfigurationError, Code.FORMAT_TOO_NEW):
            repository.snapshot()
    (readable,) = repository.snapshots()
    assert restore(repository.snapshot(readable.id), home.base / "restored").complete
    newer.unlink()


@pytest.mark.parametrize("operation", ["read", "write", "delete"])
def test_an_unknown_feature_stops_just_the_operations_that_need_it(home: Home, operation: str) -> None:
    record = Configuration(founding=False, created=1, sealed=False, software="later")
    record = msgspec.structs.replace(record, **{f"features_{operation}": ("telepathy",)})
    identity = Identity(home.repository.identity.repository, NO_KEYS)
    stored = build_record(identity, Kind.CONFIGURATION, record, salt=os.urandom(32))
    home.repository.store.put_new(stored.name, bytes(stored.data))

    if operation == "read":
        with refused(ConfigurationError, Code.UNKNOWN_FEATURE):
            Repository.open(home.url, key=None)
    else:
        repository = Repository.open(home.url, key=None)
        assert restore(repository.snapshot(), home.base / "restored").complete
    if operation == "write":
        with refused(ConfigurationError, Code.UNKNOWN_FEATURE):
            back_up(home.source, into=Repository.open(home.url, key=None))
        assert len(Repository.open(home.url, key=None).snapshots()) == 1
    if operation == "delete":
        assert back_up(home.source, into=Repository.open(home.url, key=None)).complete

    (home.url / stored.name).unlink()


# Damaged objects: what a caller sees of them


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted"])
@pytest.mark.parametrize("folder", ["config", "data", "index", "journal", "metadata", "snapshots"])
def test_a_damaged_object_is_an_error_or_a_finding_with_a_first_action(home: Home, folder: str, damage: str) -> None:
    back_up(home.source, into=home.repository)  # so that no record is the last one
    path = next(path for path in sorted((home.url / folder).rglob("*")) if path.is_file())
    if folder == "journal":
        heads = home.repository.history().heads
        path = next(one for one in sorted((home.url / folder).iterdir()) if f"journal/{one.name}" not in heads)
    good = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(good[:-1])
    else:
        path.unlink()

    try:
        report = verify(Repository.open(home.url, key=None), level="full", record=False)
    except SafeBackupError as error:
        assert isinstance(error, IntegrityError | NotFoundError)
        assert error.hint
    else:
        errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
        assert errors
        assert all(finding.action for finding in errors)

    path.write_bytes(good)


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if not IS_ROOT or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_repository_is_an_error_and_keeps_what_it_has(tmp_path: Path, small_disk: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_bytes(b"fits")
    repository = Repository.create(small_disk / "repository", key=None)
    first = back_up(source, into=repository)
    (source / "large").write_bytes(os.urandom(3 << 20))

    with refused(StorageError, Code.STORE_FULL):
        back_up(source, into=repository)

    assert [one.id for one in repository.snapshots()] == [first.snapshot.id]
    assert verify(repository, level="full", record=False).passed
    (source / "large").unlink()
    assert back_up(source, into=repository).complete


def test_a_full_target_is_an_error_and_leaves_nothing_half_made(tmp_path: Path, small_disk: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(3 << 20))
    snapshot = back_up(source, into=Repository.create(tmp_path / "repository", key=None)).snapshot

    with refused(StorageError, Code.STORE_FULL):
        restore(snapshot, small_disk / "restored")

    assert [path for path in (small_disk / "restored").rglob("*") if path.is_file()] == []


# Sources


def test_a_missing_source_is_an_error(home: Home) -> None:
    with refused(NotFoundError, Code.NO_SOURCE):
        back_up(home.base / "nowhere", into=home.repository)
    with refused(NotFoundError, Code.NO_SOURCE):
        back_up(home.source / "file" / "below a file", into=home.repository)


def test_an_empty_source_is_refused_unless_it_is_meant(home: Home) -> None:
    empty = home.base / "empty"
    empty.mkdir()

    with refused(RefusedError, Code.EMPTY_SOURCE):
        back_up(empty, into=home.repository)

    assert back_up(Source(empty, allow_empty=True), into=home.repository).complete


def test_a_source_that_vanishes_under_way_is_incomplete_and_says_so(home: Home) -> None:
    tree = home.base / "vanishing"
    tree.mkdir()
    for number in range(50):
        (tree / f"{number:02}").mkdir()
        (tree / f"{number:02}" / "file").write_bytes(os.urandom(1000))

    def vanish(event: object) -> None:
        shutil.rmtree(tree, ignore_errors=True)

    report = None
    with suppress(SafeBackupError):
        report = back_up(tree, into=home.repository, observer=vanish)

    if report is not None:
        assert report.findings


def test_names_that_are_no_text_come_back(home: Home) -> None:
    names = [b"\xff\xfe", b"new\nline", b"\x01\x1b[2J", "ü".encode(), b"u\xcc\x88", b" ", b"-rf", b"\\", b"n" * 255]
    for name in names:
        Path(os.fsdecode(os.fsencode(home.source) + b"/" + name)).write_bytes(name)

    report = back_up(home.source, into=home.repository)
    restored = restore(report.snapshot, home.base / "restored")

    assert report.complete
    assert restored.complete
    assert tree_of(home.base / "restored") == tree_of(home.source)


def test_a_path_of_4000_bytes_below_the_source_comes_back(home: Home) -> None:
    deep = os.fsencode(home.source)
    at = os.open(deep, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(b"d" * 250, dir_fd=at)
        below = os.open(b"d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with open(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=at), "wb") as bottom:
        bottom.write(b"deep down")
    os.close(at)

    report = back_up(home.source, into=home.repository)
    restored = restore(report.snapshot, home.base / "restored")

    longest = max(len(entry.path) for entry in report.snapshot.walk())
    assert longest > 5000
    assert report.complete
    assert restored.complete
    assert restored.entries == report.snapshot.entries


def test_a_source_that_is_a_path_of_more_than_4000_bytes_is_refused(home: Home) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        back_up(b"/" + b"/".join([b"d" * 200] * 21), into=home.repository)


def test_a_file_that_grows_for_ever_ends_is_torn_and_is_told(home: Home) -> None:
    growing = home.source / "growing"
    growing.write_bytes(b"line\n" * 1_000_000)
    # Another process: a thread would wait for this one's lock just while it reads.
    append = (
        "import sys\nwith open(sys.argv[1], 'ab', buffering=0) as f:\n while f.tell() < 1 << 30: f.write(b'line\\n')"
    )
    writer = subprocess.Popen([sys.executable, "-c", append, growing])
    try:
        began = growing.stat().st_size
        while growing.stat().st_size == began:
            time.sleep(0.01)
        report = back_up(home.source, into=home.repository)
        for _ in range(20):  # on a busy machine the writer may not get its turn while the file is read
            if not report.findings:
                report = back_up(home.source, into=home.repository)
    finally:
        writer.kill()
        writer.wait()

    entry = next(entry for entry in report.snapshot.walk() if entry.path == b"growing")
    assert Code.PATH_TORN in {finding.code for finding in report.findings}
    assert entry.flags == 1
    restored = restore(report.snapshot, home.base / "restored")
    assert restored.complete
    assert (home.base / "restored" / "growing").stat().st_size == entry.size


@pytest.mark.parametrize("wrong", [None, 5, [], (), [5], [None], "", b"", "a\0b", "nosuch://bucket/x"], ids=repr)
def test_what_is_no_source_is_refused(home: Home, wrong: object) -> None:
    with pytest.raises(ConfigurationError):
        back_up(wrong, into=home.repository)  # type: ignore[arg-type]


SOURCES: dict[str, Callable[[Path], object]] = {
    "no path": lambda _: Source(),
    "a number": lambda _: Source(5),  # type: ignore[arg-type]
    "a list": lambda path: Source([path]),  # type: ignore[arg-type]
    "the same twice": lambda path: Source(path, path),
    "one within another": lambda path: Source(path, path.parent),
    "exclude of a number": lambda path: Source(path, exclude=[5]),  # type: ignore[list-item]
    "exclude of bytes": lambda path: Source(path, exclude=[b"x"]),  # type: ignore[list-item]
    "a negative size": lambda path: Source(path, larger_than=-1),
    "a size in text": lambda path: Source(path, larger_than="5"),  # type: ignore[arg-type]
    "a size that is true": lambda path: Source(path, larger_than=True),
    "unknown evidence": lambda path: Source(path, evidence="astrology"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", SOURCES)
def test_a_source_that_makes_no_sense_is_refused_when_it_is_made(tmp_path: Path, mistake: str) -> None:
    with pytest.raises(ConfigurationError):
        SOURCES[mistake](tmp_path)


ODD_SOURCES: dict[str, Callable[[Path], object]] = {
    "exclude that is a number": lambda path: Source(path, exclude=5),  # type: ignore[arg-type]
    "exclude that is nothing": lambda path: Source(path, exclude=None),  # type: ignore[arg-type]
    "include that is bytes": lambda path: Source(path, include=b"*.txt"),  # type: ignore[arg-type]
    "a name that is a number": lambda path: Source(path, name=5),  # type: ignore[arg-type]
    "unhashable evidence": lambda path: Source(path, evidence=["inode"]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", ODD_SOURCES)
def test_options_of_a_source_of_the_wrong_type_are_refused_when_it_is_made(tmp_path: Path, mistake: str) -> None:
    with pytest.raises(ConfigurationError):
        ODD_SOURCES[mistake](tmp_path)


def test_a_backup_that_reports_success_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    repository = Repository.create(tmp_path / "repository", key=None)
    published = []

    with suppress(ConfigurationError):
        published.append(back_up(Source(tmp_path / "source", name=5), into=repository).snapshot.id)  # type: ignore[arg-type]

    assert [one.id for one in Repository.open(tmp_path / "repository", key=None).snapshots()] == published


SURROGATE = "\udcff"  # what a name that is not UTF-8 becomes as text
SURROGATES: dict[str, Callable[[Home], object]] = {
    "name": lambda home: back_up(Source(home.source, name=SURROGATE), into=home.repository),
    "tag": lambda home: back_up(home.source, into=home.repository, tags=[SURROGATE]),
}


@pytest.mark.parametrize("where", SURROGATES)
def test_text_that_no_record_can_hold_is_refused(home: Home, where: str) -> None:
    with pytest.raises(ConfigurationError):
        SURROGATES[where](home)


def test_a_repository_within_its_source_is_refused(home: Home) -> None:
    before = len(home.repository.snapshots())

    with refused(RefusedError, Code.REPOSITORY_IN_SOURCE):
        back_up(home.base, into=home.repository)

    assert len(home.repository.snapshots()) == before


def test_a_source_within_the_repository_is_refused(home: Home) -> None:
    for inside in (home.url, home.url / "snapshots", next((home.url / "snapshots").iterdir())):
        with refused(RefusedError, Code.REPOSITORY_IN_SOURCE):
            back_up(inside, into=home.repository)


# Arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"level": 0},
        {"level": 20},
        {"level": "3"},
        {"level": 2.5},
        {"level": True},
        {"level": None},
        {"workers": 0},
        {"workers": -1},
        {"workers": "2"},
        {"workers": 1.5},
        {"workers": 10_000},
        {"tags": "abc"},
        {"tags": [5]},
        {"tags": 5},
        {"tags": None},
        {"tags": b"abc"},
        {"parent": "newest"},
        {"parent": 5},
        {"into": None},
        {"into": "/srv/backups"},
    ],
    ids=repr,
)
def test_bad_arguments_of_back_up_are_refused_before_anything_is_stored(
    home: Home, arguments: dict[str, object]
) -> None:
    before = tree_of(home.url)

    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        back_up(home.source, **{"into": home.repository, **arguments})  # type: ignore[arg-type]

    assert tree_of(home.url) == before


def test_a_parent_of_another_repository_is_refused(home: Home) -> None:
    other = Repository.create(home.base / "other", key=None)
    stranger = back_up(home.source, into=other).snapshot

    with refused(ConfigurationError, Code.BAD_ARGUMENT, hint=False):
        back_up(home.source, into=home.repository, parent=stranger)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"overwrite": "sometimes"}, Code.BAD_ARGUMENT),
        ({"overwrite": None}, Code.BAD_ARGUMENT),
        ({"overwrite": True}, Code.BAD_ARGUMENT),
        ({"owners": "mine"}, Code.BAD_ARGUMENT),
        ({"workers": -1}, Code.BAD_ARGUMENT),
        ({"workers": "two"}, Code.BAD_ARGUMENT),
        ({"paths": []}, Code.BAD_ARGUMENT),
        ({"paths": 5}, Code.BAD_ARGUMENT),
        ({"paths": [5]}, Code.BAD_ARGUMENT),
        ({"to": "nosuch://bucket/x"}, Code.BAD_URL),
        ({"to": ""}, Code.BAD_ARGUMENT),
        ({"to": "a\0b"}, Code.BAD_ARGUMENT),
        ({"to": 5}, Code.BAD_ARGUMENT),
        ({"to": None}, Code.BAD_ARGUMENT),
    ],
    ids=repr,
)
def test_bad_arguments_of_restore_are_refused_before_anything_is_written(
    home: Home, arguments: dict[str, object], code: Code
) -> None:
    target = home.base / "target"

    with refused(ConfigurationError, code):
        restore(home.repository.snapshot(), **{"to": target, **arguments})  # type: ignore[arg-type]

    assert not target.exists()


@pytest.mark.parametrize("wrong", [None, "latest", 5], ids=repr)
def test_what_is_no_snapshot_is_not_restored_or_verified(home: Home, wrong: object) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        restore(wrong, home.base / "target")  # type: ignore[arg-type]
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        verify(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"level": "deep"}, {"level": 3}, {"level": None}, {"workers": 0}], ids=repr)
def test_bad_arguments_of_verify_are_refused(home: Home, arguments: dict[str, object]) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        verify(home.repository, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", None, 5, ["a"]], ids=repr)
def test_what_is_no_snapshot_id_is_refused(home: Home, wrong: object) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        home.repository.snapshot(wrong)  # type: ignore[arg-type]


def test_an_unknown_or_ambiguous_snapshot_id_names_the_newest(home: Home) -> None:
    with refused(NotFoundError, Code.NO_SNAPSHOT):
        home.repository.snapshot("no such id")
    with refused(NotFoundError, Code.NO_SNAPSHOT):
        home.repository.snapshot("latest", source="no such source")


def test_a_bytes_id_is_refused(home: Home) -> None:
    with refused(ConfigurationError, Code.BAD_ARGUMENT):
        home.repository.snapshot(b"abc")  # type: ignore[arg-type]


HINTLESS: dict[str, Callable[[Home, Path], object]] = {
    "a parent of another repository": lambda home, base: back_up(
        home.source,
        into=home.repository,
        parent=back_up(home.source, into=Repository.create(base / "other", key=None)).snapshot,
    ),
    "a key file that is a folder": lambda _, base: KeyFile(str(base)).material(),
    "a key file that is there already": lambda home, _: KeyFile.create(home.source / "file"),
    "unknown evidence": lambda home, _: Source(home.source, evidence="astrology"),  # type: ignore[arg-type]
    "a path with a NUL": lambda *_: Source("a\0b"),
    "a variable that is not set": lambda *_: Passphrase.from_environment("NO_SUCH_VARIABLE_IS_SET"),
}


@pytest.mark.parametrize("mistake", HINTLESS)
def test_every_error_says_what_to_do_next(home: Home, tmp_path: Path, mistake: str) -> None:
    with pytest.raises(SafeBackupError) as caught:
        HINTLESS[mistake](home, tmp_path)

    assert caught.value.hint


# Targets


def test_a_missing_path_is_not_restored_and_nothing_is_written(home: Home) -> None:
    target = home.base / "target"

    with refused(NotFoundError, Code.NO_PATH):
        restore(home.repository.snapshot(), target, paths=["file", "missing"])

    assert not target.exists()


@pytest.mark.parametrize("path", ["./file", "file/", "/file", ".//file"])
def test_a_selected_path_may_be_spelled_as_shells_complete_it(home: Home, path: str) -> None:
    assert restore(home.repository.snapshot(), home.base / "part", paths=[path]).files == 1
    assert [entry.path for entry in home.repository.snapshot().walk(path)] == [b"file"]


@pytest.mark.parametrize("path", ["../file", "file\0", ".."])
def test_a_selected_path_that_is_not_plain_is_refused(home: Home, path: str) -> None:
    with pytest.raises(SafeBackupError) as caught:
        restore(home.repository.snapshot(), home.base / "target", paths=[path])

    assert caught.value.hint
    assert not (home.base / "target").exists()


def test_a_target_that_holds_something_is_refused_and_untouched(home: Home) -> None:
    target = home.base / "target"
    target.mkdir()
    (target / "mine").write_bytes(b"mine")

    with refused(RefusedError, Code.TARGET_NOT_EMPTY):
        restore(home.repository.snapshot(), target)
    with refused(RefusedError, Code.TARGET_NOT_EMPTY):
        restore(home.repository.snapshot(), target / "mine")

    assert tree_of(target).keys() == {b"", b"mine"}


@pytest.mark.parametrize("overwrite", ["refuse", "keep", "replace"])
def test_a_target_in_the_repository_is_refused(home: Home, overwrite: str) -> None:
    before = tree_of(home.url)
    os.symlink(home.url, home.base / "alias")

    for target in (home.url, home.url / "new", home.url / "data" / "x", home.base / "alias" / "new"):
        with refused(RefusedError, Code.TARGET_IN_REPOSITORY):
            restore(home.repository.snapshot(), target, overwrite=overwrite)  # type: ignore[arg-type]

    assert tree_of(home.url) == before


# Two at once


def create_and_tell(url: str, start: multiprocessing.synchronize.Barrier, told: multiprocessing.Queue[str]) -> None:
    start.wait()
    try:
        told.put(f"made {Repository.create(url, key=None).id}")
    except ConflictError as error:
        told.put(f"{error.code}")
    except BaseException as error:
        told.put(f"CRASH {error!r}")


@pytest.mark.parametrize("attempt", range(3))
def test_of_several_processes_that_create_one_repository_exactly_one_succeeds(tmp_path: Path, attempt: int) -> None:
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(3), context.Queue()
    url = str(tmp_path / "repository")
    processes = [context.Process(target=create_and_tell, args=(url, start, told)) for _ in range(3)]
    for process in processes:
        process.start()

    answers = sorted(told.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()

    made = [answer for answer in answers if answer.startswith("made")]
    assert len(made) == 1, answers
    assert all(answer == Code.REPOSITORY_EXISTS for answer in answers if answer not in made), answers
    assert f"made {Repository.open(url, key=None).id}" == made[0]


# Without privileges


def as_nobody(act: Callable[[], str]) -> str:
    """What `act` says when it is done by a user without any rights."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            said = act()
        except SafeBackupError as error:
            said = f"{type(error).__name__} {error.code} {'with' if error.hint else 'without'} a hint"
        except BaseException as error:
            said = f"CRASH {error!r}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of the user without rights."""
    if not IS_ROOT:
        pytest.skip("only root can become somebody else")
    with scratch() as base:
        os.chown(base, NOBODY, NOBODY)
        if as_nobody(lambda: str(len(os.listdir(base)))) != "0":
            pytest.skip("no folder here can be reached by a user without rights")
        yield base


def test_unreadable_paths_make_a_snapshot_incomplete_and_are_named(nobodys: Path) -> None:
    source = nobodys / "source"
    source.mkdir()
    (source / "open").write_bytes(b"open")
    (source / "locked").write_bytes(b"secret")
    (source / "locked").chmod(0)
    (source / "closed").mkdir()
    (source / "closed" / "within").write_bytes(b"secret")
    (source / "closed").chmod(0o700)

    def act() -> str:
        repository = Repository.create(nobodys / "repository", key=None)
        report = back_up(source, into=repository)
        named = sorted(f"{finding.code} {finding.subject.rpartition('/')[2]}" for finding in report.findings)
        restored = restore(report.snapshot, nobodys / "restored")
        passed = verify(repository, level="full").passed
        return f"{report.complete} {named} {restored.complete} {passed} {repository.snapshot().standing}"

    told = as_nobody(act)

    assert told == "False ['path-unreadable closed', 'path-unreadable locked'] True True incomplete"
    assert (nobodys / "restored" / "open").read_bytes() == b"open"


def let_everybody_read(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_repository_that_may_not_be_read_or_written_is_a_storage_error(nobodys: Path) -> None:
    repository = Repository.create(nobodys / "repository", key=None)
    (nobodys / "source").mkdir()
    (nobodys / "source" / "file").write_bytes(b"content")
    back_up(nobodys / "source", into=repository)

    def write() -> str:
        return str(back_up(nobodys / "source", into=Repository.open(nobodys / "repository", key=None)).complete)

    told_reading = as_nobody(lambda: Repository.open(nobodys / "repository", key=None).url)
    let_everybody_read(nobodys / "repository")
    told_writing = as_nobody(write)

    assert told_reading == "StorageError store-denied with a hint"
    assert told_writing == "StorageError store-denied with a hint"
    assert verify(repository, level="full", record=False).passed


def test_a_target_that_may_not_be_written_is_a_storage_error(nobodys: Path) -> None:
    (nobodys / "locked").mkdir()
    (nobodys / "source").mkdir()
    (nobodys / "source" / "file").write_bytes(b"content")
    repository = Repository.create(nobodys / "repository", key=None)
    snapshot = back_up(nobodys / "source", into=repository).snapshot
    let_everybody_read(nobodys / "repository")

    told = as_nobody(lambda: str(restore(snapshot, nobodys / "locked" / "target").complete))

    assert told == "StorageError store-denied with a hint"


def test_a_restore_without_rights_makes_no_setuid_program_of_somebody_else(nobodys: Path) -> None:
    (nobodys / "source").mkdir()
    (nobodys / "source" / "program").write_bytes(b"#!/bin/sh\n")
    (nobodys / "source" / "program").chmod(0o4755)
    repository = Repository.create(nobodys / "repository", key=None)
    snapshot = back_up(nobodys / "source", into=repository).snapshot
    let_everybody_read(nobodys / "repository")

    def act() -> str:
        report = restore(snapshot, nobodys / "restored")
        return f"{report.complete} {sorted({str(finding.code) for finding in report.findings})}"

    told = as_nobody(act)

    assert told == "True ['metadata-not-set']"
    assert stat.S_IMODE((nobodys / "restored" / "program").stat().st_mode) == 0o755
