"""OpenSSH's server, with SFTP."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers.programs import HOST, Program, found, free_ports, listens, running
from tests.servers.server import Server, files_below

SECRET = "ssh-Hunter2-Secret"
_GET_IT = "apt-get install openssh-server"


@attrs.frozen
class SshServer(Server):
    """A server that speaks SFTP. The secret is the passphrase of the client's key; paths are those of this machine."""

    keys: Path

    @property
    def root(self) -> Path:
        """Where on this machine its folders are."""
        return self.program.folder / "data"

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        trust = {"known_hosts": str(self.keys / "known_hosts"), "client_keys": [str(self.keys / "client")]}
        return {"username": getpass.getuser(), "passphrase": self.secret, **trust}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"sftp://{HOST}:{port}{self.root}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.root / folder)


@contextmanager
def start_ssh(folder: Path) -> Iterator[SshServer]:
    """sshd over a folder, which its only user's key opens."""
    sshd = found("sshd", get_it=_GET_IT)  # by its whole path: it starts itself again for each connection
    (folder / "data").mkdir(parents=True, exist_ok=True)
    keys = folder / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    _make_keys(keys)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it shuts in its children
    with free_ports(1) as [port]:
        (folder / "sshd_config").write_text(_config(keys, port))
        program = Program([sshd, "-D", "-e", "-f", "sshd_config"], folder, lambda: listens(port))
        with running(program):
            yield SshServer(program, port, SECRET, keys)


def _make_keys(keys: Path) -> None:
    for name, secret in (("host", ""), ("client", SECRET)):
        if not (keys / name).exists():
            command = [found("ssh-keygen", get_it=_GET_IT), "-q", "-t", "ecdsa", "-m", "PEM", "-N", secret]
            subprocess.run([*command, "-f", str(keys / name)], check=True, stdin=subprocess.DEVNULL)
    (keys / "known_hosts").write_text("* " + (keys / "host.pub").read_text())  # at whatever port it is reached


def _config(keys: Path, port: int) -> str:
    lines = [
        f"Port {port}",
        f"ListenAddress {HOST}",
        f"HostKey {keys}/host",
        f"AuthorizedKeysFile {keys}/client.pub",
        "PasswordAuthentication no",
        "PermitRootLogin prohibit-password",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "MaxSessions 50",
        "MaxStartups 200",
        "Subsystem sftp internal-sftp",
    ]
    return "\n".join(lines) + "\n"
