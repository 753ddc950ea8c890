"""SFTP servers other than OpenSSH's: rclone's, which knows no extensions, and one that goes wrong as it is told to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncssh
import attrs

from tests.servers.programs import HOST, Program, free_ports, listens, running
from tests.servers.rclone import rclone
from tests.servers.server import Server, files_below

USER = "tests"
SECRET = "sftp-Hunter2-Secret"
Fault: TypeAlias = Callable[..., Any]
"""Called instead of a request, with what would do as asked, and with the request's arguments."""

_REQUESTS = [
    "open",
    "read",
    "write",
    "fsync",
    "fstat",
    "stat",
    "link",
    "rename",
    "remove",
    "mkdir",
    "scandir",
    "statvfs",
]


@attrs.frozen
class RcloneSftpServer(Server):
    """A server without hard links and without flushing, whose renaming replaces."""

    @property
    def root(self) -> Path:
        """Where on this machine its folders are."""
        return self.program.folder / "data"

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        return {"username": USER, "password": self.secret, "known_hosts": str(self.program.folder / "known_hosts")}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"sftp://{HOST}:{port}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.root / folder)


@contextmanager
def start_rclone_sftp(folder: Path) -> Iterator[RcloneSftpServer]:
    """`rclone serve sftp` over a folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    key = make_key(folder)
    with free_ports(1) as [port]:
        command = [rclone(), "--config", "/dev/null", "serve", "sftp", "data", "--addr", f"{HOST}:{port}"]
        command += ["--user", USER, "--pass", SECRET, "--key", str(key)]
        program = Program(command, folder, lambda: listens(port))
        with running(program):
            yield RcloneSftpServer(program, port, SECRET)


def make_key(folder: Path) -> Path:
    """A key for a server, in a file; beside it is `known_hosts`, which has it."""
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    key.write_private_key(folder / "host", format_name="pkcs1-pem")
    (folder / "known_hosts").write_text("* " + key.export_public_key().decode())
    return folder / "host"


@attrs.define(eq=False)
class OddServer:
    """A server in this process. It notes what it is asked for in `asked`, and does what `faults` say."""

    root: Path
    options: dict[str, object]
    port: int = 0
    connections: int = 0
    asked: list[str] = attrs.field(factory=list)
    faults: dict[str, Fault] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """The URL of its root."""
        return f"sftp://{HOST}:{self.port}/"


@contextmanager
def odd_server(folder: Path) -> Iterator[OddServer]:
    """Such a server over a folder."""
    (folder / "data").mkdir()
    key = make_key(folder)
    odd = OddServer(
        folder / "data", {"username": USER, "known_hosts": str(folder / "known_hosts"), "client_keys": None}
    )
    ready: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=asyncio.run, args=(_serve(odd, key, ready),), name="odd server", daemon=True)
    thread.start()
    stop = ready.result(timeout=20)
    try:
        yield odd
    finally:
        stop()
        thread.join(timeout=20)


async def _serve(odd: OddServer, key: Path, ready: Future[Callable[[], object]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    lines: list[asyncssh.SSHServerConnection] = []

    class AnyoneServer(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            odd.connections += 1
            lines.append(conn)

        def begin_auth(self, username: str) -> bool:
            return False

    listener = await asyncssh.listen(
        HOST, 0, server_factory=AnyoneServer, server_host_keys=[str(key)], sftp_factory=_files_of(odd)
    )
    odd.port = listener.get_port()
    ready.set_result(lambda: loop.call_soon_threadsafe(stopping.set))
    await stopping.wait()
    listener.close()
    for line in lines:
        line.abort()
    await asyncio.gather(*(line.wait_closed() for line in lines), return_exceptions=True)


def _files_of(odd: OddServer) -> Callable[[Any], asyncssh.SFTPServer]:
    def asked(name: str) -> Callable[..., Any]:
        def answer(self: asyncssh.SFTPServer, *arguments: Any) -> Any:
            odd.asked.append(name)

            def real() -> Any:
                return getattr(asyncssh.SFTPServer, name)(self, *arguments)

            fault = odd.faults.get(name)
            return real() if fault is None else fault(real, *arguments)

        return answer

    files = type("Files", (asyncssh.SFTPServer,), {name: asked(name) for name in _REQUESTS})
    return lambda channel: files(channel, chroot=os.fsencode(odd.root))


def failing(error: Exception) -> Fault:
    """A request fails with this error."""

    def fail(_real: Callable[[], Any], *_arguments: Any) -> Any:
        raise error

    return fail
