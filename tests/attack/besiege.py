"""A child process that does everything with a hostile repository: python -m tests.attack.besiege URL SOURCE WORK

It prints one line of JSON: what each verb answered, and by how many MiB the process grew at most.
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
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


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


def answers(url: str, source: str, work: Path) -> dict[str, str]:
    """What each verb answers: a word, a code, or CRASH and whatever is no error of ours."""
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
        print(f"{verb}: {found[verb]} after {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Besiege what the arguments name."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    before = _peak_mib()
    found = answers(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    print(json.dumps({**found, "grown_mib": _peak_mib() - before}), flush=True)
    os._exit(0)  # whatever threads are left


if __name__ == "__main__":
    main()
