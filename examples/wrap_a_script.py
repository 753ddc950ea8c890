#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup"]
# ///
"""Keep the bash script that you have, and make it safe: run it, look at what it made, store that.

Copy this file, change the settings, make the repository once, and let cron start this instead of the script:

    safebackup init /mnt/backup/legacy --new-key-file /root/legacy.key
    45 1 * * *  root  /opt/safebackup/.venv/bin/python /usr/local/bin/wrap_a_script.py

The Python named there is that of the environment into which safebackup was installed: cron knows of no other.

The script runs unchanged, and what it prints is mailed as before. Its status counts, a deadline ends it with
everything that it started, each dump that it left is opened and must be whole (gzip -t calls the 20 bytes of a failed
dump whole), and old dumps do not pass for new ones. Only then a snapshot appears.

Exit status: 0 complete, 1 the script failed, 3 a dump is missing or old, 5 a dump is not whole, 124 it took too long;
all of them: docs/reference/exit-statuses.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from safebackup import KeyFile, Repository, SafeBackupError, Source, back_up, check_artifact, commands
from safebackup.findings import Finding
from safebackup.statuses import ExitStatus, status_of

# Settings
SCRIPT = ["/usr/local/bin/dump-everything.sh"]
DUMPS = Path("/var/backups/dumps")
EXPECTED = ["orders.sql.gz", "uploads.tar.gz"]
REPOSITORY = "/mnt/backup/legacy"
KEY_FILE = "/root/legacy.key"  # keep a copy elsewhere: without it nothing can be read
DEADLINE_SECONDS = 3 * 3600


def main() -> int:
    """Run the script, judge what it left, store it; the exit status."""
    repository = Repository.open(REPOSITORY, key=KeyFile(KEY_FILE))
    began = time.time()
    with commands.start_attached(SCRIPT, deadline=DEADLINE_SECONDS) as running:
        (script,) = running.wait()
    if script.status != 0:
        print(f"{SCRIPT[0]} ended with status {script.status}; nothing was stored", file=sys.stderr)
        return ExitStatus.FAILED
    for name in EXPECTED:
        dump = DUMPS / name
        if not dump.exists() or dump.stat().st_mtime < began - 2:
            print(f"{dump} is missing, or older than this run: the script did not write it", file=sys.stderr)
            return ExitStatus.INCOMPLETE
        judged = check_artifact(dump)
        if not judged.whole:
            print(f"{dump} is not whole: {judged.statement}", file=sys.stderr)
            tell(judged.findings)
            return ExitStatus.DAMAGE
    report = back_up(Source(DUMPS, name="legacy"), into=repository)
    tell(report.findings)
    return ExitStatus.OK if report.complete else ExitStatus.INCOMPLETE


def tell(findings: Iterable[Finding]) -> None:
    """Say what was noticed, and what to do first."""
    for finding in findings:
        print(f"{finding.severity}: {finding.what} {finding.action}", file=sys.stderr)


if __name__ == "__main__":
    try:
        status = main()
    except SafeBackupError as error:
        print(f"the backup failed: {error}", file=sys.stderr)
        status = status_of(error)
    sys.exit(status)
