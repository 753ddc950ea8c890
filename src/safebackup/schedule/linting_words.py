"""How a schedule is written: words that are read otherwise than they look, as findings with dates that show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.schedule import moments, wording
from safebackup.schedule.civil import WEEKDAYS, Monthly
from safebackup.schedule.cron import Cron, parse_cron
from safebackup.schedule.days import ORDINAL, Days, MonthDays, members
from safebackup.schedule.on_calendar import DaysOfYears, OnCalendar, parse_on_calendar
from safebackup.schedule.recurrences import Civil, Recurrence
from safebackup.schedule.rrule import RRule
from safebackup.schedule.rrule_parts import read_parts
from safebackup.schedule.touches import recurrences_in
from safebackup.schedule.turns import DAY

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

Reader: TypeAlias = Literal["quartz", "eventbridge", "apscheduler"]

# By how much the number of a weekday is ahead of the one that we use, where Sunday is 0.
READERS: dict[Reader, int] = {"quartz": 1, "eventbridge": 1, "apscheduler": -1}
_SHOWN = 3
_TRIED = 3000
_STEP = re.compile(r"(?:\*|\d+)/(\d+)")
# Of each field of cron, from the finest on: how many values it has, and how long its unit is at least.
_UNITS = (
    *(("second", 60, 1), ("minute", 60, 60), ("hour", 24, 3600)),
    *(("day", 31, DAY), ("month", 12, 28 * DAY), ("weekday", 7, DAY)),
)


def lint_words(schedule: Schedule, start: int, end: int, target: Reader | None) -> Iterator[Finding]:
    """What is odd about the recurrences that a schedule is made of."""
    for recurrence in recurrences_in(schedule.rule):
        yield from _uneven_steps(schedule, recurrence, start)
        yield from _rare(schedule, recurrence, start, end)
        if isinstance(recurrence, Cron):
            yield from _combined_days(schedule, recurrence, start, end)
            if target is not None:
                yield from _dialect(schedule, recurrence, start, target)


def _finding(schedule: Schedule, code: Code, what: str, action: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, what=what, action=action, subject=str(schedule))


def _uneven_steps(schedule: Schedule, recurrence: Recurrence, start: int) -> Iterator[Finding]:
    for step, unit, seconds, alone in _steps(recurrence):
        found = _nearer_than(alone, step * seconds, start)
        if found is None:
            continue
        earlier, later = (f"{moments.wall_time(wall):%Y-%m-%d %H:%M:%S}" for wall in found)
        yield _finding(
            schedule,
            Code.UNEVEN_STEP,
            f"every {wording.ordinal(step)} {unit} begins anew: from {earlier} to {later} are only "
            f"{wording.how_long(found[1] - found[0])}",
            f"Take a step that divides the range of the {unit}s, write the {unit}s out, or use Schedule.every(…).",
        )


def _steps(recurrence: Recurrence) -> Iterator[tuple[int, str, int, Recurrence]]:
    """Each step over a whole field, its unit, and a recurrence in which everything finer stands still."""
    if isinstance(recurrence, Cron):
        fields = recurrence.expression.split()
        units = _UNITS[-len(fields) :]
        for at, (field, (unit, values, seconds)) in enumerate(zip(fields, units, strict=True)):
            found = _STEP.fullmatch(field)
            if found is not None and 1 < int(found[1]) < values:
                yield int(found[1]), unit, seconds, _cron_alone(fields, at, recurrence.seconds)
    elif isinstance(recurrence, OnCalendar):
        *days, time = recurrence.expression.split()
        parts = time.split(":")
        for at, (unit, seconds) in enumerate((("hour", 3600), ("minute", 60), ("second", 1))):
            found = _STEP.fullmatch(parts[at])
            if found is not None and int(found[1]) > 1:
                still = ":".join([*parts[: at + 1], *["00"] * (2 - at)])
                yield int(found[1]), unit, seconds, parse_on_calendar(" ".join([*days, still]))


def _cron_alone(fields: list[str], at: int, seconds: bool) -> Recurrence:
    finer = len(fields) - 3 if at >= len(fields) - 3 else at  # days, months and weekdays: at midnight
    kept = ["0"] * finer + fields[finer:]
    if at == len(fields) - 2:  # a step of months: its first days
        kept[-3], kept[-1] = "1", "*"
    return parse_cron(" ".join(kept), seconds=seconds)


def _nearer_than(recurrence: Recurrence, distance: int, start: int) -> tuple[int, int] | None:
    """The first two neighbours that are nearer than that, among those that are worth looking at."""
    earlier = recurrence.at_or_after(start)
    for _ in range(_TRIED):
        later = None if earlier is None else recurrence.at_or_after(earlier + 1)
        if earlier is None or later is None or later - start > 800 * DAY:
            return None
        if later - earlier < distance:
            return earlier, later
        earlier = later
    return None


def _rare(schedule: Schedule, recurrence: Recurrence, start: int, end: int) -> Iterator[Finding]:
    if isinstance(recurrence, Monthly) and recurrence.short_months == "skip":
        return  # as somebody said
    empty = [month for month in _months(start, end) if _is_meant(recurrence, month) and _has_no_day(recurrence, month)]
    if not empty:
        return
    shown = [f"{month:%Y-%m}" for month in empty[:_SHOWN]]
    more = [f"{len(empty) - _SHOWN} more months up to {empty[-1]:%Y-%m}"] if len(empty) > _SHOWN else []
    yield _finding(
        schedule,
        Code.RARE,
        f"{recurrence.text()} has no day in {wording.all_of([*shown, *more])}",
        "For the end of each month write L, or Schedule.monthly(day='last', …).",
    )


def _months(start: int, end: int) -> Iterator[date]:
    """The first days of the months that lie whole in a span."""
    first = moments.wall_time(start).date()
    last = moments.wall_time(end).date()
    year, month = first.year, first.month + (first.day > 1)
    while True:
        year, month = (year + 1, 1) if month > 12 else (year, month)
        if _following(date(year, month, 1)) > last:
            return
        yield date(year, month, 1)
        month += 1


def _following(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _is_meant(recurrence: Recurrence, month: date) -> bool:
    """Whether each such month was to have a run, as far as the words go."""
    if isinstance(recurrence, RRule):
        parts = read_parts(recurrence.rule)
        is_each = parts.interval == 1 and bool(parts.month_days) and not (parts.weeks or parts.year_days)
        lasts = recurrence.at_or_after(_second(_following(month))) is not None
        begun = recurrence.start <= _second(month)
        named = parts.months or range(1, 13)
        is_named = month.month in named and (parts.frequency == "MONTHLY" or bool(parts.months))
        return is_each and begun and lasts and is_named and parts.frequency in ("MONTHLY", "YEARLY")
    days = recurrence.days if isinstance(recurrence, Civil) else None
    if isinstance(days, DaysOfYears):
        if not days.years >> month.year & 1:
            return False
        days = days.days
    return isinstance(days, MonthDays) and bool(days.months >> month.month & 1)


def _has_no_day(recurrence: Recurrence, month: date) -> bool:
    found = recurrence.at_or_after(_second(month))
    return found is None or found >= _second(_following(month))


def _second(day: date) -> int:
    return (day.toordinal() - ORDINAL) * DAY


def _combined_days(schedule: Schedule, cron: Cron, start: int, end: int) -> Iterator[Finding]:
    """Both day fields say something: a day on which "and" and "or" differ."""
    day, weekday = cron.expression.split()[-3], cron.expression.split()[-1]
    days = cron.days
    if "*" in (day, weekday) or not isinstance(days, MonthDays):
        return
    other = attrs.evolve(days, both=not days.both)
    either, both = (other, days) if days.both else (days, other)
    found = _first_day(either, start, end, lambda number: both.at_or_after(number) != number)
    if found is None:
        return
    written = f"{found:%A %Y-%m-%d}"
    if days.both:
        what = f"{weekday!r} and {day!r} must both fit, as one of them starts with *: not due on {written}"
        action = "Other programs run where either fits. Make two schedules and join them: a & b, or a | b."
        yield _finding(schedule, Code.STAR_STEP_AND, f"{cron.text()}: {what}", action)
    else:
        what = f"it is enough that {day!r} or {weekday!r} fits: due on {written}"
        yield _finding(
            schedule,
            Code.DOM_DOW_OR,
            f"{cron.text()}: {what}",
            "If both are to fit, make two schedules and join them: a & b.",
        )


def _first_day(days: Days, start: int, end: int, fits: Callable[[int], bool]) -> date | None:
    found = days.at_or_after(start // DAY)
    while found is not None and found < end // DAY:
        if fits(found):
            return date.fromordinal(found + ORDINAL)
        found = days.at_or_after(found + 1)
    return None


def _dialect(schedule: Schedule, cron: Cron, start: int, target: Reader) -> Iterator[Finding]:
    field = cron.expression.split()[-1]
    if "*" in field or not isinstance(cron.days, MonthDays):
        return
    numbers = {*members(cron.days.weekdays), *(nth.weekday for nth in cron.days.nths)}
    read = {(number - READERS[target]) % 7 for number in numbers}
    if read == numbers:
        return
    due = _first_day(cron.days, start, start + 3660 * DAY, lambda _: True)
    said = [wording.all_of([WEEKDAYS[day].capitalize() for day in sorted(days)]) for days in (numbers, read)]
    yield _finding(
        schedule,
        Code.DIALECT_DOW,
        f"{cron.text()}: {field!r} is {said[0]} here, next on {due}, and {said[1]} to {target}",
        "Write names of weekdays in what is given to that program: MON, TUE, …",
    )
