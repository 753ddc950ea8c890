"""Running the restore script as an operator would: the file that lies in the repository, by a Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from safebackup.emergency import ensure_emergency, script_name
from safebackup.storage import LocalStore

Done = subprocess.CompletedProcess[str]


def script_in(repository: Path) -> Path:
    """The script in a repository, put there as a backup puts it."""
    ensure_emergency(LocalStore(repository))
    return repository / script_name()


def run(repository: Path, *arguments: str | Path, python: Path | str = sys.executable) -> Done:
    """The script of this repository with these arguments, from elsewhere and without a terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [python, script_in(repository), *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd="/",
    )


def require_no_traceback(done: Done) -> None:
    """However it ended, it said so in words."""
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr
