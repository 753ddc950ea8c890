"""Putting `RESTORE.md` and the restore script of this release into a repository."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from safebackup.errors import ConflictError, NotFoundError, SafeBackupError
from safebackup.events import logger
from safebackup.storage import AppendStore
from safebackup.storage.names import EMERGENCY_TEXT
from safebackup.version import VERSION


def script_name() -> str:
    """The name of this release's script in a repository, such as `restore-0.1.0.py`."""
    return f"restore-{VERSION}.py"


def restore_script() -> bytes:
    """The script, byte for byte as this release ships it."""
    return files("safebackup.emergency").joinpath("restore.py").read_bytes()


def restore_text() -> bytes:
    """The text for whoever finds a repository and has never heard of safebackup."""
    return files("safebackup.emergency").joinpath(EMERGENCY_TEXT).read_bytes()


def script_digest() -> str:
    """The SHA-256 of the script in hexadecimal: to be kept where nobody who can write to the repository can write."""
    return hashlib.sha256(restore_script()).hexdigest()


def ensure_emergency(store: AppendStore) -> None:
    """Put the text, and the script of this release, unless they are there.

    An older text stays. Costs two small reads where both are there. A script of this release's name with other bytes
    is left alone too, and logged as a warning: somebody changed it.

    Raises:
        SafeBackupError: the store failed. No backup needs these files, so one should go on.
    """
    _ensure(store, EMERGENCY_TEXT, restore_text())
    if not _ensure(store, script_name(), restore_script()):
        logger.warning(
            "%s in %s is not what this release ships: do not run it, and find out who changed it",
            script_name(),
            store.url,
        )


@contextmanager
def noted(what_holds: str) -> Iterator[None]:
    """Log a failure of the store instead of raising it: nothing that these files are put beside depends on them."""
    try:
        yield
    except SafeBackupError as problem:
        logger.warning("%s, but %s could not be put beside it: %s", what_holds, EMERGENCY_TEXT, problem)


def _ensure(store: AppendStore, name: str, data: bytes) -> bool:
    """Whether these very bytes have this name now."""
    try:
        return store.get(name) == data
    except NotFoundError:
        pass
    try:
        store.put_new(name, data)
    except ConflictError:  # somebody else was first
        return False
    return True
