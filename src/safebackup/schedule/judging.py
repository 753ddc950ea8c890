"""What a run was, judged by when it started: on time, late, early, double, out of its window, or in a wrong zone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import asking, moments
from safebackup.schedule.asking import Occurrence
from safebackup.schedule.civil import bad, whole_seconds
from safebackup.schedule.turns import DAY, FIRST, LAST, turns_of
from safebackup.schedule.zones import places, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_QUARTER = 900
# Cron starts what it runs within seconds. So near to whole hours a delay is no accident; for the few zones that are
# off by half an hour or a quarter it must be nearer, as every delay is near to some quarter.
_NEAR_HOUR = 300
_NEAR_QUARTER = 60


class Verdict(StrEnum):
    """What a run was."""

    ON_TIME = "on time"
    LATE = "late"  # after its grace, and nearer to the run before it than to the next
    EARLY = "early"  # ahead of the next run by no more than the grace
    DOUBLE = "double"  # another run was there already for the same occurrence
    OUT_OF_WINDOW = "out of window"  # nothing is due near, or hours that the schedule forbids
    SHIFTED = "shifted by whole hours: probable zone error"


@attrs.frozen
class Judgement:
    """What a run was, and against which occurrence.

    `late` is from the occurrence to the start, negative for an early one. `zones` are places where the clock showed
    the scheduled time when the run started, the commonly meant ones first; only for `SHIFTED`.
    """

    verdict: Verdict
    due: Occurrence | None
    late: timedelta | None
    zones: tuple[str, ...]
    text: str


def classify(
    schedule: Schedule, actual: datetime, grace: timedelta, *, earlier: Collection[datetime] = ()
) -> Judgement:
    """Judge a start."""
    allowed = whole_seconds(grace, "grace")
    if allowed < 0:
        raise bad(f"grace={grace!r} is negative", "Say how late a run may start and still be on time.")
    started = moments.floor(actual, "actual", schedule.zone)
    if not FIRST <= started <= LAST:
        raise ConfigurationError(
            f"actual={actual} lies outside the years 2 to 9998",
            code=Code.BAD_TIME,
            hint="Give the instant at which the run started.",
        )
    starts = _starts(earlier, schedule)
    before = schedule.rule.at_or_before(started)
    after = schedule.rule.at_or_after(started + 1)
    offset = turns_of(schedule.zone).offset_at(started)
    if any(window.holds(started + offset) for window in schedule.forbidden):
        return _shifted(schedule, started, allowed) or _judged(
            schedule, Verdict.OUT_OF_WINDOW, _nearer(before, after, started), started
        )
    began = (started, actual.microsecond)
    sooner = [second for second, part in starts if (second, part) < began]
    if before is not None and started - before <= allowed:
        return _judged(schedule, _or_double(Verdict.ON_TIME, schedule, before, allowed, sooner), before, started)
    if (shifted := _shifted(schedule, started, allowed)) is not None:
        return shifted
    if after is not None and after - started <= allowed:
        return _judged(schedule, _or_double(Verdict.EARLY, schedule, after, allowed, sooner), after, started)
    nearer = _nearer(before, after, started)
    if nearer is None or nearer != before:
        return _judged(schedule, Verdict.OUT_OF_WINDOW, nearer, started)
    return _judged(schedule, _or_double(Verdict.LATE, schedule, nearer, allowed, sooner), nearer, started)


def _starts(earlier: object, schedule: Schedule) -> list[tuple[int, int]]:
    """Other starts, each as its second and the microseconds after it.

    Date-times of one zone would compare by its clock, which shows a repeated hour twice.
    """
    if not isinstance(earlier, Iterable):
        raise bad(f"earlier={earlier!r} is no collection of date-times", "Give a list of starts, or leave it out.")
    return [(moments.floor(other, "earlier", schedule.zone), other.microsecond) for other in earlier]


def _or_double(verdict: Verdict, schedule: Schedule, due: int, allowed: int, sooner: list[int]) -> Verdict:
    """The verdict, unless a sooner start was for the same occurrence.

    That is one after it, or an early one that is not nearer to the occurrence before.
    """
    near = [start for start in sooner if start >= due - allowed]
    if not near or max(near) >= due:
        return Verdict.DOUBLE if near else verdict
    previous = schedule.rule.at_or_before(due - 1)
    return Verdict.DOUBLE if previous is None or due - max(near) <= max(near) - previous else verdict


def _nearer(before: int | None, after: int | None, started: int) -> int | None:
    if before is None or after is None:
        return after if before is None else before
    return before if started - before <= after - started else after


def _judged(
    schedule: Schedule, verdict: Verdict, due: int | None, started: int, zones: tuple[str, ...] = ()
) -> Judgement:
    offset_at = turns_of(schedule.zone).offset_at
    text = f"started {moments.write_in_zone(started, offset_at(started))}"
    if due is None:
        return Judgement(verdict, None, None, (), f"{verdict}: {text}, and nothing is ever due")
    text += f", due {moments.write_in_zone(due, offset_at(due))} in {schedule.zone}"
    if zones:
        more = f" and {len(zones) - 3} more" if len(zones) > 3 else ""
        text += f"; the clock showed the scheduled time in {', '.join(zones[:3])}{more}"
    found = schedule.rule.due_at(due)
    occurrence = None if found is None else asking.as_occurrence(found, schedule.zone)
    return Judgement(verdict, occurrence, timedelta(seconds=started - due), zones, f"{verdict}: {text}")


def _shifted(schedule: Schedule, started: int, allowed: int) -> Judgement | None:
    """A start at which the clocks of some other zone showed the scheduled time."""
    # Only the run before and the run after: with many runs a day, some clock shows the time of a farther one always.
    around = (schedule.rule.at_or_before(started), schedule.rule.at_or_after(started + 1))
    candidates = [due for due in around if due is not None and abs(due - started) <= DAY + 2 * 3600]
    by_offset: dict[int, int] = {}
    own = turns_of(schedule.zone).offset_at(started)
    for due in candidates:
        found = schedule.rule.due_at(due)
        wall = due + own if found is None else found.wall
        # The offset under which this start is due or a little late: what the wall shows, less the instant.
        exact = wall - started
        whole = round(exact / 3600) * 3600
        quarter = -(-exact // _QUARTER) * _QUARTER
        if 0 <= whole - exact <= max(1, min(allowed, _NEAR_HOUR)):
            by_offset.setdefault(whole, due)
        elif 0 <= quarter - exact <= min(allowed, _NEAR_QUARTER):
            by_offset.setdefault(quarter, due)
    by_offset.pop(own, None)
    if not by_offset:
        return None
    # One look at each zone: a table of its turns would cost a thousand times as much.
    moment = moments.EPOCH + timedelta(seconds=started)
    names = [(name, moment.astimezone(zone(name).tzinfo).utcoffset()) for name in ("UTC", *places())]
    matching = {offset: tuple(name for name, its in names if its == timedelta(seconds=offset)) for offset in by_offset}
    offsets = [offset for offset in by_offset if matching[offset]]
    if not offsets:
        return None
    # Of several, the smallest shift: a schedule of many runs a day fits many zones, and then it says little.
    best = min(offsets, key=lambda offset: abs(offset - own))
    return _judged(schedule, Verdict.SHIFTED, by_offset[best], started, matching[best])
