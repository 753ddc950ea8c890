"""Stores behind a network: one transport for each class of file system that fsspec knows, and one store on top."""

from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.remote_store import RemoteStore
from safebackup.storage.remote.transport import Listed, Transport, Trouble

__all__ = ["Limits", "Listed", "RemoteStore", "Transport", "Trouble"]
