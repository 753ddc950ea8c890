"""Wide sweeps near changes of the clocks, in all zones, from 1970 to 2037, against the brute-force model.

Random cron expressions and every other constructor, forwards and backwards, each `in_gap` with each `in_overlap`.
The normal run takes a sample of the changes, SAFEBACKUP_LONG=1 all of them.
"""

from __future__ import annotations

import calendar
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest

from safebackup.schedule import Schedule
from safebackup.schedule.asking import seconds_between
from tests.schedule.oracle import NAIVE, Change, Clocks, Matched, Pattern, expected, utc
from tests.schedule.sweeping import DAY, HOUR, LONG, PARTS, can_fire, clocks_near, random_expression, swept

POLICIES = list(product(("after", "shift", "skip"), ("first", "second", "both")))


def agree(schedule: Schedule, clocks: Clocks, wanted: list[int], told: object) -> None:
    """Forwards, backwards, and asked from every side of each run."""
    rule = schedule.rule
    assert list(seconds_between(schedule, clocks.start, clocks.end)) == wanted, told
    backwards = []
    moment = clocks.end - 1
    while (found := rule.at_or_before(moment)) is not None and found >= clocks.start:
        backwards.append(found)
        moment = found - 1
    assert backwards[::-1] == wanted, told
    for second in wanted[:20]:
        due = rule.due_at(second)
        assert due is not None, told
        assert due.instant == second == rule.at_or_after(second) == rule.at_or_before(second), told


@pytest.mark.parametrize("part", range(PARTS))
def test_random_cron_expressions_are_due_when_the_model_says_so(part: int) -> None:
    for change in swept(part):
        chosen = random.Random(f"{change}")
        clocks = clocks_near(change)
        for _ in range(3):
            expression = random_expression(chosen, change)
            if not can_fire(expression):
                continue
            pattern = Pattern(expression)
            matched = pattern.matched(clocks)
            policies = POLICIES if LONG else chosen.sample(POLICIES, 4)
            for in_gap, in_overlap in policies:
                schedule = Schedule.cron(expression, tz=change.zone, in_gap=in_gap, in_overlap=in_overlap)  # type: ignore[arg-type]
                agree(
                    schedule,
                    clocks,
                    expected(clocks, matched, in_gap, in_overlap),
                    (change, expression, in_gap, in_overlap),
                )
            agree(
                Schedule.cron(expression, tz=change.zone),
                clocks,
                expected(clocks, matched, *pattern.default),
                (change, expression),
            )


def walls_of(clocks: Clocks) -> Iterator[tuple[datetime, list[int], tuple[int, int] | None]]:
    """Each wall time, also those in a gap, as a naive date-time."""
    for wall, instants, gap in clocks._walls():
        yield NAIVE + timedelta(seconds=wall), instants, gap


def near_times(change: Change) -> list[str]:
    """Times of the day at the ends and in the middle of what a change touches."""
    low, high = sorted((change.at + change.before, change.at + change.after))
    exact = low % 60 != 0 or high % 60 != 0
    seconds = (low - 60, low, (low + high) // 2, high - 60, high, high + HOUR)
    return [f"{utc(second if exact else second - second % 60):%H:%M:%S}" for second in seconds]


def is_nth(wall: datetime, nth: int | str, weekday: int) -> bool:
    if wall.isoweekday() % 7 != weekday:
        return False
    if nth == "last":
        return wall.day + 7 > calendar.monthrange(wall.year, wall.month)[1]
    return (wall.day - 1) // 7 + 1 == nth


def is_day(wall: datetime, day: int | str, short: str) -> bool:
    length = calendar.monthrange(wall.year, wall.month)[1]
    if day == "last":
        return wall.day == length
    assert isinstance(day, int)
    return wall.day == day or (short == "last" and day > length == wall.day)


def constructed(
    change: Change, chosen: random.Random
) -> Iterator[tuple[str, Any, Callable[[datetime], bool], tuple[str, str]]]:
    """What is called, its constructor without the policy, the wall times that it means, and its default policy."""
    inside = utc(change.at + (change.before + change.after) // 2)
    tz = change.zone
    at = sorted(set(chosen.sample(near_times(change), 2)))
    once, elapsed = ("after", "first"), ("skip", "both")

    def at_time(wall: datetime) -> bool:
        return f"{wall:%H:%M:%S}" in at

    yield "daily", partial(Schedule.daily, at=at, tz=tz), at_time, once
    minutes = {inside.minute, chosen.randrange(60)}
    yield (
        "hourly",
        partial(Schedule.hourly, minute=minutes, tz=tz),
        lambda wall: wall.minute in minutes and wall.second == 0,
        elapsed,
    )
    names = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
    weekday = inside.isoweekday() % 7
    yield (
        "weekly",
        partial(Schedule.weekly, day=names[weekday], at=at, tz=tz),
        lambda wall: at_time(wall) and wall.isoweekday() % 7 == weekday,
        once,
    )
    day: Any = chosen.choice([inside.day, "last", 31])
    short: Any = chosen.choice(["last", "skip"])
    yield (
        "monthly",
        partial(Schedule.monthly, day=day, at=at, short_months=short, tz=tz),
        lambda wall: at_time(wall) and is_day(wall, day, short),
        once,
    )
    nth: Any = chosen.choice([(inside.day - 1) // 7 + 1, "last"])
    yield (
        "monthly by weekday",
        partial(Schedule.monthly, day=(nth, names[weekday]), at=at, short_months="skip", tz=tz),
        lambda wall: at_time(wall) and is_nth(wall, nth, weekday),
        once,
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_daily_hourly_weekly_and_monthly_are_due_when_the_model_says_so(part: int) -> None:
    for change in swept(part):
        chosen = random.Random(f"{change} civil")
        clocks = clocks_near(change)
        walls = list(walls_of(clocks))
        for name, make, means, default in constructed(change, chosen):
            matched: Matched = [(instants, gap) for wall, instants, gap in walls if means(wall)]
            for in_gap, in_overlap in POLICIES if LONG else chosen.sample(POLICIES, 4):
                schedule = make(in_gap=in_gap, in_overlap=in_overlap)
                agree(schedule, clocks, expected(clocks, matched, in_gap, in_overlap), (change, str(schedule)))
            agree(make(), clocks, expected(clocks, matched, *default), (change, name))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_is_due_after_so_much_time_whatever_the_clocks_do(part: int) -> None:
    for change in swept(part):
        chosen = random.Random(f"{change} every")
        step, start = chosen.randint(60, 20_000), change.at - chosen.randint(0, 200_000)
        schedule = Schedule.every(seconds=step, start=utc(start), tz=change.zone)
        first, end = change.at - DAY, change.at + DAY

        wanted = [second for second in range(start, end, step) if second >= first]

        assert list(seconds_between(schedule, first, end)) == wanted
        for second in wanted:
            assert schedule.rule.at_or_before(second) == second == schedule.rule.at_or_after(second)
            assert schedule.rule.at_or_before(second - 1) in (second - step, None)
