"""The store contract as tests: one class that every store's own tests inherit.

A subclass gives `store`, a new and empty store, and `unreachable`, one whose root is not there. Where the URL
alone does not open it again, because it needs storage options, it gives `reopened` too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store

MIB = 1 << 20
HOSTILE = b"\r\n--==0==--\r\n\x00\xff\x1a" + bytes(range(256)) * 3
BAD_NAMES = [
    "",
    "/a",
    "a/",
    "a//b",
    "a/../b",
    "../a",
    ".a",
    "a/.b",
    "A",
    "README.md",
    "a/RESTORE.md",
    "RESTORE.md/a",
    "a b",
    "a\\b",
    "ä",
    "a\n",
    "a/b/c/d/e",
    "x" * 129,
]
RESERVED_NAMES = ["tmp", "tmp/a"]


def outcome_of_put(store: DeleteStore, name: str, data: bytes) -> str:
    """What a put came to, as a word that crosses processes."""
    try:
        store.put_new(name, data)
    except ConflictError:
        return "conflict"
    return "stored"


class StoreContract:
    """S1 to S7, each as what a caller sees."""

    @pytest.fixture
    def store(self) -> DeleteStore:
        raise NotImplementedError

    @pytest.fixture
    def reopened(self, store: DeleteStore) -> Callable[[], DeleteStore]:
        """Another handle on the same place, independent of `store`, each time it is called."""
        return lambda: open_store(store.url)

    @pytest.fixture
    def unreachable(self) -> DeleteStore:
        raise NotImplementedError

    # S1: durable when it returns (that it survives a power cut is shown per store)

    def test_s1_what_was_stored_is_there_for_everyone_else(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        store.put_new("packs/ab/one", HOSTILE)

        assert reopened().get("packs/ab/one") == HOSTILE

    def test_s1_storing_the_same_again_succeeds_whoever_stored_it(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        store.put_new("packs/one", HOSTILE)

        store.put_new("packs/one", HOSTILE)
        reopened().put_new("packs/one", HOSTILE)

        assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_s1_every_kind_of_buffer_is_stored_as_it_was(
        self, store: DeleteStore, kind: Callable[[bytearray], bytes | bytearray | memoryview]
    ) -> None:
        buffer = bytearray(HOSTILE)

        store.put_new("one", kind(buffer))
        buffer[:] = bytes(len(buffer))

        assert store.get("one") == HOSTILE

    def test_s1_part_of_a_reused_buffer_is_stored_without_the_rest(self, store: DeleteStore) -> None:
        store.put_new("one", memoryview(HOSTILE)[5:100])

        assert store.get("one") == HOSTILE[5:100]

    # S2: never changes what is there

    @pytest.mark.parametrize("there", [b"", b"first", b"first and more", bytes(3 * MIB)], ids=len)
    def test_s2_put_new_never_changes_what_is_there(self, store: DeleteStore, there: bytes) -> None:
        store.put_new("packs/one", there)

        for other in (b"firsT", b"first and", b"", bytes(3 * MIB - 1) + b"\1"):
            if other != there:
                with pytest.raises(ConflictError) as caught:
                    store.put_new("packs/one", other)
                assert caught.value.code is Code.OBJECT_EXISTS

        assert store.get("packs/one") == there

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        racers = 6
        start = threading.Barrier(racers)

        def race(racer: int) -> list[str]:
            handle = reopened() if racer % 2 else store
            outcomes = []
            for number in range(15):
                start.wait(timeout=30)
                outcomes.append(outcome_of_put(handle, f"race/{number}", f"{racer}".encode() * 1000))
            return outcomes

        with ThreadPoolExecutor(racers) as pool:
            outcomes = list(pool.map(race, range(racers)))

        for number in range(15):
            (winner,) = [racer for racer in range(racers) if outcomes[racer][number] == "stored"]
            assert store.get(f"race/{number}") == f"{winner}".encode() * 1000

    def test_s2_threads_that_race_with_the_same_bytes_all_succeed(self, store: DeleteStore) -> None:
        start = threading.Barrier(4)

        def race(_racer: int) -> list[str]:
            start.wait(timeout=30)
            return [outcome_of_put(store, f"same/{number}", HOSTILE) for number in range(20)]

        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(race, range(4)))

        assert outcomes == [["stored"] * 20] * 4

    # S3: lists are complete and fresh, or raise

    def test_s3_a_list_is_complete_and_sorted_and_has_sizes(self, store: DeleteStore) -> None:
        names = [f"packs/{number % 7:02x}/{number:05d}" for number in range(300)] + ["top", "founding/0/a", "a.b-c_d"]
        for number, name in enumerate(names):
            store.put_new(name, bytes(number))

        listed = store.list("")

        assert listed == sorted((ObjectInfo(name, size) for size, name in enumerate(names)), key=lambda info: info.name)

    def test_s3_a_prefix_is_a_folder(self, store: DeleteStore) -> None:
        for name in ("packs/ab/one", "packs/two", "packs2/three", "packs-old"):
            store.put_new(name, b"")

        assert [info.name for info in store.list("packs/")] == ["packs/ab/one", "packs/two"]
        assert [info.name for info in store.list("packs/ab/")] == ["packs/ab/one"]

    @pytest.mark.parametrize("prefix", ["packs", "/", "packs//", "Packs/", "../", "tmp/", "RESTORE.md/"])
    def test_s3_a_prefix_that_stores_would_read_differently_is_refused(self, store: DeleteStore, prefix: str) -> None:
        with pytest.raises(ConfigurationError):
            store.list(prefix)

    def test_s3_an_empty_list_is_an_answer(self, store: DeleteStore) -> None:
        store.put_new("packs/one", b"")

        assert store.list("snapshots/") == []
        assert store.list("packs/one/") == []

    def test_s3_a_list_is_fresh_after_somebody_else_changed_the_store(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        other = reopened()
        assert store.list("packs/") == []

        other.put_new("packs/one", b"1")
        assert store.list("packs/") == [ObjectInfo("packs/one", 1)]

        other.delete("packs/one")
        assert store.list("packs/") == []

    def test_s3_a_list_beside_writers_holds_everything_stored_before_it(self, store: DeleteStore) -> None:
        stored: list[str] = []

        def write(writer: int) -> None:
            for number in range(100):
                name = f"packs/{number % 5}/{writer}-{number}"
                store.put_new(name, b"x")
                stored.append(name)

        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write, writer) for writer in range(3)]
            while not all(writer.done() for writer in writers):
                before = set(stored)
                assert before <= {info.name for info in store.list("packs/")}
        assert len(stored) == 300
        assert {info.name for info in store.list("packs/")} == set(stored)

    # S4: exactly the bytes asked for

    @pytest.mark.parametrize(
        ("start", "length"), [(0, None), (0, 0), (0, 1), (3, 4), (9, 1), (10, 0), (10, None), (4, None), (0, 10)]
    )
    def test_s4_get_returns_exactly_the_range(self, store: DeleteStore, start: int, length: int | None) -> None:
        store.put_new("one", b"0123456789")

        expected = b"0123456789"[start:] if length is None else b"0123456789"[start : start + length]
        assert store.get("one", start=start, length=length) == expected

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (11, None), (0, 1 << 60)])
    def test_s4_get_is_never_short(self, store: DeleteStore, start: int, length: int | None) -> None:
        store.put_new("one", b"0123456789")

        with pytest.raises(StorageError) as caught:
            store.get("one", start=start, length=length)

        assert caught.value.code is Code.SHORT_READ

    @pytest.mark.parametrize(("start", "length"), [(-1, None), (-1, 1), (0, -1), (5, -5)])
    def test_s4_negative_ranges_are_refused(self, store: DeleteStore, start: int, length: int | None) -> None:
        store.put_new("one", b"0123456789")

        with pytest.raises(ConfigurationError):
            store.get("one", start=start, length=length)

    # S5: "not found" and "cannot reach" are different answers

    @pytest.mark.parametrize("name", ["nothing", "packs", "packs/nothing", "packs/one/nothing", "no/such/folder"])
    def test_s5_what_is_not_there_is_not_found(self, store: DeleteStore, name: str) -> None:
        store.put_new("packs/one", b"")

        with pytest.raises(NotFoundError) as caught:
            store.get(name)

        assert caught.value.code is Code.NO_OBJECT

    @pytest.mark.parametrize("verb", ["get", "list", "list a folder", "put_new", "delete"])
    def test_s5_a_store_that_is_not_there_fails_every_verb(self, unreachable: DeleteStore, verb: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: unreachable.get("packs/one"),
            "list": lambda: unreachable.list(""),
            "list a folder": lambda: unreachable.list("packs/"),
            "put_new": lambda: unreachable.put_new("packs/one", b""),
            "delete": lambda: unreachable.delete("packs/one"),
        }

        with pytest.raises(StorageError) as caught:
            calls[verb]()

        assert caught.value.code is Code.STORE_MISSING

    # S6: names

    @pytest.mark.parametrize("name", [*BAD_NAMES, *RESERVED_NAMES], ids=repr)
    def test_s6_what_is_no_name_is_refused_by_every_verb(self, store: DeleteStore, name: str) -> None:
        with pytest.raises(ConfigurationError):
            store.get(name)
        with pytest.raises(ConfigurationError):
            store.put_new(name, b"")
        with pytest.raises(ConfigurationError):
            store.delete(name)

        assert store.list("") == []

    @pytest.mark.parametrize(
        "name", ["a", "0", "a.b", "a_b-c", "x" * 128, "a/b/c/d", "tmp2/a", "packs/tmp", "RESTORE.md"]
    )
    def test_s6_every_valid_name_can_be_stored_and_listed(self, store: DeleteStore, name: str) -> None:
        store.put_new(name, b"1")

        assert store.get(name) == b"1"
        assert store.list("") == [ObjectInfo(name, 1)]

    # S7: nothing partial is visible

    def test_s7_readers_beside_writers_see_whole_objects_alone(self, store: DeleteStore) -> None:
        size = 2 * MIB
        done = threading.Event()

        def write(writer: int) -> None:
            for number in range(8):
                store.put_new(f"packs/{writer}-{number}", bytes([number]) * size)

        def read() -> int:
            seen = 0
            last = False
            while not last:
                last = done.is_set()  # one look after the last write, so that no reader comes away without any
                for info in store.list("packs/"):
                    number = int(info.name.rsplit("-", 1)[1])
                    assert info.size_bytes == size
                    assert store.get(info.name) == bytes([number]) * size
                    seen += 1
            return seen

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                list(pool.map(write, range(2)))
            finally:
                done.set()
            assert all(reader.result() >= 16 for reader in readers)

    # delete

    def test_deleting_removes_the_object_and_nothing_else(self, store: DeleteStore) -> None:
        store.put_new("packs/one", b"1")
        store.put_new("packs/two", b"2")

        store.delete("packs/one")

        assert store.list("") == [ObjectInfo("packs/two", 1)]
        with pytest.raises(NotFoundError):
            store.get("packs/one")

    @pytest.mark.parametrize("name", ["nothing", "packs", "packs/one/nothing", "no/such/folder"])
    def test_deleting_what_is_not_there_does_nothing(self, store: DeleteStore, name: str) -> None:
        store.put_new("packs/one", b"1")

        store.delete(name)

        assert store.list("") == [ObjectInfo("packs/one", 1)]

    def test_a_name_is_free_again_after_deleting(self, store: DeleteStore) -> None:
        store.put_new("one", b"1")
        store.delete("one")

        store.put_new("one", b"2")

        assert store.get("one") == b"2"
