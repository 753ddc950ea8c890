"""The failing stores fail exactly as they say, or nothing that is tested with them is."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.testing import CrashingStore, FaultyStore, RecordingStore, SimulatedCrash

pytestmark = pytest.mark.portable


@pytest.fixture
def inner() -> DeleteStore:
    store = open_store(f"memory://{uuid.uuid4().hex}", create=True)
    store.put_new("old", b"old")
    return store


def use_every_verb(store: DeleteStore) -> None:
    store.put_new("new", b"new")
    store.get("new", start=1, length=1)
    store.list("")
    store.delete("old")


def names(store: DeleteStore) -> list[str]:
    return [info.name for info in store.list("")]


def test_without_a_fault_a_wrapper_is_the_store_itself(inner: DeleteStore) -> None:
    for store in (CrashingStore(inner, before=99), FaultyStore(inner, at=99), RecordingStore(inner)):
        assert store.url == inner.url
        assert store.get("old", start=1, length=1) == b"l"
        assert store.list("") == [ObjectInfo("old", 3)]
        with pytest.raises(ConflictError):
            store.put_new("old", b"other")
        with pytest.raises(NotFoundError):
            store.get("nothing")


@pytest.mark.parametrize(("before", "left"), [(1, ["old"]), (2, ["new", "old"]), (4, ["new", "old"])])
def test_a_crash_comes_before_the_operation(inner: DeleteStore, before: int, left: list[str]) -> None:
    store = CrashingStore(inner, before=before)

    with pytest.raises(SimulatedCrash):
        use_every_verb(store)

    assert store.crashed
    assert names(inner) == left


def test_a_crash_that_comes_after_the_last_operation_never_comes(inner: DeleteStore) -> None:
    store = CrashingStore(inner, before=5)

    use_every_verb(store)

    assert not store.crashed
    assert names(inner) == ["new"]


def test_after_a_crash_the_power_is_off(inner: DeleteStore) -> None:
    store = CrashingStore(inner, before=1)

    for _ in range(3):
        with pytest.raises(SimulatedCrash):
            store.put_new("new", b"new")

    assert names(inner) == ["old"]


def test_no_handler_of_errors_swallows_a_crash() -> None:
    assert not issubclass(SimulatedCrash, Exception)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_fault_strikes_once_and_the_operation_was_not_done(inner: DeleteStore, at: int) -> None:
    store = FaultyStore(inner, at=at)

    with pytest.raises(StorageError) as caught:
        use_every_verb(store)
    assert caught.value.retryable
    assert names(inner) == (["old"] if at == 1 else ["new", "old"])

    use_every_verb(store)
    assert names(inner) == ["new"]
    assert store.faults == 1


def test_a_fault_can_last_for_some_operations_or_for_ever(inner: DeleteStore) -> None:
    twice = FaultyStore(inner, at=2, times=2)
    always = FaultyStore(inner, at=2, times=None)

    answers = {"twice": "", "always": ""}
    for name, store in (("twice", twice), ("always", always)):
        for _ in range(6):
            try:
                store.list("")
                answers[name] += "."
            except StorageError as error:
                answers[name] += "x"
                assert error.retryable == (name == "twice")

    assert answers == {"twice": ".xx...", "always": ".xxxxx"}


def test_a_lost_answer_is_a_failure_that_took_effect(inner: DeleteStore) -> None:
    store = FaultyStore(inner, at=1, times=None, answer_lost=True)

    with pytest.raises(StorageError):
        store.put_new("new", b"new")
    with pytest.raises(StorageError):
        store.delete("old")
    with pytest.raises(StorageError):
        store.get("new")

    assert names(inner) == ["new"]


def test_a_recording_has_every_operation_in_order(inner: DeleteStore) -> None:
    store = RecordingStore(inner)

    use_every_verb(store)
    with pytest.raises(NotFoundError):
        store.get("old")

    assert store.calls == [("put_new", "new"), ("get", "new"), ("list", ""), ("delete", "old"), ("get", "old")]
    assert store.counts == {"put_new": 1, "get": 2, "list": 1, "delete": 1}


def test_threads_share_one_count(inner: DeleteStore) -> None:
    store = FaultyStore(inner, at=51, times=20)

    def fails(_number: int) -> bool:
        try:
            store.get("old")
        except StorageError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(fails, range(200))) == 20


def test_a_rule_counts_and_fails_what_it_names_alone(inner: DeleteStore) -> None:
    store = FaultyStore(inner, verb="put_new", prefix="packs/", at=2)
    store.put_new("indexes/one", b"")
    store.put_new("packs/one", b"")
    store.list("packs/")

    with pytest.raises(StorageError):
        store.put_new("packs/two", b"")

    assert store.faults == 1
    assert names(inner) == ["indexes/one", "old", "packs/one"]
    assert store.get("packs/one") == b""


def test_a_disk_that_is_full_takes_nothing_and_still_gives_and_forgets(inner: DeleteStore) -> None:
    store = FaultyStore(inner, verb="put_new", times=None, code=Code.STORE_FULL)

    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            store.put_new("new", b"new")
        assert caught.value.code is Code.STORE_FULL
        assert not caught.value.retryable
    assert store.get("old") == b"old"
    store.delete("old")

    assert names(inner) == []
    assert store.faults == 2


def test_an_object_that_was_cut_is_never_given_short(inner: DeleteStore) -> None:
    store = FaultyStore(inner, verb="get", code=Code.SHORT_READ)

    with pytest.raises(StorageError) as caught:
        store.get("old")

    assert caught.value.code is Code.SHORT_READ
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"verb": "put"}, "put_new"),
        ({"code": Code.NO_OBJECT}, "store-full"),
        ({"code": "no-space"}, "store-full"),
        ({"at": 0}, "at=0"),
        ({"times": 0}, "times=0"),
    ],
)
def test_a_rule_by_which_nothing_would_fail_is_refused(inner: DeleteStore, rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        FaultyStore(inner, **rule)
