"""What the library reports while it works: frozen events, given to an observer.

The library prints nothing and configures no logger.
`logged` is the one adapter from events to `logging.getLogger("safebackup")`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs

from safebackup.findings import Finding, Severity

logger = logging.getLogger("safebackup")
logger.addHandler(logging.NullHandler())


@attrs.frozen(kw_only=True)
class Event:
    """Something happened in the run `run` (a hexadecimal id, or empty outside of runs)."""

    run: str = ""


@attrs.frozen(kw_only=True)
class RunStarted(Event):
    """A backup, restore or verification began on `subject`."""

    verb: str
    subject: str


@attrs.frozen(kw_only=True)
class RunFinished(Event):
    """It ended; `outcome` is one word."""

    verb: str
    outcome: str
    seconds: float


@attrs.frozen(kw_only=True)
class ObjectStored(Event):
    """An object is durable in the store."""

    name: str
    size_bytes: int


@attrs.frozen(kw_only=True)
class FilesCounted(Event):
    """So many files are done so far; told every few hundred files."""

    files: int


@attrs.frozen(kw_only=True)
class FindingRaised(Event):
    """Something was noticed."""

    finding: Finding


@attrs.frozen(kw_only=True)
class ChunksRescued(Event):
    """A deletion had condemned chunks that this run needs, so they were stored anew."""

    count: int


FILES_PER_COUNT = 256

Observer: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """The observer that does nothing."""


class Progress(Protocol):
    """Who counts bytes while work is done: the two methods of `fsspec.callbacks.Callback` that are called here."""

    def set_size(self, size: int) -> None:
        """So many bytes are to be expected."""
        ...

    def relative_update(self, inc: int = 1) -> None:
        """So many more are done."""
        ...


class NoProgress:
    """Counts nothing; importing fsspec for that would double the start-up time."""

    def set_size(self, size: int) -> None:
        """Ignore it."""

    def relative_update(self, inc: int = 1) -> None:
        """Ignore it."""


def logged(observer: Observer = ignore) -> Observer:
    """An observer that logs each event under `safebackup` and hands it on to `observer`, from whichever thread.

    What goes wrong in `observer` is logged and goes no further: who watches a backup must not break it.
    """

    def observe(event: Event) -> None:
        level = logging.DEBUG
        if isinstance(event, RunStarted | RunFinished):
            level = logging.INFO
        if isinstance(event, FindingRaised):
            level = logging.INFO if event.finding.severity is Severity.INFO else logging.WARNING
        if logger.isEnabledFor(level):
            logger.log(level, "%s", event, extra={"run": event.run})
        try:
            observer(event)
        except Exception:
            logger.exception("the observer failed on %s", type(event).__name__, extra={"run": event.run})

    return observe
