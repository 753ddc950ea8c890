"""Bytes that change behind everybody's back. The stores that fail are in `safebackup.testing`."""

from __future__ import annotations

from pathlib import Path

from safebackup.storage import DeleteStore, LocalStore, MemoryStore, memory


def tampered(store: DeleteStore, name: str, data: bytes) -> None:
    """Put `data` in the place of the object, or where none is, as damage or an intruder would: behind the contract."""
    if isinstance(store, LocalStore):
        path = Path(store.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    elif isinstance(store, MemoryStore):
        memory._stores[store.name][name] = data
    else:
        raise TypeError(f"give the store itself, not {type(store).__name__}")
