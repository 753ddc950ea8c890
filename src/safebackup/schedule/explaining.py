"""Explain a schedule in plain English: what it says, on whose clock, and what happens when those clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from safebackup.instants import Instant
from safebackup.schedule import asking, moments, wording
from safebackup.schedule.asking import Gap as Span
from safebackup.schedule.asking import Occurrence
from safebackup.schedule.policies import Gap, Overlap
from safebackup.schedule.rules import Why
from safebackup.schedule.touches import Touch, touches, walls_in
from safebackup.schedule.turns import DAY, LAST, Turn, turns_of
from safebackup.schedule.windows import Window
from safebackup.schedule.zones import Zone, ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_LOOKS_AHEAD = 400 * DAY  # so that each change of a year is in it, wherever in the year one begins
_MOST_RUNS = 20_000
_GAPS = {
    Gap.AFTER: "runs at the first instant after the gap",
    Gap.SHIFT: "runs later by the length of the gap",
    Gap.SKIP: "does not run",
    Gap.REFUSE: "is refused",
}
_OVERLAPS = {
    Overlap.FIRST: "runs once, the first time",
    Overlap.SECOND: "runs once, the second time",
    Overlap.BOTH: "runs both times",
    Overlap.REFUSE: "is refused",
}


@attrs.frozen(kw_only=True)
class ClockChange:
    """One change of the clocks ahead: when, both offsets, and what becomes of the written times that it touches."""

    at: Instant
    before: timedelta
    after: timedelta
    effects: tuple[str, ...]
    text: str


@attrs.frozen(kw_only=True)
class Explanation:
    """A schedule in words.

    `changes`, `runs` and `longest` (the longest time between two runs up to `looked_until`) need an instant to look
    from; without one they are empty. `text` is all of it.
    """

    rule: str
    zone: str
    policy: tuple[str, ...]
    forbidden: tuple[Window, ...]
    changes: tuple[ClockChange, ...] = ()
    runs: tuple[Occurrence, ...] = ()
    longest: Span | None = None
    looked_until: Instant | None = None
    text: str

    def __str__(self) -> str:
        return self.text


def explain(schedule: Schedule, *, after: datetime | None = None, host_tz: ZoneLike | None = None) -> Explanation:
    """Say what a schedule does; from `after` on also its next runs and changes of the clocks."""
    rule = wording.sentence(wording.words_of(schedule.rule))
    policy = tuple(dict.fromkeys(_policy(schedule)))
    forbidden = [f"Never due from {window}: promised, and checked." for window in schedule.forbidden]
    words = Explanation(rule=rule, zone=_zone(schedule.zone), policy=policy, forbidden=schedule.forbidden, text="")
    if after is None:
        return attrs.evolve(words, text="\n".join([rule, words.zone, *policy, *forbidden]))
    start = moments.floor(after, "after", schedule.zone)
    table = turns_of(schedule.zone)
    turns = table.between(start + 1, min(start + _LOOKS_AHEAD, LAST))
    changes = tuple(_change(schedule, turn) for turn in turns)
    runs = tuple(_first(schedule, start + 1, 3))
    longest, until = _longest(schedule, start)
    zone_words = _zone(schedule.zone, offset=table.offset_at(start), start=start)
    quiet = [] if changes else [f"Its clocks do not change before {moments.instant(start + _LOOKS_AHEAD):%Y-%m-%d}."]
    host = None if host_tz is None else zone(host_tz)
    lines = [
        *(rule, zone_words, *policy, *forbidden),
        *(["Changes of the clocks:", *("  " + change.text for change in changes)] if changes else quiet),
        *(["Next runs:", *_run_lines(schedule.zone, runs, host)] if runs else ["It is never due again."]),
        *([_longest_words(longest, until, start)] if longest is not None else []),
    ]
    return attrs.evolve(
        words, zone=zone_words, changes=changes, runs=runs, longest=longest, looked_until=until, text="\n".join(lines)
    )


def _zone(named: Zone, *, offset: int | None = None, start: int = 0) -> str:
    data = f"zone data {named.release}" if named.release else "zone data of an unsaid release"
    at = "" if offset is None else f", {moments.write_offset(offset)} on {moments.instant(start):%Y-%m-%d}"
    return f"On the clocks of {named.key}{at} ({data})."


def _policy(schedule: Schedule) -> list[str]:
    said = []
    for walls in walls_in(schedule.rule):
        said += [
            f"A time that the clocks leave out {_GAPS[walls.policy.in_gap]} (in_gap={walls.policy.in_gap}).",
            f"A time that they repeat {_OVERLAPS[walls.policy.in_overlap]} (in_overlap={walls.policy.in_overlap}).",
        ]
    return said or ["Changes of the clocks do not matter to it: it counts real time."]


def _first(schedule: Schedule, start: int, number: int) -> list[Occurrence]:
    found = []
    for second in islice(asking.seconds_between(schedule, start, LAST), number):
        due = schedule.rule.due_at(second)
        if due is not None:
            found.append(asking.as_occurrence(due, schedule.zone))
    return found


def _longest(schedule: Schedule, start: int) -> tuple[Span | None, Instant]:
    """The longest time between runs of a year, or of as many as are worth counting here."""
    best, at, earlier, counted = 0, 0, None, 0
    end = min(start + _LOOKS_AHEAD, LAST)
    for counted, later in enumerate(asking.seconds_between(schedule, start, end), 1):
        if earlier is not None and later - earlier > best:
            best, at = later - earlier, earlier
        earlier = later
        if counted == _MOST_RUNS:
            break
    until = moments.instant(earlier if counted == _MOST_RUNS and earlier is not None else end)
    return (Span(moments.instant(at), moments.instant(at + best)) if best else None), until


def _longest_words(longest: Span, until: Instant, start: int) -> str:
    return (
        f"Longest time between two runs: {wording.how_long(int(longest.duration.total_seconds()))}, "
        f"from {longest.start:%Y-%m-%dT%H:%M:%SZ} to {longest.end:%Y-%m-%dT%H:%M:%SZ} "
        f"(looked at {moments.instant(start):%Y-%m-%d} to {until:%Y-%m-%d})."
    )


def _change(schedule: Schedule, turn: Turn) -> ClockChange:
    low, high = sorted((turn.at + turn.before, turn.at + turn.after))
    span = f"{moments.wall_time(low):%H:%M:%S} to {moments.wall_time(high):%H:%M:%S}"
    if moments.wall_time(low).date() != moments.wall_time(high).date():
        span = f"{moments.wall_time(low):%Y-%m-%d %H:%M:%S} to {moments.wall_time(high):%Y-%m-%d %H:%M:%S}"
    what = "do not exist" if turn.is_gap else "occur twice"
    effects = tuple(_effects(touches(schedule.rule, turn)))
    text = (
        f"{moments.wall_time(low):%a %Y-%m-%d}: from {moments.write_offset(turn.before)} to "
        f"{moments.write_offset(turn.after)} at {moments.write_instant(turn.at)}; times from {span} {what}: "
        + ("; ".join(effects) or "no run is touched")
        + "."
    )
    return ClockChange(
        at=moments.instant(turn.at),
        before=timedelta(seconds=turn.before),
        after=timedelta(seconds=turn.after),
        effects=effects,
        text=text,
    )


def _effects(touched: list[Touch]) -> list[str]:
    said = [f"{moments.wall_time(touch.wall):%H:%M:%S} {touch.outcome}" for touch in touched]
    return said if len(said) <= 4 else [*said[:3], f"and {len(said) - 3} more times"]


def _run_lines(own: Zone, runs: tuple[Occurrence, ...], host: Zone | None) -> list[str]:
    zones = [own, *([host] if host is not None and host.key != own.key else [])]
    lines = []
    for run in runs:
        second = int(run.instant.timestamp())
        shown = [
            f"{moments.write_in_zone(second, turns_of(each).offset_at(second))} in {each.key}"
            + (" (host)" if each is host else "")
            for each in zones
        ]
        why = "" if run.why in (Why.REGULAR, Why.ELAPSED) else f" ({run.why}; written {run.wall:%H:%M:%S})"
        weekday = f"{moments.wall_time(second + turns_of(own).offset_at(second)):%a}"
        lines.append(f"  {weekday} {' = '.join([*shown, moments.write_instant(second)])}{why}")
    return lines
