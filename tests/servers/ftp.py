"""pyftpdlib: FTP."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers.programs import HOST, Program, free_ports, listens, missing, running
from tests.servers.server import Server, files_below

USER = "tests"
SECRET = "ftp-Hunter2-Secret"


@attrs.frozen
class FtpServer(Server):
    """A server that speaks FTP. Through another port go its commands; data take a port of the server's own."""

    @property
    def root(self) -> Path:
        """Where on this machine its folders are."""
        return self.program.folder / "data"

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        return {"username": USER, "password": self.secret}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"ftp://{HOST}:{port}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.root / folder)


@contextmanager
def start_ftp(folder: Path) -> Iterator[FtpServer]:
    """pyftpdlib over a folder."""
    if importlib.util.find_spec("pyftpdlib") is None:
        missing("pyftpdlib", get_it="pip install pyftpdlib")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with free_ports(1) as [port]:
        command = [sys.executable, "-m", "pyftpdlib", "-i", HOST, "-p", str(port), "-w", "-d", str(folder / "data")]
        program = Program([*command, "-u", USER, "-P", SECRET], folder, lambda: listens(port))
        with running(program):
            yield FtpServer(program, port, SECRET)
