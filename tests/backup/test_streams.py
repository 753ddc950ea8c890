"""Streams and commands as sources, and snapshots that are put together piece by piece."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safebackup import Repository, SafeBackupError, Snapshot, SnapshotWriter, Source, back_up, restore, verify
from safebackup.errors import Code, CommandError, ConfigurationError, RefusedError, StorageError
from safebackup.events import Event, FindingRaised
from safebackup.findings import Severity


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository", key=None)


def restored(snapshot: Snapshot, folder: Path) -> dict[str, bytes]:
    restore(snapshot, to=folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def journal_outcomes(repository: Repository) -> list[str]:
    return [body.outcome for body in repository.history().journal.values()]


# Streams


@pytest.mark.parametrize("size", [1, 4096, (1 << 20) + 7, (9 << 20) + 1, 24 << 20])
def test_a_stream_comes_back_byte_for_byte(repository: Repository, tmp_path: Path, size: int) -> None:
    content = hashlib.shake_128(b"content").digest(size)

    report = back_up(Source.stream("dump.sql", io.BytesIO(content)), into=repository)

    assert report.complete
    assert (report.read_bytes, report.files_new, report.snapshot.source) == (size, 1, "dump.sql")
    assert restored(report.snapshot, tmp_path / "copy") == {"dump.sql": content}
    assert (tmp_path / "copy" / "dump.sql").stat().st_mode & 0o777 == 0o600
    assert verify(repository).passed


def test_a_stream_that_gives_a_little_at_a_time_is_read_to_its_end(repository: Repository, tmp_path: Path) -> None:
    class Dripping:
        def __init__(self) -> None:
            self.rest = b"abc" * 1000

        def read(self, size: int = -1) -> bytes:
            piece, self.rest = self.rest[:7], self.rest[7:]
            return piece

    report = back_up(Source.stream("drops", Dripping()), into=repository)

    assert restored(report.snapshot, tmp_path / "copy") == {"drops": b"abc" * 1000}


def test_the_same_stream_again_stores_next_to_nothing(repository: Repository) -> None:
    content = os.urandom(8 << 20)
    back_up(Source.stream("dump", io.BytesIO(content)), into=repository)

    second = back_up(Source.stream("dump", io.BytesIO(content)), into=repository)

    assert second.stored_bytes < 100_000
    assert second.snapshot.body.parents


def test_a_stream_and_a_file_share_their_chunks(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(os.urandom(8 << 20))
    back_up(tmp_path / "dump", into=repository)

    with (tmp_path / "dump").open("rb") as stream:
        report = back_up(Source.stream("dump", stream), into=repository)

    assert report.stored_bytes < 100_000


def test_an_empty_stream_is_a_dump_that_failed(repository: Repository) -> None:
    with pytest.raises(RefusedError) as caught:
        back_up(Source.stream("dump.sql", io.BytesIO(b"")), into=repository)

    assert caught.value.code is Code.EMPTY_SOURCE
    assert not repository.snapshots()
    assert back_up(Source.stream("dump.sql", io.BytesIO(b""), allow_empty=True), into=repository).complete


def test_a_stream_that_breaks_publishes_nothing(repository: Repository) -> None:
    class Broken(io.RawIOBase):
        pieces = 3

        def readinto(self, view: memoryview) -> int:  # type: ignore[override]
            self.pieces -= 1
            if self.pieces < 0:
                raise ConnectionResetError(104, "Connection reset by peer")
            view[:3] = b"abc"
            return 3

    with pytest.raises(StorageError, match="could not be read to its end"):
        back_up(Source.stream("dump", Broken()), into=repository)

    assert not repository.snapshots()
    assert journal_outcomes(repository) == ["failed: store-failed"]


@pytest.mark.parametrize("thing", [io.StringIO("text"), "path", None, 7])
def test_what_gives_no_bytes_is_refused_when_the_source_is_made(thing: object) -> None:
    with pytest.raises(ConfigurationError, match=r"stream"):
        Source.stream("dump", thing)  # type: ignore[arg-type]


def test_a_stream_without_bytes_yet_is_refused_and_not_taken_for_its_end(repository: Repository) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with (
        open(reading, "rb", buffering=0) as stream,
        open(writing, "wb"),
        pytest.raises(SafeBackupError, match="blocking"),
    ):
        back_up(Source.stream("pipe", stream), into=repository)

    assert not repository.snapshots()


@pytest.mark.parametrize("name", ["", "/etc/dump", "../dump", "a//b", "a/./b", "dump/", "x" * 256, "nul\0", 7])
def test_a_name_that_is_no_plain_path_is_refused(repository: Repository, name: str) -> None:
    with pytest.raises(ConfigurationError):
        back_up(Source.stream(name, io.BytesIO(b"x")), into=repository)

    assert not repository.snapshots()


def test_progress_counts_every_byte_of_a_stream_while_it_is_read(repository: Repository) -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def set_size(self, size: int) -> None:
            pass

        def relative_update(self, inc: int = 1) -> None:
            self.seen.append(inc)

    counting = Counting()
    back_up(Source.stream("dump", io.BytesIO(os.urandom(20 << 20))), into=repository, callback=counting)

    assert sum(counting.seen) == 20 << 20
    assert len(counting.seen) > 2


# Commands


def test_what_a_command_writes_is_stored_and_its_complaints_are_not(repository: Repository, tmp_path: Path) -> None:
    script = "import sys; sys.stderr.write('warning: slow'); sys.stdout.write('rows')"

    report = back_up(Source.command([sys.executable, "-c", script], name="dump.sql"), into=repository)

    assert restored(report.snapshot, tmp_path / "copy") == {"dump.sql": b"rows"}


def test_what_a_program_said_that_succeeded_is_in_the_report_and_not_in_the_repository(
    repository: Repository,
) -> None:
    events = list[Event]()
    script = "for i in 1 2 3 4; do echo table t$i skipped >&2; done; echo data"

    report = back_up(
        Source.command(["sh", "-c", script], ["cat"], name="dump"), into=repository, observer=events.append
    )

    (finding,) = report.findings
    assert report.complete and report.findings_total == 1
    assert (finding.code, finding.severity, finding.subject) == (Code.COMMAND_SAID, Severity.WARNING, "dump")
    assert finding.what == "sh ended with status 0, and said: table t2 skipped / table t3 skipped / table t4 skipped"
    assert finding.action
    assert [event.finding for event in events if isinstance(event, FindingRaised)] == [finding]
    # What a program says may be data, and who may read the headers of snapshots may not read data.
    history = repository.history()
    records = [*history.snapshots.values(), *history.journal.values()]
    assert "skipped" not in repr(records)


def test_what_each_program_of_each_part_said_is_told(repository: Repository) -> None:
    with SnapshotWriter(repository, source="shop") as writer:
        writer.command("a", ["sh", "-c", "echo one >&2; echo 1"], ["sh", "-c", "echo two >&2; cat"])
        writer.command("b", ["echo", "2"])

    assert writer.report is not None
    assert [(finding.subject, finding.what) for finding in writer.report.findings] == [
        ("a", "sh ended with status 0, and said: one"),
        ("a", "sh ended with status 0, and said: two"),
    ]


def test_a_command_without_a_name_is_called_after_its_program(repository: Repository) -> None:
    report = back_up(Source.command(["/bin/echo", "hello"]), into=repository)

    assert [entry.path for entry in report.snapshot.walk()] == [b"echo"]
    assert report.snapshot.source == "echo"


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param([["sh", "-c", "echo half; exit 3"]], id="alone"),
        pytest.param([["sh", "-c", "echo half; exit 3"], ["cat"]], id="first"),
        pytest.param([["echo", "x"], ["sh", "-c", "cat; exit 3"], ["cat"]], id="middle"),
        pytest.param([["echo", "x"], ["sh", "-c", "cat; exit 3"]], id="last"),
    ],
)
def test_every_member_of_a_pipeline_must_succeed(repository: Repository, commands: list[list[str]]) -> None:
    with pytest.raises(CommandError, match="3") as caught:
        back_up(Source.command(*commands, name="dump"), into=repository)

    assert caught.value.code is Code.COMMAND_FAILED
    assert not repository.snapshots()
    assert journal_outcomes(repository) == ["failed: command-failed"]


def test_a_list_of_commands_is_a_pipeline_too(repository: Repository, tmp_path: Path) -> None:
    report = back_up(Source.command([["printf", "b\na\n"], ["sort"]], name="sorted"), into=repository)

    assert restored(report.snapshot, tmp_path / "copy") == {"sorted": b"a\nb\n"}


def test_a_failed_dump_in_front_of_gzip_is_noticed(repository: Repository) -> None:
    # gzip makes 20 bytes of nothing and ends with 0: a shell without pipefail calls that a success.
    with pytest.raises(CommandError):
        back_up(Source.command(["false"], ["gzip"], name="dump.sql.gz"), into=repository)


def test_a_command_that_gives_nothing_is_refused(repository: Repository) -> None:
    with pytest.raises(RefusedError) as caught:
        back_up(Source.command(["true"], name="dump"), into=repository)

    assert caught.value.code is Code.EMPTY_SOURCE
    assert not repository.snapshots()


def test_a_program_that_is_not_there_is_named(repository: Repository) -> None:
    with pytest.raises(CommandError, match="no-such-program") as caught:
        back_up(Source.command(["no-such-program"]), into=repository)

    assert caught.value.code is Code.COMMAND_NOT_FOUND


def test_a_deadline_ends_the_command_and_what_it_started(repository: Repository, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = ["sh", "-c", f"echo data; sleep 300 & echo $! > {pid}; wait"]
    began = time.monotonic()

    with pytest.raises(CommandError) as caught:
        back_up(Source.command(command, name="dump", deadline=1), into=repository)

    assert caught.value.code is Code.COMMAND_DEADLINE
    assert time.monotonic() - began < 30
    assert not repository.snapshots()
    assert is_gone(int(pid.read_text()))


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("mistake", ["pg_dump orders", [], [[]], ["pg_dump", 7], None])
def test_what_is_no_command_is_refused_when_the_source_is_made(mistake: object) -> None:
    with pytest.raises(ConfigurationError, match="command"):
        Source.command(mistake)  # type: ignore[arg-type]


# Pieces


def test_a_snapshot_of_pieces_holds_all_of_them(repository: Repository, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "conf.d" / "a.conf").write_text("a=1\n")
    (etc / "link").symlink_to("conf.d/a.conf")
    (tmp_path / "one.txt").write_text("one")

    with SnapshotWriter(repository, source="orders") as writer:
        writer.write("zz.txt", b"last name first")
        writer.add(etc)
        writer.add(tmp_path / "one.txt", name="files/first/one.txt")
        writer.command("db/orders.sql", ["echo", "rows"])
        writer.write("db/facts", io.BytesIO(b"17"))

    assert writer.report is not None and writer.report.complete
    snapshot = repository.snapshot(source="orders")
    assert restored(snapshot, tmp_path / "copy") == {
        "db/facts": b"17",
        "db/orders.sql": b"rows\n",
        "etc/conf.d/a.conf": b"a=1\n",
        "etc/link": b"a=1\n",
        "files/first/one.txt": b"one",
        "zz.txt": b"last name first",
    }
    assert os.readlink(tmp_path / "copy" / "etc" / "link") == "conf.d/a.conf"
    assert (snapshot.entries, snapshot.files) == (len(list(snapshot.walk())), 5)
    assert verify(repository).passed


def test_an_empty_folder_is_added_where_the_caller_says_that_it_may_be_empty(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "uploads").mkdir()

    with pytest.raises(RefusedError) as caught, SnapshotWriter(repository, source="orders") as writer:
        writer.add(tmp_path / "uploads")
    assert caught.value.code is Code.EMPTY_SOURCE

    with SnapshotWriter(repository, source="orders") as writer:
        writer.add(tmp_path / "uploads", allow_empty=True)
        writer.add(Source(tmp_path / "uploads", name="rules"), name="by-rules", allow_empty=True)
        writer.add(Source(tmp_path / "uploads", allow_empty=True), name="by-source")
    assert [entry.path for entry in repository.snapshot().walk()] == [b"by-rules", b"by-source", b"uploads"]


def test_rules_may_leave_no_file_where_the_caller_says_so(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "a.log").write_text("a")

    with SnapshotWriter(repository, source="orders") as writer:
        writer.add(Source(tmp_path / "orders", exclude=["*.log"]), allow_empty=True)

    assert [entry.path for entry in repository.snapshot().walk()] == [b"orders"]


def test_what_was_added_may_be_removed_before_the_end(repository: Repository, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(os.urandom(12 << 20))
    content = dump.read_bytes()

    with SnapshotWriter(repository, source="orders") as writer:
        writer.add(dump)
        dump.unlink()
    assert restored(repository.snapshot(), tmp_path / "copy") == {"dump": content}


def test_an_exception_in_the_block_publishes_nothing(repository: Repository) -> None:
    with pytest.raises(ZeroDivisionError), SnapshotWriter(repository, source="orders") as writer:
        writer.write("a", b"a")
        1 / 0  # noqa: B018

    assert writer.report is None
    assert not repository.snapshots()


def test_whoever_swallows_the_error_of_a_part_gets_no_snapshot(repository: Repository) -> None:
    with pytest.raises(RefusedError, match="a part of it had failed"), SnapshotWriter(repository, source="s") as writer:
        writer.write("a", b"a")
        with contextlib.suppress(CommandError):
            writer.command("b", ["false"])

    assert not repository.snapshots()


def test_a_writer_that_was_given_nothing_is_refused(repository: Repository) -> None:
    with pytest.raises(RefusedError) as caught, SnapshotWriter(repository, source="orders"):
        pass

    assert caught.value.code is Code.EMPTY_SOURCE


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_name_is_given_once(repository: Repository, first: str, second: str) -> None:
    with (
        pytest.raises(ConfigurationError, match="is taken"),
        SnapshotWriter(repository, source="orders") as writer,
    ):
        writer.write(first, b"1")
        writer.write(second, b"2")

    assert not repository.snapshots()


def spoil_with_a_taken_name(writer: SnapshotWriter) -> None:
    writer.write("a", b"again")


def spoil_with_a_path_that_is_not_there(writer: SnapshotWriter) -> None:
    writer.add("/no/such/disk")


def spoil_with_no_command(writer: SnapshotWriter) -> None:
    writer.command("c", "pg_dump orders")


def spoil_with_a_bad_name(writer: SnapshotWriter) -> None:
    writer.write("../c", b"c")


@pytest.mark.parametrize(
    "spoil",
    [spoil_with_a_taken_name, spoil_with_a_path_that_is_not_there, spoil_with_no_command, spoil_with_a_bad_name],
)
def test_no_part_that_failed_is_silently_left_out(
    repository: Repository, spoil: Callable[[SnapshotWriter], None]
) -> None:
    with pytest.raises(RefusedError, match="a part of it had failed"), SnapshotWriter(repository, source="s") as writer:
        writer.write("a", b"a")
        with contextlib.suppress(SafeBackupError):
            spoil(writer)

    assert not repository.snapshots()


def test_rules_that_leave_no_file_are_refused_for_a_part_too(repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "orders.sql").write_text("rows")

    with pytest.raises(RefusedError) as caught, SnapshotWriter(repository, source="orders") as writer:
        writer.write("a", b"a")
        writer.add(Source(folder, exclude=["*"], include=["*.sqll"]))

    assert caught.value.code is Code.EMPTY_SOURCE


def test_parts_at_the_same_time_are_refused_and_never_mixed(repository: Repository) -> None:
    class Calling(io.BytesIO):
        def readinto(self, view: object) -> int:
            with contextlib.suppress(ConfigurationError):
                writer.write("other", b"other" * 1000)
            return super().readinto(view)  # type: ignore[arg-type]

    with (
        pytest.raises(RefusedError, match="another one was being read"),
        SnapshotWriter(repository, source="s") as writer,
    ):
        writer.write("main", Calling(b"main" * 1000))

    assert not repository.snapshots()


def test_threads_that_share_a_writer_are_told(repository: Repository) -> None:
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            writer.write(f"part{number}", io.BytesIO(os.urandom(16 << 20)))
        except ConfigurationError as error:
            errors.append(error)

    with pytest.raises(RefusedError), SnapshotWriter(repository, source="s") as writer:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert errors
    assert not repository.snapshots()


def test_a_writer_that_failed_is_not_used_again(repository: Repository) -> None:
    writer = SnapshotWriter(repository, source="s")
    with pytest.raises(ZeroDivisionError), writer:
        1 / 0  # noqa: B018

    with pytest.raises(ConfigurationError, match="one snapshot"), writer:
        pass


def test_six_thousand_parts_cost_what_they_hold(repository: Repository) -> None:
    with SnapshotWriter(repository, source="s") as writer:
        for number in range(6000):
            writer.write(f"{number % 7}/part{number}", b"%d" % number)

    assert repository.snapshot().files == 6000


def test_a_writer_outside_of_with_is_refused(repository: Repository) -> None:
    writer = SnapshotWriter(repository, source="orders")

    with pytest.raises(ConfigurationError, match="not open"):
        writer.write("a", b"a")
    with writer:
        writer.write("a", b"a")
    with pytest.raises(ConfigurationError, match="not open"):
        writer.write("b", b"b")
    with pytest.raises(ConfigurationError, match="one snapshot"), writer:
        pass


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become somebody who may not read")
def test_what_cannot_be_read_makes_the_snapshot_incomplete(open_folder: Path) -> None:
    folder = open_folder / "folder"
    folder.mkdir()
    (folder / "open").write_text("open")
    (folder / "secret").write_text("secret")
    (folder / "secret").chmod(0)
    repository = Repository.create("memory://incomplete-pieces", key=None)

    os.seteuid(65534)
    try:
        with SnapshotWriter(repository, source="orders") as writer:
            writer.add(folder)
    finally:
        os.seteuid(0)

    assert writer.report is not None
    assert not writer.report.complete
    assert [str(finding.code) for finding in writer.report.findings] == ["path-unreadable"]


def test_rules_hold_for_a_source_that_is_added(repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "keep.txt").write_text("keep")
    (folder / "drop.tmp").write_text("drop")

    with SnapshotWriter(repository, source="orders") as writer:
        writer.add(Source(folder, exclude=["*.tmp"]))

    assert restored(repository.snapshot(), tmp_path / "copy") == {"folder/keep.txt": b"keep"}
    assert writer.report is not None
    assert writer.report.excluded == {"exclude: *.tmp": 1}


def test_a_repository_is_not_added_to_itself(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught, SnapshotWriter(repository, source="orders") as writer:
        writer.add(tmp_path)

    assert caught.value.code is Code.REPOSITORY_IN_SOURCE


KILLED = """
import sys, time
from safebackup import Repository, SnapshotWriter
with SnapshotWriter(Repository.open(sys.argv[1], key=None), source="orders") as writer:
    writer.write("a", b"a" * 1000)
    print("there", flush=True)
    time.sleep(300)
"""


def test_a_killed_writer_publishes_nothing_and_the_next_one_succeeds(repository: Repository, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "repository")], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    process.kill()
    process.wait()
    process.stdout.close()

    assert not repository.snapshots()
    with SnapshotWriter(repository, source="orders") as writer:
        writer.write("a", b"a")
    assert verify(repository).passed


names = st.text("ab.-é", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=3000), min_size=1))
def test_any_pieces_in_any_order_come_back(tmp_path_factory: pytest.TempPathFactory, pieces: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    repository = Repository.create(folder / "repository", key=None)
    fitting = dict(not_within(pieces))

    with SnapshotWriter(repository, source="pieces") as writer:
        for name, content in fitting.items():
            writer.write(name, content, allow_empty=True)

    assert restored(repository.snapshot(), folder / "copy") == fitting
    paths = [entry.path for entry in repository.snapshot().walk()]
    assert paths == sorted(set(paths), key=lambda path: path.split(b"/"))


def not_within(pieces: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    taken: list[str] = []
    for name, content in pieces.items():
        if not any(name.startswith(one + "/") or one.startswith(name + "/") for one in taken):
            taken.append(name)
            yield name, content


# What a program may see


def test_a_command_does_not_see_what_opens_the_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEBACKUP_PASSPHRASE", "correct horse")
    monkeypatch.setenv("SAFEBACKUP_KEY_FILE", "/root/key")
    monkeypatch.setenv("PGDATABASE", "orders")

    report = back_up(Source.command(["env"]), into=repository)

    told = restored(report.snapshot, tmp_path / "copy")["env"]
    assert b"PGDATABASE=orders" in told
    assert b"SAFEBACKUP_" not in told
