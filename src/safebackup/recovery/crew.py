"""The crew of a restore: who fetches, decodes, checks and places, a window of entries at a time.

While workers are busy with one window, the next is planned. Frames are fetched in the order in which they are stored,
each once for a window; every chunk is hashed against its id before a byte of it is written. Small files are placed by
a process for each worker as soon as it is ready, as threads would wait for the interpreter's lock at every file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import attrs

from safebackup.errors import IntegrityError, NotFoundError
from safebackup.events import Progress
from safebackup.findings import printable
from safebackup.format.manifest import Entry, EntryKind
from safebackup.format.pack import ChunkPlace
from safebackup.format.sealing import Buffer
from safebackup.recovery.placing import Owner, PartialFile, Placer, Shortfalls
from safebackup.recovery.placing_process import Piece, PlacingProcess
from safebackup.recovery.url_placing import UrlFile, UrlPlacer
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader

WINDOW_ENTRIES = 4096
WINDOW_BYTES = 64 << 20
RUN_BYTES = 4 << 20  # adjacent frames are fetched together up to this
_CHUNKS_AHEAD = 8
_PARTS = 8  # of the work that is not grouped by frames
_FIRST_MAX = 1 << 16  # 200 bytes of memory each

AnyPlacer: TypeAlias = Placer | UrlPlacer
Placed: TypeAlias = Callable[[Entry, bool], None]
_Again: TypeAlias = tuple[Entry, Owner, bytes]  # and the path that was given the same content


@attrs.define(eq=False)
class Window:
    """Entries that are handled together."""

    small: list[tuple[Entry, Owner]] = attrs.field(factory=list)
    large: list[tuple[Entry, Owner]] = attrs.field(factory=list)
    links: list[tuple[Entry, Owner, bytes]] = attrs.field(factory=list)
    finished: list[tuple[Entry, Owner]] = attrs.field(factory=list)  # directories that nothing comes into any more
    size_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether to go to work; bounds what is held in memory."""
        count = len(self.small) + len(self.large) + len(self.links) + len(self.finished)
        return count >= WINDOW_ENTRIES or self.size_bytes >= WINDOW_BYTES


class Crew:
    """The workers of a restore, each with its own hands on the target."""

    def __init__(
        self,
        reader: ChunkReader,
        *,
        workers: int,
        new_placer: Callable[[], AnyPlacer],
        new_process: Callable[[Placed], PlacingProcess | None],
        miss: Callable[[Entry, IntegrityError], None],
        callback: Progress,
        can_read_again: bool,
    ) -> None:
        self._reader = reader
        self._manifests = Manifests(reader)
        self._new_placer = new_placer
        self._new_process = new_process
        self._miss = miss
        self._callback = callback
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="safebackup-restore")
        self._local = threading.local()
        self._placers: list[AnyPlacer] = []
        self._processes: list[PlacingProcess] = []
        self._starting = threading.Lock()
        self._leaders_placed: set[bytes] = set()
        self._leaders_kept: dict[bytes, Entry] = {}
        self._can_read_again = can_read_again
        self._first_with: dict[bytes, bytes] = {}  # content, and the path that was given it first
        self._under_way: _UnderWay | None = None

    def placer(self) -> AnyPlacer:
        """The calling thread's own placer."""
        placer: AnyPlacer | None = getattr(self._local, "placer", None)
        if placer is None:
            placer = self._local.placer = self._new_placer()
            self._placers.append(placer)
        return placer

    def _process(self) -> PlacingProcess | None:
        """The calling worker's own process."""
        if not hasattr(self._local, "process"):
            with self._starting:  # more than there are processors bring nothing
                is_wanted = len(self._processes) < (os.cpu_count() or 1)
                process = self._local.process = self._new_process(self._placed) if is_wanted else None
                if process is not None:
                    self._processes.append(process)
        found: PlacingProcess | None = self._local.process
        return found

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for each in (*self._processes, *self._placers):
            each.close()

    def restore(self, window: Window) -> None:
        """Have the workers begin with a window, then complete the one before; `finish` completes the last."""
        before = self._under_way
        again, files = self._known(window.small)
        runs, elsewhere = self._plan(files)
        futures = [self._pool.submit(self._restore_run, run) for run in runs]
        futures += [
            self._pool.submit(self._restore_again, again[at::_PARTS]) for at in range(_PARTS) if again[at::_PARTS]
        ]
        self._under_way = _UnderWay(window, elsewhere, futures)
        if before is not None:
            self._complete(before)

    def finish(self, shortfalls: Shortfalls) -> None:
        """Complete what is under way; `shortfalls` learns what processes could not set as recorded."""
        if self._under_way is not None:
            self._complete(self._under_way)
        self._under_way = None
        for process in self._processes:
            process.finish(shortfalls)

    def _complete(self, under_way: _UnderWay) -> None:
        """Files first, as their frames come, then links, then directories that nothing comes into any more."""
        window = under_way.window
        _wait(under_way.futures)
        for entry, owner in under_way.elsewhere:
            self._restore_single(entry, owner)
            self._callback.relative_update(entry.size)
        for entry, owner in window.large:
            self._restore_large(entry, owner)
        placer = self.placer()
        for entry, owner, leader in window.links:
            if self._is_leader(leader) and placer.place_hard_link(entry, leader):
                self._callback.relative_update(entry.size)
            else:
                self._restore_copy(entry, owner)
        for entry, owner in window.finished:
            placer.finish_directory(entry, owner)

    def _known(self, files: Sequence[tuple[Entry, Owner]]) -> tuple[list[_Again], list[tuple[Entry, Owner]]]:
        """Those whose content a file of an earlier window was given, and the others."""
        if not self._can_read_again:
            return [], list(files)
        again: list[_Again] = []
        others: list[tuple[Entry, Owner]] = []
        for entry, owner in files:
            first = self._first_with.get(entry.content) if isinstance(entry.content, bytes) else None
            if first is not None:
                again.append((entry, owner, first))
            else:
                others.append((entry, owner))
        if len(self._first_with) > _FIRST_MAX:
            self._first_with.clear()
        self._first_with.update((entry.content, entry.path) for entry, _ in others if isinstance(entry.content, bytes))
        return again, others

    def _plan(self, files: Sequence[tuple[Entry, Owner]]) -> tuple[list[_FrameRun], list[tuple[Entry, Owner]]]:
        """Group files by the frames that hold them, frames by nearness; files without content are among the rest."""
        frames: dict[tuple[str, int], _FrameWork] = {}
        elsewhere = []
        index = self._reader.index
        for entry, owner in files:
            content = entry.content
            place = index.find(content) if isinstance(content, bytes) else None
            if place is None:
                elsewhere.append((entry, owner))
                continue
            work = frames.setdefault((place.pack, place.offset), _FrameWork(place))
            work.files.append((entry, owner, place))
        runs: list[_FrameRun] = []
        for key in sorted(frames):
            work = frames[key]
            if not runs or not runs[-1].take(work):
                runs.append(_FrameRun([work]))
        return runs, elsewhere

    def _restore_run(self, run: _FrameRun) -> None:
        try:
            sealed = memoryview(self._reader.fetch(run.pack, run.start, run.size_bytes))
        except (IntegrityError, NotFoundError):
            sealed = None
        process = self._process()
        for frame in run.frames:
            decoded: Buffer | None = None
            if sealed is not None:
                at = frame.place.offset - run.start
                try:
                    decoded = self._reader.decode(sealed[at : at + frame.place.stored_bytes], frame.place)
                except (IntegrityError, NotFoundError):
                    decoded = None  # each file asks for its own chunk then, and may find another copy
            self._restore_frame(frame, decoded, process)
        if process is not None:
            process.settle()

    def _restore_again(self, files: Sequence[_Again]) -> None:
        """Files whose content was placed before: to read it there is cheaper than to decode a frame for each."""
        placer = self.placer()
        for entry, owner, first in files:
            data = placer.read_again(first, entry.size + 1) if isinstance(placer, Placer) else None
            if data is not None and len(data) == entry.size and self._reader.ids.data(data) == entry.content:
                self._placed(entry, placer.place_file(entry, [data], owner))
            else:
                self._restore_single(entry, owner)
            self._callback.relative_update(entry.size)

    def _restore_frame(self, frame: _FrameWork, decoded: Buffer | None, process: PlacingProcess | None) -> None:
        good: list[Piece] = []
        for entry, owner, place in frame.files:
            if decoded is not None and self._is_whole(decoded, entry, place):
                good.append((entry, owner, place.chunk_offset, place.chunk_bytes))
            else:
                self._restore_single(entry, owner)
        if decoded is not None and good and not (process is not None and process.place(decoded, good)):
            view = memoryview(decoded)
            for entry, owner, start, size in good:
                self._placed(entry, self.placer().place_file(entry, [view[start : start + size]], owner))
        self._callback.relative_update(sum(entry.size for entry, _, _ in frame.files))

    def _is_whole(self, frame: Buffer, entry: Entry, place: ChunkPlace) -> bool:
        assert isinstance(entry.content, bytes)
        try:
            self._reader.check(frame, place, entry.content, entry.size)
        except IntegrityError:
            return False
        return True

    def restore_node(self, entry: Entry, owner: Owner) -> None:
        """A symbolic link, fifo or device."""
        place = self.placer().place_symlink if entry.kind == EntryKind.SYMLINK else self.placer().place_special
        self._placed(entry, place(entry, owner))

    def _placed(self, entry: Entry, placed: bool) -> None:
        if entry.link is None:
            return
        if placed:
            self._leaders_placed.add(entry.path)
        else:
            self._leaders_kept[entry.path] = entry

    def _is_leader(self, path: bytes) -> bool:
        """Whether other names may be linked to this path: it was placed, or kept with what it should hold.

        What an interrupted restore had placed is linked again so. Else it is somebody's, or could not be placed.
        """
        kept, placer = self._leaders_kept.pop(path, None), self.placer()
        is_file = kept is not None and kept.kind == EntryKind.FILE
        if kept is not None and is_file and isinstance(placer, Placer) and placer.looks_restored(kept):
            if self._is_there(kept, placer):
                self._leaders_placed.add(path)
            else:
                placer.report_kept_although_different(path)
        return path in self._leaders_placed

    def _is_there(self, entry: Entry, placer: Placer) -> bool:
        offset = 0
        try:
            for chunk_id, length in self._manifests.extents(entry):
                if not self._holds(placer, entry.path, chunk_id, offset, length):
                    return False
                offset += length
        except IntegrityError:  # nobody can tell; whoever needs the content says so
            return False
        return True

    def _holds(self, placer: Placer, path: bytes, chunk_id: bytes | None, offset: int, length: int) -> bool:
        if chunk_id is not None:
            data = placer.read_again(path, length, offset)
            return data is not None and self._reader.ids.data(data) == chunk_id
        end = offset + length
        while offset < end:
            length = min(RUN_BYTES, end - offset)
            if placer.read_again(path, length, offset) != bytes(length):
                return False
            offset += length
        return True

    def _restore_single(self, entry: Entry, owner: Owner) -> None:
        try:
            pieces = [self._reader.read(entry.content, entry.size)] if isinstance(entry.content, bytes) else []
            if not pieces and entry.size:
                raise IntegrityError(f"{printable(entry.path)} has {entry.size} bytes and no content")
        except IntegrityError as problem:
            self._miss(entry, problem)
            return
        self._placed(entry, self.placer().place_file(entry, pieces, owner))

    def _restore_copy(self, entry: Entry, owner: Owner) -> None:
        if entry.kind != EntryKind.FILE:
            self.restore_node(entry, owner)
        elif entry.content is None or isinstance(entry.content, bytes):
            self._restore_single(entry, owner)
            self._callback.relative_update(entry.size)
        else:
            self._restore_large(entry, owner)

    def _restore_large(self, entry: Entry, owner: Owner) -> None:
        partial = self.placer().open_file(entry)
        if partial is None:
            self._placed(entry, False)
            self._callback.relative_update(entry.size)
            return
        with partial:
            try:
                self._write_extents(entry, partial)
            except IntegrityError as problem:
                self._miss(entry, problem)
                return
            self._placed(entry, partial.finish(owner))

    def _write_extents(self, entry: Entry, partial: PartialFile | UrlFile) -> None:
        # Chunks are fetched and checked by the workers, some at a time, and written in order by this thread.
        pending: list[tuple[int, int, Future[Buffer]]] = []
        offset = 0
        read = self._reader.read
        try:
            for chunk_id, length in self._manifests.extents(entry):
                if chunk_id is not None:
                    pending.append((offset, length, self._pool.submit(read, chunk_id, length)))
                else:
                    self._callback.relative_update(length)
                offset += length
                if len(pending) >= _CHUNKS_AHEAD:
                    self._write_one(partial, pending.pop(0))
            while pending:
                self._write_one(partial, pending.pop(0))
        finally:
            for _, _, future in pending:
                future.cancel()

    def _write_one(self, partial: PartialFile | UrlFile, piece: tuple[int, int, Future[Buffer]]) -> None:
        offset, length, future = piece
        partial.write_at(offset, future.result())
        self._callback.relative_update(length)


@attrs.frozen(eq=False)
class _UnderWay:
    """A window that workers are busy with: what they do, and what is left to do when they are done."""

    window: Window
    elsewhere: list[tuple[Entry, Owner]]
    futures: list[Future[None]]


@attrs.define(eq=False)
class _FrameWork:
    """A frame, and the files whose content lies in it."""

    place: ChunkPlace
    files: list[tuple[Entry, Owner, ChunkPlace]] = attrs.field(factory=list)


@attrs.define(eq=False)
class _FrameRun:
    """Frames that lie next to each other in one pack, fetched with one request."""

    frames: list[_FrameWork]

    @property
    def pack(self) -> str:
        """The pack that they lie in."""
        return self.frames[0].place.pack

    @property
    def start(self) -> int:
        """Where the first one begins."""
        return self.frames[0].place.offset

    @property
    def size_bytes(self) -> int:
        """From the beginning of the first to the end of the last."""
        last = self.frames[-1].place
        return last.offset + last.stored_bytes - self.start

    def take(self, frame: _FrameWork) -> bool:
        """Add a frame, if it is the next one and the run does not grow too long."""
        place = frame.place
        end = self.start + self.size_bytes
        if place.pack != self.pack or place.offset != end or self.size_bytes + place.stored_bytes > RUN_BYTES:
            return False
        self.frames.append(frame)
        return True


def _wait(futures: Sequence[Future[None]]) -> None:
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()
