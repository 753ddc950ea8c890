"""RemoteStore on a transport that fails as it is told: what a caller sees, and what it must never see."""

from __future__ import annotations

import array
import copy
import logging
import multiprocessing
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote, quote_plus

import attrs
import pytest

from safebackup.errors import (
    Code,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    SafeBackupError,
    StorageError,
)
from safebackup.storage import DeleteStore, ObjectInfo
from safebackup.storage.remote import Limits, Listed, RemoteStore, Trouble
from safebackup.storage.store import OBJECT_BYTES_MAX
from tests.storage.contract import StoreContract

T = TypeVar("T")

SHORT = Limits(request=1, deadline=0.6, first_answer=0.2)
SOON = 30.0  # seconds, for what would never end otherwise: a busy machine takes its time
PATIENT = Limits(request=1, deadline=20, first_answer=20)
SECRETS = (
    "hunter2",
    "two  spaces",
    "p@ss/w rd+1",
    "back\\slash'quote",
    "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----",
)
NO_ANSWER = [Trouble.UNREACHED, Trouble.UNKNOWN]


class ServerError(Exception):
    """What the library of this transport raises."""

    def __init__(self, trouble: Trouble, said: str = "it said so") -> None:
        super().__init__(said)
        self.trouble = trouble


@attrs.define
class Fault:
    """What happens instead of a request, or after it was carried out; `times` often."""

    verb: str
    error: BaseException
    times: int = 1
    is_carried_out: bool = False


@attrs.define(eq=False)
class Server:
    """A server and what is told of it; `faults` strike in order, each at the next request of its verb."""

    objects: dict[str, bytes] = attrs.field(factory=dict)
    has_root: bool = True
    faults: list[Fault] = attrs.field(factory=list)
    calls: list[str] = attrs.field(factory=list)
    opened: list[DictTransport] = attrs.field(factory=list)
    closed: list[DictTransport] = attrs.field(factory=list)
    lock: threading.RLock = attrs.field(factory=threading.RLock)
    during: Callable[[str], object] = lambda verb: None
    keeps: Callable[[bytes], bytes] = lambda data: data
    gives: Callable[[bytes, int, int], bytes] = lambda data, start, length: data[start : start + length]

    def fails(self, verb: str, trouble: Trouble, times: int = 1, *, is_carried_out: bool = False) -> None:
        self.faults.append(Fault(verb, ServerError(trouble), times, is_carried_out))

    def struck(self, verb: str) -> Fault | None:
        with self.lock:
            self.calls.append(verb)
            found = next((fault for fault in self.faults if fault.verb == verb and fault.times), None)
            if found is not None:
                found.times -= 1
            return found


class DictTransport:
    """A transport to a `Server`, which keeps objects in a dictionary."""

    is_proven = True

    def __init__(self, server: Server, *, is_shared: bool = True, is_exclusive: bool = True) -> None:
        self.is_shared = is_shared
        self.is_exclusive = is_exclusive
        self.server = server
        self.users = 0
        self.overlapped = False
        self._serve("connect", lambda: None)
        server.opened.append(self)

    def reach(self) -> None:
        self._serve("reach", self._root)

    def make_root(self) -> None:
        self._serve("make_root", lambda: setattr(self.server, "has_root", True))

    def read(self, path: str, start: int, length: int) -> bytes:
        def act() -> bytes:
            data = self._found(path)
            if start >= len(data):
                raise ServerError(Trouble.BEYOND)
            return self.server.gives(data, start, length)

        return self._serve("read", act)

    def size(self, path: str) -> int:
        return self._serve("size", lambda: len(self._found(path)))

    def look(self, path: str) -> Listed:
        return self._serve("look", lambda: Listed(path, len(self._found(path))))

    def publish(self, path: str, data: memoryview) -> None:
        def act() -> None:
            self._root()
            kept = self.server.keeps(bytes(data))
            if not self.is_exclusive:
                self.server.objects[path] = kept
            elif self.server.objects.setdefault(path, kept) is not kept:
                raise ServerError(Trouble.TAKEN)

        self._serve("publish", act)

    def entries(self, folder: str) -> Iterator[Listed]:
        def act() -> list[Listed]:
            self._root()
            below = f"{folder}/" if folder else ""
            return [Listed(path, len(data)) for path, data in self.server.objects.items() if path.startswith(below)]

        yield from self._serve("entries", act)
        self._serve("end of entries", lambda: None)

    def remove(self, path: str) -> None:
        def act() -> None:
            self._found(path)
            del self.server.objects[path]

        self._serve("remove", act)

    def trouble_of(self, error: BaseException) -> Trouble:
        return error.trouble if isinstance(error, ServerError) else Trouble.UNKNOWN

    def close(self) -> None:
        self.server.closed.append(self)

    def _root(self) -> None:
        if not self.server.has_root:
            raise ServerError(Trouble.MISSING)

    def _found(self, path: str) -> bytes:
        if path not in self.server.objects:
            raise ServerError(Trouble.MISSING)
        return self.server.objects[path]

    def _serve(self, verb: str, act: Callable[[], T]) -> T:
        server = self.server
        with server.lock:
            self.users += 1
            self.overlapped |= self.users > 1
        try:
            server.during(verb)
            fault = server.struck(verb)
            if fault is not None and not fault.is_carried_out:
                raise fault.error
            with server.lock:
                done = act()
            if fault is not None:
                raise fault.error
            return done
        finally:
            with server.lock:
                self.users -= 1


def store_on(
    server: Server,
    limits: Limits = PATIENT,
    *,
    is_shared: bool = True,
    is_exclusive: bool = True,
    kind: type[DictTransport] = DictTransport,
    secrets: tuple[str, ...] = (),
) -> RemoteStore:
    return RemoteStore(
        "dict://place",
        lambda: kind(server, is_shared=is_shared, is_exclusive=is_exclusive),
        kind="tests.DictTransport",
        limits=limits,
        secrets=secrets,
    )


@pytest.fixture
def server() -> Server:
    return Server({"old": b"0123456789"})


VERBS: dict[str, tuple[str, Callable[[DeleteStore], object]]] = {
    "get": ("read", lambda store: store.get("old")),
    "get nothing": ("size", lambda store: store.get("old", length=0)),
    "list": ("entries", lambda store: [info.name for info in store.list("")]),
    "put_new": ("publish", lambda store: store.put_new("new", b"new")),
    "delete": ("remove", lambda store: store.delete("old")),
}
EXPECTED = {"get": b"0123456789", "get nothing": b"", "list": ["old"], "put_new": None, "delete": None}


class ContractOnADictionary(StoreContract):
    is_shared = True
    is_exclusive = True

    @pytest.fixture
    def server(self) -> Server:
        return Server()

    @pytest.fixture
    def store(self, server: Server) -> DeleteStore:
        return store_on(server, is_shared=self.is_shared, is_exclusive=self.is_exclusive)

    @pytest.fixture
    def reopened(self, server: Server) -> Callable[[], DeleteStore]:
        return lambda: store_on(server, is_shared=self.is_shared, is_exclusive=self.is_exclusive)

    @pytest.fixture
    def unreachable(self) -> DeleteStore:
        return store_on(Server(has_root=False), is_shared=self.is_shared, is_exclusive=self.is_exclusive)


class TestSharedTransport(ContractOnADictionary):
    pass


class TestTransportForOneThread(ContractOnADictionary):
    is_shared = False


class TestTransportThatReplaces(ContractOnADictionary):
    is_exclusive = False

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Not here: what cannot be had from the server is not pretended. Who comes later is still refused."""
        store.put_new("race/1", b"first")

        with pytest.raises(ConflictError):
            reopened().put_new("race/1", b"other")
        assert store.get("race/1") == b"first"


# Retries


@pytest.mark.parametrize("trouble", NO_ANSWER)
@pytest.mark.parametrize("verb", VERBS)
def test_what_gets_no_answer_is_tried_again_on_a_new_connection(server: Server, verb: str, trouble: Trouble) -> None:
    request, act = VERBS[verb]
    server.fails(request, trouble, times=2)

    assert act(store_on(server)) == EXPECTED[verb]

    assert server.calls.count(request) == 3
    assert len(server.opened) == 3
    assert server.closed == server.opened[:2]


@pytest.mark.parametrize("verb", VERBS)
def test_without_an_answer_it_ends_at_the_deadline_as_an_error_that_may_pass(server: Server, verb: str) -> None:
    request, act = VERBS[verb]
    store = store_on(server, SHORT)
    store.get("old")
    server.fails(request, Trouble.UNREACHED, times=10**6)
    begun = time.monotonic()

    with pytest.raises(StorageError) as caught:
        act(store)

    assert SHORT.deadline <= time.monotonic() - begun < SOON
    assert caught.value.code is Code.STORE_FAILED
    assert caught.value.retryable
    assert "it said so" in str(caught.value)
    assert caught.value.hint
    assert not isinstance(caught.value, NotFoundError)


def test_no_pause_goes_beyond_the_deadline() -> None:
    limits = Limits(request=1, deadline=0.6, first_answer=0.6)

    def seconds(_number: int) -> float:
        server = Server()
        server.fails("connect", Trouble.UNREACHED, times=10**6)
        begun = time.monotonic()
        with pytest.raises(StorageError):
            store_on(server, limits).get("old")
        return time.monotonic() - begun

    with ThreadPoolExecutor(16) as pool:
        took = list(pool.map(seconds, range(16)))

    # Pauses grow to seconds: one that went beyond would have lengthened nearly all of them.
    assert min(took) >= 0.6
    assert sorted(took)[len(took) // 2] < 1.5


def test_a_store_that_never_answered_is_given_up_earlier(server: Server) -> None:
    server.fails("read", Trouble.UNREACHED, times=10**6)
    limits = attrs.evolve(SHORT, deadline=SOON)
    begun = time.monotonic()

    with pytest.raises(StorageError):
        store_on(server, limits).get("old")

    assert limits.first_answer <= time.monotonic() - begun < limits.deadline


@pytest.mark.parametrize("answer", [Trouble.MISSING, Trouble.DENIED])
def test_a_refusal_is_an_answer(server: Server, answer: Trouble) -> None:
    store = store_on(server, SHORT)
    server.fails("read", answer)
    with pytest.raises(SafeBackupError):
        store.get("old")
    server.fails("read", Trouble.UNREACHED, times=10**6)
    begun = time.monotonic()

    with pytest.raises(StorageError):
        store.get("old")

    assert time.monotonic() - begun >= SHORT.deadline


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.NO_ROOT, Code.STORE_MISSING),
        (Trouble.DENIED, Code.STORE_DENIED),
        (Trouble.FULL, Code.STORE_FULL),
        (Trouble.REFUSED, Code.STORE_FAILED),
    ],
)
def test_an_answer_is_told_at_once_and_the_connection_is_kept(
    server: Server, verb: str, trouble: Trouble, code: Code
) -> None:
    request, act = VERBS[verb]
    server.fails(request, trouble)
    store = store_on(server)

    with pytest.raises(StorageError) as caught:
        act(store)

    assert caught.value.code is code
    assert not caught.value.retryable
    assert caught.value.hint
    assert server.calls.count(request) == 1
    assert act(store) == EXPECTED[verb]
    assert (len(server.opened), server.closed) == (1, [])


def test_connecting_is_tried_again_too(server: Server) -> None:
    server.fails("connect", Trouble.UNREACHED, times=2)

    assert store_on(server).get("old") == b"0123456789"


def test_a_mistake_of_the_callers_that_shows_when_connecting_is_told_at_once(server: Server) -> None:
    server.faults.append(Fault("connect", ConfigurationError("no such option: colour"), times=10**6))

    with pytest.raises(ConfigurationError, match="colour"):
        store_on(server).get("old")

    assert server.calls == ["connect"]


# Lost answers, and objects that are there already


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_a_put_whose_answer_was_lost_succeeds_once(server: Server, is_exclusive: bool) -> None:
    server.fails("publish", Trouble.UNREACHED, is_carried_out=True)

    store_on(server, is_exclusive=is_exclusive).put_new("new", b"new")

    assert server.objects["new"] == b"new"
    assert server.calls.count("publish") == (2 if is_exclusive else 1)


def test_a_delete_whose_answer_was_lost_succeeds(server: Server) -> None:
    server.fails("remove", Trouble.UNREACHED, is_carried_out=True)

    store_on(server).delete("old")

    assert server.objects == {}


@pytest.mark.parametrize("is_exclusive", [True, False])
@pytest.mark.parametrize("other", [b"", b"9876543210", b"0123456789 and more"])
def test_what_is_taken_by_other_bytes_is_a_conflict_and_untouched(
    server: Server, is_exclusive: bool, other: bytes
) -> None:
    with pytest.raises(ConflictError) as caught:
        store_on(server, is_exclusive=is_exclusive).put_new("old", other)

    assert caught.value.code is Code.OBJECT_EXISTS
    assert server.objects == {"old": b"0123456789"}
    assert_alone(caught.value)
    assert is_exclusive or ("read" in server.calls) == (len(other) == 10)  # the size says it all, if it differs


def test_a_put_that_lost_its_answer_to_somebody_elses_bytes_is_a_conflict(server: Server) -> None:
    server.fails("publish", Trouble.UNREACHED)
    server.during = lambda verb: server.objects.setdefault("new", b"theirs") if verb == "publish" else None

    with pytest.raises(ConflictError):
        store_on(server).put_new("new", b"ours")

    assert server.objects["new"] == b"theirs"


def test_a_name_that_was_taken_and_is_free_when_one_looks_is_stored(server: Server) -> None:
    server.during = lambda verb: server.objects.pop("old", None) if verb == "read" else None

    store_on(server).put_new("old", b"new")

    assert server.objects == {"old": b"new"}


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_a_put_never_says_that_something_was_not_found(server: Server, is_exclusive: bool) -> None:
    server.fails("publish", Trouble.TAKEN if is_exclusive else Trouble.MISSING, times=10**6)

    with pytest.raises(StorageError) as caught:
        store_on(server, SHORT, is_exclusive=is_exclusive).put_new("new", b"new")

    assert caught.value.retryable


@pytest.mark.parametrize("data", [b"", b"some"])
def test_what_is_not_proven_is_read_back(server: Server, data: bytes) -> None:
    class Unproven(DictTransport):
        is_proven = False

    store = store_on(server, kind=Unproven)
    store.put_new("good", data)
    server.keeps = lambda kept: kept[:-1] if kept else b"?"

    with pytest.raises(StorageError, match="does not hold what was written"):
        store.put_new("bad", data)

    assert store.get("good") == data


# "Not found" is never a guess


@pytest.mark.parametrize("trouble", NO_ANSWER)
@pytest.mark.parametrize("verb", VERBS)
def test_what_nobody_knows_is_never_not_found_and_never_empty(server: Server, verb: str, trouble: Trouble) -> None:
    request, act = VERBS[verb]
    for each in (request, "reach"):
        server.fails(each, trouble, times=10**6)
    server.objects.clear()

    with pytest.raises(StorageError) as caught:
        act(store_on(server, SHORT))

    assert caught.value.retryable


def test_an_object_is_not_found_only_if_the_root_answers(server: Server) -> None:
    with pytest.raises(NotFoundError) as caught:
        store_on(server).get("nothing")
    assert caught.value.code is Code.NO_OBJECT
    assert server.calls[-1] == "reach"

    server.has_root = False
    with pytest.raises(StorageError) as gone:
        store_on(server).get("nothing")
    assert gone.value.code is Code.STORE_MISSING

    server.fails("reach", Trouble.DENIED)
    with pytest.raises(StorageError) as denied:
        store_on(server).get("nothing")
    assert denied.value.code is Code.STORE_DENIED

    server.fails("reach", Trouble.UNKNOWN, times=10**6)
    with pytest.raises(StorageError) as unknown:
        store_on(server, SHORT).get("nothing")
    assert unknown.value.retryable


@pytest.mark.parametrize("is_exclusive", [True, False])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_that_the_root_is_gone(verb: str, is_exclusive: bool) -> None:
    server = Server(has_root=False)

    with pytest.raises(StorageError) as caught:
        VERBS[verb][1](store_on(server, is_exclusive=is_exclusive))

    assert caught.value.code is Code.STORE_MISSING
    assert server.objects == {}


def test_creating_the_root_makes_it_and_asks_whether_it_is_there(server: Server) -> None:
    server.has_root = False
    store = store_on(server)

    store.create_root()
    store.create_root()

    assert store.list("packs/") == []
    server.fails("reach", Trouble.NO_ROOT)
    with pytest.raises(StorageError) as caught:
        store.create_root()
    assert caught.value.code is Code.STORE_MISSING


# Lists


@pytest.mark.parametrize("trouble", [*NO_ANSWER, Trouble.MISSING])
def test_a_list_that_breaks_off_is_no_list(server: Server, trouble: Trouble) -> None:
    server.fails("end of entries", trouble)

    assert store_on(server).list("") == [ObjectInfo("old", 10)]
    assert server.calls.count("entries") == 2


@pytest.mark.parametrize("prefix", ["", "packs/"])
@pytest.mark.parametrize("request_", ["entries", "end of entries"])
def test_a_list_that_always_breaks_off_is_never_short(server: Server, prefix: str, request_: str) -> None:
    server.objects["packs/one"] = b""
    missing_is_an_answer = (prefix, request_) == ("packs/", "entries")
    server.fails(request_, Trouble.UNREACHED if missing_is_an_answer else Trouble.MISSING, times=10**6)

    with pytest.raises(StorageError) as caught:
        store_on(server, SHORT).list(prefix)

    assert caught.value.retryable


def test_a_folder_that_is_missing_is_empty_if_the_root_is_there(server: Server) -> None:
    server.fails("entries", Trouble.MISSING)

    assert store_on(server).list("packs/") == []
    assert server.calls[-1] == "reach"


def test_a_list_has_objects_alone_and_each_once(server: Server) -> None:
    class Odd(DictTransport):
        def entries(self, folder: str) -> Iterator[Listed]:
            yield from super().entries(folder)
            for path in ("old", "README.md", "tmp/x", ".hidden", "a b", "a/b/c/d/e", "packs/one"):
                yield Listed(path, 10)

    assert [info.name for info in store_on(server, kind=Odd).list("")] == ["old", "packs/one"]


def test_an_object_that_a_server_takes_for_a_folder_is_not_in_it(server: Server) -> None:
    class Answers(DictTransport):
        def entries(self, folder: str) -> Iterator[Listed]:
            yield Listed(folder, 10)

    assert store_on(server, kind=Answers).list("old/") == []


# Exactly the bytes asked for


@pytest.mark.parametrize(("start", "length"), [(0, None), (0, 10), (3, 4), (3, None)])
def test_a_line_that_was_cut_is_no_short_object(server: Server, start: int, length: int | None) -> None:
    cuts = iter([True])

    def give(data: bytes, start: int, length: int) -> bytes:
        if next(cuts, False):
            raise ServerError(Trouble.UNREACHED, "the line was cut")
        return data[start : start + length]

    server.gives = give

    assert store_on(server).get("old", start=start, length=length) == b"0123456789"[start:][:length]


def test_fewer_bytes_than_the_object_has_are_asked_for_again(server: Server) -> None:
    taken = iter([1, 2])
    server.gives = lambda data, start, length: data[start : start + length - next(taken, 0)]

    assert store_on(server).get("old", start=2, length=5) == b"23456"
    assert server.calls.count("read") == 3


def test_an_object_that_is_shorter_than_asked_for_is_told_at_once(server: Server) -> None:
    with pytest.raises(StorageError) as caught:
        store_on(server).get("old", start=5, length=6)

    assert caught.value.code is Code.SHORT_READ
    assert not caught.value.retryable
    assert server.calls.count("read") == 1


def test_a_server_that_ignores_ranges_is_found_out(server: Server) -> None:
    server.gives = lambda data, start, length: data

    with pytest.raises(StorageError, match="4 bytes were asked for, and 10 came"):
        store_on(server).get("old", start=3, length=4)


@pytest.mark.parametrize(("start", "length"), [(10, None), (10, 0), (0, 0), (4, 0)])
def test_no_bytes_are_an_answer_where_the_object_is_that_long(server: Server, start: int, length: int | None) -> None:
    assert store_on(server).get("old", start=start, length=length) == b""


@pytest.mark.parametrize(("start", "length"), [(11, None), (11, 0), (10, 1), (0, 1 << 60)])
def test_no_bytes_are_no_answer_beyond_its_end(server: Server, start: int, length: int | None) -> None:
    with pytest.raises(StorageError) as caught:
        store_on(server).get("old", start=start, length=length)

    assert caught.value.code is Code.SHORT_READ


@pytest.mark.parametrize(("start", "length"), [(0, None), (0, 0), (0, 1), (0, 1 << 60), (5, None)])
def test_of_nothing_not_even_no_bytes_are_had(server: Server, start: int, length: int | None) -> None:
    with pytest.raises(NotFoundError):
        store_on(server).get("nothing", start=start, length=length)


def test_what_is_longer_than_any_object_is_not_brought_in(server: Server) -> None:
    server.objects = {"longest": bytes(OBJECT_BYTES_MAX), "longer": bytes(OBJECT_BYTES_MAX + 1)}
    store = store_on(server)

    assert len(store.get("longest")) == OBJECT_BYTES_MAX
    assert len(store.get("longer", start=1)) == OBJECT_BYTES_MAX
    assert store.get("longer", start=OBJECT_BYTES_MAX, length=1) == b"\0"
    server.calls.clear()
    for length in (None, OBJECT_BYTES_MAX + 1):
        with pytest.raises(IntegrityError) as caught:
            store.get("longer", length=length)
        assert caught.value.code is Code.DAMAGED_OBJECT
    assert server.calls.count("read") == 1


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_every_buffer_is_stored_by_its_bytes(server: Server, is_exclusive: bool) -> None:
    numbers = array.array("I", [1, 2, 3])
    store = store_on(server, is_exclusive=is_exclusive)

    store.put_new("numbers", memoryview(numbers))
    store.put_new("numbers", memoryview(numbers))

    assert store.get("numbers") == numbers.tobytes()


# Secrets


def assert_alone(error: BaseException) -> None:
    assert (error.__cause__, error.__context__) == (None, None)


def all_that_is_told(error: BaseException) -> str:
    """Everything that a log, a report or a debugger may show of an error."""
    told: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None:
            told += [str(each), repr(each), repr(each.args), repr(vars(each)), *traceback.format_exception(each)]
            todo += [each.__cause__, each.__context__]
    told.append(pickle.dumps(error).decode("latin-1"))
    return "\n".join(told)


def forms_of(secret: str) -> list[str]:
    return [secret, repr(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)]


SAYINGS = [form for secret in SECRETS for form in forms_of(secret)]


def is_told(secret: str, told: str) -> bool:
    lines = [line for form in forms_of(secret) for line in form.splitlines() if "KEY-----" not in line]
    return any(line in told or " ".join(line.split()) in told for line in lines)


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("request_", ["connect", "read", "reach", "size"])
def test_no_secret_is_in_what_is_told_of_an_error(
    server: Server, caplog: pytest.LogCaptureFixture, request_: str, trouble: Trouble
) -> None:
    caplog.set_level(logging.DEBUG)
    saying = "login failed: " + " / ".join(SAYINGS)
    server.faults.append(Fault(request_, ServerError(trouble, saying), 10**6))
    if request_ == "reach":
        server.faults.append(Fault("size", ServerError(Trouble.MISSING, saying), 10**6))
    store = store_on(server, Limits(request=1, deadline=0.1, first_answer=0.1), secrets=SECRETS)

    with pytest.raises(SafeBackupError) as caught:
        store.get("old", length=None if request_ in ("connect", "read") else 0)

    told = all_that_is_told(caught.value) + caplog.text
    assert not [secret for secret in SECRETS if is_told(secret, told)]
    assert_alone(caught.value)


def test_what_is_hidden_leaves_the_rest_of_what_a_library_says(server: Server) -> None:
    said = "530 user ann, password hunter2: no, at ftp://ann:hunter2@host/a?signature=abc"
    server.faults.append(Fault("read", ServerError(Trouble.DENIED, said)))

    with pytest.raises(StorageError) as caught:
        store_on(server, secrets=SECRETS).get("old")

    assert "ServerError: 530 user ann, password ***: no, at ftp://***@host/a" in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_secret_that_is_the_beginning_of_another_does_not_give_the_rest_away(server: Server) -> None:
    server.faults.append(Fault("read", ServerError(Trouble.DENIED, "key abcdef")))

    with pytest.raises(StorageError) as caught:
        store_on(server, secrets=("abc", "abcdef")).get("old")

    assert "def" not in str(caught.value)


@pytest.mark.parametrize("request_", ["connect", "read"])
def test_an_error_of_ours_that_was_made_from_a_librarys_is_told_without_it(server: Server, request_: str) -> None:
    error = ConfigurationError("the option hunter2 is unknown", hint="Not hunter2.")
    error.__cause__ = ServerError(Trouble.DENIED, "hunter2")
    server.faults.append(Fault(request_, error))

    with pytest.raises(ConfigurationError) as caught:
        store_on(server, secrets=SECRETS).get("old")

    assert_alone(caught.value)
    assert "hunter2" not in all_that_is_told(caught.value)
    assert "the option *** is unknown" in str(caught.value)


def test_a_library_that_says_pages_is_cut_short(server: Server) -> None:
    server.faults.append(Fault("read", ServerError(Trouble.DENIED, "word\n" * 10_000)))

    with pytest.raises(StorageError) as caught:
        store_on(server).get("old")

    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


# Pickles


def _reopened(name: str) -> RemoteStore:
    return store_on(Server({"old": name.encode()}))


def test_a_store_with_credentials_is_never_pickled_or_copied(server: Server) -> None:
    store = store_on(server, secrets=SECRETS)

    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(ConfigurationError, match="credentials") as caught:
            act(store)
        assert caught.value.hint
    assert not any(secret in repr(store) + store.url for secret in SECRETS)


def test_a_store_without_is_opened_again_where_it_arrives(server: Server) -> None:
    connect = lambda: DictTransport(server)  # noqa: E731
    store = RemoteStore("dict://place", connect, kind="", limits=PATIENT, reopen=(_reopened, ("again",)))
    store.get("old")

    arrived = pickle.loads(pickle.dumps(store))

    assert arrived.get("old") == b"again"


# Threads


def test_threads_that_begin_together_share_one_connection(server: Server) -> None:
    server.during = lambda verb: time.sleep(0.01)
    store = store_on(server)
    start = threading.Barrier(8)

    def work(_number: int) -> bytes:
        start.wait()
        return store.get("old")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(8))) == {b"0123456789"}

    assert len(server.opened) == 1


def test_a_connection_for_one_thread_is_never_used_by_two(server: Server) -> None:
    server.during = lambda verb: time.sleep(0.0005)
    store = store_on(server, is_shared=False)
    server.fails("read", Trouble.UNREACHED, times=5)

    def work(number: int) -> bytes:
        store.put_new(f"packs/{number}", b"x")
        return store.get("old")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {b"0123456789"}

    assert not any(transport.overlapped for transport in server.opened)
    assert 2 <= len(set(server.opened) - set(server.closed)) <= 8


def test_one_request_that_fails_disturbs_no_other_on_the_same_connection(server: Server) -> None:
    is_reading, may_end = threading.Event(), threading.Event()

    def during(verb: str) -> None:
        if verb == "read":
            is_reading.set()
            may_end.wait(10)

    server.during = during
    store = store_on(server)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.get, "old")
        assert is_reading.wait(10)
        server.fails("publish", Trouble.UNREACHED)
        store.put_new("new", b"new")
        assert len(server.opened) == 2
        assert server.closed == []

        may_end.set()
        assert reading.result() == b"0123456789"

    assert server.closed == server.opened[:1]
    assert store.get("old") == b"0123456789"
    assert len(server.opened) == 2


def test_when_one_connection_broke_those_that_lie_idle_are_not_used(server: Server) -> None:
    store = store_on(server, is_shared=False)
    start = threading.Barrier(4)
    server.during = lambda verb: start.wait(10) and None if verb == "read" else None
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _number: store.get("old"), range(4)))
    server.during = lambda verb: None
    assert len(server.opened) == 4

    server.fails("read", Trouble.UNREACHED)
    store.get("old")

    assert len(server.closed) == 4
    assert len(server.opened) == 5


def test_connections_for_one_thread_are_made_side_by_side(server: Server) -> None:
    store = store_on(server, Limits(request=1, deadline=1, first_answer=1), is_shared=False)
    store.get("old")
    at_once = {"connect": threading.Barrier(3), "read": threading.Barrier(4)}
    server.during = lambda verb: at_once[verb].wait(10)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _number: store.get("old"), range(4))) == [b"0123456789"] * 4

    assert len(server.opened) == 4


@pytest.mark.parametrize("is_shared", [True, False])
def test_threads_that_cannot_connect_do_not_wait_for_each_other(server: Server, is_shared: bool) -> None:
    server.during = lambda verb: time.sleep(1) if verb == "connect" else None
    server.fails("connect", Trouble.UNREACHED, times=10**6)
    store = store_on(server, Limits(request=2, deadline=0.5, first_answer=0.5), is_shared=is_shared)

    def seconds(_number: int) -> float:
        begun = time.monotonic()
        with pytest.raises(StorageError):
            store.get("old")
        return time.monotonic() - begun

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(seconds, range(8))) < 5  # one after the other they would take eight


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_and_its_connection_is_not_used_again(
    server: Server, is_shared: bool, error: type[BaseException]
) -> None:
    store = store_on(server, is_shared=is_shared)
    server.faults.append(Fault("read", error()))

    with pytest.raises(error):
        store.get("old")

    assert server.closed == server.opened
    assert store.get("old") == b"0123456789"
    assert len(server.opened) == 2


def test_closing_ends_what_is_idle_and_using_it_connects_anew(server: Server) -> None:
    for is_shared in (True, False):
        store = store_on(server, is_shared=is_shared)
        store.get("old")

        store.close()
        store.close()
        assert server.closed == server.opened

        assert store.get("old") == b"0123456789"
        store.close()


def test_closing_waits_for_nobody_and_breaks_nothing(server: Server) -> None:
    store = store_on(server)
    server.during = lambda verb: store.close() if verb == "read" else None

    assert store.get("old") == b"0123456789"

    assert server.closed == server.opened


# Processes


def _in_a_fork(act: Callable[[], T]) -> T:
    """What it comes to in a child that was forked here and now."""
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=lambda: there.send(act()))
    child.start()
    there.close()
    try:
        assert here.poll(20), "the child hangs"
        answer: T = here.recv()
    finally:
        child.kill()
        child.join()
        here.close()
    return answer


@pytest.mark.parametrize("is_shared", [True, False])
def test_after_a_fork_both_go_on_each_on_a_connection_of_its_own(server: Server, is_shared: bool) -> None:
    store = store_on(server, is_shared=is_shared)
    store.get("old")

    def in_the_child() -> tuple[bytes, int, int]:
        data = store.get("old")
        store.close()
        return data, len(server.opened), len([each for each in server.closed if each is server.opened[0]])

    assert _in_a_fork(in_the_child) == (b"0123456789", 2, 0)

    assert store.get("old") == b"0123456789"
    assert (len(server.opened), server.closed) == (1, [])


@pytest.mark.parametrize("verb", ["connect", "read"])
def test_a_fork_in_the_middle_of_other_threads_requests_stops_nobody(server: Server, verb: str) -> None:
    is_there, may_end = threading.Event(), threading.Event()

    def during(each: str) -> None:
        if each == verb:
            is_there.set()
            may_end.wait(20)

    server.during = during
    store = store_on(server)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.get, "old")
        assert is_there.wait(10)

        def in_the_child() -> bytes:
            server.during = lambda verb: None
            return store.get("old")

        assert _in_a_fork(in_the_child) == b"0123456789"
        may_end.set()
        assert reading.result() == b"0123456789"
