"""Which days, and which times of a day: what a recurrence on the wall clock is made of.

Days are counted from 1970-01-01, times of day in seconds. Sets of small numbers are bits of an integer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date
from functools import lru_cache
from typing import Protocol

import attrs

from safebackup.schedule.turns import FIRST, LAST

ORDINAL = date(1970, 1, 1).toordinal()
FIRST_DAY = FIRST // 86_400
LAST_DAY = LAST // 86_400
ALL_MONTHS = 0b1_1111_1111_1110
ALL_WEEKDAYS = 0b111_1111  # bit 0 is Sunday
_ONCE_A_WEEK = 0b1_0000001_0000001_0000001_0000001
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Times(Protocol):
    """Times of day, in seconds; at least one."""

    @property
    def first(self) -> int:
        """The earliest one."""
        ...

    @property
    def last(self) -> int:
        """The latest one."""
        ...

    def at_or_after(self, second: int) -> int:
        """The first one from `second` on; -1 where there is none."""
        ...

    def at_or_before(self, second: int) -> int:
        """The last one up to `second`; -1 where there is none."""
        ...


class Days(Protocol):
    """Days of the calendar."""

    def at_or_after(self, day: int) -> int | None:
        """The first one from `day` on."""
        ...

    def at_or_before(self, day: int) -> int | None:
        """The last one up to `day`."""
        ...


def bits(*numbers: int) -> int:
    """The set of some small numbers."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def members(mask: int) -> list[int]:
    """The numbers of a set, in order."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


@lru_cache(maxsize=2048)
def _upwards(mask: int, size: int) -> tuple[int, ...]:
    """For each number up to `size`: the first of the set from there on, or `size`."""
    table = [size] * (size + 1)
    for number in range(size - 1, -1, -1):
        table[number] = number if mask >> number & 1 else table[number + 1]
    return tuple(table)


@lru_cache(maxsize=2048)
def _downwards(mask: int, size: int) -> tuple[int, ...]:
    """For each number up to `size`, and for -1 at the end: the last of the set up to there, or -1."""
    table = [-1] * (size + 1)
    for number in range(size):
        table[number] = number if mask >> number & 1 else table[number - 1]
    return tuple(table)


@attrs.frozen
class Grid:
    """Every combination of some hours, minutes and seconds."""

    hours: int
    minutes: int
    seconds: int = 1

    @property
    def first(self) -> int:
        """The earliest one."""
        return _upwards(self.hours, 24)[0] * 3600 + _upwards(self.minutes, 60)[0] * 60 + _upwards(self.seconds, 60)[0]

    @property
    def last(self) -> int:
        """The latest one."""
        return ((self.hours.bit_length() * 60 + self.minutes.bit_length()) * 60 + self.seconds.bit_length()) - 3661

    def at_or_after(self, second: int) -> int:
        """The first one from `second` on; -1 where there is none."""
        hours, minutes, seconds = _upwards(self.hours, 24), _upwards(self.minutes, 60), _upwards(self.seconds, 60)
        minute, second = divmod(second, 60)
        hour, minute = divmod(minute, 60)
        if hours[hour] == hour:
            if minutes[minute] == minute and seconds[second] < 60:
                return (hour * 60 + minute) * 60 + seconds[second]
            later = minutes[minute + 1]
            if later < 60:
                return (hour * 60 + later) * 60 + seconds[0]
        hour = hours[hour + 1]
        return (hour * 60 + minutes[0]) * 60 + seconds[0] if hour < 24 else -1

    def at_or_before(self, second: int) -> int:
        """The last one up to `second`; -1 where there is none."""
        hours, minutes, seconds = _downwards(self.hours, 24), _downwards(self.minutes, 60), _downwards(self.seconds, 60)
        minute, second = divmod(second, 60)
        hour, minute = divmod(minute, 60)
        if hours[hour] == hour:
            if minutes[minute] == minute and seconds[second] >= 0:
                return (hour * 60 + minute) * 60 + seconds[second]
            earlier = minutes[minute - 1]
            if earlier >= 0:
                return (hour * 60 + earlier) * 60 + seconds[59]
        hour = hours[hour - 1]
        return (hour * 60 + minutes[59]) * 60 + seconds[59] if hour >= 0 else -1


@attrs.frozen
class Listed:
    """A few times of day, in order."""

    times: tuple[int, ...]

    @property
    def first(self) -> int:
        """The earliest one."""
        return self.times[0]

    @property
    def last(self) -> int:
        """The latest one."""
        return self.times[-1]

    def at_or_after(self, second: int) -> int:
        """The first one from `second` on; -1 where there is none."""
        index = bisect_left(self.times, second)
        return self.times[index] if index < len(self.times) else -1

    def at_or_before(self, second: int) -> int:
        """The last one up to `second`; -1 where there is none."""
        index = bisect_right(self.times, second)
        return self.times[index - 1] if index else -1


@attrs.frozen
class EveryDay:
    """Each day."""

    def at_or_after(self, day: int) -> int | None:
        """`day` itself."""
        return day if day <= LAST_DAY else None

    def at_or_before(self, day: int) -> int | None:
        """`day` itself."""
        return day if day >= FIRST_DAY else None


@attrs.frozen
class Nth:
    """The n-th of a weekday in a month; the last with -1, and with `clamp` also where there is no n-th."""

    weekday: int
    nth: int
    clamp: bool = False


@attrs.frozen
class MonthDays:
    """Some days of some months.

    A day counts if it is among the days of the month *or* among the weekdays; with `both`, if it is among both.
    `numbers` has the bits 1 to 31, `weekdays` the bits 0 (Sunday) to 6. `last` is the last day of the month,
    `last_workday` its last day from Monday to Friday, `workdays` the days nearest to those numbers in the same month.
    `clamp`: a number beyond the end of a month means its last day.
    """

    months: int = ALL_MONTHS
    numbers: int = 0
    weekdays: int = 0
    nths: tuple[Nth, ...] = ()
    workdays: int = 0
    last: bool = False
    last_workday: bool = False
    both: bool = False
    clamp: bool = False
    _shapes: list[int] = attrs.field(init=False, eq=False, repr=False, factory=lambda: [-1] * 28)

    def in_month(self, length: int, first_weekday: int) -> int:
        """The days of a month of that shape, as bits 1 to 31, whichever month it is."""
        key = (length - 28) * 7 + first_weekday
        found = self._shapes[key]
        if found < 0:
            by_number, by_weekday = self._by_number(length, first_weekday), self._by_weekday(length, first_weekday)
            found = by_number & by_weekday if self.both else by_number | by_weekday
            self._shapes[key] = found
        return found

    def _by_number(self, length: int, first_weekday: int) -> int:
        whole = (2 << length) - 2
        days = self.numbers & whole
        if (self.clamp and self.numbers > whole) or self.last:
            days |= 1 << length
        if self.last_workday:
            days |= 1 << _nearest_workday(length, length, first_weekday)
        for number in members(self.workdays & whole):
            days |= 1 << _nearest_workday(number, length, first_weekday)
        return days

    def _by_weekday(self, length: int, first_weekday: int) -> int:
        days = 0
        whole = (2 << length) - 2
        if self.weekdays == ALL_WEEKDAYS:
            return whole
        for weekday in members(self.weekdays):
            days |= _ONCE_A_WEEK << 1 + (weekday - first_weekday) % 7
        days &= whole
        for nth in self.nths:
            all_of_them = range(1 + (nth.weekday - first_weekday) % 7, length + 1, 7)
            if nth.nth == -1 or (nth.clamp and nth.nth > len(all_of_them)):
                days |= 1 << all_of_them[-1]
            elif nth.nth <= len(all_of_them):
                days |= 1 << all_of_them[nth.nth - 1]
        return days

    def ever(self) -> bool:
        """Whether there is any such day.

        Within 400 years each month begins on each weekday with each of its lengths, so that few shapes prove it.
        """
        return any(self.in_month(length, weekday) for length in self.lengths() for weekday in range(7))

    def lengths(self) -> list[int]:
        """The lengths that its months take, the longest first."""
        lengths = {_LENGTHS[month] for month in members(self.months)}
        return sorted({*lengths, 29} if 28 in lengths else lengths, reverse=True)

    def at_or_after(self, day: int) -> int | None:
        """The first one from `day` on."""
        if day > LAST_DAY:
            return None
        at = date.fromordinal(day + ORDINAL)
        year, month = at.year, at.month
        if self.months >> month & 1:
            first = day - at.day + 1
            found = self.in_month(_length(year, month), (first + 4) % 7) >> at.day
            if found:
                return day + (found & -found).bit_length() - 1
        following = _upwards(self.months, 13)
        while True:
            month = following[month + 1] if month < 12 else 13
            if month > 12:
                year, month = year + 1, following[1]
                if year > 9998:
                    return None
            first = date(year, month, 1).toordinal() - ORDINAL
            found = self.in_month(_length(year, month), (first + 4) % 7)
            if found:
                return first + (found & -found).bit_length() - 2

    def at_or_before(self, day: int) -> int | None:
        """The last one up to `day`."""
        if day < FIRST_DAY:
            return None
        at = date.fromordinal(day + ORDINAL)
        year, month = at.year, at.month
        if self.months >> month & 1:
            first = day - at.day + 1
            found = self.in_month(_length(year, month), (first + 4) % 7) & ((2 << at.day) - 1)
            if found:
                return first + found.bit_length() - 2
        preceding = _downwards(self.months, 13)
        while True:
            month = preceding[month - 1]
            if month < 1:
                year, month = year - 1, preceding[12]
                if year < 2:
                    return None
            first = date(year, month, 1).toordinal() - ORDINAL
            found = self.in_month(_length(year, month), (first + 4) % 7)
            if found:
                return first + found.bit_length() - 2


def _length(year: int, month: int) -> int:
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month]


def _nearest_workday(day: int, length: int, first_weekday: int) -> int:
    """The day from Monday to Friday that is nearest, never in another month."""
    weekday = (first_weekday + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
