"""Restoring and verifying beside deleters, which move chunks and remove snapshots under their hands."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup import Snapshot, restore, verify
from safebackup.findings import Severity
from safebackup.format.header import Kind
from safebackup.repository.manifests import Manifests
from safebackup.storage import DeleteStore
from tests.simulation.deleter import everything
from tests.simulation.scenario import Scenario, used_repository
from tests.simulation.scheduling import GatedStore, PausingStore, T
from tests.simulation.trees import describe
from tests.simulation.world import World, forget


@pytest.fixture(scope="module")
def scenario(folder: Path) -> Scenario:
    made = used_repository(folder)
    made.used.back_up(made.first)
    return made


def at_every_moment(scenario: Scenario, reader: Callable[[World, DeleteStore], None]) -> int:
    """Stop `reader` before each of its reads while everything is moved twice, and the older snapshots go."""
    for moment in itertools.count(1):
        world = scenario.used.copy()

        def meanwhile(world: World = world) -> None:
            world.remove(*world.snapshots())
            world.delete(ends=True)
            world.delete(ends=True)

        store = PausingStore(world.store, before=moment, meanwhile=meanwhile)
        reader(world, store)
        forget(world.store)
        if not store.paused:
            return moment
    raise AssertionError


def test_a_restore_is_whole_whenever_a_deleter_moves_everything(scenario: Scenario, folder: Path) -> None:
    def read(world: World, store: DeleteStore) -> None:
        snapshot = newest(world, store)
        assert restore(snapshot, folder / "restored", workers=1).complete
        assert describe(folder / "restored") == world.expected[snapshot.name]
        shutil.rmtree(folder / "restored")

    assert at_every_moment(scenario, read) > 15


def newest(world: World, store: DeleteStore) -> Snapshot:
    return world.reach(store).snapshot()


def test_a_walk_is_whole_whenever_a_deleter_moves_everything(scenario: Scenario) -> None:
    def read(world: World, store: DeleteStore) -> None:
        snapshot = newest(world, store)
        found = {str(Path(entry.path.decode() or ".")) for entry in snapshot.walk()}
        assert found == world.expected[snapshot.name].keys()

    assert at_every_moment(scenario, read) > 5


def test_a_verification_beside_a_deleter_finds_no_damage(scenario: Scenario) -> None:
    problems: set[str] = set()

    def read(world: World, store: DeleteStore) -> None:
        report = verify(world.reach(store), record=False, workers=1)
        problems.update(
            f"{finding.code}: {finding.subject.split('/')[0]}"
            for finding in report.findings
            if finding.severity is Severity.ERROR
        )

    assert at_every_moment(scenario, read) > 15
    assert not problems


class Ambush(GatedStore):
    """When a pack is found missing, another thread of the same process has just read the indexes again."""

    def __init__(self, store: DeleteStore) -> None:
        super().__init__(store)
        self.refresh: Callable[[], None] = lambda: None

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        try:
            return act()
        except LookupError:
            self.refresh()
            raise


def test_a_chunk_that_moved_is_found_although_another_thread_has_read_the_indexes_again(scenario: Scenario) -> None:
    world = scenario.used.copy()
    store = Ambush(world.store)
    snapshot = newest(world, store)
    reader = world.reach(store).reader()
    needs = set(Manifests(reader).needs(snapshot.body.manifest, snapshot.body.evidence))
    data = [(chunk_id, length) for kind, chunk_id, length in needs if kind is Kind.DATA_PACK]
    world.delete(choose=everything)
    store.refresh = reader.index.refresh
    for chunk_id, length in data:
        assert len(reader.read(chunk_id, length)) == length
