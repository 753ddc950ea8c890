"""Reading chunks: from a chunk id to bytes that hash to it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from safebackup.errors import (
    Code,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    SafeBackupError,
    StorageError,
)
from safebackup.format.header import HEADER_BYTES, Kind, damaged, require_digest
from safebackup.format.ids import ChunkIds
from safebackup.format.objects import Identity, read_header
from safebackup.format.pack import ChunkPlace, open_frame
from safebackup.format.sealing import Buffer, Seal
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.requesting import at_once
from safebackup.storage import ReadStore

_FRAMES_KEPT = 16  # decoded, about 1 MiB each
_RANGE_BYTES_MAX = 6 << 20  # of one request for many frames: a metadata pack is hardly ever larger
_GAP_BYTES_MAX = 256 << 10  # not wanted and sooner read than asked around
_AHEAD_BYTES_MAX = 16 << 20


class ChunkReader:
    """Finds, unseals, decodes and checks chunks. Safe for threads.

    A pack that is gone makes it read dooms and indexes again before it speaks of damage,
    as a deleter may have moved the chunk since they were read.
    """

    def __init__(self, store: ReadStore, identity: Identity, index: ChunkIndex) -> None:
        self.store = store
        self._identity = identity
        self.index = index
        self.ids = ChunkIds.of(identity.keyring.identity)
        self._lock = threading.Lock()
        self._seals: OrderedDict[str, Seal] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int], Buffer] = OrderedDict()
        self._ahead: OrderedDict[tuple[str, int], bytes] = OrderedDict()  # sealed, by pack and where they begin
        self._ahead_bytes = 0

    def read(self, chunk_id: bytes, chunk_bytes: int, *, kind: Kind = Kind.DATA_PACK) -> Buffer:
        """The bytes of a chunk from a pack of this kind, checked against its id.

        Raises:
            IntegrityError: no index names it (`Code.MISSING_CHUNK`), or every copy of it is damaged.
            StorageError: the store could not be reached.
        """
        tried: dict[ChunkPlace, SafeBackupError] = {}
        while True:
            known = set(self.index.visible)
            # Doomed packs come last: they may be gone, but while they are there their bytes are good.
            doomed = self.index.doomed
            places = [place for place in self.index.find_all(chunk_id) if place not in tried]
            for place in sorted(places, key=lambda place: place.pack in doomed):
                try:
                    return self.check(self.frame(place), place, chunk_id, chunk_bytes)
                except (IntegrityError, NotFoundError) as caught:
                    tried[place] = caught
                    self.index.suspects.add(place.pack)
            # Beside several deleters a chunk may move more than once, so as long as there are new places, go on.
            self.index.refresh()
            if self.index.visible.keys() <= known:
                break
        problem = next((one for one in tried.values() if isinstance(one, IntegrityError)), None)
        if problem is not None:
            raise problem
        raise IntegrityError(
            f"{kind.name.partition('_')[0].lower()} chunk {chunk_id.hex()} is not in this repository",
            code=Code.MISSING_CHUNK,
            hint='verify(repository, level="structure") tells which files it affects; bring it back from a copy.',
        ) from next(iter(tried.values()), None)

    def read_metadata(self, chunk_id: bytes, chunk_bytes: int) -> Buffer:
        """The same for a piece of a manifest."""
        return self.read(chunk_id, chunk_bytes, kind=Kind.METADATA_PACK)

    def check(self, frame: Buffer, place: ChunkPlace, chunk_id: bytes, chunk_bytes: int) -> Buffer:
        """The chunk in a decoded frame, if it has this length and id.

        Raises:
            IntegrityError: it has not.
        """
        if place.chunk_bytes != chunk_bytes or place.chunk_offset + chunk_bytes > len(frame):
            raise damaged(place.pack, f"chunk {chunk_id.hex()} has {place.chunk_bytes} bytes, expected {chunk_bytes}")
        data = memoryview(frame)[place.chunk_offset : place.chunk_offset + chunk_bytes]
        if self.ids.of_kind(kind_of_pack(place.pack), data) != chunk_id:
            raise damaged(place.pack, f"frame {place.ordinal} does not hold chunk {chunk_id.hex()}")
        return data

    def frame(self, place: ChunkPlace) -> Buffer:
        """The decoded frame that holds a chunk; recent ones are kept."""
        key = (place.pack, place.ordinal)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        sealed = self.fetch(place.pack, place.offset, place.stored_bytes)
        frame = self.decode(sealed, place)
        with self._lock:
            self._frames[key] = frame
            while len(self._frames) > _FRAMES_KEPT:
                self._frames.popitem(last=False)
        return frame

    def read_ahead(self, chunk_ids: Iterable[bytes], *, from_start: bool = False) -> None:
        """Fetch what will be read soon, with few requests: frames that lie near each other come together.

        `from_start` brings also what lies before them in their packs: for the root of a tree, which is put last.
        What cannot be had is left to `read`. At most 16 MiB are kept, the latest.

        Raises:
            StorageError: the store could not be reached.
        """
        places = [place for chunk_id in chunk_ids if (place := self.index.find(chunk_id)) is not None]
        wanted = {(place.pack, place.offset, place.stored_bytes): place for place in places}
        with self._lock:
            missing = [
                key
                for key, place in wanted.items()
                if (place.pack, place.ordinal) not in self._frames and self._covered(*key) is None
            ]
            packs = {pack for pack, _, _ in missing if pack not in self._seals}
            missing += [(pack, 0, HEADER_BYTES) for pack in packs if self._covered(pack, 0, HEADER_BYTES) is None]
        ranges = _joined(missing, from_start=from_start)
        for (pack, start, _), data in zip(ranges, at_once(self.store, self._fetched, ranges), strict=True):
            if data is not None:
                self._keep_ahead(pack, start, data)

    def _fetched(self, part: tuple[str, int, int]) -> bytes | None:
        try:
            return self._request(*part)
        except (IntegrityError, NotFoundError):
            return None

    def _keep_ahead(self, pack: str, start: int, data: bytes) -> None:
        with self._lock:
            replaced = self._ahead.pop((pack, start), b"")
            self._ahead[pack, start] = data
            self._ahead_bytes += len(data) - len(replaced)
            while self._ahead_bytes > _AHEAD_BYTES_MAX:
                _, dropped = self._ahead.popitem(last=False)
                self._ahead_bytes -= len(dropped)

    def _covered(self, pack: str, start: int, size_bytes: int) -> bytes | None:
        for (of, begin), data in self._ahead.items():
            if of == pack and begin <= start and start + size_bytes <= begin + len(data):
                return data[start - begin : start - begin + size_bytes]
        return None

    def fetch(self, pack: str, start: int, size_bytes: int) -> bytes:
        """Sealed bytes of frames that lie next to each other, by one request, or none if they were read ahead.

        Raises:
            IntegrityError: the pack is shorter than its index says.
        """
        with self._lock:
            if (data := self._covered(pack, start, size_bytes)) is not None:
                return data
        return self._request(pack, start, size_bytes)

    def _request(self, pack: str, start: int, size_bytes: int) -> bytes:
        try:
            return self.store.get(pack, start=start, length=size_bytes)
        except StorageError as error:
            if error.code is Code.SHORT_READ:
                raise damaged(pack, "it was cut short") from error
            raise

    def decode(self, sealed: Buffer, place: ChunkPlace) -> Buffer:
        """A frame from its sealed bytes; for callers that fetch many frames with one request."""
        return open_frame(self._seal(place.pack), sealed, place)

    def _seal(self, pack: str) -> Seal:
        with self._lock:
            if pack in self._seals:
                self._seals.move_to_end(pack)
                return self._seals[pack]
        header = self.fetch(pack, 0, HEADER_BYTES)
        try:
            _, seal = read_header(header, name=pack, kind=kind_of_pack(pack), identity=self._identity)
        except ConfigurationError:
            require_digest(pack, self.store.get(pack))  # is it newer, or is only its version damaged?
            raise
        with self._lock:
            self._seals[pack] = seal
            while len(self._seals) > 256:
                self._seals.popitem(last=False)
        return seal


def _joined(parts: Iterable[tuple[str, int, int]], *, from_start: bool) -> list[tuple[str, int, int]]:
    """Parts of packs (where they begin and their bytes) as the ranges to ask for."""
    ranges: list[tuple[str, int, int]] = []
    for pack, start, size_bytes in sorted(parts):
        end = start + size_bytes
        if ranges and ranges[-1][0] == pack:
            _, begin, length = ranges[-1]
            near = from_start or start - (begin + length) <= _GAP_BYTES_MAX
            if near and end - begin <= _RANGE_BYTES_MAX:
                ranges[-1] = (pack, begin, max(length, end - begin))
                continue
        ranges.append((pack, start, size_bytes))
    return ranges


def kind_of_pack(name: str) -> Kind:
    """Whether a pack holds data or metadata; its folder tells."""
    return Kind.METADATA_PACK if name.startswith("metadata/") else Kind.DATA_PACK
