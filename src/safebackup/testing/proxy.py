"""A proxy that breaks the line between a client and a real server, in ways that can be repeated.

    with FaultProxy("127.0.0.1", 9000) as proxy:
        store = open_store("s3://bucket/place", storage_options={"endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        proxy.mode = Mode.cut_up(100_000).first(1)
        store.put_new("packs/one", data)  # the first attempt is cut in the middle
        assert proxy.struck == 1

It passes bytes on and knows no protocol, but for `Mode.status`, which speaks HTTP without TLS.
What a server tells its clients to connect to besides, such as the data connections of FTP, does not come through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from concurrent.futures import Future
from http.client import responses
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self, TypeAlias

import attrs

from safebackup.errors import ConfigurationError

_PIECE = 1 << 16
_PIECES_WAITING = 64
_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n")
_INTERIM = re.compile(rb"HTTP/1\.1 1\d\d ")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
_CLOSING_SECONDS = 10
_LINGERING_SECONDS = 1

_Address: TypeAlias = tuple[socket.AddressFamily, Any]


@attrs.frozen
class Mode:
    """What a `FaultProxy` does to connections; made by the names and functions below.

    It holds for connections that are open already, too; bytes are counted for each connection, from when the mode
    was set. Nothing that was cut off, dropped or sent into a black hole ever arrives later.
    """

    kind: str
    amount: float = 0
    retry_after: int | None = None
    times: int | None = None

    PASS: ClassVar[Mode]
    """Everything is passed on."""
    REFUSE: ClassVar[Mode]
    """Nobody listens: connecting is refused, and open connections are reset."""
    BLACKHOLE: ClassVar[Mode]
    """Connections are accepted, and nothing is ever passed on or answered."""

    @classmethod
    def cut_up(cls, count: int) -> Self:
        """The connection ends once `count` bytes from the client were passed on; with 0, when it sends the first."""
        return cls("cut up", _required(count, "a number of bytes"))

    @classmethod
    def cut_down(cls, count: int) -> Self:
        """The connection ends once `count` bytes from the server were passed on; with 0, when it sends the first."""
        return cls("cut down", _required(count, "a number of bytes"))

    @classmethod
    def swallow(cls, *, after: int = 0) -> Self:
        """The request is passed on whole, and the answer to it is lost: the connection ends instead.

        `after` chooses among requests: answers pass until a connection's client has sent that many bytes.
        """
        return cls("swallow", _required(after, "a number of bytes"))

    @classmethod
    def slow(cls, bytes_per_second: int) -> Self:
        """Each direction of each connection passes so many bytes a second."""
        return cls("slow", _required(bytes_per_second, "a number of bytes a second", least=1))

    @classmethod
    def delay(cls, seconds: float) -> Self:
        """What the client sends arrives later by `seconds`: the round trip of a distant server."""
        return cls("delay", _required(seconds, "a number of seconds"))

    @classmethod
    def status(cls, status: int, *, retry_after: int | None = None) -> Self:
        """HTTP requests are answered with this status, such as 503 or 429, and never reach the server."""
        if status not in responses or status < 400:
            raise ConfigurationError(f"{status!r} is no failure of HTTP", hint="Give one such as 503 or 429.")
        return cls("status", status, retry_after)

    def first(self, times: int) -> Self:
        """The same, until it has struck `times` times; then all is passed on. For what can be counted."""
        if self.kind in ("pass", "refuse", "slow", "delay"):
            raise ConfigurationError(f"{self.kind!r} strikes no single connection", hint="Leave first() out.")
        return attrs.evolve(self, times=int(_required(times, "how often", least=1)))


Mode.PASS = Mode("pass")
Mode.REFUSE = Mode("refuse")
Mode.BLACKHOLE = Mode("blackhole")


def _required(number: float, what: str, *, least: int = 0) -> float:
    if number < least:
        raise ConfigurationError(f"{number!r} is not {what}", hint=f"Give one that is not below {least}.")
    return number


@attrs.define(eq=False)
class _Setting:
    """A mode that was set, and how often it has struck since."""

    mode: Mode
    struck: int = 0

    @property
    def now(self) -> Mode:
        used_up = self.mode.times is not None and self.struck >= self.mode.times
        return Mode.PASS if used_up else self.mode


class FaultProxy:
    """A port on 127.0.0.1 that leads to a server, and on which `mode` says what goes wrong.

    It lives in a thread of its own for the length of a `with` block, and leaving that closes every connection.
    Threads may share it; a process that was forked inside the block must leave it alone.
    """

    port: int

    def __init__(self, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"{host}:{port} has no address: {error}", hint="Check its spelling.") from error
        self._server: list[_Address] = [(family, address) for family, _, _, _, address in found]
        self._setting = _Setting(Mode.PASS)
        self._lines: dict[asyncio.Task[None], _Line] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        # Holds the port while nobody listens on it, so that no other program gets it.
        self._holder = _bound(0)
        self.port = self._holder.getsockname()[1]
        self._stop = asyncio.Event()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(ready),), name="fault proxy", daemon=True)
        self._thread.start()
        ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_CLOSING_SECONDS)
        self._holder.close()

    @property
    def mode(self) -> Mode:
        """What is done to connections; may be set at any time, and holds when setting it returns."""
        return self._setting.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._setting = _Setting(mode)
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._listen_or_not(), self._loop).result(_CLOSING_SECONDS)

    @property
    def struck(self) -> int:
        """How many connections were cut or silenced, or requests answered, since `mode` was set."""
        return self._setting.struck

    async def _serve(self, ready: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await self._listen_or_not()
            ready.set_result(None)
            await self._stop.wait()
        except OSError as error:
            ready.set_exception(error)
        finally:
            self._setting = _Setting(Mode.REFUSE)
            await self._listen_or_not()

    async def _listen_or_not(self) -> None:
        loop = asyncio.get_running_loop()
        if self._setting.mode.kind != "refuse":
            if self._listener is None:
                self._listener = _bound(self.port)
                self._listener.listen(256)
                loop.add_reader(self._listener, self._accept, self._listener)
            return
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task, line in self._lines.items():
            line.reset()
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it has gone again
        line = _Line(self, client)
        task = asyncio.create_task(line.run())
        self._lines[task] = line
        task.add_done_callback(lambda task: self._lines.pop(task).close())  # also of one that was never begun


class _CutError(Exception):
    """This connection ends here."""


class _Line:
    """The connection of one client, and the one to the server that was made for it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = _ready(client)
        self._server: socket.socket | None = None
        self._arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_WAITING)
        self._setting = proxy._setting
        self._up = 0
        self._down = 0
        self._is_silent = False
        self._client_ended = asyncio.Event()
        self._server_ended = asyncio.Event()

    def reset(self) -> None:
        """Let closing tell both sides that the connection broke."""
        for side in self._sides():
            with contextlib.suppress(OSError):  # it may be closed already
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        for side in self._sides():
            with contextlib.suppress(OSError):  # the other end may be gone, or a reset is wanted
                if not side.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
                    side.shutdown(socket.SHUT_RDWR)  # also where a forked process has the socket, too
            side.close()

    async def run(self) -> None:
        try:
            if self._is_dropped(self._mode()):
                while await asyncio.get_running_loop().sock_recv(self._client, _PIECE):
                    pass
                return
            server = self._server = await _connected(self._proxy._server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read_client())
                both.create_task(self._pass_up(server))
                both.create_task(self._pass_down(server))
        except* (OSError, _CutError):
            pass

    async def _cut(self, side: socket.socket, last: bytes, has_ended: asyncio.Event) -> NoReturn:
        """Send the last bytes that pass, and end the connection once they arrived.

        To close it while the other end still sends would reset it, and a reset overtakes what was sent before.
        """
        self._strike()
        await self._send(side, last)
        self._is_silent = True
        side.shutdown(socket.SHUT_WR)
        if side is not self._client:
            with contextlib.suppress(OSError):  # it may be gone
                self._client.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(has_ended.wait(), _LINGERING_SECONDS)
        raise _CutError

    def _sides(self) -> list[socket.socket]:
        return [self._client] if self._server is None else [self._client, self._server]

    def _mode(self) -> Mode:
        setting = self._proxy._setting
        if setting is not self._setting:
            self._setting, self._up, self._down = setting, 0, 0
        return setting.now

    def _is_dropped(self, mode: Mode) -> bool:
        """Whether what arrived is not passed on, as nothing after it is: a black hole lets go of no connection."""
        if mode.kind == "blackhole" and not self._is_silent:
            self._strike()
            self._is_silent = True
        return self._is_silent

    def _strike(self) -> None:
        self._setting.struck += 1

    async def _read_client(self) -> None:
        loop = asyncio.get_running_loop()
        data = b"."
        while data:
            data = await loop.sock_recv(self._client, _PIECE)
            await self._arrived.put((loop.time(), data))
        self._client_ended.set()

    async def _pass_up(self, server: socket.socket) -> None:
        while True:
            arrived, data = await self._arrived.get()
            mode = self._mode()
            if mode.kind == "delay":
                await asyncio.sleep(arrived + mode.amount - asyncio.get_running_loop().time())
                mode = self._mode()
            if not data:
                break
            if self._is_dropped(mode):
                continue
            if mode.kind == "status" and _REQUEST_LINE.match(data):
                await self._answer(mode, data)
                continue
            left = int(mode.amount) - self._up
            if mode.kind == "cut up" and len(data) >= left:
                await self._cut(server, data[:left], self._server_ended)
            self._up += len(data)
            await self._send(server, data)
        if self._is_silent:
            self.reset()  # an orderly end would tell the server that it got all
            raise _CutError
        server.shutdown(socket.SHUT_WR)

    async def _pass_down(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(server, _PIECE):
            mode = self._mode()
            if self._is_dropped(mode):
                continue
            if mode.kind == "swallow" and self._up >= max(1, mode.amount) and not _INTERIM.match(data):
                self._strike()
                raise _CutError
            left = int(mode.amount) - self._down
            if mode.kind == "cut down" and len(data) >= left:
                await self._cut(self._client, data[:left], self._client_ended)
            self._down += len(data)
            await self._send(self._client, data)
        self._server_ended.set()
        if not self._is_silent:
            self._client.shutdown(socket.SHUT_WR)

    async def _send(self, to: socket.socket, data: bytes) -> None:
        while data:
            mode = self._mode()
            if self._is_dropped(mode):
                return
            size = max(1, int(mode.amount / 20)) if mode.kind == "slow" else len(data)
            await asyncio.get_running_loop().sock_sendall(to, data[:size])
            if mode.kind == "slow":
                await asyncio.sleep(min(size, len(data)) / mode.amount)
            data = data[size:]

    async def _answer(self, mode: Mode, request: bytes) -> None:
        """Answer a request that was read whole, in the server's place, and never say anything again."""
        self._strike()
        self._is_silent = True
        while b"\r\n\r\n" not in request:
            request += await self._more()
        head, _, body = request.partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(head)
        if not _EXPECTS.search(head):
            left = int(length[1]) - len(body) if length else 0
            while left > 0:
                left -= len(await self._more())
            while _CHUNKED.search(head) and not body.endswith(b"0\r\n\r\n"):
                body = body[-5:] + await self._more()
        status = int(mode.amount)
        told = f"HTTP/1.1 {status} {responses[status]}\r\nContent-Length: 0\r\n"
        if mode.retry_after is not None:
            told += f"Retry-After: {mode.retry_after}\r\n"
        await asyncio.get_running_loop().sock_sendall(self._client, f"{told}Connection: close\r\n\r\n".encode())
        self._client.shutdown(socket.SHUT_WR)

    async def _more(self) -> bytes:
        _, data = await self._arrived.get()
        if not data:
            raise _CutError
        return data


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    bound.setblocking(False)
    return bound


def _ready(connection: socket.socket) -> socket.socket:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


async def _connected(addresses: list[_Address]) -> socket.socket:
    for family, address in addresses:
        connection = _ready(socket.socket(family))
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
        else:
            return connection
    raise ConnectionRefusedError("the server cannot be reached")
