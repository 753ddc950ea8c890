"""Searching the wall times of a recurrence rule, in both directions and without counting from its start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from math import gcd
from typing import Protocol, TypeAlias

import attrs

from safebackup.schedule.days import FIRST_DAY, LAST_DAY, ORDINAL, Listed, Times
from safebackup.schedule.rrule_days import RuleDays, YearDays
from safebackup.schedule.turns import DAY

Bounds: TypeAlias = Callable[[int], tuple[int, int]]


class Search(Protocol):
    """Wall times, before and after what the start and the end of a rule cut off."""

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        ...

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        ...


@attrs.frozen
class Cycle:
    """Days that recur after `length` days, each with its own times; of those days only the ones that are in `days`.

    `times` are by the number of the day since 1970, modulo `length`.
    """

    days: RuleDays
    length: int
    times: Mapping[int, Times]
    _places: list[int] = attrs.field(init=False, eq=False, repr=False)

    @_places.default
    def _sorted_places(self) -> list[int]:
        return sorted(self.times)

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        day, second = divmod(wall, DAY)
        found = self.day_at_or_after(day)
        if found == day:
            time = self.times[day % self.length].at_or_after(second)
            if time >= 0:
                return day * DAY + time
            found = self.day_at_or_after(day + 1)
        return None if found is None else found * DAY + self.times[found % self.length].first

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        day, second = divmod(wall, DAY)
        found = self.day_at_or_before(day)
        if found == day:
            time = self.times[day % self.length].at_or_before(second)
            if time >= 0:
                return day * DAY + time
            found = self.day_at_or_before(day - 1)
        return None if found is None else found * DAY + self.times[found % self.length].last

    def day_at_or_after(self, day: int) -> int | None:
        """The first of its days from `day` on."""
        while self._places:
            turn, place = divmod(day, self.length)
            index = bisect_left(self._places, place)
            if index == len(self._places):
                turn, index = turn + 1, 0
            day = turn * self.length + self._places[index]
            found = self.days.at_or_after(day) if day <= LAST_DAY else None
            if found is None or found == day:
                return found
            day = found
        return None

    def days_between(self, first: int, end: int) -> list[int]:
        """Its days from `first` to before `end`, in order."""
        days = self.days.between(first, end) if isinstance(self.days, YearDays) else range(first, end)
        return [day for day in days if day % self.length in self.times]

    def day_at_or_before(self, day: int) -> int | None:
        """The last of its days up to `day`."""
        while self._places:
            turn, place = divmod(day, self.length)
            index = bisect_right(self._places, place)
            if index == 0:
                turn, index = turn - 1, len(self._places)
            day = turn * self.length + self._places[index - 1]
            found = self.days.at_or_before(day) if day >= FIRST_DAY else None
            if found is None or found == day:
                return found
            day = found
        return None


def cycle_of_weeks(days: RuleDays, interval: int, start: int, weekdays: int, week_start: int, times: Times) -> Cycle:
    """Some weekdays of each `interval`-th week from the one that holds `start`."""
    first, _ = week_bounds(week_start)(start // DAY)
    counted = (first + (weekday - week_start) % 7 for weekday in range(7) if weekdays >> weekday & 1)
    return Cycle(days, 7 * interval, {day % (7 * interval): times for day in counted})


def cycle_of_units(
    days: RuleDays,
    unit: int,
    interval: int,
    start: int,
    allowed: Iterable[int],
    offsets: tuple[int, ...],
    weekdays: int,
) -> Cycle:
    """Each `interval`-th unit of `unit` seconds from the one that holds `start`, at some seconds after its beginning.

    `allowed` are the units of a day that count. Unit `k` of a day is reached on the days `d` for which
    `d * per_day + k` is the first unit modulo `interval`: none, or all with one remainder modulo the cycle's length.
    """
    per_day = DAY // unit
    shared = gcd(interval, per_day)
    length = interval // shared
    inverse = pow(per_day // shared, -1, length)
    by_place: dict[int, list[int]] = {}
    for number in allowed:
        late, rest = divmod(start // unit - number, shared)
        place = late * inverse % length
        # Where a cycle is made of whole weeks, each of its days has one weekday only: the wrong ones never come.
        if rest == 0 and (length % 7 or weekdays >> (place + 4) % 7 & 1):
            by_place.setdefault(place, []).append(number * unit)
    times = {
        place: Listed(tuple(at + offset for at in sorted(begins) for offset in offsets))
        for place, begins in by_place.items()
    }
    return Cycle(days, length, times)


@attrs.frozen
class Positioned:
    """Some wall times of each period, by their position in the set of all that a cycle of days has there.

    `times` are those of each of its days. `bounds` gives the first day of the period that holds a day, and the first
    day after it.
    """

    cycle: Cycle
    times: tuple[int, ...]
    positions: tuple[int, ...]
    bounds: Bounds
    _last_chosen: list[tuple[int, tuple[int, ...]]] = attrs.field(init=False, eq=False, repr=False, factory=list)

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        first, _ = self.bounds(max(wall // DAY, FIRST_DAY))
        day = self.cycle.day_at_or_after(first)
        while day is not None:
            first, end = self.bounds(day)
            for chosen in self._chosen(first, end):
                if chosen >= wall:
                    return chosen
            day = self.cycle.day_at_or_after(end)
        return None

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        _, end = self.bounds(min(wall // DAY, LAST_DAY))
        day = self.cycle.day_at_or_before(min(end - 1, LAST_DAY))
        while day is not None:
            first, end = self.bounds(day)
            for chosen in reversed(self._chosen(first, end)):
                if chosen <= wall:
                    return chosen
            day = self.cycle.day_at_or_before(first - 1)
        return None

    def _chosen(self, first: int, end: int) -> tuple[int, ...]:
        """The wall times of one period, in order; those of the last one asked for are kept."""
        if self._last_chosen and self._last_chosen[0][0] == first:
            return self._last_chosen[0][1]
        days = self.cycle.days_between(first, end)
        size = len(self.times)
        indexes = places(self.positions, len(days) * size)
        chosen = tuple(days[index // size] * DAY + self.times[index % size] for index in indexes)
        self._last_chosen[:] = [(first, chosen)]
        return chosen


def places(positions: tuple[int, ...], size: int) -> list[int]:
    """The positions as indexes into a set of that size, in order; those beyond it are left out."""
    indexes = {position - 1 if position > 0 else size + position for position in positions}
    return sorted(index for index in indexes if 0 <= index < size)


def week_bounds(week_start: int) -> Bounds:
    """The bounds of weeks that begin on a weekday; 0 is Sunday."""

    def bounds(day: int) -> tuple[int, int]:
        first = day - (day + 4 - week_start) % 7
        return first, first + 7

    return bounds


def month_bounds(day: int) -> tuple[int, int]:
    """The bounds of months."""
    at = date.fromordinal(day + ORDINAL)
    following = date(at.year + at.month // 12, at.month % 12 + 1, 1)
    return day - at.day + 1, following.toordinal() - ORDINAL


def year_bounds(day: int) -> tuple[int, int]:
    """The bounds of years."""
    at = date.fromordinal(day + ORDINAL)
    return date(at.year, 1, 1).toordinal() - ORDINAL, date(at.year + 1, 1, 1).toordinal() - ORDINAL
