"""Where an artefact goes: a folder on a disk, or a URL that fsspec can reach.

What is published appears whole under its name, or not at all, and nothing that is there is replaced.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, SafeBackupError, StorageError
from safebackup.remotes import Remote, local_path, shown
from safebackup.tarring.names import bad_url
from safebackup.tarring.temporaries import Temporary, failing

# Object stores, by the package that reaches them: what they are given is visible when it is whole.
_WHOLE_PUTS = ("s3fs", "gcsfs", "adlfs")
_NOTHING = "Nothing was published. Look at the server, the folder and the permissions, then start again."
_LISTS = (".sha256", ".files.sha256")


class Place(Protocol):
    """A folder, wherever it is, and a name in it."""

    name: str
    url: str

    def open(self) -> None:
        """Reach it, and refuse a name that is taken."""
        ...

    def temporary(self) -> Temporary:
        """A new private file on this machine, from which can be published."""
        ...

    def publish(self, files: Sequence[tuple[Temporary, str]]) -> None:
        """Make files visible, the last of them last; all of them or none."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def place_of(url: str, storage_options: Mapping[str, object], scratch: str | None, *, timed: bool) -> Place:
    """The place that a URL or path names, `timed` if the time is a part of the name; touches nothing."""
    local = local_path(url, storage_options)
    if local is None:
        return RemotePlace(url, storage_options, scratch, timed=timed)
    return LocalPlace(os.path.abspath(local), scratch, timed=timed)


class LocalPlace:
    """A folder on this machine."""

    def __init__(self, path: str, scratch: str | None, *, timed: bool) -> None:
        if scratch is not None:
            raise ConfigurationError(
                "scratch is given for a local path, where the file is written in the folder itself",
                hint="Leave it out; it is for URLs.",
            )
        self.url = path
        self._folder, self.name = os.path.split(path)
        self._timed = timed
        self._at = -1

    def open(self) -> None:
        """Open the folder; what follows stays in it even if another is mounted over it."""
        try:
            self._at = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(
                f"{self._folder} is not there, or is no folder",
                code=Code.STORE_MISSING,
                hint="Mount the disk that it is on, or make the folder: it is never made here, as it could be an empty "
                "mount point.",
            ) from error
        except OSError as error:
            raise StorageError.from_os(f"opening {self._folder}", error) from error
        try:
            for suffix in ("", *_LISTS):
                self._require_free(self.name + suffix)
        except BaseException:
            self.close()
            raise

    def _require_free(self, name: str) -> None:
        with failing(f"looking into {self._folder}"), suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._at, follow_symlinks=False)
            raise _taken(os.path.join(self._folder, name), self.name, timed=self._timed)

    def temporary(self) -> Temporary:
        """A file on the same file system."""
        with failing(f"writing in {self._folder}"):
            return Temporary(self._at)

    def publish(self, files: Sequence[tuple[Temporary, str]]) -> None:
        """Link each to its name, which never replaces anything, and sync the folder."""
        begun: list[tuple[Temporary, str]] = []
        try:
            for temporary, name in files:
                # First: an interrupt may come when the name is there and before the next line.
                begun.append((temporary, name))
                with failing(f"publishing {os.path.join(self._folder, name)}"):
                    try:
                        temporary.name_it(name)
                    except FileExistsError:
                        raise _taken(os.path.join(self._folder, name), self.name, timed=self._timed) from None
            with failing(f"syncing {self._folder}"):
                os.fsync(self._at)
        except BaseException:
            for temporary, name in reversed(begun):
                temporary.take_back(name)
            raise

    def close(self) -> None:
        """Close the folder."""
        if self._at >= 0:
            os.close(self._at)
            self._at = -1


class RemotePlace:
    """A URL, through fsspec.

    An object store is given the whole file at once. On a file server the file is written under another name, its size
    is asked for on a new connection, and it is renamed. What is there is not replaced as far as looking beforehand can
    tell; of two writers that race for one name the later may win.
    """

    def __init__(self, url: str, storage_options: Mapping[str, object], scratch: str | None, *, timed: bool) -> None:
        self.url = url
        self.name = url.rpartition("/")[2]
        self._timed = timed
        self._options = dict(storage_options)
        self._scratch = os.path.abspath(scratch or tempfile.gettempdir())
        self._at = -1
        self._remote: Remote | None = None

    def open(self) -> None:
        """Connect, and look whether the names are free."""
        with failing(f"opening the folder for temporary files, {self._scratch}"):
            self._at = os.open(self._scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._remote = self._connect()
            for suffix in ("", *_LISTS):
                self._require_free(self._remote, suffix)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Remote:
        remote = Remote.reach(self.url, self._options)
        if not _puts_whole(remote.files) and not _renames(remote.files):
            raise bad_url(
                f"{remote.where} can neither store a file at once nor rename one: half of it could be seen",
                hint="Write to a local path, and copy what is there.",
            )
        return remote

    def _require_free(self, remote: Remote, suffix: str) -> None:
        with suppress(NotFoundError), remote.failing("looking at", hint=_NOTHING):
            remote.files.info(remote.path + suffix)
            raise _taken(remote.where + suffix, self.name, timed=self._timed)

    def temporary(self) -> Temporary:
        """A file in the folder for temporary files."""
        with failing(f"writing in {self._scratch}"):
            return Temporary(self._at, within=self._scratch)

    def publish(self, files: Sequence[tuple[Temporary, str]]) -> None:
        """Put each."""
        remote = self._remote
        assert remote is not None
        begun: list[tuple[str, str]] = []
        try:
            for temporary, name in files:
                suffix = name.removeprefix(self.name)
                self._require_free(remote, suffix)
                with remote.failing("publishing", hint=_NOTHING):
                    self._put(remote.files, temporary, remote.path + suffix, begun)
        except BaseException:
            for part, target in reversed(begun):
                with suppress(Exception):
                    remote.files.rm_file(target if part != target and _is_gone(remote.files, part) else part)
            raise

    def _put(self, files: Any, temporary: Temporary, target: str, begun: list[tuple[str, str]]) -> None:
        """Store one file; `begun` gets the name under which it is sent, and the one that it will have."""
        size = os.fstat(temporary.fd).st_size
        if _puts_whole(files):
            begun.append((target, target))
            if "memory" in _protocols(files):
                with open(temporary.path, "rb") as file:
                    files.pipe_file(target, file.read())
            else:
                files.put_file(temporary.path, target)
            self._require_size(files, target, size)
            return
        part = f"{target}.part-{secrets.token_hex(8)}"
        begun.append((part, target))
        files.put_file(temporary.path, part)
        self._require_size(files, part, size)
        files.mv(part, target)
        self._require_size(files, target, size)

    def _require_size(self, files: Any, target: str, size: int) -> None:
        found = (files if "memory" in _protocols(files) else self._connect().files).info(target)
        if found["size"] != size:
            raise StorageError(
                f"{shown(self.url)}: {found['size']} bytes arrived where {size} were sent",
                hint="Nothing was published. Look at the server, then start again.",
            )

    def close(self) -> None:
        """Let go of the connection and the folder for temporary files."""
        self._remote = None
        if self._at >= 0:
            os.close(self._at)
            self._at = -1


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _puts_whole(fs: Any) -> bool:
    return type(fs).__module__.partition(".")[0] in _WHOLE_PUTS or "memory" in _protocols(fs)


def _renames(fs: Any) -> bool:
    """Whether it has a rename of its own: the one that fsspec gives to all copies and deletes."""
    from fsspec import AbstractFileSystem

    return getattr(fs.mv, "__func__", None) is not AbstractFileSystem.mv


def _is_gone(files: Any, path: str) -> bool:
    """Whether a server says that there is no such file; of a name that only we know, that we have renamed it."""
    try:
        files.info(path)
    except FileNotFoundError:
        return True
    return False


def _taken(where: str, name: str, *, timed: bool) -> SafeBackupError:
    if where.endswith(name):
        return ConflictError(
            f"{where} is there already, and was left alone",
            hint="Another run of the same second made it: wait a second, or give each a name of its own."
            if timed
            else "Put {utc} into the name: each run has its own then.",
        )
    return ConflictError(
        f"{where} is there already, and was left alone",
        hint=f"If there is no {name} beside it, a run was interrupted while publishing: remove it.",
    )


def require_source(path: object) -> tuple[str, os.stat_result]:
    """The real path of a file or folder to add, and what it is now.

    Raises:
        ConfigurationError, NotFoundError: it is neither, or not there.
    """
    if not isinstance(path, str | bytes | os.PathLike) or not (raw := os.fsencode(path)) or b"\0" in raw:
        raise ConfigurationError(f"{path!r} is no path", hint='Such as "/srv/orders".')
    # What is named itself is followed if it is a link: nobody means to save the link alone.
    real = os.path.realpath(os.fsdecode(raw))
    try:
        status = os.stat(real)
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"{os.fsdecode(raw)!r} does not exist",
            code=Code.NO_SOURCE,
            hint="Look at its spelling, and whether its disk is mounted. Nothing was published.",
        ) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(
            f"{os.fsdecode(raw)!r} is neither a file nor a folder",
            hint="Read a device by a command: writer.command(…).",
        )
    return real, status
