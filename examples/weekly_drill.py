#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup"]
# ///
"""Rehearse the restore every week: the only proof that a backup is one.

Copy this file, change the settings and the checks, run it by hand, then let cron run it:

    0 9 * * 1  root  /opt/safebackup/.venv/bin/python /usr/local/bin/weekly_drill.py

The Python named there is that of the environment into which safebackup was installed: cron knows of no other.

The newest snapshot is restored to a scratch folder, every file is compared with what was read when the backup was
made, your checks are run on what came back, the time is measured, the folder is removed, and the result is noted in
the repository. Read what it mails you: a drill that stopped coming is a drill that fails.

Exit status: 0 proved, 6 failed, 7 it could not be checked or noted (no success either), 10 no repository; all of them:
docs/reference/exit-statuses.md.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from safebackup import Check, KeyFile, Repository, SafeBackupError, drill
from safebackup.statuses import ExitStatus, status_of

# Settings
REPOSITORY = "/mnt/backup/orders"
KEY_FILE = "/root/orders.key"  # best the copy that you would use in a disaster
SOURCE = "orders"
SCRATCH = None  # or a new folder on a disk with enough room; None takes the system's temporary folder
OUTCOMES = {
    "proved": ExitStatus.OK,
    "failed": ExitStatus.DRILL_FAILED,
    "could_not_check": ExitStatus.NOT_VERIFIED,
}


def there_are_orders(folder: Path) -> None:
    """A check is a function: it gets the restored folder, and says no by an assertion."""
    with closing(sqlite3.connect(folder / "orders.db")) as database:
        (count,) = database.execute("select count(*) from orders").fetchone()
        assert database.execute("pragma integrity_check").fetchone() == ("ok",), "the database is damaged"
    assert count >= 1, "no order came back"


CHECKS = [
    Check("orders are there", there_are_orders),
    Check("settings are there", ["test", "-s", "settings.toml"]),  # a command runs in the restored folder
]


def main() -> int:
    """Drill the newest snapshot; the exit status."""
    repository = Repository.open(REPOSITORY, key=KeyFile(KEY_FILE))
    report = drill(repository.snapshot(source=SOURCE), scratch=SCRATCH, checks=CHECKS)
    print(f"{report.outcome}: {report.statement}")
    for finding in report.findings:
        print(f"{finding.severity}: {finding.what} {finding.action}", file=sys.stderr)
    return OUTCOMES[report.outcome] or (ExitStatus.OK if report.recorded else ExitStatus.NOT_VERIFIED)


if __name__ == "__main__":
    try:
        status = main()
    except SafeBackupError as error:
        print(f"the drill could not be done: {error}", file=sys.stderr)
        status = status_of(error, proving=True)
    sys.exit(status)
