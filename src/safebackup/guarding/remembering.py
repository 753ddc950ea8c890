"""What a start, a refusal and an end change in the state; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.guarding.absences import absences, as_finding, recorded_schedule, without_dead_run
from safebackup.guarding.deciding import Reason, Start
from safebackup.guarding.states import Change, Earlier, Override, Refusal, Run, State, Status
from safebackup.schedule import Schedule

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
    # What the first start was taken for is the first run that is missing.
    watched_from = start.now if refusal.due is None else min(refusal.due, start.now)
    if state is None:
        state = fresh(start, watched_from)
    elif state.watched_from > start.now and refusal.code != Code.CLOCK_NOT_SANE:
        state = attrs.evolve(state, watched_from=watched_from)
    return attrs.evolve(state, refusals=(*state.refusals, refusal))


def brought_up_to_date(state: State, start: Start, since: int) -> tuple[State, list[Finding]]:
    """The state at a start that is permitted, and what has happened since the run before; `since` is its occurrence."""
    state = without_dead_run(state, start.now, "its process was gone when the next run was started")
    if state.watched_from > start.now:  # a start that was refused under a clock ahead has begun the state
        state = attrs.evolve(state, watched_from=since)
    dues = [run.due for run in state.runs if run.due is not None]
    first = dues[-1] if dues else state.watched_from
    state, changed = _under_its_schedule(state, start, first, since)
    told = [*_silence(state, start, first, since), *changed]
    return attrs.evolve(state, job=start.job, grace=start.grace), told


def _under_its_schedule(state: State, start: Start, first: int, since: int) -> tuple[State, list[Finding]]:
    """The state under the schedule of the start; the one before is kept beside it."""
    record, text = start.schedule.to_dict(), str(start.schedule)
    same_words = text == state.schedule_text
    if same_words and _zone_data(record).get("sha256") == _zone_data(state.schedule).get("sha256"):
        return attrs.evolve(state, schedule=record), []
    before, after = _described(state.schedule_text, state.schedule), _described(text, record)
    change = Change(at=start.now, before=before, after=after, user=start.user, host=start.host_name)
    told = f"the schedule was {before} and is {after} from now on"
    if not same_words:
        former = recorded_schedule(state.schedule)
        until = _likely_change(state, former, start.schedule, first, since)
        excused = absences(state, former, until, since - 1)
        if excused:
            told += (
                f"; {len(excused)} that {'was' if len(excused) == 1 else 'were'} due by the former since the last run "
                f"{'is' if len(excused) == 1 else 'are'} not expected any more, as if it had been changed before"
            )
        state = attrs.evolve(state, earlier=(*state.earlier, Earlier(schedule=state.schedule, until=until)))
    state = attrs.evolve(state, schedule=record, schedule_text=text, changes=(*state.changes, change))
    return state, [_changed(told, Severity.INFO if same_words else Severity.WARNING)]


def _likely_change(state: State, former: Schedule, later: Schedule, first: int, since: int) -> int:
    """When a schedule was changed between the occurrences of two runs, which nobody has seen.

    It is the moment that leaves the fewest runs missing, as so many are missing for certain; the last of these.
    """
    before = [one.due for one in absences(state, former, first + 1, since - 1)]
    after = [one.due for one in absences(state, later, first + 1, since - 1)]

    def missing(moment: int) -> int:
        return bisect_left(before, moment) + len(after) - bisect_left(after, moment)

    return min({first + 1, *(due + 1 for due in (*before, *after))}, key=lambda moment: (missing(moment), -moment))


def _silence(state: State, start: Start, first: int, since: int) -> list[Finding]:
    """The runs that are missing between the one before and this one; those that failed have said so themselves."""
    told = [
        attrs.evolve(as_finding(one, start.host), severity=Severity.WARNING)
        for one in absences(state, start.schedule, max(first, state.watched_from), since)
        if one.code is Code.RUN_UNFINISHED or (one.code is Code.RUN_MISSING and one.due < since)
    ]
    if len(told) <= _TOLD_SINGLY:
        return told
    return [attrs.evolve(told[0], what=f"{len(told)} runs before this one are missing, the first: {told[0].what}")]


def _changed(what: str, severity: Severity) -> Finding:
    return Finding(
        code=Code.GUARD_SCHEDULE_CHANGED,
        severity=severity,
        what=what,
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
            state = attrs.evolve(
                state,
                runs=runs,
                newest_clock=None,
                watched_from=min(state.watched_from, start.now),
                earlier=tuple(attrs.evolve(each, until=min(each.until, start.now)) for each in state.earlier),
                dropped_until=None if state.dropped_until is None else min(state.dropped_until, start.now),
            )
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
