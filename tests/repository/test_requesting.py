"""Requests beside each other: the same results in the same order, and no more of them at once than was said."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup.clock import SystemClock
from safebackup.repository.requesting import AT_ONCE, at_once, both, is_far, one_ahead
from safebackup.storage import LocalStore, MemoryStore
from safebackup.storage.throttling import throttled
from safebackup.testing import RecordingStore
from safebackup.testing.faults import FarStore

_numbers = itertools.count()


def near() -> MemoryStore:
    """A store in memory."""
    store = MemoryStore(f"requesting-{next(_numbers)}")
    store.create_root()
    return store


def far(*, latency: float = 0.02) -> FarStore:
    """The same behind a line."""
    return FarStore(near(), latency=latency)


def test_a_folder_and_memory_are_near_behind_any_wrapper_and_every_other_store_is_far(tmp_path: Path) -> None:
    class Somebodys:
        url = "somebodys://store"

    assert not is_far(near())
    assert not is_far(RecordingStore(near()))
    assert not is_far(throttled(LocalStore(tmp_path), 1 << 20, SystemClock()))
    assert is_far(throttled(far(), 1 << 20, SystemClock()))
    assert is_far(RecordingStore(far()))
    assert is_far(Somebodys())  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [near, far])
@pytest.mark.parametrize("count", [0, 1, 2, 3 * AT_ONCE + 1])
def test_results_come_in_the_order_of_what_was_asked(place: Callable[[], MemoryStore | FarStore], count: int) -> None:
    store = place()
    for number in range(count):
        store.put_new(f"o/{number}", b"%d" % number)
    names = [f"o/{number}" for number in range(count)]

    assert list(at_once(store, store.get, names)) == [b"%d" % number for number in range(count)]


def test_requests_overlap_and_never_more_of_them_than_was_said() -> None:
    store = far()

    list(at_once(store, store.list, ["a/"] * (4 * AT_ONCE)))

    assert store.at_once == AT_ONCE
    assert store.rounds < 4 * AT_ONCE  # each would have waited for the one before


def test_who_takes_results_slowly_finds_no_more_of_them_ready_than_may_be_under_way() -> None:
    store = far(latency=0.001)
    results = at_once(store, store.list, (f"p{number}/" for number in range(1000)))

    next(results)
    results.close()  # type: ignore[attr-defined]

    assert len(store.calls) <= AT_ONCE


def test_an_error_comes_in_the_place_of_its_result_and_ends_the_rest() -> None:
    store = far(latency=0.001)

    def act(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = at_once(store, act, range(100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert not list(results)


def test_both_are_done_at_the_same_time_if_the_store_is_far_and_else_in_order() -> None:
    meeting = threading.Barrier(2, timeout=10)
    assert both(far(), meeting.wait, meeting.wait) in ((0, 1), (1, 0))

    order: list[int] = []
    both(near(), lambda: order.append(1), lambda: order.append(2))
    assert order == [1, 2]


def test_the_error_of_the_first_of_both_goes_first_and_none_is_lost() -> None:
    def fail(what: str) -> None:
        raise ValueError(what)

    for store in (near(), far()):
        with pytest.raises(ValueError, match="first"):
            both(store, lambda: fail("first"), lambda: fail("second"))
        with pytest.raises(ValueError, match="second"):
            both(store, lambda: None, lambda: fail("second"))


@pytest.mark.parametrize("place", [near, far])
def test_each_item_is_prepared_before_it_comes(place: Callable[[], MemoryStore | FarStore]) -> None:
    prepared: list[int] = []
    for number in one_ahead(place(), prepared.append, range(5)):
        assert number in prepared
    assert prepared == list(range(5))


def test_the_next_item_is_prepared_while_this_one_is_used() -> None:
    begun = threading.Event()
    items = one_ahead(far(), lambda number: begun.set() if number == 1 else None, range(3))

    assert next(items) == 0

    assert begun.wait(10)
    assert list(items) == [1, 2]
