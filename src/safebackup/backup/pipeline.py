"""The pipeline: scan → compare → read → cut → hash → compress → pack, overlapping, in bounded memory.

The run's own thread scans, compares with the parent, reads, and keeps everything in manifest order. It alone reads
small files: a few short system calls each, for which several threads would only wait for the interpreter's lock.
Workers do what takes long and lets that lock go: hashing and compressing about 1 MiB at a time, sealing, checking
and storing packs. What is under way is bounded; results are taken in the order in which they were asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from safebackup.backup.merging import EntrySink, Known, Previous
from safebackup.backup.metadata import HardLinks, data_extents, may_have_holes, read_target, read_xattrs
from safebackup.backup.reading import GONE, BecameLargeError, open_file, read_whole, unchanged
from safebackup.backup.scanning import Found
from safebackup.backup.source import Evidence
from safebackup.clock import Clock
from safebackup.errors import Code, InternalError
from safebackup.events import Progress
from safebackup.findings import Finding, Severity, printable
from safebackup.format.chunking import Chunker
from safebackup.format.manifest import TORN, Entry, EntryKind, Extent, pack_content, time_to_stored
from safebackup.format.pack import EncodedFrame
from safebackup.repository.writing import FRAME_BYTES, SMALL_BYTES_MAX, Writer, fresh_memory
from safebackup.streaming import Fill

T = TypeVar("T")
_Read = Callable[[memoryview, int], int]  # into the view, from this offset on; how many bytes, 0 at the end
YOUNG_NANOSECONDS = 2_000_000_000
_QUEUE_MAX = 2048
_WINDOW_BYTES = 8 << 20
_WINDOWS_MAX = 2
_LARGE_TRIES = 2
_ENDLESS = 1 << 62
_SPARSE_BYTES_MIN = 64 << 10  # below, looking for holes costs more than they do

_KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFCHR: EntryKind.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryKind.BLOCK_DEVICE,
}


@attrs.define
class Counts:
    """What a run did with what it found."""

    entries: int = 0
    files: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    content_bytes: int = 0
    read_bytes: int = 0


class _ReadFailedError(Exception):
    """The system could not read the file; every other error on the way is not the file's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _asked(call: Callable[..., T], *arguments: object) -> T:
    try:
        return call(*arguments)
    except OSError as error:
        raise _ReadFailedError(error) from error


@attrs.define(eq=False)
class Item:
    """A path on its way through the pipeline; settled once `entry` is there or it was `dropped`."""

    found: Found
    link: bytes | None
    known: Known | None  # what the parent has here; taken away if the entry turns out to differ
    had_parent: bool = False
    asked: int = 0  # when, before anything of it was read
    entry: Entry | None = None
    status: os.stat_result | None = None
    young: bool = False
    same: bool = False  # the parent has exactly this entry with this evidence
    dropped: bool = False
    torn: bool = False
    counted: bool = False  # by the callback, while it was read
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    reading: LargeRead | None = None

    def evidence(self) -> tuple[int | bytes, int]:
        """The ctime and inode that the content was read with: now, or when the parent read it."""
        if self.status is not None:
            return time_to_stored(self.status.st_ctime_ns), self.status.st_ino
        assert self.known is not None
        return self.known.segment.ctimes[self.known.number], self.known.segment.inodes[self.known.number]


@attrs.define(eq=False)
class LargeRead:
    """One pass over a large file: its extents in order, some of them still being hashed."""

    pieces: list[list[Extent]] = attrs.field(factory=list)
    waiting: int = 1  # the pass itself

    @property
    def extents(self) -> list[Extent]:
        """All extents, in order."""
        return [extent for piece in self.pieces for extent in piece]


@attrs.define(eq=False)
class _Window:
    """Memory that a part of a large file is read into; used again once no worker needs it."""

    view: memoryview
    filled: int = 0
    waiting: int = 1  # the reader itself


class Pipeline:
    """Turns what a scan finds into entries of a manifest; one for each run."""

    def __init__(
        self,
        writer: Writer,
        builder: EntrySink,
        previous: Previous,
        *,
        chunker: Chunker,
        evidence: Evidence,
        clock: Clock,
        report: Callable[[Finding], None],
        callback: Progress,
        lost: frozenset[bytes] = frozenset(),
    ) -> None:
        self.counts = Counts()
        self._writer = writer
        self._builder = builder
        self._previous = previous
        self._chunker = chunker
        self._small_max = min(chunker.bytes_min, SMALL_BYTES_MAX - 2)
        self._evidence = evidence
        self._clock = clock
        self._report = report
        self._callback = callback
        self._lost = lost
        self._is_in_place: Callable[[], bool] = lambda: True
        self._links = HardLinks(writer.ids.link_key)
        self._queue: deque[Item] = deque()
        self._jobs: deque[Callable[[], None]] = deque()  # each waits for its result and takes it
        self._windows: list[memoryview] = []
        self._windows_made = 0
        self._window = _Window(memoryview(b""), filled=_WINDOW_BYTES)  # none yet: it has no room

    def add(self, found: Found, is_in_place: Callable[[], bool] = lambda: True) -> None:
        """Take the next path of the scan, which is asked whether a path that is gone was deleted or its disk."""
        path, _, status = found
        self._is_in_place = is_in_place
        item = Item(found, self._links.group(path, status) or None, self._previous.at(path))
        if (known := item.known) is not None and self._is_unchanged(item):
            item.entry, item.same = known.entry, True
        else:
            item.had_parent, item.asked = known is not None, self._clock.now()
            if stat.S_ISREG(status.st_mode):
                self._take_file(item)
            else:
                self._settle_other(item)
        self._queue.append(item)
        self._drain()

    def add_stream(self, path: bytes, fill: Fill) -> int:
        """Store what a stream gives until its end as the file `path`; the number of its bytes.

        Its entry belongs to the user who runs this, is private, and is as old as the last byte.
        """
        item = Item(Found(path, b"", _status_of_stream(0)), None, None, counted=True, asked=self._clock.now())
        item.reading = reading = LargeRead()

        def fill_and_count(view: memoryview, _offset: int) -> int:
            got = fill(view)
            self._callback.relative_update(got)
            return got

        self._queue.append(item)
        size = self._read_run(item, reading, fill_and_count, 0, _ENDLESS)
        item.status = _status_of_stream(self._clock.now())
        self._piece_done(item, reading)
        self._drain()
        return size

    def finish(self) -> None:
        """Wait for everything under way."""
        while self._jobs:
            self._harvest()
        self._drain()
        if self._queue:
            raise InternalError(f"{len(self._queue)} paths were found and not settled")

    def _is_unchanged(self, item: Item) -> bool:
        known, status = item.known, item.found.status
        if known is None or self._evidence is Evidence.NONE:
            return False
        entry = known.entry
        mode = status.st_mode
        if (
            entry.mtime != status.st_mtime_ns
            or entry.mode != mode & 0o7777
            or entry.uid != status.st_uid
            or entry.gid != status.st_gid
            or entry.kind != _KINDS.get(mode & 0o170000)
            or entry.link != item.link
            or (entry.kind == EntryKind.FILE and entry.size != status.st_size)
        ):
            return False
        number, segment = known.number, known.segment
        if self._evidence is not Evidence.MTIME and segment.ctimes[number] != status.st_ctime_ns:
            return False
        if self._evidence is Evidence.INODE_CTIME and segment.inodes[number] != status.st_ino:
            return False
        # What was too young to trust, or torn, is read again however alike it looks.
        if number in segment.young or entry.flags or entry.kind > EntryKind.SYMLINK:
            return False
        return not self._lost or not self._needs_lost(entry)

    def _needs_lost(self, entry: Entry) -> bool:
        if entry.content is None or isinstance(entry.content, bytes):
            return entry.content in self._lost
        return entry.content[0] != 0 or any(part in self._lost for part in entry.content[1::2])

    def _settle_other(self, item: Item) -> None:
        _, absolute, status = item.found
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            self._drop(item, OSError(0, f"unknown kind of file {status.st_mode:o}"))
            return
        target = None
        try:
            if kind is EntryKind.SYMLINK:
                target = read_target(absolute)
            item.xattrs = read_xattrs(absolute)
        except OSError as error:
            if target is None and kind is EntryKind.SYMLINK:
                self._drop(item, error)
                return
            if error.errno not in GONE:
                self._metadata_unreadable(item, error)
        device = None
        if kind in (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE):
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        self._settle(item, status, kind, target=target, device=device)

    def _settle(
        self,
        item: Item,
        status: os.stat_result,
        kind: EntryKind,
        *,
        extents: Sequence[Extent] = (),
        target: bytes | None = None,
        device: tuple[int, int] | None = None,
    ) -> None:
        entry = Entry(
            path=item.found.path,
            kind=kind,
            mode=status.st_mode & 0o7777,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime=time_to_stored(status.st_mtime_ns),
            size=sum(length for _, length in extents),
            content=pack_content(extents, self._writer.put_metadata),
            target=target,
            device=device,
            xattrs=item.xattrs,
            link=item.link,
            flags=TORN if item.torn else 0,
        )
        item.young = self._is_young(item, status)
        known = item.known
        if known is not None and entry == known.entry:
            segment, number = known.segment, known.number
            item.same = (
                segment.ctimes[number] == time_to_stored(status.st_ctime_ns)
                and segment.inodes[number] == status.st_ino
                and (number in segment.young) == item.young
            )
        else:
            item.known = None
        item.entry, item.status = entry, status

    def _is_young(self, item: Item, status: os.stat_result) -> bool:
        """Whether it is too fresh to trust: a later change could look alike."""
        since = item.asked - YOUNG_NANOSECONDS
        return status.st_ctime_ns > since or abs(status.st_mtime_ns - item.asked) < YOUNG_NANOSECONDS

    # Files

    def _take_file(self, item: Item) -> None:
        status = item.found.status
        size = status.st_size
        if size > self._small_max or (size > _SPARSE_BYTES_MIN and may_have_holes(status)):
            self._store_large(item)
            return
        try:
            into = self._writer.room_for_data()
            whole = read_whole(item.found.absolute, status, into, most=self._small_max)
        except BecameLargeError:
            self._store_large(item)
            return
        except OSError as error:
            self._drop(item, error)
            return
        item.torn, item.xattrs = whole.torn, whole.xattrs
        if whole.xattrs_error is not None:
            self._metadata_unreadable(item, whole.xattrs_error)
        size = whole.size_bytes
        self._settle_file(item, whole.status, [(self._writer.put_in_room(size), size)] if size else [])

    def _harvest(self) -> None:
        self._jobs.popleft()()

    def _settle_file(self, item: Item, status: os.stat_result, extents: Sequence[Extent]) -> None:
        self.counts.read_bytes += sum(length for chunk, length in extents if chunk is not None)
        if item.torn:
            self._report(
                Finding(
                    code=Code.PATH_TORN,
                    severity=Severity.WARNING,
                    what=f'"{printable(item.found.path)}" kept changing while it was read; the copy may mix its states',
                    action="Back it up while nobody writes to it: from a file-system snapshot, or from a dump.",
                    subject=printable(item.found.path),
                )
            )
        self._settle(item, status, EntryKind.FILE, extents=extents)

    def _store_large(self, item: Item) -> None:
        try:
            handle = open_file(item.found.absolute)
        except OSError as error:
            self._drop(item, error)
            return
        try:
            self._read_large(item, handle)
        except _ReadFailedError as failed:
            self._drop(item, failed.error)
        finally:
            os.close(handle)

    def _read_large(self, item: Item, handle: int) -> None:
        expected = item.found.status
        if not stat.S_ISREG(_asked(os.fstat, handle).st_mode):
            raise _ReadFailedError(OSError(errno.ENXIO, "it is no regular file any more"))
        tries = 0
        while True:
            tries += 1
            item.reading = reading = LargeRead()
            size = self._read_extents(item, reading, handle, expected)
            status = _asked(os.fstat, handle)
            same = size == status.st_size and unchanged(expected, status)
            if same or tries == _LARGE_TRIES:
                item.torn = not same
                break
            expected = status
        try:
            item.xattrs = read_xattrs(handle)
        except OSError as error:
            self._metadata_unreadable(item, error)
        item.status = status
        self._piece_done(item, reading)

    def _piece_done(self, item: Item, reading: LargeRead) -> None:
        reading.waiting -= 1
        # A pass that was given up, or a file that was dropped, has nothing to settle.
        if reading.waiting == 0 and item.reading is reading and item.status is not None and not item.dropped:
            self._settle_file(item, item.status, reading.extents)

    def _read_extents(self, item: Item, reading: LargeRead, handle: int, expected: os.stat_result) -> int:
        """Read at most the expected size plus one byte; the number of bytes that there were."""
        size = expected.st_size
        total = 0

        def read(view: memoryview, offset: int) -> int:
            return _asked(os.preadv, handle, [view], offset)

        pieces = data_extents(handle, size) if may_have_holes(expected) else iter([(0, size + 1, False)])
        for offset, length, is_hole in pieces:
            if is_hole:
                reading.pieces.append([(None, length)])
                total += length
                continue
            got = self._read_run(item, reading, read, offset, length)
            total += got
            if got < length:
                break
        return total

    def _read_run(self, item: Item, reading: LargeRead, read: _Read, offset: int, length: int) -> int:
        window = self._window
        if _WINDOW_BYTES - window.filled < length:
            window = self._next_window()
        start = window.filled
        total = 0
        while True:
            room = min(_WINDOW_BYTES - window.filled, length - total)
            into = window.view[window.filled : window.filled + room]
            got = read(into, offset + total) if room else 0
            if not room and total < length:
                raise InternalError("a file is cut into larger pieces than fit into memory at once")
            total += got
            window.filled += got
            last = got == 0 or total == length
            if window.filled < _WINDOW_BYTES and not last:
                continue
            used = self._send_window(item, reading, window, start, last=last)
            if last:
                return total
            # Workers still read the full window; its uncut tail moves to the front of another.
            tail = window.view[start + used : window.filled]
            window, start = self._next_window(), 0
            window.view[: len(tail)] = tail
            window.filled = len(tail)

    def _next_window(self) -> _Window:
        self._window_done(self._window)
        while not self._windows and self._windows_made >= _WINDOWS_MAX:
            self._harvest()
        if not self._windows:
            self._windows.append(fresh_memory(_WINDOW_BYTES))
            self._windows_made += 1
        self._window = _Window(self._windows.pop())
        return self._window

    def _window_done(self, window: _Window) -> None:
        window.waiting -= 1
        if window.waiting == 0 and len(window.view):
            self._windows.append(window.view)

    def _send_window(self, item: Item, reading: LargeRead, window: _Window, start: int, *, last: bool) -> int:
        used = 0
        group: list[memoryview] = []
        group_bytes = 0
        for chunk in self._chunker.cut(window.view[start : window.filled], last=last):
            group.append(chunk)
            used += len(chunk)
            group_bytes += len(chunk)
            if group_bytes >= FRAME_BYTES:
                self._send_group(item, reading, window, group)
                group, group_bytes = [], 0
        if group:
            self._send_group(item, reading, window, group)
        return used

    def _send_group(self, item: Item, reading: LargeRead, window: _Window, group: list[memoryview]) -> None:
        reading.waiting += 1
        window.waiting += 1
        piece: list[Extent] = []
        reading.pieces.append(piece)
        future = self._writer.submit(_encode_group, self._writer, group)

        def take() -> None:
            result = future.result()
            if result.frame is not None:
                self._writer.add_frame(result.frame)
            piece.extend(result.extents)
            self._window_done(window)
            self._piece_done(item, reading)

        self._jobs.append(take)

    # Results in order

    def _drain(self) -> None:
        queue = self._queue
        while True:
            while queue and (queue[0].entry is not None or queue[0].dropped):
                item = queue.popleft()
                if not item.dropped:
                    self._emit(item)
            if len(queue) <= _QUEUE_MAX:
                return
            self._harvest()

    def _emit(self, item: Item) -> None:
        entry = item.entry
        assert entry is not None
        counts = self.counts
        counts.entries += 1
        if entry.kind == EntryKind.FILE:
            counts.files += 1
            counts.content_bytes += entry.size
            if item.known is not None:
                counts.files_unchanged += 1
            elif item.had_parent:
                counts.files_changed += 1
            else:
                counts.files_new += 1
            if not item.counted:
                self._callback.relative_update(entry.size)
        ctime, inode = item.evidence()
        self._builder.add(
            entry,
            ctime=ctime,
            inode=inode,
            young=item.young,
            known=item.known,
            same_evidence=item.same,
        )

    def _drop(self, item: Item, error: OSError) -> None:
        item.dropped = True
        subject = printable(item.found.path)
        code, severity = Code.PATH_UNREADABLE, Severity.ERROR
        what = f'"{subject}" could not be read: {error.strerror} (errno {error.errno})'
        action = "Let the user of the backup read it, or exclude it on purpose; then back up again."
        if error.errno in GONE and self._is_in_place():
            code, severity = Code.PATH_VANISHED, Severity.WARNING
            what = f'"{subject}" was there when it was found and is gone ({error.strerror})'
            action = "Nothing, if it is a temporary file: exclude such files by a rule."
        elif error.errno in GONE:
            what = f'"{subject}" cannot be reached any more: its folder was moved, or its disk was unmounted'
            action = "Look at the disk and at who moves folders; then back up again."
        self._report(Finding(code=code, severity=severity, what=what, action=action, subject=subject))

    def _metadata_unreadable(self, item: Item, error: OSError) -> None:
        subject = printable(item.found.path)
        self._report(
            Finding(
                code=Code.METADATA_UNREADABLE,
                severity=Severity.ERROR,
                what=f'the attributes of "{subject}" could not be read: {error.strerror} (errno {error.errno})',
                action="Let the user of the backup read them; then back up again.",
                subject=subject,
            )
        )


def _status_of_stream(now: int) -> os.stat_result:
    # Ten numbers by position, of which the last three are times in seconds; what is asked for here has a name.
    seconds = now // 1_000_000_000
    numbers = (stat.S_IFREG | 0o600, 0, 0, 1, os.getuid(), os.getgid(), 0, seconds, seconds, seconds)
    return os.stat_result(numbers, {"st_mtime_ns": now, "st_ctime_ns": now})


@attrs.frozen(eq=False)
class _GroupResult:
    extents: list[Extent]
    frame: EncodedFrame | None


def _encode_group(writer: Writer, group: list[memoryview]) -> _GroupResult:
    extents: list[Extent] = []
    chunks = []
    for chunk in group:
        chunk_id = writer.ids.data(chunk)
        extents.append((chunk_id, len(chunk)))
        if writer.claim(chunk_id):
            chunks.append((chunk_id, chunk))
    if not chunks:
        return _GroupResult(extents, None)
    raw = chunks[0][1] if len(chunks) == 1 else b"".join(chunk for _, chunk in chunks)
    frame = writer.encode(raw, [chunk_id for chunk_id, _ in chunks], [len(chunk) for _, chunk in chunks])
    return _GroupResult(extents, frame)
