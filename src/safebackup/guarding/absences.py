"""Which occurrences have no run that succeeded, and what is known of each; pure."""

from __future__ import annotations

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.guarding import telling
from safebackup.guarding.deciding import occurrence_before
from safebackup.guarding.hosts import HostZone
from safebackup.guarding.states import Run, State, Status
from safebackup.schedule import Occurrence, Schedule, moments

MOST = 1000  # of a longer silence the latest so many are named


@attrs.frozen(kw_only=True)
class Absence:
    """An occurrence without a success: never started, failed, or never finished."""

    code: Code
    occurrence: Occurrence
    why: str

    @property
    def due(self) -> int:
        """The instant, as seconds since 1970."""
        return int(self.occurrence.instant.timestamp())


def without_dead_run(state: State, now: int, why: str) -> State:
    """The state once its active run is known to be gone."""
    if state.active is None:
        return state
    ended = attrs.evolve(state.active, status=Status.UNFINISHED, finished=now, why=why, process=None)
    return attrs.evolve(state, active=None, runs=(*state.runs, ended))


def absences(state: State, schedule: Schedule, first: int, last: int) -> list[Absence]:
    """What was due from `first` to `last` and has not succeeded, in order; the latest thousand."""
    found: list[Absence] = []
    occurrence = occurrence_before(schedule, last)
    while occurrence is not None and len(found) < MOST:
        due = int(occurrence.instant.timestamp())
        if due < first:
            break
        if state.success_of(occurrence.run_id) is None:
            found.append(_absence(state, occurrence, due))
        occurrence = occurrence_before(schedule, due - 1)
    return found[::-1]


def _absence(state: State, occurrence: Occurrence, due: int) -> Absence:
    attempt = next((run for run in reversed(state.runs) if run.run_id == occurrence.run_id), None)
    if attempt is not None and attempt.status in (Status.FAILED, Status.UNFINISHED):
        code = Code.RUN_FAILED if attempt.status is Status.FAILED else Code.RUN_UNFINISHED
        return Absence(code=code, occurrence=occurrence, why=_how_it_went(attempt))
    refusal = next((each for each in reversed(state.refusals) if each.due == due), None)
    why = "it was never started"
    if refusal is not None:
        why = f"a start at {moments.write_instant(refusal.at)} was refused: {refusal.text} [{refusal.code}]"
    return Absence(code=Code.RUN_MISSING, occurrence=occurrence, why=why)


def _how_it_went(run: Run) -> str:
    started = f"started {moments.write_instant(run.started)} on {run.host}"
    if run.status is Status.FAILED:
        return f"{started}, it failed: {run.why}"
    return f"{started}, it never finished: {run.why}"


def as_finding(absence: Absence, schedule: Schedule, host: HostZone) -> Finding:
    """An absence for people."""
    what = {Code.RUN_FAILED: "failed", Code.RUN_UNFINISHED: "unfinished"}.get(absence.code, "missing")
    return Finding(
        code=absence.code,
        severity=Severity.ERROR,
        what=f"{what}: due {telling.on_all_clocks(absence.due, schedule, host)}; {absence.why}",
        action="Read what the script said; run it again with an override that names a reason."
        if absence.code is Code.RUN_FAILED
        else "Look what should have started it, and the host's log of that time.",
        subject=absence.occurrence.run_id,
    )
