"""What a store can do beyond what every store must: seen, never promised (`safebackup.storage.conformance` looks)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from safebackup.storage.local import LocalStore
from safebackup.storage.memory import MemoryStore
from safebackup.storage.store import ReadStore


@attrs.frozen(kw_only=True)
class Capabilities:
    """What this store was seen to do, here and now; None is what was not tried."""

    kind: str  # the class that serves it
    durable: str  # "synced": written to the disk; "confirmed": the server says so; "process": while this one lives
    exclusive_create: bool | None = None  # of many who create one name at once exactly one succeeds, always
    exclusive_rounds: int = 0  # of races between processes, after which that was said
    atomic: bool | None = None  # nobody ever saw a part of an object, nor was one left by a writer that was killed
    complete_listing: int = 0  # how many names the longest listing had that was complete
    fresh_listing: bool | None = None
    exact_ranges: bool | None = None
    threads: bool | None = None
    processes: bool | None = None
    fork: bool | None = None
    modified_times: bool | None = None
    clock_drift_seconds: float | None = None  # above 0: the store's clock is ahead of ours

    def lines(self) -> Iterator[str]:
        """Each as a name and what it is."""
        for field in attrs.fields(type(self)):
            yield f"{field.name.replace('_', ' '):<20}  {shown(getattr(self, field.name))}"

    def less_than(self, before: Capabilities) -> tuple[str, ...]:
        """What was seen before and is seen no more."""
        names = [field.name for field in attrs.fields(type(self))]
        lost = [name for name in names if getattr(before, name) is True and getattr(self, name) is False]
        return tuple(name.replace("_", " ") for name in lost)


def kind_of(store: ReadStore) -> str:
    """The class that serves a store: of a remote one fsspec's, else our own or whose it is."""
    store = unwrapped(store)
    kind = getattr(store, "kind", None)
    return kind if isinstance(kind, str) else f"{type(store).__module__}.{type(store).__qualname__}"


def durable_of(store: ReadStore) -> str:
    """What "durable" rests on; it is not tried, as nobody's power is cut."""
    store = unwrapped(store)
    if isinstance(store, LocalStore):
        return "synced"
    return "process" if isinstance(store, MemoryStore) else "confirmed"


def unwrapped(store: ReadStore) -> ReadStore:
    """The store behind those that limit it or slow it down."""
    while (inner := getattr(store, "store", None)) is not None:
        store = inner
    return store


def shown(value: object) -> str:
    """A capability for people."""
    if value is None:
        return "not tried"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:+.1f}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
