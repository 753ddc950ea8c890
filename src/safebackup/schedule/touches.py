"""Touches: written times that a change of the clocks leaves out or repeats, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from safebackup.schedule import moments
from safebackup.schedule.composing import Spread, Union, Without
from safebackup.schedule.policies import Gap, Overlap
from safebackup.schedule.turns import Turn
from safebackup.schedule.walls import Walls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebackup.schedule.recurrences import Recurrence
    from safebackup.schedule.rules import Rule


@attrs.frozen
class Touch:
    """One written time that a turn leaves out or repeats: when it is due all the same.

    No instant: its run is left out, or `walls` refuses to answer.
    """

    walls: Walls
    turn: Turn
    wall: int
    instants: tuple[int, ...]

    @property
    def is_refused(self) -> bool:
        """Whether the policy refuses it."""
        policy = self.walls.policy
        return (policy.in_gap is Gap.REFUSE) if self.turn.is_gap else (policy.in_overlap is Overlap.REFUSE)

    @property
    def outcome(self) -> str:
        """What becomes of it, as the end of a sentence."""
        if not self.instants:
            return "is refused" if self.is_refused else "is left out"
        written = [self._written(instant) for instant in self.instants]
        if self.turn.is_gap:
            return f"runs at {written[0]}"
        if len(written) == 2:
            return f"runs twice, at {written[0]} and {written[1]}"
        which = "first" if self.instants[0] < self.turn.at else "second"
        return f"runs once, the {which} time, at {written[0]}"

    def _written(self, instant: int) -> str:
        offset = self.turn.after if instant >= self.turn.at else self.turn.before
        return f"{moments.wall_time(instant + offset):%H:%M:%S} {moments.write_offset(offset)}"


def walls_in(rule: Rule) -> Iterator[Walls]:
    """The recurrences on the wall clock that a rule is made of."""
    if isinstance(rule, Walls):
        yield rule
    elif isinstance(rule, Union):
        for part in rule.parts:
            yield from walls_in(part)
    elif isinstance(rule, Without | Spread):
        yield from walls_in(rule.part)


def recurrences_in(rule: Rule) -> Iterator[Recurrence]:
    """The recurrences on the wall clock that a rule is made of, without any that are made of others."""
    pending = [walls.recurrence for walls in walls_in(rule)]
    while pending:
        recurrence = pending.pop(0)
        parts: tuple[Recurrence, ...] = getattr(recurrence, "parts", ())
        pending += parts
        if not parts:
            yield recurrence


def touches(rule: Rule, turn: Turn) -> list[Touch]:
    """What a turn touches of a rule, but for what the rule leaves out anyway; a spread is not counted in."""
    if isinstance(rule, Walls):
        return [Touch(rule, turn, wall, _instants(rule, turn, wall)) for wall in rule.touched(turn)]
    if isinstance(rule, Union):
        return [touch for part in rule.parts for touch in touches(part, turn)]
    if isinstance(rule, Without):
        return [left for touch in touches(rule.part, turn) if (left := _left_of(touch, rule)) is not None]
    return touches(rule.part, turn) if isinstance(rule, Spread) else []


def _instants(walls: Walls, turn: Turn, wall: int) -> tuple[int, ...]:
    first, second = wall - turn.before, wall - turn.after
    if turn.is_gap:
        return {Gap.AFTER: (turn.at,), Gap.SHIFT: (first,)}.get(walls.policy.in_gap, ())
    found = {Overlap.FIRST: (first,), Overlap.SECOND: (second,), Overlap.BOTH: (first, second)}
    return found.get(walls.policy.in_overlap, ())


def _left_of(touch: Touch, rule: Without) -> Touch | None:
    """What is left of it where some hours and dates are left out: those count by the clock when it would run."""
    turn = touch.turn
    if not touch.instants:
        return None if _leaves_out(rule, touch.wall) else touch
    shown = [(at, at + (turn.after if at >= turn.at else turn.before)) for at in touch.instants]
    kept = tuple(at for at, wall in shown if not _leaves_out(rule, wall))
    return attrs.evolve(touch, instants=kept) if kept else None


def _leaves_out(rule: Without, wall: int) -> bool:
    on_date = moments.wall_time(wall).date() in rule.dates
    return on_date or (rule.window is not None and rule.window.holds(wall))
