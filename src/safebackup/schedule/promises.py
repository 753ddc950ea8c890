"""What a schedule promises, checked when it is built: nothing in forbidden hours, nothing at a change of the clocks."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import moments
from safebackup.schedule.civil import bad
from safebackup.schedule.turns import DAY, LAST, TurnTable, turns_of

if TYPE_CHECKING:
    from safebackup.schedule.rules import Rule
    from safebackup.schedule.windows import Window
    from safebackup.schedule.zones import Zone

CHECKED_YEARS = 10
# A library without a clock cannot say "from today". It checks from a fixed date unless it is given another.
CHECKED_FROM = date(2026, 1, 1)


def check(rule: Rule, zone: Zone, forbidden: tuple[Window, ...], checked_from: date) -> None:
    """Check what is promised, over ten years.

    Raises:
        ConfigurationError: it does not hold; the message has the first date.
    """
    if not is_date(checked_from) or not 2 <= checked_from.year <= 9900:
        raise bad(f"checked_from={checked_from!r} is not a date", "Write datetime.date(2026, 1, 1).")
    if not rule.refuses and not forbidden:
        return
    begin = moments.first_second(checked_from, zone)
    end = min(begin + CHECKED_YEARS * 31_556_952, LAST)
    if rule.refuses:
        for turn in turns_of(zone).between(begin, end):
            rule.due_at(turn.at)  # a rule that refuses such times raises when it meets one
    for window in forbidden:
        _keep_free(rule, zone, window, begin, end)


def is_date(value: object) -> bool:
    """Whether it is a date, and not a date-time, which Python counts among them."""
    return isinstance(value, date) and not isinstance(value, datetime)


def _keep_free(rule: Rule, zone: Zone, window: Window, begin: int, end: int) -> None:
    table = turns_of(zone)
    found = rule.at_or_after(begin)
    few = 3  # what is due less than once in ten years is looked at all the same
    while found is not None and (found < end or few > 0):
        few -= 1
        require_free(rule, zone, (window,), found)
        wall = found + table.offset_at(found)
        found = rule.at_or_after(found + max(1, _free_for(wall, found, window, table)))


def require_free(rule: Rule, zone: Zone, forbidden: tuple[Window, ...], instant: int) -> None:
    """Refuse an instant of a rule that lies in forbidden hours."""
    offset = turns_of(zone).offset_at(instant)
    for window in forbidden:
        if window.holds(instant + offset):
            raise ConfigurationError(
                f"{rule.text()} is due at {moments.write_in_zone(instant, offset)} in {zone}, "
                f"inside the forbidden {window}",
                code=Code.FORBIDDEN_WINDOW,
                hint="Move the schedule out of these hours, or correct forbid=.",
            )


def _free_for(wall: int, instant: int, window: Window, table: TurnTable) -> int:
    """How many seconds lie before the next window, while no change of the clocks can bring it nearer."""
    known, index = table.at_instant(instant)
    ahead = (window.start - wall) % DAY
    return min(ahead, known.instants[index + 1] - instant) if known.offsets[index] is not None else 0
