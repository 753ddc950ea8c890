"""The fault proxy in front of real servers: each fault by the bytes that did arrive, and those that did not."""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import attrs
import pytest

from safebackup.errors import ConfigurationError
from safebackup.testing import FaultProxy, Mode

pytestmark = pytest.mark.portable

PAGE = bytes(range(256)) * 400
LONG = 5  # seconds that nothing here takes


@attrs.define
class WebServer:
    """A server that keeps what it is sent; `got` has each whole request, as verb and body."""

    port: int
    got: list[tuple[str, bytes]]


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    got: list[tuple[str, bytes]]

    def do_GET(self) -> None:
        self.got.append(("GET", b""))
        self._answer(PAGE)

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) == size:
            self.got.append(("PUT", body))
            self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are gone are what is tested here."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    got: list[tuple[str, bytes]] = []
    with _running(_Quiet(("127.0.0.1", 0), type("Pages", (_Pages,), {"got": got}))) as port:
        yield WebServer(port, got)


class _Listening(socketserver.BaseRequestHandler):
    """Says hello, then keeps every byte and answers each piece with a dot. It takes its time."""

    got: bytearray

    def handle(self) -> None:
        try:
            self.request.sendall(b"hello")
            while data := self.request.recv(1 << 14):
                self.got.extend(data)
                time.sleep(0.005)
                self.request.sendall(b".")
        except ConnectionError:
            self.got.extend(b"!")
        else:
            self.got.extend(b"|")


@attrs.define
class Listener:
    """A server that speaks first; `got` has what it was sent, with `|` where a connection ended, `!` if it broke."""

    port: int
    got: bytearray

    def has_got(self, expected: bytes) -> bool:
        return _comes_true(lambda: bytes(self.got) == expected)


@pytest.fixture
def listener() -> Iterator[Listener]:
    got = bytearray()
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("Kept", (_Listening,), {"got": got}))
    server.daemon_threads = True
    with _running(server) as port:
        yield Listener(port, got)


@contextlib.contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _comes_true(fact: Callable[[], bool]) -> bool:
    ends = time.monotonic() + LONG
    while not fact() and time.monotonic() < ends:
        time.sleep(0.005)
    return fact()


@pytest.fixture
def proxy(web: WebServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", web.port) as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy: FaultProxy, *, timeout: float = LONG) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def get(proxy: FaultProxy, *, timeout: float = LONG) -> bytes:
    with client(proxy, timeout=timeout) as connection:
        return request(connection, "GET")


def put(proxy: FaultProxy, body: bytes, *, timeout: float = LONG) -> bytes:
    with client(proxy, timeout=timeout) as connection:
        return request(connection, "PUT", body)


def request(connection: http.client.HTTPConnection, verb: str, body: bytes | None = None) -> bytes:
    connection.request(verb, "/", body=body)
    return connection.getresponse().read()


def all_of(connection: socket.socket) -> bytes:
    got = b""
    while data := connection.recv(1 << 16):
        got += data
    return got


def test_what_passes_is_unchanged_in_both_directions(proxy: FaultProxy, web: WebServer) -> None:
    body = PAGE * 20

    assert put(proxy, body) == b""
    assert get(proxy) == PAGE

    assert web.got == [("PUT", body), ("GET", b"")]
    assert proxy.struck == 0


def test_the_end_of_what_a_client_sends_is_passed_on_and_the_answer_still_comes(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as line:
        line.sendall(b"all")
        line.shutdown(socket.SHUT_WR)

        assert all_of(line) == b"hello."
    assert listener.has_got(b"all|")


def test_while_refused_nobody_listens_and_open_connections_are_reset(proxy: FaultProxy, web: WebServer) -> None:
    with client(proxy) as before:
        request(before, "GET")

        proxy.mode = Mode.REFUSE
        with pytest.raises(ConnectionRefusedError):
            get(proxy)
        with pytest.raises(ConnectionError):
            request(before, "GET")

    assert web.got == [("GET", b"")]
    proxy.mode = Mode.PASS
    assert get(proxy) == PAGE


def test_a_connection_that_is_refused_later_is_reset_and_does_not_just_end(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as line:
        assert line.recv(10) == b"hello"

        proxy.mode = Mode.REFUSE

        with pytest.raises(ConnectionResetError):
            line.recv(10)


def test_the_port_stays_the_same_however_often_it_is_refused(proxy: FaultProxy) -> None:
    port = proxy.port

    for _ in range(20):
        proxy.mode = Mode.REFUSE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        proxy.mode = Mode.PASS
        assert get(proxy) == PAGE

    assert proxy.port == port


def test_a_black_hole_accepts_and_says_nothing(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.BLACKHOLE

    with pytest.raises(TimeoutError):
        put(proxy, b"lost", timeout=0.2)

    assert web.got == []
    assert proxy.struck == 1


def test_a_black_hole_silences_connections_that_were_open_and_lets_go_of_none(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as line:
            assert line.recv(10) == b"hello"
            proxy.mode = Mode.BLACKHOLE
            line.sendall(b"lost")
            assert _comes_true(lambda: proxy.struck == 1)
            for mode in (Mode.PASS, Mode.cut_up(0), Mode.status(503)):
                proxy.mode = mode
                line.sendall(b"GET /lost,too HTTP/1.1\r\n\r\n")
                time.sleep(0.05)
                assert proxy.struck == 0
            line.settimeout(0.2)

            with pytest.raises(TimeoutError):
                line.recv(1)

        assert listener.has_got(b"!")  # the server is not told that what it got was all


def test_a_server_that_speaks_first_is_not_heard_through_a_black_hole(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy:
        proxy.mode = Mode.BLACKHOLE
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as line, pytest.raises(TimeoutError):
            line.recv(1)


@pytest.mark.parametrize("count", [0, 1, 5, 100_000, 200_000])
def test_an_upload_is_cut_at_the_byte(listener: Listener, count: int) -> None:
    sent = PAGE * 3
    with FaultProxy("127.0.0.1", listener.port) as proxy:
        proxy.mode = Mode.cut_up(count)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(sent)
                all_of(line)

            assert listener.has_got(sent[:count] + b"|")
        assert proxy.struck == 1


def test_who_is_cut_learns_it_at_once_whatever_the_server_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, FaultProxy("127.0.0.1", deaf.getsockname()[1]) as proxy:
        proxy.mode = Mode.cut_up(1)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.5) as line:
            line.sendall(b"all")

            assert all_of(line) == b""


def test_what_was_sent_before_does_not_count_towards_a_cut(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as line:
        line.sendall(b"before")
        assert listener.has_got(b"before")
        proxy.mode = Mode.cut_up(3)

        line.sendall(b"after")

        assert listener.has_got(b"beforeaft|")


@pytest.mark.parametrize("count", [0, 1, 60, 100_000])
def test_a_download_is_cut_at_the_byte(proxy: FaultProxy, web: WebServer, count: int) -> None:
    proxy.mode = Mode.cut_down(count)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")

        got = all_of(line)

    assert len(got) == count
    assert b"HTTP/1.1 200 OK"[:count] == got[:15]
    assert web.got == [("GET", b"")]


def test_a_client_can_tell_that_a_download_was_cut(proxy: FaultProxy) -> None:
    proxy.mode = Mode.cut_down(50_000)

    with pytest.raises(http.client.IncompleteRead):
        get(proxy)


def test_a_request_whose_answer_is_lost_was_carried_out(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.swallow()

    with pytest.raises(http.client.RemoteDisconnected):
        put(proxy, PAGE)

    assert web.got == [("PUT", PAGE)]
    assert proxy.struck == 1


def test_what_a_server_says_unasked_is_not_the_answer_that_is_lost(listener: Listener) -> None:
    with FaultProxy("127.0.0.1", listener.port) as proxy:
        proxy.mode = Mode.swallow()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
            assert line.recv(10) == b"hello"
            line.sendall(b"all")
            assert all_of(line) == b""

    assert listener.has_got(b"all|")


def test_the_request_whose_answer_is_lost_can_be_a_later_one(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.swallow(after=50_000)

    with client(proxy) as connection:
        assert request(connection, "GET") == PAGE
        with pytest.raises(ConnectionError):
            request(connection, "PUT", PAGE)

    assert web.got == [("GET", b""), ("PUT", PAGE)]


def test_a_server_that_asks_for_the_body_is_not_the_answer_that_is_lost(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.swallow()
    head = b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
        line.sendall(head)
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        line.sendall(b"abc")
        assert all_of(line) == b""

    assert web.got == [("PUT", b"abc")]


def test_a_slow_line_passes_all_of_it_at_its_rate(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.slow(200_000)
    begun = time.monotonic()

    put(proxy, PAGE)
    took = time.monotonic() - begun

    assert web.got == [("PUT", PAGE)]
    assert took >= len(PAGE) / 200_000 * 0.9


def test_a_slow_line_can_be_mended_in_the_middle(proxy: FaultProxy, web: WebServer) -> None:
    proxy.mode = Mode.slow(1_000)  # the page would take 102 seconds
    mending = threading.Timer(0.1, lambda: setattr(proxy, "mode", Mode.PASS))
    mending.start()

    put(proxy, PAGE)
    mending.join()

    assert web.got == [("PUT", PAGE)]


def test_a_distant_server_takes_a_round_trip_for_each_request_and_not_for_each_piece(proxy: FaultProxy) -> None:
    proxy.mode = Mode.delay(0.1)

    with client(proxy) as connection:
        times = [time.monotonic()]
        for _ in range(3):
            request(connection, "PUT", PAGE * 20)
            times.append(time.monotonic())

    assert all(0.1 <= after - before < 1 for before, after in pairwise(times))


@pytest.mark.parametrize(("status", "retry_after"), [(503, None), (429, 7)])
def test_requests_are_answered_in_the_servers_place(
    proxy: FaultProxy, web: WebServer, status: int, retry_after: int | None
) -> None:
    proxy.mode = Mode.status(status, retry_after=retry_after)

    for verb, body in (("GET", None), ("PUT", PAGE * 20)):
        with client(proxy) as connection:
            connection.request(verb, "/", body=body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
            assert answer.headers["Retry-After"] == (None if retry_after is None else str(retry_after))

    assert web.got == []
    assert proxy.struck == 2


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 9", [b"abc", b"def", b"ghi"]),
        (b"content-length:9", [b"", b"abcdefgh", b"i"]),
        (b"Transfer-Encoding: chunked", [b"3\r\nabc\r\n", b"0\r\n", b"\r\n"]),
        (b"Transfer-Encoding: chunked", [b"3\r\nabc\r\n0\r", b"\n\r", b"\n"]),
    ],
)
def test_a_request_is_read_whole_before_it_is_answered(proxy: FaultProxy, head: bytes, pieces: list[bytes]) -> None:
    proxy.mode = Mode.status(503)

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.05) as line:
        line.sendall(b"PUT / HTTP/1.1\r\nHost: here\r\n")
        for piece in (head + b"\r\n\r\n", *pieces):
            with pytest.raises(TimeoutError):  # some clients give up if they are answered too early
                line.recv(1)
            line.sendall(piece)

        line.settimeout(LONG)
        assert all_of(line).startswith(b"HTTP/1.1 503 ")


def test_who_asks_before_sending_a_body_is_answered_at_once(proxy: FaultProxy) -> None:
    proxy.mode = Mode.status(503)

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
        line.sendall(b"PUT / HTTP/1.1\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n")
        assert all_of(line).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")


def test_a_request_that_was_begun_before_is_not_answered_in_the_middle(proxy: FaultProxy, web: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as line:
        line.sendall(b"PUT / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabc")
        time.sleep(0.1)
        proxy.mode = Mode.status(503)
        line.sendall(b"def")

        assert all_of(line).startswith(b"HTTP/1.1 200 OK")
    assert web.got == [("PUT", b"abcdef")]


@pytest.mark.parametrize(
    "mode", [Mode.BLACKHOLE, Mode.cut_up(10), Mode.cut_down(10), Mode.swallow(), Mode.status(503)], ids=lambda m: m.kind
)
def test_a_fault_that_strikes_twice_lets_the_third_attempt_pass(proxy: FaultProxy, web: WebServer, mode: Mode) -> None:
    proxy.mode = mode.first(2)

    def attempt() -> str:
        with client(proxy, timeout=0.3) as connection:
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                return "page" if answer.read() == PAGE else str(answer.status)
            except (OSError, http.client.HTTPException):
                return "failed"

    outcomes = [attempt() for _ in range(4)]

    assert outcomes == ["503" if mode.kind == "status" else "failed"] * 2 + ["page"] * 2
    assert proxy.struck == 2
    carried_out = 4 if mode.kind in ("cut down", "swallow") else 2
    assert len(web.got) == carried_out


def test_a_server_that_is_down_is_a_connection_that_ends(web: WebServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with FaultProxy("127.0.0.1", nobody.getsockname()[1]) as proxy:
            with pytest.raises(ConnectionError):
                get(proxy)

            proxy.mode = Mode.BLACKHOLE
            with pytest.raises(TimeoutError):
                get(proxy, timeout=0.2)


@pytest.mark.parametrize(
    "mode", [Mode.PASS, Mode.REFUSE, Mode.BLACKHOLE, Mode.slow(10), Mode.delay(60)], ids=lambda mode: mode.kind
)
def test_leaving_ends_everything_at_once(listener: Listener, mode: Mode) -> None:
    begun = time.monotonic()
    with FaultProxy("127.0.0.1", listener.port) as proxy:
        lines = [socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) for _ in range(20)]
        proxy.mode = mode
        for line in lines:
            with contextlib.suppress(ConnectionError):  # reset
                line.sendall(PAGE)

    for line in lines:
        with contextlib.suppress(ConnectionError):
            all_of(line)
        line.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    assert time.monotonic() - begun < LONG
    assert "fault proxy" not in {thread.name for thread in threading.enumerate()}


def test_an_error_inside_is_passed_on_and_everything_ends(web: WebServer) -> None:
    with pytest.raises(KeyError), FaultProxy("127.0.0.1", web.port):
        raise KeyError("a test's own")

    assert "fault proxy" not in {thread.name for thread in threading.enumerate()}


def test_modes_can_be_set_while_many_use_the_line(proxy: FaultProxy) -> None:
    stop = threading.Event()
    odd: list[bytes] = []

    def use() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                got = get(proxy, timeout=0.5)
                if got not in (PAGE, b""):
                    odd.append(got)

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    modes = [Mode.PASS, Mode.REFUSE, Mode.cut_down(1000), Mode.status(503), Mode.cut_up(3), Mode.swallow()]
    for mode in modes * 10:
        proxy.mode = mode
        time.sleep(0.005)
    stop.set()
    for user in users:
        user.join()

    proxy.mode = Mode.PASS
    assert odd == []
    assert get(proxy) == PAGE


NONSENSE: dict[str, Callable[[], object]] = {
    "cut up": lambda: Mode.cut_up(-1),
    "cut down": lambda: Mode.cut_down(-1),
    "swallow": lambda: Mode.swallow(after=-1),
    "slow": lambda: Mode.slow(0),
    "delay": lambda: Mode.delay(-0.1),
    "a success": lambda: Mode.status(200),
    "no status": lambda: Mode.status(999),
    "no times": lambda: Mode.cut_up(1).first(0),
    "first of passing": lambda: Mode.PASS.first(1),
    "first of refusing": lambda: Mode.REFUSE.first(1),
    "first of late": lambda: Mode.delay(1).first(1),
    "no host": lambda: FaultProxy("a..b", 1),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_what_makes_no_sense_is_refused_in_words(what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        NONSENSE[what]()

    assert caught.value.hint
