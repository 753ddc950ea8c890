"""Checks of single objects: what is stored is there as it was, until it is deleted, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError, StorageError
from safebackup.storage.conformance.trial import (
    MIB,
    NotTriedError,
    Trial,
    check,
    payload,
    raised_by,
    require,
    told,
)
from safebackup.storage.store import DeleteStore, ObjectInfo

# What has broken stores: line ends, boundaries of multipart bodies, NUL, Ctrl-Z, every value of a byte.
HOSTILE = b"\r\n--==0==--\r\n\n--==0==\n\x00\xff\x1a\n.\r\n" + bytes(range(256)) * 3
_LARGE_BYTES = 64 * MIB
GOOD_NAMES = ("a", "0", "a.b", "a_b-c", "x" * 128, "b/c", "tmp", "restore.md", "1e5", "nul", "a.tar.zst")
_BAD_NAMES = (
    "A",
    "README.md",
    "a b",
    "a\\b",
    "ä",
    "a\n",
    ".a",
    "a//b",
    "a/",
    "a/../b",
    "a.",
    "x" * 129,
    "%61",
    "a?b",
    "a#b",
)
_RANGES = ((0, None), (0, 0), (0, 1), (3, 4), (9, 1), (10, 0), (10, None), (4, None), (0, 10))
_BEYOND = ((0, 11), (9, 2), (10, 1), (11, 0), (11, None), (0, 1 << 40))


@check("round-trip", "S1")
def round_trip(trial: Trial) -> str:
    """What is stored comes back byte for byte, also through another handle, and storing it again is no error."""
    contents = {
        "empty": b"",
        "hostile": HOSTILE,
        "hostile-and-large": HOSTILE + payload("large", 3 * MIB) + HOSTILE,
        **{f"size-{size}": payload(f"{size}", size) for size in (1, 4095, 65_536, 65_537, MIB)},
    }
    for tail, data in contents.items():
        trial.store.put_new(trial.name(tail), memoryview(data))
    other = trial.reopened()
    for tail, data in contents.items():
        for handle, whose in ((trial.store, "its own"), (other, "another")):
            require(handle.get(trial.name(tail)) == data, f"{tail}: {whose} handle read other bytes than were stored")
        other.put_new(trial.name(tail), data)
    return f"{len(contents)} objects of up to 3 MiB came back as they were"


@check("large", "S1", seconds=300, thorough=True)
def large(trial: Trial) -> str:
    """An object as large as packs become comes back byte for byte."""
    data = payload("pack", _LARGE_BYTES)
    trial.store.put_new(trial.name("pack"), data)
    require(trial.reopened().get(trial.name("pack")) == data, "other bytes came back than were stored")
    return f"an object of {_LARGE_BYTES // MIB} MiB came back as it was"


@check("delete", "S3")
def delete(trial: Trial) -> str:
    """Deleting removes one object; deleting what is not there does nothing; the name is free again."""
    name, kept = trial.name("one"), trial.name("two")
    trial.store.put_new(name, b"1")
    trial.store.put_new(kept, b"2")
    try:
        trial.store.delete(name)
    except StorageError as error:
        if error.code is Code.STORE_DENIED:
            trial.learn(deletes=False)
            raise NotTriedError("these credentials may not delete", cut_short=True) from None
        raise
    require_missing(trial.store, name, "after it was deleted")
    require(trial.store.list(trial.folder) == [ObjectInfo(kept, 1)], "the list is wrong after an object was deleted")
    for absent in (name, trial.name("never-there"), f"{kept}/below"):
        trial.store.delete(absent)
    trial.store.put_new(name, b"3")
    require(trial.store.get(name) == b"3", "after a name was used again, it has the bytes from before")
    return "removes what it should, and what is not there is no error"


@check("missing", "S5")
def missing(trial: Trial) -> str:
    """What is not there is "not found", and an empty list."""
    trial.store.put_new(trial.name("there"), b"")
    for tail in ("nothing", "no/folder", "there/below"):
        require_missing(trial.store, trial.name(tail), "which is not there")
    for folder in ("nothing/", "there/"):
        require(trial.store.list(trial.name(folder)) == [], "a folder that is not there has objects")
    return '"not found" is said of what is not there'


@check("ranges", "S4")
def ranges(trial: Trial) -> str:
    """A range is exactly the bytes asked for, and never fewer."""
    data = b"0123456789"
    trial.store.put_new(trial.name("ten"), data)
    trial.store.put_new(trial.name("many"), many := payload("many", 300_000))
    for start, length in _RANGES:
        expected = data[start:] if length is None else data[start : start + length]
        found = trial.store.get(trial.name("ten"), start=start, length=length)
        require(found == expected, f"{_range(start, length)} of 10 bytes gave {found!r}")
    for start, length in ((0, 1), (131_071, 2), (299_999, 1), (100_000, 200_000)):
        found = trial.store.get(trial.name("many"), start=start, length=length)
        require(found == many[start : start + length], f"{_range(start, length)} of 300,000 bytes are other bytes")
    for start, length in _BEYOND:
        error = raised_by(partial(trial.store.get, trial.name("ten"), start=start, length=length))
        is_short_read = isinstance(error, StorageError) and error.code is Code.SHORT_READ
        require(is_short_read, f"{_range(start, length)} of 10 bytes: {told(error)} instead of a short read")
    return f"{len(_RANGES) + 4} ranges were exact, and {len(_BEYOND)} that go too far were refused"


def _range(start: int, length: int | None) -> str:
    return f"from byte {start} on" if length is None else f"{length} bytes from {start} on"


@check("unchanged", "S2")
def unchanged(trial: Trial) -> str:
    """Storing other bytes under a name that is taken is refused, and changes nothing."""
    another = trial.reopened()
    for tail, there in (("empty", b""), ("short", b"first"), ("longer", payload("longer", 100_000))):
        name = trial.name(tail)
        trial.store.put_new(name, there)
        for other in (b"firsT", b"first and more", b"", there[:-1] + b"\1", there + b"\0"):
            if other == there:
                continue
            for handle in (trial.store, another):
                error = raised_by(partial(handle.put_new, name, other))
                require(
                    isinstance(error, ConflictError),
                    f"{len(other)} other bytes for {len(there)} that were there: {told(error)} instead of a conflict",
                )
        require(trial.store.get(name) == there, "an object was changed by one that was stored later")
    return "what is there stays as it is"


@check("names", "S6")
def names(trial: Trial) -> str:
    """Every valid name works; any other is refused by every verb."""
    for tail in GOOD_NAMES:
        trial.store.put_new(trial.name(tail), tail.encode())
    listed = {info.name for info in trial.store.list(trial.folder)}
    for tail in GOOD_NAMES:
        require(trial.name(tail) in listed, f"{tail!r} was stored, and is not listed")
        require(trial.store.get(trial.name(tail)) == tail.encode(), f"{tail!r} has the bytes of another name")
    require(len(listed) == len(GOOD_NAMES), "more is listed than was stored")
    for tail in _BAD_NAMES:
        for verb, act in _verbs(trial.store, trial.name(tail)).items():
            error = raised_by(act)
            require(isinstance(error, ConfigurationError), f"{verb} of {tail!r}: {told(error)} instead of a refusal")
    left = {info.name for info in trial.store.list(trial.folder)}
    require(left == listed, f"a name that is none was stored: {sorted(left ^ listed)}")
    return f"{len(GOOD_NAMES)} names work, and {len(_BAD_NAMES)} that are none are refused"


def _verbs(store: DeleteStore, name: str) -> dict[str, Callable[[], object]]:
    return {
        "get": lambda: store.get(name),
        "put_new": lambda: store.put_new(name, b""),
        "delete": lambda: store.delete(name),
    }


def require_missing(store: DeleteStore, name: str, when: str) -> None:
    """Fail the check unless the store says that there is no such object."""
    error = raised_by(lambda: store.get(name))
    require(isinstance(error, NotFoundError), f'reading an object {when}: {told(error)} instead of "not found"')
