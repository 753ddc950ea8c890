"""From what a person writes, a path or a URL, to a store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from safebackup.errors import Code, ConfigurationError
from safebackup.storage.local import LocalStore
from safebackup.storage.memory import MemoryStore
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.reaching import remote_store
from safebackup.storage.store import DeleteStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SCP = re.compile(r"([\w.-]+@[\w.-]+):/*([^?]*)")  # user@host:path; a password has no place in it
_LOCAL = ("file", "local")
_MEMORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PATH_HINT = "Write a folder's path, such as /srv/backups/orders, or its URL, file:///srv/backups/orders."


def open_store(
    url_or_path: str | os.PathLike[str],
    *,
    create: bool = False,
    storage_options: Mapping[str, object] | None = None,
    limits: Limits | None = None,
    allow_unproven: bool = False,
) -> DeleteStore:
    """The store at a path, `file:///path`, `memory://name`, or any URL that fsspec knows: `s3://bucket/folder`.

    `storage_options` go to fsspec's class; `limits` say how long a network may take. A kind of store that is not proven
    is refused, unless `allow_unproven`: then all that is written is read back.
    A relative path is resolved against the current directory once, here; `~` and `%20` are not expanded.
    Opening touches nothing: that the place is missing shows at the first operation, as a `StorageError`.
    With `create` the root is made, durably, with the folders that lead to it, unless it is there; a bucket never is.

    Raises:
        ConfigurationError: this is not a place that a repository can live in (`Code.BAD_URL`).
        StorageError: the root could not be made.
    """
    text = _as_text(url_or_path)
    _require_options(storage_options)
    match = _SCHEME.fullmatch(text)
    if match is not None and match[1].lower() not in (*_LOCAL, "memory"):
        remote = remote_store(text, storage_options, limits=limits, allow_unproven=allow_unproven)
        if create:
            remote.create_root()
        return remote
    store = _at_path(text) if match is None else _at_url(match[1].lower(), match[2])
    if storage_options:
        raise ConfigurationError(
            f"{store.url} takes no storage options, and was given {', '.join(sorted(storage_options))}",
            hint="Leave storage_options out: local folders and memory have none.",
        )
    if create:
        store.create_root()
    return store


def _as_text(url_or_path: object) -> str:
    # An unset environment variable arrives here as None.
    text = os.fspath(url_or_path) if isinstance(url_or_path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise _bad_url(f"a path or a URL was expected, and {type(url_or_path).__name__} was given")
    if not text or text != text.strip() or "\0" in text:
        raise _bad_url(f"{_shown(text)!r} is empty, or begins or ends with white space, or holds a NUL")
    if "::" in text:
        raise _bad_url(f"{_shown(text)!r} chains URLs with '::', and a repository needs a store that it can write to")
    return text


def _require_options(storage_options: object) -> None:
    if storage_options is not None and not (
        isinstance(storage_options, Mapping) and all(isinstance(name, str) for name in storage_options)
    ):
        raise ConfigurationError(
            f"storage options are given by their names, and {type(storage_options).__name__} was given",
            hint='Write a dictionary, such as storage_options={"profile": "backup"}.',
        )


def _at_url(scheme: str, rest: str) -> LocalStore | MemoryStore:
    if scheme in _LOCAL:
        if not rest.startswith("/"):
            raise _bad_url(f"{scheme}://{_shown(rest)} has no absolute path: three slashes are needed")
        return LocalStore(rest)
    if not _MEMORY.fullmatch(rest):
        raise _bad_url(f"memory://{_shown(rest)} has no plain name, such as memory://trial")
    return MemoryStore(rest)


def _at_path(text: str) -> LocalStore:
    if os.name != "nt" and _DRIVE.match(text):
        raise _bad_url(f"{_shown(text)!r} is a path of Windows, and this is another system")
    if far := _SCP.fullmatch(text):
        raise _bad_url(
            f"{_shown(text)!r} is how scp writes a place, and no URL",
            f"Write the URL, with the whole path: sftp://{far[1]}/{far[2]}",
        )
    if os.name != "nt" and ":" in text.split("/", 1)[0]:
        raise _bad_url(f"{_shown(text)!r} is no URL, and in a path ./ has to come before a name with a colon")
    if text.split("/", 1)[0].startswith("~"):
        raise _bad_url(f"{_shown(text)!r} begins with '~', which only a shell expands")
    return LocalStore(text)


def _shown(text: str) -> str:
    """`text` without what may be a secret: everything up to an `@`, and everything from a `?` on."""
    return re.sub(r"^.*@", "***@", text.split("?", 1)[0], flags=re.DOTALL)


def _bad_url(what: str, hint: str = _PATH_HINT) -> ConfigurationError:
    return ConfigurationError(what, code=Code.BAD_URL, hint=hint)
