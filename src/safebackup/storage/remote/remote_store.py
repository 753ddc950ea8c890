"""The store contract on any transport: names, retries, deadlines, and what an error means."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote, quote_plus

import tenacity

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, SafeBackupError, StorageError
from safebackup.remotes import shown
from safebackup.storage.names import is_object_name, require_object_name, require_prefix, require_range
from safebackup.storage.remote.connections import Connections, NotAnsweredError
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Connect, Listed, Transport, Trouble
from safebackup.storage.store import OBJECT_BYTES_MAX, ObjectInfo

T = TypeVar("T")

_log = logging.getLogger("safebackup")
_PAUSES = tenacity.wait_random_exponential(multiplier=0.5, max=20)  # seconds
_SAID_MAX = 300
_NEVER_HELPS = "Trying again will not help: read what the store said."
_ANSWERS = {
    Trouble.NO_ROOT: (Code.STORE_MISSING, "Check the name of the bucket or folder; a bucket has to be made first."),
    Trouble.DENIED: (Code.STORE_DENIED, "Check the credentials, and what they may do there."),
    Trouble.FULL: (Code.STORE_FULL, "Free space there; then run the same command again: nothing was lost."),
    Trouble.BEYOND: (Code.SHORT_READ, "Verify the repository: the object may have been cut short."),
    Trouble.REFUSED: (Code.STORE_FAILED, _NEVER_HELPS),
    Trouble.TAKEN: (Code.STORE_FAILED, _NEVER_HELPS),
}


class RemoteStore:
    """A store that is reached through a transport.

    Threads may share it, and after a fork the child connects anew by itself. It is pickled as `reopen`, a function and
    its arguments; without one it is not pickled at all, because credentials are never part of a pickle.
    """

    def __init__(
        self,
        url: str,
        connect: Connect,
        *,
        kind: str,
        limits: Limits,
        secrets: tuple[str, ...] = (),
        reopen: tuple[object, ...] | None = None,
    ) -> None:
        self.kind = kind
        self.limits = limits
        self._url = url
        self._connect = connect
        self._secrets = _forms_of(secrets)
        self._reopen = reopen
        self._connections = Connections(self._connected)
        self._has_answered = False

    def __repr__(self) -> str:
        return f"RemoteStore({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        if self._reopen is None:
            raise ConfigurationError(
                f"{self._url} was opened with credentials, which no pickle may carry",
                hint="Open it again where it is needed, with credentials from the environment or a file there.",
            )
        return self._reopen

    @property
    def url(self) -> str:
        """Where this is, without secrets."""
        return self._url

    def close(self) -> None:
        """Let its connections go; it connects again when it is used."""
        self._connections.close()

    def create_root(self) -> None:
        """Make the root folder, and those that lead to it; a bucket has to be there already."""

        def make(transport: Transport) -> None:
            transport.make_root()
            transport.reach()

        self.operate("creating", make)

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        require_object_name(name)
        if start < 0 or (length is not None and length < 0):
            require_range(name, start, length, 0)
        return self.operate(f"reading {name} in", lambda transport: self._get(transport, name, start, length), name)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`; what has no object's name is no object."""
        require_prefix(prefix)

        def collect(transport: Transport) -> list[ObjectInfo]:
            found = {each.path: each.size_bytes for each in entries_of(transport, prefix[:-1])}
            names = sorted(name for name in found if name.startswith(prefix) and is_object_name(name))
            return [ObjectInfo(name, found[name]) for name in names]

        return self.operate(f"listing {prefix or 'everything'} in", collect)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`."""
        require_object_name(name)
        ours = memoryview(data).cast("B")
        self.operate(f"storing {name} in", lambda transport: self._put(transport, name, ours))

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`."""
        require_object_name(name)

        def remove(transport: Transport) -> None:
            try:
                transport.remove(name)
            except Exception as error:
                if transport.trouble_of(error) is not Trouble.MISSING:
                    raise
                transport.reach()

        self.operate(f"removing {name} in", remove)

    def _get(self, transport: Transport, name: str, start: int, length: int | None) -> bytes:
        if length == 0 or (length or 0) > OBJECT_BYTES_MAX:
            require_range(name, start, length, transport.size(name))
            return b""
        wanted = OBJECT_BYTES_MAX + 1 if length is None else length
        try:
            data = transport.read(name, start, wanted)
        except Exception as error:
            if transport.trouble_of(error) is not Trouble.BEYOND:
                raise
            data = b""
        if len(data) > wanted:
            raise StorageError(f"{name} in {self._url}: {wanted} bytes were asked for, and {len(data)} came")
        if len(data) == length or (length is None and 0 < len(data) <= OBJECT_BYTES_MAX):
            return data
        end = require_range(name, start, length, transport.size(name))
        if len(data) != end - start:
            raise NotAnsweredError(f"{len(data)} bytes came of {end - start}")
        return data

    def _put(self, transport: Transport, name: str, ours: memoryview) -> None:
        if not transport.is_exclusive and self._is_there(transport, name, ours):
            return
        if not _is_published(transport, name, ours):
            # Perhaps by us, if the answer to an earlier attempt was lost.
            self._require_same(transport, name, ours)
        elif not transport.is_proven and self._get(transport, name, 0, None) != ours:
            raise StorageError(
                f"{name} in {self._url} does not hold what was written",
                hint="This kind of store is not proven, and failed. Keep backups elsewhere.",
            )

    def _is_there(self, transport: Transport, name: str, ours: memoryview) -> bool:
        try:
            size = transport.size(name)
        except Exception as error:
            if transport.trouble_of(error) is not Trouble.MISSING:
                raise
            return False
        if size != len(ours):
            raise self._conflict(name)
        self._require_same(transport, name, ours)
        return True

    def _require_same(self, transport: Transport, name: str, ours: memoryview) -> None:
        if self._get(transport, name, 0, None) != ours:
            raise self._conflict(name)

    def _conflict(self, name: str) -> ConflictError:
        return ConflictError(f"{self._url} has other bytes under {name}; they were left as they are")

    def _connected(self) -> Transport:
        try:
            return self._connect()
        except SafeBackupError as error:
            failure = self._cleaned(error)
        except Exception as error:
            failure = NotAnsweredError(self._said(error))
        raise failure

    def operate(self, doing: str, act: Callable[[Transport], T], name: str = "") -> T:
        """Do something, again and again while no answer comes, until the deadline.

        `name` is of the object that may be missing. Without one, that something is missing is no answer.

        Raises:
            NotFoundError: the store answered that there is no such object.
            StorageError: no answer came (`retryable`), or one that trying again does not change.
        """
        limits = self.limits
        seconds = limits.deadline if self._has_answered else min(limits.first_answer, limits.deadline)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(seconds),
            wait=lambda state: min(_PAUSES(state), max(0, seconds - (state.seconds_since_start or 0))),
            retry=tenacity.retry_if_exception_type(NotAnsweredError),
            before_sleep=lambda state: _log.info("%s %s: attempt %d failed", doing, self._url, state.attempt_number),
            reraise=True,
        )
        try:
            result: T = retrying(self._once, doing, act, name)
        except NotAnsweredError as error:
            said = str(error)
        else:
            return result
        raise StorageError(
            f"{doing} {self._url}: no answer ({said})",
            hint="Check the network, the address and the credentials. Trying again is safe.",
            retryable=True,
        )

    def _once(self, doing: str, act: Callable[[Transport], T], name: str) -> T:
        with self._connections.borrowed() as transport:
            try:
                result = act(transport)
            except Exception as error:
                failure = self._failure_of(error, transport, f"{doing} {self._url}", name)
            else:
                self._has_answered = True
                return result
            # Not where the other is caught: libraries put credentials into their errors, so that none of those is
            # kept, not even as a cause or a context.
            raise failure

    def _failure_of(self, error: Exception, transport: Transport, doing: str, name: str) -> Exception:
        if isinstance(error, SafeBackupError | NotAnsweredError):
            return self._cleaned(error)
        trouble = transport.trouble_of(error)
        if trouble is Trouble.MISSING:
            trouble = _behind_missing(transport)
        said = self._said(error)
        if trouble in (Trouble.UNREACHED, Trouble.UNKNOWN) or (trouble is Trouble.MISSING and not name):
            return NotAnsweredError(said)
        self._has_answered = True
        if trouble is Trouble.MISSING:
            return NotFoundError(f"{self._url} has no object {name}")
        code, hint = _ANSWERS[trouble]
        return StorageError(f"{doing}: {said}", code=code, hint=hint)

    def _cleaned(self, error: Exception) -> Exception:
        error.__cause__ = error.__context__ = None
        if isinstance(error, SafeBackupError):
            error.message, error.hint = self._without_secrets(error.message), self._without_secrets(error.hint)
            error.args = (error.message,)
        return error

    def _said(self, error: Exception) -> str:
        """What a library says, on one line. Secrets go first: they may hold white space."""
        said = " ".join(self._without_secrets(str(error)).split())
        return f"{type(error).__name__}: {shown(said)[:_SAID_MAX]}"

    def _without_secrets(self, said: str) -> str:
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said


def entries_of(transport: Transport, folder: str) -> Iterator[Listed]:
    """All entries below a folder; none is an answer only if the root is there."""
    is_empty = True
    try:
        for each in transport.entries(folder):
            is_empty = False
            yield each
    except Exception as error:
        if transport.trouble_of(error) is not Trouble.MISSING:
            raise
        is_whole = is_empty and folder != ""
    else:
        is_whole = True
    if is_empty:
        transport.reach()
    if not is_whole:
        raise NotAnsweredError("something vanished while it was listed")


def _is_published(transport: Transport, name: str, data: memoryview) -> bool:
    try:
        transport.publish(name, data)
    except Exception as error:
        if transport.trouble_of(error) is not Trouble.TAKEN:
            raise
        return False
    return True


def _forms_of(secrets: tuple[str, ...]) -> list[str]:
    """Secrets as libraries may repeat them, the longest first, as one may be a part of another."""
    lines = [line for secret in secrets for line in (secret, *secret.splitlines())]  # a key file has many
    written = {
        form
        for line in lines
        for form in (line, repr(line)[1:-1], json.dumps(line)[1:-1], quote(line, safe=""), quote_plus(line))
    }
    return sorted((form for form in written if form), key=len, reverse=True)


def _behind_missing(transport: Transport) -> Trouble:
    """Whether an object is missing, or the root with it."""
    try:
        transport.reach()
    except Exception as error:
        trouble = transport.trouble_of(error)
        return Trouble.NO_ROOT if trouble is Trouble.MISSING else trouble
    return Trouble.MISSING
