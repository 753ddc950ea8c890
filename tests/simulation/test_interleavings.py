"""Writers and deleters of the real code, each stopped anywhere while others go on.

After each simulation every snapshot that was reported as made restores to the byte (I1, I8, I9), nothing was
overwritten (I4), no index named what was not there (I2), and the next run succeeds (I7). `WatchedStore` looks after
each delete, so a snapshot that is in danger for one moment only is seen too.

`SAFEBACKUP_LONG=1` stops before every single read as well, and takes more random ways.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest

from safebackup.errors import Code, ConflictError
from safebackup.repository import KeyFile
from safebackup.storage import DeleteStore
from safebackup.testing import SimulatedCrash
from tests.simulation.deleter import PROTOCOL, RefusedToDeleteError, Rules
from tests.simulation.scenario import Scenario, used_repository
from tests.simulation.scheduling import PausingStore, Process, run_at_random, run_in_stages
from tests.simulation.world import World, forget, subset

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
Stages = list[tuple[str, int | str]]
Make = Callable[[World, Scenario], Process]


@pytest.fixture(scope="module")
def scenario(folder: Path) -> Scenario:
    return used_repository(folder)


def writer(world: World, scenario: Scenario) -> Process:
    return lambda store: world.back_up(scenario.first, store)


def another_writer(world: World, scenario: Scenario) -> Process:
    return lambda store: world.back_up(scenario.second, store)


def deleter(world: World, _scenario: Scenario) -> Process:
    return world.delete


def ending_deleter(world: World, _scenario: Scenario) -> Process:
    return lambda store: world.delete(store, ends=True)


def remover(world: World, _scenario: Scenario) -> Process:
    def remove(store: DeleteStore) -> None:
        world.remove(*world.snapshots(), store=store)
        world.delete(store, ends=True)

    return remove


WRITERS: Mapping[str, Make] = {"a writer": writer, "another writer": another_writer}
DELETERS: Mapping[str, Make] = {
    "a deleter": deleter,
    "a deleter that ends runs": ending_deleter,
    "a deleter that removes snapshots": remover,
}
PROCESSES: Mapping[str, Make] = {**WRITERS, **DELETERS}
PAIRS = [
    ("a writer", "a writer"),
    ("a writer", "another writer"),
    ("a writer", "a deleter that ends runs"),
    ("a writer", "a deleter that removes snapshots"),
    ("a deleter that ends runs", "a writer"),
    ("a deleter that removes snapshots", "a writer"),
    ("a deleter", "a deleter"),
    ("a deleter that ends runs", "a deleter that removes snapshots"),
    ("a deleter that removes snapshots", "a deleter that ends runs"),
]


# The writer sleeps before its commit, the deleter before it ends that run; then the writer reports success.
OVERTAKEN: Stages = [
    ("writer", "put_new snapshots/"),
    ("deleter", "put_new deaths/"),
    ("writer", 1000),
    ("deleter", 1000),
]
# The deleter sleeps before its doom, and the writer comes and goes.
OVERLOOKED: Stages = [("deleter", "put_new dooms/"), ("writer", 1000), ("deleter", 1000)]
# The writer sleeps before its commit while the deleter comes and goes.
SLEPT: Stages = [("writer", "put_new snapshots/"), ("deleter", 1000), ("writer", 1000)]


def is_legal(error: BaseException | None) -> bool:
    """Whether a process may end so beside others.

    A writer that was declared dead has to say so. A deleter that listed a snapshot just before another removed it
    cannot read it any more and refuses, having deleted nothing; the next one, at the end, has to succeed.
    """
    if isinstance(error, RefusedToDeleteError):
        return True
    return error is None or (isinstance(error, ConflictError) and error.code is Code.RUN_DECLARED_DEAD)


def attempt(process: Process, store: DeleteStore) -> None:
    try:
        process(store)
    except (ConflictError, RefusedToDeleteError) as error:
        if not is_legal(error):
            raise


def require_sound_end(world: World, scenario: Scenario) -> None:
    """All is sound now, and after one more run of each."""
    for name in set(world.snapshots()) - world.expected.keys():
        # Its writer crashed, or was suspected and reported failure; it is published all the same.
        body = world.reach(world.store.store).history().snapshots[name]
        world.expected[name] = scenario.trees[Path(os.fsdecode(body.roots[0][1]))]
    world.require_sound()
    world.delete(ends=True)
    for source in scenario.trees:
        assert world.back_up(source).complete
    world.require_sound(restored=2)


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(PROCESSES, repeat=2)) if LONG else PAIRS)
def test_others_run_while_one_process_is_stopped_anywhere(scenario: Scenario, outer: str, inner: str) -> None:
    for moment in itertools.count(1):
        world = scenario.used.copy()
        first, second = PROCESSES[outer](world, scenario), PROCESSES[inner](world, scenario)

        def meanwhile(world: World = world, second: Process = second) -> None:
            attempt(second, world.store)

        store = PausingStore(world.store, before=moment, meanwhile=meanwhile, every=LONG)
        attempt(first, store)
        require_sound_end(world, scenario)
        forget(world.store)
        if not store.paused:
            break
    assert moment > 15


def test_one_process_runs_within_another_that_runs_within_a_third(scenario: Scenario) -> None:
    random = Random(3)
    for _ in range(3000 if LONG else 40):
        world = scenario.used.copy()
        names = random.choices(sorted(PROCESSES), k=3)
        outer, middle, inner = (PROCESSES[name](world, scenario) for name in names)
        moments = random.randrange(1, 40), random.randrange(1, 40)

        def nested(
            world: World = world, middle: Process = middle, inner: Process = inner, before: int = moments[1]
        ) -> None:
            store = PausingStore(world.store, before=before, meanwhile=lambda: attempt(inner, world.store))
            attempt(middle, store)

        print(names, moments)
        attempt(outer, PausingStore(world.store, before=moments[0], meanwhile=nested))
        require_sound_end(world, scenario)
        forget(world.store)


def some_deleter(world: World, random: Random, rules: Rules) -> Process:
    """One that chooses packs at random, and may end runs and remove snapshots."""
    choose, ends, removes = subset(Random(random.random())), random.random() < 0.5, random.random() < 0.3

    def process(store: DeleteStore) -> None:
        if removes:
            world.remove(*world.snapshots(), store=store)
        world.delete(store, choose=choose, ends=ends, rules=rules)

    return process


def run_crowd(scenario: Scenario, seed: int, *, rules: Rules = PROTOCOL) -> World:
    """Two writers, and two deleters of various kinds, in a random order, some of which crash."""
    random = Random(seed)
    world = scenario.used.copy()
    processes = {
        "writer": writer(world, scenario),
        "another writer": another_writer(world, scenario),
        "deleter": some_deleter(world, random, rules),
        "another deleter": some_deleter(world, random, rules),
    }
    outcomes = run_at_random(world.store, processes, random=random, crash=random.choice((0, 0, 0.3)))
    for who, outcome in outcomes.items():
        refused = isinstance(outcome.error, RefusedToDeleteError)
        legal = is_legal(outcome.error) or refused or isinstance(outcome.error, SimulatedCrash)
        assert legal, f"seed {seed}: {who} ended with {outcome.error!r}"
    return world


def test_two_writers_and_two_deleters_in_any_order(scenario: Scenario) -> None:
    for seed in range(5000 if LONG else 40):
        print("seed", seed)
        world = run_crowd(scenario, seed)
        require_sound_end(world, scenario)
        forget(world.store)


def test_two_writers_and_two_deleters_in_any_order_over_a_sealed_repository(folder: Path) -> None:
    (folder / "sealed").mkdir()
    sealed = used_repository(folder / "sealed", key=KeyFile.create(folder / "key"))
    for seed in range(1000 if LONG else 10):
        world = run_crowd(sealed, seed)
        require_sound_end(world, sealed)
        forget(world.store)


def run_writer_and_deleter(scenario: Scenario, stages: Stages, rules: Rules) -> World:
    """One of each, the deleter ending runs, in an order that is given."""
    world = scenario.used.copy()
    # The writer's run shall be the only one left to end; dead chunks of files stay where they are.
    world.delete(ends=True, choose=lambda packs: [pack for pack in packs if pack.startswith("metadata/")])
    processes = {
        "writer": writer(world, scenario),
        "deleter": lambda store: world.delete(store, ends=True, rules=rules),
    }
    outcomes = run_in_stages(world.store, processes, stages)
    assert is_legal(outcomes["writer"].error)
    return world


@pytest.mark.parametrize("stages", [OVERTAKEN, OVERLOOKED, SLEPT])
def test_a_writer_and_a_deleter_in_the_orders_that_would_do_most_harm(scenario: Scenario, stages: Stages) -> None:
    world = run_writer_and_deleter(scenario, stages, Rules())
    require_sound_end(world, scenario)


def test_a_writer_and_a_deleter_take_turns_at_any_two_moments(scenario: Scenario) -> None:
    moments = list(itertools.product(range(1, 45), range(1, 45)))
    for first, second in moments if LONG else Random(5).sample(moments, 40):
        world = scenario.used.copy()
        processes = {"writer": writer(world, scenario), "deleter": remover(world, scenario)}
        stages = [("writer", first), ("deleter", second), ("writer", 1000)]
        for outcome in run_in_stages(world.store, processes, stages).values():
            assert is_legal(outcome.error), f"{stages}: {outcome.error!r}"
        require_sound_end(world, scenario)
        forget(world.store)


@pytest.mark.parametrize(
    ("rules", "stages", "violation"),
    [
        pytest.param(Rules(live_listed="before the doom"), OVERLOOKED, "lost", id="live chunks listed before the doom"),
        pytest.param(Rules(intents=False), SLEPT, "lost", id="intents ignored"),
        pytest.param(Rules(copies=False), SLEPT, "lost", id="nothing copied"),
        pytest.param(Rules(death="at once"), OVERTAKEN, "void", id="death in one step"),
        pytest.param(Rules(death="after listing snapshots"), OVERTAKEN, "void", id="death in one step, after a look"),
    ],
)
def test_the_simulation_notices_each_rule_that_a_deleter_leaves_out(
    scenario: Scenario, rules: Rules, stages: Stages, violation: str
) -> None:
    world = run_writer_and_deleter(scenario, stages, rules)
    assert any(found.startswith(violation) for found in world.store.violations), world.store.violations


def test_the_simulation_notices_a_deleter_that_ignores_the_dooms_of_others(scenario: Scenario) -> None:
    for seed in range(500):
        world = run_crowd(scenario, seed, rules=Rules(dooms_of_others=False))
        world.store.check()
        if world.store.violations:
            print(f"seed {seed}: {world.store.violations[0]}")
            return
        forget(world.store)
    pytest.fail("no violation in 500 random ways")
