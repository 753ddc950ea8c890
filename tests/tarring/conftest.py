"""A folder to read, a folder to write to, and an FTP server that really runs."""

from __future__ import annotations

import ftplib
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

PATIENCE = 20.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    (folder / "2026").mkdir(parents=True)
    (folder / "one.csv").write_text("1,17.50\n")
    (folder / "2026" / "two.csv").write_text("2,3.20\n" * 1000)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@attrs.define
class FtpServer:
    """A server over a folder: `writes=False` makes it refuse uploads."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ftp://ann:hunter2@127.0.0.1:{self.port}"

    def start(self, *, writes: bool = True) -> None:
        command = [sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(self.port), "-d", str(self.folder)]
        command += ["-u", "ann", "-P", "hunter2", *(["-w"] if writes else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.perf_counter() + PATIENCE
        while True:
            try:
                with ftplib.FTP() as client:
                    client.connect("127.0.0.1", self.port, timeout=PATIENCE)
                    client.login("ann", "hunter2")
                    return
            except (OSError, EOFError, ftplib.Error):
                assert time.perf_counter() < until, "the FTP server does not start"
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    if importlib.util.find_spec("pyftpdlib") is None:
        pytest.skip("pyftpdlib is not installed")
    folder = tmp_path / "server"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = FtpServer(folder, free.getsockname()[1])
    server.start()
    yield server
    server.stop()
