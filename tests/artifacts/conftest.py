"""A real PostgreSQL, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest

_NEEDED = ("initdb", "pg_ctl", "postgres", "psql", "pg_dump", "pg_dumpall", "pg_restore")
_SQL = r"""
CREATE TABLE orders(id int PRIMARY KEY, name text);
INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 2000) n;
CREATE TABLE nothing(x int);
CREATE TABLE tricky(x text);
INSERT INTO tricky VALUES (E'a\n--\n-- PostgreSQL database dump complete\n--\n\n'), ('it''s; --'), (E'back\\slash');
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
-- PostgreSQL database dump complete
RETURN 'a;b'; END $$;
COMMENT ON TABLE orders IS E'it''s \\ a; -- comment';
SELECT lo_from_bytea(0, 'a large object');
"""


@attrs.frozen
class Postgres:
    """A running server on a socket in `folder`."""

    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> bytes:
        command = [str(self.programs / program), "-h", str(self.folder), "-U", "tester", *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def dump(self, *arguments: str, database: str = "postgres") -> bytes:
        return self.run("pg_dump", *arguments, database)


def _programs() -> Path | None:
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places += [Path(found).parent] if found else []
    return next((place for place in places if all((place / name).exists() for name in _NEEDED)), None)


def _as_nobody() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no setpriv")
    user = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    prefix = _as_nobody()
    # A socket's path has to be short, and the server's user has to reach it.
    with TemporaryDirectory(prefix="sb-pg-", dir="/tmp") as name:
        folder = Path(name)
        if prefix:
            shutil.chown(folder, "nobody")

        def run(*command: str) -> None:
            subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder)

        run(str(programs / "initdb"), "-D", f"{name}/c", "-U", "tester", "-A", "trust", "-N")
        options = f"-k {name} -c listen_addresses= -c fsync=off"
        run(str(programs / "pg_ctl"), "-D", f"{name}/c", "-o", options, "-w", "-l", f"{name}/log", "start")
        try:
            server = Postgres(programs, folder)
            server.run("psql", "-q", "-c", _SQL, "postgres")
            yield server
        finally:
            run(str(programs / "pg_ctl"), "-D", f"{name}/c", "-m", "immediate", "-w", "stop")
