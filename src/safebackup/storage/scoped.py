"""A store that can touch one folder and nothing else."""

from __future__ import annotations

import attrs

from safebackup.errors import ConfigurationError, RefusedError
from safebackup.storage.store import DeleteStore, ObjectInfo


@attrs.frozen
class ScopedStore:
    """`store`, limited to the names that begin with `prefix`; names stay whole.

    For what has to delete something but never data: key slots, for instance, are given `keys/`.
    Any other name raises `RefusedError` before the store hears of it.
    """

    store: DeleteStore
    prefix: str = attrs.field()

    @prefix.validator
    def _check_prefix(self, _attribute: object, prefix: str) -> None:
        # Without its "/", "keys" would also reach "keys-old/".
        if len(prefix) < 2 or not prefix.endswith("/"):
            raise ConfigurationError(f"{prefix!r} is not a folder of objects, such as 'keys/'")

    @property
    def url(self) -> str:
        """Where the whole store is, without secrets."""
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ReadStore.get`."""
        return self.store.get(self._inside(name), start=start, length=length)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """As `ReadStore.list`."""
        return self.store.list(self._inside(prefix))

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """As `AppendStore.put_new`."""
        self.store.put_new(self._inside(name), data)

    def delete(self, name: str) -> None:
        """As `DeleteStore.delete`."""
        self.store.delete(self._inside(name))

    def _inside(self, name: str) -> str:
        if not name.startswith(self.prefix):
            raise RefusedError(
                f"{name!r} lies outside {self.prefix!r}, and nothing else may be touched here",
                hint="This is a bug in the caller: please report it.",
            )
        return name
