"""Rules as lines: what one line of a crontab or of a timer can say, each on the clocks of one zone."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from safebackup.schedule.composing import Spread, Union, Without
from safebackup.schedule.days import ALL_MONTHS, Grid, Times, bits, members
from safebackup.schedule.exporting.pieces import ALL_NUMBERS, Piece, impossible, pieces_of
from safebackup.schedule.recurrences import AnyOf, Civil, Recurrence
from safebackup.schedule.rules import Elapsed, Rule
from safebackup.schedule.turns import DAY, turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone, zone

_MOST_TIMES = DAY // 60


@attrs.frozen
class Line:
    """Every combination of some hours, minutes and seconds, on some days, on the clocks of a zone; as bits."""

    zone: Zone
    days: Piece
    hours: int
    minutes: int
    seconds: int

    def times(self) -> list[int]:
        """Its times of day, in seconds."""
        count = self.hours.bit_count() * self.minutes.bit_count() * self.seconds.bit_count()
        if count > _MOST_TIMES:
            raise impossible(
                f"a schedule with {count} times a day is too dense to be moved", "Leave its zone as it is."
            )
        seconds = members(self.seconds)
        return [
            (hour * 60 + minute) * 60 + second
            for hour in members(self.hours)
            for minute in members(self.minutes)
            for second in seconds
        ]


def lines_of(rule: Rule, named: Zone) -> list[Line]:
    """Lines that together say what a rule says, changes of the clocks apart.

    Raises:
        ConfigurationError: there are none.
    """
    if isinstance(rule, Walls):
        return _of_recurrence(rule.recurrence, named)
    if isinstance(rule, Union):
        return [line for part in rule.parts for line in lines_of(part, named)]
    if isinstance(rule, Without):
        return _outside(lines_of(rule.part, named), rule)
    if isinstance(rule, Spread):
        moved = shifted(lines_of(rule.part, named), rule.delay)
        if moved is None:
            raise impossible(
                f"{rule.text()} runs {rule.delay} seconds later, on other days of the month than it names",
                "Spread it less, or name an earlier time of day.",
            )
        return moved
    if isinstance(rule, Elapsed) and DAY % rule.step == 0:
        return in_grids(zone("UTC"), Piece(), range(rule.start % rule.step, DAY, rule.step))
    raise impossible(
        f"{rule.text()} has no form there",
        "What has: cron, daily, hourly, weekly, monthly, on_calendar, and every(...) where it divides a day evenly.",
    )


def _of_recurrence(recurrence: Recurrence, named: Zone) -> list[Line]:
    if isinstance(recurrence, AnyOf):
        return [line for part in recurrence.parts for line in _of_recurrence(part, named)]
    if not isinstance(recurrence, Civil):
        raise impossible(
            f"{recurrence.text()} has no form there", "Write it as cron, weekly or monthly; icalendar can say it."
        )
    grids = _grids(recurrence.times)
    return [Line(named, piece, *grid) for piece in pieces_of(recurrence.days) for grid in grids]


def _grids(times: Times) -> list[tuple[int, int, int]]:
    if isinstance(times, Grid):
        return [(times.hours, times.minutes, times.seconds)]
    found = []
    time = times.at_or_after(0)
    while time >= 0:
        found.append(time)
        time = times.at_or_after(time + 1) if time + 1 < DAY else -1
    return _gridded(found)


def _gridded(times: Iterable[int]) -> list[tuple[int, int, int]]:
    """Some times of day as few combinations of hours, minutes and seconds."""
    minutes: dict[tuple[int, int], int] = {}
    for time in times:
        hour, minute, second = time // 3600, time // 60 % 60, time % 60
        minutes[hour, second] = minutes.get((hour, second), 0) | 1 << minute
    hours: dict[tuple[int, int], int] = {}
    for (hour, second), mask in minutes.items():
        hours[mask, second] = hours.get((mask, second), 0) | 1 << hour
    seconds: dict[tuple[int, int], int] = {}
    for (mask, second), hour_mask in hours.items():
        seconds[hour_mask, mask] = seconds.get((hour_mask, mask), 0) | 1 << second
    return [(hour_mask, mask, second_mask) for (hour_mask, mask), second_mask in seconds.items()]


def in_grids(named: Zone, days: Piece, times: Iterable[int]) -> list[Line]:
    """Lines for some times of day on the same days."""
    return [Line(named, days, *grid) for grid in _gridded(times)]


def _outside(lines: list[Line], rule: Without) -> list[Line]:
    """Without the times of day inside a window. Single dates stay: few targets can leave one out."""
    window = rule.window
    if window is None:
        return lines
    kept = []
    for line in lines:
        if line.zone == rule.zone and any(map(window.holds, line.times())):
            kept += in_grids(line.zone, line.days, [time for time in line.times() if not window.holds(time)])
        else:
            kept.append(line)
    return kept


def shifted(lines: list[Line], seconds: int) -> list[Line] | None:
    """The same lines so much later on the wall; None where that would be on days that cannot be told."""
    found: list[Line] = []
    for line in lines:
        by_day: dict[int, list[int]] = {}
        for time in line.times():
            by_day.setdefault((time + seconds) // DAY, []).append((time + seconds) % DAY)
        if line.days == Piece():
            by_day = {0: [time for times in by_day.values() for time in times]}
        for days_later, times in sorted(by_day.items()):
            days = _days_later(line.days, days_later)
            if days is None:
                return None
            found += in_grids(line.zone, days, times)
    return found


def _days_later(days: Piece, later: int) -> Piece | None:
    if later == 0:
        return days
    if not days.is_plain or days.months != ALL_MONTHS or days.numbers != ALL_NUMBERS:
        return None
    return attrs.evolve(days, weekdays=bits(*((weekday + later) % 7 for weekday in members(days.weekdays))))


def on_clocks_of(lines: list[Line], other: Zone, at: int) -> list[Line] | None:
    """The same lines on the clocks of another zone, by the offsets at an instant; None where they cannot be told.

    Whether that holds at other instants is for a simulation to find out.
    """
    moved: list[Line] = []
    for line in lines:
        difference = turns_of(other).offset_at(at) - turns_of(line.zone).offset_at(at)
        found = shifted([line], difference) if difference else [line]
        if found is None:
            return None
        moved += [attrs.evolve(each, zone=other) for each in found]
    return moved
