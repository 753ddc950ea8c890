"""Lint: what in a schedule may surprise its owner, each with the dates that show it; silent on healthy ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from safebackup.errors import Code, ConfigurationError, RefusedError
from safebackup.findings import Finding, Severity
from safebackup.schedule import asking, moments, wording
from safebackup.schedule.civil import bad, whole_seconds
from safebackup.schedule.diffing import difference_words, differences, zone_data_finding
from safebackup.schedule.exporting import TARGETS, TargetName, export, needs
from safebackup.schedule.linting_turns import lint_turns
from safebackup.schedule.linting_words import READERS, Reader, lint_words
from safebackup.schedule.old_names import TODAY
from safebackup.schedule.turns import DAY, LAST, TurnTable, turns_of
from safebackup.schedule.windows import Window
from safebackup.schedule.zones import Zone, zone_from_data

if TYPE_CHECKING:
    from safebackup.host_time import HostTime
    from safebackup.schedule.schedule import Schedule

_YEAR = 31_556_952
_LOOKED_AT = 60


def lint(
    schedule: Schedule,
    *,
    start: datetime,
    years: int,
    host: HostTime | None,
    rpo: timedelta | None,
    duration: timedelta | None,
    target: Reader | TargetName | None,
) -> tuple[Finding, ...]:
    """What may surprise, over some years from `start`."""
    if type(years) is not int or not 1 <= years <= 100:
        raise bad(f"years={years!r} is not a number from 1 to 100", "Say over how many years to look.")
    known = tuple(dict.fromkeys((*READERS, *TARGETS)))
    if target is not None and target not in known:
        raise bad(f"target={target!r} is not one of {', '.join(map(repr, known))}", "Say what is to read the words.")
    rpo = None if rpo is None else timedelta(seconds=whole_seconds(rpo, "rpo"))
    duration = None if duration is None else timedelta(seconds=whole_seconds(duration, "duration"))
    begin = moments.ceiling(start, "start", schedule.zone)
    end = min(begin + years * _YEAR, LAST)
    never = _never(schedule, begin)
    if never is not None:
        return (never,)
    return (
        *_zone_name(schedule),
        *lint_turns(schedule, begin, end),
        *lint_words(schedule, begin, end, next((each for each in READERS if each == target), None)),
        *_contention(schedule, begin, end),
        *_too_far_apart(schedule, begin, end, rpo),
        *_too_near(schedule, begin, end, duration),
        *_into_forbidden_hours(schedule, begin, end, duration),
        *_export(schedule, start, years, host, target),
        *([] if host is None else _host(schedule, host, start, years)),
    )


def _finding(schedule: Schedule, code: Code, severity: Severity, what: str, action: str) -> Finding:
    return Finding(code=code, severity=severity, what=what, action=action, subject=str(schedule))


def _never(schedule: Schedule, start: int) -> Finding | None:
    if schedule.rule.at_or_after(start) is not None:
        return None
    last = schedule.rule.at_or_before(start - 1)
    before = "" if last is None else f"; the last time was {moments.write_instant(last)}"
    what = f"never due from {moments.write_instant(start)} on{before}"
    return _finding(schedule, Code.NEVER_FIRES, Severity.ERROR, what, "Look at its years, its end and its count.")


def _zone_name(schedule: Schedule) -> Iterator[Finding]:
    today = TODAY.get(schedule.zone.key)
    if today is not None:
        what = f"{schedule.zone} is an old name of {today}, which some systems lack: Debian 13 has it in tzdata-legacy"
        yield _finding(schedule, Code.ALIAS_ZONE, Severity.WARNING, what, f"Write tz={today!r}.")


def _contention(schedule: Schedule, start: int, end: int) -> Iterator[Finding]:
    table = turns_of(schedule.zone)
    runs = list(islice(asking.seconds_between(schedule, start, end), _LOOKED_AT))
    if runs and all((run + table.offset_at(run)) % 3600 == 0 for run in runs):
        first = moments.write_in_zone(runs[0], table.offset_at(runs[0]))
        what = f"every run starts on the full hour, next at {first}, as do many other jobs"
        action = "Move it by some minutes, or give each host its own: schedule.spread(timedelta(minutes=30), key=…)."
        yield _finding(schedule, Code.CONTENTION, Severity.INFO, what, action)


def _too_far_apart(schedule: Schedule, start: int, end: int, rpo: timedelta | None) -> Iterator[Finding]:
    longest = None if rpo is None else schedule.max_gap(moments.instant(start), moments.instant(end))
    if rpo is None or (longest is not None and longest.duration <= rpo):
        return
    if longest is None:
        what = f"not two runs from {moments.write_instant(start)} to {moments.write_instant(end)}"
    else:
        what = (
            f"{wording.how_long(int(longest.duration.total_seconds()))} from {longest.start:%Y-%m-%dT%H:%M:%SZ} to "
            f"{longest.end:%Y-%m-%dT%H:%M:%SZ}"
        )
    what += f": more than the {wording.how_long(rpo // timedelta(seconds=1))} that may be lost"
    yield _finding(schedule, Code.RPO_EXCEEDED, Severity.ERROR, what, "Run more often, or correct rpo=.")


def _too_near(schedule: Schedule, start: int, end: int, duration: timedelta | None) -> Iterator[Finding]:
    shortest = None if duration is None else schedule.min_gap(moments.instant(start), moments.instant(end))
    if duration is None or shortest is None or shortest.duration >= duration:
        return
    what = (
        f"only {wording.how_long(int(shortest.duration.total_seconds()))} from {shortest.start:%Y-%m-%dT%H:%M:%SZ} to "
        f"{shortest.end:%Y-%m-%dT%H:%M:%SZ}: a run takes {wording.how_long(duration // timedelta(seconds=1))}"
    )
    action = "Run less often, or make runs shorter: until then the second one is refused or waits."
    yield _finding(schedule, Code.OVERRUN, Severity.WARNING, what, action)


def _into_forbidden_hours(schedule: Schedule, start: int, end: int, duration: timedelta | None) -> Iterator[Finding]:
    """The first run that is not over when the hours begin in which nothing may be due."""
    if duration is None or not schedule.forbidden:
        return
    length, table = duration // timedelta(seconds=1), turns_of(schedule.zone)
    for run in asking.seconds_between(schedule, start, end):
        held = [window for window in schedule.forbidden if _reaches(window, run, run + length, table)]
        if held:
            what = (
                f"the run of {moments.write_in_zone(run, table.offset_at(run))} takes {wording.how_long(length)} and "
                f"lasts into the forbidden {wording.all_of([str(window) for window in held])}"
            )
            action = "Run earlier, make runs shorter, or correct forbid=."
            yield _finding(schedule, Code.FORBIDDEN_WINDOW, Severity.WARNING, what, action)
            return


def _reaches(window: Window, start: int, end: int, table: TurnTable) -> bool:
    """Whether any of the time from `start` to before `end` lies in a window."""
    while start < end:
        _, until, offset = table.steady(start)
        wall, until = start + offset, min(until, end)
        if window.holds(wall) or (window.start - wall) % DAY < until - start:
            return True
        start = until
    return False


def _export(
    schedule: Schedule, start: datetime, years: int, host: HostTime | None, target: Reader | TargetName | None
) -> Iterator[Finding]:
    """What an export to a program would be refused for."""
    named = next((each for each in TARGETS if each == target), None)
    if named is None:
        return
    told = needs(named)
    try:
        export(
            schedule,
            named,
            start=start,
            years=years,
            host_tz=_crontab_zone(host) if "host_tz" in told else None,
            # It is only tried: what it would run does not matter.
            command="true" if "command" in told else None,
            image="image" if "image" in told else None,
        )
    except (ConfigurationError, RefusedError) as error:
        if error.code not in (Code.EXPORT_DIVERGES, Code.EXPORT_IMPOSSIBLE):
            raise
        yield _finding(schedule, Code(error.code), Severity.WARNING, error.message, error.hint)


def _crontab_zone(host: HostTime | None) -> Zone:
    if host is None:
        raise bad("cron reads its times on the clock of its host, which is not said", "Say host=HostTime(localtime=…).")
    return zone_from_data(host.zone_name or "unnamed", host.zone_file, source=str(host))


def _host(schedule: Schedule, host: HostTime, start: datetime, years: int) -> Iterator[Finding]:
    from safebackup.host_time import check_data_age, check_host_zone

    yield from check_host_zone(host, start=start, years=years)
    yield from check_data_age(host, start)
    begin = moments.ceiling(start, "start", schedule.zone)
    end = min(begin + years * _YEAR, LAST)
    yield from _skew(schedule, host, begin, end)
    # Two places that agree for two years agree, or will part for reasons that nobody knows yet.
    yield from _other_clock(schedule, host, begin, min(end, begin + 2 * _YEAR))


def _skew(schedule: Schedule, host: HostTime, start: int, end: int) -> Iterator[Finding]:
    seen = {schedule.zone.data}
    for copy in host.copies:
        if copy.name != schedule.zone.key or copy.data in seen:
            continue
        seen.add(copy.data)
        other = zone_from_data(copy.name, copy.data, source=copy.source, release=copy.release)
        found = zone_data_finding(schedule, _unbound(schedule, other), Code.TZDATA_SKEW, start, end)
        if found is not None:
            yield found


def _unbound(schedule: Schedule, named: Zone) -> Schedule:
    """The same words in another zone, without what they promise in their own."""
    return attrs.evolve(schedule, forbidden=()).in_zone_data(named)


def _other_clock(schedule: Schedule, host: HostTime, start: int, end: int) -> Iterator[Finding]:
    """What the same words would do on the host's clock."""
    name = host.zone_name or "a zone without a name"
    shown = zone_from_data(name, host.zone_file, source=str(host))
    is_utc = schedule.zone.key in ("UTC", "Etc/UTC")
    try:
        first = next(differences(schedule, _unbound(schedule, shown), start, end), None)
    except ConfigurationError as error:
        if error.code is not Code.DST_REFUSED:
            raise
        first, words = None, error.message
    else:
        words = "" if first is None else difference_words(first)
    if not words:
        return
    if is_utc:
        what = f"in UTC, while this host shows {name} ({host}): the same words on its clock mean {words}"
        action = "If the host's clock was meant, write the zone of the place in tz=."
        yield _finding(schedule, Code.UTC_INTENT, Severity.INFO, what, action)
        return
    what = f"this host shows {name} ({host}): the same words in its crontab would differ: {words}"
    action = f"Do not copy them there: use what reads {schedule.zone} itself, or run under safebackup guard."
    yield _finding(schedule, Code.HOST_TZ, Severity.WARNING, what, action)
