"""Azure Blob Storage: a container client of Azure's own, with the address and the credentials that adlfs found."""

from __future__ import annotations

import asyncio
import io
import os
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineRequest
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient, ContainerClient
from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.instants import to_nanoseconds
from safebackup.remotes import bad_url, open_files, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble
from safebackup.storage.store import OBJECT_BYTES_MAX

_CLOSING_SECONDS = 2
_PAGE = 5000
_SLICE_BYTES = 1 << 20
_NOTHING_GIVEN = "either a connection_string or account_name"  # as adlfs says it
_BY_CODE = {
    "BlobNotFound": Trouble.MISSING,
    "ContainerNotFound": Trouble.NO_ROOT,
    "ContainerBeingDeleted": Trouble.NO_ROOT,
    "BlobAlreadyExists": Trouble.TAKEN,
    "ConditionNotMet": Trouble.TAKEN,  # ours: that there is no such object
    "UnauthorizedBlobOverwrite": Trouble.TAKEN,  # said to credentials that may only create
    "PublicAccessNotPermitted": Trouble.DENIED,
    "Md5Mismatch": Trouble.UNREACHED,
    "InvalidRange": Trouble.BEYOND,
}
_BY_STATUS = {401: Trouble.DENIED, 403: Trouble.DENIED, 408: Trouble.UNREACHED, 429: Trouble.UNREACHED}


class AnswerError(Exception):
    """What Azure's client takes for a good answer, or cannot tell apart, and what it means."""

    def __init__(self, trouble: Trouble, said: str) -> None:
        super().__init__(said)
        self.trouble = trouble


class AzureTransport:
    """Objects below a prefix of one container; one request uploads an object, of which Azure takes up to 5,000 MiB.

    Which credentials are used is adlfs's business.
    """

    is_shared = True
    is_exclusive = True
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self._files, path = _connected(url, options)
        container, _, root = path.strip("/").partition("/")
        if "\\" in root or any(part.endswith(".") for part in root.split("/")):
            raise bad_url(
                f"{shown(url)} has a backslash, or a part that ends in a dot",
                hint="Azure reads these as other names: choose another folder.",
            )
        self._below = f"{root}/" if root else ""
        self._limits = limits
        service: Any = self._files.service_client
        self._container = ContainerClient(
            service.url,
            container,
            credential=service.credential,
            retry_total=0,
            connection_timeout=limits.request,
            read_timeout=limits.request,
            max_single_put_size=OBJECT_BYTES_MAX,
            max_single_get_size=OBJECT_BYTES_MAX + 1,
        )
        # A credential that the caller gave is the caller's to close.
        opened = [self._container, *([] if options.get("credential") else [self._files.credential])]
        self._closing = weakref.finalize(self, _close_from_outside, self._files.loop, opened, os.getpid())
        _let_go(self._files)

    def reach(self) -> None:
        """As `Transport.reach`; by a listing, which needs no right that the rest does not need."""
        self._page(self._container.list_blobs(self._below, results_per_page=1).by_page())

    def make_root(self) -> None:
        """Nothing to do: a prefix is there when a blob is below it."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""

        async def download() -> tuple[int, bytes]:
            # As they are stored: what somebody stored as gzip would be unpacked.
            found = await self._blob(path).download_blob(offset=start, length=length, decompress=False)
            return found.size, await found.readall()

        size, data = sync(self._files.loop, download, timeout=self._limits.seconds_for(length))
        if len(data) != size:
            raise AnswerError(Trouble.UNREACHED, f"{len(data)} bytes came, and {size} were announced")
        return bytes(data)

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self.look(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        found = sync(self._files.loop, self._blob(path).get_blob_properties, timeout=self._limits.seconds_for(0))
        if _is_folder(found):
            raise AnswerError(Trouble.MISSING, f"{path} is a folder")
        return self._listed(found)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`; Azure compares the bytes with the checksum before the blob appears."""
        try:
            stored = sync(
                self._files.loop,
                self._blob(path).upload_blob,
                io.BytesIO(data),
                length=len(data),
                overwrite=False,
                validate_content=True,
                raw_request_hook=in_slices,
                timeout=self._limits.seconds_for(len(data)),
            )
        except HttpResponseError as error:
            # Credentials that may create and not replace are told of a right that they lack.
            if error.status_code == 403 and self._has(path):
                raise AnswerError(Trouble.TAKEN, f"{path} is there already") from error
            raise
        if not stored.get("content_md5"):  # the client has compared it, if there is one
            raise AnswerError(Trouble.UNKNOWN, f"{path} was stored, and its checksum was not told")

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`."""
        below = f"{self._below}{folder}/" if folder else self._below
        # Only the metadata say what is a folder.
        pages = self._container.list_blobs(below, include=["metadata"], results_per_page=_PAGE).by_page()
        while (page := self._page(pages)) is not None:
            for found in page:
                if not found.name.startswith(below):
                    raise AnswerError(Trouble.UNKNOWN, f"{below!r} was to be listed, and {found.name!r} was")
                if not _is_folder(found) and found.name != below:
                    yield self._listed(found)

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        sync(self._files.loop, self._blob(path).delete_blob, timeout=self._limits.seconds_for(0))

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, AnswerError):
            return error.trouble
        if isinstance(error, FSTimeoutError | ServiceRequestError | ServiceResponseError):
            return Trouble.UNREACHED
        if not isinstance(error, HttpResponseError):
            return Trouble.UNKNOWN
        code = getattr(error, "error_code", None)
        meant = _BY_CODE.get(getattr(code, "value", code) or "") or _BY_STATUS.get(error.status_code or 0)
        if meant is not None:
            return meant
        if isinstance(error, ClientAuthenticationError):  # without an answer: there was nothing to sign it with
            return Trouble.DENIED
        status = error.status_code or 0
        if status >= 500:
            return Trouble.UNREACHED
        # 404 without a code that is known may be anybody's answer, such as that of something on the way.
        return Trouble.REFUSED if status >= 400 and status != 404 else Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._closing()

    def _has(self, path: str) -> bool:
        try:
            self.look(path)
        except Exception:
            return False
        return True

    def _blob(self, path: str) -> BlobClient:
        return self._container.get_blob_client(self._below + path)

    def _page(self, pages: AsyncIterator[Any]) -> list[BlobProperties] | None:
        """The next page of a listing; None after the last."""

        async def turn() -> list[BlobProperties] | None:
            page = await anext(pages, None)
            return None if page is None else [found async for found in page]

        found: list[BlobProperties] | None = sync(self._files.loop, turn, timeout=self._limits.seconds_for(0))
        return found

    def _listed(self, found: BlobProperties) -> Listed:
        # Quoted or not, depending on the request that it comes from.
        tag = (found.etag or "").strip('"')
        return Listed(found.name.removeprefix(self._below), found.size, tag, to_nanoseconds(found.last_modified))


def _connected(url: str, options: dict[str, object]) -> tuple[Any, str]:
    try:
        return open_files(url, options)
    except ConfigurationError as error:
        if _NOTHING_GIVEN not in error.message:
            raise
    raise StorageError(
        f"{shown(url)}: no account and no credentials for it were found",
        code=Code.STORE_DENIED,
        hint="Set AZURE_STORAGE_CONNECTION_STRING, or give the storage options account_name and account_key, or "
        "credential.",
    )


def _is_folder(found: BlobProperties) -> bool:
    return (found.metadata or {}).get("hdi_isfolder") == "true"


class _InSlices:
    """Bytes that a request can send as often as it has to, such as after it was asked for other credentials."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self._data), _SLICE_BYTES):
            yield self._data[start : start + _SLICE_BYTES]


def in_slices(request: PipelineRequest[Any]) -> None:
    """Let a request carry its body piece by piece; a hook for Azure's clients."""
    # aiohttp warns of more than a MiB of bytes, which it would hand to the socket in one piece.
    if request.http_request.data:
        request.http_request.data = _InSlices(request.http_request.data)


def _let_go(files: Any) -> None:
    """Let adlfs's file system be freed, and a process end that was forked.

    adlfs keeps all of them until the end, and then waits for a thread that such a process does not have.
    """
    for pending in list(getattr(weakref.finalize, "_registry", ())):
        alive = pending.peek()
        if alive is not None and alive[0] is files:
            pending.detach()


async def _close(opened: list[Any]) -> None:
    for each in opened:
        if hasattr(each, "close"):
            await each.close()


def _close_from_outside(loop: asyncio.AbstractEventLoop, opened: list[Any], process: int) -> None:
    if process != os.getpid() or not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(_close(opened), loop)
    try:
        asyncio.get_running_loop()  # freed by the loop's own thread, which must not wait for itself
    except RuntimeError:
        with suppress(Exception):
            closing.result(timeout=_CLOSING_SECONDS)
