"""Any other class of fsspec's: what it does not hold, and what it says, is found out."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, SafeBackupError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.reaching import transport_of
from safebackup.storage.remote.transport import Trouble
from safebackup.storage.remote.unproven import UnprovenError
from tests.servers.server import files_below
from tests.storage.contract import HOSTILE, StoreContract
from tests.storage.unproven_files import DiskFiles, register

LIMITS = Limits(request=10, deadline=20, first_answer=20)
ONCE = Limits(request=1, deadline=0.001, first_answer=0.001)


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(DiskFiles, "faults_left", 1 << 30)


def opened(base: Path, fault: str = "", *, kind: str = "disk", limits: Limits = LIMITS, create: bool = False) -> Any:
    options = {"base": str(base), "fault": fault}
    return open_store(
        f"strange{kind}://place/here", storage_options=options, limits=limits, create=create, allow_unproven=True
    )


class UnprovenContract(StoreContract):
    kind = ""

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        base = tmp_path / "base"
        base.mkdir()
        return base

    @pytest.fixture
    def store(self, base: Path) -> DeleteStore:
        store: DeleteStore = opened(base, kind=self.kind, create=True)
        return store

    @pytest.fixture
    def reopened(self, base: Path) -> Callable[[], DeleteStore]:
        return lambda: opened(base, kind=self.kind)

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> DeleteStore:
        (tmp_path / "other").mkdir()
        store: DeleteStore = opened(tmp_path / "other", kind=self.kind)
        return store

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Here several may believe so; what is there in the end is from one of those who wrote."""
        racers = [store, reopened(), reopened()]

        def race(racer: int) -> None:
            with suppress(SafeBackupError):
                racers[racer].put_new("race", b"%d" % racer * 1000)

        with ThreadPoolExecutor(len(racers)) as pool:
            list(pool.map(race, range(len(racers))))

        assert store.get("race") in [b"%d" % racer * 1000 for racer in range(len(racers))]

    def test_s2_threads_that_race_with_the_same_bytes_all_succeed(self, store: DeleteStore) -> None:
        """Here one may find another's bytes while only some are there, and fail."""

        def race(_racer: int) -> None:
            with suppress(SafeBackupError):
                store.put_new("same", HOSTILE)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(race, range(4)))

        assert store.get("same") == HOSTILE

    def test_s7_readers_beside_writers_see_whole_objects_alone(self, store: DeleteStore) -> None:
        """Not here: parts are visible. Once it is stored, all of it is."""
        store.put_new("packs/one", bytes(1 << 20))

        assert store.get("packs/one") == bytes(1 << 20)


class TestDisk(UnprovenContract):
    kind = "disk"


class TestFlat(UnprovenContract):
    kind = "flat"


# Consent


@pytest.mark.parametrize("kind", ["disk", "flat"])
def test_without_consent_it_is_refused_and_told_how_to_consent(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"strange{kind}://place/here", storage_options={"base": str(tmp_path)}, create=True)

    assert caught.value.code is Code.BAD_URL
    assert "--allow-unproven-store" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


# What it does to bytes


@pytest.mark.parametrize("fault", ["keeps too little", "keeps something else"])
@pytest.mark.parametrize("size", [1, 5000])
def test_what_it_did_not_keep_is_noticed_at_once(tmp_path: Path, fault: str, size: int) -> None:
    store = opened(tmp_path, fault, create=True)

    with pytest.raises(StorageError) as caught:
        store.put_new("packs/one", b"x" * size)

    assert not caught.value.retryable


def test_what_broke_while_it_was_written_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path, "breaks while writing", create=True)
    monkeypatch.setattr(DiskFiles, "faults_left", 1)

    store.put_new("packs/one", b"0123456789")

    assert files_below(tmp_path / "place" / "here") == {"packs/one": b"0123456789"}


def test_other_bytes_that_somebody_wrote_meanwhile_are_never_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path, "breaks while writing", create=True)
    one = tmp_path / "place" / "here" / "packs" / "one"
    broken = DiskFiles.pipe_file

    def overtaken(files: DiskFiles, path: str, value: bytes) -> None:
        try:
            broken(files, path, value)
        finally:
            one.write_bytes(b"them")

    monkeypatch.setattr(DiskFiles, "pipe_file", overtaken)
    with pytest.raises(ConflictError):
        store.put_new("packs/one", b"0123456789")

    assert one.read_bytes() == b"them"


@pytest.mark.parametrize("fault", ["ignores ranges", "counts ranges inclusively"])
def test_s4_ranges_that_it_gets_wrong_come_out_right(tmp_path: Path, fault: str) -> None:
    store = opened(tmp_path, fault, create=True)
    store.put_new("one", b"0123456789")

    for start, length in [(0, None), (0, 1), (3, 4), (9, 1), (4, None), (0, 10), (0, 9)]:
        assert store.get("one", start=start, length=length) == b"0123456789"[start:][:length]
    with pytest.raises(StorageError) as caught:
        store.get("one", start=3, length=8)
    assert caught.value.code is Code.SHORT_READ


def test_s4_a_download_that_was_cut_is_never_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path, create=True).put_new("one", b"0123456789")
    store = opened(tmp_path, "cuts downloads", limits=ONCE)

    for start, length in [(0, None), (0, 5), (5, None)]:
        monkeypatch.setattr(DiskFiles, "faults_left", 1 << 30)
        with pytest.raises(StorageError) as caught:
            store.get("one", start=start, length=length)
        assert caught.value.retryable

    monkeypatch.setattr(DiskFiles, "faults_left", 1)
    assert opened(tmp_path, "cuts downloads").get("one") == b"0123456789"


def test_what_it_only_says_to_have_removed_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path, "keeps what is removed", create=True, limits=ONCE)
    store.put_new("packs/one", b"1")

    with pytest.raises(StorageError) as caught:
        store.delete("packs/one")

    assert caught.value.retryable
    assert store.get("packs/one") == b"1"


# What it says


def verbs(store: DeleteStore) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: store.get("packs/one"),
        "list": lambda: store.list(""),
        "list a folder": lambda: store.list("packs/"),
        "put_new": lambda: store.put_new("packs/two", b""),
        "delete": lambda: store.delete("packs/one"),
    }


@pytest.mark.parametrize("verb", ["get", "list", "list a folder", "put_new", "delete"])
@pytest.mark.parametrize(
    ("fault", "code", "is_retryable"),
    [
        ("is away", Code.STORE_FAILED, True),
        ("says not found when away", Code.STORE_FAILED, True),
        ("is odd", Code.STORE_FAILED, True),
        ("denies", Code.STORE_DENIED, False),
        ("does not open", Code.STORE_FAILED, True),
    ],
)
def test_s5_what_goes_wrong_is_never_an_absence(
    tmp_path: Path, verb: str, fault: str, code: Code, is_retryable: bool
) -> None:
    opened(tmp_path, create=True).put_new("packs/one", b"1")
    store = opened(tmp_path, fault, limits=ONCE)

    with pytest.raises(StorageError) as caught:
        verbs(store)[verb]()

    assert (caught.value.code, caught.value.retryable) == (code, is_retryable)
    assert files_below(tmp_path / "place" / "here") == {"packs/one": b"1"}


@pytest.mark.parametrize(
    ("fault", "code", "is_retryable"),
    [("is full", Code.STORE_FULL, False), ("only reads", Code.STORE_FAILED, False)],
)
def test_a_put_that_fails_says_whether_it_may_be_tried_again(
    tmp_path: Path, fault: str, code: Code, is_retryable: bool
) -> None:
    store = opened(tmp_path, fault, create=True, limits=ONCE)

    with pytest.raises(StorageError) as caught:
        store.put_new("packs/one", b"1")

    assert (caught.value.code, caught.value.retryable) == (code, is_retryable)


@pytest.mark.parametrize("fault", ["misses what it lists", "knows no sizes"])
def test_s5_an_object_that_a_listing_has_is_not_missing(tmp_path: Path, fault: str) -> None:
    opened(tmp_path, create=True).put_new("packs/one", b"1")
    store = opened(tmp_path, fault, limits=ONCE)

    for verb in ("get", "delete"):
        with pytest.raises(StorageError) as caught:
            verbs(store)[verb]()
        assert caught.value.retryable
    with pytest.raises(NotFoundError):
        store.get("packs/three")


def test_s5_what_would_lie_in_a_file_is_missing(tmp_path: Path) -> None:
    store = opened(tmp_path, "lists no files as folders", create=True, limits=ONCE)
    store.put_new("packs/one", b"1")

    with pytest.raises(NotFoundError):
        store.get("packs/one/nothing")
    assert store.list("packs/one/") == []


def test_s5_a_root_is_not_missing_because_it_is_said_not_to_be_found(tmp_path: Path) -> None:
    opened(tmp_path, create=True)
    options = {"base": str(tmp_path), "fault": "says not found when away"}
    transport = transport_of("strangedisk://place/here", options, LIMITS, allow_unproven=True)

    with pytest.raises(UnprovenError) as caught:
        transport.reach()

    assert transport.trouble_of(caught.value) is Trouble.UNKNOWN
    transport.close()


@pytest.mark.parametrize(
    "fault",
    ["denies a folder that it lists", "fails in a folder", "lists others", "lists what is neither", "lists no sizes"],
)
@pytest.mark.parametrize("prefix", ["", "packs/"])
def test_s3_a_list_that_cannot_be_trusted_is_an_error(tmp_path: Path, fault: str, prefix: str) -> None:
    opened(tmp_path, create=True).put_new("packs/one", b"1")
    store = opened(tmp_path, fault, limits=ONCE)

    with pytest.raises(StorageError) as caught:
        store.list(prefix)

    assert caught.value.retryable


def test_s3_names_may_be_listed_with_slashes_around_them(tmp_path: Path) -> None:
    opened(tmp_path, create=True).put_new("packs/ab/one", b"1")

    assert opened(tmp_path, "lists with slashes").list("") == [ObjectInfo("packs/ab/one", 1)]


def test_s8_a_class_that_hangs_is_given_up(tmp_path: Path) -> None:
    opened(tmp_path, create=True).put_new("packs/one", b"1")
    store = opened(tmp_path, "hangs", limits=Limits(request=0.3, deadline=0.3, first_answer=0.3))

    for use in verbs(store).values():
        begin = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.retryable
        assert time.perf_counter() - begin < 3


def test_s8_a_program_ends_although_a_class_hangs(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.storage.test_remote_unproven import *; register()\n"
        "store = opened(Path(sys.argv[1]), 'hangs', limits=Limits(request=0.2, deadline=0.2, first_answer=0.2))\n"
        "try: store.get('packs/one')\nexcept StorageError: print('given up')"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == "given up\n"


def test_s9_after_a_fork_child_and_parent_both_go_on(tmp_path: Path) -> None:
    script = (
        "import os, sys; from tests.storage.test_remote_unproven import *; register()\n"
        "store = opened(Path(sys.argv[1]), create=True); store.put_new('one', b'1')\n"
        "child = os.fork()\n"
        "store.put_new('child' if child == 0 else 'parent', b'1')\n"
        "if child == 0: os._exit(len(store.list('')) not in (2, 3))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert [info.name for info in store.list('')] == ['child', 'one', 'parent']"
    )

    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30)


def test_a_root_that_is_made_on_a_store_without_folders_is_there(tmp_path: Path) -> None:
    store = opened(tmp_path, kind="flat", create=True)

    assert store.list("") == []
    store.put_new("packs/one", b"1")
    store.delete("packs/one")
    assert opened(tmp_path, kind="flat").list("") == []


def test_it_is_reopened_elsewhere_with_the_same_consent(tmp_path: Path) -> None:
    opened(tmp_path, create=True).put_new("one", b"1")

    assert pickle.loads(pickle.dumps(opened(tmp_path))).get("one") == b"1"


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    options = {"base": str(tmp_path), "fault": "is odd", "token": "Hunter2-Secret"}
    store = open_store(
        "strangedisk://u:Other-Secret@place/here", storage_options=options, limits=ONCE, allow_unproven=True
    )

    with pytest.raises(StorageError) as caught:
        store.list("")

    assert "Secret" not in f"{store!r} {store.url} {caught.value!r} {caught.value.hint}"
    with pytest.raises(ConfigurationError):
        pickle.dumps(store)


def test_a_store_that_is_closed_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = opened(tmp_path, create=True)
    store.put_new("one", b"1")
    ours = set(threading.enumerate()) - before
    assert ours

    store.close()

    for thread in ours:
        thread.join(timeout=5)
        assert not thread.is_alive()
