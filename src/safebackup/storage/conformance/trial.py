"""One check at work: its handles on the store, its folder, its time, and what it may say."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

import attrs

from safebackup.clock import Clock
from safebackup.errors import Code, InternalError, SafeBackupError, StorageError
from safebackup.findings import Finding
from safebackup.storage.conformance.subject import Subject
from safebackup.storage.store import DeleteStore, ObjectInfo

T = TypeVar("T")
MIB = 1 << 20
THREADS = 8
_NO_ANSWER = (Code.STORE_DENIED, Code.STORE_FULL, Code.STORE_MISSING)


class CheckFailedError(Exception):
    """A guarantee was seen broken."""


class NotTriedError(Exception):
    """The check could not be made; `cut_short` if it should have been, and another day it may be."""

    def __init__(self, why: str, *, cut_short: bool = False) -> None:
        super().__init__(why)
        self.cut_short = cut_short


class _OverError(BaseException):
    """The check was given up while this thread still worked for it; nothing may be done to the store any more."""


@attrs.frozen(kw_only=True)
class Check:
    """A check: what it is called, which guarantee it is about, and what it does.

    `act` returns what it saw, or raises. `seconds` is what it may take of the time for all;
    one that is `thorough` is left out unless everything is asked for. One that is not `essential` shows a capability,
    on which no safety rests.
    """

    name: str
    guarantee: str
    seconds: float
    act: Callable[[Trial], str]
    thorough: bool = False
    essential: bool = True


Act: TypeAlias = Callable[["Trial"], str]


def check(
    name: str, guarantee: str, *, seconds: float = 15, thorough: bool = False, essential: bool = True
) -> Callable[[Act], Check]:
    """Make a function a check."""

    def made(act: Act) -> Check:
        return Check(name=name, guarantee=guarantee, seconds=seconds, act=act, thorough=thorough, essential=essential)

    return made


@attrs.define(eq=False)
class Trial:
    """What a check works with. Its names begin with `folder`, and a handle refuses any other."""

    subject: Subject
    folder: str
    thorough: bool
    clock: Clock
    until: float  # on the monotonic clock
    learned: dict[str, Any] = attrs.field(factory=dict)
    findings: list[Finding] = attrs.field(factory=list)
    pending: dict[int, float] = attrs.field(factory=dict)  # thread, and since when it has been waiting for the store
    over: threading.Event = attrs.field(factory=threading.Event)
    ending: list[Callable[[], object]] = attrs.field(factory=list)  # what ends its processes and its connections
    store: DeleteStore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = self.reopened()

    def reopened(self) -> DeleteStore:
        """Another handle, independent of those before."""
        opened = self.subject.open()
        self.ending.append(getattr(opened, "close", lambda: None))
        return Held(opened, self)

    def unreachable(self) -> DeleteStore:
        """A handle on a store that is not there."""
        if self.subject.unreachable is None:
            raise NotTriedError("no address is known at which there is nothing")
        return self.subject.unreachable()

    def name(self, tail: str) -> str:
        """A name of this check's own."""
        return f"{self.folder}{tail}"

    def end(self) -> None:
        """Let nothing more be done, end its processes, and let connections go."""
        self.over.set()
        for each in self.ending:
            with suppress(Exception):  # of whatever kind the store is
                each()

    def seconds_left(self) -> float:
        """Until it has to be done."""
        return self.until - self.clock.monotonic()

    def has_time(self, seconds: float = 0) -> bool:
        """Whether there is more time left than this."""
        return self.seconds_left() > seconds

    def learn(self, **capabilities: object) -> None:
        """Write down what the store was seen to do."""
        self.learned |= capabilities

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Write down since when a thread has been waiting for the store."""
        me = threading.get_ident()
        self.pending[me] = self.clock.monotonic()
        try:
            yield
        finally:
            self.pending.pop(me, None)

    def longest_wait(self) -> float:
        """For how many seconds the store has owed an answer."""
        now = self.clock.monotonic()
        return max((now - began for began in list(self.pending.values())), default=0.0)


@attrs.frozen(eq=False)
class Held:
    """A handle that touches one folder alone, and nothing at all once its check is over."""

    store: DeleteStore
    _trial: Trial = attrs.field(repr=False)

    @property
    def url(self) -> str:
        """Where the whole store is."""
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        with self._trial.waiting():
            return self.store.get(self._own(name), start=start, length=length)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`."""
        with self._trial.waiting():
            return self.store.list(self._own(prefix))

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`."""
        with self._trial.waiting():
            self.store.put_new(self._own(name), data)

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`."""
        with self._trial.waiting():
            self.store.delete(self._own(name))

    def _own(self, name: str) -> str:
        if self._trial.over.is_set():
            raise _OverError
        if not name.startswith(self._trial.folder):
            raise InternalError(f"a check wanted to touch {name!r}, outside of {self._trial.folder!r}")
        return name


def require(condition: bool, otherwise: str) -> None:
    """Fail the check unless this holds."""
    if not condition:
        raise CheckFailedError(otherwise)


def raised_by(act: Callable[[], object]) -> Exception | None:
    """What a call raises."""
    try:
        act()
    except Exception as error:
        return error
    return None


def told(error: BaseException | None) -> str:
    """What came of a call, in one line; of errors that are not ours the class alone, as they may hold a secret."""
    if error is None:
        return "no error"
    if isinstance(error, SafeBackupError):
        return f"{type(error).__name__} [{error.code}]"
    return f"a foreign {type(error).__name__}"


def is_no_answer(error: BaseException) -> bool:
    """Whether an error says nothing about the store, but that it cannot be tried now."""
    return isinstance(error, StorageError) and (error.retryable or error.code in _NO_ANSWER)


def payload(seed: str, size: int) -> bytes:
    """Bytes that look random, the same in every process."""
    return hashlib.shake_256(seed.encode()).digest(size)


def in_threads(act: Callable[[T], object], items: Iterable[T], trial: Trial, *, threads: int = THREADS) -> None:
    """Do `act` to each, in threads that no exit waits for; the first error is raised, and ends the others.

    Raises:
        NotTriedError: the time was over first.
    """
    waiting: SimpleQueue[T] = SimpleQueue()
    for item in items:
        waiting.put(item)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                act(waiting.get_nowait())
        except Empty:
            ended.put(None)
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in range(threads):
            with suppress(Empty):
                error = ended.get(timeout=max(trial.seconds_left(), 0.01))
                if error is not None:
                    raise error
                continue
            raise NotTriedError("the store was too slow for it", cut_short=True)
    finally:
        stop.set()
