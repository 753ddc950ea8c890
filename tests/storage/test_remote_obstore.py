"""S3 read through obstore: the same contract, and s3fs wherever obstore cannot."""

from __future__ import annotations

import json
import logging
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.obstore import ObstoreTransport
from safebackup.testing.proxy import FaultProxy, Mode
from tests.servers import Server
from tests.storage.contract import MIB, StoreContract
from tests.storage.relaying import Answered, Asked, Relay, relayed, s3_error

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=3, deadline=1, first_answer=1)


def opened(server: Server, folder: str, *, port: int | None = None, limits: Limits = LIMITS) -> DeleteStore:
    at = port or server.port
    options = server.options_at(at) | {"client": "obstore"}
    return open_store(server.url_at(folder, at), storage_options=options, limits=limits)


def is_obstore(asked: Asked) -> bool:
    return asked.headers.get("user-agent", "").startswith("object_store/")


@pytest.fixture
def folder() -> str:
    return f"a b/ü~%20[{secrets.token_hex(6)}]"


@pytest.fixture
def relay(s3_server: Server) -> Iterator[Relay]:
    with relayed(s3_server.port) as relay:
        yield relay


class TestThroughObstore(StoreContract):
    @pytest.fixture
    def store(self, s3_server: Server, folder: str) -> DeleteStore:
        return opened(s3_server, folder)

    @pytest.fixture
    def reopened(self, s3_server: Server, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(s3_server, folder)

    @pytest.fixture
    def unreachable(self, s3_server: Server) -> DeleteStore:
        options = s3_server.options | {"client": "obstore"}
        return open_store("s3://no-such-bucket/place", storage_options=options, limits=LIMITS)


def test_what_is_there_is_read_by_obstore_and_nothing_else_is_done_by_it(
    s3_server: Server, relay: Relay, folder: str
) -> None:
    by_obstore: list[tuple[str, str]] = []

    def note(asked: Asked) -> None:
        if is_obstore(asked):
            by_obstore.append((asked.method, asked.headers["range"]))

    relay.answer = note
    store = opened(s3_server, folder, port=relay.port)
    store.put_new("packs/one", b"0123456789")
    store.list("")
    assert by_obstore == []

    assert store.get("packs/one") == b"0123456789"
    assert store.get("packs/one", start=3, length=4) == b"3456"
    store.delete("packs/one")

    assert by_obstore == [("GET", f"bytes=0-{256 * MIB}"), ("GET", "bytes=3-6")]


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_obstore_is_refused_is_read_all_the_same_and_soon_without_asking_it(
    s3_server: Server, relay: Relay, folder: str, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    refused: list[str] = []

    def refuse(asked: Asked) -> Answered | None:
        if not is_obstore(asked):
            return None
        refused.append(asked.path)
        return s3_error(status, "Refused")

    relay.answer = refuse
    store = opened(s3_server, folder, port=relay.port)
    store.put_new("one", b"1")
    for _ in range(5):
        assert store.get("one") == b"1"

    assert len(refused) == 3
    assert [record.levelno for record in caplog.records if "obstore" in record.getMessage()] == [logging.WARNING]


def test_obstore_that_fails_now_and_then_is_asked_again(s3_server: Server, relay: Relay, folder: str) -> None:
    asked_of_obstore = 0

    def refuse_two_of_three(asked: Asked) -> Answered | None:
        nonlocal asked_of_obstore
        asked_of_obstore += is_obstore(asked)
        return s3_error(503, "SlowDown") if is_obstore(asked) and asked_of_obstore % 3 else None

    relay.answer = refuse_two_of_three
    store = opened(s3_server, folder, port=relay.port)
    store.put_new("one", b"1")
    for _ in range(7):
        assert store.get("one") == b"1"

    assert asked_of_obstore == 7


def test_a_server_that_obstore_cannot_read_from_is_read_all_the_same(liar_server: Server, folder: str) -> None:
    store = opened(liar_server, folder)
    store.put_new("one", b"0123456789")

    for _ in range(5):
        assert store.get("one", start=3, length=4) == b"3456"


def test_that_something_is_not_there_is_no_failure_of_obstore(s3_server: Server, folder: str) -> None:
    transport = ObstoreTransport(s3_server.url(folder), s3_server.options, LIMITS)
    for _ in range(5):
        with pytest.raises(Exception, match="NoSuchKey"):
            transport.read("nothing", 0, 10)

    assert transport._quick is not None
    transport.close()


@pytest.mark.parametrize("count", [0, 100_000])
def test_s4_a_download_that_is_cut_is_never_short(s3_server: Server, folder: str, count: int) -> None:
    data = secrets.token_bytes(3 * MIB)
    with FaultProxy("127.0.0.1", s3_server.port) as proxy:
        store = opened(s3_server, folder, port=proxy.port, limits=HASTY)
        store.put_new("packs/cut", data)

        proxy.mode = Mode.cut_down(count).first(1)
        assert store.get("packs/cut") == data
        assert proxy.struck == 1

        for mode in (Mode.cut_down(count), Mode.REFUSE, Mode.BLACKHOLE):
            proxy.mode = mode
            with pytest.raises(StorageError) as caught:
                store.get("packs/cut", start=1)
            assert caught.value.retryable
            assert not isinstance(caught.value, NotFoundError)


def test_s9_after_a_fork_parent_and_child_both_go_on(s3_server: Server, folder: str) -> None:
    code = """
import json, os, sys, time
from safebackup.storage import open_store
url, options = json.loads(sys.argv[1])
store = open_store(url, storage_options=options)
store.put_new("one", bytes(100_000))
assert store.get("one") == bytes(100_000)
began = time.monotonic()
child = os.fork()
assert store.get("one") == bytes(100_000)
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.get("one") == bytes(100_000)
print(time.monotonic() - began)
"""
    told = json.dumps([s3_server.url(folder), s3_server.options | {"client": "obstore"}])
    command = [sys.executable, "-W", "always", "-c", code, told]
    process = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)

    assert process.stderr == ""
    assert float(process.stdout) < 15


@pytest.mark.parametrize(
    ("url", "options", "endpoint"),
    [
        ("s3://bucket/p", {"client_kwargs": {"region_name": "eu-west-3"}}, "https://bucket.s3.eu-west-3.amazonaws.com"),
        ("s3://b.c", {"client_kwargs": {"region_name": "eu-west-3"}}, "https://s3.eu-west-3.amazonaws.com/b.c"),
        ("s3://bucket", {"endpoint_url": "https://minio.example:9000"}, "https://minio.example:9000/bucket"),
    ],
)
def test_obstore_goes_where_s3fs_goes(url: str, options: dict[str, object], endpoint: str) -> None:
    transport = ObstoreTransport(url, {"key": "a", "secret": "b", **options}, LIMITS)

    assert transport._quick is not None
    assert transport._quick.config["endpoint"] == endpoint
    transport.close()


def test_obstore_is_for_s3_alone() -> None:
    for url in ("gs://bucket/place", "memory-like://place", "ftp://host/place"):
        with pytest.raises(ConfigurationError) as caught:
            open_store(url, storage_options={"client": "obstore"})
        assert caught.value.code is Code.BAD_URL


def test_without_obstore_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from safebackup.errors import ConfigurationError\n"
        "from safebackup.storage import open_store\n"
        "try: open_store('s3://bucket/place', storage_options={'client': 'obstore'})\n"
        "except ConfigurationError as error: print(error.hint)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert "safebackup[obstore]" in told.stdout
