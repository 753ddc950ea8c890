"""Schedules beside cronsim and croniter, in one run: how many times as fast `next_after` is.

    .venv/bin/python benchmarks/schedule.py

The tools take turns in rounds; CPU time counts, and of each tool the best round. A ratio above 1 means that
safebackup is faster.
`next_after` is asked from one answer to the next, as all three are used. cronsim and croniter keep their state between
answers and may use it; safebackup is asked anew each time.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from zoneinfo import ZoneInfo

import pendulum

from safebackup.schedule import Schedule
from safebackup.schedule.cron import parse_cron

ZONE = "America/New_York"
START = datetime(2026, 1, 1, tzinfo=ZoneInfo(ZONE))
ROUNDS = 7
EXPRESSIONS = {
    "daily": "0 2 * * *",
    "dense": "*/5 * * * *",
    "office hours": "0 9-17 * * 1-5",
    "two days a month": "15 4 1,15 * *",
    "rare": "0 0 29 2 *",
    "last day": "30 2 L * *",
    "first Monday": "0 3 * * 1#1",
}


def with_safebackup(expression: str, count: int) -> datetime:
    schedule = Schedule.cron(expression, tz=ZONE)
    ask = schedule.next_after
    moment: datetime = START
    for _ in range(count):
        found = ask(moment)
        assert found is not None
        moment = found
    return moment


def with_cronsim(expression: str, count: int) -> datetime:
    from cronsim import CronSim

    runs = CronSim(expression, START)
    moment = START
    for _ in range(count):
        moment = next(runs)
    return moment


def with_croniter(expression: str, count: int) -> datetime:
    from croniter import croniter  # type: ignore[import-untyped]

    runs = croniter(expression, START)
    moment = START
    for _ in range(count):
        moment = runs.get_next(datetime)
    return moment


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def compare() -> None:
    tools = {"safebackup": with_safebackup, "cronsim": with_cronsim, "croniter": with_croniter}
    print(f"{'next_after':18}{'a second':>12}{'x cronsim':>12}{'x croniter':>12}")
    for name, expression in EXPRESSIONS.items():
        count = 500 if name == "rare" else 1000
        best = dict.fromkeys(tools, float("inf"))
        for _ in range(ROUNDS):
            for tool, run in tools.items():
                best[tool] = min(best[tool], seconds(partial(run, expression, count)))
        ours = best["safebackup"]
        print(f"{name:18}{count / ours:12,.0f}{best['cronsim'] / ours:12.1f}{best['croniter'] / ours:12.1f}")


def parsing() -> None:
    times = [f"{minute} {hour} * * {day}" for minute, hour, day in product(range(60), range(24), ("1-5", "0", "6"))]
    several = [
        f"{minute},{minute + 7} {hour}-{hour + 3} {day} * *"
        for minute, hour, day in product(range(50), range(20), (1, 9))
    ]
    for name, expressions in {
        "plain": times,
        "lists and ranges": several,
        "the same again": ["30 1 * * *"] * 2000,
    }.items():
        took = min(seconds(lambda: [parse_cron(expression) for expression in expressions]) for _ in range(3))  # noqa: B023
        print(f"parsing, {name:22}{took / len(expressions) * 1e6:8.1f} us each")


def spans() -> None:
    schedule = Schedule.cron("*/15 * * * *", tz=ZONE)
    start, end = pendulum.datetime(2026, 1, 1), pendulum.datetime(2036, 1, 1)
    took = min(seconds(lambda: schedule.max_gap(start, end)) for _ in range(3))
    tracemalloc.start()
    schedule.max_gap(start, end)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"longest gap of a quarter-hourly schedule in ten years: {took:.2f} s, {peak / 1024:.0f} KiB")
    zones = [ZONE, "Europe/Berlin", "Africa/Lagos", "Asia/Kolkata", "Australia/Lord_Howe"]
    jobs = [Schedule.cron(f"{n % 60} {n % 24} * * *", tz=zones[n % 5]) for n in range(10_000)]
    success, now = pendulum.datetime(2026, 10, 30, 12), pendulum.datetime(2026, 11, 2, 12)
    took = seconds(lambda: [job.missed(success, now, timedelta(minutes=30)) for job in jobs])
    print(f"10,000 jobs asked for missed runs of three days: {took:.2f} s")


if __name__ == "__main__":
    compare()
    parsing()
    spans()
