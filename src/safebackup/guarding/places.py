"""Where a guard's state lives: a file with real locks, or an object at a URL with what a store can offer instead.

Both let one start at a time read the state, decide and write it. Lock waits are measured on the machine's own clock,
whatever clock the guard was given.
"""

from __future__ import annotations

import os
import random
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

from safebackup.clock import SystemClock
from safebackup.errors import Code, ConfigurationError, SafeBackupError, StorageError
from safebackup.events import logger
from safebackup.findings import AT_HOME, printable, starts_at_home
from safebackup.guarding.states import SIZE_MAX, damaged
from safebackup.remotes import open_files, secrets_of, shown

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_WAIT_SECONDS = 60.0  # so long a start waits for others that decide at this moment; each takes well below a second
_MARKER_SECONDS = 300  # what is older was left behind by a start that died
_clock = SystemClock()


class Place(Protocol):
    """Where one state lives."""

    where: str  # for people, without secrets
    locks: bool  # whether `hold` is kept by the system: it then tells whether another guard of this kernel lives

    def exclusively(self) -> AbstractContextManager[None]:
        """While nobody else reads the state in order to write it."""
        ...

    def read(self) -> bytes | None:
        """The state; None if there is none."""
        ...

    def write(self, data: bytes) -> None:
        """Replace the state as a whole."""
        ...

    def hold(self) -> bool:
        """Take what a run holds while it lasts; False if another run has it."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


def place_of(state: object, storage_options: Mapping[str, object] | None) -> Place:
    """The place that a path or URL names; touches nothing.

    Raises:
        ConfigurationError: it names none.
    """
    text = os.fspath(state) if isinstance(state, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text or "::" in text:
        raise _bad(f"state={state!r} is neither a path nor a URL")
    match = _SCHEME.fullmatch(text)
    if match is not None and match[1].lower() not in ("file", "local"):
        return RemotePlace(text, dict(storage_options or {}))
    if storage_options:
        raise ConfigurationError(
            f"storage options are given for a local state: {', '.join(sorted(storage_options))}",
            hint="Leave them out, or write the URL that they are for.",
        )
    path = text if match is None else match[2]
    if match is not None and not path.startswith("/"):
        raise _bad(f"{text} has no absolute path: three slashes are needed")
    if starts_at_home(os.fsencode(path)):
        raise ConfigurationError(f"{path} begins with ~, which only a shell expands", hint=AT_HOME)
    if path.endswith("/"):
        raise _bad(f"{path} names a folder")
    return LocalPlace(path)


def _bad(what: str) -> ConfigurationError:
    return ConfigurationError(
        what,
        code=Code.BAD_URL,
        hint="Name one file for the state, such as /var/lib/safebackup/orders.json, or an object, such as "
        "s3://bucket/guards/orders.json.",
    )


class LocalPlace:
    """A file, with two lock files beside it: `.lock` while a start is decided, `.run` while a run lasts."""

    locks = True

    def __init__(self, path: str) -> None:
        # A link is followed once, here: a file that is put in its place would end it.
        self._path = os.path.realpath(path)
        self.where = printable(os.fsencode(self._path))
        self._run = -1

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """While this process holds the lock file."""
        lock = self._open_lock(".lock")
        try:
            until = _clock.monotonic() + _WAIT_SECONDS
            while not _lock(lock):
                if _clock.monotonic() > until:
                    raise StorageError(
                        f"{self.where}.lock has been held by another process for {_WAIT_SECONDS:.0f} s",
                        hint="Look who holds it (fuser, lslocks): a start is decided within a second.",
                        retryable=True,
                    )
                time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _open_lock(self, suffix: str) -> int:
        try:
            return os.open(self._path + suffix, os.O_RDWR | os.O_CREAT, 0o644)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(
                f"the folder of the state {self.where} is not there",
                code=Code.STORE_MISSING,
                hint="Mount the disk that it is on, or make the folder: it is never made here, as it could be an empty "
                "mount point.",
            ) from error
        except OSError as error:
            raise disk_failed(f"locking the state {self.where}", error) from error

    def read(self) -> bytes | None:
        """The content of the file."""
        try:
            file = os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError.from_os(f"reading the state {self.where}", error) from error
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _bad(f"{self.where} is no file")
            with open(file, "rb", closefd=False) as stream:
                data = stream.read(SIZE_MAX + 1)
        except OSError as error:
            raise StorageError.from_os(f"reading the state {self.where}", error) from error
        finally:
            os.close(file)
        return _bounded(data, self.where)

    def write(self, data: bytes) -> None:
        """Write a temporary, sync it, put it in place, and sync the folder. The lock makes its name ours."""
        temporary = self._path + ".new"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            with open(file, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(file)
            os.replace(temporary, self._path)
            _sync(os.path.dirname(self._path))
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise disk_failed(f"writing the state {self.where}", error) from error

    def hold(self) -> bool:
        """Lock the second file."""
        lock = self._open_lock(".run")
        if not _lock(lock):
            os.close(lock)
            return False
        self._run = lock
        return True

    def release(self) -> None:
        """Unlock it, also where a child that was forked meanwhile has it open."""
        lock, self._run = self._run, -1
        if lock >= 0:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)


def disk_failed(what: str, error: OSError) -> StorageError:
    """Our error where the state could not be kept."""
    failed = StorageError.from_os(what, error)
    if failed.code is Code.STORE_FULL:
        failed.hint = "Free space there, or keep the state on a disk that the backup does not fill."
    return failed


def _lock(file: int) -> bool:
    try:
        import fcntl
    except ImportError as error:
        raise ConfigurationError(
            "this system has no file locks of the POSIX kind, which a local state needs",
            hint="Keep the state at a URL.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError.from_os("locking the state", error) from error
    return True


def _sync(folder: str) -> None:
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(at)
    finally:
        os.close(at)


def _bounded(data: bytes, where: str) -> bytes:
    if len(data) > SIZE_MAX:
        raise damaged(where, f"more than {SIZE_MAX >> 20} MiB")
    return data


class RemotePlace:
    """An object, reached through fsspec.

    No store is trusted to create exclusively. A start puts a marker beside the state and lists: alone, it may decide;
    otherwise it takes its marker back and tries again after a random time. That needs a store whose listing shows at
    once what was put, as all large ones do; it is looked for, and its lack is an error. A start that is stopped for
    longer than five minutes between its listing and its writing could still decide beside another.
    """

    locks = False

    def __init__(self, url: str, storage_options: dict[str, Any]) -> None:
        self.where = shown(url)
        self._url = url
        self._options = storage_options
        self._files: Any = None
        self._path = ""

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """While no other marker is there."""
        marker = ""
        with self._failing("marking a start at"):
            self._connect()
            until = _clock.monotonic() + _WAIT_SECONDS
            pause = 0.05
            while not (marker := self._alone()):
                if _clock.monotonic() > until:
                    raise StorageError(
                        f"{self.where}: other starts have been deciding for {_WAIT_SECONDS:.0f} s",
                        hint="Look into the folder of the same name that ends in .starting.",
                        retryable=True,
                    )
                time.sleep(random.uniform(0.01, pause))
                pause = min(2 * pause, 2.0)
        try:
            yield
        finally:
            self._remove(marker)

    def _alone(self) -> str:
        """The name of our marker if it is the only one; empty, and it is gone, if it is not."""
        if self._markers():
            return ""
        folder = f"{self._path}.starting"
        with suppress(Exception):  # object stores have no folders, file servers need one; no parent is ever made
            self._files.mkdir(folder, create_parents=False)
        name = f"{_clock.now() // 1_000_000_000}-{os.getpid()}-{random.getrandbits(64):016x}"
        self._files.pipe_file(f"{folder}/{name}", b"A start of a guarded script is being decided.\n")
        try:
            found = self._markers()
        except BaseException:
            self._remove(name)
            raise
        if name not in found:
            self._remove(name)
            raise StorageError(
                f"{self.where}: what was put there a moment ago is not listed, so that starts cannot see each other",
                hint="Keep the state on another store.",
            )
        if found == {name}:
            return name
        self._remove(name)
        return ""

    def _markers(self) -> set[str]:
        """The markers of starts that may still be deciding."""
        folder = f"{self._path}.starting"
        try:
            listed = self._files.ls(folder, detail=False)
        except FileNotFoundError:
            return set()
        names = {str(name).rstrip("/").rpartition("/")[2] for name in listed}
        now = _clock.now() // 1_000_000_000
        for name in list(names):
            written = name.partition("-")[0]
            if not written.isdigit():
                names.discard(name)  # a placeholder that some tools put into folders
            elif int(written) < now - _MARKER_SECONDS:
                logger.warning("%s: a start died while it was decided, more than five minutes ago", self.where)
                self._remove(name)
                names.discard(name)
        return names

    def _remove(self, name: str) -> None:
        try:
            self._files.rm_file(f"{self._path}.starting/{name}")
        except FileNotFoundError:
            pass
        except Exception as error:
            logger.warning("%s: a marker could not be removed: %s", self.where, type(error).__name__)

    def read(self) -> bytes | None:
        """The object; read again where it looks cut, as some servers show what is being written."""
        with self._failing("reading"):
            self._connect()
            data = self._cat()
            for _ in range(3):
                if data is None or data.rstrip().endswith(b"}"):
                    break
                time.sleep(0.5)
                data = self._cat()
        return None if data is None else _bounded(data, self.where)

    def _cat(self) -> bytes | None:
        try:
            return bytes(self._files.cat_file(self._path))
        except FileNotFoundError:
            # Some servers say so of any failure: what is listed is there.
            folder, _, name = self._path.rpartition("/")
            try:
                listed = self._files.ls(folder, detail=False)
            except FileNotFoundError:
                return None
            if any(str(each).rstrip("/").rpartition("/")[2] == name for each in listed):
                raise StorageError(
                    f"{self.where} is listed and cannot be read",
                    hint="Look at the permissions, and at the server.",
                    retryable=True,
                ) from None
            return None

    def write(self, data: bytes) -> None:
        """Put the whole object."""
        with self._failing("writing"):
            self._files.pipe_file(self._path, data)

    def hold(self) -> bool:
        """Nothing can be held in a store: the state itself says which run is active."""
        return True

    def release(self) -> None:
        """Nothing."""

    def _connect(self) -> None:
        if self._files is not None:
            return
        files, path = open_files(self._url, self._options)
        if not path.strip("/"):
            raise _bad(f"{self.where} names no object")
        self._files, self._path = files, path.rstrip("/")

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except SafeBackupError:
            raise
        except Exception as error:  # each of these libraries has errors of its own
            said = shown((str(error).splitlines() or [""])[0][:200])
            for secret in secrets_of(self._url, self._options):
                said = said.replace(secret, "***")
            raise StorageError(
                f"{what} the state {self.where}: {type(error).__name__}: {said}",
                code=Code.STORE_DENIED if isinstance(error, PermissionError) else Code.STORE_FAILED,
                hint="Nothing was run. Check the network, the address and the credentials.",
                retryable=not isinstance(error, PermissionError),
            ) from error
