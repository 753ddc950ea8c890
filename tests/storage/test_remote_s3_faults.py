"""S3 behind a line that breaks, and in processes that are killed or forked."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from safebackup.errors import NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits, RemoteStore
from safebackup.storage.remote.s3 import S3Transport
from safebackup.testing.proxy import FaultProxy, Mode
from tests.servers import Server
from tests.storage.relaying import Relay, relayed, s3_error

MIB = 1 << 20
LIMITS = Limits(request=3, deadline=15, first_answer=15)
HASTY = Limits(request=3, deadline=1, first_answer=1)
VERBS: dict[str, Callable[[DeleteStore], object]] = {
    "get": lambda store: store.get("packs/one"),
    "list": lambda store: store.list(""),
    "put_new": lambda store: store.put_new("packs/two", b"2"),
    "delete": lambda store: store.delete("packs/one"),
}


@pytest.fixture
def folder() -> str:
    return f"faults-{secrets.token_hex(6)}"


@pytest.fixture
def proxy(s3_server: Server) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", s3_server.port) as proxy:
        yield proxy


def through(proxy: FaultProxy | Relay, server: Server, folder: str, limits: Limits = LIMITS) -> RemoteStore:
    """A store behind a proxy, with one object in it, so that it is connected."""
    url, options = server.url_at(folder, proxy.port), server.options_at(proxy.port)
    store = open_store(url, storage_options=options, limits=limits)
    assert isinstance(store, RemoteStore)
    store.put_new("packs/one", b"1")
    return store


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.status(503), Mode.cut_down(20)], ids=str)
def test_s5_a_server_that_does_not_answer_is_said_to_and_is_used_again_when_it_does(
    s3_server: Server, proxy: FaultProxy, folder: str, mode: Mode
) -> None:
    store = through(proxy, s3_server, folder, HASTY)
    proxy.mode = mode
    began = time.monotonic()

    with ThreadPoolExecutor(len(VERBS)) as pool:
        errors = [task.exception() for task in [pool.submit(act, store) for act in VERBS.values()]]

    assert time.monotonic() - began < 2 * (HASTY.deadline + HASTY.request) + 2
    for error in errors:
        assert isinstance(error, StorageError)
        assert error.retryable
        assert not isinstance(error, NotFoundError)
    proxy.mode = Mode.PASS
    store.put_new("packs/three", b"3")
    assert store.get("packs/three") == b"3"
    assert "packs/three" in [info.name for info in store.list("")]


@pytest.mark.parametrize("mode", [Mode.status(503), Mode.status(429, retry_after=1), Mode.status(500)], ids=str)
def test_a_server_that_says_later_is_asked_again(s3_server: Server, proxy: FaultProxy, folder: str, mode: Mode) -> None:
    store = through(proxy, s3_server, folder)
    for act in VERBS.values():
        proxy.mode = mode.first(1)

        act(store)

        assert proxy.struck == 1


def test_an_object_whose_answer_was_lost_is_stored_once(s3_server: Server, proxy: FaultProxy, folder: str) -> None:
    store = through(proxy, s3_server, folder)
    for number, size in enumerate((10, 3 * MIB)):
        proxy.mode = Mode.swallow(after=100_000 if size > MIB else 0).first(1)

        store.put_new(f"packs/new-{number}", bytes(size))

        assert proxy.struck == 1
        assert store.get(f"packs/new-{number}") == bytes(size)


def test_s7_an_upload_that_is_cut_is_sent_again_and_nothing_partial_is_seen(
    s3_server: Server, proxy: FaultProxy, folder: str
) -> None:
    store = through(proxy, s3_server, folder, HASTY)
    data = secrets.token_bytes(3 * MIB)
    proxy.mode = Mode.cut_up(MIB)
    with pytest.raises(StorageError) as caught:
        store.put_new("packs/cut", data)
    assert caught.value.retryable
    assert s3_server.peek(folder) == {"packs/one": b"1"}

    proxy.mode = Mode.cut_up(MIB).first(1)
    store.put_new("packs/cut", data)

    assert proxy.struck == 1
    assert s3_server.peek(folder) == {"packs/one": b"1", "packs/cut": data}


@pytest.mark.parametrize("count", [0, 100, 100_000, 2 * MIB])
def test_s4_a_download_that_is_cut_is_never_short(
    s3_server: Server, proxy: FaultProxy, folder: str, count: int
) -> None:
    store = through(proxy, s3_server, folder, HASTY)
    data = secrets.token_bytes(3 * MIB)
    store.put_new("packs/cut", data)

    proxy.mode = Mode.cut_down(count).first(1)
    assert store.get("packs/cut") == data
    assert proxy.struck == 1

    proxy.mode = Mode.cut_down(count)
    with pytest.raises(StorageError) as caught:
        store.get("packs/cut", start=1)
    assert caught.value.retryable


def test_a_slow_line_is_no_failure(s3_server: Server, proxy: FaultProxy, folder: str) -> None:
    store = through(proxy, s3_server, folder, Limits(request=1, deadline=60))
    data = secrets.token_bytes(MIB // 2)
    proxy.mode = Mode.slow(250_000)  # so that each direction takes longer than a request may that carries nothing

    store.put_new("packs/slow", data)

    assert store.get("packs/slow") == data


def test_what_is_denied_is_not_tried_again(s3_server: Server, folder: str) -> None:
    with relayed(s3_server.port) as relay:
        store = through(relay, s3_server, folder)
        relay.answer = lambda _asked: s3_error(403, "AccessDenied")
        before = len(relay.seen)

        with pytest.raises(StorageError):
            store.put_new("packs/two", b"2")

        assert relay.methods[before:] == ["PUT 403"]


SCRIPT = """
import sys, json
from safebackup.storage import open_store
from safebackup.storage.remote import Limits
url, options = json.loads(sys.argv[1])
store = open_store(url, storage_options=options, limits=Limits(request=5, deadline=20))
store.put_new("packs/one", b"1")
"""


def started(code: str, url: str, options: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "always", "-c", SCRIPT + code, json.dumps([url, options])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_s7_a_writer_that_is_killed_leaves_nothing(s3_server: Server, proxy: FaultProxy, folder: str) -> None:
    proxy.mode = Mode.slow(8 * MIB)
    code = 'print("begun", flush=True)\nstore.put_new("packs/two", bytes(64 << 20))'
    with started(code, s3_server.url_at(folder, proxy.port), s3_server.options_at(proxy.port)) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        time.sleep(1)
        assert writer.poll() is None
        writer.kill()
    time.sleep(0.5)

    store = open_store(s3_server.url(folder), storage_options=s3_server.options, limits=LIMITS)
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    assert s3_server.peek(folder) == {"packs/one": b"1"}


def test_s9_after_a_fork_parent_and_child_both_go_on(s3_server: Server, folder: str) -> None:
    code = """
import os, time
from safebackup.storage.remote import RemoteStore
began = time.monotonic()
child = os.fork()
store.put_new(f"packs/{'child' if child == 0 else 'parent'}", bytes(100_000))
assert store.get("packs/one") == b"1"
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(store.list("")) == 3
store.put_new("packs/after", b"")
print(time.monotonic() - began)
"""
    with started(code, s3_server.url(folder), s3_server.options) as process:
        told, complaint = process.communicate(timeout=30)

    assert process.returncode == 0, complaint
    assert complaint == ""
    assert float(told) < 15


def test_a_program_that_closes_nothing_ends_quietly(s3_server: Server, folder: str) -> None:
    with started("", s3_server.url(folder), s3_server.options) as process:
        _, complaint = process.communicate(timeout=30)

    assert (process.returncode, complaint) == (0, "")


def test_a_store_that_is_closed_has_no_connection_and_makes_one_when_it_is_used(
    s3_server: Server, proxy: FaultProxy, folder: str
) -> None:
    store = through(proxy, s3_server, folder)
    assert connections_to(proxy.port) > 0

    store.close()
    store.close()
    assert connections_to(proxy.port) == 0

    assert store.get("packs/one") == b"1"
    store.close()
    transport = S3Transport(s3_server.url(folder), s3_server.options_at(proxy.port), LIMITS)
    transport.reach()
    assert connections_to(proxy.port) == 1
    transport.close()
    assert connections_to(proxy.port) == 0


def connections_to(port: int) -> int:
    """How many of this machine are open to a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
