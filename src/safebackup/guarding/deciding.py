"""Whether a script may start: everything that speaks against it, from facts alone; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.guarding import telling
from safebackup.guarding.hosts import HostZone, Life
from safebackup.guarding.states import Run, State
from safebackup.schedule import Judgement, Occurrence, Schedule, Verdict, asking, moments
from safebackup.schedule.turns import LAST, turns_of

# Not the day of the release: an incident of the past may be replayed with a clock that was set back. What comes after
# the first run is held to the newest time in the state, which is stricter.
EARLIEST = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
LATEST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
CLOCK_TOLERANCE = 120  # so far a correction may set a clock back, two hosts may differ, or a start may have waited
# A run on a host that cannot be asked is taken for active so long after its start, or after its deadline.
PRESUMED_SECONDS = 12 * 3600
AFTER_DEADLINE = 300
OVERRIDE = "an override with a reason (--override; override= in Python)."
_NOTICEABLE = 900  # cron starts what it runs within seconds
_NEAR = 300
_QUARTER = 900


@attrs.frozen(kw_only=True)
class Start:
    """A script wants to start: by which schedule, when, where, what the clock there shows, and who started it."""

    schedule: Schedule
    job: str
    now: int
    grace: int
    host: HostZone
    host_name: str
    user: str


@attrs.frozen(kw_only=True)
class Reason:
    """Something that speaks against a start; `firm` if no override can help against it.

    `clocks` are lines with the instants it is about, on every clock.
    """

    code: Code
    text: str
    hint: str
    clocks: str = ""
    due: int | None = None
    firm: bool = False


def occurrence_before(schedule: Schedule, now: int) -> Occurrence | None:
    """What was due last at a time: what a start at that time is for."""
    second = schedule.rule.at_or_before(min(now, LAST))
    found = None if second is None else schedule.rule.due_at(second)
    return None if found is None else asking.as_occurrence(found, schedule.zone)


def is_presumed_active(run: Run, now: int, life: Life) -> bool:
    """Whether a recorded run has to be taken for active."""
    if life is not Life.UNKNOWN:
        return life is Life.ALIVE
    allowed = PRESUMED_SECONDS if run.deadline is None else run.deadline + AFTER_DEADLINE
    return now < run.started + allowed


def reasons(start: Start, state: State | None, life: Life, *, lock_is_free: bool) -> Iterator[Reason]:
    """What speaks against a start, the most telling first; `life` is that of the run recorded as active."""
    yield from _clock(start, state)
    yield from _window(start, state)
    yield from _active(start, state, life, lock_is_free)
    yield from _done(start, state)


def _clock(start: Start, state: State | None) -> Iterator[Reason]:
    shown = telling.on_all_clocks(start.now, start.schedule, start.host)
    if not EARLIEST <= start.now < LATEST:
        yield Reason(
            code=Code.CLOCK_NOT_SANE,
            text=f"the clock shows {shown}, which cannot be",
            hint="Set the clock, and let it be kept by NTP.",
        )
    elif state is not None and state.newest_clock is not None and start.now < state.newest_clock - CLOCK_TOLERANCE:
        yield Reason(
            code=Code.CLOCK_NOT_SANE,
            text=f"the clock shows {shown}, {telling.how_long(state.newest_clock - start.now)} before a time that an "
            f"earlier run has seen, {moments.write_instant(state.newest_clock)}",
            hint="Set the clock. If it is right and was wrong then: " + OVERRIDE,
        )


def _window(start: Start, state: State | None) -> Iterator[Reason]:
    judgement = start.schedule.classify(moments.instant(start.now), timedelta(seconds=start.grace))
    if judgement.verdict is Verdict.ON_TIME:
        return
    due = None if judgement.due is None else int(judgement.due.instant.timestamp())
    forbidden = _forbidden(start)
    code, what = Code.START_OUTSIDE_WINDOW, _how_late(start, judgement)
    hint = f"To start it all the same, once: {OVERRIDE}"
    if due is not None and due <= start.now:
        hint += " To allow starts as late as this: a longer grace."
    if judgement.verdict is Verdict.SHIFTED:
        code, hint = Code.START_SHIFTED, _when_on_host(start, due)
    elif forbidden:
        code = Code.START_FORBIDDEN
        hint = f"Wait until these hours are over. If it cannot wait: {OVERRIDE}"
    about_host = [finding.what for finding in _host_findings(start, state)]
    clocks = "\n".join([_clocks(start, due), *about_host])
    yield Reason(code=code, text=what + forbidden, clocks=clocks, hint=hint, due=due)


def _forbidden(start: Start) -> str:
    wall = start.now + turns_of(start.schedule.zone).offset_at(start.now)
    held = [str(window) for window in start.schedule.forbidden if window.holds(wall)]
    return f", inside the forbidden {' and '.join(held)}" if held else ""


def _how_late(start: Start, judgement: Judgement) -> str:
    if judgement.due is None or judgement.late is None:
        return "started, and nothing is ever due"
    late = int(judgement.late.total_seconds())
    if judgement.verdict is Verdict.SHIFTED:
        late = round(late / _QUARTER) * _QUARTER  # without the seconds that cron takes
    by = f"{telling.how_long(abs(late))} {'early' if late < 0 else 'late'}"
    if judgement.verdict is Verdict.SHIFTED:
        due = int(judgement.due.instant.timestamp())
        fired, expected = (telling.on_job_clock(each, start.schedule) for each in (start.now, due))
        zones = sorted(judgement.zones, key=lambda name: name != start.host.name)  # this host's own first
        return f"fired {fired}, due {expected}; {by} matches a host in {telling.some_of(zones)}"
    return f"started {by}, with a grace of {telling.how_long(start.grace)}"


def _clocks(start: Start, due: int | None) -> str:
    text = "" if due is None else f"due {telling.on_all_clocks(due, start.schedule, start.host)}\n"
    return f"{text}started {telling.on_all_clocks(start.now, start.schedule, start.host)}"


def _when_on_host(start: Start, due: int | None) -> str:
    if due is None:
        return ""
    wall = moments.wall_time(due + start.host.offset_at(due))
    return (
        f"On this host's clock it was due at {wall:%H:%M}: correct the zone of what starts it, or its times. Debian's "
        "cron reads the host's zone alone, whatever CRON_TZ says, and only when it starts."
    )


def _active(start: Start, state: State | None, life: Life, lock_is_free: bool) -> Iterator[Reason]:
    run = None if state is None else state.active
    if lock_is_free and (run is None or not is_presumed_active(run, start.now, life)):
        return
    firm = not lock_is_free or life is Life.ALIVE
    wanted = occurrence_before(start.schedule, start.now)
    due = None if wanted is None else int(wanted.instant.timestamp())
    if run is None or run.process is None:
        text, hint = "another run holds the lock beside the state", "Look who holds it: fuser or lslocks tell."
    else:
        text = (
            f"the run {run.run_id} is active: started {moments.write_instant(run.started)}, "
            f"{telling.how_long(max(start.now - run.started, 0))} ago, by {run.user}, {run.process}"
        )
        hint = (
            "Let it end, or end it. A deadline ends one that hangs."
            if firm
            else f"Its host cannot be asked. If it is gone: {OVERRIDE}"
        )
    yield Reason(code=Code.RUN_ACTIVE, text=text, hint=hint, due=due, firm=firm)


def _done(start: Start, state: State | None) -> Iterator[Reason]:
    occurrence = occurrence_before(start.schedule, start.now)
    done = None if state is None or occurrence is None else state.success_of(occurrence.run_id)
    if occurrence is None or done is None:
        return
    due = int(occurrence.instant.timestamp())
    ended = moments.write_instant(done.started if done.finished is None else done.finished)
    yield Reason(
        code=Code.ALREADY_DONE,
        text=f"the run {done.run_id} has succeeded already: started {moments.write_instant(done.started)} on "
        f"{done.host}, finished {ended}",
        clocks=_clocks(start, due),
        hint=f"Look what else starts it. To run it once more: {OVERRIDE}",
        due=due,
    )


def remarks(start: Start, state: State | None) -> list[Finding]:
    """What is odd about a start that is permitted."""
    return [*_host_findings(start, state), *_shift_within_grace(start)]


def _host_findings(start: Start, state: State | None) -> Iterator[Finding]:
    last = None if state is None else state.last_run_on(start.host_name)
    if start.host.fake:
        yield Finding(
            code=Code.HOST_ZONE_FAKE,
            severity=Severity.WARNING,
            what=f"TZ={start.host.name} on this host is no zone: its programs show UTC under that label",
            action="Set TZ to the name of a place, or unset it.",
        )
    elif last is not None and last.host_zone and start.host.name and last.host_zone != start.host.name:
        yield Finding(
            code=Code.HOST_ZONE_CHANGED,
            severity=Severity.WARNING,
            what=f"the host's zone was {last.host_zone} at the run before and is {start.host.name} now",
            action="If nobody meant that, set it back; else correct what starts scripts by the host's clock.",
        )


def _shift_within_grace(start: Start) -> Iterator[Finding]:
    """A start that the grace allows, although the host's clock showed the scheduled time: it reads the wrong zone."""
    occurrence = occurrence_before(start.schedule, start.now)
    if occurrence is None:
        return
    late = start.now - int(occurrence.instant.timestamp())
    shown = moments.wall_time(start.now + start.host.offset_at(start.now))
    if _NOTICEABLE <= late <= start.grace and timedelta(0) <= shown - occurrence.wall < timedelta(seconds=_NEAR):
        due = int(occurrence.instant.timestamp())
        yield Finding(
            code=Code.START_SHIFTED,
            severity=Severity.WARNING,
            what=f"started {telling.how_long(late)} late, when this host's clock ({start.host}) showed the scheduled "
            f"time: what starts it reads another zone, which only the long grace allows; "
            f"due {telling.on_all_clocks(due, start.schedule, start.host)}",
            action=_when_on_host(start, due),
        )
