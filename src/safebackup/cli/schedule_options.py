"""The options that say when something is due, and the schedule that they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import typer

from safebackup.clock import SystemClock
from safebackup.errors import Code, ConfigurationError, StorageError

if TYPE_CHECKING:
    from safebackup.findings import Finding
    from safebackup.instants import Instant
    from safebackup.schedule import Schedule, Zone

EXAMPLE = "--cron '30 1 * * *' --tz Africa/Lagos"
_MAKE_ONE = f"Make one: safebackup schedule record {EXAMPLE} > FILE"

YEARS = 10
_YEARS_KNOWN = (2, 9800)  # so that a span from there stays within what date-times can hold

After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="INSTANT",
        help="Look from this instant on, such as 2026-03-28T00:00:00Z; without it from now on.",
        show_default=False,
    ),
]
Years = Annotated[int, typer.Option("--years", metavar="N", min=1, max=100, help="Look at so many years.")]


@attrs.frozen
class When:
    """When something is due."""

    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="LINE", help="A cron expression of five fields.", show_default=False),
    ] = None
    daily: Annotated[
        list[str] | None,
        typer.Option("--daily", metavar="TIME", help="Each day at this time, such as 01:30; repeatable."),
    ] = None
    on_calendar: Annotated[
        str | None,
        typer.Option(
            "--on-calendar",
            metavar="EXPRESSION",
            help="A calendar expression of systemd, such as 'Mon..Fri 02:30'.",
            show_default=False,
        ),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="FILE",
            help="The record of a schedule, as safebackup schedule record writes it.",
            show_default=False,
        ),
    ] = None
    tz: Annotated[
        str | None,
        typer.Option(
            "--tz", metavar="ZONE", help="The place whose clock counts, such as Africa/Lagos.", show_default=False
        ),
    ] = None
    in_gap: Annotated[
        Literal["after", "shift", "skip", "refuse"] | None,
        typer.Option("--in-gap", help="What to do with a time that a change of the clocks leaves out."),
    ] = None
    in_overlap: Annotated[
        Literal["first", "second", "both", "refuse"] | None,
        typer.Option("--in-overlap", help="What to do with a time that a change of the clocks repeats."),
    ] = None
    like: Annotated[
        Literal["once", "elapsed", "debian", "systemd", "kubernetes", "quartz", "rfc5545"] | None,
        typer.Option("--like", help="Take both from what another program does."),
    ] = None
    forbid: Annotated[
        list[str] | None,
        typer.Option("--forbid", metavar="HOURS", help="Never in these hours, such as 08:00-18:00; repeatable."),
    ] = None


def schedule_of(when: When) -> Schedule | None:
    """The schedule that the options name; None if they name none.

    Raises:
        ConfigurationError: they contradict each other, or say too little.
    """
    from safebackup.schedule import Schedule

    given = _given(when)
    if when.schedule is not None:
        return Schedule.from_dict(read_record(when.schedule))
    if not given:
        return None
    if when.tz is None:
        raise ConfigurationError(
            f"{given[0]} does not say whose clock is meant", hint="Name a place: --tz Africa/Lagos; or --tz UTC."
        )
    rest: dict[str, object] = {name: getattr(when, name) for name in ("tz", "in_gap", "in_overlap", "like")}
    rest["forbid"] = when.forbid or ()
    if when.cron is not None:
        return Schedule.cron(when.cron, **rest)  # type: ignore[arg-type]
    if when.on_calendar is not None:
        return Schedule.on_calendar(when.on_calendar, **rest)  # type: ignore[arg-type]
    return Schedule.daily(at=when.daily or (), **rest)  # type: ignore[arg-type]


def require_schedule_of(when: When) -> Schedule:
    """The schedule that the options name.

    Raises:
        ConfigurationError: they name none, contradict each other, or say too little.
    """
    schedule = schedule_of(when)
    if schedule is None:
        raise ConfigurationError("nothing says when it is due", hint=f"Write {EXAMPLE}")
    return schedule


def _given(when: When) -> list[str]:
    """The options that name a schedule: at most one."""
    named = {
        "--cron": when.cron,
        "--daily": when.daily,
        "--on-calendar": when.on_calendar,
        "--schedule": when.schedule,
    }
    given = _said(named)
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} exclude each other", hint="Say once when it is due.")
    beside = {
        "--tz": when.tz,
        "--in-gap": when.in_gap,
        "--in-overlap": when.in_overlap,
        "--like": when.like,
        "--forbid": when.forbid,
    }
    over = _said(beside)
    if when.schedule is not None and over:
        raise ConfigurationError(
            f"--schedule {when.schedule} already says what {' and '.join(over)} would say",
            hint="Leave them out, or write another record.",
        )
    return given


def _said(options: Mapping[str, object]) -> list[str]:
    """Those that were typed, be it with an empty text; of repeatable ones an empty list is none."""
    return [option for option, value in options.items() if value is not None and value != []]


def read_record(path: str) -> Mapping[str, object]:
    """The record of a schedule in a file."""
    if not path:
        raise ConfigurationError("the file of a schedule is empty text: was a variable not set?", hint=_MAKE_ONE)
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", hint=_MAKE_ONE) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} holds no JSON", hint=_MAKE_ONE) from error
    if not isinstance(record, dict):
        raise ConfigurationError(f"{path} holds no schedule", hint=_MAKE_ONE)
    return record


def recorded_schedule(path: str) -> Schedule:
    """The schedule that is recorded in a file, with the zone data of then."""
    from safebackup.schedule.recording import from_pickle

    return from_pickle(read_record(path))


def instant_of(text: str | None, schedule: Schedule) -> Instant:
    """What --after says; without it now."""
    from safebackup.instants import from_nanoseconds, require_instant
    from safebackup.schedule.moments import floor

    if text is None:
        return from_nanoseconds(SystemClock().now())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--after {text!r} is no instant", code=Code.BAD_TIME, hint="Write one such as 2026-03-28T00:00:00Z."
        ) from error
    floor(moment, "--after", schedule.zone)  # a time without an offset is refused with what it could mean there
    if not _YEARS_KNOWN[0] <= moment.year <= _YEARS_KNOWN[1]:
        raise ConfigurationError(
            f"--after {text!r} is out of all reach", code=Code.BAD_TIME, hint="Write an instant of these centuries."
        )
    return require_instant(moment)


def named_zone(option: str, name: str) -> Zone:
    """The zone that another option than --tz names."""
    from safebackup.schedule import zone

    try:
        return zone(name)
    except ConfigurationError as error:
        error.hint = error.hint.replace("tz=", f"{option} ")
        raise


def changed_data(when: When, start: Instant) -> list[Finding]:
    """What a record that was read does otherwise with the zone data of this machine."""
    from safebackup.schedule.diffing import data_changed

    if when.schedule is None:
        return []
    changed = data_changed(read_record(when.schedule), start, start.add(years=YEARS))
    return [] if changed is None else [changed]


def offset_text(offset: timedelta) -> str:
    """An offset in numbers: `+01:00`."""
    from safebackup.schedule.moments import write_offset

    return write_offset(offset // timedelta(seconds=1))


def write_file(path: str, text: str) -> None:
    """Write a text, with its own line ends, over what is there."""
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}",
            hint="Name a place in a folder that is there, that has space, and where you may write.",
        ) from error
