"""What users promise of a schedule: it holds over a span, or the runs that break it are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Occurrence, Schedule, Window, Zone, moments
from safebackup.schedule.asking import seconds_between
from safebackup.schedule.turns import DAY, turns_of
from safebackup.schedule.windows import read_window
from safebackup.schedule.zones import ZoneLike, zone


@attrs.frozen
class Breach:
    """Where a promise or a law does not hold: what happens there, and the seconds since 1970 that it happens at."""

    what: str
    instants: tuple[int, ...] = ()


@runtime_checkable
class Promise(Protocol):
    """What must hold for a schedule; `str()` says it in words."""

    def breaches(self, schedule: Schedule, start: int, end: int) -> Iterator[Breach]:
        """Where it does not, from `start` to before `end` in seconds since 1970."""
        ...


# A promise of the user's own: it gets the runs of the span, and returns those that break it, or whether it holds.
Judge: TypeAlias = Callable[[tuple[Occurrence, ...]], Iterable[Occurrence] | bool | None]


@attrs.frozen
class _NeverMoreThan:
    longest: timedelta

    def __str__(self) -> str:
        return f"never more than {_written(self.longest)} apart"

    def breaches(self, schedule: Schedule, start: int, end: int) -> Iterator[Breach]:
        """Also from the run before the span, and to the first one after it."""
        allowed = self.longest // timedelta(seconds=1)
        earlier = schedule.rule.at_or_before(start - 1)
        for later in seconds_between(schedule, start, end):
            if earlier is not None and later - earlier > allowed:
                yield self._breach(earlier, later)
            earlier = later
        following = schedule.rule.at_or_after(end)
        if following is not None and earlier is not None and following - earlier > allowed:
            yield self._breach(earlier, following)
        if following is None and end - (start if earlier is None else earlier) > allowed:
            yield Breach("no run follows" if earlier is not None else "there is no run", (earlier or start,))

    def _breach(self, earlier: int, later: int) -> Breach:
        return Breach(f"{_written(timedelta(seconds=later - earlier))} from one run to the next", (earlier, later))


@attrs.frozen
class _NeverInside:
    window: Window
    zone: Zone | None

    def __str__(self) -> str:
        return f"never inside {self.window}" + (f" in {self.zone}" if self.zone else "")

    def breaches(self, schedule: Schedule, start: int, end: int) -> Iterator[Breach]:
        """Each run inside."""
        place = self.zone or schedule.zone
        offset_at = turns_of(place).offset_at
        for at in seconds_between(schedule, start, end):
            offset = offset_at(at)
            if self.window.holds(at + offset):
                there = f", {moments.write_in_zone(at, offset)} in {place}" if self.zone else ""
                yield Breach(f"a run inside{there}", (at,))


@attrs.frozen
class _ExactlyOnceACivilDay:
    def __str__(self) -> str:
        return "exactly once a civil day"

    def breaches(self, schedule: Schedule, start: int, end: int) -> Iterator[Breach]:
        """Dates with two runs as they are met, then those with none."""
        days = _whole_days(schedule.zone, start, end)
        seen: Counter[date] = Counter()
        last: dict[date, int] = {}
        for at in seconds_between(schedule, start, end + DAY):  # a run that was moved may come after its day
            due = schedule.rule.due_at(at)
            assert due is not None
            for day in {moments.wall_time(wall).date() for wall in (due.wall, *due.merged)} & days.keys():
                seen[day] += 1
                if seen[day] == 2:
                    yield Breach(f"more than one run for {day}", (last[day], at))
                last[day] = at
        for day, (begin, until) in days.items():
            if not seen[day]:
                yield Breach(f"no run for {day}, which lasts", (begin, until))


def _whole_days(place: Zone, start: int, end: int) -> dict[date, tuple[int, int]]:
    """The dates that lie whole in a span, without those that never were, each with its first instant and its end."""
    offset_at = turns_of(place).offset_at
    day = moments.wall_time(start + offset_at(start)).date()
    found = {}
    begin = moments.first_second(day, place)
    while begin < end:
        until = moments.first_second(day + timedelta(days=1), place)
        if start <= begin < until <= end:
            found[day] = (begin, until)
        day, begin = day + timedelta(days=1), until
    return found


def never_more_than(*, days: int = 0, hours: int = 0, minutes: int = 0) -> Promise:
    """No two runs that follow each other are further apart, in real time, and runs never end."""
    longest = timedelta(days=days, hours=hours, minutes=minutes)
    if longest <= timedelta(0):
        raise _bad(f"never_more_than of {longest} allows nothing", "Write never_more_than(hours=25).")
    return _NeverMoreThan(longest)


def never_inside(window: str, *, tz: ZoneLike | None = None) -> Promise:
    """No run at these hours of the day, such as "08:00-18:00", in `tz` or else in the schedule's own zone."""
    return _NeverInside(read_window(window, "window"), None if tz is None else zone(tz))


def exactly_once_a_civil_day() -> Promise:
    """One run for each date in the schedule's zone, judged by the wall time as written.

    So a run that a change of the clocks moves to the next date counts for its own. A date that never was needs none.
    """
    return _ExactlyOnceACivilDay()


def _written(span: timedelta) -> str:
    hours, rest = divmod(int(span.total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if number]
    return " ".join(parts)


def _bad(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(what, code=Code.BAD_ARGUMENT, hint=hint)
