"""What changes of the clocks do to a schedule, as findings with their dates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.schedule import moments, wording
from safebackup.schedule.cron import Cron
from safebackup.schedule.policies import Gap, Overlap
from safebackup.schedule.touches import Touch, touches
from safebackup.schedule.turns import DAY, Turn, turns_of
from safebackup.schedule.walls import Walls

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_SHOWN = 3
_ELSEWHERE = {
    Code.GAP: "Choose a time that the clocks never leave out.",
    Code.MIDNIGHT_GAP: "Choose a time away from midnight: Kubernetes, systemd and Quartz skip that whole day.",
    Code.GAP_CLASH: "If one run is enough that night, nothing; else choose times that the clocks never leave out.",
    Code.OVERLAP: "Choose a time that the clocks never repeat.",
    Code.WILDCARD_DST: "Write the times out in place of `*`, or say in_gap='after'.",
}


class _Noticed(NamedTuple):
    """One thing about one change of the clocks."""

    code: Code
    severity: Severity
    day: date
    what: str


def lint_turns(schedule: Schedule, start: int, end: int) -> Iterator[Finding]:
    """One finding for each kind of thing that happens, with the days on which it does."""
    noticed: dict[tuple[Code, Severity], list[_Noticed]] = {}
    for turn in turns_of(schedule.zone).between(start, end):
        for each in _of_turn(touches(schedule.rule, turn), turn):
            noticed.setdefault((each.code, each.severity), []).append(each)
    for (code, severity), found in noticed.items():
        days = list(dict.fromkeys(each.day for each in found))
        rest = [day.isoformat() for day in days[1:_SHOWN]]
        if len(days) > _SHOWN:
            rest.append(f"{len(days) - _SHOWN} more days up to {days[-1].isoformat()}")
        also = f"; so too on {wording.all_of(rest)}" if rest else ""
        yield Finding(
            code=code,
            severity=severity,
            what=f"{days[0].isoformat()} in {schedule.zone}: {found[0].what}{also}",
            action=_ELSEWHERE[code],
            subject=str(schedule),
        )


def _of_turn(touched: list[Touch], turn: Turn) -> Iterator[_Noticed]:
    by_walls: dict[Walls, list[Touch]] = {}
    for touch in touched:
        by_walls.setdefault(touch.walls, []).append(touch)
    for walls, group in by_walls.items():
        spacing = _spacing(walls, [touch.wall for touch in group])
        if spacing is not None and spacing <= abs(turn.after - turn.before):
            yield from _of_interval(walls, turn, spacing)
        else:
            yield from _of_fixed_times(walls, turn, group)


def _spacing(walls: Walls, written: list[int]) -> int | None:
    """The longest time on the wall between neighbours around what is touched; None if it has no neighbours."""
    before, after = walls.recurrence.at_or_before(written[0] - 1), walls.recurrence.at_or_after(written[-1] + 1)
    if before is None or after is None:
        return None
    return max(later - earlier for earlier, later in pairwise([before, *written, after]))


def _of_interval(walls: Walls, turn: Turn, spacing: int) -> Iterator[_Noticed]:
    """For what recurs within the stretch that is touched: whether real time passes without runs."""
    size = abs(turn.after - turn.before)
    # A refusing schedule would raise here, and has been checked when it was built.
    if walls.refuses:
        return
    at = walls.at_or_before(turn.at - size - 1)
    longest, begun = 0, 0
    while at is not None and at <= turn.at + size:
        later = walls.at_or_after(at + 1)
        if later is not None and later - at > longest:
            longest, begun = later - at, at
        at = later
    if longest > spacing:
        code = _code_of_gap(walls, turn, []) if turn.is_gap else Code.OVERLAP
        what = f"no run for {wording.how_long(longest)} from {moments.write_instant(begun)}, otherwise at most "
        yield _Noticed(code, Severity.WARNING, _day(turn), f"{what}{wording.how_long(spacing)}")


def _of_fixed_times(walls: Walls, turn: Turn, group: list[Touch]) -> Iterator[_Noticed]:
    runs = "; ".join(f"{moments.wall_time(touch.wall):%H:%M:%S} {touch.outcome}" for touch in group[:_SHOWN])
    more = f"; and {len(group) - _SHOWN} more times" if len(group) > _SHOWN else ""
    policy = walls.policy
    if turn.is_gap:
        is_lost = policy.in_gap in (Gap.SKIP, Gap.REFUSE)
        code = _code_of_gap(walls, turn, group)
        severity = Severity.WARNING if is_lost else Severity.INFO
        yield _Noticed(code, severity, _day(turn), f"the clocks leave out {_span(turn)}: {runs}{more}")
        yield from _clashes(walls, turn, group)
        return
    is_loud = policy.in_overlap in (Overlap.BOTH, Overlap.REFUSE) and not _is_wild(walls)
    severity = Severity.WARNING if is_loud else Severity.INFO
    yield _Noticed(Code.OVERLAP, severity, _day(turn), f"the clocks repeat {_span(turn)}: {runs}{more}")


def _code_of_gap(walls: Walls, turn: Turn, group: list[Touch]) -> Code:
    if walls.policy.in_gap is Gap.SKIP and _is_wild(walls):
        return Code.WILDCARD_DST
    low = turn.at + turn.before
    midnight = low + -low % DAY
    return Code.MIDNIGHT_GAP if any(touch.wall >= midnight for touch in group) else Code.GAP


def _clashes(walls: Walls, turn: Turn, group: list[Touch]) -> Iterator[_Noticed]:
    """Written times of which fewer runs come than there are times."""
    if walls.refuses:
        return
    instants = {instant for touch in group for instant in touch.instants}
    for instant in sorted(instants):
        due = walls.due_at(instant)
        if due is not None and due.merged:
            written = [f"{moments.wall_time(wall):%H:%M:%S}" for wall in sorted((due.wall, *due.merged))]
            shown = [*written[:_SHOWN], f"{len(written) - _SHOWN} more"] if len(written) > _SHOWN + 1 else written
            at = moments.write_in_zone(instant, turn.after)
            yield _Noticed(Code.GAP_CLASH, Severity.INFO, _day(turn), f"one run, at {at}, for {wording.all_of(shown)}")


def _is_wild(walls: Walls) -> bool:
    return isinstance(walls.recurrence, Cron) and walls.recurrence.is_wild


def _day(turn: Turn) -> date:
    return moments.wall_time(min(turn.at + turn.before, turn.at + turn.after)).date()


def _span(turn: Turn) -> str:
    low, high = sorted((turn.at + turn.before, turn.at + turn.after))
    return f"{moments.wall_time(low):%H:%M:%S} to {moments.wall_time(high):%H:%M:%S}"
