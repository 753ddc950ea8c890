"""A store in this process's memory: the reference for the contract, and what tests write to."""

from __future__ import annotations

import threading

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.storage.names import require_name
from safebackup.storage.store import ObjectInfo

_stores: dict[str, dict[str, bytes]] = {}
_lock = threading.Lock()


def require_object_name(name: str) -> str:
    """`name`, if an object may have it: a valid name outside `tmp/`, where stores keep what is not published yet.

    Raises:
        ConfigurationError: it may not.
    """
    if require_name(name).split("/", 1)[0] == "tmp":
        raise ConfigurationError(f"{name!r} lies in tmp/, which is for temporaries and never listed")
    return name


def require_prefix(prefix: str) -> str:
    """`prefix`, if it is a folder with its `/`, or empty for everything.

    Raises:
        ConfigurationError: it is neither; `packs/a` would mean different things on different stores.
    """
    if prefix and not prefix.endswith("/"):
        raise ConfigurationError(f"{prefix!r} is not a folder of objects: it has to end in '/'")
    if prefix:
        require_object_name(prefix[:-1])
    return prefix


def require_range(name: str, start: int, length: int | None, size: int) -> int:
    """Where the bytes asked for end, in an object of `size` bytes.

    Raises:
        ConfigurationError: a number is negative.
        StorageError: the object is shorter than that.
    """
    if start < 0 or (length is not None and length < 0):
        raise ConfigurationError(f"{name} has no {length} bytes from {start} on: neither number may be negative")
    end = max(start, size) if length is None else start + length
    if end > size:
        raise StorageError(
            f"{name} has {size} bytes, and bytes up to {end} were asked for",
            code=Code.SHORT_READ,
            hint="Verify the repository: the object may have been cut short.",
        )
    return end


class MemoryStore:
    """`memory://name`: every `MemoryStore` of that name in this process sees the same objects.

    Nothing survives the process, and no other process reaches it:
    there, and before `create_root`, every operation raises `StorageError`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @property
    def url(self) -> str:
        """`memory://name`."""
        return f"memory://{self.name}"

    def create_root(self) -> None:
        """Make the store, empty, unless it is there."""
        with _lock:
            _stores.setdefault(self.name, {})

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        require_object_name(name)
        with _lock:
            data = self._objects().get(name)
        if data is None:
            raise NotFoundError(f"{self.url} has no object {name}")
        end = require_range(name, start, length, len(data))
        return data[start:end]

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`."""
        require_prefix(prefix)
        with _lock:
            found = [ObjectInfo(name, len(data)) for name, data in self._objects().items() if name.startswith(prefix)]
        return sorted(found, key=lambda info: info.name)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`; durable means: as long as this process lives."""
        require_object_name(name)
        ours = bytes(data)
        with _lock:
            there = self._objects().setdefault(name, ours)
        if there != ours:
            raise ConflictError(f"{self.url} has other bytes under {name}; they were left as they are")

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`."""
        require_object_name(name)
        with _lock:
            self._objects().pop(name, None)

    def _objects(self) -> dict[str, bytes]:
        try:
            return _stores[self.name]
        except KeyError:
            raise StorageError(
                f"{self.url} does not exist in this process",
                code=Code.STORE_MISSING,
                hint="A memory store must be created first, and lives and dies with the process that created it.",
            ) from None
