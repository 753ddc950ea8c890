"""A zone as calendars carry it along: each change of its clocks over a span, singly."""

from __future__ import annotations

from safebackup.schedule import moments
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import Zone

LOCAL = "%Y%m%dT%H%M%S"


def vtimezone(named: Zone, start: int, end: int) -> list[str]:
    """The lines of a VTIMEZONE that is right from `start` to before `end`."""
    table = turns_of(named)
    first = table.offset_at(start)
    lines = ["BEGIN:VTIMEZONE", f"TZID:{named.key}", *_observance("STANDARD", [0], first, first)]
    changes: dict[tuple[int, int], list[int]] = {}
    for turn in table.between(start + 1, end):
        changes.setdefault((turn.before, turn.after), []).append(turn.at + turn.before)
    for (before, after), walls in changes.items():
        lines += _observance("DAYLIGHT" if after > before else "STANDARD", walls, before, after)
    return [*lines, "END:VTIMEZONE"]


def _observance(kind: str, walls: list[int], before: int, after: int) -> list[str]:
    """What begins at some wall times, of the clocks before."""
    written = [f"{moments.wall_time(wall):{LOCAL}}" for wall in walls]
    return [
        f"BEGIN:{kind}",
        f"DTSTART:{written[0]}",
        *(f"RDATE:{at}" for at in written[1:]),
        f"TZOFFSETFROM:{_offset(before)}",
        f"TZOFFSETTO:{_offset(after)}",
        f"END:{kind}",
    ]


def _offset(seconds: int) -> str:
    sign = "-" if seconds < 0 else "+"
    minutes, rest = divmod(abs(seconds), 60)
    return f"{sign}{minutes // 60:02}{minutes % 60:02}" + (f"{rest:02}" if rest else "")
