"""safebackup: backups that are only called safe once they were restored.

The public names are imported when they are first used, so that a small piece needs only its own dependencies.
"""

from __future__ import annotations

from safebackup.version import VERSION

TYPE_CHECKING = False  # type checkers take it for true; to import typing would cost more than all that is here
if TYPE_CHECKING:
    from safebackup.artifacts import ArtifactReport, check_artifact
    from safebackup.backup import BackupReport, Evidence, SnapshotWriter, Source, back_up
    from safebackup.comparing import TreeComparison, compare_trees
    from safebackup.errors import SafeBackupError
    from safebackup.guarding import guard
    from safebackup.recovery import Check, DrillReport, RestoreReport, VerifyReport, drill, restore, verify
    from safebackup.repository import KeyFile, Passphrase, Repository, Snapshot
    from safebackup.schedule import Schedule
    from safebackup.tarring import TarReport, TarSnapshotWriter

_HOMES = {
    "ArtifactReport": "artifacts",
    "BackupReport": "backup",
    "Check": "recovery",
    "DrillReport": "recovery",
    "Evidence": "backup",
    "KeyFile": "repository",
    "Passphrase": "repository",
    "Repository": "repository",
    "RestoreReport": "recovery",
    "SafeBackupError": "errors",
    "Schedule": "schedule",
    "Snapshot": "repository",
    "SnapshotWriter": "backup",
    "Source": "backup",
    "TarReport": "tarring",
    "TarSnapshotWriter": "tarring",
    "TreeComparison": "comparing",
    "VerifyReport": "recovery",
    "back_up": "backup",
    "check_artifact": "artifacts",
    "compare_trees": "comparing",
    "drill": "recovery",
    "guard": "guarding",
    "restore": "recovery",
    "verify": "recovery",
}

__all__ = [  # the keys above, spelled out for type checkers
    "ArtifactReport",
    "BackupReport",
    "Check",
    "DrillReport",
    "Evidence",
    "KeyFile",
    "Passphrase",
    "Repository",
    "RestoreReport",
    "SafeBackupError",
    "Schedule",
    "Snapshot",
    "SnapshotWriter",
    "Source",
    "TarReport",
    "TarSnapshotWriter",
    "TreeComparison",
    "VerifyReport",
    "back_up",
    "check_artifact",
    "compare_trees",
    "drill",
    "guard",
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
