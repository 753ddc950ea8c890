"""A model that shares nothing with the library: it reads the clocks of a few days, minute by minute or by second.

It steps through UTC and asks `zoneinfo` what a wall clock shows. A wall time that no step shows lies in a gap; one that
two steps show is repeated. No table of changes, no arithmetic with offsets but where a gap's length is the question.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE = datetime(1970, 1, 1)
# Of each wall time: the instants that show it, and for one in a gap the gap's end, and it moved by the gap's length.
Matched: TypeAlias = list[tuple[list[int], tuple[int, int] | None]]
LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def utc(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


class Change(NamedTuple):
    """The clocks of a zone change at this second."""

    zone: str
    at: int
    before: int
    after: int


def offset(zone: ZoneInfo, second: int) -> int:
    found = utc(second).astimezone(zone).utcoffset()
    assert found is not None
    return int(found.total_seconds())


@lru_cache(maxsize=700)
def changes(key: str, first_year: int = 1970, last_year: int = 2037) -> tuple[Change, ...]:
    """Found by looking every six hours, then every minute, then every second."""
    zone = ZoneInfo(key)
    second = int((datetime(first_year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
    end = int((datetime(last_year, 12, 31, tzinfo=UTC) - EPOCH).total_seconds())
    found = []
    before = offset(zone, second)
    for later in range(second + 21_600, end, 21_600):
        after = offset(zone, later)
        if after != before:
            minute = next(at for at in range(later - 21_600, later + 60, 60) if offset(zone, at) != before)
            exact = next(at for at in range(minute - 60, minute + 1) if offset(zone, at) != before)
            found.append(Change(key, exact, before, offset(zone, exact)))
            before = after
    return tuple(found)


class Reading(NamedTuple):
    """What a wall clock and its calendar show."""

    second: int
    minute: int
    hour: int
    day: int
    month: int
    weekday: int
    is_last: bool

    @staticmethod
    def of(wall: int) -> Reading:
        at = NAIVE + timedelta(seconds=wall)
        is_last = at.day == calendar.monthrange(at.year, at.month)[1]
        return Reading(at.second, at.minute, at.hour, at.day, at.month, at.isoweekday() % 7, is_last)


class Clocks:
    """What the wall clocks of a zone show from `start` to before `end`, looked at each `step` seconds."""

    def __init__(self, key: str, start: int, end: int, step: int) -> None:
        zone = ZoneInfo(key)
        # A wall time in the span may be shown at an instant outside of it, and the other way round.
        margin = 27 * 3600 if step == 60 else 2 * 3600
        self.start, self.end, self.step = start, end, step
        self.shown: dict[int, list[int]] = {}
        self.readings: list[tuple[int, int]] = []
        for second in range(start - margin, end + margin, step):
            naive = utc(second).astimezone(zone).replace(tzinfo=None)
            wall = int((naive - NAIVE).total_seconds())
            self.shown.setdefault(wall, []).append(second)
            self.readings.append((second, wall))
        self.walls = [(Reading.of(wall), instants, gap) for wall, instants, gap in self._walls()]

    def _walls(self) -> Iterator[tuple[int, list[int], tuple[int, int] | None]]:
        """Each wall time, in order, with the instants that show it; of one in a gap, what becomes of it."""
        gaps: dict[int, tuple[int, int]] = {}
        for (second, wall), (later, next_wall) in zip(self.readings, self.readings[1:], strict=False):
            for missing in range(wall + self.step, next_wall, self.step):
                if missing not in self.shown:
                    gaps[missing] = (later, second + missing - wall)
        for wall in sorted({*self.shown, *gaps}):
            yield wall, self.shown.get(wall, []), gaps.get(wall)


class Pattern:
    """A cron expression of numbers, `*`, ranges, steps, lists and `L`, matched against one wall time at a time."""

    def __init__(self, expression: str) -> None:
        parts = expression.split()
        self.parts = parts if len(parts) == 6 else ["0", *parts]
        self.sets = [self._set(part, *limits) for part, limits in zip(self.parts, LIMITS, strict=True)]
        wild = self.parts[1].startswith("*") or self.parts[2].startswith("*")
        self.default = ("skip", "both") if wild else ("after", "first")

    @staticmethod
    def _set(part: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for item in part.split(","):
            if item == "L":
                found.add(99)
                continue
            base, _, step = item.partition("/")
            first, _, last = (f"{low}-{high}" if base == "*" else base).partition("-")
            found.update(range(int(first), int(last or first) + 1, int(step or 1)))
        return found

    def matches(self, at: Reading) -> bool:
        seconds, minutes, hours, days, months, weekdays = self.sets
        if at.minute not in minutes or at.hour not in hours or at.second not in seconds or at.month not in months:
            return False
        by_day = at.day in days or (99 in days and at.is_last)
        by_weekday = at.weekday in weekdays or (at.weekday == 0 and 7 in weekdays)
        if self.parts[3].startswith("*") or self.parts[5].startswith("*"):
            return by_day and by_weekday
        return by_day or by_weekday

    def matched(self, clocks: Clocks) -> Matched:
        """The wall times of some clocks that it matches."""
        return [(instants, gap) for reading, instants, gap in clocks.walls if self.matches(reading)]


class Touched(Exception):
    """A wall time lies in a gap, or is repeated."""


def expected(clocks: Clocks, matched: Matched, in_gap: str, in_overlap: str) -> list[int]:
    """The instants at which matched wall times are due."""
    due: set[int] = set()
    for instants, gap in matched:
        if (len(instants) > 1 and in_overlap == "refuse") or (gap is not None and in_gap == "refuse"):
            raise Touched
        if gap is not None:
            due |= {"after": {gap[0]}, "shift": {gap[1]}, "skip": set()}[in_gap]
        elif len(instants) > 1:
            due |= {"first": {instants[0]}, "second": {instants[-1]}, "both": set(instants)}[in_overlap]
        else:
            due |= set(instants)
    return sorted(second for second in due if clocks.start <= second < clocks.end)
