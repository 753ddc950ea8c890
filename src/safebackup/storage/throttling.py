"""A store that is slowed down to so many bytes a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs

from safebackup.clock import Clock
from safebackup.errors import ConfigurationError
from safebackup.storage.store import AppendStore, ObjectInfo

Sleep = Callable[[float], object]


def throttled(store: AppendStore, bytes_per_second: int, clock: Clock, *, sleep: Sleep = time.sleep) -> ThrottledStore:
    """`store`, with what is put and got through it kept to `bytes_per_second` on average, both together.

    An object is handed over at once, and what comes after it waits: over seconds the rate is kept, within one it is
    not. Listing is not counted. `sleep` may return early, which lets the next transfer begin early.

    Raises:
        ConfigurationError: the rate is not above zero.
    """
    if bytes_per_second <= 0:
        raise ConfigurationError(
            f"{bytes_per_second!r} is no number of bytes a second", hint="Give one above 0, or leave the limit out."
        )
    return ThrottledStore(store, _Budget(bytes_per_second, clock, sleep))


@attrs.define(eq=False)
class _Budget:
    """What was transferred beyond what time has allowed; shared by all threads."""

    rate: int
    clock: Clock
    sleep: Sleep
    _paid_at: float = 0.0  # the moment, on the monotonic clock, at which all that was taken is allowed
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def wait(self, upcoming: int) -> None:
        """Wait until what was taken before is paid for, and take `upcoming` bytes."""
        with self._lock:
            now = self.clock.monotonic()
            begins = max(now, self._paid_at)
            self._paid_at = begins + upcoming / self.rate
        if begins > now:
            self.sleep(begins - now)

    def charge(self, count: int) -> None:
        """Take `count` bytes that were transferred already."""
        with self._lock:
            self._paid_at += count / self.rate


@attrs.frozen(eq=False)
class ThrottledStore:
    """Another store, slowed down; made by `throttled`."""

    store: AppendStore
    _budget: _Budget = attrs.field(repr=False)

    @property
    def url(self) -> str:
        """Where this is, without secrets."""
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        self._budget.wait(length or 0)
        data = self.store.get(name, start=start, length=length)
        if length is None:
            self._budget.charge(len(data))
        return data

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`."""
        return self.store.list(prefix)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`."""
        self._budget.wait(memoryview(data).nbytes)
        self.store.put_new(name, data)
