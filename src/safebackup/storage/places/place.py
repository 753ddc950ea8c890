"""From a URL to a place: what it can be asked for, whoever serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from safebackup.storage.places.listing import Listing, RemoteFile
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.reaching import is_proven, remote_store


class OpenFile(Protocol):
    """A file that is being read; close it."""

    def read(self, start: int, length: int) -> bytes:
        """Up to `length` (> 0) bytes from `start`; fewer only where the file ends.

        Raises:
            NotFoundError: it is gone.
            StorageError: it could not be read; `retryable` if nothing else there can be either.
        """
        ...

    def close(self) -> None:
        """Let go of it; never raises."""
        ...


class Place(Protocol):
    """A URL as a folder of files, or as one file, which is then called `file_name`.

    `where` is for people, without secrets. `readers` threads may read at once, and `reads_ahead` of them the same
    file; if that is 1, one reads it in order. `has_content_tags` where a tag never stays when the content changes.
    """

    where: str
    file_name: str
    readers: int
    reads_ahead: int
    has_content_tags: bool

    def listing(self) -> Listing:
        """Everything that is there, complete; the caller closes it.

        Raises:
            NotFoundError: the place itself is not there.
            StorageError: the listing may be incomplete.
        """
        ...

    def look(self, path: str) -> RemoteFile:
        """A file as it is now; raises as reading does."""
        ...

    def open(self, path: str, size_bytes: int | None) -> OpenFile:
        """A file to be read, of which a listing said this size; raises as reading does."""
        ...

    def close(self) -> None:
        """Let the connections go."""
        ...


def open_place(url: str, storage_options: Mapping[str, object] | None = None, *, limits: Limits | None = None) -> Place:
    """The place at any URL that fsspec knows, also one that can only be read, such as https:// or zip://a.zip.

    Raises:
        ConfigurationError: the URL or the options make no sense, or a package for them is not installed.
        NotFoundError: there is nothing.
        StorageError: the server could not be reached.
    """
    if is_proven(url):
        from safebackup.storage.places.proven import ProvenPlace

        return ProvenPlace(remote_store(url, storage_options, limits=limits), url)
    from safebackup.storage.places.generic import GenericPlace

    return GenericPlace.reach(url, storage_options)
