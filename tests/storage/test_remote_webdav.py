"""WebDAV, on rclone's server and, in the long run, on others; and with everything in between going wrong."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import secrets
import signal
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.remotes import secrets_of
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.remote import Limits
from safebackup.storage.remote.multistatus import DoubtfulAnswerError
from safebackup.storage.remote.reaching import transport_of
from safebackup.storage.remote.webdav import WebdavTransport
from safebackup.testing.proxy import FaultProxy, Mode
from tests.cli.program import safebackup
from tests.servers import WebdavServer, start_webdav
from tests.storage.contract import HOSTILE, MIB, StoreContract, outcome_of_put
from tests.storage.other_webdav import start_apache, start_wsgidav
from tests.storage.relaying import Answered, Asked, Relay, passed_on, relayed

LIMITS = Limits(request=10, deadline=20, first_answer=20)
HASTY = Limits(request=1, deadline=1, first_answer=1)
ONCE = Limits(request=1, deadline=0.001, first_answer=0.001)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # as finding all certificates takes longer than most of these tests
LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
only_when_long = pytest.mark.skipif(not LONG, reason="takes a minute and more servers; SAFEBACKUP_LONG=1 runs it")


def fresh() -> str:
    return f"a b/ü-{secrets.token_hex(6)}"


def opened(
    server: WebdavServer, folder: str, *, port: int = 0, limits: Limits = LIMITS, create: bool = False, **more: object
) -> Any:
    at = port or server.port
    options = server.options_at(at) | {"verify": NO_TLS} | more
    return open_store(server.url_at(folder, at), storage_options=options, limits=limits, create=create)


def credentials_of(server: WebdavServer) -> tuple[str, str]:
    found: Any = server.options["auth"]
    return found[0], found[1]


def seen_by(relay: Relay, method: str) -> list[int]:
    return [status for asked, _, status in relay.seen if asked == method]


class WebdavContract(StoreContract):
    @pytest.fixture
    def server(self) -> WebdavServer:
        raise NotImplementedError

    @pytest.fixture
    def folder(self) -> str:
        return fresh()

    @pytest.fixture
    def store(self, server: WebdavServer, folder: str) -> Iterator[DeleteStore]:
        store = opened(server, folder, create=True)
        yield store
        store.close()

    @pytest.fixture
    def reopened(self, server: WebdavServer, folder: str) -> Callable[[], DeleteStore]:
        return lambda: opened(server, folder)

    @pytest.fixture
    def unreachable(self, server: WebdavServer) -> DeleteStore:
        return opened(server, fresh())  # type: ignore[no-any-return]


class TestRclone(WebdavContract):
    @pytest.fixture
    def server(self, webdav_server: WebdavServer) -> WebdavServer:
        return webdav_server


class InexclusiveContract(WebdavContract):
    def test_s2_of_threads_that_race_for_a_name_exactly_one_wins(
        self, store: DeleteStore, reopened: Callable[[], DeleteStore]
    ) -> None:
        """Here two may believe so; what is there is whole, and from one of them."""
        racers = [store, reopened(), reopened()]
        with ThreadPoolExecutor(len(racers)) as pool:
            outcomes = list(pool.map(lambda n: outcome_of_put(racers[n], "race", b"%d" % n * 1000), range(len(racers))))

        winners = {b"%d" % racer * 1000 for racer, outcome in enumerate(outcomes) if outcome == "stored"}
        assert store.get("race") in winners


@pytest.fixture(scope="module")
def wsgidav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebdavServer]:
    with start_wsgidav(tmp_path_factory.mktemp("wsgidav")) as server:
        yield server


@pytest.fixture(scope="module")
def apache() -> Iterator[WebdavServer]:
    with start_apache() as server:
        yield server


@only_when_long
class TestWsgidav(InexclusiveContract):
    @pytest.fixture
    def server(self, wsgidav: WebdavServer) -> WebdavServer:
        return wsgidav


@only_when_long
class TestApache(InexclusiveContract):
    @pytest.fixture
    def server(self, apache: WebdavServer) -> WebdavServer:
        return apache


@pytest.fixture
def relay(webdav_server: WebdavServer) -> Iterator[Relay]:
    with relayed(webdav_server.port) as relay:
        yield relay


@pytest.fixture
def proxy(webdav_server: WebdavServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", webdav_server.port) as proxy:
        yield proxy


@pytest.fixture
def folder(webdav_server: WebdavServer) -> str:
    folder = fresh()
    opened(webdav_server, folder, create=True).close()
    return folder


# What is asked of the server


def test_an_object_is_stored_aside_looked_at_and_moved(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("packs/one", b"1")
    before = len(relay.seen)

    store.put_new("packs/two", b"2")

    assert relay.methods[before:] == ["PROPFIND 404", "PUT 201", "PROPFIND 207", "MOVE 201"]
    assert webdav_server.peek(folder) == {"packs/one": b"1", "packs/two": b"2"}


def test_a_server_is_never_asked_for_all_folders_at_once(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    depths: set[str] = set()
    relay.answer = lambda asked: depths.add(asked.headers["depth"]) if asked.method == "PROPFIND" else None
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("packs/ab/one", b"1")

    assert store.list("") == [ObjectInfo("packs/ab/one", 1)]

    assert depths == {"0", "1"}


def test_removing_never_asks_for_the_removal_of_a_folder(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("packs/one", b"1")

    store.delete("packs")

    assert seen_by(relay, "DELETE") == []
    assert store.get("packs/one") == b"1"


def test_the_folders_that_lead_to_a_root_are_made_when_it_is_created(webdav_server: WebdavServer) -> None:
    folder = f"{fresh()}/not/yet/there"

    store = opened(webdav_server, folder, create=True)

    assert store.list("") == []
    assert (webdav_server.root / folder).is_dir()


def test_the_top_of_a_server_can_be_the_root(tmp_path: Path) -> None:
    with start_webdav(tmp_path) as server:
        for url in (server.url(""), server.url("").rstrip("/")):
            store = open_store(url, storage_options=server.options, limits=LIMITS, create=True)

            store.put_new("packs/one", b"1")

            assert store.list("") == [ObjectInfo("packs/one", 1)]
        assert server.peek("") == {"packs/one": b"1"}


def test_folders_that_somebody_cleaned_away_are_made_again(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("packs/ab/one", b"1")
    for name in ("packs", "tmp"):
        root = "/".join(relay.seen[0][1].split("/")[:3])
        headers = {"authorization": "Basic " + _basic(webdav_server)}
        assert passed_on(Asked("DELETE", f"{root}/{name}", headers, b""), webdav_server.port).status == 204

    store.put_new("packs/ab/two", b"2")

    assert webdav_server.peek(folder) == {"packs/ab/two": b"2"}


def _basic(server: WebdavServer) -> str:
    return b64encode(":".join(credentials_of(server)).encode()).decode()


def race_for_names(url: str, options: dict[str, object], racer: int, begin: float) -> list[str]:
    store = open_store(url, storage_options=options, limits=LIMITS)
    store.list("")
    time.sleep(max(0, begin - time.time()))
    return [outcome_of_put(store, f"race/{number}", b"%d" % racer * 1000) for number in range(200 if LONG else 20)]


def test_s2_of_processes_that_race_for_a_name_the_winners_object_is_there(
    webdav_server: WebdavServer, folder: str
) -> None:
    racers = 3
    begin = time.time() + 3
    with ProcessPoolExecutor(racers, mp_context=multiprocessing.get_context("spawn")) as pool:
        url, options = webdav_server.url(folder), webdav_server.options
        tasks = [pool.submit(race_for_names, url, options, racer, begin) for racer in range(racers)]
        outcomes = [task.result() for task in tasks]

    held = webdav_server.peek(folder)
    for number, results in enumerate(zip(*outcomes, strict=True)):
        assert [held[f"race/{number}"]] == [b"%d" % n * 1000 for n, result in enumerate(results) if result == "stored"]


def test_another_who_was_quicker_is_not_replaced(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    other = opened(webdav_server, folder)
    store = opened(webdav_server, folder, port=relay.port)

    def slip_in(asked: Asked) -> None:
        if asked.method == "MOVE":
            other.put_new("packs/one", b"other")

    relay.answer = slip_in
    with pytest.raises(ConflictError):
        store.put_new("packs/one", b"ours!")

    assert webdav_server.peek(folder) == {"packs/one": b"other"}


def test_another_who_was_quicker_with_the_same_is_a_success(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    other = opened(webdav_server, folder)
    store = opened(webdav_server, folder, port=relay.port)
    relay.answer = lambda asked: other.put_new("packs/one", b"same") if asked.method == "MOVE" else None

    store.put_new("packs/one", b"same")

    assert webdav_server.peek(folder) == {"packs/one": b"same"}


# Answers that are not to be believed


def multistatus(*responses: str) -> Answered:
    body = f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{"".join(responses)}</D:multistatus>'
    return Answered(207, body.encode(), {"Content-Type": "application/xml"})


def response(path: str, properties: str, *, status: str = "200 OK") -> str:
    return (
        f"<D:response><D:href>{path}</D:href><D:propstat><D:prop>{properties}</D:prop>"
        f"<D:status>HTTP/1.1 {status}</D:status></D:propstat></D:response>"
    )


FOLDER = "<D:resourcetype><D:collection/></D:resourcetype>"
FILE = "<D:resourcetype/><D:getcontentlength>1</D:getcontentlength>"


def whole(path: str) -> str:
    return response(path, FOLDER)


ODD_ANSWERS: dict[str, Callable[[str], Answered]] = {
    "a greeting": lambda _path: Answered(200, b"<html><body>Welcome to this network</body></html>"),
    "a greeting instead": lambda _path: Answered(207, b"<html><body>Welcome to this network</body></html>"),
    "nothing": lambda _path: Answered(207),
    "nobody": lambda _path: multistatus(),
    "cut": lambda path: Answered(207, multistatus(whole(path)).body[:-5]),
    "cut between members": lambda path: Answered(207, multistatus(whole(path)).body[: -len("</D:multistatus>")]),
    "not about the folder": lambda path: multistatus(response(f"{path}one", FILE)),
    "about the folder twice": lambda path: multistatus(whole(path), whole(path)),
    "about another folder": lambda path: multistatus(whole(path), response("/elsewhere/one", FILE)),
    "about what lies deeper": lambda path: multistatus(whole(path), response(f"{path}packs/one", FILE)),
    "a detour": lambda path: multistatus(whole(path), response(f"{path}%2E%2E/one", FILE)),
    "a slash in a name": lambda path: multistatus(whole(path), response(f"{path}a%2Fone", FILE)),
    "a name that is cut at a mark": lambda path: multistatus(whole(path), response(f"{path}one?two", FILE)),
    "a name in another encoding": lambda path: multistatus(whole(path), response(f"{path}%FF", FILE)),
    "a member without a type": lambda path: multistatus(
        whole(path), response(f"{path}one", "<D:getcontentlength>1</D:getcontentlength>")
    ),
    "a member whose type was refused": lambda path: multistatus(
        whole(path), response(f"{path}one", FILE, status="403 Forbidden")
    ),
    "a member that failed": lambda path: multistatus(
        whole(path),
        f"<D:response><D:href>{path}one</D:href><D:status>HTTP/1.1 500 Internal Server Error</D:status></D:response>",
    ),
    "cut short by the server": lambda path: multistatus(
        whole(path),
        f"<D:response><D:href>{path}</D:href><D:status>HTTP/1.1 507 Insufficient Storage</D:status></D:response>",
    ),
    "a member without an address": lambda path: multistatus(whole(path), "<D:response/>"),
    "a file without a size": lambda path: multistatus(whole(path), response(f"{path}one", "<D:resourcetype/>")),
    "a file with no number for a size": lambda path: multistatus(
        whole(path), response(f"{path}one", FILE.replace(">1<", ">-1<"))
    ),
}


@pytest.mark.parametrize("odd", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_s3_an_answer_that_is_not_whole_is_not_a_list(
    webdav_server: WebdavServer, relay: Relay, folder: str, odd: Callable[[str], Answered]
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    relay.answer = lambda asked: odd(asked.path) if asked.headers.get("depth") == "1" else None

    with pytest.raises(StorageError) as caught:
        store.list("")

    assert caught.value.retryable


@pytest.mark.parametrize("status", [403, 404, 410, 500])
def test_s3_a_folder_that_cannot_be_listed_is_not_left_out(
    webdav_server: WebdavServer, relay: Relay, folder: str, status: int
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    store.put_new("packs/ab/one", b"1")
    store.put_new("packs/two", b"2")
    relay.answer = lambda asked: Answered(status) if asked.path.endswith("/ab/") else None

    with pytest.raises(StorageError):
        store.list("packs/")


def test_s3_a_folder_that_vanishes_while_it_is_listed_is_passed_over(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    store.put_new("packs/ab/one", b"1")
    store.put_new("packs/two", b"2")

    def vanish(asked: Asked) -> None:
        if asked.path.endswith("/ab/"):
            gone = Asked("DELETE", asked.path, {"authorization": asked.headers["authorization"]}, b"")
            assert passed_on(gone, webdav_server.port).status in (204, 404)

    relay.answer = vanish

    assert store.list("") == [ObjectInfo("packs/two", 1)]


def test_s3_what_is_spelled_differently_is_listed_all_the_same(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    store = opened(webdav_server, folder, port=relay.port)

    def spelled(asked: Asked) -> Answered:
        host = f"http://127.0.0.1:{relay.port}"
        return multistatus(
            whole(f" {host}{asked.path.rstrip('/')} "),
            response("one%2Da", FILE),
            response(f"{host}{asked.path}%6F", f"{FILE}<D:getlastmodified>yesterday</D:getlastmodified>"),
        )

    relay.answer = spelled

    assert store.list("") == [ObjectInfo("o", 1), ObjectInfo("one-a", 1)]


def test_s3_other_files_in_the_folder_are_no_objects_and_a_transport_lists_them_all(tmp_path: Path) -> None:
    names = ["Upper Case", "ü/ß", "a%41b", "a#b?c", "a&b<c>", "packs/one", "tmp/others", "a+b;c=d", ".hidden", "a:b"]
    there = {name: tmp_path / "data" / "place" / name for name in names}
    for name, path in there.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    with start_webdav(tmp_path) as server:
        assert opened(server, "place").list("") == [ObjectInfo("packs/one", 9)]

        transport = transport_of(server.url("place"), server.options, LIMITS)
        listed = {each.path: each for each in transport.entries("")}
        assert sorted(listed) == sorted(names)
        for name, path in there.items():
            assert transport.read(name, 0, 100) == name.encode()
            assert transport.size(name) == listed[name].size_bytes == len(name.encode())
            assert transport.look(name) == listed[name]
            assert listed[name].tag
            modified = listed[name].modified
            assert modified is not None
            assert abs(modified - path.stat().st_mtime_ns) < 1_000_000_000
        transport.close()


def test_a_weak_tag_is_no_evidence(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    properties = FILE + "<D:getetag>W/&quot;1&quot;</D:getetag>"
    relay.answer = lambda asked: multistatus(whole(asked.path), response(f"{asked.path}one", properties))
    transport = transport_of(webdav_server.url_at(folder, relay.port), webdav_server.options, LIMITS)

    assert [each.tag for each in transport.entries("")] == [""]
    transport.close()


def test_s4_a_server_that_ignores_ranges_gives_the_same(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("one", b"0123456789")
    relay.answer = without_range

    for start, length in [(0, None), (0, 10), (0, 1), (3, 4), (9, 1), (10, 0), (10, None), (4, None)]:
        assert store.get("one", start=start, length=length) == b"0123456789"[start:][:length]
    for start, length in [(0, 11), (9, 2), (10, 1), (11, None)]:
        with pytest.raises(StorageError) as caught:
            store.get("one", start=start, length=length)
        assert caught.value.code is Code.SHORT_READ
    assert 206 not in seen_by(relay, "GET")


def without_range(asked: Asked) -> Asked:
    headers = {name: value for name, value in asked.headers.items() if name != "range"}
    return Asked(asked.method, asked.path, headers, asked.body)


def test_s4_of_a_large_object_the_part_asked_for_comes_from_a_server_that_ignores_ranges(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    data = os.urandom(3 * MIB)
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("one", data)
    relay.answer = without_range

    assert store.get("one", start=MIB + 1, length=MIB) == data[MIB + 1 : 2 * MIB + 1]
    assert store.get("one", start=3 * MIB - 1) == data[-1:]


@pytest.mark.parametrize(
    "part",
    [
        None,
        "bytes 0-3/10",
        "bytes 3-6/10, x",
        "bytes 3-5/10",
        "bytes 3-7/10",
        "bytes 3-5/*",
        "bytes */10",
        "items 3-6/10",
    ],
)
def test_s4_another_part_than_was_asked_for_is_never_believed(
    webdav_server: WebdavServer, relay: Relay, folder: str, part: str | None
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    store.put_new("one", b"0123456789")
    headers = {"ETag": "x"} if part is None else {"ETag": "x", "Content-Range": part}
    relay.answer = lambda asked: Answered(206, b"0123", headers) if asked.method == "GET" else None

    with pytest.raises(StorageError):
        store.get("one", start=3, length=4)


@pytest.mark.parametrize(
    ("part", "body"),
    [("bytes 2-6/10", b"23456"), ("bytes 3-7/10", b"34567"), ("bytes 3-5/10", b"345"), ("bytes 3-9/10", b"3456789")],
)
def test_s4_a_part_with_other_ends_than_those_asked_for_is_never_believed(
    webdav_server: WebdavServer, relay: Relay, folder: str, part: str, body: bytes
) -> None:
    opened(webdav_server, folder).put_new("one", b"0123456789")
    headers = {"ETag": "x", "Content-Range": part}
    relay.answer = lambda asked: Answered(206, body, headers) if asked.method == "GET" else None
    transport = transport_of(webdav_server.url_at(folder, relay.port), webdav_server.options, LIMITS)

    with pytest.raises(DoubtfulAnswerError):
        transport.read("one", 3, 4)

    transport.close()


def test_one_connection_is_used_again_and_again(
    webdav_server: WebdavServer, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="httpcore.connection")
    store = opened(webdav_server, folder)

    store.put_new("packs/one", b"1")
    with pytest.raises(NotFoundError):
        store.get("packs/two")
    store.list("")
    store.delete("packs/one")

    assert sum("connect_tcp.started" in record.getMessage() for record in caplog.records) == 1


def test_s4_bytes_in_another_encoding_are_refused(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("one", b"0123456789")
    packed = Answered(200, b"0123456789", {"ETag": "x", "Content-Encoding": "gzip"})
    relay.answer = lambda asked: packed if asked.method == "GET" else None

    with pytest.raises(StorageError, match="encoding"):
        store.get("one")


def test_s4_a_server_that_says_no_length_is_believed_when_all_came(webdav_server: WebdavServer, folder: str) -> None:
    opened(webdav_server, folder).put_new("one", b"0123456789")
    for sent, expected in [(b"0123456789", b"0123456789"), (b"01234", None)]:
        with OldServer(sent) as port:
            store = opened(webdav_server, folder, port=port, limits=ONCE)
            if expected is not None:
                assert store.get("one") == expected
                assert store.get("one", start=2, length=3) == expected[2:5]
            else:
                with pytest.raises(StorageError) as caught:
                    store.get("one")
                assert caught.value.retryable


class OldServer:
    """A server that ends each answer to a GET by closing the connection, and says that all objects have 10 bytes."""

    def __init__(self, sent: bytes) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                method, path, _ = self.rfile.readline().decode().split(" ")
                length = 0
                while (line := self.rfile.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.rfile.read(length)
                if method == "GET":
                    self.wfile.write(b"HTTP/1.0 200 OK\r\nETag: x\r\n\r\n" + sent)
                else:
                    body = multistatus(response(path, FILE.replace(">1<", ">10<"))).body
                    self.wfile.write(b"HTTP/1.0 207 Multi-Status\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> int:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        port: int = self._server.server_address[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/html; charset=utf-8", "ETag": "x"}, {}], ids=["html", "bare"]
)
def test_s5_a_page_about_a_folder_is_not_an_object(
    webdav_server: WebdavServer, relay: Relay, folder: str, headers: dict[str, str]
) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("packs/one", b"<html>an object that looks like a page</html>")
    page = Answered(200, b"<html>Index of packs</html>", headers)
    relay.answer = lambda asked: page if asked.method == "GET" and asked.path.endswith("packs") else None

    with pytest.raises(NotFoundError):
        store.get("packs")

    assert store.get("packs/one").startswith(b"<html>an object")


def test_what_arrived_short_is_never_moved_to_its_name(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    store.put_new("one", b"1")
    cut = [True]

    def shorten(asked: Asked) -> Asked | None:
        if asked.method != "PUT" or not cut:
            return None
        cut.clear()
        return Asked(asked.method, asked.path, {**asked.headers, "content-length": "5"}, asked.body[:5])

    relay.answer = shorten
    store.put_new("two", b"0123456789")

    assert not cut
    assert webdav_server.peek(folder) == {"one": b"1", "two": b"0123456789"}
    assert seen_by(relay, "MOVE") == [201, 201]


# What statuses mean


@pytest.mark.parametrize(
    ("method", "status", "code", "is_retryable"),
    [
        ("PUT", 400, Code.STORE_FAILED, False),
        ("PUT", 401, Code.STORE_DENIED, False),
        ("PUT", 405, Code.STORE_FAILED, False),
        ("PUT", 407, Code.STORE_DENIED, False),
        ("PUT", 413, Code.STORE_FAILED, False),
        ("PUT", 501, Code.STORE_FAILED, False),
        ("PUT", 507, Code.STORE_FULL, False),
        ("PUT", 202, Code.STORE_FAILED, True),
        ("PUT", 404, Code.STORE_FAILED, True),
        ("PUT", 429, Code.STORE_FAILED, True),
        ("PUT", 503, Code.STORE_FAILED, True),
        ("MOVE", 403, Code.STORE_DENIED, False),
        ("MOVE", 409, Code.STORE_FAILED, False),
        ("MOVE", 507, Code.STORE_FULL, False),
        ("MOVE", 207, Code.STORE_FAILED, True),
        ("MOVE", 404, Code.STORE_FAILED, True),
        ("MOVE", 423, Code.STORE_FAILED, True),
        ("MOVE", 502, Code.STORE_FAILED, True),
    ],
)
def test_a_put_that_fails_says_whether_it_may_be_tried_again_and_leaves_nothing(
    webdav_server: WebdavServer, relay: Relay, folder: str, method: str, status: int, code: Code, is_retryable: bool
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    relay.answer = lambda asked: Answered(status) if asked.method == method else None

    with pytest.raises(StorageError) as caught:
        store.put_new("packs/one", b"1")

    assert (caught.value.code, caught.value.retryable) == (code, is_retryable)
    assert webdav_server.peek(folder) == {}


@pytest.mark.parametrize("verb", ["get", "list", "put_new", "delete"])
@pytest.mark.parametrize("status", [401, 403, 500])
def test_s5_no_verb_takes_a_refusal_for_an_absence(
    webdav_server: WebdavServer, relay: Relay, folder: str, verb: str, status: int
) -> None:
    store = opened(webdav_server, folder, port=relay.port, limits=ONCE)
    relay.answer = lambda _asked: Answered(status)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("packs/one"),
        "list": lambda: store.list("packs/"),
        "put_new": lambda: store.put_new("packs/one", b""),
        "delete": lambda: store.delete("packs/one"),
    }

    with pytest.raises(StorageError) as caught:
        calls[verb]()

    assert caught.value.retryable is (status == 500)
    assert caught.value.code is (Code.STORE_FAILED if status == 500 else Code.STORE_DENIED)


def test_what_is_locked_is_tried_again_until_it_is_not(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    store = opened(webdav_server, folder, port=relay.port)
    answers = iter([Answered(423), Answered(423)])
    relay.answer = lambda asked: next(answers, None) if asked.method == "MOVE" else None

    store.put_new("packs/one", b"1")

    assert webdav_server.peek(folder) == {"packs/one": b"1"}


def test_a_folder_that_two_make_at_once_is_made_whatever_the_server_says(
    webdav_server: WebdavServer, relay: Relay, folder: str
) -> None:
    def answer(asked: Asked) -> Answered | None:
        if asked.method != "MKCOL":
            return None
        passed_on(asked, webdav_server.port)
        return Answered(403)

    relay.answer = answer
    store = opened(webdav_server, folder, port=relay.port)

    store.put_new("packs/one", b"1")

    assert webdav_server.peek(folder) == {"packs/one": b"1"}


def test_credentials_do_not_follow_a_redirect(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    with relayed(webdav_server.port) as elsewhere:
        at = f"http://127.0.0.1:{elsewhere.port}/moved"
        relay.answer = lambda _asked: Answered(302, b"", {"Location": at})
        store = opened(webdav_server, folder, port=relay.port)

        for use in every_verb(store):
            with pytest.raises(StorageError, match=at) as caught:
                use()
            assert not caught.value.retryable

        assert elsewhere.seen == []


# Lines that break


def every_verb(store: DeleteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("packs/one"),
        lambda: store.list(""),
        lambda: store.list("packs/"),
        lambda: store.put_new("packs/two", b"2"),
        lambda: store.delete("packs/three"),
    ]


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE, Mode.cut_down(20)], ids=repr)
def test_s8_without_an_answer_every_verb_fails_in_time_and_works_again_afterwards(
    webdav_server: WebdavServer, proxy: FaultProxy, folder: str, mode: Mode
) -> None:
    limits = Limits(request=0.4, deadline=0.3, first_answer=0.3)
    store = opened(webdav_server, folder, port=proxy.port, limits=limits)
    store.put_new("packs/one", b"1")
    proxy.mode = mode

    for use in every_verb(store):
        begin = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.retryable
        assert time.perf_counter() - begin < 4

    proxy.mode = Mode.PASS
    assert store.get("packs/one") == b"1"
    assert store.list("") == [ObjectInfo("packs/one", 1)]


def test_a_server_that_was_away_is_found_again(tmp_path: Path) -> None:
    with start_webdav(tmp_path) as server:
        store = opened(server, "place", create=True, limits=Limits(request=1, deadline=0.3, first_answer=1))
        store.put_new("packs/one", HOSTILE)
        server.stop()
        for use in every_verb(store):
            with pytest.raises(StorageError) as caught:
                use()
            assert caught.value.retryable

        server.start()

        assert store.get("packs/one") == HOSTILE
        assert store.list("") == [ObjectInfo("packs/one", len(HOSTILE))]


def test_s8_a_server_that_is_too_slow_is_given_up(webdav_server: WebdavServer, proxy: FaultProxy, folder: str) -> None:
    opened(webdav_server, folder).put_new("one", bytes(MIB))
    store = opened(webdav_server, folder, port=proxy.port, limits=HASTY)
    store.list("")
    proxy.mode = Mode.slow(10_000)

    uses: list[Callable[[], object]] = [lambda: store.get("one"), lambda: store.put_new("two", bytes(100_000))]
    for use in uses:
        begin = time.perf_counter()
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.retryable
        assert time.perf_counter() - begin < 8


@pytest.mark.parametrize("method", ["PUT", "MOVE", "MKCOL"])
def test_an_answer_that_was_lost_does_not_make_a_put_fail(
    webdav_server: WebdavServer, relay: Relay, folder: str, method: str
) -> None:
    """It took effect, and the answer says that nobody knows."""
    store = opened(webdav_server, folder, port=relay.port)
    lost: list[int] = []

    def lose(asked: Asked) -> Answered | None:
        if asked.method != method or lost:
            return None
        lost.append(passed_on(asked, webdav_server.port).status)
        return Answered(504)

    relay.answer = lose
    store.put_new("packs/one", HOSTILE)

    assert lost == [201]
    assert webdav_server.peek(folder) == {"packs/one": HOSTILE}


def test_a_connection_that_ends_instead_of_an_answer_does_not_make_a_put_fail(
    webdav_server: WebdavServer, proxy: FaultProxy, folder: str
) -> None:
    store = opened(webdav_server, folder, port=proxy.port)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.swallow(after=MIB).first(1)

    store.put_new("packs/two", bytes(2 * MIB))

    assert proxy.struck == 1
    assert store.get("packs/two") == bytes(2 * MIB)
    assert [info.name for info in store.list("")] == ["packs/one", "packs/two"]


@pytest.mark.parametrize("count", [0, 500, MIB])
def test_s4_a_download_that_was_cut_is_never_short(
    webdav_server: WebdavServer, proxy: FaultProxy, folder: str, count: int
) -> None:
    data = os.urandom(2 * MIB)
    store = opened(webdav_server, folder, port=proxy.port, limits=HASTY)
    store.put_new("one", data)
    proxy.mode = Mode.cut_down(count).first(1)

    assert store.get("one") == data
    assert proxy.struck == 1

    proxy.mode = Mode.cut_down(count)
    with pytest.raises(StorageError) as caught:
        store.get("one")
    assert caught.value.retryable


def test_s7_an_upload_that_was_cut_leaves_nothing_visible(
    webdav_server: WebdavServer, proxy: FaultProxy, folder: str
) -> None:
    store = opened(webdav_server, folder, port=proxy.port, limits=HASTY)
    store.put_new("packs/one", b"1")
    proxy.mode = Mode.cut_up(MIB)

    with pytest.raises(StorageError) as caught:
        store.put_new("packs/two", bytes(4 * MIB))

    assert caught.value.retryable
    proxy.mode = Mode.PASS
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    with pytest.raises(NotFoundError):
        store.get("packs/two")
    store.put_new("packs/two", bytes(4 * MIB))


def test_s7_a_writer_that_was_killed_leaves_nothing_visible(
    webdav_server: WebdavServer, proxy: FaultProxy, folder: str
) -> None:
    proxy.mode = Mode.slow(2 * MIB)
    script = (
        "import sys; from safebackup.storage import open_store; url, user, password = sys.argv[1:]\n"
        "store = open_store(url, storage_options={'auth': (user, password)}); store.put_new('packs/one', b'1')\n"
        "print('now', flush=True); store.put_new('packs/two', bytes(32 << 20))"
    )
    user, password = credentials_of(webdav_server)
    command = [sys.executable, "-c", script, webdav_server.url_at(folder, proxy.port), user, password]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"now\n"
        until = time.perf_counter() + 20
        while not any(name.startswith("tmp/") for name in webdav_server.peek(folder)):
            assert time.perf_counter() < until
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)

    store = opened(webdav_server, folder)
    assert store.list("") == [ObjectInfo("packs/one", 1)]
    assert [name for name in webdav_server.peek(folder) if not name.startswith("tmp/")] == ["packs/one"]
    store.put_new("packs/two", b"2")
    assert store.get("packs/two") == b"2"


def test_s8_a_list_does_not_wait_for_uploads(webdav_server: WebdavServer, proxy: FaultProxy, folder: str) -> None:
    store, writer = opened(webdav_server, folder), opened(webdav_server, folder, port=proxy.port)
    writer.put_new("packs/one", b"1")
    proxy.mode = Mode.slow(MIB)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(writer.put_new, "packs/two", bytes(3 * MIB))
        while len(webdav_server.peek(folder)) == 1:
            assert not writing.done()
        begin = time.perf_counter()

        listed = store.list("")

        took = time.perf_counter() - begin
        assert not writing.done()
    assert listed == [ObjectInfo("packs/one", 1)]
    assert took < 1
    assert webdav_server.peek(folder) == {"packs/one": b"1", "packs/two": bytes(3 * MIB)}


def test_s9_after_a_fork_child_and_parent_both_go_on(webdav_server: WebdavServer, folder: str) -> None:
    script = (
        "import os, sys; from safebackup.storage import open_store; url, user, password = sys.argv[1:]\n"
        "store = open_store(url, storage_options={'auth': (user, password)}); store.put_new('one', b'1')\n"
        "child = os.fork()\n"
        "store.put_new('child' if child == 0 else 'parent', b'1')\n"
        "if child == 0: os._exit(len(store.list('')) not in (2, 3))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert [info.name for info in store.list('')] == ['child', 'one', 'parent']"
    )
    user, password = credentials_of(webdav_server)

    subprocess.run([sys.executable, "-c", script, webdav_server.url(folder), user, password], check=True, timeout=60)


# URLs and credentials


def test_what_a_url_means_does_not_depend_on_how_it_is_written(webdav_server: WebdavServer) -> None:
    folder = f"a b {secrets.token_hex(6)}"
    at = f"127.0.0.1:{webdav_server.port}"
    user, password = credentials_of(webdav_server)
    open_store(webdav_server.url(folder), storage_options=webdav_server.options, create=True).put_new("one", b"1")

    ways: list[tuple[str, dict[str, object]]] = [
        (f"dav://{at}/{folder}", {"auth": [user, password]}),
        (f"WebDAV://{at}/{folder.replace(' ', '%20')}/", webdav_server.options),
        (f"webdav://{user}:{password}@{at}/{folder}", {}),
        (f"webdav://{folder}", webdav_server.options | {"base_url": f"http://{at}"}),
        (f"webdav://{folder}", {"base_url": f"http://{user}:{password}@{at}/"}),
    ]
    for url, options in ways:
        store = open_store(url, storage_options=options, limits=LIMITS)
        assert store.get("one") == b"1"
        assert store.list("") == [ObjectInfo("one", 1)]
        store.put_new("one", b"1")
        assert password not in f"{store.url} {store!r}"


def test_with_an_s_it_is_never_without_tls(webdav_server: WebdavServer, relay: Relay, folder: str) -> None:
    for scheme in ("webdavs", "davs"):
        url = webdav_server.url_at(folder, relay.port).replace("webdav:", f"{scheme}:")
        store = open_store(url, storage_options=webdav_server.options, limits=ONCE)

        with pytest.raises(StorageError) as caught:
            store.get("one")

        assert caught.value.retryable
    assert relay.seen == []


def test_auth_that_is_no_pair_is_refused_with_its_form(webdav_server: WebdavServer) -> None:
    for bad in ("ann:hunter2", ["hunter2"], ("ann", "hunter2", "x")):
        with pytest.raises(ConfigurationError) as caught:
            open_store(webdav_server.url("place"), storage_options=webdav_server.options | {"auth": bad}).list("")

        assert '["user", "password"]' in caught.value.hint
        assert "hunter2" not in str(caught.value)


def test_credentials_in_a_file_open_a_store_from_the_terminal(webdav_server: WebdavServer, tmp_path: Path) -> None:
    open_store(webdav_server.url("terminal"), storage_options=webdav_server.options, create=True)
    (tmp_path / "auth").write_text(json.dumps(webdav_server.options["auth"]))

    done = safebackup(
        *("init", webdav_server.url("terminal/a"), "--no-key", "--storage-option", "auth=@auth"), folder=tmp_path
    )

    assert done.status == 0, done.err
    assert webdav_server.peek("terminal/a")


@pytest.mark.parametrize(
    "bad", [{"no_such_option": 1}, {"auth": 5}, {"auth": ("user",)}, {"base_url": "nonsense"}, {"verify": "/nowhere"}]
)
def test_options_that_make_no_sense_are_refused(webdav_server: WebdavServer, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(webdav_server.url("place"), storage_options=webdav_server.options | bad).list("")

    assert caught.value.code is Code.BAD_URL


@pytest.mark.parametrize(
    "place",
    ["127.0.0.1:http/a", "127.0.0.1:70000/a", ":80/a", "[::1/a", "user:pass@:1/a", "host/a/%2E%2E/b", "host/%FF"],
)
def test_a_host_or_port_that_makes_no_sense_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"webdav://{place}").list("")

    assert caught.value.code is Code.BAD_URL


def test_a_password_that_is_wrong_is_said_to_be(webdav_server: WebdavServer, folder: str) -> None:
    store = opened(webdav_server, folder, auth=("tests", "Wrong-Secret-1"))

    for use in every_verb(store):
        with pytest.raises(StorageError) as caught:
            use()
        assert caught.value.code is Code.STORE_DENIED


def test_secrets_are_shown_nowhere(
    webdav_server: WebdavServer, relay: Relay, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = webdav_server.secret
    store = opened(webdav_server, folder, port=relay.port, limits=Limits(request=1, deadline=0.6, first_answer=0.6))
    store.put_new("one", b"1")
    assert not any(secret in record.getMessage() for record in caplog.records)
    said: list[str] = []
    for answer in (Answered(302, b"", {"Location": f"/{secret}"}), Answered(403, secret.encode()), Answered(503)):
        relay.answer = lambda _asked, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(StorageError) as caught:
            store.get("one")
        assert caught.value.__cause__ is None
        said.append(f"{caught.value!r} {caught.value} {caught.value.hint}")

    assert "***" in said[0]
    assert not any(secret in text for text in [*said, f"{store!r} {store.url}"])
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("safebackup")]
    assert ours
    assert not any(secret in message for message in ours)
    with pytest.raises(ConfigurationError):
        pickle.dumps(store)


@pytest.mark.parametrize(
    ("url", "options", "secrets_"),
    [
        ("webdav://host/a", {"auth": ("ann", "hunter2")}, {"hunter2"}),
        ("webdav://host/a", {"auth": ["ann", "hunter2"]}, {"hunter2"}),
        ("webdav://host/a", {"auth": ("ann", "")}, set()),
        ("webdav://ann:p%40ss@host/a", {}, {"p%40ss", "p@ss"}),
        ("webdav://a", {"base_url": "https://ann:hunter2@host/"}, {"hunter2"}),
        ("webdav://host/a", {"headers": {"Authorization": "Basic abc"}}, {"Basic abc"}),
        ("webdav://host/a", {"headers": {"Cookie": "session=abc"}}, {"session=abc"}),
    ],
)
def test_what_is_secret_is_known(url: str, options: dict[str, object], secrets_: set[str]) -> None:
    assert set(secrets_of(url, options)) == secrets_


def test_without_credentials_a_store_can_be_sent_to_another_process() -> None:
    store = open_store("webdav://127.0.0.1:1/place", limits=HASTY)

    copy = pickle.loads(pickle.dumps(store))

    assert (copy.url, copy.limits) == (store.url, HASTY)


def test_several_threads_use_one_connection_pool(webdav_server: WebdavServer, folder: str) -> None:
    assert WebdavTransport.is_shared
    store = opened(webdav_server, folder)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put_new(f"packs/{n}", b"%d" % n * 1000), range(40)))
        got = list(pool.map(lambda n: store.get(f"packs/{n}"), range(40)))

    assert got == [b"%d" % n * 1000 for n in range(40)]
