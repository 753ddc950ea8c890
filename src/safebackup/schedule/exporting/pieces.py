"""Days cut into pieces that other programs can say: a condition on the date and one on the weekday, which both hold."""

from __future__ import annotations

from itertools import product

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.composing import CommonDays
from safebackup.schedule.days import ALL_MONTHS, ALL_WEEKDAYS, Days, EveryDay, MonthDays, bits, members
from safebackup.schedule.on_calendar import DaysFromEnd, DaysOfYears

ALL_NUMBERS = (1 << 32) - 2
_SHORTEST = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONDAY_TO_FRIDAY = 0b011_1110
_FRIDAY = 0b010_0000


@attrs.frozen
class Piece:
    """Some days of some months and years. At most one of `numbers`, `from_end`, `nearest` and `last_workday` is said.

    `numbers` has the bits 1 to 31; `from_end` counts from the end of the month, its last day is bit 1; `nearest` is the
    day from Monday to Friday nearest to that number; `nth` is which of its one weekday, -1 the last. No years: all.
    """

    months: int = ALL_MONTHS
    years: int = 0
    numbers: int = ALL_NUMBERS
    from_end: int = 0
    nearest: int = 0
    last_workday: bool = False
    weekdays: int = ALL_WEEKDAYS
    nth: int = 0

    @property
    def has_numbers(self) -> bool:
        """Whether days are numbered from the start of the month, if at all."""
        return not (self.from_end or self.nearest or self.last_workday)

    @property
    def has_any_date(self) -> bool:
        """Whether it says nothing of the date but months and years."""
        return self.numbers == ALL_NUMBERS and self.has_numbers

    @property
    def has_any_weekday(self) -> bool:
        """Whether it says nothing of the weekday."""
        return self.weekdays == ALL_WEEKDAYS and not self.nth

    @property
    def is_plain(self) -> bool:
        """Whether it consists of numbers and weekdays alone."""
        return self.has_numbers and not self.years and not self.nth


def impossible(what: str, hint: str) -> ConfigurationError:
    """The error for what a target has no words for."""
    return ConfigurationError(what, code=Code.EXPORT_IMPOSSIBLE, hint=hint)


def pieces_of(days: Days) -> list[Piece]:
    """Pieces that together are these days; some may share days.

    Raises:
        ConfigurationError: these days cannot be cut so.
    """
    if isinstance(days, EveryDay):
        return [Piece()]
    if isinstance(days, DaysOfYears):
        return [attrs.evolve(piece, years=days.years) for piece in pieces_of(days.days)]
    if isinstance(days, MonthDays):
        return _of_month(days)
    if isinstance(days, CommonDays):
        shared = [Piece()]
        for part in days.parts:
            shared = [met for one, other in product(shared, _of_month(part)) if (met := _meet(one, other)) is not None]
        return shared
    raise impossible("days of this kind have no form elsewhere", "Write them as cron, weekly or monthly.")


def _of_month(days: MonthDays) -> list[Piece]:
    dates, weekdays = _dates(days), _weekdays(days)
    if days.both:
        return [met for one, other in product(dates, weekdays) if (met := _meet(one, other)) is not None]
    return dates + weekdays


def _dates(days: MonthDays) -> list[Piece]:
    months = days.months
    if isinstance(days, DaysFromEnd):
        return [Piece(months, from_end=days.numbers)]
    found = [Piece(months, numbers=days.numbers)] if days.numbers else []
    if days.clamp:
        found = [piece for number in members(days.numbers) for piece in _clamped(number, months)]
    found += [Piece(months, from_end=0b10)] * days.last
    found += [Piece(months, last_workday=True)] * days.last_workday
    return found + [Piece(months, nearest=number) for number in members(days.workdays)]


def _clamped(number: int, months: int) -> list[Piece]:
    """A number that means the last day of the months that are too short for it."""
    long_enough = bits(*(month for month in members(months) if _SHORTEST[month] >= number))
    found = [Piece(long_enough, numbers=1 << number)] if long_enough else []
    return found + ([Piece(months & ~long_enough, from_end=0b10)] if months & ~long_enough else [])


def _weekdays(days: MonthDays) -> list[Piece]:
    found = [Piece(days.months, weekdays=days.weekdays)] if days.weekdays else []
    for nth in days.nths:
        which = -1 if nth.clamp and nth.nth == 5 else nth.nth
        found.append(Piece(days.months, weekdays=1 << nth.weekday, nth=which))
    return found


def _meet(one: Piece, other: Piece) -> Piece | None:
    """The days of both; None if there are none."""
    dated, undated = (one, other) if not one.has_any_date else (other, one)
    months, weekdays = one.months & other.months, one.weekdays & other.weekdays
    numbers = one.numbers & other.numbers
    if not undated.has_any_date and not (one.has_numbers and other.has_numbers):
        raise impossible("days with two conditions on the date have no form elsewhere", "Name the days themselves.")
    if (one.nth and not other.has_any_weekday) or (other.nth and not one.has_any_weekday):
        raise impossible("days with two conditions on the weekday have no form elsewhere", "Name the days themselves.")
    if not (months and weekdays and numbers):
        return None
    return attrs.evolve(dated, months=months, numbers=numbers, weekdays=weekdays, nth=one.nth or other.nth)


def without_last_workday(piece: Piece) -> list[Piece]:
    """The last day from Monday to Friday in plainer words: the last day itself, or the Friday one or two before it."""
    if not piece.last_workday:
        return [piece]
    if not piece.has_any_weekday:
        raise impossible("a last workday that is also some weekday has no form elsewhere", "Name one of the two.")
    plainer = attrs.evolve(piece, last_workday=False)
    return [
        attrs.evolve(plainer, from_end=0b10, weekdays=_MONDAY_TO_FRIDAY),
        attrs.evolve(plainer, from_end=0b1100, weekdays=_FRIDAY),
    ]
