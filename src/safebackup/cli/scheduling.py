"""`schedule`: when something will be due, said before it is; and what is doubtful about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import typer

from safebackup.cli import exporting
from safebackup.cli.options import command
from safebackup.cli.output import Result, one_line
from safebackup.cli.running import Screen
from safebackup.cli.schedule_options import (
    YEARS,
    After,
    When,
    Years,
    changed_data,
    instant_of,
    named_zone,
    offset_text,
    recorded_schedule,
    require_schedule_of,
    write_file,
)
from safebackup.cli.sizes import count_text, parse_duration
from safebackup.findings import Finding, Severity
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.host_time import HostTime
    from safebackup.instants import Instant
    from safebackup.schedule import Occurrence, Schedule, Zone

_MOST_RUNS = 10_000


def add_commands(app: typer.Typer) -> None:
    """Make `schedule` a group of commands of `app`."""
    group = typer.Typer(help="See what a schedule does before it does it.")
    command(group, "explain", group="schedule")(explain)
    command(group, "preview", group="schedule")(preview)
    command(group, "lint", group="schedule")(lint)
    exporting.add_commands(group)
    command(group, "next", group="schedule")(next_)
    command(group, "record", group="schedule")(record)
    command(group, "diff", group="schedule")(diff)
    app.add_typer(group, name="schedule")


def explain(screen: Screen, when: When, after: After = None) -> Result:
    """Say in English what a schedule does, on whose clock, and what happens when those clocks change."""
    from safebackup.host_time import read_host_time

    schedule = require_schedule_of(when)
    start = instant_of(after, schedule)
    found = schedule.explain(after=start, host_tz=_host_zone(read_host_time()))
    changes = [
        {"at": each.at, "before": offset_text(each.before), "after": offset_text(each.after), "effects": each.effects}
        for each in found.changes
    ]
    report = {
        "schedule": str(schedule),
        "text": found.text.splitlines(),
        "changes": changes,
        "runs": [_facts(run) for run in found.runs],
    }
    return _shown(screen, report, found.text.splitlines(), changed_data(when, start))


def preview(
    screen: Screen,
    when: When,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=_MOST_RUNS, help="So many runs.")] = 10,
    after: After = None,
    zone: Annotated[
        list[str] | None,
        typer.Option("--zone", metavar="ZONE", help="A column for the clocks of this place too; repeatable."),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw the runs of the year into this file, as SVG: changes of the clocks can be seen at a glance.",
            show_default=False,
        ),
    ] = None,
) -> Result:
    """Show the next runs on the clocks of the schedule, of this host, of other places and in UTC."""
    from safebackup.host_time import read_host_time

    schedule = require_schedule_of(when)
    start = instant_of(after, schedule)
    host = read_host_time()
    shown = _host_zone(host)
    found = schedule.preview(count, after=start, zones=[shown, *(named_zone("--zone", name) for name in zone or ())])
    if picture is not None:
        write_file(picture, schedule.picture(year=start.year))
    runs = [
        {
            **_facts(row.run),
            "clocks": {cell.zone: cell.wall.isoformat() + offset_text(cell.offset) for cell in row.cells},
        }
        for row in found.rows
    ]
    report = {
        "schedule": str(schedule),
        "zones": found.zones,
        "host": {"zone": shown.key, "because": str(host)},
        "runs": runs,
        "picture": picture,
    }
    lines = [*str(found).splitlines(), f"this host shows {shown.key}: {host}"]
    return _shown(screen, report, lines, changed_data(when, start))


def lint(
    screen: Screen,
    when: When,
    after: After = None,
    years: Years = YEARS,
    rpo: Annotated[
        str | None,
        typer.Option(
            "--rpo",
            metavar="TIME",
            help="No two runs may be further apart: what may be lost at most, such as 25h.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration", metavar="TIME", help="So long a run takes: no two may be nearer.", show_default=False
        ),
    ] = None,
    target: Annotated[
        Literal[
            "quartz",
            "eventbridge",
            "apscheduler",
            "crontab",
            "systemd",
            "kubernetes",
            "icalendar",
            "healthchecks",
            "sentry",
        ]
        | None,
        typer.Option("--target", help="It is to be copied or exported to this program, which may read it otherwise."),
    ] = None,
    no_host: Annotated[
        bool, typer.Option("--no-host", help="Do not look at this host's zone: it is not where the schedule will run.")
    ] = False,
) -> Result:
    """Tell what in a schedule may surprise, with dates. It fails if there is a warning or an error."""
    from safebackup.host_time import read_host_time

    schedule = require_schedule_of(when)
    start = instant_of(after, schedule)
    found = schedule.lint(
        start=start,
        years=years,
        host=None if no_host else read_host_time([schedule.zone.key]),
        rpo=_duration("--rpo", rpo),
        duration=_duration("--duration", duration),
        target=target,
    )
    findings = [attrs.evolve(finding, subject="") for finding in (*changed_data(when, start), *found)]
    doubtful = sum(finding.severity is not Severity.INFO for finding in findings)
    return Result(
        outcome="doubtful" if doubtful else "clean",
        status=ExitStatus.FAILED if doubtful else ExitStatus.OK,
        report={"schedule": str(schedule)},
        findings=findings,
        findings_total=len(findings),
        summary=f"{_counted(findings)} for {one_line(str(schedule))}"
        if doubtful
        else f"nothing doubtful in {count_text(years, 'year')} of {one_line(str(schedule))}",
    )


def _counted(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are, as far as there are any."""
    words = ((Severity.ERROR, "error"), (Severity.WARNING, "warning"))
    counts = [(sum(finding.severity is severity for finding in findings), word) for severity, word in words]
    return " and ".join(count_text(count, word) for count, word in counts if count)


def next_(
    screen: Screen,
    when: When,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=_MOST_RUNS, help="So many runs.")] = 1,
    after: After = None,
) -> Result:
    """Print the next runs in UTC, one a line. It fails if there is none."""
    from safebackup.instants import format_instant

    schedule = require_schedule_of(when)
    start = instant_of(after, schedule)
    runs = list(islice(_runs_after(schedule, start), count))
    report = {"schedule": str(schedule), "runs": [_facts(run) for run in runs]}
    shown = _shown(screen, report, [format_instant(run.instant) for run in runs], changed_data(when, start))
    if runs:
        return shown
    never = f"{one_line(str(schedule))} is never due after {format_instant(start)}"
    return attrs.evolve(shown, outcome="never", status=ExitStatus.FAILED, summary=never)


def record(screen: Screen, when: When) -> Result:
    """Print a schedule as a record in JSON, with the zone data of this machine; --schedule FILE reads it again."""
    schedule = require_schedule_of(when)
    written = schedule.to_dict()
    report = {"schedule": str(schedule), "record": written}
    return _shown(screen, report, json.dumps(written, indent=2).splitlines())


def diff(
    screen: Screen,
    left: Annotated[str, typer.Argument(metavar="FILE", help="The record of a schedule.")],
    right: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE2",
            help="The record of another. Without it: the first again, with the zone data of this machine.",
            show_default=False,
        ),
    ] = None,
    after: After = None,
    years: Years = YEARS,
) -> Result:
    """Show which runs differ between two records. Each is read with the zone data that it was recorded with."""
    from safebackup.schedule import zone

    one = recorded_schedule(left)
    other = one.in_zone_data(zone(one.zone.key)) if right is None else recorded_schedule(right)
    start = instant_of(after, one)
    found = one.diff(other, start=start, end=start.add(years=years))
    report: dict[str, object] = {
        "left": found.left,
        "right": found.right,
        "only_left": [_facts(run) for run in found.only_left],
        "only_right": [_facts(run) for run in found.only_right],
        "moved": [{"left": _facts(each.left), "right": _facts(each.right)} for each in found.moved],
        "only_left_count": found.only_left_count,
        "only_right_count": found.only_right_count,
        "moved_count": found.moved_count,
    }
    shown = _shown(screen, report, str(found).splitlines())
    if not found:
        return attrs.evolve(shown, outcome="same")
    return attrs.evolve(shown, outcome="different", status=ExitStatus.FAILED, summary="the runs are not the same")


def _shown(
    screen: Screen, report: Mapping[str, object], lines: Sequence[str], findings: Sequence[Finding] = ()
) -> Result:
    return Result(
        outcome="ok",
        report=report,
        findings=findings,
        findings_total=len(findings),
        listing=() if screen.as_json else [one_line(line) for line in lines],
    )


def _duration(option: str, text: str | None) -> timedelta | None:
    return None if text is None else timedelta(seconds=parse_duration(option, text))


def _runs_after(schedule: Schedule, start: Instant) -> Iterator[Occurrence]:
    second = timedelta(seconds=1)
    found = schedule.next_after(start)
    while found is not None:
        yield from schedule.occurrences(found, found + second)
        found = schedule.next_after(found)


def _host_zone(host: HostTime) -> Zone:
    """The clocks that programs show which are started on a host."""
    from safebackup.schedule import zone, zone_from_data

    if host.zone_name in ("UTC", "Etc/UTC"):
        return zone("UTC")
    return zone_from_data(host.zone_name or "a zone without a name", host.zone_file, source=str(host))


def _facts(run: Occurrence) -> dict[str, object]:
    """A run for JSON."""
    return {
        "run_id": run.run_id,
        "due": run.instant,
        "wall": run.wall.isoformat(),
        "offset": offset_text(run.offset),
        "why": run.why,
        "merged": [wall.isoformat() for wall in run.merged],
    }
