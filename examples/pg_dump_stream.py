#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup"]
# ///
"""Stream a PostgreSQL database into a repository: no dump ever lies on a disk.

Copy this file, change the settings, make the key and the repository once, run it by hand, then let cron run it:

    safebackup init /mnt/backup/orders-db --new-key-file /root/orders.key
    15 2 * * *  postgres  /opt/safebackup/.venv/bin/python /usr/local/bin/pg_dump_stream.py

The Python named there is that of the environment into which safebackup was installed: cron knows of no other.

pg_dump has to end with status 0 before anything is published: half a dump is no backup. The roles of the cluster go
into the same snapshot, since a dump alone cannot be restored without them. The dump is left uncompressed (-Z0), so
that what did not change since yesterday is found again and not stored twice.

To restore: safebackup restore latest --to /tmp/orders -r /mnt/backup/orders-db --key-file /root/orders.key
            psql -f /tmp/orders/roles.sql postgres && pg_restore --create -d postgres /tmp/orders/orders.dump

Exit status: 0 complete, 1 pg_dump failed, 4 it gave nothing, 124 it took too long; all of them:
docs/reference/exit-statuses.md.
"""

from __future__ import annotations

import sys

from safebackup import KeyFile, Repository, SafeBackupError, SnapshotWriter
from safebackup.statuses import ExitStatus, status_of

# Settings
REPOSITORY = "/mnt/backup/orders-db"
KEY_FILE = "/root/orders.key"  # keep a copy elsewhere: without it nothing can be read
DATABASE = "orders"
CONNECTION: list[str] = []  # for example ["--host", "db1", "--username", "backup"]; the password goes into ~/.pgpass
DEADLINE_SECONDS = 2 * 3600


def main() -> int:
    """Dump the roles and the database into one snapshot; the exit status."""
    repository = Repository.open(REPOSITORY, key=KeyFile(KEY_FILE))
    with SnapshotWriter(repository, source=DATABASE) as snapshot:
        roles = ["pg_dumpall", *CONNECTION, "--globals-only"]
        snapshot.command("roles.sql", roles, deadline=DEADLINE_SECONDS)
        dump = ["pg_dump", *CONNECTION, "--format=custom", "--compress=0", DATABASE]
        snapshot.command(f"{DATABASE}.dump", dump, deadline=DEADLINE_SECONDS)
    return ExitStatus.OK


if __name__ == "__main__":
    try:
        status = main()
    except SafeBackupError as error:
        print(f"{DATABASE} was not backed up: {error}", file=sys.stderr)
        status = status_of(error)
    sys.exit(status)
