"""Reading whole packs for a verification: fetched, decoded, hashed and compared with what indexes promise.

Several threads read while the caller does something else. Results come in the order in which packs were asked for,
and are small: what a pack holds is kept only where it is not just what was promised.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import attrs

from safebackup.errors import SafeBackupError, StorageError
from safebackup.format.header import require_digest
from safebackup.format.ids import ChunkIds
from safebackup.format.index import Entry
from safebackup.format.objects import Identity
from safebackup.format.pack import ChunkPlace
from safebackup.repository.reading import kind_of_pack
from safebackup.repository.writing import decode_pack
from safebackup.storage import ReadStore

_RESULTS_AHEAD = 512  # a kilobyte each


@attrs.frozen
class PackResult:
    """What came of reading one pack; `places` only where they are not those promised."""

    name: str
    size_bytes: int
    problem: SafeBackupError | None = None
    places: dict[bytes, ChunkPlace] | None = None


class Promises:
    """What indexes say of packs, in 100 bytes a pack: how many entries, and the sum of their hashes."""

    def __init__(self) -> None:
        self._count: defaultdict[str, int] = defaultdict(int)
        self._sum: defaultdict[str, int] = defaultdict(int)

    def add(self, entry: Entry) -> None:
        """An entry of an index."""
        pack = entry[1].pack
        self._count[pack] += 1
        self._sum[pack] += hash(entry)

    def add_all(self, others: Promises) -> None:
        """All that others have taken."""
        for pack, count in others._count.items():
            self._count[pack] += count
            self._sum[pack] += others._sum[pack]

    def count(self, pack: str) -> int:
        """How many entries lie in a pack."""
        return self._count.get(pack, 0)

    def are(self, pack: str, entries: list[Entry]) -> bool:
        """Whether these are just the entries that were promised; a wrong yes has the odds of a 64-bit sum."""
        return self.count(pack) == len(entries) and self._sum.get(pack, 0) == sum(map(hash, entries))


class PackReading:
    """Reads packs on `workers` threads from the moment on that it is made; iterate once for the results.

    Iterating raises StorageError if the store could not be read. Close it in any case.
    """

    def __init__(
        self,
        store: ReadStore,
        identity: Identity,
        names: Iterable[str],
        promises: Promises,
        *,
        workers: int,
    ) -> None:
        self._store = store
        self._identity = identity
        self._ids = ChunkIds.of(identity.keyring.identity)
        self._promises = promises
        self._names = iter(names)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="safebackup-verify")
        self._pending: deque[Future[PackResult]] = deque()
        self._fill()

    def __iter__(self) -> Iterator[PackResult]:
        while self._pending:
            result = self._pending.popleft().result()
            self._fill()
            yield result

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self) -> None:
        while len(self._pending) < _RESULTS_AHEAD and (name := next(self._names, None)) is not None:
            self._pending.append(self._pool.submit(self._read, name))

    def _read(self, name: str) -> PackResult:
        size = 0
        try:
            data = self._store.get(name)
            size = len(data)
            require_digest(name, data)
            entries = list(decode_pack(name, data, kind_of_pack(name), self._identity, self._ids))
        except StorageError:
            raise
        except SafeBackupError as problem:
            return PackResult(name, size, problem)
        return PackResult(name, size, places=None if self._promises.are(name, entries) else dict(entries))
