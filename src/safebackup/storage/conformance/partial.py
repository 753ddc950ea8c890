"""Checks that nobody ever sees a part of an object: neither while it is written nor after its writer was killed."""

from __future__ import annotations

import os
from threading import Event, Thread

from safebackup.errors import NotFoundError
from safebackup.storage.conformance.others import Other, others
from safebackup.storage.conformance.trial import MIB, NotTriedError, Trial, check, payload, require
from safebackup.storage.store import DeleteStore

_SIZE_MIN = MIB
_SIZE_MAX = 32 * MIB
_WRITING_SECONDS = 0.4  # about so long an object takes to be written that is looked at meanwhile
_ROUNDS = 4
_KILLED = 4
_KILLED_THOROUGH = 24
_AT_ONCE = 4
_LOOKS_AFTER = 3


@check("no-part-visible", "S7", seconds=15)
def visible(trial: Trial) -> str:
    """While another handle writes an object, nobody sees it, or all of it."""
    size, _ = _size_and_seconds(trial)
    writer = trial.reopened()
    looks = seen = 0
    for number in range(_ROUNDS):
        name, data = trial.name(f"{number}"), payload(f"part {number}", size)
        done = Event()
        errors: list[BaseException] = []
        Thread(target=_write, args=(writer, name, data, done, errors), daemon=True).start()
        is_done = False
        while not is_done:
            is_done = done.is_set()  # asked before looking: one look comes after the last byte
            looks += 1
            seen += _look(trial, name, data)
            if not trial.has_time():
                raise NotTriedError("an object took too long to be written", cut_short=True)
        if errors:
            raise errors[0]
    require(seen >= _ROUNDS, "an object that was stored is not there")
    return f"in {looks:,} looks at objects of {size // MIB} MiB while they were written, none was seen in part"


def _write(store: DeleteStore, name: str, data: bytes, done: Event, errors: list[BaseException]) -> None:
    try:
        store.put_new(name, data)
    except BaseException as error:
        errors.append(error)
    finally:
        done.set()


@check("killed-writer", "S7", seconds=20)
def killed(trial: Trial) -> str:
    """After a writer was killed in the middle of an object, nobody sees it, or all of it; then it can be stored."""
    size, seconds = _size_and_seconds(trial)
    wanted = _KILLED_THOROUGH if trial.thorough else _KILLED
    done = absent = 0
    while done < wanted:
        with others(trial, _AT_ONCE) as writers:
            for number, writer in enumerate(writers, start=done):
                if not trial.has_time(3 * seconds):
                    raise NotTriedError(f"there was time for {number} writers to be killed", cut_short=True)
                name, seed = trial.name(f"{number}"), f"killed {number}"
                expected = _prepared(trial, writer, seed, size)
                writer.tell("put", name=name, seed=seed, size=size)
                # Anywhere from before its first byte to after its last.
                trial.over.wait(seconds * 1.2 * int.from_bytes(os.urandom(2), "big") / 65535)
                writer.kill()
                absent += _require_nothing_in_part(trial, name, expected)
            done += len(writers)
    return f"{done} writers were killed: {absent} objects are not there, {done - absent} are, none in part"


def _prepared(trial: Trial, writer: Other, seed: str, size: int) -> bytes:
    """The bytes of `seed`, which the other process has at hand now too."""
    writer.tell("prepare", seed=seed, size=size)
    data = payload(seed, size)
    writer.answer(trial.seconds_left())
    return data


def _require_nothing_in_part(trial: Trial, name: str, expected: bytes) -> bool:
    """Look again and again, as what was sent may still arrive; whether it was not there at first."""
    absent = not _look(trial, name, expected)
    for _ in range(_LOOKS_AFTER):
        trial.over.wait(0.05)
        _look(trial, name, expected)
    trial.store.put_new(name, expected)
    require(trial.reopened().get(name) == expected, "after its writer was killed, an object cannot be stored")
    return absent


def _look(trial: Trial, name: str, expected: bytes) -> bool:
    """Whether the object is there, which it must be whole."""
    sizes = {info.name: info.size_bytes for info in trial.store.list(trial.folder)}
    listed = sizes.get(name)
    require(listed in (None, len(expected)), f"{listed} of {len(expected)} bytes are listed of an object")
    try:
        data = trial.store.get(name)
    except NotFoundError:
        require(listed is None, "an object was listed, and a moment later it is not there")
        return False
    require(len(data) == len(expected), f"{len(data)} of {len(expected)} bytes can be read of an object")
    require(data == expected, "other bytes can be read than were written")
    return True


def _size_and_seconds(trial: Trial) -> tuple[int, float]:
    """A size that takes a moment to be written, and about how long."""
    began = trial.clock.monotonic()
    trial.store.put_new(trial.name("measured"), payload("measured", MIB))
    per_mib = max(trial.clock.monotonic() - began, 0.001)
    size = min(max(int(_WRITING_SECONDS / per_mib) * MIB, _SIZE_MIN), _SIZE_MAX)
    data = payload("measured too", size)
    began = trial.clock.monotonic()
    trial.store.put_new(trial.name("measured-too"), data)
    return size, trial.clock.monotonic() - began
