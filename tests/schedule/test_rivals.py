"""Beside cronsim, croniter and systemd, near changes of the clocks in all zones, from 1970 to 2037.

Every disagreement is explained by a row of `disagreements.py`, and in each of them the model sides with this library.
The normal run takes a sample of the changes, SAFEBACKUP_LONG=1 all of them.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterError  # type: ignore[import-untyped]
from cronsim import CronSimError

from safebackup.errors import ConfigurationError
from safebackup.schedule import Schedule
from safebackup.schedule.asking import seconds_between
from tests.schedule.disagreements import NAMES, READINGS, ROWS, Case, Example, Reading, Row, explanation
from tests.schedule.oracle import Change, Clocks, Pattern, expected, utc
from tests.schedule.oracles_page import PAGE, page
from tests.schedule.rivals import (
    ANALYZE,
    Answer,
    croniter_answers,
    cronsim_answers,
    cronsim_answers_backwards,
    systemd_answers,
)
from tests.schedule.sweeping import (
    DAY,
    HOUR,
    LONG,
    PARTS,
    can_fire,
    changes_in,
    day_of,
    random_expression,
    swept,
)


@lru_cache(maxsize=1)
def systemd_release() -> str:
    return "" if ANALYZE is None else subprocess.check_output([ANALYZE, "--version"], text=True).split()[1]


def skip_unless_here(oracle: str) -> None:
    """The rows are about one release of each, and others have other faults."""
    name, release, *_ = NAMES[oracle].replace(",", "").split()
    if (systemd_release() if oracle == "systemd" else version(name)) != release:
        pytest.skip(f"takes {name} {release}")


Ask = Callable[[str, str, int, int], Answer]
RIVALS: dict[str, Ask] = {
    "cronsim": cronsim_answers,
    "cronsim backwards": cronsim_answers_backwards,
    "croniter": croniter_answers,
}


def case_of(oracle: str, expression: str, change: Change, span: tuple[int, int], theirs: Answer) -> Case:
    """With our answer, which the model confirms."""
    start, end = span
    clocks = Clocks(change.zone, start + 60, end, 60)
    matched = Pattern(expression).matched(clocks)
    ours = list(seconds_between(Schedule.cron(expression, tz=change.zone), start + 1, end))
    modelled = partial(expected, clocks, matched)
    assert ours == modelled(*Pattern(expression).default), (change, expression)
    return Case(oracle, expression, change, start, theirs, ours, modelled)


def compared(change: Change, expression: str, oracle: str, span: tuple[int, int]) -> Case | None:
    """The case, if they disagree."""
    theirs = RIVALS[oracle](expression, change.zone, *span)
    ours = list(seconds_between(Schedule.cron(expression, tz=change.zone), span[0] + 1, span[1]))
    return None if theirs == ours else case_of(oracle, expression, change, span, theirs)


def spans(change: Change) -> list[tuple[int, int]]:
    """From a day before; and for what is repeated, from within its second pass."""
    size = abs(change.after - change.before)
    whole = (change.at - 26 * HOUR - size, change.at + 26 * HOUR + size)
    inside = change.at + size // 2 - size // 2 % 60
    return [whole] if change.after > change.before else [whole, (inside, whole[1])]


def questions(part: int) -> Iterator[tuple[Change, str, tuple[int, int]]]:
    for change in swept(part):
        if change.before % 60 or change.after % 60 or change.at % 60:
            continue  # none of the others goes by seconds
        chosen = random.Random(f"{change} beside")
        for _ in range(3 if LONG else 2):
            expression = random_expression(chosen, change)
            if can_fire(expression):
                for span in spans(change):
                    yield change, expression, span


@pytest.mark.parametrize("oracle", RIVALS)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_disagreement_with_another_scheduler_is_explained(part: int, oracle: str) -> None:
    skip_unless_here(oracle)
    unexplained = []
    for change, expression, span in questions(part):
        case = compared(change, expression, oracle, span)
        if case is not None and explanation(case) is None:
            unexplained.append((change, expression, utc(span[0]), *differing(case.theirs, case.ours)))

    assert unexplained == []


def calendars(chosen: random.Random, change: Change) -> tuple[str, str]:
    """A calendar expression of systemd, and a cron expression for the same wall times."""
    low, high = sorted((change.at + change.before, change.at + change.after))
    inside, edge, end = utc((low + high) // 2), utc(low), utc(high)
    hours = ",".join(f"{hour:02}" for hour in sorted({edge.hour, end.hour}))
    minutes = ",".join(f"{minute:02}" for minute in sorted({inside.minute, 45}))
    days = [
        ("*-*-*", "* * *"),
        ("*-*-*", "* * *"),
        (f"{edge:%a} *-*-*", f"* * {edge.isoweekday() % 7}"),
        (f"*-{edge.month:02}-{edge.day:02}", f"{edge.day} {edge.month} *"),
        ("*-*~01", "L * *"),
        ("Mon..Fri *-*-*", "* * 1-5"),
    ]
    times = [
        (f"{inside:%H:%M}:00", f"{inside.minute} {inside.hour}"),
        (f"{edge:%H:%M}:00", f"{edge.minute} {edge.hour}"),
        (f"{inside:%H}:{minutes}:00", f"{minutes} {inside.hour}"),
        (f"{hours}:{inside:%M}:00", f"{inside.minute} {hours}"),
        ("*:00:00", "0 *"),
        ("*:00/15:00", "*/15 *"),
        (f"00,06,12,18:{inside:%M}:00", f"{inside.minute} 0,6,12,18"),
        ("00/2:30:00", "30 */2"),
    ]
    day, time = chosen.choice(days), chosen.choice(times)
    return f"{day[0]} {time[0]}", f"{time[1]} {day[1]}"


def beside_systemd(change: Change, calendar_expression: str, cron: str) -> Case | None:
    """The case, if systemd and this library disagree; the model has confirmed ours."""
    start, end = change.at - 26 * HOUR, change.at + 26 * HOUR
    clocks = Clocks(change.zone, start, end, 60)
    ours = list(seconds_between(Schedule.on_calendar(calendar_expression, tz=change.zone), start, end))
    modelled = partial(expected, clocks, Pattern(cron).matched(clocks))
    assert ours == modelled("after", "first"), (change, calendar_expression)
    like_systemd = Schedule.on_calendar(calendar_expression, tz=change.zone, like="systemd")
    assert list(seconds_between(like_systemd, start, end)) == modelled("skip", "first")
    theirs = systemd_answers(calendar_expression, change.zone, start, len(ours) + 2)
    found: Answer = [second for second in theirs if second < end]
    return None if found == ours else Case("systemd", calendar_expression, change, start, found, ours, modelled)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_disagreement_with_systemd_is_explained(part: int) -> None:
    skip_unless_here("systemd")
    unexplained = []
    for change in swept(part):
        # Other zone data than ours would be another question; systemd reads the system's, and so does this library.
        if change.before % 60 or change.after % 60 or change.at % 60:
            continue
        chosen = random.Random(f"{change} systemd")
        calendar_expression, cron = calendars(chosen, change)
        case = beside_systemd(change, calendar_expression, cron)
        if case is not None and explanation(case) is None:
            unexplained.append((change, calendar_expression, *differing(case.theirs, case.ours)))

    assert unexplained == []


def differing(theirs: Answer, ours: list[int]) -> tuple[int | str | None, int | str]:
    """What each of them says where they part."""
    at = next((number for number, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other), None)
    if at is None:
        at = min(len(theirs), len(ours))
    return theirs[at] if at < len(theirs) else "-", ours[at] if at < len(ours) else "-"


# The examples of the rows, and the page that shows them


def shown(second: int | str | None, key: str) -> str:
    if isinstance(second, str):
        return second
    return "no end" if second is None else f"{utc(second).astimezone(ZoneInfo(key)):%Y-%m-%d %H:%M %z}"


def answers(oracle: str, example: Example) -> tuple[Answer, list[int]]:
    """Theirs and ours for four days, in the order in which they are asked for."""
    asked = (
        int(day_of(example.asked[:10]).timestamp()) + int(example.asked[11:13]) * HOUR + int(example.asked[14:16]) * 60
    )
    if oracle == "systemd":
        schedule = Schedule.on_calendar(example.expression, tz=example.zone)
        ours = list(seconds_between(schedule, asked, asked + 4 * DAY))
        named = systemd_answers(example.expression, example.zone, asked, len(ours) + 2)
        return [second for second in named if second < asked + 4 * DAY], ours
    is_back = oracle.endswith("backwards")
    start, end = (asked - 4 * DAY, asked) if is_back else (asked, asked + 4 * DAY)
    ours = list(seconds_between(Schedule.cron(example.expression, tz=example.zone), start + 1, end))
    theirs = RIVALS[oracle](example.expression, example.zone, start, end)
    return (theirs[::-1], ours[::-1]) if is_back else (theirs, ours)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.oracle}: {row.what[:40]}")
def test_both_sides_of_each_example_hold(row: Row) -> None:
    skip_unless_here(row.oracle)
    theirs, ours = answers(row.oracle, row.example)

    told = tuple(shown(second, row.example.zone) for second in differing(theirs, ours))

    assert told == (row.example.theirs, row.example.ours)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.expression)
def test_what_others_read_otherwise_is_so(reading: Reading) -> None:
    start = int(day_of("2026-01-01").timestamp())

    told = tuple(
        read(partial(ask, reading.expression, "UTC", start - 1, start + 40 * DAY))
        for ask in (cronsim_answers, croniter_answers)
    )

    assert told == (reading.cronsim, reading.croniter)
    ours = read(lambda: list(seconds_between(Schedule.cron(reading.expression, tz="UTC"), start, start + 40 * DAY)))
    assert ours == reading.ours


def read(ask: Callable[[], Any]) -> str:
    """How many runs there are in forty days from 1 January 2026, and the first; or that it is refused."""
    try:
        found = ask()
    except (ConfigurationError, CronSimError, CroniterError):
        return "refused"
    return f"{len(found)} from {utc(found[0]):%d %b %H:%M}" if found else "none"


def test_the_page_shows_these_rows() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.schedule.oracles_page"


def test_a_disagreement_that_no_row_explains_is_noticed() -> None:
    """A right answer less one run, away from all that the rows allow."""
    change = next(change for change in changes_in("America/New_York") if change.at == 1772953200)
    ((start, end),) = spans(change)
    right = cronsim_answers("30 5 * * *", change.zone, start, end)

    case = case_of("cronsim", "30 5 * * *", change, (start, end), right[:-1])

    assert case.theirs != case.ours
    assert explanation(case) is None
