"""A relay that understands HTTP: it writes down each request to a server, and can answer or change some by itself."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

import attrs

HOST = "127.0.0.1"


@attrs.frozen
class Asked:
    """A request; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Answered:
    """An answer of the relay's own."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)


Answering: TypeAlias = Callable[[Asked], Answered | Asked | None]


@attrs.define(eq=False)
class Relay:
    """Where it listens, what it was asked and what came of it, and `answer`, which may be set at any time.

    `answer` gives an answer of its own, or another request to pass on instead, or None for this one as it is.
    """

    port: int
    seen: list[tuple[str, str, int]] = attrs.field(factory=list)
    answer: Answering = lambda _asked: None

    @property
    def methods(self) -> list[str]:
        """What was asked, and with which status that was answered, as "PUT 200"."""
        return [f"{method} {status}" for method, _, status in self.seen]


def s3_error(status: int, code: str) -> Answered:
    """An error as S3 says it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>"
    return Answered(status, body.encode(), {"Content-Type": "application/xml"})


@contextmanager
def relayed(server_port: int) -> Iterator[Relay]:
    """A relay to a server of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            made = relay.answer(asked)
            answered = made if isinstance(made, Answered) else passed_on(made or asked, server_port)
            relay.seen.append((asked.method, asked.path, answered.status))
            self.send_response_only(answered.status)
            for name, value in answered.headers.items():
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name in answered.headers}:
                self.send_header("Content-Length", str(len(answered.body)))
            self.end_headers()
            self.wfile.write(answered.body if asked.method != "HEAD" else b"")

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_one
        do_PROPFIND = do_MKCOL = do_MOVE = handle_one

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    relay = Relay(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        server.server_close()


def passed_on(asked: Asked, port: int) -> Answered:
    """What the server answers; what belongs to one connection alone is left out."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        headers = {k: v for k, v in asked.headers.items() if k not in ("expect", "connection")}
        connection.request(asked.method, asked.path, asked.body, headers)
        got = connection.getresponse()
        body = got.read()
        kept = {k: v for k, v in got.getheaders() if k.lower() not in ("connection", "transfer-encoding", "keep-alive")}
        return Answered(got.status, body, kept)
    finally:
        connection.close()
