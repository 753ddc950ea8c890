"""Running the programs of others as servers: on free ports, until they answer, and ended with all that they started."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import attrs
import pytest

PATIENCE = 60.0
HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)  # below those that the system gives to outgoing connections
_ALL_NEEDED = ("CI", "SAFEBACKUP_ALL_SERVERS")


def missing(what: str, *, get_it: str) -> NoReturn:
    """Skip the test that needs a server which is not here; where all servers have to be here, fail."""
    reason = f"takes {what}, which is not here: {get_it}"
    if any(os.environ.get(name, "").lower() in ("1", "true") for name in _ALL_NEEDED):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def found(program: str, *, get_it: str) -> str:
    """The path of a program: beside this Python, on the PATH, or where a system keeps its servers."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(program, path=path) or missing(program, get_it=get_it)


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Ports that nothing listens on, and that no other test of this machine gets until the end of the block."""
    with ExitStack() as kept:
        ports: list[int] = []
        while len(ports) < count:
            port = secrets.choice(_PORTS)  # not `random`, which is seeded alike in all processes of a test run
            if _is_free(port) and _is_ours(port, kept):
                ports.append(port)
        yield ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _is_ours(port: int, kept: ExitStack) -> bool:
    """Whether nobody else holds the name of this port; ours is let go with `kept`."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0safebackup-tests-port-{port}")
    except OSError:
        name.close()
        return False
    kept.enter_context(name)
    return True


@attrs.define
class Program:
    """A program that serves from a folder. It dies with this process, and with the thread that started it.

    Most keep what they have acknowledged when they are killed; one that `saves_at_the_end` is asked to end first.
    """

    command: Sequence[str]
    folder: Path
    answers: Callable[[], bool]
    environment: Mapping[str, str] = attrs.field(factory=dict)
    saves_at_the_end: bool = False
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, and return once it answers."""
        assert self._process is None, "it runs already"
        setpriv = shutil.which("setpriv")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*([setpriv, "--pdeathsig", "KILL"] if setpriv else []), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "TMPDIR": str(self.folder), **self.environment},
                start_new_session=True,
            )
        until = time.perf_counter() + PATIENCE
        while not self.answers():
            ended = self._process.poll()
            if ended is not None or time.perf_counter() > until:
                self.stop()
                said = self.log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{self.command[0]} does not answer (status {ended}), and said:\n{said}", pytrace=False)
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a crash would, with all that it started and all its connections; else do nothing."""
        if self._process is None:
            return
        if self.saves_at_the_end and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)  # so that it starts no more of them
        for pid in [*_descendants(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


@contextmanager
def running(program: Program) -> Iterator[None]:
    """A program that runs in the block, unless the block stops it."""
    program.start()
    try:
        yield
    finally:
        program.stop()


def _descendants(pid: int) -> list[int]:
    """Processes that one has started, and those that these have started: some leave its group, as sshd's do."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found_so_far, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found_so_far
        found_so_far |= new
    return sorted(found_so_far)


def listens(port: int) -> bool:
    """Whether something accepts connections at a port."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((HOST, port)) == 0


def http_status(
    port: int, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> int:
    """What a server answers to a request; 0 if it does not."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
