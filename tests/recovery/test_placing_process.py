"""Small files that another process places: as if it were done here, and never quietly left out."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from safebackup import Repository, Snapshot, back_up, compare_trees, processes, restore
from safebackup.errors import Code, IntegrityError, StorageError
from safebackup.events import NoProgress
from safebackup.findings import Finding
from safebackup.format.manifest import Entry, EntryKind
from safebackup.processes import OtherProcess
from safebackup.recovery import restoring
from safebackup.recovery.placing import Overwrite, Owner, Shortfalls, open_target
from safebackup.recovery.placing_process import Piece, PlacingProcess

ME = Owner(os.getuid(), os.getgid())
MTIME = 1_700_000_000_123_456_789
MANY = 15_000


class Placing:
    """A process at work on a target, and what it told."""

    def __init__(self, path: Path, overwrite: Overwrite = Overwrite.REFUSE) -> None:
        self.path = path
        self._is_closed = False
        self.findings: list[Finding] = []
        self.placed: dict[bytes, bool] = {}
        self.target = open_target(os.fsencode(path), overwrite)
        process = PlacingProcess.start(
            self.target, overwrite=overwrite, devices=False, report=self.findings.append, placed=self._note
        )
        assert process is not None
        self.process = process

    def _note(self, entry: Entry, done: bool) -> None:
        self.placed[entry.path] = done

    def file(self, path: bytes, data: bytes, **facts: object) -> None:
        """Have one file placed, in a request of its own."""
        until = time.monotonic() + 30
        while not self.process.place(data, [piece(path, 0, len(data), **facts)]):
            assert time.monotonic() < until, "it never gets ready"
            time.sleep(0.01)

    def pid(self) -> int:
        """Of the process."""
        return self.process._process._process.pid

    def close(self) -> None:
        """Let go of everything."""
        self.process.close()
        if not self._is_closed:
            os.close(self.target.fd)
        self._is_closed = True


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def piece(path: bytes, start: int, size: int, **facts: object) -> Piece:
    given: dict[str, object] = {"mode": 0o640, "uid": ME.uid, "gid": ME.gid, "mtime": MTIME, **facts}
    return Entry(path=path, kind=EntryKind.FILE, size=size, **given), ME, start, size  # type: ignore[arg-type]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Placing]]:
    begun: list[Placing] = []

    def make(path: Path = tmp_path / "target", overwrite: Overwrite = Overwrite.REFUSE) -> Placing:
        begun.append(Placing(path, overwrite))
        return begun[-1]

    yield make
    for each in begun:
        each.close()


def test_files_of_one_frame_get_their_content_and_metadata(begin: Callable[..., Placing]) -> None:
    placing = begin()
    placing.file(b"first", b"1")
    data = b"onetwothree"

    assert placing.process.place(data, [piece(b"a", 0, 3), piece(b"empty", 3, 0), piece(b"b", 6, 5, mode=0o444)])
    placing.process.settle()

    found = {path.name: path.read_bytes() for path in placing.path.iterdir()}
    assert found == {"first": b"1", "a": b"one", "empty": b"", "b": b"three"}
    status = (placing.path / "b").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o444, MTIME)
    assert placing.placed == {b"first": True, b"a": True, b"empty": True, b"b": True}
    assert placing.findings == []


def test_many_requests_in_a_row_do_not_mix_their_data(begin: Callable[..., Placing]) -> None:
    placing = begin()
    contents = {b"%d" % number: hashlib.sha256(b"%d" % number).digest() * (number * 37 % 900) for number in range(300)}

    for name, data in contents.items():
        placing.file(name, data)
    placing.process.settle()

    assert {os.fsencode(path.name): path.read_bytes() for path in placing.path.iterdir()} == contents


def test_what_is_found_there_is_told_here(begin: Callable[..., Placing], tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").write_bytes(b"somebody's")
    placing = begin(overwrite=Overwrite.KEEP)

    placing.file(b"kept", b"ours")
    placing.file(b"new", b"ours")
    placing.process.settle()

    assert placing.placed == {b"kept": False, b"new": True}
    assert [(finding.code, finding.subject) for finding in placing.findings] == [(Code.PATH_KEPT, "kept")]
    assert (tmp_path / "target" / "kept").read_bytes() == b"somebody's"


def test_what_could_not_be_set_as_recorded_is_counted_with_the_rest(begin: Callable[..., Placing]) -> None:
    placing = begin()
    unknown = ((b"nosuchclass.name", b"value"),)
    placing.file(b"a", b"1", xattrs=unknown)
    placing.file(b"b", b"2", xattrs=unknown)
    placing.process.settle()
    shortfalls = Shortfalls()
    shortfalls.add(Code.METADATA_NOT_SET, "something else", "a cause", b"z")

    placing.process.finish(shortfalls)

    told = [finding.what for finding in shortfalls.findings()]
    assert len(told) == 2
    assert "on 2 paths" in told[1]


@pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")
def test_a_full_disk_stops_the_restore_with_the_error_that_it_has_here(
    begin: Callable[..., Placing], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small"):
        placing = begin(tmp_path / "small")
        with pytest.raises(StorageError) as caught:
            for number in range(20):
                placing.file(b"%d" % number, bytes(100_000))
        placing.close()  # or the disk is in use

        assert caught.value.code == Code.STORE_FULL
        assert all(len(path.read_bytes()) == 100_000 for path in (tmp_path / "small").iterdir())


def test_an_unsafe_path_is_refused_there_too(begin: Callable[..., Placing]) -> None:
    placing = begin()

    placing.file(b"../outside", b"evil")
    with pytest.raises(IntegrityError) as caught:
        placing.process.settle()

    assert caught.value.code == Code.UNSAFE_PATH
    assert not (placing.path.parent / "outside").exists()


def test_a_process_that_is_killed_is_an_error_here(begin: Callable[..., Placing]) -> None:
    placing = begin()
    placing.file(b"a", b"1")
    placing.process.settle()
    os.kill(placing.pid(), signal.SIGKILL)

    with pytest.raises(StorageError) as caught:
        for _ in range(3):
            placing.process.place(b"2", [piece(b"b", 0, 1)])
        placing.process.settle()

    assert caught.value.code == Code.PROCESS_LOST
    assert caught.value.retryable


def test_what_is_too_large_is_left_to_the_caller(begin: Callable[..., Placing]) -> None:
    placing = begin()
    placing.file(b"a", b"1")

    assert not placing.process.place(bytes(5 << 20), [piece(b"large", 0, 5 << 20)])
    assert not placing.process.place(b"x" * 100, [piece(b"n" * 200 + b"%d" % n, 0, 1) for n in range(20_000)])


@pytest.mark.parametrize("executable", ["", "/no/such/python", "/bin/true", "/bin/cat"])
def test_where_no_process_can_be_had_everything_is_done_here(
    tmp_path: Path, executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository.create(tmp_path / "repository", key=None)
    snapshot = snapshot_of(repository, tmp_path / "source", 300)
    monkeypatch.setattr(restoring, "FILES_FOR_PROCESSES", 10)
    monkeypatch.setattr(sys, "executable", executable)

    report = restore(snapshot, to=tmp_path / "target")

    assert report.complete
    assert compare_trees(tmp_path / "source", tmp_path / "target").same


# Whole restores


def snapshot_of(repository: Repository, source: Path, files: int) -> Snapshot:
    for number in range(files):
        path = source / f"{number // 500}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * (number % 50))
    return back_up(source, into=repository).snapshot


@pytest.fixture
def many(tmp_path: Path) -> Snapshot:
    return snapshot_of(Repository.create(tmp_path / "repository", key=None), tmp_path / "source", MANY)


def children() -> list[int]:
    """Processes of ours that place files."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(status.parent.name), int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"safebackup.processes" in command:
            found.append(pid)
    return found


@pytest.fixture
def ready_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work begins when the processes are ready: how long they take to get there is the machine's affair."""
    start = processes.start

    def start_and_wait(*given: Any, **named: Any) -> OtherProcess | None:
        process = start(*given, **named)
        assert process is not None
        until = time.monotonic() + 60
        while not process.is_usable:
            assert time.monotonic() < until, "it never gets ready"
            time.sleep(0.01)
        return process

    monkeypatch.setattr(processes, "start", start_and_wait)


class AtThird(NoProgress):
    """Does something once, when a third of the bytes is placed."""

    def __init__(self, total: int, do: Callable[[], None]) -> None:
        self._left = total // 3
        self._do = do
        self._lock = threading.Lock()

    def relative_update(self, inc: int = 1) -> None:
        with self._lock:
            was_left = self._left > 0
            self._left -= inc
            if was_left and self._left <= 0:
                self._do()


@pytest.mark.usefixtures("ready_at_once")
def test_a_restore_of_many_files_has_processes_place_them_and_they_are_gone_then(
    many: Snapshot, tmp_path: Path
) -> None:
    seen: list[int] = []

    report = restore(
        many,
        to=tmp_path / "target",
        workers=2,
        callback=AtThird(many.content_bytes, lambda: seen.extend(children())),
    )

    assert report.complete
    assert report.findings == ()
    assert compare_trees(tmp_path / "source", tmp_path / "target").same
    assert len(seen) == 2
    assert children() == []


def test_one_worker_does_everything_in_this_process(
    many: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(processes, "start", lambda *given, **named: started.append((given, named)))

    assert restore(many, to=tmp_path / "target", workers=1).complete
    assert started == []


@pytest.mark.usefixtures("ready_at_once")
def test_a_restore_whose_processes_are_killed_says_so_and_can_be_completed(many: Snapshot, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        killed.extend(children())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(StorageError) as caught:
        restore(many, to=tmp_path / "target", workers=2, callback=AtThird(many.content_bytes, kill))

    assert killed, "the files were placed here"
    assert caught.value.code == Code.PROCESS_LOST
    assert children() == []
    assert restore(many, to=tmp_path / "target", overwrite="keep").complete
    assert compare_trees(tmp_path / "source", tmp_path / "target").same


# Slow from the moment on that it says so: there is time to end it, however busy the machine is.
SCRIPT = """
import sys, time
from safebackup import Repository, restore

class Slow:
    def set_size(self, size): pass
    def relative_update(self, inc=1):
        print("placing", flush=True)
        time.sleep(1)

restore(Repository.open(sys.argv[1], key=None).snapshot(), to=sys.argv[2], workers=2, callback=Slow())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_a_restore_is_ended_no_process_stays(many: Snapshot, tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "a path to know them by"
    mark.mkdir()
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path / "repository", tmp_path / "target"],
        env={**os.environ, "PYTHONPATH": f"{mark}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with script, script.stdout or pytest.fail("no pipe") as told:
        try:
            assert told.readline() == b"placing\n"
            assert with_mark(mark)
            if number == signal.SIGINT:
                os.killpg(script.pid, number)  # as a terminal does
            else:
                os.kill(script.pid, number)
            assert script.wait(timeout=60) != 0
        finally:
            script.kill()

    until = time.monotonic() + 60
    while with_mark(mark):
        assert time.monotonic() < until
        time.sleep(0.05)


BESIDE = """
import os, sys
from safebackup import Repository, restore
for fd in map(int, sys.argv[3:]):
    os.close(fd)
snapshot = Repository.open(sys.argv[1], key=None).snapshot()
os._exit(0 if restore(snapshot, to=sys.argv[2], workers=2).complete else 1)
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_a_script_whose_standard_descriptors_are_closed_restores_everything(
    many: Snapshot, tmp_path: Path, closed: str
) -> None:
    places = [str(tmp_path / "repository"), str(tmp_path / "target")]
    command = [sys.executable, "-c", BESIDE, *places, *closed.split()]

    assert subprocess.run(command, check=False).returncode == 0

    assert compare_trees(tmp_path / "source", tmp_path / "target").same


@pytest.mark.parametrize("module", ["json", "safebackup"])
def test_nothing_is_imported_from_the_folder_that_somebody_happens_to_be_in(
    many: Snapshot, tmp_path: Path, module: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{module}.py").write_text("open('imported', 'w')\n")
    script = tmp_path / "script.py"
    script.write_text(BESIDE)

    done = subprocess.run(
        [sys.executable, script, tmp_path / "repository", tmp_path / "target"], cwd=folder, check=False
    )

    assert done.returncode == 0
    assert [path.name for path in folder.iterdir()] == [f"{module}.py"]


def test_a_process_that_was_forked_meanwhile_keeps_nobody_waiting_nor_alive(
    begin: Callable[..., Placing], tmp_path: Path
) -> None:
    placing = begin()
    placing.file(b"a", b"1")
    reading, writing = os.pipe()
    forked = os.fork()
    if not forked:  # holds a copy of everything until it is told to end
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)

    placing.close()

    assert children() == []
    os.close(writing)
    assert os.waitpid(forked, 0)[1] == 0


def test_a_forked_process_does_not_hold_the_pipe(begin: Callable[..., Placing]) -> None:
    placing = begin()
    pipe = placing.process._process._pipe.fileno()

    forked = os.fork()
    if not forked:
        try:
            os.fstat(pipe)
        except OSError:
            os._exit(0)
        os._exit(1)

    assert os.waitpid(forked, 0)[1] == 0
    placing.file(b"a", b"1")


def with_mark(mark: Path) -> list[str]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"safebackup.processes" in (told := command.read_bytes()) and os.fsencode(mark) in told:
                found.append(command.parent.name)
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESRCH)
    return found
