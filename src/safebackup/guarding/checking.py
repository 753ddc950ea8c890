"""What the state tells from outside: which runs are missing, whether or not anything still starts them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Finding, Severity
from safebackup.guarding import states, telling
from safebackup.guarding.absences import Absence, absences, as_finding, without_dead_run
from safebackup.guarding.deciding import AFTER_DEADLINE, CLOCK_TOLERANCE, is_presumed_active
from safebackup.guarding.hosts import HostZone, Life, host_zone_of, life_of, this_process
from safebackup.guarding.places import place_of
from safebackup.guarding.states import RUNS_MOST, Run, State, Status
from safebackup.instants import Instant
from safebackup.schedule import Occurrence, Schedule, moments
from safebackup.schedule.schedule import require_schedule

WITHIN = timedelta(days=7)


@attrs.frozen(kw_only=True)
class GuardReport:
    """What a guard's state tells: `missing` are the occurrences without a success, `findings` what is known of each.

    `since` is the first instant that was judged; the instants are None where nothing was ever written.
    """

    missing: tuple[Occurrence, ...] = ()
    running: bool = False
    since: Instant | None = None
    last_success: Instant | None = None
    next: Instant | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is missing and nothing is wrong."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)


_SYSTEM = SystemClock()


def check_guard(
    state: str | os.PathLike[str],
    *,
    schedule: Schedule | None = None,
    job: str | None = None,
    within: timedelta = WITHIN,
    host_zone: str | None = None,
    clock: Clock = _SYSTEM,
    storage_options: Mapping[str, object] | None = None,
) -> GuardReport:
    """Look into a guard's state for runs that are missing; starts nothing and writes nothing.

    Judged is all that was due in the time `within` before now, and since the last success where that is longer ago.
    `schedule` is the one that the state was written under unless another is given.

    Raises:
        ConfigurationError: the state belongs to another job, or an argument makes no sense.
        IntegrityError: the state is damaged.
        StorageError: it cannot be read.
    """
    reach = whole_seconds("within", within)
    if schedule is not None:
        require_schedule(schedule, "schedule")
    if job is not None:
        require_name(job)
    host = host_zone_of(host_zone)
    place = place_of(state, storage_options)
    data = place.read()
    if data is None:
        return GuardReport(findings=(_never_written(place.where),))
    found = states.read(data, place.where)
    if job is not None:
        require_job(found, job, place.where)
    now = clock.now() // 1_000_000_000
    return _judge(found, schedule, now, reach, host)


def whole_seconds(name: str, value: object, *, least: int = 0) -> int:
    """A duration in seconds.

    Raises:
        ConfigurationError: it is none, or shorter than `least`.
    """
    if not isinstance(value, timedelta) or value < timedelta(seconds=least):
        raise ConfigurationError(f"{name} is {value!r}, no duration", hint="Write datetime.timedelta(minutes=30).")
    return timedelta.__floordiv__(value, timedelta(seconds=1))  # not that of pendulum.Duration, which fails


def require_name(job: object) -> str:
    """`job`, if it can be the name of one.

    Raises:
        ConfigurationError: it is no text.
    """
    if not isinstance(job, str):
        raise ConfigurationError(f"job is {job!r}, no name", hint='Write job="orders", or leave it out.')
    return job


def require_job(state: State, job: str, where: str) -> None:
    """Raise unless the state belongs to that job, or to none yet."""
    if state.job not in ("", job):
        raise ConfigurationError(
            f"{where} is the state of the job {state.job!r}, " + (f"not of {job!r}" if job else "and no job is named"),
            code=Code.GUARD_STATE_FOREIGN,
            hint="Give each job a state of its own." if job else f"If it is this job: job={state.job!r}.",
        )


def _never_written(where: str) -> Finding:
    return Finding(
        code=Code.GUARD_STATE_MISSING,
        severity=Severity.ERROR,
        what=f"{where} was never written: no guarded run has been started, or the state was deleted",
        action="Check the path. If it is right, look at what should start the script.",
        subject=where,
    )


def _judge(state: State, given: Schedule | None, now: int, within: int, host: HostZone) -> GuardReport:
    schedule = Schedule.from_dict(state.schedule) if given is None else given
    findings = [*_clock(state, now, host, schedule), *_other_schedule(state, given)]
    active = state.active
    life = Life.DEAD
    if active is not None and active.process is not None:
        life = life_of(active.process, this_process())
    running = active is not None and is_presumed_active(active, now, life)
    if not running:
        state = without_dead_run(state, now, "its process is gone")
    elif active is not None:
        findings += _past_deadline(active, now)
    last = next((run for run in reversed(state.runs) if run.status is Status.OK and run.due is not None), None)
    wanted, since = _since(state, last, now - within)
    if wanted < since:
        findings.append(_reach_cut(since))
    overdue = [one for one in absences(state, schedule, since, now) if _is_overdue(one, state, now, running=running)]
    findings += [as_finding(one, host) for one in overdue]
    return GuardReport(
        missing=tuple(one.occurrence for one in overdue),
        running=running,
        since=moments.instant(since),
        last_success=None if last is None or last.due is None else moments.instant(last.due),
        next=schedule.next_after(moments.instant(now)),
        findings=tuple(findings),
    )


def _is_overdue(absence: Absence, state: State, now: int, *, running: bool) -> bool:
    """Whether nothing can be hoped for any more: a run that is active may succeed, and one may still be started."""
    if running and state.active is not None and absence.due == state.active.due:
        return False
    return absence.code is not Code.RUN_MISSING or absence.due + state.grace < now


def _since(state: State, last: Run | None, looked_from: int) -> tuple[int, int]:
    """From when on occurrences should be judged, and are: of what the state no longer knows nothing can be said."""
    silent = state.watched_from if last is None or last.due is None else last.due
    wanted = max(state.watched_from, min(silent, looked_from))
    return wanted, wanted if state.dropped_until is None else max(wanted, state.dropped_until + 1)


def _reach_cut(since: int) -> Finding:
    return Finding(
        code=Code.GUARD_REACH_CUT,
        severity=Severity.WARNING,
        what=f"runs were looked at from {moments.write_instant(since)} on only: the state keeps the last {RUNS_MOST}",
        action="Look less far back, and more often.",
    )


def _clock(state: State, now: int, host: HostZone, schedule: Schedule) -> list[Finding]:
    if state.newest_clock is not None and now < state.newest_clock - CLOCK_TOLERANCE:
        seen = f"a time that an earlier run has seen, {moments.write_instant(state.newest_clock)}"
        action = "Set the clock. If it is right and was wrong then, starts are refused until one is overridden."
    elif now < state.watched_from - CLOCK_TOLERANCE:
        seen = f"the first start that the state knows of, which was for {moments.write_instant(state.watched_from)}"
        action = "Set the clock. If it is right and was wrong then, the next run that is permitted corrects the state."
    else:
        return []
    return [
        Finding(
            code=Code.CLOCK_NOT_SANE,
            severity=Severity.ERROR,
            what=f"the clock shows {telling.on_all_clocks(now, schedule, host)}, before {seen}",
            action=action,
        )
    ]


def _other_schedule(state: State, given: Schedule | None) -> list[Finding]:
    if given is None or str(given) == state.schedule_text:
        return []
    return [
        Finding(
            code=Code.GUARD_SCHEDULE_CHANGED,
            severity=Severity.WARNING,
            what=f"the state was written under {state.schedule_text}, and was judged by {given}",
            action="Correct one of them; the guard's own is what the script runs under.",
        )
    ]


def _past_deadline(run: Run, now: int) -> list[Finding]:
    if run.deadline is None or now <= run.started + run.deadline + AFTER_DEADLINE:
        return []
    return [
        Finding(
            code=Code.RUN_UNFINISHED,
            severity=Severity.ERROR,
            what=f"the run {run.run_id} still runs ({run.process}), {telling.how_long(now - run.started)} after its "
            f"start, with a deadline of {telling.how_long(run.deadline)}",
            action="Look what it waits for, and end it.",
            subject=run.run_id,
        )
    ]
