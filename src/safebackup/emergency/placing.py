"""Putting `RESTORE.md` and the restore script of this release into a repository."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.resources import files

from safebackup.errors import Code, ConflictError, NotFoundError, SafeBackupError
from safebackup.events import logger
from safebackup.findings import Finding, Severity
from safebackup.storage import AppendStore, ReadStore
from safebackup.storage.names import EMERGENCY_TEXT
from safebackup.version import VERSION

_EARLIER_TEXTS: tuple[str, ...] = ()  # the SHA-256 of RESTORE.md in earlier releases, which stays where it was put


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
    return _digest(restore_script())


def ensure_emergency(store: AppendStore) -> None:
    """Put the text, and the script of this release, unless they are there.

    An older text stays. Costs two small reads where both are there. A script of this release's name with other bytes
    is left alone too, and logged as a warning: somebody changed it.

    Raises:
        SafeBackupError: the store failed. No backup needs these files, so one should go on.
    """
    try:
        _ensure(store, EMERGENCY_TEXT, restore_text())
    finally:  # each is of use without the other
        if not _ensure(store, script_name(), restore_script()):
            logger.warning(
                "%s in %s is not what this release ships: do not run it, and find out who changed it",
                script_name(),
                store.url,
            )


def changed_emergency(store: ReadStore, names: Collection[str]) -> Iterator[Finding]:
    """What of the text and the script of this release, as far as `names` has them, is not what a release shipped.

    Scripts of other releases are not judged: this one does not know them.
    """
    shipped = {script_name(): {script_digest()}, EMERGENCY_TEXT: {_digest(restore_text()), *_EARLIER_TEXTS}}
    for name, digests in shipped.items():
        if name not in names:
            continue
        try:
            data = store.get(name)
        except NotFoundError:
            continue  # removed meanwhile; no backup needs it
        if _digest(data) not in digests:
            yield Finding(
                code=Code.EMERGENCY_CHANGED,
                severity=Severity.WARNING,
                what=f"{name} is not what release {VERSION} or an earlier one ships",
                action="Do not run it, nor what it says, unless a newer release put it there: find out who changed "
                "it, and remove it; the next backup puts the right one. No backup depends on it.",
                subject=name,
            )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
