"""What a schedule is asked: what is next, what was due, how far apart, and what was missed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant
from safebackup.schedule import moments, promises
from safebackup.schedule.civil import bad, whole_seconds
from safebackup.schedule.rules import Due, Why
from safebackup.schedule.turns import FIRST, LAST, turns_of
from safebackup.schedule.zones import Zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule


@attrs.frozen(order=False)
class Occurrence:
    """One instant at which a schedule is due.

    `wall` is the time as the schedule has it written, naive on purpose; `why` says how it came to this instant, and
    `merged` are other written times that fell onto the same instant. `offset` is that of the zone at the instant.
    """

    instant: Instant
    wall: datetime
    why: Why
    merged: tuple[datetime, ...]
    offset: timedelta

    @property
    def run_id(self) -> str:
        """A name for the run: it sorts by time, fits into file names, and stays unique in a repeated hour."""
        return self.instant.strftime("%Y%m%dT%H%M%SZ")


@attrs.frozen
class Gap:
    """The time between two runs that follow each other."""

    start: Instant
    end: Instant

    @property
    def duration(self) -> timedelta:
        """From the one to the other, in real time."""
        return timedelta(seconds=int(self.end.timestamp() - self.start.timestamp()))


@attrs.frozen
class Missed:
    """What was due and has not succeeded.

    `runs` are overdue, `pending` are still within their grace, and `next` comes after `now`. True if any is overdue.
    """

    runs: tuple[Occurrence, ...]
    pending: tuple[Occurrence, ...]
    next: Instant | None
    now: Instant

    def __bool__(self) -> bool:
        return bool(self.runs)

    def catch_up(
        self,
        policy: Literal["latest", "all", "none"],
        *,
        at_most: int | None = None,
        within: timedelta | None = None,
    ) -> tuple[Occurrence, ...]:
        """Which of the overdue runs to make up for: the latest, all (the latest `at_most` of them), or none.

        `within` leaves out what was due longer ago than that.
        """
        if policy not in ("latest", "all", "none"):
            raise bad(f"policy={policy!r} is not one of 'latest', 'all', 'none'", "Say which runs to make up for.")
        if at_most is not None and (policy != "all" or type(at_most) is not int or at_most < 1):
            raise bad(
                f"at_most={at_most!r} with policy={policy!r} makes no sense",
                "at_most= is a whole number from 1 on, and goes with policy='all'.",
            )
        runs = self.runs
        if within is not None:
            oldest = self.now - timedelta(seconds=whole_seconds(within, "within"))
            runs = tuple(run for run in runs if run.instant >= oldest)
        most = {"latest": 1, "none": 0}.get(policy, at_most)
        return runs if most is None else runs[max(0, len(runs) - most) :]


def next_after(schedule: Schedule, moment: datetime) -> Instant | None:
    """The first instant later than a moment."""
    return _promised(
        schedule, schedule.rule.at_or_after(max(moments.floor(moment, "moment", schedule.zone) + 1, FIRST))
    )


def previous_before(schedule: Schedule, moment: datetime) -> Instant | None:
    """The last instant earlier than a moment."""
    return _promised(
        schedule, schedule.rule.at_or_before(min(moments.ceiling(moment, "moment", schedule.zone) - 1, LAST))
    )


def _promised(schedule: Schedule, found: int | None) -> Instant | None:
    """What a rule answers as an instant; refused in forbidden hours, beyond the years in which these were checked."""
    if found is None:
        return None
    if schedule.forbidden:
        promises.require_free(schedule.rule, schedule.zone, schedule.forbidden, found)
    return moments.instant(found)


def seconds_between(schedule: Schedule, start: int, end: int) -> Iterator[int]:
    """The instants from `start` to before `end`, as seconds since 1970."""
    at_or_after = schedule.rule.at_or_after
    found = at_or_after(max(start, FIRST))
    while found is not None and found < end:
        if schedule.forbidden:
            promises.require_free(schedule.rule, schedule.zone, schedule.forbidden, found)
        yield found
        found = at_or_after(found + 1)


def _span(schedule: Schedule, start: datetime, end: datetime) -> tuple[int, int]:
    return moments.ceiling(start, "start", schedule.zone), moments.ceiling(end, "end", schedule.zone)


def between(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Instant]:
    """The instants from `start` to before `end`."""
    span = _span(schedule, start, end)  # at once: what is wrong with the arguments shows here, not at the first step
    return map(moments.instant, seconds_between(schedule, *span))


def occurrences(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Occurrence]:
    """The same, with the wall time as written and why."""
    span = _span(schedule, start, end)
    return (_occurrence(schedule, at) for at in seconds_between(schedule, *span))


def occurrence_at(schedule: Schedule, moment: datetime) -> Occurrence | None:
    """What is due at exactly that instant."""
    second = moments.floor(moment, "moment", schedule.zone)
    due = None if moment.microsecond else schedule.rule.due_at(second)
    if due is None or _promised(schedule, second) is None:
        return None
    return as_occurrence(due, schedule.zone)


def as_occurrence(due: Due, zone: Zone) -> Occurrence:
    """What a rule says, for people."""
    return Occurrence(
        instant=moments.instant(due.instant),
        wall=moments.wall_time(due.wall),
        why=due.why,
        merged=tuple(moments.wall_time(wall) for wall in due.merged),
        offset=timedelta(seconds=turns_of(zone).offset_at(due.instant)),
    )


def _occurrence(schedule: Schedule, second: int) -> Occurrence:
    due = schedule.rule.due_at(second)
    assert due is not None
    return as_occurrence(due, schedule.zone)


def max_gap(schedule: Schedule, start: datetime, end: datetime) -> Gap | None:
    """The longest time from one run to the next; the earliest of equal ones."""
    best, at, earlier = 0, 0, None
    for later in seconds_between(schedule, *_span(schedule, start, end)):
        if earlier is not None and later - earlier > best:
            best, at = later - earlier, earlier
        earlier = later
    return Gap(moments.instant(at), moments.instant(at + best)) if best else None


def min_gap(schedule: Schedule, start: datetime, end: datetime) -> Gap | None:
    """The shortest time from one run to the next; the earliest of equal ones."""
    best, at, earlier = LAST - FIRST, 0, None
    for later in seconds_between(schedule, *_span(schedule, start, end)):
        if earlier is not None and later - earlier < best:
            best, at = later - earlier, earlier
        earlier = later
    return Gap(moments.instant(at), moments.instant(at + best)) if best < LAST - FIRST else None


def missed(schedule: Schedule, last_success: datetime, now: datetime, grace: timedelta) -> Missed:
    """What was due after the last success and has not succeeded."""
    zone = schedule.zone
    since = moments.floor(last_success, "last_success", zone)
    until = moments.floor(now, "now", zone)
    if since > until:
        raise ConfigurationError(
            f"last_success is {moments.write_instant(since)}, later than now, {moments.write_instant(until)}",
            code=Code.BAD_TIME,
            hint="A clock was set back, or the two come from machines with different clocks.",
        )
    allowed = whole_seconds(grace, "grace")
    if allowed < 0:
        raise bad(f"grace={grace!r} is negative", "Say how long a run may take to be seen.")
    overdue: list[Occurrence] = []
    pending: list[Occurrence] = []
    for second in seconds_between(schedule, since + 1, until + 1):
        (pending if second + allowed >= until else overdue).append(_occurrence(schedule, second))
    following = schedule.rule.at_or_after(max(until + 1, FIRST))
    return Missed(tuple(overdue), tuple(pending), _promised(schedule, following), moments.aware(now))
