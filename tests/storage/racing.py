"""Processes that are forked from one that uses a store already, and race for names there."""

from __future__ import annotations

import json
import os
import signal
import warnings

from safebackup.storage import DeleteStore
from tests.storage.contract import outcome_of_put


def raced(store: DeleteStore, *, racers: int, rounds: int) -> list[dict[int, str]]:
    """For each name `race/<round>`, what came of each process that put its own bytes, `body_of(racer)`, there."""
    lines = [os.pipe() for _ in range(racers)]
    children = [_forked(store, racer, rounds, lines[racer][1]) for racer in range(racers)]
    for _, writing in lines:
        os.close(writing)
    outcomes = [_read(reading) for reading, _ in lines]
    for child in children:
        os.waitpid(child, 0)
    return [{racer: outcomes[racer][number] for racer in range(racers)} for number in range(rounds)]


def body_of(racer: int) -> bytes:
    """What a process puts."""
    return b"%d" % racer * 1000


def _forked(store: DeleteStore, racer: int, rounds: int, line: int) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, which is the point here
        child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            outcomes = [outcome_of_put(store, f"race/{number}", body_of(racer)) for number in range(rounds)]
            os.write(line, json.dumps(outcomes).encode())
        finally:
            os._exit(0)
    return child


def _read(line: int) -> list[str]:
    with os.fdopen(line) as told:
        found: list[str] = json.load(told)
    return found
