"""Rules: which instants are due. Whole seconds since 1970 in UTC, from `turns.FIRST` to `turns.LAST`."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Protocol

import attrs

from safebackup.schedule.turns import FIRST, LAST, TurnTable


class Why(StrEnum):
    """Why a run is due at that very instant."""

    REGULAR = "regular"  # the wall time occurs once
    MOVED = "moved out of a gap"  # to the first instant after it
    SHIFTED = "shifted by a gap"  # by its length
    FIRST_OF_TWO = "first of two"
    SECOND_OF_TWO = "second of two"
    ELAPSED = "elapsed"  # no wall time was written: so much time has passed


@attrs.frozen
class Due:
    """An instant with the wall time that asked for it, and others that fell onto the same instant."""

    instant: int
    wall: int
    why: Why
    merged: tuple[int, ...] = ()


class Rule(Protocol):
    """A set of instants.

    A frozen value with `==` and `hash` by meaning. Searches end by proof: None says that there is none between FIRST
    and LAST.
    """

    kind: ClassVar[str]  # names it in records; see `recording.RULES`

    @property
    def refuses(self) -> bool:
        """Whether it raises where a change of the clocks leaves out or repeats one of its times."""
        ...

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        ...

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        ...

    def due_at(self, instant: int) -> Due | None:
        """What is due at that instant; None if it is not in the set."""
        ...

    def text(self) -> str:
        """It in words that say all of it, the same for equal ones."""
        ...

    def record(self) -> dict[str, object]:
        """What `text` says as plain data, without `kind`."""
        ...


@attrs.frozen
class Elapsed:
    """`start`, and again each time that `step` seconds have passed; nothing before `start`."""

    kind: ClassVar[str] = "every"
    step: int
    start: int
    table: TurnTable = attrs.field(eq=False, repr=False)

    @property
    def refuses(self) -> bool:
        """Never: no wall time was written."""
        return False

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        late = instant - self.start
        found = self.start if late <= 0 else instant + -late % self.step
        return found if FIRST <= found <= LAST else None

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        late = instant - self.start
        found = instant - late % self.step
        return found if late >= 0 and FIRST <= found <= LAST else None

    def due_at(self, instant: int) -> Due | None:
        """With the wall time that a clock in the zone shows then."""
        if self.at_or_before(instant) != instant:
            return None
        return Due(instant, instant + self.table.offset_at(instant), Why.ELAPSED)

    def text(self) -> str:
        """The step in its largest whole unit, and the start."""
        return f"every {self.step} seconds from {self.start}"

    def record(self) -> dict[str, object]:
        """Both numbers."""
        return {"seconds": self.step, "start": self.start}
