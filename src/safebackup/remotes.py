"""Reaching a URL through fsspec: the one place that opens its file systems and turns their errors into ours.

fsspec supplies URLs, credentials and transport. Shared instances and remembered listings, with which it answers what
was true some time ago, are switched off; "not there" and "could not be reached" stay two answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import attrs

from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_WEBDAV = {"webdav": "http", "dav": "http", "webdavs": "https", "davs": "https"}
_SECRET_NAME = re.compile(
    r"pass|secret|token|key|credential|authorization|^auth$|cookie|connection_string", re.IGNORECASE
)
_SECRET_FIELD = re.compile(r"\b(?:AccountKey|sig)=([^;&]+)")  # in what Azure takes as one string
_NO_SECRETS = ("anon", "browser", "cache", "cloud", "google_default")  # with which gcsfs names where a token comes from
_PASSWORD = re.compile(r"://[^/@:]*:([^/]+)@")
# Also where a / in the password was not written as %2F; but host:22/folder/a@b has none.
_USER_AND_PASSWORD = re.compile(r"\A[^/@:]*:(?:[^/]*@|(?!\d*/).*@)", re.DOTALL)
_USER = re.compile(r"\A[^/]*@")
# Here a name alone stands before an @, a user's or, with Azure, a container's; elsewhere it may be a token.
_NAMED = (*_WEBDAV, "sftp", "ssh", "ftp", "smb", "abfs", "abfss")
_SECRET_PART = re.compile(r"(?<=//)[^/\s]*@|[?#]\S*")
_LINE_MAX = 200
_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "sftp": "sftp",
    "ssh": "sftp",
    "webdav": "webdav",
    "webdavs": "webdav",
    "dav": "webdav",
    "davs": "webdav",
    "smb": "smb",
}
_PACKAGES = {"git": "pygit2", "libarchive": "libarchive-c"}  # where a module is not called like what brings it


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


def is_remote(text: str) -> bool:
    """Whether a text is a URL of anything but a local path."""
    match = _SCHEME.fullmatch(text)
    return match is not None and match[1].lower() not in _LOCAL


def shown(url: str) -> str:
    """A URL, or a text with some, without what may be secret: a user with a password, what follows a `?` or `#`."""
    match = _SCHEME.fullmatch(url)
    if match is None or "://" in match[2]:
        return _SECRET_PART.sub(lambda found: "***@" if found[0].endswith("@") else "", url)
    scheme, rest = match.groups()
    hidden = _USER_AND_PASSWORD.sub("***@", rest)
    if scheme.lower() not in _NAMED:
        hidden = _USER.sub("***@", hidden)
    return f"{scheme}://{re.split('[?#]', hidden)[0]}"


def secrets_of(url: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """What must never be shown: values of options that are named like secrets, also within others, and a password."""
    found: list[str] = _PASSWORD.findall(url)
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += secrets_of("", {str(inner): each for inner, each in value.items()})
        elif name == "auth" and isinstance(value, list | tuple):
            found += [str(each) for each in value[1:]]  # the first is the user
        elif _SECRET_NAME.search(name) and value and value not in _NO_SECRETS:
            found += [str(value), *_SECRET_FIELD.findall(str(value))]
        elif isinstance(value, str):
            found += _PASSWORD.findall(value)
    return tuple(dict.fromkeys(each for one in found for each in (one, unquote(one)) if each))


def open_files(url: str, options: Mapping[str, object]) -> tuple[Any, str]:
    """A file system of fsspec's, not shared and without remembered listings, and the path in it that a URL names.

    For WebDAV, fsspec takes the server as an option; here `webdavs://host/path`, or `davs://`, means what a browser
    finds at `https://host/path`, and `webdav://` or `dav://` the same without TLS. With the option `base_url`, all of
    the URL is the path, as in fsspec.

    Raises:
        ConfigurationError: the URL or the options make no sense, or a package for them is not installed.
    """
    files, path = _open(*_with_server(url, dict(options)), shown(url))
    files.dircache.use_listings_cache = False
    return files, path


def how_to_install(scheme: str, error: ImportError) -> str:
    """What brings the package that URLs of this scheme lack; `error` is what fsspec said."""
    extra, module = _EXTRAS.get(scheme), getattr(error.__cause__, "name", None)
    if extra:
        command = f"pip install 'safebackup[{extra}]'"
    elif module:
        package = module.partition(".")[0]
        command = f"pip install {_PACKAGES.get(package, package)}"
    else:
        command = f"Install what it asks for: {error}"
    return f"{command}, into the environment that runs this."


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
        secrets = secrets_of(url, options)
        where = shown(url)
        with _failing(f"opening {where}", secrets, hint=""):
            files, path = open_files(url, options)
        return cls(where, files, path, secrets)

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


def is_webdav(scheme: str) -> bool:
    """Whether webdav4 serves URLs of this scheme."""
    return scheme.lower() in _WEBDAV


def _with_server(url: str, options: dict[str, object]) -> tuple[str, dict[str, object]]:
    scheme, _, rest = url.partition("://")
    if not is_webdav(scheme):
        return url, options
    auth = options.get("auth")
    if isinstance(auth, str) or (isinstance(auth, list | tuple) and len(auth) != 2):
        raise bad_url(
            f"{shown(url)}: the storage option auth is not a user and a password",
            hint='Write auth=("user", "password"); on a command line auth=@FILE, and ["user", "password"] in it.',
        )
    if isinstance(auth, list):  # as a file of settings has it
        options["auth"] = tuple(auth)
    if "base_url" in options:
        return f"webdav://{rest}", options
    place, _, path = rest.partition("/")
    try:
        server = urlsplit(f"//{place}")
        port = f":{server.port}" if server.port is not None else ""
    except ValueError as error:
        raise bad_url(f"{shown(url)} has no host and port that make sense") from error
    if not server.hostname:
        raise bad_url(f"{shown(url)} names no host")
    host = f"[{server.hostname}]" if ":" in server.hostname else server.hostname
    if server.username is not None:
        options.setdefault("auth", (unquote(server.username), unquote(server.password or "")))
    return f"webdav://{path}", {"base_url": f"{_WEBDAV[scheme.lower()]}://{host}{port}", **options}


def _open(url: str, options: dict[str, object], where: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        scheme, missing = _missing(url, error)
        raise bad_url(
            f"{where} needs a package that is not installed: {missing}", hint=how_to_install(scheme, missing)
        ) from error
    except (ValueError, TypeError) as error:
        raise bad_url(f"{where} cannot be used: {_first_line(error, ())}") from error
    return files, str(path)


def _missing(url: str, error: ImportError) -> tuple[str, ImportError]:
    """Which of the schemes that a URL chains cannot be served, and why."""
    from fsspec.registry import get_filesystem_class

    schemes = [part.partition("://")[0].lower() for part in url.split("::")]
    for scheme in schemes:
        try:
            get_filesystem_class(scheme)
        except ImportError as missing:
            return scheme, missing
        except ValueError:  # it is no scheme
            continue
    return schemes[0], error


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
