"""Reaching a URL through fsspec: the one place that opens its file systems and turns their errors into ours.

fsspec supplies URLs, credentials and transport. Shared instances and remembered listings, with which it answers what
was true some time ago, are switched off; "not there" and "could not be reached" stay two answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import attrs

from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_SECRET_PART = re.compile(r"(?<=//)[^/\s]*@|[?#]\S*")
_LINE_MAX = 200


def local_path(path_or_url: str, storage_options: Mapping[str, object] | None) -> str | None:
    """The path on this machine that a path or a `file://` URL names; None if it is another URL.

    Raises:
        ConfigurationError: a local path with storage options, a relative one in a URL, or a chained URL.
    """
    if "::" in path_or_url:
        raise bad_url(f"{shown(path_or_url)!r} chains URLs with '::', and one place was expected")
    match = _SCHEME.fullmatch(path_or_url)
    if match is not None and match[1].lower() not in _LOCAL:
        return None
    if storage_options:
        raise ConfigurationError(
            f"storage options are given for a local path: {', '.join(sorted(storage_options))}",
            hint="Leave them out, or write the URL that they are for.",
        )
    if match is None:
        return path_or_url
    if not match[2].startswith("/"):
        raise bad_url(f"{shown(path_or_url)} has no absolute path: three slashes are needed")
    return match[2]


def shown(url: str) -> str:
    """A URL without what may be a secret: a user with a password, and what follows a `?` or `#`."""
    return _SECRET_PART.sub(lambda found: "***@" if found[0].endswith("@") else "", url)


def bad_url(what: str, *, hint: str = "Check its spelling, and the storage options.") -> ConfigurationError:
    """The error for a URL that cannot be used."""
    return ConfigurationError(what, code=Code.BAD_URL, hint=hint)


@attrs.frozen(eq=False)
class Remote:
    """A file system of fsspec's, and a path in it. `where` is for people, without secrets."""

    where: str
    files: Any = attrs.field(repr=False)
    path: str
    _secrets: tuple[str, ...] = attrs.field(repr=False)

    @classmethod
    def reach(cls, url: str, storage_options: Mapping[str, object] | None) -> Self:
        """A connection of its own; most file systems touch the network only when they are first asked.

        Raises:
            ConfigurationError: the URL or the options make no sense, or a package for them is not installed.
            StorageError: the server could not be reached.
        """
        options = dict(storage_options or {})
        secrets = [str(value) for name, value in options.items() if _SECRET_NAME.search(name) and value]
        secrets += re.findall(r"://[^/@:]*:([^/@]+)@", url)
        where = shown(url)
        with _failing(f"opening {where}", tuple(secrets), hint=""):
            files, path = _open(url, where, options)
        files.dircache.use_listings_cache = False
        return cls(where, files, path, tuple(secrets))

    @contextmanager
    def failing(
        self, doing: str, *, hint: str = "Check the network, the address and the credentials."
    ) -> Iterator[None]:
        """Raise what goes wrong in the block as our errors; `doing` says at what, such as "reading".

        Raises:
            NotFoundError: the server was reached, and what was asked for is not there.
            StorageError: anything else that went wrong.
        """
        with _failing(f"{doing} {self.where}", self._secrets, hint=hint):
            yield


def _open(url: str, where: str, options: dict[str, object]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    try:
        files, path = url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        told = known_implementations.get(url.partition("://")[0].lower(), {}).get("err", str(error))
        raise bad_url(
            f"{where} needs a package that is not installed: {told}",
            hint="Install it with pip, into the environment that runs this.",
        ) from error
    except (ValueError, TypeError) as error:
        raise bad_url(f"{where} cannot be used: {_first_line(error, ())}") from error
    return files, str(path)


@contextmanager
def _failing(doing: str, secrets: tuple[str, ...], *, hint: str) -> Iterator[None]:
    try:
        yield
    except SafeBackupError:
        raise
    except Exception as error:  # each of these libraries has errors of its own
        said = f"{type(error).__name__}: {_first_line(error, secrets)}"
        cause = _unreached(error) if isinstance(error, FileNotFoundError) else error
        if cause is None:
            raise NotFoundError(f"{doing}: it is not there", code=Code.NO_PATH, hint="Check its spelling.") from error
        if isinstance(cause, PermissionError) or getattr(cause, "status", None) in (401, 403):
            raise StorageError(
                f"{doing}: not permitted ({said})",
                code=Code.STORE_DENIED,
                hint="Check the credentials, and what they may do there.",
            ) from error
        raise StorageError(f"{doing}: {said}", hint=hint, retryable=True) from error


def _unreached(error: FileNotFoundError) -> BaseException | None:
    """What a "not found" hides: fsspec's HTTP says so of a server that was never reached, or that refused."""
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        return cause
    if type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", None) not in (404, 410):
        return cause
    return None


def _first_line(error: BaseException, secrets: tuple[str, ...]) -> str:
    """The beginning of what a library says, without the secrets that it was given."""
    line = (str(error).splitlines() or [""])[0][:_LINE_MAX]
    for secret in secrets:
        line = line.replace(secret, "***")
    return shown(line)
