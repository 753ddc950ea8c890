"""Schedules in plain words: daily, hourly, weekly, monthly; and how their arguments are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import time, timedelta
from typing import ClassVar, Literal, TypeAlias

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.days import Days, EveryDay, Grid, Listed, MonthDays, Nth, Times, bits, members
from safebackup.schedule.recurrences import Civil

At: TypeAlias = "str | time | Sequence[str | time]"
Weekday: TypeAlias = str
MonthDay: TypeAlias = "int | Literal['last'] | tuple[int | Literal['last'], Weekday]"
ShortMonths: TypeAlias = Literal["skip", "last"]

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ALL_HOURS = (1 << 24) - 1


def bad(what: str, hint: str) -> ConfigurationError:
    """The error for an argument of a schedule."""
    return ConfigurationError(what, code=Code.BAD_SCHEDULE, hint=hint)


def whole_seconds(length: object, name: str) -> int:
    """The whole seconds of a length of time."""
    if not isinstance(length, timedelta):
        raise bad(f"{name}={length!r} is not a length of time", "Write datetime.timedelta(minutes=30).")
    # timedelta's own division: that of pendulum.Duration cannot divide by a plain timedelta.
    return timedelta.__floordiv__(length, timedelta(seconds=1))


def read_time(text: object, name: str = "at") -> int:
    """A time of day in seconds."""
    if isinstance(text, time):
        if text.tzinfo is not None or text.microsecond:
            raise bad(f"{name}={text!r} has a zone or parts of a second", "Whole seconds, and the zone in tz=.")
        return (text.hour * 60 + text.minute) * 60 + text.second
    found = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise bad(f"{name}={text!r} is not a time of day", 'Write hours and minutes from 00:00 to 23:59: "01:30".')
    return (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3] or 0)


def write_time(second: int) -> str:
    """A time of day as `read_time` reads it: `01:30`, or `01:30:15` where seconds matter."""
    minute, second = divmod(second, 60)
    return f"{minute // 60:02}:{minute % 60:02}" + (f":{second:02}" if second else "")


def read_times(at: At) -> tuple[int, ...]:
    """One or several times of day, in order."""
    several = [at] if isinstance(at, str | bytes | time) or not isinstance(at, Iterable) else list(at)
    if not several:
        raise bad("at= names no time of day", 'Write one or several: at="01:30".')
    return tuple(sorted({read_time(one) for one in several}))


def read_weekday(day: object, name: str = "day") -> int:
    """A weekday by its English name or the first three letters; 0 is Sunday."""
    if isinstance(day, str):
        for number, full in enumerate(WEEKDAYS):
            if day.lower() in (full, full[:3]):
                return number
    raise bad(
        f"{name}={day!r} is not a weekday",
        "Write its name, such as 'monday': numbers mean different days to different programs.",
    )


@attrs.frozen
class Daily(Civil):
    """Each day at some times."""

    kind: ClassVar[str] = "daily"
    at: tuple[int, ...]
    days: Days = attrs.field(init=False, eq=False, repr=False, factory=EveryDay)
    times: Times = attrs.field(init=False, eq=False, repr=False)

    @times.default
    def _times(self) -> Times:
        return Listed(self.at)

    def text(self) -> str:
        """The times."""
        return f"daily {_listed(self.at)}"

    def record(self) -> dict[str, object]:
        """The times."""
        return {"at": [write_time(second) for second in self.at]}


@attrs.frozen
class Hourly(Civil):
    """Each hour at some minutes."""

    kind: ClassVar[str] = "hourly"
    minutes: tuple[int, ...]
    days: Days = attrs.field(init=False, eq=False, repr=False, factory=EveryDay)
    times: Times = attrs.field(init=False, eq=False, repr=False)

    @times.default
    def _times(self) -> Times:
        return Grid(_ALL_HOURS, bits(*self.minutes))

    def text(self) -> str:
        """The minutes."""
        return "hourly " + ",".join(f":{minute:02}" for minute in self.minutes)

    def record(self) -> dict[str, object]:
        """The minutes."""
        return {"minute": list(self.minutes)}


@attrs.frozen
class Weekly(Civil):
    """Each week on some weekdays at some times."""

    kind: ClassVar[str] = "weekly"
    weekdays: int  # bits, 0 is Sunday
    at: tuple[int, ...]
    days: Days = attrs.field(init=False, eq=False, repr=False)
    times: Times = attrs.field(init=False, eq=False, repr=False)

    @days.default
    def _days(self) -> Days:
        return MonthDays(weekdays=self.weekdays)

    @times.default
    def _times(self) -> Times:
        return Listed(self.at)

    def text(self) -> str:
        """The weekdays and the times."""
        return f"weekly {','.join(WEEKDAYS[day] for day in members(self.weekdays))} {_listed(self.at)}"

    def record(self) -> dict[str, object]:
        """The weekdays and the times."""
        return {"day": [WEEKDAYS[day] for day in members(self.weekdays)], "at": [write_time(at) for at in self.at]}


@attrs.frozen
class Monthly(Civil):
    """Each month on a numbered day, the last day, or the n-th of a weekday."""

    kind: ClassVar[str] = "monthly"
    day: int  # 1 to 31; -1 is the last; with a weekday, which one: 1 to 5, or -1 for the last
    weekday: int | None  # 0 is Sunday
    at: tuple[int, ...]
    short_months: ShortMonths | None
    days: Days = attrs.field(init=False, eq=False, repr=False)
    times: Times = attrs.field(init=False, eq=False, repr=False)

    @days.default
    def _days(self) -> Days:
        clamp = self.short_months == "last"
        if self.weekday is not None:
            return MonthDays(nths=(Nth(self.weekday, self.day, clamp),))
        if self.day == -1:
            return MonthDays(last=True)
        return MonthDays(numbers=1 << self.day, clamp=clamp)

    @times.default
    def _times(self) -> Times:
        return Listed(self.at)

    def text(self) -> str:
        """The day, the times, and what short months do."""
        which = "last" if self.day == -1 else str(self.day)
        day = which if self.weekday is None else f"{which} {WEEKDAYS[self.weekday]}"
        return f"monthly {day} {_listed(self.at)}" + (f" short_months={self.short_months}" if self.short_months else "")

    def record(self) -> dict[str, object]:
        """The day, the times, and what short months do."""
        which: int | str = "last" if self.day == -1 else self.day
        return {
            "day": which if self.weekday is None else [which, WEEKDAYS[self.weekday]],
            "at": [write_time(at) for at in self.at],
            "short_months": self.short_months,
        }


def _listed(times: tuple[int, ...]) -> str:
    return ",".join(write_time(at) for at in times)


def hourly(minute: int | Iterable[int]) -> Hourly:
    """Read the arguments of `Schedule.hourly`."""
    given: object = minute
    listed = list(given) if isinstance(given, Iterable) else [given]
    minutes = [one for one in listed if type(one) is int and 0 <= one <= 59]
    if not minutes or len(minutes) != len(listed):
        raise bad(f"minute={minute!r} is not from 0 to 59", "Write one minute of the hour, or several.")
    return Hourly(tuple(sorted(set(minutes))))


def weekly(day: Weekday | Iterable[Weekday], at: At) -> Weekly:
    """Read the arguments of `Schedule.weekly`."""
    named = [day] if isinstance(day, str) or not isinstance(day, Iterable) else list(day)
    if not named:
        raise bad("day= names no weekday", "Write one or several: day='sunday'.")
    return Weekly(bits(*(read_weekday(one) for one in named)), read_times(at))


def monthly(day: MonthDay, at: At, short_months: ShortMonths | None) -> Monthly:
    """Read the arguments of `Schedule.monthly`."""
    weekday = None
    which: object = day
    if isinstance(day, tuple | list) and len(day) == 2:
        which, weekday = day[0], read_weekday(day[1])
    highest = 31 if weekday is None else 5
    if which != "last" and not (type(which) is int and 1 <= which <= highest):
        raise bad(
            f"day={day!r} is not a day of a month",
            "Write 1 to 31, 'last', or which weekday: (1, 'sunday'), ('last', 'friday').",
        )
    number = which if isinstance(which, int) else -1
    if short_months not in (None, "skip", "last"):
        raise bad(f"short_months={short_months!r} is not 'skip' or 'last'", "Say what months without that day do.")
    is_short = number > (28 if weekday is None else 4)
    if is_short and short_months is None:
        raise bad(
            f"not every month has day={day!r}",
            "Say short_months='last' for its last such day, or 'skip' for no run then.",
        )
    return Monthly(number, weekday, read_times(at), short_months if is_short else None)
