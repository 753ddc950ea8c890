"""Making snapshots: from a source to a published snapshot."""

from safebackup.backup.backing_up import back_up
from safebackup.backup.publishing import BackupReport
from safebackup.backup.snapshot_writer import SnapshotWriter
from safebackup.backup.source import Evidence, Source

__all__ = ["BackupReport", "Evidence", "SnapshotWriter", "Source", "back_up"]
