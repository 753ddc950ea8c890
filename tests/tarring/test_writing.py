"""A tar.zst that any system can read, and that is whole or not there. Checked with the real tar, zstd and sha256sum."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from safebackup.commands import run
from safebackup.errors import (
    Code,
    CommandError,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
    StorageError,
)
from safebackup.findings import Severity
from safebackup.tarring import TarReport, TarSnapshotWriter

PATIENCE = 20.0
LARGE = 9 << 20  # beyond what is held in memory


class At:
    """A clock that stands still."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return 0.0


def written(url: str | Path, *fills: Callable[[TarSnapshotWriter], None], **options: object) -> TarReport:
    with TarSnapshotWriter(url, **options) as writer:  # type: ignore[arg-type]
        for fill in fills:
            fill(writer)
    assert writer.report is not None
    return writer.report


def unpack(artefact: Path, to: Path) -> str:
    """What the real tar makes of it, and what it says."""
    to.mkdir()
    ended = run(["tar", "--zstd", "--xattrs", "--xattrs-include=*", "-C", to, "-xpf", artefact])
    assert ended.status == 0, ended.stderr
    return ended.stderr


def lying_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def is_root() -> bool:
    return os.geteuid() == 0


# What is in it


def test_tar_unpacks_what_was_added(source: Path, out: Path, tmp_path: Path) -> None:
    def fill(writer: TarSnapshotWriter) -> None:
        writer.add(source)
        writer.add(source / "one.csv", name="again/one.csv")
        writer.write("dumps/stream.sql", io.BytesIO(b"select 1;"))
        writer.write("dumps/bytes.sql", b"select 2;")
        writer.command("dumps/command.sql", ["echo", "select 3;"], ["tr", "s", "S"])

    report = written(out / "all.tar.zst", fill)

    assert unpack(out / "all.tar.zst", tmp_path / "back") == ""
    found = {
        str(path.relative_to(tmp_path / "back")): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert found == {
        "orders/one.csv": b"1,17.50\n",
        "orders/2026/two.csv": b"2,3.20\n" * 1000,
        "again/one.csv": b"1,17.50\n",
        "dumps/stream.sql": b"select 1;",
        "dumps/bytes.sql": b"select 2;",
        "dumps/command.sql": b"Select 3;\n",
    }
    assert (report.entries, report.findings, report.complete) == (8, (), True)


def test_metadata_comes_back(source: Path, out: Path, tmp_path: Path) -> None:
    moments = (1, 1_700_000_000_123_456_789)
    (source / "one.csv").chmod(0o4750)
    os.setxattr(source / "one.csv", "user.note", b"\xff\0\n")
    os.link(source / "one.csv", source / "other name.csv")
    os.symlink("../nowhere", source / "link")
    os.mkfifo(source / "pipe")
    (source / "2026").chmod(0o700)
    for path in ("one.csv", "2026"):
        os.utime(source / path, ns=moments)
    if is_root():
        os.chown(source / "one.csv", 12345, 54321)
        (source / "one.csv").chmod(0o4750)

    written(out / "a.tar.zst", lambda writer: writer.add(source))

    unpack(out / "a.tar.zst", tmp_path / "back")
    back = tmp_path / "back" / "orders"
    for path in ("one.csv", "2026", "pipe", "2026/two.csv"):
        was, is_now = os.lstat(source / path), os.lstat(back / path)
        assert (was.st_mode, was.st_mtime_ns, was.st_uid, was.st_gid) == (
            is_now.st_mode,
            is_now.st_mtime_ns,
            is_now.st_uid,
            is_now.st_gid,
        ), path
    assert os.getxattr(back / "one.csv", "user.note") == b"\xff\0\n"
    assert os.path.samefile(back / "one.csv", back / "other name.csv")
    assert os.readlink(back / "link") == "../nowhere"


@pytest.mark.parametrize("nanoseconds", [-1, -1_500_000_000, 0, 1, 10**18 * 9])
def test_any_time_comes_back_to_the_nanosecond(source: Path, out: Path, nanoseconds: int) -> None:
    os.utime(source / "one.csv", ns=(0, nanoseconds))
    kept = os.stat(source / "one.csv").st_mtime_ns  # what this file system can hold

    written(out / "a.tar.zst", lambda writer: writer.add(source / "one.csv"))

    run(["tar", "--zstd", "-C", out, "-xf", out / "a.tar.zst"])
    assert os.stat(out / "one.csv").st_mtime_ns == kept


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe", "ü".encode(), b"new\nline", b"back\\slash", b"-", b"-rf", b"#x", b"*", b"a" * 255, b" ", b"r\r"],
)
def test_every_name_comes_back_and_is_in_the_list_of_checksums(out: Path, tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(b"content")

    written(out / "a.tar.zst", lambda writer: writer.add(folder), lambda writer: writer.write(name, b"content"))

    unpack(out / "a.tar.zst", tmp_path / "back")
    assert os.listdir(os.fsencode(tmp_path / "back" / "names")) == [name]
    checked = run(["sha256sum", "--strict", "-c", out / "a.tar.zst.files.sha256"], folder=tmp_path / "back")
    assert (checked.status, checked.stderr.count(": OK")) == (0, 2)


def test_a_name_longer_than_any_header_comes_back(out: Path, tmp_path: Path) -> None:
    deep = "/".join(["d" * 200] * 10)

    written(out / "a.tar.zst", lambda writer: writer.write(f"{deep}/file", b"content"))

    unpack(out / "a.tar.zst", tmp_path / "back")
    assert (tmp_path / "back" / deep / "file").read_bytes() == b"content"


def test_large_content_comes_back(out: Path, tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    (tmp_path / "large").write_bytes(content)

    def fill(writer: TarSnapshotWriter) -> None:
        writer.add(tmp_path / "large")
        writer.write("stream", io.BytesIO(content))
        writer.command("command", ["cat", tmp_path / "large"])

    report = written(out / "a.tar.zst", fill)

    unpack(out / "a.tar.zst", tmp_path / "back")
    assert [(tmp_path / "back" / name).read_bytes() == content for name in ("large", "stream", "command")] == [True] * 3
    assert report.size_bytes == (out / "a.tar.zst").stat().st_size > LARGE
    assert lying_in(out) == {"a.tar.zst", "a.tar.zst.sha256", "a.tar.zst.files.sha256"}


def test_a_zst_is_the_stream_and_nothing_else(out: Path) -> None:
    report = written(out / "orders.sql.zst", lambda writer: writer.command("orders.sql", ["echo", "select 1;"]))

    assert subprocess.check_output(["zstd", "-dc", out / "orders.sql.zst"]) == b"select 1;\n"
    assert lying_in(out) == {"orders.sql.zst", "orders.sql.zst.sha256"}
    assert (report.entries, report.raw_bytes) == (1, 10)


def test_a_zst_holds_one_stream_and_a_second_spoils_it(out: Path) -> None:
    with pytest.raises(ConfigurationError, match="one stream"):
        written(out / "a.zst", lambda writer: writer.write("a", b"a"), lambda writer: writer.write("b", b"b"))
    with pytest.raises(ConfigurationError, match="without names"):
        written(out / "a.zst", lambda writer: writer.add(out))

    assert lying_in(out) == set()


def test_the_artefact_is_checked_by_sha256sum_and_zstd(source: Path, out: Path) -> None:
    report = written(out / "a.tar.zst", lambda writer: writer.add(source))

    assert run(["sha256sum", "--strict", "-c", "a.tar.zst.sha256"], folder=out).status == 0
    assert report.sha256 == hashlib.sha256((out / "a.tar.zst").read_bytes()).hexdigest()
    data = bytearray((out / "a.tar.zst").read_bytes())
    data[len(data) // 2] ^= 1
    (out / "a.tar.zst").write_bytes(data)
    assert run(["zstd", "-t", out / "a.tar.zst"]).status != 0  # its own checksum tells, without any list
    assert run(["sha256sum", "-c", "a.tar.zst.sha256"], folder=out).status != 0


def test_the_same_calls_give_the_same_bytes(source: Path, out: Path) -> None:
    def fill(writer: TarSnapshotWriter) -> None:
        writer.add(source)
        writer.write("x", b"x")

    first, second = (written(out / name, fill, clock=At(10**18)) for name in ("a.tar.zst", "b.tar.zst"))

    assert first.sha256 == second.sha256


def test_the_time_in_the_name_is_utc(out: Path) -> None:
    report = written(
        out / "db-{utc}.tar.zst", lambda writer: writer.write("x", b"x"), clock=At(1_795_418_700_000_000_000)
    )

    assert report.url == str(out / "db-20261123T072500Z.tar.zst")
    assert Path(report.url).exists()


def test_progress_counts_the_bytes_of_content(source: Path, out: Path) -> None:
    class Counter:
        total = 0

        def set_size(self, size: int) -> None:
            raise AssertionError("nobody knows it")

        def relative_update(self, inc: int = 1) -> None:
            self.total += inc

    counter = Counter()

    written(
        out / "a.tar.zst", lambda writer: writer.add(source), lambda writer: writer.write("x", b"abc"), callback=counter
    )

    assert counter.total == 8 + 7000 + 3


def test_the_file_is_for_its_owner_alone(source: Path, out: Path) -> None:
    written(out / "a.tar.zst", lambda writer: writer.add(source))

    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_a_link_that_is_named_itself_is_followed(source: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(source)

    written(out / "a.tar.zst", lambda writer: writer.add(tmp_path / "current"))

    unpack(out / "a.tar.zst", tmp_path / "back")
    assert (tmp_path / "back" / "current" / "one.csv").read_text() == "1,17.50\n"


def test_a_folder_may_hold_the_artefact_that_is_being_written(source: Path, tmp_path: Path) -> None:
    written(source / "a.tar.zst", lambda writer: writer.add(source))

    unpack(source / "a.tar.zst", tmp_path / "back")
    assert lying_in(tmp_path / "back" / "orders") == {"one.csv", "2026"}


# Whole or not there


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_publishes_nothing(source: Path, out: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), TarSnapshotWriter(out / "a.tar.zst") as writer:
        writer.add(source)
        raise error

    assert lying_in(out) == set()
    assert writer.report is None


def test_a_failing_command_publishes_nothing_even_if_its_error_is_swallowed(source: Path, out: Path) -> None:
    writer = TarSnapshotWriter(out / "a.tar.zst")

    with pytest.raises(RefusedError, match="pg_dump: no such database"), writer:
        writer.add(source)
        with pytest.raises(CommandError):
            writer.command("x.sql", ["bash", "-c", "echo half a dump; echo pg_dump: no such database >&2; exit 1"])

    assert lying_in(out) == set()


@pytest.mark.parametrize("name", ["a.tar.zst", "a.zst"])
def test_a_deadline_publishes_nothing(out: Path, name: str) -> None:
    with pytest.raises(CommandError) as caught:
        written(out / name, lambda w: w.command("x", ["bash", "-c", "echo half; sleep 1000"], deadline=0.3))

    assert caught.value.code == Code.COMMAND_DEADLINE
    assert lying_in(out) == set()


def test_a_stream_that_breaks_publishes_nothing(out: Path) -> None:
    class Torn(io.RawIOBase):
        def __init__(self) -> None:
            self.reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads > 20:
                raise OSError("the line broke")
            return b"x" * size

    with pytest.raises(StorageError, match="the line broke"):
        written(out / "a.tar.zst", lambda writer: writer.write("x", Torn()))

    assert lying_in(out) == set()


@pytest.mark.parametrize("name", ["a.tar.zst", "a.zst"])
def test_half_a_compressed_stream_publishes_nothing(out: Path, name: str) -> None:
    half = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(os.urandom(LARGE))[: LARGE // 2]))

    with pytest.raises(StorageError, match="EOFError"):
        written(out / name, lambda writer: writer.write("x", half))

    assert lying_in(out) == set()


@pytest.mark.parametrize("lacking", [False, True])
@pytest.mark.parametrize("call", range(1, 9))
def test_an_interrupt_while_publishing_leaves_everything_or_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, call: int, lacking: bool
) -> None:
    if lacking:
        without_unnamed_files(monkeypatch)
    count = itertools.count(1)

    def interrupted(name: str) -> None:
        real = getattr(os, name)

        def late(*arguments: object, **options: object) -> object:
            result = real(*arguments, **options)
            if next(count) == call:
                raise KeyboardInterrupt  # it was done, and the next line is never reached
            return result

        monkeypatch.setattr(os, name, late)

    for name in ("link", "fsync"):
        interrupted(name)

    if call < 8:
        with pytest.raises(KeyboardInterrupt):
            written(out / "a.tar.zst", lambda writer: writer.write("x", b"x"))
        assert lying_in(out) == set()
    else:  # three syncs and links, and the folder: there is no eighth
        written(out / "a.tar.zst", lambda writer: writer.write("x", b"x"))
        assert len(lying_in(out)) == 3


@pytest.mark.parametrize("wait", [0.0, 0.2, 0.5])
def test_a_kill_at_any_time_leaves_nothing_or_everything(source: Path, out: Path, wait: float) -> None:
    code = (
        "import sys, os; from safebackup.tarring import TarSnapshotWriter\n"
        "for number in range(10**6):\n"
        "    with TarSnapshotWriter(f'{sys.argv[2]}/{number}.tar.zst') as writer:\n"
        "        writer.add(sys.argv[1]); writer.write('noise', os.urandom(3_000_000))\n"
        "        print('at work', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, source, out], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(wait)

    child.send_signal(signal.SIGKILL)
    child.communicate()

    for artefact in out.glob("*.tar.zst"):
        assert run(["tar", "--zstd", "-tf", artefact]).status == 0
        assert run(["sha256sum", "-c", f"{artefact.name}.sha256"], folder=out).status == 0
    # Without unnamed files it may leave a hidden one.
    assert {name for name in lying_in(out) if not re.match(r"\d+\.tar\.zst|\.safebackup-", name)} == set()


def test_a_full_disk_publishes_nothing_and_says_so(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if not is_root() or run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]).status:
        pytest.skip("a small file system cannot be mounted here")
    try:
        for fill in (
            lambda writer: writer.write("x", os.urandom(3_000_000)),
            lambda writer: writer.write("x", io.BytesIO(b"x" * LARGE)),
        ):
            with pytest.raises(StorageError) as caught:
                written(small / "a.tar.zst", fill)
            assert caught.value.code == Code.STORE_FULL
            assert lying_in(small) == set()
        written(small / "a.tar.zst", lambda writer: writer.write("x", b"fits"))  # and nothing is still taken up
    finally:
        subprocess.run(["umount", small], check=True)


def test_of_many_writers_of_one_name_exactly_one_wins(out: Path) -> None:
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            with TarSnapshotWriter(out / "a.tar.zst") as writer:
                writer.write("who", b"%d" % number)
                start.wait()
            outcomes.append(number)
        except ConflictError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert outcomes.count(Code.OBJECT_EXISTS) == 7
    assert subprocess.check_output(["tar", "--zstd", "-xOf", out / "a.tar.zst"]) == b"%d" % winner
    assert run(["sha256sum", "-c", "a.tar.zst.sha256"], folder=out).status == 0


@pytest.mark.parametrize("name", ["a.tar.zst", "a.tar.zst.sha256", "a.tar.zst.files.sha256"])
def test_what_is_there_is_left_alone(source: Path, out: Path, name: str) -> None:
    (out / name).write_text("older")

    with pytest.raises(ConflictError, match=name) as caught, TarSnapshotWriter(out / "a.tar.zst"):
        pytest.fail("this is refused before anything is read")

    assert caught.value.code == Code.OBJECT_EXISTS
    assert lying_in(out) == {name}
    assert (out / name).read_text() == "older"


def test_the_hint_does_not_ask_for_what_is_there_already(out: Path) -> None:
    clock = At(1_795_418_700_000_000_000)
    for name in ("db.tar.zst", "db-{utc}.tar.zst"):
        written(out / name, lambda writer: writer.write("x", b"x"), clock=clock)

    with pytest.raises(ConflictError, match=r"Put \{utc\} into the name"):
        written(out / "db.tar.zst", lambda writer: writer.write("x", b"x"), clock=clock)
    with pytest.raises(ConflictError, match="wait a second") as caught:
        written(out / "db-{utc}.tar.zst", lambda writer: writer.write("x", b"x"), clock=clock)
    assert "{utc}" not in str(caught.value)


def test_what_appears_meanwhile_is_left_alone(out: Path) -> None:
    with pytest.raises(ConflictError), TarSnapshotWriter(out / "a.tar.zst") as writer:
        writer.write("x", b"x")
        (out / "a.tar.zst").symlink_to("nowhere")

    assert lying_in(out) == {"a.tar.zst"}


def test_an_artefact_is_seen_only_when_its_lists_are(out: Path) -> None:
    seen: list[set[str]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(lying_in(out))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        written(out / f"{number}.tar.zst", lambda writer: writer.write("x", b"x"))
    done.set()
    watcher.join()

    for names, number in itertools.product(seen, range(20)):
        if f"{number}.tar.zst" in names:
            assert {f"{number}.tar.zst.sha256", f"{number}.tar.zst.files.sha256"} <= names


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems and disks that have none."""
    monkeypatch.delattr(os, "O_TMPFILE")


def without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT, exFAT and some network disks."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    without_unnamed_files(monkeypatch)
    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("lacking", [without_unnamed_files, without_hard_links])
def test_lesser_file_systems_are_written_to_as_safely(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: Callable[[pytest.MonkeyPatch], None]
) -> None:
    lacking(monkeypatch)

    with pytest.raises(RuntimeError), TarSnapshotWriter(source / "a.tar.zst") as writer:
        assert len([name for name in lying_in(source) if name.startswith(".")]) == 3
        writer.add(source)
        raise RuntimeError
    assert lying_in(source) == {"one.csv", "2026"}
    written(source / "a.tar.zst", lambda writer: writer.add(source))
    with pytest.raises(ConflictError), TarSnapshotWriter(source / "b.tar.zst") as writer:
        writer.add(source / "one.csv")
        (source / "b.tar.zst").write_text("theirs")

    unpack(source / "a.tar.zst", tmp_path / "back")
    assert lying_in(tmp_path / "back" / "orders") == {"one.csv", "2026"}
    assert (source / "b.tar.zst").read_text() == "theirs"
    assert {name for name in lying_in(source) if name.startswith((".", "b.tar.zst."))} == set()


@pytest.mark.parametrize("name", ["a.tar.zst", "a.zst"])
def test_what_does_not_decode_to_what_was_written_is_not_published(
    out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    without_unnamed_files(monkeypatch)

    with pytest.raises(IntegrityError) as caught, TarSnapshotWriter(out / name) as writer:
        writer.write("x", os.urandom(40 << 20))  # more than the compressor holds back
        spool = max(out.iterdir(), key=lambda path: path.stat().st_size)
        with spool.open("r+b") as file:  # a disk that forgets a bit
            file.seek(1_000_000)
            (byte,) = file.read(1)
            file.seek(1_000_000)
            file.write(bytes([byte ^ 1]))

    assert caught.value.code == Code.ENCODING_MISMATCH
    assert lying_in(out) == set()


# What could not be read


def refused_file(folder: Path) -> Path:
    """A regular file that opens for nobody: its path is longer than the system takes in one call."""
    at = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=at)
            deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = deeper
        os.close(os.open("secret", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    finally:
        os.close(at)
    return folder


def test_what_cannot_be_read_is_a_reason_not_to_publish(source: Path, out: Path) -> None:
    refused_file(source)

    with pytest.raises(RefusedError, match="could not be read whole") as caught:
        written(out / "a.tar.zst", lambda writer: writer.add(source))

    assert caught.value.code == Code.PATH_UNREADABLE
    assert lying_in(out) == set()


def test_incomplete_is_published_when_asked_for_and_never_called_complete(source: Path, out: Path) -> None:
    refused_file(source)

    report = written(out / "a.tar.zst", lambda writer: writer.add(source), allow_incomplete=True)

    assert report.complete is False
    assert [finding.severity for finding in report.findings] == [Severity.ERROR]
    assert "# incomplete" in (out / "a.tar.zst.sha256").read_text()
    assert "# incomplete" in (out / "a.tar.zst.files.sha256").read_text()
    assert run(["sha256sum", "-c", "a.tar.zst.sha256"], folder=out).status == 0
    assert run(["tar", "--zstd", "-tf", out / "a.tar.zst"]).status == 0


class Meddler:
    """Changes a file while it is being read: the progress tells when."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle = meddle

    def set_size(self, size: int) -> None:
        pass

    def relative_update(self, inc: int = 1) -> None:
        self._meddle()


def test_a_large_file_that_grows_while_it_is_read_is_a_warning(out: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * LARGE)

    report = written(
        out / "a.tar.zst", lambda writer: writer.add(large), callback=Meddler(lambda: os.truncate(large, LARGE + 5))
    )

    (finding,) = report.findings
    assert (finding.code, finding.severity, report.complete) == (Code.PATH_TORN, Severity.WARNING, True)
    unpack(out / "a.tar.zst", tmp_path / "back")
    assert (tmp_path / "back" / "large").stat().st_size == LARGE
    assert "# torn: large\n" in (out / "a.tar.zst.files.sha256").read_text()
    assert run(["sha256sum", "-c", out / "a.tar.zst.files.sha256"], folder=tmp_path / "back").status == 0


def test_a_large_file_that_is_cut_while_it_is_read_is_never_called_complete(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a").write_bytes(b"x" * LARGE)
    os.link(folder / "a", folder / "b")
    cutting = Meddler(lambda: os.truncate(folder / "a", LARGE // 2))

    with pytest.raises(RefusedError, match="was cut to 4718592 bytes") as caught:
        written(out / "a.tar.zst", lambda writer: writer.add(folder), callback=cutting)
    assert (caught.value.code, lying_in(out)) == (Code.PATH_TORN, set())
    (folder / "a").write_bytes(b"x" * LARGE)
    report = written(out / "a.tar.zst", lambda writer: writer.add(folder), callback=cutting, allow_incomplete=True)

    (finding,) = report.findings
    assert (finding.code, finding.severity, report.complete) == (Code.PATH_TORN, Severity.ERROR, False)
    unpack(out / "a.tar.zst", tmp_path / "back")
    assert (tmp_path / "back" / "logs" / "a").read_bytes().rstrip(b"\0") == b"x" * (LARGE // 2)
    assert (tmp_path / "back" / "logs" / "b").read_bytes() == b"x" * (LARGE // 2)  # read when it held still
    lines = (out / "a.tar.zst.files.sha256").read_text().splitlines()
    assert lines[0] == "# cut short: logs/a"
    assert [line.split()[-1] for line in lines if not line.startswith("#")] == ["logs/b"]
    assert run(["sha256sum", "-c", out / "a.tar.zst.files.sha256"], folder=tmp_path / "back").status == 0


def test_a_small_file_that_never_holds_still_is_a_finding(out: Path) -> None:
    # Its size says 0, and it has content each time.
    report = written(out / "a.tar.zst", lambda writer: writer.add("/proc/self/status"))

    assert [finding.code for finding in report.findings] == [Code.PATH_TORN]
    assert b"Name:" in subprocess.check_output(["tar", "--zstd", "-xOf", out / "a.tar.zst"])


def test_a_large_file_that_hides_its_size_is_a_finding(out: Path) -> None:
    if len(Path("/proc/kallsyms").read_bytes()) < LARGE:
        pytest.skip("this kernel has no large file of '0 bytes'")

    report = written(out / "a.tar.zst", lambda writer: writer.add("/proc/kallsyms"))

    assert [finding.code for finding in report.findings] == [Code.PATH_TORN]


def test_a_file_that_vanishes_is_a_warning(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    (folder / "a").write_bytes(b"stays")
    (folder / "b").write_bytes(b"goes")

    report = written(
        out / "a.tar.zst",
        lambda writer: writer.add(folder),
        callback=Meddler(lambda: (folder / "b").unlink(missing_ok=True)),
    )

    assert [(one.code, one.severity) for one in report.findings] == [(Code.PATH_VANISHED, Severity.WARNING)]
    assert (report.complete, report.entries) == (True, 2)


# A source that goes away


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Ten folders of ten files each."""
    root = tmp_path / "tree"
    for folder in range(10):
        (root / f"d{folder}").mkdir(parents=True)
        for number in range(10):
            (root / f"d{folder}" / f"f{number}").write_bytes(b"content")
    return root


def once(after: int, meddle: Callable[[], object]) -> Meddler:
    """Meddles when so many files have been read."""
    count = itertools.count(1)
    return Meddler(lambda: meddle() if next(count) == after else None)


def remade(path: Path) -> None:
    """As an empty mount point appears where a disk was."""
    path.rename(path.with_name("elsewhere"))
    path.mkdir()


def followed_by(call: Callable[..., Any], path: Path, meddle: Callable[[], object]) -> Callable[..., Any]:
    """A system call on that path, after which, once, something happens."""
    left = [meddle]

    def late(given: object, *arguments: object, **options: object) -> Any:
        result = call(given, *arguments, **options)
        if given == str(path) and left:
            left.pop()()
        return result

    return late


@pytest.mark.parametrize("after", [1, 55, 99, 100])
@pytest.mark.parametrize("meddle", [lambda root: root.rename(root.with_name("elsewhere")), remade])
def test_a_source_that_goes_away_at_any_moment_is_never_published(
    out: Path, tree: Path, meddle: Callable[[Path], object], after: int
) -> None:
    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", lambda w: w.add(tree), callback=once(after, lambda: meddle(tree)))

    assert (caught.value.code, lying_in(out)) == (Code.PATH_VANISHED, set())
    assert "1 paths" in str(caught.value)  # one sentence, not one for each file
    assert str(tree) in str(caught.value)


def test_a_source_that_went_away_is_named_once_where_the_rest_is_wanted(out: Path, tree: Path) -> None:
    report = written(
        out / "a.tar.zst",
        lambda writer: writer.add(tree),
        lambda writer: writer.write("x", b"x"),
        callback=once(15, lambda: tree.rename(tree.with_name("elsewhere"))),
        allow_incomplete=True,
    )

    (finding,) = report.findings
    assert (finding.code, finding.severity, report.complete) == (Code.PATH_VANISHED, Severity.ERROR, False)
    assert finding.subject == str(tree)
    assert report.entries == 1 + 2 + 15 + 1


@pytest.mark.parametrize("above", [True, False])
def test_a_folder_that_is_moved_away_while_it_is_read_is_an_error(out: Path, tree: Path, above: bool) -> None:
    if above:
        tree = tree.rename(tree.parent / "inner")
        (tree.parent / "outer").mkdir()
        tree = tree.rename(tree.parent / "outer" / "inner").parent
    moved = tree / "inner" / "d3" if above else tree / "d3"
    report = written(
        out / "a.tar.zst",
        lambda writer: writer.add(tree),
        callback=once(35, lambda: moved.rename(tree.parent / "elsewhere")),
        allow_incomplete=True,
    )

    assert [(one.severity, one.subject) for one in report.findings] == [(Severity.ERROR, str(moved))]
    assert report.entries == above + 1 + 10 + 95  # what lies beside it is all there


def test_a_folder_that_is_deleted_before_it_is_reached_is_a_warning(out: Path, tree: Path) -> None:
    report = written(
        out / "a.tar.zst", lambda writer: writer.add(tree), callback=once(15, lambda: shutil.rmtree(tree / "d3"))
    )

    assert [(one.code, one.severity) for one in report.findings] == [(Code.PATH_VANISHED, Severity.WARNING)]
    assert (report.complete, report.entries) == (True, 1 + 9 * 11)


def test_a_disk_that_is_unmounted_while_it_is_read_is_never_published(out: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not is_root() or run(["mount", "-t", "tmpfs", "tmpfs", disk]).status:
        pytest.skip("a file system cannot be mounted here")
    try:
        for number in range(20):
            (disk / str(number)).write_bytes(b"content")
        unmount = once(7, lambda: subprocess.run(["umount", "-l", disk], check=True))

        with pytest.raises(RefusedError, match="unmounted"):
            written(out / "a.tar.zst", lambda writer: writer.add(disk), callback=unmount)
    finally:
        subprocess.run(["umount", disk], check=False, stderr=subprocess.DEVNULL)

    assert lying_in(out) == set()


def test_a_folder_that_was_swapped_for_an_empty_one_before_it_was_listed_is_an_error(
    out: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(writer: TarSnapshotWriter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", followed_by(os.stat, tree, lambda: remade(tree)))
            writer.add(tree, allow_empty=True)

    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", fill)

    assert caught.value.code == Code.PATH_VANISHED


@pytest.mark.parametrize("moment", ["stat", "open", "close"])
def test_a_named_file_that_is_gone_before_its_end_is_an_error(
    out: Path, source: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    file = source / "one.csv"

    def fill(writer: TarSnapshotWriter) -> None:
        with monkeypatch.context() as patch:
            if moment != "close":
                patch.setattr(os, moment, followed_by(getattr(os, moment), file, file.unlink))
            writer.add(file)

    read = once(1 if moment == "close" else 2, file.unlink)
    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", fill, callback=read)

    assert (caught.value.code, lying_in(out)) == (Code.PATH_VANISHED, set())


def test_a_named_file_that_is_gone_for_a_moment_is_an_error(
    out: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, away = source / "one.csv", source / "away"
    real = os.lstat

    def back_afterwards(path: object, *arguments: Any, **options: Any) -> os.stat_result:
        try:
            return real(path, *arguments, **options)  # type: ignore[arg-type]
        finally:
            if path == str(file) and away.exists():
                away.rename(file)

    def fill(writer: TarSnapshotWriter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", followed_by(os.stat, file, lambda: file.rename(away)))
            patch.setattr(os, "lstat", back_afterwards)
            writer.add(file)

    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", fill)

    assert (caught.value.code, file.exists()) == (Code.PATH_VANISHED, True)


def test_a_folder_that_is_swapped_for_an_empty_one_when_it_is_open_is_an_error(
    out: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tree / "d3"

    def fill(writer: TarSnapshotWriter) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", followed_by(os.open, inner, lambda: remade(inner)))
            writer.add(tree)

    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", fill)

    assert caught.value.code == Code.PATH_VANISHED
    assert str(inner) in str(caught.value)


def test_a_named_file_may_be_replaced_as_programs_save(out: Path, source: Path, tmp_path: Path) -> None:
    def save() -> None:
        (source / "new").write_text("2,9.99\n")
        (source / "new").replace(source / "one.csv")

    report = written(out / "a.tar.zst", lambda writer: writer.add(source / "one.csv"), callback=once(1, save))

    assert (report.complete, report.findings) == (True, ())
    assert subprocess.check_output(["tar", "--zstd", "-xOf", out / "a.tar.zst"]) == b"1,17.50\n"


# Hard links


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_number_that_another_file_has_by_now_is_no_hard_link(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    for name in ("old", "old too", "young", "young too"):
        (folder / name).write_bytes(b"OLD!")
    os.utime(folder / "old", ns=(0, 0))
    (folder / "young").write_bytes(b"NEW!" if change == "time" else b"longer")
    os.utime(folder / "young", ns=(0, 1 if change == "time" else 0))
    for name in ("old", "young"):
        (folder / f"{name} too").unlink()
        os.link(folder / name, folder / f"{name} too")
    content = (folder / "young").read_bytes()
    old, young = (folder / "old").stat().st_ino, (folder / "young").stat().st_ino
    real = os.fstat

    def reused(fd: int) -> os.stat_result:
        """The file system gives the number of the first file, which was deleted, to the second."""
        fields = list(real(fd))
        status = real(fd)
        if status.st_ino != young:
            return status
        fields[1] = old
        rest = {"st_mtime_ns": status.st_mtime_ns, "st_ctime_ns": status.st_ctime_ns, "st_rdev": status.st_rdev}
        return os.stat_result(fields, rest)

    monkeypatch.setattr(os, "fstat", reused)

    written(out / "a.tar.zst", lambda writer: writer.add(folder))

    monkeypatch.undo()
    unpack(out / "a.tar.zst", tmp_path / "back")
    back = tmp_path / "back" / "links"
    assert [(back / name).read_bytes() for name in ("old too", "young", "young too")] == [b"OLD!", content, content]
    assert os.path.samefile(back / "old", back / "old too")
    assert os.path.samefile(back / "young", back / "young too")
    assert run(["sha256sum", "-c", out / "a.tar.zst.files.sha256"], folder=tmp_path / "back").status == 0


# Attributes


def test_an_attribute_comes_back_whatever_signs_its_name_has(source: Path, out: Path, tmp_path: Path) -> None:
    values = {"user.a=b": b"1", "user.a%3Db": b"2", "user.100%": b"3", "user.=": b"4", "user.\n": b"5", "user.ü": b"6"}
    for name, value in values.items():
        os.setxattr(source / "one.csv", name, value)

    written(out / "a.tar.zst", lambda writer: writer.add(source))

    unpack(out / "a.tar.zst", tmp_path / "back")
    back = tmp_path / "back" / "orders" / "one.csv"
    assert {name: os.getxattr(back, name) for name in os.listxattr(back)} == values


def test_an_attribute_that_no_tar_can_name_is_reported(source: Path, out: Path) -> None:
    os.setxattr(source / "one.csv", b"user.\xff", b"1")
    os.setxattr(source / "one.csv", b"user.fine", b"2")

    with pytest.raises(RefusedError, match=r"user\.\\xff"):
        written(out / "a.tar.zst", lambda writer: writer.add(source))
    report = written(out / "a.tar.zst", lambda writer: writer.add(source), allow_incomplete=True)

    assert [one.code for one in report.findings] == [Code.METADATA_UNREADABLE]


# One part at a time


def test_a_second_part_from_another_thread_is_refused_and_spoils_all(out: Path) -> None:
    refused: list[object] = []

    class Slow:
        def __init__(self, writer: TarSnapshotWriter) -> None:
            self._writer = writer
            self._pieces = [b"slow"]

        def read(self, size: int = -1) -> bytes:
            def meanwhile() -> None:
                try:
                    self._writer.write("second", b"fast")
                except ConfigurationError as error:
                    refused.append(error)

            if self._pieces:
                thread = threading.Thread(target=meanwhile)
                thread.start()
                thread.join()
                return self._pieces.pop()
            return b""

    with pytest.raises(RefusedError, match="one part at a time"), TarSnapshotWriter(out / "a.tar.zst") as writer:
        writer.write("first", Slow(writer))

    assert len(refused) == 1
    assert lying_in(out) == set()


@pytest.mark.parametrize(
    "again",
    [
        lambda writer, out: writer.write("side", b"x"),
        lambda writer, out: writer.add(out, allow_empty=True),
        lambda writer, out: writer.command("side", ["echo"]),
        lambda writer, out: writer.__exit__(None, None, None),
    ],
    ids=["write", "add", "command", "exit"],
)
def test_a_stream_that_calls_its_own_writer_is_refused(
    out: Path, again: Callable[[TarSnapshotWriter, Path], None]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    writer = TarSnapshotWriter(out / "a.tar.zst")

    class Calling:
        def read(self, size: int = -1) -> bytes:
            again(writer, out)
            return b""

    with pytest.raises(ConfigurationError, match="one part at a time"), writer:
        writer.write("main", Calling())

    assert lying_in(out) == set()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("leaving", [None, KeyboardInterrupt])
def test_a_block_that_ends_while_a_thread_is_at_work_publishes_nothing(
    out: Path, leaving: type[BaseException] | None
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reading, go_on = threading.Event(), threading.Event()

    class Waiting:
        def read(self, size: int = -1) -> bytes:
            if go_on.is_set():
                return b""
            reading.set()
            go_on.wait(PATIENCE)
            return b"late"

    writer = TarSnapshotWriter(out / "a.tar.zst")
    worker = threading.Thread(target=lambda: writer.write("late", Waiting()))

    with pytest.raises(leaving or ConfigurationError), writer:
        worker.start()
        assert reading.wait(PATIENCE)
        if leaving is not None:
            raise leaving

    go_on.set()
    worker.join()
    assert (writer.report, lying_in(out)) == (None, set())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_socket_is_passed_over(out: Path, tmp_path: Path) -> None:
    import socket

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))

        report = written(out / "a.tar.zst", lambda writer: writer.add(folder))

    assert (report.entries, report.findings) == (2, ())


# Nothing where something should be


@pytest.mark.parametrize("name", ["a.tar.zst", "a.zst"])
@pytest.mark.parametrize(
    "fill",
    [
        lambda writer: None,
        lambda writer: writer.write("x", b""),
        lambda writer: writer.write("x", io.BytesIO()),
        lambda writer: writer.command("x", ["true"]),
    ],
    ids=["nothing added", "no bytes", "empty stream", "silent command"],
)
def test_an_empty_dump_is_a_dump_that_failed(out: Path, name: str, fill: Callable[[TarSnapshotWriter], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        written(out / name, fill)

    assert caught.value.code == Code.EMPTY_SOURCE
    assert lying_in(out) == set()


def test_an_empty_folder_may_be_an_unmounted_disk(out: Path, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()

    with pytest.raises(RefusedError) as caught:
        written(out / "a.tar.zst", lambda writer: writer.add(tmp_path / "mnt"))

    assert caught.value.code == Code.EMPTY_SOURCE


def test_what_may_be_empty_is_taken_at_its_word(out: Path, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()

    def fill(writer: TarSnapshotWriter) -> None:
        writer.add(tmp_path / "mnt", allow_empty=True)
        writer.write("a", b"", allow_empty=True)
        writer.command("b", ["true"], allow_empty=True)

    assert written(out / "a.tar.zst", fill).entries == 3
    assert subprocess.check_output(["tar", "--zstd", "-tf", out / "a.tar.zst"]) == b"mnt/\na\nb\n"


# Bad input


@pytest.mark.parametrize(
    "url",
    [
        "a.tar", "a.tar.gz", "a.zip", "a", ".tar.zst", "out/", "~/a.tar.zst", "a{b}.tar.zst", "a{.tar.zst",
        "a\0.tar.zst", "simplecache::s3://b/a.tar.zst", "file://a.tar.zst", "nosuch://x/a.tar.zst", "smb://host/x/a.tar.zst",
        "http://127.0.0.1:9/a.tar.zst", "", " a.tar.zst", None, 7, b"a.tar.zst",
    ],
    ids=repr,
)  # fmt: skip
def test_a_place_that_cannot_be_written_to_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError) as caught:
        written(url, lambda writer: writer.write("x", b"x"))

    assert caught.value.code == Code.BAD_URL
    assert caught.value.hint


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ConfigurationError, match="dropboxdrivefs"), TarSnapshotWriter("dropbox://folder/a.tar.zst"):
        pass


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", "a\0b", "\ud800", "a" * 256, 3]
)
def test_a_name_that_could_leave_its_place_is_refused(out: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        written(out / "a.tar.zst", lambda writer: writer.write(name, b"x"))


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a/b", "a"), ("a", "a/b"), ("a/b/c", "a/b")])
def test_a_name_is_given_once(out: Path, first: str, second: str) -> None:
    with pytest.raises(ConfigurationError, match="added before"):
        written(out / "a.tar.zst", lambda writer: writer.write(first, b"x"), lambda writer: writer.write(second, b"x"))


@pytest.mark.parametrize("stream", [io.StringIO("text"), "text", 7, None, ["a"]])
def test_what_gives_no_bytes_is_refused(out: Path, stream: io.BytesIO) -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        written(out / "a.tar.zst", lambda writer: writer.write("x", stream))


@pytest.mark.parametrize("level", [0, 20, -1, "3", True, 2.5])
def test_a_level_is_one_that_zstd_has(out: Path, level: int) -> None:
    with pytest.raises(ConfigurationError, match="level"):
        TarSnapshotWriter(out / "a.tar.zst", level=level)


def test_a_path_that_is_not_there_is_named(out: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        written(out / "a.tar.zst", lambda writer: writer.add("/srv/ordesr"))

    assert caught.value.code == Code.NO_SOURCE


def test_a_device_is_not_added_as_a_mere_name(out: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither a file nor a folder"):
        written(out / "a.tar.zst", lambda writer: writer.add("/dev/null"))


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        written(tmp_path / "mnt" / "a.tar.zst", lambda writer: writer.write("x", b"x"))

    assert caught.value.code == Code.STORE_MISSING
    assert not (tmp_path / "mnt").exists()


def test_a_writer_is_used_once_and_within_its_block(out: Path) -> None:
    writer = TarSnapshotWriter(out / "a.tar.zst")

    with pytest.raises(ConfigurationError, match="not open"):
        writer.write("x", b"x")
    with writer:
        writer.write("x", b"x")
    with pytest.raises(ConfigurationError, match="not open"):
        writer.write("y", b"y")
    with pytest.raises(ConfigurationError, match="one artefact"), writer:
        pass


def test_every_descriptor_is_given_back(source: Path, out: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))

    written(
        out / "a.tar.zst", lambda writer: writer.add(source), lambda writer: writer.write("x", io.BytesIO(b"x" * LARGE))
    )
    for fill in (lambda writer: writer.write("", b""), lambda writer: writer.add("/nowhere")):
        with pytest.raises(SafeBackupError):
            written(out / "b.tar.zst", fill)

    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_stays_bounded_whatever_is_written(out: Path) -> None:
    code = (
        "import sys; from safebackup.tarring import TarSnapshotWriter\n"
        "class Long:\n"
        "    left = 400\n"
        "    def read(self, size=-1):\n"
        "        self.left -= 1\n"
        "        return bytes(1 << 20) if self.left >= 0 else b''\n"
        "with TarSnapshotWriter(sys.argv[1]) as writer:\n"
        "    writer.write('long', Long())\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])\n"
    )

    peak_kib = int(subprocess.check_output([sys.executable, "-c", code, out / "a.tar.zst"]))

    assert peak_kib < 200 << 10


def test_memory_does_not_grow_with_the_number_of_files(out: Path, tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / "many" / str(folder)).mkdir(parents=True)
        for number in range(600):
            (tmp_path / "many" / str(folder) / str(number)).touch()
    code = (
        "import sys, tracemalloc; from safebackup.tarring import TarSnapshotWriter\n"
        "with TarSnapshotWriter(sys.argv[1]) as writer:\n"
        "    writer.add(sys.argv[2], name='first')\n"
        "    tracemalloc.start()\n"
        "    writer.add(sys.argv[2], name='second')\n"
        "    print(tracemalloc.get_traced_memory()[0])\n"
    )

    grown = int(subprocess.check_output([sys.executable, "-c", code, out / "a.tar.zst", tmp_path / "many"]))

    assert grown < 1_000_000  # an entry that is kept takes about a kilobyte


def test_it_loads_only_what_it_needs() -> None:
    code = (
        "import sys, safebackup.tarring\n"
        "print({'fsspec', 'pendulum', 'cryptography', 'blake3', 'msgspec', 'pyfastcdc'} & set(sys.modules))"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_python_reads_it_too(source: Path, out: Path) -> None:
    written(out / "a.tar.zst", lambda writer: writer.add(source))

    with zstandard.open(out / "a.tar.zst", "rb") as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        assert [member.name for member in tar] == ["orders", "orders/2026", "orders/2026/two.csv", "orders/one.csv"]
