"""The days that a recurrence rule picks by their place in the year, the month and the week."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TypeAlias

import attrs

from safebackup.schedule.days import ALL_MONTHS, ALL_WEEKDAYS, LAST_DAY, ORDINAL, EveryDay, members

_LAST_YEAR = 9998
_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ONCE_A_WEEK = sum(1 << day for day in range(0, 371, 7))


@lru_cache(maxsize=2)
def _months(length: int) -> tuple[tuple[int, int], ...]:
    """Of each month in a year of that length: its first day, counted from 0, and how many it has; number 0 is none."""
    found, first = [(0, 0)], 0
    for month in range(1, 13):
        days = length - 337 if month == 2 else _LENGTHS[month]
        found.append((first, days))
        first += days
    return tuple(found)


@lru_cache(maxsize=8192)
def _days_of_months(length: int, months: int) -> int:
    mask = 0
    for month, (first, days) in enumerate(_months(length)):
        if months >> month & 1:
            mask |= ((1 << days) - 1) << first
    return mask


def _year_length(year: int) -> int:
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365


def _first_weekday(year: int) -> int:
    """The weekday of 1 January; 0 is Sunday."""
    return date(year, 1, 1).isoweekday() % 7


@attrs.frozen
class Every:
    """Each `interval`-th year, or month, from the one that has this number; months are counted through the years."""

    unit: str
    interval: int
    origin: int

    def months_of(self, year: int) -> int:
        """Its months in a year, as bits 1 to 12."""
        if self.unit == "year":
            return ALL_MONTHS if (year - self.origin) % self.interval == 0 else 0
        if self.interval == 1:
            return ALL_MONTHS
        first = 1 + (self.origin - year * 12) % self.interval
        return sum(1 << month for month in range(first, 13, self.interval))


@attrs.frozen
class YearDays:
    """The days that fulfil all conditions that are given; negative numbers count from the end.

    `nths` are (which one, weekday), in the month or else in the year. A day's week is numbered as ISO 8601 does, with
    weeks that begin on `week_start`; days around New Year belong to the year that the calendar says.
    """

    months: int = ALL_MONTHS
    month_days: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    weekdays: int = 0
    nths: tuple[tuple[int, int], ...] = ()
    nths_of_month: bool = True
    week_start: int = 1
    every: Every | None = None
    _known: dict[int, int] = attrs.field(init=False, eq=False, repr=False, factory=dict)

    def bits(self, year: int) -> int:
        """Its days in a year; bit 0 is 1 January."""
        months = self.months if self.every is None else self.months & self.every.months_of(year)
        if not months:
            return 0
        # After 400 years the calendar begins anew.
        shape = year % 400
        fitting = self._known.get(shape)
        if fitting is None:
            fitting = self._known[shape] = self._fitting(400 + shape)
        return fitting & _days_of_months(_year_length(year), months)

    def at_or_after(self, day: int) -> int | None:
        """The first one from `day` on."""
        if day > LAST_DAY:
            return None
        year = date.fromordinal(day + ORDINAL).year
        first = date(year, 1, 1).toordinal() - ORDINAL
        found = self.bits(year) >> (day - first) << (day - first)
        while not found:
            first += _year_length(year)
            year += 1
            if year > _LAST_YEAR:
                return None
            found = self.bits(year)
        return first + (found & -found).bit_length() - 1

    def at_or_before(self, day: int) -> int | None:
        """The last one up to `day`."""
        year = date.fromordinal(day + ORDINAL).year
        first = date(year, 1, 1).toordinal() - ORDINAL
        found = self.bits(year) & ((2 << (day - first)) - 1)
        while not found:
            year -= 1
            if year < 2:
                return None
            first -= _year_length(year)
            found = self.bits(year)
        return first + found.bit_length() - 1

    def between(self, first: int, end: int) -> list[int]:
        """Those from `first` to before `end`, in order."""
        year = date.fromordinal(first + ORDINAL).year
        begin = date(year, 1, 1).toordinal() - ORDINAL
        found: list[int] = []
        while begin < end:
            places = self.bits(year) & ((1 << (end - begin)) - 1)
            found += [begin + place for place in members(places) if begin + place >= first]
            begin += _year_length(year)
            year += 1
        return found

    def most_in_a_month(self) -> int:
        """How many of them a month can have at most."""
        return max(
            (bits >> first & ((1 << days) - 1)).bit_count()
            for year in range(400, 800)
            for bits in (self._fitting(year),)
            for first, days in _months(_year_length(year))[1:]
        )

    def most_in_a_year(self) -> int:
        """How many of them a year can have at most."""
        return max(
            (self._fitting(year) & _days_of_months(_year_length(year), self.months)).bit_count()
            for year in range(400, 800)
        )

    def _fitting(self, year: int) -> int:
        """The days of a year that fulfil all but what is said of months."""
        length, first = _year_length(year), _first_weekday(year)
        mask = (1 << length) - 1
        if self.month_days:
            mask &= self._by_month_day(length)
        if self.year_days:
            numbers = (number - 1 if number > 0 else length + number for number in self.year_days)
            mask &= sum(1 << number for number in set(numbers) if 0 <= number < length)
        if self.weeks:
            mask &= self._by_week(year, length, first)
        if self.weekdays or self.nths:
            mask &= self._by_weekday(length, first)
        return mask

    def _by_month_day(self, length: int) -> int:
        mask = 0
        for first, days in _months(length)[1:]:
            for number in self.month_days:
                place = number - 1 if number > 0 else days + number
                if 0 <= place < days:
                    mask |= 1 << first + place
        return mask

    def _by_weekday(self, length: int, first: int) -> int:
        if self.weekdays == ALL_WEEKDAYS:
            return -1
        mask = 0
        for weekday in range(7):
            if self.weekdays >> weekday & 1:
                mask |= _ONCE_A_WEEK << (weekday - first) % 7
        spans = _months(length)[1:] if self.nths_of_month else ((0, length),)
        for nth, weekday in self.nths:
            for begin, days in spans:
                places = range(begin + (weekday - first - begin) % 7, begin + days, 7)
                if abs(nth) <= len(places):
                    mask |= 1 << places[nth - 1 if nth > 0 else nth]
        return mask

    def _by_week(self, year: int, length: int, first: int) -> int:
        mask = 0
        for start in range(-((first - self.week_start) % 7), length, 7):
            # A week belongs to the year that has its fourth day, and so most of its days.
            fourth = start + 3
            if fourth < 0:
                number = of = self._weeks_of(year - 1)
            elif fourth >= length:
                number, of = 1, self._weeks_of(year + 1)
            else:
                number, of = fourth // 7 + 1, self._weeks_of(year)
            if number in self.weeks or number - of - 1 in self.weeks:
                mask |= 0b111_1111 << start if start >= 0 else 0b111_1111 >> -start
        return mask

    def _weeks_of(self, year: int) -> int:
        first_fourth = (self.week_start + 3 - _first_weekday(year)) % 7
        return (_year_length(year) - 1 - first_fourth) // 7 + 1


RuleDays: TypeAlias = EveryDay | YearDays
