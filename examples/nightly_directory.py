#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup"]
# ///
"""Back up a directory every night, and read a twentieth of everything stored again.

Copy this file, change the settings, make the key and the repository once, run it by hand, then let cron run it:

    safebackup init /mnt/backup/orders --new-key-file /root/orders.key
    30 1 * * *  root  /opt/safebackup/.venv/bin/python /usr/local/bin/nightly_directory.py

The Python named there is that of the environment into which safebackup was installed: cron knows of no other.

It says nothing when all is well. It makes no repository by itself: where the backup disk is not mounted, that would
fill the disk that is to be protected.

Exit status: 0 complete, 3 a path is missing, 5 damage found in the repository, 10 no repository (is the disk mounted?),
12 wrong key; all of them: docs/reference/exit-statuses.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from safebackup import KeyFile, Repository, SafeBackupError, Source, back_up, verify
from safebackup.findings import Finding
from safebackup.statuses import ExitStatus, status_of

# Settings
REPOSITORY = "/mnt/backup/orders"  # best on another disk, or another machine's
KEY_FILE = "/root/orders.key"  # keep a copy elsewhere, never beside the repository: without it nothing can be read
DIRECTORY = "/srv/orders"
NAME = "orders"
EXCLUDE = ["*.tmp", "/cache/"]


def main() -> int:
    """Back up, then verify a sample; the exit status."""
    repository = Repository.open(REPOSITORY, key=KeyFile(KEY_FILE))
    report = back_up(Source(DIRECTORY, name=NAME, exclude=EXCLUDE), into=repository)
    tell(report.findings)
    proof = verify(repository, level="sample")
    tell(proof.findings)
    if not proof.passed:
        return ExitStatus.DAMAGE
    return ExitStatus.OK if report.complete else ExitStatus.INCOMPLETE


def tell(findings: Iterable[Finding]) -> None:
    """Say what was noticed, and what to do first."""
    for finding in findings:
        print(f"{finding.severity}: {finding.what} {finding.action}", file=sys.stderr)


if __name__ == "__main__":
    try:
        status = main()
    except SafeBackupError as error:
        print(f"{NAME} was not backed up: {error}", file=sys.stderr)
        status = status_of(error)
    sys.exit(status)
