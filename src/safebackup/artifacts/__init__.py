"""Checking what any tool wrote as a backup: is it whole, how much was read, and what does it hold."""

from safebackup.artifacts.checking import check_artifact
from safebackup.artifacts.report import ArtifactReport, Holds, Kind, Level

__all__ = ["ArtifactReport", "Holds", "Kind", "Level", "check_artifact"]
