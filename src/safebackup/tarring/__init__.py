"""Plain tar files, compressed with zstd, on any URL: whole or not there; no repository needed."""

from safebackup.tarring.writing import TarReport, TarSnapshotWriter

__all__ = ["TarReport", "TarSnapshotWriter"]
