"""Repositories on real servers, and writers that are processes of their own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs

SERVERS = [
    "s3_server",
    "liar_server",
    "gcs_server",
    "azure_server",
    "ssh_server",
    "ftp_server",
    "webdav_server",
]


class Server(Protocol):
    """What every fixture of `tests.servers` has."""

    @property
    def options(self) -> dict[str, object]: ...

    @property
    def port(self) -> int: ...

    def url(self, folder: str) -> str: ...

    def url_at(self, folder: str, port: int) -> str: ...

    def options_at(self, port: int) -> dict[str, object]: ...


@attrs.frozen
class Place:
    """A URL and what it takes to reach it."""

    url: str
    options: Mapping[str, object]


def place_on(server: Server) -> Place:
    """A fresh place on a server."""
    return Place(server.url(f"r{random.randrange(1 << 48):012x}"), server.options)


def start(verb: str, place: Place, *arguments: str, under: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process that does `verb` with the repository at a place: see `writer.py`; `under` another program."""
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "tests.remote.writer", verb, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"url": place.url, "options": dict(place.options)}))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str], seconds: float = 120) -> dict[str, object]:
    """What it reported."""
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    report: dict[str, object] = json.loads(output)
    return report


def make_tree(folder: Path, seed: int, *, files: int = 30, large: int = 3_000_000) -> Path:
    """Small files in some folders, and one that is cut into chunks."""
    rng = random.Random(seed)
    for number in range(files):
        path = folder / f"d{number % 4}" / f"file {number} ü.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(4_000)))
    (folder / "large.bin").write_bytes(rng.randbytes(large))
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
