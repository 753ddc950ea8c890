"""Cron expressions: what they mean, day by day, and that cronsim and croniter agree where they are right."""

from __future__ import annotations

import calendar
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from safebackup.schedule import Schedule
from safebackup.schedule.cron import parse_cron

START = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = timedelta(days=4 * 366)


def days_of(expression: str) -> list[date]:
    return [run.date() for run in Schedule.cron(expression, tz="UTC").between(START, START + YEARS)]


def last(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def nearest_workday(day: date, wanted: int) -> bool:
    """By trying days ever farther away, the earlier of equally far ones first."""
    if wanted > last(day):
        return False
    for away in (0, -1, 1, -2, 2):
        if 1 <= wanted + away <= last(day) and day.replace(day=wanted + away).weekday() < 5:
            return day.day == wanted + away
    raise AssertionError


DAYS: dict[str, Callable[[date], bool]] = {
    "L * *": lambda day: day.day == last(day),
    "LW * *": lambda day: nearest_workday(day, last(day)),
    "15W * *": lambda day: nearest_workday(day, 15),
    "1W * *": lambda day: nearest_workday(day, 1),
    "31W * *": lambda day: nearest_workday(day, 31),
    "1,L * *": lambda day: day.day in (1, last(day)),
    "* * 5L": lambda day: day.weekday() == 4 and day.day > last(day) - 7,
    "* * FRIL": lambda day: day.weekday() == 4 and day.day > last(day) - 7,
    "* * 7L": lambda day: day.weekday() == 6 and day.day > last(day) - 7,
    "* * 1#1": lambda day: day.weekday() == 0 and day.day <= 7,
    "* * sun#5": lambda day: day.weekday() == 6 and day.day > 28,
    "* * 1#1,3": lambda day: (day.weekday() == 0 and day.day <= 7) or day.weekday() == 2,
    "13 * 5": lambda day: day.day == 13 or day.weekday() == 4,
    "*/10 * 1": lambda day: day.day in (1, 11, 21, 31) and day.weekday() == 0,
    "13 * */2": lambda day: day.day == 13 and day.weekday() in (6, 1, 3, 5),
    "1-7 * *": lambda day: day.day <= 7,
    "* * 7": lambda day: day.weekday() == 6,
    "* * 0": lambda day: day.weekday() == 6,
    "* * 5-7": lambda day: day.weekday() in (4, 5, 6),
    "* * MON-FRI": lambda day: day.weekday() < 5,
    "* feb,JUN-Aug *": lambda day: day.month in (2, 6, 7, 8),
    "29 2 *": lambda day: (day.month, day.day) == (2, 29),
    "31 * *": lambda day: day.day == 31,
    "30 2 1": lambda day: day.month == 2 and day.weekday() == 0,
    "*/31 * *": lambda day: day.day == 1,
    "1-31/2 */5 *": lambda day: day.day % 2 == 1 and day.month in (1, 6, 11),
}


@pytest.mark.parametrize("fields", DAYS)
def test_the_days_of_an_expression_are_those_that_the_calendar_has(fields: str) -> None:
    every = [(START + timedelta(days=away)).date() for away in range(YEARS.days)]

    assert days_of(f"0 0 {fields}") == [day for day in every if DAYS[fields](day)]


@pytest.mark.parametrize(
    ("alias", "expression"),
    [
        ("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 1 *"), ("@annually", "0 0 1 1 *"), ("@DAILY", "0 0 * * *"),
        ("  5   1\t* * 7 ", "5 1 * * 0"), ("05 01 * * *", "5 1 * * *"), ("1,2,3,7 * * * *", "1-3,7 * * * *"),
        ("3,1,2,2 0 * * *", "1-3 0 * * *"), ("0-10/5 0 * * *", "0,5,10 0 * * *"), ("*/1 0 * * *", "* 0 * * *"),
        ("0 0 * jan mon", "0 0 * 1 1"), ("0 0 * * 5#2,5l", "0 0 * * 5L,5#2"), ("0 0 lw,15w,3 * *", "0 0 3,15W,LW * *"),
        ("*/20,21 0 * * *", "*/20,0,20,21,40 0 * * *"),
    ],
)  # fmt: skip
def test_equal_meanings_have_one_form(alias: str, expression: str) -> None:
    assert parse_cron(alias) == parse_cron(expression)
    assert Schedule.cron(alias, tz="UTC") == Schedule.cron(expression, tz="UTC")
    assert parse_cron(parse_cron(alias).expression) == parse_cron(alias)


def test_a_star_is_not_the_same_as_all_numbers() -> None:
    """It decides how days combine, and whether every real interval counts."""
    assert parse_cron("0 0 1 * *") != parse_cron("0 0 1 * 0-6")
    assert parse_cron("* 0 * * *").is_wild and not parse_cron("0-59 0-23 * * *").is_wild


def test_seconds_come_first_and_only_by_choice() -> None:
    schedule = Schedule.cron("*/20 59 23 31 12 *", seconds=True, tz="UTC")

    assert [f"{run:%m-%d %H:%M:%S}" for run in schedule.between(START, START + timedelta(days=365))] == [
        "12-31 23:59:00", "12-31 23:59:20", "12-31 23:59:40"
    ]  # fmt: skip
    assert Schedule.cron("0 5 1 * * *", seconds=True, tz="UTC") != Schedule.cron("5 1 * * *", tz="UTC")


def expressions(chosen: random.Random) -> str:
    def field(low: int, high: int) -> str:
        first, second = sorted((chosen.randint(low, high), chosen.randint(low, high)))
        return chosen.choice(
            [
                str(first),
                str(first),
                "*",
                f"{first}-{second}" if first < second else "*",
                f"{first},{second}",
                f"*/{chosen.randint(1, high // 2)}",
            ]
        )

    day = chosen.choice(["*", "*", field(1, 28), "L"])
    month, weekday = chosen.choice(["*", "*", field(1, 12)]), chosen.choice(["*", field(0, 6)])
    return f"{field(0, 59)} {field(0, 23)} {day} {month} {weekday}"


def test_cronsim_agrees_on_ordinary_days() -> None:
    cronsim = pytest.importorskip("cronsim")
    chosen = random.Random(1)
    for _ in range(300):
        expression, start = expressions(chosen), START + timedelta(minutes=chosen.randint(0, 1_000_000))
        theirs, schedule = cronsim.CronSim(expression, start), Schedule.cron(expression, tz="UTC")
        moment = start
        for _ in range(10):
            found = schedule.next_after(moment)
            assert found == next(theirs), expression
            moment = found


def test_croniter_agrees_on_ordinary_days() -> None:
    """But for ranges of one day of the week: it reads `0-0` as every day."""
    croniter = pytest.importorskip("croniter").croniter
    chosen = random.Random(2)
    for _ in range(300):
        expression, start = expressions(chosen), START + timedelta(minutes=chosen.randint(0, 1_000_000))
        theirs = croniter(expression, start, implement_cron_bug=True)
        schedule = Schedule.cron(expression, tz="UTC")
        moment = start
        for _ in range(10):
            found = schedule.next_after(moment)
            assert found == theirs.get_next(datetime), expression
            moment = found


NIGHTS = [
    ("America/New_York", datetime(2026, 3, 8)), ("America/New_York", datetime(2026, 11, 1)),
    ("Europe/Berlin", datetime(2026, 3, 29)), ("Europe/Dublin", datetime(2026, 10, 25)),
    ("Asia/Beirut", datetime(2026, 3, 29)), ("Africa/Cairo", datetime(2026, 4, 24)),
    ("America/Sao_Paulo", datetime(2018, 11, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("key", "day"), NIGHTS)
def test_cronsim_agrees_in_nights_of_whole_hours(key: str, day: datetime) -> None:
    """Asked from before the night: from inside the repeated hour it goes back in time."""
    cronsim = pytest.importorskip("cronsim")
    chosen = random.Random(3)
    start = (day - timedelta(days=1)).replace(tzinfo=ZoneInfo(key))
    for _ in range(150):
        minute = chosen.choice(["*", "*/15", "0", "30", "0,30", "7,45"])
        hour = chosen.choice(["*", "*/2", "0", "1", "2", "3", "1,2", "0-3", "23"])
        theirs, schedule = (
            cronsim.CronSim(f"{minute} {hour} * * *", start),
            Schedule.cron(f"{minute} {hour} * * *", tz=key),
        )
        moment: datetime = start
        for _ in range(12):
            found, due = schedule.next_after(moment), next(theirs)
            assert found is not None
            assert found == due.astimezone(UTC), (minute, hour, moment)
            moment = found
