"""Timer and service units for systemd.

systemd skips what a gap leaves out and runs the first of two, but once anything ran in a repeated hour it goes on in
it. Steps without an end (`00/2`) hang or lose days in systemd 252, so that lists are written. What else is due is
listed as single times in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from safebackup.schedule import moments
from safebackup.schedule.civil import WEEKDAYS
from safebackup.schedule.days import ALL_MONTHS, bits, members
from safebackup.schedule.exporting.exports import Draft, How, Request, commented, divergences_of, expiry, remarks
from safebackup.schedule.exporting.lines import Line, lines_of, on_clocks_of
from safebackup.schedule.exporting.pieces import ALL_NUMBERS, Piece, impossible, without_last_workday
from safebackup.schedule.exporting.quoting import in_systemd
from safebackup.schedule.exporting.simulating import Instants, Simulated, differences, second_passes
from safebackup.schedule.on_calendar import parse_on_calendar
from safebackup.schedule.policies import RFC5545
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone, zone

_MOST_SINGLE = 500
_FROM_MONDAY = (1, 2, 3, 4, 5, 6, 0)
_ALL_HOURS = (1 << 24) - 1
_ALL_MINUTES = (1 << 60) - 1


def write_systemd(request: Request) -> Draft:
    """A timer and the service that it starts."""
    command = in_systemd(request.command)
    lines, is_cut = _within_years(lines_of(request.schedule.rule, request.schedule.zone), request)
    texts, single, found = _calendar(request, lines)
    divergences = divergences_of(request, found)
    expires = is_cut or bool(single)
    listed = ["single dates"] * bool(single) + ["years"] * is_cut
    about = commented(remarks(request, divergences, expiry(request, listed)))
    name = request.name
    service = f"[Unit]\nDescription={name}\n\n[Service]\nType=oneshot\nExecStart=/bin/sh -c {command}\n"
    calendar = "".join(f"OnCalendar={text}\n" for text in texts)
    if single:
        calendar += commented(expiry(request, ["single dates"])) + "".join(
            f"OnCalendar={_in_utc(at)}\n" for at in single
        )
    timer = (
        f"[Unit]\nDescription=When {name} is due\n\n[Timer]\n{calendar}AccuracySec=1s\nPersistent=true\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return Draft({f"{name}.timer": about + timer, f"{name}.service": about + service}, divergences, expires)


def _calendar(request: Request, lines: list[Line]) -> tuple[list[str], list[int], list[tuple[int, How]]]:
    """Calendar expressions, single times beside them, and what is different all the same."""
    texts, found = _tried(request, lines)
    if not found:
        return texts, [], found
    in_utc = on_clocks_of(lines, zone("UTC"), request.start)
    if in_utc is not None and in_utc != lines:
        texts_in_utc, found_in_utc = _tried(request, in_utc)
        if not found_in_utc:
            return texts_in_utc, [], found_in_utc
    single = [at for at, how in found if how is How.MISSING]
    if not single or len(single) > _MOST_SINGLE:
        return texts, [], found
    texts, found = _tried(request, lines, single)
    return texts, single, found


def _tried(request: Request, lines: list[Line], single: Sequence[int] = ()) -> tuple[list[str], list[tuple[int, How]]]:
    """Lines as calendar expressions, and what is different if systemd reads them."""
    plain = [attrs.evolve(line, days=piece) for line in lines for piece in without_last_workday(line.days)]
    written = dict.fromkeys((on_calendar_text(line), line.zone) for line in plain)
    walls = tuple(as_systemd_does(text, named) for text, named in written)
    more = Instants(tuple(single))
    again = second_passes(walls, [more], request.start, request.end)
    beside = tuple(each for each in (more, again) if each.instants)
    found = differences(request.schedule.rule, Simulated((*walls, *beside)), request.start, request.end)
    return [f"{text} {named}" for text, named in written], found


def as_systemd_does(text: str, named: Zone) -> Walls:
    """What systemd reads in a calendar expression."""
    return Walls(parse_on_calendar(text), named, RFC5545)


def _in_utc(at: int) -> str:
    return f"{moments.instant(at):%Y-%m-%d %H:%M:%S} UTC"


def _within_years(lines: list[Line], request: Request) -> tuple[list[Line], bool]:
    """Lines that name years, but only those that are looked at; and whether there are later ones."""
    first, last = moments.instant(request.start).year - 1, moments.instant(request.end).year + 1
    looked_at = bits(*range(first, last + 1))
    kept, is_cut = [], False
    for line in lines:
        years = line.days.years
        is_cut |= bool(years >> (last + 1))
        if not years:
            kept.append(line)
        elif years & looked_at:
            kept.append(attrs.evolve(line, days=attrs.evolve(line.days, years=years & looked_at)))
    return kept, is_cut


def on_calendar_text(line: Line) -> str:
    """A line as a calendar expression of lists, without its zone."""
    piece = line.days
    if piece.nearest:
        raise impossible("systemd does not know the workday nearest to a date", "Name the days otherwise.")
    weekdays, piece = _weekdays(piece), _without_nth(piece)
    date = f"{_list(piece.years, 0, 4)}-{_list(piece.months, ALL_MONTHS)}"
    date += f"~{_list(piece.from_end, 0)}" if piece.from_end else f"-{_list(piece.numbers, ALL_NUMBERS)}"
    time = f"{_list(line.hours, _ALL_HOURS)}:{_list(line.minutes, _ALL_MINUTES)}:{_list(line.seconds, _ALL_MINUTES)}"
    return f"{weekdays}{date} {time}"


def _weekdays(piece: Piece) -> str:
    if piece.has_any_weekday:
        return ""
    named = [WEEKDAYS[day][:3].capitalize() for day in _FROM_MONDAY if piece.weekdays >> day & 1]
    return ",".join(named) + " "


def _without_nth(piece: Piece) -> Piece:
    """The n-th of a weekday as that weekday in a week of the month."""
    if not piece.nth:
        return piece
    if not piece.has_any_date:
        raise impossible("a numbered day that is also the n-th of a weekday has no form there", "Name one of the two.")
    if piece.nth == -1:
        return attrs.evolve(piece, from_end=bits(*range(1, 8)))
    return attrs.evolve(piece, numbers=bits(*range(piece.nth * 7 - 6, min(piece.nth * 7, 31) + 1)))


def _list(mask: int, every: int, width: int = 2) -> str:
    return "*" if mask == every else ",".join(f"{number:0{width}}" for number in members(mask))
