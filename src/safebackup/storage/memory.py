"""A store in this process's memory: the reference for the contract, and what tests write to."""

from __future__ import annotations

import threading

from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.storage.names import require_object_name, require_prefix, require_range
from safebackup.storage.store import ObjectInfo

_stores: dict[str, dict[str, bytes]] = {}
_lock = threading.Lock()


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
