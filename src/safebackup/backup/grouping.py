"""Groups: pieces of files that a worker hashes and compresses together, as one frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from safebackup.format.manifest import Extent
from safebackup.format.pack import EncodedFrame
from safebackup.repository.writing import FRAME_BYTES, Writer, fresh_memory

T = TypeVar("T")
SMALL_BYTES_MAX = 512 << 10  # of a file that is read at once
_ROOM_BYTES = FRAME_BYTES + SMALL_BYTES_MAX + 2
_ROOMS_MAX = 8  # so that workers have something to do while many tiny files are read, and the reverse


@attrs.frozen(eq=False)
class GroupResult:
    """The extents of a group in order, and a frame of those of its pieces that nobody has stored."""

    extents: list[Extent]
    frame: EncodedFrame | None


def encode_group(writer: Writer, data: memoryview, lengths: Sequence[int]) -> GroupResult:
    """Hash and compress pieces that lie one behind the other; for workers."""
    extents: list[Extent] = []
    new: list[tuple[bytes, memoryview]] = []
    start = 0
    for length in lengths:
        piece = data[start : start + length]
        start += length
        chunk_id = writer.ids.data(piece)
        extents.append((chunk_id, length))
        if writer.claim(chunk_id):
            new.append((chunk_id, piece))
    if not new:
        return GroupResult(extents, None)
    raw = data if len(new) == len(lengths) else b"".join(piece for _, piece in new)
    return GroupResult(extents, writer.encode(raw, [chunk_id for chunk_id, _ in new], [len(piece) for _, piece in new]))


class SmallFiles(Generic[T]):
    """Small files, read one behind the other into memory of which a worker makes a frame.

    `settle` is called for each with what `add` was given and its extent, once that is known. Groups become `jobs`,
    which are to be called in their order; `harvest` does so for the first.
    """

    def __init__(
        self,
        writer: Writer,
        jobs: deque[Callable[[], None]],
        *,
        harvest: Callable[[], None],
        settle: Callable[[T, Extent], None],
    ) -> None:
        self._writer = writer
        self._jobs = jobs
        self._harvest = harvest
        self._settle = settle
        self._rooms: list[memoryview] = []
        self._rooms_made = 0
        self._room = memoryview(b"")
        self._files: list[T] = []
        self._lengths: list[int] = []
        self._size_bytes = 0

    @property
    def room(self) -> memoryview:
        """Where the next file is to be read to: there is space for `SMALL_BYTES_MAX` and two bytes more."""
        if not self._room:
            while not self._rooms and self._rooms_made >= _ROOMS_MAX:
                self._harvest()
            if not self._rooms:
                self._rooms.append(fresh_memory(_ROOM_BYTES))
                self._rooms_made += 1
            self._room = self._rooms.pop()
        return self._room[self._size_bytes :]

    def add(self, file: T, size_bytes: int) -> None:
        """Keep so many bytes of the room, which are a file's."""
        self._files.append(file)
        self._lengths.append(size_bytes)
        self._size_bytes += size_bytes
        if self._size_bytes >= FRAME_BYTES:
            self.send()

    def send(self) -> None:
        """Give what there is to a worker."""
        if not self._files:
            return
        room, files = self._room, self._files
        future = self._writer.submit(encode_group, self._writer, room[: self._size_bytes], self._lengths)

        def take() -> None:
            result = future.result()
            if result.frame is not None:
                self._writer.add_frame(result.frame)
            self._rooms.append(room)
            for file, extent in zip(files, result.extents, strict=True):
                self._settle(file, extent)

        self._jobs.append(take)
        self._room, self._files, self._lengths, self._size_bytes = memoryview(b""), [], [], 0
