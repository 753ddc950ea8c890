"""Strategies for cron expressions and whole schedules, with a liking for the hours in which clocks change."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule
from safebackup.schedule.civil import WEEKDAYS, MonthDay
from safebackup.schedule.cron import parse_cron
from safebackup.schedule.zones import ZoneLike, zone
from safebackup.testing.clocks import SINCE, UNTIL, Transition, changes_of, span
from safebackup.testing.strategies import instants, near_transitions, one_of_changes, touched_walls, zones

_SPECIAL_DAYS = ("L", "LW", "15W", "*/9")
_SPECIAL_WEEKDAYS = ("5L", "1#1", "0#5,3", "SUN", "MON-FRI")


def cron_expressions(*, near: Transition | None = None, seconds: bool = False) -> st.SearchStrategy[str]:
    """Cron expressions of five fields, of six with `seconds=True`; every one is due at some time.

    With `near` half of them are due at a time that this change of the clocks leaves out or repeats.
    """
    plain = _joined(_field(0, 59), _field(0, 23), _days(), _field(1, 12, often_any=True), _weekdays())
    found = plain if near is None else touched_walls(near).flatmap(_due_at) | plain
    if seconds:
        found = st.builds("{} {}".format, _field(0, 59), found)
    return found.filter(lambda expression: _ever_fires(expression, seconds))


def _field(low: int, high: int, *, often_any: bool = False) -> st.SearchStrategy[str]:
    single = st.integers(low, high)
    ordered = st.tuples(single, single).filter(lambda ends: ends[0] < ends[1])
    ranges = ordered.map(lambda ends: f"{ends[0]}-{ends[1]}")
    steps = st.integers(1, high - low).map(lambda step: f"*/{step}")
    lists = st.lists(single, min_size=2, max_size=3, unique=True).map(lambda chosen: ",".join(map(str, sorted(chosen))))
    rest = st.one_of(single.map(str), st.just("*"), lists, ranges, steps)
    return st.just("*") | rest if often_any else rest


def _days() -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), _field(1, 28, often_any=True), st.sampled_from(_SPECIAL_DAYS))


def _weekdays() -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), _field(0, 6, often_any=True), st.sampled_from(_SPECIAL_WEEKDAYS))


def _due_at(wall: datetime) -> st.SearchStrategy[str]:
    """Expressions that are due at one wall time, perhaps among others."""
    hour, weekday = str(wall.hour), str(wall.isoweekday() % 7)
    return _joined(
        st.sampled_from([str(wall.minute), "*", "*/15", f"0-{max(wall.minute, 1)}"]),
        st.sampled_from([hour, "*", f"{hour},{(wall.hour + 2) % 24}", "*/2", f"{hour}-23" if wall.hour < 23 else hour]),
        st.sampled_from(["*", "*", str(wall.day)]),
        st.sampled_from(["*", "*", str(wall.month)]),
        st.sampled_from(["*", "*", weekday]),
    )


def _joined(*fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*fields).map(" ".join)


def _ever_fires(expression: str, seconds: bool) -> bool:
    try:
        parse_cron(expression, seconds=seconds)
    except ConfigurationError as error:
        if error.code != Code.NEVER_FIRES:
            raise
        return False
    return True


@st.composite
def schedules(draw: st.DrawFn, tz: ZoneLike | None = None) -> Schedule:
    """Schedules of every kind, in a zone or in any; about half of them meet a change of the clocks of their zone."""
    place = draw(zones()) if tz is None else zone(tz)
    changes = changes_of(place, *span(SINCE, UNTIL))
    near = draw(st.none() | one_of_changes(changes or [None]))
    kind = draw(st.sampled_from(["daily", "cron", "hourly", "weekly", "monthly", "every", "seconds", "composed"]))
    if kind == "every":
        start = draw(near_transitions(place) if changes else instants()).replace(microsecond=0)
        return Schedule.every(seconds=draw(st.integers(60, 400_000)), start=start, tz=place)
    if kind == "composed":
        return draw(_composed(place, near))
    return draw(_on_walls(kind, place, near))


@st.composite
def _on_walls(draw: st.DrawFn, kind: str, place: ZoneLike, near: Transition | None) -> Schedule:
    chosen: dict[str, Any] = {
        "tz": place,
        "in_gap": draw(st.sampled_from([None, "after", "shift", "skip"])),
        "in_overlap": draw(st.sampled_from([None, "first", "second", "both"])),
    }
    if kind in ("cron", "seconds"):
        seconds = kind == "seconds"
        return Schedule.cron(draw(cron_expressions(near=near, seconds=seconds)), seconds=seconds, **chosen)
    if kind == "hourly":
        return Schedule.hourly(minute=draw(st.sets(st.integers(0, 59), min_size=1, max_size=4)), **chosen)
    at = draw(_times_of_day(near))
    if kind == "weekly":
        return Schedule.weekly(day=draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=2)), at=at, **chosen)
    if kind == "monthly":
        which: MonthDay = draw(st.integers(1, 31) | st.just("last"))
        nth: MonthDay = (draw(st.integers(1, 5) | st.just("last")), draw(st.sampled_from(WEEKDAYS)))
        day = draw(st.sampled_from([which, nth]))
        return Schedule.monthly(day=day, at=at, short_months=draw(st.sampled_from(["last", "skip"])), **chosen)
    return Schedule.daily(at=at, **chosen)


def _times_of_day(near: Transition | None) -> st.SearchStrategy[list[str]]:
    plain = st.times().map(lambda time: f"{time:%H:%M:%S}")
    inside = plain if near is None else touched_walls(near).map(lambda wall: f"{wall:%H:%M:%S}") | plain
    return st.lists(inside, min_size=1, max_size=3, unique=True)


@st.composite
def _composed(draw: st.DrawFn, place: ZoneLike, near: Transition | None) -> Schedule:
    """Two schedules together, with hours or dates left out, or spread."""
    kinds = st.sampled_from(["daily", "cron", "hourly"])
    both = draw(_on_walls(draw(kinds), place, near)) | draw(_on_walls(draw(kinds), place, near))
    noon = Schedule.daily(at="12:00", tz=place)
    match draw(st.sampled_from(["union", "hours", "dates", "spread"])):
        case "hours":
            return (both | noon).without("00:30-05:00")
        case "dates":
            return (both | noon).without(dates=[draw(st.dates(date(1970, 1, 1), date(2037, 12, 31)))])
        case "spread":
            return both.spread(timedelta(seconds=draw(st.integers(1, 7200))), key="orders/host7")
    return both
