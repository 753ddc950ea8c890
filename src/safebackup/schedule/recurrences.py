"""Recurrences: what is due on the wall clock, in no zone yet."""

from __future__ import annotations

from typing import ClassVar, Protocol

import attrs

from safebackup.schedule.days import Days, Times
from safebackup.schedule.turns import DAY


class Recurrence(Protocol):
    """Wall times, as whole seconds since 1970-01-01T00:00:00 on the wall.

    A frozen value with `==` and `hash` by meaning. Both searches end by proof: None says that there is no such wall
    time in the years 2 to 9998.
    """

    kind: ClassVar[str]  # names it in records; see `recording.RECURRENCES`

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        ...

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        ...

    def ends_before(self, wall: int, instant: int) -> bool:
        """Whether it is over at the instant to which a change of the clocks brings one of its wall times."""
        ...

    def text(self) -> str:
        """It in words that say all of it, the same for equal ones: `cron '30 1 * * *'`."""
        ...

    def record(self) -> dict[str, object]:
        """What `text` says as plain data, without `kind`."""
        ...


class Civil:
    """A recurrence that has the same times on each of its days: the searches of cron, daily, weekly and monthly."""

    __slots__ = ()

    days: Days
    times: Times

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        day, second = divmod(wall, DAY)
        found = self.days.at_or_after(day)
        if found == day:
            time = self.times.at_or_after(second)
            if time >= 0:
                return day * DAY + time
            found = self.days.at_or_after(day + 1)
        return None if found is None else found * DAY + self.times.first

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        day, second = divmod(wall, DAY)
        found = self.days.at_or_before(day)
        if found == day:
            time = self.times.at_or_before(second)
            if time >= 0:
                return day * DAY + time
            found = self.days.at_or_before(day - 1)
        return None if found is None else found * DAY + self.times.last

    def ends_before(self, wall: int, instant: int) -> bool:
        """Never: it goes on as long as its days do."""
        return False


@attrs.frozen
class AnyOf:
    """All wall times of several recurrences, each once."""

    kind: ClassVar[str] = "any-of"
    parts: tuple[Recurrence, ...]

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        found = [at for part in self.parts if (at := part.at_or_after(wall)) is not None]
        return min(found, default=None)

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        found = [at for part in self.parts if (at := part.at_or_before(wall)) is not None]
        return max(found, default=None)

    def ends_before(self, wall: int, instant: int) -> bool:
        """Whether all those are over that have this wall time."""
        return all(part.ends_before(wall, instant) for part in self.parts if part.at_or_after(wall) == wall)

    def text(self) -> str:
        """The parts, in the order that they were given in."""
        return "(" + " or ".join(part.text() for part in self.parts) + ")"

    def record(self) -> dict[str, object]:
        """The parts with their kinds."""
        return {"parts": [{"kind": part.kind, **part.record()} for part in self.parts]}
