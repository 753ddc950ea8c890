"""Where the sweeps look, a sample of all changes of the clocks in a normal run, and the expressions that they try."""

from __future__ import annotations

import os
import random
from datetime import datetime
from functools import lru_cache

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, zone
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import places
from tests.schedule.oracle import Change, Clocks, utc

HOUR, DAY = 3600, 86_400
LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
FROM, UNTIL = 0, 2_145_916_800  # 1970 to 2038
PARTS = 8
SAMPLE = 10  # changes for each part of a normal run
# Of each kind of oddity at least one, in every run.
ALWAYS = [
    ("America/New_York", "2026-03-08"),
    ("Australia/Lord_Howe", "2026-04-04"),
    ("Pacific/Apia", "2011-12-30"),
    ("Africa/Monrovia", "1972-01-07"),
    ("Asia/Pyongyang", "2018-05-04"),
    ("America/Caracas", "2007-12-09"),
    ("Antarctica/Casey", "2020-10-03"),
    ("Pacific/Kwajalein", "1993-08-21"),
]


@lru_cache(maxsize=1)
def zone_names() -> list[str]:
    """One name for each zone file."""
    return sorted({zone(name).data: name for name in sorted(places(), reverse=True)}.values())


def changes_in(key: str) -> list[Change]:
    return [Change(key, *turn) for turn in turns_of(zone(key)).between(FROM + 40 * DAY, UNTIL)]


@lru_cache(maxsize=1)
def every_change() -> list[Change]:
    """Each once, however many zones share it."""
    return list({change[1:]: change for name in zone_names() for change in changes_in(name)}.values())


@lru_cache(maxsize=PARTS)
def swept(part: int) -> list[Change]:
    """The changes of one part: all together every change there is; in a normal run some of them."""
    if LONG:
        return every_change()[part::PARTS]
    chosen = random.Random(part)
    names = chosen.sample(zone_names()[part::PARTS], SAMPLE)
    always = [change for key, day in ALWAYS[part::PARTS] for change in changes_in(key) if is_on(change, day)]
    return [*always, *(chosen.choice(found) for name in names if (found := changes_in(name)))]


def is_on(change: Change, day: str) -> bool:
    """Whether it is on that day in UTC."""
    return utc(change.at).date().isoformat() == day


def day_of(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T00:00:00+00:00")


def clocks_near(change: Change) -> Clocks:
    """A day and more around a change minute by minute; where seconds count, some hours second by second."""
    whole_minutes = change.before % 60 == 0 == change.after % 60 and change.at % 60 == 0
    size = abs(change.after - change.before)
    step, reach = (60, 26 * HOUR + size) if whole_minutes else (1, 2 * HOUR + size)
    start = change.at - reach
    return Clocks(change.zone, start - start % 60, change.at + reach, step)


# Random expressions


def random_field(chosen: random.Random, low: int, high: int) -> str:
    first, second = sorted(chosen.sample(range(low, high + 1), 2))
    step = chosen.randint(2, max(2, high // 2))
    stepped = f"{first}-{second}/{min(step, second - first)}"
    ways = [str(first), f"{first}-{second}", f"*/{step}", f"{first},{second}", stepped, "*"]
    return chosen.choice(ways)


def random_expression(chosen: random.Random, change: Change) -> str:
    """Often due at a time that the change leaves out or repeats."""
    low, high = sorted((change.at + change.before, change.at + change.after))
    edge, inside, end = utc(low), utc((low + high) // 2), utc(high)
    hours = ",".join(map(str, sorted({edge.hour, end.hour})))
    minutes = [str(inside.minute), str(edge.minute), random_field(chosen, 0, 59), "*/15", "0", "*"]
    fields = [
        chosen.choice(minutes),
        chosen.choice([str(inside.hour), str(edge.hour), hours, random_field(chosen, 0, 23), "*", "*/2"]),
        chosen.choice(["*", "*", "*", str(inside.day), "L", random_field(chosen, 1, 28)]),
        chosen.choice(["*", "*", str(inside.month)]),
        chosen.choice(["*", "*", "*", str(inside.isoweekday() % 7), random_field(chosen, 0, 6)]),
    ]
    return " ".join(fields)


def can_fire(expression: str) -> bool:
    try:
        Schedule.cron(expression, tz="UTC")
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES
        return False
    return True
