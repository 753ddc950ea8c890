"""Turns: where the clocks of a zone change, and the calm stretches between; integers only.

Instants are whole seconds since 1970 in UTC; wall times are whole seconds since 1970-01-01T00:00:00 as a clock on the
wall counts them. In a calm stretch the two differ by a constant and each wall time occurs exactly once. Around each
change of the clocks lies a turbulent stretch that holds everything a gap or an overlap can touch.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import NamedTuple
from zoneinfo import ZoneInfo

from safebackup.schedule.zones import Zone

DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _midnight(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).days * DAY


# Everything lies between these: instants and their wall times stay inside the years that a date-time can hold.
FIRST = _midnight(2)
LAST = _midnight(9999) - 1

_BEFORE_ANY = _midnight(1800)  # the oldest change in zone data is of 1845
_CYCLE = 146_097 * DAY  # the Gregorian calendar repeats after 400 years, and with it the rule at the end of a zone file
_REPEATS = _midnight(2500)  # 400 years after the last change that any zone file lists singly
_MARGIN = 2 * DAY  # no change moves clocks by more than a day
_STRIDE = 10 * 366 * DAY


class Turn(NamedTuple):
    """A change of the clocks: the first instant of the new offset, and both offsets in seconds east of UTC."""

    at: int
    before: int
    after: int

    @property
    def is_gap(self) -> bool:
        """Whether wall times were left out; otherwise some were repeated."""
        return self.after > self.before


class Stretches(NamedTuple):
    """What is known of a zone: stretch `i` lasts from `instants[i]` to before `instants[i + 1]`.

    `walls` are the same borders on the wall; `offsets[i]` is None for a turbulent stretch, and `turns[i]` is then not
    empty.
    """

    instants: list[int]
    walls: list[int]
    offsets: list[int | None]
    turns: list[tuple[Turn, ...]]


class TurnTable:
    """The turns of one zone, found where they are asked for and kept.

    Finding those of a year takes a tenth of a millisecond. Safe to share between threads: what is known is replaced as
    a whole.
    """

    def __init__(self, tzinfo: ZoneInfo) -> None:
        self._tzinfo = tzinfo
        self._known = Stretches([0], [0], [], [])
        self._turns: list[Turn] = []
        self._cycle: list[Turn] = []
        self._lock = Lock()
        self._from = self._until = 0

    def at_instant(self, instant: int) -> tuple[Stretches, int]:
        """What is known, and the index of the stretch that holds an instant; beyond FIRST and LAST, theirs."""
        known = self._known
        index = bisect_right(known.instants, instant) - 1
        if 0 <= index < len(known.offsets):
            return known, index
        self._extend(instant)
        known = self._known
        return known, bisect_right(known.instants, min(max(instant, FIRST), LAST)) - 1

    def at_wall(self, wall: int) -> tuple[Stretches, int]:
        """What is known, and the index of the stretch that holds a wall time."""
        known = self._known
        index = bisect_right(known.walls, wall) - 1
        if 0 <= index < len(known.offsets):
            return known, index
        self._extend(wall - _MARGIN)
        self._extend(wall + _MARGIN)
        known = self._known
        return known, bisect_right(known.walls, min(max(wall, FIRST + _MARGIN), LAST)) - 1

    def offset_at(self, instant: int) -> int:
        """How many seconds the wall clocks are ahead of UTC at an instant."""
        known, index = self.at_instant(instant)
        offset = known.offsets[index]
        if offset is not None:
            return offset
        turns = known.turns[index]
        return next((turn.after for turn in reversed(turns) if turn.at <= instant), turns[0].before)

    def steady(self, instant: int) -> tuple[int, int, int]:
        """A span around an instant, from its begin to before its end, in which the offset does not change; and that."""
        known, index = self.at_instant(instant)
        begin, end, offset = known.instants[index], known.instants[index + 1], known.offsets[index]
        if offset is not None:
            return begin, end, offset
        for turn in known.turns[index]:
            if instant < turn.at:
                return begin, turn.at, turn.before
            begin = turn.at
        return begin, end, known.turns[index][-1].after

    def between(self, start: int, end: int) -> list[Turn]:
        """The turns at instants from `start` to before `end`."""
        for border in (start, end):
            self._extend(min(max(border, FIRST), LAST))
        return [turn for turn in self._turns if start <= turn.at < end]

    def _extend(self, instant: int) -> None:
        instant = min(max(instant, FIRST), LAST)
        with self._lock:
            begin, end, turns = self._from, self._until, self._turns
            if begin == end:
                begin = end = instant - instant % DAY
            stride = max(_STRIDE, end - begin)
            if instant - _MARGIN < begin:
                older = max(min(begin - stride, instant - _STRIDE), FIRST - _MARGIN)
                turns, begin = self._find(older, begin) + turns, older
            if instant + _MARGIN >= end:
                newer = min(max(end + stride, instant + _STRIDE), LAST + 2 * _MARGIN)
                turns, end = turns + self._find(end, newer), newer
            if turns is not self._turns or not self._known.offsets:
                self._known = _stretches(turns, begin + _MARGIN, end - _MARGIN, self._offset(begin))
                self._turns, self._from, self._until = turns, begin, end

    def _offset(self, instant: int) -> int:
        moment = (_EPOCH + timedelta(seconds=min(max(instant, FIRST), LAST))).astimezone(self._tzinfo)
        offset = moment.utcoffset()
        assert offset is not None
        return offset.days * DAY + offset.seconds

    def _find(self, start: int, end: int) -> list[Turn]:
        """The turns after `start` up to and with `end`, looking every two days: none were ever so near."""
        if end > _REPEATS:
            if not self._cycle:
                self._cycle = self._find(_REPEATS - _CYCLE, _REPEATS)
            earlier = self._find(start, _REPEATS) if start < _REPEATS else []
            return earlier + [turn for turn in self._repeated(end) if start < turn.at]
        found: list[Turn] = []
        start = max(start, min(_BEFORE_ANY, end))
        before = self._offset(start)
        while start < end:
            step = min(start + 2 * DAY, end)
            after = self._offset(step)
            if after != before:
                found.append(Turn(self._first_with(after, start, step), before, after))
            start, before = step, after
        return found

    def _repeated(self, end: int) -> list[Turn]:
        shifts = range(_CYCLE, end - _REPEATS + 2 * _CYCLE, _CYCLE)
        later = [Turn(turn.at + shift, turn.before, turn.after) for shift in shifts for turn in self._cycle]
        return [turn for turn in later if turn.at <= end]

    def _first_with(self, offset: int, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                high = middle
            else:
                low = middle
        return high


def _stretches(turns: list[Turn], start: int, end: int, offset: int) -> Stretches:
    """Cut the time from `start` to `end` into calm and turbulent stretches."""
    spans: list[tuple[int, int, list[Turn]]] = []
    for turn in turns:
        size = abs(turn.after - turn.before)
        low, high = (turn.at, turn.at + size) if turn.is_gap else (turn.at - size, turn.at + size)
        if spans and low < spans[-1][1]:
            spans[-1] = (min(low, spans[-1][0]), max(high, spans[-1][1]), [*spans[-1][2], turn])
        else:
            spans.append((low, high, [turn]))
    known = Stretches([], [], [], [])
    calm_from, calm_offset = start, offset
    for low, high, inside in spans:
        if high <= start or low >= end:  # beyond what is asked for; what comes after has another offset
            calm_offset = inside[-1].after if high <= start else calm_offset
            continue
        if low > calm_from:
            _add(known, calm_from, calm_offset, ())
        _add(known, low, None, tuple(inside), wall=low + inside[0].before)
        calm_from, calm_offset = high, inside[-1].after
    if calm_from < end:
        _add(known, calm_from, calm_offset, ())
    known.instants.append(max(end, calm_from))
    known.walls.append(max(end, calm_from) + calm_offset)
    assert all(early < late for early, late in pairwise(known.walls))
    return known


def _add(
    known: Stretches, instant: int, offset: int | None, turns: tuple[Turn, ...], *, wall: int | None = None
) -> None:
    known.instants.append(instant)
    known.walls.append(wall if wall is not None else instant + (offset or 0))
    known.offsets.append(offset)
    known.turns.append(turns)


@lru_cache(maxsize=1024)
def turns_of(zone: Zone) -> TurnTable:
    """The table of a zone, one for all schedules in it."""
    return TurnTable(zone.tzinfo)
