"""Walls: a recurrence on the wall clocks of a zone, exact to the second through every change of those clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.policies import Gap, Overlap, Policy
from safebackup.schedule.recurrences import Recurrence
from safebackup.schedule.rules import Due, Why
from safebackup.schedule.turns import FIRST, LAST, Turn, TurnTable, turns_of
from safebackup.schedule.zones import Zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def offsets_of(wall: int, turns: tuple[Turn, ...]) -> list[int]:
    """The offsets under which a wall time occurs near some consecutive turns, in order of time.

    None: it lies in a gap. Two: it is repeated.
    """
    found = []
    begin = None
    for turn in turns:
        instant = wall - turn.before
        if (begin is None or begin <= instant) and instant < turn.at:
            found.append(turn.before)
        begin = turn.at
    if turns and wall - turns[-1].after >= turns[-1].at:
        found.append(turns[-1].after)
    return found


def gap_of(wall: int, turns: tuple[Turn, ...]) -> Turn:
    """The turn that leaves out a wall time which occurs at no instant."""
    return next(turn for turn in turns if turn.at + turn.before <= wall < turn.at + turn.after)


@attrs.frozen
class Walls:
    """When the wall times of a recurrence are due in a zone.

    In a calm stretch one search on the wall is enough. A turbulent stretch is worked out whole, once, and remembered:
    there, the order on the wall is not the order in time.
    """

    kind: ClassVar[str] = "walls"
    recurrence: Recurrence
    zone: Zone
    policy: Policy
    _table: TurnTable = attrs.field(init=False, eq=False, repr=False)
    _last_worked_out: list[tuple[int, tuple[Due, ...]]] = attrs.field(init=False, eq=False, repr=False, factory=list)

    @_table.default
    def _find_table(self) -> TurnTable:
        return turns_of(self.zone)

    @property
    def refuses(self) -> bool:
        """Whether its policy says so."""
        return self.policy.in_gap is Gap.REFUSE or self.policy.in_overlap is Overlap.REFUSE

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        while instant <= LAST:
            known, index = self._table.at_instant(instant)
            offset = known.offsets[index]
            if offset is not None:
                wall = self.recurrence.at_or_after(instant + offset)
                if wall is None:
                    return None
                found = wall - offset
                if found < known.instants[index + 1]:
                    return found if found <= LAST else None
                known, index = self._table.at_wall(wall)
                offset = known.offsets[index]
                if offset is not None:
                    return wall - offset if wall - offset <= LAST else None
            for due in self._dues(known.instants[index], known.turns[index]):
                if due.instant >= instant:
                    return due.instant
            instant = known.instants[index + 1]
        return None

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        while instant >= FIRST:
            known, index = self._table.at_instant(instant)
            offset = known.offsets[index]
            if offset is not None:
                wall = self.recurrence.at_or_before(instant + offset)
                if wall is None:
                    return None
                found = wall - offset
                if found >= known.instants[index]:
                    return found if found >= FIRST else None
                known, index = self._table.at_wall(wall)
                offset = known.offsets[index]
                if offset is not None:
                    return wall - offset if wall - offset >= FIRST else None
            for due in reversed(self._dues(known.instants[index], known.turns[index])):
                if due.instant <= instant:
                    return due.instant
            instant = known.instants[index] - 1
        return None

    def due_at(self, instant: int) -> Due | None:
        """What is due at that instant."""
        if not FIRST <= instant <= LAST:
            return None
        known, index = self._table.at_instant(instant)
        offset = known.offsets[index]
        if offset is None:
            dues = self._dues(known.instants[index], known.turns[index])
            return next((due for due in dues if due.instant == instant), None)
        wall = instant + offset
        return Due(instant, wall, Why.REGULAR) if self.recurrence.at_or_after(wall) == wall else None

    def text(self) -> str:
        """The recurrence and the policy."""
        return f"{self.recurrence.text()} in_gap={self.policy.in_gap} in_overlap={self.policy.in_overlap}"

    def record(self) -> dict[str, object]:
        """The recurrence and the policy."""
        return {
            "recurrence": {"kind": self.recurrence.kind, **self.recurrence.record()},
            "in_gap": str(self.policy.in_gap),
            "in_overlap": str(self.policy.in_overlap),
        }

    def touched(self, turn: Turn) -> list[int]:
        """The wall times of the recurrence that a turn leaves out or repeats."""
        low, high = sorted((turn.at + turn.before, turn.at + turn.after))
        found = []
        wall = self.recurrence.at_or_after(low)
        while wall is not None and wall < high:
            found.append(wall)
            wall = self.recurrence.at_or_after(wall + 1)
        return found

    def _dues(self, start: int, turns: tuple[Turn, ...]) -> tuple[Due, ...]:
        """All that is due in the turbulent stretch that begins at `start`, in order of time."""
        for worked_out, dues in self._last_worked_out:  # one at most; another thread may replace it at any time
            if worked_out == start:
                return dues
        known, index = self._table.at_instant(start)
        end = known.walls[index + 1]
        by_instant: dict[int, Due] = {}
        wall = self.recurrence.at_or_after(known.walls[index])
        while wall is not None and wall < end:
            for due in self._resolved(wall, turns):
                if self.recurrence.ends_before(wall, due.instant):
                    continue
                earlier = by_instant.get(due.instant)
                by_instant[due.instant] = due if earlier is None else _merged(earlier, due)
            wall = self.recurrence.at_or_after(wall + 1)
        dues = tuple(by_instant[instant] for instant in sorted(by_instant))
        self._last_worked_out[:] = [(start, dues)]
        return dues

    def _resolved(self, wall: int, turns: tuple[Turn, ...]) -> list[Due]:
        """The instants of one wall time of a turbulent stretch, by the policy."""
        offsets = offsets_of(wall, turns)
        if len(offsets) == 1:
            return [Due(wall - offsets[0], wall, Why.REGULAR)]
        if offsets:
            first = Due(wall - offsets[0], wall, Why.FIRST_OF_TWO)
            second = Due(wall - offsets[-1], wall, Why.SECOND_OF_TWO)
            if self.policy.in_overlap is Overlap.REFUSE:
                raise self._refused(wall, "occurs twice")
            return {Overlap.FIRST: [first], Overlap.SECOND: [second]}.get(self.policy.in_overlap, [first, second])
        gap = gap_of(wall, turns)
        if self.policy.in_gap is Gap.REFUSE:
            raise self._refused(wall, "does not exist")
        if self.policy.in_gap is Gap.AFTER:
            return [Due(gap.at, wall, Why.MOVED)]
        return [Due(wall - gap.before, wall, Why.SHIFTED)] if self.policy.in_gap is Gap.SHIFT else []

    def _refused(self, wall: int, what: str) -> ConfigurationError:
        written = (_EPOCH + timedelta(seconds=wall)).strftime("%Y-%m-%d %H:%M:%S")
        return ConfigurationError(
            f"{self.recurrence.text()} is due at {written}, which {what} in {self.zone}",
            code=Code.DST_REFUSED,
            hint="Choose a time of day that the clocks never leave out or repeat, or say what is to happen: "
            'in_gap="after", in_overlap="first" runs once, always.',
        )


def _merged(earlier: Due, later: Due) -> Due:
    """One run for two wall times: a regular one names it, else the earlier."""
    named, other = (later, earlier) if later.why is not earlier.why and _is_real(later) else (earlier, later)
    return attrs.evolve(named, merged=tuple(sorted({*earlier.merged, *later.merged, other.wall})))


def _is_real(due: Due) -> bool:
    return due.why not in (Why.MOVED, Why.SHIFTED)
