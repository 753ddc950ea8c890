"""Rereading: restored files, read back from the disk, cut as their manifest says, and hashed anew."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import attrs

from safebackup.errors import IntegrityError
from safebackup.events import Progress
from safebackup.format.header import FRAME_BYTES_MAX
from safebackup.format.ids import ChunkIds
from safebackup.format.manifest import Entry
from safebackup.repository.manifests import Manifests

_SMALL_BYTES = 256 << 10  # smaller files are read without a second thread
_PIECE_BYTES = 1 << 20
_FILES_AHEAD = 32


@attrs.frozen
class OpenFile:
    """An open file to be read, and what is known to be wrong with its path so far."""

    entry: Entry
    handle: int
    wrong: list[str]
    metadata: list[str]


Tell = Callable[[bytes, list[str], list[str]], None]


class Contents:
    """Reads files back and hashes them: small ones at once, large ones by workers while the caller goes on."""

    def __init__(self, manifests: Manifests, pool: ThreadPoolExecutor, callback: Progress) -> None:
        self._manifests = manifests
        self._ids: ChunkIds = manifests.reader.ids
        self._pool = pool
        self._callback = callback
        self._pending: deque[tuple[OpenFile, Future[str]]] = deque()
        self._local = threading.local()

    def take(self, content: OpenFile, tell: Tell) -> None:
        """Read a file, now or soon; its handle is closed in any case."""
        if content.entry.size <= _SMALL_BYTES:
            self._settle(content, self._read(content), tell)
            return
        self._pending.append((content, self._pool.submit(self._read, content)))
        while len(self._pending) >= _FILES_AHEAD:
            self._settle_next(tell)

    def finish(self, tell: Tell) -> None:
        """Wait for the rest."""
        while self._pending:
            self._settle_next(tell)

    def close(self) -> None:
        """Let go of what was not read."""
        for content, future in self._pending:
            if future.cancel():
                os.close(content.handle)

    def _settle_next(self, tell: Tell) -> None:
        content, future = self._pending.popleft()
        self._settle(content, future.result(), tell)

    def _settle(self, content: OpenFile, problem: str, tell: Tell) -> None:
        tell(content.entry.path, content.wrong + ([problem] if problem else []), content.metadata)
        self._callback.relative_update(content.entry.size)

    def _read(self, content: OpenFile) -> str:
        """What is wrong with the bytes of a file, "" if nothing is."""
        try:
            os.posix_fadvise(content.handle, 0, 0, os.POSIX_FADV_DONTNEED)  # the restore has synced: read the disk
            offset = 0
            for chunk, length in self._manifests.extents(content.entry):
                is_right = (
                    self._is_zero(content.handle, offset, length)
                    if chunk is None
                    else self._is_chunk(content.handle, offset, length, chunk)
                )
                if not is_right:
                    return f"has other content between byte {offset:,} and byte {offset + length:,}"
                offset += length
        except IntegrityError as problem:
            return f"cannot be compared: {problem.message} ({problem.code})"
        finally:
            os.close(content.handle)
        return ""

    def _is_chunk(self, handle: int, offset: int, length: int, chunk: bytes) -> bool:
        if length > FRAME_BYTES_MAX:
            return False  # no such chunk can be stored, and none may take that much memory
        data = self._bytes_at(handle, offset, length)
        return len(data) == length and self._ids.data(data) == chunk

    def _is_zero(self, handle: int, offset: int, length: int) -> bool:
        """Whether a stretch reads as zeros; what the file system knows to be a hole need not be read."""
        end = offset + length
        while offset < end:
            try:
                offset = os.lseek(handle, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return True  # nothing but a hole from here to the end of the file
                if error.errno != errno.EINVAL:
                    raise
            if offset >= end:
                break
            data = self._bytes_at(handle, offset, min(end - offset, _PIECE_BYTES))
            if not data or bytes(data) != bytes(len(data)):
                return False
            offset += len(data)
        return True

    def _bytes_at(self, handle: int, offset: int, length: int) -> memoryview:
        """What the file holds there, in a buffer that the same thread uses again; shorter at the file's end."""
        buffer: bytearray | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < length:
            buffer = self._local.buffer = bytearray(max(length, _SMALL_BYTES))
        view, got = memoryview(buffer)[:length], 0
        while got < length and (count := os.preadv(handle, [view[got:]], offset + got)):
            got += count
        return view[:got]
