"""Requests beside each other: where each answer takes long, those that need not wait for one another do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from safebackup.storage import LocalStore, MemoryStore, ReadStore

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")
AT_ONCE = 4  # two callers at most do this at a time; some servers give one client no more than eight connections


def is_far(store: ReadStore) -> bool:
    """Whether waiting for answers is what takes time. A folder and memory answer at once, and threads cost more.

    A store round another one is as far as that one, unless it has an `is_far` of its own.
    """
    while True:
        told = getattr(store, "is_far", None)
        if isinstance(told, bool):
            return told
        inner = getattr(store, "store", None)
        if inner is None:
            return not isinstance(store, LocalStore | MemoryStore)
        store = inner


def at_once(store: ReadStore, act: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `act` gives for each item, in their order; several under way at once if the store is far.

    No more than a few results are kept, however long the caller takes. What `act` raises comes where its result would.
    """
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) < 2 or not is_far(store):
        yield from map(act, chain(first, items))
        return
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="safebackup-requests")
    upcoming: deque[Future[R]] = deque()
    try:
        for item in chain(first, items):
            upcoming.append(pool.submit(act, item))
            if len(upcoming) == AT_ONCE:
                yield upcoming.popleft().result()
        while upcoming:
            yield upcoming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def both(store: ReadStore, first: Callable[[], T], second: Callable[[], S]) -> tuple[T, S]:
    """What both give: at the same time if the store is far, else one after the other. The first's error goes first."""
    if not is_far(store):
        return first(), second()
    with ThreadPoolExecutor(1, thread_name_prefix="safebackup-requests") as pool:
        beside = pool.submit(second)
        result = first()
        return result, beside.result()


def one_ahead(store: ReadStore, prepare: Callable[[T], object], items: Iterable[T]) -> Iterator[T]:
    """Each item once it was prepared; if the store is far, the next one is prepared meanwhile."""
    if not is_far(store):
        for item in items:
            prepare(item)
            yield item
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="safebackup-ahead")
    upcoming: deque[tuple[T, Future[object]]] = deque()
    try:
        for item in items:
            upcoming.append((item, pool.submit(prepare, item)))
            if len(upcoming) == 2:
                yield _prepared(*upcoming.popleft())
        while upcoming:
            yield _prepared(*upcoming.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared(item: T, done: Future[object]) -> T:
    done.result()
    return item
