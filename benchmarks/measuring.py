"""Running one command and finding out what it cost."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import attrs

LAUNCHER = Path(__file__).with_name("launcher.py")
_POPULATE_WRITE = 23  # of madvise; mmap has no name for it


class StepFailedError(Exception):
    """A tool failed; the message is what it said."""


@attrs.frozen
class Command:
    """What to run, and where."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Cost:
    """What one command took. `sync_seconds` is what the disk still had to do when it had ended."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    sync_seconds: float
    printed: str = attrs.field(repr=False)


def measure(command: Command, *, reports: Path) -> Cost:
    """Run a command to its end, with nothing left to write before it begins.

    Raises:
        StepFailedError: it failed.
    """
    report = reports / "launched.json"
    report.unlink(missing_ok=True)
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    os.sync()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command.arguments],
        cwd=command.folder,
        env={**environment, "LC_ALL": "C.UTF-8", **command.environment},
        capture_output=True,
        check=False,
    )
    began = time.monotonic()
    os.sync()
    synced = time.monotonic() - began
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise StepFailedError(f"{Path(command.arguments[0]).name} ended with {done.returncode}: {said[-2000:]}")
    return Cost(**json.loads(report.read_text()), sync_seconds=synced, printed=done.stdout.decode(errors="replace"))


def touch_memory() -> None:
    """Use all free memory once: a virtual machine is given it at the first touch, and whoever comes first would pay."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError), mmap.mmap(-1, free * 9 // 10) as memory:  # where the system can do that
        memory.madvise(_POPULATE_WRITE)


def warm(folder: Path) -> None:
    """Read everything in a folder, so that no step pays for what another has pushed out of the page cache."""
    buffer = memoryview(bytearray(1 << 20))
    for home, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(home, name)
            if os.path.islink(path):
                continue
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


@attrs.frozen
class Size:
    """How much is in a folder."""

    files: int
    mib: float


def size_of(folder: Path) -> Size:
    """The files in a folder, whatever lies in it, and their bytes."""
    sizes = [os.lstat(os.path.join(home, name)).st_size for home, _, names in os.walk(folder) for name in names]
    return Size(len(sizes), sum(sizes) / (1 << 20))
