"""Where an artefact lies: a local path, or a URL read through fsspec block by block; every failure as our error."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import attrs

from safebackup.artifacts.reading import PIECE, Reader, damaged
from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.findings import printable
from safebackup.remotes import Remote, local_path

_BLOCK = 4 << 20


class StoredFile:
    """An open file whose failures are ours, and which counts what was read of it."""

    def __init__(self, file: IO[bytes], reading: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._reading = reading
        self.bytes_read = 0

    def read(self, count: int = -1) -> bytes:
        """As of any file."""
        with self._reading():
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
    _failing: Callable[[str], AbstractContextManager[None]]  # raises what goes wrong within as our errors
    _files: list[StoredFile] = attrs.field(factory=list, init=False)

    def open(self, name: str = "") -> StoredFile:
        """The artefact, or a file of the folder that it is."""
        what = f" {name} of" if name else ""
        with self._failing(f"opening{what}"):
            file = StoredFile(self._open(name), lambda: self._failing(f"reading{what}"))
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
        with self._failing("looking at"):
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
    local = local_path(text, storage_options)
    return _remote(text, storage_options) if local is None else _local(Path(local))


def _local(path: Path) -> Place:
    shown = printable(os.fsencode(path))

    def failing(doing: str) -> AbstractContextManager[None]:
        return _failing_here(f"{doing} {shown}", shown)

    with failing("looking at"):
        status = path.stat()
        is_folder = stat.S_ISDIR(status.st_mode)
        names = frozenset(os.listdir(path)) if is_folder else None
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(
            f"{shown} is neither a file nor a folder", hint="Write it to a file first: an artefact is read to its end."
        )
    return Place(shown, path.name, path, names, lambda name: _open_regular(path / name if name else path), failing)


def _open_regular(path: Path) -> IO[bytes]:
    """A file that is one: opening a pipe would wait for somebody to write into it."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise damaged(f"{printable(os.fsencode(path))} is no regular file")
    return open(fd, "rb")


def _remote(url: str, storage_options: Mapping[str, object] | None) -> Place:
    remote = Remote.reach(url, storage_options)
    files, path = remote.files, remote.path.rstrip("/")
    with _fitting(remote, storage_options), remote.failing("opening"):
        details = files.info(path)
        names = None
        if details.get("type") == "directory":
            names = frozenset(str(name).rstrip("/").rsplit("/", 1)[-1] for name in files.ls(path, detail=False))

    def open_one(name: str) -> IO[bytes]:
        file: IO[bytes] = files.open(
            f"{path}/{name}" if name else path, "rb", block_size=_BLOCK, cache_type="readahead"
        )
        return file

    return Place(remote.where, path.rsplit("/", 1)[-1], None, names, open_one, remote.failing)


@contextmanager
def _fitting(remote: Remote, storage_options: Mapping[str, object] | None) -> Iterator[None]:
    """Say so where options are what failed: some file systems hand them on unseen, until they are first asked."""
    try:
        yield
    except (StorageError, NotFoundError) as error:
        causes = (error.__cause__, error.__cause__ and error.__cause__.__cause__)
        if storage_options and any(isinstance(one, TypeError) for one in causes):
            names = ", ".join(sorted(storage_options))
            raise ConfigurationError(
                f"the storage options do not fit {remote.where}: {names}",
                code=Code.BAD_URL,
                hint="Check their spelling, and which options a store of this kind takes.",
            ) from error
        raise


@contextmanager
def _failing_here(doing: str, shown: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{shown} is not there", code=Code.NO_PATH, hint="Check its spelling, and whether its disk is mounted."
        ) from error
    except OSError as error:
        raise StorageError.from_os(doing, error) from error
