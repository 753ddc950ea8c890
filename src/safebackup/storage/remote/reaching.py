"""From a URL to a store behind a network: which class of fsspec's serves it, and which transport that class has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.remotes import how_to_install, is_webdav, secrets_of, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.quiet import keep_off_stderr
from safebackup.storage.remote.remote_store import RemoteStore
from safebackup.storage.remote.transport import Transport

_HERE = "safebackup.storage.remote"
_PROVEN = "s3://, gs://, az://, sftp://, ftp:// and webdav:// are proven, and a mounted share is a path."


@attrs.frozen
class _Kind:
    """A class of fsspec's file systems, by the name of its module and its own: which transport it has."""

    module: str
    transport: str


_S3 = "s3fs.core.S3FileSystem"
# By class, not by protocol: which class serves sftp:// depends on what is installed.
_KINDS = {
    _S3: _Kind("s3", "S3Transport"),
    "gcsfs.core.GCSFileSystem": _Kind("gcs", "GcsTransport"),
    "gcsfs.extended_gcsfs.ExtendedGcsFileSystem": _Kind("gcs", "GcsTransport"),
    "adlfs.spec.AzureBlobFileSystem": _Kind("azure", "AzureTransport"),
    "sshfs.spec.SSHFileSystem": _Kind("sftp", "SftpTransport"),
    "fsspec.implementations.ftp.FTPFileSystem": _Kind("ftp", "FtpTransport"),
    "webdav4.fsspec.WebdavFileSystem": _Kind("webdav", "WebdavTransport"),
    "fsspec.implementations.smb.SMBFileSystem": _Kind("smb", "SmbTransport"),
}
_READ_ONLY = {
    "http", "https", "zip", "tar", "libarchive", "reference", "git", "github", "gist", "jupyter", "data", "blockcache",
    "filecache", "simplecache", "cached", "dir", "asynclocal", "generic", "root", "dask",
}  # fmt: skip
_HOST_AND_PORT = re.compile(r"(?:\[[^]]*\]|[^:]+)(?::\d+)?")
_WITH_HOMES = ("sftp", "ssh", "ftp")
_SLOW_SSH = "fsspec.implementations.sftp.SFTPFileSystem"

keep_off_stderr()


def remote_store(
    url: str,
    storage_options: Mapping[str, object] | None,
    *,
    limits: Limits | None = None,
    allow_unproven: bool = False,
) -> RemoteStore:
    """The store at a URL that is neither local nor in memory. Opening touches nothing.

    Raises:
        ConfigurationError: no repository can live there, a package is missing, or the kind of store is not proven.
    """
    scheme, url = _plain(url)
    options = dict(storage_options or {})
    limits = limits or Limits()
    kind, make = _kind_of(scheme, shown(url), options, allow_unproven=allow_unproven)
    secrets = secrets_of(url, options)
    return RemoteStore(
        shown(url),
        lambda: make(url, options, limits),
        kind=kind,
        limits=limits,
        secrets=secrets,
        reopen=None if secrets else (_reopen, (url, options, limits, allow_unproven)),
    )


def is_proven(url: str) -> bool:
    """Whether what serves a URL is among the kinds of store that are proven, or is refused in favour of one.

    Raises:
        ConfigurationError: nothing here serves it.
    """
    scheme = url.split("://", 1)[0].lower()
    if "::" in url or scheme in _READ_ONLY:
        return False
    return _class_of(scheme, shown(url)) in (*_KINDS, _SLOW_SSH)


def transport_of(
    url: str, storage_options: Mapping[str, object] | None, limits: Limits, *, allow_unproven: bool = False
) -> Transport:
    """A transport at a URL, for who reads or writes files there that are no objects of a repository.

    Raises:
        ConfigurationError: as `remote_store`.
    """
    scheme, url = _plain(url)
    options = dict(storage_options or {})
    return _kind_of(scheme, shown(url), options, allow_unproven=allow_unproven)[1](url, options, limits)


def _reopen(url: str, options: dict[str, object], limits: Limits, allow_unproven: bool) -> RemoteStore:
    return remote_store(url, options, limits=limits, allow_unproven=allow_unproven)


def _bad_url(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(what, code=Code.BAD_URL, hint=hint)


def _plain(url: str) -> tuple[str, str]:
    """The scheme, and the URL in the one way to write it: its scheme in lower case, and no slash at its end."""
    scheme, rest = url.split("://", 1)
    scheme, path = scheme.lower(), rest.rstrip("/")
    where = shown(url)
    if scheme in _READ_ONLY:
        raise _bad_url(f"nothing can be written to {where}: {scheme}:// is for reading", _PROVEN)
    if not path or path.startswith("/"):
        raise _bad_url(f"{where} names no bucket or host", f"Write {scheme}://bucket-or-host/folder.")
    if re.search(r"[?#\x00-\x1f\x7f\ud800-\udfff]", path):
        raise _bad_url(f"{where} has a query, a fragment or a control character", "Leave it out: options have names.")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise _bad_url(f"{where} has an empty part, '.' or '..'", "Write the path as it is, without detours.")
    place, _, folder = path.partition("/")
    if scheme in _WITH_HOMES and folder.startswith("~"):
        raise _bad_url(
            f"{where} begins with '~', which no server expands",
            f"Write the path from the top of what the server shows, such as {scheme}://host/home/ann/x.",
        )
    _require_place(scheme, place, where)
    return scheme, f"{scheme}://{path}"


def _require_place(scheme: str, place: str, where: str) -> None:
    if scheme in ("s3", "s3a", "gs", "gcs"):
        if "@" in place:
            raise _bad_url(
                f"{where} has credentials where the name of the bucket belongs",
                "Give them in the environment, in the files of the cloud's own tools, or as storage options.",
            )
    elif not _HOST_AND_PORT.fullmatch(place.rpartition("@")[2]):
        raise _bad_url(
            f"{where} has a port that is no number, or a password that ends the address too early",
            "In a password, write / as %2F, @ as %40 and : as %3A, or give it as a storage option.",
        )


def _kind_of(
    scheme: str, where: str, options: Mapping[str, object], *, allow_unproven: bool
) -> tuple[str, Callable[[str, dict[str, object], Limits], Transport]]:
    if scheme in ("sftp", "ssh") and options.get("known_hosts", ()) is None:
        raise _bad_url(
            f"{where}: known_hosts=None would accept any server",
            "Name a file of known hosts, or use ~/.ssh/known_hosts.",
        )
    name = _class_of(scheme, where)
    if name == _SLOW_SSH:
        raise _bad_url(
            f"{where} would be served by paramiko, which hangs with threads and breaks when forked",
            "Install sshfs: pip install 'safebackup[sftp]'.",
        )
    kind = _KINDS.get(name)
    if kind is None:
        if not allow_unproven:
            raise _bad_url(
                f"{where} is served by {name}, which is not proven to keep what it is given",
                f"{_PROVEN} To use it all the same, with all that is written read back: allow_unproven_store=True, or "
                "--allow-unproven-store.",
            )
        kind = _Kind("unproven", "UnprovenTransport")
    if options.get("client") == "obstore":
        kind = _through_obstore(name, where)
    made: Any = getattr(import_module(f"{_HERE}.{kind.module}"), kind.transport)
    return name, made


def _through_obstore(name: str, where: str) -> _Kind:
    if name != _S3:
        raise _bad_url(f"{where} cannot be read through obstore, which is for S3 alone", "Leave client='obstore' out.")
    if find_spec("obstore") is None:
        raise _bad_url(
            f"{where} is to be read through obstore, which is not installed", "pip install 'safebackup[obstore]'"
        )
    return _Kind("obstore", "ObstoreTransport")


def _class_of(scheme: str, where: str) -> str:
    from fsspec.registry import get_filesystem_class

    try:
        found = get_filesystem_class("webdav" if is_webdav(scheme) else scheme)
    except ImportError as error:
        raise _bad_url(f"{where} needs a package that is not installed", how_to_install(scheme, error)) from error
    except ValueError as error:
        raise _bad_url(f"{where}: no package of this machine knows {scheme}://", _PROVEN) from error
    except Exception as error:  # whatever a package raises while it is imported
        raise _bad_url(f"{where} cannot be used: {error}", _PROVEN) from error
    return f"{found.__module__}.{found.__qualname__}"
