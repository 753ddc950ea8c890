"""Where an artefact lies: a local path, or a URL read through fsspec block by block; every failure as our error."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from safebackup.artifacts.reading import PIECE, Reader
from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError
from safebackup.findings import printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BLOCK = 4 << 20
_SECRET = re.compile(r"//[^/@]*@|[?#].*", re.DOTALL)


class StoredFile:
    """An open file whose failures are ours, and which counts what was read of it."""

    def __init__(self, file: IO[bytes], shown: str) -> None:
        self._file = file
        self._shown = shown
        self.bytes_read = 0

    def read(self, count: int = -1) -> bytes:
        """As of any file."""
        with ours(self._shown, "reading"):
            data = self._file.read(count)
        self.bytes_read += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file; a place before the beginning is a plain OSError, which zipfile asks for and expects."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Whether `seek` works: a server may only send everything in order."""
        return self._file.seekable()

    def close(self) -> None:
        """As of any file."""
        self._file.close()


@attrs.define
class Place:
    """An artefact that is there. `path` is set if it is local, `names` if it is a folder.

    `shown` names it without the secrets that a URL may hold. Leaving the `with` block closes what was opened.
    """

    shown: str
    name: str
    path: Path | None
    names: frozenset[str] | None
    _open: Callable[[str], IO[bytes]]
    _files: list[StoredFile] = attrs.field(factory=list, init=False)

    def open(self, name: str = "") -> StoredFile:
        """The artefact, or a file of the folder that it is."""
        shown = f"{self.shown}/{name}" if name else self.shown
        with ours(shown, "opening"):
            file = StoredFile(self._open(name), shown)
        self._files.append(file)
        return file

    def reader(self, name: str) -> Reader:
        """A file of the folder, from its beginning."""
        file = self.open(name)
        return Reader(lambda: file.read(PIECE))

    @property
    def bytes_read(self) -> int:
        """What was read of all files so far."""
        return sum(file.bytes_read for file in self._files)

    def stamp(self) -> object:
        """Something that differs once the artefact was written to; always the same for URLs."""
        if self.path is None or self.names is not None:
            return None
        with ours(self.shown, "looking at"):
            status = self.path.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()


def find_place(path_or_url: object, storage_options: Mapping[str, object] | None) -> Place:
    """The artefact at a path or URL.

    Raises:
        ConfigurationError: it is neither, or a package for it is missing, or it is no file and no folder.
        NotFoundError: nothing is there.
        StorageError: it cannot be reached, or not by whoever asks.
    """
    text = os.fspath(path_or_url) if isinstance(path_or_url, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigurationError(
            f"a path or a URL was expected, and {path_or_url!r} was given", code=Code.BAD_URL, hint="Name one artefact."
        )
    match = _SCHEME.fullmatch(text)
    if match is None or match[1].lower() in ("file", "local"):
        if storage_options:
            raise ConfigurationError(f"{text} is local and takes no storage options", hint="Leave them out.")
        return _local(Path(text if match is None else match[2]))
    return _remote(text, dict(storage_options or {}))


def _local(path: Path) -> Place:
    shown = printable(os.fsencode(path))
    with ours(shown, "looking at"):
        status = path.stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        names = frozenset(os.listdir(path)) if is_folder else None
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(
            f"{shown} is neither a file nor a folder", hint="Write it to a file first: an artefact is read to its end."
        )
    return Place(shown, path.name, path, names, lambda name: (path / name if name else path).open("rb"))


def _remote(url: str, options: dict[str, Any]) -> Place:
    shown = _SECRET.sub(lambda found: "//…@" if found[0].startswith("//") else "", url, count=1)
    shown = _SECRET.sub("", shown) if "?" in shown or "#" in shown else shown
    if "::" in url:
        raise ConfigurationError(f"{shown} chains URLs with '::'", code=Code.BAD_URL, hint="Give the artefact's own.")
    options = {"skip_instance_cache": True, "use_listings_cache": False, **options}
    with ours(shown, "opening"):
        files, path = _file_system(url, shown, options)
        details = files.info(path)
        names = None
        if details.get("type") == "directory":
            names = frozenset(str(name).rstrip("/").rsplit("/", 1)[-1] for name in files.ls(path, detail=False))

    def open_one(name: str) -> IO[bytes]:
        target = f"{path.rstrip('/')}/{name}" if name else path
        file: IO[bytes] = files.open(target, "rb", block_size=_BLOCK, cache_type="readahead")
        return file

    return Place(shown, path.rstrip("/").rsplit("/", 1)[-1], None, names, open_one)


def _file_system(url: str, shown: str, options: dict[str, Any]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = url.partition("://")[0].lower()
    try:
        files, path = url_to_fs(url, **options)
    except ImportError as error:
        told = known_implementations.get(protocol, {}).get("err", str(error))
        raise ConfigurationError(
            f"{shown} needs a package that is not installed: {told}",
            code=Code.BAD_URL,
            hint="Install it with pip, in the environment that runs this.",
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{shown} cannot be opened: {_first_line(error)}",
            code=Code.BAD_URL,
            hint="Check the spelling of the URL's scheme, and the storage options.",
        ) from error
    return files, str(path)


@contextmanager
def ours(shown: str, doing: str) -> Iterator[None]:
    """Turn every failure of the disk, the network or a package of fsspec's into our error."""
    try:
        yield
    except SafeBackupError:
        raise
    except FileNotFoundError as error:
        if (cause := _unreached(error)) is not None:
            raise _failed(shown, doing, cause) from error
        raise NotFoundError(
            f"{shown} is not there", code=Code.NO_PATH, hint="Check its spelling, and whether its disk is mounted."
        ) from error
    except OSError as error:
        if isinstance(error, PermissionError) and error.errno is None:
            raise _denied(shown, error) from error
        raise StorageError.from_os(f"{doing} {shown}", error) from error
    except Exception as error:
        # Packages of fsspec's raise whatever their network library does.
        raise _failed(shown, doing, error) from error


def _unreached(error: FileNotFoundError) -> BaseException | None:
    """What a "not found" hides: fsspec's HTTP says so of a server that was never reached, or that refused."""
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        return cause
    if type(cause).__module__.startswith("aiohttp") and getattr(cause, "status", None) not in (404, 410):
        return cause
    return None


def _failed(shown: str, doing: str, error: BaseException) -> StorageError:
    if getattr(error, "status", None) in (401, 403):
        return _denied(shown, error)
    return StorageError(
        f"{doing} {shown} failed ({type(error).__name__}: {_first_line(error)})",
        hint="Check the network, the address and the credentials; nothing is known about the artefact.",
        retryable=True,
    )


def _denied(shown: str, error: BaseException) -> StorageError:
    return StorageError(
        f"{shown}: not permitted ({_first_line(error)})",
        code=Code.STORE_DENIED,
        hint="Check who runs this and what it may do there.",
    )


def _first_line(error: BaseException) -> str:
    """The beginning of a message; addresses in it lose their secrets."""
    line = (str(error).splitlines() or [""])[0][:200]
    return re.sub(r"//[^/@\s]*@|\?\S*", "", line)
