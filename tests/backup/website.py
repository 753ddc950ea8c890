"""A web server of the tests: a folder with the lists that Python's own server makes, and what goes wrong on demand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import attrs

LONG_AGO = 1_700_000_000


@attrs.define
class Site:
    """A folder that is served. `faults` are asked, by path, before a request is answered as usual."""

    folder: Path
    port: int = 0
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    faults: dict[str, Callable[[SimpleHTTPRequestHandler], bool]] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """The address of the folder."""
        return f"http://127.0.0.1:{self.port}/"

    def write(self, path: str, content: bytes, *, modified: int = LONG_AGO) -> None:
        """Put a file there, which was changed long ago."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (modified, modified))

    def read(self) -> list[str]:
        """The files whose content was asked for since the last call."""
        found = [unquote(path).lstrip("/") for verb, path in self.requests if verb == "GET" and not path.endswith("/")]
        self.requests.clear()
        return sorted(found)


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    """Serve a folder until the block ends."""
    folder.mkdir(exist_ok=True)
    site = Site(folder)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append(("GET", self.path))
            fault = site.faults.get(unquote(self.path).lstrip("/"))
            if fault is None or not fault(self):
                super().do_GET()

        def do_HEAD(self) -> None:
            site.requests.append(("HEAD", self.path))
            fault = site.faults.get(unquote(self.path).lstrip("/"))
            if fault is None or not fault(self):
                super().do_HEAD()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def answer(
    handler: SimpleHTTPRequestHandler, body: bytes, *, status: int = 200, length: int | None = None, tag: str = ""
) -> bool:
    """Answer with this body, of which the header may say another length."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    if tag:
        handler.send_header("ETag", tag)
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body)
    return True
