"""safebackup: backups that are only called safe once they were restored.

The public names are imported when they are first used, so that a small piece needs only its own dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebackup.version import VERSION

if TYPE_CHECKING:
    from safebackup.backup import BackupReport, Evidence, SnapshotWriter, Source, back_up
    from safebackup.comparing import TreeComparison, compare_trees
    from safebackup.errors import SafeBackupError
    from safebackup.recovery import RestoreReport, VerifyReport, restore, verify
    from safebackup.repository import KeyFile, Passphrase, Repository, Snapshot

_HOMES = {
    "BackupReport": "backup",
    "Evidence": "backup",
    "KeyFile": "repository",
    "Passphrase": "repository",
    "Repository": "repository",
    "RestoreReport": "recovery",
    "SafeBackupError": "errors",
    "Snapshot": "repository",
    "SnapshotWriter": "backup",
    "Source": "backup",
    "TreeComparison": "comparing",
    "VerifyReport": "recovery",
    "back_up": "backup",
    "compare_trees": "comparing",
    "restore": "recovery",
    "verify": "recovery",
}

__all__ = [  # the keys above, spelled out for type checkers
    "BackupReport",
    "Evidence",
    "KeyFile",
    "Passphrase",
    "Repository",
    "RestoreReport",
    "SafeBackupError",
    "Snapshot",
    "SnapshotWriter",
    "Source",
    "TreeComparison",
    "VerifyReport",
    "back_up",
    "compare_trees",
    "restore",
    "verify",
]

__version__ = VERSION


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'safebackup' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"safebackup.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
