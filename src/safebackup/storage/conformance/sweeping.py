"""Removing what the checks have made: their objects by the contract, then the folders that held them."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from functools import partial

from safebackup.clock import Clock
from safebackup.errors import Code, NotFoundError, SafeBackupError
from safebackup.events import logger
from safebackup.storage.conformance.subject import OWN_PREFIX, Address, Subject, raw_files
from safebackup.storage.conformance.trial import NotTriedError, Trial, in_threads, told
from safebackup.storage.local import LocalStore
from safebackup.storage.store import DeleteStore

_TRIES = 4
_PAUSE_SECONDS = 0.3
# Where a folder is a thing of its own, which stays when it is empty.
_WITH_FOLDERS = ("sftp", "ssh", "ftp", "ftps", "webdav", "webdavs", "dav", "davs", "smb")


def sweep(subject: Subject, seconds: float, clock: Clock) -> tuple[str, ...]:
    """Remove all that is in the subject's folder; the names of what is left, as far as they are known.

    Not longer than so many seconds: a store that hangs has to be left alone.
    """
    trial = Trial(
        subject=subject, folder=subject.folder, thorough=False, clock=clock, until=clock.monotonic() + seconds
    )
    left: list[tuple[str, ...]] = [(subject.folder or "what the test has made",)]
    thread = threading.Thread(target=lambda: left.append(_swept(trial)), daemon=True)
    thread.start()
    thread.join(seconds)
    trial.end()
    prefix = f"{subject.address.url.rpartition('/')[2]}/" if subject.address else ""
    return tuple(f"{prefix}{name}" for name in left[-1])


def _swept(trial: Trial) -> tuple[str, ...]:
    left: tuple[str, ...] = (trial.folder or "what the test has made",)
    for number in range(_TRIES):
        trial.over.wait(_PAUSE_SECONDS * number)  # what a killed writer had sent may still arrive
        try:
            left = tuple(info.name for info in trial.store.list(trial.folder))
            problems: list[SafeBackupError] = []
            in_threads(partial(_remove, trial.store, problems), left, trial)
        except Exception as problem:  # of whatever kind the store is
            logger.info("what the test of the store has made could not be removed at once: %s", told(problem))
            continue
        if not left or any(problem.code is Code.STORE_DENIED for problem in problems):
            break
    left = _still_there(trial, left)
    _sweep_folders(trial.subject)
    return left


def _still_there(trial: Trial, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that can be read, or may be: some servers go on listing what was removed while others wrote it."""
    gone: set[str] = set()

    def look(name: str) -> None:
        try:
            trial.store.get(name, start=0, length=1)
        except NotFoundError:
            gone.add(name)
        except Exception as problem:  # of whatever kind the store is
            logger.info("whether %s is gone could not be seen: %s", name, told(problem))

    with suppress(NotTriedError):  # what there was no time to look at counts as being there
        in_threads(look, names, trial)
    return tuple(name for name in names if name not in gone)


def _remove(store: DeleteStore, problems: list[SafeBackupError], name: str) -> None:
    try:
        store.delete(name)
    except SafeBackupError as problem:
        logger.info("%s could not be removed: %s", name, problem)
        problems.append(problem)


def _sweep_folders(subject: Subject) -> None:
    """Remove the folders; one that stays is empty and in nobody's way."""
    store = subject.address.open() if subject.address else subject.open()
    if isinstance(store, LocalStore) and subject.folder:
        _remove_empty(os.path.join(store.root, subject.folder))
    elif isinstance(store, LocalStore) and os.path.basename(store.root).startswith(OWN_PREFIX):
        shutil.rmtree(store.root, ignore_errors=True)
    elif subject.address is not None and subject.address.scheme in _WITH_FOLDERS:
        _remove_there(subject.address)


def _remove_empty(folder: str) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)


def _remove_there(address: Address) -> None:
    # Each of these packages has errors of its own, and what a killed writer left in tmp/ goes with the folder.
    with suppress(Exception), raw_files(address) as (files, path):
        files.rm(path, recursive=True)
