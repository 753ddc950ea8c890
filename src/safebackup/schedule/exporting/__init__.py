"""Schedules for other programs: each export simulates its target, and is refused where that would run otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import moments
from safebackup.schedule.exporting.crontab import read_line, write_crontab
from safebackup.schedule.exporting.eventbridge import write_eventbridge
from safebackup.schedule.exporting.exports import Divergence, Draft, Export, How, Request
from safebackup.schedule.exporting.icalendar import write_icalendar
from safebackup.schedule.exporting.kubernetes import write_kubernetes
from safebackup.schedule.exporting.monitors import write_healthchecks, write_sentry
from safebackup.schedule.exporting.systemd import write_systemd
from safebackup.schedule.zones import ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

__all__ = ["TARGETS", "Divergence", "Export", "How", "TargetName", "export", "needs", "read_line"]

TargetName: TypeAlias = Literal[
    "crontab", "systemd", "kubernetes", "eventbridge", "icalendar", "healthchecks", "sentry"
]
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?", re.ASCII)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+\-/]+", re.ASCII)
_SECOND = timedelta(seconds=1)


@attrs.frozen
class _Target:
    """How a target is written, and which arguments it needs; it takes no others of these."""

    write: Callable[[Request], Draft]
    needs: frozenset[str] = frozenset()


_TARGETS: dict[str, _Target] = {
    "crontab": _Target(write_crontab, frozenset({"command", "host_tz"})),
    "systemd": _Target(write_systemd, frozenset({"command"})),
    "kubernetes": _Target(write_kubernetes, frozenset({"command", "image"})),
    "eventbridge": _Target(write_eventbridge),
    "icalendar": _Target(write_icalendar),
    "healthchecks": _Target(write_healthchecks),
    "sentry": _Target(write_sentry),
}
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
_WHY = {
    "host_tz": 'cron reads its times on the host\'s clock: host_tz="Etc/UTC" or whatever that host is set to',
    "command": 'what is to be run: command="/usr/local/bin/backup-orders"',
    "image": 'the container image to run it in: image="registry.example/backup:1"',
}


def export(
    schedule: Schedule,
    target: TargetName,
    *,
    start: datetime,
    years: int = 10,
    host_tz: ZoneLike | None = None,
    accept: bool = False,
    command: str | None = None,
    name: str = "backup",
    image: str | None = None,
    grace: timedelta = timedelta(hours=1),
) -> Export:
    """What `Schedule.export` does."""
    if target not in _TARGETS:
        raise _bad(f"target={target!r} is not one of {', '.join(map(repr, TARGETS))}", "Name one of them.")
    given = {"host_tz": host_tz, "command": command, "image": image}
    chosen = _TARGETS[target]
    for argument, value in given.items():
        if argument in chosen.needs and value is None:
            raise _bad(f"{target} needs {argument}=", f"Say {_WHY[argument]}.")
        if argument not in chosen.needs and value is not None:
            raise _bad(f"{target} does not take {argument}=", "Leave it out.")
    request = Request(
        schedule=schedule,
        target=target,
        **_span(schedule, start, years),
        host=None if host_tz is None else zone(host_tz),
        accept=accept,
        command=_text("command", command),
        name=_name(name),
        image=_text("image", image),
        grace=_grace(grace),
    )
    for named in (schedule.zone, request.host):
        if named is not None and not _ZONE_KEY.fullmatch(named.key):
            raise _bad(f"the zone {named.key!r} has a name that no other program knows", "Use zone(...) to get one.")
    draft = chosen.write(request)
    end = moments.instant(request.end)
    return Export(
        target=target,
        files=draft.files,
        divergences=draft.divergences,
        start=moments.instant(request.start),
        end=end,
        expires=end if draft.expires else None,
    )


def needs(target: TargetName) -> frozenset[str]:
    """Which of `command`, `image` and `host_tz` a target has to be told."""
    return _TARGETS[target].needs


def _bad(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(what, code=Code.BAD_ARGUMENT, hint=hint)


def _span(schedule: Schedule, start: datetime, years: object) -> dict[str, int]:
    if not isinstance(years, int) or isinstance(years, bool) or not 1 <= years <= 100:
        raise _bad(f"years={years!r} is not a number from 1 to 100", "Say over how many years to compare.")
    begin = moments.ceiling(start, "start", schedule.zone)
    if not 1970 <= moments.instant(begin).year <= 2200:
        raise _bad(f"start={start.isoformat()} is not in the years 1970 to 2200", "Say from when it is to run.")
    end = moments.instant(begin).add(years=years)
    return {"start": begin, "end": moments.floor(end, "end", schedule.zone)}


def _text(argument: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip():
        raise _bad(f"{argument}={value!r} is not a text, or empty", f"Say {_WHY[argument]}.")
    return value


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _bad(
            f"name={name!r} is not up to 48 small letters, digits and hyphens",
            'All targets take such a name: name="orders-nightly".',
        )
    return name


def _grace(grace: object) -> int:
    if not isinstance(grace, timedelta) or not timedelta(minutes=1) <= grace <= timedelta(days=365):
        raise _bad(f"grace={grace!r} is not from a minute to a year", "Say how late a run may be.")
    return grace // _SECOND
