"""Which occurrences have no run that succeeded, and what is known of each; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Finding, Severity
from safebackup.guarding import telling
from safebackup.guarding.deciding import occurrence_before
from safebackup.guarding.hosts import HostZone
from safebackup.guarding.states import Run, State, Status, damaged
from safebackup.schedule import Occurrence, Schedule, moments
from safebackup.schedule.recording import from_pickle

MOST = 1000  # of a longer silence the latest so many are named


@attrs.frozen(kw_only=True)
class Absence:
    """An occurrence of a schedule without a success: never started, failed, or never finished."""

    code: Code
    schedule: Schedule
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
    """What was due from `first` to `last` and has not succeeded, in order; the latest thousand.

    Before `schedule` the earlier ones of the state held, each with the zone data that it was recorded with.
    """
    done = {run.run_id for run in state.runs if run.status is Status.OK}
    found: list[Absence] = []
    for held, begin, end in _held(state, schedule, first, last):
        occurrence = occurrence_before(held, end)
        while occurrence is not None and len(found) < MOST:
            due = int(occurrence.instant.timestamp())
            if due < begin:
                break
            if occurrence.run_id not in done:
                found.append(_absence(state, held, occurrence, due))
            occurrence = occurrence_before(held, due - 1)
    return found[::-1]


def recorded_schedule(record: Mapping[str, object]) -> Schedule:
    """A schedule of the state, with the zone data that it was recorded with.

    Raises:
        IntegrityError: it is damaged.
        ConfigurationError: a later release wrote it.
    """
    try:
        return from_pickle(record)
    except ConfigurationError as error:
        if error.code is Code.SCHEDULE_TOO_NEW:
            raise
        raise damaged("a schedule in the guard's state", error.message) from error


def _held(state: State, schedule: Schedule, first: int, last: int) -> Iterator[tuple[Schedule, int, int]]:
    """Which schedule held from when to when between two instants, the latest first."""
    for each in reversed(state.earlier):
        yield schedule, max(first, each.until), last
        if each.until <= first:
            return
        schedule, last = recorded_schedule(each.schedule), min(last, each.until - 1)
    yield schedule, first, last


def _absence(state: State, schedule: Schedule, occurrence: Occurrence, due: int) -> Absence:
    attempt = next((run for run in reversed(state.runs) if run.run_id == occurrence.run_id), None)
    if attempt is not None and attempt.status in (Status.FAILED, Status.UNFINISHED):
        code = Code.RUN_FAILED if attempt.status is Status.FAILED else Code.RUN_UNFINISHED
        return Absence(code=code, schedule=schedule, occurrence=occurrence, why=_how_it_went(attempt))
    refusal = next((each for each in reversed(state.refusals) if each.due == due), None)
    why = "it was never started"
    if refusal is not None:
        why = f"a start at {moments.write_instant(refusal.at)} was refused: {refusal.text} [{refusal.code}]"
    return Absence(code=Code.RUN_MISSING, schedule=schedule, occurrence=occurrence, why=why)


def _how_it_went(run: Run) -> str:
    started = f"started {moments.write_instant(run.started)} on {run.host}"
    if run.status is Status.FAILED:
        return f"{started}, it failed: {run.why}"
    return f"{started}, it never finished: {run.why}"


def as_finding(absence: Absence, host: HostZone) -> Finding:
    """An absence for people."""
    what = {Code.RUN_FAILED: "failed", Code.RUN_UNFINISHED: "unfinished"}.get(absence.code, "missing")
    return Finding(
        code=absence.code,
        severity=Severity.ERROR,
        what=f"{what}: due {telling.on_all_clocks(absence.due, absence.schedule, host)}; {absence.why}",
        action="Read what the script said; run it again with an override that names a reason."
        if absence.code is Code.RUN_FAILED
        else "Look what should have started it, and the host's log of that time.",
        subject=absence.occurrence.run_id,
    )
