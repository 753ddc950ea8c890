"""What the parts of a recurrence rule and its start mean: the search that finds the wall times of both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import attrs

from safebackup.schedule.days import ALL_MONTHS, ALL_WEEKDAYS, EveryDay, Grid, bits, members
from safebackup.schedule.moments import wall_time
from safebackup.schedule.rrule_days import Every, RuleDays, YearDays
from safebackup.schedule.rrule_parts import Parts
from safebackup.schedule.rrule_walls import (
    Bounds,
    Cycle,
    Positioned,
    Search,
    cycle_of_units,
    cycle_of_weeks,
    month_bounds,
    places,
    week_bounds,
    year_bounds,
)
from safebackup.schedule.turns import DAY

_UNITS = {"DAILY": DAY, "HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
_ALL_HOURS, _SIXTY = (1 << 24) - 1, (1 << 60) - 1


def search_of(parts: Parts, start: int) -> Search | None:
    """What finds the wall times of a rule, also such before its start; None if there are none."""
    if parts.frequency in _UNITS:
        return _of_units(parts, start)
    if parts.frequency == "WEEKLY":
        return _of_weeks(parts, start)
    return _of_years(parts, start)


def _clock(parts: Parts, start: int) -> Grid:
    """The times of day; what is neither given nor counted by the frequency is that of the start."""
    at = wall_time(start)
    hours, minutes, seconds = bits(*parts.hours), bits(*parts.minutes), bits(*parts.seconds)
    return Grid(
        hours or (_ALL_HOURS if parts.is_finer_than("DAILY") else 1 << at.hour),
        minutes or (_SIXTY if parts.is_finer_than("HOURLY") else 1 << at.minute),
        seconds or (_SIXTY if parts.is_finer_than("MINUTELY") else 1 << at.second),
    )


def _weekdays(parts: Parts) -> int:
    return bits(*(weekday for nth, weekday in parts.days if not nth))


def _listed(clock: Grid) -> tuple[int, ...]:
    every = product(members(clock.hours), members(clock.minutes), members(clock.seconds))
    return tuple((hour * 60 + minute) * 60 + second for hour, minute, second in every)


def _of_units(parts: Parts, start: int) -> Search | None:
    """Days, hours, minutes or seconds: the same in each of them, but for whole days that do not count."""
    clock = _clock(parts, start)
    days = _conditions(parts)
    allowed, offsets = _units_and_offsets(parts.frequency, clock)
    if parts.positions:
        picked = tuple(offsets[place] for place in places(parts.positions, len(offsets)))
        if not picked:
            return None
        if picked != offsets or parts.interval > 1:
            return _cycle(parts, start, days, allowed, picked)
    return Cycle(days, 1, {0: clock}) if parts.interval == 1 else _cycle(parts, start, days, allowed, offsets)


def _cycle(parts: Parts, start: int, days: RuleDays, allowed: Sequence[int], offsets: tuple[int, ...]) -> Cycle:
    weekdays = _weekdays(parts) or ALL_WEEKDAYS
    return cycle_of_units(days, _UNITS[parts.frequency], parts.interval, start, allowed, offsets, weekdays)


def _units_and_offsets(frequency: str, clock: Grid) -> tuple[Sequence[int], tuple[int, ...]]:
    """The units of a day that count, and the seconds after the beginning of each of them that do."""
    no_hour, no_minute = attrs.evolve(clock, hours=1), attrs.evolve(clock, hours=1, minutes=1)
    if frequency == "DAILY":
        return (0,), _listed(clock)
    if frequency == "HOURLY":
        return members(clock.hours), _listed(no_hour)
    if frequency == "MINUTELY":
        return [at // 60 for at in _listed(attrs.evolve(clock, seconds=1))], _listed(no_minute)
    return _listed(clock), (0,)


def _conditions(parts: Parts) -> RuleDays:
    weekdays = _weekdays(parts)
    if not (parts.months or parts.month_days or parts.year_days or weekdays):
        return EveryDay()
    months = bits(*parts.months) or ALL_MONTHS
    return YearDays(months, parts.month_days, parts.year_days, weekdays=weekdays)


def _of_weeks(parts: Parts, start: int) -> Search | None:
    weekdays = _weekdays(parts) or 1 << wall_time(start).isoweekday() % 7
    days = YearDays(bits(*parts.months)) if parts.months else EveryDay()
    clock = _clock(parts, start)
    cycle = cycle_of_weeks(days, parts.interval, start, weekdays, parts.week_start, clock)
    return _positioned(parts, cycle, clock, week_bounds(parts.week_start), weekdays.bit_count())


def _of_years(parts: Parts, start: int) -> Search | None:
    """Months and years."""
    at = wall_time(start)
    monthly = parts.frequency == "MONTHLY"
    months, month_days, weekdays = bits(*parts.months), parts.month_days, _weekdays(parts)
    if not (month_days or parts.year_days or parts.days):
        if parts.weeks:
            weekdays = 1 << at.isoweekday() % 7
        else:
            month_days = (at.day,)
            months = months or (ALL_MONTHS if monthly else 1 << at.month)
    origin = at.year * 12 + at.month - 1 if monthly else at.year
    days = YearDays(
        months or ALL_MONTHS,
        month_days,
        parts.year_days,
        parts.weeks,
        weekdays,
        tuple(day for day in parts.days if day[0]),
        nths_of_month=monthly or bool(months),
        week_start=parts.week_start,
        every=Every("month" if monthly else "year", parts.interval, origin) if parts.interval > 1 else None,
    )
    clock = _clock(parts, start)
    cycle = Cycle(days, 1, {0: clock})
    if not parts.positions:
        return cycle
    most = days.most_in_a_month() if monthly else days.most_in_a_year()
    return _positioned(parts, cycle, clock, month_bounds if monthly else year_bounds, most)


def _positioned(parts: Parts, cycle: Cycle, clock: Grid, bounds: Bounds, most: int) -> Search | None:
    """What the positions pick, where some are given; `most` is how many days a period can have."""
    if not parts.positions:
        return cycle
    times = _listed(clock)
    if min(map(abs, parts.positions)) > most * len(times):
        return None
    return Positioned(cycle, times, parts.positions, bounds)
