"""Where bytes live: the store contract, and the stores that keep it."""

from safebackup.storage.local import LocalStore
from safebackup.storage.memory import MemoryStore
from safebackup.storage.opening import open_store
from safebackup.storage.store import AppendStore, DeleteStore, ObjectInfo, ReadStore

__all__ = [
    "AppendStore",
    "DeleteStore",
    "LocalStore",
    "MemoryStore",
    "ObjectInfo",
    "ReadStore",
    "open_store",
]
