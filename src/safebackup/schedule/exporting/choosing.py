"""Candidates: several ways in which a target could say a schedule, of which the one that is right is taken."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from safebackup.schedule.exporting.exports import How, Request
from safebackup.schedule.exporting.pieces import impossible
from safebackup.schedule.exporting.simulating import Simulated, differences


@attrs.frozen
class Candidate:
    """What would be written, line by line, what the target would make of it, and what to say about it."""

    texts: tuple[str, ...]
    simulated: Simulated
    tz: str
    remarks: tuple[str, ...] = ()


@attrs.frozen
class Choice:
    """The candidate that is exact, or else the one that differs least."""

    candidate: Candidate
    differences: tuple[tuple[int, How], ...]


def choose(request: Request, candidates: Iterable[Candidate]) -> Choice:
    """The first candidate that is exact, or else the one with the fewest differences.

    Raises:
        ConfigurationError: there is no candidate.
    """
    best: Choice | None = None
    for candidate in candidates:
        found = differences(request.schedule.rule, candidate.simulated, request.start, request.end)
        if best is None or len(found) < len(best.differences):
            best = Choice(candidate, tuple(found))
        if not found:
            break
    if best is None:
        raise impossible(
            f"{request.target} has no form for {request.schedule}",
            "Its days would have to be told on other clocks, where they fall on other days of the month.",
        )
    return best
