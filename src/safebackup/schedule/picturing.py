"""A picture of a year: the time of day of each run against the day, as SVG, in which changes of the clocks show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from safebackup.schedule import moments, wording
from safebackup.schedule.civil import bad
from safebackup.schedule.days import ORDINAL
from safebackup.schedule.rules import Due, Why
from safebackup.schedule.turns import DAY, Turn, TurnTable, turns_of
from safebackup.schedule.windows import Window
from safebackup.schedule.zones import ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_CELL = 300  # seconds of a day that share one line
_LINES = DAY // _CELL
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 64, 16, 30
_WIDE, _HIGH = 2, 2  # of a day, of a line
_MOST_ODD = 200
_LABEL = 200  # how wide the words at a change of the clocks are
_STYLE = (
    "svg{color-scheme:light dark;font:12px system-ui,sans-serif}"
    ".paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d1d9e0}.closed{fill:#f0d9d9}"
    ".runs{stroke:#0550ae;fill:none;stroke-width:2}.turn{stroke:#bc4c00;stroke-dasharray:4 3}.turned{fill:#bc4c00}"
    ".odd{fill:none;stroke:#bc4c00;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}"
    ".grid{stroke:#3d444d}.closed{fill:#4a2426}.runs{stroke:#79b8ff}.turn{stroke:#ffa657}.turned{fill:#ffa657}"
    ".odd{stroke:#ffa657}}"
)


class _Sheet(NamedTuple):
    """What is drawn: which days, and on whose clock."""

    schedule: Schedule
    clock: TurnTable
    name: str
    first: int  # days since 1970
    days: int
    start: int
    end: int

    def at(self, instant: int) -> tuple[int, int]:
        """The day of the sheet and the second of that day, on the clock."""
        day, second = divmod(instant + self.clock.offset_at(instant), DAY)
        return day - self.first, second


def picture(schedule: Schedule, *, year: int, tz: ZoneLike | None) -> str:
    """Draw the runs of a year on the clock of the schedule's zone, or of another."""
    if type(year) is not int or not 3 <= year <= 9997:
        raise bad(f"year={year!r} is not a year from 3 to 9997", "Write it in numbers: year=2027.")
    shown = schedule.zone if tz is None else zone(tz)
    first, last = date(year, 1, 1), date(year + 1, 1, 1)
    start, end = (moments.first_second(day, shown) for day in (first, last))
    days = (last - first).days
    sheet = _Sheet(schedule, turns_of(shown), shown.key, first.toordinal() - ORDINAL, days, start, end)
    cells, odd = _runs(sheet)
    turns = turns_of(schedule.zone).between(start, end)
    title = f"{year} on the clock of {shown.key}: {schedule}"
    width, height = _LEFT + days * _WIDE + _RIGHT, _TOP + _LINES * _HIGH + _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(_description(sheet, turns, cells))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text class="ink" x="{_LEFT}" y="18">{escape(_shortened(title, days * _WIDE // 6))}</text>',
        *_closed(sheet),
        *_grid(sheet),
        *_turn_lines(sheet, turns),
        f'<path class="runs" d="{_path(cells)}"/>',
        *_odd_marks(sheet, odd),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _runs(sheet: _Sheet) -> tuple[set[tuple[int, int]], list[Due]]:
    """The cells (line, day) that hold runs, and runs that a change of the clocks moved or repeated."""
    rule = sheet.schedule.rule
    cells: set[tuple[int, int]] = set()
    odd: list[Due] = []
    at = rule.at_or_after(sheet.start)
    while at is not None and at < sheet.end:
        day, second = sheet.at(at)
        cell = (second // _CELL, day)
        if cell not in cells:
            cells.add(cell)
            due = rule.due_at(at)
            if due is not None and due.why not in (Why.REGULAR, Why.ELAPSED) and len(odd) < _MOST_ODD:
                odd.append(due)
        # On to the next cell; a change of the clocks within this one is never passed over.
        ahead = _CELL - second % _CELL
        at = rule.at_or_after(at + (ahead if sheet.at(at + ahead - 1)[1] // _CELL == second // _CELL else 1))
    return cells, odd


def _path(cells: set[tuple[int, int]]) -> str:
    """Lines along the days or along the hours, whichever are shorter to write."""
    along_days = _strokes(sorted(cells), horizontal=True)
    along_hours = _strokes(sorted((day, line) for line, day in cells), horizontal=False)
    return min(along_days, along_hours, key=len)


def _strokes(cells: list[tuple[int, int]], *, horizontal: bool) -> str:
    said = []
    for fixed, group in groupby(cells, key=lambda cell: cell[0]):
        pen = 0
        for begin, length in _stretches([moving for _, moving in group]):
            if horizontal:
                move = f"m{(begin - pen) * _WIDE} 0"
                if not pen:
                    move = f"M{_LEFT + begin * _WIDE} {_TOP + fixed * _HIGH + _HIGH // 2}"
                said.append(f"{move}h{length * _WIDE}")
            else:
                move = f"m0 {(begin - pen) * _HIGH}"
                if not pen:
                    move = f"M{_LEFT + fixed * _WIDE + _WIDE // 2} {_TOP + begin * _HIGH}"
                said.append(f"{move}v{length * _HIGH}")
            pen = begin + length
    return "".join(said)


def _stretches(numbers: list[int]) -> Iterator[tuple[int, int]]:
    begin = previous = numbers[0]
    for number in numbers[1:]:
        if number != previous + 1:
            yield begin, previous - begin + 1
            begin = number
        previous = number
    yield begin, previous - begin + 1


def _grid(sheet: _Sheet) -> list[str]:
    right, bottom = _LEFT + sheet.days * _WIDE, _TOP + _LINES * _HIGH
    said = []
    for hour in range(0, 25, 3):
        y = _TOP + hour * 3600 // _CELL * _HIGH
        said.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
        said.append(f'<text class="faint" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{hour:02}:00</text>')
    year = date.fromordinal(sheet.first + ORDINAL).year
    for month in range(1, 13):
        x = _LEFT + (date(year, month, 1).toordinal() - ORDINAL - sheet.first) * _WIDE
        said.append(f'<path class="grid" d="M{x} {_TOP}V{bottom + 6}"/>')
        said.append(f'<text class="faint" x="{x + 4}" y="{bottom + 18}">{wording.MONTHS[month][:3]}</text>')
    return said


def _turn_lines(sheet: _Sheet, turns: list[Turn]) -> list[str]:
    said: list[str] = []
    row, previous = 0, -_LABEL
    for turn in turns:
        x = _LEFT + sheet.at(turn.at)[0] * _WIDE + _WIDE // 2
        at = f"{moments.wall_time(turn.at + turn.before):%d %b}".lstrip("0")
        text = f"{at}: {moments.write_offset(turn.before)} to {moments.write_offset(turn.after)}"
        row = 1 - row if x - previous < _LABEL else 0
        previous = x
        anchor = "end" if x > _LEFT + sheet.days * _WIDE * 3 // 4 else "start"
        said.append(f'<path class="turn" d="M{x} {_TOP - 8}V{_TOP + _LINES * _HIGH}"/>')
        said.append(f'<text class="turned" x="{x}" y="{_TOP - 10 - 15 * row}" text-anchor="{anchor}">{text}</text>')
    return said


def _odd_marks(sheet: _Sheet, odd: list[Due]) -> list[str]:
    said = []
    own = turns_of(sheet.schedule.zone)
    for due in odd:
        day, second = sheet.at(due.instant)
        x, y = _LEFT + day * _WIDE + _WIDE // 2, _TOP + second // _CELL * _HIGH + _HIGH // 2
        at = moments.write_in_zone(due.instant, own.offset_at(due.instant))
        what = f"{at}: {due.why}, written {moments.wall_time(due.wall):%H:%M:%S}"
        said.append(f'<circle class="odd" cx="{x}" cy="{y}" r="5"><title>{what}</title></circle>')
    return said


def _closed(sheet: _Sheet) -> list[str]:
    """Forbidden hours, day by day on the clock that is shown, joined where they stay the same."""
    own, said = turns_of(sheet.schedule.zone), []
    for window in sheet.schedule.forbidden:
        shifts = []
        for day in range(sheet.days):
            noon = sheet.start + day * DAY + DAY // 2
            shifts.append(sheet.clock.offset_at(noon) - own.offset_at(noon))
        begin = 0
        for shift, group in groupby(shifts):
            length = len(list(group))
            said += [
                f'<rect class="closed" x="{_LEFT + begin * _WIDE}" y="{_TOP + low * _HIGH // _CELL}" '
                f'width="{length * _WIDE}" height="{(high - low) * _HIGH // _CELL}"/>'
                for low, high in _within_a_day(window, shift)
            ]
            begin += length
    return said


def _within_a_day(window: Window, shift: int) -> list[tuple[int, int]]:
    start, end = (window.start + shift) % DAY, (window.end + shift) % DAY
    return [(start, end)] if start < end else [(low, high) for low, high in ((0, end), (start, DAY)) if low < high]


def _description(sheet: _Sheet, turns: list[Turn], cells: set[tuple[int, int]]) -> str:
    days = len({day for _, day in cells})
    changed = [
        f"{moments.wall_time(turn.at + turn.before):%Y-%m-%d} from {moments.write_offset(turn.before)} "
        f"to {moments.write_offset(turn.after)}"
        for turn in turns[:12]
    ]
    clocks = f"change on {wording.all_of(changed)}" if changed else "do not change"
    return (
        f"{wording.sentence(wording.words_of(sheet.schedule.rule))} Runs on {days} of {sheet.days} days, each drawn at "
        f"its time of day in {sheet.name}, from 00:00 at the top to 24:00 at the bottom. "
        f"The clocks of {sheet.schedule.zone} {clocks}."
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
