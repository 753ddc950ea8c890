"""A real PostgreSQL cluster in a temporary folder, reached through a socket there; needs no network and no rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

_BINARIES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin"), Path("/usr/bin")]
_NOBODY = 65534


def binaries() -> Path | None:
    """Where the programs of a PostgreSQL server are, if they are here."""
    return next((folder for folder in _BINARIES if (folder / "initdb").exists()), None)


@attrs.frozen
class Cluster:
    """A cluster that is running."""

    programs: Path
    folder: Path

    @property
    def connection(self) -> list[str]:
        """Arguments with which clients reach it."""
        return ["--host", str(self.folder), "--username", "postgres"]

    @property
    def environment(self) -> dict[str, str]:
        """The environment for clients: its own programs first."""
        return {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "LC_ALL": "C"}

    def run(self, program: str, *arguments: str) -> str:
        """Run a client; what it printed."""
        command = [str(self.programs / program), *self.connection, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.environment).stdout.strip()

    def sql(self, text: str, *, database: str = "postgres") -> str:
        """Run a statement; its rows."""
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster, start it, and let everything of it go at the end."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes
    owner = None
    if os.geteuid() == 0:  # the server refuses to run as root
        os.chown(folder, _NOBODY, _NOBODY)
        owner = _NOBODY
    data = str(folder / "data")

    def serve(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), "-D", data, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )

    try:
        serve("initdb", "-U", "postgres", "-A", "trust", "-N", "--locale=C", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        serve("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Cluster(programs, folder)
        finally:
            serve("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
