"""Making snapshots: from a source to a published snapshot."""

from safebackup.backup.backing_up import BackupReport, back_up
from safebackup.backup.source import Evidence, Source

__all__ = ["BackupReport", "Evidence", "Source", "back_up"]
