#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["safebackup", "s3fs"]
# ///
"""Put a plain .tar.zst into a bucket: no repository, nothing to learn, readable with tar alone.

Copy this file, change the settings, run it by hand, then let cron run it:

    0 3 * * *  root  /opt/safebackup/.venv/bin/python /usr/local/bin/tar_to_bucket.py

The Python named there is that of the environment into which safebackup was installed: cron knows of no other.

The tar appears in the bucket when it is whole and was read back, never before; two lists of SHA-256 lie beside it.
Credentials come from where the storage's own tools find them (for S3: the environment, ~/.aws, the machine's role).
Nothing is encrypted here but by the bucket, and nothing old is removed: set a lifecycle rule on the bucket.

To restore: fetch it, then  sha256sum -c NAME.sha256 && tar --zstd -xf NAME

Exit status: 0 whole, 1 it failed, 4 something could not be read, or a folder or a dump is empty; all of them:
docs/reference/exit-statuses.md. Unless it is 0, no tar appeared.
"""

from __future__ import annotations

import sys

from safebackup import SafeBackupError, TarSnapshotWriter
from safebackup.statuses import ExitStatus, status_of

# Settings
URL = "s3://example-backups/web/web-{utc}.tar.zst"  # any fsspec URL, or a path; {utc} becomes 20261123T030000Z
STORAGE_OPTIONS: dict[str, object] = {}  # for fsspec, such as {"profile": "backup"}
PATHS = ["/etc/nginx", "/srv/www"]
DUMPS = {"packages.txt": ["dpkg", "--get-selections"]}  # name in the tar, command that writes it


def main() -> int:
    """Write the tar and tell where it is; the exit status."""
    with TarSnapshotWriter(URL, storage_options=STORAGE_OPTIONS) as tar:
        for path in PATHS:
            tar.add(path)
        for name, command in DUMPS.items():
            tar.command(name, command)
    assert tar.report is not None  # after the block it is there
    print(f"{tar.report.url}: {tar.report.entries:,} entries, SHA-256 {tar.report.sha256}")
    return ExitStatus.OK


if __name__ == "__main__":
    try:
        status = main()
    except SafeBackupError as error:
        print(f"nothing was written to the bucket: {error}", file=sys.stderr)
        status = status_of(error)
    sys.exit(status)
