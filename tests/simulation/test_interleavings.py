"""Writers, deleters and readers of the real code, stopped anywhere while the others go on.

After each simulation every snapshot that was reported as made restores to the byte (I1, I8, I9), nothing was
overwritten (I4), no index named what was not there (I2), and the next run succeeds (I7).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest

from safebackup.errors import Code, ConflictError
from safebackup.storage import DeleteStore
from tests.faults import SimulatedCrash
from tests.simulation.deleter import RefusedToDeleteError
from tests.simulation.scenario import Scenario, used_repository
from tests.simulation.scheduling import Outcome, PausingStore, Process, run_together
from tests.simulation.world import World, forget, subset

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
Make = Callable[[World, Scenario], Process]


@pytest.fixture(scope="module")
def scenario(folder: Path) -> Scenario:
    return used_repository(folder)


def first_writer(world: World, scenario: Scenario) -> Process:
    return lambda store: world.back_up(scenario.first, store)


def second_writer(world: World, scenario: Scenario) -> Process:
    return lambda store: world.back_up(scenario.second, store)


def deleter(world: World, _scenario: Scenario) -> Process:
    return lambda store: world.delete(store)


def ending_deleter(world: World, _scenario: Scenario) -> Process:
    return lambda store: world.delete(store, ends=True)


def remover(world: World, _scenario: Scenario) -> Process:
    def remove(store: DeleteStore) -> None:
        world.remove(*world.snapshots(), store=store)
        world.delete(store, ends=True)

    return remove


PROCESSES: Mapping[str, Make] = {
    "a writer": first_writer,
    "another writer": second_writer,
    "a deleter": deleter,
    "a deleter that ends runs": ending_deleter,
    "a deleter that removes snapshots": remover,
}


def is_legal(error: BaseException | None) -> bool:
    """Whether a process may end so beside others: a writer that is declared dead has to say so."""
    return error is None or (isinstance(error, ConflictError) and error.code is Code.RUN_DECLARED_DEAD)


def require_sound_end(world: World, scenario: Scenario) -> None:
    """All is sound now, and after one more run of each."""
    trees = scenario.trees
    for name in set(world.snapshots()) - world.expected.keys():
        # Its writer saw that it was suspected and reported failure; it was published all the same.
        body = world.reach(world.store.store).history().snapshots[name]
        world.expected[name] = trees[Path(os.fsdecode(body.roots[0][1]))]
    world.require_sound()
    world.delete(ends=True)
    for source in (scenario.first, scenario.second):
        assert world.back_up(source).complete
    world.require_sound()


def run_paused(scenario: Scenario, outer: Make, inner: Make, moment: int) -> bool:
    """Stop `outer` before an operation, run `inner`, go on; whether `outer` came so far."""
    world = scenario.used.copy()
    legal: list[BaseException] = []

    def attempt(process: Process, store: DeleteStore) -> None:
        try:
            process(store)
        except Exception as error:
            if not is_legal(error):
                raise
            legal.append(error)

    store = PausingStore(world.store, before=moment, meanwhile=lambda: attempt(inner(world, scenario), world.store))
    attempt(outer(world, scenario), store)
    require_sound_end(world, scenario)
    forget(world.store)
    return store.paused


@pytest.mark.parametrize("inner", PROCESSES)
@pytest.mark.parametrize("outer", PROCESSES)
def test_one_process_runs_while_another_is_stopped_anywhere(scenario: Scenario, outer: str, inner: str) -> None:
    for moment in itertools.count(1):
        if not run_paused(scenario, PROCESSES[outer], PROCESSES[inner], moment):
            break
    assert moment > 10
