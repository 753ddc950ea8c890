"""Stores that fail: power cuts, faults, lost answers, and bytes that change behind everybody's back.

Every wrapper is a `DeleteStore` that threads may share.
It counts each `get`, `list`, `put_new` and `delete`, from 1.

A sweep over every moment at which the power can fail:

    for moment in itertools.count(1):
        store = CrashingStore(inner, before=moment)
        with contextlib.suppress(SimulatedCrash):
            back_up_into(store)
        check(inner)
        if not store.crashed:
            break
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safebackup.errors import StorageError
from safebackup.storage import DeleteStore, LocalStore, MemoryStore, ObjectInfo, memory

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The power failed. No `except Exception` of ours can swallow it."""


class _Wrapper:
    def __init__(self, store: DeleteStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._count = 0

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._operate("get", name, lambda: self.store.get(name, start=start, length=length))

    def list(self, prefix: str) -> list[ObjectInfo]:
        return self._operate("list", prefix, lambda: self.store.list(prefix))

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        return self._operate("put_new", name, lambda: self.store.put_new(name, data))

    def delete(self, name: str) -> None:
        return self._operate("delete", name, lambda: self.store.delete(name))

    def _operate(self, verb: str, name: str, act: Callable[[], T]) -> T:
        raise NotImplementedError

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count


class CrashingStore(_Wrapper):
    """The power fails before operation number `before`, and stays off; `crashed` says whether it came to that."""

    def __init__(self, store: DeleteStore, *, before: int) -> None:
        super().__init__(store)
        self.before = before
        self.crashed = False

    def _operate(self, verb: str, name: str, act: Callable[[], T]) -> T:
        if self._next() >= self.before:
            self.crashed = True
            raise SimulatedCrash(f"the power failed before operation {self.before}, or was off already: {verb} {name}")
        return act()


class FaultyStore(_Wrapper):
    """From operation number `at`, `times` operations fail with `StorageError`; with `times=None` all do, for ever.

    With `answer_lost`, a `put_new` or `delete` that fails has taken effect.
    `faults` counts the failures. One that will pass is `retryable`.
    """

    def __init__(self, store: DeleteStore, *, at: int, times: int | None = 1, answer_lost: bool = False) -> None:
        super().__init__(store)
        self.at = at
        self.times = times
        self.answer_lost = answer_lost
        self.faults = 0

    def _operate(self, verb: str, name: str, act: Callable[[], T]) -> T:
        number = self._next()
        if number < self.at or (self.times is not None and number >= self.at + self.times):
            return act()
        with self._lock:
            self.faults += 1
        if self.answer_lost and verb in ("put_new", "delete"):
            act()
        raise StorageError(f"simulated fault: {verb} {name}", retryable=self.times is not None)


class RecordingStore(_Wrapper):
    """Writes down every operation before it is done: `calls` in order, as verb and name, and `counts` by verb."""

    def __init__(self, store: DeleteStore) -> None:
        super().__init__(store)
        self.calls: list[tuple[str, str]] = []

    @property
    def counts(self) -> Counter[str]:
        with self._lock:
            return Counter(verb for verb, _ in self.calls)

    def _operate(self, verb: str, name: str, act: Callable[[], T]) -> T:
        with self._lock:
            self.calls.append((verb, name))
        return act()


def tampered(store: DeleteStore, name: str, data: bytes) -> None:
    """Put `data` in the place of the object, or where none is, as damage or an intruder would: behind the contract."""
    if isinstance(store, LocalStore):
        path = Path(store.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    elif isinstance(store, MemoryStore):
        memory._stores[store.name][name] = data
    else:
        raise TypeError(f"give the store itself, not {type(store).__name__}")
