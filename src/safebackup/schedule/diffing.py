"""Differences: what changes between two schedules, zones, policies or versions of the zone data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Finding, Severity
from safebackup.schedule import asking, moments, recording
from safebackup.schedule.asking import Occurrence
from safebackup.schedule.civil import bad
from safebackup.schedule.composing import Spread, Union, Without
from safebackup.schedule.cron import Cron
from safebackup.schedule.policies import ELAPSED, ONCE, InGap, InOverlap, Policy, Preset, chosen_policy
from safebackup.schedule.recurrences import AnyOf, Recurrence
from safebackup.schedule.rrule import RRule, counted
from safebackup.schedule.rules import Due, Rule
from safebackup.schedule.turns import FIRST, LAST, turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone, ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_REACH = 27 * 3600  # no two zones are further apart than 26 hours
_SHOWN = 5


@attrs.frozen
class Moved:
    """One written time that is due at two different instants."""

    left: Occurrence
    right: Occurrence

    @property
    def by(self) -> timedelta:
        """How much later it is on the right."""
        return timedelta(seconds=int(self.right.instant.timestamp() - self.left.instant.timestamp()))


@attrs.frozen
class OnlyLeft:
    """A run that only the left side has."""

    run: Occurrence


@attrs.frozen
class OnlyRight:
    """A run that only the right side has."""

    run: Occurrence


Difference: TypeAlias = "OnlyLeft | OnlyRight | Moved"


@attrs.frozen(kw_only=True)
class ScheduleDiff:
    """What changes from `left` to `right`: True if anything does.

    A written time that both have at different instants is `moved`. The three hold the first ones; the counts count all.
    """

    left: str
    right: str
    only_left: tuple[Occurrence, ...]
    only_right: tuple[Occurrence, ...]
    moved: tuple[Moved, ...]
    only_left_count: int
    only_right_count: int
    moved_count: int

    def __bool__(self) -> bool:
        return bool(self.only_left_count or self.only_right_count or self.moved_count)

    def __str__(self) -> str:
        lines = [f"left:  {self.left}", f"right: {self.right}"]
        if not self:
            return "\n".join([*lines, "no difference"])
        parts = (
            ("moved", self.moved_count, [_moved_words(each) for each in self.moved[:_SHOWN]]),
            ("only left", self.only_left_count, [_run_words(run) for run in self.only_left[:_SHOWN]]),
            ("only right", self.only_right_count, [_run_words(run) for run in self.only_right[:_SHOWN]]),
        )
        for name, count, shown in parts:
            if count:
                more = [f"  and {count - len(shown)} more"] if count > len(shown) else []
                lines += [f"{name}: {count}", *(f"  {line}" for line in shown), *more]
        return "\n".join(lines)


def diff(
    schedule: Schedule,
    other: Schedule | None,
    *,
    start: datetime,
    end: datetime,
    tz: ZoneLike | None,
    in_gap: InGap | None,
    in_overlap: InOverlap | None,
    like: Preset | None,
    keep: int,
) -> ScheduleDiff:
    """Compare with another schedule, or with itself in another zone, with other zone data, or under another policy."""
    if type(keep) is not int or keep < 1:
        raise bad(f"keep={keep!r} is not a number from 1 on", "Say how many differences of each kind to keep.")
    right = _other_side(schedule, other, tz, in_gap, in_overlap, like)
    begin, until = (moments.ceiling(at, name, schedule.zone) for at, name in ((start, "start"), (end, "end")))
    kept: dict[type[Difference], list[Any]] = {OnlyLeft: [], OnlyRight: [], Moved: []}
    counts: dict[type[Difference], int] = dict.fromkeys(kept, 0)
    for found in differences(schedule, right, begin, until):
        kind = type(found)
        counts[kind] += 1
        if len(kept[kind]) < keep:
            kept[kind].append(found)
    left_name, right_name = _names(schedule, right)
    return ScheduleDiff(
        left=left_name,
        right=right_name,
        only_left=tuple(each.run for each in kept[OnlyLeft]),
        only_right=tuple(each.run for each in kept[OnlyRight]),
        moved=tuple(kept[Moved]),
        only_left_count=counts[OnlyLeft],
        only_right_count=counts[OnlyRight],
        moved_count=counts[Moved],
    )


def _other_side(
    schedule: Schedule,
    other: Schedule | None,
    tz: ZoneLike | None,
    in_gap: InGap | None,
    in_overlap: InOverlap | None,
    like: Preset | None,
) -> Schedule:
    says_policy = any(each is not None for each in (in_gap, in_overlap, like))
    if (other is not None) + (tz is not None) + says_policy != 1:
        raise bad(
            "say one thing to compare with",
            "Another schedule, tz= (also a zone made by zone_from_data), or a policy: in_gap=, in_overlap=, like=.",
        )
    if other is not None:
        if not isinstance(other, type(schedule)):
            raise bad(f"{other!r} is not a Schedule", "Compare with another schedule.")
        return other
    if tz is not None:
        return schedule.in_zone_data(zone(tz))
    return attrs.evolve(schedule, rule=_under(schedule.rule, in_gap, in_overlap, like))


def _under(rule: Rule, in_gap: InGap | None, in_overlap: InOverlap | None, like: Preset | None) -> Rule:
    """A rule with another policy."""
    if isinstance(rule, Walls):
        default = rule.policy
        if like == "debian":  # which decides by the expression
            default = ELAPSED if isinstance(rule.recurrence, Cron) and rule.recurrence.is_wild else ONCE
        policy = chosen_policy(default, in_gap=in_gap, in_overlap=in_overlap, like=like)
        return attrs.evolve(rule, policy=policy, recurrence=_counted(rule.recurrence, rule.zone, policy))
    if isinstance(rule, Union):
        return Union(tuple(_under(part, in_gap, in_overlap, like) for part in rule.parts))
    if isinstance(rule, Without | Spread):
        return attrs.evolve(rule, part=_under(rule.part, in_gap, in_overlap, like))
    return rule


def _counted(recurrence: Recurrence, named: Zone, policy: Policy) -> Recurrence:
    """The same, ending where its COUNT means under that policy."""
    if isinstance(recurrence, AnyOf):
        return AnyOf(tuple(_counted(part, named, policy) for part in recurrence.parts))
    return counted(recurrence, named, policy) if isinstance(recurrence, RRule) else recurrence


def _names(left: Schedule, right: Schedule) -> tuple[str, str]:
    names = str(left), str(right)
    if names[0] != names[1] or left.zone == right.zone:
        return names
    said = [f"{each.zone.release or 'of an unsaid release'}, {each.zone.fingerprint[:8]}" for each in (left, right)]
    return f"{names[0]} (zone data {said[0]})", f"{names[1]} (zone data {said[1]})"


def differences(left: Schedule, right: Schedule, start: int, end: int) -> Iterator[Difference]:
    """What differs between two schedules from `start` to before `end`, about in order of time.

    Holds no more than what a day or so has of runs.
    """
    begin = max(start, FIRST)
    if left.rule == right.rule or (left.to_dict()["rule"] == right.to_dict()["rule"] and left.zone != right.zone):
        begin = max(begin, _first_parting(left.zone, right.zone, begin, end) - _REACH)
    waiting: tuple[dict[int, list[Due]], dict[int, list[Due]]] = ({}, {})
    for side, due in _apart(left, right, begin - _REACH, min(end, LAST) + _REACH):
        yield from _expired(left, right, waiting, due.instant - _REACH, start, end)
        partners = waiting[1 - side].get(due.wall)
        if not partners:
            waiting[side].setdefault(due.wall, []).append(due)
            continue
        partner = partners.pop(0)
        if not partners:
            del waiting[1 - side][due.wall]
        pair = (due, partner) if side == 0 else (partner, due)
        if any(start <= each.instant < end for each in pair):
            yield Moved(asking.as_occurrence(pair[0], left.zone), asking.as_occurrence(pair[1], right.zone))
    yield from _expired(left, right, waiting, LAST + 1, start, end)


def _first_parting(left: Zone, right: Zone, start: int, end: int) -> int:
    """From where on the clocks of two zones may differ; `end` if they do not."""
    one, other = turns_of(left), turns_of(right)
    if one.offset_at(start) != other.offset_at(start):
        return start
    turns = one.between(start, end), other.between(start, end)
    apart = {*turns[0]} ^ {*turns[1]}
    return min((turn.at for turn in apart), default=end)


def _apart(left: Schedule, right: Schedule, start: int, end: int) -> Iterator[tuple[int, Due]]:
    """The instants that only one side has, with the side, in order."""
    sides = asking.seconds_between(left, start, end), asking.seconds_between(right, start, end)
    ahead = [next(sides[0], None), next(sides[1], None)]
    while ahead != [None, None]:
        one, other = ahead
        if one == other:
            ahead = [next(sides[0], None), next(sides[1], None)]
            continue
        side = 0 if other is None or (one is not None and one < other) else 1
        at = ahead[side]
        assert at is not None
        due = (left, right)[side].rule.due_at(at)
        assert due is not None
        yield side, due
        ahead[side] = next(sides[side], None)


def _expired(
    left: Schedule,
    right: Schedule,
    waiting: tuple[dict[int, list[Due]], dict[int, list[Due]]],
    before: int,
    start: int,
    end: int,
) -> Iterator[Difference]:
    """What has waited for its partner until `before`, in vain."""
    for side, schedule in enumerate((left, right)):
        # Two runs of one written time are so near each other that the order of the first holds for both.
        while waiting[side]:
            wall, dues = next(iter(waiting[side].items()))
            if dues[0].instant >= before:
                break
            del waiting[side][wall]
            for due in dues:
                if start <= due.instant < end:
                    run = asking.as_occurrence(due, schedule.zone)
                    yield OnlyLeft(run) if side == 0 else OnlyRight(run)


def data_changed(record: Mapping[str, Any], start: datetime, end: datetime) -> Finding | None:
    """What a recorded schedule does otherwise with the zone data of this machine; None if its runs are the same.

    Raises:
        ConfigurationError: it is no record of a schedule, or this machine does not know its zone.
    """
    then = recording.recorded_zone(record)
    now = zone(then.key)
    if now.data == then.data:
        return None
    left = recording.from_dict(record, then)
    begin, until = (moments.ceiling(at, name, then) for at, name in ((start, "start"), (end, "end")))
    try:
        return zone_data_finding(left, left.in_zone_data(now), Code.TZDATA_CHANGED, begin, until)
    except ConfigurationError as error:
        if error.code not in (Code.FORBIDDEN_WINDOW, Code.DST_REFUSED):
            raise
        return Finding(
            code=Code.TZDATA_CHANGED,
            severity=Severity.ERROR,
            what=f"recorded with {_data_words(then)}; with {_data_words(now)} here it breaks its promise: "
            f"{error.message}",
            action="Look which release of the zone data is right (as a rule the later one), then correct the schedule.",
            subject=str(left),
        )


def zone_data_finding(left: Schedule, right: Schedule, code: Code, start: int, end: int) -> Finding | None:
    """The first runs that differ between the zone data of two schedules, as a finding."""
    found = list(islice(differences(left, right, start, end), 3))
    if not found:
        return None
    return Finding(
        code=code,
        severity=Severity.WARNING,
        what=f"{_data_words(left.zone)} and {_data_words(right.zone)} differ, first for these runs: "
        + "; ".join(difference_words(each) for each in found),
        action="Update the zone data that are older, on every machine that runs or watches this schedule.",
        subject=str(left),
    )


def _data_words(named: Zone) -> str:
    return f"zone data {named.release or 'of an unsaid release'} from {named.source}"


def difference_words(difference: Difference) -> str:
    """One difference on one line."""
    if isinstance(difference, Moved):
        return _moved_words(difference)
    side = "the first" if isinstance(difference, OnlyLeft) else "the second"
    return f"{_run_words(difference.run)} only in {side}"


def _moved_words(moved: Moved) -> str:
    seconds = moved.by // timedelta(seconds=1)
    size = timedelta(seconds=abs(seconds))
    return (
        f"{moved.left.wall:%Y-%m-%d %H:%M:%S} as written: {_at(moved.left)} and {_at(moved.right)}, "
        f"{size} {'later' if seconds > 0 else 'earlier'}"
    )


def _at(run: Occurrence) -> str:
    return f"{run.instant:%Y-%m-%dT%H:%M:%SZ} ({moments.write_offset(run.offset // timedelta(seconds=1))})"


def _run_words(run: Occurrence) -> str:
    offset = run.offset // timedelta(seconds=1)
    return f"{moments.write_in_zone(int(run.instant.timestamp()), offset)} ({run.instant:%Y-%m-%dT%H:%M:%SZ})"
