"""Several processes over one store, and who of them comes next.

`PausingStore` stops one process before its k-th operation and lets others run as a whole in between.
`run_at_random` and `run_in_stages` let one operation of one process happen at a time, in an order that a seed or
the caller decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TypeVar

import attrs

from safebackup.storage import DeleteStore, ObjectInfo
from safebackup.testing import SimulatedCrash

T = TypeVar("T")
Process = Callable[[DeleteStore], object]


class GatedStore:
    """A store whose every operation passes a gate, one at a time."""

    def __init__(self, store: DeleteStore) -> None:
        self.store = store

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._pass(f"get {name}", lambda: self.store.get(name, start=start, length=length))

    def list(self, prefix: str) -> list[ObjectInfo]:
        return self._pass(f"list {prefix}", lambda: self.store.list(prefix))

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        return self._pass(f"put_new {name}", lambda: self.store.put_new(name, data))

    def delete(self, name: str) -> None:
        return self._pass(f"delete {name}", lambda: self.store.delete(name))

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        raise NotImplementedError


class PausingStore(GatedStore):
    """Before moment number `before` the process stops until `meanwhile` is over; `paused` says if it came to that.

    A moment is an operation, or with `every=False` the first of several reads in a row.
    """

    def __init__(self, store: DeleteStore, *, before: int, meanwhile: Callable[[], object], every: bool = True) -> None:
        super().__init__(store)
        self.before = before
        self.meanwhile = meanwhile
        self.every = every
        self.paused = False
        self._gate = threading.Lock()
        self._moments = 0
        self._after_read = False

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        with self._gate:
            is_read = operation.startswith("get ")
            if self.every or not (is_read and self._after_read):
                self._moments += 1
                if self._moments == self.before:
                    self.paused = True
                    self.meanwhile()
            self._after_read = is_read
            return act()


@attrs.define
class Outcome:
    """How a process ended: an error, or none."""

    error: BaseException | None = None
    operations: int = 0
    finished: bool = False


@attrs.frozen(eq=False)
class _Ticket:
    """An operation that waits for its turn."""

    operation: str


class _Turns:
    """Who waits, and whose turn it is."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: dict[str, list[_Ticket]] = {}
        self.turn: _Ticket | None = None
        self.crashed: set[str] = set()


class _TurnStore(GatedStore):
    def __init__(self, store: DeleteStore, turns: _Turns, who: str) -> None:
        super().__init__(store)
        self._turns = turns
        self._who = who

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        turns, ticket = self._turns, _Ticket(operation)
        with turns.changed:
            turns.waiting.setdefault(self._who, []).append(ticket)
            turns.changed.notify_all()
            turns.changed.wait_for(lambda: turns.turn is ticket)
            try:
                if self._who in turns.crashed:
                    raise SimulatedCrash(f"{self._who} has crashed")
                return act()
            finally:
                turns.turn = None
                turns.changed.notify_all()


def run_at_random(
    store: DeleteStore, processes: Mapping[str, Process], *, random: Random, crash: float = 0.0
) -> dict[str, Outcome]:
    """Run all processes to their end, one operation at a time, in a random order; how each ended.

    How often turns change is itself random, so that some processes sleep long. With probability `crash` a process
    dies before one of its first 60 operations.
    """
    dies = {who: random.randrange(1, 60) for who in processes if random.random() < crash}
    change = random.choice((0.03, 0.15, 0.5, 1.0))
    current = random.choice(sorted(processes))

    def choose(next_operations: Mapping[str, str]) -> str:
        nonlocal current
        if current not in next_operations or random.random() < change:
            current = random.choice(sorted(next_operations))
        return current

    return _run(store, processes, choose, dies)


def run_in_stages(
    store: DeleteStore, processes: Mapping[str, Process], stages: Iterable[tuple[str, int | str]]
) -> dict[str, Outcome]:
    """Let each stage's process do so many operations, or go on until its next operation begins so; then all the rest.

    A stage of a process that has ended is passed over.
    """
    script = iter(stages)
    who, until = next(script, ("", 0))

    def choose(next_operations: Mapping[str, str]) -> str:
        nonlocal who, until
        while who:
            operation = next_operations.get(who)
            if operation is not None and isinstance(until, int) and until > 0:
                until -= 1
                return who
            if operation is not None and isinstance(until, str) and not operation.startswith(until):
                return who
            who, until = next(script, ("", 0))
        return min(next_operations)

    return _run(store, processes, choose, {})


def _run(
    store: DeleteStore,
    processes: Mapping[str, Process],
    choose: Callable[[Mapping[str, str]], str],
    dies: Mapping[str, int],
) -> dict[str, Outcome]:
    turns = _Turns()
    outcomes = {who: Outcome() for who in processes}
    threads = []
    for who, process in processes.items():
        arguments = (process, _TurnStore(store, turns, who), outcomes[who], turns)
        threads.append(threading.Thread(target=_perform, args=arguments, name=who, daemon=True))
    for thread in threads:
        thread.start()
    while True:
        with turns.changed:
            ready = turns.changed.wait_for(lambda: _all_settled(turns, outcomes), timeout=60)
            assert ready, f"a process neither went on nor ended: {outcomes}"
            alive = {who: turns.waiting[who][0].operation for who, outcome in outcomes.items() if not outcome.finished}
            if not alive:
                break
            who = choose(alive)
            outcomes[who].operations += 1
            if outcomes[who].operations == dies.get(who):
                turns.crashed.add(who)
            turns.turn = turns.waiting[who].pop(0)
            turns.changed.notify_all()
    for thread in threads:
        thread.join()
    return outcomes


def _all_settled(turns: _Turns, outcomes: Mapping[str, Outcome]) -> bool:
    """Nobody is at work: every process has ended, or waits for its turn."""
    return turns.turn is None and all(outcome.finished or turns.waiting.get(who) for who, outcome in outcomes.items())


def _perform(process: Process, store: DeleteStore, outcome: Outcome, turns: _Turns) -> None:
    try:
        process(store)
    except BaseException as error:  # also a simulated crash: the test judges it
        outcome.error = error
    with turns.changed:
        outcome.finished = True
        turns.changed.notify_all()
