"""The pipeline for files below a URL: as for local ones, except that they are fetched, several at once, ahead of time.

What is fetched and not yet used is bounded. A file is looked at again after it was read; if it is another one by then,
it is read again, and in the end kept with a mark.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import attrs

from safebackup.backup.merging import EntrySink, Previous
from safebackup.backup.pipeline import Item, LargeRead, Pipeline
from safebackup.backup.scanning import Found
from safebackup.backup.source import Evidence
from safebackup.backup.url_scanning import status_of
from safebackup.clock import Clock
from safebackup.errors import Code, NotFoundError, StorageError
from safebackup.events import Progress
from safebackup.findings import Finding, Severity, printable
from safebackup.format.chunking import Chunker
from safebackup.format.manifest import EntryKind
from safebackup.repository.writing import Writer
from safebackup.storage.places import OpenFile, Place, RemoteFile

RANGE_BYTES = 4 << 20  # of a large file, at once
_AHEAD_BYTES_MAX = 16 << 20
_AHEAD_FILES_MAX = 64
_SMALL_TRIES = 3
_LARGE_TRIES = 2
_ENDLESS = 1 << 62
# Without tags a change within one tick of a server's clock shows nothing, and that clock may be an hour off.
_YOUNG_NANOSECONDS = 3600 * 1_000_000_000


class ObjectPipeline(Pipeline):
    """Turns what a `UrlScan` finds into entries; close it."""

    def __init__(
        self,
        place: Place,
        writer: Writer,
        builder: EntrySink,
        previous: Previous,
        *,
        chunker: Chunker,
        clock: Clock,
        report: Callable[[Finding], None],
        callback: Progress,
        lost: frozenset[bytes] = frozenset(),
    ) -> None:
        super().__init__(
            writer,
            builder,
            previous,
            chunker=chunker,
            evidence=Evidence.INODE_CTIME,  # where the inode number is, a tag stands
            clock=clock,
            report=report,
            callback=callback,
            lost=lost,
        )
        self._place = place
        self._readers = ThreadPoolExecutor(place.readers, thread_name_prefix="safebackup-read")
        self._ahead: deque[_Coming] = deque()
        self._ahead_bytes = 0

    def finish(self) -> None:
        """Wait for everything under way."""
        while self._ahead:
            self._take_next()
        super().finish()

    def close(self) -> None:
        """Let the readers go; what they have begun ends by itself, or at its time limit."""
        for coming in self._ahead:
            coming.cancel()
        self._readers.shutdown(wait=True, cancel_futures=True)

    def _is_young(self, item: Item, status: os.stat_result) -> bool:
        if stat.S_ISDIR(status.st_mode) or (status.st_ino and self._place.has_content_tags):
            return False
        if not status.st_mtime_ns:
            return not status.st_ino  # nothing tells, ever
        return status.st_mtime_ns > item.asked - _YOUNG_NANOSECONDS

    def _settle_other(self, item: Item) -> None:
        self._settle(item, item.found.status, EntryKind.DIRECTORY)

    def _take_file(self, item: Item) -> None:
        file = _file_of(item.found)
        size = file.size_bytes
        coming = _Coming(item, file, RANGE_BYTES if size is None else min(size, RANGE_BYTES))
        if size is not None and size <= self._chunker.bytes_min:
            coming.small = self._readers.submit(_read_small, self._place, file, self._chunker.bytes_min)
        else:
            coming.large = _Ranges(self._readers, self._place, file)
        self._ahead.append(coming)
        self._ahead_bytes += coming.size_bytes
        while self._ahead_bytes > _AHEAD_BYTES_MAX or len(self._ahead) > _AHEAD_FILES_MAX:
            self._take_next()

    def _harvest(self) -> None:
        # Where the queue waits for a file that is still being fetched, there may be no job to wait for.
        if self._jobs or not self._ahead:
            super()._harvest()
        else:
            self._take_next()

    def _take_next(self) -> None:
        """Use what was fetched first; never called while another file is being cut."""
        coming = self._ahead.popleft()
        self._ahead_bytes -= coming.size_bytes
        item = coming.item
        try:
            if coming.small is not None:
                self._take_small(item, coming.small.result())
            elif coming.large is not None:
                self._store_object(item, coming.file, coming.large)
        except NotFoundError as error:
            self._drop(item, OSError(errno.ENOENT, error.message))
        except StorageError as error:
            if error.retryable or error.code is Code.STORE_MISSING:
                raise
            self._unreadable(item, error)
        finally:
            coming.cancel()

    def _take_small(self, item: Item, got: _Small) -> None:
        if got.data is None:
            self._store_object(item, got.file, _Ranges(self._readers, self._place, got.file))
            return
        item.torn = got.torn
        extents = [(self._writer.put_data(got.data), len(got.data))] if got.data else []
        self._settle_file(item, _status_of(item, got.file), extents)

    def _store_object(self, item: Item, file: RemoteFile, ranges: _Ranges) -> None:
        tries = 0
        while True:
            tries += 1
            item.reading = reading = LargeRead()
            length = _ENDLESS if file.size_bytes is None else file.size_bytes
            try:
                size = self._read_run(item, reading, ranges.fill, 0, length)
                now = self._readers.submit(self._place.look, file.path).result()
            except StorageError as error:
                if error.retryable or tries == _LARGE_TRIES:
                    raise
                now, size = file, -1
            finally:
                ranges.close()
            same = now.size_bytes in (size, None) and now.is_like(file)
            if tries == _LARGE_TRIES and not same and now.is_like(file):
                raise _short(file, size)
            if size >= 0 and (same or tries == _LARGE_TRIES):
                item.torn = not same
                break
            file, ranges = now, _Ranges(self._readers, self._place, now)
        item.status = _status_of(item, file)
        self._piece_done(item, reading)

    def _unreadable(self, item: Item, error: StorageError) -> None:
        item.dropped = True
        subject = printable(item.found.path)
        self._report(
            Finding(
                code=Code.PATH_UNREADABLE,
                severity=Severity.ERROR,
                what=f'"{subject}" could not be read: {error.message}',
                action="Let the user of the backup read it, or exclude it on purpose; then back up again.",
                subject=subject,
            )
        )


@attrs.define(eq=False)
class _Coming:
    """A file that is being fetched."""

    item: Item
    file: RemoteFile
    size_bytes: int
    small: Future[_Small] | None = None
    large: _Ranges | None = None

    def cancel(self) -> None:
        """Fetch no more of it."""
        if self.small is not None:
            self.small.cancel()
        if self.large is not None:
            self.large.close()


@attrs.frozen(eq=False)
class _Small:
    """A small file as it was read, and what it was before that; without data if it is no longer small."""

    data: bytes | None
    file: RemoteFile
    torn: bool = False


def _read_small(place: Place, file: RemoteFile, most: int) -> _Small:
    """Read a file until it is the same before and after; for workers."""
    tries = 0
    while True:
        tries += 1
        try:
            data = _whole(place, file)
            now = place.look(file.path)
        except StorageError as error:
            if error.retryable or tries == _SMALL_TRIES:
                raise
            continue
        same = now.size_bytes in (len(data), None) and now.is_like(file)
        if tries == _SMALL_TRIES and not same and now.is_like(file):
            raise _short(file, len(data))
        if same or tries == _SMALL_TRIES:
            return _Small(data, file, torn=not same)
        if now.size_bytes is None or now.size_bytes > most:
            return _Small(None, now)
        file = now


def _whole(place: Place, file: RemoteFile) -> bytes:
    if not file.size_bytes:
        return b""
    opened = place.open(file.path, file.size_bytes)
    try:
        return opened.read(0, file.size_bytes)
    finally:
        opened.close()


class _Ranges:
    """A large file, read in ranges of which the next ones are under way already; close it."""

    def __init__(self, readers: ThreadPoolExecutor, place: Place, file: RemoteFile) -> None:
        self._readers = readers
        self._place = place
        self._file = file
        self._opened: OpenFile | None = None
        self._piece = memoryview(b"")
        self._next = 0
        self._is_closed = False
        self._pending: deque[Future[bytes]] = deque()
        self._begin_next()

    def fill(self, view: memoryview, _offset: int) -> int:
        """Put the next bytes into the view; 0 at the end."""
        if not self._piece:
            if not self._pending:
                return 0
            data = self._pending.popleft().result()
            if len(data) < RANGE_BYTES:  # the end, whatever its size was said to be
                self._stop()
            while len(self._pending) < self._place.reads_ahead and self._begin_next():
                pass
            self._piece = memoryview(data)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        """Let go of the file."""
        self._stop()
        self._is_closed = True
        if self._opened is not None:
            self._opened.close()

    def _stop(self) -> None:
        self._next = _ENDLESS
        for future in self._pending:
            future.cancel()
        self._pending.clear()

    def _begin_next(self) -> bool:
        size = self._file.size_bytes
        if self._next >= (_ENDLESS if size is None else size):
            return False
        length = RANGE_BYTES if size is None else min(RANGE_BYTES, size - self._next)
        self._pending.append(self._readers.submit(self._read, self._next, length))
        self._next += RANGE_BYTES
        return True

    def _read(self, start: int, length: int) -> bytes:
        if self._is_closed:
            return b""
        if self._opened is None:
            self._opened = self._place.open(self._file.path, self._file.size_bytes)
        return self._opened.read(start, length)


def _short(file: RemoteFile, size: int) -> StorageError:
    """The error for a file that has not changed, and of which not all came."""
    return StorageError(f"{size:,} bytes of {file.path} came, and it has {file.size_bytes:,}", code=Code.SHORT_READ)


def _file_of(found: Found) -> RemoteFile:
    status = found.status
    size = status.st_size if status.st_size >= 0 else None
    path = found.absolute.decode("utf-8", "surrogateescape")
    return RemoteFile(path, size, status.st_ino, status.st_mtime_ns or None)


def _status_of(item: Item, file: RemoteFile) -> os.stat_result:
    """What was known of it before it was read: what changes afterwards shows next time."""
    status = item.found.status
    return status_of(file, status.st_mode, (status.st_uid, status.st_gid), file.size_bytes or 0)
