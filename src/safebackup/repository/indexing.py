"""The index in use: which pack holds a chunk, as far as no deletion has condemned that pack.

A miss is always safe (the chunk is stored again); a hit must be true, so entries in doomed packs never hit.
Blocks of entries are kept in memory up to a bound and read again by range where they do not fit; an entry
takes 64 bytes, and 8 more once its block was looked into.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import attrs

from safebackup.errors import ConfigurationError, IntegrityError, NotFoundError, SafeBackupError
from safebackup.format.header import HEADER_BYTES, Kind, damaged, is_object_name, require_digest
from safebackup.format.index import ENTRY_BYTES, Block, Entry, IndexTable, unpack_block, unpack_entry
from safebackup.format.objects import Identity, read_record, read_table
from safebackup.format.pack import ChunkPlace
from safebackup.format.records import DoomBody
from safebackup.format.sealing import TAG_BYTES, Buffer, Seal
from safebackup.repository.requesting import at_once
from safebackup.repository.tiering import read_visible, tier_of
from safebackup.storage import ObjectInfo, ReadStore

CACHE_BYTES_MAX = 64 << 20
_SIEVE_ID_BYTES = 3
_SIEVE_ID_BITS = 8 * _SIEVE_ID_BYTES  # two MiB, in which a million chunks leave 94 of 100 others out
_BESIDE_BYTES_MAX = 4 << 20  # indexes up to this are read several at once; memory must hold those under way


@attrs.frozen
class LoadedIndex:
    """An index whose table has been read; `starts` are the offsets of its blocks."""

    name: str
    seal: Seal = attrs.field(repr=False, eq=False)
    table: IndexTable = attrs.field(repr=False)
    starts: list[int] = attrs.field(repr=False)


class _Sieve:
    """Says of a chunk id that it was certainly not added, or that it may have been; ids are hashes already."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add_all(self, ids: Iterable[bytes]) -> None:
        """Remember these."""
        self._bits = self._bits or bytearray(1 << _SIEVE_ID_BITS - 3)
        for id in ids:
            number = int.from_bytes(id[:_SIEVE_ID_BYTES], "big")
            self._bits[number >> 3] |= 1 << (number & 7)

    def may_hold(self, id: bytes) -> bool:
        """Whether it may be one of them."""
        number = int.from_bytes(id[:_SIEVE_ID_BYTES], "big")
        return bool(self._bits) and bool(self._bits[number >> 3] & 1 << (number & 7))


class ChunkIndex:
    """All indexes of a repository together with what the current run has added. Safe for threads.

    `problems` holds what was wrong with indexes and dooms that could not be read.
    """

    def __init__(
        self, store: ReadStore, identity: Identity, *, for_writing: bool = False, cache_bytes: int = CACHE_BYTES_MAX
    ) -> None:
        self._store = store
        self._identity = identity
        self._for_writing = for_writing
        self._lock = threading.RLock()
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._cached_bytes = 0
        self._cache_bytes_max = cache_bytes
        self._own: dict[bytes, list[ChunkPlace]] = {}
        self._own_sizes: dict[str, int] = {}
        self._published: frozenset[str] = frozenset()  # visible indexes of this run, and a sieve for what they name
        self._sieve = _Sieve()
        self._dooms: dict[str, frozenset[str]] = {}
        self.doomed: frozenset[str] = frozenset()
        self.suspects: set[str] = set()  # packs that are damaged or gone, so that nothing new may rest on them
        self.visible: dict[str, LoadedIndex] = {}
        self.problems: dict[str, SafeBackupError] = {}
        self._last_found_in: LoadedIndex | None = None
        self.refresh()

    @property
    def dooms(self) -> frozenset[str]:
        """The names of all doom records read so far."""
        return frozenset(self._dooms)

    def refresh(self) -> None:
        """Read dooms and indexes that are new since the last time. Costs two listings and a read for each."""
        self.refresh_dooms()
        with self._lock:
            listed = {info.name: info for info in self._store.list("index/")}
            self.visible = read_visible(
                listed,
                lambda names: self._load([listed[name] for name in names]),
                lambda index: index.table.replaces,
                lambda index: index.table.beside,
            )
            self._published &= self.visible.keys()

    def refresh_dooms(self) -> None:
        """Read doom records that are new since the last time.

        Raises:
            IntegrityError: one is damaged and this is for writing: resting on a pack that it may name could lose data.
        """
        with self._lock:
            names = [info.name for info in self._store.list("dooms/")]
            new = [name for name in names if name not in self._dooms and is_object_name(name)]
            for name, data in zip(new, at_once(self._store, self._store.get, new), strict=True):
                try:
                    body = read_record(data, DoomBody, name=name, kind=Kind.DOOM, identity=self._identity)
                except (IntegrityError, ConfigurationError) as problem:
                    if self._for_writing:
                        raise
                    self.problems[name] = problem
                    continue
                self._dooms[name] = frozenset(body.packs)
            self.doomed = frozenset().union(*self._dooms.values())

    def find(self, chunk_id: bytes) -> ChunkPlace | None:
        """Where a chunk lies outside all doomed and suspect packs, or None."""
        is_ours = len(self._published) == len(self.visible)  # a first backup asks this for every file
        if is_ours and chunk_id not in self._own and not self._sieve.may_hold(chunk_id):
            return None
        doomed, suspects = self.doomed, self.suspects
        return next(
            (place for place in self.find_all(chunk_id) if place.pack not in doomed and place.pack not in suspects),
            None,
        )

    def find_all(self, chunk_id: bytes) -> Iterator[ChunkPlace]:
        """Every place of a chunk that any index names, in doomed packs too; who is content with one asks for no more.

        The index that knew the chunk before is asked first: what was stored together is asked for together.
        """
        yield from self._own.get(chunk_id, ())
        last = self._last_found_in
        indexes = list(self.visible.values())
        if last is not None and self.visible.get(last.name) is last:
            indexes = [last, *(index for index in indexes if index is not last)]
        passed_over = frozenset() if self._sieve.may_hold(chunk_id) else self._published
        for index in indexes:
            if index.name in passed_over:
                continue
            for place in self._places(index, chunk_id):
                self._last_found_in = index
                yield place

    def _places(self, index: LoadedIndex, chunk_id: bytes) -> Iterator[ChunkPlace]:
        fences = index.table.fences
        number = bisect_right(fences, chunk_id) - 1
        while number >= 0:
            try:
                block = self._block(index, number)
                packs = index.table.packs
                places = [
                    unpack_entry(block.data, position, packs, name=index.name)[1] for position in block.find(chunk_id)
                ]
            except (IntegrityError, NotFoundError) as problem:
                self.problems[index.name] = problem
                return
            yield from places
            if fences[number] != chunk_id:
                return
            number -= 1  # entries for one chunk may begin at the end of the block before

    def add_own(self, entries: Iterable[Entry], pack: str, size_bytes: int) -> None:
        """Chunks that this run has stored durably in `pack`."""
        with self._lock:
            self._own_sizes[pack] = size_bytes
            for chunk_id, place in entries:
                self._own.setdefault(chunk_id, []).append(place)

    def take_own(self) -> tuple[list[Entry], dict[str, int]]:
        """What `add_own` was given and no index names yet."""
        with self._lock:
            entries = [(chunk_id, place) for chunk_id, places in self._own.items() for place in places]
            return entries, dict(self._own_sizes)

    def replace_own(self, name: str, data: Buffer, entries: Iterable[Entry]) -> None:
        """Forget own `entries`, now that the index `name` is durable and names them."""
        with self._lock:
            index = self._parse(name, data)
            self._sieve.add_all(chunk_id for chunk_id, _ in entries)
            self.visible[name] = index
            self._published |= {name}
            for chunk_id, place in entries:
                self._own.get(chunk_id, []).remove(place)
                if not self._own[chunk_id]:
                    del self._own[chunk_id]
                self._own_sizes.pop(place.pack, None)

    def entries(self, index: LoadedIndex) -> Iterator[Entry]:
        """All entries of one index, in order.

        Raises:
            IntegrityError: a block is damaged.
        """
        for number in range(len(index.starts)):
            yield from unpack_block(self._read_block(index, number).data, index.table.packs, name=index.name)

    def _load(self, infos: list[ObjectInfo]) -> Iterator[LoadedIndex | None]:
        # Read whole, however large: that its bytes are those that its name promises is what a hit rests on.
        new = [info for info in infos if info.name not in self.visible]
        small = [info.name for info in new if info.size_bytes <= _BESIDE_BYTES_MAX]
        beside = at_once(self._store, self._fetch, small)
        for info in infos:
            if info.name in self.visible:
                yield self.visible[info.name]
                continue
            data = next(beside) if info.size_bytes <= _BESIDE_BYTES_MAX else self._fetch(info.name)
            yield self._parsed(info.name, data)

    def _fetch(self, name: str) -> bytes | SafeBackupError:
        """The bytes of an object, for a thread that must not wait for the lock."""
        try:
            return self._store.get(name)
        except (IntegrityError, NotFoundError) as problem:
            return problem

    def _parsed(self, name: str, data: bytes | SafeBackupError) -> LoadedIndex | None:
        try:
            if isinstance(data, SafeBackupError):
                raise data
            return self._parse(name, data)
        except (IntegrityError, NotFoundError, ConfigurationError) as problem:
            self.problems[name] = problem
            return None

    def _parse(self, name: str, data: Buffer) -> LoadedIndex:
        require_digest(name, data)
        header, seal, table = read_table(data, IndexTable, name=name, kind=Kind.INDEX, identity=self._identity)
        starts = []
        position = HEADER_BYTES
        for size in table.blocks:
            starts.append(position)
            position += size
        if table.tier != tier_of(name):
            raise damaged(name, f"it is of tier {table.tier}")
        odd = any(size <= TAG_BYTES or (size - TAG_BYTES) % ENTRY_BYTES for size in table.blocks)
        if odd or position != header.table_offset or len(table.fences) != len(starts):
            raise damaged(name, "its blocks do not fill it")
        if table.fences != sorted(table.fences):
            raise damaged(name, "its fences are out of order")
        index = LoadedIndex(name, seal, table, starts)
        for number, start in enumerate(starts):
            if self._cached_bytes + table.blocks[number] > self._cache_bytes_max:
                break
            sealed = memoryview(data)[start : start + table.blocks[number]]
            self._keep((name, number), Block(bytes(seal.open(sealed, number + 1, name=name))))
        return index

    def _block(self, index: LoadedIndex, number: int) -> Block:
        key = (index.name, number)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = self._read_block(index, number)
        with self._lock:
            self._keep(key, block)
        return block

    def _read_block(self, index: LoadedIndex, number: int) -> Block:
        with self._lock:
            if (cached := self._blocks.get((index.name, number))) is not None:
                return cached
        sealed = self._store.get(index.name, start=index.starts[number], length=index.table.blocks[number])
        block = bytes(index.seal.open(sealed, number + 1, name=index.name))
        if not block or len(block) % ENTRY_BYTES:
            raise damaged(index.name, f"block {number} has {len(block)} bytes")
        return Block(block)

    def _keep(self, key: tuple[str, int], block: Block) -> None:
        if key not in self._blocks:
            self._blocks[key] = block
            self._cached_bytes += len(block.data)
        while self._cached_bytes > self._cache_bytes_max and len(self._blocks) > 1:
            _, dropped = self._blocks.popitem(last=False)
            self._cached_bytes -= len(dropped.data)
