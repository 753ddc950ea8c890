"""The real program, run as its users run it: as a process, in a folder, perhaps at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

PROGRAM = [sys.executable, "-m", "safebackup"]
SECONDS_MAX = 60.0


@attrs.frozen
class Done:
    """How a run of the program ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output, which agrees with the exit status."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert (found["schema_version"], found["exit_status"]) == (1, self.status)
        return found


def environment(**variables: str) -> dict[str, str]:
    """Our own environment without what would change the program, and with `variables`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SAFEBACKUP_")}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "PYTHONUNBUFFERED"):
        own.pop(name, None)
    return own | variables


def safebackup(
    *arguments: str | Path, folder: Path, input: bytes = b"", prefix: tuple[str, ...] = (), **variables: str
) -> Done:
    """Run it to its end; no run may show a traceback."""
    ran = subprocess.run(
        [*prefix, *PROGRAM, *map(str, arguments)],
        cwd=folder,
        input=input,
        capture_output=True,
        env=environment(**variables),
        timeout=SECONDS_MAX,
        check=False,
    )
    done = Done(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
    assert "Traceback" not in done.out + done.err, done.err
    return done


@contextmanager
def started(*arguments: str | Path, folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start it with standard input open; it is gone afterwards."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> Done:
    """Wait for what was started."""
    out, err = process.communicate(timeout=SECONDS_MAX)
    done = Done(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in done.out + done.err, done.err
    return done


def at_terminal(
    *arguments: str | Path, folder: Path, answers: tuple[tuple[str, str], ...] = (), **variables: str
) -> Done:
    """Run it at a terminal of its own; each answer is typed once its prompt has appeared. All it prints is `out`."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(PROGRAM[0], [*PROGRAM, *map(str, arguments)], environment(TERM="xterm", **variables))
    waiting = list(answers)
    seen = b""
    until = time.monotonic() + SECONDS_MAX
    try:
        while time.monotonic() < until:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(terminal, 65536)
            except OSError:  # Linux: everybody at the other end has left
                break
            seen += read
            if waiting and waiting[0][0].encode() in seen:
                os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
        else:
            os.kill(process, signal.SIGKILL)
            raise AssertionError(f"it does not end: {seen!r}")
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert not waiting, f"never asked {waiting}: {seen!r}"
    assert b"Traceback" not in seen, seen
    return Done(os.waitstatus_to_exitcode(status), seen.decode(), "")


def names_below(folder: Path, *, without: tuple[str, ...] = ()) -> set[str]:
    """Every path in a folder, but nothing beneath the folders `without`."""
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in paths if not path.startswith(tuple(f"{name}/" for name in without))}
