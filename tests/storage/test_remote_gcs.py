"""Google Cloud Storage: the contract on fake-gcs-server, and what networks and Google's answers do to it."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from google.oauth2.credentials import Credentials

from safebackup.errors import Code, ConfigurationError, ConflictError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits, RemoteStore, Trouble, gcs
from safebackup.storage.remote.reaching import remote_store
from safebackup.testing import FaultProxy, Mode
from tests.servers import BUCKET, GcsServer
from tests.storage.contract import HOSTILE, MIB, StoreContract
from tests.storage.racing import body_of, raced
from tests.storage.relaying import HOST, Answered, Asked, Relay, relayed

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
LIMITS = Limits(request=10, deadline=20, first_answer=20)
QUICK = Limits(request=1, deadline=0.5, first_answer=0.5)
SECRET = "ya29.Hunter2-Secret"


def opened(server: GcsServer, folder: str, *, port: int = 0, limits: Limits = LIMITS) -> RemoteStore:
    port = port or server.port
    return remote_store(server.url_at(folder, port), server.options_at(port), limits=limits)


@pytest.fixture
def folder() -> str:
    return f"a b/Ü%20+&=日本/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, gcs_server.port) as found:
        yield found


@pytest.fixture
def behind(gcs_server: GcsServer, folder: str, proxy: FaultProxy) -> Iterator[RemoteStore]:
    """A store behind the proxy, which has answered already."""
    store = opened(gcs_server, folder, port=proxy.port)
    store.list("")
    yield store
    store.close()


class TestGcs(StoreContract):
    @pytest.fixture
    def reopened(self, gcs_server: GcsServer, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(gcs_server, folder)

    @pytest.fixture
    def store(self, reopened: Callable[[], DeleteStore]) -> DeleteStore:
        return reopened()

    @pytest.fixture
    def unreachable(self, gcs_server: GcsServer) -> DeleteStore:
        return remote_store("gs://no-such-bucket/place", gcs_server.options, limits=LIMITS)


# What is stored is what was given


@pytest.mark.parametrize(
    "body",
    [
        b"\n--==0==--",
        b"\r\n--==0==--\r\n",
        b"a\n--==0==\nContent-Type: x\n\nb\n--==0==--",
        b"--==0==--",
        b"\r\n",
        b"\n",
    ],
)
def test_a_body_that_ends_uploads_of_others_survives(gcs_server: GcsServer, folder: str, body: bytes) -> None:
    store = opened(gcs_server, folder)

    store.put_new("packs/one", body)

    assert store.get("packs/one") == body
    assert gcs_server.peek(folder) == {"packs/one": body}


@pytest.mark.parametrize("root", ["", "a", "a b", "ü/é/日本", "50%/%2F/%", "a+b&c=d;e", "[x]*~'()!", "-/_", "a\\b"])
def test_a_root_is_taken_as_it_is_written(gcs_server: GcsServer, root: str) -> None:
    place = f"{uuid.uuid4().hex}/{root}".rstrip("/")
    store = opened(gcs_server, place + "/")

    store.put_new("packs/one", HOSTILE)

    assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]
    assert store.get("packs/one") == HOSTILE
    if "\\" not in root and "%" not in root:  # rclone reads these otherwise
        assert gcs_server.peek(place) == {"packs/one": HOSTILE}
    store.delete("packs/one")
    assert store.list("") == []


def test_names_are_sent_as_google_wants_them(gcs_server: GcsServer) -> None:
    """fake-gcs-server takes them with slashes, too."""
    with relayed(gcs_server.port) as relay:
        store = opened(gcs_server, "a b/ü%", port=relay.port)
        store.put_new("packs/one", b"1")
        store.get("packs/one")
        store.delete("packs/one")

    names = [path.partition("?")[0].removeprefix(f"/storage/v1/b/{BUCKET}/o/") for _, path, _ in relay.seen]
    assert names[0] == f"/upload/storage/v1/b/{BUCKET}/o"
    assert set(names[1:]) == {"a%20b%2F%C3%BC%25%2Fpacks%2Fone"}


def test_a_whole_bucket_can_be_the_root(gcs_server: GcsServer) -> None:
    name = uuid.uuid4().hex
    store = remote_store(f"gs://{BUCKET}", gcs_server.options, limits=LIMITS)

    store.put_new(f"packs/{name}", b"1")

    assert ObjectInfo(f"packs/{name}", 1) in store.list("packs/")
    store.delete(f"packs/{name}")
    assert ObjectInfo(f"packs/{name}", 1) not in store.list("packs/")


def test_neighbours_whose_names_begin_alike_are_not_listed(gcs_server: GcsServer, folder: str) -> None:
    for place in (folder, folder + "2", folder + "/deeper"):
        opened(gcs_server, place).put_new("one", b"1")

    assert [info.name for info in opened(gcs_server, folder).list("")] == ["deeper/one", "one"]


def test_what_was_stored_as_gzip_is_read_as_it_is_stored(gcs_server: GcsServer) -> None:
    place = uuid.uuid4().hex
    packed = gzip.compress(b"hello " * 100)
    _uploaded_plainly(gcs_server, f"{place}/one", packed, encoding="gzip")
    store = opened(gcs_server, place)

    assert store.list("") == [ObjectInfo("one", len(packed))]
    assert store.get("one") == packed
    assert store.get("one", start=3, length=5) == packed[3:8]


def test_a_list_of_many_pages_is_complete(gcs_server: GcsServer, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "_PAGE", 7)
    store = opened(gcs_server, folder)
    names = [f"packs/{number:03d}" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put_new(name, name.encode()), names))

    assert store.list("packs/") == [ObjectInfo(name, 9) for name in names]
    assert gcs_server.peek(folder) == {name: name.encode() for name in names}


def test_an_object_is_described_as_the_listing_describes_it(gcs_server: GcsServer, folder: str) -> None:
    before = time.time_ns()
    transport = gcs.GcsTransport(gcs_server.url(folder), gcs_server.options, LIMITS)
    transport.publish("packs/one", memoryview(b"12345"))

    (listed,) = transport.entries("packs")

    assert listed == transport.look("packs/one")
    assert (listed.path, listed.size_bytes) == ("packs/one", 5)
    assert listed.tag.isdecimal()
    assert listed.modified is not None
    assert before - 2e9 < listed.modified < time.time_ns() + 2e9
    transport.close()


@pytest.mark.skipif(not LONG, reason="takes 256 MiB; SAFEBACKUP_LONG=1 runs it")
def test_the_largest_object_is_stored_by_one_request(gcs_server: GcsServer, folder: str) -> None:
    store = opened(gcs_server, folder, limits=Limits())
    data = os.urandom(MIB) * 256

    store.put_new("packs/one", data)

    assert store.get("packs/one") == data
    assert store.get("packs/one", start=255 * MIB, length=MIB) == data[-MIB:]


# Faults of the network


def test_an_upload_that_is_cut_leaves_nothing_and_is_tried_again(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy, behind: RemoteStore
) -> None:
    data = os.urandom(2 * MIB)
    direct = opened(gcs_server, folder)
    proxy.mode = Mode.cut_up(MIB)
    hasty = opened(gcs_server, folder, port=proxy.port, limits=QUICK)

    with pytest.raises(StorageError) as caught:
        hasty.put_new("packs/one", data)
    assert caught.value.retryable
    assert proxy.struck > 1
    assert direct.list("") == []

    proxy.mode = Mode.cut_up(MIB).first(1)
    behind.put_new("packs/one", data)
    assert proxy.struck == 1
    assert gcs_server.peek(folder) == {"packs/one": data}


def test_a_put_whose_answer_is_lost_succeeds_once(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy, behind: RemoteStore
) -> None:
    proxy.mode = Mode.swallow().first(1)

    behind.put_new("packs/one", HOSTILE)

    assert proxy.struck == 1
    assert gcs_server.peek(folder) == {"packs/one": HOSTILE}


@pytest.mark.parametrize("count", [0, 100, 200_000])
def test_a_download_that_is_cut_is_never_short(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy, behind: RemoteStore, count: int
) -> None:
    data = os.urandom(MIB)
    behind.put_new("packs/one", data)
    hasty = opened(gcs_server, folder, port=proxy.port, limits=QUICK)
    proxy.mode = Mode.cut_down(count)

    with pytest.raises(StorageError) as caught:
        hasty.get("packs/one")
    assert caught.value.retryable

    proxy.mode = Mode.cut_down(count).first(1)
    assert behind.get("packs/one") == data
    assert proxy.struck == 1


def test_a_list_that_is_cut_is_never_short(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy, behind: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "_PAGE", 4)
    for number in range(10):
        behind.put_new(f"packs/{number}", b"")
    hasty = opened(gcs_server, folder, port=proxy.port, limits=QUICK)

    for count in (100, 1500, 3000):
        proxy.mode = Mode.cut_down(count)
        with pytest.raises(StorageError):
            hasty.list("packs/")


VERBS: dict[str, Callable[[DeleteStore], object]] = {
    "get": lambda store: store.get("packs/one"),
    "get a range": lambda store: store.get("packs/one", start=1, length=2),
    "list": lambda store: store.list(""),
    "list a folder": lambda store: store.list("packs/"),
    "put_new": lambda store: store.put_new("packs/two", b"2"),
    "delete": lambda store: store.delete("packs/one"),
}


def _failures(store: DeleteStore) -> list[StorageError]:
    """What each verb raises, all at the same time."""

    def failure(verb: Callable[[DeleteStore], object]) -> StorageError:
        with pytest.raises(StorageError) as caught:
            verb(store)
        return caught.value

    with ThreadPoolExecutor(len(VERBS)) as pool:
        return list(pool.map(failure, VERBS.values()))


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.status(503)], ids=lambda mode: mode.kind)
def test_a_server_that_is_down_or_silent_fails_every_verb_in_time_and_is_used_again_later(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy, mode: Mode
) -> None:
    store = opened(gcs_server, folder, port=proxy.port, limits=Limits(request=1, deadline=1.5))
    store.put_new("packs/one", b"123")
    proxy.mode = mode
    began = time.perf_counter()

    failures = _failures(store)

    assert time.perf_counter() - began < 10
    assert {failure.code for failure in failures} == {Code.STORE_FAILED}
    assert all(failure.retryable for failure in failures)
    proxy.mode = Mode.PASS
    assert store.get("packs/one") == b"123"
    assert store.list("") == [ObjectInfo("packs/one", 3)]


_PUTTING = """
import sys, gcsfs
from safebackup.storage import open_store
from safebackup.storage.remote import Limits
assert gcsfs.GCSFileSystem.__name__ == "ExtendedGcsFileSystem"  # which asks Google first, whatever the server
options = {"token": "anon", "endpoint_url": sys.argv[2]}
store = open_store(sys.argv[1], storage_options=options, limits=Limits(request=5))
store.put_new("packs/small", b"small")
print("ready", flush=True)
store.put_new("packs/large", bytes(8 << 20))
"""


def test_a_writer_that_is_killed_in_the_middle_of_a_put_leaves_nothing_of_it(
    gcs_server: GcsServer, folder: str, proxy: FaultProxy
) -> None:
    command = [sys.executable, "-c", _PUTTING, gcs_server.url(folder), f"http://{HOST}:{proxy.port}"]
    environment = {**os.environ, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        proxy.mode = Mode.slow(4 * MIB)
        time.sleep(0.7)
        assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)

    assert opened(gcs_server, folder).list("") == [ObjectInfo("packs/small", 5)]
    assert gcs_server.peek(folder) == {"packs/small": b"small"}


# Processes


def test_of_processes_that_race_for_a_name_exactly_one_wins_and_their_parent_goes_on(
    gcs_server: GcsServer, folder: str
) -> None:
    store = opened(gcs_server, folder)
    store.put_new("packs/one", b"1")

    for number, outcomes in enumerate(raced(store, racers=4, rounds=200 if LONG else 25)):
        (winner,) = [racer for racer, outcome in outcomes.items() if outcome == "stored"]
        assert sorted(outcomes.values()) == ["conflict", "conflict", "conflict", "stored"]
        assert store.get(f"race/{number}") == body_of(winner)
    began = time.perf_counter()
    store.put_new("packs/two", b"2")
    assert time.perf_counter() - began < LIMITS.request


def test_closing_ends_its_connections(gcs_server: GcsServer, folder: str, proxy: FaultProxy) -> None:
    def connections() -> int:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for line in lines if line[2].endswith(f":{proxy.port:04X}") and line[3] == "01")

    transport = gcs.GcsTransport(gcs_server.url(folder), gcs_server.options_at(proxy.port), LIMITS)
    transport.reach()
    assert connections() == 1

    transport.close()

    assert connections() == 0
    transport.close()


# Credentials


def _with(credentials: Credentials, port: int, limits: Limits = QUICK) -> RemoteStore:
    options = {"token": credentials, "endpoint_url": f"http://{HOST}:{port}"}
    return remote_store(f"gs://{BUCKET}/place", options, limits=limits)


def _stale(port: int) -> Credentials:
    where = f"http://{HOST}:{port}/token"
    return Credentials(None, refresh_token=SECRET, token_uri=where, client_id="me", client_secret=SECRET)  # type: ignore[no-untyped-call]


def test_a_token_is_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sent = []

    def refused(asked: Asked) -> Answered:
        sent.append(asked.headers["authorization"])
        return Answered(401, b'{"error": {"code": 401, "message": "who are you?"}}')

    with relayed(0) as relay:
        relay.answer = refused
        store = _with(Credentials(SECRET), relay.port)  # type: ignore[no-untyped-call]
        with pytest.raises(StorageError) as caught:
            store.list("")
    assert caught.value.code is Code.STORE_DENIED
    assert sent == [f"Bearer {SECRET}"]
    assert SECRET not in f"{caught.value!r} {caught.value} {store!r} {caplog.text}"
    assert caught.value.__cause__ is None
    with pytest.raises(ConfigurationError, match="pickle"):
        pickle.dumps(store)


def test_credentials_that_are_refused_are_not_tried_again() -> None:
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(400, b'{"error": "invalid_grant"}')
        with pytest.raises(StorageError) as caught:
            _with(_stale(relay.port), relay.port, LIMITS).list("")

    assert caught.value.code is Code.STORE_DENIED
    assert SECRET not in str(caught.value)
    assert relay.methods == ["POST 400"]


def test_that_credentials_could_not_be_renewed_says_nothing_of_them(gcs_server: GcsServer, proxy: FaultProxy) -> None:
    proxy.mode = Mode.REFUSE

    with pytest.raises(StorageError) as caught:
        _with(_stale(proxy.port), gcs_server.port).list("")

    assert caught.value.code is Code.STORE_FAILED
    assert caught.value.retryable


@pytest.mark.parametrize("body", [b'{"error": "unavailable"}', b"<html>"])
def test_that_credentials_cannot_be_renewed_now_says_nothing_of_them(body: bytes) -> None:
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(503, body)
        with pytest.raises(StorageError) as caught:
            _with(_stale(relay.port), relay.port, Limits(request=20, deadline=0.1)).list("")

    assert caught.value.code is Code.STORE_FAILED
    assert caught.value.retryable


def test_credentials_that_nothing_can_renew_are_denied() -> None:
    with pytest.raises(StorageError) as caught:
        _with(Credentials(None), 1).list("")  # type: ignore[no-untyped-call]

    assert caught.value.code is Code.STORE_DENIED


def test_a_store_without_credentials_of_its_own_is_pickled(gcs_server: GcsServer, folder: str) -> None:
    store = opened(gcs_server, folder)
    store.put_new("packs/one", b"1")

    copy = pickle.loads(pickle.dumps(store))

    assert copy.get("packs/one") == b"1"


# Answers


def _requests(relay: Relay, **more: object) -> dict[str, Trouble | None]:
    """What each request through a relay comes to; None if it is thought to have succeeded."""
    options = {"token": "anon", "endpoint_url": f"http://{HOST}:{relay.port}", **more}
    transport = gcs.GcsTransport(f"gs://{BUCKET}/place", options, QUICK)
    requests: dict[str, Callable[[], object]] = {
        "reach": transport.reach,
        "read": lambda: transport.read("one", 0, 5),
        "size": lambda: transport.size("one"),
        "publish": lambda: transport.publish("one", memoryview(b"12345")),
        "entries": lambda: list(transport.entries("")),
        "remove": lambda: transport.remove("one"),
    }
    found: dict[str, Trouble | None] = {}
    for name, request in requests.items():
        try:
            request()
        except Exception as error:
            found[name] = transport.trouble_of(error)
        else:
            found[name] = None
    transport.close()
    return found


def _answered(status: int, body: object = b"", **headers: str) -> dict[str, Trouble | None]:
    """What each request comes to, if the answer to it is this."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(
            status, data, {name.replace("_", "-"): headers[name] for name in headers}
        )
        found = _requests(relay)
    # None is sent twice, but what is denied to a put is looked for.
    assert len(relay.seen) == len(found) + (found["publish"] is Trouble.DENIED)
    return found


def _refusal(status: int, reason: str = "") -> object:
    return {"error": {"code": status, "message": "no", "errors": [{"reason": reason}]}}


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (400, _refusal(400), Trouble.REFUSED),
        (401, _refusal(401), Trouble.DENIED),
        (403, _refusal(403, "forbidden"), Trouble.DENIED),
        (403, _refusal(403, "rateLimitExceeded"), Trouble.UNREACHED),
        (403, b"<html>", Trouble.DENIED),
        (408, b"", Trouble.UNREACHED),
        (409, _refusal(409, "conflict"), Trouble.UNREACHED),
        (412, _refusal(412), Trouble.TAKEN),
        (413, b"", Trouble.REFUSED),
        (416, b"", Trouble.BEYOND),
        (429, _refusal(429), Trouble.UNREACHED),
        (500, b"[]", Trouble.UNREACHED),
        (503, b'{"error": "later"}', Trouble.UNREACHED),
        (302, b"", Trouble.UNKNOWN),
        (201, b"", Trouble.UNKNOWN),
    ],
)
def test_a_status_means_the_same_to_every_request(status: int, body: object, trouble: Trouble) -> None:
    assert set(_answered(status, body, Location="http://127.0.0.1:1/").values()) == {trouble}


def test_only_a_request_for_an_object_can_find_that_it_is_missing() -> None:
    assert _answered(404, _refusal(404)) == {
        "reach": Trouble.NO_ROOT,
        "read": Trouble.MISSING,
        "size": Trouble.MISSING,
        "publish": Trouble.NO_ROOT,
        "entries": Trouble.NO_ROOT,
        "remove": Trouble.MISSING,
    }


@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", {}, [], "storage#objects", {"kind": "storage#bucket"}, b"", b"null "]
)
def test_the_page_of_a_network_that_wants_a_sign_in_is_believed_by_no_request(body: object) -> None:
    found = _answered(200, body)

    if body in (b"", b"null "):
        assert found.pop("remove") is None  # Google answers nothing to it
    assert set(found.values()) == {Trouble.UNKNOWN}


@pytest.mark.parametrize(
    ("body", "described"),
    [
        (b"123", "bytes 0-4/5"),
        (b"123", "bytes 0-2/5"),
        (b"1234567", "bytes 0-6/7"),
        (b"45", "bytes 3-4/5"),
        (b"12345", "bytes 0-4/*"),
        (b"12345", ""),
    ],
)
def test_a_part_of_an_object_that_is_not_the_one_asked_for_is_not_returned(body: bytes, described: str) -> None:
    assert _answered(206, body, Content_Range=described)["read"] in (Trouble.UNREACHED, Trouble.UNKNOWN)


@pytest.mark.parametrize("wrong", [{"size": "4"}, {"md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {}])
def test_an_object_that_was_stored_otherwise_than_sent_is_an_error(wrong: dict[str, str]) -> None:
    stored = {"kind": "storage#object", "size": "5", "md5Hash": "gnzLDuqKcGxMNKFokfhOew==", **wrong}

    assert _answered(200, stored)["publish"] is (Trouble.REFUSED if wrong else None)


def test_bytes_that_were_changed_on_their_way_are_an_error(gcs_server: GcsServer, folder: str) -> None:
    with relayed(gcs_server.port) as relay:
        relay.answer = lambda asked: attrs.evolve(asked, body=asked.body.replace(b"good", b"evil"))
        with pytest.raises(StorageError) as caught:
            opened(gcs_server, folder, port=relay.port).put_new("packs/one", b"good bytes")

    assert caught.value.code is Code.STORE_FAILED


def test_credentials_that_may_not_replace_find_what_is_there(gcs_server: GcsServer, folder: str) -> None:
    opened(gcs_server, folder).put_new("packs/one", b"1")
    with relayed(gcs_server.port) as relay:
        relay.answer = lambda asked: Answered(403) if asked.method in ("POST", "DELETE") else None
        store = opened(gcs_server, folder, port=relay.port)

        store.put_new("packs/one", b"1")

        with pytest.raises(ConflictError):
            store.put_new("packs/one", b"2")
        with pytest.raises(StorageError) as caught:
            store.put_new("packs/two", b"2")
    assert caught.value.code is Code.STORE_DENIED


def test_a_folder_that_somebody_drew_in_a_console_is_not_listed_below_itself() -> None:
    """fake-gcs-server cannot hold one."""
    item = {"name": "place/", "size": "0", "generation": "1", "timeCreated": "2026-03-29T00:30:00.5Z"}
    items = [item, {**item, "name": "place/packs/"}]
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        options: dict[str, object] = {"token": "anon", "endpoint_url": f"http://{HOST}:{relay.port}"}
        transport = gcs.GcsTransport(f"gs://{BUCKET}/place", options, LIMITS)
        listed = [each.path for each in transport.entries("")]
        transport.close()

        assert listed == ["packs/"]
        assert remote_store(f"gs://{BUCKET}/place", options, limits=LIMITS).list("") == []


def test_a_list_of_something_else_or_without_end_is_an_error() -> None:
    item = {"name": "elsewhere/one", "size": "1", "generation": "1", "timeCreated": "2026-03-29T00:30:00.5Z"}
    assert _answered(200, {"kind": "storage#objects", "items": [item]})["entries"] is Trouble.UNKNOWN

    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(200, b'{"kind": "storage#objects", "nextPageToken": "again"}')
        assert _requests(relay)["entries"] is Trouble.REFUSED


def test_a_requester_who_pays_says_so_in_every_request() -> None:
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(403)
        _requests(relay, requester_pays="our project")

    assert len(relay.seen) == 7
    assert all("userProject=our%20project" in path for _, path, _ in relay.seen)


@pytest.mark.parametrize(
    "options",
    [{"session_kwargs": "proxy"}, {"access": "write_only"}, {"token": object()}],
    ids=["session", "access", "token"],
)
def test_options_that_make_no_sense_are_an_error_of_ours(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        remote_store(f"gs://{BUCKET}/place", {"token": "anon", **options}, limits=LIMITS).list("")

    assert caught.value.code is Code.BAD_URL


def test_opening_by_url_gives_this_kind_of_store(gcs_server: GcsServer, folder: str) -> None:
    store = open_store(gcs_server.url(folder), create=True, storage_options=gcs_server.options, limits=LIMITS)

    assert isinstance(store, RemoteStore)
    assert store.url == f"gs://{BUCKET}/{folder}"
    with pytest.raises(StorageError) as caught:
        open_store("gs://no-such-bucket/a", create=True, storage_options=gcs_server.options, limits=LIMITS)
    assert caught.value.code is Code.STORE_MISSING


def _uploaded_plainly(server: GcsServer, name: str, data: bytes, *, encoding: str = "") -> None:
    query = f"uploadType=media&name={urllib.parse.quote(name, safe='')}" + (
        f"&contentEncoding={encoding}" if encoding else ""
    )
    url = f"http://{HOST}:{server.port}/upload/storage/v1/b/{BUCKET}/o?{query}"
    with urllib.request.urlopen(urllib.request.Request(url, data, method="POST")) as answer:
        assert answer.status == 200
