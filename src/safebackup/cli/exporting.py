"""`schedule export`: a schedule written for another program."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import typer

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
    require_schedule_of,
    write_file,
)
from safebackup.cli.sizes import parse_duration
from safebackup.errors import ConfigurationError

if TYPE_CHECKING:
    from safebackup.schedule.exporting import Export

Target = Annotated[
    Literal["crontab", "systemd", "kubernetes", "eventbridge", "icalendar", "healthchecks", "sentry"],
    typer.Argument(
        metavar="TARGET", help="crontab, systemd, kubernetes, eventbridge, icalendar, healthchecks or sentry."
    ),
]


@attrs.frozen
class Wanted:
    """What a target has to be told beside the schedule."""

    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            metavar="COMMAND",
            help="What crontab, systemd and kubernetes are to give to a shell.",
            show_default=False,
        ),
    ] = None
    host_tz: Annotated[
        str | None,
        typer.Option(
            "--host-tz", metavar="ZONE", help="For a crontab: the zone of its host's clock.", show_default=False
        ),
    ] = None
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="For kubernetes: the container's image.", show_default=False),
    ] = None
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called there.")] = "backup"
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="So late a run may be, where the target asks that.")
    ] = "1h"
    accept: Annotated[
        bool, typer.Option("--accept", help="Write it although it would run at other times, with these dates in it.")
    ] = False


def add_commands(group: typer.Typer) -> None:
    """Make `export` a command of the group `schedule`."""
    command(group, "export", group="schedule")(export)


def export(
    screen: Screen,
    when: When,
    wanted: Wanted,
    target: Target,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="FOLDER", help="Write the files there, over those of the same names.", show_default=False
        ),
    ] = None,
    after: After = None,
    years: Years = YEARS,
) -> Result:
    """Write a schedule for another program; refuse where that would run at other times."""
    schedule = require_schedule_of(when)
    start = instant_of(after, schedule)
    if target == "crontab" and wanted.host_tz is None:
        raise _no_host_zone()
    made = schedule.export(
        target,
        start=start,
        years=years,
        host_tz=None if wanted.host_tz is None else named_zone("--host-tz", wanted.host_tz),
        command=wanted.command,
        image=wanted.image,
        name=wanted.name,
        grace=timedelta(seconds=parse_duration("--grace", wanted.grace)),
        accept=wanted.accept,
    )
    if to is not None:
        for name, content in made.files.items():
            write_file(os.path.join(to, name), content)
    findings = changed_data(when, start)
    return Result(
        outcome="exact" if made.exact else "accepted",
        report={"schedule": str(schedule), **_facts(made)},
        findings=findings,
        findings_total=len(findings),
        listing=() if screen.as_json or to is not None else made.text.removesuffix("\n").split("\n"),
        summary="" if to is None else f"wrote {' and '.join(made.files)} into {one_line(to)}",
    )


def _facts(made: Export) -> dict[str, object]:
    """An export for JSON, with its files line by line."""
    return {
        "files": [{"name": name, "lines": content.splitlines()} for name, content in made.files.items()],
        "divergences": [
            {"at": each.instant, "offset": offset_text(each.offset), "how": each.how} for each in made.divergences
        ],
        "start": made.start,
        "end": made.end,
        "expires": made.expires,
    }


def _no_host_zone() -> ConfigurationError:
    from safebackup.host_time import read_host_time

    host = read_host_time()
    same = f"If it is this host ({host}): --host-tz {host.zone_name}" if host.zone_name else f"Look there: {host}."
    return ConfigurationError("a crontab needs --host-tz: cron reads its times on the clock of its host", hint=same)
