"""FTP servers: vsftpd, which lists as `ls` does, and one that goes wrong as it is told to."""

from __future__ import annotations

import os
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.servers.ftp import SECRET, USER
from tests.servers.programs import HOST, Program, found, free_ports, listens, running
from tests.servers.server import Server, files_below

# Somebody whom permissions bind, and who has a home.
_NAME, _USER = "daemon", 1
_VSFTPD = """
listen=YES
listen_address={host}
listen_port={port}
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root={folder}/data
ftp_username={user}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=077
secure_chroot_dir={folder}/empty
seccomp_sandbox=NO
xferlog_enable=NO
"""
_TLS = """
ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
rsa_cert_file={folder}/certificate.pem
rsa_private_key_file={folder}/key.pem
"""


@attrs.frozen
class VsftpdServer(Server):
    """A server whose users may do what the permissions of its disk let them do."""

    has_tls: bool

    @property
    def root(self) -> Path:
        """Where on this machine its folders are."""
        return self.program.folder / "data" / "up"

    @property
    def certificate(self) -> Path:
        """What has to be trusted, if it has TLS."""
        return self.program.folder / "certificate.pem"

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        return {"tls": True} if self.has_tls else {}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"ftp://{HOST}:{port}/up/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.root / folder)


@contextmanager
def start_vsftpd(folder: Path, *, has_tls: bool = False) -> Iterator[VsftpdServer]:
    """vsftpd over a folder that all users can reach."""
    program = found("vsftpd", get_it="apt-get install vsftpd")
    if os.geteuid() != 0:
        pytest.skip("vsftpd has to be started by root")
    (folder / "empty").mkdir()
    (folder / "data" / "up").mkdir(parents=True)
    os.chown(folder / "data" / "up", _USER, _USER)
    if has_tls:
        command = (
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=tests"
        )
        names = ["-addext", f"subjectAltName=IP:{HOST}"]
        subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    with free_ports(1) as [port]:
        config = (_VSFTPD + (_TLS if has_tls else "")).format(host=HOST, port=port, folder=folder, user=_NAME)
        (folder / "vsftpd.conf").write_text(config)
        server = Program([program, str(folder / "vsftpd.conf")], folder, lambda: listens(port))
        with running(server):
            yield VsftpdServer(server, port, "", has_tls)


@attrs.define(eq=False)
class OddFtpServer:
    """A server in this process. It notes what it is asked for in `asked`, and goes wrong as it is told to.

    `replies` are for commands that are then not carried out; an empty one is none at all. `sent` changes what goes over
    a connection for data, and `bytes_per_second` how fast, if it is not 0. If it `is_late`, it says how a transfer went
    just before its next reply.
    """

    root: Path
    port: int
    options: dict[str, object]
    connections: int = 0
    asked: list[str] = attrs.field(factory=list)
    replies: dict[str, str | Callable[[str], str | None]] = attrs.field(factory=dict)
    sent: Callable[[str, bytes], bytes] | None = None
    entered: list[str] = attrs.field(factory=list)
    is_late: bool = False
    bytes_per_second: int = 0
    is_over: threading.Event = attrs.field(factory=threading.Event)

    def reply_to(self, command: str, argument: str) -> str | None:
        """What it has been told to reply."""
        self.asked.append(command)
        if command == "CWD":
            self.entered.append(argument)
        reply = self.replies.get(command)
        return reply(argument) if callable(reply) else reply

    def due(self, withheld: list[str], reply: str) -> list[str]:
        """What it says in a session when it should reply something."""
        if self.is_late and reply.startswith(("226", "426")):
            withheld.append("226 Done.")
            return []
        due = [*withheld, reply]
        withheld.clear()
        return due

    @property
    def url(self) -> str:
        """The URL of its root."""
        return f"ftp://{HOST}:{self.port}/"


@contextmanager
def odd_ftp(folder: Path) -> Iterator[OddFtpServer]:
    """Such a server over a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what it is built on
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.servers import FTPServer

    root = folder / "data"
    root.mkdir()
    odd = OddFtpServer(root, 0, {"username": USER, "password": SECRET})
    handler = _handler_of(odd)
    handler.authorizer = DummyAuthorizer()
    handler.authorizer.add_user(USER, SECRET, str(root), perm="elradfmwMT")
    server = FTPServer((HOST, 0), handler)
    odd.port = server.address[1]
    thread = threading.Thread(target=_serve, args=(server, odd), name="odd server", daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        odd.is_over.set()
        thread.join(timeout=20)


def _serve(server: Any, odd: OddFtpServer) -> None:
    while not odd.is_over.is_set():
        server.ioloop.loop(0.02, False)
    server.close_all()


def _handler_of(odd: OddFtpServer) -> Any:
    from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler

    class OddDataHandler(ThrottledDTPHandler):  # type: ignore[misc]
        def __init__(self, sock: Any, cmd_channel: Any) -> None:
            self.read_limit = self.write_limit = odd.bytes_per_second
            super().__init__(sock, cmd_channel)

    class OddHandler(FTPHandler):  # type: ignore[misc]
        dtp_handler = OddDataHandler
        use_sendfile = False
        auth_failed_timeout = 0
        banner = "ready"

        def on_connect(self) -> None:
            odd.connections += 1
            self.withheld: list[str] = []

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            reply = odd.reply_to(cmd, arg)
            if reply is None:
                super().pre_process_command(line, cmd, arg)
            elif reply:
                self.respond(reply)

        def respond(self, resp: str, **how: Any) -> None:
            for each in odd.due(self.withheld, resp):
                super().respond(each, **how)

        def push_dtp_data(self, data: Any, isproducer: bool = False, file: Any = None, cmd: str = "") -> None:
            if odd.sent is not None:
                parts = iter(data.more, b"") if isproducer else [data]
                data, isproducer = odd.sent(cmd, b"".join(parts)), False
            super().push_dtp_data(data, isproducer, file, cmd)

    return OddHandler
