"""The servers of the tests: each starts, stores, gives back, comes back, and leaves nothing that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from safebackup.remotes import open_files
from tests.servers import Server, start_azure, start_ftp, start_gcs, start_liar, start_s3, start_ssh, start_webdav
from tests.servers.programs import free_ports, listens, missing

Start = Callable[[Path], AbstractContextManager[Server]]
STARTS: dict[str, Start] = {
    "s3": start_s3,
    "liar": start_liar,
    "gcs": start_gcs,
    "azure": start_azure,
    "ssh": start_ssh,
    "ftp": start_ftp,
    "webdav": start_webdav,
}
PATIENCE = 20.0
CHECKOUT = Path(__file__).parents[2]
RUN = """
import sys, time
from pathlib import Path
from tests.servers import start_liar
with start_liar(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_server_stores_gives_back_and_keeps_what_it_has_when_it_is_stopped(start: Start, tmp_path: Path) -> None:
    stored = os.urandom(100_000)
    with start(tmp_path) as server:
        files, folder = open_files(server.url("orders"), server.options)
        files.makedirs(folder, exist_ok=True)
        files.pipe_file(f"{folder}/one.csv", stored)

        assert files.cat_file(f"{folder}/one.csv") == stored
        assert server.peek("orders") == {"one.csv": stored}
        assert server.peek("bills") == {}
        _close(files)

        server.stop()
        assert not listens(server.port)
        server.start()
        assert server.peek("orders") == {"one.csv": stored}
        group = server.program.pid

    assert group is not None
    assert not listens(server.port)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_stopping_a_server_ends_the_connections_that_it_has_handed_to_others(tmp_path: Path) -> None:
    """sshd has a process for each connection, which leaves its group and outlives it."""
    with start_ssh(tmp_path) as server:
        files, folder = open_files(server.url("orders"), server.options)
        files.makedirs(folder, exist_ok=True)

        server.stop()

        with pytest.raises(Exception, match=r"(?i)connection|closed|lost"):
            files.pipe_file(f"{folder}/one.csv", b"late")
        assert server.peek("orders") == {}


def test_a_server_that_is_not_here_skips_a_test_and_fails_it_where_all_have_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SAFEBACKUP_ALL_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="takes sshd, which is not here: install it"):
        missing("sshd", get_it="install it")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="takes sshd"):
        missing("sshd", get_it="install it")


def test_a_port_is_given_to_one_at_a_time() -> None:
    with free_ports(50) as first, free_ports(50) as second:
        assert len({*first, *second}) == 100


def test_the_servers_of_a_run_that_is_killed_end_too(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], cwd=CHECKOUT, stdout=subprocess.PIPE) as run:
        try:
            assert run.stdout is not None
            port = int(run.stdout.readline())
            assert listens(port)
        finally:
            run.kill()

    until = time.perf_counter() + PATIENCE
    while listens(port):
        assert time.perf_counter() < until, "the server goes on"
        time.sleep(0.01)


def _close(files: Any) -> None:
    """End the connections that a file system of webdav4's keeps; the others end theirs themselves."""
    http = getattr(getattr(files, "client", None), "http", None)
    if http is not None:
        http.close()
