"""Preview: the next runs side by side on the clocks of several zones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from safebackup.schedule import asking, moments
from safebackup.schedule.asking import Occurrence
from safebackup.schedule.civil import bad
from safebackup.schedule.rules import Why
from safebackup.schedule.turns import LAST, turns_of
from safebackup.schedule.wording import all_of
from safebackup.schedule.zones import Zone, ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_MOST = 10_000


@attrs.frozen(kw_only=True)
class Cell:
    """One run on the clocks of one zone.

    `days` is how many days its date is ahead of the date in the schedule's zone. `changed` is by how much the clocks of
    this zone were set since the run before.
    """

    zone: str
    wall: datetime
    offset: timedelta
    days: int
    changed: timedelta

    def __str__(self) -> str:
        return f"{self.wall:%a %Y-%m-%d %H:%M:%S} {moments.write_offset(_seconds(self.offset))}"

    @property
    def marks(self) -> str:
        """What is marked beside it: the clocks changed, another day."""
        return ("~" if self.changed else "") + (f"{self.days:+}d" if self.days else "")


@attrs.frozen(kw_only=True)
class Row:
    """One run: its cells in the order of the columns, and whether it is the first of its day in the schedule's zone."""

    run: Occurrence
    cells: tuple[Cell, ...]
    is_new_day: bool

    @property
    def note(self) -> str:
        """What is special about the run; empty for a regular one."""
        if self.run.why in (Why.REGULAR, Why.ELAPSED) and not self.run.merged:
            return ""
        merged = [f"{wall:%H:%M:%S}" for wall in self.run.merged]
        said = [*merged[:3], f"{len(merged) - 3} more"] if len(merged) > 4 else merged
        together = f", together with {all_of(said)}" if said else ""
        return f"{self.run.why}: written {self.run.wall:%H:%M:%S}{together}"


@attrs.frozen(kw_only=True)
class Preview:
    """The next runs, one row each; `str()` is an aligned table."""

    zones: tuple[str, ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        if not self.rows:
            return "It is never due again."
        heads = ["", *self.zones]
        is_daily = all(row.is_new_day for row in self.rows)
        lines = [
            [_left(row, at, is_daily), *(_cell(cell) for cell in row.cells)] for at, row in enumerate(self.rows, 1)
        ]
        widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]
        notes = ["", *(row.note for row in self.rows)]
        table = [
            "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=True)), note]).rstrip()
            for line, note in zip([heads, *lines], notes, strict=True)
        ]
        return "\n".join([*table, *self._legend()])

    def _legend(self) -> list[str]:
        cells = [cell for row in self.rows for cell in row.cells]
        said = []
        if len({row.is_new_day for row in self.rows}) > 1:
            said.append("+ first run of a day")
        if any(cell.changed for cell in cells):
            said.append("~ the clocks were changed since the run before")
        if any(cell.days for cell in cells):
            said.append(f"-1d, +1d the day before, the day after that in {self.zones[0]}")
        return ["; ".join(said)] if said else []


def preview(schedule: Schedule, n: int, *, after: datetime, zones: Iterable[ZoneLike]) -> Preview:
    """The next `n` runs: columns for the schedule's zone, for `zones`, and for UTC."""
    if type(n) is not int or not 1 <= n <= _MOST:
        raise bad(f"n={n!r} is not a number of rows from 1 to {_MOST}", "For more write schedule.occurrences(…).")
    if isinstance(zones, str):
        raise bad(f"zones={zones!r} is one name and not a list", f"Write zones=[{zones!r}].")
    start = moments.floor(after, "after", schedule.zone)
    columns = {named.key: named for named in (schedule.zone, *map(zone, zones), zone("UTC"))}
    earlier = schedule.rule.at_or_before(start)
    day = None if earlier is None else _day(schedule, earlier)
    rows: list[Row] = []
    for second in islice(asking.seconds_between(schedule, start + 1, LAST), n):
        due = schedule.rule.due_at(second)
        assert due is not None
        cells = _cells(tuple(columns.values()), second, second if earlier is None else earlier)
        is_new = day != _day(schedule, second)
        rows.append(Row(run=asking.as_occurrence(due, schedule.zone), cells=cells, is_new_day=is_new))
        earlier, day = second, _day(schedule, second)
    return Preview(zones=tuple(columns), rows=tuple(rows))


def _day(schedule: Schedule, second: int) -> date:
    return moments.wall_time(second + turns_of(schedule.zone).offset_at(second)).date()


def _cells(columns: tuple[Zone, ...], second: int, earlier: int) -> tuple[Cell, ...]:
    own = moments.wall_time(second + turns_of(columns[0]).offset_at(second)).date()
    cells = []
    for named in columns:
        offset = turns_of(named).offset_at(second)
        wall = moments.wall_time(second + offset)
        cells.append(
            Cell(
                zone=named.key,
                wall=wall,
                offset=timedelta(seconds=offset),
                days=(wall.date() - own).days,
                changed=timedelta(seconds=offset - turns_of(named).offset_at(earlier)),
            )
        )
    return tuple(cells)


def _left(row: Row, number: int, is_daily: bool) -> str:
    return f"{number}{'+' if row.is_new_day and not is_daily else ''}"


def _cell(cell: Cell) -> str:
    return f"{cell} {cell.marks}".rstrip()


def _seconds(offset: timedelta) -> int:
    return offset // timedelta(seconds=1)
