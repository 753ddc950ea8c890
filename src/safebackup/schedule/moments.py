"""Moments: aware date-times in, pendulum date-times in UTC out, whole seconds since 1970 between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pendulum

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant, require_instant
from safebackup.schedule.turns import DAY, FIRST, LAST, turns_of
from safebackup.schedule.walls import gap_of, offsets_of
from safebackup.schedule.zones import Zone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_UTC = pendulum.UTC


def floor(moment: datetime, name: str, zone: Zone) -> int:
    """The whole second that holds a moment.

    Raises:
        ConfigurationError: it has no zone; the message spells out what it could mean.
    """
    try:
        # datetime's own subtraction: pendulum's makes an Interval, at ten times the cost.
        since = datetime.__sub__(moment, EPOCH)
    except TypeError:
        raise _unusable(moment, name, zone) from None
    return since.days * DAY + since.seconds


def ceiling(moment: datetime, name: str, zone: Zone) -> int:
    """The first whole second that is not before a moment."""
    second = floor(moment, name, zone)
    return second + 1 if moment.microsecond else second


def instant(second: int) -> Instant:
    """A second since 1970 as a date-time in UTC."""
    at = EPOCH + timedelta(0, second)
    return pendulum.DateTime(at.year, at.month, at.day, at.hour, at.minute, at.second, tzinfo=_UTC)


def wall_time(wall: int) -> datetime:
    """A wall time as a date-time that is naive on purpose: it is what a clock shows, in no zone."""
    return _NAIVE_EPOCH + timedelta(seconds=wall)


def write_instant(second: int) -> str:
    """RFC 3339 in UTC."""
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_offset(seconds: int) -> str:
    """An offset in numbers: `+01:00`, with seconds where it has some."""
    sign = "-" if seconds < 0 else "+"
    minutes, rest = divmod(abs(seconds), 60)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}" + (f":{rest:02}" if rest else "")


def write_in_zone(second: int, offset: int) -> str:
    """An instant as the clocks of a zone show it, with the offset in numbers: `2026-03-29 01:30:00 +01:00`."""
    return f"{wall_time(second + offset):%Y-%m-%d %H:%M:%S} {write_offset(offset)}"


def first_second(day: date, zone: Zone) -> int:
    """The first instant of a day in a zone, also where its midnight does not exist or comes twice."""
    wall = (day.toordinal() - EPOCH.toordinal()) * DAY
    known, index = turns_of(zone).at_wall(wall)
    offset = known.offsets[index]
    if offset is not None:
        return wall - offset
    turns = known.turns[index]
    offsets = offsets_of(wall, turns)
    return wall - offsets[0] if offsets else gap_of(wall, turns).at


def _unusable(moment: object, name: str, zone: Zone) -> ConfigurationError:
    if not isinstance(moment, datetime):
        return ConfigurationError(
            f"{name} is {moment!r}, not a date-time",
            code=Code.BAD_TIME,
            hint='Write pendulum.datetime(2026, 3, 29, 1, 30, tz="Africa/Lagos").',
        )
    since = moment.replace(tzinfo=UTC) - EPOCH
    wall = since.days * DAY + since.seconds
    hint = f'Make it aware: pendulum.instance({name}, tz="{zone}") or tz="UTC", whichever is meant.'
    if not FIRST <= wall <= LAST:
        found = f"{name} is {moment.isoformat()} without a time zone, and outside the years 2 to 9998"
        return ConfigurationError(found, code=Code.NAIVE_TIME, hint=hint)
    known, index = turns_of(zone).at_wall(wall)
    offset = known.offsets[index]
    offsets = [offset] if offset is not None else offsets_of(wall, known.turns[index])
    read = " or ".join(write_instant(wall - each) for each in offsets) or "a time that the clocks left out"
    return ConfigurationError(
        f"{name} is {moment.isoformat()} without a time zone: in {zone} that is {read}, in UTC {write_instant(wall)}",
        code=Code.NAIVE_TIME,
        hint=hint,
    )


def aware(moment: datetime) -> Instant:
    """The moment in UTC, with its parts of a second."""
    return require_instant(moment)
