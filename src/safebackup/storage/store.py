"""The store contract: bytes by name, in three capabilities.

`ReadStore` ⊂ `AppendStore` ⊂ `DeleteStore`: a backup is given an `AppendStore`, which has no `delete`;
what code cannot call, it cannot lose. The guarantees, numbered for `docs/reference/store-contract.md`:

S1  What `put_new` stored is durable when it returns.
S2  `put_new` never changes what is there.
S3  `list` is complete and fresh, or raises; it is never quietly short.
S4  `get` returns exactly the bytes asked for, or raises.
S5  "Not found" and "cannot reach" are never the same answer.
S6  Names are those of `storage.names`.
S7  No partial object is ever visible.
S8  Nothing hangs: each operation ends within its limits.
S9  Threads share a store; processes, forked or not, see the same objects.
"""

from __future__ import annotations

from typing import Protocol

import attrs

OBJECT_BYTES_MAX = 256 << 20  # no object is larger; what is, is not read into memory whole


@attrs.frozen
class ObjectInfo:
    """The name and the size in bytes of a stored object."""

    name: str
    size_bytes: int


class ReadStore(Protocol):
    """What restoring and verifying may do."""

    @property
    def url(self) -> str:
        """Where this is, without secrets."""
        ...

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes of the object from `start`, or all from `start` on.

        Raises:
            NotFoundError: the store answered that there is no such object.
            StorageError: it could not be read, or holds fewer bytes than asked for (`Code.SHORT_READ`).
            IntegrityError: more than 256 MiB would be read, which no object has.
        """
        ...

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Every object whose name begins with `prefix` (a folder with its `/`), sorted by name.

        An empty list means that the store was reached and has none.

        Raises:
            StorageError: the list may be incomplete.
        """
        ...


class AppendStore(ReadStore, Protocol):
    """What a backup may do: read, and add what is new."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Store `data` under `name`; durable when it returns.

        Storing the same bytes under the same name again does nothing.

        Raises:
            ConflictError: other bytes are there already; they are unchanged.
            StorageError: it is unknown whether the object is there. Trying again is safe.
        """
        ...


class DeleteStore(AppendStore, Protocol):
    """What removal alone may do."""

    def delete(self, name: str) -> None:
        """Remove the object; removing what is not there does nothing.

        Raises:
            StorageError: it is unknown whether the object is still there.
        """
        ...
