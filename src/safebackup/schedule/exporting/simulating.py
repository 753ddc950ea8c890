"""Simulation of a target: what it would run, compared with what the schedule says, instant by instant."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

import attrs

from safebackup.errors import ConfigurationError
from safebackup.schedule.exporting.exports import How, Request
from safebackup.schedule.exporting.pieces import impossible
from safebackup.schedule.policies import Gap
from safebackup.schedule.rules import Rule
from safebackup.schedule.turns import DAY, Turn, turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone

_MARGIN = 2 * DAY
_HOUR = 3600


class Fires(Protocol):
    """Something that runs at instants."""

    def at_or_after(self, instant: int) -> int | None:
        """The first one from `instant` on."""
        ...


@attrs.frozen
class Instants:
    """Single instants, in order."""

    instants: tuple[int, ...]

    def at_or_after(self, instant: int) -> int | None:
        """The first one from `instant` on."""
        index = bisect_left(self.instants, instant)
        return self.instants[index] if index < len(self.instants) else None


@attrs.frozen
class Simulated:
    """What a target makes of its text: a rule for each of its lines.

    Where it `adds_up`, lines that are due at the same instant start as many runs. Where it `runs_each`, so do several
    times of one line that a gap moves to the same instant.
    """

    rules: tuple[Fires, ...]
    adds_up: bool = False
    runs_each: bool = False


def differences(rule: Rule, simulated: Simulated, start: int, end: int) -> list[tuple[int, How]]:
    """Where a target differs from a rule, from `start` to before `end`, in order."""
    found: list[tuple[int, How]] = []
    for low, high in _to_compare(rule, simulated, start, end):
        found += _differences(rule, simulated, low, high)
    return found


def _to_compare(rule: Rule, simulated: Simulated, start: int, end: int) -> list[tuple[int, int]]:
    """The whole span; but where both read the same recurrence in the same zone, only what is near its turns.

    Anywhere else the two are the same search.
    """
    others = simulated.rules
    is_same = (
        isinstance(rule, Walls)
        and len(others) == 1
        and isinstance(others[0], Walls)
        and (rule.recurrence, rule.zone) == (others[0].recurrence, others[0].zone)
    )
    if not is_same or not isinstance(rule, Walls):
        return [(start, end)]
    spans: list[tuple[int, int]] = []
    for turn in turns_of(rule.zone).between(start - _MARGIN, end + _MARGIN):
        low, high = max(turn.at - _MARGIN, start), min(turn.at + _MARGIN, end)
        if spans and low <= spans[-1][1]:
            low = spans.pop()[0]
        spans.append((low, high))
    return [(low, high) for low, high in spans if low < high]


def _differences(rule: Rule, simulated: Simulated, start: int, end: int) -> Iterator[tuple[int, How]]:
    due = instants(rule, start, end)
    expected = next(due, None)
    for at, count in runs(simulated, start, end):
        while expected is not None and expected < at:
            yield expected, How.MISSING
            expected = next(due, None)
        if expected != at:
            yield at, How.EXTRA
        else:
            expected = next(due, None)
            if count > 1:
                yield at, How.AT_ONCE
    while expected is not None:
        yield expected, How.MISSING
        expected = next(due, None)


def runs(simulated: Simulated, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Each instant at which a target runs something, and how many runs."""
    streams: list[Iterable[int]] = [instants(rule, start, end) for rule in simulated.rules]
    if simulated.runs_each:
        streams += [_again(rule, start, end) for rule in simulated.rules if isinstance(rule, Walls)]
    for at, same in groupby(heapq.merge(*streams)):
        count = sum(1 for _ in same)
        yield at, count if simulated.adds_up else 1


def instants(rule: Fires, start: int, end: int) -> Iterator[int]:
    """The instants of a rule."""
    found = rule.at_or_after(start)
    while found is not None and found < end:
        yield found
        found = rule.at_or_after(found + 1)


def _again(walls: Walls, start: int, end: int) -> list[int]:
    """The ends of gaps, as often as more than one time of a rule is moved there."""
    if walls.policy.in_gap is not Gap.AFTER:
        return []
    found: list[int] = []
    for turn in turns_of(walls.zone).between(start, end):
        due = walls.due_at(turn.at) if turn.is_gap else None
        found += [turn.at] * (0 if due is None else len(due.merged))
    return found


def second_passes(walls: Sequence[Walls], others: Sequence[Fires], start: int, end: int) -> Instants:
    """What systemd runs beyond the first of two: once it has run anything in a repeated hour, it goes on from there.

    It looks for what comes next from its last run, on the clock that was in force then.
    """
    found: set[int] = set()
    for turn in sorted({turn for each in walls for turn in turns_of(each.zone).between(start, end)}):
        if not turn.is_gap:
            found |= _second_pass(turn, walls, [*walls, *others, Instants(tuple(sorted(found)))])
    return Instants(tuple(at for at in sorted(found) if start <= at < end))


def _second_pass(turn: Turn, walls: Sequence[Walls], all_rules: Sequence[Fires]) -> set[int]:
    until = turn.at + turn.before - turn.after
    begins = [at for rule in all_rules if (at := rule.at_or_after(turn.at)) is not None and at < until]
    if not begins:
        return set()
    here = [each for each in walls if turn in turns_of(each.zone).between(turn.at, turn.at + 1)]
    seconds = {wall - turn.after for each in here for wall in each.touched(turn)}
    return {at for at in seconds if at > min(begins)}


def steps_off_the_hour(named: Zone, start: int, end: int) -> bool:
    """Whether a zone's clocks change by, or at, parts of an hour: programs that search hour by hour then go astray."""
    turns = turns_of(named).between(start, end)
    return any((turn.at + turn.before) % _HOUR or (turn.at + turn.after) % _HOUR for turn in turns)


def off_the_hour(request: Request, what: str) -> ConfigurationError:
    """The error for such a zone."""
    return impossible(
        f"{request.schedule.zone} changes its clocks by or at parts of an hour, where {what} lose runs or repeat them",
        "Write the schedule in UTC, or export it to systemd.",
    )
