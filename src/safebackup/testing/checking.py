"""check_schedule: the laws of schedules and the promises of their users, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from random import Random

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Occurrence, Schedule, moments
from safebackup.schedule.schedule import require_schedule
from safebackup.schedule.turns import DAY, FIRST, LAST, turns_of
from safebackup.testing.laws import LAWS, TIMELESS, probe
from safebackup.testing.promises import Breach, Judge, Promise

_YEARS = 10
_SHOWN = 5
_QUIET_PROBES = 25


def check_schedule(
    schedule: Schedule,
    *,
    promise: Promise | Judge | Iterable[Promise | Judge] = (),
    start: datetime | None = None,
    end: datetime | None = None,
) -> None:
    """Check the laws of every schedule around each change of the clocks, and one or several promises over all runs.

    The span is ten years from the schedule's `checked_from`, unless `start` and `end` say otherwise. A promise is
    `never_more_than(hours=25)` and the like, or a function of your own: it gets all runs of the span as a tuple of
    occurrences, and returns those that break it, or True or False. For a daily schedule it takes a fraction
    of a second, for one that runs every minute some twenty.

    Raises:
        AssertionError: naming the law or the promise, and the instants in the schedule's zone and in UTC.
    """
    require_schedule(schedule, "schedule")
    first, last = _span(schedule, start, end)
    for second in _moments(schedule, first, last):
        looked_at = probe(schedule, second)
        for law in LAWS:
            _require(schedule, "breaks a law", _said(law), law(looked_at))
    for law in TIMELESS:
        _require(schedule, "breaks a law", _said(law), law(probe(schedule, first)))
    for each in promise if isinstance(promise, Iterable) else (promise,):
        if isinstance(each, Promise):
            _require(schedule, "breaks a promise", str(each), each.breaches(schedule, first, last))
        elif callable(each):
            _require(schedule, "breaks a promise", _named(each), _judged(each, schedule, first, last))
        else:
            raise ConfigurationError(
                f"{each!r} is not a promise",
                code=Code.BAD_ARGUMENT,
                hint="Write promise=never_more_than(hours=25), or a function of the runs.",
            )


def _span(schedule: Schedule, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    place = schedule.zone
    begins = moments.first_second(schedule.checked_from, place)
    first = begins if start is None else moments.ceiling(start, "start", place)
    last = first + _YEARS * 31_556_952 if end is None else moments.ceiling(end, "end", place)
    if not FIRST + 30 * DAY <= first < last <= LAST - 30 * DAY:
        raise ConfigurationError(
            f"the span from {start} to {end} is empty, or outside the years 2 to 9998",
            code=Code.BAD_TIME,
            hint="Give a start, and a later end.",
        )
    return first, last


def _moments(schedule: Schedule, first: int, last: int) -> list[int]:
    """Where the laws are looked at: around each change of the clocks, and in some calm places."""
    found = {first, *Random(str(schedule)).choices(range(first, last), k=_QUIET_PROBES)}
    for turn in turns_of(schedule.zone).between(first, last):
        size = abs(turn.after - turn.before)
        found |= {turn.at + away for away in (0, -1, 1, -size, size, -size // 2, size // 2, -DAY, -size - 1)}
    return sorted(second for second in found if first <= second < last)


def _said(law: object) -> str:
    """What a law or a function says of itself in its first line."""
    return (getattr(law, "__doc__", None) or "").strip().partition("\n")[0]


def _named(judge: Judge) -> str:
    return _said(judge) or getattr(judge, "__name__", repr(judge))


def _judged(judge: Judge, schedule: Schedule, first: int, last: int) -> Iterator[Breach]:
    runs = tuple(schedule.occurrences(moments.instant(first), moments.instant(last)))
    verdict = judge(runs)
    if verdict is None or verdict is True:
        return
    if verdict is False:
        yield Breach("it does not hold between", (first, last))
        return
    if not isinstance(verdict, Iterable):
        raise _unusable(verdict)
    for run in verdict:
        if not isinstance(run, Occurrence):
            raise _unusable(run)
        merged = "".join(f" and {wall}" for wall in run.merged)
        yield Breach(f"written {run.wall}{merged} ({run.why})", (int(run.instant.timestamp()),))


def _unusable(answer: object) -> ConfigurationError:
    return ConfigurationError(
        f"a promise answered {answer!r}",
        code=Code.BAD_ARGUMENT,
        hint="Return the occurrences that break it (an empty list if none does), or True or False.",
    )


def _require(schedule: Schedule, what: str, rule: str, breaches: Iterator[Breach]) -> None:
    found = list(islice(breaches, _SHOWN + 1))
    if not found:
        return
    lines = [f"{schedule} {what}: {rule}"]
    for breach in found[:_SHOWN]:
        lines.append(f"  {breach.what}:")
        lines += [f"    {_written(schedule, second)}" for second in breach.instants]
    lines += ["  and more"] * (len(found) > _SHOWN)
    raise AssertionError("\n".join(lines))


def _written(schedule: Schedule, second: int) -> str:
    offset = turns_of(schedule.zone).offset_at(second)
    shown = moments.write_in_zone(second, offset)
    return f"{shown} in {schedule.zone}, {moments.write_instant(second)}"
