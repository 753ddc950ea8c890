"""Creating one repository from many places at the same moment, with crashes.

There is never more than one founding record, and one creator at most is told that the repository is its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import attrs
import pytest

from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.repository import KeyFile, Repository
from safebackup.repository.configuring import read_configurations
from safebackup.repository.repository import attach, found
from safebackup.repository.runtime import Runtime
from safebackup.storage import DeleteStore, ObjectInfo
from safebackup.testing import CrashingStore, FaultyStore, SimulatedCrash
from tests.simulation.scheduling import GatedStore, PausingStore, Process, T, run_at_random
from tests.simulation.world import WatchedStore, empty_store, forget

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"


@attrs.define
class Race:
    """A place where several create a repository, and what they were told."""

    store: WatchedStore = attrs.field(factory=empty_store)
    created: list[Repository] = attrs.field(factory=list)
    refused: int = 0

    def create(self, store: DeleteStore) -> None:
        """One attempt."""
        try:
            self.created.append(found(store, key=None, runtime=Runtime()))
        except ConflictError as error:
            assert error.code in (Code.REPOSITORY_EXISTS, Code.CREATION_CONTESTED)
            self.refused += 1

    def require_one(self, *, attempts: int | None = None) -> None:
        """There is one repository, it belongs to whoever was told so, and it can be opened."""
        assert not self.store.violations
        opened = attach(self.store.store, key=None, runtime=Runtime())
        assert [repository.id for repository in self.created] in ([], [opened.id])
        if attempts is not None:
            assert (len(self.created), self.refused) == (1, attempts - 1)

    def require_usable(self) -> None:
        """Whatever became of the attempts, one more creates the repository or finds it."""
        with_founding = self._has_founding()
        before = len(self.created)
        self.create(self.store)
        assert not (with_founding and len(self.created) > before)
        self.require_one()
        forget(self.store)

    def _has_founding(self) -> bool:
        try:
            read_configurations(self.store.store)
        except NotFoundError:
            return False
        return True


def test_one_of_two_creates_it_wherever_the_other_is_stopped() -> None:
    for moment in itertools.count(1):
        race = Race()
        store = PausingStore(race.store, before=moment, meanwhile=partial(race.create, race.store))
        race.create(store)
        race.require_one(attempts=1 + store.paused)
        forget(race.store)
        if not store.paused:
            break
    assert moment > 10


def test_one_of_three_creates_it_wherever_two_are_stopped() -> None:
    moments = list(itertools.product(range(1, 20), repeat=2))
    for first, second in moments if LONG else Random(1).sample(moments, 150):
        race = Race()
        inner = PausingStore(race.store, before=second, meanwhile=partial(race.create, race.store))
        outer = PausingStore(race.store, before=first, meanwhile=partial(race.create, inner))
        race.create(outer)
        race.require_one(attempts=1 + outer.paused + inner.paused)
        forget(race.store)


@pytest.mark.parametrize("creators", [2, 3, 4])
def test_one_of_many_creates_it_in_any_order(creators: int) -> None:
    for seed in range(5000 if LONG else 80):
        race = Race()
        outcomes = run_at_random(race.store, processes(race, creators), random=Random(seed))
        assert [outcome.error for outcome in outcomes.values()] == [None] * creators, f"seed {seed}"
        race.require_one(attempts=creators)
        forget(race.store)


@pytest.mark.parametrize("creators", [2, 3, 4])
def test_creators_that_crash_block_nobody(creators: int) -> None:
    for seed in range(5000 if LONG else 80):
        race = Race()
        outcomes = run_at_random(race.store, processes(race, creators), random=Random(seed), crash=0.7)
        assert all(isinstance(outcome.error, SimulatedCrash | None) for outcome in outcomes.values()), f"seed {seed}"
        race.require_usable()


def processes(race: Race, count: int) -> Mapping[str, Process]:
    return {f"creator {number}": race.create for number in range(count)}


class Blind(GatedStore):
    """Breaks S3: it lists nothing that others put."""

    def __init__(self, store: DeleteStore) -> None:
        super().__init__(store)
        self._own: set[str] = set()

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        super().put_new(name, data)
        self._own.add(name)

    def list(self, prefix: str) -> list[ObjectInfo]:
        return [info for info in super().list(prefix) if info.name in self._own]

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        return act()


def test_the_simulation_notices_creators_that_do_not_see_each_other() -> None:
    race = Race()
    race.create(Blind(race.store))
    race.create(Blind(race.store))
    with pytest.raises(ConflictError, match="2 repositories"):
        race.require_one()


def test_two_that_crash_anywhere_block_nobody() -> None:
    moments = list(itertools.product(range(1, 16), repeat=2))
    for first, second in moments if LONG else Random(2).sample(moments, 100):
        race = Race()
        for store in (CrashingStore(race.store, before=first), CrashingStore(race.store, before=second)):
            try:
                race.create(store)
            except SimulatedCrash:
                continue
        race.require_usable()


FAULTS: list[Callable[[DeleteStore, int], DeleteStore]] = [
    lambda store, moment: FaultyStore(store, at=moment),
    lambda store, moment: FaultyStore(store, at=moment, times=None),
    lambda store, moment: FaultyStore(store, at=moment, answer_lost=True),
    lambda store, moment: FaultyStore(store, at=moment, times=None, answer_lost=True),
]


@pytest.mark.parametrize("make", FAULTS, ids=["once", "for ever", "answer lost", "answers lost for ever"])
def test_a_fault_anywhere_blocks_nobody(make: Callable[[DeleteStore, int], DeleteStore]) -> None:
    for moment in range(1, 16):
        race = Race()
        with suppress(StorageError):
            race.create(make(race.store, moment))
        race.require_usable()


def test_whoever_comes_after_a_crash_with_another_key_is_told_which_is_the_repository(folder: Path) -> None:
    """The key slot of the one that crashed decides; the founding record is never there without it."""
    mine, theirs = KeyFile.create(folder / "mine"), KeyFile.create(folder / "theirs")
    for moment in range(1, 16):
        store = empty_store()
        with suppress(SimulatedCrash):
            found(CrashingStore(store, before=moment), key=theirs, runtime=Runtime())
        try:
            opened = found(store, key=mine, runtime=Runtime())
        except ConflictError as error:
            assert error.code is Code.REPOSITORY_EXISTS
            opened = attach(store, key=theirs, runtime=Runtime())
        assert opened.keyring.classes
        forget(store)
