"""S3, on a server that honours conditions and on one that ignores them, and with everything in between going wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from safebackup.clock import SystemClock
from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.s3 import S3Transport
from safebackup.storage.remote.transport import Trouble
from tests.servers import BUCKET, Server
from tests.storage.contract import MIB, StoreContract, outcome_of_put
from tests.storage.relaying import Relay, relayed, s3_error

LIMITS = Limits(request=10, deadline=20, first_answer=20)
LONG = os.environ.get("SAFEBACKUP_LONG") == "1"


def fresh() -> str:
    return f"a b/ü-{secrets.token_hex(6)}"


def opened(
    server: Server,
    folder: str,
    *,
    port: int | None = None,
    limits: Limits = LIMITS,
    but: dict[str, object] | None = None,
) -> DeleteStore:
    at = port or server.port
    options = server.options_at(at) | (but or {})
    return open_store(server.url_at(folder, at), storage_options=options, limits=limits)


def raw_client(server: Server) -> Any:
    """The SDK's own client: another way to what is there."""
    import botocore.session

    options: dict[str, Any] = server.options
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
        region_name="us-east-1",
    )


class TestSeaweed(StoreContract):
    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, s3_server: Server, folder: str) -> DeleteStore:
        return opened(s3_server, folder)

    @pytest.fixture
    def reopened(self, s3_server: Server, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(s3_server, folder)

    @pytest.fixture
    def unreachable(self, s3_server: Server) -> DeleteStore:
        return open_store("s3://no-such-bucket/place", storage_options=s3_server.options, limits=LIMITS)


class TestLiar(StoreContract):
    """What holds without any help of the server: all but a race for one name."""

    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, liar_server: Server, folder: str) -> DeleteStore:
        return opened(liar_server, folder)

    @pytest.fixture
    def reopened(self, liar_server: Server, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(liar_server, folder)

    @pytest.fixture
    def unreachable(self, liar_server: Server) -> DeleteStore:
        return open_store("s3://no-such-bucket/place", storage_options=liar_server.options, limits=LIMITS)

    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Here several may believe so; what is there is whole, and from one of them."""
        racers = [store, reopened(), reopened()]
        with ThreadPoolExecutor(len(racers)) as pool:
            outcomes = list(pool.map(lambda n: outcome_of_put(racers[n], "race", b"%d" % n * 1000), range(len(racers))))

        winners = {b"%d" % racer * 1000 for racer, outcome in enumerate(outcomes) if outcome == "stored"}
        assert store.get("race") in winners

    @pytest.mark.parametrize("name", ["nothing", "no/such/folder"])
    def test_deleting_what_is_not_there_does_nothing(self, store: DeleteStore, name: str) -> None:
        store.put_new("packs/one", b"1")

        store.delete(name)

        assert store.list("") == [ObjectInfo("packs/one", 1)]

    def test_deleting_what_the_server_takes_for_a_folder_fails_and_removes_nothing(
        self, store: DeleteStore, liar_server: Server, folder: str
    ) -> None:
        store.put_new("packs/one", b"1")

        with pytest.raises(StorageError):
            opened(liar_server, folder, limits=Limits(request=5, deadline=2, first_answer=2)).delete("packs")

        assert store.get("packs/one") == b"1"


@pytest.fixture
def relay(s3_server: Server) -> Iterator[Relay]:
    with relayed(s3_server.port) as relay:
        yield relay


# Whether the server honours conditions


def test_a_server_that_honours_conditions_is_asked_with_one_request_for_each_put(
    s3_server: Server, relay: Relay
) -> None:
    folder = fresh()
    store = opened(s3_server, folder, port=relay.port)
    store.put_new("first", b"1")
    before = len(relay.seen)

    store.put_new("second", b"2")
    store.put_new("third", bytes(MIB))

    assert relay.methods[before:] == ["PUT 200", "PUT 200"]
    assert before <= 4  # is it there, is the bucket there, put, put again
    assert s3_server.peek(folder) == {"first": b"1", "second": b"2", "third": bytes(MIB)}


def test_whether_conditions_are_honoured_is_seen_by_a_small_object_and_never_by_a_large_one(
    s3_server: Server, liar_server: Server
) -> None:
    for server, is_honoured in [(s3_server, True), (liar_server, False)]:
        transport = S3Transport(server.url(fresh()), server.options, LIMITS)

        transport.publish("large", memoryview(bytes(MIB)))
        assert not transport.is_exclusive
        transport.publish("small", memoryview(b"1"))

        assert transport.is_exclusive is is_honoured
        transport.close()


def test_a_server_that_ignores_conditions_is_asked_before_each_put(liar_server: Server) -> None:
    folder = fresh()
    with relayed(liar_server.port) as relay:
        store = opened(liar_server, folder, port=relay.port)
        store.put_new("first", b"1")
        before = len(relay.seen)

        store.put_new("second", b"2")
        with pytest.raises(ConflictError):
            store.put_new("first", b"!")

    assert relay.methods[before:] == ["GET 404", "PUT 200", "GET 200", "GET 200"]
    assert liar_server.peek(folder) == {"first": b"1", "second": b"2"}


def test_a_server_that_knows_no_conditions_is_asked_without_them(s3_server: Server, relay: Relay) -> None:
    relay.answer = lambda asked: s3_error(501, "NotImplemented") if "if-none-match" in asked.headers else None
    store = opened(s3_server, fresh(), port=relay.port)

    store.put_new("one", b"1")
    store.put_new("two", b"2")

    with pytest.raises(ConflictError):
        store.put_new("one", b"other")
    assert store.get("one") == b"1"
    assert relay.methods.count("PUT 501") == 1


def test_a_server_that_loses_its_conditions_later_is_not_trusted_without_them(s3_server: Server, relay: Relay) -> None:
    store = opened(s3_server, fresh(), port=relay.port)
    store.put_new("one", b"1")

    relay.answer = lambda asked: s3_error(501, "NotImplemented") if "if-none-match" in asked.headers else None
    with pytest.raises(StorageError):
        store.put_new("one", b"other")

    assert store.get("one") == b"1"


def test_two_that_put_at_the_same_moment_are_both_told_the_truth(s3_server: Server, relay: Relay) -> None:
    store = opened(s3_server, fresh(), port=relay.port)
    store.put_new("one", b"1")
    answers = iter([s3_error(409, "ConditionalRequestConflict")])
    relay.answer = lambda asked: next(answers, None) if asked.method == "PUT" else None

    store.put_new("two", b"2")

    assert store.get("two") == b"2"


def race_for_names(url: str, options: dict[str, object], racer: int, begin: float) -> list[str]:
    store = open_store(url, storage_options=options, limits=LIMITS)
    store.put_new(f"here/{racer}", b"")
    time.sleep(max(0, begin - time.time()))
    return [outcome_of_put(store, f"race/{number}", b"%d" % racer * 1000) for number in range(200 if LONG else 8)]


def test_s2_of_processes_that_race_for_a_name_exactly_one_wins(s3_server: Server) -> None:
    folder, racers = fresh(), 3
    begin = SystemClock().now() / 1e9 + 4
    with ProcessPoolExecutor(racers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [
            pool.submit(race_for_names, s3_server.url(folder), s3_server.options, racer, begin)
            for racer in range(racers)
        ]
        outcomes = [task.result() for task in tasks]

    held = s3_server.peek(folder)
    for number, results in enumerate(zip(*outcomes, strict=True)):
        assert [held[f"race/{number}"]] == [b"%d" % n * 1000 for n, result in enumerate(results) if result == "stored"]


# Buckets and prefixes


def test_other_data_in_the_bucket_is_neither_listed_nor_touched(s3_server: Server) -> None:
    folder = fresh()
    client = raw_client(s3_server)
    others = [f"{folder}-2/packs/one", f"{folder}/Upper Case", f"{folder}/packs/ü", f"{folder}/.hidden/one"]
    for key in others:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"others'")
    store = opened(s3_server, folder)
    store.put_new("packs/one", b"1")

    assert store.list("") == [ObjectInfo("packs/one", 1)]
    store.delete("packs/one")

    assert store.list("") == []
    assert all(client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"others'" for key in others)


def test_a_whole_bucket_can_be_the_root(s3_server: Server) -> None:
    bucket = f"whole-{secrets.token_hex(6)}"
    raw_client(s3_server).create_bucket(Bucket=bucket)
    for url in (f"s3://{bucket}", f"s3a://{bucket}/"):
        store = open_store(url, storage_options=s3_server.options, limits=LIMITS, create=True)

        store.put_new("packs/one", b"1")

        assert store.list("") == [ObjectInfo("packs/one", 1)]
        assert store.list("packs/") == [ObjectInfo("packs/one", 1)]
        assert store.get("packs/one") == b"1"


def test_in_a_versioned_bucket_a_name_has_one_version_and_is_free_after_deleting(s3_server: Server) -> None:
    bucket = f"versions-{secrets.token_hex(6)}"
    client = raw_client(s3_server)
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = open_store(f"s3://{bucket}/place", storage_options=s3_server.options, limits=LIMITS)

    store.put_new("one", b"1")
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 1
    with pytest.raises(ConflictError):
        store.put_new("one", b"2")
    store.delete("one")
    assert store.list("") == []
    with pytest.raises(NotFoundError):
        store.get("one")
    store.put_new("one", b"2")

    assert store.get("one") == b"2"
    assert store.list("") == [ObjectInfo("one", 1)]


def test_a_bucket_that_is_not_there_is_never_made(s3_server: Server) -> None:
    bucket = f"nobody-made-{secrets.token_hex(6)}"
    url = f"s3://{bucket}/place"
    for use in (
        lambda: open_store(url, storage_options=s3_server.options, limits=LIMITS, create=True),
        lambda: open_store(url, storage_options=s3_server.options, limits=LIMITS).put_new("one", b"1"),
    ):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_MISSING

    transport = S3Transport(url, s3_server.options, LIMITS)
    with pytest.raises(Exception, match="NoSuchBucket") as refused:
        transport.publish("one", memoryview(b"1"))
    assert transport.trouble_of(refused.value) is Trouble.NO_ROOT
    assert bucket not in [each["Name"] for each in raw_client(s3_server).list_buckets()["Buckets"]]


def test_s3_a_list_of_several_pages_is_complete(s3_server: Server) -> None:
    store = opened(s3_server, fresh())
    names = sorted(f"packs/{n % 3}{'abc.-_'[n % 6]}/{n:04d}" for n in range(1010))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put_new(name, b""), names))

    assert [info.name for info in store.list("packs/")] == names


def test_looking_at_an_object_says_what_a_list_says(s3_server: Server, liar_server: Server) -> None:
    for server in (s3_server, liar_server):
        transport = S3Transport(server.url(fresh()), server.options, LIMITS)
        for path, data in [("empty", b""), ("full", b"123"), ("ü b/with some", bytes(MIB))]:
            transport.publish(path, memoryview(data))

        listed = list(transport.entries(""))

        assert [(each.path, each.size_bytes) for each in listed] == [("empty", 0), ("full", 3), ("ü b/with some", MIB)]
        assert [transport.look(each.path) for each in listed] == listed
        assert all(each.tag and abs((each.modified or 0) / 1e9 - time.time()) < 60 for each in listed)
        transport.close()


def test_the_benchmark_runs(s3_server: Server, tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text(json.dumps(s3_server.options))
    script = str(Path(__file__).parents[2] / "benchmarks" / "stores.py")
    command = [sys.executable, script, "--smoke", "--url", s3_server.url(fresh()), "--options", str(options)]
    told = subprocess.run(
        [*command, "--json", str(tmp_path / "told.json")], capture_output=True, text=True, timeout=60, check=False
    )

    assert told.returncode == 0, told.stderr
    costs = json.loads((tmp_path / "told.json").read_text())["costs"]
    assert list(costs) == ["put packs", "get packs", "put small", "get small"]
    assert {len(of) for of in costs.values()} == {4}
    assert told.stdout.count("| safebackup |") == 4
