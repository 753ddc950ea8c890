"""Under every fault of the line a backup ends complete or clearly failed, never short; and the next one succeeds."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import StorageError
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.storage import open_store
from safebackup.storage.remote import Limits
from safebackup.testing.proxy import FaultProxy, Mode
from tests.remote.places import Server, content_of, make_tree

QUICK = Limits(request=2, deadline=5, first_answer=5)
PASSING = [  # faults that a retry overcomes
    Mode.cut_up(200_000).first(2),
    Mode.cut_up(0).first(2),
    Mode.cut_down(10).first(2),
    Mode.cut_down(0).first(2),
    Mode.swallow().first(1),
    Mode.swallow(after=300_000).first(1),
    Mode.status(503).first(3),
    Mode.status(429, retry_after=1).first(2),
]
LASTING = [Mode.REFUSE, Mode.BLACKHOLE, Mode.cut_up(200_000), Mode.cut_down(0), Mode.status(503)]


SERVERS = ["s3_server", "gcs_server", "azure_server", "ssh_server", "webdav_server"]
PATIENT = SERVERS if os.environ.get("SAFEBACKUP_LONG") else ["s3_server", "ssh_server"]  # each waits for a deadline


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def _name(mode: Mode) -> str:
    return f"{mode.kind} {mode.amount:.0f}"


def speaks(server: Server, mode: Mode) -> None:
    if mode.kind == "status" and "ssh" in type(server).__module__:
        pytest.skip("a status is of HTTP")


def through(server: Server, folder: str, proxy: FaultProxy) -> Repository:
    store = open_store(server.url_at(folder, proxy.port), storage_options=server.options_at(proxy.port), limits=QUICK)
    return attach(store, key=None, runtime=Runtime())


@pytest.mark.parametrize("mode", PASSING, ids=_name)
def test_a_fault_that_passes_costs_a_retry_and_nothing_else(server: Server, mode: Mode, tmp_path: Path) -> None:
    speaks(server, mode)
    folder = f"f{random.randrange(1 << 40):x}"
    tree = make_tree(tmp_path / "tree", 5)
    Repository.create(server.url(folder), key=None, storage_options=dict(server.options))
    with FaultProxy("127.0.0.1", server.port) as proxy:
        repository = through(server, folder, proxy)
        proxy.mode = mode
        report = back_up(tree, into=repository)
        struck = proxy.struck
        proxy.mode = Mode.PASS

        assert report.complete, report.findings
        assert struck
        checked = verify(repository, level="full")
        assert checked.passed, checked.findings
        restore(report.snapshot, tmp_path / "back")
        assert content_of(tmp_path / "back") == content_of(tree)


@pytest.mark.parametrize("server", PATIENT, indirect=True)
@pytest.mark.parametrize("mode", LASTING, ids=_name)
def test_a_fault_that_lasts_fails_the_backup_clearly(server: Server, mode: Mode, tmp_path: Path) -> None:
    speaks(server, mode)
    folder = f"f{random.randrange(1 << 40):x}"
    tree = make_tree(tmp_path / "tree", 5)
    Repository.create(server.url(folder), key=None, storage_options=dict(server.options))
    with FaultProxy("127.0.0.1", server.port) as proxy:
        repository = through(server, folder, proxy)
        proxy.mode = mode
        with pytest.raises(StorageError) as caught:
            back_up(tree, into=repository)
        proxy.mode = Mode.PASS

        assert caught.value.retryable, caught.value
        assert repository.snapshots() == []
        again = back_up(tree, into=repository)
        assert again.complete
        assert verify(repository, level="full").passed


@pytest.mark.parametrize("server", PATIENT, indirect=True)
@pytest.mark.parametrize("verb", ["get", "list", "put_new", "delete"])
def test_a_server_that_falls_silent_keeps_nobody_waiting(server: Server, verb: str) -> None:
    folder = f"f{random.randrange(1 << 40):x}"
    with FaultProxy("127.0.0.1", server.port) as proxy:
        limits = Limits(request=1, deadline=2, first_answer=2)
        url, options = server.url_at(folder, proxy.port), server.options_at(proxy.port)
        store = open_store(url, create=True, storage_options=options, limits=limits)
        store.put_new("packs/one", bytes(1000))
        acts: dict[str, Callable[[], object]] = {
            "get": lambda: store.get("packs/one"),
            "list": lambda: store.list(""),
            "put_new": lambda: store.put_new("packs/two", b"2"),
            "delete": lambda: store.delete("packs/one"),
        }
        proxy.mode = Mode.BLACKHOLE
        began = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            acts[verb]()

        assert caught.value.retryable
        assert time.perf_counter() - began < 8
