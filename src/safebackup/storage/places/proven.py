"""A place on a proven kind of store, reached through its transport."""

from __future__ import annotations

import attrs

from safebackup.errors import Code, NotFoundError, StorageError
from safebackup.storage.places.listing import Listing, RemoteFile, tag_of
from safebackup.storage.remote.remote_store import RemoteStore, entries_of
from safebackup.storage.remote.transport import Transport, Trouble

# Where a tag is a hash of the content, or a number that no second version gets.
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl")


class ProvenPlace:
    """A folder of a store that was proven; a URL of one object alone is taken for an empty folder."""

    file_name = ""
    readers = 8
    reads_ahead = 4

    def __init__(self, store: RemoteStore, url: str) -> None:
        self.where = store.url
        self.has_content_tags = url.split("://", 1)[0].lower() in _OBJECT_STORES
        self._store = store

    def listing(self) -> Listing:
        """As `Place.listing`."""
        return listing_of(self._store)

    def look(self, path: str) -> RemoteFile:
        """As `Place.look`."""
        found = self._store.operate(f"looking at {path} in", lambda transport: transport.look(path), path)
        return RemoteFile(found.path, found.size_bytes, tag_of(found.tag), found.modified)

    def open(self, path: str, size_bytes: int | None) -> _OpenObject:
        """As `Place.open`; asks nothing yet."""
        return _OpenObject(self._store, path)

    def close(self) -> None:
        """As `Place.close`."""
        self._store.close()


@attrs.frozen
class _OpenObject:
    store: RemoteStore
    path: str

    def read(self, start: int, length: int) -> bytes:
        """As `OpenFile.read`."""
        return self.store.operate(
            f"reading {self.path} in", lambda transport: self._read(transport, start, length), self.path
        )

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, transport: Transport, start: int, length: int) -> bytes:
        try:
            return transport.read(self.path, start, length)
        except Exception as error:
            if transport.trouble_of(error) is not Trouble.BEYOND:
                raise
            return b""  # it is shorter now than it was listed


def listing_of(store: RemoteStore) -> Listing:
    """Everything below the root of a store, whatever its name.

    Raises:
        NotFoundError: the root is not there.
        StorageError: the listing may be incomplete.
    """

    def collect(transport: Transport) -> Listing:
        listing = Listing()
        try:
            for each in entries_of(transport, ""):
                listing.add(each.path, each.size_bytes, each.tag, each.modified)
        except BaseException:
            listing.close()
            raise
        return listing

    try:
        return store.operate("listing everything in", collect)
    except StorageError as error:
        if error.code is not Code.STORE_MISSING:
            raise
        raise NotFoundError(f"{store.url} does not exist", code=Code.NO_SOURCE, hint=error.hint) from error
