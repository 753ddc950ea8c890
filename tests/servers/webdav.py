"""rclone's WebDAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers.programs import HOST, Program, free_ports, http_status, running
from tests.servers.rclone import rclone
from tests.servers.server import Server, files_below

USER = "tests"
SECRET = "dav-Hunter2-Secret"


@attrs.frozen
class WebdavServer(Server):
    """A server that speaks WebDAV, without TLS. It may not see for minutes what is changed on its disk behind it."""

    @property
    def root(self) -> Path:
        """Where on this machine its folders are."""
        return self.program.folder / "data"

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        return {"auth": (USER, self.secret)}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"webdav://{HOST}:{port}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.root / folder)


@contextmanager
def start_webdav(folder: Path) -> Iterator[WebdavServer]:
    """`rclone serve webdav` over a folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with free_ports(1) as [port]:
        command = [rclone(), "--config", "/dev/null", "serve", "webdav", "data", "--addr", f"{HOST}:{port}"]
        program = Program(
            [*command, "--user", USER, "--pass", SECRET], folder, lambda: http_status(port, "GET", "/") == 401
        )
        with running(program):
            yield WebdavServer(program, port, SECRET)
