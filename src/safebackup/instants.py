"""Instants: the one time type, pendulum date-times that are always in UTC; pure.

On disk an instant is an integer: nanoseconds since 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

from safebackup.errors import Code, ConfigurationError

try:
    import pendulum
except ValueError as error:  # of pendulum's own, whose UTC is among the zones
    raise ConfigurationError(
        "this machine has no time zone data",
        code=Code.ZONE_DATA_MISSING,
        hint="Install the package tzdata: apt install tzdata, or pip install tzdata.",
    ) from error

Instant: TypeAlias = pendulum.DateTime

_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def require_instant(moment: datetime, *, name: str = "moment") -> Instant:
    """`moment` in UTC.

    Raises:
        ConfigurationError: it is naive, so that it could mean any of some forty instants.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ConfigurationError(
            f"{name} is {moment.isoformat()} without a time zone: that is some forty different instants",
            code=Code.NAIVE_TIME,
            hint='Make it aware: pendulum.datetime(2026, 3, 29, 1, 30, tz="Africa/Lagos"), or pendulum.now("UTC").',
        )
    utc = moment.astimezone(UTC)
    return pendulum.DateTime(
        utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=pendulum.UTC
    )


def from_nanoseconds(nanoseconds: int) -> Instant:
    """The instant so many nanoseconds after 1970, cut to microseconds.

    Raises:
        ConfigurationError: it lies outside the years 1 to 9999.
    """
    seconds, rest = divmod(nanoseconds, _SECOND)
    days, seconds = divmod(seconds, 86_400)
    try:
        day = datetime.fromordinal(_EPOCH.toordinal() + days)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{nanoseconds} ns since 1970 lies outside the years 1 to 9999", code=Code.BAD_TIME
        ) from error
    hour, seconds = divmod(seconds, 3600)
    minute, second = divmod(seconds, 60)
    return pendulum.DateTime(day.year, day.month, day.day, hour, minute, second, rest // 1000, tzinfo=pendulum.UTC)


def to_nanoseconds(instant: datetime) -> int:
    """Nanoseconds since 1970 of an aware date-time, exactly."""
    utc = require_instant(instant)
    seconds = ((utc.toordinal() - _EPOCH.toordinal()) * 24 + utc.hour) * 3600 + utc.minute * 60 + utc.second
    return seconds * _SECOND + utc.microsecond * 1000


def format_instant(instant: datetime) -> str:
    """RFC 3339 with `Z`, to the second: `2026-03-29T00:30:00Z`."""
    return require_instant(instant).strftime("%Y-%m-%dT%H:%M:%SZ")
