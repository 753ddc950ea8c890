"""Another process that uses the store: it does what it is told, line by line, until nobody tells it anything."""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

from safebackup.clock import SystemClock
from safebackup.errors import ConflictError, NotFoundError
from safebackup.storage.conformance.subject import Recipe
from safebackup.storage.conformance.trial import is_no_answer, payload, told
from safebackup.storage.store import DeleteStore

_clock = SystemClock()


def serve(orders: BinaryIO) -> None:
    """Open the store that the first line tells of, then answer each line with one."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    warnings.simplefilter("ignore")
    store: DeleteStore | None = None
    for line in orders:
        order = json.loads(line)
        try:
            if "recipe" in order:
                store = Recipe(**order["recipe"]).open()
                answer: dict[str, object] = {}
            else:
                assert store is not None
                answer = _ACTS[order.pop("do")](store, **order)
        except Exception as error:
            answer = {"error": told(error), "is_no_answer": is_no_answer(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


_prepared: dict[tuple[str, int], bytes] = {}


def _prepare(_store: DeleteStore, *, seed: str, size: int) -> dict[str, object]:
    """Make bytes that are to be put next, as that takes its time."""
    _prepared.clear()
    _prepared[seed, size] = payload(seed, size)
    return {}


def _put(store: DeleteStore, *, name: str, seed: str, size: int, at: float = 0.0) -> dict[str, object]:
    """Store bytes, at a moment that all processes know: the monotonic clock is one for all of them."""
    data = _prepared.get((seed, size)) or payload(seed, size)
    while _clock.monotonic() < at:
        pass
    try:
        store.put_new(name, data)
    except ConflictError:
        return {"outcome": "conflict"}
    return {"outcome": "stored"}


def _get(store: DeleteStore, *, name: str) -> dict[str, object]:
    try:
        data = store.get(name)
    except NotFoundError:
        return {"outcome": "missing"}
    return {"outcome": "found", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _list(store: DeleteStore, *, prefix: str) -> dict[str, object]:
    return {"names": [info.name for info in store.list(prefix)]}


def _delete(store: DeleteStore, *, name: str) -> dict[str, object]:
    store.delete(name)
    return {}


def _fork(store: DeleteStore, *, folder: str, seconds: float) -> dict[str, object]:
    """Use the handle in a child and in its parent at the same time, then in the parent again."""
    _use(store, f"{folder}before")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, json.dumps(_tried(lambda: _use(store, f"{folder}child"))).encode())
        os._exit(0)
    os.close(writing)
    parent = _tried(lambda: _use(store, f"{folder}parent"))
    told_by_child = _heard(reading, seconds)
    os.kill(child, 9)  # it may hang; after its answer there is nothing left for it to do
    os.waitpid(child, 0)
    after = _tried(lambda: _use(store, f"{folder}after"))
    return {"child": told_by_child, "parent": parent, "after": after}


def _heard(reading: int, seconds: float) -> object:
    ready, _, _ = select.select([reading], [], [], seconds)
    said = os.read(reading, 4096) if ready else b""
    os.close(reading)
    return json.loads(said) if said else "it never answered"


def _tried(act: Callable[[], None]) -> str:
    try:
        act()
    except Exception as error:
        return told(error)
    return ""


def _use(store: DeleteStore, name: str) -> None:
    data = payload(name, 100_000)
    store.put_new(name, data)
    if store.get(name) != data or name not in {info.name for info in store.list(f"{name.rpartition('/')[0]}/")}:
        raise ValueError(name)


_ACTS: dict[str, Callable[..., dict[str, object]]] = {
    "prepare": _prepare,
    "put": _put,
    "get": _get,
    "list": _list,
    "delete": _delete,
    "fork": _fork,
}


def main() -> Any:
    """What the process runs."""
    serve(sys.stdin.buffer)
