"""Checks of sharing: threads at one handle, and a process that forks."""

from __future__ import annotations

import os
from collections import Counter

from safebackup.storage.conformance.others import others
from safebackup.storage.conformance.trial import (
    CheckFailedError,
    NotTriedError,
    Trial,
    check,
    in_threads,
    payload,
    require,
)

_THREADS = 6
_OBJECTS = 5


@check("threads", "S9")
def threads(trial: Trial) -> str:
    """Threads that share a handle get what they asked for, and not what another one asked for."""

    def work(thread: int) -> None:
        mine = {
            trial.name(f"{thread}/{number}"): payload(f"{thread} {number}", 20_000 + number)
            for number in range(_OBJECTS)
        }
        for name, data in mine.items():
            trial.store.put_new(name, data)
            require(trial.store.get(name, start=7, length=1000) == data[7:1007], "a thread was given wrong bytes")
        for name, data in mine.items():
            require(trial.store.get(name) == data, "a thread was given other bytes than it had stored")
        listed = {info.name for info in trial.store.list(trial.name(f"{thread}/"))}
        require(listed == mine.keys(), "a thread was given a list that is not of its folder")
        trial.store.delete(trial.name(f"{thread}/0"))

    in_threads(work, range(_THREADS), trial, threads=_THREADS)
    left = Counter(info.name.split("/")[-2] for info in trial.store.list(trial.folder))
    require(set(left.values()) == {_OBJECTS - 1}, f"after {_THREADS} threads were done, objects are missing")
    return f"{_THREADS} threads shared a handle"


@check("processes", "S9", seconds=20)
def processes(trial: Trial) -> str:
    """Another process, which is new and shares nothing, sees what we store, and we what it stores and deletes."""
    with others(trial, 1) as (other,):
        trial.store.put_new(trial.name("ours"), payload("ours", 5000))
        other.tell("get", name=trial.name("ours"))
        other.tell("put", name=trial.name("theirs"), seed="theirs", size=5000)
        other.tell("list", prefix=trial.folder)
        got, put, listed = (other.answer(trial.seconds_left()) for _ in range(3))
        require(got.get("size") == 5000, f"another process does not find what we stored: {got}")
        require(put.get("outcome") == "stored", f"another process could not store: {put}")
        require(listed.get("names") == [trial.name("ours"), trial.name("theirs")], f"its list is wrong: {listed}")
        require(trial.store.get(trial.name("theirs")) == payload("theirs", 5000), "its object has other bytes")
        other.tell("delete", name=trial.name("ours"))
        deleted = other.answer(trial.seconds_left())
        require(not deleted, f"another process could not delete: {deleted}")
        require([info.name for info in trial.store.list(trial.folder)] == [trial.name("theirs")], "a list is not fresh")
    return "another process sees what we do, and we what it does"


@check("fork", "S9", seconds=20)
def fork(trial: Trial) -> str:
    """After a fork the child and its parent go on with the same handle, and neither disturbs the other."""
    if not hasattr(os, "fork"):
        raise NotTriedError("this system has no fork")
    with others(trial, 1) as (other,):
        other.tell("fork", folder=trial.folder, seconds=max(trial.seconds_left() * 0.5, 1))
        answer = other.answer(trial.seconds_left())
    for who in ("child", "parent", "after"):
        if said := answer.get(who, answer.get("error")):
            whose = {"child": "the child", "parent": "its parent", "after": "the parent, afterwards"}[who]
            raise CheckFailedError(f"after a fork {whose} cannot go on: {said}")
    return "child and parent went on with the same handle"
