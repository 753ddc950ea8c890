"""The repository at rest: what is written, in which order, and how it is found again."""

from safebackup.repository.keys import KeyFile, Passphrase
from safebackup.repository.repository import Repository, Snapshot
from safebackup.repository.standings import Standing

__all__ = ["KeyFile", "Passphrase", "Repository", "Snapshot", "Standing"]
