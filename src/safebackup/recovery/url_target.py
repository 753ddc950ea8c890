"""A URL as the target of a restore: files become objects, each of which appears whole.

An object store, or a file server, is given a whole file at once; a large one is put together on this machine first.
What only a folder on a disk can hold is counted, and told as one finding for each kind.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from safebackup.errors import Code, ConflictError, NotFoundError, RefusedError, StorageError
from safebackup.recovery.target import Overwrite
from safebackup.remotes import Remote
from safebackup.storage.places import Listing
from safebackup.storage.places.proven import listing_of
from safebackup.storage.remote.reaching import remote_store
from safebackup.storage.remote.remote_store import RemoteStore, entries_of
from safebackup.storage.remote.transport import Transport, Trouble

# By the package of fsspec's class: where nobody makes buckets, and where a file from this size on is sent in parts, of
# which nothing shows before the last has come. Google takes it in one stream.
_OBJECT_STORES = ("s3fs", "gcsfs", "adlfs")
_TAKES_PARTS = ("s3fs", "adlfs")
IN_PARTS_BYTES = 16 << 20
_PART_BYTES = 8 << 20
_PARTS_MAX = 9_000
_AT_ONCE = 2


class UrlTarget:
    """A URL that is restored to; threads may share it. Close it."""

    def __init__(self, url: str, storage_options: Mapping[str, object] | None) -> None:
        self._store: RemoteStore = remote_store(url, storage_options, allow_unproven=True)
        self._url = url
        self._options = storage_options
        self._package = self._store.kind.partition(".")[0]
        self.where = self._store.url

    def require(self, overwrite: Overwrite) -> None:
        """Check that it answers, and is empty unless it need not be; makes nothing.

        Raises:
            RefusedError: it holds something and `overwrite` is REFUSE.
            StorageError: it cannot be reached.
        """
        try:
            found = self._store.operate("listing", lambda transport: next(entries_of(transport, ""), None))
        except StorageError as error:
            if error.code is not Code.STORE_MISSING or self._package in _OBJECT_STORES:  # a bucket is never made
                raise
            return
        if found is not None and overwrite is Overwrite.REFUSE:
            raise RefusedError(
                f"the target {self.where} is not empty: it holds {found.path!r}, for instance",
                code=Code.TARGET_NOT_EMPTY,
                hint="Restore to a new name. To complete an interrupted restore, keep what is there "
                '(overwrite="keep").',
            )

    def create(self) -> None:
        """Make the folder where the server has folders."""
        self._store.create_root()

    def size_of(self, name: str) -> int | None:
        """The size of what is there under a name; None if nothing is."""
        try:
            return self._store.operate(f"looking at {name} in", lambda transport: transport.size(name), name)
        except NotFoundError:
            return None

    def put(self, name: str, data: memoryview, *, replace: bool) -> None:
        """Let a file appear under a name.

        Raises:
            ConflictError: another one is there, which is not to be replaced.
            StorageError: it may or may not be there.
        """
        self._store.operate(f"writing {name} to", lambda transport: _put(transport, name, data, replace))

    def put_file(self, name: str, file: int, size_bytes: int, path: str, *, replace: bool) -> None:
        """The same for an open file of this size that also has a path."""
        if size_bytes > IN_PARTS_BYTES and self._package in _TAKES_PARTS:
            self._put_in_parts(name, size_bytes, path, replace=replace)
            return
        with mmap.mmap(file, size_bytes, access=mmap.ACCESS_READ) as content:
            view = memoryview(content)
            try:
                self.put(name, view, replace=replace)
            finally:
                with suppress(BufferError):  # whoever failed with it may still hold it
                    view.release()

    def listing(self) -> Listing:
        """Everything that is there now."""
        return listing_of(self._store)

    def close(self) -> None:
        """Let the connections go."""
        self._store.close()

    def _put_in_parts(self, name: str, size_bytes: int, path: str, *, replace: bool) -> None:
        if not replace and self.size_of(name) is not None:
            raise ConflictError(f"{self.where} has something under {name}; it was left as it is")
        options: dict[str, object] = {"max_concurrency": _AT_ONCE}
        if self._package == "s3fs":
            options["chunksize"] = max(_PART_BYTES, -(-size_bytes // _PARTS_MAX))
        else:
            from safebackup.storage.remote.azure import in_slices

            options["raw_request_hook"] = in_slices
        remote = Remote.reach(self._url, _with_few_tries(self._package, self._options or {}))
        with remote.failing(f"writing {name} to"):
            remote.files.put_file(path, f"{remote.path.rstrip('/')}/{name}", **options)
        if (found := self.size_of(name)) != size_bytes:
            raise StorageError(
                f"{self.where}: {size_bytes:,} bytes were written to {name}, and {found} are there", retryable=True
            )


def _with_few_tries(package: str, options: Mapping[str, object]) -> dict[str, object]:
    """Storage options with which a server that is gone is noticed within minutes, and one that is no AWS is spared."""
    given = options.get("config_kwargs") or {}
    if package != "s3fs" or not isinstance(given, Mapping):
        return dict(options)
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    has_endpoint = any(name in os.environ for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    is_elsewhere = has_endpoint or "endpoint_url" in str(options)
    config = {"retries": {"total_max_attempts": 2}, **(checksums if is_elsewhere else {}), **given}
    ours = {"client"}  # which chooses a transport, and which fsspec does not know
    return {**{name: value for name, value in options.items() if name not in ours}, "config_kwargs": config}


def _put(transport: Transport, name: str, data: memoryview, replace: bool) -> None:
    if not replace and not transport.is_exclusive and _is_there(transport, name, data):
        return
    try:
        transport.publish(name, data)
    except Exception as error:
        if transport.trouble_of(error) is not Trouble.TAKEN:
            raise
        # Perhaps by us, if the answer to an earlier attempt was lost.
        if not _is_there(transport, name, data, may_differ=replace):
            transport.remove(name)
            transport.publish(name, data)
    if not transport.is_proven and transport.read(name, 0, len(data) + 1) != data:
        raise StorageError(f"{name} does not hold what was written", hint="Restore to another kind of store.")


def _is_there(transport: Transport, name: str, data: memoryview, *, may_differ: bool = False) -> bool:
    """Whether these very bytes are there; other ones are a conflict, unless they may be replaced."""
    try:
        is_same = transport.size(name) == len(data) and (not data or transport.read(name, 0, len(data)) == data)
    except Exception as error:
        if transport.trouble_of(error) is not Trouble.MISSING:
            raise
        return False
    if not is_same and not may_differ:
        raise ConflictError(f"something else is there under {name}; it was left as it is")
    return is_same


class Spool:
    """A private temporary file, in which a large file is put together; close it."""

    def __init__(self, size_bytes: int) -> None:
        try:
            self._file = tempfile.NamedTemporaryFile(prefix="safebackup-")  # noqa: SIM115 - closed by `close`
            self.fd, self.path = self._file.fileno(), self._file.name
            os.ftruncate(self.fd, size_bytes)
        except OSError as error:
            raise spool_failed(error) from error

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at `offset`."""
        view = memoryview(data).cast("B")
        try:
            while view:
                written = os.pwrite(self.fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise spool_failed(error) from error

    def close(self) -> None:
        """Remove it."""
        self._file.close()


def spool_failed(error: OSError) -> StorageError:
    """The error for a temporary file that cannot be written."""
    failed = StorageError.from_os(f"putting a large file together in {tempfile.gettempdir()}", error)
    if failed.code is Code.STORE_FULL:
        failed.hint = "Set TMPDIR to a folder with room for the largest file; then restore again."
    return failed
