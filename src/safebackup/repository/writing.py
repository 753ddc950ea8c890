"""Writing chunks: encode, pack, check, store, index, in that order.

One `Writer` serves one run. It is given an `AppendStore`, which cannot delete. The order keeps the invariants:
a pack is durable before an index names it (I2), and both before a snapshot needs them (I1).
Before a pack is stored it is opened again with the key, decoded, and every chunk hashed against its id.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError, InternalError, SafeBackupError
from safebackup.events import ObjectStored, Observer, ignore
from safebackup.format.compressing import LEVEL_DEFAULT, compress
from safebackup.format.header import Kind, damaged
from safebackup.format.ids import ChunkIds
from safebackup.format.index import build_index
from safebackup.format.objects import Identity, StoredObject, read_header
from safebackup.format.pack import (
    ChunkPlace,
    EncodedFrame,
    PackBuilder,
    frame_places,
    open_frame,
    read_pack_table,
)
from safebackup.format.sealing import Buffer
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.requesting import is_far
from safebackup.repository.runtime import Runtime
from safebackup.storage import AppendStore

T = TypeVar("T")
FRAME_BYTES = 1 << 20  # small chunks are grouped to about this
FULL_BYTES = {Kind.DATA_PACK: 16 << 20, Kind.METADATA_PACK: 4 << 20}  # a pack that has reached this is stored
FULL_CHUNKS = 1 << 15  # or this, as whoever reads a pack whole holds a row for each in memory
ROOM_BYTES = 24 << 20  # for a full pack with the frame that fills it, and its table
INDEX_EVERY_BYTES = 1 << 30
INDEX_EVERY_CHUNKS = 1 << 15  # what no index names yet takes some 500 bytes of memory each
INDEX_EVERY_SECONDS = 600.0
SMALL_BYTES_MAX = 512 << 10  # of what is grouped
_PACKS_IN_FLIGHT = 1  # 16 MiB of memory each
_PACKS_IN_FLIGHT_FAR = 3  # over a network storing one is mostly waiting
_FRAMES_IN_FLIGHT = 10  # so that workers have something to do while many tiny files are read, and the reverse
_GROUP_ROOM_BYTES = FRAME_BYTES + SMALL_BYTES_MAX


class Writer:
    """Stores chunks for one run, each once; `workers` threads share the work.

    `claim` and `submit` may be called by any thread, everything else by the run's own.
    """

    def __init__(
        self,
        store: AppendStore,
        identity: Identity,
        index: ChunkIndex,
        runtime: Runtime,
        *,
        level: int = LEVEL_DEFAULT,
        workers: int = 2,
        observer: Observer = ignore,
        run: str = "",
        on_large: Callable[[], None] = lambda: None,
    ) -> None:
        self.ids = ChunkIds.of(identity.keyring.identity)
        self.index = index
        self.level = level
        self.stored_bytes = 0
        self.stored_objects = 0
        self._store = store
        self._identity = identity
        self._runtime = runtime
        self._observer = observer
        self._run = run
        self._on_large: Callable[[], None] | None = on_large
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="safebackup")
        self._packs_in_flight = _PACKS_IN_FLIGHT_FAR if is_far(store) else _PACKS_IN_FLIGHT
        # Who waits for a network must not keep those from their work who compress.
        self._storers = (
            ThreadPoolExecutor(_PACKS_IN_FLIGHT_FAR, thread_name_prefix="safebackup-store")
            if is_far(store)
            else self._pool
        )
        self._claims: set[bytes] = set()
        self._claiming = threading.Lock()
        self._packs: dict[Kind, PackBuilder] = {}
        self._rooms: list[memoryview] = []
        self._storing: deque[Future[None]] = deque()
        self._groups: dict[Kind, _OpenGroup] = {}
        self._group_rooms: list[memoryview] = []
        self._encoding: deque[tuple[Kind, _OpenGroup, Future[EncodedFrame]]] = deque()
        self._unindexed_bytes = self._unindexed_chunks = 0
        self._indexed_at = runtime.clock.monotonic()

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Have a worker do something; the caller bounds how much is under way."""
        return self._pool.submit(work, *arguments)

    def claim(self, chunk_id: bytes) -> bool:
        """Whether the caller must store this chunk: nobody has, and nobody else is about to."""
        with self._claiming:  # a chunk that is stored becomes known before its claim is dropped
            if chunk_id in self._claims or self.index.find(chunk_id) is not None:
                return False
            self._claims.add(chunk_id)
            return True

    def encode(self, raw: Buffer, ids: Sequence[bytes], lengths: Sequence[int]) -> EncodedFrame:
        """Compress chunks, which lie one behind the other in `raw`, into one frame; for workers."""
        codec, payload = compress(raw, level=self.level)
        if not isinstance(payload, bytes):
            payload = bytes(payload)  # the caller will use its buffer again
        return EncodedFrame(codec, payload, len(raw), ids, lengths)

    def add_frame(self, frame: EncodedFrame, kind: Kind = Kind.DATA_PACK) -> None:
        """Put a frame into the open pack; a full one is stored in the background. Blocks while too many are."""
        if kind not in self._packs:
            room = self._rooms.pop() if self._rooms else fresh_memory(ROOM_BYTES)
            self._packs[kind] = PackBuilder(self._identity, kind, salt=self._runtime.random(32), room=room)
        pack = self._packs[kind]
        pack.add(frame)
        if pack.size_bytes >= FULL_BYTES[kind] or pack.chunks >= FULL_CHUNKS:
            if self._on_large is not None:
                # Before the first full pack is stored: what is worth finding again after a crash begins here.
                on_large, self._on_large = self._on_large, None
                on_large()
            self._close_pack(kind)

    def room_for_data(self) -> memoryview:
        """Memory for the next small piece of a file, of at least `SMALL_BYTES_MAX`; `put_in_room` stores it."""
        group = self._group(Kind.DATA_PACK)
        return group.room[group.size_bytes :]

    def put_in_room(self, size_bytes: int) -> bytes:
        """Store what was put at the beginning of `room_for_data`, which then is another; as `put_data`."""
        group = self._group(Kind.DATA_PACK)
        chunk_id = self.ids.data(group.room[group.size_bytes : group.size_bytes + size_bytes])
        if self.claim(chunk_id):
            self._keep(group, chunk_id, size_bytes, Kind.DATA_PACK)
        return chunk_id

    def put_data(self, data: bytes) -> bytes:
        """Store a small piece of a file, in a frame with others; its id. Blocks while too much is under way."""
        chunk_id = self.ids.data(data)
        self._put(chunk_id, data, Kind.DATA_PACK)
        return chunk_id

    def put_metadata(self, data: bytes) -> bytes:
        """The same for a piece of a manifest."""
        chunk_id = self.ids.metadata(data)
        self._put(chunk_id, data, Kind.METADATA_PACK)
        return chunk_id

    def _put(self, chunk_id: bytes, data: bytes, kind: Kind) -> None:
        if not self.claim(chunk_id):
            return
        if len(data) > SMALL_BYTES_MAX:
            self._submit_frame(kind, _OpenGroup(memoryview(data), len(data), [chunk_id], [len(data)]))
            return
        group = self._group(kind)
        group.room[group.size_bytes : group.size_bytes + len(data)] = data
        self._keep(group, chunk_id, len(data), kind)

    def _group(self, kind: Kind) -> _OpenGroup:
        group = self._groups.get(kind)
        if group is None:
            room = self._group_rooms.pop() if self._group_rooms else fresh_memory(_GROUP_ROOM_BYTES)
            group = self._groups[kind] = _OpenGroup(room)
        return group

    def _keep(self, group: _OpenGroup, chunk_id: bytes, size_bytes: int, kind: Kind) -> None:
        group.ids.append(chunk_id)
        group.lengths.append(size_bytes)
        group.size_bytes += size_bytes
        if group.size_bytes >= FRAME_BYTES:
            self._encode_group(kind)

    def flush(self) -> None:
        """Wait until everything that was added is durable, then publish an index of it.

        Raises:
            StorageError: something could not be stored; what was stored stays and will be found again.
        """
        for kind in list(self._groups):
            self._encode_group(kind)
        self._take_encoded(0)
        for kind in FULL_BYTES:
            self._close_pack(kind)
        self._settle(0)
        if self._claims:
            raise InternalError(
                f"{len(self._claims)} chunks were promised and not stored",
                hint="Nothing was published. Please report this; then run the backup again.",
            )
        self.publish_index()

    def publish_index(self) -> None:
        """Put an index of everything that is durable and not yet named by one."""
        entries, sizes = self.index.take_own()
        if entries:
            index = build_index(self._identity, sorted(entries), pack_sizes=sizes, salt=self._runtime.random(32))
            self.put(index)
            self.index.replace_own(index.name, index.data, entries)
        self._unindexed_bytes = self._unindexed_chunks = 0
        self._indexed_at = self._runtime.clock.monotonic()

    def put(self, stored: StoredObject) -> None:
        """Make one object durable."""
        self._store.put_new(stored.name, stored.data)
        with self._claiming:
            self.stored_bytes += len(stored.data)
            self.stored_objects += 1
        self._observer(ObjectStored(run=self._run, name=stored.name, size_bytes=len(stored.data)))

    def close(self) -> None:
        """Let the workers go; what they have begun is finished or fails by itself."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._storers.shutdown(wait=True, cancel_futures=True)

    def _encode_group(self, kind: Kind) -> None:
        group = self._groups.pop(kind)
        if group.ids:
            self._submit_frame(kind, group)
        else:
            self._group_rooms.append(group.room)

    def _submit_frame(self, kind: Kind, group: _OpenGroup) -> None:
        raw = group.room[: group.size_bytes]
        self._encoding.append((kind, group, self.submit(self.encode, raw, group.ids, group.lengths)))
        self._take_encoded(_FRAMES_IN_FLIGHT)

    def _take_encoded(self, remaining: int) -> None:
        while len(self._encoding) > remaining:
            kind, group, future = self._encoding.popleft()
            self.add_frame(future.result(), kind)
            if len(group.room) == _GROUP_ROOM_BYTES:
                self._group_rooms.append(group.room)

    def _close_pack(self, kind: Kind) -> None:
        pack = self._packs.pop(kind, None)
        if pack is None:
            return
        self._settle(self._packs_in_flight - 1)
        self._storing.append(self._storers.submit(self._store_pack, kind, pack))
        due = self._runtime.clock.monotonic() - self._indexed_at > INDEX_EVERY_SECONDS
        much = self._unindexed_bytes >= INDEX_EVERY_BYTES or self._unindexed_chunks >= INDEX_EVERY_CHUNKS
        if due or much:
            self.publish_index()

    def _settle(self, remaining: int) -> None:
        while len(self._storing) > remaining:
            self._storing.popleft().result()

    def _store_pack(self, kind: Kind, builder: PackBuilder) -> None:
        pack = builder.finish()
        entries = check_pack(pack, kind, self._identity, self.ids)
        self.put(pack)
        self.index.add_own(entries, pack.name, len(pack.data))
        with self._claiming:
            self._unindexed_bytes += len(pack.data)
            self._unindexed_chunks += len(entries)
            self._rooms.append(builder.room)
            self._claims.difference_update(chunk_id for chunk_id, _ in entries)


def fresh_memory(size: int) -> memoryview:
    """Writable memory outside of the allocator's heap, which large blocks that come and go would tear to pieces."""
    return memoryview(mmap.mmap(-1, size))


def worker_count(workers: object, *, least: int = 2) -> int:
    """How many threads share the work: as many as there are processors, at least so many, unless the caller says.

    Raises:
        ConfigurationError: it is no number of threads.
    """
    if workers is None:
        return max(least, os.cpu_count() or 1)
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= 256:
        raise ConfigurationError(f"workers={workers!r} is no number of threads", hint="Leave it out, or give 1 to 256.")
    return workers


@attrs.define
class _OpenGroup:
    """Small chunks that will share a frame, one behind the other."""

    room: memoryview
    size_bytes: int = 0
    ids: list[bytes] = attrs.field(factory=list)
    lengths: list[int] = attrs.field(factory=list)


def check_pack(pack: StoredObject, kind: Kind, identity: Identity, ids: ChunkIds) -> list[tuple[bytes, ChunkPlace]]:
    """Open, decode and hash what was just encoded, as a reader would; its chunks with their places.

    Raises:
        InternalError: something does not come back as it went in: memory, processor or library are at fault.
    """
    try:
        entries = list(decode_pack(pack.name, pack.data, kind, identity, ids))
    except IntegrityError as error:
        raise InternalError(
            f"a pack did not decode to what was encoded ({error.message})",
            code=Code.ENCODING_MISMATCH,
            hint="Nothing of it was stored. Test this machine's memory, then run the backup again.",
        ) from error
    return entries


def decode_pack(
    name: str, data: Buffer, kind: Kind, identity: Identity, ids: ChunkIds
) -> Iterable[tuple[bytes, ChunkPlace]]:
    """Every chunk of a whole pack, each decoded and hashed against its id on the way.

    Raises:
        IntegrityError: the pack is damaged.
    """
    seal, table = read_pack_table(data, name=name, kind=kind, identity=identity)
    view = memoryview(data)
    id_of = ids.metadata if kind is Kind.METADATA_PACK else ids.data
    for entries in frame_places(name, table):
        place = entries[0][1]
        frame = memoryview(open_frame(seal, view[place.offset : place.offset + place.stored_bytes], place))
        for chunk_id, place in entries:
            if id_of(frame[place.chunk_offset : place.chunk_offset + place.chunk_bytes]) != chunk_id:
                raise damaged(name, f"frame {place.ordinal} does not hold chunk {chunk_id.hex()}")
        yield from entries


def salvage_pack(
    name: str,
    data: Buffer,
    kind: Kind,
    identity: Identity,
    ids: ChunkIds,
    entries: Iterable[tuple[bytes, ChunkPlace]],
) -> Iterator[tuple[bytes, ChunkPlace]]:
    """Those of the `entries` of a damaged pack whose chunks still decode to their ids."""
    view = memoryview(data)
    try:
        _, seal = read_header(data, name=name, kind=kind, identity=identity)
    except SafeBackupError:
        return
    for chunk_id, place in sorted(entries, key=lambda entry: entry[1].offset):
        try:
            frame = open_frame(seal, view[place.offset : place.offset + place.stored_bytes], place)
        except IntegrityError:
            continue
        content = memoryview(frame)[place.chunk_offset : place.chunk_offset + place.chunk_bytes]
        if ids.of_kind(kind, content) == chunk_id:
            yield chunk_id, place
