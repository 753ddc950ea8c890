"""Strategies near a change of the clocks find bugs that evenly spread ones hardly ever meet: counted.

Three daily schedulers as people write them, each with one well-known bug. Each gets a thousand examples drawn evenly,
as hypothesis alone would draw them, and a thousand drawn near changes of the clocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from safebackup.schedule import Schedule, zone
from safebackup.testing import near_transitions, zones

EXAMPLES = 1000
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-schedules.md"
Case: TypeAlias = tuple[tzinfo, datetime, time]  # where, asked when, and due at which time of the day


def forgets_the_fold(tz: tzinfo, moment: datetime, at: time) -> datetime:
    """Compares wall times, so that in the second pass of a repeated hour it answers with the first."""
    wall = moment.astimezone(tz).replace(tzinfo=None)
    due = datetime.combine(wall.date(), at)
    return (due if due > wall else due + timedelta(days=1)).replace(tzinfo=tz).astimezone(UTC)


def drifts_a_day_after(tz: tzinfo, moment: datetime, at: time) -> datetime:
    """Adds 24 hours to today's run."""
    due = datetime.combine(moment.astimezone(tz).date(), at, tzinfo=tz).astimezone(UTC)
    return due if due > moment else due + timedelta(hours=24)


def keeps_the_offset(tz: tzinfo, moment: datetime, at: time) -> datetime:
    """Takes the offset of the moment for that of the run."""
    local = moment.astimezone(tz)
    due = datetime.combine(local.date(), at)
    due = due if due > local.replace(tzinfo=None) else due + timedelta(days=1)
    return (due - (local.utcoffset() or timedelta(0))).replace(tzinfo=UTC)


BUGS: dict[str, Callable[[tzinfo, datetime, time], datetime]] = {
    "forgets the fold": forgets_the_fold,
    "drifts the day after": drifts_a_day_after,
    "keeps the offset": keeps_the_offset,
}


def plain() -> st.SearchStrategy[Case]:
    """What hypothesis offers by itself."""
    spread = st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 30), timezones=st.just(UTC))
    return st.tuples(st.timezones(), spread, st.times().map(to_minute))


def near() -> st.SearchStrategy[Case]:
    """The same near changes of the clocks: when it is asked, and at which time of the day it is due."""
    return zones(has_overlap=True).flatmap(
        lambda place: st.tuples(
            st.just(place.tzinfo),
            near_transitions(place),
            near_transitions(place).map(lambda moment: to_minute(moment.astimezone(place.tzinfo).time())),
        )
    )


def to_minute(at: time) -> time:
    return at.replace(second=0, microsecond=0)


def is_wrong(bug: str, case: Case) -> bool:
    """Whether the next run is not later, or not at that time of the day although the day has it just once."""
    tz, moment, at = case
    moment = datetime.fromisoformat(moment.isoformat())
    due = BUGS[bug](tz, moment, at)
    if due <= moment:
        return True
    day = due.astimezone(tz).date()
    passes = {datetime.combine(day, at, tzinfo=tz).replace(fold=fold).astimezone(UTC) for fold in (0, 1)}
    return len(passes) == 1 and due not in passes


@lru_cache(maxsize=8)
def counted(is_near: bool, seeded: int) -> Counter[str]:
    """How many of the examples show each bug; under "first …" the number of the first of them."""
    found: Counter[str] = Counter()
    tried = 0

    @seed(seeded)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(near() if is_near else plain())
    def count(case: Case) -> None:
        nonlocal tried
        tried += 1
        for bug in BUGS:
            if is_wrong(bug, case):
                found[bug] += 1
                found.setdefault(f"first {bug}", tried)

    count()
    found["tried"] = tried
    return found


@pytest.mark.parametrize("bug", BUGS)
def test_near_transitions_find_a_bug_at_least_ten_times_as_often(bug: str) -> None:
    spread, close = counted(False, 1), counted(True, 1)

    assert close["tried"] == EXAMPLES
    assert close[bug] >= 20
    assert close[bug] >= 10 * spread[bug]
    assert close[f"first {bug}"] <= 200


def test_the_page_says_no_more_than_was_counted() -> None:
    """Rows of the page: the bug, how many of a thousand examples show it drawn evenly, and near changes."""
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (\d+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    spread, close = counted(False, 1), counted(True, 1)

    assert {bug for bug, _, _ in rows} == set(BUGS)
    for bug, said_spread, said_close in rows:
        assert abs(spread[bug] - int(said_spread)) <= 10
        assert int(said_close) / 2 <= close[bug] <= int(said_close) * 2


@given(near())
def test_safebackup_has_none_of_them(case: Case) -> None:
    tz, moment, at = case
    schedule = Schedule.daily(at=at, tz=zone(tz))

    due = schedule.next_after(moment)

    assert due is not None
    assert due > moment
    (run,) = schedule.occurrences(due, due + timedelta(seconds=1))
    assert at in {wall.time() for wall in (run.wall, *run.merged)}


if __name__ == "__main__":
    for seeded in range(1, 6):
        print(seeded, *(dict(counted(is_near, seeded)) for is_near in (False, True)), sep="\n  ")
