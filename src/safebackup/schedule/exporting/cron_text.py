"""Lines as cron expressions, in the dialects of the programs that read them."""

from __future__ import annotations

from itertools import groupby

import attrs

from safebackup.schedule.days import ALL_MONTHS, bits, members
from safebackup.schedule.exporting.lines import Line
from safebackup.schedule.exporting.pieces import ALL_NUMBERS, Piece, impossible
from safebackup.schedule.policies import ELAPSED
from safebackup.schedule.rules import Rule
from safebackup.schedule.walls import Walls

_ALL_HOURS = (1 << 24) - 1
_ALL_MINUTES = (1 << 60) - 1
_HINT = "Export to systemd or icalendar, which know more kinds of days, or name the days otherwise."


@attrs.frozen
class Dialect:
    """What a program's cron expressions can say.

    `has_last` is for `L`, `LW`, `5L` and `5#2`. With `star_means_both` a day must fit both day fields where one starts
    with `*`, also with a step; else only where one is `*` alone.
    """

    target: str
    has_last: bool = False
    star_means_both: bool = True


DEBIAN = Dialect("crontab")
ROBFIG = Dialect("kubernetes", star_means_both=False)
# Checked with cronsim 2.8, which Healthchecks reads schedules with, and Sentry since the end of 2024.
CRONSIM = Dialect("what Healthchecks and Sentry read", has_last=True)


def ranges(mask: int) -> str:
    """A set of numbers, as `1-5,7`."""
    found: list[str] = []
    for _, run in groupby(enumerate(members(mask)), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        found += [f"{numbers[0]}-{numbers[-1]}"] if len(numbers) > 2 else list(map(str, numbers))
    return ",".join(found)


def starred(mask: int, low: int, high: int) -> str | None:
    """A set as `*` or `*/n`; None if it is no such set."""
    for step in range(1, high + 1):
        if mask == bits(*range(low, high + 1, step)):
            return "*" if step == 1 else f"*/{step}"
    return None


def cron_texts(lines: list[Line], dialect: Dialect, *, wild: bool) -> list[str] | None:
    """Expressions of five fields, where minute or hour start with `*` or, if not `wild`, never do.

    None where such an expression does not exist. Those that differ only in naming numbers or weekdays become one, which
    cron reads as either of them.
    """
    found: list[str] = []
    left = list(lines)
    while left:
        line = left.pop(0)
        if line.seconds != 1:
            raise impossible(
                f"{dialect.target} knows minutes, but a run is due at second {ranges(line.seconds)}",
                "Export to systemd, which knows seconds.",
            )
        other = next((each for each in left if _are_either(line, each)), None)
        if other is not None:
            left.remove(other)
        times = _times(line, wild=wild)
        if times is None:
            return None
        found.append(f"{times} {_days(line.days, None if other is None else other.days, dialect)}")
    return found


def wild_or_not(rule: Rule) -> tuple[bool, bool]:
    """Which form of expressions to try first: the one that does at changes of the clocks as the rule does."""
    is_wild = not isinstance(rule, Walls) or rule.policy == ELAPSED
    return is_wild, not is_wild


def _are_either(one: Line, other: Line) -> bool:
    """Whether one names numbers and the other weekdays, and all else is the same."""
    first, second = (one, other) if one.days.has_any_weekday else (other, one)
    return (
        attrs.evolve(one, days=other.days) == other
        and one.days.months == other.days.months
        and first.days.is_plain
        and second.days.is_plain
        and not first.days.has_any_date
        and first.days.has_any_weekday
        and second.days.has_any_date
        and not second.days.has_any_weekday
    )


def _times(line: Line, *, wild: bool) -> str | None:
    minute, hour = starred(line.minutes, 0, 59), starred(line.hours, 0, 23)
    if wild and minute is None and hour is None:
        return None
    plain = f"{ranges(line.minutes)} {ranges(line.hours)}"
    return f"{minute or ranges(line.minutes)} {hour or ranges(line.hours)}" if wild else plain


def _days(piece: Piece, other: Piece | None, dialect: Dialect) -> str:
    months = "*" if piece.months == ALL_MONTHS else ranges(piece.months)
    if other is not None:
        numbers, weekdays = (piece, other) if piece.has_any_weekday else (other, piece)
        return f"{ranges(numbers.numbers)} {months} {ranges(weekdays.weekdays)}"
    if piece.nth > 0 and piece.has_any_date and not dialect.has_last:
        week = bits(*range(piece.nth * 7 - 6, min(piece.nth * 7, 31) + 1))
        piece = attrs.evolve(piece, nth=0, numbers=week)
    date, weekday = _date(piece, dialect), _weekday(piece, dialect)
    if date != "*" and weekday != "*":
        date, weekday = _both(piece, date, weekday, dialect)
    return f"{date} {months} {weekday}"


def _both(piece: Piece, date: str, weekday: str, dialect: Dialect) -> tuple[str, str]:
    if dialect.star_means_both and piece.is_plain:
        stepped = starred(piece.numbers, 1, 31)
        if stepped is not None:
            return stepped, weekday
        stepped = starred(piece.weekdays | (piece.weekdays & 1) << 7, 0, 7)  # 7 is Sunday too: */7 is Sunday alone
        if stepped is not None:
            return date, stepped
    raise impossible(
        f"{dialect.target} takes a day that fits the date {date} or the weekday {weekday}, where both must hold", _HINT
    )


def _date(piece: Piece, dialect: Dialect) -> str:
    if piece.has_any_date and not piece.years:
        return "*"
    if piece.numbers != ALL_NUMBERS and not piece.years:
        return ranges(piece.numbers)
    if dialect.has_last and not piece.years:
        if piece.from_end == 0b10:
            return "L"
        if piece.last_workday:
            return "LW"
    what = "single years" if piece.years else "days counted from the end of a month, or nearest workdays"
    raise impossible(f"{dialect.target} does not know {what}", _HINT)


def _weekday(piece: Piece, dialect: Dialect) -> str:
    if not piece.nth:
        return "*" if piece.has_any_weekday else ranges(piece.weekdays)
    if not dialect.has_last:
        raise impossible(f"{dialect.target} does not know the last of a weekday in a month", _HINT)
    weekday = ranges(piece.weekdays)
    return f"{weekday}L" if piece.nth == -1 else f"{weekday}#{piece.nth}"
