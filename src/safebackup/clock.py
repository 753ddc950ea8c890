"""The only reader of time.

Everything that needs "now" takes a `Clock`, so that a simulated year replays in seconds.
Durations are measured on the monotonic clock, which no correction of the wall clock can move.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where "now" comes from."""

    def now(self) -> int:
        """The wall clock: nanoseconds since 1970 in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def __repr__(self) -> str:
        return "SystemClock()"

    def now(self) -> int:
        """The wall clock: nanoseconds since 1970 in UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        return time.monotonic()
