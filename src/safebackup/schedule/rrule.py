"""Recurrence rules of RFC 5545 on the wall clock.

As the RFC has it, rules count in wall time: `FREQ=HOURLY` names each hour of the wall clock, not each real hour, and by
default a time that the clocks leave out is skipped and one that they repeat counts the first time. What a rule does not
say comes from its start. Where the RFC leaves it open: a start that does not fit the rule is no run of its own, and
does not count; a day around New Year belongs to the calendar year that it lies in, whatever the number of its week;
nothing is due after the instant of `UNTIL`, also where the clocks repeat or shift a time; `BYSETPOS` counts in whole
periods, also in the one that holds the start.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import moments
from safebackup.schedule.civil import bad
from safebackup.schedule.policies import RFC5545, Gap, Policy
from safebackup.schedule.rrule_meaning import search_of
from safebackup.schedule.rrule_parts import Parts, read_parts, write_parts
from safebackup.schedule.rrule_walls import Search
from safebackup.schedule.turns import FIRST, LAST, turns_of
from safebackup.schedule.walls import offsets_of
from safebackup.schedule.zones import Zone

_DAMAGED = "The record is damaged: Schedule.to_dict writes them."


@attrs.frozen
class RRule:
    """A rule in its canonical form, without UNTIL, and where it begins and ends on the wall; equal ones mean the same.

    What ends a rule is found when it is first read, in its zone, and stays: for COUNT the last wall time that counts.
    `last` is the instant of an UNTIL where that is not enough: at a change of the clocks.
    """

    kind: ClassVar[str] = "rrule"
    rule: str
    start: int
    until: int | None
    last: int | None
    _search: Search = attrs.field(eq=False, repr=False, kw_only=True)

    def at_or_after(self, wall: int) -> int | None:
        """The first wall time from `wall` on."""
        found = self._search.at_or_after(max(wall, self.start))
        return None if found is None or (self.until is not None and found > self.until) else found

    def at_or_before(self, wall: int) -> int | None:
        """The last wall time up to `wall`."""
        if wall < self.start:
            return None
        found = self._search.at_or_before(wall if self.until is None else min(wall, self.until))
        return found if found is not None and found >= self.start else None

    def ends_before(self, wall: int, instant: int) -> bool:
        """Whether the instant lies after UNTIL."""
        return self.last is not None and instant > self.last

    def text(self) -> str:
        """The rule in quotes, its start, and its end if it has one, both on the wall clock."""
        end = "" if self.until is None else f" until {_write(self.until)}"
        end += "" if self.last is None else f", not after {moments.write_instant(self.last)}"
        return f"rrule '{self.rule}' from {_write(self.start)}{end}"

    def record(self) -> dict[str, object]:
        """The same as plain data."""
        return {
            "rule": self.rule,
            "start": _write(self.start),
            "until": None if self.until is None else _write(self.until),
            "last": None if self.last is None else moments.write_instant(self.last),
        }


def parse_rrule(rule: str, start: datetime, zone: Zone, policy: Policy = RFC5545) -> RRule:
    """Read a rule that starts at an aware moment.

    COUNT counts times as they are written, but for those that the policy skips.

    Raises:
        ConfigurationError: it is malformed, doubtful, or never fires; the message names the part.
    """
    parts = read_parts(rule)
    begin = _start(start, zone)
    until, last = _until(parts.until, zone) if parts.until else (None, None)
    return counted(_made(parts, begin, until, last), zone, policy)


def counted(rule: RRule, zone: Zone, policy: Policy) -> RRule:
    """A rule with the end that its COUNT means under a policy; as it is, if it has none."""
    count = read_parts(rule.rule).count
    if count is None:
        return rule
    endless = attrs.evolve(rule, until=None)
    return attrs.evolve(rule, until=_counted(endless, count, zone if policy.in_gap is Gap.SKIP else None))


def recorded_rrule(rule: str, start: str, until: str | None, last: str | None) -> RRule:
    """The rule that was recorded."""
    parts = read_parts(rule)
    if parts.until:
        raise bad(f"the recorded rule {rule!r} has an UNTIL", "Its record has the end beside it.")
    if parts.count is not None and until is None:
        raise bad(f"the recorded rule {rule!r} has a COUNT, and its record no end", _DAMAGED)
    instant = None if last is None else _read(last.removesuffix("Z"))
    return _made(parts, _read(start), None if until is None else _read(until), instant)


def _write(wall: int) -> str:
    return moments.wall_time(wall).isoformat()


def _read(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad(f"the recorded wall time {text!r} is none", _DAMAGED) from error
    if at.isoformat() != text or at.tzinfo is not None or at.microsecond:
        raise bad(f"the recorded wall time {text!r} is not as it is written: {at:%Y-%m-%dT%H:%M:%S}", _DAMAGED)
    return _within((at.replace(tzinfo=UTC) - moments.EPOCH) // timedelta(seconds=1))


def _within(second: int) -> int:
    if not FIRST <= second <= LAST:
        raise bad(f"a rule that starts or ends at {moments.write_instant(second)}", "Stay in the years 2 to 9998.")
    return second


def _start(start: datetime, zone: Zone) -> int:
    """The start on the wall. In the second pass of a repeated hour it would have no name of its own there."""
    second = _within(moments.floor(start, "start", zone))
    if start.microsecond:
        raise bad(f"start={start.isoformat()} has parts of a second", "Start at a whole second.")
    wall, repeated_until = _on_wall(second, zone)
    if repeated_until is not None:
        raise bad(
            f"start={start.isoformat()} is the second {moments.wall_time(wall):%H:%M:%S} of that night in {zone}",
            "A rule starts at a wall time, which means the first of two: start a day earlier or later.",
        )
    return wall


def _until(text: str, zone: Zone) -> tuple[int, int | None]:
    """The last wall time that occurs, for the first time, up to the end; and the end where clocks change around it."""
    try:
        at = datetime.strptime(text.removesuffix("Z"), "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d")
    except ValueError as error:
        raise bad(f"UNTIL={text} is no date-time", "Write it in UTC: UNTIL=20261231T235959Z.") from error
    if "T" not in text:
        first, end = (moments.first_second(at.date() + timedelta(days=more), zone) for more in (0, 1))
        raise bad(
            f"UNTIL={text} is a date: in {zone} it could end at {moments.write_instant(first)}, with the day, "
            f"or at {moments.write_instant(end - 1)}, after it",
            f"Write which is meant, in UTC: UNTIL={_compact(first)} or UNTIL={_compact(end - 1)}.",
        )
    if not text.endswith("Z"):
        try:
            moments.floor(at, "UNTIL", zone)  # which says what it could mean
        except ConfigurationError as error:
            error.hint = "RFC 5545 wants it in UTC, with a Z at its end: UNTIL=20261231T235959Z."
            raise
    second = moments.floor(at.replace(tzinfo=UTC), "UNTIL", zone)
    second = min(max(second, FIRST), LAST)
    wall, repeated_until = _on_wall(second, zone)
    known, index = turns_of(zone).at_instant(second)
    last = second if known.offsets[index] is None else None
    return wall if repeated_until is None else repeated_until - 1, last


def _compact(second: int) -> str:
    return moments.write_instant(second).replace("-", "").replace(":", "")


def _on_wall(second: int, zone: Zone) -> tuple[int, int | None]:
    """What the wall clock shows at an instant; and if it shows that again, where the repeated stretch ends on it."""
    table = turns_of(zone)
    wall = second + table.offset_at(second)
    known, index = table.at_instant(second)
    for turn in known.turns[index]:
        if turn.at <= second and turn.at + turn.after <= wall < turn.at + turn.before:
            return wall, turn.at + turn.before
    return wall, None


def _made(parts: Parts, start: int, until: int | None, last: int | None) -> RRule:
    rule = write_parts(parts)
    search = search_of(parts, start)
    first = None if search is None else search.at_or_after(start)
    if search is None or first is None:
        raise _never(
            rule, start, "no time fits all of its parts", "Look at the days, months and positions that it names."
        )
    if until is not None and first > until:
        raise _never(rule, start, f"UNTIL is {_write(until)}, before its first time {_write(first)}", "Correct UNTIL.")
    return RRule(rule, start, until, last, search=search)


def _never(rule: str, start: int, why: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{rule!r} from {_write(start)} never fires: {why}", code=Code.NEVER_FIRES, hint=hint)


def _counted(rule: RRule, count: int, zone: Zone | None) -> int:
    """The last of so many wall times, or of all if these are fewer; with a zone, of those that its clocks show."""
    last = rule.start
    found = rule.at_or_after(rule.start)
    while found is not None and count > 0:
        last = found
        count -= zone is None or _is_shown(found, zone)
        found = rule.at_or_after(found + 1)
    return last


def _is_shown(wall: int, zone: Zone) -> bool:
    known, index = turns_of(zone).at_wall(wall)
    return known.offsets[index] is not None or bool(offsets_of(wall, known.turns[index]))
