"""What the strategies know of zones: which of them are odd in which way, and when their clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant
from safebackup.schedule import loading, moments
from safebackup.schedule.turns import Turn, turns_of
from safebackup.schedule.zones import Zone, ZoneLike, places, zone

SINCE = datetime(1970, 1, 1, tzinfo=UTC)
UNTIL = datetime(2038, 1, 1, tzinfo=UTC)
# Hypothesis shrinks towards what comes first: the dates that a reader knows best.
_FAMILIAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

# Each is here for something that others have not; the plain ones come first.
WELL_KNOWN = (
    "UTC",
    "Africa/Lagos",  # no change
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",  # the other half of the year
    "Asia/Kolkata",  # half an hour off, no change
    "Europe/London",  # summer time all year until 1971
    "Europe/Dublin",  # its winter time is the one that is called daylight saving
    "Asia/Beirut",  # midnights that do not exist
    "Africa/Cairo",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "Asia/Gaza",  # dates that no rule gives
    "Africa/Casablanca",  # around each Ramadan
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",  # by a quarter, once
    "America/Caracas",  # by half an hour, once forth and once back
    "Asia/Pyongyang",  # by half an hour, at the end of a day
    "America/St_Johns",  # at one minute past midnight, and once by two hours
    "Pacific/Chatham",  # 45 minutes off, at 02:45
    "Antarctica/Troll",  # by two hours
    "Antarctica/Casey",  # by three, at one minute past midnight
    "Antarctica/Vostok",  # by seven
    "America/Guyana",  # by three quarters
    "Pacific/Guam",  # at one minute past two
    "Pacific/Rarotonga",
    "Asia/Colombo",
    "Africa/Monrovia",  # by 44 minutes and 30 seconds
    "Pacific/Apia",  # a day that never was
    "Pacific/Kwajalein",
    "Pacific/Kiritimati",
    "Pacific/Fakaofo",
)


@attrs.frozen
class Transition:
    """A change of the clocks of a zone: the first instant of the new offset, and both offsets."""

    zone: Zone
    at: Instant
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        """Whether wall times were left out; otherwise some were repeated."""
        return self.after > self.before

    @property
    def size(self) -> timedelta:
        """By how much the clocks were changed, never negative."""
        return abs(self.after - self.before)

    @property
    def wall_start(self) -> datetime:
        """The first wall time that is left out or repeated; naive, as it is what a clock shows."""
        return self._on_wall(min(self.before, self.after))

    @property
    def wall_end(self) -> datetime:
        """The first wall time after those."""
        return self._on_wall(max(self.before, self.after))

    @property
    def holds_midnight(self) -> bool:
        """Whether the first moment of some date is left out or repeated."""
        last = self.wall_end - timedelta(microseconds=1)
        return self.wall_start.time() == datetime.min.time() or self.wall_start.date() < last.date()

    @property
    def is_sub_hour(self) -> bool:
        """Whether it is not by whole hours."""
        return bool(self.size % timedelta(hours=1))

    @property
    def skips_a_day(self) -> bool:
        """Whether a whole date was left out."""
        return self.is_gap and self.size >= timedelta(days=1)

    def _on_wall(self, offset: timedelta) -> datetime:
        return datetime(1970, 1, 1) + (datetime.__sub__(self.at, SINCE) + offset)


@lru_cache(maxsize=2048)
def changes_of(place: Zone, start: int, end: int) -> tuple[Transition, ...]:
    """The changes from `start` to before `end`, the most familiar dates first."""
    turns = turns_of(place).between(start, end)
    return tuple(_transition(place, turn) for turn in sorted(turns, key=_unfamiliarity))


def _unfamiliarity(turn: Turn) -> tuple[bool, int]:
    return turn.at < _FAMILIAR, abs(turn.at - _FAMILIAR)


def _transition(place: Zone, turn: Turn) -> Transition:
    before, after = timedelta(seconds=turn.before), timedelta(seconds=turn.after)
    return Transition(place, moments.instant(turn.at), before, after)


def span(start: datetime, end: datetime) -> tuple[int, int]:
    """Both as whole seconds since 1970.

    Raises:
        ConfigurationError: one is naive, or they are not in order.
    """
    utc = zone("UTC")
    first, last = moments.ceiling(start, "start", utc), moments.ceiling(end, "end", utc)
    if first >= last:
        raise ConfigurationError(
            f"start={moments.write_instant(first)} is not before end={moments.write_instant(last)}",
            code=Code.BAD_TIME,
            hint="Give a span that holds something.",
        )
    return first, last


def known_changes(tz: ZoneLike, start: int, end: int, *, gaps_only: bool = False) -> list[Transition]:
    """The changes of the zone that is meant, the most familiar dates first.

    Raises:
        ConfigurationError: there is none.
    """
    place = zone(tz)
    found = [change for change in changes_of(place, start, end) if change.is_gap or not gaps_only]
    if not found:
        what = "leave nothing out" if gaps_only else "do not change"
        raise ConfigurationError(
            f"the clocks of {place} {what} from {moments.write_instant(start)} to {moments.write_instant(end)}",
            code=Code.BAD_ARGUMENT,
            hint="Take a zone from zones(has_gap=True), or a longer span.",
        )
    return found


@lru_cache(maxsize=1)
def well_known() -> tuple[Zone, ...]:
    """The odd zones that this machine has, plain ones first."""
    names = loading.all_names()
    return tuple(zone(name) for name in WELL_KNOWN if name in names)


@lru_cache(maxsize=1)
def other_names() -> tuple[str, ...]:
    """The names of all other places."""
    return tuple(name for name in places() if name not in WELL_KNOWN)
