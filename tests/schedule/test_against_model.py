"""Every change of the clocks of every zone from 1970 to 2037, against a model that reads clocks minute by minute.

The normal run takes a sample; `SAFEBACKUP_LONG=1` takes all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, zone
from safebackup.schedule.asking import seconds_between
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import places
from tests.schedule.oracle import Change, Clocks, Pattern, Touched, changes, expected, utc

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
POLICIES = list(product(("after", "shift", "skip"), ("first", "second", "both")))
HOUR = 3600

NAMED = [
    "Africa/Lagos",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Asia/Kathmandu",
    "America/Caracas",
    "Asia/Pyongyang",
    "America/St_Johns",
    "Antarctica/Troll",
    "Africa/Monrovia",
    "America/New_York",
    "Pacific/Kwajalein",
    "Asia/Gaza",
    "America/Havana",
    "Antarctica/Casey",
]


def distinct_zones() -> list[str]:
    """One name for each zone file."""
    return list({zone(name).data: name for name in sorted(places(), reverse=True)}.values())


SAMPLE = sorted({*NAMED, *(distinct_zones() if LONG else random.Random(4).sample(distinct_zones(), 10))})


@lru_cache(maxsize=1)
def owners() -> dict[tuple[int, int, int], str]:
    """For each change the first zone that has it: the others show the same there."""
    return {tuple(change)[1:]: key for key in reversed(SAMPLE) for change in changes(key)}  # type: ignore[misc]


def some(key: str) -> list[Change]:
    found = list(changes(key))
    if LONG:
        return [change for change in found if owners()[tuple(change)[1:]] == key]  # type: ignore[index]
    return found if len(found) <= 4 else [found[0], found[-1], *random.Random(key).sample(found[1:-1], 2)]


def expressions(change: Change, step: int) -> Iterator[str]:
    """Expressions that are due around a change: in the hours that it leaves out or repeats, and at its borders."""
    low, high = sorted((change.at + change.before, change.at + change.after))
    inside = datetime.fromtimestamp((low + high) // 2, UTC)
    edge, end = datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC)
    minute, hour = inside.minute, inside.hour
    yield f"{minute} {hour} * * *"
    yield f"{minute} {hour} {inside.day} {inside.month} *"
    yield f"{minute} {hour} * * {inside.isoweekday()}"
    yield f"{edge.minute},{minute} {edge.hour},{hour},{end.hour} * * *"
    yield f"{end.minute} {end.hour} * * *"
    yield f"{minute} * * * *"
    yield f"*/20 {hour} * * *"
    yield "*/15 * * * *"
    yield f"{minute} */2 * * *"
    yield f"{minute} 0-23/3 {inside.day},L */2,{inside.month} *"
    yield f"0 0 */{inside.day if inside.day < 31 else 2} * {inside.isoweekday() % 7}"
    if step == 1:
        yield f"{inside.second} {minute} {hour} * * *"
        yield f"*/7 {edge.minute},{minute} {edge.hour},{end.hour} * * *"


@pytest.mark.parametrize("key", SAMPLE)
def test_the_changes_of_the_clocks_are_those_that_the_model_sees(key: str) -> None:
    table = turns_of(zone(key))
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1970, 2037))

    found = [(turn.at, turn.before, turn.after) for turn in table.between(start + 1, end)]

    assert found == [tuple(change)[1:] for change in changes(key) if change.at < end]


@pytest.mark.parametrize("key", SAMPLE)
def test_every_policy_is_due_when_the_model_says_so_forwards_and_backwards(key: str) -> None:
    for change in some(key):
        whole_minutes = change.before % 60 == 0 == change.after % 60 and change.at % 60 == 0
        step, reach = (60, 30 * HOUR) if whole_minutes else (1, 2 * HOUR)
        size = abs(change.after - change.before)
        start, end = change.at - reach - size, change.at + reach + size
        clocks = Clocks(key, start - start % 60, end - end % 60, step)
        for expression in expressions(change, step):
            pattern = Pattern(expression)
            matched = pattern.matched(clocks)
            policies = POLICIES if LONG else random.Random(change.at).sample(POLICIES, 3)
            for policy in [*policies, None]:
                agree(clocks, key, expression, policy, expected(clocks, matched, *(policy or pattern.default)))


def agree(clocks: Clocks, key: str, expression: str, policy: tuple[str, str] | None, wanted: list[int]) -> None:
    seconds = len(expression.split()) == 6
    schedule = scheduled(expression, key, policy, seconds=seconds)
    told = (key, expression, policy)

    assert list(seconds_between(schedule, clocks.start, clocks.end)) == wanted, told
    moment = clocks.end - 1
    backwards = []
    while (found := schedule.rule.at_or_before(moment)) is not None and found >= clocks.start:
        backwards.append(found)
        moment = found - 1
    assert backwards[::-1] == wanted, told
    chosen = random.Random(expression)
    for second in [*chosen.sample(range(clocks.start, clocks.end), 5), *chosen.sample(wanted, min(5, len(wanted)))]:
        moment_of_it = utc(second) + timedelta(microseconds=7)
        later = next((due for due in wanted if due > second), None)
        earlier = next((due for due in reversed(wanted) if due <= second), None)
        if later is not None:
            assert schedule.next_after(moment_of_it) == utc(later), told
        if earlier is not None:
            assert schedule.previous_before(moment_of_it) == utc(earlier), told
        assert schedule.is_due_at(utc(second)) == (second in wanted), told


def scheduled(expression: str, key: str, policy: tuple[str, str] | None, **more: Any) -> Schedule:
    if policy is None:
        return Schedule.cron(expression, tz=key, **more)
    in_gap, in_overlap = policy
    return Schedule.cron(expression, tz=key, in_gap=in_gap, in_overlap=in_overlap, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", NAMED)
def test_refuse_raises_exactly_where_the_model_meets_a_change(key: str) -> None:
    for change in some(key)[-3:]:
        if change.before % 60 or change.after % 60 or change.at % 60:
            continue
        clocks = Clocks(key, change.at - 30 * HOUR, change.at + 30 * HOUR, 60)
        checked_from = (utc(change.at) - timedelta(days=3)).date()
        low, high = sorted((change.at + change.before, change.at + change.after))
        for wall, policy in product((low - 60, low, high - 60, high), (("refuse", "both"), ("skip", "refuse"))):
            at = utc(wall)
            expression = f"{at.minute} {at.hour} {at.day} {at.month} *"
            matched = Pattern(expression).matched(clocks)
            try:
                wanted = expected(clocks, matched, *policy)
            except Touched:
                with pytest.raises(ConfigurationError) as refused:
                    scheduled(expression, key, policy, checked_from=checked_from)
                assert refused.value.code == Code.DST_REFUSED
            else:
                try:
                    schedule = scheduled(expression, key, policy, checked_from=checked_from)
                except ConfigurationError as error:  # another change within the ten years
                    assert error.code == Code.DST_REFUSED
                    continue
                assert list(seconds_between(schedule, clocks.start, clocks.end)) == wanted
