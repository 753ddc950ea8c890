"""A child process that does everything with a hostile repository: python -m tests.attack.besiege URL SOURCE WORK

It prints one line of JSON: what each verb answered, the seconds of the slowest, and by how many MiB it grew at most.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import SafeBackupError

_ADDRESS_SPACE = 6 << 30  # what runs wild shall not take the machine with it


def _peak_mib() -> int:
    # Not ru_maxrss, which a child inherits from the process that started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


def _open(url: str) -> Repository:
    return Repository.open(url, key=None)


def _restore(url: str, work: Path, dry_run: bool) -> str:
    answers = []
    for number, snapshot in enumerate(_open(url).snapshots()):
        try:
            report = restore(snapshot, work / f"{number}", dry_run=dry_run, workers=2)
            answers.append("complete" if report.complete else "incomplete")
        except SafeBackupError as error:
            answers.append(str(error.code))
    return ", ".join(answers)


def _walk(url: str) -> str:
    for snapshot in _open(url).snapshots():
        for _ in snapshot.walk():
            pass
    return "walked"


def answers(url: str, source: str, work: Path, took: list[float] | None = None) -> dict[str, str]:
    """What each verb answers: a word, a code, or CRASH and whatever is no error of ours; `took` collects seconds."""
    verbs: dict[str, Callable[[], str]] = {
        "walk": lambda: _walk(url),
        "rehearse": lambda: _restore(url, work, True),
        "restore": lambda: _restore(url, work, False),
        "verify": lambda: "passed" if verify(_open(url), record=False, workers=2).passed else "damaged",
        "sample": lambda: "passed" if verify(_open(url), level="sample", record=False, workers=2).passed else "damaged",
        "back_up": lambda: "complete" if back_up(source, into=_open(url), workers=2).complete else "incomplete",
    }
    found: dict[str, str] = {}
    for verb, attempt in verbs.items():
        began = time.monotonic()
        try:
            found[verb] = attempt()
        except SafeBackupError as error:
            found[verb] = str(error.code)
        except Exception as error:
            found[verb] = f"CRASH {type(error).__name__}: {str(error)[:300]}"
        if took is not None:
            took.append(time.monotonic() - began)
    return found


def main() -> None:
    """Besiege what the arguments name."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    before = _peak_mib()
    took: list[float] = []
    found = answers(sys.argv[1], sys.argv[2], Path(sys.argv[3]), took)
    print(json.dumps({"answers": found, "grown_mib": _peak_mib() - before, "slowest": max(took)}), flush=True)
    os._exit(0)  # whatever threads are left


if __name__ == "__main__":
    main()
