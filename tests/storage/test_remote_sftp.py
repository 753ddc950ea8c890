"""SFTP, on OpenSSH, on rclone's server, and on one that goes wrong as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import multiprocessing
import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits, Trouble
from safebackup.storage.remote.reaching import transport_of
from safebackup.storage.remote.sftp import SftpError, SftpTransport
from safebackup.testing.proxy import FaultProxy, Mode
from tests.servers import SshServer, start_ssh
from tests.servers.server import Server, files_below
from tests.storage.contract import HOSTILE, MIB, StoreContract, outcome_of_put
from tests.storage.other_sftp import OddServer, RcloneSftpServer, failing, make_key, odd_server, start_rclone_sftp
from tests.storage.racing import body_of, raced

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=5, deadline=0.3, first_answer=5)  # few attempts, each with time enough
LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
only_when_long = pytest.mark.skipif(not LONG, reason="takes half a minute more; SAFEBACKUP_LONG=1 runs it")


def fresh() -> str:
    return f"a b/ü-{secrets.token_hex(6)}"


def opened(server: Server, folder: str, *, port: int = 0, limits: Limits = LIMITS, create: bool = False) -> DeleteStore:
    at = port or server.port
    return open_store(server.url_at(folder, at), storage_options=server.options_at(at), limits=limits, create=create)


def closed(store: DeleteStore) -> None:
    store.close()  # type: ignore[attr-defined]


class SftpContract(StoreContract):
    @pytest.fixture
    def server(self) -> Server:
        raise NotImplementedError

    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, server: Server, folder: str) -> Iterator[DeleteStore]:
        store = opened(server, folder, create=True)
        yield store
        closed(store)

    @pytest.fixture
    def reopened(self, server: Server, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(server, folder)

    @pytest.fixture
    def unreachable(self, server: Server) -> Iterator[DeleteStore]:
        store = opened(server, fresh())
        yield store
        closed(store)


class TestOpenSsh(SftpContract):
    @pytest.fixture
    def server(self, ssh_server: SshServer) -> Server:
        return ssh_server


@pytest.fixture(scope="module")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneSftpServer]:
    with start_rclone_sftp(tmp_path_factory.mktemp("rclone-sftp")) as server:
        yield server


@only_when_long
class TestRclone(SftpContract):
    @pytest.fixture
    def server(self, rclone_server: RcloneSftpServer) -> Server:
        return rclone_server

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Here two may believe so; what is there is whole, and from one of them."""
        racers = [store, reopened(), reopened()]
        with ThreadPoolExecutor(len(racers)) as pool:
            outcomes = list(pool.map(lambda n: outcome_of_put(racers[n], "race", body_of(n)), range(len(racers))))

        winners = [body_of(racer) for racer, outcome in enumerate(outcomes) if outcome == "stored"]
        assert store.get("race") in winners


def test_a_server_without_extensions_is_enough_also_for_its_top(rclone_server: RcloneSftpServer) -> None:
    for url in (rclone_server.url(""), rclone_server.url("").rstrip("/")):
        store = open_store(url, storage_options=rclone_server.options, limits=LIMITS, create=True)
        store.put_new("packs/ab/one", HOSTILE)
        store.put_new("packs/ab/one", HOSTILE)
        store.put_new("packs/none", b"")

        with pytest.raises(ConflictError):
            store.put_new("packs/ab/one", b"other")
        with pytest.raises(NotFoundError):
            store.get("packs/ab")
        assert store.get("packs/ab/one", start=5, length=90) == HOSTILE[5:95]
        assert store.list("") == [ObjectInfo("packs/ab/one", len(HOSTILE)), ObjectInfo("packs/none", 0)]
        assert store.list("packs/none/") == store.list("snapshots/") == []
        assert rclone_server.peek("") == {"packs/ab/one": HOSTILE, "packs/none": b""}
        store.delete("packs/ab/one")
        store.delete("packs/none")
        closed(store)


@pytest.fixture
def folder(ssh_server: SshServer) -> str:
    folder = fresh()
    closed(opened(ssh_server, folder, create=True))
    return folder


@pytest.fixture
def proxy(ssh_server: SshServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", ssh_server.port) as proxy:
        yield proxy


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[OddServer]:
    with odd_server(tmp_path) as odd:
        yield odd


def opened_odd(odd: OddServer, *, limits: Limits = LIMITS) -> DeleteStore:
    return open_store(odd.url, storage_options=odd.options, limits=limits)


# What is asked of the server


def asked_for(odd: OddServer, use: Callable[[], object]) -> list[str]:
    before = len(odd.asked)
    use()
    return odd.asked[before:]


def test_an_object_is_flushed_before_it_has_its_name_and_once_more_with_it(odd: OddServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")

    asked = asked_for(odd, lambda: store.put_new("packs/two", b"2"))

    assert asked == ["open", "write", "fsync", "fstat", "link", "fsync", "remove"]
    assert files_below(odd.root) == {"packs/one": b"1", "packs/two": b"2"}


def test_files_and_folders_are_for_their_owner_alone(ssh_server: SshServer, folder: str) -> None:
    opened(ssh_server, f"{folder}/new", create=True).put_new("packs/ab/one", b"1")

    root = ssh_server.root / folder / "new"
    for path, mode in [("packs/ab/one", 0o600), ("packs/ab", 0o700), ("packs", 0o700), ("tmp", 0o700), ("", 0o700)]:
        assert (root / path).stat().st_mode & 0o777 == mode


def test_a_server_that_cannot_flush_is_used_all_the_same(odd: OddServer) -> None:
    odd.faults["fsync"] = failing(asyncssh.SFTPOpUnsupported("no"))
    store = opened_odd(odd)

    store.put_new("packs/one", b"1")

    assert files_below(odd.root) == {"packs/one": b"1"}


def test_a_server_that_fails_to_flush_has_stored_nothing(odd: OddServer) -> None:
    odd.faults["fsync"] = failing(asyncssh.SFTPFailure("Failure"))
    store = opened_odd(odd, limits=HASTY)

    with pytest.raises(StorageError):
        store.put_new("packs/one", b"1")

    assert files_below(odd.root) == {}


NO_LINKS = [asyncssh.SFTPOpUnsupported("no"), asyncssh.SFTPFailure("Failure"), asyncssh.SFTPPermissionDenied("no")]


@pytest.mark.parametrize("error", NO_LINKS, ids=lambda error: type(error).__name__)
def test_a_server_without_links_is_asked_to_rename_and_looked_at_before(odd: OddServer, error: Exception) -> None:
    odd.faults["link"] = failing(error)
    store = opened_odd(odd)
    store.put_new("packs/one", b"1")
    assert files_below(odd.root) == {"packs/one": b"1"}

    asked = asked_for(odd, lambda: store.put_new("packs/two", b"2"))

    assert asked == ["stat", "open", "write", "fsync", "fstat", "rename"]
    with pytest.raises(ConflictError):
        store.put_new("packs/two", b"other")
    assert files_below(odd.root) == {"packs/one": b"1", "packs/two": b"2"}


@pytest.mark.parametrize("error", [None, *NO_LINKS], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("theirs", [b"other", b"ours!"])
def test_another_who_was_quicker_is_not_replaced(odd: OddServer, error: Exception | None, theirs: bytes) -> None:
    if error is not None:
        odd.faults["link"] = failing(error)
    store = opened_odd(odd)
    store.put_new("packs/first", b"")

    def slip_in(real: Callable[[], Any], *_: Any) -> Any:
        (odd.root / "packs/one").write_bytes(theirs)
        return real()

    odd.faults["rename" if error is not None else "link"] = slip_in
    outcome = outcome_of_put(store, "packs/one", b"ours!")

    assert outcome == ("stored" if theirs == b"ours!" else "conflict")
    assert files_below(odd.root) == {"packs/first": b"", "packs/one": theirs}
    assert ("link" in asked_for(odd, lambda: store.put_new("packs/last", b""))) == (error is None)


def test_what_a_killed_writer_or_a_cleaner_left_half_done_is_no_obstacle(odd: OddServer) -> None:
    store = opened_odd(odd)
    store.put_new("packs/ab/one", b"1")
    shutil.rmtree(odd.root / "packs")
    shutil.rmtree(odd.root / "tmp")

    store.put_new("packs/ab/two", b"2")

    assert store.list("") == [ObjectInfo("packs/ab/two", 1)]


def test_a_folder_where_an_object_should_be_is_refused_at_once(ssh_server: SshServer, folder: str) -> None:
    store = opened(ssh_server, folder)
    store.put_new("packs/one", b"1")

    with pytest.raises(StorageError) as caught:
        store.put_new("packs", b"1")

    assert not caught.value.retryable
    assert store.list("") == [ObjectInfo("packs/one", 1)]


def test_threads_share_one_session(odd: OddServer) -> None:
    assert SftpTransport.is_shared
    store = opened_odd(odd)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put_new(f"packs/{n}", b"%d" % n * 1000), range(40)))
        got = list(pool.map(lambda n: store.get(f"packs/{n}"), range(40)))

    assert got == [b"%d" % n * 1000 for n in range(40)]
    assert odd.connections == 1


# S2: processes


def test_s2_of_processes_that_race_for_a_name_exactly_one_wins(ssh_server: SshServer, folder: str) -> None:
    store = opened(ssh_server, folder)
    store.put_new("packs/one", b"1")

    rounds = raced(store, racers=3, rounds=100 if LONG else 15)

    held = ssh_server.peek(folder)
    for number, outcomes in enumerate(rounds):
        (winner,) = [racer for racer, outcome in outcomes.items() if outcome == "stored"]
        assert held[f"race/{number}"] == body_of(winner)
    assert store.get("packs/one") == b"1"


def put_by_a_spawned_process(url: str, options: dict[str, object], name: str) -> list[ObjectInfo]:
    store = open_store(url, storage_options=options, limits=LIMITS)
    store.put_new(name, HOSTILE)
    return store.list("")


def test_s9_a_spawned_process_opens_a_store_of_its_own(ssh_server: SshServer, folder: str) -> None:
    store = opened(ssh_server, folder)
    store.put_new("packs/one", b"1")

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        where = ssh_server.url(folder), ssh_server.options
        listed = pool.submit(put_by_a_spawned_process, *where, "packs/two").result(timeout=30)

    assert listed == store.list("") == [ObjectInfo("packs/one", 1), ObjectInfo("packs/two", len(HOSTILE))]


# S3: lists are complete, or raise


def test_s3_other_files_are_no_objects_and_a_transport_lists_them_all(ssh_server: SshServer, folder: str) -> None:
    names = [
        "Upper Case",
        "ü/ß",
        "a%41b",
        "a#b?c",
        "packs/one",
        "tmp/left",
        "a;b=c",
        ".hidden",
        "a\nb",
        os.fsdecode(b"\xff"),
    ]
    for name in names:
        path = ssh_server.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))

    assert opened(ssh_server, folder).list("") == [ObjectInfo("packs/one", 9)]

    transport = transport_of(ssh_server.url(folder), ssh_server.options, LIMITS)
    listed = {each.path: each for each in transport.entries("")}
    assert sorted(listed) == sorted(names)
    for name in names:
        assert transport.read(name, 0, 100) == os.fsencode(name)
        assert transport.size(name) == listed[name].size_bytes == len(os.fsencode(name))
        modified = listed[name].modified
        assert modified is not None
        assert abs(modified - (ssh_server.root / folder / name).stat().st_mtime_ns) < 1_000_000_000
    transport.close()


@pytest.fixture(scope="module")
def open_ssh_server() -> Iterator[SshServer]:
    """A server in a folder that any user can reach, as those of pytest cannot be."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    try:
        with start_ssh(place) as server:
            server.keys.chmod(0o755)
            yield server
    finally:
        shutil.rmtree(place)


@pytest.fixture
def unprivileged(open_ssh_server: SshServer) -> Iterator[tuple[DeleteStore, Path]]:
    """A store that is reached as somebody whom permissions bind, which is not root, and where it is."""
    folder = secrets.token_hex(6)
    root = open_ssh_server.root / folder
    root.mkdir()
    options = open_ssh_server.options
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
        options["username"] = "nobody"
    store = open_store(open_ssh_server.url(folder), storage_options=options, limits=LIMITS)
    yield store, root
    closed(store)
    root.chmod(0o700)
    for path in root.rglob("locked*"):
        path.chmod(0o700)


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400], ids=oct)
def test_s3_a_folder_that_may_not_be_read_is_not_left_out(unprivileged: tuple[DeleteStore, Path], mode: int) -> None:
    """OpenSSH lists a folder that may be read and not entered (0o400) as an empty one."""
    store, root = unprivileged
    store.put_new("packs/locked/one", b"1")
    store.put_new("packs/two", b"2")
    (root / "packs/locked").chmod(mode)

    for prefix in ("", "packs/", "packs/locked/"):
        with pytest.raises(StorageError) as caught:
            store.list(prefix)
        assert caught.value.code is Code.STORE_DENIED

    (root / "packs/locked").chmod(0o700)
    assert [info.name for info in store.list("")] == ["packs/locked/one", "packs/two"]


def test_s5_what_may_not_be_read_is_not_missing(unprivileged: tuple[DeleteStore, Path]) -> None:
    store, root = unprivileged
    store.put_new("packs/locked-folder/one", b"1")
    store.put_new("packs/locked", b"1")
    (root / "packs/locked").chmod(0)
    (root / "packs/locked-folder").chmod(0)

    for name in ("packs/locked", "packs/locked-folder/one", "packs/locked-folder/nothing"):
        with pytest.raises(StorageError) as caught:
            store.get(name)
        assert caught.value.code is Code.STORE_DENIED
    root.chmod(0)
    for use in every_verb(store):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_DENIED


def test_s3_links_are_followed_and_one_that_leads_nowhere_is_a_disk_that_is_missing(
    ssh_server: SshServer, folder: str, tmp_path: Path
) -> None:
    store = opened(ssh_server, folder)
    store.put_new("packs/one", b"1")
    store.put_new("snapshots/two", b"2")
    root = ssh_server.root / folder
    (root / "packs").rename(tmp_path / "moved")
    (root / "packs").symlink_to(tmp_path / "moved")
    (root / "snapshots/three").symlink_to(tmp_path / "moved/one")
    names = ["packs/one", "snapshots/three", "snapshots/two"]
    assert [info.name for info in store.list("")] == names
    assert store.get("packs/one") == store.get("snapshots/three") == b"1"

    (tmp_path / "moved").rename(tmp_path / "away")

    uses: list[Callable[[], object]] = [
        lambda: store.list(""),
        lambda: store.list("packs/"),
        lambda: store.get("packs/one"),
        lambda: store.get("snapshots/three"),
    ]
    for use in uses:
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_MISSING


def test_s3_a_link_that_leads_in_a_circle_raises(ssh_server: SshServer, folder: str) -> None:
    store = opened(ssh_server, folder)
    store.put_new("packs/one", b"1")
    (ssh_server.root / folder / "packs/again").symlink_to("../packs")

    with pytest.raises(StorageError):
        store.list("")


def vanished_below(name: bytes) -> Callable[..., Any]:
    def scandir(real: Callable[[], Any], path: bytes) -> Any:
        async def entries() -> AsyncIterator[Any]:
            if path.endswith(name):
                raise asyncssh.SFTPNoSuchFile("gone")
            async for entry in real():
                yield entry

        return entries()

    return scandir


def test_s3_a_folder_that_vanishes_while_it_is_listed_is_no_answer(odd: OddServer) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("packs/ab/one", b"1")
    store.put_new("packs/two", b"2")
    odd.faults["scandir"] = vanished_below(b"/ab")

    transport = transport_of(odd.url, odd.options, LIMITS)
    with pytest.raises(SftpError) as caught:
        list(transport.entries(""))
    assert transport.trouble_of(caught.value) is Trouble.UNREACHED
    transport.close()
    fails_in_time(lambda: store.list(""), 8)

    del odd.faults["scandir"]
    assert [info.name for info in store.list("")] == ["packs/ab/one", "packs/two"]


def test_s3_a_listing_that_fails_in_the_middle_is_no_list(odd: OddServer) -> None:
    store = opened_odd(odd, limits=HASTY)
    for number in range(300):  # more than one reply has
        store.put_new(f"packs/{number}", b"")

    def scandir(real: Callable[[], Any], path: bytes) -> Any:
        async def entries() -> AsyncIterator[Any]:
            count = 0
            async for entry in real():
                count += 1
                if count > 200:
                    raise asyncssh.SFTPFailure("Failure")
                yield entry

        return entries()

    odd.faults["scandir"] = scandir
    with pytest.raises(StorageError):
        store.list("packs/")


# S4: reading


@pytest.mark.parametrize("count", [0, 100_000, MIB - 1])
def test_s4_a_server_that_says_too_early_that_this_was_all_is_not_believed(odd: OddServer, count: int) -> None:
    store = opened_odd(odd, limits=HASTY)
    store.put_new("one", os.urandom(MIB))

    def read(real: Callable[[], Any], _file: object, offset: int, _size: int) -> Any:
        return real()[: max(0, count - offset)]

    odd.faults["read"] = read
    fails_in_time(lambda: store.get("one"), 6)


def test_s4_a_hole_in_what_came_is_never_filled_with_zeros(odd: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safebackup.storage.remote.sftp._UNDER_WAY_BYTES", 16 * MIB)
    store = opened_odd(odd, limits=HASTY)
    store.put_new("one", b"\1" * 12 * MIB)  # this server reads 4 MiB at once

    def with_hole(real: Callable[[], Any], _file: object, offset: int, _size: int) -> Any:
        return b"" if offset == 4 * MIB else real()

    odd.faults["read"] = with_hole
    fails_in_time(lambda: store.get("one"), 6)


def test_s4_a_pipe_is_not_waited_for(ssh_server: SshServer, folder: str) -> None:
    store = opened(ssh_server, folder)
    os.mkfifo(ssh_server.root / folder / "pipe")

    with pytest.raises(StorageError, match="neither a file nor a folder"):
        store.get("pipe")
    assert store.list("") == []


# S7: nothing partial


def test_s7_what_arrived_short_never_gets_its_name(odd: OddServer) -> None:
    store = opened_odd(odd, limits=HASTY)
    odd.faults["write"] = lambda real, _file, offset, data: len(data) if offset > 0 else real()

    fails_in_time(lambda: store.put_new("packs/one", bytes(5 * MIB)), 6)

    assert files_below(odd.root) == {}


FULL_DISK = (4096, 4096, 100, 1, 0, 100, 9, 9, 0, 255)  # what is left is root's
FULL = [asyncssh.SFTPFailure("Failure"), asyncssh.SFTPFailure(os.strerror(errno.ENOSPC))]


@pytest.mark.parametrize("error", FULL, ids=lambda error: error.reason)
@pytest.mark.parametrize("request_", ["write", "link", "mkdir"])
def test_a_disk_that_is_full_is_called_so_at_once_and_keeps_nothing(
    odd: OddServer, error: Exception, request_: str
) -> None:
    store = opened_odd(odd)
    odd.faults[request_] = failing(error)
    if request_ == "link":
        odd.faults["rename"] = failing(error)
    odd.faults["statvfs"] = lambda _real, _path: os.statvfs_result(FULL_DISK)

    begin = time.perf_counter()
    with pytest.raises(StorageError) as caught:
        store.put_new("packs/one", bytes(MIB))

    assert caught.value.code is Code.STORE_FULL
    assert time.perf_counter() - begin < 5
    assert files_below(odd.root) == {}


def test_s7_a_disk_that_fills_keeps_nothing_partial_and_is_used_again(ssh_server: SshServer, folder: str) -> None:
    with small_disk(ssh_server.root / folder) as disk:
        store = opened(ssh_server, folder)
        store.put_new("packs/one", bytes(MIB))

        begin = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            store.put_new("packs/two", bytes(8 * MIB))

        assert caught.value.code is Code.STORE_FULL
        assert time.perf_counter() - begin < 5
        assert list(files_below(disk)) == ["packs/one"]
        store.put_new("packs/three", bytes(2 * MIB))
        assert [info.name for info in store.list("")] == ["packs/one", "packs/three"]


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"takes a disk of its own: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


SCRIPT = """
import sys, json
from safebackup.storage import open_store
from safebackup.storage.remote import Limits, Trouble
url, options = json.loads(sys.argv[1])
store = open_store(url, storage_options=options, limits=Limits(request=5, deadline=20))
store.put_new("packs/one", b"1")
"""


def started(code: str, url: str, options: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "always", "-c", SCRIPT + code, json.dumps([url, options])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_s7_a_writer_that_is_killed_leaves_nothing_visible(
    ssh_server: SshServer, proxy: FaultProxy, folder: str
) -> None:
    proxy.mode = Mode.slow(2 * MIB)
    code = 'print("begun", flush=True)\nstore.put_new("packs/two", bytes(32 << 20))'
    with started(code, ssh_server.url_at(folder, proxy.port), ssh_server.options_at(proxy.port)) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        until = time.perf_counter() + 20
        while not any(name.startswith("tmp/") and held for name, held in ssh_server.peek(folder).items()):
            assert time.perf_counter() < until
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)

    store = opened(ssh_server, folder)
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    assert [name for name in ssh_server.peek(folder) if not name.startswith("tmp/")] == ["packs/one"]
    store.put_new("packs/two", b"2")
    assert store.get("packs/two") == b"2"


# Lines that break


def every_verb(store: DeleteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("packs/one"),
        lambda: store.list(""),
        lambda: store.list("packs/"),
        lambda: store.put_new("packs/two", b"2"),
        lambda: store.delete("packs/three"),
    ]


def fails_in_time(use: Callable[[], object], seconds: float) -> None:
    begin = time.perf_counter()
    with pytest.raises(StorageError) as caught:
        use()
    assert caught.value.retryable
    assert caught.value.code is Code.STORE_FAILED
    assert time.perf_counter() - begin < seconds


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.cut_down(20)], ids=repr)
def test_s8_without_an_answer_every_verb_fails_in_time_and_works_again_afterwards(
    ssh_server: SshServer, proxy: FaultProxy, folder: str, mode: Mode
) -> None:
    limits = Limits(request=0.5, deadline=1, first_answer=1)
    store = opened(ssh_server, folder, port=proxy.port, limits=Limits(request=2, deadline=10, first_answer=10))
    store.put_new("packs/one", b"1")
    stores = [opened(ssh_server, folder, port=proxy.port, limits=limits) for _ in every_verb(store)]
    for each in stores[::2]:
        each.list("")  # those have a session already
    proxy.mode = mode

    with ThreadPoolExecutor(len(stores)) as pool:
        uses = [every_verb(each)[number] for number, each in enumerate(stores)]
        for task in [pool.submit(fails_in_time, use, 8) for use in uses]:
            task.result()

    proxy.mode = Mode.PASS
    assert store.get("packs/one") == b"1"
    assert store.list("packs/")[0] == ObjectInfo("packs/one", 1)


def test_a_server_that_was_away_is_found_again(tmp_path: Path) -> None:
    with start_ssh(tmp_path) as server:
        store = opened(server, "place", create=True, limits=HASTY)
        store.put_new("packs/one", HOSTILE)
        server.stop()
        for use in every_verb(store)[:3]:
            fails_in_time(use, 8)

        server.start()

        assert store.get("packs/one") == HOSTILE
        assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]


def test_s8_a_server_that_is_too_slow_is_given_up(ssh_server: SshServer, proxy: FaultProxy, folder: str) -> None:
    opened(ssh_server, folder).put_new("one", bytes(MIB))
    store = opened(ssh_server, folder, port=proxy.port, limits=Limits(request=1, deadline=0.3, first_answer=5))
    store.list("")
    proxy.mode = Mode.slow(10_000)

    fails_in_time(lambda: store.put_new("two", os.urandom(50_000)), 8)


def test_a_long_listing_is_not_given_up_while_it_goes_on(odd: OddServer) -> None:
    store = opened_odd(odd, limits=Limits(request=1, deadline=1, first_answer=5))
    (odd.root / "packs").mkdir()
    for number in range(300):
        (odd.root / f"packs/{number}").touch()

    def scandir(real: Callable[[], Any], path: bytes) -> Any:
        async def entries() -> AsyncIterator[Any]:
            async for entry in real():
                await asyncio.sleep(0.005)
                yield entry

        return entries()

    odd.faults["scandir"] = scandir
    begin = time.perf_counter()
    assert len(store.list("packs/")) == 300
    assert time.perf_counter() - begin > 1.5


@pytest.mark.parametrize("count", range(0, 2000, 250))
def test_an_answer_that_was_lost_does_not_make_a_put_fail(
    ssh_server: SshServer, proxy: FaultProxy, folder: str, count: int
) -> None:
    """Wherever the line breaks: a put has about 1,000 bytes of answers in a session that is there already."""
    store = opened(ssh_server, folder, port=proxy.port)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.cut_down(count).first(1)

    store.put_new("packs/two", HOSTILE)

    assert store.list("") == [ObjectInfo("packs/one", 1), ObjectInfo("packs/two", len(HOSTILE))]
    assert store.get("packs/two") == HOSTILE


@pytest.mark.parametrize("count", [0, 500, 100_000, MIB])
def test_s4_a_download_that_was_cut_is_never_short(
    ssh_server: SshServer, proxy: FaultProxy, folder: str, count: int
) -> None:
    data = os.urandom(2 * MIB)
    store = opened(ssh_server, folder, port=proxy.port)
    store.put_new("one", data)
    proxy.mode = Mode.cut_down(count).first(1)

    assert store.get("one") == data
    assert proxy.struck == 1


def test_s4_a_download_that_is_always_cut_fails(ssh_server: SshServer, proxy: FaultProxy, folder: str) -> None:
    store = opened(ssh_server, folder, port=proxy.port, limits=HASTY)
    store.put_new("one", os.urandom(MIB))
    proxy.mode = Mode.cut_down(500_000)

    fails_in_time(lambda: store.get("one"), 8)


def test_s7_an_upload_that_was_cut_leaves_nothing_visible(
    ssh_server: SshServer, proxy: FaultProxy, folder: str
) -> None:
    store = opened(ssh_server, folder, port=proxy.port, limits=HASTY)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.cut_up(MIB)

    fails_in_time(lambda: store.put_new("packs/two", os.urandom(4 * MIB)), 8)

    proxy.mode = Mode.PASS
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    with pytest.raises(NotFoundError):
        store.get("packs/two")


def ended(code: str, url: str, options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, url, json.dumps(options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nothing_is_printed_while_what_was_cut_is_tried_again(
    ssh_server: SshServer, proxy: FaultProxy, folder: str
) -> None:
    closed(opened(ssh_server, folder, create=True))
    proxy.mode = Mode.cut_up(400_000).first(2)
    url, options = ssh_server.url_at(folder, proxy.port), ssh_server.options_at(proxy.port)

    put = ended(_PUTTING, url, options)
    struck = proxy.struck
    proxy.mode = Mode.cut_down(400_000).first(2)
    got = ended(_GETTING, url, options)

    assert (struck, put.returncode, put.stderr) == (2, 0, "")
    assert (proxy.struck, got.returncode, got.stderr) == (2, 0, "")


_OPENING = """
import gc, json, sys
from safebackup.storage import open_store
store = open_store(sys.argv[1], storage_options=json.loads(sys.argv[2]))
"""
_PUTTING = (
    _OPENING
    + """
store.put_new("packs/one", bytes(9_000_000))
gc.collect()
"""
)
_GETTING = (
    _OPENING
    + """
assert store.get("packs/one") == bytes(9_000_000)
gc.collect()
"""
)


def test_s9_after_a_fork_parent_and_child_both_go_on(ssh_server: SshServer, folder: str) -> None:
    code = """
import os, time
began = time.monotonic()
child = os.fork()
store.put_new(f"packs/{'child' if child == 0 else 'parent'}", bytes(100_000))
assert store.get("packs/one") == b"1"
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(store.list("")) == 3
store.put_new("packs/after", b"")
print(time.monotonic() - began)
"""
    with started(code, ssh_server.url(folder), ssh_server.options) as process:
        told, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, "")
    assert float(told) < 15


def test_a_program_that_closes_nothing_ends_quietly(ssh_server: SshServer, folder: str) -> None:
    with started("", ssh_server.url(folder), ssh_server.options) as process:
        _, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, "")


# Who is there, and who is let in


@contextlib.contextmanager
def refused_at_once(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, logger="safebackup")
    begin = time.perf_counter()
    with pytest.raises(StorageError) as caught:
        yield
    assert caught.value.code is Code.STORE_DENIED
    assert not caught.value.retryable
    assert caught.value.hint
    assert time.perf_counter() - begin < 4
    assert not [record for record in caplog.records if record.name == "safebackup"]  # no attempt failed


HOSTS = {"another key": True, "no key": False}


@pytest.mark.parametrize("has_other", HOSTS.values(), ids=HOSTS)
def test_a_server_whose_key_is_not_known_is_refused(
    ssh_server: SshServer, folder: str, tmp_path: Path, has_other: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_key(tmp_path)
    if not has_other:
        (tmp_path / "known_hosts").write_text("")
    options = {**ssh_server.options, "known_hosts": str(tmp_path / "known_hosts")}
    store = open_store(ssh_server.url(folder), storage_options=options, limits=LIMITS)

    with refused_at_once(caplog):
        store.get("packs/one")


CONFIGS = {"none": "", "one that trusts": "Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n"}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_without_an_option_the_users_own_file_of_known_hosts_counts(
    ssh_server: SshServer, folder: str, tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/config").write_text(config)
    options = {name: value for name, value in ssh_server.options.items() if name != "known_hosts"}

    with pytest.raises(StorageError) as caught:
        open_store(ssh_server.url(folder), storage_options=options, limits=LIMITS).list("")
    assert caught.value.code is Code.STORE_DENIED
    assert "known_hosts" in caught.value.hint

    shutil.copy(ssh_server.keys / "known_hosts", tmp_path / ".ssh/known_hosts")
    assert open_store(ssh_server.url(folder), storage_options=options, limits=LIMITS).list("") == []


def test_a_key_that_opens_nothing_is_denied_at_once(
    ssh_server: SshServer, folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = make_key(tmp_path)
    store = open_store(
        ssh_server.url(folder), storage_options={**ssh_server.options, "client_keys": [str(key)]}, limits=LIMITS
    )

    with refused_at_once(caplog):
        store.list("")


def test_a_password_that_is_wrong_is_denied_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with start_rclone_sftp(tmp_path) as server:
        options = {**server.options, "password": "wrong-Hunter2"}
        store = open_store(server.url("place"), storage_options=options, limits=LIMITS)

        with refused_at_once(caplog):
            store.put_new("packs/one", b"1")


@pytest.mark.parametrize("option", ["known_hosts", "client_keys"])
def test_a_file_of_an_option_that_is_not_there_is_said_to_be(
    ssh_server: SshServer, folder: str, tmp_path: Path, option: str
) -> None:
    path = str(tmp_path / "nothing")
    options = {**ssh_server.options, option: path if option == "known_hosts" else [path]}

    with pytest.raises(ConfigurationError, match="nothing"):
        open_store(ssh_server.url(folder), storage_options=options, limits=LIMITS).list("")


def test_a_passphrase_that_is_wrong_is_said_to_be(ssh_server: SshServer, folder: str) -> None:
    options = {**ssh_server.options, "passphrase": "wrong-Hunter2"}

    with pytest.raises(ConfigurationError) as caught:
        open_store(ssh_server.url(folder), storage_options=options, limits=LIMITS).list("")

    assert "wrong-Hunter2" not in f"{caught.value}"


def test_secrets_are_shown_nowhere(
    ssh_server: SshServer, proxy: FaultProxy, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = ssh_server.secret
    store = opened(ssh_server, folder, port=proxy.port, limits=Limits(request=1, deadline=0.6, first_answer=5))
    store.put_new("one", b"1")
    proxy.mode = Mode.REFUSE
    with pytest.raises(StorageError) as caught:
        store.get("one")

    assert secret not in f"{store!r} {store.url} {caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert not any(secret in record.getMessage() for record in caplog.records)
    with pytest.raises(ConfigurationError):
        pickle.dumps(store)


def test_a_session_is_closed_when_its_store_is(odd: OddServer) -> None:
    threads = threading.active_count()
    for _ in range(5):
        store = opened_odd(odd)
        store.list("")
        closed(store)

    assert odd.connections == 5
    assert threading.active_count() <= threads + 1  # fsspec's own
