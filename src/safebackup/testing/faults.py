"""Stores that fail: power cuts, faults, full disks and lost answers, for the test of a script that has to survive them.

Each is a `DeleteStore` round another one, and threads may share it.
Its operations are each `get`, `list`, `put_new` and `delete`, counted from 1. A repository is given it so:

    repository = attrs.evolve(repository, store=FaultyStore(open_store(URL), at=5))

A sweep over every moment at which the power can fail, each on a copy, so that the operations are the same:

    for moment in itertools.count(1):
        copy = copied(inner)
        store = CrashingStore(copy, before=moment)
        with contextlib.suppress(SimulatedCrash):
            back_up_into(store)
        check(copy)
        if not store.crashed:
            break
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar, get_args

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo

T = TypeVar("T")
Verb: TypeAlias = Literal["get", "list", "put_new", "delete"]

_CODES = (Code.STORE_FAILED, Code.STORE_FULL, Code.STORE_DENIED, Code.STORE_MISSING, Code.SHORT_READ)


class SimulatedCrash(BaseException):
    """The power failed. It is no `Exception`, so that no handler of errors swallows it."""


class _Wrapper:
    def __init__(self, store: DeleteStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._count = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"

    @property
    def url(self) -> str:
        """That of the store inside."""
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`, or it fails."""
        return self._operate("get", name, lambda: self.store.get(name, start=start, length=length))

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`, or it fails."""
        return self._operate("list", prefix, lambda: self.store.list(prefix))

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`, or it fails."""
        return self._operate("put_new", name, lambda: self.store.put_new(name, data))

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`, or it fails."""
        return self._operate("delete", name, lambda: self.store.delete(name))

    def _operate(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
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

    def _operate(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
        if self._next() >= self.before:
            self.crashed = True
            raise SimulatedCrash(f"the power failed before operation {self.before}, or was off already: {verb} {name}")
        return act()


class FaultyStore(_Wrapper):
    """From operation number `at`, `times` operations fail with `StorageError`; with `times=None` all do, for ever.

    With `verb`, or with `prefix`, the beginning of a name, only such operations are counted and fail. `code` says as
    what: `STORE_FULL` with `verb="put_new"` is a full disk, `SHORT_READ` with `verb="get"` an object that was cut.
    With `answer_lost`, a `put_new` or `delete` that fails has taken effect.
    `faults` counts the failures. One that will pass is `retryable`.
    """

    def __init__(
        self,
        store: DeleteStore,
        *,
        at: int = 1,
        times: int | None = 1,
        verb: Verb | None = None,
        prefix: str = "",
        code: Code = Code.STORE_FAILED,
        answer_lost: bool = False,
    ) -> None:
        super().__init__(store)
        # A rule that never holds would let a test pass in which nothing ever failed.
        if verb is not None and verb not in get_args(Verb):
            raise ConfigurationError(f"a store has no {verb!r}", hint=f"It has {', '.join(get_args(Verb))}.")
        if code not in _CODES:
            raise ConfigurationError(f"no store fails with {code!r}", hint=f"Give one of {', '.join(_CODES)}.")
        if at < 1 or (times is not None and times < 1):
            raise ConfigurationError(f"at={at}, times={times}: nothing would fail", hint="Both are counted from 1.")
        self.at = at
        self.times = times
        self.verb = verb
        self.prefix = prefix
        self.code = code
        self.answer_lost = answer_lost
        self.faults = 0

    def _operate(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
        if self.verb not in (None, verb) or not name.startswith(self.prefix):
            return act()
        number = self._next()
        if number < self.at or (self.times is not None and number >= self.at + self.times):
            return act()
        with self._lock:
            self.faults += 1
        if self.answer_lost and verb in ("put_new", "delete"):
            act()
        passes = self.times is not None and self.code is Code.STORE_FAILED
        raise StorageError(f"simulated fault: {verb} {name}", code=self.code, retryable=passes)


class RecordingStore(_Wrapper):
    """Writes down every operation before it is done: `calls` in order, as verb and name, and `counts` by verb."""

    def __init__(self, store: DeleteStore) -> None:
        super().__init__(store)
        self.calls: list[tuple[str, str]] = []

    @property
    def counts(self) -> Counter[str]:
        """How often each verb was called."""
        with self._lock:
            return Counter(verb for verb, _ in self.calls)

    def _operate(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
        with self._lock:
            self.calls.append((verb, name))
        return act()


class FarStore(RecordingStore):
    """A recording store at the end of a long line: each operation takes `latency` seconds longer.

    `at_once` says how many operations were under way together at most, and `rounds` how many waited for one another:
    that many times the latency is what the line costs, however many operations there were.
    """

    is_far = True

    def __init__(self, store: DeleteStore, *, latency: float = 0.05) -> None:
        super().__init__(store)
        self.latency = latency
        self.at_once = 0
        self.rounds = 0
        self._under_way = 0

    def _operate(self, verb: Verb, name: str, act: Callable[[], T]) -> T:
        with self._lock:
            mine = self.rounds + 1  # after all that has ended; those that begin before this one ends share its round
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
        try:
            time.sleep(self.latency)
            return super()._operate(verb, name, act)
        finally:
            with self._lock:
                self._under_way -= 1
                self.rounds = max(self.rounds, mine)
