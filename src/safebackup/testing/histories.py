"""A strategy for what becomes of the runs of a schedule: dropped, delayed, doubled, or told by a clock that was set."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from itertools import islice
from typing import Literal, TypeAlias, get_args

import attrs
from hypothesis import assume
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant
from safebackup.schedule import Schedule, moments
from safebackup.schedule.turns import LAST
from safebackup.testing.clocks import SINCE, UNTIL, changes_of, span
from safebackup.testing.strategies import instants, near_transitions

Fault: TypeAlias = Literal["drop", "delay", "duplicate", "clock-step"]
_HOUR = 3600


@attrs.frozen
class Start:
    """One start of a job: for which run, when in truth, and when by the clock of its host."""

    due: Instant
    started: Instant
    recorded: Instant


@attrs.frozen
class RunHistory:
    """What became of some runs of a schedule that follow each other.

    `due` are all of them, `starts` what was started, in the order of truth, and `dropped` what never was. `end` is the
    moment from which it is told, later than all of them.
    """

    schedule: Schedule
    due: tuple[Instant, ...]
    starts: tuple[Start, ...]
    dropped: tuple[Instant, ...]
    end: Instant

    @property
    def is_healthy(self) -> bool:
        """Whether each run was started once, when it was due, and the clock said so."""
        return self.starts == tuple(Start(due, due, due) for due in self.due)


@st.composite
def run_histories(
    draw: st.DrawFn, schedule: Schedule, *, runs: int = 8, faults: Collection[Fault] = get_args(Fault)
) -> RunHistory:
    """What can become of up to so many `runs` of a schedule, mostly around a change of the clocks.

    A run is dropped, starts up to two hours late, or starts a second time; and once the clock of the host may be set,
    by some seconds or by whole hours. `faults` says which of these may happen; with none every run is as it should be.
    """
    unknown = set(faults) - set(get_args(Fault))
    if unknown or runs < 1:
        raise ConfigurationError(
            f"faults={sorted(faults)}, runs={runs}",
            code=Code.BAD_ARGUMENT,
            hint=f"Choose among {', '.join(get_args(Fault))}, and one run or more.",
        )
    has_changes = bool(changes_of(schedule.zone, *span(SINCE, UNTIL)))
    begin = draw(near_transitions(schedule.zone) if has_changes else instants())
    due = tuple(islice(schedule.between(begin, moments.instant(LAST)), runs))
    assume(due)
    fates = [fate for fate in ("drop", "delay", "duplicate") if fate in faults]
    started: list[tuple[Instant, Instant]] = []
    dropped = []
    for at in due:
        fate = draw(st.sampled_from(["started", *fates]))
        late = draw(_late()) if fate in ("delay", "duplicate") else timedelta(0)
        if fate == "drop":
            dropped.append(at)
        else:
            started += [(at, at)] if fate == "duplicate" else []
            started.append((at, at + late))
    started.sort(key=lambda pair: (pair[1], pair[0]))
    step_from, step = draw(_step(len(started))) if "clock-step" in faults else (0, timedelta(0))
    starts = tuple(
        Start(at, true, true + step if number >= step_from else true) for number, (at, true) in enumerate(started)
    )
    end = max([due[-1], *(true for _, true in started)]) + timedelta(seconds=1)
    return RunHistory(schedule, due, starts, tuple(dropped), end)


def _late() -> st.SearchStrategy[timedelta]:
    return st.integers(1, 2 * _HOUR).map(lambda seconds: timedelta(seconds=seconds))


def _step(starts: int) -> st.SearchStrategy[tuple[int, timedelta]]:
    """From which start on the clock is wrong, and by how much: hours are what a wrong zone looks like."""
    whole = st.integers(-12, 14).map(lambda hours: hours * _HOUR)
    away = st.one_of(st.just(0), st.integers(-300, 300), whole)
    return st.tuples(st.integers(0, starts), away.map(lambda seconds: timedelta(seconds=seconds)))
