"""What an export is asked for, what it finds, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from safebackup.errors import Code, RefusedError
from safebackup.instants import Instant
from safebackup.schedule import moments
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import Zone

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

_SHOWN = 5
_WRITTEN = 20


class How(StrEnum):
    """In which way a target differs at an instant."""

    MISSING = "due, but not run"
    EXTRA = "run, but not due"
    AT_ONCE = "run more than once, at the same time"


@attrs.frozen
class Divergence:
    """An instant at which a target does something else than the schedule says; `offset` is that of its zone."""

    instant: Instant
    how: How
    offset: timedelta

    def __str__(self) -> str:
        at = moments.write_in_zone(int(self.instant.timestamp()), int(self.offset.total_seconds()))
        return f"{at}: {self.how}"


@attrs.frozen(kw_only=True)
class Export:
    """What to give to another program, and how far it was compared with the schedule.

    `files` are their contents by name. From `start` to before `end` every run was compared: it is `exact` if there are
    no `divergences`. `expires`, if any, is when it has to be made again, because it lists single dates up to then.
    """

    target: str
    files: Mapping[str, str]
    divergences: tuple[Divergence, ...]
    start: Instant
    end: Instant
    expires: Instant | None

    @property
    def exact(self) -> bool:
        """Whether the target runs when the schedule says, each time."""
        return not self.divergences

    @property
    def text(self) -> str:
        """The file; of several each under its name, for people to read."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        return "\n".join(f"# {name}\n{content}" for name, content in self.files.items())


@attrs.frozen(kw_only=True)
class Request:
    """What is to be exported: from `start` to before `end` it is compared."""

    schedule: Schedule
    target: str
    start: int
    end: int
    host: Zone | None
    accept: bool
    command: str
    name: str
    image: str
    grace: int


@attrs.frozen
class Draft:
    """What one target has made of a request."""

    files: Mapping[str, str]
    divergences: tuple[Divergence, ...]
    expires: bool = False


def divergences_of(request: Request, found: Sequence[tuple[int, How]]) -> tuple[Divergence, ...]:
    """What a comparison found, with the offsets of the schedule's zone.

    Raises:
        RefusedError: something was found, and it was not accepted beforehand.
    """
    table = turns_of(request.schedule.zone)
    divergences = tuple(
        Divergence(moments.instant(at), how, timedelta(seconds=table.offset_at(at))) for at, how in found
    )
    if divergences and request.accept is not True:
        raise RefusedError(
            f"{request.target} would differ {_times(len(divergences))} from {request.schedule} up to "
            f"{_day(request.end)}: {_listed(divergences, _SHOWN)}",
            code=Code.EXPORT_DIVERGES,
            hint="Choose times of day that no change of the clocks touches, another target, or another policy. "
            "To have it all the same, with these dates written into it, say accept=True.",
        )
    return divergences


def remarks(request: Request, divergences: Sequence[Divergence], more: Sequence[str] = ()) -> list[str]:
    """What is written beside an export for its reader, line by line."""
    named = request.schedule.zone
    release = f" (zone data {named.release})" if named.release else ""
    lines = [f"{request.name}: {request.schedule}", *more]
    span = f"from {_day(request.start)} to {_day(request.end)}{release}"
    if divergences:
        lines.append(f"Compared {span}. It was accepted that it differs {_times(len(divergences))}, in {named}:")
        lines += [f"  {divergence}" for divergence in divergences[:_WRITTEN]]
        if len(divergences) > _WRITTEN:
            lines.append(f"  and {len(divergences) - _WRITTEN} more")
    else:
        lines.append(f"Compared {span}: it runs when the schedule says, each time.")
    return [line if line.isprintable() else ascii(line) for line in lines]


def expiry(request: Request, listed: Sequence[str]) -> list[str]:
    """The sentence that says until when something is listed; none if nothing is."""
    words = " and ".join(listed).capitalize()
    return [f"{words} are listed up to {_day(request.end)}: make this anew before then."] if listed else []


def commented(lines: Sequence[str]) -> str:
    """Lines as comments that begin with `#`."""
    return "".join(f"# {line}\n" for line in lines)


def numbered(name: str, index: int, count: int) -> str:
    """A name for one of several; the name itself for the only one."""
    return name if count == 1 else f"{name}-{index + 1}"


def _day(second: int) -> str:
    return moments.write_instant(second)[:10]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _listed(divergences: Sequence[Divergence], most: int) -> str:
    shown = "; ".join(map(str, divergences[:most]))
    return shown + (f"; and {len(divergences) - most} more" if len(divergences) > most else "")
