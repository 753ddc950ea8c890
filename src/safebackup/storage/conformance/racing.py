"""Checks of races: who creates one name at the same moment as others."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs

from safebackup.errors import ConflictError
from safebackup.storage.conformance.others import Other, others
from safebackup.storage.conformance.trial import (
    CheckFailedError,
    NotTriedError,
    Trial,
    check,
    in_threads,
    payload,
    require,
    told,
)
from safebackup.storage.store import DeleteStore

_THREADS = 6
_PROCESSES = 4
_ROUNDS = 40
_ROUNDS_THOROUGH = 200
_ROUNDS_MIN = 5
_ROUNDS_SAME_MIN = 3
_SAVED_SECONDS = 5
_SIZE = 2000
_AHEAD_SECONDS = 0.005  # so early everybody is told when to start


@attrs.define
class _Tally:
    """What came of all rounds of a race."""

    rounds: int = 0
    shared: int = 0  # rounds that more than one has won

    def told(self, racers: str) -> str:
        """For people."""
        if self.shared:
            return f"NOT exclusive: in {self.shared} of {self.rounds} races of {racers} several were told that they won"
        return f"exclusive: in {self.rounds} races of {racers} exactly one won"


def _judge(trial: Trial, tally: _Tally, name: str, outcomes: Mapping[str, str]) -> None:
    """Count a round: what is there must be whole, and of somebody who was told that it was stored."""
    errors = sorted({outcome for outcome in outcomes.values() if outcome not in ("stored", "conflict")})
    require(not errors, f"of those who raced one was told: {errors[:1]}")
    winners = [seed for seed, outcome in outcomes.items() if outcome == "stored"]
    require(bool(winners), "of those who raced nobody was told that it was stored")
    there = trial.store.get(name)
    require(
        any(there == payload(seed, _SIZE) for seed in winners),
        "after a race a name has bytes that nobody stored who was told so",
    )
    tally.rounds += 1
    tally.shared += len(winners) > 1


@check("race-of-threads", "S2", seconds=10, essential=False)
def threads(trial: Trial) -> str:
    """Threads, some with handles of their own, store different bytes under one name at the same moment."""
    tally = _Tally()
    handles = [trial.store if racer % 2 else trial.reopened() for racer in range(_THREADS)]
    with suppress(NotTriedError):  # what was seen until the time was over counts
        while tally.rounds < _ROUNDS and trial.has_time(1):
            name = trial.name(f"{tally.rounds}")
            _judge(trial, tally, name, _raced_by_threads(trial, handles, name))
    if tally.rounds < _ROUNDS_MIN and not tally.shared:
        raise NotTriedError(f"there was time for {tally.rounds} races", cut_short=True)
    trial.learn(threads_exclusive=not tally.shared)
    return tally.told(f"{_THREADS} threads")


def _raced_by_threads(trial: Trial, handles: Sequence[DeleteStore], name: str) -> dict[str, str]:
    start = threading.Barrier(len(handles))
    outcomes: dict[str, str] = {}

    def race(racer: int) -> None:
        seed = f"{name} {racer}"
        start.wait(timeout=max(trial.seconds_left(), 0.1))
        try:
            handles[racer].put_new(name, payload(seed, _SIZE))
        except ConflictError:
            outcomes[seed] = "conflict"
        else:
            outcomes[seed] = "stored"

    in_threads(race, range(len(handles)), trial, threads=len(handles))
    return outcomes


@check("race-of-processes", "S2", seconds=20, essential=False)
def processes(trial: Trial) -> str:
    """Processes that know nothing of each other store different bytes under one name at the same moment."""
    wanted = _ROUNDS_THOROUGH if trial.thorough else _ROUNDS
    tally = _Tally()
    with others(trial, _PROCESSES) as racers:
        while tally.rounds < wanted and trial.has_time(2):
            name = trial.name(f"{tally.rounds}")
            _judge(trial, tally, name, _raced_by_processes(trial, racers, name))
    if tally.rounds < (wanted if trial.thorough else _ROUNDS_MIN) and not tally.shared:
        raise NotTriedError(f"there was time for {tally.rounds} races", cut_short=True)
    trial.learn(processes_exclusive=not tally.shared, exclusive_rounds=tally.rounds)
    return tally.told(f"{_PROCESSES} processes")


def _raced_by_processes(trial: Trial, racers: Sequence[Other], name: str) -> dict[str, str]:
    at = trial.clock.monotonic() + _AHEAD_SECONDS
    for number, racer in enumerate(racers):
        racer.tell("put", name=name, seed=f"{name} {number}", size=_SIZE, at=at)
    answers = [racer.answer(trial.seconds_left()) for racer in racers]
    return {
        f"{name} {number}": str(answer.get("outcome", answer.get("error"))) for number, answer in enumerate(answers)
    }


@check("race-with-the-same", "S2", seconds=8)
def same(trial: Trial) -> str:
    """Threads that store the same bytes under one name at the same moment are all told that it is stored."""
    rounds = 0
    while rounds < _ROUNDS_SAME_MIN or (rounds < _ROUNDS and trial.has_time(_SAVED_SECONDS)):
        name = trial.name(f"{rounds}")
        _race_with(trial, name, payload(name, _SIZE))
        require(trial.store.get(name) == payload(name, _SIZE), "after a race with the same bytes other bytes are there")
        rounds += 1
    return f"in {rounds} races everybody was told that it is stored"


def _race_with(trial: Trial, name: str, data: bytes) -> None:
    start = threading.Barrier(_PROCESSES)

    def race(_racer: int) -> None:
        start.wait(timeout=max(trial.seconds_left(), 0.1))
        try:
            trial.store.put_new(name, data)
        except ConflictError as error:
            raise CheckFailedError(f"who stored what was there already: {told(error)}") from None

    in_threads(race, range(_PROCESSES), trial, threads=_PROCESSES)
