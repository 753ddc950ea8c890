"""Azure Blob Storage: the contract on Azurite, and what networks and Azure's answers do to it."""

from __future__ import annotations

import gc
import gzip
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, ContentSettings, generate_container_sas

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.remotes import secrets_of, shown
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits, RemoteStore, Trouble, azure
from safebackup.storage.remote.reaching import remote_store
from safebackup.testing import FaultProxy, Mode
from tests.servers import BUCKET, AzureServer
from tests.storage.contract import HOSTILE, MIB, StoreContract
from tests.storage.racing import body_of, raced
from tests.storage.relaying import HOST, Answered, Asked, Relay, relayed

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
LIMITS = Limits(request=10, deadline=20, first_answer=20)
QUICK = Limits(request=1, deadline=0.5, first_answer=0.5)
ACCOUNT = "tests"


def opened(server: AzureServer, folder: str, *, port: int = 0, limits: Limits = LIMITS) -> RemoteStore:
    port = port or server.port
    return remote_store(server.url_at(folder, port), server.options_at(port), limits=limits)


def transport_at(server: AzureServer, folder: str) -> azure.AzureTransport:
    return azure.AzureTransport(server.url(folder), server.options, LIMITS)


@pytest.fixture
def folder() -> str:
    return f"a b/Ü%20+&=日本/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def container(azure_server: AzureServer) -> Iterator[ContainerClient]:
    """The container, by Azure's own client."""
    string = str(azure_server.options["connection_string"])
    with ContainerClient.from_connection_string(string, BUCKET) as found:
        yield found


@pytest.fixture
def proxy(azure_server: AzureServer) -> Iterator[FaultProxy]:
    with FaultProxy(HOST, azure_server.port) as found:
        yield found


@pytest.fixture
def behind(azure_server: AzureServer, folder: str, proxy: FaultProxy) -> Iterator[RemoteStore]:
    """A store behind the proxy, which has answered already."""
    store = opened(azure_server, folder, port=proxy.port)
    store.list("")
    yield store
    store.close()


class TestAzure(StoreContract):
    @pytest.fixture
    def reopened(self, azure_server: AzureServer, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(azure_server, folder)

    @pytest.fixture
    def store(self, reopened: Callable[[], DeleteStore]) -> DeleteStore:
        return reopened()

    @pytest.fixture
    def unreachable(self, azure_server: AzureServer) -> DeleteStore:
        return remote_store("az://no-such-container/place", azure_server.options, limits=LIMITS)


# What is stored is what was given


@pytest.mark.parametrize("body", [b"\n--==0==--", b"\r\n--==0==--\r\n", b"", b"\r\n", b"<xml/>", b"{}"])
def test_a_body_that_looks_like_something_survives(azure_server: AzureServer, folder: str, body: bytes) -> None:
    store = opened(azure_server, folder)

    store.put_new("packs/one", body)

    assert store.get("packs/one") == body
    assert azure_server.peek(folder) == {"packs/one": body}


@pytest.mark.parametrize("root", ["", "a", "a b", "ü/é/日本", "50%/%2F/%", "a+b&c=d;e", "[x]~*'()!", "-/_", "a@b:1"])
def test_a_root_is_taken_as_it_is_written(azure_server: AzureServer, container: ContainerClient, root: str) -> None:
    place = f"{uuid.uuid4().hex}/{root}".rstrip("/")
    store = opened(azure_server, place + "/")

    store.put_new("packs/one", HOSTILE)

    assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]
    assert store.get("packs/one") == HOSTILE
    assert container.download_blob(f"{place}/packs/one").readall() == HOSTILE
    store.delete("packs/one")
    assert store.list("") == []


def test_a_root_that_azure_would_read_as_another_is_refused(azure_server: AzureServer) -> None:
    for place in ("a\\b", "a./b", "a/b."):
        with pytest.raises(ConfigurationError) as caught:
            opened(azure_server, place).list("")
        assert caught.value.code is Code.BAD_URL


def test_a_whole_container_can_be_the_root(azure_server: AzureServer) -> None:
    name = uuid.uuid4().hex
    store = remote_store(f"az://{BUCKET}", azure_server.options, limits=LIMITS)

    store.put_new(f"packs/{name}", b"1")

    assert ObjectInfo(f"packs/{name}", 1) in store.list("packs/")
    store.delete(f"packs/{name}")
    assert ObjectInfo(f"packs/{name}", 1) not in store.list("packs/")


def test_a_url_with_the_account_in_it_names_the_same_place(azure_server: AzureServer, folder: str) -> None:
    opened(azure_server, folder).put_new("packs/one", b"1")
    url = f"abfss://{BUCKET}@{ACCOUNT}.dfs.core.windows.net/{folder}"

    store = remote_store(url, azure_server.options, limits=LIMITS)

    assert store.get("packs/one") == b"1"
    assert store.url == url
    assert shown("abfss://user:secret@account.dfs.core.windows.net/a") == "abfss://***@account.dfs.core.windows.net/a"


def test_neighbours_whose_names_begin_alike_are_not_listed(azure_server: AzureServer, folder: str) -> None:
    for place in (folder, folder + "2", folder + "/deeper"):
        opened(azure_server, place).put_new("one", b"1")

    assert [info.name for info in opened(azure_server, folder).list("")] == ["deeper/one", "one"]


def test_the_folders_of_a_data_lake_are_no_objects(azure_server: AzureServer, container: ContainerClient) -> None:
    place = uuid.uuid4().hex
    for name in (place, f"{place}/packs"):
        container.upload_blob(name, b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob(f"{place}/", b"")
    store = opened(azure_server, place)
    transport = transport_at(azure_server, place)

    assert list(transport.entries("")) == []
    transport.close()
    assert store.list("") == []
    assert store.list("packs/") == []
    for start, length in [(0, None), (0, 1), (0, 0)]:
        with pytest.raises(NotFoundError):
            store.get("packs", start=start, length=length)


def test_what_was_stored_as_gzip_is_read_as_it_is_stored(azure_server: AzureServer, container: ContainerClient) -> None:
    place = uuid.uuid4().hex
    packed = gzip.compress(b"hello " * 100)
    container.upload_blob(f"{place}/one", packed, content_settings=ContentSettings(content_encoding="gzip"))
    store = opened(azure_server, place)

    assert store.list("") == [ObjectInfo("one", len(packed))]
    assert store.get("one") == packed
    assert store.get("one", start=3, length=5) == packed[3:8]


def test_a_list_of_many_pages_is_complete(
    azure_server: AzureServer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "_PAGE", 7)
    store = opened(azure_server, folder)
    names = [f"packs/{number:03d}" for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put_new(name, name.encode()), names))

    assert store.list("packs/") == [ObjectInfo(name, 9) for name in names]
    assert azure_server.peek(folder) == {name: name.encode() for name in names}


def test_an_object_is_described_as_the_listing_describes_it(azure_server: AzureServer, folder: str) -> None:
    before = time.time_ns()
    transport = transport_at(azure_server, folder)
    transport.publish("packs/one", memoryview(b"12345"))

    (listed,) = transport.entries("packs")

    assert listed == transport.look("packs/one")
    assert (listed.path, listed.size_bytes) == ("packs/one", 5)
    assert listed.tag
    assert '"' not in listed.tag
    assert listed.modified is not None
    assert before - 2e9 < listed.modified < time.time_ns() + 2e9
    transport.close()


@pytest.mark.parametrize("size", [3 * MIB, pytest.param(256 * MIB, marks=pytest.mark.skipif(not LONG, reason="long"))])
def test_an_object_is_stored_and_read_by_one_request(azure_server: AzureServer, folder: str, size: int) -> None:
    data = os.urandom(MIB) * (size // MIB)
    with relayed(azure_server.port) as relay:
        store = opened(azure_server, folder, port=relay.port, limits=Limits())
        store.put_new("packs/one", data)
        assert store.get("packs/one") == data

    assert relay.methods == ["PUT 201", "GET 206"]


# Faults of the network


def test_an_upload_that_is_cut_leaves_nothing_and_is_tried_again(
    azure_server: AzureServer, folder: str, proxy: FaultProxy, behind: RemoteStore
) -> None:
    data = os.urandom(2 * MIB)
    direct = opened(azure_server, folder)
    proxy.mode = Mode.cut_up(MIB)
    hasty = opened(azure_server, folder, port=proxy.port, limits=QUICK)

    with pytest.raises(StorageError) as caught:
        hasty.put_new("packs/one", data)
    assert caught.value.retryable
    assert proxy.struck > 0
    assert direct.list("") == []

    proxy.mode = Mode.cut_up(MIB).first(1)
    behind.put_new("packs/one", data)
    assert proxy.struck == 1
    assert azure_server.peek(folder) == {"packs/one": data}


def test_a_put_whose_answer_is_lost_succeeds_once(
    azure_server: AzureServer, folder: str, proxy: FaultProxy, behind: RemoteStore
) -> None:
    proxy.mode = Mode.swallow().first(1)

    behind.put_new("packs/one", HOSTILE)

    assert proxy.struck == 1
    assert azure_server.peek(folder) == {"packs/one": HOSTILE}


@pytest.mark.parametrize("count", [0, 100, 200_000])
def test_a_download_that_is_cut_is_never_short(
    azure_server: AzureServer, folder: str, proxy: FaultProxy, behind: RemoteStore, count: int
) -> None:
    data = os.urandom(MIB)
    behind.put_new("packs/one", data)
    hasty = opened(azure_server, folder, port=proxy.port, limits=QUICK)
    proxy.mode = Mode.cut_down(count)

    with pytest.raises(StorageError) as caught:
        hasty.get("packs/one")
    assert caught.value.retryable

    proxy.mode = Mode.cut_down(count).first(1)
    assert behind.get("packs/one") == data
    assert proxy.struck == 1


def test_a_list_that_is_cut_is_never_short(
    azure_server: AzureServer, folder: str, proxy: FaultProxy, behind: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "_PAGE", 4)
    for number in range(10):
        behind.put_new(f"packs/{number}", b"")
    hasty = opened(azure_server, folder, port=proxy.port, limits=QUICK)

    for count in (100, 4000, 8000):
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
    azure_server: AzureServer, folder: str, proxy: FaultProxy, mode: Mode
) -> None:
    store = opened(azure_server, folder, port=proxy.port, limits=Limits(request=1, deadline=1.5))
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
import sys
from safebackup.storage import open_store
from safebackup.storage.remote import Limits
options = {"connection_string": sys.argv[2]}
store = open_store(sys.argv[1], storage_options=options, limits=Limits(request=5))
store.put_new("packs/small", b"small")
print("ready", flush=True)
store.put_new("packs/large", bytes(8 << 20))
"""


def test_a_writer_that_is_killed_in_the_middle_of_a_put_leaves_nothing_of_it(
    azure_server: AzureServer, folder: str, proxy: FaultProxy
) -> None:
    string = str(azure_server.options_at(proxy.port)["connection_string"])
    command = [sys.executable, "-c", _PUTTING, azure_server.url(folder), string]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        proxy.mode = Mode.slow(4 * MIB)
        time.sleep(0.7)
        assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)

    assert opened(azure_server, folder).list("") == [ObjectInfo("packs/small", 5)]
    assert azure_server.peek(folder) == {"packs/small": b"small"}


# Processes


def test_of_processes_that_race_for_a_name_exactly_one_wins_and_their_parent_goes_on(
    azure_server: AzureServer, folder: str
) -> None:
    store = opened(azure_server, folder)
    store.put_new("packs/one", b"1")

    for number, outcomes in enumerate(raced(store, racers=4, rounds=200 if LONG else 15)):
        (winner,) = [racer for racer, outcome in outcomes.items() if outcome == "stored"]
        assert sorted(outcomes.values()) == ["conflict", "conflict", "conflict", "stored"]
        assert store.get(f"race/{number}") == body_of(winner)
    began = time.perf_counter()
    store.put_new("packs/two", b"2")
    assert time.perf_counter() - began < LIMITS.request


_FORKING = """
import os, sys, time
from safebackup.storage import open_store
store = open_store(sys.argv[1], storage_options={"connection_string": sys.argv[2]})
store.put_new("packs/one", b"1")
idle = os.fork()
if not idle:
    sys.exit(0)
began = time.perf_counter()
assert os.waitpid(idle, 0)[1] == 0
assert time.perf_counter() - began < 1.9
child = os.fork()
assert store.get("packs/one") == b"1"
if child:
    assert os.waitpid(child, 0)[1] == 0
    began = time.perf_counter()
    store.put_new("packs/two", b"2")
    assert time.perf_counter() - began < 5
"""


def test_a_forked_process_ends_and_its_parent_goes_on(azure_server: AzureServer, folder: str) -> None:
    string = str(azure_server.options["connection_string"])
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", _FORKING, azure_server.url(folder), string]

    done = subprocess.run(command, capture_output=True, timeout=30, check=True)

    assert done.stderr == b""
    assert azure_server.peek(folder) == {"packs/one": b"1", "packs/two": b"2"}


def test_nothing_is_left_of_a_transport_that_was_closed(azure_server: AzureServer, folder: str) -> None:
    transport = transport_at(azure_server, folder)
    transport.reach()
    left = [weakref.ref(each) for each in (transport, transport._files, transport._container)]

    transport.close()
    transport.close()
    del transport
    gc.collect()

    assert [each() for each in left] == [None, None, None]


def test_closing_ends_its_connections(azure_server: AzureServer, folder: str, proxy: FaultProxy) -> None:
    def connections() -> int:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for line in lines if line[2].endswith(f":{proxy.port:04X}") and line[3] == "01")

    transport = azure.AzureTransport(azure_server.url(folder), azure_server.options_at(proxy.port), LIMITS)
    transport.reach()
    assert connections() == 1

    transport.close()

    assert connections() == 0
    transport.close()


def test_nothing_is_printed_while_what_was_refused_is_tried_again(
    azure_server: AzureServer, folder: str, proxy: FaultProxy
) -> None:
    code = "import sys; from safebackup.storage import open_store; "
    code += "open_store(sys.argv[1], storage_options={'connection_string': sys.argv[2]}).list('')"
    proxy.mode = Mode.status(503).first(3)
    url, string = azure_server.url_at(folder, proxy.port), azure_server.options_at(proxy.port)["connection_string"]

    done = subprocess.run([sys.executable, "-c", code, url, str(string)], capture_output=True, text=True, check=False)

    assert (proxy.struck, done.returncode, done.stderr) == (3, 0, "")


# Credentials


def test_without_credentials_it_is_said_where_they_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(StorageError) as caught:
        remote_store("az://container/x", {}, limits=LIMITS).list("")

    assert caught.value.code is Code.STORE_DENIED
    assert not caught.value.retryable
    assert "AZURE_STORAGE_CONNECTION_STRING" in caught.value.hint


def test_a_key_is_shown_nowhere(
    azure_server: AzureServer, folder: str, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = opened(azure_server, folder, port=proxy.port, limits=Limits(request=2, deadline=0.1))
    store.put_new("packs/one", b"1")
    said = [repr(store), store.url]
    for mode in (Mode.REFUSE, Mode.status(403), Mode.cut_down(100)):
        proxy.mode = mode
        for verb in VERBS.values():
            with pytest.raises(StorageError) as caught:
                verb(store)
            said += [repr(caught.value), str(caught.value), repr(caught.value.__cause__)]

    assert azure_server.secret not in "".join(said) + caplog.text
    with pytest.raises(ConfigurationError, match="pickle"):
        pickle.dumps(store)


def test_what_is_secret_in_a_connection_string_is_known() -> None:
    options = {
        "connection_string": "AccountName=tests;AccountKey=QUJD/+==;BlobEndpoint=x",
        "sas_token": "?sp=r&sig=a%3D",
    }

    assert {"QUJD/+==", "a%3D", "a="} <= set(secrets_of("az://tests/a", options))


def test_a_wrong_key_is_denied(azure_server: AzureServer) -> None:
    string = str(azure_server.options["connection_string"]).replace(azure_server.secret, "d3Jvbmc=")
    store = remote_store(azure_server.url("place"), {"connection_string": string}, limits=LIMITS)

    for verb in VERBS.values():
        with pytest.raises(StorageError) as caught:
            verb(store)
        assert caught.value.code is Code.STORE_DENIED


@pytest.mark.parametrize("string", ["AccountName=tests;AccountKey=not base64!", "nonsense", ""])
def test_credentials_that_make_no_sense_are_an_error_of_ours(azure_server: AzureServer, string: str) -> None:
    endpoint = f";BlobEndpoint=http://{HOST}:{azure_server.port}/{ACCOUNT}" if string.startswith("Account") else ""
    store = remote_store(azure_server.url("place"), {"connection_string": string + endpoint}, limits=QUICK)

    with pytest.raises((ConfigurationError, StorageError)) as caught:
        store.list("")

    assert caught.value.code in (Code.BAD_URL, Code.STORE_DENIED)


def test_credentials_that_can_only_create_and_read_are_enough_for_a_backup(
    azure_server: AzureServer, folder: str
) -> None:
    sas = generate_container_sas(
        ACCOUNT,
        BUCKET,
        azure_server.secret,
        permission=ContainerSasPermissions(read=True, create=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    string = f"BlobEndpoint=http://{HOST}:{azure_server.port}/{ACCOUNT};SharedAccessSignature={sas}"
    store = remote_store(azure_server.url(folder), {"connection_string": string}, limits=LIMITS)

    store.put_new("packs/one", b"1")
    store.put_new("packs/one", b"1")

    with pytest.raises(ConflictError):
        store.put_new("packs/one", b"2")
    with pytest.raises(StorageError) as caught:
        store.delete("packs/one")
    assert caught.value.code is Code.STORE_DENIED
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    assert store.get("packs/one") == b"1"


# Answers


def _requests(server: AzureServer, relay: Relay) -> dict[str, Trouble | None]:
    """What each request through a relay comes to; None if it is thought to have succeeded."""
    transport = azure.AzureTransport(f"az://{BUCKET}/place", server.options_at(relay.port), QUICK)
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


def _answered(server: AzureServer, status: int, body: bytes = b"", **headers: str) -> dict[str, Trouble | None]:
    """What each request comes to, if the answer to it is this."""
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(
            status, body, {name.replace("_", "-"): headers[name] for name in headers}
        )
        found = _requests(server, relay)
    # None is sent twice, but what is forbidden to a put is looked for.
    assert len(relay.seen) == len(found) + (status == 403)
    return found


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        (400, "InvalidUri", Trouble.REFUSED),
        (400, "Md5Mismatch", Trouble.UNREACHED),
        (401, "NoAuthenticationInformation", Trouble.DENIED),
        (403, "AuthenticationFailed", Trouble.DENIED),
        (403, "AuthorizationFailure", Trouble.DENIED),
        (403, "", Trouble.DENIED),
        (403, "UnauthorizedBlobOverwrite", Trouble.TAKEN),
        (404, "BlobNotFound", Trouble.MISSING),
        (404, "ContainerNotFound", Trouble.NO_ROOT),
        (404, "ResourceNotFound", Trouble.UNKNOWN),
        (404, "", Trouble.UNKNOWN),
        (409, "BlobAlreadyExists", Trouble.TAKEN),
        (409, "ContainerBeingDeleted", Trouble.NO_ROOT),
        (409, "PublicAccessNotPermitted", Trouble.DENIED),
        (409, "SnapshotsPresent", Trouble.REFUSED),
        (412, "ConditionNotMet", Trouble.TAKEN),
        (412, "LeaseIdMissing", Trouble.REFUSED),
        (413, "RequestBodyTooLarge", Trouble.REFUSED),
        (429, "", Trouble.UNREACHED),
        (500, "OperationTimedOut", Trouble.UNREACHED),
        (503, "ServerBusy", Trouble.UNREACHED),
        (503, "", Trouble.UNREACHED),
    ],
)
def test_an_answer_means_the_same_to_every_request(
    azure_server: AzureServer, status: int, code: str, trouble: Trouble
) -> None:
    assert set(_answered(azure_server, status, x_ms_error_code=code).values()) == {trouble}


def test_an_object_that_ends_before_the_range_is_beyond(azure_server: AzureServer) -> None:
    assert _answered(azure_server, 416, x_ms_error_code="InvalidRange")["read"] is Trouble.BEYOND


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>Sign in</html>", "text/html"),
        (200, b"<html><body/></html>", "application/xml"),
        (200, b"<EnumerationResults/>", "application/xml"),
        (200, b"", ""),
        (200, b"{}", "application/json"),
        (201, b"", ""),
        (202, b"<html>", "text/html"),
        (204, b"", ""),
    ],
)
def test_the_page_of_a_network_that_wants_a_sign_in_is_believed_by_no_request(
    azure_server: AzureServer, status: int, body: bytes, kind: str
) -> None:
    found = _answered(azure_server, status, body, **({"Content_Type": kind} if kind else {}))

    if status == 202:
        del found["remove"]  # that is what Azure says to it
    assert set(found.values()) <= {Trouble.UNKNOWN, Trouble.UNREACHED}


@pytest.mark.parametrize(
    ("body", "described"),
    [(b"123", "bytes 0-4/5"), (b"1234567", "bytes 0-6/7"), (b"12345", "bytes 0-4/*"), (b"12345", "")],
)
def test_a_part_of_an_object_that_is_not_the_one_asked_for_is_not_returned(
    azure_server: AzureServer, body: bytes, described: str
) -> None:
    with relayed(0) as relay:
        relay.answer = lambda _asked: Answered(206, body, {"Content-Range": described})
        assert _requests(azure_server, relay)["read"] in (Trouble.UNREACHED, Trouble.UNKNOWN)


def test_a_list_of_something_else_is_an_error(azure_server: AzureServer) -> None:
    properties = "<Last-Modified>Sun, 29 Mar 2026 00:30:00 GMT</Last-Modified><Content-Length>1</Content-Length>"
    properties += "<BlobType>BlockBlob</BlobType>"
    listing = (
        '<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>{}/one</Name>'
        f"<Properties>{properties}</Properties></Blob></Blobs><NextMarker/></EnumerationResults>"
    )

    def listed(name: str) -> Trouble | None:
        return _answered(azure_server, 200, listing.format(name).encode(), Content_Type="application/xml")["entries"]

    assert listed("place") is None
    assert listed("elsewhere") is Trouble.UNKNOWN


def test_bytes_that_were_changed_on_their_way_are_not_stored(azure_server: AzureServer, folder: str) -> None:
    store = opened(azure_server, folder)
    with relayed(azure_server.port) as relay:
        seen: list[Asked] = []

        def changed(asked: Asked) -> Asked:
            seen.append(asked)
            return attrs.evolve(asked, body=asked.body.replace(b"good", b"evil"))

        relay.answer = changed
        with pytest.raises(StorageError) as caught:
            opened(azure_server, folder, port=relay.port, limits=QUICK).put_new("packs/one", b"good bytes")

    assert caught.value.code is Code.STORE_FAILED
    assert seen[0].headers["if-none-match"] == "*"
    assert store.list("") == []


def test_an_upload_can_be_sent_again(azure_server: AzureServer, folder: str) -> None:
    data = os.urandom(3 * MIB)
    with relayed(azure_server.port) as relay:

        def once_elsewhere(asked: Asked) -> Answered | None:
            where = f"http://{HOST}:{relay.port}{asked.path}"
            return None if relay.seen else Answered(307, headers={"Location": where})

        relay.answer = once_elsewhere
        opened(azure_server, folder, port=relay.port).put_new("one", data)

    assert relay.methods == ["PUT 307", "PUT 201"]
    assert opened(azure_server, folder).get("one") == data


def test_opening_by_url_gives_this_kind_of_store(azure_server: AzureServer, folder: str) -> None:
    store = open_store(azure_server.url(folder), create=True, storage_options=azure_server.options, limits=LIMITS)

    assert isinstance(store, RemoteStore)
    assert store.url == f"az://{BUCKET}/{folder}"
    with pytest.raises(StorageError) as caught:
        open_store("az://no-such-container/a", create=True, storage_options=azure_server.options, limits=LIMITS)
    assert caught.value.code is Code.STORE_MISSING
