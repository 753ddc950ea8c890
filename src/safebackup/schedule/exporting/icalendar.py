"""Events for calendars (RFC 5545): a rule, with single dates added or left out where the clocks change.

A calendar skips what a gap leaves out and takes the first of two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import attrs

from safebackup.schedule import moments
from safebackup.schedule.days import ALL_MONTHS, members
from safebackup.schedule.exporting.exports import Draft, How, Request, divergences_of, expiry, numbered, remarks
from safebackup.schedule.exporting.lines import Line, lines_of
from safebackup.schedule.exporting.pieces import ALL_NUMBERS, Piece, impossible, without_last_workday
from safebackup.schedule.exporting.simulating import Instants, Simulated, differences
from safebackup.schedule.exporting.vtimezone import LOCAL, vtimezone
from safebackup.schedule.policies import RFC5545
from safebackup.schedule.rrule import RRule, parse_rrule
from safebackup.schedule.rules import Elapsed, Rule
from safebackup.schedule.turns import DAY, LAST, turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone, zone

_MOST_SINGLE = 1000
_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_UNITS = (("DAILY", DAY), ("HOURLY", 3600), ("MINUTELY", 60), ("SECONDLY", 1))
_LONGEST_LINE = 75
_SKEW = 2 * DAY


@attrs.frozen
class _Event:
    """A rule whose first time is at a wall time, with what a calendar makes of it."""

    rule: str
    start: int
    walls: Walls


def write_icalendar(request: Request) -> Draft:
    """A calendar with an event; several where one rule cannot say it."""
    events = _events(request.schedule.rule, request)
    rules = tuple(event.walls for event in events)
    found = differences(request.schedule.rule, Simulated(rules), request.start, request.end)
    is_patched = len(found) <= _MOST_SINGLE
    divergences = divergences_of(request, () if is_patched else found)
    added = [at for at, how in found if is_patched and how is How.MISSING]
    left_out = Instants(tuple(at for at, how in found if is_patched and how is How.EXTRA))
    places = [named for named in dict.fromkeys(event.walls.zone for event in events) if named.key != "UTC"]
    has_turns = any(turns_of(named).between(request.start, request.end) for named in places)
    listed = ["single dates"] * (is_patched and bool(found)) + ["changes of the clocks"] * has_turns
    about = remarks(request, divergences, expiry(request, listed))
    content = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//safebackup//schedule//EN"]
    for named in places:
        content += vtimezone(named, request.start, request.end)
    for index, event in enumerate(events):
        name = numbered(request.name, index, len(events))
        content += _vevent(request, name, event, about, [] if index else added, left_out)
    content.append("END:VCALENDAR")
    text = "".join(f"{folded}\r\n" for line in content for folded in _folded(line))
    return Draft({f"{request.name}.ics": text}, divergences, bool(listed))


def _events(rule: Rule, request: Request) -> list[_Event]:
    if isinstance(rule, Elapsed):
        unit, seconds = next((unit, seconds) for unit, seconds in _UNITS if rule.step % seconds == 0)
        first = rule.at_or_after(request.start)
        if first is None:
            raise impossible(f"{rule.text()} is not due any more", "Choose an earlier start=.")
        return [_event(f"FREQ={unit};INTERVAL={rule.step // seconds}", first, zone("UTC"))]
    if isinstance(rule, Walls) and isinstance(rule.recurrence, RRule):
        return [_of_rrule(rule.recurrence, request.schedule.zone)]
    lines = lines_of(rule, request.schedule.zone)
    plain = [attrs.evolve(line, days=piece) for line in lines for piece in without_last_workday(line.days)]
    found = (_of_line(line, request) for line in plain)
    return [event for event in found if event is not None]


def _of_rrule(recurrence: RRule, named: Zone) -> _Event:
    """The rule as it is, from its own first time on, since that decides which weeks or months an interval takes."""
    walls = Walls(recurrence, named, RFC5545)
    first, last = walls.at_or_after(-LAST), walls.at_or_before(LAST)
    if first is None:
        raise impossible(f"{recurrence.text()} is never due in {named}", "Give it in_gap='after'.")
    ended = recurrence.until is not None and last is not None
    until = f";UNTIL={moments.instant(last):%Y%m%dT%H%M%SZ}" if ended and last is not None else ""
    endless = ";".join(part for part in recurrence.rule.split(";") if not part.startswith("COUNT="))
    return _event(endless + until, first, named)


def _of_line(line: Line, request: Request) -> _Event | None:
    """The event of a line; None if it is not due from the start on."""
    rule = _rule(line)
    here = moments.instant(request.start - _SKEW).date()
    search = Walls(
        parse_rrule(rule, moments.instant(moments.first_second(here, line.zone)), line.zone), line.zone, RFC5545
    )
    first = search.at_or_after(request.start)
    return None if first is None else _event(rule, first, line.zone)


def _event(rule: str, first: int, named: Zone) -> _Event:
    recurrence = parse_rrule(rule, moments.instant(first), named)
    return _Event(rule, recurrence.start, Walls(recurrence, named, RFC5545))


def _rule(line: Line) -> str:
    piece = line.days
    if piece.years or piece.nearest:
        raise impossible("a calendar knows no single years and no workday nearest to a date", "Export to systemd.")
    parts = ["FREQ=MONTHLY" if piece.nth else "FREQ=DAILY"]
    if piece.months != ALL_MONTHS:
        parts.append("BYMONTH=" + _numbers(piece.months))
    if piece.from_end:
        parts.append("BYMONTHDAY=" + ",".join(f"-{number}" for number in members(piece.from_end)))
    elif piece.numbers != ALL_NUMBERS:
        parts.append("BYMONTHDAY=" + _numbers(piece.numbers))
    parts += _weekdays(piece)
    for part, mask in (("BYHOUR", line.hours), ("BYMINUTE", line.minutes), ("BYSECOND", line.seconds)):
        parts.append(f"{part}={_numbers(mask)}")
    return ";".join(parts)


def _weekdays(piece: Piece) -> list[str]:
    if piece.has_any_weekday:
        return []
    if piece.nth and not piece.has_any_date:
        raise impossible("a numbered day that is also the n-th of a weekday is not exported", "Name one of the two.")
    return ["BYDAY=" + ",".join(f"{piece.nth or ''}{_WEEKDAYS[day]}" for day in members(piece.weekdays))]


def _numbers(mask: int) -> str:
    return ",".join(map(str, members(mask)))


def _vevent(
    request: Request, name: str, event: _Event, about: Sequence[str], added: Sequence[int], left_out: Instants
) -> list[str]:
    named = event.walls.zone
    identity = hashlib.sha256(f"{name} {request.schedule}".encode()).hexdigest()[:32]
    content = [
        "BEGIN:VEVENT",
        f"UID:{identity}@safebackup",
        f"DTSTAMP:{_utc(request.start)}",
        f"SUMMARY:{name}",
        "DESCRIPTION:" + _escaped("\n".join(about)),
        f"DTSTART{_at(named, event.start)}",
        f"RRULE:{event.rule}",
        *(f"RDATE:{_utc(at)}" for at in added),
    ]
    table = turns_of(named)
    for at in left_out.instants:
        if event.walls.due_at(at) is not None:
            content.append(f"EXDATE{_at(named, at + table.offset_at(at))}")
    return [*content, "END:VEVENT"]


def _at(named: Zone, wall: int) -> str:
    """A wall time as a property has it, with what comes before the value."""
    if named.key == "UTC":
        return ":" + _utc(wall)
    return f";TZID={named.key}:{moments.wall_time(wall):{LOCAL}}"


def _utc(at: int) -> str:
    return f"{moments.instant(at):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for character in "\\;,":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", "\\n")


def _folded(line: str) -> Iterator[str]:
    """A content line in pieces of at most 75 bytes, of which all but the first begin with a space."""
    piece = ""
    for character in line:
        if len((piece + character).encode()) > _LONGEST_LINE:
            yield piece
            piece = " "
        piece += character
    yield piece
