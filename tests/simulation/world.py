"""A world to simulate in: a store that watches the invariants, a repository in it, and what each snapshot must hold."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import attrs

from safebackup import BackupReport, Source, back_up, restore, verify
from safebackup.clock import SystemClock
from safebackup.errors import ConflictError, IntegrityError, NotFoundError
from safebackup.findings import Severity
from safebackup.format.header import Kind
from safebackup.format.index import IndexTable
from safebackup.format.objects import read_table
from safebackup.repository import KeyFile, Repository
from safebackup.repository.manifests import Manifests
from safebackup.repository.repository import attach, found
from safebackup.repository.runtime import Runtime
from safebackup.storage import DeleteStore, MemoryStore
from safebackup.testing import RecordingStore
from tests.simulation.deleter import PROTOCOL, Rules, delete_packs, everything, remove_snapshots
from tests.simulation.trees import Tree, describe

T = TypeVar("T")
_numbers = itertools.count()


class ClockAhead(SystemClock):
    """An hour ahead, so that no file is too young to be trusted and unchanged ones are not read again."""

    def now(self) -> int:
        return super().now() + 3_600_000_000_000


class WatchedStore(RecordingStore):
    """A store in memory that looks at every operation for a broken invariant; `violations` says which.

    I2 and "every published snapshot is whole" are looked at from the moment at which `repository` is known.
    """

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.repository: Repository | None = None
        self.violations: list[str] = []
        self.reported: set[str] = set()  # snapshots whose writers said that they were made
        self.removed: set[str] = set()
        self._deleted: set[str] = set()
        self._one_at_a_time = threading.RLock()

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        with self._one_at_a_time:
            if name in self._deleted and name.startswith(("data/", "metadata/")):
                self.violations.append(f"the name of a deleted pack recurs: {name}")
            if name.startswith("index/"):
                self._check_index(name, bytes(data))
            try:
                super().put_new(name, data)
            except ConflictError:
                self.violations.append(f"I4: other bytes were put under {name}")
                raise
            if name.startswith(("snapshots/", "deaths/", "index/")):
                self.check()

    def delete(self, name: str) -> None:
        with self._one_at_a_time:
            super().delete(name)
            self._deleted.add(name)
            if name.startswith("snapshots/"):
                self.removed.add(name)
            else:
                self.check()

    def check(self) -> None:
        """Every published snapshot must be whole, and every one that was reported must be published."""
        if self.repository is None:
            return
        calm = attach_calmly(self.repository, self.store)
        history = calm.history()
        there = {info.name for info in self.store.list("")}
        for name in self.reported - self.removed - history.snapshots.keys():
            self.violations.append(f"void or gone: {name} was reported as made")
        for name, body in history.snapshots.items():
            reader = calm.reader()
            try:
                for _, chunk_id, _ in Manifests(reader).needs(body.manifest, body.evidence):
                    if not any(place.pack in there for place in reader.index.find_all(chunk_id)):
                        self.violations.append(f"lost: {name} needs chunk {chunk_id.hex()}")
            except (IntegrityError, NotFoundError) as problem:
                self.violations.append(f"lost: {name}: {problem}")

    def _check_index(self, name: str, data: bytes) -> None:
        if self.repository is None:
            return
        calm = attach_calmly(self.repository, self.store)
        table = read_table(data, IndexTable, name=name, kind=Kind.INDEX, identity=calm.identity)[2]
        there = {info.name for info in self.store.list("")} | calm.reader().index.doomed
        if missing := {row.name for row in table.packs} - there:
            self.violations.append(f"I2: {name} names {', '.join(sorted(missing))}")


def attach_calmly(repository: Repository, store: DeleteStore) -> Repository:
    """The same repository, reached through another store."""
    return attrs.evolve(repository, store=store)


class World:
    """One repository in a store of its own, and what is known about its snapshots."""

    def __init__(self, folder: Path, *, key: KeyFile | None = None, store: WatchedStore | None = None) -> None:
        self.folder = folder
        self.key = key
        self.store = store or empty_store()
        self.expected: dict[str, Tree] = {}  # by name of the snapshot's object
        self.runtime = Runtime(clock=ClockAhead(), host="host")

    @classmethod
    def founded(cls, folder: Path, *, key: KeyFile | None = None) -> World:
        """A world with an empty repository."""
        world = cls(folder, key=key)
        world.store.repository = found(world.store, key=key, runtime=world.runtime)
        return world

    def copy(self) -> World:
        """The same objects in another store."""
        other = World(self.folder, key=self.key)
        for info in self.store.store.list(""):
            other.store.store.put_new(info.name, self.store.store.get(info.name))
        other.expected = dict(self.expected)
        other.store.reported = set(self.store.reported)
        other.store.removed = set(self.store.removed)
        if self.store.repository is not None:
            other.store.repository = attach_calmly(self.store.repository, other.store)
        return other

    def reach(self, store: DeleteStore | None = None) -> Repository:
        """Open the repository, through `store` if one is given."""
        return attach(store or self.store, key=self.key, runtime=self.runtime)

    def back_up(self, source: Path, store: DeleteStore | None = None) -> BackupReport:
        """Back up, with one worker, so that operations come in nearly the same order each time."""
        tree = describe(source)
        report = back_up(Source(source, allow_empty=True), into=self.reach(store), workers=1)
        self.expected[report.snapshot.name] = tree
        self.store.reported.add(report.snapshot.name)
        return report

    def delete(
        self,
        store: DeleteStore | None = None,
        *,
        choose: Callable[[list[str]], list[str]] = everything,
        ends: bool = False,
        rules: Rules = PROTOCOL,
    ) -> None:
        """Run the deleter."""
        chosen = store or self.store
        delete_packs(self.reach(chosen), chosen, choose=choose, ends=ends, rules=rules)

    def remove(self, *names: str, store: DeleteStore | None = None) -> list[str]:
        """Remove snapshots, as far as newer ones can be relied on."""
        chosen = store or self.store
        return remove_snapshots(self.reach(chosen), chosen, names)

    def snapshots(self) -> list[str]:
        """The names of the snapshots that count, oldest first."""
        return [snapshot.name for snapshot in self.reach(self.store.store).snapshots()]

    def deletion_was_cut_off(self) -> bool:
        """Whether packs are there that are doomed, and that the next deletion may choose again."""
        return any(not self._is_gone(pack) for pack in self.reach(self.store.store).reader().index.doomed)

    def _is_gone(self, pack: str) -> bool:
        try:
            self.store.store.get(pack, length=0)
        except NotFoundError:
            return True
        return False

    def require_sound(self, *, new: Tree | None = None, restored: int | None = None) -> None:
        """Nothing was violated, a full verification finds no error, and snapshots restore to the byte.

        A snapshot that nobody reported must hold `new`. With `restored`, only so many of the newest are restored.
        """
        repository = self.reach(self.store.store)
        self.store.check()
        assert not self.store.violations, self.store.violations
        snapshots = {snapshot.name: snapshot for snapshot in repository.snapshots()}
        assert self.store.reported - self.store.removed <= snapshots.keys()
        if not self.deletion_was_cut_off():
            report = verify(repository, level="full", record=False, workers=1)
            errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
            assert not errors, errors
        chosen = list(snapshots.values())[-restored:] if restored else list(snapshots.values())
        for snapshot in chosen:
            expected = self.expected.get(snapshot.name, new)
            assert expected is not None, f"{snapshot.name} appeared from nowhere"
            target = self.folder / f"restored-{next(_numbers)}"
            try:
                assert restore(snapshot, target, workers=1).complete
                assert describe(target) == expected
            finally:
                shutil.rmtree(target)


def empty_store() -> WatchedStore:
    """A new store in memory."""
    store = MemoryStore(f"simulation-{next(_numbers)}")
    store.create_root()
    return WatchedStore(store)


def forget(store: WatchedStore) -> None:
    """Give back the memory of a store."""
    for info in store.store.list(""):
        store.store.delete(info.name)


def subset(random: Random) -> Callable[[list[str]], list[str]]:
    """Choose each pack with a probability that is itself random."""
    share = random.random()
    return lambda packs: [pack for pack in packs if random.random() < share] or packs[:1]
