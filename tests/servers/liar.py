"""rclone's S3: it accepts conditions, and ignores them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.servers.programs import HOST, Program, free_ports, http_status, running
from tests.servers.rclone import rclone
from tests.servers.seaweed import SECRET, USER, S3Server
from tests.servers.server import BUCKET, files_below


@attrs.frozen
class LiarServer(S3Server):
    """An S3 whose buckets are folders."""

    def peek(self, folder: str) -> dict[str, bytes]:
        """See `Server`."""
        return files_below(self.program.folder / "data" / BUCKET / folder)


@contextmanager
def start_liar(folder: Path) -> Iterator[LiarServer]:
    """`rclone serve s3` over a folder, with an empty bucket."""
    (folder / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    with free_ports(1) as [port]:
        command = [rclone(), "--config", "/dev/null", "serve", "s3", "data", "--addr", f"{HOST}:{port}"]
        command += ["--auth-key", f"{USER},{SECRET}", "--vfs-cache-mode", "off"]
        program = Program(command, folder, lambda: http_status(port, "GET", "/") != 0)
        with running(program):
            yield LiarServer(program, port, SECRET)
