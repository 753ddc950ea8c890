"""LocalStore: the contract, and what disks, processes and operators do to it."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, LocalStore, ObjectInfo
from safebackup.storage.local import publish_linked, publish_renamed
from tests.storage.contract import HOSTILE, MIB, StoreContract, outcome_of_put

NOBODY = 65534


class LinkedStore(LocalStore):
    """As on a file system without unnamed files."""

    ways = (publish_linked, publish_renamed)


class RenamedStore(LocalStore):
    """As on a file system without hard links."""

    ways = (publish_renamed,)


KINDS = [LocalStore, LinkedStore, RenamedStore]
EXCLUSIVE_KINDS = [LocalStore, LinkedStore]
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: type[LocalStore], root: Path) -> LocalStore:
    store = kind(root)
    store.create_root()
    return store


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def every_verb(store: DeleteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("packs/one"),
        lambda: store.list("packs/"),
        lambda: store.list(""),
        lambda: store.delete("packs/one"),
        lambda: store.put_new("packs/two", b"2"),
    ]


# The contract


@pytest.mark.portable
class TestLocalStore(StoreContract):
    kind: type[LocalStore] = LocalStore

    @pytest.fixture
    def store(self, tmp_path: Path) -> DeleteStore:
        return made(self.kind, tmp_path / "store")

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> DeleteStore:
        return self.kind(tmp_path / "nothing")


class TestLinkedStore(TestLocalStore):
    kind = LinkedStore


class TestRenamedStore(TestLocalStore):
    kind = RenamedStore

    @pytest.mark.skip(reason="without hard links a race for one name cannot be decided; the module says so")
    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None: ...


# Files and folders


def test_an_object_is_a_file_of_its_name_that_only_its_owner_reads(tmp_path: Path) -> None:
    made(LocalStore, tmp_path / "store").put_new("packs/ab/one", HOSTILE)

    path = tmp_path / "store" / "packs" / "ab" / "one"
    assert path.read_bytes() == HOSTILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@every_kind
def test_nothing_but_the_object_remains_after_storing(tmp_path: Path, kind: type[LocalStore]) -> None:
    store = made(kind, tmp_path)

    store.put_new("packs/one", b"1")
    with pytest.raises(ConflictError):
        store.put_new("packs/one", b"2")

    assert files_below(tmp_path) == ["packs/one"]


def test_files_without_an_object_name_are_never_listed(tmp_path: Path) -> None:
    store = made(LocalStore, tmp_path)
    store.put_new("packs/one", b"1")
    for stranger in ("lost+found/x", "tmp/ab.tmp", "Packs/one", "packs/.hidden", "packs/one.", "packs/b/c/d/e"):
        (tmp_path / stranger).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stranger).write_bytes(b"stranger")
    os.mkfifo(tmp_path / "packs" / "pipe")

    assert store.list("") == [ObjectInfo("packs/one", 1)]


def test_a_fifo_in_the_place_of_an_object_does_not_hang_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one")

    with pytest.raises(StorageError):
        LocalStore(tmp_path).get("one")


def test_a_folder_where_an_object_should_go_is_a_failure_not_a_success(tmp_path: Path) -> None:
    store = made(LocalStore, tmp_path)
    store.put_new("packs/one", b"1")

    with pytest.raises(StorageError):
        store.put_new("packs", b"1")
    with pytest.raises(StorageError):
        store.put_new("packs/one/below", b"1")

    assert store.list("") == [ObjectInfo("packs/one", 1)]


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    store = made(LocalStore, tmp_path)
    store.put_new("packs/ab/one", b"1")
    shutil.rmtree(tmp_path / "packs")

    store.put_new("packs/ab/one", b"2")

    assert store.get("packs/ab/one") == b"2"


def test_a_pickled_store_is_its_path_alone(tmp_path: Path) -> None:
    store = made(LinkedStore, tmp_path)
    store.put_new("a", b"1")

    again = pickle.loads(pickle.dumps(store))

    assert type(again) is LinkedStore
    assert again.get("a") == b"1"
    assert len(pickle.dumps(store)) < 200 + len(str(tmp_path))


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_parent_and_child_both_go_on_after_a_fork(tmp_path: Path) -> None:
    store = made(LocalStore, tmp_path)
    store.put_new("before", b"1")

    child = os.fork()
    if child == 0:
        try:
            store.put_new("packs/child", store.get("before"))
            os._exit(0)
        finally:
            os._exit(1)
    store.put_new("packs/parent", b"2")
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert [info.name for info in store.list("")] == ["before", "packs/child", "packs/parent"]


# S2 and S7 between processes


_start: Barrier


def _join_race(start: Barrier) -> None:
    global _start  # noqa: PLW0603  (this is how a pool gives its processes what cannot be pickled)
    _start = start


def _race(store: LocalStore, racer: int, rounds: int) -> list[str]:
    outcomes = []
    for number in range(rounds):
        _start.wait(timeout=60)
        outcomes.append(outcome_of_put(store, f"race/{number}", bytes([racer]) * (MIB // 4)))
    return outcomes


@pytest.mark.parametrize("kind", EXCLUSIVE_KINDS)
def test_s2_of_processes_that_race_for_a_name_exactly_one_wins(tmp_path: Path, kind: type[LocalStore]) -> None:
    racers, rounds = 4, 25
    store = made(kind, tmp_path)
    processes = multiprocessing.get_context("spawn")
    start = processes.Barrier(racers)

    with processes.Pool(racers, _join_race, (start,)) as pool:
        racing = pool.starmap_async(_race, [(store, racer, rounds) for racer in range(racers)], chunksize=1)
        while not racing.ready():
            for info in store.list("race/"):
                data = store.get(info.name)
                assert info.size_bytes == len(data) == MIB // 4
                assert len(set(data)) == 1
        outcomes = racing.get()

    for number in range(rounds):
        (winner,) = [racer for racer in range(racers) if outcomes[racer][number] == "stored"]
        assert store.get(f"race/{number}") == bytes([winner]) * (MIB // 4)


@every_kind
def test_s7_a_writer_killed_at_any_moment_leaves_whole_objects_alone(tmp_path: Path, kind: type[LocalStore]) -> None:
    store = made(kind, tmp_path)
    size = 8 * MIB
    code = f"""if True:
        import itertools, os, pickle
        store, data = pickle.loads({pickle.dumps(store)!r}), os.urandom(1) * {size}
        print("writing", flush=True)
        for number in itertools.count():
            store.put_new(f"packs/{{os.getpid()}}-{{number}}", data)
        """
    for delay in (0.0, 0.003, 0.01, 0.02, 0.035):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.kill()

    for info in store.list("packs/"):
        assert info.size_bytes == size
        assert len(set(store.get(info.name))) == 1
    store.put_new("packs/next", b"1")
    assert store.get("packs/next") == b"1"


# System calls, seen and made to fail by strace


def traced(root: Path, kind: type[LocalStore], code: str, *options: str) -> tuple[list[str], int]:
    """The system calls of a new process that runs `code` on a `store` of the kind at `root`, and its exit status."""
    if not _can_trace():
        pytest.skip("strace is not installed, or may not trace here")
    script = (
        "from safebackup.storage import local\n"
        f"local.LocalStore.ways = ({', '.join(f'local.{way.__name__}' for way in kind.ways)},)\n"
        f"store = local.LocalStore({str(root)!r})\n{code}"
    )
    calls = "trace=mkdir,mkdirat,openat,write,fsync,link,linkat,rename,renameat,renameat2,unlink,unlinkat"
    with tempfile.NamedTemporaryFile("r", errors="replace") as log:
        command = ["strace", "-y", "-o", log.name, "-e", calls, *options, sys.executable, "-c", script]
        child = subprocess.run(command, capture_output=True, check=False)
        # What belongs to the test and not to the start of Python.
        return [line for line in log if str(root.parent.parent) in line], child.returncode


@functools.cache
def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def position(calls: list[str], pattern: str, after: int = -1) -> int:
    for number, line in enumerate(calls):
        if number > after and re.search(pattern, line):
            return number
    raise AssertionError(f"no {pattern} after call {after} in:\n" + "\n".join(calls))


@every_kind
def test_s1_everything_is_synced_in_the_order_that_survives_a_power_cut(tmp_path: Path, kind: type[LocalStore]) -> None:
    root = tmp_path / "store"
    root.mkdir()

    calls, status = traced(root, kind, "store.put_new('packs/ab/one', bytes(300_000))")

    assert status == 0
    at = re.escape(str(root))
    written = max(number for number, line in enumerate(calls) if re.match(r"write\(", line))
    file_synced = position(calls, r"^fsync\(\d+<[^>]*(/#\d+|\.tmp)", after=written)
    published = position(calls, r'^(link|linkat|rename|renameat|renameat2)\(.*one"', after=file_synced)
    position(calls, rf"^fsync\(\d+<{at}/packs/ab>", after=published)
    for parent, name in (("", "/packs"), ("/packs", "/packs/ab")):
        folder_made = position(calls, rf'^mkdir(at)?\(.*"{at}{name}"')
        assert position(calls, rf"^fsync\(\d+<{at}{parent}>", after=folder_made) < published


def test_s1_folders_and_objects_that_somebody_else_made_are_synced_too(tmp_path: Path) -> None:
    root = tmp_path / "store"
    (root / "packs").mkdir(parents=True)
    (root / "packs" / "one").write_bytes(b"1")

    calls, status = traced(root, LocalStore, "store.put_new('packs/one', b'1')")

    assert status == 0
    at = re.escape(str(root))
    position(calls, rf"^fsync\(\d+<{at}>")
    file_synced = position(calls, rf"^fsync\(\d+<{at}/packs/one>")
    position(calls, rf"^fsync\(\d+<{at}/packs>", after=file_synced)


def test_s1_a_new_root_and_a_deletion_are_synced(tmp_path: Path) -> None:
    root = tmp_path / "hosts" / "store"
    code = "store.create_root(); store.put_new('a', b''); store.delete('a')"

    calls, status = traced(root, LocalStore, code)

    assert status == 0
    at = re.escape(str(root))
    for folder in (root.parent, root):
        folder_made = position(calls, rf'^mkdir(at)?\(.*"{re.escape(str(folder))}"')
        position(calls, rf"^fsync\(\d+<{re.escape(str(folder.parent))}>", after=folder_made)
    deleted = position(calls, r"^unlink(at)?\(")
    position(calls, rf"^fsync\(\d+<{at}>", after=deleted)


@every_kind
@pytest.mark.parametrize("moment", ["fsync:when=2", "fsync:when=3", "link,linkat,rename,renameat,renameat2"])
def test_s7_a_writer_killed_before_the_name_is_given_leaves_nothing_visible(
    tmp_path: Path, kind: type[LocalStore], moment: str
) -> None:
    root = tmp_path / "store"
    root.mkdir()
    calls, _, when = moment.partition(":")
    kill = f"inject={calls}:error=EIO:signal=SIGKILL" + (f":{when}" if when else "")

    _, status = traced(root, kind, "store.put_new('packs/ab/one', b'1' * 300_000)", "-e", kill)

    assert status in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert LocalStore(root).list("") == []
    kind(root).put_new("packs/ab/one", b"another")
    assert LocalStore(root).get("packs/ab/one") == b"another"


@pytest.mark.parametrize(
    ("refused", "way"),
    [
        ("linkat:error=ENOENT:when=1", "linked"),
        ("linkat:error=EOPNOTSUPP:when=1", "linked"),
        ("linkat,link:error=EPERM", "renamed"),
        ("linkat,link:error=EOPNOTSUPP", "renamed"),
    ],
    ids=repr,
)
def test_a_file_system_that_cannot_link_is_served_by_the_next_best_way(tmp_path: Path, refused: str, way: str) -> None:
    root = tmp_path / "store"
    root.mkdir()
    code = "store.put_new('packs/one', b'1'); store.put_new('packs/two', b'2')"

    calls, status = traced(root, LocalStore, code, "-e", f"inject={refused}")

    assert status == 0
    assert files_below(root) == ["packs/one", "packs/two"]
    assert any(re.match("rename", line) for line in calls) == (way == "renamed")
    # What did not work once is not tried again.
    assert sum("O_TMPFILE" in line for line in calls) == 1


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("call", ["write", "fsync"])
@every_kind
def test_s7_a_disk_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, kind: type[LocalStore], call: str, error: str
) -> None:
    root = tmp_path / "store"
    (root / "packs").mkdir(parents=True)
    code = (
        "from safebackup.errors import StorageError\n"
        "store._make_folder(store._path('packs'))\n"  # so that the first sync is that of the file
        "try: store.put_new('packs/one', bytes(300_000))\n"
        "except StorageError as problem: raise SystemExit(7 if problem.code == 'store-full' else 8)"
    )
    when = "when=1" if call == "write" else "when=2"

    _, status = traced(root, kind, code, "-e", f"inject={call}:error={error}:{when}")

    assert status == (8 if error == "EIO" else 7)
    assert files_below(root) == []


def test_s5_a_folder_that_cannot_be_read_is_a_failure_not_a_shorter_list(tmp_path: Path) -> None:
    root = tmp_path / "store"
    made(LocalStore, root).put_new("packs/one", b"1")
    code = (
        "from safebackup.errors import StorageError\n"
        "try: store.list('')\n"
        "except StorageError as problem: raise SystemExit(7)"
    )

    _, status = traced(root, LocalStore, code, "-P", f"{root}/packs/", "-e", "inject=openat:error=EIO")

    assert status == 7


# Disks that are full, missing, or another's


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@every_kind
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, kind: type[LocalStore]) -> None:
    with mounted(tmp_path / "disk", "1m"):
        store = made(kind, tmp_path / "disk" / "store")
        store.put_new("packs/small", b"1")

        with pytest.raises(StorageError) as caught:
            store.put_new("packs/large", bytes(2 * MIB))

        assert caught.value.code is Code.STORE_FULL
        assert files_below(tmp_path / "disk" / "store") == ["packs/small"]
        store.put_new("packs/next", bytes(MIB // 2))
        assert store.get("packs/next") == bytes(MIB // 2)


def test_s5_a_disk_unmounted_in_the_middle_is_not_an_empty_store(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "1m"):
        store = made(LocalStore, disk)
        store.put_new("packs/one", b"1")

    for call in every_verb(store):
        with pytest.raises(StorageError) as caught:
            call()
        assert caught.value.code is Code.STORE_MISSING
    assert list(disk.iterdir()) == []


def test_s5_a_folder_moved_to_a_disk_that_is_missing_is_not_an_empty_folder(tmp_path: Path) -> None:
    store = made(LocalStore, tmp_path / "store")
    store.put_new("packs/one", b"1")
    (tmp_path / "store" / "packs").rename(tmp_path / "elsewhere")
    (tmp_path / "store" / "packs").symlink_to(tmp_path / "elsewhere")
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    (tmp_path / "elsewhere").rename(tmp_path / "gone")

    for call in every_verb(store):
        with pytest.raises(StorageError):
            call()


def test_s5_a_root_that_is_a_file_or_below_one_is_not_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError):
            LocalStore(root).list("")
        with pytest.raises(StorageError) as caught:
            LocalStore(root).get("one")
        assert not isinstance(caught.value, NotFoundError)


@pytest.fixture
def for_everyone() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user to whom permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@every_kind
def test_a_store_that_may_not_be_written_says_so_and_can_be_read(for_everyone: Path, kind: type[LocalStore]) -> None:
    root = for_everyone / "store"
    with unprivileged():
        if os.geteuid() == 0:
            pytest.skip("this user cannot become another")
    store = made(kind, root)
    store.put_new("packs/one", b"1")
    for path, mode in ((root, 0o555), (root / "packs", 0o555), (root / "packs" / "one", 0o444)):
        path.chmod(mode)

    try:
        with unprivileged():
            assert store.get("packs/one") == b"1"
            writing = every_verb(store)[3:]
            for call in writing:
                with pytest.raises(StorageError) as caught:
                    call()
                assert caught.value.code is Code.STORE_DENIED
    finally:
        for path in (root, root / "packs"):
            path.chmod(0o755)
    assert files_below(root) == ["packs/one"]


def test_s5_what_may_not_be_read_is_denied_and_never_missing(for_everyone: Path) -> None:
    root = for_everyone / "store"
    store = made(LocalStore, root)
    store.put_new("packs/one", b"1")
    (root / "packs").chmod(0)

    try:
        with unprivileged():
            below: Callable[[], object] = lambda: LocalStore(root / "packs" / "below").list("")  # noqa: E731
            for call in [*every_verb(store), below]:
                with pytest.raises(StorageError) as caught:
                    call()
                assert caught.value.code is Code.STORE_DENIED
    finally:
        (root / "packs").chmod(0o700)
