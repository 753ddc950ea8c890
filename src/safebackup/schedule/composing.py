"""Schedules made of schedules: both, either, without some hours or dates, spread over hosts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import is_text
from safebackup.schedule import moments, promises
from safebackup.schedule.civil import bad, whole_seconds
from safebackup.schedule.days import ORDINAL, Days, EveryDay, Grid, Listed, MonthDays, Times
from safebackup.schedule.recurrences import AnyOf, Civil, Recurrence
from safebackup.schedule.rules import Due, Rule
from safebackup.schedule.turns import DAY, FIRST, LAST, turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.windows import Window, read_window
from safebackup.schedule.zones import Zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

# By 2100 no zone file lists a change singly any more, and before 1800 none has any: beyond these two, calendar and
# clocks repeat every 400 years.
_SETTLED = (date(2100, 1, 1).toordinal() - ORDINAL) * DAY
_UNCHANGED = (date(1800, 1, 1).toordinal() - ORDINAL) * DAY
_CYCLE = 146_097 * DAY


@attrs.frozen
class CommonDays:
    """The days that several sets of days share."""

    parts: tuple[MonthDays, ...]

    def ever(self) -> bool:
        """Whether there is any such day."""
        months = self.parts[0].months
        for part in self.parts:
            months &= part.months
        shapes = [(length, weekday) for length in MonthDays(months).lengths() for weekday in range(7)]
        return any(self._in_month(length, weekday) for length, weekday in shapes)

    def _in_month(self, length: int, weekday: int) -> int:
        found = -1
        for part in self.parts:
            found &= part.in_month(length, weekday)
        return found

    def at_or_after(self, day: int) -> int | None:
        """The first one from `day` on."""
        found: int | None = day
        while found is not None:
            start = found
            for part in self.parts:
                found = part.at_or_after(found) if found is not None else None
            if found == start:
                return found
        return None

    def at_or_before(self, day: int) -> int | None:
        """The last one up to `day`."""
        found: int | None = day
        while found is not None:
            start = found
            for part in self.parts:
                found = part.at_or_before(found) if found is not None else None
            if found == start:
                return found
        return None


@attrs.frozen
class AllOf(Civil):
    """The wall times that all of several recurrences share."""

    kind: ClassVar[str] = "all-of"
    parts: tuple[Recurrence, ...]
    days: Days = attrs.field(eq=False, repr=False, kw_only=True)
    times: Times = attrs.field(eq=False, repr=False, kw_only=True)

    def text(self) -> str:
        """The parts, in the order that they were given in."""
        return "(" + " and ".join(part.text() for part in self.parts) + ")"

    def record(self) -> dict[str, object]:
        """The parts with their kinds."""
        return {"parts": [{"kind": part.kind, **part.record()} for part in self.parts]}


def all_of(parts: tuple[Recurrence, ...]) -> AllOf:
    """What several recurrences share.

    Raises:
        ConfigurationError: they share nothing, or one of them has not the same times on each of its days.
    """
    days: list[MonthDays] = []
    times: Times | None = Grid((1 << 24) - 1, (1 << 60) - 1, (1 << 60) - 1)
    for part in parts:
        if not isinstance(part, Civil):
            raise bad(f"{part.text()} cannot be intersected", "& takes cron, daily, hourly, weekly and monthly.")
        if isinstance(part.days, MonthDays):
            days.append(part.days)
        elif isinstance(part.days, CommonDays):
            days += part.days.parts
        elif not isinstance(part.days, EveryDay):
            raise bad(f"{part.text()} cannot be intersected", "& takes what names no single years.")
        times = None if times is None else _common_times(times, part.times)
    common = CommonDays(tuple(days)) if days else EveryDay()
    if times is None or (isinstance(common, CommonDays) and not common.ever()):
        raise ConfigurationError(
            f"{' and '.join(part.text() for part in parts)} are never due together",
            code=Code.NEVER_FIRES,
            hint="For what is due in either of them write a | b.",
        )
    return AllOf(parts, days=common, times=times)


def _common_times(one: Times, other: Times) -> Times | None:
    if isinstance(one, Grid) and isinstance(other, Grid):
        grid = Grid(one.hours & other.hours, one.minutes & other.minutes, one.seconds & other.seconds)
        return grid if grid.hours and grid.minutes and grid.seconds else None
    listed, rest = (one, other) if isinstance(one, Listed) else (other, one)
    assert isinstance(listed, Listed)
    shared = tuple(time for time in listed.times if rest.at_or_after(time) == time)
    return Listed(shared) if shared else None


@attrs.frozen
class Union:
    """All instants of several rules, each once."""

    kind: ClassVar[str] = "union"
    parts: tuple[Rule, ...]

    @property
    def refuses(self) -> bool:
        """Whether one of them does."""
        return any(part.refuses for part in self.parts)

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        found = [at for part in self.parts if (at := part.at_or_after(instant)) is not None]
        return min(found, default=None)

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        found = [at for part in self.parts if (at := part.at_or_before(instant)) is not None]
        return max(found, default=None)

    def due_at(self, instant: int) -> Due | None:
        """What the first part that is due says; the wall times of the others are merged into it."""
        found = [due for part in self.parts if (due := part.due_at(instant)) is not None]
        if not found:
            return None
        merged = {wall for due in found for wall in (due.wall, *due.merged)} - {found[0].wall}
        return attrs.evolve(found[0], merged=tuple(sorted(merged)))

    def text(self) -> str:
        """The parts, in the order that they were given in."""
        return "(" + " | ".join(part.text() for part in self.parts) + ")"

    def record(self) -> dict[str, object]:
        """The parts with their kinds."""
        return {"parts": [{"kind": part.kind, **part.record()} for part in self.parts]}


@attrs.frozen
class Without:
    """The instants of a rule but for those in some hours of the day, and on some dates."""

    kind: ClassVar[str] = "without"
    part: Rule
    zone: Zone
    window: Window | None
    dates: frozenset[date]
    # Of this and of all such rules inside of it, so that what they leave out together is passed over at once.
    _base: Rule = attrs.field(init=False, eq=False, repr=False)
    _windows: tuple[Window, ...] = attrs.field(init=False, eq=False, repr=False)
    _dates: frozenset[date] = attrs.field(init=False, eq=False, repr=False)
    _singular: tuple[int, int] = attrs.field(init=False, eq=False, repr=False)

    @_base.default
    def _find_base(self) -> Rule:
        return self.part._base if isinstance(self.part, Without) else self.part

    @_windows.default
    def _find_windows(self) -> tuple[Window, ...]:
        own = () if self.window is None else (self.window,)
        return (*own, *self.part._windows) if isinstance(self.part, Without) else own

    @_dates.default
    def _find_dates(self) -> frozenset[date]:
        return self.dates | self.part._dates if isinstance(self.part, Without) else self.dates

    @_singular.default
    def _find_singular(self) -> tuple[int, int]:
        """Between these two lies everything that does not repeat: single changes of the clocks, and the dates."""
        days = [(day.toordinal() - ORDINAL) * DAY for day in self._dates]
        return min([_UNCHANGED, *days]), max([_SETTLED, *days])

    @property
    def refuses(self) -> bool:
        """Whether the rule does."""
        return self.part.refuses

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        until = max(instant, self._singular[1]) + _CYCLE
        found = self._base.at_or_after(instant)
        while found is not None and found <= until:
            later = self._kept_from(found, until)
            if later == found:
                return found
            found = self._base.at_or_after(later)
        return None

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        since = min(instant, self._singular[0]) - _CYCLE
        found = self._base.at_or_before(instant)
        while found is not None and found >= since:
            earlier = self._kept_up_to(found, since)
            if earlier == found:
                return found
            found = self._base.at_or_before(earlier)
        return None

    def due_at(self, instant: int) -> Due | None:
        """What the rule says, unless it is left out."""
        due = self.part.due_at(instant)  # first: it may refuse the change of the clocks at which it is asked
        left_out = self._leaves_out(instant + turns_of(self.zone).offset_at(instant))
        return None if left_out else due

    def _leaves_out(self, wall: int) -> bool:
        if any(window.holds(wall) for window in self._windows):
            return True
        return bool(self._dates) and date.fromordinal(wall // DAY + ORDINAL) in self._dates

    def _kept_from(self, instant: int, until: int) -> int:
        """The first instant from `instant` on that is not left out, whatever is due; one after `until` if none is."""
        while instant <= min(until, LAST):
            _, end, offset = turns_of(self.zone).steady(instant)
            wall = instant + offset
            if not self._leaves_out(wall):
                return instant
            ends = [window.end_after(wall) for window in self._windows if window.holds(wall)]
            instant = min(max(ends, default=wall - wall % DAY + DAY) - offset, end)
        return instant

    def _kept_up_to(self, instant: int, since: int) -> int:
        """The last instant up to `instant` that is not left out, whatever is due; one before `since` if none is."""
        while instant >= max(since, FIRST):
            begin, _, offset = turns_of(self.zone).steady(instant)
            wall = instant + offset
            if not self._leaves_out(wall):
                return instant
            sizes = [(wall - window.start) % DAY for window in self._windows if window.holds(wall)]
            instant = max(instant - max(sizes, default=wall % DAY), begin) - 1
        return instant

    def text(self) -> str:
        """The rule and what is left out."""
        left_out = [str(self.window)] * (self.window is not None) + [day.isoformat() for day in sorted(self.dates)]
        return f"({self.part.text()} without {','.join(left_out)})"

    def record(self) -> dict[str, object]:
        """The rule and what is left out."""
        return {
            "part": {"kind": self.part.kind, **self.part.record()},
            "window": None if self.window is None else str(self.window),
            "dates": [day.isoformat() for day in sorted(self.dates)],
        }


@attrs.frozen
class Spread:
    """The instants of a rule, each later by the same delay, but always before the next one."""

    kind: ClassVar[str] = "spread"
    part: Rule
    up_to: int
    key: str = attrs.field()

    @key.validator
    def _check_key(self, _attribute: object, key: object) -> None:
        if not isinstance(key, str) or not key or not is_text(key):
            raise bad(f"key={key!r} names nothing", 'Name the job and the host: key="orders/host7".')

    @property
    def delay(self) -> int:
        """The delay in seconds, below `up_to`: the same for the same key everywhere, and for ever."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big") % self.up_to

    @property
    def refuses(self) -> bool:
        """Whether the rule does."""
        return self.part.refuses

    def _moved(self, instant: int) -> int:
        following = self.part.at_or_after(instant + 1)
        late = instant + self.delay
        return min(late if following is None else min(late, following - 1), LAST)

    def at_or_after(self, instant: int) -> int | None:
        """The first instant from `instant` on."""
        before = self.part.at_or_before(instant)
        if before is not None and self._moved(before) >= instant:
            return self._moved(before)
        found = self.part.at_or_after(instant + 1)
        return None if found is None else self._moved(found)

    def at_or_before(self, instant: int) -> int | None:
        """The last instant up to `instant`."""
        found = self.part.at_or_before(instant)
        while found is not None and self._moved(found) > instant:
            found = self.part.at_or_before(found - 1)
        return None if found is None else self._moved(found)

    def due_at(self, instant: int) -> Due | None:
        """What the rule says of the instant before the delay."""
        before = self.part.at_or_before(instant)
        if before is None or self._moved(before) != instant:
            return None
        due = self.part.due_at(before)
        return None if due is None else attrs.evolve(due, instant=instant)

    def text(self) -> str:
        """The rule, the bound and the key."""
        return f"({self.part.text()} spread over {self.up_to} seconds by {self.key!r})"

    def record(self) -> dict[str, object]:
        """The rule, the bound and the key."""
        return {"part": {"kind": self.part.kind, **self.part.record()}, "up_to": self.up_to, "key": self.key}


def _together(one: Schedule, other: Schedule, rule: Rule) -> Schedule:
    forbidden = tuple(dict.fromkeys((*one.forbidden, *other.forbidden)))
    checked_from = min(one.checked_from, other.checked_from)
    return attrs.evolve(one, rule=rule, forbidden=forbidden, checked_from=checked_from)


def _require_pair(one: Schedule, other: object, sign: str) -> Schedule:
    if not isinstance(other, type(one)):
        raise bad(f"{other!r} is not a Schedule", f"Both sides of {sign} are schedules.")
    if one.zone != other.zone:
        raise bad(
            f"one schedule is in {one.zone}, the other in {other.zone}", f"Both sides of {sign} are in the same zone."
        )
    return other


def union(one: Schedule, other: object) -> Schedule:
    """What is due in either."""
    other = _require_pair(one, other, "|")
    left, right = one.rule, other.rule
    if isinstance(left, Walls) and isinstance(right, Walls) and left.policy == right.policy:
        parts = [*_parts(left.recurrence), *_parts(right.recurrence)]
        recurrence = AnyOf(tuple(dict.fromkeys(parts)))
        merged = attrs.evolve(left, recurrence=recurrence) if len(recurrence.parts) > 1 else left
        return _together(one, other, merged)
    rules = [
        *(left.parts if isinstance(left, Union) else [left]),
        *(right.parts if isinstance(right, Union) else [right]),
    ]
    return _together(one, other, Union(tuple(dict.fromkeys(rules))))


def _parts(recurrence: Recurrence) -> tuple[Recurrence, ...]:
    return recurrence.parts if isinstance(recurrence, AnyOf) else (recurrence,)


def intersection(one: Schedule, other: object) -> Schedule:
    """What is due in both, as it is written on the wall."""
    other = _require_pair(one, other, "&")
    left, right = one.rule, other.rule
    if not (isinstance(left, Walls) and isinstance(right, Walls) and left.policy == right.policy):
        raise bad(
            f"{left.text()} and {right.text()} cannot be intersected",
            "& takes cron, daily, hourly, weekly and monthly with the same in_gap and in_overlap.",
        )
    return _together(one, other, attrs.evolve(left, recurrence=all_of((left.recurrence, right.recurrence))))


def without(schedule: Schedule, window: str | None, dates: Collection[date]) -> Schedule:
    """A schedule but for some hours of the day or some dates."""
    given: object = dates
    if given is not None and not isinstance(given, Iterable):
        hint = "Give a list, be it of one: dates=[datetime.date(2026, 12, 25)]."
        raise bad(f"dates={given!r} is no collection of dates", hint)
    dates = tuple(dates or ())
    if window is None and not dates:
        raise bad("nothing is to be left out", 'Name hours or dates: without("08:00-18:00"), without(dates=holidays).')
    if not all(map(promises.is_date, dates)):
        raise bad(f"dates={dates!r} are not all dates", "Write datetime.date(2026, 12, 25).")
    read = None if window is None else read_window(window, "window")
    rule = Without(schedule.rule, schedule.zone, read, frozenset(dates))
    require_something_left(rule, moments.first_second(schedule.checked_from, schedule.zone))
    return attrs.evolve(schedule, rule=rule)


def require_something_left(rule: Without, begin: int) -> None:
    """Refuse a rule that leaves out everything that is due from an instant on."""
    if rule.at_or_after(begin) is None and rule.part.at_or_after(begin) is not None:
        raise ConfigurationError(
            f"{rule.text()} never fires: everything is left out", code=Code.NEVER_FIRES, hint="Leave less out."
        )


def spread(schedule: Schedule, up_to: timedelta, key: str) -> Schedule:
    """A schedule with each run later by the same delay."""
    seconds = whole_seconds(up_to, "up_to")
    if seconds < 1:
        raise bad(f"up_to={up_to!r} is less than a second", "Say over how long to spread the runs of all hosts.")
    return attrs.evolve(schedule, rule=Spread(schedule.rule, seconds, key))
