"""Checks of what is not there at all, and of the store's clock."""

from __future__ import annotations

import os
from collections.abc import Callable

from safebackup.clock import Clock
from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.findings import Finding, Severity
from safebackup.storage.capabilities import unwrapped
from safebackup.storage.conformance.subject import Address, letting_go
from safebackup.storage.conformance.trial import NotTriedError, Trial, check, raised_by, require, told
from safebackup.storage.local import LocalStore
from safebackup.storage.remote.reaching import transport_of
from safebackup.storage.store import DeleteStore

DRIFT_SECONDS_MAX = 180.0
_ANSWER_SECONDS_MAX = 12.0


@check("wrong-address", "S5", seconds=14)
def wrong_address(trial: Trial) -> str:
    """Where nothing is, that is said: it is not an empty store, nothing is "not found", and nothing hangs."""
    store = trial.unreachable()
    calls: dict[str, Callable[[], object]] = {
        "list": lambda: store.list("packs/"),
        "get": lambda: store.get("packs/nothing"),
    }
    with letting_go(store):
        for verb, call in calls.items():
            began = trial.clock.monotonic()
            error = raised_by(call)
            took = trial.clock.monotonic() - began
            # A wrong name of a bucket may be refused before it is asked for: that is a clear answer too.
            is_clear = isinstance(error, StorageError | ConfigurationError) and not isinstance(error, NotFoundError)
            require(is_clear, f"{verb} where nothing is: {told(error)} instead of a store that cannot be reached")
            require(took < _ANSWER_SECONDS_MAX, f"{verb} where nothing is took {took:.0f} seconds")
    return "it is said that nothing is there"


@check("clock", "", seconds=5, essential=False)
def clock(trial: Trial) -> str:
    """The store's clock against ours; no safety rests on either."""
    if trial.subject.address is None:
        raise NotTriedError("a store does not tell that by itself")
    drift = measured_drift(trial.store, trial.subject.address, trial.name("now"), trial.clock)
    if drift is None:
        trial.learn(modified_times=False)
        return "it does not tell when an object was stored"
    trial.learn(modified_times=True, clock_drift_seconds=round(drift, 1))
    if abs(drift) > DRIFT_SECONDS_MAX:
        trial.findings.append(drifting(drift))
    return f"the store's clock is {drift:+.1f} s from ours"


def drifting(drift: float) -> Finding:
    """What there is to say of clocks that differ so much."""
    return Finding(
        code=Code.STORE_CLOCK_DRIFTS,
        severity=Severity.WARNING,
        what=f"the store's clock and this machine's are {abs(drift):.0f} s apart: "
        f"{'the store is ahead' if drift > 0 else 'this machine is ahead'}",
        action="Set the clock that is wrong: with NTP, for instance. No snapshot depends on it; times that people read "
        "do, and some stores refuse requests.",
    )


def measured_drift(store: DeleteStore, address: Address, name: str, clock: Clock) -> float | None:
    """By how many seconds the store's clock is ahead of ours, as a new object tells; None if it does not."""
    before = clock.now()
    store.put_new(name, b"now")
    after = clock.now()
    modified = _modified(store, address, name)
    if modified is None:
        return None
    if before - 1_000_000_000 <= modified <= after:  # most stores know whole seconds
        return 0.0
    return (modified - (before + after) // 2) / 1e9


def _modified(store: DeleteStore, address: Address, name: str) -> int | None:
    innermost = unwrapped(store)
    if isinstance(innermost, LocalStore):
        return os.stat(os.path.join(innermost.root, name)).st_mtime_ns
    transport = transport_of(address.url, address.options, address.limits, allow_unproven=address.allow_unproven)
    try:
        listed = {each.path: each for each in transport.entries(name.rpartition("/")[0])}
        return listed[name].modified
    finally:
        transport.close()
