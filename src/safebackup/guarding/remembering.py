"""What a start, a refusal and an end change in the state; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.guarding.absences import absences, as_finding, without_dead_run
from safebackup.guarding.deciding import Reason, Start
from safebackup.guarding.states import Change, Override, Refusal, Run, State, Status

_TOLD_SINGLY = 3


def fresh(start: Start, watched_from: int) -> State:
    """The state of a guard that has seen nothing yet."""
    return State(
        job=start.job,
        schedule=start.schedule.to_dict(),
        schedule_text=str(start.schedule),
        grace=start.grace,
        watched_from=watched_from,
    )


def refusal_of(start: Start, reason: Reason) -> Refusal:
    """A refusal as it is recorded."""
    return Refusal(
        at=start.now,
        code=reason.code,
        text=reason.text,
        clocks=reason.clocks,
        due=reason.due,
        host=start.host_name,
        host_zone=start.host.name,
        user=start.user,
    )


def with_refusal(state: State | None, start: Start, refusal: Refusal) -> State:
    """The state with one more refusal; nothing else of a start that was refused is taken over."""
    if state is None:
        # What this start was taken for is the first run that is missing.
        state = fresh(start, start.now if refusal.due is None else min(refusal.due, start.now))
    return attrs.evolve(state, refusals=(*state.refusals, refusal))


def brought_up_to_date(state: State, start: Start, since: int) -> tuple[State, list[Finding]]:
    """The state at a start that is permitted, and what has happened since the run before; `since` is its occurrence."""
    state = without_dead_run(state, start.now, "its process was gone when the next run was started")
    same_words = str(start.schedule) == state.schedule_text
    findings = _silence(state, start, since) if same_words else []
    record = start.schedule.to_dict()
    if not same_words or _zone_data(record).get("sha256") != _zone_data(state.schedule).get("sha256"):
        before, after = _described(state.schedule_text, state.schedule), _described(str(start.schedule), record)
        change = Change(at=start.now, before=before, after=after, user=start.user, host=start.host_name)
        state = attrs.evolve(state, changes=(*state.changes, change))
        findings.append(_changed(before, after, Severity.INFO if same_words else Severity.WARNING))
    return attrs.evolve(
        state,
        job=start.job,
        schedule=record,
        schedule_text=str(start.schedule),
        grace=start.grace,
        watched_from=state.watched_from if same_words else since,
    ), findings


def _silence(state: State, start: Start, since: int) -> list[Finding]:
    """The runs that are missing between the one before and this one; those that failed have said so themselves."""
    dues = [run.due for run in state.runs if run.due is not None]
    missing = absences(state, start.schedule, max([state.watched_from, *dues[-1:]]), since - 1)
    told = [
        attrs.evolve(as_finding(one, start.schedule, start.host), severity=Severity.WARNING)
        for one in missing
        if one.code is not Code.RUN_FAILED
    ]
    if len(told) <= _TOLD_SINGLY:
        return told
    return [attrs.evolve(told[0], what=f"{len(told)} runs before this one are missing, the first: {told[0].what}")]


def _changed(before: str, after: str, severity: Severity) -> Finding:
    return Finding(
        code=Code.GUARD_SCHEDULE_CHANGED,
        severity=severity,
        what=f"the schedule was {before} and is {after} from now on",
        action="Nothing, if you changed it. If two scripts share this state, give each its own.",
    )


def _zone_data(record: Mapping[str, object]) -> Mapping[str, object]:
    facts = record.get("zone")
    return facts if isinstance(facts, Mapping) else {}


def _described(text: str, record: Mapping[str, object]) -> str:
    """A schedule in its own words, with the zone data that it was computed from."""
    facts = _zone_data(record)
    return f"{text} (zone data {facts.get('release') or 'unnamed'}, {str(facts.get('sha256'))[:12]})"


def with_overrides(state: State, start: Start, reason: str, overridden: Iterable[Reason]) -> State:
    """The state with what was overridden; one who vouches for the clock takes back what a wrong one has written."""
    for each in overridden:
        entry = Override(
            at=start.now, reason=reason, user=start.user, host=start.host_name, code=each.code, text=each.text
        )
        state = attrs.evolve(state, overrides=(*state.overrides, entry))
        if each.code is Code.CLOCK_NOT_SANE:
            runs = tuple(
                attrs.evolve(run, status=Status.VOID) if run.started > start.now else run for run in state.runs
            )
            watched_from = min(state.watched_from, start.now)
            state = attrs.evolve(state, runs=runs, newest_clock=None, watched_from=watched_from)
    return state


def with_end(state: State, run: Run, *, seen: int) -> State:
    """The state with a run that has ended; `seen` is the newest time that is to be believed."""
    active = None if is_same(state.active, run) else state.active
    newest = seen if state.newest_clock is None else max(state.newest_clock, seen)
    ended = attrs.evolve(run, process=None)
    return attrs.evolve(state, active=active, runs=(*state.runs, ended), newest_clock=newest)


def is_same(active: Run | None, run: Run) -> bool:
    """Whether the active run that a state names is this one."""
    if active is None or active.process is None or run.process is None:
        return False
    mine, its = run.process, active.process
    return (active.started, its.host, its.boot, its.pid, its.begun) == (
        run.started,
        mine.host,
        mine.boot,
        mine.pid,
        mine.begun,
    )
