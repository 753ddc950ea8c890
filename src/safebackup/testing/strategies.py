"""Strategies for zones and moments. Those near a change of the clocks find what evenly spread ones miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant
from safebackup.schedule import moments
from safebackup.schedule.turns import DAY
from safebackup.schedule.zones import Zone, ZoneLike, zone
from safebackup.testing.clocks import (
    SINCE,
    UNTIL,
    Transition,
    changes_of,
    known_changes,
    other_names,
    span,
    well_known,
)

_KINDS: dict[str, Callable[[Transition], bool]] = {
    "has_gap": lambda change: change.is_gap,
    "has_overlap": lambda change: not change.is_gap,
    "midnight": lambda change: change.holds_midnight,
    "sub_hour": lambda change: change.is_sub_hour,
    "skipped_day": lambda change: change.skips_a_day,
}
_Change = TypeVar("_Change")
_MANY = 9_999  # more changes than any zone has
_COMMON = {"has_gap", "has_overlap"}


def zones(
    *,
    has_gap: bool | None = None,
    has_overlap: bool | None = None,
    midnight: bool | None = None,
    sub_hour: bool | None = None,
    skipped_day: bool | None = None,
    start: datetime = SINCE,
    end: datetime = UNTIL,
) -> st.SearchStrategy[Zone]:
    """IANA zones; half of them have an oddity of their own, such as a day that never was.

    With True only those whose clocks, from `start` to before `end`, ever do it; with False only those that never do.
    `midnight`: a midnight is left out or repeated. `sub_hour`: a change by other than whole hours. `skipped_day`: a
    date is left out. A zone that does one of these three is chosen from well-known ones.
    """
    first, last = span(start, end)
    asked = {"has_gap": has_gap, "has_overlap": has_overlap, "midnight": midnight}
    asked |= {"sub_hour": sub_hour, "skipped_day": skipped_day}
    wanted = {name: answer for name, answer in asked.items() if answer is not None}

    def fits(place: Zone) -> bool:
        changes = changes_of(place, first, last) if wanted else ()
        return all(any(map(_KINDS[name], changes)) is answer for name, answer in wanted.items())

    odd = [place for place in well_known() if fits(place)]
    if not any(answer and name not in _COMMON for name, answer in wanted.items()):
        others = st.deferred(lambda: st.sampled_from(other_names())).map(zone).filter(fits)
        return st.sampled_from(odd) | others if odd else others
    if not odd:
        raise ConfigurationError(
            f"no well-known zone from {moments.write_instant(first)} to {moments.write_instant(last)}: {wanted}",
            code=Code.BAD_ARGUMENT,
            hint="Ask for less, or for a longer span.",
        )
    return st.sampled_from(odd)


def instants(*, start: datetime = SINCE, end: datetime = UNTIL) -> st.SearchStrategy[Instant]:
    """Moments in UTC, evenly spread, half of them with parts of a second; `near_transitions` finds more."""
    first, last = span(start, end)
    return st.builds(_moment, st.integers(first, last - 1), st.just(0) | st.integers(1, 999_999))


def transitions(
    tz: ZoneLike | None = None, *, start: datetime = SINCE, end: datetime = UNTIL
) -> st.SearchStrategy[Transition]:
    """Changes of the clocks, of one zone or of any."""
    first, last = span(start, end)
    if tz is not None:
        return one_of_changes(known_changes(tz, first, last))
    places = zones().filter(lambda place: bool(changes_of(place, first, last)))
    return places.flatmap(lambda place: one_of_changes(changes_of(place, first, last)))


def one_of_changes(changes: Sequence[_Change]) -> st.SearchStrategy[_Change]:
    """One of them. It costs one choice however many there are, so that shrinking does not prefer zones with few."""
    return st.integers(0, _MANY).map(lambda number: changes[number % len(changes)])


def near_transitions(
    tz: ZoneLike | None = None,
    *,
    within: timedelta = timedelta(hours=3),
    start: datetime = SINCE,
    end: datetime = UNTIL,
) -> st.SearchStrategy[Instant]:
    """Moments in UTC at and around a change of the clocks.

    A second before and after it, at the ends and in the middle of what it leaves out or repeats, or anywhere `within`
    some time of it; so much they may lie outside of `start` and `end`.
    """
    return transitions(tz, start=start, end=end).flatmap(lambda change: _near(change, within))


def _near(change: Transition, within: timedelta) -> st.SearchStrategy[Instant]:
    size = change.size.days * DAY + change.size.seconds
    borders = [0, -1, 1, -size, size, -size - 1, size - 1, -size // 2, size // 2]
    reach = max(1, within // timedelta(seconds=1))
    at = moments.floor(change.at, "at", change.zone)
    away = st.sampled_from(borders) | st.integers(-reach, reach)
    return st.builds(lambda seconds, micro: _moment(at + seconds, micro), away, st.sampled_from([0, 0, 1, 999_999]))


def wall_times_in_gaps(tz: ZoneLike, *, start: datetime = SINCE, end: datetime = UNTIL) -> st.SearchStrategy[datetime]:
    """Wall times that the clocks of a zone never showed; naive, as nothing else can hold them."""
    first, last = span(start, end)
    return one_of_changes(known_changes(tz, first, last, gaps_only=True)).flatmap(touched_walls)


def touched_walls(change: Transition) -> st.SearchStrategy[datetime]:
    """Wall times that a change leaves out or repeats, to the second."""
    seconds = change.size.days * DAY + change.size.seconds
    return st.integers(0, seconds - 1).map(lambda second: change.wall_start + timedelta(seconds=second))


def _moment(second: int, micro: int) -> Instant:
    found = moments.instant(second)
    return found.replace(microsecond=micro) if micro else found
