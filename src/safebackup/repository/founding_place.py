"""Where a repository may be founded: neither among other things nor within another repository."""

from __future__ import annotations

import os
from contextlib import suppress

from safebackup.errors import Code, RefusedError, StorageError
from safebackup.format.header import FOLDER, Kind, is_object_name
from safebackup.storage import AppendStore, LocalStore
from safebackup.storage.names import is_emergency_name


def refuse_another_around(store: AppendStore) -> None:
    """Refuse a folder that lies in a repository.

    Raises:
        RefusedError: it does (`Code.TARGET_IN_REPOSITORY`).
    """
    if (outer := _repository_around(store.url)) is not None:
        raise RefusedError(
            f"{store.url} lies in the repository at {outer}, where its objects would be strangers",
            code=Code.TARGET_IN_REPOSITORY,
            hint="Name a folder outside of it.",
        )


def refuse_other_things(store: AppendStore) -> None:
    """Refuse a place that holds anything but a repository, or lies in one.

    Raises:
        RefusedError: it does.
    """
    refuse_another_around(store)
    names = [info.name for info in store.list("") if not is_emergency_name(info.name)]
    others = [name for name in names if name.partition("/")[0] not in FOLDER.values()]
    if others:
        raise RefusedError(
            f"{store.url} holds {len(others)} other things, such as {others[0]!r}",
            code=Code.TARGET_NOT_EMPTY,
            hint="Name a new or an empty folder for the repository.",
        )


def _repository_around(url: str) -> str | None:
    """The folder above a local one that holds a founding record."""
    if not url.startswith("file://"):
        return None
    founding = FOLDER[Kind.FOUNDING] + "/"
    folder = os.path.realpath(url.removeprefix("file://"))
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        with suppress(StorageError):  # what cannot be listed by whoever founds this one is not looked into
            if any(is_object_name(info.name) for info in LocalStore(folder).list(founding)):
                return folder
    return None
